//! What nodes say to each other about shards. Final: these types cross the mesh through the codec;
//! the enums only grow at their ends.

use hexpop_edge_config::{Epoch, NodeId, RequestId, ShardId};
use hexpop_shard::{LogPosition, Op, ReadAnswer, ReadOp, Reply, ShardDescriptor};
use serde::{Deserialize, Serialize};

use crate::consistency::Level;

/// One request to one replica.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ShardRequest {
    /// The shard.
    pub shard: ShardId,
    /// Its epoch, as the sender believes it.
    pub epoch: Epoch,
    /// How fresh a read has to be; of no meaning for writes.
    pub level: Level,
    /// A position that a read must include.
    pub min_position: Option<LogPosition>,
    /// Milliseconds within which the answer must be on its way back.
    pub deadline_ms: u32,
    /// The W3C trace context of the caller.
    pub traceparent: Option<String>,
    /// What to do.
    pub op: ShardOp,
}

/// What to do at a replica.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub enum ShardOp {
    /// Read.
    Read(ReadOp),
    /// Propose; at the leader only.
    Write {
        /// By which a repeat is recognised; `None` for what is harmless to repeat.
        request: Option<RequestId>,
        /// The command.
        op: Op,
    },
}

/// What a replica answered.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ShardAnswer {
    /// For reads the last applied position; for writes the position of the command.
    pub position: LogPosition,
    /// The shard's epoch there.
    pub epoch: Epoch,
    /// How far behind the leader the state may be, in milliseconds; `None` if unknown.
    pub staleness_ms: Option<u64>,
    /// The level that was fulfilled: at least the one asked for.
    pub level_given: Level,
    /// The answer proper.
    pub body: AnswerBody,
}

/// The answer proper.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub enum AnswerBody {
    /// To a read.
    Read(ReadAnswer),
    /// To a write: applied (or refused by the state machine) and durable.
    Written(Reply),
}

/// Why a replica did not answer.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, thiserror::Error)]
pub enum ShardError {
    /// The sender's epoch is out of date; nothing was done.
    #[error("the shard has a newer epoch")]
    StaleEpoch {
        /// What the replica knows to be newer.
        newer: Vec<ShardDescriptor>,
    },
    /// Only the leader can do this; nothing was done.
    #[error("not the leader")]
    NotLeader {
        /// Whom the replica believes to lead.
        leader: Option<NodeId>,
    },
    /// The node has no replica of the shard (yet); nothing was done.
    #[error("no replica of the shard here")]
    NotHere,
    /// The replica cannot prove the bound on staleness.
    #[error("staler than asked for")]
    StalenessUnmet,
    /// The node protects itself; nothing was done.
    #[error("overloaded")]
    Overloaded {
        /// When to come back, in milliseconds.
        retry_after_ms: u32,
    },
    /// The replica cannot serve right now; nothing was done.
    #[error("unavailable: {detail}")]
    Unavailable {
        /// Why, for people.
        detail: String,
    },
    /// A write was proposed, and what became of it is not known.
    #[error("the outcome is unknown: {detail}")]
    Unknown {
        /// Why, for people.
        detail: String,
    },
    /// The request makes no sense to this node (another version, say); nothing was done.
    #[error("refused: {detail}")]
    Invalid {
        /// Why, for people.
        detail: String,
    },
}

impl ShardError {
    /// Whether it is certain that a write was not, and will not be, applied.
    #[must_use]
    pub const fn is_not_applied(&self) -> bool {
        !matches!(self, Self::Unknown { .. })
    }
}
