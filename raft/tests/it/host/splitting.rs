//! Shards divide: every replica has both halves, whatever it slept through, and keeps them.

use std::{collections::BTreeSet, time::Duration};

use hexpop_edge_config::{NodeId, ShardId};
use hexpop_raft::{ProposeError, ReadError, ReadLevel};
use hexpop_shard::{
    MetaOp, MetaOutcome, OperationKind, ReadOp, SessionId, ShardDescriptor, ShardKey, Split,
};

use super::cluster::{
    Cluster, document, eventually, has_session, listing, listings_key, raft_of, session_put,
};

pub(super) const DEADLINE: Duration = Duration::from_secs(10);

/// More than openraft keeps behind a snapshot.
const ENTRIES: u64 = 600;

/// Begins an operation, again and again while the meta group has no leader or the shard is busy.
pub(super) async fn begin(cluster: &Cluster, shard: ShardId, kind: OperationKind) {
    eventually("the operation is begun", || async {
        let node = cluster.nodes.values().next().unwrap();
        let (kind, reason) = (kind.clone(), "a test".to_owned());
        let op = MetaOp::BeginOperation { kind, shard, reason };
        let begun = node.run(|host| async move { host.propose_meta(op, DEADLINE).await }).await;
        matches!(begun, Ok(MetaOutcome::OperationBegun(_)))
    })
    .await;
}

async fn begin_split(cluster: &Cluster, at: ShardKey) -> (ShardDescriptor, ShardId) {
    let shard = cluster.shard(&at);
    let node = cluster.nodes.values().next().unwrap();
    let op = MetaOp::AllocateIds { count: 1 };
    let allocated = node.run(|host| async move { host.propose_meta(op, DEADLINE).await }).await;
    let Ok(MetaOutcome::Allocated { first: child, .. }) = allocated else {
        panic!("{allocated:?}");
    };
    begin(cluster, shard.id, OperationKind::Split(Split { at, child })).await;
    (shard, child)
}

pub(super) async fn split(cluster: &Cluster, at: ShardKey) -> (ShardDescriptor, ShardDescriptor) {
    let (before, child) = begin_split(cluster, at.clone()).await;
    eventually("every map has both halves", || async {
        let knows =
            |node: &super::cluster::Node| node.host.shard_map().locate(&at).unwrap().id == child;
        cluster.nodes.values().all(knows)
    })
    .await;
    (before, cluster.shard(&at))
}

/// Every session is found by a strong read at every node that has a replica of its shard.
pub(super) async fn all_are_there(cluster: &Cluster, ids: &[SessionId]) {
    for node in cluster.nodes.values() {
        for id in ids {
            eventually("the session is there", || async {
                let shard = node.host.shard_map().locate(&id.key()).unwrap().clone();
                shard.replica_on(node.id).is_none() || has_session(node, &shard, id).await
            })
            .await;
        }
    }
}

