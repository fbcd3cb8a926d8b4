//! What was measured, as numbers: for tables, JSON, and between processes.

use serde::{Deserialize, Serialize};

/// Names the form of the JSON.
pub(crate) const SCHEMA: &str = "hexpop-bench-engine/1";

/// Everything of one run.
#[derive(Debug, Serialize)]
pub(crate) struct Report {
    pub(crate) schema: &'static str,
    pub(crate) markets: Vec<MarketReport>,
    pub(crate) updates: Vec<UpdatesLine>,
    pub(crate) sizes: Vec<MarketReport>,
}

/// One market.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct MarketReport {
    /// What it is, for people.
    pub(crate) market: String,
    pub(crate) listings: usize,
    /// Whether the goals are about it.
    pub(crate) has_goals: bool,
    pub(crate) has_texts: bool,
    /// What storing one more listing took on average.
    pub(crate) insert_us: f64,
    /// Microseconds per listing to cut some at the end of the key range off; sizes only.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) cut_us: Option<f64>,
    /// What the resident set grew by while the index was built, less what the scan took of it.
    pub(crate) resident_bytes: usize,
    pub(crate) scan_bytes: usize,
    /// Bytes of the index by part, if it says.
    pub(crate) parts: Vec<Part>,
    pub(crate) lines: Vec<QueryLine>,
}

/// A part of the index.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Part {
    pub(crate) name: String,
    pub(crate) bytes: usize,
}

/// One kind of query.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct QueryLine {
    pub(crate) name: String,
    pub(crate) what: String,
    pub(crate) queries: usize,
    /// Matches of a query, the median.
    pub(crate) matches: u64,
    pub(crate) engine_p50_ms: f64,
    pub(crate) engine_p99_ms: f64,
    pub(crate) scan_p50_ms: f64,
    pub(crate) goal_ms: Option<f64>,
    /// Whether the time should be that of any other number of listings.
    pub(crate) constant: bool,
}

/// One reader, without and with updates.
#[derive(Debug, Serialize)]
pub(crate) struct UpdatesLine {
    pub(crate) publish: &'static str,
    pub(crate) query: &'static str,
    pub(crate) quiet_p50_ms: f64,
    pub(crate) quiet_p99_ms: f64,
    pub(crate) p50_ms: f64,
    pub(crate) p99_ms: f64,
    pub(crate) answers: usize,
    pub(crate) torn: usize,
    pub(crate) updates_per_second: f64,
    pub(crate) update_p50_ms: f64,
    pub(crate) update_p99_ms: f64,
}

impl MarketReport {
    /// Bytes of the index as its parts say, or else as the resident set grew.
    pub(crate) fn index_bytes(&self) -> usize {
        let parts: usize = self.parts.iter().map(|part| part.bytes).sum();
        if self.parts.is_empty() { self.resident_bytes } else { parts }
    }

    /// Bytes per listing.
    pub(crate) fn per_listing(&self, bytes: usize) -> f64 {
        bytes as f64 / self.listings.max(1) as f64
    }
}
