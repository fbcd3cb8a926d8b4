//! Neighbours become one again: what was acknowledged is there, on every replica, whatever it slept through,
//! and nothing is left of the shard that is no more.

use std::collections::BTreeSet;

use hexpop_edge_config::{NodeId, ShardId};
use hexpop_raft::ReadError;
use hexpop_shard::{
    Merge, MetaOp, OperationId, OperationKind, OperationState, OperationUpdate, ReadAnswer, ReadOp,
    SessionId, ShardDescriptor,
};

use super::{
    cluster::{Cluster, eventually, has_session, listing, raft_of},
    splitting::{DEADLINE, all_are_there, begin, some_sessions, split},
};

/// The operations that the meta group remembers.
async fn operations(cluster: &Cluster) -> Vec<(OperationId, OperationKind, OperationState)> {
    let meta = ShardId::META;
    let Some(leader) = cluster.leader(meta) else { return Vec::new() };
    let epoch = hexpop_edge_config::Epoch::FIRST;
    let read = cluster.nodes[&leader]
        .run(|host| async move {
            let level = hexpop_raft::ReadLevel::Eventual;
            host.read(meta, epoch, level, None, DEADLINE, &ReadOp::Operations).await
        })
        .await;
    match read.map(|read| read.answer) {
        Ok(ReadAnswer::Operations(all)) => {
            all.into_iter().map(|it| (it.id, it.kind, it.state)).collect()
        }
        _ => Vec::new(),
    }
}

async fn begin_merge(cluster: &Cluster, left: ShardId, right: ShardId) {
    let map = cluster.nodes.values().next().unwrap().host.shard_map();
    let merge = Merge::of(map.get(right).unwrap());
    begin(cluster, left, OperationKind::Merge(merge)).await;
}

/// Has a shard take its neighbour in; answers what it is then.
async fn merge(cluster: &Cluster, left: ShardId, right: ShardId) -> ShardDescriptor {
    begin_merge(cluster, left, right).await;
    is_merged(cluster, left, right).await
}

async fn is_merged(cluster: &Cluster, left: ShardId, right: ShardId) -> ShardDescriptor {
    eventually("no map has the shard that is no more", || async {
        cluster.nodes.values().all(|node| node.host.shard_map().get(right).is_none())
    })
    .await;
    cluster.nodes.values().next().unwrap().host.shard_map().get(left).unwrap().clone()
}

