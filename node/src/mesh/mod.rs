//! The mesh: how the nodes of a cluster talk to each other.
//!
//! One QUIC endpoint per node, TLS 1.3 with certificates on both sides. A node is who its
//! certificate says ([`crate::certs`]); whoever lacks one of the cluster's authority, or claims
//! another node's id, is refused, and the log says why.
//!
//! ```text
//!   node A ── control ──► node B      Raft: one ordered stream; gossip: datagrams
//!          ── bulk ─────►             query, admin, snapshot: one stream per request
//!          ── cache ────►             objects of the HTTP cache: answers that stream
//!          ◄── control ──             B's own requests run over B's own connections
//!          ◄── bulk ─────
//!          ◄── cache ────
//! ```
//!
//! Each node opens the connections that its own requests run over, each when it is needed first, so that
//! two nodes that connect to each other at the same moment have nothing to agree about. They are
//! separate because loss recovery, congestion and flow control are per connection: a snapshot must not
//! delay a vote, and a body that a slow client takes must not delay a query. A peer of an earlier build
//! does not know the third, and refuses it.
//!
//! **It is not** a router: it delivers to a named node or says why not, and never tries another.
//!
//! Everything is bounded: frames by class, requests under way by class and peer, connections per
//! peer, queues, times. A peer that cannot be reached is known to be so: requests fail at once
//! while the pause before the next attempt runs.

mod addresses;
mod bulk;
mod control;
mod endpoint;
mod error;
pub mod frame;
pub mod gossip_loop;
mod hello;
mod hook;
mod metrics;
mod options;
mod peer;
mod probe;
mod refusals;
pub mod remembered;
mod server;
mod stream;
mod tls;

use std::fmt;

use bytes::Bytes;
use futures::{future::BoxFuture, stream::BoxStream};
use hexpop_edge_config::NodeId;

pub use addresses::AddressBook;
pub use endpoint::Mesh;
pub use error::{BindError, MeshError, Refused, RefusedCode};
pub use hook::{HookSlot, LinkAction, LinkHook, Traffic};
pub use metrics::{MeshCounters, MeshMetrics};
pub use options::{BytesMax, MeshOptions};
pub use peer::PeerStatus;
pub use probe::{NoHandshake, Probe};
pub use stream::Frames;

/// What a request is about: it decides the connection, the limits and the order.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Class {
    /// Raft messages: delivered in the order of the calls, answered in any.
    Raft,
    /// Queries and forwarded writes.
    Query,
    /// Objects of the HTTP cache.
    Cache,
    /// Operators' calls that are passed on.
    Admin,
    /// Pieces of snapshots.
    Snapshot,
}

impl Class {
    /// All of them.
    pub const ALL: [Self; 5] = [Self::Raft, Self::Query, Self::Cache, Self::Admin, Self::Snapshot];

    const fn to_wire(self) -> u8 {
        match self {
            Self::Raft => 1,
            Self::Query => 2,
            Self::Cache => 3,
            Self::Admin => 4,
            Self::Snapshot => 5,
        }
    }

    const fn from_wire(byte: u8) -> Option<Self> {
        match byte {
            1 => Some(Self::Raft),
            2 => Some(Self::Query),
            3 => Some(Self::Cache),
            4 => Some(Self::Admin),
            5 => Some(Self::Snapshot),
            _ => None,
        }
    }

    const fn index(self) -> usize {
        match self {
            Self::Raft => 0,
            Self::Query => 1,
            Self::Cache => 2,
            Self::Admin => 3,
            Self::Snapshot => 4,
        }
    }

    /// As it is written in logs and metrics.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Raft => "raft",
            Self::Query => "query",
            Self::Cache => "cache",
            Self::Admin => "admin",
            Self::Snapshot => "snapshot",
        }
    }
}

impl fmt::Display for Class {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// What a node does with what its peers send.
pub trait MeshHandler: Send + Sync + 'static {
    /// A request of `from`. For [`Class::Raft`] it is called in the order in which the peer made
    /// its calls, and must not block: what takes time belongs into the future, and those of one
    /// peer run side by side. The future is dropped when the peer's deadline has passed.
    fn request(
        &self,
        from: NodeId,
        class: Class,
        payload: Bytes,
    ) -> BoxFuture<'static, Result<Bytes, Refused>>;

    /// A request of `from` whose answer streams: its frames, the next of which is asked for when the one before
    /// is on its way. It is dropped when the peer gives up.
    fn stream(&self, _from: NodeId, _payload: Bytes) -> BoxStream<'static, Result<Bytes, Refused>> {
        let refused = Refused::new("this node keeps nothing for other nodes");
        Box::pin(futures::stream::once(std::future::ready(Err(refused))))
    }

    /// A datagram of `from`. It must not block.
    fn datagram(&self, from: NodeId, payload: Bytes);
}
