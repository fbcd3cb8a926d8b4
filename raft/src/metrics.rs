//! Metrics of the groups of a node. The names are listed for operators; labels are closed sets.

use prometheus::{
    Histogram, HistogramOpts, IntCounter, IntCounterVec, IntGauge, IntGaugeVec, Opts, Registry,
    core::Collector,
};

use crate::error::OpenError;

/// What the groups of a node count.
#[derive(Debug, Clone)]
pub struct Metrics {
    pub(crate) leader_changes: IntCounter,
    pub(crate) pairs: PairMetrics,
    pub(crate) lease_reads: IntCounter,
    pub(crate) proposals: IntCounterVec,
    pub(crate) commit_seconds: Histogram,
    pub(crate) reads: IntCounterVec,
    pub(crate) shards: IntGaugeVec,
    pub(crate) shards_without_leader: IntGauge,
    pub(crate) shards_under_replicated: IntGauge,
    pub(crate) sessions_active: IntGauge,
    pub(crate) flush_seconds: Histogram,
    pub(crate) snapshots: IntCounterVec,
    pub(crate) snapshot_bytes_sent: IntCounter,
    pub(crate) refused_frames: IntCounterVec,
    pub(crate) documents_healed: IntCounter,
    pub(crate) splits: IntCounter,
    pub(crate) merges: IntCounter,
}

/// What is counted of pairs of nodes, and of what is parked between them.
#[derive(Debug, Clone)]
pub(crate) struct PairMetrics {
    pub(crate) lost: IntCounter,
    pub(crate) elections: IntCounter,
    pub(crate) parked: IntGaugeVec,
    pub(crate) wakes: IntCounter,
}

/// 50 us to 10 s.
const BUCKETS: [f64; 17] = [
    0.000_05, 0.000_1, 0.000_25, 0.000_5, 0.001, 0.002_5, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5,
    1.0, 2.5, 5.0, 10.0,
];

/// Makes metrics and registers them.
struct Maker<'a>(&'a Registry);

impl Maker<'_> {
    fn keep<M: Collector + Clone + 'static>(
        &self,
        made: prometheus::Result<M>,
    ) -> Result<M, OpenError> {
        let failed = |error: prometheus::Error| OpenError::Metrics(error.to_string());
        let metric = made.map_err(failed)?;
        self.0.register(Box::new(metric.clone())).map_err(failed)?;
        Ok(metric)
    }

    fn counter(&self, name: &str, help: &str) -> Result<IntCounter, OpenError> {
        self.keep(IntCounter::new(name, help))
    }

    fn counters(&self, name: &str, help: &str, label: &str) -> Result<IntCounterVec, OpenError> {
        self.keep(IntCounterVec::new(Opts::new(name, help), &[label]))
    }

    fn gauge(&self, name: &str, help: &str) -> Result<IntGauge, OpenError> {
        self.keep(IntGauge::new(name, help))
    }

    fn gauges(&self, name: &str, help: &str, label: &str) -> Result<IntGaugeVec, OpenError> {
        self.keep(IntGaugeVec::new(Opts::new(name, help), &[label]))
    }

    fn histogram(&self, name: &str, help: &str) -> Result<Histogram, OpenError> {
        let options = HistogramOpts::new(name, help).buckets(BUCKETS.to_vec());
        self.keep(Histogram::with_opts(options))
    }
}

impl PairMetrics {
    fn register(make: &Maker<'_>) -> Result<Self, OpenError> {
        Ok(Self {
            lost: make.counter(
                "hexpop_raft_pairs_lost_total",
                "Times that another node was not heard any more.",
            )?,
            elections: make.counter(
                "hexpop_raft_elections_total",
                "Times that a replica here stood for election because no leader was heard.",
            )?,
            parked: make.gauges(
                "hexpop_raft_parked_groups",
                "Groups without heartbeats because nothing happens in them, by this node's role.",
                "role",
            )?,
            wakes: make.counter(
                "hexpop_raft_wakes_total",
                "Times that a parked group was woken by its leader here.",
            )?,
        })
    }
}

impl Metrics {
    /// Makes the metrics and registers them.
    ///
    /// # Errors
    /// [`OpenError::Metrics`] when one of the names is registered already.
    pub fn register(registry: &Registry) -> Result<Self, OpenError> {
        let make = Maker(registry);
        Ok(Self {
            leader_changes: make.counter(
                "hexpop_raft_leader_changes_total",
                "Changes of leader that replicas of this node saw.",
            )?,
            pairs: PairMetrics::register(&make)?,
            lease_reads: make.counter(
                "hexpop_raft_lease_reads_total",
                "Strong reads that found the leader within its read lease, so that no voter had to be asked.",
            )?,
            proposals: make.counters(
                "hexpop_raft_proposals_total",
                "Proposals made at this node, by outcome.",
                "outcome",
            )?,
            commit_seconds: make.histogram(
                "hexpop_raft_commit_duration_seconds",
                "Time from a proposal to its application, at the leader.",
            )?,
            reads: make.counters(
                "hexpop_raft_reads_total",
                "Reads of replicas of this node, by outcome.",
                "outcome",
            )?,
            shards: make.gauges("hexpop_shards", "Replicas on this node, by state.", "state")?,
            shards_without_leader: make.gauge(
                "hexpop_shards_without_leader",
                "Replicas on this node that know no leader.",
            )?,
            shards_under_replicated: make.gauge(
                "hexpop_shards_under_replicated",
                "Shards of the map with fewer live voters than the policy asks for.",
            )?,
            sessions_active: make
                .gauge("hexpop_sessions_active", "Sessions in shards that this node leads.")?,
            flush_seconds: make.histogram(
                "hexpop_disk_flush_duration_seconds",
                "Duration of flushes of the write-ahead log.",
            )?,
            snapshots: make.counters(
                "hexpop_raft_snapshots_total",
                "Snapshots at this node, by what happened.",
                "event",
            )?,
            snapshot_bytes_sent: make.counter(
                "hexpop_raft_snapshot_sent_bytes_total",
                "Bytes of snapshot chunks sent to other nodes.",
            )?,
            refused_frames: make.counters(
                "hexpop_raft_refused_frames_total",
                "Frames of other nodes that were refused, by reason.",
                "reason",
            )?,
            splits: make.counter(
                "hexpop_raft_splits_total",
                "Shards that began on this node because another one divided.",
            )?,
            merges: make.counter(
                "hexpop_raft_merges_total",
                "Shards that absorbed their neighbour, counted at each of their replicas.",
            )?,
            documents_healed: make.counter(
                "hexpop_documents_healed_total",
                "Documents found missing or damaged and written again.",
            )?,
        })
    }

    /// The duration of flushes, for whoever drives the write-ahead log.
    #[must_use]
    pub const fn flush_seconds(&self) -> &Histogram {
        &self.flush_seconds
    }
}
