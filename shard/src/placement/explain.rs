//! Why a shard is where it is, in words.

use std::collections::BTreeSet;

use hexpop_edge_config::{NodeId, PopId, ShardId};
use serde::{Deserialize, Serialize};

use super::{
    Member, Moves, Plan, Policy, StepKind, Traffic, World, nodes::Nodes, plan, plan_moves,
    readers::Near, rings::Home,
};
use crate::{ReplicaRole, ShardDescriptor};

/// What a node is to a shard.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Verdict {
    /// It holds a replica that votes.
    Voter,
    /// It holds a replica that does not vote.
    Learner,
    /// It could hold one.
    Possible,
    /// It could hold one if it were up, and not being emptied.
    Unavailable,
    /// It must not hold one.
    Forbidden,
}

impl Verdict {
    /// The word for it.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Voter => "voter",
            Self::Learner => "learner",
            Self::Possible => "possible",
            Self::Unavailable => "unavailable",
            Self::Forbidden => "forbidden",
        }
    }
}

/// A node as a place for a replica of a shard.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Candidate {
    /// The node.
    pub node: NodeId,
    /// Where it is; `None` = the map has a replica there, and nobody knows the node.
    pub pop: Option<PopId>,
    /// What it is to the shard.
    pub verdict: Verdict,
    /// Why, in words.
    pub why: String,
}

/// Why a shard is where it is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Explanation {
    /// The shard.
    pub shard: ShardId,
    /// Residency: a node needs all of these to hold a replica.
    pub labels: BTreeSet<String>,
    /// How many voters are asked for.
    pub replicas: u32,
    /// Whether every PoP is to hold a replica.
    pub in_every_pop: bool,
    /// Every node, by its number.
    pub candidates: Vec<Candidate>,
    /// What is planned next, in words.
    pub next: Option<String>,
    /// Why nothing is planned, in words, if nothing is.
    pub none_because: Option<String>,
    /// What is not as it should be.
    pub findings: Vec<String>,
}

/// Why a shard is where it is; `None` when the map does not have it.
#[must_use]
pub fn explain(world: &World<'_>, traffic: &Traffic<'_>, shard: ShardId) -> Option<Explanation> {
    let shard = world.map.get(shard)?;
    let policy = world.policy.of(&shard.range);
    let (planned, moves) = (plan(world), plan_moves(world, traffic));
    let next = running(traffic, shard).or_else(|| next(&planned, &moves, shard));
    let findings = planned.findings.iter().chain(&moves.findings);
    let findings: Vec<String> = findings
        .filter(|finding| finding.shard == shard.id)
        .map(|finding| finding.reason.clone())
        .collect();
    let none_because =
        next.is_none().then(|| why_nothing(world, traffic, shard, &moves, &findings));
    Some(Explanation {
        shard: shard.id,
        labels: policy.labels.clone(),
        replicas: policy.replicas,
        in_every_pop: super::moves::is_bound_to_pops(shard),
        candidates: candidates(world, policy, shard),
        next,
        none_because,
        findings,
    })
}

fn running(traffic: &Traffic<'_>, shard: &ShardDescriptor) -> Option<String> {
    Some(match traffic.running.get(&shard.id)? {
        Some((from, to)) => {
            format!("an operation moves its replica from node {from} to node {to}")
        }
        None => "an operation runs on it".to_owned(),
    })
}

fn next(planned: &Plan, moves: &Moves, shard: &ShardDescriptor) -> Option<String> {
    let step = planned.steps.iter().find(|step| step.shard == shard.id);
    let planned = moves.moves.iter().find(|planned| planned.shard == shard.id);
    // A leader that goes elsewhere is the least of it.
    let hands_over = step.is_some_and(|step| matches!(step.kind, StepKind::TransferLeader { .. }));
    if let Some(step) = step.filter(|_| planned.is_none() || !hands_over) {
        let what = match &step.kind {
            StepKind::AddLearner { node, .. } => format!("node {node} gets a learner"),
            StepKind::Promote { node, .. } => format!("the learner on node {node} becomes a voter"),
            StepKind::PromoteBoth { new: [(one, _), (other, _)] } => {
                format!("the learners on nodes {one} and {other} become voters together")
            }
            StepKind::Replace { node, old, .. } => {
                format!("the learner on node {node} becomes a voter in the place of replica {old}")
            }
            StepKind::RemoveVoter { node, .. } => format!("the voter on node {node} goes"),
            StepKind::RemoveLearner { node, .. } => format!("the learner on node {node} goes"),
            StepKind::TransferLeader { from, to } => {
                format!("node {from} hands the leadership to node {to}")
            }
        };
        return Some(format!("{what}: {}", step.reason));
    }
    let planned = planned?;
    let relocation = &planned.relocation;
    Some(format!(
        "{}: the replica on node {} goes to node {}: {}",
        relocation.cause.as_str(),
        relocation.from,
        relocation.to,
        planned.reason
    ))
}

