//! Evening out over nodes.

use std::collections::{BTreeMap, BTreeSet};

use hexpop_edge_config::{NodeId, ShardId};

use super::{
    Cause, Move, Relocation,
    lanes::Lanes,
    moves::{Scene, Weights, is_bound_to_pops},
    rings::Ring,
};
use crate::{Replica, ReplicaRole, ShardDescriptor};

/// A difference of less than one part in so many of what the fuller node has is left.
const SLACK_PART: u64 = 20;

/// How many places for its replicas are looked at for one node, so that a mesh in which nothing fits
/// costs a bounded time.
const LOOKS_PER_NODE: usize = 4_096;

/// Nodes by what they have, and what goes from where to where.
struct Evening<'s, 'a> {
    scene: &'s Scene<'a>,
    /// What each node that replicas may leave has, largest first.
    held: BTreeMap<NodeId, Vec<Held<'a>>>,
    /// For each set of labels, in each ring and in all of them: who may hold what needs them, least first.
    takers: BTreeMap<Where<'a>, BTreeSet<(u64, NodeId)>>,
    /// What each node would have if all were as even as their labels let them be.
    fair: BTreeMap<NodeId, u64>,
    busy: BTreeSet<ShardId>,
}

/// Labels that are needed, and the ring that must not be left, if there is one.
type Where<'a> = (&'a BTreeSet<String>, Option<Ring<'a>>);

/// A replica that may go elsewhere.
struct Held<'a> {
    weight: u64,
    shard: &'a ShardDescriptor,
    to: Where<'a>,
}

/// Has replicas go from nodes that have much to nodes that have little.
///
/// A move makes the sum of the squares of what nodes have smaller, so that repeating it comes to an end.
/// It moves at most half of the difference between the two nodes, and if that can be had no more than the
/// one has too much and the other too little, so that little has to move on.
pub(super) fn balance(
    scene: &Scene<'_>,
    weights: &mut Weights,
    lanes: &mut Lanes<'_>,
    moves: &mut Vec<Move>,
) {
    if lanes.are_full() {
        return;
    }
    let mut evening = Evening::new(scene, weights, moves);
    let givers = evening.held.keys().map(|node| (weights.of(*node), *node));
    let mut givers: BTreeSet<(u64, NodeId)> = givers.collect();
    while !lanes.are_full() {
        let Some((has, from)) = givers.pop_last() else { return };
        if !evening.may_give(has) {
            // All others have less.
            return;
        }
        let Some((shard, old, to)) = evening.pick(from, has, lanes) else { continue };
        let weight = scene.traffic.weight(shard.id);
        let reason = format!(
            "node {from} has {} MiB of replicas, node {to} {} MiB",
            has >> 20,
            weights.of(to) >> 20
        );
        for (node, before, after) in [
            (from, has, has.saturating_sub(weight)),
            (to, weights.of(to), weights.of(to).saturating_add(weight)),
        ] {
            evening.note(node, before, after);
            if givers.remove(&(before, node)) || node == from {
                givers.insert((after, node));
            }
        }
        weights.shift(weight, from, to);
        evening.busy.insert(shard.id);
        lanes.begin(shard.id, to);
        let relocation = Relocation { from, old: old.raft, to, cause: Cause::Balance };
        moves.push(Move { shard: shard.id, relocation, reason });
    }
}

/// What each node would have if all were as even as their labels let them be: what only some may hold is
/// theirs alone, and where that is more than an even share of everything, they get nothing else.
fn fair(
    scene: &Scene<'_>,
    weights: &Weights,
    held: &BTreeMap<NodeId, Vec<Held<'_>>>,
) -> BTreeMap<NodeId, u64> {
    let mut bound: BTreeMap<&BTreeSet<String>, u64> = BTreeMap::new();
    for held in held.values().flatten() {
        let bound = bound.entry(held.to.0).or_default();
        *bound = bound.saturating_add(held.weight);
    }
    let share = |weight: u64, nodes: usize| weight / u64::try_from(nodes).unwrap_or(1).max(1);
    let mut open: BTreeSet<NodeId> = held.keys().copied().collect();
    let mut rest: u64 = open.iter().map(|node| weights.of(*node)).sum();
    let mut fair = BTreeMap::new();
    loop {
        let fullest = scene.nodes.all_holders().filter_map(|(labels, holders)| {
            let theirs: Vec<NodeId> =
                holders.allowed.keys().filter(|node| open.contains(node)).copied().collect();
            let bound = bound.get(labels).copied()?;
            Some((share(bound, theirs.len()), bound, theirs)).filter(|(_, _, it)| !it.is_empty())
        });
        let fullest = fullest.max_by_key(|(share, _, _)| *share);
        match fullest.filter(|(level, _, _)| *level > share(rest, open.len())) {
            Some((level, bound, theirs)) => {
                rest = rest.saturating_sub(bound);
                for node in theirs {
                    open.remove(&node);
                    fair.insert(node, level);
                }
            }
            None => break,
        }
    }
    let level = share(rest, open.len());
    fair.extend(open.into_iter().map(|node| (node, level)));
    fair
}

