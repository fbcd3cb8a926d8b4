//! Bugs planted on purpose, so that the simulator can show that it finds them. Not part of the API.
//!
//! None is active unless [`plant`] was called on the same thread, which only the simulator does: it
//! runs a whole mesh on one thread, production code on others. Where a bug is planted, the price of
//! the question is one read of a thread-local byte.

use std::cell::Cell;

/// A planted bug.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Bug {
    /// The write-ahead log says that entries are durable before it flushed them.
    AckBeforeFlush,
    /// A vote is given without being written down.
    ForgetVote,
    /// After a restart entries that the snapshot holds are applied again.
    ApplyTwice,
    /// A leader answers strong reads without asking a quorum whether it still leads.
    StrongWithoutQuorum,
    /// A leader answers strong reads for longer after a quorum answered it than voters wait for it.
    LeaseTooLong,
    /// The meta group takes a descriptor of an older epoch.
    AcceptOldEpoch,
    /// Snapshots leave the tombstones of listings out.
    DropTombstone,
    /// Recovery of the write-ahead log takes records whose checksum does not hold.
    AcceptTornTail,
    /// Writes of one group reach the log in another order than they were submitted in.
    ReorderWrites,
    /// The directory takes a write whoever wrote it in between.
    DirectoryRace,
    /// A write whose outcome is unknown is proposed again as another request.
    DuplicateProposal,
    /// A replica votes right after a restart.
    VoteAfterRestart,
    /// A node that lost its disk comes back under its old Raft id.
    WipedKeepsId,
    /// A replica ends sessions by its own clock instead of the log's time.
    LocalExpiry,
    /// A leader stamps what it closed with now, not with when a quorum last confirmed it.
    ClosedIsNow,
    /// A replica says that its disk is rid of what was erased before the files of its log are.
    ConfirmBeforeScrub,
    /// Snapshots leave out which erasures were carried out.
    ForgetErasure,
    /// A touch renews a session that is over.
    TouchRevives,
    /// The repeat of a create that reaches a later leader makes a second session.
    SecondSession,
    /// A shard that splits off does not know which requests were carried out.
    SplitForgetsReplies,
    /// A shard that splits off does not know which erasures were carried out.
    SplitForgetsErasures,
    /// A replica that has not applied a split yet answers those who know of it.
    AnswerBehindSplit,
    /// A replica that got its state in a snapshot creates what split off before only once the map has it.
    ChildByMapOnly,
    /// A write whose first attempt got lost is called refused when its shard has moved on since.
    LostAttemptIsRefused,
    /// What comes late into a log, from before an erasure, stays there.
    LateRepeatStays,
    /// The leader of a shard takes a step that was asked for while it had other replicas.
    StepForAnyEpoch,
    /// A shard that is sealed for a merge takes writes. These four are found where shards are merged: they
    /// are not among [`Bug::ALL`], but [`Bug::OF_MERGES`].
    SealedTakesWrites,
    /// A shard absorbs its neighbour for an operation that was cancelled.
    AbsorbAfterCancel,
    /// A shard that absorbs another one does not know which requests were carried out there.
    MergeForgetsReplies,
    /// A shard that has carried out an erasure absorbs one that has not.
    MergeIgnoresErasures,
    /// A move takes a replica where its territory's labels do not let it be. It is found in worlds with a
    /// territory that has some, and is in [`Bug::OF_RESIDENCY`].
    MoveAnywhere,
    /// A replica votes although it promised the leader of a parked group not to, and says that it keeps its
    /// promise. The vote alone does no harm: who takes entries of another leader promises the first one
    /// nothing any more, and says so. This one and the next are found where groups are parked while links are
    /// cut, and are in [`Bug::OF_LULLS`].
    VoteWhileParked,
    /// The leader of a parked group goes on with the promises of fewer than a quorum.
    ParkedWithoutQuorum,
}

impl Bug {
    /// Those that are planted in whole meshes. The simulator's tests have a seed of each that was found.
    pub const ALL: [Self; 26] = [
        Self::AckBeforeFlush,
        Self::ForgetVote,
        Self::ApplyTwice,
        Self::StrongWithoutQuorum,
        Self::LeaseTooLong,
        Self::AcceptOldEpoch,
        Self::DropTombstone,
        Self::AcceptTornTail,
        Self::ReorderWrites,
        Self::DirectoryRace,
        Self::DuplicateProposal,
        Self::VoteAfterRestart,
        Self::WipedKeepsId,
        Self::LocalExpiry,
        Self::ClosedIsNow,
        Self::ConfirmBeforeScrub,
        Self::ForgetErasure,
        Self::TouchRevives,
        Self::SecondSession,
        Self::SplitForgetsReplies,
        Self::SplitForgetsErasures,
        Self::AnswerBehindSplit,
        Self::ChildByMapOnly,
        Self::LostAttemptIsRefused,
        Self::LateRepeatStays,
        Self::StepForAnyEpoch,
    ];