pub(super) async fn some_sessions(cluster: &Cluster, name: &str) -> Vec<SessionId> {
    let mut ids = Vec::new();
    for number in 0..24 {
        ids.push(cluster.put_session(&format!("{name}{number}")).await);
    }
    ids.sort_by_key(SessionId::key);
    ids
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn a_shard_divides_on_every_replica_and_stays_divided_over_restarts() {
    let mut cluster = Cluster::start(3, |_| {}).await;
    let ids = some_sessions(&cluster, "a").await;
    let (before, child) = split(&cluster, ids[12].key()).await;
    let left = cluster.shard(&ids[0].key());
    assert_eq!((left.id, left.range.end.clone()), (before.id, Some(child.range.start.clone())));
    assert_eq!(child.range.end, before.range.end);
    assert_eq!((left.epoch.version, child.epoch.version), (2, 2));
    assert_eq!(
        child.replicas.iter().map(|replica| replica.raft).collect::<BTreeSet<_>>(),
        before.replicas.iter().map(|replica| replica.raft).collect::<BTreeSet<_>>()
    );
    all_are_there(&cluster, &ids).await;
    // Who believes the whole is told of both halves, and is answered by neither.
    let leader = &cluster.nodes[&cluster.leader(left.id).unwrap()];
    let op = ReadOp::Session { id: ids[20].clone() };
    let told = leader.read(&before, ReadLevel::Strong, op).await;
    let Err(ReadError::StaleEpoch { newer }) = told else { panic!("{told:?}") };
    assert_eq!(newer.iter().map(|shard| shard.id).collect::<Vec<_>>(), [left.id, child.id]);
    let (_, put) = session_put("late");
    let (id, epoch) = (before.id, before.epoch);
    let told =
        leader.run(|host| async move { host.propose(id, epoch, None, put, DEADLINE).await }).await;
    assert!(matches!(told, Err(ProposeError::StaleEpoch { .. })), "{told:?}");
    // Writes go on in both.
    let more = some_sessions(&cluster, "b").await;
    for node in 1..=3 {
        cluster.kill(NodeId(node));
    }
    for node in 1..=3 {
        cluster.boot(NodeId(node)).await;
    }
    cluster.settled().await;
    all_are_there(&cluster, &ids).await;
    all_are_there(&cluster, &more).await;
    // And once more, the half that was split off.
    let (_, third) = split(&cluster, ids[18].key()).await;
    assert!(third.id > child.id);
    all_are_there(&cluster, &ids).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn a_replica_that_slept_through_the_split_gets_both_halves() {
    let mut cluster =
        Cluster::start(3, |options| options.log_bytes_before_snapshot = 64 << 10).await;
    let shard = cluster.shard(&listings_key());
    cluster.put_listing("lst_early", 1).await;
    let leader = cluster.leader(shard.id).unwrap();
    let sleeps = *cluster.nodes.keys().find(|node| **node != leader).unwrap();
    cluster.kill(sleeps);
    let at = listing("lst_early", 1).key;
    let (left, child) = split(&cluster, at).await;
    for number in 0..ENTRIES {
        cluster.put_listing(&format!("lst_{}", number % 50), number + 1).await;
    }
    // The log of the half that stays goes past the split as well.
    for _ in 0..2 {
        eventually("the log of the child is purged", || async {
            cluster.nodes.values().all(|node| {
                node.host.replica(child.id).is_some_and(|status| status.snapshot.is_some())
            })
        })
        .await;
    }
    cluster.boot(sleeps).await;
    let node = &cluster.nodes[&sleeps];
    eventually("the node that slept has every document of the child", || async {
        let child = node.host.shard_map().get(child.id).cloned();
        let Some(child) = child else { return false };
        for id in ["lst_early", "lst_0", "lst_49"] {
            if document(node, &child, id).await.is_none() {
                return false;
            }
        }
        true
    })
    .await;
    let stays = node.host.replica(left.id).unwrap();
    assert_eq!(stays.epoch.version, 2);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn a_split_goes_on_when_the_leader_dies_in_the_middle_of_it() {
    let mut cluster = Cluster::start(3, |_| {}).await;
    let ids = some_sessions(&cluster, "a").await;
    let at = ids[12].key();
    let (shard, child) = begin_split(&cluster, at.clone()).await;
    let leader = cluster.leader(shard.id).unwrap();
    cluster.kill(leader);
    eventually("both halves are in the maps", || async {
        let knows =
            |node: &super::cluster::Node| node.host.shard_map().locate(&at).unwrap().id == child;
        cluster.nodes.values().all(knows)
    })
    .await;
    all_are_there(&cluster, &ids).await;
    cluster.boot(leader).await;
    cluster.settled().await;
    all_are_there(&cluster, &ids).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn replicas_move_after_a_split_and_newcomers_replay_it() {
    let cluster = Cluster::start(4, |_| {}).await;
    let ids = some_sessions(&cluster, "a").await;
    let (before, child) = split(&cluster, ids[12].key()).await;
    for shard in [before.id, child.id] {
        let known = cluster.nodes.values().next().unwrap().host.shard_map();
        let known = known.get(shard).unwrap().clone();
        let is_free = |node: &&NodeId| known.replica_on(**node).is_none();
        let to = *cluster.nodes.keys().find(is_free).unwrap();
        let from = cluster.leader(shard).unwrap();
        begin(&cluster, shard, OperationKind::Move { from, to }).await;
        eventually("the replica has moved", || async {
            let map = cluster.nodes.values().next().unwrap().host.shard_map();
            let shard = map.get(shard).unwrap();
            shard.voters().count() == 3
                && shard.replica_on(to).is_some_and(|new| new.raft == raft_of(&cluster, to))
                && shard.replica_on(from).is_none()
        })
        .await;
        eventually("nothing is left where it was", || async {
            cluster.nodes[&from].host.replica(shard).is_none()
        })
        .await;
    }
    all_are_there(&cluster, &ids).await;
}
