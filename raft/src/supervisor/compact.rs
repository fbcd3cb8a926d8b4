//! Ridding this node's disk of what was erased: snapshot past it, log purged past it, files of the log
//! that held it emptied and deleted. Then the shard is told, so that an erasure's receipt can say so.
//!
//! Each replica does this by itself, leader or not; one that was down does it when it has caught up
//! with the erasure, since its shard still counts it as due.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use futures::StreamExt;
use hexpop_edge_config::{
    GroupId, RaftId,
    planted::{self, Bug},
};
use hexpop_shard::{Op, Reply, SessionOp, SessionOutcome};
use openraft::{AsyncRuntime, Instant as _, async_runtime::watch::WatchReceiver};

use super::{ASK, lead::hand_over};
use crate::{
    group::{Group, MetricsOf},
    host::Inner,
    port::Lane,
    rpc::{Request, Response},
    wal::WalError,
};

/// How often the groups are looked at.
const PAUSE: Duration = Duration::from_secs(1);

/// How long a snapshot may take before it is looked at anew.
const SNAPSHOT: Duration = Duration::from_secs(60);

/// How long a purge may take. A leader puts it off while it sends entries to a follower, which for
/// one that is down is always.
const PURGE: Duration = Duration::from_secs(5);

/// How long the files of the log may take before other groups are looked at meanwhile.
const SCRUB: Duration = Duration::from_secs(60);

/// How long a group is left alone whose log could not be purged, the first time.
const PUT_OFF: Duration = Duration::from_secs(5);

/// The most of that. What is in the way may last as long as a follower is down, and every try may
/// cost a snapshot of the whole state.
const PUT_OFF_MAX: Duration = Duration::from_secs(300);

/// How long it may take to tell the shard.
const TELL: Duration = Duration::from_secs(5);

/// How many groups are compacted at a time.
const AT_ONCE: usize = 16;

/// What is known of a group with something erased.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Erased<I> {
    /// Since when there is something that the disk may still hold.
    since: I,
    /// Up to which entry the disk is rid of it, whether the shard knows that or not yet.
    rid_upto: u64,
    /// How often in a row its log could not be purged.
    failures: u32,
    /// It is left alone until then.
    put_off: I,
}

/// A demand to rid the files of the log that is not known to be met.
#[derive(Debug)]
pub(crate) struct Ridding {
    /// Its number.
    demand: u64,
    /// Up to which entry it rids groups of what was erased.
    groups: Vec<(GroupId, u64)>,
}

/// A group whose disk is to be rid of everything before an entry.
struct Due<R: AsyncRuntime> {
    group: Arc<Group<R>>,
    index: u64,
    /// The disk is rid of it; the shard does not know yet.
    is_rid: bool,
}

pub(super) async fn step<R: AsyncRuntime>(inner: Arc<Inner<R>>) -> Duration {
    let due = due(&inner);
    if due.is_empty() {
        return PAUSE;
    }
    let (rid, unrid): (Vec<_>, Vec<_>) = due.into_iter().partition(|due| due.is_rid);
    let purged: Vec<Option<Due<R>>> = futures::stream::iter(unrid)
        .map(|due| async {
            let purged = purge(&inner, &due).await;
            note_purge(&inner, due.group.id, purged);
            purged.then_some(due)
        })
        .buffer_unordered(AT_ONCE)
        .collect()
        .await;
    let purged: Vec<Due<R>> = purged.into_iter().flatten().collect();
    let scrubbed = if purged.is_empty() { Vec::new() } else { scrub(&inner, purged).await };
    futures::stream::iter(rid.into_iter().chain(scrubbed))
        .for_each_concurrent(AT_ONCE, |due| {
            let inner = Arc::clone(&inner);
            async move { tell(&inner, &due).await }
        })
        .await;
    PAUSE
}

/// Rids the files of the log of what was purged; answers those that are rid of it.
async fn scrub<R: AsyncRuntime>(inner: &Inner<R>, purged: Vec<Due<R>>) -> Vec<Due<R>> {
    if planted::has(Bug::ConfirmBeforeScrub) {
        return purged;
    }
    let demand = match demand(inner, &purged) {
        Ok(demand) => demand,
        Err(error) => {
            tracing::warn!(%error, "what was erased is still in the files of the log");
            return Vec::new();
        }
    };
    let why = match R::timeout(SCRUB, inner.wal.scrubbed(demand)).await {
        Ok(Ok(())) => {
            note_rid(inner);
            let erased = inner.erased.lock();
            let is_rid = |due: &Due<R>| {
                erased.get(&due.group.id).is_some_and(|erased| erased.rid_upto >= due.index)
            };
            return purged.into_iter().filter(is_rid).collect();
        }
        Ok(Err(error)) => error.to_string(),
        Err(_elapsed) => "the log takes its time".to_owned(),
    };
    tracing::warn!(why, "what was erased is still in the files of the log");
    Vec::new()
}

