//! The platform: everything that its handlers share.

use std::{collections::VecDeque, sync::Arc, time::Duration};

use parking_lot::{Mutex, RwLock};
use tokio::sync::{Semaphore, watch};
use tokio_util::sync::CancellationToken;

use super::{
    fault::{FaultSwitch, Faults},
    feed::Feed,
    record::Record,
    stats::Stats,
    store::Store,
};

/// Bounds of the stand-in origin.
#[derive(Debug, Clone, Copy)]
pub struct Limits {
    /// How many changes the feed remembers; who is further behind exports again.
    pub feed_changes: usize,
    /// How many clients follow the feed at once; more get 503.
    pub feed_clients: usize,
    /// Open connections; more wait in the kernel's backlog.
    pub connections: usize,
    /// How long a client may take for the head of a request, and keep an idle connection.
    pub header_timeout: Duration,
    /// How long a connection may be used; then it is closed at the end of its request.
    pub connection_age: Duration,
    /// How long requests under way may go on after the shutdown began.
    pub drain: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            feed_changes: 100_000,
            feed_clients: 64,
            connections: 4_096,
            header_timeout: Duration::from_secs(30),
            connection_age: Duration::from_secs(600),
            drain: Duration::from_secs(5),
        }
    }
}

/// The state of the stand-in origin.
#[derive(Debug)]
pub struct Platform {
    pub(super) limits: Limits,
    /// Never locked across an await.
    pub(super) store: RwLock<Store>,
    /// Counts the changes, to wake who follows the feed.
    pub(super) changes: watch::Sender<u64>,
    pub(super) feed_slots: Arc<Semaphore>,
    pub(super) faults: FaultSwitch,
    pub(super) stats: Stats,
    pub(super) erasures: Mutex<VecDeque<Erasure>>,
    pub(super) started: jiff::Timestamp,
    pub(super) stopping: CancellationToken,
}

/// A user whose data the mesh says were erased.
#[derive(Debug, Clone)]
pub(super) struct Erasure {
    pub(super) user: String,
    pub(super) at: jiff::Timestamp,
}

/// How many erasures are remembered, newest first.
pub(super) const ERASURES_MAX: usize = 10_000;

impl Platform {
    /// A platform without listings; `started` tells this life of it from others.
    #[must_use]
    pub fn new(limits: Limits, faults: Faults, started: jiff::Timestamp) -> Self {
        let start = u64::try_from(started.as_microsecond()).unwrap_or(0);
        Self {
            limits,
            store: RwLock::new(Store::new(Feed::new(start, limits.feed_changes))),
            changes: watch::Sender::new(0),
            feed_slots: Arc::new(Semaphore::new(limits.feed_clients)),
            faults: FaultSwitch::new(faults),
            stats: Stats::default(),
            erasures: Mutex::default(),
            started,
            stopping: CancellationToken::new(),
        }
    }

    /// How many listings there are.
    #[must_use]
    pub fn listings(&self) -> usize {
        self.store.read().len()
    }

    /// Wakes who follows the feed.
    pub(super) fn announce(&self) {
        self.changes.send_modify(|changes| *changes += 1);
    }

    pub(super) fn record(&self, id: &str) -> Option<Arc<Record>> {
        self.store.read().get(id).cloned()
    }
}
