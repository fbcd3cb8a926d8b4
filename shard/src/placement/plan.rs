//! What to change of a map that exists.

use std::collections::BTreeMap;

use hexpop_edge_config::{NodeId, RaftId, ShardId};

use super::{
    Finding, Learners, Losses, Member, PlacementPolicy, Plan, Policy, Step, StepKind, World,
    Writers,
    leaders::{Leading, plan_leaders},
    learners::Nearness,
    nodes::{Holders, Nodes},
    readers::Near,
    rings::Home,
    spread::{Counts, PopCounts, next, rank},
};
use crate::{Replica, ReplicaRole, ShardDescriptor};

/// What the leaders of shards do next, each for its own.
///
/// They replace replicas whose data directory is gone (the node is there with another one), give
/// shards that have too few replicas new ones, move what is on nodes that are being emptied, give PoPs
/// that ask for much a learner, remove replicas that nothing needs, and even themselves out. A replica whose node is down they leave; see
/// [`plan_moves`](super::plan_moves) for what becomes of it. A shard that has lost its quorum gets no
/// step. Doing the steps and planning again comes to a plan without steps.
#[must_use]
pub fn plan(world: &World<'_>) -> Plan {
    plan_led(world, &BTreeMap::new())
}

/// As [`plan`], for a node that leads shards and has counted where their writes come in: what it leads goes
/// there, if that lasts.
#[must_use]
pub fn plan_led(world: &World<'_>, writers: &BTreeMap<ShardId, Writers>) -> Plan {
    let nodes = Nodes::new(world.members, world.policy);
    let mut load = Counts::default();
    for replica in world.map.shards().flat_map(|shard| &shard.replicas) {
        load.add(replica.node);
    }
    let mut plan = Plan::default();
    let mut settled = Vec::new();
    for shard in world.map.shards() {
        let policy = world.policy.of(&shard.range);
        let Some(holders) = nodes.holders(policy) else { continue };
        let (step, findings) = plan_shard(shard, world, &nodes, (policy, holders), &load);
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
    let leading = Leading { leaders: world.leaders, writers };
    plan.steps.extend(plan_leaders(&settled, &nodes, leading));
    plan
}

/// The next step for the replicas of one shard, if it needs one.
pub(super) fn plan_shard(
    shard: &ShardDescriptor,
    world: &World<'_>,
    nodes: &Nodes<'_>,
    (policy, holders): (&Policy, &Holders<'_>),
    load: &Counts,
) -> (Option<Step>, Vec<Finding>) {
    let in_every_pop = PlacementPolicy::in_every_pop(&shard.range);
    let near = world.readers.of(shard.id);
    // As nearly all of them are: nothing to find, and nothing to do.
    if !in_every_pop && near.hot().is_empty() && is_settled(&shard.replicas, policy, holders) {
        return (None, Vec::new());
    }
    let home = home(shard, world, nodes, holders);
    let learners = &world.readers.learners;
    let known = Known { nodes, holders, losses: world.losses, home, near, learners };
    plan_replicas((shard.id, &shard.replicas), policy, in_every_pop, known, load)
}

/// Where the voters of a shard are to be.
pub(super) fn home<'a>(
    shard: &ShardDescriptor,
    world: &World<'a>,
    nodes: &Nodes<'a>,
    holders: &Holders<'a>,
) -> Home<'a> {
    let voters = shard.voters().filter_map(|voter| nodes.get(voter.node));
    world.rings.home(&shard.range, voters, &holders.pops)
}

/// Whether a shard has its voters, as many as asked for and no more, on nodes that may hold them.
fn is_settled(replicas: &[Replica], policy: &Policy, holders: &Holders<'_>) -> bool {
    let is_in_place = |replica: &Replica| {
        let member = holders.allowed.get(replica.node);
        replica.role == ReplicaRole::Voter && member.is_some_and(|it| it.raft == replica.raft)
    };
    usize::try_from(policy.replicas) == Ok(replicas.len()) && replicas.iter().all(is_in_place)
}

const fn urgency(kind: &StepKind) -> u8 {
    match kind {
        StepKind::Replace { .. } => 0,
        StepKind::Promote { .. } | StepKind::PromoteBoth { .. } => 1,
        StepKind::AddLearner { .. } => 2,
        StepKind::RemoveVoter { .. } => 3,
        StepKind::RemoveLearner { .. } => 4,
        StepKind::TransferLeader { .. } => 5,
    }
}

