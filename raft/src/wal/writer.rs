//! The writing side: one round takes everything that is queued, writes it, flushes once, and tells.

use std::{io, sync::Arc};

use hexpop_edge_config::{GroupId, RaftId};

use super::{
    Health, LogPosition, Options, WalError, WalHandle,
    handle::Completion,
    read::read_payload,
    record::{GroupRecord, Record},
    segment::{
        Place, SEAL_BYTES, SEGMENT_HEAD_BYTES, SegmentId, file_name, head, put_frame,
        unfinished_name,
    },
    space::{Move, STATE_BYTES, Segment},
    state::{Op, Queued, Shared, State, record_bytes_max},
};
use crate::disk::{Disk, DiskFile};

/// How much of a segment in preparation is filled with zeros in one round.
const FILL_BYTES: u32 = 1 << 20;
/// How many segments are deleted in one round.
const DELETE_MAX: usize = 4;
/// What the write buffer may keep between rounds.
const BUFFER_BYTES_KEPT: usize = 1 << 20;

/// The writer of a log. There is one per directory; a round happens when [`step`](Self::step) is
/// called, and nothing in between.
#[derive(Debug)]
pub struct Wal {
    pub(super) shared: Arc<Shared>,
    pub(super) disk: Arc<dyn Disk>,
    pub(super) active: Active,
    pub(super) spare: Spare,
    /// There was no room for the next segment; not tried again before it is needed or space came
    /// back.
    pub(super) spare_blocked: bool,
    pub(super) buffer: Vec<u8>,
}

/// The segment that is written to.
#[derive(Debug)]
pub(super) struct Active {
    pub(super) id: SegmentId,
    pub(super) file: Arc<dyn DiskFile>,
    pub(super) capacity: u32,
    /// The end of what is written or in the buffer.
    pub(super) end: u32,
    /// The end of what is written.
    pub(super) written: u32,
    /// The end of what is flushed.
    pub(super) durable: u32,
}

/// The next segment.
#[derive(Debug)]
pub(super) enum Spare {
    None,
    Filling(Arc<dyn DiskFile>, u32),
    Ready(Arc<dyn DiskFile>, u32),
}

/// Whether there is something to do for the writer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Work {
    /// Nothing.
    Idle,
    /// Only what may wait for company for [`Options::linger`].
    Linger,
    /// Yes.
    Now,
    /// The log has failed, or was closed and all is flushed.
    Over,
}

/// What one round is about.
#[derive(Debug)]
pub struct Batch {
    ops: Vec<Queued>,
    lazy: Vec<(GroupId, Option<LogPosition>)>,
    moves: Vec<Move>,
    release: Vec<(u64, GroupId, u32)>,
    placed: Vec<Placed>,
}

#[derive(Debug)]
struct Placed {
    group: GroupId,
    place: Place,
    what: What,
}

#[derive(Debug, Clone, Copy)]
enum What {
    Entry {
        index: u64,
        op: u64,
    },
    Vote,
    Purged,
    Committed,
    Group {
        vote: bool,
        purged: bool,
        committed: bool,
    },
    Destroyed,
    /// Needed only as long as older segments are.
    Passing,
}

impl Wal {
    /// A handle to submit and read with.
    #[must_use]
    pub fn handle(&self) -> WalHandle {
        WalHandle { shared: self.shared.clone() }
    }

    /// Whether [`step`](Self::step) would do something.
    #[must_use]
    pub fn work(&self) -> Work {
        self.work_in(&self.shared.state.lock())
    }

    /// Blocks the thread until there is something to do, or until what may wait has waited for
    /// [`Options::linger`]. Never `Idle`.
    #[must_use]
    pub fn wait(&self) -> Work {
        let mut state = self.shared.state.lock();
        loop {
            match self.work_in(&state) {
                Work::Idle => self.shared.work.wait(&mut state),
                Work::Linger => {
                    let linger = self.shared.options.linger;
                    if self.shared.work.wait_for(&mut state, linger).timed_out() {
                        return Work::Linger;
                    }
                }
                work @ (Work::Now | Work::Over) => return work,
            }
        }
    }

    /// Resolves when something was submitted since the last call.
    ///
    /// # Cancel safety
    /// Safe.
    pub async fn woken(&self) {
        self.shared.work_async.notified().await;
    }

