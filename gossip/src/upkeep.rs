//! What is done now and then: asking seeds, comparing and fetching facts, returning.

use std::time::{Duration, Instant};

use foca::State;
use rand::{
    RngExt,
    seq::{IndexedRandom, IteratorRandom},
};

use crate::{
    Event, Gossip, Identity, Output,
    facts::{Key, Topic},
    packet::Kind,
    sync,
    timers::{Single, Timer},
};

/// Members that are asked at once for facts, or to let this node in again.
const TARGETS: usize = 3;
/// A node that stayed this long after a return begins with the shortest pause again.
const STEADY_AFTER: Duration = Duration::from_secs(60);

impl Gossip {
    pub(crate) fn ask_seeds(&mut self, now: Instant) {
        if self.leaving {
            return;
        }
        let alone = !self.connected;
        self.push(Output::AskSeeds { alone });
        let pause = if alone {
            let pause = self.seeds_pause;
            self.seeds_pause = (pause * 2).min(self.options.retry_max);
            pause
        } else {
            self.seeds_pause = self.options.retry_min;
            self.options.announce_period
        };
        let pause = self.jittered(pause);
        self.timers.add(now, pause, Timer::Seeds);
    }

    /// Compares facts with one member, a part of them at a time.
    pub(crate) fn sync(&mut self, now: Instant) {
        let pause = self.jittered(self.options.sync_period);
        self.timers.add(now, pause, Timer::Sync);
        let mut versions =
            self.facts.lock().versions_from(self.sync_from.take(), sync::DIGEST_ENTRIES_MAX + 1);
        if versions.len() > sync::DIGEST_ENTRIES_MAX {
            self.sync_from = versions.pop().map(|(key, _)| key);
        }
        let members: Vec<_> = self.up().collect();
        if let Some(to) = members.choose(&mut self.rng)
            && let Some(digest) = sync::encode_digest(true, &versions)
        {
            self.send(*to, Kind::Digest, &digest);
        }
    }

    /// Members whose info is not of their present run.
    fn missing(&self) -> Vec<(Identity, Key)> {
        let facts = self.facts.lock();
        self.up()
            .filter_map(|identity| {
                let key = (Topic::Info, identity.node.0);
                let known = facts.version(key).is_some_and(|v| v.0 >= identity.incarnation);
                (!known).then_some((identity, key))
            })
            .collect()
    }

    pub(crate) fn seek_missing(&mut self, now: Instant) {
        if !self.timers.has(Single::Pull) && !self.leaving && !self.missing().is_empty() {
            // News of a member and what it says about itself often come with one datagram.
            let pause = self.jittered(self.options.pull_period / 4);
            self.timers.add(now, pause, Timer::Pull);
        }
    }

    /// Asks some of the members that are missing for all that is missing: each has at least its
    /// own.
    pub(crate) fn pull(&mut self, now: Instant) {
        let missing = self.missing();
        if missing.is_empty() || self.leaving {
            return;
        }
        let versions: Vec<_> = {
            let facts = self.facts.lock();
            let have = |key| facts.version(key).unwrap_or_default();
            missing.iter().map(|(_, key)| (*key, have(*key))).collect()
        };
        for (to, own) in missing.iter().sample(&mut self.rng, TARGETS) {
            // Its own comes first: a digest holds a limited number.
            let first = versions.iter().filter(|(key, _)| key == own);
            let rest = versions.iter().filter(|(key, _)| key != own);
            let wanted: Vec<_> = first.chain(rest).copied().collect();
            if let Some(digest) = sync::encode_digest(false, &wanted) {
                self.send(*to, Kind::Digest, &digest);
            }
        }
        let pause = self.jittered(self.options.pull_period);
        self.timers.add(now, pause, Timer::Pull);
    }

    /// The others had declared this node down: it returns with a higher incarnation. The first time
    /// at once, then with growing pauses, because two processes with one id would otherwise drive
    /// each other out as fast as the network carries it.
    pub(crate) fn rejoin(&mut self, now: Instant) {
        if self.leaving {
            return;
        }
        let own = *self.identity();
        let highest = self
            .protocol
            .iter_membership_state()
            .map(foca::Member::id)
            .filter(|identity| identity.node == own.node)
            .map(|identity| identity.incarnation)
            .max();
        let said = self.facts.lock().version((Topic::Info, own.node.0)).map(|version| version.0);
        let incarnation = [highest, said, Some(own.incarnation)].into_iter().flatten().max();
        let incarnation = incarnation.unwrap_or_default().saturating_add(1);
        let identity = own.with_incarnation(incarnation);
        self.counters.returns += 1;
        let changed = self.protocol.change_identity(identity, &mut self.runtime);
        self.note(changed);
        if let Err(error) = self.publish_info() {
            tracing::debug!(%error, "cannot publish what this node says about itself");
        }
        self.push(Output::Event(Event::Returned(identity)));
        // Those who hear of it first tell the others.
        let members: Vec<_> = self.up().collect();
        for to in members.into_iter().sample(&mut self.rng, TARGETS) {
            let announced = self.protocol.announce(to, &mut self.runtime);
            self.note(announced);
        }
        self.seeds_pause = self.options.retry_min;
        self.timers.add(now, self.options.retry_min, Timer::Seeds);
    }

    pub(crate) fn schedule_rejoin(&mut self, now: Instant) {
        // Two nodes that hold each other for down tell each other so as fast as the network carries it.
        // If every time put the return off, neither would ever return.
        if self.timers.has(Single::Rejoin) {
            return;
        }
        let steady = self.rejoined.is_none_or(|at| now.duration_since(at) > STEADY_AFTER);
        self.rejoin_pause = if steady {
            Duration::ZERO
        } else {
            (self.rejoin_pause * 2).clamp(self.options.retry_min, self.options.retry_max)
        };
        // Whoever says that this node is down knows of a run with a higher incarnation, perhaps one
        // before the clock was set back; what that run said about itself tells how high it was.
        let own = *self.identity();
        let key = (Topic::Info, own.node.0);
        if let Some(to) = self.heard_from
            && let Some(digest) = sync::encode_digest(false, &[(key, (own.incarnation, u64::MAX))])
        {
            self.send(to, Kind::Digest, &digest);
        }
        let pause = self.jittered(self.rejoin_pause);
        self.rejoined = Some(now + pause);
        self.timers.add(now, pause, Timer::Rejoin);
    }

    fn up(&self) -> impl Iterator<Item = Identity> + use<'_> {
        self.records
            .values()
            .filter(|record| record.state != State::Down)
            .map(|record| record.identity)
    }

    /// Between three quarters and all of `pause`.
    pub(crate) fn jittered(&mut self, pause: Duration) -> Duration {
        pause.mul_f64(self.rng.random_range(0.75..=1.0))
    }
}