    /// Those that are found in worlds whose shards are merged.
    pub const OF_MERGES: [Self; 4] = [
        Self::SealedTakesWrites,
        Self::AbsorbAfterCancel,
        Self::MergeForgetsReplies,
        Self::MergeIgnoresErasures,
    ];

    /// Those that are found in worlds with a territory that stays on some nodes.
    pub const OF_RESIDENCY: [Self; 1] = [Self::MoveAnywhere];

    /// Those that are found in worlds with lulls, in which groups are parked.
    pub const OF_LULLS: [Self; 2] = [Self::VoteWhileParked, Self::ParkedWithoutQuorum];

    /// All of them.
    fn every() -> impl Iterator<Item = Self> {
        let special = Self::OF_MERGES.into_iter().chain(Self::OF_RESIDENCY).chain(Self::OF_LULLS);
        Self::ALL.into_iter().chain(special)
    }

    /// Their names, each as [`Bug::from_name`] takes it.
    pub fn names() -> impl Iterator<Item = &'static str> {
        Self::every().map(Self::name)
    }

    /// Its name on the command line.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::AckBeforeFlush => "ack-before-flush",
            Self::ForgetVote => "forget-vote",
            Self::ApplyTwice => "apply-twice",
            Self::StrongWithoutQuorum => "strong-without-quorum",
            Self::LeaseTooLong => "lease-too-long",
            Self::AcceptOldEpoch => "accept-old-epoch",
            Self::DropTombstone => "drop-tombstone",
            Self::AcceptTornTail => "accept-torn-tail",
            Self::ReorderWrites => "reorder-writes",
            Self::DirectoryRace => "directory-race",
            Self::DuplicateProposal => "duplicate-proposal",
            Self::VoteAfterRestart => "vote-after-restart",
            Self::WipedKeepsId => "wiped-keeps-id",
            Self::LocalExpiry => "local-expiry",
            Self::ClosedIsNow => "closed-is-now",
            Self::ConfirmBeforeScrub => "confirm-before-scrub",
            Self::ForgetErasure => "forget-erasure",
            Self::TouchRevives => "touch-revives",
            Self::SecondSession => "second-session",
            Self::SplitForgetsReplies => "split-forgets-replies",
            Self::SplitForgetsErasures => "split-forgets-erasures",
            Self::AnswerBehindSplit => "answer-behind-split",
            Self::ChildByMapOnly => "child-by-map-only",
            Self::LostAttemptIsRefused => "lost-attempt-is-refused",
            Self::LateRepeatStays => "late-repeat-stays",
            Self::StepForAnyEpoch => "step-for-any-epoch",
            Self::SealedTakesWrites => "sealed-takes-writes",
            Self::AbsorbAfterCancel => "absorb-after-cancel",
            Self::MergeForgetsReplies => "merge-forgets-replies",
            Self::MergeIgnoresErasures => "merge-ignores-erasures",
            Self::MoveAnywhere => "move-anywhere",
            Self::VoteWhileParked => "vote-while-parked",
            Self::ParkedWithoutQuorum => "parked-without-quorum",
        }
    }

    /// The bug of this name.
    #[must_use]
    pub fn from_name(name: &str) -> Option<Self> {
        Self::every().find(|bug| bug.name() == name)
    }
}

thread_local! {
    static PLANTED: Cell<Option<Bug>> = const { Cell::new(None) };
}

/// From now on code on this thread has this bug, or none.
pub fn plant(bug: Option<Bug>) {
    PLANTED.set(bug);
}

/// Whether code on this thread has this bug.
#[must_use]
pub fn has(bug: Bug) -> bool {
    PLANTED.get() == Some(bug)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bug_is_planted_on_one_thread_only() {
        plant(Some(Bug::ForgetVote));
        assert!(has(Bug::ForgetVote) && !has(Bug::ApplyTwice));
        let elsewhere = std::thread::spawn(|| has(Bug::ForgetVote)).join();
        assert!(!elsewhere.unwrap());
        plant(None);
        assert!(!has(Bug::ForgetVote));
    }

    #[test]
    fn names_lead_back_to_bugs() {
        for bug in Bug::every() {
            assert_eq!(Bug::from_name(bug.name()), Some(bug));
        }
    }
}
