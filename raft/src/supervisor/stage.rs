//! What is staged for merges, on every node: fetched from others where it is missing, and removed where it
//! is needed no more ([`crate::staging`]).

use std::{sync::Arc, time::Duration};

use hexpop_edge_config::{GroupId, NodeId};
use openraft::AsyncRuntime;

use super::ASK;
use crate::{
    group::Group,
    host::Inner,
    port::Lane,
    rpc::{Request, Response},
    snapshot::{Incoming, Manifest, SnapshotFiles},
    staging::{Staged, Wanted, staged_group},
};

/// How many are fetched at a time.
const AT_ONCE: usize = 4;

/// How long one chunk may take.
const CHUNK: Duration = Duration::from_secs(20);

/// How long a replica of the right shard that is here is waited for, which may be about to write it.
const OWN: Duration = Duration::from_millis(300);

/// Fetches what is wanted here, each by a task of its own.
pub(crate) fn fetch_wanted<R: AsyncRuntime>(inner: &Arc<Inner<R>>) {
    let due = {
        let mut fetching = inner.fetching.lock();
        let room = AT_ONCE.saturating_sub(fetching.len());
        let due = inner.staging.take_wanted(&fetching, room);
        fetching.extend(due.iter().map(|wanted| wanted.staged.operation));
        due
    };
    for wanted in due {
        let inner = Arc::clone(inner);
        drop(R::spawn(async move {
            let is_done = fetch(&inner, wanted).await;
            let has_next = {
                let mut fetching = inner.fetching.lock();
                fetching.remove(&wanted.staged.operation);
                inner.staging.has_untried(&fetching)
            };
            // A replica that has halted does not ask again; whoever waits does.
            if !is_done && wanted.met_at.is_some() && inner.has_slot(wanted.staged.left) {
                inner.staging.want_again(wanted);
            }
            // There was no room for it.
            if has_next {
                inner.births.wake().notify_one();
            }
        }));
    }
}

/// Answers whether nothing more is to be done.
async fn fetch<R: AsyncRuntime>(inner: &Arc<Inner<R>>, wanted: Wanted) -> bool {
    let Wanted { staged, met_at } = wanted;
    if inner.group(staged.right).is_some_and(|group| group.fault().is_none()) {
        let news = inner.staging.news();
        if !inner.staging.has(&staged) {
            drop(R::timeout(OWN, news).await);
        }
    }
    let has_come = inner.staging.has(&staged) || fetch_staged(inner, staged).await;
    let Some(index) = met_at else { return has_come };
    let may_go_on = has_come || fetch_past(inner, staged.left, index).await;
    may_go_on && inner.restart_halted(staged.left).await
}

/// The nodes that may have something of two shards.
fn holders<R: AsyncRuntime>(inner: &Inner<R>, shards: &[GroupId]) -> Vec<NodeId> {
    let map = inner.map();
    let mut nodes: Vec<NodeId> = Vec::new();
    for replica in shards.iter().filter_map(|id| map.get(*id)).flat_map(|shard| &shard.replicas) {
        if replica.node != inner.options.node && !nodes.contains(&replica.node) {
            nodes.push(replica.node);
        }
    }
    nodes
}

async fn fetch_staged<R: AsyncRuntime>(inner: &Arc<Inner<R>>, staged: Staged) -> bool {
    let (group, at) = (staged_group(staged.operation), staged.seal.at);
    for node in holders(inner, &[staged.right, staged.left]) {
        let is_it =
            |manifest: &Manifest| (manifest.id.term, manifest.id.index) == (at.term, at.index);
        let Some((incoming, files)) = receive(inner, node, (group, at.index), is_it).await else {
            continue;
        };
        let adopted = inner.staging.adopt(&staged, &files);
        drop(incoming);
        match adopted {
            Ok(()) => {
                tracing::info!(operation = %staged.operation, %node, "fetched what is to be absorbed");
                return true;
            }
            Err(error) => tracing::warn!(%node, %error, "what was fetched is not kept"),
        }
    }
    false
}

