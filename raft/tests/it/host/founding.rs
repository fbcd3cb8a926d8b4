//! A cluster is founded once, serves at every node, and is there again after all nodes were killed.

use hexpop_edge_config::{NodeId, ShardId};
use hexpop_raft::{ReadError, ReadLevel, ReplicaState};
use hexpop_shard::{ReadAnswer, ReadOp};

use super::cluster::{Cluster, eventually, has_session, raft_of};

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn three_nodes_found_a_cluster_and_every_one_answers() {
    let cluster = Cluster::start(3, |_| {}).await;
    let id = cluster.put_session("first").await;
    let shard = cluster.shard(&id.key());
    assert_eq!(shard.voters().count(), 3);
    for node in cluster.nodes.values() {
        assert!(has_session(node, &shard, &id).await, "strong read at node {}", node.id);
        let bounded = ReadLevel::Bounded { max_staleness_ms: 30_000 };
        let found = node.read(&shard, bounded, ReadOp::Session { id: id.clone() }).await.unwrap();
        assert!(matches!(found.answer, ReadAnswer::Session(Some(_))));
        assert!(found.staleness_ms.unwrap() <= 30_000);
    }
    // Every node has the same secret, and nobody voted for two of them.
    let secrets: Vec<_> = cluster.nodes.values().map(|node| node.host.cluster_secret()).collect();
    assert!(secrets[0].is_some());
    assert!(secrets.iter().all(|secret| *secret == secrets[0]));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn leaders_spread_over_five_nodes_and_who_holds_nothing_says_so() {
    let cluster = Cluster::start(5, |options| options.expect_nodes = 5).await;
    eventually("several nodes lead", || async {
        let leading = cluster.nodes.values().filter(|node| {
            node.host.replicas().iter().any(|status| status.state == ReplicaState::Leader)
        });
        leading.count() >= 3
    })
    .await;
    let id = cluster.put_session("one").await;
    let shard = cluster.shard(&id.key());
    let without = cluster
        .nodes
        .values()
        .find(|node| shard.replica_on(node.id).is_none())
        .expect("three of five nodes hold it");
    let op = ReadOp::Session { id };
    let refused = without.read(&shard, ReadLevel::Eventual, op).await.unwrap_err();
    assert_eq!(refused, ReadError::NotHere);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn everything_is_there_again_after_all_were_killed_at_once() {
    let mut cluster = Cluster::start(3, |_| {}).await;
    let mut ids = Vec::new();
    for number in 0..20 {
        ids.push(cluster.put_session(&format!("s{number}")).await);
    }
    let rafts: Vec<_> = (1..=3).map(|node| raft_of(&cluster, NodeId(node))).collect();
    for node in 1..=3 {
        cluster.kill(NodeId(node));
    }
    for node in 1..=3 {
        cluster.boot(NodeId(node)).await;
    }
    cluster.settled().await;
    let again: Vec<_> = (1..=3).map(|node| raft_of(&cluster, NodeId(node))).collect();
    assert_eq!(rafts, again);
    let shard = cluster.shard(&ids[0].key());
    for id in &ids {
        eventually("the session is read", || async {
            has_session(cluster.node(1), &shard, id).await
        })
        .await;
    }
    // The founder did not found another cluster.
    let meta = cluster.node(2).host.replica(ShardId::META).unwrap();
    assert_eq!(meta.replicas.len(), 3);
}
