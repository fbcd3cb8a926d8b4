//! Messages of SWIM as bytes: fixed fields, big endian, no allocation.
//!
//! ```text
//! identity  u32 node │ u64 incarnation │ u64 raft │ u8 4 or 6 │ address │ u16 port
//! member    identity │ u16 refutations │ u8 alive 0, suspect 1, down 2
//! header    identity │ u16 refutations │ identity │ u8 message │ …
//! ```

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use bytes::{Buf, BufMut};
use foca::{Header, Member, Message, State};
use hexpop_edge_config::{NodeId, RaftId};

use crate::Identity;

/// Why bytes are no message, or a message has no room.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(crate) enum SwimError {
    #[error("it ends early")]
    Short,
    #[error("{what} {found} is unknown")]
    Unknown { what: &'static str, found: u8 },
    #[error("there is no room for it")]
    NoRoom,
}

/// The codec that the protocol is given.
#[derive(Debug, Clone, Copy)]
pub(crate) struct SwimCodec;

/// Longer than the longest header: three identities with IPv6 addresses and a few bytes.
const ITEM_BYTES_MAX: usize = 160;

/// A buffer on the stack, so that an item which does not fit leaves no half of it behind.
struct Item {
    bytes: [u8; ITEM_BYTES_MAX],
    used: usize,
}

impl Item {
    const fn new() -> Self {
        Self { bytes: [0; ITEM_BYTES_MAX], used: 0 }
    }

    fn put(&mut self, bytes: &[u8]) -> Result<(), SwimError> {
        let end = self.used + bytes.len();
        self.bytes.get_mut(self.used..end).ok_or(SwimError::NoRoom)?.copy_from_slice(bytes);
        self.used = end;
        Ok(())
    }

    fn put_identity(&mut self, identity: &Identity) -> Result<(), SwimError> {
        self.put(&identity.node.0.to_be_bytes())?;
        self.put(&identity.incarnation.to_be_bytes())?;
        self.put(&identity.raft.0.to_be_bytes())?;
        match identity.address.ip() {
            IpAddr::V4(ip) => {
                self.put(&[4])?;
                self.put(&ip.octets())?;
            }
            IpAddr::V6(ip) => {
                self.put(&[6])?;
                self.put(&ip.octets())?;
            }
        }
        self.put(&identity.address.port().to_be_bytes())
    }

    fn put_message(&mut self, message: &Message<Identity>) -> Result<(), SwimError> {
        let with_identity = |item: &mut Self, tag, identity, probe: &u8| {
            item.put(&[tag, *probe])?;
            item.put_identity(identity)
        };
        match message {
            Message::Ping(probe) => self.put(&[1, *probe]),
            Message::Ack(probe) => self.put(&[2, *probe]),
            Message::PingReq { target, probe_number } => {
                with_identity(self, 3, target, probe_number)
            }
            Message::IndirectPing { origin, probe_number } => {
                with_identity(self, 4, origin, probe_number)
            }
            Message::IndirectAck { target, probe_number } => {
                with_identity(self, 5, target, probe_number)
            }
            Message::ForwardedAck { origin, probe_number } => {
                with_identity(self, 6, origin, probe_number)
            }
            Message::Announce => self.put(&[7]),
            Message::Feed => self.put(&[8]),
            Message::Gossip => self.put(&[9]),
            Message::Broadcast => self.put(&[10]),
            Message::TurnUndead => self.put(&[11]),
        }
    }

    fn write_to(&self, mut buf: impl BufMut) -> Result<(), SwimError> {
        let bytes = self.bytes.get(..self.used).ok_or(SwimError::NoRoom)?;
        if buf.remaining_mut() < bytes.len() {
            return Err(SwimError::NoRoom);
        }
        buf.put_slice(bytes);
        Ok(())
    }
}

fn get<const N: usize>(buf: &mut impl Buf) -> Result<[u8; N], SwimError> {
    let mut bytes = [0; N];
    buf.try_copy_to_slice(&mut bytes).map_err(|_source| SwimError::Short)?;
    Ok(bytes)
}

fn get_u8(buf: &mut impl Buf) -> Result<u8, SwimError> {
    Ok(u8::from_be_bytes(get(buf)?))
}

fn get_identity(buf: &mut impl Buf) -> Result<Identity, SwimError> {
    let node = NodeId(u32::from_be_bytes(get(buf)?));
    let incarnation = u64::from_be_bytes(get(buf)?);
    let raft = RaftId(u64::from_be_bytes(get(buf)?));
    let ip = match get_u8(buf)? {
        4 => IpAddr::V4(Ipv4Addr::from(get::<4>(buf)?)),
        6 => IpAddr::V6(Ipv6Addr::from(get::<16>(buf)?)),
        found => return Err(SwimError::Unknown { what: "kind of address", found }),
    };
    let port = u16::from_be_bytes(get(buf)?);
    Ok(Identity { node, incarnation, raft, address: SocketAddr::new(ip, port) })
}

