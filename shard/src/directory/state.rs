//! The directory entries of one shard.

#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, BTreeSet};

use hexpop_edge_config::planted::{self, Bug};
use serde::{Deserialize, Serialize};

use super::{
    DirectoryChange, DirectoryChangeOutcome, DirectoryEntry, DirectoryOp, DirectoryOutcome,
    DirectoryTarget,
};
use crate::{
    RecordVersion, Space, hash_point,
    listing::{ID_CHARS_MAX, Precedence},
    refusal::Refusal,
};

/// How long a tombstone is kept, in milliseconds of group time: 7 days, longer than any replay of a
/// change feed.
const TOMBSTONE_RETENTION_MS: u64 = 7 * 24 * 60 * 60 * 1000;

/// The most changes in one command.
const CHANGES_MAX: usize = 10_000;

/// The most bytes of an id: its characters have up to four.
const ID_BYTES_MAX: usize = 4 * ID_CHARS_MAX;

/// The most entries of a shard.
const ENTRIES_MAX: usize = 50_000_000;

/// Point and id: the order of the keyspace, ids that share a point side by side.
type Place = (u64, Box<str>);

/// All entries of a directory shard.
#[derive(Debug, Clone, Default)]
pub struct DirectoryState {
    entries: BTreeMap<Place, DirectoryEntry>,
    tombstones: BTreeSet<(u64, Place)>,
    bytes: u64,
}

/// One unit of a snapshot.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct DirectoryItem {
    id: String,
    entry: DirectoryEntry,
}

impl DirectoryOp {
    /// Checks what does not depend on the state; see [`SessionOp::check`](crate::SessionOp::check).
    ///
    /// # Errors
    /// The [`Refusal`] that applying it would answer.
    pub fn check(&self) -> Result<(), Refusal> {
        let Self::CompareAndSet(changes) = self;
        if changes.len() > CHANGES_MAX {
            return Err(Refusal::Invalid(format!(
                "a command takes at most {CHANGES_MAX} changes, not {}",
                changes.len()
            )));
        }
        for change in changes {
            if change.id.is_empty() || change.id.len() > ID_BYTES_MAX {
                return Err(Refusal::Invalid(format!(
                    "a listing's id has 1 to {ID_BYTES_MAX} bytes, not {}",
                    change.id.len()
                )));
            }
            if let DirectoryTarget::At(key) = &change.target
                && (key.space != Space::Listings || key.region.is_none())
            {
                return Err(Refusal::Invalid(format!("a listing is never at {key}")));
            }
        }
        Ok(())
    }
}

impl DirectoryState {
    /// Applies `op`, written as `version` when the group's time is `now_ms`.
    ///
    /// # Errors
    /// [`Refusal`] when the command or the shard would be too large; nothing changed then.
    pub fn apply(
        &mut self,
        op: &DirectoryOp,
        version: RecordVersion,
        now_ms: u64,
    ) -> Result<DirectoryOutcome, Refusal> {
        self.expire_due(now_ms);
        op.check()?;
        let DirectoryOp::CompareAndSet(changes) = op;
        if self.entries.len().saturating_add(changes.len()) > ENTRIES_MAX {
            return Err(Refusal::Limit(format!("the shard holds {ENTRIES_MAX} entries")));
        }
        let outcomes = changes.iter().map(|change| self.change(change, version, now_ms)).collect();
        Ok(DirectoryOutcome::Compared(outcomes))
    }

    /// Drops the tombstones whose time is over; answers how many.
    pub fn expire_due(&mut self, now_ms: u64) -> u64 {
        let mut dropped = 0;
        while let Some((written_ms, place)) = self.tombstones.first() {
            if written_ms.saturating_add(TOMBSTONE_RETENTION_MS) > now_ms {
                break;
            }
            let place = place.clone();
            self.take(&place);
            dropped += 1;
        }
        dropped
    }

