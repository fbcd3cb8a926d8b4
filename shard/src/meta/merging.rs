//! How a merge goes on, as far as the map tells. All else is for the leader of the left shard, which knows what
//! has been begun ([`crate::merge`]): before that, the right shard gets its replicas on the data directories of
//! the left one's.

use hexpop_edge_config::RaftId;

use super::{Errand, Next, Operation, OperationState, drive::failed};
use crate::{Member, Merge, MergeGoal, Replica, ReplicaRole, ShardDescriptor, StepKind, World};

/// What brings the replicas of two shards together.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Together {
    /// A step of the right shard.
    Step(StepKind),
    /// It is not to be done, for this reason.
    Never(String),
}

impl World<'_> {
    pub(super) fn merge(
        &self,
        operation: &Operation,
        left: &ShardDescriptor,
        merge: &Merge,
    ) -> Next {
        let Some(right) = self.map.get(merge.right) else {
            // The map retires it in the step that widens the left one. One that never had it is old.
            return match self.map.was_used(merge.right) {
                true => Next::End(OperationState::Done),
                false => Next::Wait(format!("the map does not have shard {}", merge.right)),
            };
        };
        let ask = |goal, committed| {
            let (operation, merge) = (operation.id, merge.clone());
            Next::Ask(Errand::Merge { operation, merge, goal, committed })
        };
        match operation.state {
            OperationState::Reverting { .. } => return ask(MergeGoal::Cancel, false),
            // The shards may be one already.
            OperationState::Committing => return ask(MergeGoal::Merge, true),
            _ => {}
        }
        if Merge::of(right) != *merge {
            return failed(format!("shard {} has changed its range", right.id));
        }
        if let Err(refusal) = merge.check(left.id, &left.range) {
            return failed(refusal.to_string());
        }
        ask(MergeGoal::Merge, false)
    }

    /// The next step that brings the replicas of the right shard onto the data directories of the left
    /// one's, in their roles; `None` once they are there. It gets no voter more than one at a time.
    #[must_use]
    pub fn bring_together(
        &self,
        left: &ShardDescriptor,
        right: &ShardDescriptor,
    ) -> Option<Together> {
        // Nothing is begun yet, and neither is repaired, drained or given more voters while this goes on.
        let is_kept = |raft: RaftId| {
            self.members.iter().any(|it| it.alive && !it.draining && it.raft == raft)
        };
        let mut replicas = left.replicas.iter().chain(&right.replicas);
        if let Some(gone) = replicas.find(|replica| !is_kept(replica.raft)) {
            let why = format!("the replica on node {} is not up, or is to go", gone.node);
            return Some(Together::Never(why));
        }
        if left.voters().count() < self.voters_due(left) {
            return Some(Together::Never(format!("shard {} lacks voters", left.id)));
        }
        let ask = |step| Some(Together::Step(step));
        let role = |of: &ShardDescriptor, raft| {
            of.replicas.iter().find(|replica| replica.raft == raft).map(|replica| replica.role)
        };
        let (wanted, voters) = (left.voters().count(), right.voters().count());
        let surplus = right.voters().find(|it| role(left, it.raft) != Some(ReplicaRole::Voter));
        if let Some(surplus) = surplus.filter(|_surplus| voters > wanted) {
            return ask(self.let_go(left, right, surplus));
        }
        for replica in &left.replicas {
            let Replica { raft, node, .. } = *replica;
            match (role(right, raft), replica.role) {
                (None, _) => {
                    return match self.may_hold(right, node) {
                        Ok(_member) => ask(StepKind::AddLearner { node, raft }),
                        Err(why) => Some(Together::Never(why)),
                    };
                }
                (Some(ReplicaRole::Learner), ReplicaRole::Voter) => {
                    return ask(StepKind::Promote { node, raft });
                }
                _ => {}
            }
        }
        if let Some(surplus) = surplus {
            return ask(self.let_go(left, right, surplus));
        }
        let learner = right.replicas.iter().find(|it| role(left, it.raft).is_none())?;
        ask(StepKind::RemoveLearner { node: learner.node, raft: learner.raft })
    }

    /// How many voters a shard is to have with the nodes that there are.
    fn voters_due(&self, shard: &ShardDescriptor) -> usize {
        let policy = self.policy.of(&shard.range);
        let may_hold = |it: &&Member| it.alive && !it.draining && it.carries(&policy.labels);
        policy.voters(self.members.iter().filter(may_hold).count())
    }

    /// A voter of the right shard that goes leads no more first.
    fn let_go(&self, left: &ShardDescriptor, right: &ShardDescriptor, voter: &Replica) -> StepKind {
        let Replica { node, raft, .. } = *voter;
        let stays = left.voters().find(|it| right.voters().any(|other| other.raft == it.raft));
        match stays {
            Some(stays) if self.leaders.get(&right.id) == Some(&node) => {
                StepKind::TransferLeader { from: node, to: stays.node }
            }
            _ => StepKind::RemoveVoter { node, raft },
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::{BTreeMap, BTreeSet};

    use hexpop_edge_config::{Epoch, NodeId, ShardId};

    use super::*;
    use crate::{
        KeyRange, Losses, Member, OperationId, OperationKind, PlacementPolicy, Policy, ReadersOf,
        Rings, ShardKey, ShardMap, Space, Split, split::halves,
    };

    const LEFT: ShardId = ShardId(3);
    const RIGHT: ShardId = ShardId(9);

    fn replicas(voters: &[u32], learners: &[u32]) -> Vec<Replica> {
        let replica =
            |node: u32, role| Replica { raft: RaftId(u64::from(node)), node: NodeId(node), role };
        let voters = voters.iter().map(|node| replica(*node, ReplicaRole::Voter));
        voters.chain(learners.iter().map(|node| replica(*node, ReplicaRole::Learner))).collect()
    }

    fn map(left: Vec<Replica>, right: Vec<Replica>) -> ShardMap {
        let at = ShardKey::new(Space::Sessions, &"IT:lazio".parse().unwrap(), 7);
        let range = KeyRange::territory(Space::Sessions, &"IT:lazio".parse().unwrap());
        let before = KeyRange {
            start: ShardKey::space_start(Space::Sessions),
            end: Some(range.start.clone()),
        };
        let behind = KeyRange { start: range.end.clone().unwrap(), end: None };
        let (one, other) = halves(&range, &at);
        let shard = |id, range, replicas| ShardDescriptor {
            id: ShardId(id),
            range,
            epoch: Epoch::FIRST,
            replicas,
        };
        ShardMap::create(vec![
            shard(1, KeyRange::space(Space::Listings), Vec::new()),
            shard(2, KeyRange::space(Space::Directory), Vec::new()),
            shard(4, before, Vec::new()),
            shard(5, behind, Vec::new()),
            shard(LEFT.0, one, left),
            shard(RIGHT.0, other, right),
        ])
        .unwrap()
    }

    /// Once the left shard has taken the right one in.
    fn merged(before: &ShardMap) -> ShardMap {
        let left = before.get(LEFT).unwrap().clone();
        let range = Merge::of(before.get(RIGHT).unwrap()).union(&left.range);
        let epoch = Epoch { version: 2, ..left.epoch };
        let mut map = before.clone();
        map.report_merged(ShardDescriptor { range, epoch, ..left }, RIGHT).unwrap();
        map
    }

    fn with_world<T>(map: &ShardMap, leader: u32, look: impl FnOnce(&World<'_>) -> T) -> T {
        let member = |node: u32| Member {
            node: NodeId(node),
            raft: RaftId(u64::from(node)),
            pop: "mil".parse().unwrap(),
            labels: BTreeSet::new(),
            alive: node < 9,
            draining: false,
        };
        let members: Vec<Member> = (1..=9).map(member).collect();
        let default = Policy { labels: BTreeSet::new(), replicas: 3 };
        let policy = &PlacementPolicy { default, territories: BTreeMap::new() };
        let leaders = &BTreeMap::from([(RIGHT, NodeId(leader))]);
        let (losses, rings, readers) =
            (&Losses::default(), &Rings::default(), &ReadersOf::default());
        let members = &members;
        look(&World { map, members, policy, leaders, losses, rings, readers })
    }

    fn next(map: &ShardMap, state: OperationState, merge: Merge) -> Next {
        next_of(map, state, OperationKind::Merge(merge))
    }

    fn next_of(map: &ShardMap, state: OperationState, kind: OperationKind) -> Next {
        let operation = Operation {
            id: OperationId(7),
            kind,
            shard: LEFT,
            reason: String::new(),
            state,
            steps: Vec::new(),
            started_ms: 0,
            finished_ms: None,
        };
        with_world(map, 1, |world| world.next(&operation))
    }

    /// Carries out steps until the leaders of the two are asked; answers how many there were, and how many
    /// voters there were at most.
    fn settle(left: Vec<Replica>, right: Vec<Replica>) -> (Vec<Replica>, usize, usize) {
        let (mut now, mut leader) = (right, 1);
        let (mut steps, mut most) = (0, 0);
        for _ in 0..40 {
            let map = map(left.clone(), now.clone());
            let [left, right] = [LEFT, RIGHT].map(|id| map.get(id).unwrap());
            let count =
                |now: &[Replica]| now.iter().filter(|it| it.role == ReplicaRole::Voter).count();
            most = most.max(count(&now));
            match with_world(&map, leader, |world| world.bring_together(left, right)) {
                Some(Together::Step(step)) => match step {
                    StepKind::AddLearner { node, raft } => {
                        now.push(Replica { raft, node, role: ReplicaRole::Learner });
                    }
                    StepKind::Promote { raft, .. } => {
                        let learner = now.iter_mut().find(|it| it.raft == raft).unwrap();
                        learner.role = ReplicaRole::Voter;
                    }
                    StepKind::TransferLeader { to, .. } => leader = to.0,
                    StepKind::RemoveVoter { node, raft } => {
                        assert_ne!(node.0, leader, "a leader is not removed");
                        now.retain(|it| it.raft != raft);
                    }
                    StepKind::RemoveLearner { raft, .. } => now.retain(|it| it.raft != raft),
                    StepKind::Replace { .. } | StepKind::PromoteBoth { .. } => panic!("{step:?}"),
                },
                None => return (now, steps, most),
                other => panic!("{other:?}"),
            }
            steps += 1;
        }
        panic!("it does not settle: {now:?}");
    }

    #[test]
    fn the_right_shard_goes_where_the_left_one_is_a_voter_at_a_time() {
        let sorted = |mut replicas: Vec<Replica>| {
            replicas.sort();
            replicas
        };
        for (left, right) in [
            (replicas(&[1, 2, 3], &[]), replicas(&[1, 2, 3], &[])),
            (replicas(&[4, 5, 6], &[7]), replicas(&[1, 2, 3], &[])),
            (replicas(&[2, 3, 4], &[1]), replicas(&[1, 2, 3], &[4, 5])),
            (replicas(&[2, 4, 5], &[]), replicas(&[1, 2, 3], &[])),
        ] {
            let (found, steps, most) = settle(left.clone(), right.clone());
            assert_eq!(sorted(found), sorted(left.clone()), "{left:?} {right:?}");
            assert!(steps > 0 || left == right);
            assert!(most <= 4, "{most} voters");
        }
    }

    #[test]
    fn what_has_to_be_repaired_or_has_too_few_voters_is_not_merged() {
        for (left, right, why) in [
            (replicas(&[1, 2, 9], &[]), replicas(&[1, 2, 3], &[]), "node 9"),
            (replicas(&[1, 2, 3], &[]), replicas(&[1, 2, 9], &[]), "node 9"),
            (replicas(&[2], &[]), replicas(&[1, 2, 3], &[]), "lacks voters"),
        ] {
            let map = map(left, right);
            let [left, right] = [LEFT, RIGHT].map(|id| map.get(id).unwrap());
            match with_world(&map, 1, |world| world.bring_together(left, right)) {
                Some(Together::Never(said)) => assert!(said.contains(why), "{said}"),
                other => panic!("{other:?}"),
            }
        }
    }

    #[test]
    fn the_leader_of_the_left_shard_is_asked_until_the_map_has_it() {
        // Also when somebody is down: what was begun may have to be undone.
        let here = map(replicas(&[1, 2, 9], &[]), replicas(&[1, 2, 3], &[]));
        let merge = Merge::of(here.get(RIGHT).unwrap());
        for (state, goal, committed) in [
            (OperationState::Running, MergeGoal::Merge, false),
            (OperationState::Committing, MergeGoal::Merge, true),
            (OperationState::Reverting { error: None }, MergeGoal::Cancel, false),
        ] {
            let (operation, merge) = (OperationId(7), merge.clone());
            let ask = Errand::Merge { operation, merge: merge.clone(), goal, committed };
            assert_eq!(next(&here, state, merge), Next::Ask(ask));
        }
        let running = OperationState::Running;
        let unknown = Merge { right: ShardId(12), ..merge.clone() };
        assert!(matches!(next(&here, running.clone(), unknown), Next::Wait(_)), "the map is old");
        let is_done = next(&merged(&here), running.clone(), merge.clone());
        assert_eq!(is_done, Next::End(OperationState::Done));
        let other = Merge { version: 7, ..merge };
        assert!(matches!(next(&here, running, other), Next::End(OperationState::Failed { .. })));
    }

    /// Its number is not given again: whoever asked for the half anew would make another shard of it.
    #[test]
    fn a_split_whose_half_was_taken_in_again_is_over() {
        let map = merged(&map(replicas(&[1, 2, 3], &[]), replicas(&[1, 2, 3], &[])));
        let at = ShardKey::new(Space::Sessions, &"IT:lazio".parse().unwrap(), 7);
        let kind = OperationKind::Split(Split { at, child: RIGHT });
        let found = next_of(&map, OperationState::Committing, kind);
        assert_eq!(found, Next::End(OperationState::Done));
    }
}
