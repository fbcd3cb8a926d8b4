//! What a node says about itself.

use std::{collections::BTreeSet, fmt, net::SocketAddr};

use hexpop_edge_config::PopId;
use serde::{Deserialize, Serialize};

/// What a node is doing, in its own words.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum NodeState {
    /// It has started and is not ready yet.
    Joining,
    /// It does its part.
    Up,
    /// It gives its leaders and its traffic away and will be stopped.
    Draining,
    /// It is on its way out.
    Leaving,
}

impl fmt::Display for NodeState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Joining => "joining",
            Self::Up => "up",
            Self::Draining => "draining",
            Self::Leaving => "leaving",
        })
    }
}

/// What a node says about itself. It travels as a fact of that node: the newest wins.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct NodeInfo {
    /// Where it stands.
    pub pop: PopId,
    /// What it offers to residency rules.
    pub labels: BTreeSet<String>,
    /// Where clients reach it.
    pub http: SocketAddr,
    /// Where operators reach it.
    pub admin: SocketAddr,
    /// Where its mesh is reached.
    pub mesh: SocketAddr,
    /// The version of its software.
    pub version: String,
    /// What it is doing.
    pub state: NodeState,
    /// When its process started, in milliseconds since 1970 on its own clock.
    pub started_at_ms: u64,
}
