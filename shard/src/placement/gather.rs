//! Bringing the voters of a shard where they belong: one each in a PoP first, then within one ring of PoPs.

use hexpop_edge_config::NodeId;

use super::{
    Cause, Member, Move, Relocation,
    lanes::Lanes,
    learners::Nearness,
    moves::{Outside, Scene, Weights},
    spread::PopCounts,
    takers::Takers,
};
use crate::{Replica, ReplicaRole, ShardDescriptor};

/// Has replicas leave PoPs that they share with others of their shard, for PoPs that have none.
pub(super) fn spread(
    scene: &Scene<'_>,
    crowded: &[&ShardDescriptor],
    weights: &mut Weights,
    lanes: &mut Lanes<'_>,
    moves: &mut Vec<Move>,
) {
    for shard in crowded {
        if lanes.are_full() {
            return;
        }
        if !scene.traffic.is_free(shard.id) || !lanes.may_send(shard.id) {
            continue;
        }
        let Some((old, from, to)) = spread_one(scene, shard, weights, lanes) else { continue };
        let reason = format!("PoP {} has two of its voters, and {} none", from.pop, to.pop);
        let relocation =
            Relocation { from: old.node, old: old.raft, to: to.node, cause: Cause::Spread };
        weights.shift(scene.traffic.weight(shard.id), old.node, to.node);
        lanes.begin(shard.id, to.node);
        moves.push(Move { shard: shard.id, relocation, reason });
    }
}

fn spread_one<'a>(
    scene: &Scene<'a>,
    shard: &'a ShardDescriptor,
    weights: &Weights,
    lanes: &Lanes<'_>,
) -> Option<(&'a Replica, &'a Member, &'a Member)> {
    let holders = scene.nodes.holders(scene.world.policy.of(&shard.range))?;
    let voters: Vec<(&Replica, &Member)> =
        shard.voters().filter_map(|voter| Some((voter, scene.nodes.get(voter.node)?))).collect();
    let mut pops = PopCounts::default();
    for (_, member) in &voters {
        pops.add(&member.pop);
    }
    let (old, from) = voters
        .iter()
        .copied()
        .max_by_key(|(_, member)| (pops.of(&member.pop), weights.of(member.node), member.node))?;
    let home = scene.home(shard, holders);
    let free = holders.allowed.iter().filter(|member| {
        pops.of(&member.pop) == 0
            && !lanes.is_full(member.node)
            && !scene.traffic.avoids(shard.id, member.node)
    });
    // A learner that is there already becomes the voter.
    let to = free.min_by_key(|member| {
        let place = (!scene.is_in(home, member.node), scene.nearness(shard, member));
        (place, weights.of(member.node), member.node)
    })?;
    Some((old, from, to))
}

/// Has voters outside of the ring of the others go to a PoP in there that has none.
pub(super) fn gather(
    scene: &Scene<'_>,
    outside: &[Outside<'_>],
    weights: &mut Weights,
    lanes: &mut Lanes<'_>,
    moves: &mut Vec<Move>,
) {
    if outside.is_empty() || lanes.are_full() {
        return;
    }
    let mut takers = Takers::new(scene, weights, |member| !lanes.is_full(member.node));
    for Outside { shard, old, from, home } in outside {
        if lanes.are_full() {
            return;
        }
        if !scene.traffic.is_free(shard.id) || !lanes.may_send(shard.id) {
            continue;
        }
        let Some(to) = gather_one(scene, shard, *home, &takers) else { continue };
        let reason = format!(
            "PoP {} is outside of the ring of its other voters, and {} in there has none",
            from.pop, to.pop
        );
        let relocation =
            Relocation { from: old.node, old: old.raft, to: to.node, cause: Cause::Ring };
        let weight = scene.traffic.weight(shard.id);
        let before = [old.node, to.node].map(|node| (node, weights.of(node)));
        weights.shift(weight, old.node, to.node);
        lanes.begin(shard.id, to.node);
        for (node, before) in before {
            let after = Some(weights.of(node)).filter(|_| !lanes.is_full(node));
            takers.note((node, scene.areas.of(node)), before, after);
        }
        moves.push(Move { shard: shard.id, relocation, reason });
    }
}

/// Where a voter goes that is outside: where a learner is already that has caught up, else to whoever has least.
fn gather_one<'a>(
    scene: &Scene<'a>,
    shard: &ShardDescriptor,
    home: Option<usize>,
    takers: &Takers,
) -> Option<&'a Member> {
    let holders = scene.nodes.holders(scene.world.policy.of(&shard.range))?;
    let takers = takers.of((holders.class, home))?;
    let fits = |node: NodeId| {
        let member = scene.nodes.get(node).filter(|_| !scene.traffic.avoids(shard.id, node))?;
        let mut voters = shard.voters().filter_map(|voter| scene.nodes.get(voter.node));
        voters.all(|voter| voter.pop != member.pop).then_some(member)
    };
    let learners = shard.replicas.iter().filter(|it| it.role == ReplicaRole::Learner);
    let learners = learners
        .map(|learner| learner.node)
        .filter(|node| takers.iter().any(|(_, taker)| taker == node));
    let nearest = learners.filter_map(fits).min_by_key(|it| (scene.nearness(shard, it), it.node));
    if let Some(nearest) = nearest.filter(|it| scene.nearness(shard, it) < Nearness::Empty) {
        return Some(nearest);
    }
    let mut others = takers.iter().filter_map(|(_, node)| fits(*node));
    let first = others.next()?;
    let is_slow = |member: &Member| scene.nearness(shard, member) == Nearness::Late;
    // One that is slow is better than none.
    Some(if is_slow(first) { others.find(|it| !is_slow(it)).unwrap_or(first) } else { first })
}
