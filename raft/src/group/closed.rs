//! How old a replica's state is at most: what leaders closed, and what followers were told of it.

use std::{sync::atomic::Ordering, time::Duration};

use hexpop_edge_config::planted::{self, Bug};
use openraft::{AsyncRuntime, Instant as _, ServerState};

use super::Group;
use crate::types::LogId;

/// What the leader had committed at a time on this node's clock.
#[derive(Debug, Clone, Copy)]
pub(super) struct Closed<I> {
    index: u64,
    /// When it was asked for.
    asked: I,
    /// How much older than that it may be.
    age: Duration,
}

impl<I: openraft::Instant> Closed<I> {
    fn staleness(&self) -> Duration {
        self.asked.elapsed().saturating_add(self.age)
    }
}

impl<R: AsyncRuntime> Group<R> {
    /// Whether the replica has been as new as its leader was at some time since the start. Before that,
    /// what it has may be as old as its last snapshot.
    pub(crate) fn has_caught_up(&self) -> bool {
        if self.has_caught_up.load(Ordering::Relaxed) {
            return true;
        }
        let age = self.staleness(self.replica.applied().index);
        let has = age.is_some_and(|age| age <= self.started.elapsed());
        self.has_caught_up.fetch_or(has, Ordering::Relaxed) || has
    }

    /// Whether the replica is a learner that has not caught up yet: it may be new, and have nothing.
    pub(crate) fn is_filling(&self) -> bool {
        self.with_metrics(|metrics| metrics.state == ServerState::Learner) && !self.has_caught_up()
    }

    /// What was committed here at a time when a quorum followed this leader, and how long ago
    /// that time is. `None` unless this is a leader that committed something in its term: before
    /// that, entries of earlier terms may be acknowledged and not known here to be committed.
    pub(crate) fn closed_as_leader(&self) -> Option<(LogId, Duration)> {
        let closed = self.with_metrics(|metrics| {
            if metrics.state != ServerState::Leader {
                return None;
            }
            let committed = metrics.cluster_committed?;
            if committed.leader_id.term != metrics.current_term {
                return None;
            }
            let mut voters = metrics.membership_config.membership().voter_ids();
            let alone = voters.next() == Some(metrics.id) && voters.next().is_none();
            let age = match &metrics.last_quorum_acked {
                _ if alone || planted::has(Bug::ClosedIsNow) => Duration::ZERO,
                Some(acked) => acked.elapsed(),
                None if self.sleeps() => Duration::MAX,
                None => return None,
            };
            Some((committed, age))
        });
        if !self.sleeps() {
            return closed;
        }
        // Nobody answers heartbeats there, but promises are confirmed.
        let (committed, age) = closed?;
        let asleep = self.closed_asleep(committed);
        Some(asleep.filter(|(_, asleep)| *asleep < age).unwrap_or((committed, age)))
    }

    /// Takes over what a leader closed, `age` before it was asked at `asked` or later.
    pub(crate) fn note_closed(&self, index: u64, asked: R::Instant, age: Duration) {
        let news = Closed { index, asked, age };
        let mut closed = self.closed.lock();
        if closed.is_none_or(|closed| news.staleness() < closed.staleness()) {
            *closed = Some(news);
        }
    }

    /// How old the state of this replica is at most, if that can be told, were its position
    /// `applied`.
    pub(crate) fn staleness(&self, applied: u64) -> Option<Duration> {
        if let Some((committed, age)) = self.closed_as_leader() {
            return (applied >= committed.index).then_some(age);
        }
        let closed = *self.closed.lock();
        let told = closed.filter(|closed| applied >= closed.index).map(|closed| closed.staleness());
        told.into_iter().chain(self.staleness_asleep(applied)).min()
    }
}
