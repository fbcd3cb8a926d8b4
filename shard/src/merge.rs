//! Taking a shard into its left neighbour, by commands in the logs of both.
//!
//! The left shard keeps its id and widens; the right one is *sealed*, taken in, and retired. Both logs have
//! a say, and no command is in both, so that the order between them is what everything rests on:
//!
//! ```text
//! left   ── Prepare ──────────────────────────── Absorb ───────  widened, a newer version
//! right  ─────────────── Seal ═══ staged ═══════════════════════  retired, once the map has it
//!
//! left   ── Prepare ───────────────── Cancel ──────────────────  as it was
//! right  ─────────────── Seal ═══════════════════ Unseal ──────  as it was
//! ```
//!
//! *Staged* means that every replica of the left shard has on its own disk, durable, what the right one
//! was right behind its seal: its snapshot at that entry ([`SealMark`] names it). Replicas of the right
//! shard write it when they apply the seal, others fetch it from them. A replica that meets an absorption
//! with nothing staged waits until it has fetched it, or a snapshot of the left shard from behind the
//! absorption ([`ShardState::absorbs`](crate::ShardState::absorbs)).
//!
//! **Invariants**
//! - No key has two shards that take writes for it, at no time. Between seal and absorption the keys of the
//!   right shard have none, and its writers get an answer that they may repeat.
//! - An operation that the left shard has cancelled is over there for good: a proposal to absorb that comes
//!   late, or again, is refused, and so is one to prepare. Hence the order: cancelled on the left, then
//!   unsealed on the right. The right shard keeps likewise which operations it will not be sealed for.
//!   Numbers of operations only grow, so that one number each remembers all of them.
//! - Every acknowledged write of the right shard is in what is staged: after the seal it takes none, and the
//!   left one absorbs nothing but the state at that very seal, known by its position and hash.
//! - Every replica that applies the absorption comes to the same state. One that has nothing staged must not
//!   apply it: it fetches what is staged, or takes a snapshot of the left shard. What is staged stays until
//!   a snapshot of the left shard from behind the absorption is durable; its log is not purged before. It
//!   is gone before the disk counts as rid of what is erased behind the absorption.
//! - The version of the widened shard is greater than those of both, so that whoever believed either range
//!   is told of the new one.
//! - A merge begins while the map has both shards as their logs do: what split off either is known by then.
//!   Neither divides, nor changes its replicas, until it is over.
//! - The map retires the right shard in the same step that widens the left one, and only then may a replica
//!   of it be destroyed.
//!
//! # What is taken in, and how
//!
//! - Versions of sessions and directory entries have the shard in them, and stay as they are. The versions
//!   of listings are positions in a log; those of two logs may be equal without meaning the same, so that
//!   listings and tombstones of the right shard are taken in as if the absorption had written them. Their
//!   `ETag`s change, their contents do not. Answers that were kept of the left shard are void.
//! - Replies to requests and memory of creates: a repeat is recognised wherever the first one went.
//! - Data keys: a user may have one in each shard, and has both afterwards. A key that both shards have,
//!   since they were one, is one key again, and goes with the last value under it.
//! - Erasures: whoever carries one out asks the shards by their ids, and those that have confirmed not
//!   again. A shard that had carried out an erasure and takes in one that had not would be asked no more,
//!   with the user still in it. Both must have carried out the same ones, else the absorption is refused.
//!   The disks of the right shard's replicas may hold what was erased until they are destroyed: the left
//!   shard names them until they say so.
//! - A listing on its way from one of the shards to the other is in both for a moment. One shard has one
//!   copy of a listing, and whoever moves it would take that away as the old one: refused as well.
//! - Feeds: a cursor says that what came before it is settled in whatever shard, so that either will do.
//!
//! What is refused at the absorption for such a reason passes: the operation is cancelled, and may be begun
//! again.

mod drive;

use hexpop_edge_config::{Epoch, ShardId};
use serde::{Deserialize, Serialize};

use crate::{LogPosition, OperationId, key::KeyRange, map::ShardDescriptor, refusal::Refusal};

pub use drive::{MERGE_OPEN_MAX_MS, MergeGoal, MergeNext, MergeSight, RightSight};

/// A merge, as it is recorded.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Merge {
    /// The shard that goes.
    pub right: ShardId,
    /// Its range when the merge was begun.
    pub range: KeyRange,
    /// The version of its epoch then.
    pub version: u64,
}

impl Merge {
    /// The merge of a shard's right neighbour into it.
    #[must_use]
    pub fn of(right: &ShardDescriptor) -> Self {
        Self { right: right.id, range: right.range.clone(), version: right.epoch.version }
    }

