//! What the router counts. Names as the operations kit has them; labels come from enums and from
//! the nodes of the mesh only.

use std::{fmt, time::Duration};

use prometheus::{
    Gauge, GaugeVec, IntCounter, IntCounterVec, IntGauge, IntGaugeVec, Opts, Registry,
    core::Collector,
};

use crate::{
    breaker::BreakerState,
    breakers::{Class, Target},
    cache::DiskMetrics,
    coding::Coding,
    status::Source,
};

/// The router's metrics. Clones count into the same numbers.
#[derive(Clone)]
pub struct Metrics {
    lookups: IntCounterVec,
    cache_bytes: IntGauge,
    cache_entries: IntGauge,
    fetches: IntCounterVec,
    coalesced: IntCounter,
    tier: IntCounterVec,
    disk: DiskMetrics,
    kept: KeptMetrics,
    purges: PurgeMetrics,
    origin_up: IntGauge,
    breaker_state: IntGaugeVec,
    breaker_opened: IntCounterVec,
    hedges: IntCounterVec,
    shard_requests: IntCounterVec,
    ingest_lines: IntCounterVec,
    ingest_lag: GaugeVec,
}

/// How a request to the origin ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum FetchOutcome {
    Ok,
    NotModified,
    ClientError,
    ServerError,
    Unreachable,
    Timeout,
    BreakerOpen,
}

/// What became of a question to the node that keeps a URI for its PoP.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum TierOutcome {
    /// It was asked.
    Asked,
    /// It gave an answer.
    Served,
    /// It had nothing for the asker.
    Declined,
    /// There was no answer, or the origin failed.
    Failed,
}

impl TierOutcome {
    const fn as_str(self) -> &'static str {
        match self {
            Self::Asked => "asked",
            Self::Served => "served",
            Self::Declined => "declined",
            Self::Failed => "failed",
        }
    }
}

impl FetchOutcome {
    const fn as_str(self) -> &'static str {
        match self {
            Self::Ok => "ok",
            Self::NotModified => "not_modified",
            Self::ClientError => "client_error",
            Self::ServerError => "server_error",
            Self::Unreachable => "unreachable",
            Self::Timeout => "timeout",
            Self::BreakerOpen => "breaker_open",
        }
    }
}

/// What is counted of purges.
#[derive(Clone)]
struct PurgeMetrics {
    applied: IntCounterVec,
    responses: IntCounter,
    resets: IntCounter,
    silence: Gauge,
}

impl PurgeMetrics {
    fn create() -> Result<Self, prometheus::Error> {
        Ok(Self {
            applied: IntCounterVec::new(
                Opts::new(
                    "hexpop_purges_total",
                    "Purges applied to this node's HTTP cache, by what they named and whether that hit.",
                ),
                &["kind", "outcome"],
            )?,
            responses: IntCounter::new(
                "hexpop_purged_responses_total",
                "Stored responses that purges forgot or made stale.",
            )?,
            resets: IntCounter::new(
                "hexpop_purge_resets_total",
                "How often everything was forgotten, since purges may have been missed; once at the start.",
            )?,
            silence: Gauge::new(
                "hexpop_purge_silence_seconds",
                "Time since it was proven that all purges are known; -1 = never since the start.",
            )?,
        })
    }
}

/// What is counted of what a node makes of answers and keeps: parts of searches, compressed bodies.
#[derive(Clone)]
struct KeptMetrics {
    results: IntCounterVec,
    result_bytes: IntGauge,
    compressions: IntCounterVec,
    compressed_bytes: IntGauge,
}

impl KeptMetrics {
    fn create() -> Result<Self, prometheus::Error> {
        Ok(Self {
            results: IntCounterVec::new(
                Opts::new(
                    "hexpop_search_results_total",
                    "Parts of answers to searches, by whether the one that was kept still held.",
                ),
                &["result"],
            )?,
            result_bytes: IntGauge::new(
                "hexpop_search_results_bytes",
                "Bytes of parts of answers to searches that are kept.",
            )?,
            compressions: IntCounterVec::new(
                Opts::new(
                    "hexpop_compressions_total",
                    "Bodies compressed, by coding and whether that was done or refused.",
                ),
                &["coding", "outcome"],
            )?,
            compressed_bytes: IntGauge::new(
                "hexpop_compressed_bytes",
                "Bytes of compressed bodies that are kept.",
            )?,
        })
    }
}

impl Metrics {
    /// Makes the metrics and registers them.
    ///
    /// # Errors
    /// [`prometheus::Error`] when one of the names is taken.
    pub fn register(registry: &Registry) -> Result<Self, prometheus::Error> {
        let metrics = Self::create()?;
        for collector in metrics.collectors() {
            registry.register(collector)?;
        }
        metrics.origin_up.set(1);
        Ok(metrics)
    }

