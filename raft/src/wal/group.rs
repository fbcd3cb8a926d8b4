//! What the log knows of one group, in memory.

use std::collections::{BTreeMap, VecDeque};

use bytes::Bytes;

use super::{LogPosition, LogVote, segment::Place};

/// One group. `vote`, `purged`, `committed` and the slots are what has been submitted; `places` says
/// where the durable versions are.
#[derive(Debug, Default)]
pub(super) struct GroupState {
    /// `false`: destroyed, and only the vote is remembered.
    pub(super) alive: bool,
    /// Distinguishes lives of a group under one number; the operation that created it.
    pub(super) life: u64,
    pub(super) about: Bytes,
    pub(super) vote: Option<LogVote>,
    pub(super) purged: Option<LogPosition>,
    pub(super) committed: Option<LogPosition>,
    /// The index of the front slot; where the log goes on if there is none.
    pub(super) first: u64,
    pub(super) slots: VecDeque<Slot>,
    pub(super) places: Places,
    /// It was destroyed, and the files had records of it when the log was opened.
    pub(super) remains: bool,
}

/// One entry.
#[derive(Debug)]
pub(super) struct Slot {
    pub(super) term: u64,
    /// The operation that appended it. An index can be written again after a truncation while the
    /// first write of it is still on its way.
    pub(super) op: u64,
    pub(super) tag: u8,
    /// `None` until it is durable.
    pub(super) place: Option<Place>,
    /// The content, while it is not durable or still in the cache.
    pub(super) payload: Option<Bytes>,
}

/// In which segments the durable state of a group is, apart from its entries; 0 for none.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Places {
    pub(super) group: u64,
    pub(super) vote: u64,
    pub(super) purged: u64,
    pub(super) committed: u64,
}

impl Places {
    pub(super) const fn all(self) -> [u64; 4] {
        [self.group, self.vote, self.purged, self.committed]
    }
}

/// Durable bytes that nobody needs any more, by segment: (records, bytes).
pub(super) type Released = BTreeMap<u64, (u32, u64)>;

impl GroupState {
    pub(super) fn last(&self) -> Option<LogPosition> {
        match self.slots.back() {
            Some(slot) => Some(LogPosition { term: slot.term, index: self.next() - 1 }),
            None => self.purged,
        }
    }

    /// The index after the last slot.
    pub(super) fn next(&self) -> u64 {
        self.first + self.slots.len() as u64
    }

    /// The index the next entry must have; `None` if any will do.
    pub(super) fn expected(&self) -> Option<u64> {
        (!self.slots.is_empty() || self.purged.is_some()).then(|| self.next())
    }

    pub(super) fn slot(&self, index: u64) -> Option<&Slot> {
        self.slots.get(usize::try_from(index.checked_sub(self.first)?).ok()?)
    }

    pub(super) fn slot_mut(&mut self, index: u64) -> Option<&mut Slot> {
        self.slots.get_mut(usize::try_from(index.checked_sub(self.first)?).ok()?)
    }

    /// Whether the log begins with the entry of `index`, though nothing says that what is before it
    /// was purged.
    pub(super) fn starts_at(&self, index: u64) -> bool {
        index == self.first && self.purged.is_none_or(|purged| purged.index + 1 != index)
    }

    /// Drops the slots from `from` on; returns cached bytes and released places.
    pub(super) fn cut_back(&mut self, from: u64) -> (usize, Released) {
        let keep = usize::try_from(from.saturating_sub(self.first)).unwrap_or(usize::MAX);
        let mut gone = Dropped::default();
        while self.slots.len() > keep {
            gone.add(self.slots.pop_back());
        }
        if self.slots.is_empty() {
            self.first = self.purged.map_or(0, |purged| purged.index.saturating_add(1));
        }
        gone.finish()
    }

    /// Drops the slots up to `upto`, and continues after it.
    pub(super) fn cut_front(&mut self, upto: LogPosition) -> (usize, Released) {
        let mut gone = Dropped::default();
        while self.first <= upto.index && !self.slots.is_empty() {
            gone.add(self.slots.pop_front());
            self.first += 1;
        }
        self.first = self.first.max(upto.index.saturating_add(1));
        self.purged = Some(upto);
        gone.finish()
    }

    /// Whether anything of it is in segment `seq` apart from entries.
    pub(super) fn has_state_in(&self, seq: u64) -> bool {
        self.places.all().contains(&seq)
    }
}

#[derive(Default)]
struct Dropped {
    cached: usize,
    released: Released,
}

impl Dropped {
    fn add(&mut self, slot: Option<Slot>) {
        let Some(slot) = slot else { return };
        self.cached += slot.payload.map_or(0, |payload| payload.len());
        if let Some(place) = slot.place {
            let (records, bytes) = self.released.entry(place.seq).or_default();
            *records += 1;
            *bytes += u64::from(place.bytes);
        }
    }

    fn finish(self) -> (usize, Released) {
        (self.cached, self.released)
    }
}
