//! How a merge goes on, given what is seen of both shards.
//!
//! Nothing is remembered between two looks but the operation itself, so that whoever drives it may die, or
//! be two. What is seen may be old: the shards refuse what does not fit any more.

use super::{Merge, MergeOp, SealMark};
use crate::{OperationId, map::ShardDescriptor, state::ShardState};

/// What is to become of a merge.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
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
    /// The right shard, as the operation has it.
    pub right: &'a ShardDescriptor,
    /// The state of the left shard, as a quorum of its replicas has applied it.
    pub left_state: &'a ShardState,
    /// That of the right shard; `None` once nobody has it.
    pub right_state: Option<&'a ShardState>,
    /// Whether every replica of the left shard has staged what the right one is sealed as.
    pub is_staged: bool,
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
    /// The shards are not what they were when it was begun, or it is over on the left: it is to be
    /// cancelled.
    GiveUp,
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
            return MergeNext::GiveUp;
        }
        let is_open = self.left_state.open_merge().is_some_and(|open| open.operation == operation);
        let merge = Merge::of(self.right);
        if !is_open {
            let left = self.left_state;
            let fits = left.range().is_some_and(|range| merge.check(left.shard(), range).is_ok());
            return match fits {
                true => MergeNext::OnLeft(MergeOp::Prepare { operation, merge }),
                false => MergeNext::GiveUp,
            };
        }
        let Some(right) = self.right_state else { return MergeNext::GiveUp };
        if right.epoch().version != merge.version {
            return MergeNext::GiveUp;
        }
        match right.sealed_for() {
            None if right.merges_unsealed() >= operation => MergeNext::GiveUp,
            None => {
                let left = self.left_state.shard();
                MergeNext::OnRight(MergeOp::Seal { operation, left })
            }
            Some(sealed) if sealed.operation != operation => MergeNext::GiveUp,
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
        match self.right_state {
            Some(right) if right.merges_unsealed() < operation => {
                MergeNext::OnRight(MergeOp::Unseal { operation })
            }
            Some(_) | None => MergeNext::Cancelled,
        }
    }
}
