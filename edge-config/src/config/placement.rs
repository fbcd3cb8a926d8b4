//! Section `placement`: where replicas of what no territory names go.

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