/// The demand to wait for: one that is open still, so that a log that takes long is not made to begin
/// anew, else one for these groups. Who is not among those of an open one has the next.
fn demand<R: AsyncRuntime>(inner: &Inner<R>, purged: &[Due<R>]) -> Result<u64, WalError> {
    let mut ridding = inner.ridding.lock();
    if let Some(open) = &*ridding {
        return Ok(open.demand);
    }
    let demand = inner.wal.demand_scrub()?;
    let groups = purged.iter().map(|due| (due.group.id, due.index)).collect();
    *ridding = Some(Ridding { demand, groups });
    Ok(demand)
}

/// The open demand is met.
fn note_rid<R: AsyncRuntime>(inner: &Inner<R>) {
    let Some(met) = inner.ridding.lock().take() else { return };
    let now = R::Instant::now();
    let mut erased = inner.erased.lock();
    for (group, index) in met.groups {
        if let Some(erased) = erased.get_mut(&group) {
            erased.rid_upto = erased.rid_upto.max(index);
            // Later erasures gather anew.
            erased.since = now;
        }
        tracing::info!(%group, index, "rid of what was erased");
    }
}

/// The groups that have waited long enough for company.
fn due<R: AsyncRuntime>(inner: &Inner<R>) -> Vec<Due<R>> {
    let now = R::Instant::now();
    let found = inner.running().into_iter().filter_map(|group| {
        let index = group.replica.state().as_sessions()?.erasure_due_at(inner.raft)?;
        Some((group, index))
    });
    let found: BTreeMap<GroupId, (Arc<Group<R>>, u64)> =
        found.map(|(group, index)| (group.id, (group, index))).collect();
    let mut erased = inner.erased.lock();
    erased.retain(|id, _| found.contains_key(id));
    let ripe = found.into_iter().filter_map(|(id, (group, index))| {
        let erased = erased.entry(id).or_insert(Erased {
            since: now,
            rid_upto: 0,
            failures: 0,
            put_off: now,
        });
        let waited = now.saturating_duration_since(erased.since);
        let is_rid = erased.rid_upto >= index;
        let is_ripe = waited >= inner.options.compact_after_erasure && erased.put_off <= now;
        (is_rid || is_ripe).then_some(Due { group, index, is_rid })
    });
    ripe.collect()
}

/// Has a snapshot past the entry, and the log purged past it; answers whether that is so.
async fn purge<R: AsyncRuntime>(inner: &Inner<R>, due: &Due<R>) -> bool {
    let Due { group, index, .. } = due;
    // What was erased since may be in what the shard was sealed as, or is to absorb.
    if inner.staging.concerns(group.id) {
        tracing::debug!(group = %group.id, "something is staged for a merge");
        return false;
    }
    if inner.purge_limit(group).is_some_and(|limit| limit < *index) {
        tracing::debug!(group = %group.id, "what split off it is not safe yet");
        return false;
    }
    if !snapshot_past(group, *index).await {
        tracing::warn!(group = %group.id, "no snapshot past an erasure yet");
        return false;
    }
    // What was received of an older snapshot holds what was erased too.
    if !group.receiving.rid_before(*index) {
        tracing::debug!(group = %group.id, "a snapshot is being received or installed");
        return false;
    }
    if let Err(error) = inner.snapshots.rid_before(group.id, *index) {
        tracing::warn!(group = %group.id, %error, "snapshots from before an erasure are still there");
        return false;
    }
    if is_purged(inner, group.id, *index) {
        return true;
    }
    if group.raft.trigger().purge_log(*index).await.is_err() {
        return false;
    }
    let until = R::Instant::now() + PURGE;
    let purged = seen(group, PURGE, |metrics| metrics.purged.is_some_and(|p| p.index >= *index));
    if purged.await && is_purged(inner, group.id, *index) {
        return true;
    }
    if group.leads() {
        // As a follower it need not wait for anybody. The change of leader is an entry too, so that
        // the next try finds something new to take a snapshot of.
        tracing::info!(group = %group.id, "handing the group over, to purge its log past an erasure");
        hand_over(inner, group, until + PURGE).await;
    }
    // A purge that was put off is taken up again with a later snapshot.
    let written = group.with_metrics(|metrics| metrics.snapshot.map(|last| last.index));
    if has_news(written, group.replica.applied().index)
        && let Err(error) = group.raft.trigger().snapshot().await
    {
        tracing::debug!(group = %group.id, %error, "no snapshot of a stopped replica");
    }
    if let Some(last) = group.with_metrics(|metrics| metrics.snapshot)
        && let Err(error) = group.raft.trigger().purge_log(last.index).await
    {
        tracing::debug!(group = %group.id, %error, "no purge of a stopped replica");
    }
    false
}

