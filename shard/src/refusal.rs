//! Why a command is refused: by its proposer before it is proposed, or alike by every replica.

use hexpop_edge_config::{Epoch, ShardId};
use serde::{Deserialize, Serialize};

use crate::OperationId;

/// Why a well-formed command was refused at apply.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, thiserror::Error)]
pub enum Refusal {
    /// The proposer believed another range of the shard.
    #[error("shard {shard} has epoch {current} now")]
    StaleEpoch {
        /// The shard.
        shard: ShardId,
        /// Its epoch at apply.
        current: Epoch,
    },
    /// A key of the command is not in the shard's range.
    #[error("the key lies outside shard {shard}")]
    WrongKey {
        /// The shard.
        shard: ShardId,
    },
    /// The operation is of another kind of group.
    #[error("the operation does not belong to this kind of group")]
    WrongKind,
    /// A limit of the shard would be exceeded.
    #[error("{0}")]
    Limit(String),
    /// One record or command is too large, whatever else the shard holds.
    #[error("{what} has {found} bytes, at most {max} are taken")]
    TooLarge {
        /// What is too large.
        what: String,
        /// How large it is.
        found: u64,
        /// How large it may be.
        max: u64,
    },
    /// One user would have too much in the shard.
    #[error("the user has {max} sessions, more are not taken")]
    UserQuota {
        /// How many records a user may have.
        max: u32,
    },
    /// A field of the operation is outside its bounds.
    #[error("{0}")]
    Invalid(String),
    /// The members of the shard are changing, which what was asked for has to wait for.
    #[error("the members of shard {shard} are changing")]
    MembersChange {
        /// The shard.
        shard: ShardId,
    },
    /// The shard is about to be taken into its neighbour, and takes no writes: soon that one does, or
    /// this one again.
    #[error("shard {shard} is being merged into its neighbour")]
    Sealed {
        /// The shard.
        shard: ShardId,
    },
    /// The shard is to absorb its neighbour, which what was asked for has to wait for.
    #[error("shard {shard} is about to absorb its neighbour")]
    Merging {
        /// The shard.
        shard: ShardId,
    },
    /// The merge was ended before, by whichever end.
    #[error("operation {operation} is over")]
    MergeOver {
        /// The operation.
        operation: OperationId,
    },
    /// The two shards cannot be one now; later they may.
    #[error("{0}")]
    Unfit(String),
    /// What an entry absorbs was not at hand when it was to be applied: it is not applied.
    #[error("what shard {shard} is to absorb is not staged")]
    NotStaged {
        /// The shard.
        shard: ShardId,
    },
}

impl Refusal {
    /// Whether the proposer may succeed with the same operation a little later, at this shard with its
    /// newer epoch or at another one. Such a refusal is not remembered for the request: its repeat is
    /// decided afresh.
    #[must_use]
    pub const fn is_passing(&self) -> bool {
        matches!(self, Self::StaleEpoch { .. } | Self::Sealed { .. } | Self::Merging { .. })
    }
}
