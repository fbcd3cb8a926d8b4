//! Purges are recorded in one order, told to every node, and there again after all nodes were killed.

use std::time::Duration;

use hexpop_edge_config::NodeId;
use hexpop_raft::ProposeError;
use hexpop_shard::{PurgeEntry, PurgeId, PurgeOp, PurgeTail, PurgeTarget};

use super::cluster::{Cluster, Node, eventually};

const DEADLINE: Duration = Duration::from_secs(10);

fn tag(tag: &str) -> PurgeOp {
    PurgeOp::Append { targets: vec![PurgeTarget::Tag(tag.to_owned())], soft: false }
}

async fn purge(node: &Node, text: &str) -> PurgeEntry {
    node.host.propose_purge(tag(text), DEADLINE).await.unwrap()
}

async fn behind(node: &Node, position: u64) -> PurgeTail {
    node.host.pull_purges(Some(PurgeId(position)), DEADLINE).await.unwrap()
}

fn ids(tail: &PurgeTail) -> Vec<u64> {
    match tail {
        PurgeTail::Next { entries, .. } => entries.iter().map(|entry| entry.id.0).collect(),
        PurgeTail::Lost { .. } => panic!("{tail:?}"),
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn purges_of_all_nodes_are_in_one_order_and_survive_them() {
    // Node 6 holds no replica of the purge group.
    let mut cluster = Cluster::start(6, |options| {
        options.expect_nodes = 6;
        options.bootstrap = (1..=3).map(NodeId).collect();
    })
    .await;
    for node in 1..=6 {
        assert_eq!(purge(cluster.node(node), &node.to_string()).await.id, PurgeId(node.into()));
    }
    for node in cluster.nodes.values() {
        assert_eq!(ids(&behind(node, 2).await), [3, 4, 5, 6], "node {}", node.id);
        let unknown = node.host.pull_purges(None, DEADLINE).await.unwrap();
        assert_eq!(unknown, PurgeTail::Lost { head: PurgeId(6) });
    }
    for node in 1..=6 {
        cluster.kill(NodeId(node));
    }
    for node in 1..=6 {
        cluster.boot(NodeId(node)).await;
    }
    eventually("it is told of purges again", || async {
        cluster.node(6).host.pull_purges(Some(PurgeId(5)), DEADLINE).await.is_ok()
    })
    .await;
    assert_eq!(ids(&behind(cluster.node(6), 5).await), [6]);
    assert_eq!(purge(cluster.node(4), "again").await.id, PurgeId(7));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn without_a_quorum_nothing_is_recorded_and_nobody_says_there_is_nothing() {
    let mut cluster = Cluster::start(3, |_| {}).await;
    purge(cluster.node(1), "one").await;
    cluster.kill(NodeId(2));
    cluster.kill(NodeId(3));
    let left = cluster.node(1);
    let wait = Duration::from_secs(2);
    let refused = left.host.propose_purge(tag("two"), wait).await.unwrap_err();
    assert!(!matches!(refused, ProposeError::Invalid(_)), "{refused}");
    assert!(left.host.pull_purges(Some(PurgeId(1)), wait).await.is_err());
    cluster.boot(NodeId(2)).await;
    let left = cluster.node(1);
    assert!(purge(left, "three").await.id > PurgeId(1));
}
