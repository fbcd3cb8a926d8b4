//! Which replicas go to other nodes, and when.
//!
//! In this order, each only while there is room for one more move in the mesh: replicas where they must
//! not be, replicas of nodes that stay down, those of the shards that are nearest to losing their quorum
//! first; and, while nothing is wrong, replicas that share a PoP without need, voters outside of the ring of
//! the others, and replicas of nodes that have more than others. What is wrong pauses the latter three: evening out takes disks and links from what
//! is being repaired, and would be undone when a node comes back.

use std::collections::{BTreeMap, BTreeSet};

use hexpop_edge_config::{NodeId, ShardId};

use super::{
    Cause, Finding, Member, Move, Moves, PlacementPolicy, Relocation, ShardLoad, World,
    areas::Areas,
    balance::balance,
    gather::{gather, spread},
    lanes::Lanes,
    learners::Nearness,
    nodes::{Holders, Nodes},
    per_node::PerNode,
    plan::{home, plan_shard},
    spread::Counts,
};
use crate::{Replica, ReplicaRole, ShardDescriptor};

/// What an empty shard costs a node, in bytes of one that is not: its log, its timers, its share of
/// every heartbeat.
pub(super) const EMPTY_BYTES: u64 = 16 << 20;

/// What is under way already, and how much may be.
#[derive(Debug, Clone, Copy)]
pub struct Traffic<'a> {
    /// The shards that an operation runs on, and from where to where if it moves a replica.
    pub running: &'a BTreeMap<ShardId, Option<(NodeId, NodeId)>>,
    /// Shards to be left alone for a while: a move of theirs failed a moment ago.
    pub resting: &'a BTreeSet<ShardId>,
    /// What shards are known to hold; `None` = nobody asks, and all weigh the same. While a shard with a
    /// quorum is missing, nothing is evened out: what is not known is not nothing.
    pub loads: Option<&'a BTreeMap<ShardId, ShardLoad>>,
    /// Nodes that are not to be asked again yet to take a replica of a shard: they failed to.
    pub avoid: &'a BTreeSet<(ShardId, NodeId)>,
    /// How many replicas may be on the move at a time, in the whole mesh.
    pub at_once: usize,
    /// How many may be on their way to one node, and sent by one, at a time.
    pub per_node: usize,
}

impl Traffic<'_> {
    pub(super) fn weight(&self, shard: ShardId) -> u64 {
        let load = self.loads.and_then(|loads| loads.get(&shard));
        let bytes = load.map_or(0, |load| load.bytes);
        EMPTY_BYTES.saturating_add(bytes)
    }

    pub(super) fn is_free(&self, shard: ShardId) -> bool {
        !self.running.contains_key(&shard) && !self.resting.contains(&shard)
    }

    pub(super) fn avoids(&self, shard: ShardId, node: NodeId) -> bool {
        self.avoid.contains(&(shard, node))
    }
}

/// What moves are chosen by.
pub(super) struct Scene<'a> {
    pub(super) world: &'a World<'a>,
    pub(super) traffic: &'a Traffic<'a>,
    pub(super) nodes: &'a Nodes<'a>,
    pub(super) areas: &'a Areas<'a>,
}

/// Weights of what nodes hold, with what is on its way counted where it goes.
#[derive(Debug, Default)]
pub(super) struct Weights(PerNode<u64>);

impl Weights {
    pub(super) fn of(&self, node: NodeId) -> u64 {
        self.0.of(node)
    }

    pub(super) fn shift(&mut self, weight: u64, from: NodeId, to: NodeId) {
        let old = self.0.entry(from);
        *old = old.saturating_sub(weight);
        let new = self.0.entry(to);
        *new = new.saturating_add(weight);
    }

    fn gather(world: &World<'_>, traffic: &Traffic<'_>) -> Self {
        let mut weights = Self::default();
        for shard in world.map.shards() {
            let weight = traffic.weight(shard.id);
            for replica in &shard.replicas {
                let held = weights.0.entry(replica.node);
                *held = held.saturating_add(weight);
            }
            if let Some((from, to)) = traffic.running.get(&shard.id).copied().flatten() {
                let (old, new) = (shard.replica_on(from), shard.replica_on(to));
                let (gone, come) = (
                    if old.is_some() { weight } else { 0 },
                    if new.is_none() { weight } else { 0 },
                );
                let held = weights.0.entry(from);
                *held = held.saturating_sub(gone);
                let held = weights.0.entry(to);
                *held = held.saturating_add(come);
            }
        }
        weights
    }
}

