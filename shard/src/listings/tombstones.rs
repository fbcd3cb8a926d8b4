//! What remains of deleted and retired copies, so that an older write which comes late stays out.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};

use crate::{
    LogPosition,
    key::{KeyRange, ShardKey},
    listing::ListingVersion,
};

/// How long a tombstone is kept after its deletion, in milliseconds of group time: longer than the
/// longest replay of a feed.
pub const TOMBSTONE_RETENTION_MS: u64 = 7 * 24 * 3_600 * 1_000;

/// What remains of one copy.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Tombstone {
    pub(super) key: ShardKey,
    pub(super) version: ListingVersion,
    pub(super) position: LogPosition,
    /// Group time of the deletion.
    pub(super) at_ms: u64,
}

/// The tombstones of a shard, and when each is due.
#[derive(Debug, Default)]
pub(super) struct Tombstones {
    by_id: BTreeMap<String, Tombstone>,
    by_time: BTreeSet<(u64, String)>,
}

impl Tombstones {
    pub(super) fn get(&self, id: &str) -> Option<&Tombstone> {
        self.by_id.get(id)
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = (&String, &Tombstone)> {
        self.by_id.iter()
    }

    pub(super) fn len(&self) -> usize {
        self.by_id.len()
    }

    pub(super) fn insert(&mut self, id: &str, tombstone: Tombstone) {
        self.remove(id);
        self.by_time.insert((tombstone.at_ms, id.to_owned()));
        self.by_id.insert(id.to_owned(), tombstone);
    }

    pub(super) fn remove(&mut self, id: &str) {
        if let Some((id, tombstone)) = self.by_id.remove_entry(id) {
            self.by_time.remove(&(tombstone.at_ms, id));
        }
    }

    /// Moves the tombstones of a key range out.
    pub(super) fn cut(&mut self, range: &KeyRange) -> Self {
        let mut part = Self::default();
        let of_range = |_: &String, tombstone: &mut Tombstone| range.contains(&tombstone.key);
        for (id, tombstone) in self.by_id.extract_if(.., of_range) {
            self.by_time.remove(&(tombstone.at_ms, id.clone()));
            part.insert(&id, tombstone);
        }
        part
    }

    /// All of them, taken out.
    pub(super) fn into_items(self) -> impl Iterator<Item = (String, Tombstone)> {
        self.by_id.into_iter()
    }

    /// Group time at which the oldest one is due.
    pub(super) fn next_due_ms(&self) -> Option<u64> {
        self.by_time.first().map(|(at_ms, _)| at_ms.saturating_add(TOMBSTONE_RETENTION_MS))
    }

    /// Forgets those that are due.
    pub(super) fn prune(&mut self, now_ms: u64) {
        while self.next_due_ms().is_some_and(|due_ms| due_ms <= now_ms) {
            if let Some((_, id)) = self.by_time.pop_first() {
                self.by_id.remove(&id);
            }
        }
    }
}
