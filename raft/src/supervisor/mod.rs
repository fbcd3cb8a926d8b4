//! The loops that look after a node's groups: founding the cluster, following the shard map,
//! starting replicas, and what their leaders owe them.
//!
//! ```text
//!  found     the meta group, the first map, and the purge group      (bootstrap nodes)
//!  abandoned undoes merges that nobody carries on                (leaders)
//!  follow    pulls newer maps                                        (every node)
//!  replicas  starts what the map places here                         (every node)
//!  lead      reports memberships, carries out placement, time, snapshots  (leaders)
//!  compact   rids the disk of what was erased                    (every node)
//!  leave     destroys what is a replica of nothing any more      (every node)
//!  closed    asks leaders what they have closed, per node            (followers)
//!  survey    asks members which groups they lead                     (every node)
//!  births    starts the shards that others split off here            (every node)
//!  grow      has shards divided that are too large or too busy     (leaders)
//!  readers   tells voters what is read of their shards          (every node)
//!  place     has replicas go from node to node                   (leader of the meta group)
//!  operate   drives operations, errand by errand                     (leader of the meta group)
//! ```
//!
//! Each loop looks at what is and does one thing that brings it nearer to what should be. Nothing is
//! remembered between two looks but how long something has been so; a lost message, a restart or a
//! repeat costs a look.

mod abandoned;
mod closed;
mod compact;
mod decide;
mod follow;
mod found;
mod grow;
mod lead;
mod learners;
mod leave;
mod merge;
mod meta;
mod operate;
mod place;
mod purges;
mod readers;
mod replicas;
mod shrink;
mod stage;
mod survey;

use std::{sync::Arc, time::Duration};

use futures::future::BoxFuture;
use hexpop_edge_config::{NodeId, RaftId};
use openraft::{
    AsyncRuntime,
    async_runtime::{Select2, Select3},
};
use tokio::sync::Notify;

use crate::{
    host::Inner,
    port::Lane,
    rpc::{Hello, Request, Response},
};

pub(crate) use compact::{Erased, Ridding, note_compacted};
pub(crate) use grow::Measured;
pub(crate) use lead::hand_over_leaders;
pub(crate) use learners::LateLearners;
pub(crate) use leave::{LeftGroups, birth, holds, remember as remember_left_groups, unrid_groups};
pub(crate) use merge::have_staged;
pub(crate) use meta::{propose_meta, propose_meta_here};
pub(crate) use operate::run as run_errand;
pub(crate) use place::{own_loads, why};
pub(crate) use purges::{propose_purge, propose_purge_here, pull_purges, pull_purges_here};
pub(crate) use readers::{ReadHere, note_reads};
pub(crate) use replicas::FETCHED_AT_ONCE;
pub(crate) use stage::{fetch_wanted, kept_snapshot};

/// How long one question to another node may take.
const ASK: Duration = Duration::from_secs(2);

/// Starts the loops; they end when the host closes.
pub(crate) fn spawn<R: AsyncRuntime>(inner: &Arc<Inner<R>>) {
    repeat(inner, |inner| &inner.wake_found, |inner| Box::pin(found::step(inner)));
    repeat(inner, |inner| &inner.wake_map, |inner| Box::pin(follow::step(inner)));
    repeat(inner, |inner| &inner.wake_replicas, |inner| Box::pin(replicas::step(inner)));
    repeat(inner, |inner| &inner.wake_leading, |inner| Box::pin(lead::step(inner)));
    repeat(inner, |inner| &inner.wake_closed, |inner| Box::pin(closed::step(inner)));
    repeat(inner, |inner| &inner.wake_compact, |inner| Box::pin(compact::step(inner)));
    repeat(inner, |inner| &inner.wake_leave, |inner| Box::pin(leave::step(inner)));
    repeat(inner, |inner| &inner.wake_survey, |inner| Box::pin(survey::step(inner)));
    repeat(inner, |inner| inner.births.wake(), |inner| Box::pin(inner.start_births()));
    repeat(inner, |inner| &inner.wake_grow, |inner| Box::pin(grow::step(inner)));
    repeat(inner, |inner| &inner.wake_readers, |inner| Box::pin(readers::step(inner)));
    repeat(inner, |inner| &inner.wake_operate, |inner| Box::pin(operate::step(inner)));
}

/// Takes a step at once, and again when woken or after the pause that the step answers.
fn repeat<R: AsyncRuntime>(
    inner: &Arc<Inner<R>>,
    wake: fn(&Inner<R>) -> &Notify,
    step: fn(Arc<Inner<R>>) -> BoxFuture<'static, Duration>,
) {
    let inner = Arc::clone(inner);
    drop(R::spawn(async move {
        loop {
            let taken = R::select2(inner.closed(), step(Arc::clone(&inner))).await;
            let Select2::Second(pause) = taken else { return };
            let waited = R::select3(inner.closed(), wake(&inner).notified(), R::sleep(pause)).await;
            if matches!(waited, Select3::First(())) {
                return;
            }
        }
    }));
}

/// Asks a node who it is.
async fn hello<R: AsyncRuntime>(inner: &Inner<R>, node: NodeId) -> Option<Hello> {
    match inner.wire.call(node, None, Lane::Bulk, Request::<R>::Hello, ASK).await {
        Ok(Response::Hello(hello)) => Some(hello),
        Ok(_) => None,
        Err(error) => {
            tracing::debug!(%node, %error, "a node does not say who it is");
            None
        }
    }
}

/// Whether a node runs on this data directory now: what gossip says may be of an earlier life.
async fn runs_on<R: AsyncRuntime>(inner: &Inner<R>, node: NodeId, raft: RaftId) -> bool {
    if node == inner.options.node {
        return raft == inner.raft;
    }
    hello(inner, node).await.is_some_and(|hello| hello.raft == raft)
}
