//! How far this node has followed the purges of the mesh, and what it may serve by that.
//!
//! ```text
//!  push   a purge right behind the position is applied at once
//!  pull   what is behind the position, as of a time after the question: applied in order, and once the
//!         position is the end of it, the node is in contact since it asked
//!  lost   what is behind the position is not known any more: everything is forgotten
//! ```
//!
//! A node without contact for longer than it may asks the origin before it uses anything stored. So
//! whatever a purge names is served by nobody once that time is over, whoever could not be reached. A
//! process begins without a position, and so by forgetting everything, unless an earlier one left something on
//! disk that has followed the purges up to one.

use std::{
    collections::VecDeque,
    sync::atomic::{AtomicU64, Ordering},
    time::Duration,
};

use hexpop_shard::{PurgeEntry, PurgeId, PurgeTail};
use openraft_rt::AsyncRuntime;
use parking_lot::Mutex;

use super::{proxy::HttpCache, purge::Purge};

/// Purges of which it is remembered what they hit.
const REMEMBERED_MAX: usize = 1024;

/// What a purge did on this node.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PurgeHit {
    /// Stored responses that it made the node forget, or made stale.
    pub objects: usize,
    /// How long that took.
    pub took: Duration,
    /// How long ago that was.
    pub since: Duration,
}

/// How far this node is with a purge.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PurgeProgress {
    /// The last purge applied here; `None` = none yet in this process.
    pub position: Option<PurgeId>,
    /// For how long it has been without proof that it knows of all purges; `None` = since its start.
    pub silence: Option<Duration>,
    /// How long it may be before it asks the origin each time; `None` = for ever.
    pub max_silence: Option<Duration>,
    /// What the purge did here; `None` = not applied, not by itself, or long ago.
    pub hit: Option<PurgeHit>,
}

impl PurgeProgress {
    /// Whether the purge is applied here.
    #[must_use]
    pub fn has_applied(&self, id: PurgeId) -> bool {
        self.position.is_some_and(|position| position >= id)
    }
}

#[derive(Debug, Default)]
struct Position {
    at: Option<PurgeId>,
    /// What the latest purges did: objects, how long it took, and when.
    hits: VecDeque<(PurgeId, usize, Duration, Duration)>,
}

/// How far the purges are followed.
#[derive(Debug)]
pub(super) struct Followed {
    max_silence: Option<Duration>,
    /// Held while purges are applied, so that they are in order.
    position: Mutex<Position>,
    /// As of when it is proven that all purges are known, in microseconds of uptime and one more; 0 =
    /// never.
    contact_us: AtomicU64,
}

impl Followed {
    /// From a position that all that is stored has followed, if anything is; else it begins without one.
    pub(super) fn new(max_silence: Option<Duration>, at: Option<PurgeId>) -> Self {
        let position = Mutex::new(Position { at, hits: VecDeque::new() });
        Self { max_silence, position, contact_us: AtomicU64::new(0) }
    }

    fn note_contact(&self, asked: Duration) {
        let asked_us = u64::try_from(asked.as_micros()).unwrap_or(u64::MAX);
        self.contact_us.fetch_max(asked_us.saturating_add(1), Ordering::AcqRel);
    }

    /// How long ago it was proven that all purges are known.
    pub(super) fn silence(&self, now: Duration) -> Option<Duration> {
        let contact_us = self.contact_us.load(Ordering::Acquire).checked_sub(1)?;
        Some(now.saturating_sub(Duration::from_micros(contact_us)))
    }

    /// Whether what is stored may be used without asking the origin. To be asked before the store is: what
    /// was taken from it earlier may be from before a purge that is known by now.
    pub(super) fn trusts_store(&self, now: Duration) -> bool {
        let Some(max) = self.max_silence else { return true };
        self.silence(now).is_some_and(|silence| silence <= max)
    }

    /// For telling fetches without contact apart: nobody joins one that began longer ago than the silence
    /// that is allowed.
    pub(super) fn window(&self, now: Duration) -> Option<u64> {
        let max = self.max_silence.filter(|_| !self.trusts_store(now))?;
        let window = now.as_millis().checked_div(max.as_millis())?;
        Some(u64::try_from(window).unwrap_or(u64::MAX))
    }
}

impl Position {
    /// Whether a purge is the next one.
    fn is_next(&self, id: PurgeId) -> bool {
        self.at.is_some_and(|at| at.next() == id)
    }

    fn advance(&mut self, id: PurgeId, objects: usize, took: Duration, now: Duration) {
        self.at = Some(id);
        self.hits.push_back((id, objects, took, now));
        if self.hits.len() > REMEMBERED_MAX {
            self.hits.pop_front();
        }
    }
}