/// What is known of the nodes, for the shards of one policy.
#[derive(Clone, Copy)]
pub(super) struct Known<'a> {
    pub(super) nodes: &'a Nodes<'a>,
    pub(super) holders: &'a Holders<'a>,
    pub(super) losses: &'a Losses,
    /// Where its voters are to be.
    pub(super) home: Home<'a>,
    /// Where its readers are.
    pub(super) near: Near<'a>,
    /// How its learners come along.
    pub(super) learners: &'a Learners,
}

/// One shard, and what is known of the nodes of its replicas.
pub(super) struct View<'a> {
    shard: ShardId,
    replicas: &'a [Replica],
    known: Known<'a>,
    in_every_pop: bool,
    target: usize,
}

fn plan_replicas(
    group: (ShardId, &[Replica]),
    of_shard: &Policy,
    in_every_pop: bool,
    known: Known<'_>,
    load: &Counts,
) -> (Option<Step>, Vec<Finding>) {
    let view = View::new(group, of_shard, in_every_pop, known);
    let mut findings = view.residency(of_shard);
    if let Err(finding) = view.has_quorum() {
        findings.push(finding);
        return (None, findings);
    }
    let step = view
        .replace_wiped()
        .or_else(|| view.fill_up(load))
        .or_else(|| view.empty(of_shard, load, &mut findings))
        .or_else(|| view.reach_pops(load))
        .or_else(|| view.reach_readers(load))
        .or_else(|| view.remove_learner(of_shard))
        .or_else(|| view.shrink(of_shard));
    findings.extend(view.too_few(of_shard));
    (step, findings)
}

impl<'a> View<'a> {
    pub(super) fn new(
        (shard, replicas): (ShardId, &'a [Replica]),
        policy: &Policy,
        in_every_pop: bool,
        known: Known<'a>,
    ) -> Self {
        let target = policy.voters(known.holders.allowed.len());
        Self { shard, replicas, known, in_every_pop, target }
    }

    /// Without a quorum nothing can be changed.
    pub(super) fn has_quorum(&self) -> Result<(), Finding> {
        let voters = self.voters().count();
        let live = self.voters().filter(|replica| self.is_live(replica)).count();
        if live > voters / 2 {
            return Ok(());
        }
        Err(self.finding(format!("{live} of {voters} voters are up, which is no quorum")))
    }

    pub(super) fn too_few(&self, policy: &Policy) -> Option<Finding> {
        let voters = self.voters().count();
        let is_short = usize::try_from(policy.replicas).is_ok_and(|asked| voters < asked);
        is_short.then(|| self.finding(format!("{voters} voters of {}", policy.replicas)))
    }

    pub(super) fn step(&self, kind: StepKind, reason: String) -> Step {
        Step { shard: self.shard, kind, reason, for_readers: false }
    }

    fn finding(&self, reason: String) -> Finding {
        Finding { shard: self.shard, reason }
    }

    pub(super) fn is_live(&self, replica: &Replica) -> bool {
        self.known.nodes.is_live(replica)
    }

    pub(super) fn member(&self, node: NodeId) -> Option<&'a Member> {
        self.known.nodes.get(node)
    }

    pub(super) fn is_lost(&self, replica: &Replica) -> bool {
        !self.is_live(replica) && self.known.losses.is_lost(replica.raft)
    }

