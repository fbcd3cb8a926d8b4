//! How a replica falls asleep when its group is parked, and wakes up.
//!
//! The state and its record in [`Parked`](crate::pairs::Parked) change together, under the lock of the
//! latter; the flag lets the hot paths pass without it.

use std::{
    sync::{Arc, atomic::Ordering},
    time::Duration,
};

use hexpop_edge_config::RaftId;
use openraft::{AsyncRuntime, Instant as _, ServerState};

use super::Group;
use crate::{check_quorum, pairs::Led, rpc::ParkOffer, types::LogId};

/// Something is under way at a leader for as long as this lives.
pub(crate) struct Use<'a, R: AsyncRuntime>(&'a Group<R>);

impl<R: AsyncRuntime> Drop for Use<'_, R> {
    fn drop(&mut self) {
        self.0.uses.fetch_sub(1, Ordering::SeqCst);
    }
}

impl<R: AsyncRuntime> Group<R> {
    /// Whether the group is parked here.
    pub(crate) fn sleeps(&self) -> bool {
        self.asleep.load(Ordering::SeqCst)
    }

    /// Something begins that the group must be awake for. Whoever parks a group looks for this *after*
    /// it is asleep, and whoever uses it looks whether it is asleep after this: one of them sees the
    /// other.
    pub(crate) fn begin_use(&self) -> Use<'_, R> {
        self.uses.fetch_add(1, Ordering::SeqCst);
        self.active.store(true, Ordering::Relaxed);
        Use(self)
    }

    /// Whether something is under way.
    pub(crate) fn is_in_use(&self) -> bool {
        self.uses.load(Ordering::SeqCst) > 0
            || self.busy.load(Ordering::SeqCst)
            || self.permits.available_permits() < self.proposals_max
    }

    /// Whether there was something to do since this was asked last.
    pub(crate) fn take_active(&self) -> bool {
        self.active.swap(false, Ordering::Relaxed)
    }

    /// Parks the group, which is led here; at `proven` it was certain that nobody else led it.
    pub(crate) fn park(&self, led: Led, proven: R::Instant) {
        let mut parked = self.parked.lock();
        parked.park(self.id, led, proven);
        self.stop_timer(true);
    }

    /// Promises `leader`, in its life `start`, to vote for nobody while its node is heard.
    pub(crate) fn sleep_under(&self, leader: RaftId, start: u64, offer: ParkOffer) {
        let mut parked = self.parked.lock();
        parked.sleep(self.id, leader, start, offer.term, offer.index);
        self.stop_timer(false);
    }

    /// The timer runs again, whatever was promised or parked.
    pub(crate) fn rouse(&self) {
        if !self.sleeps() {
            return;
        }
        let led = {
            let mut parked = self.parked.lock();
            parked.rouse(self.id);
            let led = parked.wake_led(self.id);
            self.start_timer();
            led
        };
        if led {
            self.call_followers();
        }
    }

    /// The leader goes to work again: everybody hears of it at once.
    pub(crate) fn wake(&self) {
        if !self.sleeps() {
            return;
        }
        {
            let mut parked = self.parked.lock();
            if !parked.wake_led(self.id) {
                return;
            }
            self.start_timer();
        }
        self.call_followers();
    }

    fn call_followers(&self) {
        self.wakes.inc();
        let raft = self.raft.clone();
        drop(R::spawn(async move {
            if let Err(error) = raft.trigger().heartbeat().await {
                tracing::debug!(%error, "no heartbeat of a stopped replica");
            }
        }));
    }

    /// Wakes the group for something that openraft refuses while the leader's lease is over: waits for a
    /// quorum to answer the first heartbeat, at most as long as that lease.
    pub(crate) async fn wake_for(&self, deadline: Duration) {
        self.wake();
        let lease = self.lease;
        let is_ready = || {
            self.quorum_age().is_none_or(|age| age < lease) || self.woken.lock().elapsed() >= lease
        };
        self.until(R::Instant::now() + deadline.min(lease), is_ready).await;
    }

    /// Waits until something holds that openraft's view decides, at most until then.
    pub(crate) async fn until(&self, until: R::Instant, holds: impl Fn() -> bool) {
        loop {
            // It notices what happens from here on.
            let changed = self.changed.notified();
            if holds() || R::timeout_at(until, changed).await.is_err() {
                return;
            }
        }
    }

    /// How long ago a quorum last answered this leader; `None` if it leads nothing that others answer
    /// for.
    pub(crate) fn quorum_age(&self) -> Option<Duration> {
        let (term, answered) = self.with_metrics(|metrics| {
            if metrics.state != ServerState::Leader {
                return None;
            }
            let mut voters = metrics.membership_config.membership().voter_ids();
            let alone = voters.next() == Some(metrics.id) && voters.next().is_none();
            let answered = metrics.last_quorum_acked.as_ref().map(|acked| acked.elapsed());
            (!alone).then_some((metrics.current_term, answered))
        })?;
        // Before the first answer: since it was first seen to lead in this term.
        let since = || {
            let mut began = self.began_to_lead.lock();
            if began.0 != term {
                *began = (term, R::Instant::now());
            }
            began.1.elapsed()
        };
        Some(answered.unwrap_or_else(since))
    }

    fn stop_timer(&self, leads: bool) {
        if let Some((observer, raft)) = &self.observed.0 {
            observer.slept(*raft, self.id, leads);
        }
        self.asleep.store(true, Ordering::SeqCst);
        self.set_timer();
    }

    fn start_timer(&self) {
        *self.woken.lock() = R::Instant::now();
        self.asleep.store(false, Ordering::SeqCst);
        self.set_timer();
    }

    /// Only a leader that is awake has a use for openraft's timer: it sends heartbeats. Elections have a
    /// time of their own ([`pairs`](crate::pairs)), and a thousand timers that find nothing to do take
    /// a quarter of a core.
    fn set_timer(&self) {
        let ticks = self.leads() && !self.sleeps();
        if self.ticks.swap(ticks, Ordering::SeqCst) != ticks {
            self.raft.runtime_config().tick(ticks);
        }
    }

    /// openraft's view changed: the replica may lead now, or lead no more.
    pub(crate) fn note_role(&self) {
        if self.ticks.load(Ordering::SeqCst) != (self.leads() && !self.sleeps()) {
            let _parked = self.parked.lock();
            self.set_timer();
        }
    }

    /// When it was woken last; at first, when it started.
    pub(crate) fn woken(&self) -> R::Instant {
        *self.woken.lock()
    }

    /// Whether this replica must vote for nobody because the group is parked.
    pub(crate) fn is_promised(&self) -> bool {
        self.sleeps() && self.parked.lock().forbids_vote(self.id)
    }

    /// Whether a leader may send appends: one that no quorum answers is silent in phases. `hears`: whether
    /// the node of another replica is heard.
    pub(crate) fn may_speak(&self, hears: impl Fn(RaftId) -> bool) -> bool {
        // Not (yet) seen to lead, or nobody's answer is needed.
        let Some(age) = self.quorum_age() else { return true };
        let age = age.min(self.woken.lock().elapsed());
        age < self.lease || check_quorum::may_speak(age, self.lease, self.is_quorum(hears))
    }

    /// Whether this replica and those others that `is_counted` are a quorum; of both, while the members
    /// change from some to others.
    fn is_quorum(&self, is_counted: impl Fn(RaftId) -> bool) -> bool {
        let configs = self.with_metrics(|metrics| {
            metrics.membership_config.membership().get_joint_config().clone()
        });
        let own = self.raft.node_id();
        configs.iter().all(|voters| {
            let counted = voters.iter().filter(|raft| *raft == own || is_counted(RaftId(**raft)));
            counted.count() > voters.len() / 2
        })
    }

    /// What is closed of a group that is parked here: see [`closed_as_leader`](Self::closed_as_leader).
    pub(super) fn closed_asleep(&self, committed: LogId) -> Option<(LogId, Duration)> {
        let (index, age) = self.parked.lock().closed_as_leader(self.id, R::Instant::now())?;
        (committed.index == index).then_some((committed, age))
    }

    /// How old a replica that sleeps under another node is at most, if it has applied `applied`.
    pub(super) fn staleness_asleep(&self, applied: u64) -> Option<Duration> {
        if self.sleeps() { self.parked.lock().staleness(self.id, applied) } else { None }
    }
}

/// The record of what is parked on a node.
pub(crate) type ParkedOf<R> =
    Arc<parking_lot::Mutex<crate::pairs::Parked<<R as AsyncRuntime>::Instant>>>;
