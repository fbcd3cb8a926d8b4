//! What the mesh counts.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

use super::Class;

/// Counters of the mesh of this node since it was opened.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct MeshCounters {
    /// Requests sent, by [`Class::ALL`].
    pub requests_sent: [u64; 5],
    /// Requests received, by [`Class::ALL`].
    pub requests_received: [u64; 5],
    /// Requests sent that got no answer, by [`Class::ALL`].
    pub requests_failed: [u64; 5],
    /// Datagrams sent.
    pub datagrams_sent: u64,
    /// Datagrams received.
    pub datagrams_received: u64,
    /// Datagrams that found no connection, or a full queue.
    pub datagrams_dropped: u64,
    /// Connections made to peers.
    pub connects: u64,
    /// Attempts to connect that failed.
    pub connect_failures: u64,
    /// Connections that were refused here.
    pub refused: u64,
}

/// The counters as they run.
#[derive(Debug, Default)]
pub(super) struct Counters {
    pub(super) requests_sent: [AtomicU64; 5],
    pub(super) requests_received: [AtomicU64; 5],
    pub(super) requests_failed: [AtomicU64; 5],
    pub(super) datagrams_sent: AtomicU64,
    pub(super) datagrams_received: AtomicU64,
    pub(super) datagrams_dropped: AtomicU64,
    pub(super) connects: AtomicU64,
    pub(super) connect_failures: AtomicU64,
    pub(super) refused: AtomicU64,
}

impl Counters {
    /// Counts one of `class`.
    pub(super) fn count(counters: &[AtomicU64; 5], class: Class) {
        if let Some(counter) = counters.get(class.index()) {
            counter.fetch_add(1, Relaxed);
        }
    }

    /// Counts one.
    pub(super) fn add(counter: &AtomicU64) {
        counter.fetch_add(1, Relaxed);
    }

    pub(super) fn read(&self) -> MeshCounters {
        let all = |counters: &[AtomicU64; 5]| counters.each_ref().map(|c| c.load(Relaxed));
        MeshCounters {
            requests_sent: all(&self.requests_sent),
            requests_received: all(&self.requests_received),
            requests_failed: all(&self.requests_failed),
            datagrams_sent: self.datagrams_sent.load(Relaxed),
            datagrams_received: self.datagrams_received.load(Relaxed),
            datagrams_dropped: self.datagrams_dropped.load(Relaxed),
            connects: self.connects.load(Relaxed),
            connect_failures: self.connect_failures.load(Relaxed),
            refused: self.refused.load(Relaxed),
        }
    }
}