    /// Does one round: writes and flushes what is queued, tells whoever waits, and does a bounded
    /// piece of housekeeping.
    ///
    /// # Errors
    /// The failure of the log, now or before.
    pub fn step(&mut self) -> Result<(), WalError> {
        match self.begin() {
            Some(batch) => self.commit(batch),
            None => self.failure().map_or_else(|| self.housekeep(), Err),
        }
    }

    /// The first half of [`step`](Self::step): takes what is queued. For simulation, where time
    /// passes between the halves.
    pub fn begin(&mut self) -> Option<Batch> {
        let mut state = self.shared.state.lock();
        let state = &mut *state;
        if state.failed.is_some() {
            return None;
        }
        let moves = self.plan(state);
        let ops = std::mem::take(&mut state.queue);
        state.queue_bytes = 0;
        let lazy: Vec<_> = std::mem::take(&mut state.lazy)
            .into_iter()
            .filter_map(|id| state.groups.get(&id).map(|group| (id, group.committed)))
            .collect();
        let release = std::mem::take(&mut state.limbo);
        if ops.is_empty() && lazy.is_empty() && moves.is_empty() && release.is_empty() {
            return None;
        }
        self.shared.room.notify_waiters();
        Some(Batch { ops, lazy, moves, release, placed: Vec::new() })
    }

    /// The second half of [`step`](Self::step).
    ///
    /// # Errors
    /// As [`step`](Self::step).
    pub fn commit(&mut self, mut batch: Batch) -> Result<(), WalError> {
        if let Err(error) = self.write(&mut batch) {
            let waiting = batch.ops.into_iter().filter_map(|op| op.done);
            return Err(self.fail(error, waiting.collect()));
        }
        let dones = self.complete(batch);
        for done in dones {
            done.call(Ok(()));
        }
        self.housekeep()
    }

    fn work_in(&self, state: &State) -> Work {
        if state.failed.is_some() {
            return Work::Over;
        }
        if !state.queue.is_empty() {
            return Work::Now;
        }
        if state.closing {
            return if state.lazy.is_empty() { Work::Over } else { Work::Now };
        }
        let cleaning = !state.limbo.is_empty() || state.segments.has_dead();
        if cleaning || self.wants_spare() || self.to_empty(state).is_some() {
            return Work::Now;
        }
        if state.lazy.is_empty() { Work::Idle } else { Work::Linger }
    }

    /// The segment to copy out of, if any.
    fn to_empty(&self, state: &State) -> Option<u64> {
        let seq = state.segments.to_empty(&self.shared.options)?;
        (state.stuck_segment != Some(seq)).then_some(seq)
    }

    fn plan(&self, state: &mut State) -> Vec<Move> {
        let Some(seq) = self.to_empty(state) else { return Vec::new() };
        let bytes_max = self.shared.options.relocate_bytes_max;
        let moves = state.segments.plan(seq, &state.groups, bytes_max);
        if moves.is_empty() && state.queue.is_empty() && state.limbo.is_empty() {
            // Nothing is on its way that would release it, so it would be tried for ever.
            tracing::error!(file = file_name(seq), "a segment is held by nothing that is known");
            state.stuck_segment = Some(seq);
        }
        moves
    }

    fn write(&mut self, batch: &mut Batch) -> Result<(), WalError> {
        for queued in &batch.ops {
            self.put_op(queued, &mut batch.placed)?;
        }
        for &(group, committed) in &batch.lazy {
            let place = self.put(group, &Record::Committed(committed))?;
            batch.placed.push(Placed { group, place, what: What::Committed });
        }
        for moved in &batch.moves {
            self.put_move(moved, &mut batch.placed)?;
        }
        self.write_buffer()?;
        if !batch.ops.is_empty() || !batch.moves.is_empty() {
            self.flush()?;
        }
        Ok(())
    }

