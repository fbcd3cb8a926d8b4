//! What the logs carry, and what applying an entry answers. Final on disk: the enums only grow at
//! their ends.

use hexpop_edge_config::{Epoch, RequestId};
use serde::{Deserialize, Serialize};

use crate::{
    directory::{DirectoryOp, DirectoryOutcome},
    listings::{ListingsOp, ListingsOutcome},
    map::ShardDescriptor,
    merge::{MergeOp, MergeOutcome},
    meta::{MetaOp, MetaOutcome},
    purge::{PurgeOp, PurgeOutcome},
    refusal::Refusal,
    session::{SessionOp, SessionOutcome},
    split::Split,
};

/// One entry's payload.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Command {
    /// By which a repeat is recognised; `None` for commands that are harmless to repeat.
    pub request: Option<RequestId>,
    /// The epoch that the proposer believed; another `version` at apply is refused.
    pub epoch: Epoch,
    /// Milliseconds since the Unix epoch on the leader's clock when it proposed this.
    pub at_ms: u64,
    /// What to do.
    pub op: Op,
}

/// What a command does, by the kind of group whose log it is in.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub enum Op {
    /// Moves the group's time on, and expires what is due.
    Tick,
    /// In the meta group.
    Meta(MetaOp),
    /// In a listings shard.
    Listings(ListingsOp),
    /// In a directory shard.
    Directory(DirectoryOp),
    /// In a sessions shard.
    Session(SessionOp),
    /// In any shard: divides it.
    Split(Split),
    /// In the purge group.
    Purge(PurgeOp),
    /// In any shard: for a merge with its neighbour.
    Merge(MergeOp),
}

/// What applying a command answered.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub enum Reply {
    /// Nothing to say.
    Done,
    /// The command was refused, alike by every replica; nothing changed.
    Refused(Refusal),
    /// From the meta group.
    Meta(MetaOutcome),
    /// From a listings shard.
    Listings(ListingsOutcome),
    /// From a directory shard.
    Directory(DirectoryOutcome),
    /// From a sessions shard.
    Session(SessionOutcome),
    /// The shard is divided; this is the other half, as it begins.
    Split(Box<ShardDescriptor>),
    /// From the purge group.
    Purge(PurgeOutcome),
    /// For a merge.
    Merge(MergeOutcome),
}

#[cfg(test)]
mod tests;
