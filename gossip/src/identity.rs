//! Who a member is.

use std::net::SocketAddr;

use hexpop_edge_config::{NodeId, RaftId};

/// One run of one node.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Identity {
    /// The node: it stays the same over restarts, other disks and other addresses.
    pub node: NodeId,
    /// Grows with every start of the node (the time of the start in milliseconds does), and by one
    /// whenever it was declared down in error and returns. The highest is the node.
    pub incarnation: u64,
    /// Its data directory.
    pub raft: RaftId,
    /// Where its mesh is reached.
    pub address: SocketAddr,
}

impl Identity {
    /// What an announcement is addressed to when nothing but the node is known.
    pub(crate) const fn placeholder(node: NodeId, address: SocketAddr) -> Self {
        Self { node, incarnation: 0, raft: RaftId(0), address }
    }

    /// The same run with another incarnation.
    pub(crate) const fn with_incarnation(self, incarnation: u64) -> Self {
        Self { incarnation, ..self }
    }
}

impl foca::Identity for Identity {
    type Addr = NodeId;

    /// None: a node that was declared down returns after a pause that it chooses itself
    /// (`membership.rs`). Two processes with one id, each outbidding the other at once, would
    /// otherwise fill the network.
    fn renew(&self) -> Option<Self> {
        None
    }

    fn addr(&self) -> NodeId {
        self.node
    }

    /// A total order, so that all members decide alike: the incarnation, then what else differs.
    fn win_addr_conflict(&self, adversary: &Self) -> bool {
        (self.incarnation, self.raft, self.address)
            > (adversary.incarnation, adversary.raft, adversary.address)
    }
}
