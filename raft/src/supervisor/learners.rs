//! Learners that do not catch up: they are given up, so that another node takes their place, and neither the
//! repair of a group nor the readers of a shard wait for them for ever. Pure.

use std::collections::{BTreeMap, BTreeSet};

use hexpop_edge_config::{GroupId, NodeId, RaftId};
use hexpop_shard::{Learners, Replica};

/// How long a learner of a group without a range may take to catch up, in milliseconds: what these groups hold is
/// sent in seconds.
const CATCH_UP_MS: u64 = 120_000;

/// How long one of a shard may take, and beside that what its bytes take at [`SLOW_BYTES_PER_MS`].
const CATCH_UP_SHARD_MS: u64 = 600_000;

/// Who takes less than a mebibyte a second is slow.
const SLOW_BYTES_PER_MS: u64 = 1 << 10;

/// How many times as long a node is not asked again whose learner took longer.
const AVOID_TIMES: u64 = 5;

/// After so long without a look, in milliseconds, somebody else led meanwhile, and what was seen before says
/// nothing: longer than a change of members keeps a leader from looking.
const ANEW_MS: u64 = 45_000;

/// Which learners are behind, and since when; which nodes are avoided, and until when.
#[derive(Debug, Default)]
pub(crate) struct LateLearners {
    /// When each group with one that is behind was looked at last.
    looked: BTreeMap<GroupId, u64>,
    behind: BTreeMap<(GroupId, RaftId), u64>,
    avoided: BTreeMap<(GroupId, NodeId), u64>,
    /// What was found of the learners of the shards that are led here when they were looked at last.
    pub(super) seen: Learners,
}

impl LateLearners {
    /// Takes which learners of a group of so many bytes that is led here are behind at `now_ms`; answers which
    /// nodes are not to take a replica of it.
    pub(super) fn look<'r>(
        &mut self,
        group: GroupId,
        bytes: u64,
        behind: impl Iterator<Item = &'r Replica>,
        now_ms: u64,
    ) -> BTreeSet<NodeId> {
        let base_ms = if group.is_of_shard() { CATCH_UP_SHARD_MS } else { CATCH_UP_MS };
        let catch_up_ms = base_ms.saturating_add(bytes / SLOW_BYTES_PER_MS);
        let before = self.looked.remove(&group);
        let is_anew = before.is_none_or(|before| now_ms.saturating_sub(before) > ANEW_MS);
        if is_anew {
            self.behind.retain(|(other, _), _| *other != group);
        }
        let mut still = BTreeMap::new();
        for learner in behind {
            let key = (group, learner.raft);
            let since = self.behind.get(&key).copied().unwrap_or(now_ms);
            if now_ms.saturating_sub(since) >= catch_up_ms {
                let until_ms = now_ms.saturating_add(catch_up_ms.saturating_mul(AVOID_TIMES));
                self.avoided.insert((group, learner.node), until_ms);
            } else {
                still.insert(key, since);
            }
        }
        // What is kept is of learners that there are.
        self.behind.retain(|(other, _), _| *other != group);
        if !still.is_empty() {
            self.looked.insert(group, now_ms);
        }
        self.behind.append(&mut still);
        self.avoided.retain(|_, until_ms| now_ms < *until_ms);
        let of_group = self.avoided.keys().filter(|(other, _)| *other == group);
        of_group.map(|(_, node)| *node).collect()
    }

    /// Forgets what was seen of groups that somebody else leads by now.
    pub(super) fn forget_old(&mut self, now_ms: u64) {
        self.looked.retain(|_, looked| now_ms.saturating_sub(*looked) <= ANEW_MS);
        let looked = &self.looked;
        self.behind.retain(|(group, _), _| looked.contains_key(group));
    }
}

#[cfg(test)]
mod tests {
    use hexpop_edge_config::ShardId;
    use hexpop_shard::ReplicaRole;

    use super::*;

