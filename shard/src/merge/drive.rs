//! How a merge goes on, given what is seen of both shards.
//!
//! Nothing is remembered between two looks but the operation itself, so that whoever drives it may die, or
//! be two. What is seen may be old: the shards refuse what does not fit any more.

use serde::{Deserialize, Serialize};

use super::{Merge, MergeOp, SealMark, SealedFor};
use crate::{OperationId, state::ShardState};

/// How long a merge may be open in the left shard before it is given up, in milliseconds of group time:
/// the right one takes no writes for most of that, and neither is repaired meanwhile. One that is about
/// to be absorbed is carried on.
pub const MERGE_OPEN_MAX_MS: u64 = 20_000;

/// What is to become of a merge.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum MergeGoal {
    /// The two shards are to be one.
    Merge,
    /// They are to be as they were, unless they are one already.
    Cancel,
}

/// What the driver sees.
#[derive(Debug, Clone, Copy)]
pub struct MergeSight<'a> {
    /// The operation.
    pub operation: OperationId,
    /// What is to be absorbed, as the operation has it.
    pub merge: &'a Merge,
    /// The state of the left shard, as a quorum of its replicas has applied it.
    pub left_state: &'a ShardState,
    /// That of the right shard; `None` once nobody has it.
    pub right: Option<RightSight>,
    /// Whether every replica of the left shard has staged what the right one is sealed as.
    pub is_staged: bool,
    /// Whether it has been open for longer than [`MERGE_OPEN_MAX_MS`] without being about to be absorbed.
    pub is_late: bool,
}

/// What is seen of the right shard of a merge.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct RightSight {
    /// The version of its epoch.
    pub version: u64,
    /// Why it takes no writes.
    pub sealed: Option<SealedFor>,
    /// No operation up to this one seals it any more.
    pub unsealed: OperationId,
}

/// What is next for a merge.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum MergeNext {
    /// To be proposed in the left shard.
    OnLeft(MergeOp),
    /// To be proposed in the right shard.
    OnRight(MergeOp),
    /// Replicas of the left shard are to get what was sealed.
    Stage(SealMark),
    /// The map is to have the left shard as it is now, and the right one no more.
    Report,
    /// It is to be cancelled, for this reason: the shards are not what they were when it was begun, say, or
    /// it is over on the left.
    GiveUp(&'static str),
    /// The two are as they were, for good.
    Cancelled,
}

impl MergeSight<'_> {
    /// What is next. After [`MergeNext::Report`] the operation is over once the map has it.
    #[must_use]
    pub fn next(&self, goal: MergeGoal) -> MergeNext {
        let operation = self.operation;
        // Too late for anything else, whatever the goal is.
        if self.left_state.absorbed().is_some_and(|absorbed| absorbed.operation == operation) {
            return MergeNext::Report;
        }
        match goal {
            MergeGoal::Merge => self.go_on(),
            MergeGoal::Cancel => self.go_back(),
        }
    }

    fn go_on(&self) -> MergeNext {
        let operation = self.operation;
        if self.left_state.merges_closed() >= operation {
            return MergeNext::GiveUp("it is over in the left shard");
        }
        let is_open = self.left_state.open_merge().is_some_and(|open| open.operation == operation);
        let merge = self.merge;
        if !is_open {
            let left = self.left_state;
            let fits = left.range().is_some_and(|range| merge.check(left.shard(), range).is_ok());
            let merge = merge.clone();
            return match fits {
                true => MergeNext::OnLeft(MergeOp::Prepare { operation, merge }),
                false => MergeNext::GiveUp("the left shard is not what it was"),
            };
        }
        if self.is_late {
            return MergeNext::GiveUp("it takes too long");
        }
        let Some(right) = self.right else {
            return MergeNext::GiveUp("the right shard is no more");
        };
        if right.version != merge.version {
            return MergeNext::GiveUp("the right shard is not what it was");
        }
        match right.sealed {
            None if right.unsealed >= operation => {
                MergeNext::GiveUp("it is over in the right shard")
            }
            None => {
                let left = self.left_state.shard();
                MergeNext::OnRight(MergeOp::Seal { operation, left })
            }
            Some(sealed) if sealed.operation != operation => {
                MergeNext::GiveUp("the right shard is sealed for another operation")
            }
            Some(sealed) if !self.is_staged => MergeNext::Stage(sealed.seal),
            Some(sealed) => MergeNext::OnLeft(MergeOp::Absorb { operation, seal: sealed.seal }),
        }
    }

    /// First nothing can be absorbed any more, then the right shard takes writes again.
    fn go_back(&self) -> MergeNext {
        let operation = self.operation;
        if self.left_state.merges_closed() < operation {
            return MergeNext::OnLeft(MergeOp::Cancel { operation });
        }
        // A proposal to seal it may still be on its way, so that one is told in any case.
        match self.right {
            Some(right) if right.unsealed < operation => {
                MergeNext::OnRight(MergeOp::Unseal { operation })
            }
            Some(_) | None => MergeNext::Cancelled,
        }
    }
}
