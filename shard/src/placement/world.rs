//! What placement and operations go by.

use std::{collections::BTreeMap, time::Duration};

use hexpop_edge_config::{NodeId, RaftId, ShardId};

use super::{Member, PlacementPolicy, ReadersOf, Rings};
use crate::ShardMap;

/// What placement and operations go by.
#[derive(Debug, Clone, Copy)]
pub struct World<'a> {
    /// The map.
    pub map: &'a ShardMap,
    /// The nodes.
    pub members: &'a [Member],
    /// Where replicas may be.
    pub policy: &'a PlacementPolicy,
    /// Who leads each shard, as far as known; shards without a known leader are missing.
    pub leaders: &'a BTreeMap<ShardId, NodeId>,
    /// Which data directories are away, and for how long.
    pub losses: &'a Losses,
    /// Which PoPs are near each other.
    pub rings: &'a Rings,
    /// Where the readers of shards are.
    pub readers: &'a ReadersOf,
}

/// The data directories that no live node runs on, and for how long that has been so.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Losses {
    away: BTreeMap<RaftId, Duration>,
    repair_after: Duration,
}

impl Losses {
    /// Those that are away; after `repair_after` one is not waited for any more.
    #[must_use]
    pub const fn new(away: BTreeMap<RaftId, Duration>, repair_after: Duration) -> Self {
        Self { away, repair_after }
    }

    /// Whether a data directory is not waited for any more.
    #[must_use]
    pub fn is_lost(&self, raft: RaftId) -> bool {
        self.away.get(&raft).is_some_and(|time| *time >= self.repair_after)
    }

    /// For how long a data directory has been away.
    #[must_use]
    pub fn away(&self, raft: RaftId) -> Option<Duration> {
        self.away.get(&raft).copied()
    }

    /// How long a data directory is still waited for.
    #[must_use]
    pub fn waits(&self, raft: RaftId) -> Duration {
        self.repair_after.saturating_sub(self.away(raft).unwrap_or_default())
    }
}
