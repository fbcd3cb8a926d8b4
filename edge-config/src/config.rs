//! The configuration of one node: a TOML file with one section per part of the node.
//!
//! Every field says what it governs, what happens when it is too low or too high, its default and its
//! range. Sizes and durations carry their unit (`"64MiB"`, `"250ms"`).

mod admin;
mod answers;
mod cache;
mod cache_disk;
mod chaos;
mod checks;
mod compression;
mod data;
mod error;
mod gossip;
mod key;
mod ledger;
mod limits;
mod listen;
mod load;
mod mesh;
mod node;
mod origin;
mod placement;
mod print;
mod purge;
mod raft;
mod reload;
mod schema;
mod section;
mod setting;
mod source;
mod suggest;
mod telemetry;
mod territories;
mod text;
mod tls;
mod tree;
mod validate;
mod value;

#[cfg(test)]
mod tests;

pub use admin::{Admin, AdminToken, Role};
pub use answers::CacheAnswers;
pub use cache::{Cache, CacheQuery};
pub use cache_disk::CacheDisk;
pub use chaos::Chaos;
pub use compression::CacheCompression;
pub use data::{Data, DataAuth, FILTERS};
pub use error::{ConfigErrors, Problem, ProblemKind};
pub use gossip::Gossip;
pub use limits::Limits;
pub use listen::Listen;
pub use load::{ENV_PREFIX, Loaded};
pub use mesh::{MaxInflight, Mesh};
pub use node::Node;
pub use origin::{Origin, OriginBreaker, OriginHost};
pub use placement::Placement;
pub use purge::Purge;
pub use raft::Raft;
pub use reload::Changes;
pub use schema::schema;
pub use setting::Setting;
pub use source::Source;
pub use telemetry::{LogFormat, Telemetry};
pub use territories::TerritoryPolicy;
pub use tls::{Tls, TlsCertificate, TlsVersion};

/// Everything that one node is told before it starts, checked and complete.
#[derive(Debug, Clone, PartialEq)]
pub struct Config {
    /// Who this node is.
    pub node: Node,
    /// How it talks to the other nodes.
    pub mesh: Mesh,
    /// Where clients and operators reach it.
    pub listen: Listen,
    /// What the data port shows and asks over TLS.
    pub tls: Tls,
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
    /// Forgetting cached answers, on all nodes.
    pub purge: Purge,
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

/// The commented sample of a configuration file, with every key and its default.
pub const SAMPLE: &str = include_str!("../sample/node.toml");

/// Sections whose names are reserved: they have no effect in this version, and naming one is an error.
const RESERVED: [&str; 1] = ["cors"];

impl Config {
    /// Reads all sections; none if something required is missing.
    fn read(root: &mut section::Section<'_>) -> Option<Self> {
        let node = root.section("node", Node::read);
        let mesh = root.section("mesh", Mesh::read);
        let listen = root.section("listen", Listen::read);
        let tls = root.section("tls", Tls::read);
        let admin = root.section("admin", Admin::read);
        let data = root.section("data", Data::read);
        let origin = root.section("origin", Origin::read);
        let founders = mesh.as_ref().map_or(0, |mesh| mesh.bootstrap.len());
        let placement = root.section("placement", |section| Placement::read(section, founders));
        let about = "Territories with shards of their own, and their residency.";
        let territories = root.tables("territories", about, 1024, false, |section| {
            TerritoryPolicy::read(section, &placement)
        });
        let cache = root.section("cache", Cache::read);
        let purge = root.section("purge", Purge::read);
        let limits = root.section("limits", Limits::read);
        let raft = root.section("raft", Raft::read);
        let gossip = root.section("gossip", Gossip::read);
        let telemetry = root.section("telemetry", Telemetry::read);
        let chaos = root.section("chaos", Chaos::read);
        for name in RESERVED {
            root.reserved(name);
        }
        root.validate(&validate::Draft {
            node: node.as_ref(),
            mesh: mesh.as_ref(),
            listen: listen.as_ref(),
            tls: &tls,
            admin: &admin,
            data: &data,
            origin: &origin,
            territories: &territories,
            placement: &placement,
            cache: &cache,
            limits: &limits,
            raft: &raft,
            gossip: &gossip,
            chaos: &chaos,
        });
        Some(Self {
            node: node?,
            mesh: mesh?,
            listen: listen?,
            tls,
            admin,
            data,
            origin,
            territories,
            placement,
            cache,
            purge,
            limits,
            raft,
            gossip,
            telemetry,
            chaos,
        })
    }
}
