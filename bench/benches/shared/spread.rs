//! Many times as two.

/// Seconds at the middle and in the tail.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Spread {
    pub(crate) p50: f64,
    pub(crate) p99: f64,
}

impl Spread {
    /// Of those times; zero of none.
    pub(crate) fn of(mut seconds: Vec<f64>) -> Self {
        seconds.sort_unstable_by(f64::total_cmp);
        let at = |permille: usize| {
            let rank = (seconds.len() * permille).div_ceil(1000).saturating_sub(1);
            seconds.get(rank).copied().unwrap_or(0.0)
        };
        Self { p50: at(500), p99: at(990) }
    }
}