fn get_message(buf: &mut impl Buf) -> Result<Message<Identity>, SwimError> {
    let tag = get_u8(buf)?;
    Ok(match tag {
        1 => Message::Ping(get_u8(buf)?),
        2 => Message::Ack(get_u8(buf)?),
        3 => {
            let probe_number = get_u8(buf)?;
            Message::PingReq { target: get_identity(buf)?, probe_number }
        }
        4 => {
            let probe_number = get_u8(buf)?;
            Message::IndirectPing { origin: get_identity(buf)?, probe_number }
        }
        5 => {
            let probe_number = get_u8(buf)?;
            Message::IndirectAck { target: get_identity(buf)?, probe_number }
        }
        6 => {
            let probe_number = get_u8(buf)?;
            Message::ForwardedAck { origin: get_identity(buf)?, probe_number }
        }
        7 => Message::Announce,
        8 => Message::Feed,
        9 => Message::Gossip,
        10 => Message::Broadcast,
        11 => Message::TurnUndead,
        found => return Err(SwimError::Unknown { what: "message", found }),
    })
}

impl foca::Codec<Identity> for SwimCodec {
    type Error = SwimError;

    fn encode_header(
        &mut self,
        header: &Header<Identity>,
        buf: impl BufMut,
    ) -> Result<(), SwimError> {
        let mut item = Item::new();
        item.put_identity(&header.src)?;
        item.put(&header.src_incarnation.to_be_bytes())?;
        item.put_identity(&header.dst)?;
        item.put_message(&header.message)?;
        item.write_to(buf)
    }

    fn decode_header(&mut self, mut buf: impl Buf) -> Result<Header<Identity>, SwimError> {
        Ok(Header {
            src: get_identity(&mut buf)?,
            src_incarnation: u16::from_be_bytes(get(&mut buf)?),
            dst: get_identity(&mut buf)?,
            message: get_message(&mut buf)?,
        })
    }

    fn encode_member(
        &mut self,
        member: &Member<Identity>,
        buf: impl BufMut,
    ) -> Result<(), SwimError> {
        let mut item = Item::new();
        item.put_identity(member.id())?;
        item.put(&member.incarnation().to_be_bytes())?;
        item.put(&[match member.state() {
            State::Alive => 0,
            State::Suspect => 1,
            State::Down => 2,
        }])?;
        item.write_to(buf)
    }

    fn decode_member(&mut self, mut buf: impl Buf) -> Result<Member<Identity>, SwimError> {
        let identity = get_identity(&mut buf)?;
        let incarnation = u16::from_be_bytes(get(&mut buf)?);
        let state = match get_u8(&mut buf)? {
            0 => State::Alive,
            1 => State::Suspect,
            2 => State::Down,
            found => return Err(SwimError::Unknown { what: "state", found }),
        };
        Ok(Member::new(identity, incarnation, state))
    }
}

#[cfg(test)]
mod tests {
    use foca::Codec;

    use super::*;

    fn identity(node: u32, address: &str) -> Identity {
        let address = address.parse().unwrap();
        Identity { node: NodeId(node), incarnation: u64::MAX - 1, raft: RaftId(9), address }
    }

    #[test]
    fn headers_and_members_round_trip() {
        let (a, b) = (identity(1, "10.0.0.1:7080"), identity(2, "[2001:db8::1]:7080"));
        let messages = [
            Message::Ping(1),
            Message::Ack(2),
            Message::PingReq { target: b, probe_number: 3 },
            Message::IndirectPing { origin: b, probe_number: 4 },
            Message::IndirectAck { target: b, probe_number: 5 },
            Message::ForwardedAck { origin: b, probe_number: 6 },
            Message::Announce,
            Message::Feed,
            Message::Gossip,
            Message::Broadcast,
            Message::TurnUndead,
        ];
        for message in messages {
            let header = Header { src: a, src_incarnation: 7, dst: b, message };
            let mut bytes = Vec::new();
            SwimCodec.encode_header(&header, &mut bytes).unwrap();
            assert_eq!(SwimCodec.decode_header(bytes.as_slice()), Ok(header));
        }
        for state in [State::Alive, State::Suspect, State::Down] {
            let member = Member::new(b, 3, state);
            let mut bytes = Vec::new();
            SwimCodec.encode_member(&member, &mut bytes).unwrap();
            assert_eq!(SwimCodec.decode_member(bytes.as_slice()), Ok(member));
        }
    }

    #[test]
    fn what_does_not_fit_leaves_the_buffer_clean() {
        let member = Member::alive(identity(1, "10.0.0.1:7080"));
        let mut room = Vec::new().limit(20);
        assert_eq!(SwimCodec.encode_member(&member, &mut room), Err(SwimError::NoRoom));
        assert!(room.get_ref().is_empty());
    }
}
