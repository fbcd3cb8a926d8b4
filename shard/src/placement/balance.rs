//! Evening out over nodes.

use std::collections::{BTreeMap, BTreeSet};

use hexpop_edge_config::{NodeId, ShardId};

use super::{
    Cause, Move, Relocation,
    even::Shares,
    lanes::Lanes,
    moves::{Scene, Weights, is_bound_to_pops},
    per_node::PerNode,
    takers::{Takers, Where},
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
    /// What each node that may have enough to give has, largest first.
    held: BTreeMap<NodeId, Vec<Held<'a>>>,
    /// Who may hold what needs certain labels, least first.
    takers: Takers,
    /// Those of them who may get more now.
    free: Takers,
    /// What each node would have if all were as even as labels and rings let them be.
    fair: PerNode<u64>,
    busy: BTreeSet<ShardId>,
}

/// A replica that may go elsewhere.
struct Held<'a> {
    weight: u64,
    shard: &'a ShardDescriptor,
    to: Where,
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
    let mut evening = Evening::new(scene, weights, lanes, moves);
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
        lanes.begin(shard.id, to);
        for (node, before, after) in [
            (from, has, has.saturating_sub(weight)),
            (to, weights.of(to), weights.of(to).saturating_add(weight)),
        ] {
            evening.note(node, before, after, lanes);
            if givers.remove(&(before, node)) || node == from {
                givers.insert((after, node));
            }
        }
        weights.shift(weight, from, to);
        evening.busy.insert(shard.id);
        let relocation = Relocation { from, old: old.raft, to, cause: Cause::Balance };
        moves.push(Move { shard: shard.id, relocation, reason });
    }
}

/// The difference that is worth a move, for a node that has this much: so that neither a move by hand nor a few
/// records more begin one.
fn slack(has: u64) -> u64 {
    (2 * super::moves::EMPTY_BYTES).max(has / SLACK_PART)
}

impl<'s, 'a> Evening<'s, 'a> {
    fn new(scene: &'s Scene<'a>, weights: &Weights, lanes: &Lanes<'_>, moves: &[Move]) -> Self {
        let mut shares = Shares::new(scene, weights);
        let takers = Takers::new(scene, weights, |_member| true);
        let free = Takers::new(scene, weights, |member| !lanes.is_full(member.node));
        let gives =
            |has: u64| takers.least().is_some_and(|least| has.saturating_sub(least) > slack(has));
        let mut held: BTreeMap<NodeId, Vec<Held<'a>>> = BTreeMap::new();
        let mut is_giver = PerNode::default();
        for member in scene.nodes.iter().filter(|member| member.alive && !member.draining) {
            if gives(weights.of(member.node)) {
                *is_giver.entry(member.node) = true;
                held.insert(member.node, Vec::new());
            }
        }
        for shard in scene.world.map.shards().filter(|shard| scene.traffic.is_free(shard.id)) {
            // One that nothing can mend now is not to be stirred.
            if !shard.replicas.iter().all(|replica| scene.nodes.is_live(replica)) {
                continue;
            }
            let Some(holders) = scene.nodes.holders(scene.world.policy.of(&shard.range)) else {
                continue;
            };
            let (class, weight) = (holders.class, scene.traffic.weight(shard.id));
            let keeps_to_ring = scene.keeps_to_ring(shard, holders);
            let is_bound = is_bound_to_pops(shard);
            for replica in &shard.replicas {
                let area = scene.areas.of(replica.node);
                shares.bind((replica.node, area), class, weight);
                // Who leads the shard chose the node of a learner for readers, and knows whether it keeps up.
                let may_leave = is_bound || replica.role == ReplicaRole::Voter;
                if may_leave
                    && is_giver.of(replica.node)
                    && let Some(held) = held.get_mut(&replica.node)
                {
                    let to = (class, keeps_to_ring(replica).then_some(area));
                    held.push(Held { weight, shard, to });
                }
            }
        }
        for shards in held.values_mut() {
            shards.sort_by_key(|held| (std::cmp::Reverse(held.weight), held.shard.id));
        }
        let fair = shares.fair(scene.nodes);
        let busy = moves.iter().map(|planned| planned.shard).collect();
        Self { scene, held, takers, free, fair, busy }
    }

    /// Whether anybody has so little that a node with this much may give to him.
    fn may_give(&self, has: u64) -> bool {
        self.takers.least().is_some_and(|least| has.saturating_sub(least) > slack(has))
    }

    fn note(&mut self, node: NodeId, before: u64, after: u64, lanes: &Lanes<'_>) {
        let at = (node, self.scene.areas.of(node));
        self.takers.note(at, before, Some(after));
        self.free.note(at, before, Some(after).filter(|_| !lanes.is_full(node)));
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
            // What is exactly right may go to the next one; what is not waits for who has least.
            let takers = if is_exact { &self.free } else { &self.takers };
            let takers = takers.of(to).filter(|_| !is_busy)?;
            for (least, to) in takers {
                let difference = has.saturating_sub(*least);
                let is_worth_it = difference > slack(has) && weight <= difference / 2;
                let overshoots = is_exact
                    && (least + weight > self.fair.of(*to) || has < self.fair.of(from) + weight);
                if !is_worth_it || overshoots || looks >= LOOKS_PER_NODE {
                    return None;
                }
                looks += 1;
                if lanes.is_full(*to) {
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

    /// Whether a replica may go from one node to another without making the spread over PoPs worse.
    fn may_go(&self, shard: &ShardDescriptor, from: NodeId, to: NodeId) -> bool {
        if shard.replica_on(to).is_some() || self.scene.traffic.avoids(shard.id, to) {
            return false;
        }
        let pop = |node| self.scene.nodes.get(node).map(|member| &member.pop);
        let (old, new) = (pop(from), pop(to));
        if old == new {
            return true;
        }
        if is_bound_to_pops(shard) {
            return false;
        }
        let others = |wanted| {
            let others = shard.voters().filter(|voter| voter.node != from);
            others.filter(|voter| pop(voter.node) == wanted).count()
        };
        others(new) <= others(old)
    }
}
