//! Section `telemetry`: logs and metrics.

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
    /// How many shards get a metric line of their own; with more, shards are counted together.
    ///
    /// Too low: no curve per shard. Too high: the metrics of a large node become megabytes. Default 128,
    /// 0 to 4096. Since 0.1.
    pub shard_labels_max: u32,
}

impl Default for Telemetry {
    fn default() -> Self {
        Self { log: "info".to_owned(), format: LogFormat::Text, shard_labels_max: 128 }
    }
}
