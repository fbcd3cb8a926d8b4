//! What to change of a map that exists.

use std::collections::BTreeMap;

use hexpop_edge_config::{NodeId, ShardId};

use super::{
    Finding, Member, PlacementPolicy, Plan, Policy, Step, StepKind,
    spread::{Counts, Led, PopCounts, allowed, balance_leaders, next},
};
use crate::{Replica, ReplicaRole, ShardDescriptor, ShardMap};

/// What to do next, given who leads each shard now (shards without a known leader are missing).
///
/// It replaces replicas whose data directory is gone (the node is there with another one), gives
/// shards that have too few replicas new ones, moves what is on nodes that are being emptied, removes
/// learners that nothing needs, and evens out the leaders. It does not replace a replica whose node is
/// merely down. A shard that has lost its quorum gets no step. Doing the steps and planning again comes to a plan without steps.
#[must_use]
pub fn plan(
    map: &ShardMap,
    members: &[Member],
    policy: &PlacementPolicy,
    leaders: &BTreeMap<ShardId, NodeId>,
) -> Plan {
    let mut load = Counts::default();
    for replica in map.shards().flat_map(|shard| &shard.replicas) {
        load.add(replica.node);
    }
    let mut plan = Plan::default();
    let mut settled = Vec::new();
    for shard in map.shards() {
        let in_every_pop = PlacementPolicy::in_every_pop(&shard.range);
        let of_shard = policy.of(&shard.range);
        let (step, findings) =
            plan_replicas((shard.id, &shard.replicas), of_shard, in_every_pop, members, &load);
        plan.findings.extend(findings);
        match step {
            None => settled.push(shard),
            Some(step) => {
                // The next shard of this plan sees where the replica goes.
                if let StepKind::AddLearner { node, .. } = &step.kind {
                    load.add(*node);
                }
                plan.steps.push(step);
            }
        }
    }
    plan.steps.sort_by_key(|step| urgency(&step.kind));
    plan.steps.extend(plan_leaders(&settled, members, leaders));
    plan
}

/// What to do next for the replicas of the meta group, which is in no map: as [`plan`] does for a
/// shard under `policy`.
#[must_use]
pub fn plan_meta_group(replicas: &[Replica], members: &[Member], policy: &Policy) -> Plan {
    let group = (ShardId::META, replicas);
    let (step, findings) = plan_replicas(group, policy, false, members, &Counts::default());
    Plan { steps: step.into_iter().collect(), findings }
}

const fn urgency(kind: &StepKind) -> u8 {
    match kind {
        StepKind::Replace { .. } => 0,
        StepKind::Promote { .. } => 1,
        StepKind::AddLearner { .. } => 2,
        StepKind::RemoveVoter { .. } => 3,
        StepKind::RemoveLearner { .. } => 4,
        StepKind::TransferLeader { .. } => 5,
    }
}

/// One shard, and what is known of the nodes of its replicas.
struct View<'a> {
    shard: ShardId,
    replicas: &'a [Replica],
    /// Live nodes that may hold a replica.
    allowed: BTreeMap<NodeId, &'a Member>,
    by_node: BTreeMap<NodeId, &'a Member>,
    in_every_pop: bool,
    target: usize,
}

/// The next step for the replicas of one shard, if it needs one.
fn plan_replicas(
    (shard, replicas): (ShardId, &[Replica]),
    of_shard: &Policy,
    in_every_pop: bool,
    members: &[Member],
    load: &Counts,
) -> (Option<Step>, Vec<Finding>) {
    let allowed = allowed(members, of_shard);
    let view = View {
        shard,
        replicas,
        target: of_shard.voters(allowed.len()),
        allowed,
        by_node: members.iter().map(|member| (member.node, member)).collect(),
        in_every_pop,
    };
    let mut findings = view.residency(of_shard);
    let voters = view.voters().count();
    let live = view.voters().filter(|replica| view.is_live(replica)).count();
    if live < voters / 2 + 1 {
        findings
            .push(view.finding(format!("{live} of {voters} voters are up, which is no quorum")));
        return (None, findings);
    }
    let step = view
        .replace_wiped()
        .or_else(|| view.fill_up(load))
        .or_else(|| view.empty(of_shard, load, &mut findings))
        .or_else(|| view.reach_pops(load))
        .or_else(|| view.remove_learner())
        .or_else(|| view.shrink(of_shard));
    if voters < usize::try_from(of_shard.replicas).unwrap_or(usize::MAX) {
        findings.push(view.finding(format!("{voters} voters of {}", of_shard.replicas)));
    }
    (step, findings)
}

impl<'a> View<'a> {
    fn step(&self, kind: StepKind, reason: String) -> Step {
        Step { shard: self.shard, kind, reason }
    }

