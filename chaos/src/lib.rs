//! Faults on demand: rules in one registry per node, and decorators around the ports of the core
//! crates that ask it. And [`history`]: whether what clients were told meanwhile can be true.
//!
//! ```text
//! admin port ──> Registry <── decide ── links (mesh), FaultyDisk (log), FaultyOrigin (origin)
//! ```
//!
//! A rule says where, what, how long, and with what probability from which seed. Rules live in memory
//! only and always end: each has a time to live, a restart forgets them all. No core crate knows of
//! chaos. With no rule active a hook costs one relaxed load.
//!
//! **It is not** a proxy between processes: what is faulty is this node's own view of its links, its
//! disk and its origin.

mod disk;
pub mod history;
mod local;
mod origin;
mod registry;
mod rule;
pub mod sim;

pub use disk::FaultyDisk;
pub use local::HostShards;
pub use origin::FaultyOrigin;
pub use registry::{Registry, RegistryError, Target};
pub use rule::{ActiveRule, Effect, Hook, Rule, RuleError, TrafficClass};
