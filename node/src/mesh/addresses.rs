//! Where the nodes of the cluster are reached.

use std::{collections::BTreeMap, net::SocketAddr};

use hexpop_edge_config::NodeId;
use parking_lot::RwLock;

/// How many nodes an address book holds. A cluster has a few hundred at most; what comes beyond is
/// not kept, so that nobody can fill the memory with made-up nodes.
const NODES_MAX: usize = 4096;

/// The UDP address of each node's mesh, as gossip and the seeds told it. A node keeps its id when
/// its address changes.
#[derive(Debug, Default)]
pub struct AddressBook {
    addresses: RwLock<BTreeMap<NodeId, SocketAddr>>,
}

impl AddressBook {
    /// Notes where `node` is reached from now on; true when that is news.
    pub fn set(&self, node: NodeId, address: SocketAddr) -> bool {
        if self.get(node) == Some(address) {
            return false;
        }
        let mut addresses = self.addresses.write();
        if addresses.len() >= NODES_MAX && !addresses.contains_key(&node) {
            return false;
        }
        addresses.insert(node, address);
        true
    }

    /// Where `node` is reached.
    #[must_use]
    pub fn get(&self, node: NodeId) -> Option<SocketAddr> {
        self.addresses.read().get(&node).copied()
    }

    /// The node that is reached at `address`, if one is known.
    #[must_use]
    pub fn node_at(&self, address: SocketAddr) -> Option<NodeId> {
        self.addresses.read().iter().find(|(_, known)| **known == address).map(|(node, _)| *node)
    }

    /// Forgets `node`.
    pub fn remove(&self, node: NodeId) {
        self.addresses.write().remove(&node);
    }
}
