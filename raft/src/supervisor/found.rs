//! Founding the cluster: the meta group's first membership, and the first shard map.
//!
//! Only one node ever initialises the meta group: the lowest of the bootstrap list, which is the same
//! on all of them (compared here). It does so only when every node of the list answers that its log of
//! the meta group is empty. So a founder that lost its directory does not found a second cluster: as
//! long as one of the others remembers the first, it is refused; and it waits a moment for members to show
//! that the list does not name, to ask those too. Nobody else initialises; the others hold an empty
//! replica, so that they can vote for the first leader, and wait.
//!
//! From then on the list means nothing: the group has its voters where there is room for them, and who was
//! a replica of anything is not on an empty directory any more.

use std::{
    collections::BTreeMap,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use futures::StreamExt;
use hexpop_edge_config::{GroupId, NodeId};
use hexpop_shard::{ClusterSecret, MetaOp, plan_first_map_in};
use openraft::{AsyncRuntime, Instant as _};
use rand::Rng as _;

use super::{decide, hello, meta::propose_meta_here, purges};
use crate::{
    host::{Birth, Inner},
    types::{ReplicaNode, raft_node_id},
};

/// How often the founder asks the others again.
const PAUSE: Duration = Duration::from_millis(300);

/// How long after its start the founder waits for members that may remember a cluster: long enough to hear of
/// them from whichever lives.
const SETTLE: Duration = Duration::from_secs(2);

/// How often a founded cluster is looked at.
const PAUSE_FOUNDED: Duration = Duration::from_secs(5);

/// How many members are asked at a time.
const ASKED_AT_ONCE: usize = 16;

pub(super) async fn step<R: AsyncRuntime>(inner: Arc<Inner<R>>) -> Duration {
    let options = &inner.options;
    if !options.bootstrap.contains(&options.node) || inner.has_meta() {
        return first_map(&inner).await;
    }
    if !inner.has_slot(GroupId::META) {
        inner.start(GroupId::META, Birth::default()).await;
    }
    if options.initialiser() == Some(options.node)
        && inner.began.elapsed() >= SETTLE
        && let Some(voters) = founders(&inner).await
        && let Some(meta) = inner.group(GroupId::META)
    {
        inner.initialise(&meta, voters).await;
    }
    PAUSE
}

/// The first voters of the meta group, once all of the bootstrap list are there and none of them
/// remembers one.
async fn founders<R: AsyncRuntime>(inner: &Arc<Inner<R>>) -> Option<BTreeMap<u64, ReplicaNode>> {
    let own = inner.options.node;
    let mut voters = BTreeMap::from([(raft_node_id(inner.raft), own.into())]);
    for node in inner.options.bootstrap.iter().filter(|node| **node != own) {
        let found = hello(inner, *node).await?;
        if found.meta {
            tracing::info!(%node, "a meta group is there already: joining it");
            return None;
        }
        if !decide::same_list(&found.bootstrap, &inner.options.bootstrap) {
            tracing::error!(%node, theirs = ?found.bootstrap, ours = ?inner.options.bootstrap,
                "the bootstrap lists differ: the cluster is not founded");
            return None;
        }
        voters.insert(raft_node_id(found.raft), (*node).into());
    }
    nobody_remembers(inner).await.then_some(voters)
}

/// Whether no other member knows of a meta group: one may have moved away from the whole bootstrap list
/// before all of its nodes lost their directories.
async fn nobody_remembers<R: AsyncRuntime>(inner: &Arc<Inner<R>>) -> bool {
    let members = inner.membership.members();
    let others: Vec<NodeId> = members
        .iter()
        .filter(|member| member.alive && !inner.options.bootstrap.contains(&member.node))
        .map(|member| member.node)
        .collect();
    let someone = AtomicBool::new(false);
    futures::stream::iter(others)
        .for_each_concurrent(ASKED_AT_ONCE, |node| {
            let (inner, someone) = (Arc::clone(inner), &someone);
            async move {
                // One that does not answer is asked again.
                if hello(&inner, node).await.is_none_or(|found| found.meta) {
                    tracing::info!(%node, "not founded before that node says it knows of no cluster");
                    someone.store(true, Ordering::Relaxed);
                }
            }
        })
        .await;
    !someone.into_inner()
}

/// Makes the first map, as the leader of the meta group, once enough members are up.
async fn first_map<R: AsyncRuntime>(inner: &Arc<Inner<R>>) -> Duration {
    let Some(meta) = inner.group(GroupId::META) else { return PAUSE_FOUNDED };
    let has_map = meta.replica.state().as_meta().is_some_and(|meta| !meta.map().is_empty());
    if has_map {
        return if purges::found(inner).await { PAUSE_FOUNDED } else { PAUSE };
    }
    if !meta.leads() {
        return PAUSE;
    }
    if !inner.map().is_empty() {
        tracing::error!(
            "there is a shard map already, which this meta group did not make: none is made"
        );
        return PAUSE_FOUNDED;
    }
    let members = inner.membership.members();
    let alive = members.iter().filter(|member| member.alive).count();
    if u32::try_from(alive).unwrap_or(u32::MAX) < inner.options.expect_nodes {
        return PAUSE;
    }
    let options = &inner.options;
    let descriptors = match plan_first_map_in(&options.policy, &options.rings, &members) {
        Ok(descriptors) => descriptors,
        Err(error) => {
            tracing::warn!(%error, "no shard map yet");
            return PAUSE_FOUNDED;
        }
    };
    let mut secret = [0; 32];
    R::thread_rng().fill_bytes(&mut secret);
    let op = MetaOp::Bootstrap {
        descriptors,
        secret: ClusterSecret(secret),
        policy: inner.options.policy.clone(),
    };
    match propose_meta_here(inner, op).await {
        Ok(outcome) => tracing::info!(?outcome, members = alive, "the first shard map"),
        Err(error) => tracing::warn!(%error, "the first shard map was not made"),
    }
    PAUSE
}
