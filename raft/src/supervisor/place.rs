//! Placement over the whole mesh: whoever leads the meta group has replicas go from node to node, each by
//! an operation that it begins, and only so many at a time ([`plan_moves`]).
//!
//! What leaders do for their own shards is in `lead`. A node counts as down from when gossip has it down;
//! each node measures that for itself, so that a new leader of the meta group need not begin anew.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
    time::Duration,
};

use futures::StreamExt;
use hexpop_edge_config::{GroupId, NodeId, ShardId};
use hexpop_shard::{
    Explanation, Learners, Losses, MetaOp, MetaOutcome, Operation, OperationKind, OperationState,
    ReaderLimits, Readers, ReadersOf, ShardLoad, ShardStats, Traffic, World, explain, plan_moves,
};
use openraft::{AsyncRuntime, Instant as _};

use super::{ASK, decide, meta::propose_meta_here, shrink::asks_for_loads};
use crate::{
    group::Group,
    host::Inner,
    port::Lane,
    rpc::{Request, Response},
};

/// How long a shard is left alone after a move of it failed, in milliseconds. The node that it failed for
/// is avoided for longer.
const REST_MS: u64 = 10_000;

/// How many members are asked for loads at a time.
const ASKED_AT_ONCE: usize = 16;

/// What the meta group's leader knows of what is under way.
#[derive(Debug, Default)]
struct UnderWay {
    running: BTreeMap<ShardId, Option<(NodeId, NodeId)>>,
    resting: BTreeSet<ShardId>,
    avoid: BTreeSet<(ShardId, NodeId)>,
}

impl UnderWay {
    fn of<'o>(operations: impl Iterator<Item = &'o Operation>, now_ms: u64) -> Self {
        let mut found = Self::default();
        for operation in operations {
            if operation.state.is_running() {
                let places = match &operation.kind {
                    OperationKind::Move { from, to } => Some((*from, *to)),
                    OperationKind::Relocate(it) => Some((it.from, it.to)),
                    _ => None,
                };
                found.running.extend(operation.shards().map(|shard| (shard, places)));
            } else if let OperationKind::Relocate(_) = &operation.kind
                && let OperationState::Failed { .. } = &operation.state
                && operation.finished_ms.is_some_and(|at| at.abs_diff(now_ms) < REST_MS)
            {
                found.resting.insert(operation.shard);
            }
        }
        found
    }
}

/// Notes which data directories have replicas and no live member, and since when.
pub(super) fn note_away<R: AsyncRuntime>(inner: &Inner<R>) {
    let (map, members) = (inner.map(), inner.membership.members());
    let seats = inner.all_seats();
    let seated = seats.iter().flat_map(|seats| &seats.replicas).map(|replica| replica.raft);
    decide::note_away(&mut inner.away.lock(), &map, seated, &members, R::Instant::now());
}

/// Which data directories are away, and for how long.
pub(crate) fn losses<R: AsyncRuntime>(inner: &Inner<R>) -> Losses {
    let now = R::Instant::now();
    let away = inner.away.lock();
    let away = away.iter().map(|(raft, since)| (*raft, now.saturating_duration_since(*since)));
    Losses::new(away.collect(), inner.options.repair_after)
}

/// Who leads what, as far as known here. What a replica here knows is newer than what its leader said when
/// it was asked: right after a node's death each of the others would believe to lead more than all of them.
pub(super) fn leaders<R: AsyncRuntime>(inner: &Inner<R>) -> BTreeMap<ShardId, NodeId> {
    let mut leaders = inner.surveyed_leaders();
    let known = inner.running();
    leaders.extend(known.iter().filter_map(|group| Some((group.id, group.leader_node()?))));
    leaders
}

/// As the leader of the meta group: begins the moves that are due.
pub(super) async fn step<R: AsyncRuntime>(inner: &Arc<Inner<R>>, meta: &Group<R>) {
    if inner.options.moves_at_once == 0 || !meta.has_applied_own_term() {
        return;
    }
    let planned = with_world(inner, meta, plan_moves);
    for planned in planned.moves {
        let (shard, reason) = (planned.shard, planned.reason);
        let kind = OperationKind::Relocate(planned.relocation);
        let begun = propose_meta_here(inner, MetaOp::BeginOperation { kind, shard, reason }).await;
        match begun {
            Ok(MetaOutcome::OperationBegun(operation)) => {
                tracing::info!(%operation, %shard, relocation = ?planned.relocation, "a replica is to move");
            }
            other => tracing::debug!(%shard, ?other, "no move was begun"),
        }
    }
}

/// Why a shard is where it is, as this node sees it: the leader of the meta group sees what is under way
/// too. `None` when the map here does not have the shard.
pub(crate) fn why<R: AsyncRuntime>(inner: &Inner<R>, shard: ShardId) -> Option<Explanation> {
    match inner.group(GroupId::META) {
        Some(meta) => with_world(inner, &meta, |world, traffic| explain(world, traffic, shard)),
        None => see(inner, &UnderWay::default(), |world, traffic| explain(world, traffic, shard)),
    }
}

fn with_world<R: AsyncRuntime, T>(
    inner: &Inner<R>,
    meta: &Group<R>,
    look: impl FnOnce(&World<'_>, &Traffic<'_>) -> T,
) -> T {
    let under_way = {
        let now_ms = inner.clock.wall_ms();
        let state = meta.replica.state();
        let operations = || state.as_meta().into_iter().flat_map(|meta| meta.operations());
        let mut setbacks = inner.setbacks.lock();
        setbacks.note(operations(), now_ms);
        UnderWay { avoid: setbacks.avoided(now_ms), ..UnderWay::of(operations(), now_ms) }
    };
    see(inner, &under_way, look)
}