/// What one look at all shards finds.
#[derive(Default)]
struct Found<'a> {
    /// What must move, with how many more voters may fail than can be spared: less is more urgent.
    urgent: Vec<(Cause, usize, &'a ShardDescriptor, &'a Replica)>,
    /// Shards with two replicas in a PoP while another could have one.
    crowded: Vec<&'a ShardDescriptor>,
    /// Shards with a voter outside of the ring of the others, and where that could be instead.
    outside: Vec<Outside<'a>>,
    paused: Option<String>,
    findings: Vec<Finding>,
}

/// A voter outside of the ring where the others are.
pub(super) struct Outside<'a> {
    pub(super) shard: &'a ShardDescriptor,
    pub(super) old: &'a Replica,
    pub(super) from: &'a Member,
    pub(super) home: Option<usize>,
}

impl Found<'_> {
    fn pause(&mut self, why: impl FnOnce() -> String) {
        if self.paused.is_none() {
            self.paused = Some(why());
        }
    }
}

/// Which replicas are to go to other nodes now, beside those that do already.
///
/// A replica whose node is down is replaced when it is lost ([`Losses`](super::Losses)); one that is on a
/// node which must not hold it at once. While no replica is missing anywhere that another node could
/// hold, replicas spread over PoPs and even out. Doing the moves and planning again comes to an end.
#[must_use]
pub fn plan_moves(world: &World<'_>, traffic: &Traffic<'_>) -> Moves {
    let nodes = Nodes::new(world.members, world.policy);
    let areas = Areas::new(&nodes, world.rings);
    let scene = Scene { world, traffic, nodes: &nodes, areas: &areas };
    let mut found = scene.look();
    let mut weights = Weights::gather(world, traffic);
    let mut lanes = Lanes::new(world, traffic);
    let mut moves = Vec::new();
    // Those that few may take first: the others fill what is left of the gaps.
    found.urgent.sort_by_key(|(cause, spare, shard, _)| {
        let holders = nodes.holders(world.policy.of(&shard.range));
        let takers = holders.map_or(0, |holders| holders.allowed.len());
        (*cause, *spare, takers, shard.id)
    });
    let mut taken = BTreeSet::new();
    for (cause, _, shard, old) in std::mem::take(&mut found.urgent) {
        let holders = nodes.holders(world.policy.of(&shard.range));
        let target =
            holders.and_then(|holders| scene.target(shard, old, holders, &weights, &lanes));
        let Some(to) = target else {
            found.findings.push(scene.nowhere(shard, old, cause));
            continue;
        };
        found.pause(|| scene.reason(cause, old));
        if lanes.are_full() {
            break;
        }
        // Where it belongs best it may have to wait for others.
        if lanes.is_full(to.node) || !lanes.may_send(shard.id) {
            continue;
        }
        if !traffic.is_free(shard.id) || !taken.insert(shard.id) {
            continue;
        }
        lanes.begin(shard.id, to.node);
        weights.shift(traffic.weight(shard.id), old.node, to.node);
        let relocation = Relocation { from: old.node, old: old.raft, to: to.node, cause };
        let reason =
            format!("{}; node {} in {} takes it", scene.reason(cause, old), to.node, to.pop);
        moves.push(Move { shard: shard.id, relocation, reason });
    }
    if found.paused.is_none() {
        spread(&scene, &found.crowded, &mut weights, &mut lanes, &mut moves);
        gather(&scene, &found.outside, &mut weights, &mut lanes, &mut moves);
        balance(&scene, &mut weights, &mut lanes, &mut moves);
    }
    Moves { moves, paused: found.paused, findings: found.findings }
}

