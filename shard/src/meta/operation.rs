//! Operations on shards: what runs, and what ran lately.

use std::fmt;

use hexpop_edge_config::{NodeId, ShardId};
use serde::{Deserialize, Serialize};

use crate::{Merge, Relocation, Split, Step, StepKind};

/// The number of an operation; counts up, never used twice.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Serialize, Deserialize,
)]
#[serde(transparent)]
pub struct OperationId(pub u64);

impl fmt::Display for OperationId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// What an operation does.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum OperationKind {
    /// A step of the placement plan.
    Placement(StepKind),
    /// Empties a node.
    Drain {
        /// The node.
        node: NodeId,
    },
    /// Divides a shard.
    Split(Split),
    /// Moves a replica.
    Move {
        /// The node that holds it.
        from: NodeId,
        /// The node that is to.
        to: NodeId,
    },
    /// Moves a replica for placement.
    Relocate(Relocation),
    /// Has the shard absorb its right neighbour.
    Merge(Merge),
}

impl OperationKind {
    /// The word for it in URLs, tables and metrics.
    #[must_use]
    pub const fn as_str(&self) -> &'static str {
        match self {
            Self::Placement(step) => step.as_str(),
            Self::Drain { .. } => "drain",
            Self::Split(_) => "split",
            Self::Move { .. } => "move",
            Self::Relocate(relocation) => relocation.cause.as_str(),
            Self::Merge(_) => "merge",
        }
    }
}

impl From<&Step> for OperationKind {
    fn from(step: &Step) -> Self {
        Self::Placement(step.kind.clone())
    }
}

/// Where an operation stands.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum OperationState {
    /// It goes on; whoever leads the shard may take it over.
    Running,
    /// It reached its end.
    Done,
    /// It was given up.
    Failed {
        /// Why.
        error: String,
    },
    /// It was stopped: by request, or because nothing needs it any more.
    Cancelled,
    /// It goes on, and cannot be cancelled any more: what it changes may be on its way.
    Committing,
    /// It is to be given up, and what it began is being undone: then it is failed with this error, or
    /// cancelled.
    Reverting {
        /// Why it failed, if it did.
        error: Option<String>,
    },
}

impl OperationState {
    /// The word for it in URLs, tables and metrics.
    #[must_use]
    pub const fn as_str(&self) -> &'static str {
        match self {
            Self::Running => "running",
            Self::Done => "done",
            Self::Failed { .. } => "failed",
            Self::Cancelled => "cancelled",
            Self::Committing => "committing",
            Self::Reverting { .. } => "reverting",
        }
    }

    /// Whether it goes on.
    #[must_use]
    pub const fn is_running(&self) -> bool {
        matches!(self, Self::Running | Self::Committing | Self::Reverting { .. })
    }
}

/// One thing that an operation has behind it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct OperationStep {
    /// What, such as `recorded` or `committed`.
    pub name: String,
    /// When, in group time.
    pub at_ms: u64,
}

/// One operation.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Operation {
    /// Its number.
    pub id: OperationId,
    /// What it does.
    pub kind: OperationKind,
    /// The shard it is about.
    pub shard: ShardId,
    /// Why it was begun.
    pub reason: String,
    /// Where it stands.
    pub state: OperationState,
    /// What it has behind it, oldest first; at most [`Operation::STEPS_MAX`], the newest kept.
    pub steps: Vec<OperationStep>,
    /// When it began, in group time.
    pub started_ms: u64,
    /// When it ended, in group time.
    pub finished_ms: Option<u64>,
}

impl Operation {
    /// How many steps are remembered of an operation.
    pub const STEPS_MAX: usize = 16;

    /// Whether it changes a shard.
    #[must_use]
    pub fn concerns(&self, shard: ShardId) -> bool {
        self.shards().any(|concerned| concerned == shard)
    }

    /// The shards that it changes.
    pub fn shards(&self) -> impl Iterator<Item = ShardId> {
        let right = match &self.kind {
            OperationKind::Merge(merge) => Some(merge.right),
            _ => None,
        };
        std::iter::once(self.shard).chain(right)
    }
}

/// How an operation goes on.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum OperationUpdate {
    /// It has something behind it.
    Step {
        /// What.
        name: String,
    },
    /// It ended.
    Finished(OperationState),
    /// From here on it cannot be cancelled.
    Commit,
    /// What it began is undone: it has failed, or is cancelled.
    Reverted,
}
