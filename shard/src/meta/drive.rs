//! How an operation goes on, given what is.
//!
//! Nothing is remembered between two looks but the operation itself: whoever leads the meta group by then
//! goes on with it. Each errand is harmless to repeat.

use hexpop_edge_config::{
    Epoch, NodeId, RaftId,
    planted::{self, Bug},
};
use serde::{Deserialize, Serialize};

use super::{Operation, OperationId, OperationKind, OperationState};
use crate::{
    Cause, Member, Merge, MergeGoal, MergeOp, Relocation, Replica, ReplicaRole, ShardDescriptor,
    Split, StepKind, World,
};

/// What the leader of a shard is asked to do for an operation.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Errand {
    /// To change replicas or hand the leadership over.
    Step {
        /// What to do.
        step: StepKind,
        /// The shard that it is for. What was asked for a shard with other replicas is not done: together
        /// with what has changed it might leave too few of them.
        epoch: Epoch,
    },
    /// To divide the shard.
    Split(Split),
    /// To let placement have the shard again: the operation has ended.
    Release,
    /// To have the shard absorb its neighbour, or to undo what was begun of that.
    Merge {
        /// The operation.
        operation: OperationId,
        /// What is to be absorbed.
        merge: Merge,
        /// What is to become of it.
        goal: MergeGoal,
        /// It is recorded that it cannot be cancelled any more.
        committed: bool,
    },
    /// As the right shard of a merge: to take this step.
    MergeRight(MergeOp),
    /// As the right shard of a merge: to say what is seen of it.
    LookRight,
}

/// What is next for an operation.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Next {
    /// It is to be recorded that it cannot be cancelled any more.
    Commit,
    /// The leader of the shard is to be asked.
    Ask(Errand),
    /// It has to wait for something, in words.
    Wait(String),
    /// It is over.
    End(OperationState),
}

/// Whether a voter may leave its shard.
enum Parting {
    Goes,
    /// Not yet, in words.
    Waits(String),
    /// The shard needs it, in words.
    Stays(String),
}