fn why_nothing(
    world: &World<'_>,
    traffic: &Traffic<'_>,
    shard: &ShardDescriptor,
    moves: &Moves,
    findings: &[String],
) -> String {
    if traffic.resting.contains(&shard.id) {
        return "a move of it failed a moment ago, and is not tried again at once".to_owned();
    }
    let lost = shard.replicas.iter().find(|replica| world.losses.is_lost(replica.raft));
    if let Some(lost) = lost {
        return match findings.first() {
            Some(finding) => finding.clone(),
            None if traffic.at_once == 0 => {
                format!("node {} is down, and placement.moves_at_once is 0", lost.node)
            }
            None => format!(
                "node {} is down, and {} replicas, as many as may, are on the move already",
                lost.node, traffic.at_once
            ),
        };
    }
    match (&moves.paused, findings.first()) {
        (_, Some(finding)) => finding.clone(),
        (Some(paused), None) => format!("nothing is evened out now: {paused}"),
        (None, None) => "it has its voters where they may be, and its nodes have no more than \
                         others that could take a replica"
            .to_owned(),
    }
}

fn candidates(world: &World<'_>, policy: &Policy, shard: &ShardDescriptor) -> Vec<Candidate> {
    let nodes = Nodes::new(world.members, world.policy);
    let mut held = std::collections::BTreeMap::<NodeId, u32>::new();
    for replica in world.map.shards().flat_map(|shard| &shard.replicas) {
        let count = held.entry(replica.node).or_default();
        *count = count.saturating_add(1);
    }
    let count = |node| held.get(&node).copied().unwrap_or(0);
    let home = nodes
        .holders(policy)
        .map_or(Home::ANYWHERE, |holders| plan::home(shard, world, &nodes, holders));
    let place = Placed { nodes: &nodes, home, near: world.readers.of(shard.id) };
    let mut candidates: Vec<Candidate> = nodes
        .iter()
        .map(|member| {
            let (verdict, why) = judge(&place, policy, shard, member, count(member.node));
            Candidate { node: member.node, pop: Some(member.pop.clone()), verdict, why }
        })
        .collect();
    let unknown = shard.replicas.iter().filter(|replica| nodes.get(replica.node).is_none());
    candidates.extend(unknown.map(|replica| Candidate {
        node: replica.node,
        pop: None,
        verdict: verdict_of(replica.role),
        why: "nobody has heard of the node; it counts as down".to_owned(),
    }));
    candidates.sort_by_key(|candidate| candidate.node);
    candidates
}

const fn verdict_of(role: ReplicaRole) -> Verdict {
    match role {
        ReplicaRole::Voter => Verdict::Voter,
        ReplicaRole::Learner => Verdict::Learner,
    }
}

/// What a candidate is judged by.
struct Placed<'a> {
    nodes: &'a Nodes<'a>,
    home: Home<'a>,
    near: Near<'a>,
}

impl Placed<'_> {
    /// Why the learner of a PoP is there.
    fn reading(&self, pop: &PopId) -> String {
        match (self.near, self.near.reads_at(pop)) {
            (_, Some(reads)) => {
                format!("; for its PoP, which reads the shard {reads} times a second")
            }
            (Near::Known { .. }, None) if self.near.keep(pop) => {
                "; for the readers of its PoP, and goes once they have been few for long".to_owned()
            }
            (Near::Unknown, None) => {
                "; for the readers of its PoP, by the leader's count".to_owned()
            }
            (Near::Known { .. } | Near::Nobody, None) => String::new(),
        }
    }
}

fn judge(
    place: &Placed<'_>,
    policy: &Policy,
    shard: &ShardDescriptor,
    member: &Member,
    held: u32,
) -> (Verdict, String) {
    let lacking: Vec<&str> = policy.labels.difference(&member.labels).map(String::as_str).collect();
    let lacks = format!("residency: it lacks the label {}", lacking.join(", "));
    if let Some(replica) = shard.replica_on(member.node) {
        let why = if !lacking.is_empty() {
            lacks
        } else if !member.alive {
            "down".to_owned()
        } else if member.raft != replica.raft {
            "it came back without the data of its replica".to_owned()
        } else if member.draining {
            "it is being emptied".to_owned()
        } else if replica.role == ReplicaRole::Learner && !super::moves::is_bound_to_pops(shard) {
            format!("up; one of {held} replicas there{}", place.reading(&member.pop))
        } else if replica.role == ReplicaRole::Voter && !place.home.has(&member.pop) {
            format!("up; outside of the ring of the others; one of {held} replicas there")
        } else {
            format!("up; one of {held} replicas there")
        };
        return (verdict_of(replica.role), why);
    }
    if !lacking.is_empty() {
        return (Verdict::Forbidden, lacks);
    }
    if !member.alive {
        return (Verdict::Unavailable, "it is down".to_owned());
    }
    if member.draining {
        return (Verdict::Unavailable, "it is being emptied".to_owned());
    }
    let neighbour = shard.voters().find(|voter| {
        let pop = place.nodes.get(voter.node).map(|holder| &holder.pop);
        pop == Some(&member.pop)
    });
    let why = match neighbour {
        None if !place.home.has(&member.pop) => {
            format!("not chosen: outside of the ring of the shard's voters; {held} replicas there")
        }
        Some(voter) => {
            format!("not chosen: its PoP has a voter on node {}; {held} replicas there", voter.node)
        }
        None => format!("not chosen: the shard has its voters elsewhere; {held} replicas there"),
    };
    let reads = place.near.reads_at(&member.pop);
    let reads = reads
        .map_or_else(String::new, |reads| format!("; its PoP reads it {reads} times a second"));
    (Verdict::Possible, format!("{why}{reads}"))
}
