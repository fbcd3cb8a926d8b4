//! Integration tests: the write-ahead log, the log store, and hosts of many groups.

#![expect(
    clippy::cast_possible_truncation,
    clippy::indexing_slicing,
    clippy::unwrap_used,
    reason = "clippy's exemption for tests does not reach the helpers of an integration test"
)]

mod host;
mod log_store_suite;
mod wal_corruption;
mod wal_crash;
mod wal_fixture;
mod wal_kill;
mod wal_kill_ops;
mod wal_limits;
mod wal_model;
mod wal_sharing;
mod wal_space;
mod wal_tmpfs;
