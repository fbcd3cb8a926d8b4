//! Which segments hold what is still needed, and what to copy so that the oldest can go.

use std::{collections::BTreeMap, sync::Arc};

use bytes::Bytes;
use hexpop_edge_config::GroupId;

use super::{
    LogPosition, LogVote, Options,
    group::{GroupState, Released},
    segment::{Place, SEGMENT_HEAD_BYTES},
};
use crate::disk::DiskFile;

/// What a record that is not an entry is counted as, in bytes.
pub(super) const STATE_BYTES: u32 = 64;

/// One segment that holds, or may hold, records.
#[derive(Debug)]
pub(super) struct Segment {
    pub(super) file: Arc<dyn DiskFile>,
    /// The end of what is written.
    pub(super) end: u32,
    /// What of each group is still needed: (records, bytes).
    live: BTreeMap<GroupId, (u32, u64)>,
    live_bytes: u64,
}

impl Segment {
    pub(super) fn new(file: Arc<dyn DiskFile>, end: u32) -> Self {
        Self { file, end, live: BTreeMap::new(), live_bytes: 0 }
    }

    /// Bytes of it that are still needed.
    pub(super) const fn live_bytes(&self) -> u64 {
        self.live_bytes
    }
}

/// All segments, oldest first; the last is the one written to.
#[derive(Debug, Default)]
pub(super) struct Segments {
    map: BTreeMap<u64, Segment>,
}

/// Something to copy to the end of the log.
#[derive(Debug)]
pub(super) enum Move {
    Entry {
        group: GroupId,
        index: u64,
        term: u64,
        tag: u8,
        op: u64,
        starts: bool,
        payload: Option<Bytes>,
        from: Place,
    },
    State {
        group: GroupId,
        alive: bool,
        vote: Option<LogVote>,
        purged: Option<LogPosition>,
        committed: Option<LogPosition>,
        about: Bytes,
    },
}

impl Segments {
    pub(super) fn insert(&mut self, seq: u64, segment: Segment) {
        self.map.insert(seq, segment);
    }

    pub(super) fn get(&self, seq: u64) -> Option<&Segment> {
        self.map.get(&seq)
    }

    /// The number of the oldest segment.
    pub(super) fn oldest(&self) -> Option<u64> {
        self.map.keys().next().copied()
    }

    pub(super) fn len(&self) -> usize {
        self.map.len()
    }

    pub(super) fn set_end(&mut self, seq: u64, end: u32) {
        if let Some(segment) = self.map.get_mut(&seq) {
            segment.end = end;
        }
    }

    pub(super) fn hold(&mut self, seq: u64, group: GroupId, bytes: u32) {
        if let Some(segment) = self.map.get_mut(&seq) {
            let live = segment.live.entry(group).or_default();
            live.0 += 1;
            live.1 += u64::from(bytes);
            segment.live_bytes += u64::from(bytes);
        }
    }

    pub(super) fn release(&mut self, group: GroupId, released: &Released) {
        for (&seq, &amount) in released {
            self.release_in(seq, group, amount);
        }
    }

    pub(super) fn release_one(&mut self, seq: u64, group: GroupId, bytes: u32) {
        self.release_in(seq, group, (1, u64::from(bytes)));
    }

    fn release_in(&mut self, seq: u64, group: GroupId, (records, bytes): (u32, u64)) {
        let Some(segment) = self.map.get_mut(&seq) else { return };
        let Some(live) = segment.live.get_mut(&group) else { return };
        live.0 = live.0.saturating_sub(records);
        live.1 = live.1.saturating_sub(bytes);
        segment.live_bytes = segment.live_bytes.saturating_sub(bytes);
        if live.0 == 0 {
            segment.live.remove(&group);
        }
    }

    /// Takes the oldest segments that nothing needs out of the map; never the last.
    pub(super) fn take_dead(&mut self, max: usize) -> Vec<u64> {
        let mut dead = Vec::new();
        while dead.len() < max && self.map.len() > 1 {
            match self.map.first_entry() {
                Some(oldest) if oldest.get().live.is_empty() => dead.push(oldest.remove_entry().0),
                _ => break,
            }
        }
        dead
    }

    /// Whether [`take_dead`](Self::take_dead) would take any.
    pub(super) fn has_dead(&self) -> bool {
        self.map.len() > 1 && self.map.values().next().is_some_and(|oldest| oldest.live.is_empty())
    }

    /// (bytes written to the segments, bytes of it still needed).
    pub(super) fn bytes(&self) -> (u64, u64) {
        self.map.values().fold((0, 0), |(used, live), segment| {
            let written = segment.end.saturating_sub(SEGMENT_HEAD_BYTES);
            (used + u64::from(written), live + segment.live_bytes)
        })
    }

    /// The oldest segment, if it should be emptied: when more than half of what is written is not
    /// needed any more, and more than two segments' worth. So a full pass over the log rewrites at
    /// most as much as it frees. One before segment `below` in any case.
    pub(super) fn to_empty(&self, options: &Options, below: u64) -> Option<u64> {
        let (&oldest, segment) = self.map.first_key_value()?;
        if self.map.len() < 2 || segment.live.is_empty() {
            return None;
        }
        if oldest < below {
            return Some(oldest);
        }
        let (used, live) = self.bytes();
        let garbage = used.saturating_sub(live);
        (garbage > live.max(2 * u64::from(options.segment_bytes))).then_some(oldest)
    }

    /// What to copy next out of segment `seq`: at least one record, and no more than about
    /// `bytes_max`.
    pub(super) fn plan(
        &self,
        seq: u64,
        groups: &BTreeMap<GroupId, GroupState>,
        bytes_max: usize,
    ) -> Vec<Move> {
        let mut moves = Vec::new();
        let mut left = bytes_max as u64;
        let Some(segment) = self.map.get(&seq) else { return moves };
        for (&id, &(records, _)) in &segment.live {
            let Some(group) = groups.get(&id) else { continue };
            if group.has_state_in(seq) {
                moves.push(Move::State {
                    group: id,
                    alive: group.alive,
                    vote: group.vote,
                    purged: group.purged,
                    committed: group.committed,
                    about: group.about.clone(),
                });
                left = left.saturating_sub(u64::from(STATE_BYTES) + group.about.len() as u64);
            }
            let mut rest = records;
            for (index, slot) in (group.first..).zip(&group.slots) {
                let Some(from) = slot.place.filter(|place| place.seq == seq) else { continue };
                if left == 0 || rest == 0 {
                    break;
                }
                rest -= 1;
                left = left.saturating_sub(u64::from(from.bytes));
                moves.push(Move::Entry {
                    group: id,
                    index,
                    term: slot.term,
                    tag: slot.tag,
                    op: slot.op,
                    starts: group.starts_at(index),
                    payload: slot.payload.clone(),
                    from,
                });
            }
            if left == 0 {
                break;
            }
        }
        moves
    }
}
