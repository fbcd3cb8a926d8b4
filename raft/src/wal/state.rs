//! What the submitting side and the writer share: the logical state of every group, and the queue.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use bytes::Bytes;
use hexpop_edge_config::GroupId;
use parking_lot::{Condvar, Mutex};
use tokio::sync::{Notify, watch};

use super::{
    LogEntry, LogPosition, LogVote, NewGroup, Options, WalError,
    group::{GroupState, Released, Slot},
    handle::Completion,
    record::{ABOUT_BYTES_MAX, ENTRY_HEAD_BYTES, HEAD_BYTES},
    scrub::Scrub,
    segment::{SEAL_BYTES, SEGMENT_HEAD_BYTES, frame_bytes},
    space::Segments,
};

/// What a submission other than an append is counted as in the queue, in bytes.
const SMALL_OP_BYTES: usize = 64;

/// How the log is.
#[derive(Debug, Clone)]
pub enum Health {
    /// It takes and flushes.
    Working,
    /// It still does, but there was no room on the disk for the next segment.
    LowSpace,
    /// It is over; see [`WalError::is_fatal`].
    Failed(WalError),
}

/// Numbers for metrics. Counters start at 0 when the log is opened.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct WalStats {
    /// Calls of `fdatasync` on a segment that made records durable.
    pub flushes: u64,
    /// Records written, copies included.
    pub records: u64,
    /// Bytes written into segments, padding included.
    pub bytes_written: u64,
    /// Records copied to free the oldest segment.
    pub records_moved: u64,
    /// Segments deleted.
    pub segments_deleted: u64,
    /// Times that entries were removed from the end of a group's log.
    pub truncations: u64,
    /// Segments that hold records, or may.
    pub segments: usize,
    /// Bytes written in those segments.
    pub used_bytes: u64,
    /// Bytes of them that are still needed.
    pub live_bytes: u64,
    /// Submissions that wait for the writer.
    pub queue_ops: usize,
    /// Bytes that wait for the writer.
    pub queue_bytes: usize,
    /// Payload bytes kept in memory.
    pub cache_bytes: usize,
    /// Groups that are here.
    pub groups: usize,
}

/// Shared by [`super::Wal`] and its handles.
#[derive(Debug)]
pub(super) struct Shared {
    pub(super) state: Mutex<State>,
    /// There is something for the writer; for a thread.
    pub(super) work: Condvar,
    /// There is something for the writer; for a task.
    pub(super) work_async: Notify,
    /// The queue has become shorter, or the log is over.
    pub(super) room: Notify,
    pub(super) health: watch::Sender<Health>,
    /// The last demand of [`scrub`](super::WalHandle::scrub) that is met.
    pub(super) scrubbed: watch::Sender<u64>,
    pub(super) options: Options,
    pub(super) log: u64,
}

impl Shared {
    pub(super) fn new(state: State, options: Options, log: u64) -> Self {
        Self {
            state: Mutex::new(state),
            work: Condvar::new(),
            work_async: Notify::new(),
            room: Notify::new(),
            health: watch::Sender::new(Health::Working),
            scrubbed: watch::Sender::new(0),
            options,
            log,
        }
    }
}

#[derive(Debug)]
pub(super) struct State {
    pub(super) groups: BTreeMap<GroupId, GroupState>,
    pub(super) segments: Segments,
    pub(super) queue: Vec<Queued>,
    pub(super) queue_bytes: usize,
    /// How many submissions the last round answered.
    pub(super) answered: usize,
    /// Groups whose committed position is to be written with the next batch.
    pub(super) lazy: BTreeSet<GroupId>,
    /// Written, but already unneeded: (segment, group, bytes). What made it unneeded is in the next
    /// batch, and only when that is durable may the segment go.
    pub(super) limbo: Vec<(u64, GroupId, u32)>,
    pub(super) cache: Cache,
    pub(super) next_op: u64,
    pub(super) closing: bool,
    pub(super) failed: Option<WalError>,
    /// A segment whose records could not be read to be moved; it stays.
    pub(super) stuck_segment: Option<u64>,
    pub(super) scrub: Scrub,
    pub(super) stats: WalStats,
}

/// One submission on its way.
#[derive(Debug)]
pub(super) struct Queued {
    pub(super) group: GroupId,
    /// The number of its first entry; others follow.
    pub(super) op: u64,
    pub(super) body: Op,
    pub(super) released: Released,
    pub(super) done: Option<Completion>,
}

#[derive(Debug)]
pub(super) enum Op {
    Append { entries: Vec<LogEntry>, starts: bool },
    Vote(LogVote),
    Truncate { from: u64 },
    Purge(LogPosition),
    Create { about: Bytes, vote: Option<LogVote>, purged: Option<LogPosition> },
    Destroy { vote: Option<LogVote> },
}