/// Nothing of a shard is anywhere, nor anything staged.
async fn is_nowhere(cluster: &Cluster, shard: ShardId) {
    eventually("nothing is left of the shard that is no more", || async {
        cluster.nodes.values().all(|node| {
            let held = node.host.holdings().unwrap();
            held.iter().all(|it| it.shard != shard && !it.places.iter().any(|at| at == "staged"))
        })
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn a_shard_takes_its_neighbour_in_on_every_replica_and_keeps_it_over_restarts() {
    let mut cluster = Cluster::start(3, |_| {}).await;
    let ids = some_sessions(&cluster, "a").await;
    let (whole, right) = split(&cluster, ids[12].key()).await;
    let more = some_sessions(&cluster, "b").await;
    let merged = merge(&cluster, whole.id, right.id).await;
    assert_eq!((merged.id, &merged.range), (whole.id, &whole.range));
    assert_eq!(merged.epoch.version, right.epoch.version + 1);
    all_are_there(&cluster, &ids).await;
    all_are_there(&cluster, &more).await;
    is_nowhere(&cluster, right.id).await;
    // Whoever believes the half is told of the whole.
    let half = ShardDescriptor { epoch: right.epoch, ..whole.clone() };
    let leader = &cluster.nodes[&cluster.leader(merged.id).unwrap()];
    let op = ReadOp::Session { id: ids[0].clone() };
    let told = leader.read(&half, hexpop_raft::ReadLevel::Strong, op).await;
    let Err(ReadError::StaleEpoch { newer }) = told else { panic!("{told:?}") };
    assert!(newer.iter().any(|shard| shard.range == merged.range), "{newer:?}");
    let late = some_sessions(&cluster, "c").await;
    for node in 1..=3 {
        cluster.kill(NodeId(node));
    }
    for node in 1..=3 {
        cluster.boot(NodeId(node)).await;
    }
    cluster.settled().await;
    for ids in [&ids, &more, &late] {
        all_are_there(&cluster, ids).await;
    }
    is_nowhere(&cluster, right.id).await;
    // And once more: divided elsewhere, and made one.
    let (_, again) = split(&cluster, ids[6].key()).await;
    merge(&cluster, whole.id, again.id).await;
    all_are_there(&cluster, &ids).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn documents_come_along_and_a_newcomer_gets_past_what_nobody_has_staged_any_more() {
    let cluster = Cluster::start(4, |_| {}).await;
    for number in 0..40 {
        cluster.put_listing(&format!("lst_{number}"), 1).await;
    }
    // All of them are at one place: the shard is divided right there, and left and right of it.
    let at = listing("lst_0", 1).key;
    let (whole, right) = split(&cluster, at.clone()).await;
    merge(&cluster, whole.id, right.id).await;
    is_nowhere(&cluster, right.id).await;
    let shard = cluster.shard(&at);
    let is_free = |node: &&NodeId| shard.replica_on(**node).is_none();
    let to = *cluster.nodes.keys().find(is_free).unwrap();
    let from = cluster.leader(shard.id).unwrap();
    begin(&cluster, shard.id, OperationKind::Move { from, to }).await;
    eventually("the replica has moved", || async {
        let map = cluster.nodes.values().next().unwrap().host.shard_map();
        let shard = map.get(shard.id).unwrap();
        shard.voters().count() == 3
            && shard.replica_on(to).is_some_and(|new| new.raft == raft_of(&cluster, to))
            && shard.replica_on(from).is_none()
    })
    .await;
    for node in cluster.nodes.values() {
        for id in ["lst_0", "lst_39"] {
            eventually("every document is there", || async {
                let shard = cluster.shard(&at);
                shard.replica_on(node.id).is_none()
                    || super::cluster::document(node, &shard, id).await.is_some()
            })
            .await;
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn the_right_shard_comes_to_where_the_left_one_is() {
    let cluster = Cluster::start(4, |_| {}).await;
    let ids = some_sessions(&cluster, "a").await;
    let (whole, right) = split(&cluster, ids[12].key()).await;
    let is_free = |node: &&NodeId| right.replica_on(**node).is_none();
    let to = *cluster.nodes.keys().find(is_free).unwrap();
    let from = cluster.leader(right.id).unwrap();
    begin(&cluster, right.id, OperationKind::Move { from, to }).await;
    eventually("the replica has moved", || async {
        let map = cluster.nodes.values().next().unwrap().host.shard_map();
        map.get(right.id).is_some_and(|it| it.replica_on(from).is_none())
    })
    .await;
    let merged = merge(&cluster, whole.id, right.id).await;
    let rafts = |shard: &ShardDescriptor| -> BTreeSet<_> {
        shard.replicas.iter().map(|replica| replica.raft).collect()
    };
    assert_eq!(rafts(&merged), rafts(&whole));
    all_are_there(&cluster, &ids).await;
    is_nowhere(&cluster, right.id).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn a_merge_goes_on_or_is_undone_when_a_leader_dies_in_the_middle_of_it() {
    let mut cluster = Cluster::start(3, |_| {}).await;
    let ids = some_sessions(&cluster, "a").await;
    let (whole, right) = split(&cluster, ids[12].key()).await;
    begin_merge(&cluster, whole.id, right.id).await;
    let leader = cluster.leader(right.id).unwrap();
    cluster.kill(leader);
    // What had not begun waits for the node; what had goes on without it, or is undone.
    cluster.boot(leader).await;
    eventually("the merge is over", || async {
        let all = operations(&cluster).await;
        let merges: Vec<_> =
            all.iter().filter(|it| matches!(it.1, OperationKind::Merge(_))).collect();
        !merges.is_empty() && merges.iter().all(|it| !it.2.is_running())
    })
    .await;
    // Whichever way it went, every session is there, and every shard takes writes.
    all_are_there(&cluster, &ids).await;
    let more = some_sessions(&cluster, "b").await;
    cluster.settled().await;
    all_are_there(&cluster, &ids).await;
    all_are_there(&cluster, &more).await;
    let has_both = cluster.nodes.values().next().unwrap().host.shard_map().get(right.id).is_some();
    if has_both {
        merge(&cluster, whole.id, right.id).await;
    }
    all_are_there(&cluster, &ids).await;
    is_nowhere(&cluster, right.id).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn a_merge_that_is_called_off_leaves_both_as_they_were() {
    let mut cluster = Cluster::start(3, |_| {}).await;
    let ids = some_sessions(&cluster, "a").await;
    let (whole, right) = split(&cluster, ids[12].key()).await;
    // Who is down has nothing staged, so that nothing is absorbed.
    let down = *cluster
        .nodes
        .keys()
        .find(|node| {
            let node = Some(**node);
            let leads = |shard| cluster.leader(shard) == node;
            !leads(whole.id) && !leads(right.id) && !leads(ShardId::META)
        })
        .unwrap_or(&NodeId(3));
    begin_merge(&cluster, whole.id, right.id).await;
    cluster.kill(down);
    let node = cluster.nodes.values().next().unwrap();
    let all = operations(&cluster).await;
    if let Some((id, _, _)) = all.into_iter().find(|it| matches!(it.1, OperationKind::Merge(_))) {
        let update = OperationUpdate::Finished(OperationState::Cancelled);
        let op = MetaOp::UpdateOperation { id, update };
        drop(node.run(|host| async move { host.propose_meta(op, DEADLINE).await }).await);
    }
    eventually("the merge is over", || async {
        let all = operations(&cluster).await;
        let merges: Vec<_> =
            all.iter().filter(|it| matches!(it.1, OperationKind::Merge(_))).collect();
        !merges.is_empty() && merges.iter().all(|it| !it.2.is_running())
    })
    .await;
    let found = |id: &SessionId| {
        let shard = cluster.shard(&id.key());
        let node = &cluster.nodes[&cluster.leader(shard.id).unwrap_or(node.id)];
        let id = id.clone();
        async move { has_session(node, &shard, &id).await }
    };
    for id in &ids {
        eventually("the session is there", || found(id)).await;
    }
    some_sessions(&cluster, "b").await;
    cluster.boot(down).await;
    cluster.settled().await;
    all_are_there(&cluster, &ids).await;
}