    /// When something is due next, in group time.
    #[must_use]
    pub fn next_due_ms(&self) -> Option<u64> {
        self.tombstones.first().map(|(at, _place)| at.saturating_add(TOMBSTONE_RETENTION_MS))
    }

    /// The entry of an id; a tombstone is one.
    #[must_use]
    pub fn get(&self, id: &str) -> Option<&DirectoryEntry> {
        self.entries.get(&place_of(id))
    }

    /// How many entries there are, tombstones included.
    #[must_use]
    pub fn len(&self) -> usize {
        self.entries.len()
    }

    /// Whether there is no entry.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// What the entries weigh, in bytes.
    #[must_use]
    pub const fn bytes(&self) -> u64 {
        self.bytes
    }

    /// The points of all entries.
    pub(crate) fn points(&self) -> Vec<u64> {
        self.entries.keys().map(|(point, _id)| *point).collect()
    }

    /// Moves the entries at a point and behind into a state of their own.
    pub(crate) fn cut(&mut self, point: u64) -> Self {
        let mut part = Self::default();
        for (place, entry) in self.entries.split_off(&(point, Box::default())) {
            self.bytes = self.bytes.saturating_sub(weight(&place));
            if entry.target == DirectoryTarget::Deleted {
                self.tombstones.remove(&(entry.written_ms, place.clone()));
            }
            part.insert(place, entry);
        }
        part
    }

    /// For a merge: takes in the entries of another shard, whose points are others.
    pub(crate) fn absorb(&mut self, other: Self) {
        other.entries.into_iter().for_each(|(place, entry)| self.insert(place, entry));
    }

    /// Everything, in key order.
    pub(crate) fn items(&self) -> impl Iterator<Item = DirectoryItem> {
        self.entries
            .iter()
            .map(|((_point, id), entry)| DirectoryItem { id: id.to_string(), entry: entry.clone() })
    }

    /// Takes one item of a snapshot.
    pub(crate) fn restore(&mut self, item: DirectoryItem) {
        self.insert(place_of(&item.id), item.entry);
    }

    fn change(
        &mut self,
        change: &DirectoryChange,
        version: RecordVersion,
        now_ms: u64,
    ) -> DirectoryChangeOutcome {
        let place = place_of(&change.id);
        if let Some(current) = self.entries.get(&place) {
            let ignored = match change.listing_version.against(&current.listing_version) {
                Precedence::Older => true,
                Precedence::Same => change.target == current.target,
                Precedence::Newer | Precedence::LogOrder => false,
            };
            if ignored {
                return DirectoryChangeOutcome::Ignored { current: current.clone() };
            }
        }
        let current = self.entries.get(&place);
        if current.map(|entry| entry.version) != change.expected
            && !planted::has(Bug::DirectoryRace)
        {
            return DirectoryChangeOutcome::Conflict { current: current.cloned() };
        }
        self.take(&place);
        let entry = DirectoryEntry {
            target: change.target.clone(),
            listing_version: change.listing_version,
            version,
            written_ms: now_ms,
        };
        self.insert(place, entry);
        DirectoryChangeOutcome::Applied { version }
    }

    fn insert(&mut self, place: Place, entry: DirectoryEntry) {
        self.bytes = self.bytes.saturating_add(weight(&place));
        if entry.target == DirectoryTarget::Deleted {
            self.tombstones.insert((entry.written_ms, place.clone()));
        }
        self.entries.insert(place, entry);
    }

    fn take(&mut self, place: &Place) {
        if let Some(entry) = self.entries.remove(place) {
            self.bytes = self.bytes.saturating_sub(weight(place));
            if entry.target == DirectoryTarget::Deleted {
                self.tombstones.remove(&(entry.written_ms, place.clone()));
            }
        }
    }
}

fn place_of(id: &str) -> Place {
    (hash_point(id.as_bytes()), id.into())
}

fn weight(place: &Place) -> u64 {
    const OVERHEAD: usize = 192;
    (OVERHEAD + place.1.len()) as u64
}