    /// Metrics that nobody reads.
    #[cfg(test)]
    pub(crate) fn unregistered() -> Self {
        Self::create().unwrap()
    }

    fn create() -> Result<Self, prometheus::Error> {
        let counters =
            |name, help, labels: &[&str]| IntCounterVec::new(Opts::new(name, help), labels);
        Ok(Self {
            lookups: counters(
                "hexpop_cache_lookups_total",
                "Answers by where they came from.",
                &["result"],
            )?,
            cache_bytes: IntGauge::new("hexpop_cache_bytes", "Bytes held by the HTTP cache.")?,
            cache_entries: IntGauge::new("hexpop_cache_entries", "URIs held by the HTTP cache.")?,
            fetches: counters(
                "hexpop_cache_fetches_total",
                "Requests to the origin by how they ended.",
                &["class", "outcome"],
            )?,
            coalesced: IntCounter::new(
                "hexpop_cache_coalesced_total",
                "Requests that waited for the fetch of another.",
            )?,
            tier: counters(
                "hexpop_cache_tier_total",
                "Questions to the node of this PoP that keeps a URI, by whether this node asked or was asked, and what became of them.",
                &["role", "outcome"],
            )?,
            disk: DiskMetrics::create()?,
            kept: KeptMetrics::create()?,
            purges: PurgeMetrics::create()?,
            origin_up: IntGauge::new(
                "hexpop_origin_up",
                "Whether the last request to the origin was answered.",
            )?,
            breaker_state: IntGaugeVec::new(
                Opts::new("hexpop_breaker_state", "0 closed, 1 half-open, 2 open."),
                &["target", "class"],
            )?,
            breaker_opened: counters(
                "hexpop_breaker_opened_total",
                "How often breakers opened.",
                &["target", "class"],
            )?,
            hedges: counters(
                "hexpop_hedges_total",
                "Reads sent to a second replica before the first had answered.",
                &["outcome"],
            )?,
            shard_requests: counters(
                "hexpop_shard_requests_total",
                "Requests to shards by kind, place and how they ended.",
                &["kind", "place", "outcome"],
            )?,
            ingest_lines: counters(
                "hexpop_ingest_lines_total",
                "Lines taken in by what became of them.",
                &["outcome"],
            )?,
            ingest_lag: GaugeVec::new(
                Opts::new(
                    "hexpop_ingest_lag_seconds",
                    "Since when a shard's feed is behind the origin; 0 = it is not.",
                ),
                &["shard"],
            )?,
        })
    }

    fn collectors(&self) -> Vec<Box<dyn Collector>> {
        let mut all = self.disk.collectors();
        all.extend(self.own_collectors());
        all
    }

    fn own_collectors(&self) -> Vec<Box<dyn Collector>> {
        vec![
            Box::new(self.lookups.clone()),
            Box::new(self.cache_bytes.clone()),
            Box::new(self.cache_entries.clone()),
            Box::new(self.fetches.clone()),
            Box::new(self.coalesced.clone()),
            Box::new(self.tier.clone()),
            Box::new(self.kept.results.clone()),
            Box::new(self.kept.result_bytes.clone()),
            Box::new(self.kept.compressions.clone()),
            Box::new(self.kept.compressed_bytes.clone()),
            Box::new(self.purges.applied.clone()),
            Box::new(self.purges.responses.clone()),
            Box::new(self.purges.resets.clone()),
            Box::new(self.purges.silence.clone()),
            Box::new(self.origin_up.clone()),
            Box::new(self.breaker_state.clone()),
            Box::new(self.breaker_opened.clone()),
            Box::new(self.hedges.clone()),
            Box::new(self.shard_requests.clone()),
            Box::new(self.ingest_lines.clone()),
            Box::new(self.ingest_lag.clone()),
        ]
    }

    /// Those of the disk tier.
    pub(crate) fn disk(&self) -> DiskMetrics {
        self.disk.clone()
    }

    pub(crate) fn answered_from(&self, source: Source) {
        self.lookups.with_label_values(&[source.label()]).inc();
    }

    pub(crate) fn fetched(&self, class: Class, outcome: FetchOutcome) {
        self.fetches.with_label_values(&[class.as_str(), outcome.as_str()]).inc();
        match outcome {
            FetchOutcome::Unreachable | FetchOutcome::Timeout => self.origin_up.set(0),
            FetchOutcome::BreakerOpen => {}
            FetchOutcome::Ok
            | FetchOutcome::NotModified
            | FetchOutcome::ClientError
            | FetchOutcome::ServerError => self.origin_up.set(1),
        }
    }

