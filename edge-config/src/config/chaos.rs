//! Section `chaos`: faults on demand.

use std::time::Duration;

use super::section::Section;

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

impl Chaos {
    pub(super) fn read(section: &mut Section<'_>) -> Self {
        let default = Self::default();
        Self {
            enabled: section
                .key("enabled", "Whether fault rules are accepted at all.")
                .reloads()
                .or(default.enabled),
            max_ttl: section
                .key("max_ttl", "The longest life of a fault rule.")
                .between(Duration::from_secs(1), Duration::from_secs(7 * 24 * 60 * 60))
                .reloads()
                .or(default.max_ttl),
        }
    }
}
