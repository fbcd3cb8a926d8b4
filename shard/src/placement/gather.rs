//! Bringing the voters of a shard where they belong: one each in a PoP first, then within one ring of PoPs.

use hexpop_edge_config::PopId;

use super::{
    Cause, Member, Move, Relocation,
    lanes::Lanes,
    moves::{Outside, Scene, Weights},
    spread::PopCounts,
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
    let free = holders.allowed.values().copied().filter(|member| {
        pops.of(&member.pop) == 0
            && !lanes.is_full(member.node)
            && !scene.traffic.avoids(shard.id, member.node)
    });
    // A learner that is there already becomes the voter.
    let to = free.min_by_key(|member| {
        let is_new = shard.replica_on(member.node).is_none();
        (!home.has(&member.pop), is_new, weights.of(member.node), member.node)
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
    for Outside { shard, old, from, home } in outside {
        if lanes.are_full() {
            return;
        }
        if !scene.traffic.is_free(shard.id) || !lanes.may_send(shard.id) {
            continue;
        }
        let Some(holders) = scene.nodes.holders(scene.world.policy.of(&shard.range)) else {
            continue;
        };
        let has_voter = |pop: &PopId| {
            let mut voters = shard.voters().filter_map(|voter| scene.nodes.get(voter.node));
            voters.any(|member| member.pop == *pop)
        };
        let free = holders.allowed.values().copied().filter(|member| {
            home.has(&member.pop)
                && !has_voter(&member.pop)
                && !lanes.is_full(member.node)
                && !scene.traffic.avoids(shard.id, member.node)
        });
        // A learner that is there already becomes the voter.
        let learns = |member: &Member| {
            shard.replica_on(member.node).is_some_and(|it| it.role == ReplicaRole::Learner)
        };
        let to = free.min_by_key(|member| (!learns(member), weights.of(member.node), member.node));
        let Some(to) = to else { continue };
        let reason = format!(
            "PoP {} is outside of the ring of its other voters, and {} in there has none",
            from.pop, to.pop
        );
        let relocation =
            Relocation { from: old.node, old: old.raft, to: to.node, cause: Cause::Ring };
        weights.shift(scene.traffic.weight(shard.id), old.node, to.node);
        lanes.begin(shard.id, to.node);
        moves.push(Move { shard: shard.id, relocation, reason });
    }
}