    fn put_op(&mut self, queued: &Queued, placed: &mut Vec<Placed>) -> Result<(), WalError> {
        let group = queued.group;
        let (record, what) = match &queued.body {
            Op::Append { entries, starts } => {
                for (n, (op, entry)) in (queued.op..).zip(entries).enumerate() {
                    let record = Record::Entry {
                        term: entry.term,
                        index: entry.index,
                        tag: entry.tag,
                        payload: &entry.payload,
                        starts: *starts && n == 0,
                        moved: false,
                    };
                    let place = self.put(group, &record)?;
                    placed.push(Placed {
                        group,
                        place,
                        what: What::Entry { index: entry.index, op },
                    });
                }
                return Ok(());
            }
            Op::Vote(vote) => (Record::Vote(*vote), What::Vote),
            Op::Truncate { from } => (Record::Truncate { from: *from }, What::Passing),
            Op::Purge(upto) => (Record::Purge(*upto), What::Purged),
            Op::Create { about, vote, purged } => {
                let (vote, purged) = (*vote, *purged);
                let what = What::Group {
                    vote: vote.is_some(),
                    purged: purged.is_some(),
                    committed: false,
                };
                (Record::Group(GroupRecord { vote, purged, committed: None, about }), what)
            }
            Op::Destroy { vote } => (Record::Destroyed { vote: *vote }, What::Destroyed),
        };
        let place = self.put(group, &record)?;
        placed.push(Placed { group, place, what });
        Ok(())
    }

    fn put_move(&mut self, moved: &Move, placed: &mut Vec<Placed>) -> Result<(), WalError> {
        let (group, record, what) = match moved {
            Move::State { group, alive: false, vote, .. } => {
                (*group, Record::Destroyed { vote: *vote }, What::Destroyed)
            }
            Move::State { group, vote, purged, committed, about, .. } => {
                let what = What::Group {
                    vote: vote.is_some(),
                    purged: purged.is_some(),
                    committed: committed.is_some(),
                };
                let (vote, purged, committed) = (*vote, *purged, *committed);
                (*group, Record::Group(GroupRecord { vote, purged, committed, about }), what)
            }
            &Move::Entry { group, index, term, tag, op, starts, ref payload, from } => {
                let payload = match payload {
                    Some(payload) => payload.clone(),
                    None => match self.read_back(group, (index, term), from) {
                        Ok(payload) => payload,
                        Err(error) => {
                            let file = file_name(from.seq);
                            tracing::error!(%group, index, file, offset = from.offset, %error,
                                "an entry cannot be read back; its segment stays");
                            self.shared.state.lock().stuck_segment = Some(from.seq);
                            return Ok(());
                        }
                    },
                };
                let record =
                    Record::Entry { term, index, tag, payload: &payload, starts, moved: true };
                let place = self.put(group, &record)?;
                placed.push(Placed { group, place, what: What::Entry { index, op } });
                return Ok(());
            }
        };
        let place = self.put(group, &record)?;
        placed.push(Placed { group, place, what });
        Ok(())
    }

    fn read_back(
        &self,
        group: GroupId,
        entry: (u64, u64),
        from: Place,
    ) -> io::Result<bytes::Bytes> {
        let file = match self.shared.state.lock().segments.get(from.seq) {
            Some(segment) => segment.file.clone(),
            None => return Err(io::ErrorKind::NotFound.into()),
        };
        read_payload(&*file, self.shared.log, group, entry, from)
    }

    /// Puts a record into the buffer, going on to the next segment when this one is full.
    fn put(&mut self, group: GroupId, record: &Record<'_>) -> Result<Place, WalError> {
        let mut bytes = 0;
        for _attempt in 0..2 {
            let start = self.buffer.len();
            let Active { id, end, durable, capacity, .. } = self.active;
            put_frame(&mut self.buffer, id, end, durable, group.0, record);
            bytes = u32::try_from(self.buffer.len() - start).unwrap_or(u32::MAX);
            let next = end.saturating_add(bytes);
            if next.saturating_add(SEAL_BYTES) <= capacity {
                self.active.end = next;
                return Ok(Place { seq: id.seq, offset: end, bytes });
            }
            self.buffer.truncate(start);
            self.rotate()?;
        }
        // Submissions that do not fit into an empty segment have been refused.
        Err(WalError::TooLarge {
            bytes: bytes as usize,
            max: record_bytes_max(&self.shared.options),
        })
    }

