//! A node that comes back with an empty directory is a new replica of everything it held.

use hexpop_edge_config::{NodeId, ShardId};
use hexpop_raft::ReplicaStatus;
use hexpop_shard::ReplicaRole;

use super::cluster::{Cluster, eventually, has_session, raft_of};

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn a_wiped_founder_is_replaced_everywhere_and_its_old_id_is_gone() {
    let mut cluster = Cluster::start(3, |_| {}).await;
    let id = cluster.put_session("one").await;
    // The founder itself: it must join what it founded.
    let wiped = NodeId(1);
    let old = raft_of(&cluster, wiped);
    cluster.kill(wiped);
    std::fs::remove_dir_all(cluster.dir(wiped)).unwrap();
    cluster.boot(wiped).await;
    let new = raft_of(&cluster, wiped);
    assert_ne!(old, new);
    let replaced = |status: &ReplicaStatus| {
        let has = |raft| status.replicas.iter().find(|replica| replica.raft == raft);
        has(old).is_none() && has(new).is_some_and(|replica| replica.role == ReplicaRole::Voter)
    };
    eventually("every group has the new replica as a voter and not the old one", || async {
        cluster.nodes.values().all(|node| {
            let statuses = node.host.replicas();
            statuses.len() > 1
                && statuses.iter().any(|status| status.shard == ShardId::META)
                && statuses.iter().all(replaced)
        })
    })
    .await;
    eventually("the map says so too", || async {
        cluster.nodes.values().all(|node| {
            let map = node.host.shard_map();
            map.shards().all(|shard| {
                shard.epoch.conf > 1
                    && shard.replica_on(wiped).is_some_and(|replica| replica.raft == new)
                    && shard.replicas.len() == 3
            })
        })
    })
    .await;
    let shard = cluster.shard(&id.key());
    let node = &cluster.nodes[&wiped];
    eventually("the session is read there", || async { has_session(node, &shard, &id).await })
        .await;
    // Frames for the old directory, such as votes for it or heartbeats to it, are refused.
    assert!(node.counter("hexpop_raft_refused_frames_total", Some("wrong_replica")) > 0.0);
}
