//! Section `placement`: where replicas of what no territory names go.

use super::{
    ProblemKind,
    checks::{Fault, check_labels},
    section::Section,
};

/// Where replicas go unless their territory says otherwise.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Placement {
    /// How many voting replicas a shard has.
    ///
    /// 1 does not survive a node; 3 survive one, 5 two, each at the price of a slower write. Odd, 1 to 7.
    /// Default 3. Since 0.1. Watch `hexpop_shards_under_replicated`.
    pub replicas: u32,
    /// How many nodes must be up before the first shard map is made.
    ///
    /// Too low: the first nodes get all shards, which then have to move. Too high: nothing is served until
    /// the last of them is there. Default the number of `mesh.bootstrap`, 1 to 1024. Since 0.1.
    pub expect_nodes: u32,
    /// Residency of everything that names none of its own: a node must carry all of these labels.
    ///
    /// Default none: any node. Since 0.1.
    pub labels: Vec<String>,
}

impl Default for Placement {
    fn default() -> Self {
        Self { replicas: 3, expect_nodes: 1, labels: Vec::new() }
    }
}

impl Placement {
    /// `founders` is the number of `mesh.bootstrap`.
    pub(super) fn read(section: &mut Section<'_>, founders: usize) -> Self {
        let default = Self::default();
        let expect_nodes = u32::try_from(founders).unwrap_or(u32::MAX).max(default.expect_nodes);
        Self {
            replicas: read_replicas(section, default.replicas),
            expect_nodes: section
                .key(
                    "expect_nodes",
                    "How many nodes must be up before the first shard map is made.",
                )
                .between(1, 1024)
                .or(expect_nodes),
            labels: read_labels(section, default.labels),
        }
    }
}

/// Reads the key `replicas`.
pub(super) fn read_replicas(section: &mut Section<'_>, default: u32) -> u32 {
    section
        .key("replicas", "How many voting replicas a shard has; an odd number.")
        .between(1, 7)
        .check(|replicas: &u32| {
            let message = || {
                format!("{replicas} is even, and survives no more failures than {}", replicas - 1)
            };
            let even = replicas.is_multiple_of(2);
            even.then(|| Fault::whole(ProblemKind::Range, message())).into_iter().collect()
        })
        .or(default)
}

/// Reads the key `labels`.
pub(super) fn read_labels(section: &mut Section<'_>, default: Vec<String>) -> Vec<String> {
    section
        .key("labels", "Residency: labels that a node must carry to hold a replica.")
        .check(|labels: &Vec<String>| check_labels(labels))
        .or(default)
}