    #[test]
    fn one_that_does_not_catch_up_is_avoided_for_a_while_and_one_that_does_is_not() {
        let learner = |node: u32| Replica {
            raft: RaftId(u64::from(node)),
            node: NodeId(node),
            role: ReplicaRole::Learner,
        };
        let (slow, quick) = (learner(4), learner(5));
        let mut late = LateLearners::default();
        let none = BTreeSet::new();
        assert_eq!(late.look(GroupId::META, 0, [&slow, &quick].into_iter(), 0), none);
        for now_ms in (ANEW_MS..CATCH_UP_MS).step_by(30_000).chain([CATCH_UP_MS - 1]) {
            assert_eq!(late.look(GroupId::META, 0, [&slow].into_iter(), now_ms), none);
        }
        // Behind again, counted anew; and another group is another matter.
        let both = [&slow, &quick].into_iter();
        assert_eq!(late.look(GroupId::META, 0, both, CATCH_UP_MS), BTreeSet::from([NodeId(4)]));
        assert_eq!(late.look(GroupId::PURGES, 0, [&slow].into_iter(), CATCH_UP_MS), none);
        let end = CATCH_UP_MS * (1 + AVOID_TIMES);
        let avoided = late.look(GroupId::META, 0, std::iter::empty(), end - 1);
        assert_eq!(avoided, BTreeSet::from([NodeId(4)]));
        assert_eq!(late.look(GroupId::META, 0, std::iter::empty(), end), none);
        assert!(late.behind.keys().all(|(group, _)| *group == GroupId::PURGES));
    }

    #[test]
    fn what_was_seen_before_somebody_else_led_does_not_count() {
        let learner = Replica { raft: RaftId(4), node: NodeId(4), role: ReplicaRole::Learner };
        let mut late = LateLearners::default();
        let none = BTreeSet::new();
        assert_eq!(late.look(GroupId::META, 0, [&learner].into_iter(), 0), none);
        let again = 2 * CATCH_UP_MS;
        assert_eq!(late.look(GroupId::META, 0, [&learner].into_iter(), again), none);
        let times = (again..again + CATCH_UP_MS).step_by(1_000);
        for now_ms in times {
            assert_eq!(late.look(GroupId::META, 0, [&learner].into_iter(), now_ms), none);
        }
        let found = late.look(GroupId::META, 0, [&learner].into_iter(), again + CATCH_UP_MS);
        assert_eq!(found, BTreeSet::from([NodeId(4)]));
    }

    #[test]
    fn one_of_a_shard_has_more_time_and_what_is_kept_is_of_those_that_are_behind() {
        let learner = Replica { raft: RaftId(4), node: NodeId(4), role: ReplicaRole::Learner };
        let (shard, none) = (ShardId(7), BTreeSet::new());
        let mut late = LateLearners::default();
        for now_ms in (0..CATCH_UP_SHARD_MS).step_by(30_000) {
            assert_eq!(late.look(shard, 0, [&learner].into_iter(), now_ms), none);
        }
        let found = late.look(shard, 0, [&learner].into_iter(), CATCH_UP_SHARD_MS);
        assert_eq!(found, BTreeSet::from([NodeId(4)]));
        let end = CATCH_UP_SHARD_MS * (1 + AVOID_TIMES);
        assert_eq!(late.look(shard, 0, std::iter::empty(), end - 1).len(), 1);
        assert_eq!(late.look(shard, 0, std::iter::empty(), end), none);
        assert!(late.looked.is_empty() && late.behind.is_empty() && late.avoided.is_empty());
    }

    #[test]
    fn a_large_shard_has_the_time_that_its_bytes_take_and_what_others_lead_is_forgotten() {
        let learner = Replica { raft: RaftId(4), node: NodeId(4), role: ReplicaRole::Learner };
        let (shard, none) = (ShardId(7), BTreeSet::new());
        let mut late = LateLearners::default();
        let bytes = SLOW_BYTES_PER_MS * CATCH_UP_SHARD_MS;
        let end = 2 * CATCH_UP_SHARD_MS;
        for now_ms in (0..end).step_by(30_000) {
            assert_eq!(late.look(shard, bytes, [&learner].into_iter(), now_ms), none);
        }
        late.forget_old(end - 30_000 + ANEW_MS);
        assert_eq!((late.looked.len(), late.behind.len()), (1, 1));
        late.forget_old(end + ANEW_MS);
        assert_eq!((late.looked.len(), late.behind.len()), (0, 0));
    }
}
