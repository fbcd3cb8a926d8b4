//! How the learners of shards come along, as their leaders see it: which of them is to get the vote, and whom it
//! is no use to wait for.

use std::collections::BTreeSet;

use hexpop_edge_config::{NodeId, RaftId, ShardId};

use crate::Replica;

/// The learners of the shards that are led here. Of others nothing is known, and each counts as caught up.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Learners {
    /// Those that have not caught up with their leader.
    pub behind: BTreeSet<(ShardId, RaftId)>,
    /// The nodes whose learner of a shard had time enough and did not catch up: not to be waited for, nor to be
    /// asked again for a while.
    pub late: BTreeSet<(ShardId, NodeId)>,
}

/// How near a node is to a replica of a shard that may vote; the nearest comes first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Nearness {
    /// It has a learner that has caught up.
    CaughtUp,
    /// It has one that is being filled.
    Filling,
    /// It has none.
    Empty,
    /// It had time enough. It is better than nobody.
    Late,
}

impl Learners {
    /// How near a node with this learner, or with none, is to a replica of a shard that may vote.
    pub(super) fn nearness(
        &self,
        shard: ShardId,
        node: NodeId,
        learner: Option<&Replica>,
    ) -> Nearness {
        match learner {
            // However long it took.
            Some(learner) if !self.behind.contains(&(shard, learner.raft)) => Nearness::CaughtUp,
            _ if self.are_late(shard, node) => Nearness::Late,
            Some(_) => Nearness::Filling,
            None => Nearness::Empty,
        }
    }

    /// Whether a node had time enough for a learner of a shard.
    pub(super) fn are_late(&self, shard: ShardId, node: NodeId) -> bool {
        self.late.contains(&(shard, node))
    }
}
