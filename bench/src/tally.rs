//! Counts of a run while it runs.

use std::{collections::BTreeMap, time::Duration};

use tokio::time::Instant;

use crate::{
    histogram::Latencies,
    port::{ErrorKind, Outcome, Source},
    workload::Class,
};

/// What is counted of one class.
#[derive(Debug)]
pub(crate) struct ClassTally {
    pub(crate) ok: u64,
    pub(crate) errors: BTreeMap<ErrorKind, u64>,
    pub(crate) late_starts: u64,
    pub(crate) response: Latencies,
    pub(crate) service: Latencies,
    pub(crate) sources: BTreeMap<Option<Source>, u64>,
    last_success: Duration,
    pub(crate) gap: Duration,
}

impl ClassTally {
    fn new() -> Self {
        Self {
            ok: 0,
            errors: BTreeMap::new(),
            late_starts: 0,
            response: Latencies::new(),
            service: Latencies::new(),
            sources: BTreeMap::new(),
            last_success: Duration::ZERO,
            gap: Duration::ZERO,
        }
    }

    fn close_gap(&mut self, at: Duration) {
        self.gap = self.gap.max(at.saturating_sub(self.last_success));
        self.last_success = self.last_success.max(at);
    }
}

/// What became of the requests that were due in one second, by class.
#[derive(Debug, Clone, Default)]
pub(crate) struct SecondTally {
    pub(crate) ok: BTreeMap<Class, u64>,
    pub(crate) failed: BTreeMap<Class, u64>,
}

/// When a request was due, sent and answered.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Times {
    pub(crate) due: Instant,
    pub(crate) start: Instant,
    pub(crate) end: Instant,
}

/// Counts of the measured part of a run.
#[derive(Debug)]
pub(crate) struct Tally {
    begin: Instant,
    late: Duration,
    pub(crate) classes: BTreeMap<Class, ClassTally>,
    pub(crate) seconds: Vec<SecondTally>,
}

impl Tally {
    /// `begin` is where measuring begins, and lasts `length`; starts more than `late` after the due
    /// time are counted as such.
    pub(crate) fn new(
        begin: Instant,
        length: Duration,
        late: Duration,
        classes: impl Iterator<Item = Class>,
    ) -> Self {
        let seconds = usize::try_from(length.as_secs()).unwrap_or(usize::MAX).saturating_add(1);
        Self {
            begin,
            late,
            classes: classes.map(|class| (class, ClassTally::new())).collect(),
            seconds: vec![SecondTally::default(); seconds.min(100_000)],
        }
    }

    /// A request that was answered, or failed with `error`.
    pub(crate) fn record(
        &mut self,
        class: Class,
        times: Times,
        outcome: &Outcome,
        error: Option<ErrorKind>,
    ) {
        if times.due < self.begin {
            return;
        }
        let at = times.end.saturating_duration_since(self.begin);
        let tally = self.classes.entry(class).or_insert_with(ClassTally::new);
        if times.start.saturating_duration_since(times.due) > self.late {
            tally.late_starts += 1;
        }
        if let Some(error) = error {
            *tally.errors.entry(error).or_default() += 1;
        } else {
            tally.ok += 1;
            tally.response.record(times.end.saturating_duration_since(times.due));
            tally.service.record(times.end.saturating_duration_since(times.start));
            if let Outcome::Answered(answer) = outcome {
                *tally.sources.entry(answer.source).or_default() += 1;
            }
            tally.close_gap(at);
        }
        self.second(class, times.due, error.is_none());
    }

    /// A request that never was sent.
    pub(crate) fn not_started(&mut self, class: Class, due: Instant) {
        if due < self.begin {
            return;
        }
        let tally = self.classes.entry(class).or_insert_with(ClassTally::new);
        *tally.errors.entry(ErrorKind::NotStarted).or_default() += 1;
        self.second(class, due, false);
    }

    fn second(&mut self, class: Class, due: Instant, ok: bool) {
        let second = due.saturating_duration_since(self.begin).as_secs();
        let slot = usize::try_from(second).ok().and_then(|second| self.seconds.get_mut(second));
        if let Some(second) = slot {
            let counts = if ok { &mut second.ok } else { &mut second.failed };
            *counts.entry(class).or_default() += 1;
        }
    }

    /// Measuring ends: a time without success that lasts until now counts as well.
    pub(crate) fn close(&mut self, end: Instant) {
        let at = end.saturating_duration_since(self.begin);
        for tally in self.classes.values_mut() {
            tally.close_gap(at);
        }
        while self.seconds.last().is_some_and(|last| last.ok.is_empty() && last.failed.is_empty()) {
            self.seconds.pop();
        }
    }
}