    fn finding(&self, reason: String) -> Finding {
        Finding { shard: self.shard, reason }
    }

    fn is_live(&self, replica: &Replica) -> bool {
        self.by_node
            .get(&replica.node)
            .is_some_and(|member| member.alive && member.raft == replica.raft)
    }

    fn voters(&self) -> impl Iterator<Item = &'a Replica> {
        self.replicas.iter().filter(|replica| replica.role == ReplicaRole::Voter)
    }

    fn learners(&self) -> impl Iterator<Item = &'a Replica> {
        self.replicas.iter().filter(|replica| replica.role == ReplicaRole::Learner)
    }

    fn residency(&self, policy: &Policy) -> Vec<Finding> {
        self.replicas
            .iter()
            .filter_map(|replica| self.by_node.get(&replica.node))
            .filter(|member| !member.carries(&policy.labels))
            .map(|member| {
                self.finding(format!("node {} lacks a label that the shard needs", member.node))
            })
            .collect()
    }

    /// A replica of a data directory that its node no longer has gives way to one of the new directory.
    fn replace_wiped(&self) -> Option<Step> {
        self.replicas.iter().find_map(|old| {
            let member = self.by_node.get(&old.node)?;
            if !member.alive || member.raft == old.raft {
                return None;
            }
            let (node, new) = (member.node, member.raft);
            let reason = format!("node {node} came back without the data of replica {}", old.raft);
            if old.role == ReplicaRole::Learner {
                return Some(self.step(StepKind::RemoveLearner { node, raft: old.raft }, reason));
            }
            let known = self.replicas.iter().find(|replica| replica.raft == new);
            let kind = match known.map(|replica| replica.role) {
                Some(ReplicaRole::Voter) => StepKind::RemoveVoter { node, raft: old.raft },
                Some(ReplicaRole::Learner) => StepKind::Replace { node, old: old.raft, new },
                None if self.allowed.contains_key(&node) => {
                    StepKind::AddLearner { node, raft: new }
                }
                None => return None,
            };
            Some(self.step(kind, reason))
        })
    }

    /// Another voter, where there are fewer than there should be.
    fn fill_up(&self, load: &Counts) -> Option<Step> {
        let voters: Vec<&Replica> = self.voters().collect();
        if voters.len() >= self.target {
            return None;
        }
        let kind = self.another(&voters, load)?;
        Some(self.step(kind, format!("{} voters of {}", voters.len(), self.target)))
    }

    /// One more voter beside these, where it spreads them best: a learner that is there already becomes one.
    fn another(&self, voters: &[&Replica], load: &Counts) -> Option<StepKind> {
        let mut pops = PopCounts::default();
        for member in voters.iter().filter_map(|replica| self.by_node.get(&replica.node)) {
            pops.add(&member.pop);
        }
        let learns = |member: &Member| {
            self.learners().any(|learner| learner.node == member.node && self.is_live(learner))
        };
        let candidates = self
            .allowed
            .values()
            .copied()
            .filter(|member| self.voters().all(|replica| replica.node != member.node));
        let member = next(candidates, &pops, |member| (!learns(member), load.of(member.node)))?;
        let (node, raft) = (member.node, member.raft);
        Some(if learns(member) {
            StepKind::Promote { node, raft }
        } else {
            StepKind::AddLearner { node, raft }
        })
    }

    /// A replica on a node that is being emptied goes once another node has taken its place.
    fn empty(&self, policy: &Policy, load: &Counts, findings: &mut Vec<Finding>) -> Option<Step> {
        let drains = |node: NodeId| self.by_node.get(&node).is_some_and(|member| member.draining);
        if let Some(learner) = self.learners().find(|learner| drains(learner.node)) {
            let (node, raft) = (learner.node, learner.raft);
            let reason = format!("node {node} is being emptied");
            return Some(self.step(StepKind::RemoveLearner { node, raft }, reason));
        }
        let old = self.voters().find(|voter| drains(voter.node))?;
        let reason = format!("node {} is being emptied", old.node);
        let others: Vec<&Replica> =
            self.voters().filter(|voter| !drains(voter.node) && self.is_live(voter)).collect();
        // As many as there would be if no node were emptied.
        let holders =
            self.by_node.values().filter(|member| member.alive && member.carries(&policy.labels));
        if others.len() >= policy.voters(holders.count()) {
            let kind = StepKind::RemoveVoter { node: old.node, raft: old.raft };
            return Some(self.step(kind, reason));
        }
        // Spread beside all that stay: who is down may come back.
        let staying: Vec<&Replica> = self.voters().filter(|voter| !drains(voter.node)).collect();
        let Some(kind) = self.another(&staying, load) else {
            findings
                .push(self.finding(format!("{reason}, and no other node may take its replica")));
            return None;
        };
        Some(self.step(kind, reason))
    }

    /// A learner in a PoP that should have a replica and has none.
    fn reach_pops(&self, load: &Counts) -> Option<Step> {
        if !self.in_every_pop {
            return None;
        }
        let mut pops = PopCounts::default();
        for replica in self.replicas {
            if let Some(member) = self.by_node.get(&replica.node) {
                pops.add(&member.pop);
            }
        }
        let unreached = self.allowed.values().copied().filter(|member| pops.of(&member.pop) == 0);
        let member = next(unreached, &pops, |member| load.of(member.node))?;
        let reason = format!("PoP {} has no replica of the directory", member.pop);
        let kind = StepKind::AddLearner { node: member.node, raft: member.raft };
        Some(self.step(kind, reason))
    }

    /// A voter goes where there are more than were asked for, all of them up: what a move that was given up
    /// left behind. The last one of the PoP that has most of them.
    fn shrink(&self, policy: &Policy) -> Option<Step> {
        let voters: Vec<&Replica> = self.voters().collect();
        let asked = usize::try_from(policy.replicas).unwrap_or(usize::MAX).max(1);
        if voters.len() <= asked || !voters.iter().all(|voter| self.is_live(voter)) {
            return None;
        }
        let mut pops = PopCounts::default();
        for member in voters.iter().filter_map(|replica| self.by_node.get(&replica.node)) {
            pops.add(&member.pop);
        }
        let crowd = |voter: &&&Replica| {
            self.by_node.get(&voter.node).map_or(0, |member| pops.of(&member.pop))
        };
        let gone = voters.iter().max_by_key(crowd)?;
        let kind = StepKind::RemoveVoter { node: gone.node, raft: gone.raft };
        Some(self.step(kind, format!("{} voters, and {asked} are asked for", voters.len())))
    }

    /// A learner goes that neither becomes a voter nor is the only replica of its PoP.
    fn remove_learner(&self) -> Option<Step> {
        let mut reached = PopCounts::default();
        for member in self.voters().filter_map(|replica| self.by_node.get(&replica.node)) {
            reached.add(&member.pop);
        }
        self.learners().find_map(|learner| {
            let member = self.by_node.get(&learner.node)?;
            let replaces = self.voters().any(|voter| voter.node == learner.node);
            let needed = self.in_every_pop && reached.of(&member.pop) == 0;
            reached.add(&member.pop);
            if needed || replaces {
                return None;
            }
            let kind = StepKind::RemoveLearner { node: learner.node, raft: learner.raft };
            Some(self.step(kind, "the shard has its voters without this learner".into()))
        })
    }
}

