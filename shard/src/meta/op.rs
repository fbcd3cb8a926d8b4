//! What can be done in the meta group, and what it answers.

use std::fmt;

use hexpop_edge_config::ShardId;
use serde::{Deserialize, Serialize};

use super::{OperationId, OperationKind, OperationUpdate};
use crate::{MapError, PlacementPolicy, Replica, ShardDescriptor};

/// Random bytes that the cluster is bootstrapped with; keys that all nodes must agree on are derived
/// from them. Never printed.
#[derive(Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct ClusterSecret(pub [u8; 32]);

impl fmt::Debug for ClusterSecret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("ClusterSecret(…)")
    }
}

/// What a command does in the meta group.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum MetaOp {
    /// Makes the first shard map. The first one applied counts, every later one is refused.
    Bootstrap {
        /// The shards, which must tile the keyspace.
        descriptors: Vec<ShardDescriptor>,
        /// The cluster's secret.
        secret: ClusterSecret,
        /// The policy that the shards were placed by.
        policy: PlacementPolicy,
    },
    /// Descriptors as the shards' own logs have them; older ones are ignored.
    Report {
        /// The descriptors.
        descriptors: Vec<ShardDescriptor>,
    },
    /// Takes shard ids that nobody gets again.
    AllocateIds {
        /// How many, 1 to 1024.
        count: u32,
    },
    /// Replaces the placement policy.
    SetPolicy(PlacementPolicy),
    /// Records that an operation begins. One runs at a time per shard.
    BeginOperation {
        /// What it does.
        kind: OperationKind,
        /// The shard it is about.
        shard: ShardId,
        /// Why, in words.
        reason: String,
    },
    /// Records how an operation goes on or ends.
    UpdateOperation {
        /// The operation.
        id: OperationId,
        /// What happened.
        update: OperationUpdate,
    },
    /// Names the first voters of the purge group. The first one applied counts, every later one is
    /// refused.
    FoundPurges {
        /// The voters.
        voters: Vec<Replica>,
    },
    /// A shard has absorbed its neighbour, which is no more.
    ReportMerged {
        /// The shard as its own log has it.
        shard: ShardDescriptor,
        /// The one it has absorbed.
        absorbed: ShardId,
    },
}

/// What an operation of the meta group did.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum MetaOutcome {
    /// The first map is made.
    Bootstrapped {
        /// Its version.
        map_version: u64,
    },
    /// There was a map; nothing changed.
    AlreadyBootstrapped {
        /// Its version.
        map_version: u64,
    },
    /// There is no map yet; nothing changed.
    NotBootstrapped,
    /// The map would break an invariant; nothing changed.
    InvalidMap(MapError),
    /// The reports were looked at.
    Reported {
        /// How many were newer than what was known.
        newer: u32,
        /// The version of the map now.
        map_version: u64,
        /// Those that could not be taken over.
        refused: Vec<(ShardId, MapError)>,
    },
    /// The ids are the caller's.
    Allocated {
        /// The first of them; the others follow.
        first: ShardId,
        /// How many.
        count: u32,
    },
    /// The policy is replaced.
    PolicySet,
    /// The operation is recorded as running.
    OperationBegun(OperationId),
    /// Another operation runs on the shard; nothing changed.
    OperationBusy(OperationId),
    /// The update is recorded.
    OperationUpdated,
    /// No such operation is remembered; nothing changed.
    OperationUnknown,
    /// The operation has ended before; nothing changed.
    OperationEnded,
    /// It is too late to cancel the operation; nothing changed.
    OperationCommitted,
    /// There is no such shard, or the id of a new one was not allocated for it; nothing changed.
    OperationInvalid(String),
    /// The purge group has its first voters, of this or an earlier command.
    PurgesFounded,
    /// The operation is being undone; nothing changed.
    OperationReverting,
}
