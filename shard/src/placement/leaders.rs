//! Which voter leads.

use std::collections::BTreeMap;

use hexpop_edge_config::{NodeId, ShardId};

use super::{
    Step, StepKind, Writers,
    nodes::Nodes,
    spread::{Counts, Led, balance_leaders},
};
use crate::{Replica, ShardDescriptor};

/// How many times its even share a node may lead because writes come in near it.
const SHARES_MAX: u32 = 2;

/// Who leads what, and where writes come in.
#[derive(Clone, Copy)]
pub(super) struct Leading<'a> {
    pub(super) leaders: &'a BTreeMap<ShardId, NodeId>,
    pub(super) writers: &'a BTreeMap<ShardId, Writers>,
}

/// Leaders go away from nodes that are being emptied, whatever that does to the balance; to where most of
/// their shard's writes come in, unless they are far too many there; and the others to where fewer are, if
/// that makes the counts more even.
pub(super) fn plan_leaders(
    settled: &[&ShardDescriptor],
    nodes: &Nodes<'_>,
    leading: Leading<'_>,
) -> Vec<Step> {
    let leaders = leading.leaders;
    let drains =
        |node: NodeId| nodes.get(node).is_some_and(|member| member.draining && member.alive);
    let mut leads = Counts::default();
    for leader in leaders.values() {
        leads.add(*leader);
    }
    let mut steps = Vec::new();
    let mut hand_over = |shard: ShardId, from: NodeId, to: NodeId, reason: String| {
        steps.push(Step {
            shard,
            kind: StepKind::TransferLeader { from, to },
            reason,
            for_readers: false,
        });
    };
    for shard in settled {
        let Some(from) = leaders.get(&shard.id).copied().filter(|leader| drains(*leader)) else {
            continue;
        };
        if let Some(to) = able(nodes, shard).min_by_key(|node| (leads.of(*node), *node)) {
            leads.remove(from);
            leads.add(to);
            hand_over(shard.id, from, to, format!("node {from} is being emptied"));
        }
    }
    let most = most_led(nodes, leaders.len());
    // Where those that their writers concern may be led, for as long as they do.
    let mut near: BTreeMap<ShardId, Vec<NodeId>> = BTreeMap::new();
    for shard in settled.iter().filter(|_| !leading.writers.is_empty()) {
        let Some(writers) = leading.writers.get(&shard.id) else { continue };
        let Some(leader) = leaders.get(&shard.id).copied() else { continue };
        let mut voters: Vec<NodeId> = able(nodes, shard).collect();
        if !voters.contains(&leader) {
            continue;
        }
        voters.retain(|node| nodes.get(*node).is_some_and(|member| member.pop == writers.pop));
        if voters.contains(&leader) {
            // It stays where its writers are; within their PoP it may even out.
            near.insert(shard.id, voters);
        } else if writers.persist
            && let Some(to) = voters.iter().copied().min_by_key(|node| (leads.of(*node), *node))
            && leads.of(to) < most
        {
            leads.remove(leader);
            leads.add(to);
            let reason = format!("most of its writes come in at PoP {}", writers.pop);
            hand_over(shard.id, leader, to, reason);
            near.insert(shard.id, Vec::new());
        }
    }
    let mut led = uneven(settled, nodes, leaders, &leads, near);
    let before = leads.clone();
    for (shard, from, to) in balance_leaders(&mut led, &mut leads) {
        let reason =
            format!("node {from} leads {} shards, node {to} {}", before.of(from), before.of(to));
        hand_over(shard, from, to, reason);
    }
    steps
}

/// The voters of a shard that may lead it.
fn able<'n>(nodes: &'n Nodes<'_>, shard: &'n ShardDescriptor) -> impl Iterator<Item = NodeId> {
    let may_lead = move |replica: &&Replica| {
        nodes.is_live(replica) && !nodes.get(replica.node).is_some_and(|member| member.draining)
    };
    shard.voters().filter(may_lead).map(|replica| replica.node)
}

/// The shards whose leader could go to whoever leads fewer: some only within those of `near`. Nobody gives a
/// leader away who leads no more than one more than whoever leads least: so it is with nearly all.
fn uneven(
    settled: &[&ShardDescriptor],
    nodes: &Nodes<'_>,
    leaders: &BTreeMap<ShardId, NodeId>,
    leads: &Counts,
    mut near: BTreeMap<ShardId, Vec<NodeId>>,
) -> Vec<Led> {
    let up = nodes.iter().filter(|member| member.alive && !member.draining);
    let least = up.map(|member| leads.of(member.node)).min().unwrap_or(0);
    let mut led = Vec::new();
    for shard in settled {
        let Some(leader) = leaders.get(&shard.id).copied() else { continue };
        if leads.of(leader) < least.saturating_add(2) {
            continue;
        }
        let voters = near.remove(&shard.id).unwrap_or_else(|| able(nodes, shard).collect());
        if voters.contains(&leader) {
            led.push(Led { shard: shard.id, leader, voters });
        }
    }
    led
}

/// How many shards a node may lead because their writers are near: twice its share, and one for small meshes.
fn most_led(nodes: &Nodes<'_>, led: usize) -> u32 {
    let able = nodes.iter().filter(|member| member.alive && !member.draining).count().max(1);
    let share = u32::try_from(led.div_ceil(able)).unwrap_or(u32::MAX);
    share.saturating_mul(SHARES_MAX).saturating_add(1)
}
