//! The meta group and that of purges grow with the cluster, move off nodes that die or are emptied, and are
//! found by everybody wherever they are.

use std::time::Duration;

use hexpop_edge_config::{NodeId, ShardId};
use hexpop_raft::{Options, ReplicaState};
use hexpop_shard::{PurgeOp, PurgeTarget, ReplicaRole};

use super::cluster::{Cluster, Node, eventually};

const GROUPS: [ShardId; 2] = [ShardId::META, ShardId::PURGES];

const DEADLINE: Duration = Duration::from_secs(10);

fn impatient(options: &mut Options) {
    options.repair_after = Duration::from_secs(1);
    options.moves_at_once = 16;
}

/// The nodes whose replicas vote, as the leader of the group has it; `None` while others learn.
fn voters(cluster: &Cluster, group: ShardId) -> Option<Vec<u32>> {
    let leader = cluster.nodes.values().find_map(|node| {
        node.host.replica(group).filter(|status| status.state == ReplicaState::Leader)
    })?;
    let is_voter = |role| role == ReplicaRole::Voter;
    let mut voters: Vec<u32> = leader
        .replicas
        .iter()
        .map(|replica| is_voter(replica.role).then_some(replica.node.0))
        .collect::<Option<_>>()?;
    voters.sort_unstable();
    Some(voters)
}

async fn are_on(cluster: &Cluster, nodes: &[u32]) {
    let what = format!("both groups are on {nodes:?}");
    eventually(&what, || async {
        GROUPS.iter().all(|group| voters(cluster, *group).as_deref() == Some(nodes))
    })
    .await;
}

/// Every node of these finds both groups, and a quorum that answers.
async fn serve(cluster: &Cluster, nodes: &[u32]) {
    for node in nodes.iter().map(|node| cluster.node(*node)) {
        eventually("a purge is recorded and told of", || async {
            is_recorded(node).await && node.host.pull_purges(None, DEADLINE).await.is_ok()
        })
        .await;
        eventually("the meta group takes a proposal", || async {
            let op = hexpop_shard::MetaOp::AllocateIds { count: 1 };
            node.host.propose_meta(op, DEADLINE).await.is_ok()
        })
        .await;
    }
}

async fn is_recorded(node: &Node) -> bool {
    let targets = vec![PurgeTarget::Tag("t".to_owned())];
    node.host.propose_purge(PurgeOp::Append { targets, soft: false }, DEADLINE).await.is_ok()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn they_move_on_until_no_founder_is_left_and_all_start_again() {
    let mut cluster = Cluster::start(6, impatient).await;
    are_on(&cluster, &[1, 2, 3, 4, 5]).await;
    let secret = cluster.node(6).host.cluster_secret();
    for (dead, count) in [(1, 5), (2, 3), (3, 3)] {
        cluster.kill(NodeId(dead));
        eventually("both groups and every shard are on nodes that live", || async {
            let groups = GROUPS.iter().all(|group| {
                let voters = voters(&cluster, *group).unwrap_or_default();
                voters.len() == count && voters.iter().all(|node| *node > dead)
            });
            let map = cluster.node(6).host.shard_map();
            groups && map.shards().all(|shard| shard.voters().all(|it| it.node.0 > dead))
        })
        .await;
    }
    serve(&cluster, &[4, 5, 6]).await;
    for node in 4..=6 {
        cluster.kill(NodeId(node));
    }
    for node in 4..=6 {
        cluster.boot(NodeId(node)).await;
    }
    are_on(&cluster, &[4, 5, 6]).await;
    cluster.settled().await;
    serve(&cluster, &[4, 5, 6]).await;
    // The founders return, one of them without its directory: they found nothing, and get their part.
    std::fs::remove_dir_all(cluster.dir(NodeId(1))).unwrap();
    for node in 1..=3 {
        cluster.boot(NodeId(node)).await;
    }
    eventually("both groups have five voters", || async {
        GROUPS.iter().all(|group| voters(&cluster, *group).is_some_and(|it| it.len() == 5))
    })
    .await;
    eventually("everybody is of the same cluster", || async {
        cluster.nodes.values().all(|node| node.host.cluster_secret() == secret)
    })
    .await;
    serve(&cluster, &[1, 2, 3, 4, 5, 6]).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn a_node_that_is_emptied_gives_its_voters_up_and_may_have_them_again() {
    let mut cluster = Cluster::start(4, impatient).await;
    are_on(&cluster, &[1, 2, 3]).await;
    let leader = cluster.leader(ShardId::META).unwrap();
    cluster.net.drain(leader, true);
    let mut others: Vec<u32> = (1..=4).filter(|node| *node != leader.0).collect();
    are_on(&cluster, &others).await;
    eventually("nothing of them is there any more", || async {
        let host = &cluster.nodes[&leader].host;
        GROUPS.iter().all(|group| host.replica(*group).is_none())
    })
    .await;
    serve(&cluster, &[1, 2, 3, 4]).await;
    // It stays out of them when it starts again.
    cluster.kill(leader);
    cluster.boot(leader).await;
    cluster.net.drain(leader, true);
    cluster.settled().await;
    are_on(&cluster, &others).await;
    // And is a voter once more, on the directory that forgot what it had promised.
    let next = NodeId(others.remove(0));
    cluster.net.drain(leader, false);
    cluster.net.drain(next, true);
    let mut after: Vec<u32> = others.iter().copied().chain([leader.0]).collect();
    after.sort_unstable();
    are_on(&cluster, &after).await;
    serve(&cluster, &[1, 2, 3, 4]).await;
}
