//! Section `purge`: forgetting stored answers of the origin, on all nodes.

use std::time::Duration;

use super::section::Section;

/// Forgetting stored answers of the origin, on all nodes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Purge {
    /// For how long a node serves stored answers without proof that it knows of all purges; from then on it
    /// asks the origin before each of them, until it has caught up.
    ///
    /// This is how long a purged answer may outlive its purge anywhere. Too low: a short loss of the network
    /// sends every request to the origin. Too high: a node that is cut off serves what was purged for so
    /// long. Alike on all nodes. Default 5 s, 500 ms to 1 h. Since 0.1. Watch
    /// `hexpop_purge_silence_seconds`.
    pub max_silence: Duration,
}

impl Default for Purge {
    fn default() -> Self {
        Self { max_silence: Duration::from_secs(5) }
    }
}

impl Purge {
    pub(super) fn read(section: &mut Section<'_>) -> Self {
        Self {
            max_silence: section
                .key(
                    "max_silence",
                    "How long stored answers are served without contact to the purge group.",
                )
                .between(Duration::from_millis(500), Duration::from_secs(60 * 60))
                .or(Self::default().max_silence),
        }
    }
}
