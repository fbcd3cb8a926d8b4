//! Asking leaders what they have closed, once per node and not per group, so that followers can say
//! how old their answers are.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use futures::StreamExt;
use hexpop_edge_config::{GroupId, NodeId, RaftId};
use openraft::{AsyncRuntime, Instant as _};

use super::ASK;
use crate::{
    host::Inner,
    port::Lane,
    rpc::{Request, Response},
};

/// How often leaders are asked.
const PAUSE: Duration = Duration::from_secs(1);

/// How many nodes are asked at a time.
const ASKED_AT_ONCE: usize = 16;

pub(super) async fn step<R: AsyncRuntime>(inner: Arc<Inner<R>>) -> Duration {
    let mut leaders: BTreeMap<(NodeId, RaftId), Vec<GroupId>> = BTreeMap::new();
    // Of what is parked, beats tell.
    for group in inner.running().into_iter().filter(|group| !group.sleeps()) {
        if let Some((raft, node)) = group.leader()
            && raft != inner.raft
        {
            leaders.entry((node, raft)).or_default().push(group.id);
        }
    }
    futures::stream::iter(leaders)
        .for_each_concurrent(ASKED_AT_ONCE, |((node, raft), groups)| {
            let inner = Arc::clone(&inner);
            async move { ask(&inner, node, raft, groups).await }
        })
        .await;
    PAUSE
}

async fn ask<R: AsyncRuntime>(inner: &Inner<R>, node: NodeId, raft: RaftId, groups: Vec<GroupId>) {
    let asked = R::Instant::now();
    let request = Request::<R>::Closed { groups };
    let answer = inner.wire.call(node, Some(raft), Lane::Raft, request, ASK).await;
    let Ok(Response::Closed(positions)) = answer else { return };
    for closed in positions {
        if let Some(group) = inner.group(closed.group) {
            let age = Duration::from_millis(closed.age_ms);
            group.note_closed(closed.committed.index, asked, age);
        }
    }
}
