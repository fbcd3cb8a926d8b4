//! What can be done to the directory, and what it answers.

use serde::{Deserialize, Serialize};

use crate::{RecordVersion, ShardKey, listing::ListingVersion};

/// Where a listing is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum DirectoryTarget {
    /// At this key of the listings space.
    At(ShardKey),
    /// Nowhere: it was deleted. Kept, so that a late write of an older version is recognised.
    Deleted,
}

/// What the directory holds of one id.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct DirectoryEntry {
    /// Where the listing is.
    pub target: DirectoryTarget,
    /// The version of the listing that set this. A change that leaves the listing at its key does not
    /// come here, so the listing itself may be newer.
    pub listing_version: ListingVersion,
    /// The version of this entry.
    pub version: RecordVersion,
    /// When it was written, in group time.
    pub written_ms: u64,
}

impl DirectoryEntry {
    /// The listing's key, unless it was deleted.
    #[must_use]
    pub const fn key(&self) -> Option<&ShardKey> {
        match &self.target {
            DirectoryTarget::At(key) => Some(key),
            DirectoryTarget::Deleted => None,
        }
    }
}

/// Compare and set one entry.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct DirectoryChange {
    /// The listing's id.
    pub id: String,
    /// The version of the entry that the writer read, a tombstone's too; `None` = it found none.
    pub expected: Option<RecordVersion>,
    /// What to set.
    pub target: DirectoryTarget,
    /// The version of the listing that the writer has.
    pub listing_version: ListingVersion,
}

/// What a command does in a directory shard.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum DirectoryOp {
    /// Compares and sets each entry on its own, in this order.
    CompareAndSet(Vec<DirectoryChange>),
}

impl DirectoryOp {
    /// The ids it names.
    pub fn ids(&self) -> impl Iterator<Item = &str> {
        match self {
            Self::CompareAndSet(changes) => changes.iter().map(|change| change.id.as_str()),
        }
    }
}

/// What became of one change.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum DirectoryChangeOutcome {
    /// It is set.
    Applied {
        /// The entry's version now.
        version: RecordVersion,
    },
    /// Somebody else wrote since the writer read; nothing changed.
    Conflict {
        /// What there is; `None` = no entry.
        current: Option<DirectoryEntry>,
    },
    /// The entry comes from a newer version of the listing, or already says this; nothing changed.
    Ignored {
        /// What there is.
        current: DirectoryEntry,
    },
}

/// What an operation did.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum DirectoryOutcome {
    /// What became of each change, in the order of the command.
    Compared(Vec<DirectoryChangeOutcome>),
}