fn see<R: AsyncRuntime, T>(
    inner: &Inner<R>,
    under_way: &UnderWay,
    look: impl FnOnce(&World<'_>, &Traffic<'_>) -> T,
) -> T {
    let (map, members) = (inner.map(), inner.membership.members());
    let (leaders, losses) = (leaders(inner), losses(inner));
    // Others do not ask, and would know nothing but their own.
    let asks = inner.group(GroupId::META).is_some_and(|meta| meta.leads());
    let mut loads = inner.loads.lock().clone();
    loads.extend(own_loads(inner));
    let readers = known_readers(inner);
    let world = World {
        map: &map,
        members: &members,
        policy: &inner.options.policy,
        leaders: &leaders,
        losses: &losses,
        rings: &inner.options.rings,
        readers: &readers,
    };
    let traffic = Traffic {
        running: &under_way.running,
        resting: &under_way.resting,
        loads: asks.then_some(&loads),
        avoid: &under_way.avoid,
        at_once: inner.options.moves_at_once,
        per_node: inner.options.moves_per_node,
    };
    look(&world, &traffic)
}

/// Where the readers of the shards are that are led here, as of the last look. Others are left to their leaders,
/// also where no learners are made here: what only their leaders do must not be waited for.
fn known_readers<R: AsyncRuntime>(inner: &Inner<R>) -> ReadersOf {
    let led = inner.running().into_iter();
    let led = led.filter(|group| group.id.is_of_shard() && group.leads());
    let shards = led.map(|group| (group.id, group.known_readers())).collect();
    let learners = inner.late_learners.lock().seen.clone();
    readers_of(&inner.options.reader_limits, shards, learners)
}

/// What a leader of these shards knows of readers and learners.
pub(super) const fn readers_of(
    limits: &ReaderLimits,
    led: BTreeMap<ShardId, Readers>,
    learners: Learners,
) -> ReadersOf {
    ReadersOf { learners_max: limits.learners(), shards: led, others_are_led: true, learners }
}

/// What the shards that are led here hold.
pub(crate) fn own_loads<R: AsyncRuntime>(inner: &Inner<R>) -> Vec<(ShardId, ShardLoad)> {
    let led = inner.running().into_iter().filter(|group| group.id.is_of_shard() && group.leads());
    led.map(|group| {
        let stats = group.replica.state().stats();
        // How busy it is says nothing of what a replica costs to move, only of whether it may be merged.
        let writes_per_s = if inner.options.merge { inner.writes_per_s(group.id) } else { 0 };
        let ShardStats { keys, bytes, .. } = stats;
        (group.id, ShardLoad { keys, bytes, writes_per_s, ..ShardLoad::default() })
    })
    .collect()
}

/// As the leader of the meta group: asks the members what the shards that they lead hold.
pub(super) async fn survey_loads<R: AsyncRuntime>(inner: &Arc<Inner<R>>) {
    if !asks_for_loads(inner) {
        inner.loads.lock().clear();
        return;
    }
    let members = inner.membership.members();
    let others: Vec<NodeId> = members
        .iter()
        .filter(|member| member.alive && member.node != inner.options.node)
        .map(|member| member.node)
        .collect();
    let map = inner.map();
    inner.loads.lock().retain(|shard, _| map.get(*shard).is_some());
    futures::stream::iter(others)
        .for_each_concurrent(ASKED_AT_ONCE, |node| {
            let inner = Arc::clone(inner);
            async move {
                let asked = inner.wire.call(node, None, Lane::Bulk, Request::<R>::Loads, ASK);
                // What is not told anew, because its leader changes, say, stays as it was told last.
                if let Ok(Response::Loads(loads)) = asked.await {
                    inner.loads.lock().extend(loads);
                }
            }
        })
        .await;
}

/// How long before the next look, while replicas may have to move.
pub(super) const PAUSE: Duration = Duration::from_secs(1);

#[cfg(test)]
mod tests {
    use hexpop_edge_config::RaftId;
    use hexpop_shard::{Cause, OperationId, Relocation};

    use super::*;

    #[test]
    fn what_runs_counts_and_what_failed_a_moment_ago_rests() {
        let (from, to) = (NodeId(1), NodeId(2));
        let relocation = Relocation { from, old: RaftId(1), to, cause: Cause::Balance };
        let operation = |shard, state, finished_ms| Operation {
            id: OperationId(shard),
            kind: OperationKind::Relocate(relocation),
            shard: ShardId(shard),
            reason: String::new(),
            state,
            steps: Vec::new(),
            started_ms: 0,
            finished_ms,
        };
        let failed = || OperationState::Failed { error: String::new() };
        let operations = [
            operation(1, OperationState::Running, None),
            operation(2, failed(), Some(59_000)),
            operation(3, failed(), Some(10_000)),
            operation(4, OperationState::Cancelled, Some(59_000)),
        ];
        let found = UnderWay::of(operations.iter(), 60_000);
        assert_eq!(found.running, BTreeMap::from([(ShardId(1), Some((from, to)))]));
        assert_eq!(found.resting, BTreeSet::from([ShardId(2)]));
    }
}