impl World<'_> {
    /// What is next for a running operation.
    #[must_use]
    pub fn next(&self, operation: &Operation) -> Next {
        let Some(shard) = self.map.get(operation.shard) else {
            return failed(format!("there is no shard {}", operation.shard));
        };
        match &operation.kind {
            OperationKind::Split(split) => self.split(operation, shard, split),
            OperationKind::Move { from, to } => self.go_on_moving(shard, *from, *to),
            OperationKind::Relocate(relocation) => self.relocate(shard, relocation),
            OperationKind::Placement(step) => ask(shard, step.clone()),
            OperationKind::Merge(merge) => self.merge(operation, shard, merge),
            OperationKind::Drain { .. } => {
                failed("a node is drained shard by shard, not by one operation".to_owned())
            }
        }
    }

    fn split(&self, operation: &Operation, shard: &ShardDescriptor, split: &Split) -> Next {
        // Also when the other half has been taken in again since.
        if self.map.was_used(split.child) {
            return Next::End(OperationState::Done);
        }
        if operation.state != OperationState::Committing {
            if let Err(refusal) = split.check(shard.id, &shard.range) {
                return failed(refusal.to_string());
            }
            return Next::Commit;
        }
        // The shard itself knows whether it is divided already.
        Next::Ask(Errand::Split(split.clone()))
    }

    fn go_on_moving(&self, shard: &ShardDescriptor, from: NodeId, to: NodeId) -> Next {
        let (old, new) = (self.on(shard, from), self.on(shard, to));
        let Some(old) = old else {
            return match new {
                Some(_) => Next::End(OperationState::Done),
                None => failed(format!("node {from} holds no replica of shard {}", shard.id)),
            };
        };
        let member = match self.may_hold(shard, to) {
            Ok(member) => member,
            Err(why) => return failed(why),
        };
        if !member.alive {
            return Next::Wait(format!("node {to} is not up"));
        }
        if new.is_some_and(|new| self.is_back_without(new)) {
            // Placement replaces it first; it does while nobody runs errands there.
            return Next::Wait(format!("node {to} came back without its replica's data"));
        }
        let Some(new) = new else {
            return ask(shard, StepKind::AddLearner { node: to, raft: member.raft });
        };
        let (node, raft, lost) = (to, new.raft, self.is_back_without(old));
        let step = match (old.role, new.role) {
            (ReplicaRole::Learner, _) => StepKind::RemoveLearner { node: from, raft: old.raft },
            // What is lost counts as a voter no longer than it must, and leads nothing.
            (ReplicaRole::Voter, ReplicaRole::Learner) if lost => {
                StepKind::Replace { node, old: old.raft, new: raft }
            }
            (ReplicaRole::Voter, ReplicaRole::Voter) if lost => {
                StepKind::RemoveVoter { node: from, raft: old.raft }
            }
            (ReplicaRole::Voter, ReplicaRole::Learner) => StepKind::Promote { node, raft },
            (ReplicaRole::Voter, ReplicaRole::Voter) => match self.parting(shard, old) {
                Parting::Goes => self.take_over(shard, old, to),
                Parting::Waits(why) => return Next::Wait(why),
                Parting::Stays(why) => {
                    return failed(format!(
                        "node {from} keeps its replica beside node {to}: {why}"
                    ));
                }
            },
        };
        ask(shard, step)
    }

    /// Whether a voter that is up may go, now that another one took its place.
    ///
    /// A shard that lost another voter meanwhile keeps this one, unless it must not be there: with fewer than
    /// were asked for, the next loss might be that of the quorum, and the operation would keep repair from it.
    /// And those that stay must have a quorum that is up, or the change would never commit, nor anything
    /// behind it.
    fn parting(&self, shard: &ShardDescriptor, old: &Replica) -> Parting {
        let is_live = |voter: &&Replica| self.is_up(voter.raft);
        let spare = |voters: usize, live: usize| live.checked_sub(voters / 2 + 1);
        let staying = || shard.voters().filter(|voter| voter.raft != old.raft);
        let (voters, live) = (shard.voters().count(), shard.voters().filter(is_live).count());
        let (kept, kept_live) = (staying().count(), staying().filter(is_live).count());
        let left = spare(kept, kept_live);
        let asked = usize::try_from(self.policy.of(&shard.range).replicas).unwrap_or(usize::MAX);
        let is_thinner = kept < asked
            && spare(voters, live).is_some_and(|spare| left.is_none_or(|left| left < spare));
        if is_thinner && self.may_hold(shard, old.node).is_ok() {
            let why = format!("{kept} voters would be left, and {asked} are asked for");
            return Parting::Stays(why);
        }
        if left.is_none() {
            return Parting::Waits(format!("{kept_live} of {kept} voters that stay are up"));
        }
        Parting::Goes
    }

    /// A shard's replica on a node. Where the node came back with another data directory it may have two;
    /// the one whose data is lost is to go first.
    fn on<'a>(&self, shard: &'a ShardDescriptor, node: NodeId) -> Option<&'a Replica> {
        let mut on = shard.replicas.iter().filter(|replica| replica.node == node);
        let lost = on.clone().find(|replica| self.is_back_without(replica));
        lost.or_else(|| on.next())
    }

    /// Whether a node is up with this data directory.
    fn is_up(&self, raft: RaftId) -> bool {
        self.members.iter().any(|member| member.alive && member.raft == raft)
    }

    /// Whether a replica's node is up with another data directory than the replica's.
    pub(super) fn is_back_without(&self, replica: &Replica) -> bool {
        let member = self.members.iter().find(|member| member.node == replica.node);
        member.is_some_and(|member| member.alive && member.raft != replica.raft)
    }

    /// As a move by hand goes on, but for three things. It is given up when the node that is to take the
    /// replica is not there for it any more, or the shard has lost its quorum: placement finds another one. It ends when a node that was down
    /// is back before its replica was replaced. And a voter whose node is down goes in the same change that
    /// lets the new one vote: with both of them counted the shard would stand still if the new one failed.
    fn relocate(&self, shard: &ShardDescriptor, relocation: &Relocation) -> Next {
        let Relocation { from, old, to, cause } = *relocation;
        let held = shard.replicas.iter().find(|replica| replica.raft == old);
        let new = shard.replica_on(to);
        let Some(held) = held else {
            return match new {
                Some(_) => Next::End(OperationState::Done),
                None => failed(format!("node {from} holds no replica of shard {}", shard.id)),
            };
        };
        let is_live = |voter: &&Replica| self.is_up(voter.raft);
        let (voters, live) = (shard.voters().count(), shard.voters().filter(is_live).count());
        if live < voters / 2 + 1 {
            // It would keep its place among those that may move at a time for as long as that lasts.
            return failed(format!("{live} of {voters} voters are up, which is no quorum"));
        }
        let member = match self.may_hold(shard, to) {
            Ok(member) => member,
            Err(why) => return failed(why),
        };
        if !member.alive || member.draining || new.is_some_and(|new| new.raft != member.raft) {
            return failed(format!("node {to} is not there for it any more"));
        }
        let is_up = self.is_up(old);
        let votes = new.is_some_and(|new| new.role == ReplicaRole::Voter);
        if cause == Cause::Repair && is_up && !votes {
            return Next::End(OperationState::Cancelled);
        }
        if is_up {
            return self.go_on_moving(shard, from, to);
        }
        let (node, raft) = (to, member.raft);
        let step = match (held.role, new.map(|new| new.role)) {
            (_, None) => StepKind::AddLearner { node, raft },
            (ReplicaRole::Learner, Some(_)) => StepKind::RemoveLearner { node: from, raft: old },
            (ReplicaRole::Voter, Some(ReplicaRole::Learner)) => {
                StepKind::Replace { node, old, new: raft }
            }
            (ReplicaRole::Voter, Some(ReplicaRole::Voter)) => {
                StepKind::RemoveVoter { node: from, raft: old }
            }
        };
        ask(shard, step)
    }

    /// The voter that is to go leads no more first.
    fn take_over(&self, shard: &ShardDescriptor, old: &Replica, to: NodeId) -> StepKind {
        let Replica { node: from, raft, .. } = *old;
        if self.leaders.get(&shard.id) == Some(&from) {
            StepKind::TransferLeader { from, to }
        } else {
            StepKind::RemoveVoter { node: from, raft }
        }
    }

    /// The member that a replica is to go to.
    ///
    /// # Errors
    /// Why it may not hold one, in words: residency above all.
    pub fn may_hold(&self, shard: &ShardDescriptor, node: NodeId) -> Result<&Member, String> {
        let member = self.members.iter().find(|member| member.node == node);
        let member = member.ok_or_else(|| format!("there is no node {node}"))?;
        let labels = &self.policy.of(&shard.range).labels;
        if member.carries(labels) || planted::has(Bug::MoveAnywhere) {
            return Ok(member);
        }
        let lacking: Vec<&str> = labels.difference(&member.labels).map(String::as_str).collect();
        let what = shard.range.single_territory();
        let what = what.map_or_else(|| shard.range.to_string(), |territory| territory.to_string());
        Err(format!(
            "residency forbids it: shard {} ({what}) stays on nodes with the label {}, which node {node} lacks",
            shard.id,
            lacking.join(", ")
        ))
    }
}