impl<R: AsyncRuntime> HttpCache<R> {
    /// The last purge applied.
    pub(crate) fn purge_position(&self) -> Option<PurgeId> {
        self.followed.position.lock().at
    }

    /// Applies a purge if it is the next one. Answers whether it is applied now.
    pub(crate) fn push_purge(&self, entry: &PurgeEntry) -> bool {
        let mut position = self.followed.position.lock();
        if position.is_next(entry.id) {
            self.apply(&mut position, entry);
        }
        position.at.is_some_and(|at| at >= entry.id)
    }

    /// Applies what was behind the position as of a time after `asked`, on the node's own clock. Answers
    /// whether that was all.
    pub(crate) fn follow_purges(&self, tail: &PurgeTail, asked: Duration) -> bool {
        let mut position = self.followed.position.lock();
        match tail {
            PurgeTail::Lost { head } => {
                let hit = self.purge(&Purge::All, false);
                self.metrics.purges_lost(hit);
                position.at = Some(*head);
                if let Some(disk) = self.store.disk() {
                    disk.reset_position(*head);
                }
            }
            PurgeTail::Next { entries, .. } => {
                for entry in entries {
                    if position.is_next(entry.id) {
                        self.apply(&mut position, entry);
                    }
                }
            }
        }
        let is_all = position.at.is_some_and(|at| at >= tail.head());
        if is_all {
            self.followed.note_contact(asked);
        }
        is_all
    }

    fn apply(&self, position: &mut Position, entry: &PurgeEntry) {
        let begin = self.uptime.now();
        let mut objects = 0;
        for target in &entry.targets {
            // What was fit for the log when it was recorded is; but a purge is never skipped.
            let purges = self.purges_of(target).unwrap_or_else(|_not_a_url| vec![Purge::All]);
            let hit = purges.iter().map(|purge| self.purge(purge, entry.soft)).sum();
            self.metrics.purged(target.kind(), hit);
            objects += hit;
        }
        let now = self.uptime.now();
        position.advance(entry.id, objects, now.saturating_sub(begin), now);
        if let Some(disk) = self.store.disk() {
            disk.note_position(entry.id);
        }
    }

    /// How far this node is with a purge.
    pub(crate) fn purge_progress(&self, id: PurgeId) -> PurgeProgress {
        let now = self.uptime.now();
        let position = self.followed.position.lock();
        let hit = position.hits.iter().find(|(of, ..)| *of == id);
        PurgeProgress {
            position: position.at,
            silence: self.followed.silence(now),
            max_silence: self.followed.max_silence,
            hit: hit.map(|(_id, objects, took, at)| PurgeHit {
                objects: *objects,
                took: *took,
                since: now.saturating_sub(*at),
            }),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MAX: Duration = Duration::from_secs(5);

    fn at(ms: u64) -> Duration {
        Duration::from_millis(ms)
    }

    #[test]
    fn what_is_stored_is_trusted_while_there_is_contact() {
        let followed = Followed::new(Some(MAX), None);
        assert!(!followed.trusts_store(at(0)), "never in contact");
        followed.note_contact(at(1000));
        assert!(followed.trusts_store(at(6000)));
        assert!(!followed.trusts_store(at(6001)));
        followed.note_contact(at(500));
        assert_eq!(followed.silence(at(1000)), Some(at(0)), "an older proof takes nothing back");
        assert!(Followed::new(None, None).trusts_store(at(0)), "nobody purges");
    }

    #[test]
    fn without_contact_nobody_joins_a_fetch_of_long_ago() {
        let followed = Followed::new(Some(MAX), None);
        followed.note_contact(at(0));
        assert_eq!(followed.window(at(4000)), None);
        let (one, other) = (followed.window(at(5001)), followed.window(at(9999)));
        assert!(one.is_some() && one == other);
        assert_ne!(other, followed.window(at(10_000)));
    }

    #[test]
    fn only_the_next_purge_is_the_next() {
        let mut position = Position::default();
        assert!(!position.is_next(PurgeId(1)), "where it begins is not known");
        position.at = Some(PurgeId(4));
        assert!(position.is_next(PurgeId(5)));
        assert!(!position.is_next(PurgeId(4)) && !position.is_next(PurgeId(6)));
        for id in 5..5 + REMEMBERED_MAX as u64 + 2 {
            position.advance(PurgeId(id), 1, at(1), at(2));
        }
        assert_eq!(position.hits.len(), REMEMBERED_MAX);
    }
}