    /// Checks it against the shard that is to widen.
    ///
    /// # Errors
    /// [`Refusal::Invalid`]: the two are no neighbours that may be one.
    pub fn check(&self, left: ShardId, range: &KeyRange) -> Result<(), Refusal> {
        let Self { right, range: other, .. } = self;
        let invalid = |why: &str| {
            Err(Refusal::Invalid(format!("shard {right} cannot be taken into shard {left}: {why}")))
        };
        if *right == left || !right.is_of_shard() {
            return invalid("it is no other shard");
        }
        let meets = range.end.as_ref() == Some(&other.start);
        if !meets || range.space_of() != other.space_of() || other.is_empty() {
            return invalid("it does not begin where that one ends");
        }
        // Labels, keys that wrap, and receipts go by territories.
        if range.single_territory() != other.single_territory() {
            return invalid("they are of different territories");
        }
        Ok(())
    }

    /// The range of both.
    #[must_use]
    pub fn union(&self, left: &KeyRange) -> KeyRange {
        KeyRange { start: left.start.clone(), end: self.range.end.clone() }
    }
}

/// Names the state that a shard was sealed in.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct SealMark {
    /// The entry that sealed it.
    pub at: LogPosition,
    /// The hash of the state behind that entry, which all replicas agree on.
    pub hash: u64,
}

/// What a command does for a merge. Each is harmless to repeat. Final on disk: the enum only grows at its
/// end.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum MergeOp {
    /// On the left: it will absorb that shard for this operation, and does not divide meanwhile.
    Prepare {
        /// The operation.
        operation: OperationId,
        /// What is to be absorbed.
        merge: Merge,
    },
    /// On the right: it takes no more writes.
    Seal {
        /// The operation.
        operation: OperationId,
        /// The shard that is to absorb it.
        left: ShardId,
    },
    /// On the left: it takes in what is staged.
    Absorb {
        /// The operation.
        operation: OperationId,
        /// What is staged.
        seal: SealMark,
    },
    /// On the left: nothing will be absorbed for this operation, nor for an earlier one.
    Cancel {
        /// The operation.
        operation: OperationId,
    },
    /// On the right, once the left shard has cancelled: it takes writes again, and is not sealed for this
    /// operation or an earlier one.
    Unseal {
        /// The operation.
        operation: OperationId,
    },
}

/// What a command for a merge did.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum MergeOutcome {
    /// The operation is open.
    Prepared,
    /// The shard is sealed, now or before.
    Sealed(SealMark),
    /// The shard has become both, now or before.
    Absorbed {
        /// Its range.
        range: KeyRange,
        /// Its epoch.
        epoch: Epoch,
    },
    /// The operation is over on the left.
    Cancelled,
    /// The shard takes writes.
    Unsealed,
}

/// What a shard keeps of merges.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct MergeState {
    /// As the left one: what it is to absorb.
    pub(crate) open: Option<OpenMerge>,
    /// As the left one: no operation up to this one absorbs anything any more.
    pub(crate) closed: OperationId,
    /// As the left one: what it absorbed last.
    pub(crate) absorbed: Option<Absorbed>,
    /// As the right one: it takes no writes.
    pub(crate) sealed: Option<SealedFor>,
    /// As the right one: no operation up to this one seals it any more.
    pub(crate) unsealed: OperationId,
}

/// A merge that is under way in the left shard.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct OpenMerge {
    /// The operation.
    pub operation: OperationId,
    /// What is to be absorbed.
    pub merge: Merge,
    /// When it was begun here, in group time.
    pub at_ms: u64,
}

/// Why a shard takes no writes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct SealedFor {
    /// The operation.
    pub operation: OperationId,
    /// The shard that is to absorb it.
    pub left: ShardId,
    /// The state it was sealed in.
    pub seal: SealMark,
}

/// What a shard has absorbed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Absorbed {
    /// The operation.
    pub operation: OperationId,
    /// The shard that is in it now.
    pub right: ShardId,
    /// The entry that took it in.
    pub position: LogPosition,
}

/// Why a state cannot be absorbed here: it is not the one that the entry names. Nothing changed, and the
/// entry is not applied.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum AbsorbError {
    /// The entry absorbs nothing, at least not now.
    #[error("the entry at {0} absorbs nothing")]
    NotDue(LogPosition),
    /// It is another state.
    #[error("shard {shard} at {at} is not what was sealed for operation {operation}")]
    AnotherState {
        /// The operation.
        operation: OperationId,
        /// The shard that was brought.
        shard: ShardId,
        /// How far its log was applied.
        at: LogPosition,
    },
}
