//! A node that is no replica of a group any more destroys what it has of it, and may come back.

use std::path::Path;

use hexpop_edge_config::NodeId;
use hexpop_raft::ReadLevel;
use hexpop_shard::{
    DirectoryChange, DirectoryOp, DirectoryTarget, ListingVersion, Op, ReadAnswer, ReadOp,
    ReplicaRole, ShardDescriptor, ShardKey,
};

use super::cluster::{Cluster, Node, eventually, raft_of};

const ID: &str = "lst_marker_7d20f3";

/// Whether a file below the directory holds these bytes.
fn holds(dir: &Path, bytes: &[u8]) -> bool {
    std::fs::read_dir(dir).unwrap().any(|entry| {
        let path = entry.unwrap().path();
        if path.is_dir() {
            return holds(&path, bytes);
        }
        // Deleted meanwhile, by the node that runs.
        let found = std::fs::read(&path).unwrap_or_default();
        found.windows(bytes.len()).any(|window| window == bytes)
    })
}

/// Whether the node's own replica has the entry.
async fn has_entry(node: &Node, shard: &ShardDescriptor) -> bool {
    let op = ReadOp::Directory { ids: vec![ID.to_owned()] };
    match node.read(shard, ReadLevel::Eventual, op).await {
        Ok(found) => matches!(found.answer, ReadAnswer::Directory(all) if all[0].is_some()),
        Err(_) => false,
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn a_replica_that_left_its_group_leaves_nothing_on_its_disk_and_comes_back_from_nothing() {
    // A learner of the directory in the PoP that has no voter of it.
    let mut cluster = Cluster::start(4, |_| {}).await;
    let key = ShardKey::directory(ID);
    let shard = cluster.shard(&key);
    let roles = |role| shard.replicas.iter().filter(move |replica| replica.role == role);
    let learner = roles(ReplicaRole::Learner).next().unwrap().node;
    let voter = roles(ReplicaRole::Voter).next().unwrap().node;
    let raft = raft_of(&cluster, learner);
    let change = DirectoryChange {
        id: ID.to_owned(),
        expected: None,
        target: DirectoryTarget::Deleted,
        listing_version: ListingVersion::default(),
    };
    cluster.propose(&key, Op::Directory(DirectoryOp::CompareAndSet(vec![change]))).await;
    let wal = cluster.dir(learner).join("wal");
    eventually("the learner has it", || async {
        has_entry(&cluster.nodes[&learner], &shard).await && holds(&wal, ID.as_bytes())
    })
    .await;
    // Its PoP has a voter now, so that nobody needs it.
    cluster.net.move_to_pop_of(learner, voter);
    eventually("it has left, and nothing is there", || async {
        let node = &cluster.nodes[&learner];
        let is_listed = |id: NodeId| cluster.shard(&key).replica_on(id).is_some();
        !is_listed(learner)
            && node.host.replica(shard.id).is_none()
            && !holds(&cluster.dir(learner), ID.as_bytes())
    })
    .await;
    // It starts again in its old PoP: the same data directory is a replica once more.
    cluster.kill(learner);
    cluster.boot(learner).await;
    assert_eq!(raft_of(&cluster, learner), raft);
    eventually("it has everything again", || async {
        has_entry(&cluster.nodes[&learner], &cluster.shard(&key)).await
    })
    .await;
}
