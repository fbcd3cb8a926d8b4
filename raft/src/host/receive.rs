//! A leader sends a snapshot: what this replica answers to its frames.

use std::sync::Arc;

use openraft::AsyncRuntime;
use tokio::sync::oneshot;

use super::Inner;
use crate::{
    group::Group,
    rpc::{Refused, Response},
    snapshot::{Begun, Manifest, Snapshot, SnapshotFiles, SnapshotId, SnapshotMeta, Taken},
    types::{Vote, log_id},
};

/// Whether this replica has applied all that is in a snapshot, and more or nothing else.
fn has_applied<R: AsyncRuntime>(group: &Group<R>, id: SnapshotId) -> bool {
    let applied = group.replica.applied();
    id.index > 0 && id.index <= applied.index && id.term <= applied.term
}

fn failed(error: &dyn std::fmt::Display) -> Refused {
    Refused::Failed(error.to_string())
}

pub(super) async fn begin<R: AsyncRuntime>(
    inner: &Inner<R>,
    group: &Group<R>,
    manifest: Manifest,
) -> Result<Response<R>, Refused> {
    if manifest.group != group.id {
        return Err(Refused::Failed("the snapshot is of another group".to_owned()));
    }
    if has_applied(group, manifest.id) {
        // None of it is wanted, nor may it reach the disk: it may hold what was erased since. The
        // sender goes on to the end, where it learns that this replica is past it.
        return Ok(Response::SnapshotMissing(Vec::new()));
    }
    let begun = group.receiving.begin(&inner.snapshots, manifest).await;
    match begun.map_err(|error| failed(&error))? {
        Begun::Missing(missing) => Ok(Response::SnapshotMissing(missing)),
        Begun::Installing => Err(Refused::Busy),
    }
}

pub(super) async fn chunk<R: AsyncRuntime>(
    group: &Group<R>,
    id: SnapshotId,
    number: u32,
    bytes: &[u8],
) -> Result<Response<R>, Refused> {
    match group.receiving.chunk(id, number, bytes).await {
        None => Err(Refused::NotYet),
        Some(taken) => taken.map_err(|error| failed(&error)),
    }?;
    Ok(Response::SnapshotMissing(Vec::new()))
}

/// Installs what was received. Frames of other snapshots are handled meanwhile, and the installation
/// goes on to its end when nobody waits for it any more.
pub(super) async fn finish<R: AsyncRuntime>(
    group: Arc<Group<R>>,
    vote: Vote,
    id: SnapshotId,
) -> Result<Response<R>, Refused> {
    // openraft trusts a leader not to own entries of later terms than its own.
    if id.term > vote.leader_id.term {
        return Err(Refused::Failed("the snapshot is newer than its sender's vote".to_owned()));
    }
    let taken = match group.receiving.take(id).await {
        Taken::Whole(incoming, files) => Some((incoming, files)),
        // openraft installs none that ends at or before what it knows to be committed, so nothing
        // need be in it; it takes note of the sender's vote.
        _ if has_applied(&group, id) => None,
        Taken::Installing => return Err(Refused::Busy),
        Taken::Nothing => return Err(Refused::NotYet),
        Taken::Error(error) => return Err(failed(&error)),
    };
    let (answer, receiver) = oneshot::channel();
    drop(R::spawn(async move {
        let (incoming, snapshot) = match taken {
            Some((incoming, files)) => {
                (Some(incoming), Snapshot { meta: files.manifest().meta(), snapshot: files })
            }
            None => {
                let files = SnapshotFiles::empty(group.id);
                let last_log_id = Some(log_id(id.term, id.index));
                let meta = SnapshotMeta { last_log_id, ..files.manifest().meta() };
                (None, Snapshot { meta, snapshot: files })
            }
        };
        let installed = group.raft.install_full_snapshot(vote, snapshot).await;
        if let Some(incoming) = incoming {
            group.receiving.put_back(incoming, installed.is_err()).await;
        }
        // Whoever asked may be gone.
        drop(answer.send(installed.map_err(|error| failed(&error))));
    }));
    let installed = receiver.await.map_err(|_stopped| Refused::Halted)??;
    Ok(Response::SnapshotInstalled(installed.vote))
}
