//! What operators do meanwhile: shards are divided and merged, and replicas moved.

use std::{sync::Arc, time::Duration};

use hexpop_edge_config::{NodeId, ShardId};
use hexpop_raft::{Host, ReadLevel, ReplicaState, ReplicaStatus};
use hexpop_shard::{
    Merge, MetaOp, MetaOutcome, OperationKind, OperationState, OperationUpdate, ReadAnswer, ReadOp,
    ShardDescriptor, Space, Split,
};
use openraft_rt::AsyncRuntime;

use super::{executor::BEGIN, runtime::SimRuntime, trace::Trace, world::World};

/// How often an operator tries to begin something.
const ATTEMPTS: u32 = 20;

/// How often with merges, for which two shards have to be neighbours that nothing else runs on.
const MERGE_ATTEMPTS: u32 = 100;

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

    /// Somebody has two neighbours of a space merged, as soon as nothing else runs on them.
    pub(super) fn merge(&mut self, space: Space) {
        let choice = self.random.next_u64();
        let Some(node) = self.processes().map(|(node, _)| *node).next() else { return };
        self.at(node, move |host, trace| async move {
            for _attempt in 0..MERGE_ATTEMPTS {
                if let Some((left, merge)) = neighbours(&host, space, choice) {
                    let right = merge.right;
                    let (kind, reason) = (OperationKind::Merge(merge), "simulated".to_owned());
                    let begin = MetaOp::BeginOperation { kind, shard: left, reason };
                    let begun = host.propose_meta(begin, ASK).await;
                    if let Ok(MetaOutcome::OperationBegun(id)) = begun {
                        note(&trace, "merges-begun", &[id.0, left.0, right.0]);
                        return;
                    }
                }
                SimRuntime::sleep(PAUSE).await;
            }
        });
    }

    /// Somebody has the merges cancelled that run.
    pub(super) fn cancel_merges(&self) {
        let open = self.checks.state.lock().merges.open();
        let Some(node) = self.processes().map(|(node, _)| *node).next() else { return };
        self.at(node, move |host, _trace| async move {
            for id in open {
                let update = OperationUpdate::Finished(OperationState::Cancelled);
                host.propose_meta(MetaOp::UpdateOperation { id, update }, ASK).await.ok();
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

/// Two neighbours that may be one, by the map of a node.
fn neighbours(host: &Host<SimRuntime>, space: Space, choice: u64) -> Option<(ShardId, Merge)> {
    let map = host.shard_map();
    let pairs = map.shards().filter(|left| left.range.space_of() == space).filter_map(|left| {
        let merge = Merge::of(map.locate(left.range.end.as_ref()?)?);
        merge.check(left.id, &left.range).is_ok().then_some((left.id, merge))
    });
    let pairs: Vec<(ShardId, Merge)> = pairs.collect();
    let at = choice.checked_rem(pairs.len() as u64)?;
    pairs.into_iter().nth(usize::try_from(at).ok()?)
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
