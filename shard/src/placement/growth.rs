//! When a shard has grown too large, or too busy, to stay one.
//!
//! A pure function of what its leader measured, of reads any replica, and of how long that has been so: a burst divides nothing,
//! a load around the limit does not either divide again and again.

use hexpop_edge_config::ByteSize;
use serde::{Deserialize, Serialize};

/// What a shard may have before it divides; 0 = no limit.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SplitLimits {
    /// Records.
    pub keys: u64,
    /// Bytes, documents included.
    pub bytes: u64,
    /// Writes a second.
    pub writes_per_s: u64,
    /// Reads a second, at any one of its replicas.
    pub reads_per_s: u64,
    /// How long it must have been over a limit, in milliseconds.
    pub persist_ms: u64,
    /// How long after a division was asked for none is asked for again, in milliseconds: what came of it
    /// has to show first.
    pub rest_ms: u64,
}

/// What the leader of a shard measured; of reads, the replica that looks.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct ShardLoad {
    /// Records.
    pub keys: u64,
    /// Bytes, documents included.
    pub bytes: u64,
    /// Writes a second, lately.
    pub writes_per_s: u64,
    /// Reads a second, lately, at this replica.
    pub reads_per_s: u64,
}

/// How long a shard has been too large.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Growth {
    over_since_ms: Option<u64>,
    asked_ms: Option<u64>,
}

/// Below this many percent of every limit a shard counts as within them again.
const WITHIN_PERCENT: u64 = 80;

impl Growth {
    /// Of a shard that has divided at `now_ms`: what came of it has to show first, whoever asked for it.
    #[must_use]
    pub const fn divided(now_ms: u64) -> Self {
        Self { over_since_ms: None, asked_ms: Some(now_ms) }
    }

    /// Takes what was measured at `now_ms`. Answers why the shard is to be divided, in words, if it is.
    pub fn look(&mut self, now_ms: u64, load: &ShardLoad, limits: &SplitLimits) -> Option<String> {
        let over = over(load, limits, 100);
        if over.is_none() {
            // A load that falls a little below its limit for a moment is not over it anew.
            if self::over(load, limits, WITHIN_PERCENT).is_none() {
                self.over_since_ms = None;
            }
            return None;
        }
        let since = *self.over_since_ms.get_or_insert(now_ms);
        let persists = now_ms.saturating_sub(since) >= limits.persist_ms;
        let rests = self.asked_ms.is_some_and(|at| now_ms.saturating_sub(at) < limits.rest_ms);
        if !persists || rests {
            return None;
        }
        self.asked_ms = Some(now_ms);
        over
    }
}

/// Which limit a load is over, at so many percent of it.
fn over(load: &ShardLoad, limits: &SplitLimits, percent: u64) -> Option<String> {
    let is_over = |value: u64, limit: u64| {
        limit > 0 && u128::from(value) * 100 > u128::from(limit) * u128::from(percent)
    };
    if is_over(load.keys, limits.keys) {
        return Some(format!("{} records, more than {}", load.keys, limits.keys));
    }
    if is_over(load.bytes, limits.bytes) {
        let (bytes, limit) = (ByteSize::new(load.bytes), ByteSize::new(limits.bytes));
        return Some(format!("{bytes}, more than {limit}"));
    }
    for (rate, limit, what) in [
        (load.writes_per_s, limits.writes_per_s, "writes"),
        (load.reads_per_s, limits.reads_per_s, "reads at one replica"),
    ] {
        if is_over(rate, limit) {
            return Some(format!("{rate} {what} a second, more than {limit}"));
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    const LIMITS: SplitLimits = SplitLimits {
        keys: 100,
        bytes: 0,
        writes_per_s: 50,
        reads_per_s: 200,
        persist_ms: 1_000,
        rest_ms: 5_000,
    };

    fn keys(keys: u64) -> ShardLoad {
        ShardLoad { keys, ..ShardLoad::default() }
    }

    #[test]
    fn only_what_persists_divides_and_then_rests() {
        let mut growth = Growth::default();
        assert_eq!(growth.look(0, &keys(101), &LIMITS), None);
        assert_eq!(growth.look(900, &keys(101), &LIMITS), None);
        // A burst that is over.
        assert_eq!(growth.look(950, &keys(10), &LIMITS), None);
        assert_eq!(growth.look(1_000, &keys(101), &LIMITS), None);
        assert!(growth.look(2_000, &keys(101), &LIMITS).unwrap().contains("101 records"));
        assert_eq!(growth.look(6_900, &keys(101), &LIMITS), None);
        assert!(growth.look(7_000, &keys(101), &LIMITS).is_some());
    }

    #[test]
    fn a_load_about_the_limit_is_over_it_until_it_is_well_below() {
        let mut growth = Growth::default();
        assert_eq!(growth.look(0, &keys(101), &LIMITS), None);
        assert_eq!(growth.look(500, &keys(90), &LIMITS), None);
        assert!(growth.look(1_000, &keys(101), &LIMITS).is_some());
        let mut growth = Growth::default();
        assert_eq!(growth.look(0, &keys(101), &LIMITS), None);
        assert_eq!(growth.look(500, &keys(80), &LIMITS), None);
        assert_eq!(growth.look(1_000, &keys(101), &LIMITS), None);
    }

    #[test]
    fn what_has_no_limit_is_never_over() {
        let mut growth = Growth::default();
        let load = ShardLoad { bytes: u64::MAX, ..ShardLoad::default() };
        growth.look(0, &load, &LIMITS);
        assert_eq!(growth.look(9_000, &load, &LIMITS), None);
        let busy = ShardLoad { writes_per_s: 51, ..ShardLoad::default() };
        growth.look(10_000, &busy, &LIMITS);
        assert!(growth.look(11_000, &busy, &LIMITS).unwrap().contains("writes"));
        let mut growth = Growth::default();
        let asked = |reads_per_s| ShardLoad { reads_per_s, ..ShardLoad::default() };
        assert_eq!(growth.look(0, &asked(201), &LIMITS), None);
        assert_eq!(
            growth.look(500, &asked(170), &LIMITS),
            None,
            "about the limit is over it still"
        );
        assert!(growth.look(1_000, &asked(201), &LIMITS).unwrap().contains("reads at one replica"));
    }
}
