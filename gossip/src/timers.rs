//! What is to be done when.

use std::{
    collections::BTreeMap,
    time::{Duration, Instant},
};

use hexpop_edge_config::NodeId;

use crate::Identity;

/// Something to be done at its time.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Timer {
    /// Of the protocol.
    Swim(foca::Timer<Identity>),
    /// Ask the seeds who is there.
    Seeds,
    /// Compare facts with a member.
    Sync,
    /// Ask for facts that are missing.
    Pull,
    /// Return after having been declared down.
    Rejoin,
}

/// Of what there is at most one: a newer one takes its place.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Single {
    Seeds,
    Sync,
    Pull,
    Rejoin,
    /// A node that restarts often would otherwise leave one behind each time, for a day.
    Forget(NodeId),
}

impl Timer {
    fn single(&self) -> Option<Single> {
        match self {
            Self::Seeds => Some(Single::Seeds),
            Self::Sync => Some(Single::Sync),
            Self::Pull => Some(Single::Pull),
            Self::Rejoin => Some(Single::Rejoin),
            Self::Swim(foca::Timer::RemoveDown(identity)) => Some(Single::Forget(identity.node)),
            Self::Swim(_) => None,
        }
    }
}

/// A queue by time, and by order of arrival for the same time.
#[derive(Debug, Default)]
pub(crate) struct Timers {
    queue: BTreeMap<(Instant, u64), Timer>,
    singles: BTreeMap<Single, (Instant, u64)>,
    sequence: u64,
}

impl Timers {
    pub(crate) fn add(&mut self, now: Instant, after: Duration, timer: Timer) {
        let key = (now + after, self.sequence);
        self.sequence = self.sequence.wrapping_add(1);
        if let Some(single) = timer.single()
            && let Some(earlier) = self.singles.insert(single, key)
        {
            self.queue.remove(&earlier);
        }
        self.queue.insert(key, timer);
    }

    /// Whether there is one of this kind.
    pub(crate) fn has(&self, single: Single) -> bool {
        self.singles.contains_key(&single)
    }

    /// When the next one is due.
    pub(crate) fn next_due(&self) -> Option<Instant> {
        self.queue.keys().next().map(|(due, _)| *due)
    }

    /// Takes the next one that is due at `now`.
    pub(crate) fn take_due(&mut self, now: Instant) -> Option<Timer> {
        let entry = self.queue.first_entry()?;
        let key = *entry.key();
        if key.0 > now {
            return None;
        }
        let timer = entry.remove();
        if let Some(single) = timer.single() {
            self.singles.remove(&single);
        }
        Some(timer)
    }
}
