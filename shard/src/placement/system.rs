//! Where the voters of the meta group are, and of that of purges: both are in no map, belong to no
//! territory, and every node may hold them.
//!
//! They have three voters, or five where those survive the loss of any PoP. What the leader of such a group
//! does about it is planned as for a shard, but for two things. A voter that stays down is replaced at once
//! here and not by an operation, since operations are recorded in the meta group itself; and so is one that
//! shares its PoP without need.

use std::collections::{BTreeMap, BTreeSet};

use hexpop_edge_config::{NodeId, PopId, ShardId};

use super::{
    Losses, Member, Plan, Policy, Step, StepKind,
    nodes::Nodes,
    plan::{Known, View},
    readers::Near,
    rings::Home,
    spread::{Counts, PopCounts},
};
use crate::{Replica, ReplicaRole};

/// How many voters such a group has in a small mesh.
const VOTERS: u32 = 3;

/// How many it has in a mesh that is large enough.
const VOTERS_MAX: u32 = 5;

/// How many of [`VOTERS_MAX`] may be in one PoP, so that the others are a quorum without it.
const VOTERS_PER_POP: usize = 2;

/// The meta group or that of purges, as its leader has it.
#[derive(Debug, Clone, Copy)]
pub struct SystemGroup<'a> {
    /// Its number.
    pub id: ShardId,
    /// Its replicas.
    pub replicas: &'a [Replica],
    /// The node that leads it: it is not the first to go.
    pub leader: NodeId,
    /// Nodes that are not to take a replica of it while others can: their learners did not catch up.
    pub avoid: &'a BTreeSet<NodeId>,
}

/// What the leader of the meta group, or of that of purges, does next: at most one step.
///
/// Doing the steps and planning again comes to an end, with as many voters as the mesh has room for, on
/// nodes that are up and not being emptied, in as many PoPs as there are.
#[must_use]
pub fn plan_system_group(group: &SystemGroup<'_>, members: &[Member], losses: &Losses) -> Plan {
    let policy =
        Policy { labels: BTreeSet::new(), replicas: voters_wanted(group, members, losses) };
    let mut nodes = Nodes::of(members, [&policy]);
    let votes = |node: NodeId| {
        let mut replicas = group.replicas.iter();
        replicas.any(|it| it.node == node && it.role == ReplicaRole::Voter)
    };
    // One that is slow is better than none.
    let others = members.iter().filter(|it| it.alive && !it.draining && !votes(it.node));
    if others.into_iter().any(|other| !group.avoid.contains(&other.node)) {
        nodes.pass_over(|node| group.avoid.contains(&node) && !votes(node));
    }
    let Some(holders) = nodes.holders(&policy) else { return Plan::default() };
    let known = Known { nodes: &nodes, holders, losses, home: Home::ANYWHERE, near: Near::Nobody };
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
        .or_else(|| spread(&view, &policy, group.leader))
        .or_else(|| view.remove_learner(&policy))
        .or_else(|| view.shrink(&policy));
    findings.extend(view.too_few(&policy));
    Plan { steps: step.into_iter().collect(), findings }
}

/// How many voters are wanted: five only where the loss of any PoP leaves three of them. A voter that is
/// down counts until it is lost, so that a restart does not make the group smaller.
fn voters_wanted(group: &SystemGroup<'_>, members: &[Member], losses: &Losses) -> u32 {
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
    let room: usize = usable.values().map(|count| (*count).min(VOTERS_PER_POP)).sum();
    if u32::try_from(room).is_ok_and(|room| room < VOTERS_MAX) { VOTERS } else { VOTERS_MAX }
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