/// Fetches a snapshot of a shard from the entry of `index` or later, for a replica here that has halted
/// before that entry.
async fn fetch_past<R: AsyncRuntime>(inner: &Arc<Inner<R>>, group: GroupId, index: u64) -> bool {
    for node in holders(inner, &[group]) {
        let is_it = |manifest: &Manifest| manifest.id.index >= index;
        let Some((incoming, files)) = receive(inner, node, (group, index), is_it).await else {
            continue;
        };
        let adopted = inner.snapshots.adopt(&files);
        drop(incoming);
        match adopted {
            Ok(()) => {
                tracing::info!(%group, %node, "fetched a snapshot from behind an absorption");
                return true;
            }
            Err(error) => tracing::warn!(%group, %node, %error, "a snapshot is not kept"),
        }
    }
    false
}

/// Receives a snapshot that another node keeps, chunk by chunk.
async fn receive<R: AsyncRuntime>(
    inner: &Inner<R>,
    node: NodeId,
    (group, index): (GroupId, u64),
    is_it: impl Fn(&Manifest) -> bool,
) -> Option<(Incoming, SnapshotFiles)> {
    let request = Request::<R>::KeptSnapshot { group, index };
    let answer = inner.wire.call(node, None, Lane::Bulk, request, ASK).await;
    let Ok(Response::KeptSnapshot(Some(manifest))) = answer else { return None };
    if manifest.group != group || !is_it(&manifest) {
        return None;
    }
    let id = manifest.id;
    let mut incoming = Incoming::begin(&inner.snapshots, manifest).ok()?;
    for number in incoming.missing() {
        let request = Request::<R>::KeptChunk { group, id, number };
        let answer = inner.wire.call(node, None, Lane::Bulk, request, CHUNK).await;
        let Ok(Response::KeptChunk(bytes)) = answer else { return None };
        if let Err(error) = incoming.chunk(id, number, &bytes) {
            tracing::warn!(%node, %error, "a chunk was not taken");
            return None;
        }
    }
    let files = incoming.finish(id).ok()?;
    Some((incoming, files))
}

/// Of a group here, the snapshot from the entry of `index` or later, if there is one; one is written
/// else, for who asks again.
pub(crate) async fn kept_snapshot<R: AsyncRuntime>(
    inner: &Inner<R>,
    group: GroupId,
    index: u64,
) -> Option<Manifest> {
    let kept = inner.snapshots.current(group);
    let kept = kept.filter(|files| files.manifest().id.index >= index);
    if kept.is_none()
        && let Some(group) = inner.group(group)
        && group.replica.applied().index >= index
        && let Err(error) = group.raft.trigger().snapshot().await
    {
        tracing::debug!(group = %group.id, %error, "no snapshot of a stopped replica");
    }
    kept.map(|files| files.manifest().clone())
}

/// Removes what is staged here and needed no more: once the left shard's snapshot here is from behind the
/// end of the operation, or there is no replica of it here.
pub(super) async fn tidy<R: AsyncRuntime>(inner: &Inner<R>) {
    for staged in inner.staging.all() {
        let is_over = match inner.group(staged.left) {
            Some(left) => is_over(inner, &left, &staged).await,
            None => !inner.has_slot(staged.left) && !is_placed_here(inner, staged.left),
        };
        if is_over && let Err(error) = inner.staging.remove(staged.operation) {
            tracing::warn!(operation = %staged.operation, %error, "what was staged stays");
        }
    }
}

fn is_placed_here<R: AsyncRuntime>(inner: &Inner<R>, group: GroupId) -> bool {
    let map = inner.map();
    map.get(group).is_some_and(|it| it.replicas.iter().any(|known| known.raft == inner.raft))
}

async fn is_over<R: AsyncRuntime>(inner: &Inner<R>, left: &Group<R>, staged: &Staged) -> bool {
    let (closed, applied) = {
        let state = left.replica.state();
        (state.merges_closed(), state.applied().index)
    };
    if closed < staged.operation {
        return false;
    }
    let from = inner.staging.over_at(staged.operation, applied);
    if left.with_metrics(|metrics| metrics.snapshot.is_some_and(|last| last.index >= from)) {
        return true;
    }
    if let Err(error) = left.raft.trigger().snapshot().await {
        tracing::debug!(group = %left.id, %error, "no snapshot of a stopped replica");
    }
    false
}
