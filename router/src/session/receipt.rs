//! The receipt of an erasure: how far it is, by territory, shard and disk.

use hexpop_edge_config::{NodeId, ShardId};
use hexpop_shard::{ErasureId, OriginAnswer};
use serde::{Serialize, Serializer};

/// What became of the sessions of a territory.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum ErasureState {
    /// Nothing is left in the state of its shards, durably.
    Erased,
    /// It could not be reached; it is tried again.
    Pending,
}

/// Whether disks still hold what was erased. Of several the last in this order is told.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum DiskState {
    /// Neither log nor snapshot hold it any more.
    Compacted,
    /// The disk's replica has left the shard, and has not said that nothing of it is there. It will when
    /// its node runs; never, if the disk was lost or put away.
    Unconfirmed,
    /// They may, or nobody can say.
    Pending,
}

impl DiskState {
    pub(super) fn all(states: impl IntoIterator<Item = Self>) -> Self {
        states.into_iter().max().unwrap_or(Self::Compacted)
    }
}

/// Whether the origin knows.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum OriginState {
    /// It was told.
    Told,
    /// It could not be told; it is tried again.
    Pending,
    /// It does not take the erasure; what it holds of the user has to be looked into there.
    Refused,
}

impl From<OriginAnswer> for OriginState {
    fn from(answer: OriginAnswer) -> Self {
        match answer {
            OriginAnswer::Told => Self::Told,
            OriginAnswer::Pending => Self::Pending,
            OriginAnswer::Refused => Self::Refused,
        }
    }
}

/// One replica's disk.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct ErasedReplica {
    /// The node it is on.
    pub node: NodeId,
    /// How far its disk is.
    pub disk: DiskState,
}

/// One shard of an erasure.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct ErasedShard {
    /// The shard.
    #[serde(rename = "id")]
    pub shard: ShardId,
    /// How far it is.
    pub state: ErasureState,
    /// Its replicas, and those that were and may hold it still.
    pub replicas: Vec<ErasedReplica>,
}

/// One territory of an erasure.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct ErasedTerritory {
    /// The territory, or `*` for all those that have no shard of their own.
    pub territory: String,
    /// How far it is.
    pub state: ErasureState,
    /// Sessions removed.
    pub sessions: u64,
    /// How far the disks are.
    pub disk: DiskState,
    /// Its shards.
    pub shards: Vec<ErasedShard>,
}

/// What became of a user's data.
///
/// It tells of the replicas that the shard map lists now, and of those that have left their shards and
/// have not said that nothing of it is on their disks any more.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Erasure {
    /// Names this erasure, to ask for it again.
    #[serde(serialize_with = "as_text")]
    pub erasure_id: ErasureId,
    /// The user.
    pub user_id: String,
    /// By territory.
    pub territories: Vec<ErasedTerritory>,
    /// Whether the origin knows.
    pub origin: OriginState,
    /// Whether the disk of any replica still holds what was erased.
    pub disk: DiskState,
}

fn as_text<S: Serializer>(id: &ErasureId, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_str(id)
}

impl Erasure {
    /// Whether every shard has confirmed: 200, else 202.
    #[must_use]
    pub fn is_complete(&self) -> bool {
        self.territories.iter().all(|territory| territory.state == ErasureState::Erased)
    }
}
