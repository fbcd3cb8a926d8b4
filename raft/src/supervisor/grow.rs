//! Dividing shards that have grown too large or too busy: their leaders measure, of reads every replica, and
//! ask the meta group for an operation.
//!
//! Nothing is asked for while a voter of the shard is not up, a change of it is under way or the map does
//! not have its last one: what is unhealthy is repaired first.

use std::{
    collections::BTreeMap,
    sync::{Arc, atomic::Ordering},
    time::Duration,
};

use hexpop_edge_config::GroupId;
use hexpop_shard::{
    Growth, MetaOp, MetaOutcome, OperationKind, ReadAnswer, ReadOp, ShardLoad, Split,
};
use openraft::{AsyncRuntime, Instant as _};

use super::{lead::is_reported, meta::propose_meta};
use crate::{group::Group, host::Inner};

/// How often it is measured.
const PAUSE: Duration = Duration::from_secs(2);

/// How long the meta group may take to begin an operation.
const BEGIN: Duration = Duration::from_secs(5);

/// What is kept of a shard with a replica here.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Measured<I> {
    growth: Growth,
    /// The last entry applied, how many reads were answered, and when that was looked at.
    index: u64,
    reads: u64,
    at: I,
    /// The version of its epoch then.
    version: u64,
    /// Writes a second, between the last two looks.
    pub(crate) writes_per_s: u64,
}

pub(super) async fn step<R: AsyncRuntime>(inner: Arc<Inner<R>>) -> Duration {
    let limits = inner.options.split_limits;
    let limited = [limits.keys, limits.bytes, limits.writes_per_s, limits.reads_per_s];
    if limited.iter().all(|limit| *limit == 0) {
        return PAUSE;
    }
    let (now, now_ms) = (R::Instant::now(), inner.clock.wall_ms());
    let shards: BTreeMap<GroupId, Arc<Group<R>>> = inner
        .running()
        .into_iter()
        .filter(|group| group.id.is_of_shard() && (group.leads() || limits.reads_per_s > 0))
        .map(|group| (group.id, group))
        .collect();
    let mut grown = Vec::new();
    {
        let mut measured = inner.measured.lock();
        measured.retain(|id, _| shards.contains_key(id));
        for (id, group) in &shards {
            let index = group.replica.applied().index;
            let reads = group.reads.load(Ordering::Relaxed);
            let version = group.replica.state().epoch().version;
            let growth = Growth::default();
            let fresh = Measured { growth, index, reads, at: now, version, writes_per_s: 0 };
            let known = measured.entry(*id).or_insert(fresh);
            if known.version != version {
                *known = Measured { growth: Growth::divided(now_ms), ..fresh };
                continue;
            }
            let elapsed_ms = now.saturating_duration_since(known.at).as_millis().max(1);
            let per_s = |count: u64| {
                u64::try_from(u128::from(count) * 1_000 / elapsed_ms).unwrap_or(u64::MAX)
            };
            let reads_per_s = per_s(reads.saturating_sub(known.reads));
            let writes_per_s = per_s(index.saturating_sub(known.index));
            (known.index, known.reads, known.at) = (index, reads, now);
            known.writes_per_s = writes_per_s;
            let mut load = ShardLoad { reads_per_s, ..ShardLoad::default() };
            if group.leads() {
                let stats = group.replica.state().stats();
                load = ShardLoad { keys: stats.keys, bytes: stats.bytes, writes_per_s, ..load };
            }
            if is_healthy(&inner, group)
                && let Some(reason) = known.growth.look(now_ms, &load, &limits)
            {
                grown.push((Arc::clone(group), reason));
            }
        }
    }
    // One at a time: a split has the node's disk to itself for a moment.
    for (group, reason) in grown {
        begin(&inner, &group, reason).await;
    }
    PAUSE
}

fn is_healthy<R: AsyncRuntime>(inner: &Inner<R>, group: &Group<R>) -> bool {
    let members = inner.membership.members();
    let map = inner.map();
    let is_up = |raft| members.iter().any(|member| member.alive && member.raft == raft);
    map.get(group.id).is_some_and(|shard| shard.voters().all(|voter| is_up(voter.raft)))
        && is_reported(inner, group)
        && !group.is_held()
}

async fn begin<R: AsyncRuntime>(inner: &Arc<Inner<R>>, group: &Group<R>, reason: String) {
    let shard = group.id;
    let read = group.replica.state().read(&ReadOp::SplitPoint, group.replica.documents());
    let ReadAnswer::SplitPoint(Some(at)) = read else {
        tracing::info!(%shard, reason, "too large, and all of it is at one place");
        return;
    };
    let allocated = propose_meta(inner, MetaOp::AllocateIds { count: 1 }, BEGIN).await;
    let Ok(MetaOutcome::Allocated { first: child, .. }) = allocated else {
        tracing::debug!(%shard, ?allocated, "no id for a new shard");
        return;
    };
    let kind = OperationKind::Split(Split { at, child });
    let begun = propose_meta(inner, MetaOp::BeginOperation { kind, shard, reason }, BEGIN).await;
    tracing::info!(%shard, ?begun, "the shard has outgrown its limits");
}
