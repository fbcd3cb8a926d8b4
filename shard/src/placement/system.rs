//! Where the voters of the meta group are, and of that of purges: both are in no map, belong to no
//! territory, and every node may hold them.
//!
//! They have three voters, or five where those survive the loss of any PoP, and they keep to one ring of PoPs if
//! one has three: with fewer the loss of a PoP could take the quorum, which weighs more than the way to it. From
//! three to five they go in one change: of four the two of one PoP are half.
//!
//! What the leader of such a group does about it is planned as for a shard, but for two things. A voter that
//! stays down is replaced at once here and not by an operation, since operations are recorded in the meta group
//! itself; and so is one that shares its PoP without need, or is outside of the ring.

use std::collections::{BTreeMap, BTreeSet};

use hexpop_edge_config::{NodeId, PopId, RaftId, ShardId};

use super::{
    Learners, Losses, Member, Plan, Policy, Rings, Step, StepKind,
    nodes::Nodes,
    plan::{Known, View},
    readers::Near,
    rings::{Home, Ring},
    spread::{Counts, PopCounts},
};
use crate::{Replica, ReplicaRole};

/// How many voters such a group has in a small mesh.
const VOTERS: u32 = 3;

/// How many it has in a mesh that is large enough.
const VOTERS_MAX: u32 = 5;

/// How many of [`VOTERS_MAX`] may be in one PoP, so that the others are a quorum without it.
const VOTERS_PER_POP: usize = 2;

/// How many PoPs of a ring must be usable for such a group to keep to it: without one of them the others have a
/// quorum.
const POPS_MIN: usize = 3;

/// The meta group or that of purges, as its leader has it.
#[derive(Debug, Clone, Copy)]
pub struct SystemGroup<'a> {
    /// Its number.
    pub id: ShardId,
    /// Its replicas.
    pub replicas: &'a [Replica],
    /// The node that leads it: it is not the first to go.
    pub leader: NodeId,
    /// Its learners that have not caught up.
    pub behind: &'a BTreeSet<RaftId>,
    /// Nodes that are not to take a replica of it while others can: their learners did not catch up.
    pub avoid: &'a BTreeSet<NodeId>,
}

impl SystemGroup<'_> {
    fn has_voter_on(&self, node: NodeId) -> bool {
        let mut replicas = self.replicas.iter();
        replicas.any(|it| it.node == node && it.role == ReplicaRole::Voter)
    }
}

/// What the leader of the meta group, or of that of purges, does next: at most one step.
///
/// Doing the steps and planning again comes to an end, with as many voters as the mesh has room for, on
/// nodes that are up and not being emptied, in as many PoPs as there are, or as there are in their ring.
#[must_use]
pub fn plan_system_group(
    group: &SystemGroup<'_>,
    members: &[Member],
    losses: &Losses,
    rings: &Rings,
) -> Plan {
    let usable = usable(group, members, losses);
    let home = home(group, members, rings);
    let pops_there = usable.keys().filter(|pop| home.has(pop)).count();
    let kept_to = Some(home).filter(|_| rings.are_told_apart() && pops_there >= POPS_MIN);
    let may_be_in = |pop: &PopId| kept_to.is_none_or(|home| home.has(pop));
    let replicas = voters_wanted(usable.iter().filter(|(pop, _)| may_be_in(pop)));
    let policy = Policy { labels: BTreeSet::new(), replicas };
    let mut nodes = Nodes::of(members, [&policy]);
    // A voter there is replaced in its place when its disk is gone, and goes when all is well.
    nodes.pass_over(|member| !may_be_in(&member.pop) && !group.has_voter_on(member.node));
    // One that is slow is better than none.
    let is_slow =
        |member: &Member| group.avoid.contains(&member.node) && !group.has_voter_on(member.node);
    let others = nodes.holders(&policy).is_some_and(|holders| {
        let mut others = holders.allowed.iter().filter(|it| !group.has_voter_on(it.node));
        others.any(|other| !is_slow(other))
    });
    if others {
        nodes.pass_over(is_slow);
    }
    let Some(holders) = nodes.holders(&policy) else { return Plan::default() };
    let behind = group.behind.iter().map(|raft| (group.id, *raft)).collect();
    let learners = &Learners { behind, late: BTreeSet::new() };
    let known = Known { nodes: &nodes, holders, losses, home, near: Near::Nobody, learners };
    let view = View::new((group.id, group.replicas), &policy, false, known);
    if let Err(finding) = view.has_quorum() {
        return Plan { steps: Vec::new(), findings: vec![finding] };
    }
    let mut findings = Vec::new();
    // All weigh the same, and what else a node holds is nothing against it.
    let load = Counts::default();
    let step = view
        .replace_wiped()
        .or_else(|| view.fill_up(&load))
        .or_else(|| replace_lost(&view, &policy))
        .or_else(|| view.empty(&policy, &load, &mut findings))
        .or_else(|| gather(&view, &policy, group.leader, kept_to?))
        .or_else(|| spread(&view, &policy, group.leader))
        .or_else(|| view.remove_learner(&policy))
        .or_else(|| view.shrink(&policy));
    findings.extend(view.too_few(&policy));
    Plan { steps: step.into_iter().collect(), findings }
}

/// How many nodes of each PoP may have voters. One with a voter that is down counts until that is lost, so that a
/// restart does not make the group smaller.
fn usable<'m>(
    group: &SystemGroup<'_>,
    members: &'m [Member],
    losses: &Losses,
) -> BTreeMap<&'m PopId, usize> {
    let mut usable: BTreeMap<&PopId, usize> = BTreeMap::new();
    for member in members.iter().filter(|member| !member.draining) {
        let is_awaited = || {
            group.replicas.iter().any(|replica| {
                replica.raft == member.raft
                    && replica.role == ReplicaRole::Voter
                    && !losses.is_lost(replica.raft)
            })
        };
        if member.alive || is_awaited() {
            *usable.entry(&member.pop).or_default() += 1;
        }
    }
    usable
}