    /// Seals the active segment, flushes it and goes on in the next one.
    fn rotate(&mut self) -> Result<(), WalError> {
        let next = SegmentId { seq: self.active.id.seq + 1, ..self.active.id };
        while !matches!(self.spare, Spare::Ready(..)) {
            self.fill_spare().map_err(failed("preparing", next.seq))?;
        }
        let Active { id, end, durable, .. } = self.active;
        put_frame(&mut self.buffer, id, end, durable, 0, &Record::Seal);
        self.active.end += SEAL_BYTES;
        self.write_buffer()?;
        self.flush()?;
        let Spare::Ready(file, capacity) = std::mem::replace(&mut self.spare, Spare::None) else {
            return Err(WalError::Closed);
        };
        let mut state = self.shared.state.lock();
        state.segments.set_end(id.seq, self.active.end);
        state.segments.insert(next.seq, Segment::new(file.clone(), SEGMENT_HEAD_BYTES));
        let begin = SEGMENT_HEAD_BYTES;
        self.active =
            Active { id: next, file, capacity, end: begin, written: begin, durable: begin };
        Ok(())
    }

    fn write_buffer(&mut self) -> Result<(), WalError> {
        if self.buffer.is_empty() {
            return Ok(());
        }
        let active = &mut self.active;
        active
            .file
            .write_at(u64::from(active.written), &self.buffer)
            .map_err(failed("writing", active.id.seq))?;
        active.written = active.end;
        self.shared.state.lock().stats.bytes_written += self.buffer.len() as u64;
        self.buffer.clear();
        self.buffer.shrink_to(BUFFER_BYTES_KEPT);
        Ok(())
    }

    fn flush(&mut self) -> Result<(), WalError> {
        let active = &mut self.active;
        if active.durable < active.written {
            active.file.sync_data().map_err(failed("flushing", active.id.seq))?;
            active.durable = active.written;
            self.shared.state.lock().stats.flushes += 1;
        }
        Ok(())
    }

    /// Notes where everything is now, and what is not needed any more.
    fn complete(&self, batch: Batch) -> Vec<Completion> {
        let mut state = self.shared.state.lock();
        let state = &mut *state;
        state.stats.records += batch.placed.len() as u64;
        state.stats.records_moved += batch.moves.len() as u64;
        state.segments.set_end(self.active.id.seq, self.active.end);
        for placed in &batch.placed {
            state.place(placed);
        }
        for (seq, group, bytes) in batch.release {
            state.segments.release_one(seq, group, bytes);
        }
        let mut dones = Vec::with_capacity(batch.ops.len());
        for queued in batch.ops {
            state.segments.release(queued.group, &queued.released);
            dones.extend(queued.done);
        }
        state.trim_cache(self.shared.options.cache_bytes_max);
        dones
    }

    fn housekeep(&mut self) -> Result<(), WalError> {
        let dead = {
            let mut state = self.shared.state.lock();
            let dead = state.segments.take_dead(DELETE_MAX);
            state.stats.segments_deleted += dead.len() as u64;
            dead
        };
        for &seq in &dead {
            // In this order on disk too: a segment must not outlive a newer one, which may have what
            // revokes its records.
            let removed = self.disk.remove(&file_name(seq)).and_then(|()| self.disk.sync_dir());
            if let Err(source) = removed {
                return Err(self.fail(failed("deleting", seq)(source), Vec::new()));
            }
        }
        self.spare_blocked &= dead.is_empty();
        if self.wants_spare()
            && let Err(error) = self.fill_spare()
        {
            tracing::warn!(%error, "no room for the next segment of the write-ahead log");
            self.spare_blocked = true;
            self.shared.health.send_replace(Health::LowSpace);
        }
        Ok(())
    }

    fn wants_spare(&self) -> bool {
        let begun = self.active.end > self.active.capacity / 2;
        begun && !self.spare_blocked && !matches!(self.spare, Spare::Ready(..))
    }

    /// Brings the next segment one piece nearer to being ready. What has been prepared so far is
    /// given up on an error: nothing is in it, and trying again begins with a new file.
    fn fill_spare(&mut self) -> io::Result<()> {
        let id = SegmentId { seq: self.active.id.seq + 1, ..self.active.id };
        let total = self.shared.options.segment_bytes;
        let spare = std::mem::replace(&mut self.spare, Spare::None);
        match prepare(&*self.disk, id, total, spare) {
            Ok(spare) => {
                if matches!(spare, Spare::Ready(..)) {
                    self.spare_blocked = false;
                    self.shared.health.send_if_modified(|health| {
                        let low = matches!(health, Health::LowSpace);
                        if low {
                            *health = Health::Working;
                        }
                        low
                    });
                }
                self.spare = spare;
                Ok(())
            }
            Err(error) => {
                // It may not be there; what matters is that the space is free again.
                drop(self.disk.remove(&unfinished_name(id.seq)));
                Err(error)
            }
        }
    }