impl<'a> Scene<'a> {
    fn look(&self) -> Found<'a> {
        let mut found = Found::default();
        // Which node would take a step is of no interest here.
        let counts = Counts::default();
        for shard in self.world.map.shards() {
            let policy = self.world.policy.of(&shard.range);
            let Some(holders) = self.nodes.holders(policy) else { continue };
            if let Some(loads) = self.traffic.loads
                && !loads.contains_key(&shard.id)
                && self.has_quorum(shard)
            {
                found.pause(|| format!("what shard {} holds is not known yet", shard.id));
            }
            if self.look_at_replicas(shard, policy, holders, &mut found)
                && !self.traffic.running.contains_key(&shard.id)
            {
                let ruled = (policy, holders);
                if let (Some(step), _) = plan_shard(shard, self.world, self.nodes, ruled, &counts) {
                    found.pause(|| format!("shard {} is changed: {}", shard.id, step.reason));
                } else if self.is_crowded(shard, holders) {
                    found.crowded.push(shard);
                } else if self.world.rings.are_told_apart() {
                    self.look_at_ring(shard, holders, &mut found);
                }
            }
        }
        found
    }

    /// The area where the voters of a shard are to be; `None` = anywhere.
    pub(super) fn home(&self, shard: &ShardDescriptor, holders: &Holders<'a>) -> Option<usize> {
        let rings = self.world.rings;
        if !rings.are_told_apart() {
            return None;
        }
        let known = shard.voters().filter(|voter| self.nodes.get(voter.node).is_some());
        let mut areas = known.map(|voter| self.areas.of(voter.node));
        let first = areas.next();
        // As nearly all of them are.
        if first.is_some() && !rings.names_any() && areas.all(|area| Some(area) == first) {
            return first;
        }
        self.areas.at(home(shard, self.world, self.nodes, holders))
    }

    /// Whether a node is where the voters are to be.
    pub(super) fn is_in(&self, home: Option<usize>, node: NodeId) -> bool {
        home.is_none_or(|home| self.areas.of(node) == home)
    }

    /// Whether a replica of a shard does not leave the ring that it is in: a voter that is where the others are,
    /// and every learner.
    pub(super) fn keeps_to_ring(
        &self,
        shard: &ShardDescriptor,
        holders: &Holders<'a>,
    ) -> impl Fn(&Replica) -> bool {
        let home = self.home(shard, holders);
        move |replica| {
            let is_learner = replica.role == ReplicaRole::Learner;
            home.is_some() && (is_learner || self.is_in(home, replica.node))
        }
    }

    /// Finds a voter outside of the ring of the others: to be moved if a PoP in there is free, or reported.
    fn look_at_ring(
        &self,
        shard: &'a ShardDescriptor,
        holders: &Holders<'a>,
        found: &mut Found<'a>,
    ) {
        let home = self.home(shard, holders);
        let voters = || shard.voters().filter_map(|it| Some((it, self.nodes.get(it.node)?)));
        let outside = voters().filter(|(_, member)| !self.is_in(home, member.node));
        let Some((old, from)) = outside.max_by_key(|(voter, _)| voter.node) else { return };
        let is_free = |member: &Member| {
            self.is_in(home, member.node) && voters().all(|(_, voter)| voter.pop != member.pop)
        };
        if holders.allowed.iter().any(is_free) {
            found.outside.push(Outside { shard, old, from, home });
            return;
        }
        let reason = format!(
            "its voter on node {} in {} is outside of the ring of the others, where no PoP is left for it",
            old.node, from.pop
        );
        found.findings.push(Finding { shard: shard.id, reason });
    }

    /// Whether a shard can have a leader, known or not, who would tell what it holds.
    fn has_quorum(&self, shard: &ShardDescriptor) -> bool {
        let live = shard.voters().filter(|voter| self.nodes.is_live(voter)).count();
        live > shard.voters().count() / 2
    }

    /// Answers whether all replicas are there, and where they may be.
    fn look_at_replicas(
        &self,
        shard: &'a ShardDescriptor,
        policy: &super::Policy,
        holders: &Holders<'_>,
        found: &mut Found<'a>,
    ) -> bool {
        let is_in_place = |replica: &&Replica| {
            holders.allowed.get(replica.node).is_some_and(|member| member.raft == replica.raft)
        };
        if shard.replicas.iter().all(|replica| is_in_place(&replica)) {
            return true;
        }
        let voters = shard.voters().count();
        let live = shard.voters().filter(|voter| self.nodes.is_live(voter)).count();
        let quorum = voters / 2 + 1;
        if live < quorum {
            // Nothing but the return of a voter helps; the plan for leaders reports it.
            return false;
        }
        let mut is_whole = true;
        for replica in shard.voters() {
            let spare = live - quorum;
            match self.nodes.get(replica.node) {
                Some(member) if self.nodes.is_live(replica) => {
                    if !member.carries(&policy.labels) {
                        found.urgent.push((Cause::Residency, spare, shard, replica));
                        is_whole = false;
                    }
                }
                // Its leader gives the node a replica again.
                Some(member) if self.nodes.is_wiped(replica) && member.carries(&policy.labels) => {}
                // One too many: its leader removes it.
                _ if voters > usize::try_from(policy.replicas).unwrap_or(usize::MAX).max(1) => {}
                _ if self.world.losses.is_lost(replica.raft) => {
                    found.urgent.push((Cause::Repair, spare, shard, replica));
                    is_whole = false;
                }
                _ => {
                    found.pause(|| {
                        let left = self.world.losses.waits(replica.raft).as_secs();
                        let node = replica.node;
                        format!("node {node} is down; what it holds is replaced in {left} s")
                    });
                    is_whole = false;
                }
            }
        }
        is_whole
    }

    /// Whether voters share a PoP while one that may hold a replica has none.
    fn is_crowded(&self, shard: &ShardDescriptor, holders: &Holders<'_>) -> bool {
        let mut voters = shard.voters().filter_map(|voter| self.nodes.get(voter.node));
        let mut seen: [Option<&Member>; 8] = [None; 8];
        let mut distinct = 0_usize;
        let mut shares = false;
        for (slot, member) in seen.iter_mut().zip(&mut voters) {
            *slot = Some(member);
        }
        let all = || seen.iter().flatten();
        for (at, member) in all().enumerate() {
            let again = all().take(at).any(|earlier| earlier.pop == member.pop);
            shares |= again;
            distinct += usize::from(!again);
        }
        shares && holders.pops.len() > distinct
    }

    fn nowhere(&self, shard: &ShardDescriptor, old: &Replica, cause: Cause) -> Finding {
        let why = match cause {
            Cause::Residency => "must not hold a replica",
            Cause::Repair | Cause::Spread | Cause::Balance | Cause::Ring => "stays down",
        };
        let failed = self.traffic.avoid.range((shard.id, NodeId(0))..=(shard.id, NodeId(u32::MAX)));
        let who = match failed.count() {
            0 => "no other node may take it".to_owned(),
            count => format!(
                "{count} nodes that could take it failed to, and are left alone for a while"
            ),
        };
        Finding { shard: shard.id, reason: format!("node {} {why}, and {who}", old.node) }
    }

    /// Where a replica goes: a PoP that has as few of the others as may be, in the ring of the others if that
    /// can be, in there a learner that is there already, else the node with the least among those that may get
    /// more now.
    fn target(
        &self,
        shard: &ShardDescriptor,
        old: &Replica,
        holders: &Holders<'a>,
        weights: &Weights,
        lanes: &Lanes<'_>,
    ) -> Option<&'a Member> {
        let staying = shard
            .voters()
            .filter(|voter| voter.raft != old.raft && !self.world.losses.is_lost(voter.raft));
        let staying: Vec<&Member> =
            staying.filter_map(|voter| self.nodes.get(voter.node)).collect();
        let crowd = |member: &Member| staying.iter().filter(|it| it.pop == member.pop).count();
        let votes = |member: &Member| shard.voters().any(|voter| voter.node == member.node);
        let candidates = holders
            .allowed
            .iter()
            .filter(|member| !votes(member) && !self.traffic.avoids(shard.id, member.node));
        let home = self.home(shard, holders);
        candidates.min_by_key(|member| {
            let place = (crowd(member), !self.is_in(home, member.node));
            let is_full = lanes.is_full(member.node);
            (place, is_full, self.nearness(shard, member), weights.of(member.node), member.node)
        })
    }

    /// How near a node is to a replica of a shard that may vote: who leads the shard knows best.
    pub(super) fn nearness(&self, shard: &ShardDescriptor, member: &Member) -> Nearness {
        let mut learners = shard.replicas.iter().filter(|it| it.role == ReplicaRole::Learner);
        let learner = learners.find(|learner| learner.node == member.node);
        self.world.readers.learners.nearness(shard.id, member.node, learner)
    }

    fn reason(&self, cause: Cause, old: &Replica) -> String {
        let node = old.node;
        match cause {
            Cause::Residency => format!("node {node} lacks a label that the shard needs"),
            _ => {
                let away = self.world.losses.away(old.raft).unwrap_or_default().as_secs();
                format!("node {node} has been down for {away} s")
            }
        }
    }
}

/// Whether every PoP is to hold a replica of a shard, so that its replicas stay in their PoPs.
pub(super) fn is_bound_to_pops(shard: &ShardDescriptor) -> bool {
    PlacementPolicy::in_every_pop(&shard.range)
}