impl<'s, 'a> Evening<'s, 'a> {
    fn new(scene: &'s Scene<'a>, weights: &Weights, moves: &[Move]) -> Self {
        let mut held: BTreeMap<NodeId, Vec<Held<'a>>> = BTreeMap::new();
        for member in scene.nodes.iter().filter(|member| member.alive && !member.draining) {
            held.insert(member.node, Vec::new());
        }
        for shard in scene.world.map.shards().filter(|shard| scene.traffic.is_free(shard.id)) {
            // One that nothing can mend now is not to be stirred.
            if !shard.replicas.iter().all(|replica| scene.nodes.is_live(replica)) {
                continue;
            }
            let weight = scene.traffic.weight(shard.id);
            let labels = &scene.world.policy.of(&shard.range).labels;
            let ring = scene.ring_to_stay_in(shard);
            for replica in &shard.replicas {
                if let Some(held) = held.get_mut(&replica.node) {
                    held.push(Held { weight, shard, to: (labels, ring(replica)) });
                }
            }
        }
        for shards in held.values_mut() {
            shards.sort_by_key(|held| (std::cmp::Reverse(held.weight), held.shard.id));
        }
        let mut takers: BTreeMap<Where<'a>, BTreeSet<(u64, NodeId)>> = BTreeMap::new();
        for (labels, holders) in scene.nodes.all_holders() {
            for member in holders.allowed.values().copied() {
                let taker = (weights.of(member.node), member.node);
                for ring in [None, scene.ring(member)] {
                    takers.entry((labels, ring)).or_default().insert(taker);
                }
            }
        }
        let fair = fair(scene, weights, &held);
        let busy = moves.iter().map(|planned| planned.shard).collect();
        Self { scene, held, takers, fair, busy }
    }

    /// The difference that is worth a move, for a node that has this much: so that neither a move by hand
    /// nor a few records more begin one.
    fn slack(&self, has: u64) -> u64 {
        (2 * super::moves::EMPTY_BYTES).max(has / SLACK_PART)
    }

    /// Whether anybody has so little that a node with this much may give to him.
    fn may_give(&self, has: u64) -> bool {
        let least = self.takers.values().filter_map(|nodes| nodes.first()).map(|(has, _)| *has);
        least.min().is_some_and(|least| has.saturating_sub(least) > self.slack(has))
    }

    fn note(&mut self, node: NodeId, before: u64, after: u64) {
        for takers in self.takers.values_mut() {
            if takers.remove(&(before, node)) {
                takers.insert((after, node));
            }
        }
    }

    /// What a node may give to one that has less, and to which: the largest replica after which neither is
    /// on the other side of what is even, or else the smallest that makes the two more alike.
    fn pick(
        &self,
        from: NodeId,
        has: u64,
        lanes: &Lanes<'_>,
    ) -> Option<(&'a ShardDescriptor, &'a Replica, NodeId)> {
        let held = self.held.get(&from)?;
        let mut looks = 0;
        let mut find = |held: &Held<'a>, is_exact: bool| {
            let Held { weight, shard, to } = *held;
            let is_busy = self.busy.contains(&shard.id) || !lanes.may_send(shard.id);
            let takers = self.takers.get(&to).filter(|_| !is_busy)?;
            let fair = |node: NodeId| self.fair.get(&node).copied().unwrap_or(0);
            for (least, to) in takers {
                let difference = has.saturating_sub(*least);
                let is_worth_it = difference > self.slack(has) && weight <= difference / 2;
                let overshoots =
                    is_exact && (least + weight > fair(*to) || has < fair(from) + weight);
                if !is_worth_it || overshoots || looks >= LOOKS_PER_NODE {
                    return None;
                }
                looks += 1;
                if lanes.is_full(*to) {
                    // What is exactly right may go to the next one; what is not waits for this one.
                    if is_exact {
                        continue;
                    }
                    return None;
                }
                if self.may_go(shard, from, *to) {
                    return Some((shard, shard.replica_on(from)?, *to));
                }
            }
            None
        };
        let exact = held.iter().find_map(|held| find(held, true));
        exact.or_else(|| held.iter().rev().find_map(|held| find(held, false)))
    }

    /// Whether a replica may go from one node to another without making the spread over PoPs worse. A learner is
    /// for the readers of its PoP, and stays there.
    fn may_go(&self, shard: &ShardDescriptor, from: NodeId, to: NodeId) -> bool {
        if shard.replica_on(to).is_some() || self.scene.traffic.avoids(shard.id, to) {
            return false;
        }
        let pop = |node| self.scene.nodes.get(node).map(|member| &member.pop);
        let (old, new) = (pop(from), pop(to));
        if old == new {
            return true;
        }
        let votes = |it: &Replica| it.role == ReplicaRole::Voter;
        if is_bound_to_pops(shard) || !shard.replica_on(from).is_some_and(votes) {
            return false;
        }
        let others = |wanted| {
            let others = shard.voters().filter(|voter| voter.node != from);
            others.filter(|voter| pop(voter.node) == wanted).count()
        };
        others(new) <= others(old)
    }
}
