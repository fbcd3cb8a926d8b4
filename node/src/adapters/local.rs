//! The consensus host of a node, and the router's view of it.

use hexpop_raft::Host;
use openraft_rt_tokio::TokioRuntime;

/// The consensus host of a node.
pub type NodeHost = Host<TokioRuntime>;

/// Executes shard requests on the replicas of this node.
pub type HostShards = hexpop_chaos::HostShards<TokioRuntime>;
