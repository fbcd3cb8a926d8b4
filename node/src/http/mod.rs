//! The two HTTP faces of a node: the data port for clients, the admin port for operators.

pub mod admin;
pub mod body;
pub mod data;
pub mod guard;
pub(crate) mod language;
pub mod metrics;
pub mod problem;
pub mod server;
pub mod shard_metrics;
pub mod target;
pub mod trace;
