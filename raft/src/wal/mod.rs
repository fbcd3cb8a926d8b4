//! One write-ahead log per node, for the votes and log entries of all its groups.
//!
//! ```text
//!  group 1 ─┐ submit            ┌─ one write ─ one fdatasync ─┐
//!  group 2 ─┼──────▶ queue ─────┤   (all that queued up        ├──▶ completions, in order
//!  group n ─┘ bounded           └─  during the last flush)  ───┘
//!                                          │
//!                    wal-…01.seg  wal-…02.seg  wal-…03.seg (preallocated, zeroed)
//! ```
//!
//! **It is not** a general store: entries are appended, cut at the end and purged at the front, and
//! what is kept in memory for each entry (its place, its term) bounds how long a log may grow.
//!
//! - [`Wal`] is the writing side, a plain value that does one round per call of [`Wal::step`]. A
//!   [`WriterThread`] drives it in production, a task in simulation.
//! - [`WalHandle`] is the cloneable side that submits and reads; [`GroupLog`] is it for one group.
//!
//! **Invariants**
//! - What one group submits reaches the disk in the order of submission; what is acknowledged has
//!   been flushed, and so has everything submitted before it.
//! - A write or flush that failed is never retried. The log is then [`Health::Failed`] for good;
//!   reopening reads a new instance from the disk.
//! - A record is found again only where it was written: its checksum covers the log's id, the
//!   segment's number and the offset.
//! - An unflushed tail may tear anywhere and is cut. Damage before the tail is told from that by the
//!   mark in every record that says up to where its segment was durable when it was written.

mod append;
mod driver;
mod error;
mod group;
mod handle;
mod place;
mod read;
mod record;
mod recover;
mod replay;
mod scrub;
mod segment;
mod space;
mod spare;
mod state;
mod writer;

use std::time::Duration;

use bytes::Bytes;

pub use driver::{WriterThread, drive};
pub use error::{OpenError, WalError};
pub use handle::{Completion, GroupLog, WalHandle};
pub use read::GroupView;
pub use recover::{Recovery, Torn};
pub use state::{Health, WalStats};
pub use writer::{Batch, Wal, Work};

/// Term and index of an entry.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct LogPosition {
    /// The term of the leader that proposed it.
    pub term: u64,
    /// Its index.
    pub index: u64,
}

/// A vote as it is kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct LogVote {
    /// The term voted in.
    pub term: u64,
    /// Whom for (a Raft id).
    pub node: u64,
    /// Whether a quorum granted it.
    pub committed: bool,
}

/// One entry of a group's log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LogEntry {
    /// Its index.
    pub index: u64,
    /// Its term.
    pub term: u64,
    /// What the payload is; the owner's business.
    pub tag: u8,
    /// Its content.
    pub payload: Bytes,
}

/// What a group starts with.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct NewGroup {
    /// Kept with the group and handed back by [`WalHandle::groups`]; at most 64 KiB.
    pub about: Bytes,
    /// A vote it begins with. If the log remembers a later one from an earlier life of the group
    /// here, that one stands.
    pub vote: Option<LogVote>,
    /// Where its log begins: everything up to here is in a snapshot.
    pub purged: Option<LogPosition>,
}

/// How a log is run.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Options {
    /// The size of one segment file, in bytes; a multiple of 8 from 4 KiB to 1 GiB.
    ///
    /// Too small: many files and flushes at their borders. Too large: space comes back late, and
    /// opening reads more. An entry must fit into a segment. Default 64 MiB.
    pub segment_bytes: u32,
    /// What may wait for the writer, in bytes; more is refused as [`WalError::Full`]. It bounds one
    /// write too. Default 16 MiB.
    pub queue_bytes_max: usize,
    /// What may wait for the writer, in submissions. Default 16,384.
    pub queue_ops_max: usize,
    /// How many bytes of recent payloads are kept for reading. Default 32 MiB.
    pub cache_bytes_max: usize,
    /// How much is copied out of the oldest segment in one round to free it. Default 256 KiB.
    pub relocate_bytes_max: usize,
    /// How long a log store waits for room, or for a vote to be durable, before it gives up.
    /// Default 30 s.
    pub stall_timeout: Duration,
    /// How long positions that need no flush of their own may wait for company. Default 200 ms.
    pub linger: Duration,
    /// How long a flush waits at a time for submissions, as long as fewer are queued than the last
    /// flush answered and more keep coming: whoever was answered tends to submit again at once, and
    /// would otherwise miss the next flush and wait for two. Only a [`WriterThread`] waits so.
    ///
    /// 0 never waits. Too high: what comes alone after a burst is late by as much. Default 50 µs.
    pub gather: Duration,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            segment_bytes: 64 << 20,
            queue_bytes_max: 16 << 20,
            queue_ops_max: 16 << 10,
            cache_bytes_max: 32 << 20,
            relocate_bytes_max: 256 << 10,
            stall_timeout: Duration::from_secs(30),
            linger: Duration::from_millis(200),
            gather: Duration::from_micros(50),
        }
    }
}

impl Options {
    fn check(&self) -> Result<(), OpenError> {
        let wrong = |what: &str| Err(OpenError::Options(what.to_owned()));
        match self.segment_bytes {
            4096..=0x4000_0000 if self.segment_bytes.is_multiple_of(8) => {}
            _ => return wrong("segment_bytes must be a multiple of 8 from 4 KiB to 1 GiB"),
        }
        if self.queue_bytes_max == 0 || self.queue_ops_max == 0 || self.relocate_bytes_max == 0 {
            return wrong("queue_bytes_max, queue_ops_max and relocate_bytes_max must not be 0");
        }
        Ok(())
    }
}
