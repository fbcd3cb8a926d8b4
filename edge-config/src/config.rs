//! The configuration of one node: a TOML file with one section per part of the node.
//!
//! Every field says what it governs, what happens when it is too low or too high, its default and its
//! range. Sizes and durations carry their unit (`"64MiB"`, `"250ms"`).

mod admin;
mod cache;
mod chaos;
mod data;
mod gossip;
mod limits;
mod listen;
mod mesh;
mod node;
mod origin;
mod placement;
mod raft;
mod telemetry;
mod territories;

pub use admin::{Admin, AdminToken, Role};
pub use cache::Cache;
pub use chaos::Chaos;
pub use data::{Data, DataAuth, FILTERS};
pub use gossip::Gossip;
pub use limits::Limits;
pub use listen::Listen;
pub use mesh::{MaxInflight, Mesh};
pub use node::Node;
pub use origin::{Origin, OriginBreaker, OriginHost};
pub use placement::Placement;
pub use raft::Raft;
pub use telemetry::{LogFormat, Telemetry};
pub use territories::TerritoryPolicy;

/// Everything that one node is told before it starts, checked and complete.
#[derive(Debug, Clone, PartialEq)]
pub struct Config {
    /// Who this node is.
    pub node: Node,
    /// How it talks to the other nodes.
    pub mesh: Mesh,
    /// Where clients and operators reach it.
    pub listen: Listen,
    /// Who may use the admin port.
    pub admin: Admin,
    /// What may be asked of the data, and by whom.
    pub data: Data,
    /// The platform behind the mesh.
    pub origin: Origin,
    /// Territories that have shards of their own, with their residency.
    pub territories: Vec<TerritoryPolicy>,
    /// Where replicas of everything else go.
    pub placement: Placement,
    /// Memory for cached answers and hot documents.
    pub cache: Cache,
    /// What one client may cost.
    pub limits: Limits,
    /// Consensus groups and their log.
    pub raft: Raft,
    /// Membership.
    pub gossip: Gossip,
    /// Logs and metrics.
    pub telemetry: Telemetry,
    /// Faults on demand.
    pub chaos: Chaos,
}
