//! Where leaders are.

use std::time::Duration;

use hexpop_edge_config::NodeId;

use super::cluster::{Cluster, eventually};

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn the_leader_of_a_shard_goes_where_its_writes_come_in() {
    let cluster = Cluster::start(3, |options| {
        options.follow_writers_after = Duration::from_secs(1);
        options.leader_age_min = Duration::from_millis(500);
    })
    .await;
    let id = cluster.put_session("one").await;
    let shard = cluster.shard(&id.key()).id;
    for _move in 0..2 {
        eventually("somebody leads it", || async { cluster.leader(shard).is_some() }).await;
        let before = cluster.leader(shard);
        let writer = (1..=3).map(NodeId).find(|node| Some(*node) != before).unwrap();
        eventually("it is led where the writes come in", || async {
            if let Some(leader) = cluster.leader(shard) {
                for _write in 0..10 {
                    cluster.nodes[&leader].host.note_write(shard, writer);
                }
            }
            cluster.leader(shard) == Some(writer)
        })
        .await;
    }
}
