//! The mesh as one node sees it: members from gossip, the shard map, and what its peers report of
//! themselves when asked.

mod gather;
mod residency;
mod rows;

pub use gather::{ClockReading, Clocks, Reports, gather, gather_clocks, gather_holdings};
pub use residency::{Holdings, residency_report};
pub use rows::{Own, nodes_report, range_row, shards_report, status_report};

use std::time::Duration;

use hexpop_edge_config::{NodeId, RaftId};

/// One member as gossip sees it, with what is known of the link to it.
#[derive(Debug, Clone)]
pub struct MemberView {
    /// The node.
    pub node: NodeId,
    /// Its data directory.
    pub raft: RaftId,
    /// Its PoP, once it told.
    pub pop: Option<String>,
    /// Its residency labels.
    pub labels: Vec<String>,
    /// `joining`, `up`, `draining`, `leaving`, `suspect`, `unreachable` or `left`.
    pub state: &'static str,
    /// Grows with every start.
    pub incarnation: u64,
    /// The smoothed round-trip time, while there is a connection.
    pub rtt: Option<Duration>,
    /// Its build.
    pub version: Option<String>,
    /// Its data port.
    pub http: Option<String>,
    /// Its admin port.
    pub admin: Option<String>,
    /// Its mesh address.
    pub mesh: String,
    /// How long ago something was heard of it.
    pub last_seen: Option<Duration>,
}

impl MemberView {
    /// Whether it can be asked.
    #[must_use]
    pub fn is_up(&self) -> bool {
        matches!(self.state, "joining" | "up" | "draining" | "leaving" | "suspect")
    }
}
