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

use super::{Wal, WalError, WalHandle, segment::SEGMENT_HEAD_BYTES, spare::Spare, state::State};

/// How far demands are, by their numbers.
#[derive(Debug, Default)]
pub(super) struct Scrub {
    /// The last demand made.
    wanted: u64,
    /// The last one that a new segment was begun for.
    rotated: u64,
    /// Older segments than this are emptied.
    below: u64,
}

impl Scrub {
    /// Whether a new segment has to be begun.
    pub(super) const fn wants_rotation(&self) -> bool {
        self.wanted > self.rotated
    }

    /// Segments before this one are to go.
    pub(super) const fn below(&self) -> u64 {
        self.below
    }

    /// Whether there is a demand behind `seen`.
    pub(super) const fn is_newer_than(&self, seen: u64) -> bool {
        self.wanted > seen
    }

    /// The last demand, if a new segment has to be begun for it.
    pub(super) fn to_rotate(&self) -> Option<u64> {
        self.wants_rotation().then_some(self.wanted)
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
        let number = {
            let mut state = self.shared.state.lock();
            state.check_open()?;
            state.scrub.wanted += 1;
            // What could not be read may have been a passing trouble.
            state.stuck_segment = None;
            state.scrub.wanted
        };
        self.shared.work.notify_one();
        self.shared.work_async.notify_one();
        let mut scrubbed = self.shared.scrubbed.subscribe();
        let done = scrubbed.wait_for(|met| *met >= number);
        let failed = self.failed();
        pin_mut!(done, failed);
        match select(done, failed).await {
            Either::Left((Ok(_), _)) => Ok(()),
            Either::Left((Err(_), _)) => Err(WalError::Closed),
            Either::Right((error, _)) => Err(error),
        }
    }
}

impl Wal {
    /// Takes note of new demands: that there was no room for a segment before is no reason not to try
    /// again.
    pub(super) const fn note_demands(&mut self, scrub: &Scrub) {
        if scrub.is_newer_than(self.scrub_seen) {
            self.scrub_seen = scrub.wanted;
            self.spare_blocked = false;
        }
    }

    /// The demand that this round begins a new segment for. Only when that is prepared, so that
    /// nobody waits for it.
    pub(super) fn rotation(&self, state: &State) -> Option<u64> {
        state.scrub.to_rotate().filter(|_wanted| matches!(self.spare, Spare::Ready(..)))
    }

    /// Begins a new segment, unless nothing is in this one; answers which one is written to now.
    pub(super) fn rotate_for_scrub(&mut self) -> Result<u64, WalError> {
        if self.active.end > SEGMENT_HEAD_BYTES {
            self.rotate()?;
        }
        Ok(self.active.id.seq)
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
