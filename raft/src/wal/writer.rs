//! The writing side: one round takes everything that is queued, writes it, flushes once, and tells.

use std::sync::Arc;

use hexpop_edge_config::{
    GroupId, RaftId,
    planted::{self, Bug},
};
use parking_lot::MutexGuard;

use super::{
    Health, LogPosition, OpenError, Options, Recovery, WalError, WalHandle,
    append::{Active, failed},
    handle::Completion,
    place::{Placed, What},
    record::Record,
    recover,
    segment::file_name,
    space::Move,
    spare::Spare,
    state::{Queued, Shared, State},
};
use crate::disk::Disk;

/// How often a round waits for more submissions at most.
const GATHER_MAX: usize = 8;
/// How many segments are deleted in one round.
const DELETE_MAX: usize = 4;

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
    /// The last try to rid the disk that was taken note of.
    pub(super) scrub_seen: u64,
    /// A record that was to be moved did not fit, and no segment was prepared. Nothing is moved
    /// before one is.
    pub(super) moves_refused: bool,
    pub(super) buffer: Vec<u8>,
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
    /// The demand to rid the disk that a new segment is begun for.
    rotation: Option<u64>,
    /// The segment that was begun, if one was.
    rotated_to: Option<u64>,
}

impl Wal {
    /// Opens the log of the data directory `log`, or begins it.
    ///
    /// # Errors
    /// See [`OpenError`].
    pub fn open(
        disk: Arc<dyn Disk>,
        log: RaftId,
        options: Options,
    ) -> Result<(Self, Recovery), OpenError> {
        recover::open(disk, log, options)
    }

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
                Work::Now => {
                    self.gather(&mut state);
                    return Work::Now;
                }
                Work::Over => return Work::Over,
            }
        }
    }

    /// Lets those come back whom the last round answered, see [`Options::gather`].
    fn gather(&self, state: &mut MutexGuard<'_, State>) {
        let gather = self.shared.options.gather;
        let mut queued = 0;
        for _ in 0..GATHER_MAX {
            let grows = state.queue.len() > queued;
            let enough = state.queue.len() >= state.answered;
            if !grows || enough || state.closing || gather.is_zero() {
                break;
            }
            queued = state.queue.len();
            self.shared.work.wait_for(state, gather);
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
        let shared = Arc::clone(&self.shared);
        let mut state = shared.state.lock();
        let state = &mut *state;
        if state.failed.is_some() {
            return None;
        }
        self.note_demands(&state.scrub);
        let moves = self.plan(state);
        let mut ops = std::mem::take(&mut state.queue);
        if planted::has(Bug::ReorderWrites) {
            ops.reverse();
        }
        state.queue_bytes = 0;
        let lazy: Vec<_> = std::mem::take(&mut state.lazy)
            .into_iter()
            .filter_map(|id| state.groups.get(&id).map(|group| (id, group.committed)))
            .collect();
        let release = std::mem::take(&mut state.limbo);
        let rotation = self.rotation(state);
        let idle = ops.is_empty() && lazy.is_empty() && moves.is_empty() && release.is_empty();
        if idle && rotation.is_none() {
            return None;
        }
        self.shared.room.notify_waiters();
        let placed = Vec::new();
        Some(Batch { ops, lazy, moves, release, placed, rotation, rotated_to: None })
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
        let waits = self.waits_for_spare(state);
        let demanded = state.scrub.is_newer_than(self.scrub_seen);
        let rotating = demanded || self.rotation(state).is_some() || self.wants_spare(waits);
        if cleaning || rotating || self.to_empty(state).is_some() {
            return Work::Now;
        }
        if state.lazy.is_empty() { Work::Idle } else { Work::Linger }
    }

    /// The segment to copy out of, if any, and if there is room to.
    fn to_empty(&self, state: &State) -> Option<u64> {
        self.unwanted(state).filter(|&seq| self.may_empty(state, seq))
    }

    /// The segment to copy out of, if any.
    pub(super) fn unwanted(&self, state: &State) -> Option<u64> {
        let seq = state.segments.to_empty(&self.shared.options, state.scrub.below())?;
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
        let mut moved = 0;
        for planned in &batch.moves {
            if !self.put_move(planned, &mut batch.placed)? {
                self.moves_refused = true;
                break;
            }
            moved += 1;
        }
        batch.moves.truncate(moved);
        self.write_buffer()?;
        if !batch.ops.is_empty() || !batch.moves.is_empty() {
            let lies = planted::has(Bug::AckBeforeFlush) && batch.ops.len() % 4 != 3;
            if !lies {
                self.flush()?;
            }
        }
        if batch.rotation.is_some() {
            batch.rotated_to = self.rotate_for_scrub()?;
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
        if let (Some(wanted), Some(active)) = (batch.rotation, batch.rotated_to) {
            state.scrub.rotated(wanted, active);
        }
        for (seq, group, bytes) in batch.release {
            state.segments.release_one(seq, group, bytes);
        }
        let mut dones = Vec::with_capacity(batch.ops.len());
        for queued in batch.ops {
            state.segments.release(queued.group, &queued.released);
            dones.extend(queued.done);
        }
        if !dones.is_empty() {
            state.answered = dones.len();
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
        if !dead.is_empty() {
            self.spare_blocked = false;
        }
        self.tell_scrubbed();
        let waits = self.waits_for_spare(&self.shared.state.lock());
        if self.wants_spare(waits)
            && let Err(error) = self.fill_spare()
        {
            tracing::warn!(%error, "no room for the next segment of the write-ahead log");
            self.spare_blocked = true;
            self.shared.health.send_replace(Health::LowSpace);
        }
        Ok(())
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
