//! Section `telemetry`: logs and metrics.

use super::{ProblemKind, checks::Fault, section::Section, text::check_log_filter, value::Choice};

/// How a log line is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LogFormat {
    /// For people.
    Text,
    /// One JSON object a line.
    Json,
}

/// Logs and metrics.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Telemetry {
    /// What is logged: a level, or a list such as `info,hexpop_raft=debug`.
    ///
    /// Too little: no story after an accident. Too much: the log costs more than the work. Default `info`.
    /// Since 0.1.
    pub log: String,
    /// How a log line is written.
    ///
    /// Default `text`. Since 0.1.
    pub format: LogFormat,
    /// How many replicas of a node get metric lines of their own; with more, all of them are counted
    /// together under `shard="all"`.
    ///
    /// Too low: no curve per shard. Too high: the metrics of a large node become megabytes. Default 128,
    /// 0 to 4096. Since 0.1. Watch `hexpop_replica_staleness_seconds`, `hexpop_shard_keys`.
    pub shard_labels_max: u32,
}

impl Default for Telemetry {
    fn default() -> Self {
        Self { log: "info".to_owned(), format: LogFormat::Text, shard_labels_max: 128 }
    }
}

impl Choice for LogFormat {
    const CHOICES: &'static [(&'static str, Self)] = &[("text", Self::Text), ("json", Self::Json)];
}

impl Telemetry {
    pub(super) fn read(section: &mut Section<'_>) -> Self {
        let default = Self::default();
        Self {
            log: section
                .key("log", "What is logged: a level, or a list such as info,hexpop_raft=debug.")
                .check(|filter: &String| {
                    let fault = |message| Fault::whole(ProblemKind::Wrong, message);
                    check_log_filter(filter).err().map(fault).into_iter().collect()
                })
                .reloads()
                .or(default.log),
            format: section.key("format", "How a log line is written.").or(default.format),
            shard_labels_max: section
                .key(
                    "shard_labels_max",
                    "How many replicas of a node get metric lines of their own.",
                )
                .between(0, 4096)
                .or(default.shard_labels_max),
        }
    }
}
