//! Groups that nothing happens in cost nothing, and are there when something does.

use std::{collections::BTreeSet, time::Duration};

use hexpop_edge_config::{NodeId, ShardId};
use hexpop_raft::{Options, ReadLevel};
use hexpop_shard::ReadOp;

use super::cluster::{Cluster, Node, eventually, has_session, session_put};

fn soon(options: &mut Options) {
    options.park_after = Duration::from_millis(300);
    // Leaders stay where they are.
    options.leader_age_min = Duration::from_secs(600);
}

/// As [`soon`], with beats that a busy machine does not miss.
fn calm(options: &mut Options) {
    soon(options);
    options.heartbeat = Duration::from_millis(800);
    options.election_min = Duration::from_millis(3_000);
    options.election_max = Duration::from_millis(4_000);
}

fn gauge(node: &Node, role: &str) -> f64 {
    let families = node.metrics.gather();
    let family = families.iter().find(|family| family.name() == "hexpop_raft_parked_groups");
    let metrics = family.map(|family| family.get_metric()).unwrap_or_default();
    let of_role =
        metrics.iter().filter(|metric| metric.get_label().iter().any(|pair| pair.value() == role));
    of_role.map(|metric| metric.get_gauge().get_value()).sum()
}

/// All groups of the cluster, each with its leader.
fn groups(cluster: &Cluster) -> BTreeSet<(ShardId, Option<NodeId>)> {
    let shards = cluster.nodes.values().flat_map(|node| node.host.replicas());
    shards.map(|status| (status.shard, cluster.leader(status.shard))).collect()
}

#[expect(clippy::cast_precision_loss, reason = "a few groups")]
async fn all_parked(cluster: &Cluster) {
    eventually("every group is parked at all its replicas", || async {
        let count = groups(cluster).len() as f64;
        let leads: f64 = cluster.nodes.values().map(|node| gauge(node, "leader")).sum();
        let follows: f64 = cluster.nodes.values().map(|node| gauge(node, "follower")).sum();
        leads == count && follows == count * (cluster.nodes.len() - 1) as f64
    })
    .await;
}

fn wakes(cluster: &Cluster) -> f64 {
    cluster.nodes.values().map(|node| node.counter("hexpop_raft_wakes_total", None)).sum()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn a_parked_group_proves_its_freshness_asleep_and_wakes_for_a_write() {
    let cluster = Cluster::start(3, calm).await;
    let id = cluster.put_session("one").await;
    let shard = cluster.shard(&id.key());
    all_parked(&cluster).await;
    let (before, term) = (wakes(&cluster), cluster.node(1).host.replica(shard.id).unwrap().term);
    // For longer than any lease lasts.
    let until = tokio::time::Instant::now() + Duration::from_secs(6);
    while tokio::time::Instant::now() < until {
        for node in cluster.nodes.values() {
            let level = ReadLevel::Bounded { max_staleness_ms: 3_000 };
            let read = node.read(&shard, level, ReadOp::Session { id: id.clone() }).await.unwrap();
            assert!(read.staleness_ms.unwrap() <= 3_000, "{read:?}");
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    assert_eq!(wakes(&cluster), before);
    // The first write after the sleep is not refused, though the leader's lease is long over.
    let (two, put) = session_put("two");
    let leader = &cluster.nodes[&cluster.leader(shard.id).unwrap()];
    let (id, epoch, wait) = (shard.id, shard.epoch, Duration::from_secs(20));
    let proposed =
        leader.run(move |host| async move { host.propose(id, epoch, None, put, wait).await });
    proposed.await.unwrap();
    assert!(wakes(&cluster) > before);
    for node in cluster.nodes.values() {
        eventually("it is read", || has_session(node, &shard, &two)).await;
        assert_eq!(node.host.replica(shard.id).unwrap().term, term);
    }
    all_parked(&cluster).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn a_dead_node_wakes_the_groups_it_led_and_no_others() {
    let mut cluster = Cluster::start(3, soon).await;
    let id = cluster.put_session("one").await;
    let shard = cluster.shard(&id.key());
    let dead = cluster.leader(shard.id).unwrap();
    // Another group, led by another node.
    let (kept, other) = groups(&cluster)
        .into_iter()
        .find_map(|(shard, leader)| Some((shard, leader?)).filter(|(_, leader)| *leader != dead))
        .unwrap_or((shard.id, dead));
    all_parked(&cluster).await;
    let term =
        |cluster: &Cluster, shard| cluster.nodes[&other].host.replica(shard).map(|it| it.term);
    let term_before = term(&cluster, kept);
    cluster.kill(dead);
    for node in cluster.nodes.values() {
        eventually("another one leads and answers", || has_session(node, &shard, &id)).await;
    }
    eventually("all are led by the living", || async {
        groups(&cluster).iter().all(|(_, leader)| leader.is_some())
    })
    .await;
    all_parked(&cluster).await;
    if other != dead {
        assert_eq!(
            term(&cluster, kept),
            term_before,
            "nobody campaigned in a group that has a leader"
        );
    }
    let after = wakes(&cluster);
    cluster.boot(dead).await;
    cluster.settled().await;
    let back = &cluster.nodes[&dead];
    eventually("the one that is back reads it", || has_session(back, &shard, &id)).await;
    all_parked(&cluster).await;
    assert!(wakes(&cluster) > after);
}
