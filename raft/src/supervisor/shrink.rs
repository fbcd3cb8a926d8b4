//! Merging neighbours that have grown small and quiet: the leader of the meta group plans it by what the
//! leaders of the shards say ([`Shrinkage`](hexpop_shard::Shrinkage)), one at a time in the whole mesh.
//!
//! Nothing is begun while any other operation runs: what moves, divides or is drained comes first.

use std::sync::Arc;

use hexpop_edge_config::GroupId;
use hexpop_shard::{MetaOp, MetaOutcome, Operation, OperationKind, ReadersOf, World};
use openraft::{AsyncRuntime, Instant as _};

use super::{
    meta::propose_meta_here,
    place::{leaders, losses, own_loads},
};
use crate::{group::Group, host::Inner};

/// As the leader of the meta group: begins a merge if one is due.
pub(super) async fn step<R: AsyncRuntime>(inner: &Arc<Inner<R>>, meta: &Group<R>) {
    if !inner.options.merge || !meta.has_applied_own_term() {
        return;
    }
    let is_busy = {
        let state = meta.replica.state();
        let operations = state.as_meta().into_iter().flat_map(|meta| meta.operations());
        operations.into_iter().any(|operation: &Operation| operation.state.is_running())
    };
    let planned = {
        let (map, members) = (inner.map(), inner.membership.members());
        let (leaders, losses) = (leaders(inner), losses(inner));
        let mut loads = inner.loads.lock().clone();
        loads.extend(own_loads(inner));
        let world = World {
            map: &map,
            members: &members,
            policy: &inner.options.policy,
            leaders: &leaders,
            losses: &losses,
            rings: &inner.options.rings,
            readers: &ReadersOf::default(),
        };
        let limits = (&inner.options.split_limits, &inner.options.merge_limits);
        let now_ms = u64::try_from(inner.began.elapsed().as_millis()).unwrap_or(u64::MAX);
        inner.shrinkage.lock().look(now_ms, &world, &loads, limits, is_busy)
    };
    let Some(planned) = planned else { return };
    let (shard, reason) = (planned.left, planned.reason);
    let kind = OperationKind::Merge(planned.merge);
    let begun = propose_meta_here(inner, MetaOp::BeginOperation { kind, shard, reason }).await;
    match begun {
        Ok(MetaOutcome::OperationBegun(operation)) => {
            tracing::info!(%operation, %shard, "the shard is to take its neighbour in");
        }
        other => tracing::debug!(%shard, ?other, "no merge was begun"),
    }
}

/// Whether what shards hold is asked for, which takes a leader of the meta group.
pub(super) fn asks_for_loads<R: AsyncRuntime>(inner: &Inner<R>) -> bool {
    let leads = inner.group(GroupId::META).is_some_and(|meta| meta.leads());
    leads && (inner.options.moves_at_once > 0 || inner.options.merge)
}