fn ask(shard: &ShardDescriptor, step: StepKind) -> Next {
    Next::Ask(Errand::Step { step, epoch: shard.epoch })
}

pub(super) fn failed(error: String) -> Next {
    Next::End(OperationState::Failed { error })
}

#[cfg(test)]
mod tests {
    use std::collections::{BTreeMap, BTreeSet};

    use hexpop_edge_config::ShardId;

    use super::*;
    use crate::{
        KeyRange, Losses, PlacementPolicy, Policy, ReadersOf, Rings, ShardKey, ShardMap, Space,
    };

    fn member(node: u32, labels: &[&str]) -> Member {
        Member {
            node: NodeId(node),
            raft: RaftId(u64::from(node)),
            pop: "mil".parse().unwrap(),
            labels: labels.iter().map(ToString::to_string).collect(),
            alive: true,
            draining: false,
        }
    }

    fn replica(node: u32, role: ReplicaRole) -> Replica {
        Replica { raft: RaftId(u64::from(node)), node: NodeId(node), role }
    }

    fn map(replicas: Vec<Replica>) -> ShardMap {
        let shards = Space::ALL.into_iter().zip(1..).map(|(space, id)| ShardDescriptor {
            id: ShardId(id),
            range: KeyRange::space(space),
            epoch: Epoch::FIRST,
            replicas: replicas.clone(),
        });
        ShardMap::create(shards.collect()).unwrap()
    }

