//! What operators do meanwhile: shards are divided, and replicas moved.

use std::{sync::Arc, time::Duration};

use hexpop_edge_config::{NodeId, ShardId};
use hexpop_raft::{Host, ReadLevel, ReplicaState, ReplicaStatus};
use hexpop_shard::{
    MetaOp, MetaOutcome, OperationKind, ReadAnswer, ReadOp, ShardDescriptor, Space, Split,
};
use openraft_rt::AsyncRuntime;

use super::{executor::BEGIN, runtime::SimRuntime, trace::Trace, world::World};

/// How often an operator tries to begin something.
const ATTEMPTS: u32 = 20;

/// How long between two tries.
const PAUSE: Duration = Duration::from_millis(300);

/// How long one question may take.
const ASK: Duration = Duration::from_secs(3);

impl World {
    /// Somebody has the largest shard of a space divided where that is best.
    pub(super) fn divide(&self, space: Space) {
        let Some((node, replica)) = self.leader_of(|shard| shard.range.space_of() == space) else {
            return;
        };
        self.at(node, move |host, trace| async move {
            for _attempt in 0..ATTEMPTS {
                if let Some(child) = begin_split(&host, replica.shard).await {
                    note(&trace, "splits-begun", &[replica.shard.0, child.0]);
                    return;
                }
                SimRuntime::sleep(PAUSE).await;
            }
        });
    }

    /// Somebody has a replica moved to a node that has none of its shard.
    pub(super) fn move_to(&self, to: NodeId) {
        let lacks =
            |shard: &ShardDescriptor| shard.replica_on(to).is_none() && shard.voters().count() == 3;
        let Some((node, replica)) = self.leader_of(lacks) else { return };
        let Some(from) = replica.replicas.iter().map(|known| known.node).max() else { return };
        self.at(node, move |host, trace| async move {
            let kind = OperationKind::Move { from, to };
            let (shard, reason) = (replica.shard, "simulated".to_owned());
            let begin = MetaOp::BeginOperation { kind, shard, reason };
            for _attempt in 0..ATTEMPTS {
                if let Ok(MetaOutcome::OperationBegun(_)) =
                    host.propose_meta(begin.clone(), ASK).await
                {
                    note(&trace, "moves-begun", &[shard.0, u64::from(to.0)]);
                    return;
                }
                SimRuntime::sleep(PAUSE).await;
            }
        });
    }

    /// Who leads the shard with the most keys among some.
    fn leader_of(
        &self,
        is_meant: impl Fn(&ShardDescriptor) -> bool,
    ) -> Option<(NodeId, ReplicaStatus)> {
        let led = self.processes().flat_map(|(node, process)| {
            let map = process.host.shard_map();
            let led = process.host.replicas().into_iter().filter(|replica| {
                replica.state == ReplicaState::Leader
                    && map.get(replica.shard).is_some_and(&is_meant)
            });
            led.map(|replica| (*node, replica)).collect::<Vec<_>>()
        });
        led.max_by_key(|(node, replica)| (replica.keys, replica.term, replica.shard, *node))
    }

    /// Has something done by a node's process.
    fn at<F>(&self, node: NodeId, what: impl FnOnce(Host<SimRuntime>, Arc<Trace>) -> F)
    where
        F: Future<Output = ()> + Send + 'static,
    {
        let process = self.processes().find(|(other, _)| **other == node);
        if let Some((_, process)) = process {
            let task = what(process.host.clone(), Arc::clone(&self.trace));
            self.executor.within(process.home, || drop(SimRuntime::spawn(task)));
        }
    }
}

/// Begins a split where the records divide best; `None` when that is not possible now.
async fn begin_split(host: &Host<SimRuntime>, shard: ShardId) -> Option<ShardId> {
    let epoch = host.replica(shard)?.epoch;
    let op = ReadOp::SplitPoint;
    let read = host.read(shard, epoch, ReadLevel::Eventual, None, ASK, &op).await.ok()?;
    let ReadAnswer::SplitPoint(Some(at)) = read.answer else { return None };
    let allocated = host.propose_meta(MetaOp::AllocateIds { count: 1 }, ASK).await.ok()?;
    let MetaOutcome::Allocated { first: child, .. } = allocated else { return None };
    let kind = OperationKind::Split(Split { at, child });
    let begin = MetaOp::BeginOperation { kind, shard, reason: "simulated".to_owned() };
    let begun = host.propose_meta(begin, ASK).await.ok()?;
    matches!(begun, MetaOutcome::OperationBegun(_)).then_some(child)
}

fn note(trace: &Trace, what: &'static str, numbers: &[u64]) {
    let now = super::executor::current().map_or(BEGIN, |executor| executor.now());
    trace.note(now, what, numbers, || format!("{numbers:?}"));
}
