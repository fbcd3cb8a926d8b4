//! Taking in a body that is too large for memory, piece by piece.

use std::{sync::Arc, time::Duration};

use bytes::Bytes;

use super::{Shared, fit, writer::Job};
use crate::cache::{key::CacheKey, purge::Moment, stored::Stored};

/// How long one copy may take before another may take its place.
const PATIENCE: Duration = Duration::from_secs(30);

/// One on its way. Dropped before its [end](Self::finish), it leaves nothing behind.
#[derive(Debug)]
pub(crate) struct Large {
    shared: Arc<Shared>,
    key: CacheKey,
    ticket: u64,
    bytes: u64,
    failed: bool,
    /// As long as it is held the body is still to come.
    alive: Arc<()>,
}

impl Large {
    pub(super) fn begin(
        shared: &Arc<Shared>,
        key: &CacheKey,
        stored: &Arc<Stored>,
        since: Moment,
    ) -> Option<Self> {
        let now = (shared.around.now)();
        if !shared.is_on() || !fit::is_fit(key, stored, now.uptime) {
            return None;
        }
        let ticket = {
            let mut catalog = shared.catalog.lock();
            // One copy at a time is enough, as long as its reader does not hold it up.
            let announced = catalog.pending.announced(key, stored);
            if announced.is_some_and(|since| now.uptime.saturating_sub(since) < PATIENCE) {
                return None;
            }
            catalog.pending.announce(key, stored, now.uptime)
        };
        let Some(ticket) = ticket else {
            shared.around.metrics.dropped();
            return None;
        };
        let alive = Arc::new(());
        let (key, stored) = (key.clone(), Arc::clone(stored));
        let large =
            Self { shared: Arc::clone(shared), key, ticket, bytes: 0, failed: false, alive };
        let (key, alive) = (large.key.clone(), Arc::downgrade(&large.alive));
        // Dropped here, it ends what it has announced.
        large.push(Job::Begin { key, stored, since, ticket, alive }, 0).then_some(large)
    }

    fn push(&self, job: Job, bytes: u64) -> bool {
        let pushed = self.shared.writes.push(job, bytes);
        if !pushed {
            self.shared.around.metrics.dropped();
        }
        pushed
    }

    /// Adds to the body; without effect once it is not to be stored any more.
    pub(crate) fn append(&mut self, piece: &Bytes) {
        if self.failed {
            return;
        }
        let length = piece.len() as u64;
        self.bytes = self.bytes.saturating_add(length);
        let fits = self.bytes <= self.shared.limits.object_bytes_max;
        let job = Job::Piece { ticket: self.ticket, piece: piece.clone() };
        self.failed = !fits || !self.push(job, length);
    }

    /// All of it came. Answers whether it is on its way to disk.
    pub(crate) fn finish(self) -> bool {
        let (key, alive) = (self.key.clone(), Arc::clone(&self.alive));
        let end = Job::End { key, ticket: self.ticket, bytes: self.bytes, alive };
        !self.failed && self.push(end, 0)
    }
}

impl Drop for Large {
    fn drop(&mut self) {
        // What is at its end still counts as alive.
        if Arc::strong_count(&self.alive) == 1 {
            self.shared.catalog.lock().pending.arrive(&self.key, self.ticket);
        }
    }
}
