//! When requests fall due: a Poisson process from a seed. Pure.

use std::{fmt, str::FromStr, time::Duration};

use serde::{Serialize, Serializer};

use crate::dataset::Rng;

/// The highest rate that can be asked for, requests per second.
const RATE_MAX: f64 = 1_000_000.0;

/// Requests per second, written `2000/s`; above 0, at most a million.
#[derive(Debug, Clone, Copy, PartialEq, PartialOrd)]
pub struct Rate(f64);

impl Rate {
    /// As requests per second.
    #[must_use]
    pub const fn per_second(self) -> f64 {
        self.0
    }
}

/// Text that is no rate.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is not a rate above 0 and up to 1000000/s; write 2000/s")]
pub struct ParseRateError(String);

impl FromStr for Rate {
    type Err = ParseRateError;

    fn from_str(text: &str) -> Result<Self, ParseRateError> {
        text.strip_suffix("/s")
            .and_then(|number| number.parse().ok())
            .filter(|rate: &f64| *rate > 0.0 && *rate <= RATE_MAX)
            .map(Self)
            .ok_or_else(|| ParseRateError(text.to_owned()))
    }
}

impl fmt::Display for Rate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/s", self.0)
    }
}

impl Serialize for Rate {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_f64(self.0)
    }
}

/// The times at which requests fall due, counted from the begin of the run: independent arrivals at
/// a mean rate, so gaps are exponentially distributed and bursts come as real visitors make them.
#[derive(Debug, Clone)]
pub struct Arrivals {
    rng: Rng,
    rate: Rate,
    at_seconds: f64,
    end: Duration,
}

impl Arrivals {
    /// Arrivals at `rate` until `end`, the same ones for the same seed.
    #[must_use]
    pub const fn new(rate: Rate, end: Duration, seed: u64) -> Self {
        Self { rng: Rng::for_element(seed, 1), rate, at_seconds: 0.0, end }
    }
}

impl Iterator for Arrivals {
    type Item = Duration;

    fn next(&mut self) -> Option<Duration> {
        // 1 - unit() is in (0, 1], so its logarithm is finite.
        self.at_seconds -= (1.0 - self.rng.unit()).ln() / self.rate.0;
        let at = Duration::try_from_secs_f64(self.at_seconds).ok()?;
        (at < self.end).then_some(at)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn arrivals(rate: &str, seconds: u64, seed: u64) -> Vec<Duration> {
        Arrivals::new(rate.parse().unwrap(), Duration::from_secs(seconds), seed).collect()
    }

    #[test]
    fn the_mean_rate_is_kept_and_gaps_are_exponential() {
        let due = arrivals("1000/s", 100, 7);
        // The standard deviation of the count is 316.
        assert!((98_500..101_500).contains(&due.len()), "{}", due.len());
        assert!(due.is_sorted());
        let gaps: Vec<f64> =
            due.windows(2).map(|pair| (pair[1] - pair[0]).as_secs_f64() * 1_000.0).collect();
        let above =
            |ms: f64| gaps.iter().filter(|gap| **gap > ms).count() as f64 / gaps.len() as f64;
        for ms in [0.5, 1.0, 2.0] {
            assert!((above(ms) - (-ms).exp()).abs() < 0.01, "{ms} ms: {}", above(ms));
        }
    }

    #[test]
    fn the_same_seed_gives_the_same_times() {
        assert_eq!(arrivals("50/s", 2, 1), arrivals("50/s", 2, 1));
        assert_ne!(arrivals("50/s", 2, 1), arrivals("50/s", 2, 2));
    }

    #[test]
    fn rates_have_a_unit_and_bounds() {
        assert_eq!("0.5/s".parse::<Rate>().unwrap().per_second(), 0.5);
        assert_eq!("2000/s".parse::<Rate>().unwrap().to_string(), "2000/s");
        for wrong in ["2000", "0/s", "-1/s", "NaN/s", "inf/s", "2000000/s", "", "/s", "1/m"] {
            assert!(wrong.parse::<Rate>().is_err(), "{wrong}");
        }
    }
}
