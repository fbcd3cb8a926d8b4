//! Metrics of single replicas: a line for each, up to a number of them.

use hexpop_raft::ReplicaStatus;
use prometheus::{
    GaugeVec, IntGaugeVec, Opts, Registry,
    core::{Collector, Desc},
    proto::MetricFamily,
};

use crate::adapters::local::NodeHost;

/// The label of all replicas together.
const ALL: &str = "all";

/// Reads the replicas of a node whenever somebody asks, so that none stays behind that is gone.
struct Replicas {
    host: NodeHost,
    labels_max: usize,
    shape: Gauges,
}

/// Registers the metrics of the replicas of `host`; with more than `labels_max` of them there is one
/// line for all together.
///
/// # Errors
/// When one of their names is taken.
pub fn register(
    registry: &Registry,
    host: NodeHost,
    labels_max: usize,
) -> Result<(), prometheus::Error> {
    registry.register(Box::new(Replicas { host, labels_max, shape: Gauges::new()? }))
}

struct Gauges {
    staleness: GaugeVec,
    keys: IntGaugeVec,
    bytes: IntGaugeVec,
}

impl Gauges {
    fn new() -> Result<Self, prometheus::Error> {
        let labels = &["shard"];
        Ok(Self {
            staleness: GaugeVec::new(
                Opts::new(
                    "hexpop_replica_staleness_seconds",
                    "How far a replica of this node may be behind; of several, the most.",
                ),
                labels,
            )?,
            keys: IntGaugeVec::new(
                Opts::new("hexpop_shard_keys", "Records that a replica of this node holds."),
                labels,
            )?,
            bytes: IntGaugeVec::new(
                Opts::new(
                    "hexpop_shard_bytes",
                    "Memory of a replica of this node, documents not counted.",
                ),
                labels,
            )?,
        })
    }

    fn set(&self, line: &Line) {
        let label = &[line.label.as_str()];
        if let Some(staleness_ms) = line.staleness_ms {
            // Staleness of a replica is far below 2^53 ms.
            self.staleness.with_label_values(label).set(staleness_ms as f64 / 1_000.0);
        }
        let gauge = |count: u64| i64::try_from(count).unwrap_or(i64::MAX);
        self.keys.with_label_values(label).set(gauge(line.keys));
        self.bytes.with_label_values(label).set(gauge(line.bytes));
    }
}

impl Collector for Replicas {
    fn desc(&self) -> Vec<&Desc> {
        let Gauges { staleness, keys, bytes } = &self.shape;
        [staleness.desc(), keys.desc(), bytes.desc()].concat()
    }

    fn collect(&self) -> Vec<MetricFamily> {
        // Gauges of this call alone: two that ask at once do not see half of each other's.
        let Ok(gauges) = Gauges::new() else { return Vec::new() };
        let replicas: Vec<Line> = self.host.replicas().iter().map(Line::of).collect();
        for line in bounded(replicas, self.labels_max) {
            gauges.set(&line);
        }
        [gauges.staleness.collect(), gauges.keys.collect(), gauges.bytes.collect()].concat()
    }
}

/// What is told of a replica, or of all.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Line {
    label: String,
    staleness_ms: Option<u64>,
    keys: u64,
    bytes: u64,
}

impl Line {
    fn of(status: &ReplicaStatus) -> Self {
        Self {
            label: status.shard.to_string(),
            staleness_ms: status.staleness_ms,
            keys: status.keys,
            bytes: status.bytes,
        }
    }
}

/// The lines themselves, or one for all of them when they are more than `labels_max`.
fn bounded(lines: Vec<Line>, labels_max: usize) -> Vec<Line> {
    if lines.len() <= labels_max {
        return lines;
    }
    vec![Line {
        label: ALL.to_owned(),
        staleness_ms: lines.iter().filter_map(|line| line.staleness_ms).max(),
        keys: lines.iter().map(|line| line.keys).sum(),
        bytes: lines.iter().map(|line| line.bytes).sum(),
    }]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn more_replicas_than_labels_are_told_together() {
        let line = |label: &str, staleness_ms, keys| Line {
            label: label.to_owned(),
            staleness_ms,
            keys,
            bytes: keys * 10,
        };
        let lines = vec![line("1", Some(5), 7), line("2", None, 1), line("3", Some(9), 2)];
        assert_eq!(bounded(lines.clone(), 3), lines);
        assert_eq!(bounded(lines.clone(), 2), [line("all", Some(9), 10)]);
        assert_eq!(bounded(lines, 0), [line("all", Some(9), 10)]);
        assert_eq!(bounded(Vec::new(), 0), []);
    }

    #[test]
    fn names_of_one_family_are_collected_with_their_labels() {
        let gauges = Gauges::new().unwrap();
        gauges.set(&Line { label: "17".into(), staleness_ms: Some(1_500), keys: 3, bytes: 4 });
        let family = &gauges.staleness.collect()[0];
        assert_eq!(family.get_metric()[0].get_label()[0].value(), "17");
        assert!((family.get_metric()[0].get_gauge().get_value() - 1.5).abs() < 1e-9);
    }
}
