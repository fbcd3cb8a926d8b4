//! Ridding this node's disk of what was erased: snapshot past it, log purged past it, files of the log
//! that held it emptied and deleted. Then the shard is told, so that an erasure's receipt can say so.
//!
//! Each replica does this by itself, leader or not; one that was down does it when it has caught up
//! with the erasure, since its shard still counts it as due.

use std::{sync::Arc, time::Duration};

use futures::StreamExt;
use hexpop_edge_config::{GroupId, RaftId};
use hexpop_shard::{Op, Reply, SessionOp, SessionOutcome};
use openraft::{AsyncRuntime, Instant as _, async_runtime::watch::WatchReceiver};

use super::{ASK, lead::hand_over};
use crate::{
    group::{Group, MetricsOf},
    host::Inner,
    port::Lane,
    rpc::{Request, Response},
};

/// How often the groups are looked at.
const PAUSE: Duration = Duration::from_secs(1);

/// How long a snapshot may take before it is looked at anew.
const SNAPSHOT: Duration = Duration::from_secs(60);

/// How long a purge may take. A leader puts it off while it sends entries to a follower, which for
/// one that is down is always.
const PURGE: Duration = Duration::from_secs(5);

/// How long the files of the log may take before they are looked at anew.
const SCRUB: Duration = Duration::from_secs(60);

/// How long it may take to tell the shard.
const TELL: Duration = Duration::from_secs(5);

/// How many groups are compacted at a time.
const AT_ONCE: usize = 4;

/// A group whose disk is to be rid of everything before an entry.
struct Due<R: AsyncRuntime> {
    group: Arc<Group<R>>,
    index: u64,
}

pub(super) async fn step<R: AsyncRuntime>(inner: Arc<Inner<R>>) -> Duration {
    let due = due(&inner);
    if due.is_empty() {
        return PAUSE;
    }
    let purged: Vec<Option<Due<R>>> = futures::stream::iter(due)
        .map(|due| async { purge(&inner, &due).await.then_some(due) })
        .buffer_unordered(AT_ONCE)
        .collect()
        .await;
    let purged: Vec<Due<R>> = purged.into_iter().flatten().collect();
    if purged.is_empty() {
        return PAUSE;
    }
    match R::timeout(SCRUB, inner.wal.scrub()).await {
        Ok(Ok(())) => {}
        Ok(Err(error)) => {
            tracing::warn!(%error, "what was erased is still in the files of the log");
            return PAUSE;
        }
        Err(_elapsed) => {
            tracing::warn!("what was erased is still in the files of the log; trying again");
            return PAUSE;
        }
    }
    for due in purged {
        let told = tell(&inner, &due).await;
        tracing::info!(group = %due.group.id, index = due.index, told, "the disk is rid of what was erased");
    }
    PAUSE
}

/// The groups that have waited long enough for company.
fn due<R: AsyncRuntime>(inner: &Inner<R>) -> Vec<Due<R>> {
    let now = R::Instant::now();
    let mut since = inner.erased_since.lock();
    let found = inner.running().into_iter().filter_map(|group| {
        let index = group.replica.state().as_sessions()?.erasure_due_at(inner.raft)?;
        Some(Due { group, index })
    });
    let found: Vec<Due<R>> = found.collect();
    since.retain(|id, _| found.iter().any(|due| due.group.id == *id));
    let delay = inner.options.compact_after_erasure;
    let waited = |id: GroupId| now.saturating_duration_since(*since.entry(id).or_insert(now));
    let mut waited = waited;
    found.into_iter().filter(|due| waited(due.group.id) >= delay).collect()
}

/// Has a snapshot past the entry, and the log purged past it; answers whether that is so.
async fn purge<R: AsyncRuntime>(inner: &Inner<R>, due: &Due<R>) -> bool {
    let Due { group, index } = due;
    if !snapshot_past(group, *index).await {
        tracing::warn!(group = %group.id, "no snapshot past an erasure yet");
        return false;
    }
    // What was received of an older snapshot holds what was erased too.
    let mut incoming = group.incoming.lock().await;
    if incoming.as_ref().is_some_and(|incoming| incoming.id().index < *index) {
        *incoming = None;
    }
    drop(incoming);
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
    if let Err(error) = group.raft.trigger().snapshot().await {
        tracing::debug!(group = %group.id, %error, "no snapshot of a stopped replica");
    }
    if let Some(last) = group.with_metrics(|metrics| metrics.snapshot)
        && let Err(error) = group.raft.trigger().purge_log(last.index).await
    {
        tracing::debug!(group = %group.id, %error, "no purge of a stopped replica");
    }
    false
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

/// Tells the shard that this replica's disk is past the entry; answers whether it knows.
async fn tell<R: AsyncRuntime>(inner: &Arc<Inner<R>>, due: &Due<R>) -> bool {
    let group = &due.group;
    if group.leads() {
        return note_compacted(inner, group.id, inner.raft, due.index).await;
    }
    let Some(leader) = group.leader_node() else { return false };
    let request = Request::<R>::Compacted { group: group.id, raft: inner.raft, upto: due.index };
    let answer = inner.wire.call(leader, None, Lane::Bulk, request, TELL + ASK).await;
    matches!(answer, Ok(Response::Compacted { noted: true }))
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
