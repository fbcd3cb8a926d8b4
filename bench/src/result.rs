//! The result of a run, as JSON programs can rely on: [`SCHEMA`].

use std::{collections::BTreeMap, time::Duration};

use serde::Serialize;

use crate::{
    histogram::Quantiles,
    limit::{Limit, Verdict},
    port::{ErrorKind, Source},
    run::{Measured, Options},
    tally::ClassTally,
    workload::{Class, Workload},
};

/// The JSON schema of [`Report`].
pub const SCHEMA: &str = include_str!("../schema.json");

/// The result of a run. Times are in seconds.
#[derive(Debug, Clone, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Report {
    /// `hexpop.bench/1`.
    pub schema: &'static str,
    /// The build of the generator.
    pub version: &'static str,
    /// What was asked.
    pub workload: &'static str,
    /// What the run's randomness came from.
    pub seed: u64,
    /// When it began, RFC 3339.
    pub started_at: String,
    /// What was spoken.
    pub protocol: &'static str,
    /// The mean rate of arrivals, requests per second.
    pub target_rate: f64,
    /// Requests under way at most.
    pub connections: usize,
    /// How long was warmed up.
    pub warm_up_seconds: f64,
    /// How long was measured.
    pub duration_seconds: f64,
    /// Whether the run was stopped before its end.
    pub stopped: bool,
    /// Requests sent.
    pub sent: u64,
    /// Of those, answered with success.
    pub ok: u64,
    /// Requests sent more than 5 ms after they were due.
    pub late_starts: u64,
    /// Requests that were due and never sent.
    pub not_started: u64,
    /// Each class, in the order of [`Class::ALL`].
    pub classes: Vec<ClassReport>,
    /// What became of the requests due in each second.
    pub timeline: Vec<Second>,
    /// Each address that was asked.
    pub targets: Vec<TargetReport>,
    /// Each limit and whether it was kept.
    pub limits: Vec<Verdict>,
    /// Processor time.
    pub cpu: Cpu,
}

/// The result of one class.
#[derive(Debug, Clone, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct ClassReport {
    /// The class.
    pub class: Class,
    /// Successes per second.
    pub rate: f64,
    /// Successes.
    pub ok: u64,
    /// Failures by kind.
    pub errors: BTreeMap<ErrorKind, u64>,
    /// Requests sent more than 5 ms after they were due.
    pub late_starts: u64,
    /// From due to answered, successes only; null without any.
    pub response_seconds: Option<Quantiles>,
    /// From sent to answered, successes only; null without any.
    pub service_seconds: Option<Quantiles>,
    /// The longest time without a success.
    pub gap_seconds: f64,
    /// Where successes came from.
    pub sources: SourceCounts,
}

/// Where answers came from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize)]
pub struct SourceCounts {
    /// The asked node.
    pub hit: u64,
    /// Another node.
    pub peer: u64,
    /// The origin.
    pub origin: u64,
    /// Answers that did not say.
    pub unsaid: u64,
}

/// What became of the requests that were due in one second.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Second {
    /// From 0.
    pub second: u64,
    /// Successes by class.
    pub ok: BTreeMap<Class, u64>,
    /// Failures by class.
    pub failed: BTreeMap<Class, u64>,
}

/// One address that was asked.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize)]
pub struct TargetReport {
    /// The address.
    pub url: String,
    /// Requests sent to it.
    pub sent: u64,
    /// Attempts to connect that failed; the request went to the next address.
    pub unreachable: u64,
    /// Turns that were given to the next address meanwhile.
    pub skipped: u64,
}

/// Processor time, in cores: 1.0 is one core all the time.
#[derive(Debug, Clone, Copy, PartialEq, Default, Serialize)]
pub struct Cpu {
    /// Of the generator.
    pub generator: Option<f64>,
    /// Of all nodes together, if they told.
    pub server: Option<f64>,
}

impl ClassReport {
    fn new(class: Class, tally: &ClassTally, measured: Duration) -> Self {
        let source = |source| tally.sources.get(&source).copied().unwrap_or_default();
        Self {
            class,
            rate: per_second(tally.ok, measured),
            ok: tally.ok,
            errors: tally.errors.clone(),
            late_starts: tally.late_starts,
            response_seconds: tally.response.quantiles(),
            service_seconds: tally.service.quantiles(),
            gap_seconds: tally.gap.as_secs_f64(),
            sources: SourceCounts {
                hit: source(Some(Source::Hit)),
                peer: source(Some(Source::Peer)),
                origin: source(Some(Source::Origin)),
                unsaid: source(None),
            },
        }
    }

    /// Requests that failed, those never sent included.
    #[must_use]
    pub fn failed(&self) -> u64 {
        self.errors.values().sum()
    }

    /// Requests that were due.
    #[must_use]
    pub fn due(&self) -> u64 {
        self.ok + self.failed()
    }

    /// Requests that were due and never sent.
    #[must_use]
    pub fn not_started(&self) -> u64 {
        self.errors.get(&ErrorKind::NotStarted).copied().unwrap_or_default()
    }
}

impl Report {
    /// The report of a run, without targets, limits and processor time.
    #[must_use]
    pub fn new(workload: &Workload, options: &Options, started_at: String, run: &Measured) -> Self {
        let classes: Vec<ClassReport> = Class::ALL
            .into_iter()
            .filter_map(|class| Some((class, run.tally.classes.get(&class)?)))
            .map(|(class, tally)| ClassReport::new(class, tally, run.measured))
            .collect();
        let sum = |count: fn(&ClassReport) -> u64| classes.iter().map(count).sum::<u64>();
        let not_started = sum(ClassReport::not_started);
        let timeline = run.tally.seconds.iter().zip(0..).map(|(tally, second)| Second {
            second,
            ok: tally.ok.clone(),
            failed: tally.failed.clone(),
        });
        Self {
            schema: "hexpop.bench/1",
            version: env!("CARGO_PKG_VERSION"),
            workload: workload.name,
            seed: options.seed,
            started_at,
            protocol: "HTTP/1.1",
            target_rate: options.rate.per_second(),
            connections: options.connections,
            warm_up_seconds: options.warm_up.as_secs_f64(),
            duration_seconds: run.measured.as_secs_f64(),
            stopped: run.stopped,
            sent: sum(ClassReport::due) - not_started,
            ok: sum(|class| class.ok),
            late_starts: sum(|class| class.late_starts),
            not_started,
            timeline: timeline.collect(),
            classes,
            targets: Vec::new(),
            limits: Vec::new(),
            cpu: Cpu::default(),
        }
    }

    /// Judges the run by `limits`; answers whether all were kept.
    pub fn judge(&mut self, limits: &[Limit]) -> bool {
        self.limits = limits.iter().map(|limit| limit.judge(self)).collect();
        self.limits.iter().all(|verdict| verdict.passed)
    }
}

fn per_second(count: u64, time: Duration) -> f64 {
    if time.is_zero() { 0.0 } else { count as f64 / time.as_secs_f64() }
}

#[cfg(test)]
pub(crate) mod tests;