    pub(crate) fn coalesced(&self) {
        self.coalesced.inc();
    }

    /// This node asked another one for a URI that it keeps, or learned what became of that.
    pub(crate) fn tier_asked(&self, outcome: TierOutcome) {
        self.tier.with_label_values(&["asker", outcome.as_str()]).inc();
    }

    /// Another node asked this one for a URI.
    pub(crate) fn tier_served(&self, outcome: TierOutcome) {
        self.tier.with_label_values(&["owner", outcome.as_str()]).inc();
    }

    /// A body was compressed, or could not be now.
    pub(crate) fn compressed(&self, coding: Coding, done: bool) {
        let outcome = if done { "done" } else { "refused" };
        self.kept.compressions.with_label_values(&[coding.as_str(), outcome]).inc();
    }

    /// A part of an answer to a search: the one that was kept held, or a shard searched for it.
    pub(crate) fn result(&self, held: bool) {
        self.kept.results.with_label_values(&[if held { "held" } else { "searched" }]).inc();
    }

    /// Bytes of what is kept of answers to searches, and of compressed bodies.
    pub(crate) fn kept_sizes(&self, results: u64, compressed: u64) {
        self.kept.result_bytes.set(i64::try_from(results).unwrap_or(i64::MAX));
        self.kept.compressed_bytes.set(i64::try_from(compressed).unwrap_or(i64::MAX));
    }

    /// A purge that hit so many stored responses.
    pub(crate) fn purged(&self, kind: &str, hit: usize) {
        let outcome = if hit == 0 { "nothing" } else { "hit" };
        self.purges.applied.with_label_values(&[kind, outcome]).inc();
        self.purges.responses.inc_by(hit as u64);
    }

    /// Everything was forgotten, since purges may have been missed; so many responses were stored.
    pub(crate) fn purges_lost(&self, hit: usize) {
        self.purges.resets.inc();
        self.purges.responses.inc_by(hit as u64);
    }

    pub(crate) fn purge_silence(&self, silence: Option<Duration>) {
        self.purges.silence.set(silence.map_or(-1.0, |silence| silence.as_secs_f64()));
    }

    pub(crate) fn cache_size(&self, entries: u64, bytes: u64) {
        self.cache_entries.set(i64::try_from(entries).unwrap_or(i64::MAX));
        self.cache_bytes.set(i64::try_from(bytes).unwrap_or(i64::MAX));
    }

    pub(crate) fn breaker(&self, target: Target, class: Class, state: BreakerState, opened: u64) {
        let target = target.to_string();
        let labels = [target.as_str(), class.as_str()];
        self.breaker_state.with_label_values(&labels).set(state.as_gauge());
        self.breaker_opened.with_label_values(&labels).inc_by(opened);
    }

    pub(crate) fn forget_breaker(&self, target: Target, class: Class) {
        let target = target.to_string();
        let labels = [target.as_str(), class.as_str()];
        // It may never have changed, and so never have been set.
        self.breaker_state.remove_label_values(&labels).ok();
        self.breaker_opened.remove_label_values(&labels).ok();
    }

    pub(crate) fn hedged(&self, won: bool) {
        self.hedges.with_label_values(&[if won { "won" } else { "lost" }]).inc();
    }

    pub(crate) fn shard_request(&self, write: bool, local: bool, outcome: &str) {
        let kind = if write { "write" } else { "read" };
        let place = if local { "local" } else { "peer" };
        self.shard_requests.with_label_values(&[kind, place, outcome]).inc();
    }

    pub(crate) fn ingested(&self, accepted: u64, ignored: u64, rejected: u64) {
        for (outcome, lines) in
            [("accepted", accepted), ("ignored", ignored), ("rejected", rejected)]
        {
            self.ingest_lines.with_label_values(&[outcome]).inc_by(lines);
        }
    }

    pub(crate) fn feed_lag(&self, shard: &str, seconds: f64) {
        self.ingest_lag.with_label_values(&[shard]).set(seconds);
    }

    pub(crate) fn forget_feed(&self, shard: &str) {
        self.ingest_lag.remove_label_values(&[shard]).ok();
    }
}

impl fmt::Debug for Metrics {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Metrics").finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_names_are_ours_and_distinct() {
        let registry = Registry::new();
        let metrics = Metrics::register(&registry).unwrap();
        metrics.answered_from(Source::Hit { ttl: 1 });
        metrics.breaker(Target::Origin, Class::Proxy, BreakerState::Open, 1);
        let names: Vec<_> =
            registry.gather().iter().map(|family| family.name().to_owned()).collect();
        assert!(names.iter().all(|name| name.starts_with("hexpop_")), "{names:?}");
        assert!(Metrics::register(&registry).is_err());
    }
}
