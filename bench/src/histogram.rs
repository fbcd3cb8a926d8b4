//! Latencies: recorded to three significant digits, read as quantiles.

use std::time::Duration;

use hdrhistogram::Histogram;
use serde::Serialize;

/// What is longer is recorded as this long.
const LATENCY_MAX: Duration = Duration::from_secs(600);

/// A histogram of latencies with a resolution of one microsecond, or three digits if that is coarser.
#[derive(Debug, Clone)]
pub(crate) struct Latencies {
    micros: Histogram<u64>,
}

impl Latencies {
    pub(crate) fn new() -> Self {
        let max = u64::try_from(LATENCY_MAX.as_micros()).unwrap_or(u64::MAX);
        #[expect(clippy::expect_used, reason = "the bounds are constants and valid: 1 < max / 2")]
        let micros = Histogram::new_with_bounds(1, max, 3).expect("constant bounds are valid");
        Self { micros }
    }

    pub(crate) fn record(&mut self, latency: Duration) {
        let micros = u64::try_from(latency.as_micros()).unwrap_or(u64::MAX);
        self.micros.saturating_record(micros.max(1));
    }

    /// `None` when nothing was recorded.
    pub(crate) fn quantiles(&self) -> Option<Quantiles> {
        if self.micros.is_empty() {
            return None;
        }
        let at = |quantile| self.micros.value_at_quantile(quantile) as f64 / 1e6;
        Some(Quantiles {
            p50: at(0.5),
            p90: at(0.9),
            p99: at(0.99),
            p999: at(0.999),
            max: self.micros.max() as f64 / 1e6,
            mean: self.micros.mean() / 1e6,
        })
    }
}

/// A distribution of latencies, in seconds.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Quantiles {
    /// The median.
    pub p50: f64,
    /// Nine in ten were no longer.
    pub p90: f64,
    /// 99 in 100 were no longer.
    pub p99: f64,
    /// 999 in 1,000 were no longer.
    pub p999: f64,
    /// The longest.
    pub max: f64,
    /// The mean.
    pub mean: f64,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quantiles_are_right_to_three_digits() {
        let mut latencies = Latencies::new();
        assert_eq!(latencies.quantiles(), None);
        for micros in 1..=10_000 {
            latencies.record(Duration::from_micros(micros));
        }
        latencies.record(Duration::from_secs(100_000));
        let quantiles = latencies.quantiles().unwrap();
        assert!((quantiles.p50 - 0.005).abs() < 0.000_006, "{quantiles:?}");
        assert!((quantiles.p99 - 0.0099).abs() < 0.000_01, "{quantiles:?}");
        assert!((quantiles.max - 600.0).abs() < 0.7, "{quantiles:?}");
    }
}
