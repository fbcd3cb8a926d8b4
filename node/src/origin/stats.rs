//! What the origin was asked, so that a test can prove what a cache kept away from it.

use std::collections::BTreeMap;

use parking_lot::Mutex;
use serde_json::{Map, Value, json};

/// How many paths are counted one by one; the others are counted together.
const PATHS_MAX: usize = 20_000;

/// Counts requests. Those that ask for the counts themselves, or set faults, are not counted.
#[derive(Debug, Default)]
pub(super) struct Stats {
    counts: Mutex<Counts>,
}

#[derive(Debug, Default)]
struct Counts {
    requests: u64,
    in_flight: u64,
    in_flight_peak: u64,
    /// `None` = the client went away before its answer, or was sent away without one.
    statuses: BTreeMap<Option<u16>, u64>,
    paths: BTreeMap<String, u64>,
    other_paths: u64,
}

/// A request under way.
#[derive(Debug)]
pub(super) struct InFlight<'a> {
    stats: &'a Stats,
    status: Option<u16>,
}

impl Stats {
    /// Counts a request that begins.
    pub(super) fn begin(&self, path: &str) -> InFlight<'_> {
        let mut counts = self.counts.lock();
        counts.requests += 1;
        counts.in_flight += 1;
        counts.in_flight_peak = counts.in_flight_peak.max(counts.in_flight);
        if let Some(count) = counts.paths.get_mut(path) {
            *count += 1;
        } else if counts.paths.len() < PATHS_MAX {
            counts.paths.insert(path.to_owned(), 1);
        } else {
            counts.other_paths += 1;
        }
        InFlight { stats: self, status: None }
    }

    /// Forgets everything but the requests under way.
    pub(super) fn reset(&self) {
        let mut counts = self.counts.lock();
        let in_flight = counts.in_flight;
        *counts = Counts { in_flight, in_flight_peak: in_flight, ..Counts::default() };
    }

    /// How often one path was asked for.
    pub(super) fn of_path(&self, path: &str) -> Value {
        let requests = self.counts.lock().paths.get(path).copied().unwrap_or(0);
        json!({"path": path, "requests": requests})
    }

    /// All counts.
    pub(super) fn to_json(&self) -> Map<String, Value> {
        let counts = self.counts.lock();
        let statuses: BTreeMap<String, u64> = counts
            .statuses
            .iter()
            .map(|(status, count)| {
                (status.map_or_else(|| "none".to_owned(), |status| status.to_string()), *count)
            })
            .collect();
        Map::from_iter([
            ("requests".to_owned(), json!(counts.requests)),
            ("inFlight".to_owned(), json!(counts.in_flight)),
            ("inFlightPeak".to_owned(), json!(counts.in_flight_peak)),
            ("statuses".to_owned(), json!(statuses)),
            ("paths".to_owned(), json!(counts.paths)),
            ("otherPaths".to_owned(), json!(counts.other_paths)),
        ])
    }
}

impl InFlight<'_> {
    /// The request is answered.
    pub(super) fn answered(mut self, status: http::StatusCode) {
        self.status = Some(status.as_u16());
    }
}

impl Drop for InFlight<'_> {
    fn drop(&mut self) {
        let mut counts = self.stats.counts.lock();
        counts.in_flight = counts.in_flight.saturating_sub(1);
        *counts.statuses.entry(self.status).or_default() += 1;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn requests_are_counted_by_path_and_outcome() {
        let stats = Stats::default();
        let first = stats.begin("/a");
        let second = stats.begin("/a");
        first.answered(http::StatusCode::OK);
        drop(second);
        stats.begin("/b").answered(http::StatusCode::NOT_MODIFIED);
        let all = stats.to_json();
        assert_eq!(all["requests"], 3);
        assert_eq!(all["inFlight"], 0);
        assert_eq!(all["inFlightPeak"], 2);
        assert_eq!(all["paths"], json!({"/a": 2, "/b": 1}));
        assert_eq!(all["statuses"], json!({"none": 1, "200": 1, "304": 1}));
        assert_eq!(stats.of_path("/a")["requests"], 2);
        stats.reset();
        assert_eq!(stats.to_json()["requests"], 0);
    }
}