fn plan_leaders(
    settled: &[&ShardDescriptor],
    members: &[Member],
    leaders: &BTreeMap<ShardId, NodeId>,
) -> Vec<Step> {
    let live = |replica: &&Replica| {
        members.iter().any(|member| {
            member.alive
                && !member.draining
                && member.node == replica.node
                && member.raft == replica.raft
        })
    };
    let drains = |node: NodeId| {
        members.iter().any(|member| member.node == node && member.draining && member.alive)
    };
    let mut leads = Counts::default();
    for leader in leaders.values() {
        leads.add(*leader);
    }
    let mut led: Vec<Led> = settled
        .iter()
        .filter_map(|shard| {
            let leader = *leaders.get(&shard.id)?;
            let voters: Vec<NodeId> =
                shard.voters().filter(live).map(|replica| replica.node).collect();
            voters.contains(&leader).then_some(Led { shard: shard.id, leader, voters })
        })
        .collect();
    let before = leads.clone();
    // Away from nodes that are being emptied, whatever that does to the balance.
    let mut away = Vec::new();
    for shard in settled {
        let Some(from) = leaders.get(&shard.id).copied().filter(|leader| drains(*leader)) else {
            continue;
        };
        let takers = shard.voters().filter(live).map(|replica| replica.node);
        if let Some(to) = takers.min_by_key(|node| (leads.of(*node), *node)) {
            leads.remove(from);
            leads.add(to);
            let reason = format!("node {from} is being emptied");
            away.push(Step {
                shard: shard.id,
                kind: StepKind::TransferLeader { from, to },
                reason,
            });
        }
    }
    let balanced =
        balance_leaders(&mut led, &mut leads).into_iter().map(|(shard, from, to)| Step {
            shard,
            kind: StepKind::TransferLeader { from, to },
            reason: format!(
                "node {from} leads {} shards, node {to} {}",
                before.of(from),
                before.of(to)
            ),
        });
    away.into_iter().chain(balanced).collect()
}
