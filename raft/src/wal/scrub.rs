//! Ridding the disk of what is not needed any more, on demand: for erasures, which cannot wait until
//! the log has grown enough for its files to be worth emptying.
//!
//! The writer goes on to a new segment (a fresh file, filled with zeros, never a used one), moves what
//! is still needed out of all older ones, and deletes them. A demand is met when no file is left that
//! was written to before it.

use futures::{
    future::{Either, select},
    pin_mut,
};

use super::{
    Wal, WalError, WalHandle,
    segment::{SEAL_BYTES, SEGMENT_HEAD_BYTES},
    space::Segment,
    spare::Spare,
    state::State,
};

/// How far demands are, by their numbers.
#[derive(Debug, Default)]
pub(super) struct Scrub {
    /// The last demand made.
    wanted: u64,
    /// The last one that a new segment was begun for.
    rotated: u64,
    /// How often room for a new segment was asked for, by a demand or by one who goes on waiting.
    tries: u64,
    /// Older segments than this are emptied.
    below: u64,
}

impl Scrub {
    /// Segments before this one are to go.
    pub(super) const fn below(&self) -> u64 {
        self.below
    }

    /// Whether room for a new segment was asked for since `seen`.
    pub(super) const fn is_newer_than(&self, seen: u64) -> bool {
        self.tries > seen
    }

    /// The last demand, if a new segment has to be begun for it; `oldest` is the oldest there is.
    ///
    /// Not while an earlier demand is unmet: what was moved for that one would have to be moved
    /// again, and demands that come faster than they are met would never be.
    pub(super) fn to_rotate(&self, oldest: u64) -> Option<u64> {
        (self.wanted > self.rotated && oldest >= self.below).then_some(self.wanted)
    }

    /// Everything up to demand `wanted` was written before segment `active`.
    pub(super) const fn rotated(&mut self, wanted: u64, active: u64) {
        self.rotated = wanted;
        self.below = active;
    }

    /// The demand that is met when the oldest segment is `oldest`.
    fn met(&self, oldest: u64) -> u64 {
        if oldest >= self.below { self.rotated } else { 0 }
    }
}

impl WalHandle {
    /// Rids the disk of everything that was purged, truncated or replaced before this call: resolves
    /// when no file is left that held it.
    ///
    /// # Errors
    /// The log being over.
    ///
    /// # Cancel safety
    /// Dropped while it waits, the work goes on.
    pub async fn scrub(&self) -> Result<(), WalError> {
        let demand = self.demand_scrub()?;
        self.scrubbed(demand).await
    }

    /// Demands what [`scrub`](Self::scrub) waits for, and answers the demand's number.
    ///
    /// # Errors
    /// The log being over.
    pub fn demand_scrub(&self) -> Result<u64, WalError> {
        let mut state = self.shared.state.lock();
        state.check_open()?;
        state.scrub.wanted += 1;
        Ok(state.scrub.wanted)
    }

    /// Resolves when a demand is met. Called again for the same demand it goes on waiting, and has
    /// the writer try again what stood in the way: no room, or a record that could not be read.
    ///
    /// # Errors
    /// The log being over.
    ///
    /// # Cancel safety
    /// Dropped while it waits, the work goes on.
    pub async fn scrubbed(&self, demand: u64) -> Result<(), WalError> {
        {
            let mut state = self.shared.state.lock();
            state.check_open()?;
            state.scrub.tries += 1;
            // What could not be read may have been a passing trouble.
            state.stuck_segment = None;
        }
        self.shared.work.notify_one();
        self.shared.work_async.notify_one();
        let mut scrubbed = self.shared.scrubbed.subscribe();
        let done = scrubbed.wait_for(|met| *met >= demand);
        let failed = self.failed();
        pin_mut!(done, failed);
        match select(done, failed).await {
            Either::Left((Ok(_), _)) => Ok(()),
            Either::Left((Err(_), _)) => Err(WalError::Closed),
            Either::Right((error, _)) => Err(error),
        }
    }
}

fn wanted_rotation(state: &State) -> Option<u64> {
    state.segments.oldest().and_then(|oldest| state.scrub.to_rotate(oldest))
}

impl Wal {
    /// Takes note of new tries: that there was no room for a segment before is no reason not to try
    /// again.
    pub(super) const fn note_demands(&mut self, scrub: &Scrub) {
        if scrub.is_newer_than(self.scrub_seen) {
            self.scrub_seen = scrub.tries;
            self.spare_blocked = false;
        }
    }

    /// The demand that this round begins a new segment for. Only when that is prepared, so that
    /// nobody waits for it.
    pub(super) fn rotation(&self, state: &State) -> Option<u64> {
        wanted_rotation(state).filter(|_wanted| matches!(self.spare, Spare::Ready(..)))
    }

    /// Begins a new segment, unless nothing is in this one; answers which one is written to now.
    ///
    /// `None` when what was written just now has taken the prepared segment: to make another one
    /// here may fail for want of room, and that would be the end of the log of all groups. The
    /// demand stays open, for a round that finds a segment prepared.
    pub(super) fn rotate_for_scrub(&mut self) -> Result<Option<u64>, WalError> {
        if self.active.end > SEGMENT_HEAD_BYTES {
            if !matches!(self.spare, Spare::Ready(..)) {
                return Ok(None);
            }
            self.rotate()?;
        }
        Ok(Some(self.active.id.seq))
    }

    /// Whether the next segment has to be prepared before housekeeping can go on.
    pub(super) fn waits_for_spare(&self, state: &State) -> bool {
        wanted_rotation(state).is_some()
            || self.unwanted(state).is_some_and(|seq| !self.may_empty(state, seq))
    }

    /// Whether the records of a segment may be moved: room for them that may be lacking is never
    /// asked of the disk, since a write that finds none ends the log. Without a prepared segment
    /// that is so if all of them fit into the active one, whose room is otherwise kept for what is
    /// submitted.
    pub(super) fn may_empty(&self, state: &State, seq: u64) -> bool {
        if matches!(self.spare, Spare::Ready(..)) {
            return true;
        }
        let left = self.active.capacity.saturating_sub(self.active.end.saturating_add(SEAL_BYTES));
        let needed = state.segments.get(seq).map_or(0, Segment::live_bytes);
        !self.moves_refused && needed <= u64::from(left)
    }

    /// Tells those who wait that their demand is met, if it is.
    pub(super) fn tell_scrubbed(&self) {
        let met = {
            let state = self.shared.state.lock();
            state.segments.oldest().map_or(0, |oldest| state.scrub.met(oldest))
        };
        self.shared.scrubbed.send_if_modified(|told| {
            let news = met > *told;
            *told = met.max(*told);
            news
        });
    }
}
