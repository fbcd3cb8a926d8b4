//! The vocabulary of a deployment: identifiers, units, the one codec, and the typed configuration.
//!
//! Everything above this crate names nodes, shards and territories with the identifiers here, puts bytes
//! on the wire and on disk through [`codec`], and is configured by [`Config`].
//!
//! **It is not** a place for shared helpers: a type lives in the crate that owns its meaning. It does no
//! IO besides reading the configuration file it is given, and it watches nothing: when to read again is
//! decided elsewhere; [`config::Loaded::take_live`] takes over what a running node can change.
//!
//! ```text
//! defaults < file < HEXPOP__SECTION__KEY < flags ──> tree with places ──> sections ──> rules ──> Config
//!                                                          └── everything wrong, at once, with its place
//! ```
//!
//! **Invariant:** a [`Config`] that was read is complete and keeps every rule between its keys. Whatever
//! is wrong with what was written ends in [`config::ConfigErrors`]; no text makes reading panic.
//!
//! ```
//! use std::path::Path;
//! use hexpop_edge_config::{Config, config::SAMPLE};
//!
//! let text = SAMPLE.replace("pop = \"mil\"", "pop = \"Milan!\"");
//! let errors = Config::from_text(&text, Path::new("/etc/hexpop/node.toml"), [], []).unwrap_err();
//! assert!(errors.to_string().contains("node.pop: `Milan!` is not the name of a PoP"));
//! ```

pub mod codec;
pub mod config;
mod ids;
mod language;
mod network;
#[doc(hidden)]
pub mod planted;
mod units;

pub use config::Config;
pub use ids::{
    ClusterId, ClusterName, Country, Epoch, GroupId, NodeId, ParseIdError, PopId, RaftId, Region,
    RequestId, ShardId, Territory,
};
pub use language::LanguageTag;
pub use network::{Network, ParseNetworkError};
pub use units::{ByteSize, ConfigDuration, ParseUnitError};
