//! Consensus groups: many per node, over one write-ahead log.

mod disk;
pub mod identity;
mod log_store;
pub mod types;
pub mod wal;

pub use disk::{Disk, DiskFile, FsDisk};
pub use log_store::LogStore;
