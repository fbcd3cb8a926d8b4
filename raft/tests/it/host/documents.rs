//! Documents that a node lost are there again.

use super::cluster::{Cluster, document, eventually, listings_key};

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn a_deleted_document_store_is_filled_again_at_the_start() {
    let mut cluster =
        Cluster::start(3, |options| options.log_bytes_before_snapshot = 8 << 10).await;
    let shard = cluster.shard(&listings_key());
    // Some in the snapshot, one only in the log.
    for number in 0..40 {
        cluster.put_listing(&format!("lst_{number}"), 1).await;
    }
    eventually("a snapshot is written", || async {
        cluster
            .nodes
            .values()
            .all(|node| node.host.replica(shard.id).is_some_and(|status| status.snapshot.is_some()))
    })
    .await;
    cluster.put_listing("lst_last", 1).await;
    let victim = *cluster.nodes.keys().next_back().unwrap();
    cluster.kill(victim);
    std::fs::remove_dir_all(cluster.dir(victim).join("documents")).unwrap();
    cluster.boot(victim).await;
    let node = &cluster.nodes[&victim];
    eventually("every document is there", || async {
        for id in ["lst_0", "lst_39", "lst_last"] {
            if document(node, &shard, id).await.is_none() {
                return false;
            }
        }
        true
    })
    .await;
}