/// Whether a snapshot now would hold more than the last one.
fn has_news(snapshot: Option<u64>, applied: u64) -> bool {
    snapshot.is_none_or(|index| index < applied)
}

/// How long a group is left alone after so many failures in a row to purge its log.
fn put_off(failures: u32) -> Duration {
    let times = 1_u32.checked_shl(failures.saturating_sub(1)).unwrap_or(u32::MAX);
    PUT_OFF.saturating_mul(times).min(PUT_OFF_MAX)
}

/// Leaves a group alone for a while whose log could not be purged.
fn note_purge<R: AsyncRuntime>(inner: &Inner<R>, group: GroupId, purged: bool) {
    if let Some(erased) = inner.erased.lock().get_mut(&group) {
        erased.failures = if purged { 0 } else { erased.failures.saturating_add(1) };
        if !purged {
            erased.put_off = R::Instant::now() + put_off(erased.failures);
        }
    }
}

/// Whether the log here begins behind the entry of `index`, the queue of the log's writer included:
/// what is queued is written before a later demand to rid the disk is met.
fn is_purged<R: AsyncRuntime>(inner: &Inner<R>, group: GroupId, index: u64) -> bool {
    let view = inner.wal.group(group).and_then(|log| log.view().ok());
    view.and_then(|view| view.purged).is_some_and(|purged| purged.index >= index)
}

async fn snapshot_past<R: AsyncRuntime>(group: &Group<R>, index: u64) -> bool {
    let past = |metrics: &MetricsOf<R>| metrics.snapshot.is_some_and(|last| last.index >= index);
    if group.with_metrics(past) {
        return true;
    }
    if let Err(error) = group.raft.trigger().snapshot().await {
        tracing::debug!(group = %group.id, %error, "no snapshot of a stopped replica");
        return false;
    }
    seen(group, SNAPSHOT, past).await
}

/// Whether openraft reports something in time.
async fn seen<R: AsyncRuntime>(
    group: &Group<R>,
    within: Duration,
    is_so: impl Fn(&MetricsOf<R>) -> bool + Send,
) -> bool {
    let mut metrics = group.watch_metrics();
    let until = R::Instant::now() + within;
    loop {
        if is_so(&metrics.borrow_watched()) {
            return true;
        }
        if !matches!(R::timeout_at(until, metrics.changed()).await, Ok(Ok(()))) {
            return false;
        }
    }
}

/// Tells the shard that this replica's disk is past the entry. If it does not get there, the next look
/// finds it still due.
async fn tell<R: AsyncRuntime>(inner: &Arc<Inner<R>>, due: &Due<R>) {
    let group = &due.group;
    if group.leads() {
        note_compacted(inner, group.id, inner.raft, due.index).await;
    } else if let Some(leader) = group.leader_node() {
        let (group, raft, upto) = (group.id, inner.raft, due.index);
        let request = Request::<R>::Compacted { group, raft, upto };
        let answer = inner.wire.call(leader, None, Lane::Bulk, request, TELL + ASK).await;
        if !matches!(answer, Ok(Response::Compacted { noted: true })) {
            tracing::debug!(%group, %leader, "the leader did not note a compaction");
        }
    }
}

/// Writes into a group that is led here how far a replica's disk is.
pub(crate) async fn note_compacted<R: AsyncRuntime>(
    inner: &Arc<Inner<R>>,
    group: GroupId,
    raft: RaftId,
    upto: u64,
) -> bool {
    let Some(epoch) = inner.group(group).map(|group| group.replica.state().epoch()) else {
        return false;
    };
    let op = Op::Session(SessionOp::Compacted { raft, upto });
    match inner.propose(group, epoch, None, op, TELL).await {
        Ok(proposed) => matches!(proposed.reply, Reply::Session(SessionOutcome::Noted)),
        Err(error) => {
            tracing::debug!(%group, %raft, %error, "a compaction was not noted");
            false
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_group_whose_log_cannot_be_purged_is_tried_ever_more_seldom() {
        let pauses: Vec<u64> = (1..=9).map(|failures| put_off(failures).as_secs()).collect();
        assert_eq!(pauses, [5, 10, 20, 40, 80, 160, 300, 300, 300]);
        assert_eq!(put_off(u32::MAX), PUT_OFF_MAX);
    }

    #[test]
    fn no_snapshot_is_written_again_that_would_be_the_same() {
        assert!(has_news(None, 0));
        assert!(has_news(Some(4), 5));
        assert!(!has_news(Some(5), 5));
    }
}
