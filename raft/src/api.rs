//! What callers of [`Host`](crate::Host) get and give.

use hexpop_edge_config::{Epoch, NodeId, RaftId, ShardId};
use hexpop_shard::{KeyRange, LogPosition, ReadAnswer, Replica, Reply};
use serde::{Deserialize, Serialize};

/// How fresh a read must be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ReadLevel {
    /// Whatever the replica has.
    Eventual,
    /// At most this old, proven.
    Bounded {
        /// Milliseconds.
        max_staleness_ms: u64,
    },
    /// Linearizable.
    Strong,
}

/// A command that was applied.
#[derive(Debug, Clone, PartialEq)]
pub struct Proposed {
    /// Where in the log it is.
    pub position: LogPosition,
    /// The shard's epoch.
    pub epoch: Epoch,
    /// What it answered.
    pub reply: Reply,
}

/// What a read found, and how fresh that is.
#[derive(Debug, Clone)]
pub struct ReadResult {
    /// What was found.
    pub answer: ReadAnswer,
    /// The last entry that the replica had applied.
    pub position: LogPosition,
    /// The shard's epoch.
    pub epoch: Epoch,
    /// How old the answer is at most, in milliseconds; 0 for strong reads, `None` when the replica
    /// cannot prove anything.
    pub staleness_ms: Option<u64>,
    /// Whether the replica that answered led the group.
    pub leader: bool,
}

/// What a replica is to its group now.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum ReplicaState {
    /// It is being opened.
    Starting,
    /// It receives the log and does not vote.
    Learner,
    /// It votes and follows.
    Follower,
    /// It stands for election.
    Candidate,
    /// It leads.
    Leader,
    /// It stopped because of damage or a failed disk; the others go on.
    Halted,
}

impl ReplicaState {
    /// All states.
    pub const ALL: [Self; 6] = [
        Self::Starting,
        Self::Learner,
        Self::Follower,
        Self::Candidate,
        Self::Leader,
        Self::Halted,
    ];

    /// The word used in tables and metrics.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Starting => "starting",
            Self::Learner => "learner",
            Self::Follower => "follower",
            Self::Candidate => "candidate",
            Self::Leader => "leader",
            Self::Halted => "halted",
        }
    }
}

/// One replica on this node.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct ReplicaStatus {
    /// The shard; the meta group is among them.
    pub shard: ShardId,
    /// The newest epoch known.
    pub epoch: Epoch,
    /// What it is now.
    pub state: ReplicaState,
    /// Why, if halted.
    pub fault: Option<String>,
    /// Who leads, if known.
    pub leader: Option<NodeId>,
    /// Who leads, by data directory.
    pub leader_raft: Option<RaftId>,
    /// The term.
    pub term: u64,
    /// The index of the last entry in the log.
    pub last_index: u64,
    /// The index up to which entries are known to be committed.
    pub commit_index: u64,
    /// The last entry applied.
    pub applied: LogPosition,
    /// How old the state is at most, in milliseconds, if that is proven.
    pub staleness_ms: Option<u64>,
    /// The replicas as this replica's log has them.
    pub replicas: Vec<Replica>,
    /// At the leader: how many entries each replica lacks.
    pub lag: Vec<(NodeId, u64)>,
    /// Keys in the state.
    pub keys: u64,
    /// Bytes of state, documents included.
    pub bytes: u64,
    /// Listings in it, whatever their status.
    pub listings_total: u64,
    /// Listings that searches find.
    pub listings_active: u64,
    /// Whether the shard's bulk load is finished.
    pub complete: bool,
    /// The index up to which the log is purged here; 0 = nothing is.
    pub purged_index: u64,
    /// The last entry in the newest snapshot here.
    pub snapshot: Option<LogPosition>,
    /// Whether the group is parked here: it has nothing to do, and costs nothing.
    pub parked: bool,
}

/// Where a replica stands: what routing asks of it before each request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Standing {
    /// What it is.
    pub state: ReplicaState,
    /// Who leads, if known.
    pub leader: Option<NodeId>,
    /// Whether it has a state to answer from: not while it waits for its first snapshot, nor as a learner that
    /// has not caught up yet.
    pub has_state: bool,
}

/// What a node has of a shard.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Holding {
    /// The shard.
    pub shard: ShardId,
    /// Its keys, as the replica's own state has them; `None` = nothing there tells.
    pub range: Option<KeyRange>,
    /// Where something of it is: `memory`, `log`, `snapshot`, `documents`; `staged` = what it was sealed as,
    /// for the shard that absorbs it; `log-files` = the shard has
    /// been left, and the files of the log are not rid of it yet.
    pub places: Vec<String>,
}