/// The recent payloads, in the order in which they came.
#[derive(Debug, Default)]
pub(super) struct Cache {
    order: VecDeque<(GroupId, u64, u64)>,
    pub(super) bytes: usize,
}

impl State {
    pub(super) fn new(groups: BTreeMap<GroupId, GroupState>, segments: Segments) -> Self {
        Self {
            groups,
            segments,
            queue: Vec::new(),
            queue_bytes: 0,
            answered: 0,
            lazy: BTreeSet::new(),
            limbo: Vec::new(),
            cache: Cache::default(),
            next_op: 1,
            closing: false,
            failed: None,
            stuck_segment: None,
            scrub: Scrub::default(),
            stats: WalStats::default(),
        }
    }

    /// # Errors
    /// `NoGroup` when there is none, or when it is another life of it.
    pub(super) fn group(&self, id: GroupId, life: u64) -> Result<&GroupState, WalError> {
        self.groups
            .get(&id)
            .filter(|group| group.alive && group.life == life)
            .ok_or(WalError::NoGroup(id))
    }

    fn group_mut(&mut self, id: GroupId, life: u64) -> Result<&mut GroupState, WalError> {
        self.groups
            .get_mut(&id)
            .filter(|group| group.alive && group.life == life)
            .ok_or(WalError::NoGroup(id))
    }

    pub(super) fn has_room(&self, options: &Options, bytes: usize) -> bool {
        self.queue.is_empty()
            || (self.queue.len() < options.queue_ops_max
                && self.queue_bytes + bytes <= options.queue_bytes_max)
    }

    /// Whether anything may be submitted.
    pub(super) fn check_open(&self) -> Result<(), WalError> {
        match &self.failed {
            Some(error) => Err(error.clone()),
            None if self.closing => Err(WalError::Closed),
            None => Ok(()),
        }
    }

    pub(super) fn append(
        &mut self,
        options: &Options,
        (id, life): (GroupId, u64),
        entries: Vec<LogEntry>,
    ) -> Result<Queued, WalError> {
        let record_max = record_bytes_max(options);
        let op = self.next_op;
        let group = self.group_mut(id, life)?;
        let Some(front) = entries.first() else {
            return Ok(queued(id, op, Op::Append { entries, starts: false }, Released::new()));
        };
        let mut expected = group.expected().unwrap_or(front.index);
        let starts = group.slots.is_empty()
            && group.purged.is_none_or(|purged| purged.index + 1 != front.index);
        for entry in &entries {
            if entry.index != expected {
                return Err(WalError::Gap { group: id, expected, found: entry.index });
            }
            expected = expected.saturating_add(1);
            let bytes = frame_bytes(ENTRY_HEAD_BYTES + entry.payload.len());
            if bytes > record_max {
                return Err(WalError::TooLarge { bytes, max: record_max });
            }
        }
        if group.slots.is_empty() {
            group.first = front.index;
        }
        for (op, entry) in (op..).zip(&entries) {
            group.slots.push_back(Slot {
                term: entry.term,
                op,
                tag: entry.tag,
                place: None,
                payload: Some(entry.payload.clone()),
            });
        }
        for (op, entry) in (op..).zip(&entries) {
            self.cache.order.push_back((id, entry.index, op));
            self.cache.bytes += entry.payload.len();
        }
        self.next_op += entries.len() as u64;
        Ok(queued(id, op, Op::Append { entries, starts }, Released::new()))
    }

    pub(super) fn vote(
        &mut self,
        (id, life): (GroupId, u64),
        vote: LogVote,
    ) -> Result<Queued, WalError> {
        self.group_mut(id, life)?.vote = Some(vote);
        Ok(queued(id, self.op(), Op::Vote(vote), Released::new()))
    }

    /// `None` when there is nothing to cut.
    pub(super) fn truncate(
        &mut self,
        (id, life): (GroupId, u64),
        from: u64,
    ) -> Result<Option<Queued>, WalError> {
        let group = self.group_mut(id, life)?;
        if from >= group.next() {
            return Ok(None);
        }
        let (cached, released) = group.cut_back(from);
        self.cache.bytes = self.cache.bytes.saturating_sub(cached);
        self.stats.truncations += 1;
        Ok(Some(queued(id, self.op(), Op::Truncate { from }, released)))
    }

    /// `None` when it is purged already.
    pub(super) fn purge(
        &mut self,
        (id, life): (GroupId, u64),
        upto: LogPosition,
    ) -> Result<Option<Queued>, WalError> {
        let group = self.group_mut(id, life)?;
        if group.purged.is_some_and(|purged| purged.index >= upto.index) {
            return Ok(None);
        }
        let (cached, released) = group.cut_front(upto);
        self.cache.bytes = self.cache.bytes.saturating_sub(cached);
        Ok(Some(queued(id, self.op(), Op::Purge(upto), released)))
    }

