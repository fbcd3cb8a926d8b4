//! What comes out of the gossip.

use std::net::SocketAddr;

use bytes::Bytes;
use hexpop_edge_config::NodeId;

use crate::Identity;

/// Something the driver has to do, or may want to know.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Output {
    /// Send this datagram.
    Send {
        /// To this node.
        to: NodeId,
        /// Which is reached here, as far as the gossip knows.
        address: SocketAddr,
        /// The datagram.
        packet: Bytes,
    },
    /// Find out who is at the addresses of the seeds, and tell [`Gossip::join`](crate::Gossip::join).
    AskSeeds {
        /// Whether no other member is known to be up; otherwise only seeds that are not among the
        /// members need to be asked.
        alone: bool,
    },
    /// Something happened.
    Event(Event),
}

/// What happened.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Event {
    /// A member that was unknown, or down, is up.
    Up(Identity),
    /// A member does not answer; it has some time to object.
    Suspect(Identity),
    /// A suspected member has objected.
    Refuted(Identity),
    /// A member is down.
    Down {
        /// The member.
        identity: Identity,
        /// Whether it left of its own accord.
        left: bool,
    },
    /// A node runs with another identity now: it was restarted, moved, or returned after having been
    /// declared down. Another [`raft`](Identity::raft) means that its disk was replaced.
    Rejoined {
        /// Before.
        from: Identity,
        /// Now.
        to: Identity,
    },
    /// A member that was down is forgotten.
    Forgotten(NodeId),
    /// A node says something new about itself.
    Info(NodeId),
    /// There is a newer shard map.
    ShardMap {
        /// Its version.
        version: u64,
        /// A node that has it.
        holder: NodeId,
    },
    /// Others know this node as a member.
    Joined,
    /// No other member is up.
    Alone,
    /// The others had declared this node down; it has returned with this identity.
    Returned(Identity),
}
