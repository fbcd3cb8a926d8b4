//! Where replicas may and should be.

use std::collections::{BTreeMap, BTreeSet};

use hexpop_edge_config::{
    Territory,
    config::{Placement, TerritoryPolicy},
};
use serde::{Deserialize, Serialize};

use crate::{KeyRange, Space};

/// The policy of one territory, or of all that have none.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Policy {
    /// Residency: a node needs all of these to hold a replica.
    pub labels: BTreeSet<String>,
    /// How many voters a shard should have.
    pub replicas: u32,
}

impl Policy {
    /// How many voters a shard gets when `available` nodes may hold it: as many as asked, or as there
    /// are, but never an even number above two, since a fourth voter makes no failure survivable that
    /// three do not survive. Two are kept, so that with two nodes both hold everything.
    #[must_use]
    pub fn voters(&self, available: usize) -> usize {
        let asked = usize::try_from(self.replicas).unwrap_or(usize::MAX).max(1);
        let count = asked.min(available);
        if count > 2 && count.is_multiple_of(2) { count - 1 } else { count }
    }
}

/// All policies of a cluster.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PlacementPolicy {
    /// For every key that no named territory has, and for the directory.
    pub default: Policy,
    /// Territories with shards of their own.
    pub territories: BTreeMap<Territory, Policy>,
}

impl PlacementPolicy {
    /// The policy as configured.
    #[must_use]
    pub fn from_config(default: &Placement, territories: &[TerritoryPolicy]) -> Self {
        let policy = |labels: &[String], replicas| Policy {
            labels: labels.iter().cloned().collect(),
            replicas,
        };
        Self {
            default: policy(&default.labels, default.replicas),
            territories: territories
                .iter()
                .map(|named| (named.territory.clone(), policy(&named.labels, named.replicas)))
                .collect(),
        }
    }

    /// The policy for a shard with this range.
    #[must_use]
    pub fn of(&self, range: &KeyRange) -> &Policy {
        range
            .single_territory()
            .and_then(|territory| self.territories.get(&territory))
            .unwrap_or(&self.default)
    }

    /// Whether every PoP should hold a replica of a shard with this range, as a learner at least: so
    /// that a lookup by id is local.
    #[must_use]
    pub fn in_every_pop(range: &KeyRange) -> bool {
        range.space_of() == Space::Directory
    }
}
