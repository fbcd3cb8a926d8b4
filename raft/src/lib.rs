//! Consensus groups: many per node, over one write-ahead log.

mod api;
mod disk;
mod documents;
mod error;
mod group;
mod host;
pub mod identity;
mod log_store;
mod machine;
mod metrics;
mod network;
mod options;
mod port;
mod read;
mod rpc;
mod snapshot;
mod supervisor;
pub mod types;
pub mod wal;
mod wire;

pub use api::{Proposed, ReadLevel, ReadResult, ReplicaState, ReplicaStatus};
pub use disk::{Disk, DiskFile, FsDisk};
pub use documents::Documents;
pub use error::{ControlError, OpenError, ProposeError, ReadError};
pub use host::{Host, Parts};
pub use log_store::LogStore;
pub use metrics::Metrics;
pub use options::Options;
pub use port::{Lane, Membership, PeerTransport, TransportError, WallClock};
