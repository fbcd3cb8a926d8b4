//! Snapshots: written when the log has grown, sent to whoever lacks what was purged.

use super::cluster::{Cluster, document, eventually, listings_key};

/// More than openraft keeps behind a snapshot.
const ENTRIES: u64 = 600;

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn a_follower_that_lags_behind_the_purged_log_gets_a_snapshot_with_documents() {
    let mut cluster =
        Cluster::start(3, |options| options.log_bytes_before_snapshot = 64 << 10).await;
    let shard = cluster.shard(&listings_key());
    let leader = cluster.leader(shard.id).unwrap();
    let lagging = *cluster.nodes.keys().find(|node| **node != leader).unwrap();
    cluster.put_listing("lst_early", 1).await;
    cluster.kill(lagging);
    for number in 0..ENTRIES {
        cluster.put_listing(&format!("lst_{}", number % 50), number + 1).await;
    }
    eventually("the log is purged behind a snapshot", || async {
        cluster.nodes.values().all(|node| {
            let status = node.host.replica(shard.id).unwrap();
            status.snapshot.is_some() && status.purged_index > 10
        })
    })
    .await;
    cluster.boot(lagging).await;
    let node = &cluster.nodes[&lagging];
    eventually("the lagging node has every document", || async {
        for id in ["lst_early", "lst_0", "lst_49"] {
            if document(node, &shard, id).await.is_none() {
                return false;
            }
        }
        node.counter("hexpop_raft_snapshots_total", Some("installed")) > 0.0
    })
    .await;
    // It starts again from what it was sent.
    cluster.kill(lagging);
    cluster.boot(lagging).await;
    let node = &cluster.nodes[&lagging];
    eventually("the restarted node has them", || async {
        document(node, &shard, "lst_early").await.is_some()
    })
    .await;
    let expected = cluster.nodes[&leader].host.replica(shard.id).unwrap();
    eventually("all have applied the same", || async {
        node.host.replica(shard.id).is_some_and(|status| status.keys == expected.keys)
    })
    .await;
}
