//! The purge group: which stored responses of the origin are to be forgotten, in one order for all nodes.
//!
//! Every node follows it with a position of its own. What a node missed while it was away is still here
//! when it comes back; or the node learns that it is not, and forgets everything.

mod state;

use std::fmt;

use serde::{Deserialize, Serialize};

pub(crate) use state::PurgeItem;
pub use state::{PURGE_BYTES_MAX, PURGE_TARGETS_MAX, PURGES_MAX, PurgeState};

/// The number of a purge: its place in the order of all. Counts up from 1; 0 = before the first.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Serialize, Deserialize,
)]
#[serde(transparent)]
pub struct PurgeId(pub u64);

impl PurgeId {
    /// The one behind it.
    #[must_use]
    pub const fn next(self) -> Self {
        Self(self.0.saturating_add(1))
    }
}

impl fmt::Display for PurgeId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// What to forget.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub enum PurgeTarget {
    /// An absolute URL, or a path and query: that under every authority.
    Url(String),
    /// A tag of `Surrogate-Key`, `Cache-Tag` or `Cache-Groups`.
    Tag(String),
    /// Everything below an absolute URL, or below a path of every authority.
    Prefix(String),
    /// Everything.
    All,
}

impl PurgeTarget {
    /// The value of the label `kind` of `hexpop_purges_total`.
    #[must_use]
    pub const fn kind(&self) -> &'static str {
        match self {
            Self::Url(_) => "url",
            Self::Tag(_) => "tag",
            Self::Prefix(_) => "prefix",
            Self::All => "all",
        }
    }

    /// Bytes of its text.
    #[must_use]
    pub const fn text_bytes(&self) -> usize {
        match self {
            Self::Url(text) | Self::Tag(text) | Self::Prefix(text) => text.len(),
            Self::All => 0,
        }
    }
}

/// What a command does in the purge group.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum PurgeOp {
    /// Adds a purge behind all others.
    Append {
        /// What to forget; 1 to [`PURGE_TARGETS_MAX`].
        targets: Vec<PurgeTarget>,
        /// Whether it only becomes stale.
        soft: bool,
    },
}

/// What an operation of the purge group did.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum PurgeOutcome {
    /// The purge is recorded, and every node will apply it or forget more.
    Appended(PurgeEntry),
}

/// A recorded purge.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PurgeEntry {
    /// Its number.
    pub id: PurgeId,
    /// What to forget.
    pub targets: Vec<PurgeTarget>,
    /// Whether it only becomes stale.
    pub soft: bool,
    /// When it was recorded, in group time: milliseconds since the Unix epoch.
    pub at_ms: u64,
}

impl PurgeEntry {
    /// About how many bytes it takes.
    #[must_use]
    pub fn bytes(&self) -> usize {
        bytes_of(&self.targets)
    }
}

/// About how many bytes a purge of these targets takes.
fn bytes_of(targets: &[PurgeTarget]) -> usize {
    let one = |target: &PurgeTarget| target.text_bytes().saturating_add(TARGET_OVERHEAD_BYTES);
    targets.iter().map(one).fold(ENTRY_OVERHEAD_BYTES, usize::saturating_add)
}

const TARGET_OVERHEAD_BYTES: usize = 32;
const ENTRY_OVERHEAD_BYTES: usize = 64;

/// What there is behind a position.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum PurgeTail {
    /// The next purges, in order and without a gap; not all of them where they are many.
    Next {
        /// The purges; none = the position is the end.
        entries: Vec<PurgeEntry>,
        /// The last purge there is.
        head: PurgeId,
    },
    /// What is behind the position is not known any more, or the position is none of this log: whoever is
    /// there may have missed anything.
    Lost {
        /// The last purge there is.
        head: PurgeId,
    },
}

impl PurgeTail {
    /// The last purge there is.
    #[must_use]
    pub const fn head(&self) -> PurgeId {
        match self {
            Self::Next { head, .. } | Self::Lost { head } => *head,
        }
    }
}
