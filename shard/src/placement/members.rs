//! The nodes that replicas can be on.

use std::collections::BTreeSet;

use hexpop_edge_config::{NodeId, PopId, RaftId};
use serde::{Deserialize, Serialize};

/// A node as placement sees it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Member {
    /// The node.
    pub node: NodeId,
    /// The data directory it runs on now.
    pub raft: RaftId,
    /// Where it is.
    pub pop: PopId,
    /// Its territory labels.
    pub labels: BTreeSet<String>,
    /// Whether it is up: neither down, nor leaving.
    pub alive: bool,
    /// Whether it is being emptied: what it holds goes to others, and nothing comes.
    pub draining: bool,
}

impl Member {
    /// Whether it has all of these labels.
    pub fn carries<'a>(&self, labels: impl IntoIterator<Item = &'a String>) -> bool {
        labels.into_iter().all(|label| self.labels.contains(label))
    }
}