    fn operation(kind: OperationKind, state: OperationState) -> Operation {
        Operation {
            id: OperationId(1),
            kind,
            shard: ShardId(3),
            reason: String::new(),
            state,
            steps: Vec::new(),
            started_ms: 0,
            finished_ms: None,
        }
    }

    fn next(replicas: Vec<Replica>, leader: u32, kind: OperationKind) -> Next {
        let default = Policy { labels: BTreeSet::from(["eu".to_owned()]), replicas: 3 };
        let policy = PlacementPolicy { default, territories: BTreeMap::new() };
        let with_label = [1, 4, 6, 7].map(|node| member(node, &["eu"]));
        let members: Vec<Member> = with_label.into_iter().chain([member(5, &[])]).collect();
        let leaders = BTreeMap::from([(ShardId(3), NodeId(leader))]);
        let map = map(replicas);
        let losses = Losses::default();
        let (map, members, policy, leaders) = (&map, &members[..], &policy, &leaders);
        let (rings, readers) = (&Rings::default(), &ReadersOf::default());
        let world = World { map, members, policy, leaders, losses: &losses, rings, readers };
        world.next(&operation(kind, OperationState::Running))
    }

    #[test]
    fn a_move_adds_promotes_hands_over_and_removes() {
        use ReplicaRole::{Learner, Voter};
        let kind = OperationKind::Move { from: NodeId(1), to: NodeId(4) };
        let step = |replicas: &[(u32, ReplicaRole)], leader| {
            let replicas = replicas.iter().map(|(node, role)| replica(*node, *role)).collect();
            next(replicas, leader, kind.clone())
        };
        let ask = |step| Next::Ask(Errand::Step { step, epoch: Epoch::FIRST });
        let (node, raft) = (NodeId(4), RaftId(4));
        assert_eq!(step(&[(1, Voter)], 1), ask(StepKind::AddLearner { node, raft }));
        assert_eq!(step(&[(1, Voter), (4, Learner)], 1), ask(StepKind::Promote { node, raft }));
        let (from, to) = (NodeId(1), NodeId(4));
        let both = [(1, Voter), (4, Voter)];
        assert_eq!(step(&both, 1), ask(StepKind::TransferLeader { from, to }));
        let gone = StepKind::RemoveVoter { node: NodeId(1), raft: RaftId(1) };
        assert_eq!(step(&both, 4), ask(gone));
        assert_eq!(step(&[(4, Voter)], 4), Next::End(OperationState::Done));
    }

    /// Node 4 is up with data directory 4, and lost the one that the shard knows it by.
    #[test]
    fn a_move_from_a_node_that_lost_its_data_replaces_what_is_lost_and_waits_for_nobody() {
        use ReplicaRole::{Learner, Voter};
        let kind = OperationKind::Move { from: NodeId(4), to: NodeId(1) };
        let lost = Replica { raft: RaftId(44), node: NodeId(4), role: Voter };
        let step = |others: &[(u32, ReplicaRole)]| {
            let others = others.iter().map(|(node, role)| replica(*node, *role));
            // Whichever of the two the shard lists first.
            let mut replicas: Vec<Replica> = others.chain([lost]).collect();
            let found = next(replicas.clone(), 1, kind.clone());
            replicas.reverse();
            assert_eq!(next(replicas, 1, kind.clone()), found);
            found
        };
        let ask = |step| Next::Ask(Errand::Step { step, epoch: Epoch::FIRST });
        let (node, raft) = (NodeId(1), RaftId(1));
        assert_eq!(step(&[]), ask(StepKind::AddLearner { node, raft }));
        let replace = ask(StepKind::Replace { node, old: RaftId(44), new: raft });
        assert_eq!(step(&[(1, Learner)]), replace);
        // Placement has begun to replace it on its own node meanwhile.
        assert_eq!(step(&[(1, Learner), (4, Learner)]), replace);
        let gone = StepKind::RemoveVoter { node: NodeId(4), raft: RaftId(44) };
        assert_eq!(step(&[(1, Voter)]), ask(gone));
    }

