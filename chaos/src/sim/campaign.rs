//! Many worlds, one thread each.

use std::{
    collections::BTreeMap,
    ops::RangeInclusive,
    sync::atomic::{AtomicBool, AtomicU64, Ordering},
    thread,
    time::Duration,
};

use parking_lot::Mutex;

use super::{Outcome, Settings, run};

/// What a campaign came to.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Campaign {
    /// Worlds that ran.
    pub seeds: u64,
    /// Worlds in which something was violated.
    pub violations: u64,
    /// How often what happened in all of them.
    pub coverage: BTreeMap<&'static str, u64>,
    /// Virtual time in all.
    pub simulated: Duration,
    /// The lowest seed with a violation.
    pub first: Option<u64>,
}

/// Runs the worlds of all `seeds`, on so many threads; each is told to `on_outcome` as it ends, in any
/// order. No new world is begun after one that `stops`.
pub fn campaign(
    settings: &Settings,
    seeds: RangeInclusive<u64>,
    threads: usize,
    stops: impl Fn(&Outcome) -> bool + Sync,
    on_outcome: impl FnMut(&Outcome) + Send,
) -> Campaign {
    let next = AtomicU64::new(*seeds.start());
    let is_over = AtomicBool::new(false);
    let state = Mutex::new((Campaign::default(), on_outcome));
    let worker = || {
        while !is_over.load(Ordering::Relaxed) {
            let seed = next.fetch_add(1, Ordering::Relaxed);
            if !seeds.contains(&seed) {
                return;
            }
            let outcome = run(&Settings { seed, ..settings.clone() });
            let mut state = state.lock();
            let (campaign, on_outcome) = &mut *state;
            campaign.add(&outcome);
            on_outcome(&outcome);
            if stops(&outcome) {
                is_over.store(true, Ordering::Relaxed);
            }
        }
    };
    thread::scope(|scope| {
        for _ in 0..threads.max(1) {
            scope.spawn(worker);
        }
    });
    state.into_inner().0
}

impl Campaign {
    fn add(&mut self, outcome: &Outcome) {
        self.seeds += 1;
        self.simulated += outcome.simulated;
        if !outcome.violations.is_empty() {
            self.violations += 1;
            self.first = Some(self.first.map_or(outcome.seed, |first| first.min(outcome.seed)));
        }
        for (name, count) in &outcome.coverage {
            *self.coverage.entry(name).or_default() += count;
        }
    }
}
