//! Section `chaos`: faults on demand.

use std::time::Duration;

/// Faults on demand, for drills.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Chaos {
    /// Whether fault rules are accepted at all.
    ///
    /// Default false. Since 0.1. Watch `hexpop_faults_active`.
    pub enabled: bool,
    /// The longest life of a fault rule; one that asks for more is refused.
    ///
    /// Too low: long drills have to renew their rules. Too high: a forgotten fault lasts. Default 1 h, 1 s
    /// to 7 d. Since 0.1.
    pub max_ttl: Duration,
}

impl Default for Chaos {
    fn default() -> Self {
        Self { enabled: false, max_ttl: Duration::from_secs(60 * 60) }
    }
}