/// How many voters are wanted in these PoPs: five only where the loss of any PoP leaves three of them.
fn voters_wanted<'u>(usable: impl Iterator<Item = (&'u &'u PopId, &'u usize)>) -> u32 {
    let room: usize = usable.map(|(_, count)| (*count).min(VOTERS_PER_POP)).sum();
    if u32::try_from(room).is_ok_and(|room| room < VOTERS_MAX) { VOTERS } else { VOTERS_MAX }
}

/// Where the voters are to be: of the rings that have PoPs enough the one where most of them are, and of those
/// the one with the most PoPs. One of which a PoP is down for a while stays the one.
fn home<'a>(group: &SystemGroup<'_>, members: &'a [Member], rings: &'a Rings) -> Home<'a> {
    if !rings.are_told_apart() {
        return Home::ANYWHERE;
    }
    let mut found: BTreeMap<Ring<'a>, (usize, BTreeSet<&PopId>)> = BTreeMap::new();
    for member in members {
        let (voters, pops) = found.entry(rings.ring(&member.pop)).or_default();
        *voters += usize::from(group.has_voter_on(member.node));
        pops.insert(&member.pop);
    }
    let able = found.into_iter().filter(|(_, (_, pops))| pops.len() >= POPS_MIN);
    let most =
        able.max_by_key(|(ring, (voters, pops))| (*voters, pops.len(), std::cmp::Reverse(*ring)));
    most.map_or(Home::ANYWHERE, |(ring, _)| rings.home_in(ring))
}

/// A voter that is not waited for any more gives way to another node's, which learns first. Where there
/// are too many voters anyway it just goes, as [`View::shrink`] has it.
fn replace_lost(view: &View<'_>, policy: &Policy) -> Option<Step> {
    let asked = usize::try_from(policy.replicas).unwrap_or(usize::MAX);
    if view.voters().count() > asked {
        return None;
    }
    let lost = view.voters().find(|voter| view.is_lost(voter))?;
    let staying: Vec<&Replica> = view.voters().filter(|voter| !view.is_lost(voter)).collect();
    let reason = format!("node {} stays down", lost.node);
    Some(view.step(take_place(view, lost, &staying)?, reason))
}

/// A voter outside of the ring gives way to one in there, the leader last: it hands over to one who is.
fn gather(view: &View<'_>, policy: &Policy, leader: NodeId, home: Home<'_>) -> Option<Step> {
    let asked = usize::try_from(policy.replicas).unwrap_or(usize::MAX);
    let voters: Vec<&Replica> = view.voters().collect();
    if voters.len() > asked || !voters.iter().all(|voter| view.is_live(voter)) {
        return None;
    }
    let is_outside = |voter: &Replica| view.member(voter.node).is_some_and(|it| !home.has(&it.pop));
    let outside = voters.iter().filter(|voter| is_outside(voter));
    let old = outside.max_by_key(|voter| (voter.node != leader, voter.node))?;
    let from = view.member(old.node)?;
    let reason = format!("PoP {} is outside of the ring of the other voters", from.pop);
    if old.node == leader {
        let to = voters.iter().filter(|voter| !is_outside(voter)).map(|voter| voter.node).min()?;
        return Some(view.step(StepKind::TransferLeader { from: leader, to }, reason));
    }
    let staying: Vec<&Replica> =
        voters.iter().filter(|voter| voter.raft != old.raft).copied().collect();
    Some(view.step(take_place(view, old, &staying)?, reason))
}

/// A voter of a PoP that has two more than another one goes there, the leader last.
fn spread(view: &View<'_>, policy: &Policy, leader: NodeId) -> Option<Step> {
    let asked = usize::try_from(policy.replicas).unwrap_or(usize::MAX);
    let voters: Vec<&Replica> = view.voters().collect();
    if voters.len() > asked || !voters.iter().all(|voter| view.is_live(voter)) {
        return None;
    }
    let mut pops = PopCounts::default();
    for member in voters.iter().filter_map(|voter| view.member(voter.node)) {
        pops.add(&member.pop);
    }
    let pop_of = |voter: &Replica| view.member(voter.node).map(|member| &member.pop);
    let count = |voter: &Replica| pop_of(voter).map_or(0, |pop| pops.of(pop));
    let old = voters.iter().max_by_key(|voter| (count(voter), voter.node != leader, voter.node))?;
    let staying: Vec<&Replica> =
        voters.iter().filter(|voter| voter.raft != old.raft).copied().collect();
    let kind = take_place(view, old, &staying)?;
    let (StepKind::AddLearner { node: to, .. } | StepKind::Replace { node: to, .. }) = &kind else {
        return None;
    };
    let to = view.member(*to)?;
    let from = view.member(old.node)?;
    if pops.of(&from.pop) < pops.of(&to.pop).saturating_add(2) {
        return None;
    }
    let reason = format!(
        "PoP {} has {} of its voters, and {} {}",
        from.pop,
        pops.of(&from.pop),
        to.pop,
        pops.of(&to.pop)
    );
    Some(view.step(kind, reason))
}

/// The step that brings a voter nearer which is to take the place of `old` beside those that stay.
fn take_place(view: &View<'_>, old: &Replica, staying: &[&Replica]) -> Option<StepKind> {
    Some(match view.another(staying, &Counts::default())? {
        StepKind::Promote { node, raft } => StepKind::Replace { node, old: old.raft, new: raft },
        other => other,
    })
}
