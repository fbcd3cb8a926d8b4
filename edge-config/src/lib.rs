//! The vocabulary of a deployment: identifiers, units, the one codec, and the typed configuration.
//!
//! Everything above this crate names nodes, shards and territories with the types of [`ids`], puts
//! bytes on the wire and on disk through [`codec`], and is configured by [`Config`].
//!
//! **It is not** a place for shared helpers: a type lives in the crate that owns its meaning. This
//! crate does no IO besides reading the configuration file it is given.

pub mod codec;
pub mod config;
mod ids;
mod units;

pub use config::Config;
pub use ids::{
    ClusterId, ClusterName, Country, Epoch, GroupId, NodeId, ParseIdError, PopId, RaftId, Region,
    RequestId, ShardId, Territory,
};
pub use units::{ByteSize, ConfigDuration, ParseUnitError};
