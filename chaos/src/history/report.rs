//! What a check found.

use std::fmt;

use super::operation::Operation;

/// How far a check goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Options {
    /// States that are looked at for one key; beyond that it stays undecided. One costs some 50 bytes
    /// of memory and a microsecond. At least 1.
    pub states_max: u64,
    /// Keys that are checked at once. At least 1.
    pub threads: usize,
    /// Keys whose violation is explained; the others are only counted.
    pub explained_max: usize,
}

impl Default for Options {
    fn default() -> Self {
        Self { states_max: 2_000_000, threads: 1, explained_max: 10 }
    }
}

/// Whether something holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Verdict {
    /// It does.
    Holds,
    /// It could not be found out within the limits.
    Undecided,
    /// It does not.
    Violated,
}

impl Verdict {
    /// The word in reports.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Holds => "holds",
            Self::Undecided => "undecided",
            Self::Violated => "violated",
        }
    }
}

/// What sort of thing a key names.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Space {
    /// A session.
    Session,
    /// A listing.
    Listing,
}

impl Space {
    /// The word in reports.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Session => "session",
            Self::Listing => "listing",
        }
    }
}

/// What a check found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Report {
    /// Operations in the history.
    pub operations: usize,
    /// Keys in it.
    pub keys: usize,
    /// Keys of which nothing contradicts what was promised.
    pub held: usize,
    /// Keys that are violated.
    pub violated: usize,
    /// Keys that could not be decided, in order.
    pub undecided: Vec<(Space, String)>,
    /// States that were looked at.
    pub states: u64,
    /// The violations that are explained, by key; at most one a key and
    /// [`Options::explained_max`] in all.
    pub violations: Vec<Violation>,
}

impl Report {
    /// The worst verdict of all keys.
    #[must_use]
    pub const fn verdict(&self) -> Verdict {
        if self.violated > 0 {
            Verdict::Violated
        } else if self.undecided.is_empty() {
            Verdict::Holds
        } else {
            Verdict::Undecided
        }
    }
}

/// A promise that was broken on a key, with the operations that prove it. `Display` draws them as a
/// timeline.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Violation {
    /// What sort of key.
    pub space: Space,
    /// The key.
    pub key: String,
    /// Which promise.
    pub kind: ViolationKind,
    /// The operations that cannot all be true, by start; see [`Role`].
    pub witness: Vec<Witness>,
    /// Other writes of the key: each was allowed to take effect or not, as often as it likes within
    /// its own time, and that explains nothing.
    pub others: usize,
}

/// One operation of a witness.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Witness {
    /// Its place in [`History::operations`](super::History::operations), from 0.
    pub index: usize,
    /// The operation.
    pub operation: Operation,
    /// What it is there for.
    pub role: Role,
}

impl Witness {
    /// The line of a file in which it stands: operations begin in the second.
    #[must_use]
    pub const fn line(&self) -> usize {
        self.index.saturating_add(2)
    }
}

/// What an operation of a witness is there for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Role {
    /// It cannot be true together with the other ones of this role.
    Contradicts,
    /// It wrote what one of those saw; whether it took effect is left open.
    Origin,
}

/// Which promise was broken. From the witness alone several may fit; the first that does is named.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum ViolationKind {
    /// A read found a value that no operation wrote.
    NeverWritten,
    /// A write that was refused took effect.
    RefusedSeen,
    /// A read found a value before it was written.
    FromTheFuture,
    /// An answer said that it was older than what was asked for.
    StalenessClaim,
    /// Of several writes under one condition that only one can meet, more than one succeeded.
    TwoWinners,
    /// An acknowledged write was lost.
    LostWrite,
    /// What had been deleted, erased, expired or overwritten came back after others saw it gone.
    Resurrected,
    /// A session ended before its time.
    EarlyExpiry,
    /// A session was answered after its time.
    LateExpiry,
    /// A strong read found what was no longer current.
    StaleRead,
    /// A listing went back to an older version.
    VersionWentBack,
    /// A bounded read found what had not been current for longer than allowed.
    StalenessBound,
    /// A read did not include what its token promised: the client's own write, or what it had read.
    SessionGuarantee,
    /// The operations have no order that explains all answers.
    NotLinearizable,
}

impl ViolationKind {
    /// The name in reports.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::NeverWritten => "never-written",
            Self::RefusedSeen => "refused-seen",
            Self::FromTheFuture => "from-the-future",
            Self::StalenessClaim => "staleness-claim",
            Self::TwoWinners => "two-winners",
            Self::LostWrite => "lost-write",
            Self::Resurrected => "resurrected",
            Self::EarlyExpiry => "early-expiry",
            Self::LateExpiry => "late-expiry",
            Self::StaleRead => "stale-read",
            Self::VersionWentBack => "version-went-back",
            Self::StalenessBound => "staleness-bound",
            Self::SessionGuarantee => "session-guarantee",
            Self::NotLinearizable => "not-linearizable",
        }
    }
}

impl ViolationKind {
    /// What it means, in a sentence without an end.
    #[must_use]
    pub const fn meaning(self) -> &'static str {
        match self {
            Self::NeverWritten => "a read found a value that no operation wrote",
            Self::RefusedSeen => "a write that was refused took effect",
            Self::FromTheFuture => "a read found a value before anyone wrote it",
            Self::StalenessClaim => "an answer calls itself older than the read allowed",
            Self::TwoWinners => "conditional writes succeeded that exclude each other",
            Self::LostWrite => "a write that was acknowledged is not there",
            Self::Resurrected => "a value came back after it was gone",
            Self::EarlyExpiry => "a session ended before its time to live",
            Self::LateExpiry => "a session was answered after its time to live",
            Self::StaleRead => "a read found a value that was no longer current",
            Self::VersionWentBack => "a listing went back to an older version",
            Self::StalenessBound => "a read found what was older than it allowed",
            Self::SessionGuarantee => "a read did not include what its token stands for",
            Self::NotLinearizable => "no order of the operations explains all answers",
        }
    }
}

impl fmt::Display for ViolationKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}