    #[test]
    fn a_move_to_a_node_that_lost_its_data_waits_for_placement() {
        use ReplicaRole::{Learner, Voter};
        let kind = OperationKind::Move { from: NodeId(1), to: NodeId(4) };
        let lost = Replica { raft: RaftId(44), node: NodeId(4), role: Learner };
        let replicas = vec![replica(1, Voter), lost, replica(4, Learner)];
        let found = next(replicas, 1, kind);
        let Next::Wait(why) = found else { panic!("{found:?}") };
        assert!(why.contains("node 4 came back without"), "{why}");
    }

    #[test]
    fn a_move_takes_no_voter_that_the_others_need() {
        use ReplicaRole::{Learner, Voter};
        let kind = OperationKind::Move { from: NodeId(1), to: NodeId(4) };
        let step = |replicas: &[(u32, ReplicaRole)]| {
            let replicas = replicas.iter().map(|(node, role)| replica(*node, *role)).collect();
            next(replicas, 4, kind.clone())
        };
        let gone = StepKind::RemoveVoter { node: NodeId(1), raft: RaftId(1) };
        let gone = Next::Ask(Errand::Step { step: gone, epoch: Epoch::FIRST });
        let (a, b) = (6, 7);
        assert_eq!(step(&[(1, Voter), (a, Voter), (b, Voter), (4, Voter)]), gone);
        // Another voter was lost and removed, and the one that replaces it does not vote yet.
        let found = step(&[(1, Voter), (a, Voter), (4, Voter), (b, Learner)]);
        let Next::End(OperationState::Failed { error }) = found else { panic!("{found:?}") };
        assert!(error.contains("2 voters would be left, and 3 are asked for"), "{error}");
        // Nodes 8 and 9 are down. With one of them there is no more to spare than before the move.
        assert_eq!(step(&[(1, Voter), (a, Voter), (8, Voter), (4, Voter)]), gone);
        // But where it is one of those that are needed: repair would be kept from the shard.
        let found = step(&[(1, Voter), (8, Voter), (4, Voter)]);
        assert!(matches!(found, Next::End(OperationState::Failed { .. })), "{found:?}");
        // Where it must not be it does not stay: node 5 lacks the label.
        let kind = OperationKind::Move { from: NodeId(5), to: NodeId(4) };
        let replicas = [5, 8, 4].map(|node| replica(node, Voter)).to_vec();
        let found = next(replicas, 4, kind.clone());
        let Next::Wait(why) = found else { panic!("{found:?}") };
        assert!(why.contains("1 of 2 voters that stay are up"), "{why}");
        let replicas = [5, a, 4].map(|node| replica(node, Voter)).to_vec();
        let gone = StepKind::RemoveVoter { node: NodeId(5), raft: RaftId(5) };
        let gone = Next::Ask(Errand::Step { step: gone, epoch: Epoch::FIRST });
        assert_eq!(next(replicas, 4, kind), gone);
    }

    #[test]
    fn residency_is_refused_in_words() {
        let kind = OperationKind::Move { from: NodeId(1), to: NodeId(5) };
        let found = next(vec![replica(1, ReplicaRole::Voter)], 1, kind);
        let Next::End(OperationState::Failed { error }) = found else { panic!("{found:?}") };
        assert!(error.contains("residency") && error.contains("eu"), "{error}");
    }

    #[test]
    fn a_split_is_recorded_as_past_cancelling_before_it_is_asked_for() {
        let at = ShardKey::new(Space::Sessions, &"IT:lazio".parse().unwrap(), 7);
        let kind = OperationKind::Split(Split { at, child: ShardId(9) });
        assert_eq!(next(Vec::new(), 1, kind), Next::Commit);
        let outside = ShardKey::directory("x");
        let kind = OperationKind::Split(Split { at: outside, child: ShardId(9) });
        assert!(matches!(next(Vec::new(), 1, kind), Next::End(OperationState::Failed { .. })));
    }
}
