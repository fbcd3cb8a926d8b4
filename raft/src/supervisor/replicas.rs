//! Starting the replicas that the shard map places on this data directory, and keeping them in order:
//! snapshots when enough log has gathered, documents that were lost.

use std::{sync::Arc, time::Duration};

use futures::StreamExt;
use hexpop_shard::{DocumentStore, ShardDescriptor};
use openraft::AsyncRuntime;

use super::{ASK, birth, decide, leave::birth_without_range, stage};
use crate::{
    group::Group,
    host::{Inner, first_voters},
    port::Lane,
    rpc::{Request, Response},
};

/// How often the map is compared with what runs.
const PAUSE: Duration = Duration::from_secs(1);

/// How many groups are started at a time, so that they share flushes.
const STARTED_AT_ONCE: usize = 32;

/// When more are started than in one go: those that were are to elect their leaders first.
const PAUSE_STARTING: Duration = Duration::from_millis(100);

/// How many entries of the log are kept that the last snapshot holds.
const LOG_KEPT: u64 = 256;

/// How many documents are fetched from another replica at a time.
pub(crate) const FETCHED_AT_ONCE: usize = 128;

pub(super) async fn step<R: AsyncRuntime>(inner: Arc<Inner<R>>) -> Duration {
    let map = inner.map();
    let unreported = inner.unreported_children();
    let wanted: Vec<_> = map
        .shards()
        .chain(&unreported)
        .filter(|shard| shard.replicas.iter().any(|replica| replica.raft == inner.raft))
        .collect();
    let missing =
        |shard: &&&ShardDescriptor| !inner.has_slot(shard.id) && !inner.may_be_born(shard);
    let mut missing = wanted.iter().filter(missing);
    // In the order of ids on every node, so that those of one group start it at about the same time.
    let starting = missing.by_ref().take(inner.room_to_start());
    let starting: Vec<_> = starting.map(|shard| (*shard).clone()).collect();
    let is_more = missing.next().is_some();
    futures::stream::iter(starting)
        .for_each_concurrent(STARTED_AT_ONCE, |shard| {
            let inner = Arc::clone(&inner);
            async move {
                let id = shard.id;
                if let Some(birth) = birth(&inner, shard).await {
                    inner.start(id, birth).await;
                }
            }
        })
        .await;
    start_invited(&inner).await;
    for shard in wanted {
        let Some(group) = inner.group(shard.id) else { continue };
        let empty = group.with_metrics(|metrics| metrics.last_log_index.is_none());
        if decide::may_initialise(shard, inner.raft, empty, group.leader_age()) {
            inner.initialise(&group, first_voters(shard)).await;
        }
    }
    for group in inner.running() {
        snapshot_if_due(&inner, &group).await;
        purge_if_due(&inner, &group).await;
        heal_documents(&inner, &group).await;
    }
    stage::tidy(&inner).await;
    if is_more { PAUSE_STARTING } else { PAUSE }
}

/// Starts replicas of groups without a range that were here before, if they are members again.
async fn start_invited<R: AsyncRuntime>(inner: &Arc<Inner<R>>) {
    let invited = std::mem::take(&mut *inner.invited.lock());
    futures::stream::iter(invited)
        .for_each_concurrent(STARTED_AT_ONCE, |group| async move {
            if !inner.has_slot(group)
                && let Some(birth) = birth_without_range(inner, group).await
            {
                inner.start(group, birth).await;
            }
        })
        .await;
}

/// Has a snapshot written when enough log has gathered; the log before it is purged later.
async fn snapshot_if_due<R: AsyncRuntime>(inner: &Inner<R>, group: &Group<R>) {
    let log_bytes = group.replica.log_bytes();
    let limit = inner.options.log_bytes_before_snapshot;
    // Most groups end here, without a look at their state.
    if log_bytes < limit || log_bytes < group.replica.state().stats().bytes / 2 {
        return;
    }
    if let Err(error) = group.raft.trigger().snapshot().await {
        tracing::debug!(group = %group.id, %error, "no snapshot of a stopped replica");
    }
}

/// Purges the log that the last snapshot holds, but for its end: a follower that is a little late gets
/// entries then, and no snapshot.
///
/// Not openraft's own policy: where a purge up to a later entry waits for replication, as after an
/// erasure, that sets its goal back, which is against its own assertion.
async fn purge_if_due<R: AsyncRuntime>(inner: &Inner<R>, group: &Group<R>) {
    let (snapshot, purged) = group.with_metrics(|metrics| (metrics.snapshot, metrics.purged));
    let Some(upto) = snapshot.and_then(|last| last.index.checked_sub(LOG_KEPT)) else { return };
    let upto = inner.purge_limit(group).map_or(upto, |limit| upto.min(limit));
    if purged.is_none_or(|purged| purged.index < upto)
        && let Err(error) = group.raft.trigger().purge_log(upto).await
    {
        tracing::debug!(group = %group.id, %error, "no purge of a stopped replica");
    }
}

/// Fetches documents that were missed from another replica.
async fn heal_documents<R: AsyncRuntime>(inner: &Inner<R>, group: &Group<R>) {
    let missing = group.replica.documents().take_missing(FETCHED_AT_ONCE);
    if missing.is_empty() {
        return;
    }
    let others: Vec<_> = inner
        .descriptor(group)
        .replicas
        .into_iter()
        .filter(|replica| replica.raft != inner.raft)
        .collect();
    let turn = inner.next_turn();
    let asked = turn.checked_rem(others.len()).and_then(|at| others.get(at));
    let Some(asked) = asked else { return };
    let request = Request::<R>::FetchDocuments { group: group.id, wanted: missing.clone() };
    let answer = inner.wire.call(asked.node, None, Lane::Bulk, request, ASK).await;
    let Ok(Response::Documents(documents)) = answer else {
        group.replica.documents().note_missing(missing);
        return;
    };
    let mut store = group.replica.documents().clone();
    let found = documents.into_iter().chain(std::iter::repeat(None));
    for (at, document) in missing.into_iter().zip(found) {
        match document {
            Some(document) => {
                store.put(&at, &document);
                inner.metrics.documents_healed.inc();
            }
            None => store.note_missing([at]),
        }
    }
}
