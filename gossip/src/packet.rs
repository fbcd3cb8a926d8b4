//! What stands in front of every datagram: version, cluster, kind.

use bytes::{Buf, BufMut, Bytes, BytesMut};
use hexpop_edge_config::ClusterId;

use crate::PacketError;

/// The version of the datagrams that this build sends and reads.
const VERSION: u8 = 1;

/// Version, cluster id, kind.
pub(crate) const PREFIX_BYTES: usize = 1 + 8 + 1;

/// What a datagram holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    /// A message of SWIM.
    Swim,
    /// Which facts the sender knows, or lacks.
    Digest,
    /// Facts.
    Facts,
}

impl Kind {
    const fn to_wire(self) -> u8 {
        match self {
            Self::Swim => 1,
            Self::Digest => 2,
            Self::Facts => 3,
        }
    }
}

/// Puts the prefix in front of `body`.
pub(crate) fn wrap(cluster: ClusterId, kind: Kind, body: &[u8]) -> Bytes {
    let mut packet = BytesMut::with_capacity(PREFIX_BYTES + body.len());
    packet.put_u8(VERSION);
    packet.put_u64(cluster.0);
    packet.put_u8(kind.to_wire());
    packet.put_slice(body);
    packet.freeze()
}

/// Checks the prefix and takes it off.
pub(crate) fn unwrap(
    cluster: ClusterId,
    bytes_max: usize,
    packet: &[u8],
) -> Result<(Kind, &[u8]), PacketError> {
    if packet.len() > bytes_max {
        return Err(PacketError::TooLong { bytes: packet.len(), bytes_max });
    }
    let Some((mut prefix, body)) = packet.split_at_checked(PREFIX_BYTES) else {
        return Err(PacketError::TooShort(packet.len()));
    };
    let version = prefix.get_u8();
    if version != VERSION {
        return Err(PacketError::Version(version));
    }
    if prefix.get_u64() != cluster.0 {
        return Err(PacketError::OtherCluster);
    }
    let kind = match prefix.get_u8() {
        1 => Kind::Swim,
        2 => Kind::Digest,
        3 => Kind::Facts,
        other => return Err(PacketError::Kind(other)),
    };
    Ok((kind, body))
}
