//! Consensus groups: many per node, over one write-ahead log.

mod disk;
pub mod types;
pub mod wal;

pub use disk::{Disk, DiskFile, FsDisk};
