//! Nodes that die or are cut off.

use std::time::Duration;

use hexpop_edge_config::NodeId;
use hexpop_raft::{ReadLevel, ReplicaState};
use hexpop_shard::ReadOp;

use super::cluster::{Cluster, eventually, has_session};

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn a_killed_leader_is_followed_by_another_and_catches_up_when_it_is_back() {
    let mut cluster = Cluster::start(3, |_| {}).await;
    let before = cluster.put_session("before").await;
    let shard = cluster.shard(&before.key());
    let leader = cluster.leader(shard.id).unwrap();
    cluster.kill(leader);
    let after = cluster.put_session("after").await;
    for node in cluster.nodes.values() {
        eventually("both are read", || async {
            has_session(node, &shard, &before).await && has_session(node, &shard, &after).await
        })
        .await;
    }
    cluster.boot(leader).await;
    cluster.settled().await;
    let back = &cluster.nodes[&leader];
    eventually("the restarted node reads both", || async {
        has_session(back, &shard, &before).await && has_session(back, &shard, &after).await
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn a_leader_that_is_cut_off_neither_commits_nor_answers_strong_reads() {
    let cluster = Cluster::start(3, |_| {}).await;
    let id = cluster.put_session("one").await;
    let shard = cluster.shard(&id.key());
    let leader = cluster.leader(shard.id).unwrap();
    let others: Vec<NodeId> =
        cluster.nodes.keys().copied().filter(|node| *node != leader).collect();
    cluster.net.isolate(leader, &others, true);
    let cut = &cluster.nodes[&leader];
    let op = ReadOp::Session { id: id.clone() };
    assert!(cut.read(&shard, ReadLevel::Strong, op.clone()).await.is_err());
    assert!(cut.read(&shard, ReadLevel::Eventual, op).await.is_ok());
    eventually("another one leads", || async {
        others.iter().any(|node| {
            let status = cluster.nodes[node].host.replica(shard.id).unwrap();
            status.state == ReplicaState::Leader
        })
    })
    .await;
    cluster.net.isolate(leader, &others, false);
    eventually("the old leader follows", || async {
        let status = cut.host.replica(shard.id).unwrap();
        status.leader.is_some_and(|now| now != leader) && has_session(cut, &shard, &id).await
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn leadership_is_handed_over_on_request() {
    let cluster =
        Cluster::start(3, |options| options.leader_age_min = Duration::from_secs(600)).await;
    let id = cluster.put_session("one").await;
    let shard = cluster.shard(&id.key());
    let leader = cluster.leader(shard.id).unwrap();
    let to = *cluster.nodes.keys().find(|node| **node != leader).unwrap();
    let moved = cluster.nodes[&leader]
        .run(
            |host| async move { host.transfer_leader(shard.id, to, Duration::from_secs(10)).await },
        )
        .await;
    moved.unwrap();
    eventually("the other one leads", || async { cluster.leader(shard.id) == Some(to) }).await;
    let left = cluster.nodes[&to]
        .run(|host| async move { host.hand_over_leaders(Duration::from_secs(20)).await })
        .await;
    assert_eq!(left, 0);
}