    pub(super) fn committed(
        &mut self,
        (id, life): (GroupId, u64),
        committed: Option<LogPosition>,
    ) -> Result<(), WalError> {
        let group = self.group_mut(id, life)?;
        if group.committed != committed {
            group.committed = committed;
            self.lazy.insert(id);
        }
        Ok(())
    }

    pub(super) fn create(
        &mut self,
        options: &Options,
        id: GroupId,
        new: NewGroup,
    ) -> Result<Queued, WalError> {
        let bytes = frame_bytes(HEAD_BYTES + 64 + new.about.len());
        let max = record_bytes_max(options).min(ABOUT_BYTES_MAX);
        if bytes > max {
            return Err(WalError::TooLarge { bytes, max });
        }
        let op = self.op();
        let group = self.groups.entry(id).or_default();
        if group.alive {
            return Err(WalError::GroupExists(id));
        }
        let vote =
            [group.vote, new.vote].into_iter().flatten().max_by_key(|v| (v.term, v.committed));
        *group = GroupState {
            alive: true,
            life: op,
            about: new.about.clone(),
            vote,
            purged: new.purged,
            first: new.purged.map_or(0, |purged| purged.index.saturating_add(1)),
            places: group.places,
            ..GroupState::default()
        };
        let body = Op::Create { about: new.about, vote, purged: new.purged };
        Ok(queued(id, op, body, Released::new()))
    }

    pub(super) fn destroy(&mut self, (id, life): (GroupId, u64)) -> Result<Queued, WalError> {
        let group = self.group_mut(id, life)?;
        let (cached, released) = group.cut_back(0);
        let vote = group.vote;
        *group = GroupState { vote, places: group.places, ..GroupState::default() };
        self.lazy.remove(&id);
        self.cache.bytes = self.cache.bytes.saturating_sub(cached);
        Ok(queued(id, self.op(), Op::Destroy { vote }, released))
    }

    pub(super) fn enqueue(&mut self, queued: Queued) {
        self.queue_bytes += queued.body.bytes();
        self.queue.push(queued);
    }

    /// Lets go of the oldest payloads that are durable, down to `bytes_max`.
    pub(super) fn trim_cache(&mut self, bytes_max: usize) {
        // The order keeps an item for entries that are gone; it must not outgrow what it is for.
        let items_max = 1024.max(bytes_max / 64);
        while self.cache.bytes > bytes_max || self.cache.order.len() > items_max {
            let Some(&(id, index, op)) = self.cache.order.front() else { break };
            let slot = self
                .groups
                .get_mut(&id)
                .and_then(|group| group.slot_mut(index))
                .filter(|slot| slot.op == op);
            if let Some(slot) = slot {
                if slot.place.is_none() {
                    break;
                }
                let freed = slot.payload.take().map_or(0, |payload| payload.len());
                self.cache.bytes = self.cache.bytes.saturating_sub(freed);
            }
            self.cache.order.pop_front();
        }
    }

    pub(super) fn stats(&self) -> WalStats {
        let (used_bytes, live_bytes) = self.segments.bytes();
        WalStats {
            segments: self.segments.len(),
            used_bytes,
            live_bytes,
            queue_ops: self.queue.len(),
            queue_bytes: self.queue_bytes,
            cache_bytes: self.cache.bytes,
            groups: self.groups.values().filter(|group| group.alive).count(),
            ..self.stats
        }
    }

    fn op(&mut self) -> u64 {
        self.next_op += 1;
        self.next_op - 1
    }
}

impl Op {
    pub(super) fn bytes(&self) -> usize {
        match self {
            Self::Append { entries, .. } => append_bytes(entries),
            Self::Create { about, .. } => SMALL_OP_BYTES + about.len(),
            Self::Vote(_) | Self::Truncate { .. } | Self::Purge(_) | Self::Destroy { .. } => {
                SMALL_OP_BYTES
            }
        }
    }
}

pub(super) fn append_bytes(entries: &[LogEntry]) -> usize {
    entries.iter().map(|entry| SMALL_OP_BYTES + entry.payload.len()).sum()
}

/// The largest frame that fits into a segment.
pub(super) const fn record_bytes_max(options: &Options) -> usize {
    (options.segment_bytes - SEGMENT_HEAD_BYTES - SEAL_BYTES) as usize
}

const fn queued(group: GroupId, op: u64, body: Op, released: Released) -> Queued {
    Queued { group, op, body, released, done: None }
}