    fn failure(&self) -> Option<WalError> {
        self.shared.state.lock().failed.clone()
    }

    /// The log is over: everybody who waits is told, and nothing is taken any more.
    fn fail(&self, error: WalError, waiting: Vec<Completion>) -> WalError {
        let (error, queue) = {
            let mut state = self.shared.state.lock();
            let error = state.failed.get_or_insert(error).clone();
            state.queue_bytes = 0;
            state.lazy.clear();
            (error, std::mem::take(&mut state.queue))
        };
        self.shared.health.send_replace(Health::Failed(error.clone()));
        let queued = queue.into_iter().filter_map(|op| op.done);
        for done in waiting.into_iter().chain(queued) {
            done.call(Err(error.clone()));
        }
        self.shared.room.notify_waiters();
        error
    }
}

impl Drop for Wal {
    fn drop(&mut self) {
        if self.failure().is_none() {
            self.fail(WalError::Closed, Vec::new());
        }
    }
}

impl State {
    fn place(&mut self, placed: &Placed) {
        let Placed { group: id, place, what } = *placed;
        let Some(group) = self.groups.get_mut(&id) else { return };
        let segments = &mut self.segments;
        let mut settle = |at: &mut u64, present: bool| {
            if *at != 0 {
                segments.release_one(*at, id, STATE_BYTES);
            }
            *at = if present { place.seq } else { 0 };
            if present {
                segments.hold(place.seq, id, STATE_BYTES);
            }
        };
        match what {
            What::Entry { index, op } => {
                segments.hold(place.seq, id, place.bytes);
                match group.slot_mut(index).filter(|slot| slot.op == op) {
                    Some(slot) => {
                        if let Some(old) = slot.place.replace(place) {
                            segments.release_one(old.seq, id, old.bytes);
                        }
                    }
                    None => self.limbo.push((place.seq, id, place.bytes)),
                }
            }
            What::Vote => settle(&mut group.places.vote, true),
            What::Purged => settle(&mut group.places.purged, true),
            What::Committed => settle(&mut group.places.committed, true),
            What::Group { vote, purged, committed } => {
                settle(&mut group.places.group, true);
                settle(&mut group.places.vote, vote);
                settle(&mut group.places.purged, purged);
                settle(&mut group.places.committed, committed);
            }
            What::Destroyed => {
                settle(&mut group.places.group, true);
                settle(&mut group.places.vote, false);
                settle(&mut group.places.purged, false);
                settle(&mut group.places.committed, false);
            }
            What::Passing => {}
        }
    }
}

/// Opens the files of a new segment and fills them, a piece per call; the name changes to the final
/// one when all of it is durable.
pub(super) fn prepare(
    disk: &dyn Disk,
    id: SegmentId,
    total: u32,
    spare: Spare,
) -> io::Result<Spare> {
    let (file, filled) = match spare {
        Spare::None => (disk.open(&unfinished_name(id.seq), true)?, 0),
        Spare::Filling(file, filled) => (file, filled),
        ready @ Spare::Ready(..) => return Ok(ready),
    };
    let piece = FILL_BYTES.min(total - filled);
    // Written and not only reserved, so that later flushes change no metadata of the file.
    file.write_at(u64::from(filled), &vec![0; piece as usize])?;
    let filled = filled + piece;
    if filled < total {
        file.sync_data()?;
        return Ok(Spare::Filling(file, filled));
    }
    file.write_at(0, &head(id))?;
    file.sync_data()?;
    disk.rename(&unfinished_name(id.seq), &file_name(id.seq))?;
    disk.sync_dir()?;
    Ok(Spare::Ready(file, total))
}

fn failed(what: &'static str, seq: u64) -> impl FnOnce(io::Error) -> WalError {
    move |source| WalError::Failed {
        what: format!("{what} {}", file_name(seq)),
        source: Arc::new(source),
    }
}

impl Wal {
    /// Opens the log of the data directory `log`, or begins it.
    ///
    /// # Errors
    /// See [`OpenError`](super::OpenError).
    pub fn open(
        disk: Arc<dyn Disk>,
        log: RaftId,
        options: Options,
    ) -> Result<(Self, super::Recovery), super::OpenError> {
        super::recover::open(disk, log, options)
    }
}
