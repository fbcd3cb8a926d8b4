//! What a plan is made of.

use hexpop_edge_config::{NodeId, RaftId, ShardId};
use serde::{Deserialize, Serialize};

/// One change of one shard's replicas or leader. Doing it again changes nothing.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum StepKind {
    /// Adds a replica that receives the log and does not vote.
    AddLearner {
        /// The node.
        node: NodeId,
        /// Its data directory.
        raft: RaftId,
    },
    /// Makes a learner a voter. Whoever does it waits until the learner has caught up.
    Promote {
        /// The node.
        node: NodeId,
        /// Its data directory.
        raft: RaftId,
    },
    /// Makes the learner `new` a voter and removes the voter `old` in one change of the membership: so that
    /// what fails meanwhile is never one more than either set of voters survives.
    /// Whoever does it waits until the learner has caught up.
    Replace {
        /// The node of the new one.
        node: NodeId,
        /// The data directory that is no more.
        old: RaftId,
        /// The one that takes its place.
        new: RaftId,
    },
    /// Removes a voter whose place another one has taken.
    RemoveVoter {
        /// The node it was on.
        node: NodeId,
        /// Its data directory.
        raft: RaftId,
    },
    /// Removes a learner that nothing needs.
    RemoveLearner {
        /// The node it was on.
        node: NodeId,
        /// Its data directory.
        raft: RaftId,
    },
    /// Hands the leadership over.
    TransferLeader {
        /// Who leads.
        from: NodeId,
        /// The voter that should.
        to: NodeId,
    },
    /// Makes two learners voters in one change of the membership. With an even number of voters between, two of
    /// them in one `PoP`, the loss of that would be the loss of the quorum, which it is neither before nor after.
    /// Whoever does it waits until both have caught up.
    PromoteBoth {
        /// Their nodes and data directories.
        new: [(NodeId, RaftId); 2],
    },
}

impl StepKind {
    /// The word for it in URLs, tables and metrics.
    #[must_use]
    pub const fn as_str(&self) -> &'static str {
        match self {
            Self::AddLearner { .. } => "add-learner",
            Self::Promote { .. } => "promote",
            Self::Replace { .. } => "replace",
            Self::RemoveVoter { .. } => "remove-voter",
            Self::RemoveLearner { .. } => "remove-learner",
            Self::TransferLeader { .. } => "transfer-leader",
            Self::PromoteBoth { .. } => "promote-both",
        }
    }
}

/// A step, and why it is planned.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Step {
    /// The shard.
    pub shard: ShardId,
    /// What to do.
    pub kind: StepKind,
    /// Why, in words.
    pub reason: String,
    /// Whether it is a learner for the readers of a PoP: leaders may put it off.
    pub for_readers: bool,
}

/// Something that is not as it should be, and that no step can change now.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Finding {
    /// The shard.
    pub shard: ShardId,
    /// What is wrong, in words.
    pub reason: String,
}

/// What placement would do now. At most one step per shard; the next plan has the next one.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Plan {
    /// What to do, most urgent first.
    pub steps: Vec<Step>,
    /// What cannot be helped by a step.
    pub findings: Vec<Finding>,
}

/// Why a replica goes to another node.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub enum Cause {
    /// Its node must not hold it.
    Residency,
    /// Its node has been down for too long.
    Repair,
    /// It shares a PoP with another one while a PoP that may hold it has none.
    Spread,
    /// Its node has more than others.
    Balance,
    /// It is outside of the ring where the others are.
    Ring,
}

impl Cause {
    /// The word for it in URLs, tables and metrics.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Residency => "residency",
            Self::Repair => "repair",
            Self::Spread => "spread",
            Self::Balance => "balance",
            Self::Ring => "ring",
        }
    }
}

/// A replica that goes to another node: as many steps as that takes, the old one gone at the end.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Relocation {
    /// The node that holds it.
    pub from: NodeId,
    /// The data directory that holds it.
    pub old: RaftId,
    /// The node that is to.
    pub to: NodeId,
    /// Why it goes.
    pub cause: Cause,
}

/// A relocation, of which shard, and why it is planned.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Move {
    /// The shard.
    pub shard: ShardId,
    /// What goes where.
    pub relocation: Relocation,
    /// Why, in words.
    pub reason: String,
}

/// The replicas that should go to other nodes now.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Moves {
    /// What may begin now, most urgent first; at most one per shard.
    pub moves: Vec<Move>,
    /// Why nothing is evened out now, if something is in the way.
    pub paused: Option<String>,
    /// What cannot be helped by a move.
    pub findings: Vec<Finding>,
}
