//! Which voter leads.

use std::collections::BTreeMap;

use hexpop_edge_config::{NodeId, ShardId};

use super::{
    Step, StepKind,
    nodes::Nodes,
    spread::{Counts, Led, balance_leaders},
};
use crate::{Replica, ShardDescriptor};

/// Leaders go away from nodes that are being emptied, whatever that does to the balance; the others
/// go where fewer are, if that makes the counts more even.
pub(super) fn plan_leaders(
    settled: &[&ShardDescriptor],
    nodes: &Nodes<'_>,
    leaders: &BTreeMap<ShardId, NodeId>,
) -> Vec<Step> {
    let may_lead = |replica: &&Replica| {
        nodes.is_live(replica) && !nodes.get(replica.node).is_some_and(|member| member.draining)
    };
    let drains =
        |node: NodeId| nodes.get(node).is_some_and(|member| member.draining && member.alive);
    let mut leads = Counts::default();
    for leader in leaders.values() {
        leads.add(*leader);
    }
    let mut led: Vec<Led> = settled
        .iter()
        .filter_map(|shard| {
            let leader = *leaders.get(&shard.id)?;
            let voters: Vec<NodeId> =
                shard.voters().filter(may_lead).map(|replica| replica.node).collect();
            voters.contains(&leader).then_some(Led { shard: shard.id, leader, voters })
        })
        .collect();
    let before = leads.clone();
    let mut away = Vec::new();
    for shard in settled {
        let Some(from) = leaders.get(&shard.id).copied().filter(|leader| drains(*leader)) else {
            continue;
        };
        let takers = shard.voters().filter(may_lead).map(|replica| replica.node);
        if let Some(to) = takers.min_by_key(|node| (leads.of(*node), *node)) {
            leads.remove(from);
            leads.add(to);
            let reason = format!("node {from} is being emptied");
            away.push(Step {
                shard: shard.id,
                kind: StepKind::TransferLeader { from, to },
                reason,
            });
        }
    }
    let balanced =
        balance_leaders(&mut led, &mut leads).into_iter().map(|(shard, from, to)| Step {
            shard,
            kind: StepKind::TransferLeader { from, to },
            reason: format!(
                "node {from} leads {} shards, node {to} {}",
                before.of(from),
                before.of(to)
            ),
        });
    away.into_iter().chain(balanced).collect()
}