    pub(super) fn voters(&self) -> impl Iterator<Item = &'a Replica> {
        self.replicas.iter().filter(|replica| replica.role == ReplicaRole::Voter)
    }

    fn learners(&self) -> impl Iterator<Item = &'a Replica> {
        self.replicas.iter().filter(|replica| replica.role == ReplicaRole::Learner)
    }

    fn residency(&self, policy: &Policy) -> Vec<Finding> {
        self.replicas
            .iter()
            .filter_map(|replica| self.member(replica.node))
            .filter(|member| !member.carries(&policy.labels))
            .map(|member| {
                self.finding(format!("node {} lacks a label that the shard needs", member.node))
            })
            .collect()
    }

    /// A replica of a data directory that its node no longer has gives way to one of the new directory.
    pub(super) fn replace_wiped(&self) -> Option<Step> {
        self.replicas.iter().find_map(|old| {
            let member = self.member(old.node)?;
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
                None if self.known.holders.allowed.has(node) => {
                    StepKind::AddLearner { node, raft: new }
                }
                None => return None,
            };
            Some(self.step(kind, reason))
        })
    }

    /// Another voter, where there are fewer than there should be.
    pub(super) fn fill_up(&self, load: &Counts) -> Option<Step> {
        let voters: Vec<&Replica> = self.voters().collect();
        if voters.len() >= self.target {
            return None;
        }
        let kind = match self.another(&voters, load)? {
            StepKind::Promote { node, raft }
                if voters.len() >= 3 && !voters.len().is_multiple_of(2) =>
            {
                self.promote_both(&voters, (node, raft), load)
            }
            other => other,
        };
        Some(self.step(kind, format!("{} voters of {}", voters.len(), self.target)))
    }

    /// How a learner becomes a voter beside an odd number of them: together with another one if two are missing,
    /// since one alone makes no loss survivable, and makes that of a `PoP` with two of them one that is not.
    fn promote_both(
        &self,
        voters: &[&Replica],
        first: (NodeId, RaftId),
        load: &Counts,
    ) -> StepKind {
        let alone = StepKind::Promote { node: first.0, raft: first.1 };
        if self.target < voters.len() + 2 {
            return alone;
        }
        let first_replica = self.learners().find(|learner| learner.raft == first.1);
        let with_first: Vec<&Replica> = voters.iter().copied().chain(first_replica).collect();
        match self.another(&with_first, load) {
            Some(StepKind::Promote { node, raft }) => {
                StepKind::PromoteBoth { new: [first, (node, raft)] }
            }
            Some(learner_first) => learner_first,
            None => alone,
        }
    }

    /// One more voter beside these, where it spreads them best: a learner that is there already becomes one, one
    /// that has caught up before one that has not.
    pub(super) fn another(&self, voters: &[&Replica], load: &Counts) -> Option<StepKind> {
        let mut pops = PopCounts::default();
        for member in voters.iter().filter_map(|replica| self.member(replica.node)) {
            pops.add(&member.pop);
        }
        let learner = |member: &Member| {
            self.learners().find(|learner| learner.node == member.node && self.is_live(learner))
        };
        let candidates = self.known.holders.allowed.iter().filter(|member| {
            self.voters().chain(voters.iter().copied()).all(|it| it.node != member.node)
        });
        let member = next(candidates, &pops, |member| {
            let nearness = self.known.learners.nearness(self.shard, member.node, learner(member));
            (!self.known.home.has(&member.pop), nearness, load.of(member.node))
        })?;
        let (node, raft) = (member.node, member.raft);
        Some(if learner(member).is_some() {
            StepKind::Promote { node, raft }
        } else {
            StepKind::AddLearner { node, raft }
        })
    }

    /// A replica on a node that is being emptied goes once another node has taken its place.
    pub(super) fn empty(
        &self,
        policy: &Policy,
        load: &Counts,
        findings: &mut Vec<Finding>,
    ) -> Option<Step> {
        let drains = |node: NodeId| self.member(node).is_some_and(|member| member.draining);
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
        if others.len() >= policy.voters(self.known.holders.alive) {
            // Those that are down and not given up count as well.
            if others.len() <= (self.voters().count() - 1) / 2 {
                findings.push(self.finding(format!("{reason}, and without it there is no quorum")));
                return None;
            }
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

    /// How many replicas each PoP has. One that is not waited for any more serves nobody there.
    fn reached(&self) -> PopCounts<'a> {
        let mut pops = PopCounts::default();
        for replica in self.replicas.iter().filter(|replica| !self.is_lost(replica)) {
            if let Some(member) = self.member(replica.node) {
                pops.add(&member.pop);
            }
        }
        pops
    }

    /// A learner in a PoP that should have a replica and has none.
    fn reach_pops(&self, load: &Counts) -> Option<Step> {
        if !self.in_every_pop {
            return None;
        }
        let pops = self.reached();
        let allowed = self.known.holders.allowed.iter();
        let unreached = allowed.filter(|member| pops.of(&member.pop) == 0);
        let member = next(unreached, &pops, |member| load.of(member.node))?;
        let reason = format!("PoP {} has no replica of the directory", member.pop);
        let kind = StepKind::AddLearner { node: member.node, raft: member.raft };
        Some(self.step(kind, reason))
    }

    /// A learner in the PoP that reads most of those that read much and have no replica, and where a node can
    /// keep up with it. Many leaders may choose at once, each unseen by the others: among nodes with as much each
    /// shard has an order of its own.
    fn reach_readers(&self, load: &Counts) -> Option<Step> {
        let awaited = self.learners().filter(|learner| !self.is_lost(learner));
        if awaited.count() >= self.known.near.learners_max() {
            return None;
        }
        let pops = self.reached();
        self.known.near.hot().iter().filter(|(pop, _)| pops.of(pop) == 0).find_map(
            |(pop, reads)| {
                let free = self.known.holders.allowed.iter().filter(|member| {
                    member.pop == *pop
                        && self.replicas.iter().all(|it| it.node != member.node)
                        && !self.known.learners.are_late(self.shard, member.node)
                });
                let place = |member: &Member| (load.of(member.node), rank(self.shard, member.node));
                let member = next(free, &pops, place)?;
                let kind = StepKind::AddLearner { node: member.node, raft: member.raft };
                let reason =
                    format!("PoP {pop} reads it {reads} times a second, and has no replica");
                Some(Step { for_readers: true, ..self.step(kind, reason) })
            },
        )
    }

    /// A voter goes where there are more than were asked for: what a move that was given up left behind. One
    /// that is lost; else, if all are up, the last one of the PoP that has most of them, outside of the ring
    /// of the others if there is one.
    pub(super) fn shrink(&self, policy: &Policy) -> Option<Step> {
        let voters: Vec<&Replica> = self.voters().collect();
        let asked = usize::try_from(policy.replicas).unwrap_or(usize::MAX).max(1);
        if voters.len() <= asked {
            return None;
        }
        if let Some(lost) = voters.iter().find(|voter| self.is_lost(voter)) {
            let kind = StepKind::RemoveVoter { node: lost.node, raft: lost.raft };
            let reason = format!("node {} is down, and there are {asked} without it", lost.node);
            return Some(self.step(kind, reason));
        }
        if !voters.iter().all(|voter| self.is_live(voter)) {
            return None;
        }
        let mut pops = PopCounts::default();
        for member in voters.iter().filter_map(|replica| self.member(replica.node)) {
            pops.add(&member.pop);
        }
        // One that is to go anyway goes first: what took its place would be removed, and added again.
        let rank = |voter: &&&Replica| {
            self.member(voter.node).map(|member| {
                let is_to_go = member.draining || !member.carries(&policy.labels);
                (is_to_go, pops.of(&member.pop), !self.known.home.has(&member.pop))
            })
        };
        let gone = voters.iter().max_by_key(rank)?;
        let kind = StepKind::RemoveVoter { node: gone.node, raft: gone.raft };
        Some(self.step(kind, format!("{} voters, and {asked} are asked for", voters.len())))
    }

    /// A learner goes that neither becomes a voter nor is the only replica of a PoP that is to have one, that is
    /// lost, or that is where it must not be; and for readers one that does not keep up: it would have the place
    /// of one that does.
    pub(super) fn remove_learner(&self, policy: &Policy) -> Option<Step> {
        let mut reached = PopCounts::default();
        // As `reach_pops` counts them, or what that adds would go again at once.
        let awaited = self.voters().filter(|voter| !self.is_lost(voter));
        for member in awaited.filter_map(|replica| self.member(replica.node)) {
            reached.add(&member.pop);
        }
        self.learners().find_map(|learner| {
            let kind = StepKind::RemoveLearner { node: learner.node, raft: learner.raft };
            if self.is_lost(learner) {
                return Some(self.step(kind, format!("node {} is down", learner.node)));
            }
            let member = self.member(learner.node)?;
            if !member.carries(&policy.labels) {
                let reason = format!("node {} lacks a label that the shard needs", learner.node);
                return Some(self.step(kind, reason));
            }
            let replaces = self.voters().any(|voter| voter.node == learner.node);
            let nearness = self.known.learners.nearness(self.shard, learner.node, Some(learner));
            let is_late = nearness == Nearness::Late;
            let is_wanted = self.in_every_pop || !is_late && self.known.near.keep(&member.pop);
            let needed = is_wanted && reached.of(&member.pop) == 0;
            reached.add(&member.pop);
            if needed || replaces {
                return None;
            }
            let reason = if is_late {
                format!("node {} did not catch up in time", learner.node)
            } else {
                "the shard has its voters without this learner".to_owned()
            };
            Some(self.step(kind, reason))
        })
    }
}
