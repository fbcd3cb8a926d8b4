//! Times of whole queries.

use std::time::{Duration, Instant};

use crate::{clock, spread::Spread};

/// Rounds over many queries; the median of a query's rounds is its time.
const ROUNDS: usize = 3;
/// With fewer queries than this every single run counts instead.
const QUERIES_FEW: usize = 100;
/// Runs altogether when there are few queries.
const RUNS: usize = 200;
/// Runs at least, whatever they cost.
const RUNS_MIN: usize = 15;

/// The spread over `queries` queries, each run by its number, of the time that this thread works,
/// without warm-up. Many queries go
/// round up to three times, and few up to 200 runs, but not beyond `budget` once enough are in.
pub(crate) fn spread(queries: usize, budget: Duration, mut run: impl FnMut(usize)) -> Spread {
    let started = clock::now();
    let mut timed = |query: usize| clock::worked(|| run(query)).1;
    if queries < QUERIES_FEW {
        let mut seconds = Vec::new();
        while seconds.len() < RUNS && (seconds.len() < RUNS_MIN || within(started, budget)) {
            seconds.extend((0..queries).map(&mut timed));
        }
        return Spread::of(seconds);
    }
    let mut rounds = vec![Vec::new(); queries];
    for round in 0..ROUNDS {
        if round > 0 && !within(started, budget) {
            break;
        }
        for (query, seconds) in rounds.iter_mut().enumerate() {
            seconds.push(timed(query));
        }
    }
    Spread::of(rounds.into_iter().map(|seconds| Spread::of(seconds).p50).collect())
}

fn within(started: Instant, budget: Duration) -> bool {
    started.elapsed() < budget
}

/// The resident set of this process in bytes.
pub(crate) fn resident_bytes() -> usize {
    let text = std::fs::read_to_string("/proc/self/smaps_rollup").unwrap_or_default();
    let line = text.lines().find_map(|line| line.strip_prefix("Rss:")).unwrap_or_default();
    let kib: usize = line.trim().trim_end_matches(" kB").parse().unwrap_or(0);
    kib << 10
}
