//! Why the log refuses something, or to open.

use std::{io, sync::Arc};

use hexpop_edge_config::{GroupId, RaftId};

/// Why the log did not take or return something. Nothing changed, except after [`Failed`](Self::Failed)
/// and [`Closed`](Self::Closed), which leave open what has reached the disk.
#[derive(Debug, Clone, thiserror::Error)]
pub enum WalError {
    /// A write or flush failed; the log takes nothing more until it is reopened from disk.
    #[error("the write-ahead log failed while {what}: {source}")]
    Failed {
        /// What it was doing, with the file.
        what: String,
        /// What the disk said.
        source: Arc<io::Error>,
    },
    /// The writer has stopped.
    #[error("the write-ahead log is closed")]
    Closed,
    /// The queue is full; it empties with the next flush.
    #[error("the queue of the write-ahead log is full")]
    Full,
    /// Something does not fit into a segment.
    #[error("a record of {bytes} bytes is over the limit of {max}")]
    TooLarge {
        /// Its size.
        bytes: usize,
        /// The most there may be.
        max: usize,
    },
    /// The group is not in this log, or not the one any more that the handle was made for.
    #[error("group {0} is not in this log")]
    NoGroup(GroupId),
    /// The group is there already.
    #[error("group {0} is in this log already")]
    GroupExists(GroupId),
    /// An append that does not continue the log.
    #[error("group {group}: an entry of index {found} cannot follow; {expected} is next")]
    Gap {
        /// The group.
        group: GroupId,
        /// The index that would continue it.
        expected: u64,
        /// The index found.
        found: u64,
    },
    /// An entry that was written could not be read back.
    #[error("group {group}, index {index}: {file} at offset {offset}: {source}")]
    Read {
        /// The group.
        group: GroupId,
        /// The entry.
        index: u64,
        /// The segment.
        file: String,
        /// Where in it.
        offset: u32,
        /// What went wrong.
        source: Arc<io::Error>,
    },
}

impl WalError {
    /// Whether the log is over, as opposed to this one call being refused.
    #[must_use]
    pub const fn is_fatal(&self) -> bool {
        matches!(self, Self::Failed { .. } | Self::Closed)
    }
}

impl From<WalError> for io::Error {
    fn from(error: WalError) -> Self {
        let kind = match &error {
            WalError::Failed { source, .. } | WalError::Read { source, .. } => source.kind(),
            WalError::Closed => io::ErrorKind::BrokenPipe,
            WalError::Full => io::ErrorKind::WouldBlock,
            WalError::TooLarge { .. } => io::ErrorKind::FileTooLarge,
            WalError::NoGroup(_) => io::ErrorKind::NotFound,
            WalError::GroupExists(_) => io::ErrorKind::AlreadyExists,
            WalError::Gap { .. } => io::ErrorKind::InvalidInput,
        };
        Self::new(kind, error)
    }
}

/// Why a log did not open. The files are as they were, but for leftovers of an unfinished segment.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// An option is out of range.
    #[error("{0}")]
    Options(String),
    /// The disk refused.
    #[error("{what} {file}: {source}")]
    Io {
        /// What was tried.
        what: &'static str,
        /// On which file.
        file: String,
        /// What the disk said.
        source: io::Error,
    },
    /// Something that was durable is not there any more. Nothing is repaired: the replicas of this
    /// directory must be replaced, or the files restored.
    #[error("{file} is damaged at offset {offset}{}: {what}", display_group(*.group))]
    Corrupt {
        /// The segment.
        file: String,
        /// Where.
        offset: u64,
        /// Whose record it is, where that can be told.
        group: Option<GroupId>,
        /// What is wrong.
        what: String,
    },
    /// The segment belongs to the log of another data directory.
    #[error("{file} belongs to Raft id {found}, not to {expected}")]
    Foreign {
        /// The segment.
        file: String,
        /// This directory.
        expected: RaftId,
        /// Whom the file names.
        found: RaftId,
    },
    /// A newer build wrote it.
    #[error("{file} at offset {offset} has {what} {found}; this build reads up to {newest}")]
    TooNew {
        /// The segment.
        file: String,
        /// Where.
        offset: u64,
        /// What is newer: `format version` or `record kind`.
        what: &'static str,
        /// The number found.
        found: u8,
        /// The newest known here.
        newest: u8,
    },
}

fn display_group(group: Option<GroupId>) -> String {
    group.map(|id| format!(" (group {id})")).unwrap_or_default()
}
