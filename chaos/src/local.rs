//! The router's view of a node's replicas, on whatever runtime these run: consensus and routing do not
//! know each other, and this is the lowest floor that knows both.

use std::{sync::Arc, time::Duration};

use futures::{FutureExt as _, future::BoxFuture};
use hexpop_edge_config::{NodeId, ShardId};
use hexpop_raft::{Host, ProposeError, ReadError, ReadLevel, ReplicaState};
use hexpop_router::{
    AnswerBody, Level, LocalReplica, LocalShard, ShardAnswer, ShardError, ShardOp, ShardRequest,
};
use hexpop_shard::ShardMap;
use openraft_rt::AsyncRuntime;

/// Executes shard requests on the replicas of this node.
#[derive(Debug)]
pub struct HostShards<R: AsyncRuntime>(pub Host<R>);

impl<R: AsyncRuntime> Clone for HostShards<R> {
    fn clone(&self) -> Self {
        Self(self.0.clone())
    }
}

impl<R: AsyncRuntime> HostShards<R> {
    /// Executes a request that came in at another node.
    #[must_use]
    pub fn execute_for(
        &self,
        from: NodeId,
        request: ShardRequest,
    ) -> BoxFuture<'static, Result<ShardAnswer, ShardError>> {
        let host = self.0.clone();
        async move {
            let deadline = Duration::from_millis(u64::from(request.deadline_ms));
            match request.op {
                ShardOp::Read(op) => {
                    let level = match request.level {
                        Level::Eventual => ReadLevel::Eventual,
                        Level::Bounded { max_staleness_ms } => {
                            ReadLevel::Bounded { max_staleness_ms }
                        }
                        Level::Strong => ReadLevel::Strong,
                    };
                    let read = host.read(
                        request.shard,
                        request.epoch,
                        level,
                        request.min_position,
                        deadline,
                        &op,
                    );
                    let result = read.await.map_err(read_error)?;
                    Ok(ShardAnswer {
                        position: result.position,
                        epoch: result.epoch,
                        staleness_ms: result.staleness_ms,
                        level_given: request.level,
                        body: AnswerBody::Read(result.answer),
                    })
                }
                ShardOp::Write { request: id, op } => {
                    let proposed = host
                        .propose(request.shard, request.epoch, id, op, deadline)
                        .await
                        .map_err(propose_error)?;
                    host.note_write(request.shard, from);
                    Ok(ShardAnswer {
                        position: proposed.position,
                        epoch: proposed.epoch,
                        staleness_ms: Some(0),
                        level_given: Level::Strong,
                        body: AnswerBody::Written(proposed.reply),
                    })
                }
            }
        }
        .boxed()
    }
}

impl<R: AsyncRuntime> LocalShard for HostShards<R> {
    fn execute(
        &self,
        request: ShardRequest,
    ) -> BoxFuture<'static, Result<ShardAnswer, ShardError>> {
        self.execute_for(self.0.node(), request)
    }

    fn replica(&self, shard: ShardId) -> Option<LocalReplica> {
        let standing = self.0.standing(shard)?;
        let runs = !matches!(standing.state, ReplicaState::Starting | ReplicaState::Halted);
        Some(LocalReplica {
            leader: standing.leader,
            is_leader: standing.state == ReplicaState::Leader,
            ready: runs && standing.has_state,
        })
    }

    fn map(&self) -> Arc<ShardMap> {
        self.0.shard_map()
    }

    fn note_read(&self, shard: ShardId) {
        self.0.note_read(shard);
    }

    fn hears(&self, node: NodeId) -> bool {
        self.0.hears(node)
    }

    fn lost(&self, node: NodeId) -> BoxFuture<'static, ()> {
        self.0.lost(node)
    }
}

fn read_error(error: ReadError) -> ShardError {
    match error {
        ReadError::NotLeader { leader } => ShardError::NotLeader { leader },
        ReadError::StaleEpoch { newer } => ShardError::StaleEpoch { newer },
        ReadError::NotHere => ShardError::NotHere,
        ReadError::StalenessUnmet { leader: _ } => ShardError::StalenessUnmet,
        ReadError::Unavailable(detail) => ShardError::Unavailable { detail },
    }
}

fn propose_error(error: ProposeError) -> ShardError {
    match error {
        ProposeError::NotLeader { leader } => ShardError::NotLeader { leader },
        ProposeError::StaleEpoch { newer } => ShardError::StaleEpoch { newer },
        ProposeError::NotHere => ShardError::NotHere,
        ProposeError::Overloaded => ShardError::Overloaded { retry_after_ms: 1_000 },
        ProposeError::Invalid(detail) => ShardError::Invalid { detail },
        ProposeError::Unknown(detail) => ShardError::Unknown { detail },
        ProposeError::Unavailable(detail) => ShardError::Unavailable { detail },
    }
}
