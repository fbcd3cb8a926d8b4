//! How the groups of a node are run.

use std::time::Duration;

use hexpop_edge_config::{ClusterId, NodeId};
use hexpop_shard::{MergeLimits, PlacementPolicy, ReaderLimits, Rings, SplitLimits};
use openraft::SnapshotPolicy;

use crate::error::OpenError;

/// How the groups of a node are run.
#[derive(Debug, Clone)]
pub struct Options {
    /// The cluster; messages of another one are refused.
    pub cluster: ClusterId,
    /// This node.
    pub node: NodeId,
    /// The nodes that found the cluster, the same list on all of them; empty on a node that only
    /// joins.
    pub bootstrap: Vec<NodeId>,
    /// How many members must be alive before the first shard map is made.
    pub expect_nodes: u32,
    /// Where replicas go.
    pub policy: PlacementPolicy,
    /// How often a leader tells its followers that it lives. Default 75 ms.
    pub heartbeat: Duration,
    /// The least time a follower waits before it stands for election. Default 250 ms.
    pub election_min: Duration,
    /// The most; also the lease, and the grace after a start. Default 330 ms.
    pub election_max: Duration,
    /// Whether a leader answers strong reads without asking its voters again while a quorum answered it
    /// within [`read_lease`](Self::read_lease). Default no: see there for what this takes for granted.
    pub lease_reads: bool,
    /// After so long without anything to do a group is parked: no heartbeats, no timers. Default 2 s.
    pub park_after: Duration,
    /// How many bytes of log a group gathers before it writes a snapshot, or half of its state if
    /// that is more. Default 64 MiB.
    pub log_bytes_before_snapshot: u64,
    /// The size of a snapshot's chunks, on disk and on the wire, in bytes. Default 1 MiB.
    pub snapshot_chunk_bytes: usize,
    /// How many bytes of entries one append carries. Default 1 MiB.
    pub append_bytes_max: usize,
    /// How many proposals of one group may be under way. Default 4096.
    pub proposals_max: usize,
    /// The largest command, encoded, in bytes. Default 4 MiB.
    pub command_bytes_max: usize,
    /// How many bytes of documents are kept decoded in memory. Default 64 MiB.
    pub hot_documents_bytes: u64,
    /// How long a leader that is where it should not be stays there before it is moved, so that
    /// leaders do not wander while nodes come and go. Default 10 s.
    pub leader_age_min: Duration,
    /// How long after an erasure a replica begins to rid its disk of what was erased; erasures within
    /// this time share the work. Default 30 s.
    pub compact_after_erasure: Duration,
    /// What a shard may have before it is divided. Default no limit.
    pub split_limits: SplitLimits,
    /// Whether merges of shards may be begun; what runs is carried on. Default no.
    pub merge: bool,
    /// When neighbours are merged by themselves, where merges may be begun. Default with at most 40 % of what
    /// divides a shard for 10 min, one a minute.
    pub merge_limits: MergeLimits,
    /// How long a node must be down before its replicas are made anew elsewhere. Default 5 min.
    pub repair_after: Duration,
    /// How many replicas may be on the move from node to node at a time, in the whole mesh. Default none.
    pub moves_at_once: usize,
    /// How many of them may be on their way to one node, and sent by one, at a time. Default 4.
    pub moves_per_node: usize,
    /// How long most writes of a shard must have come in at one PoP before its leader goes there. Default 30 s.
    pub follow_writers_after: Duration,
    /// Which PoPs are near each other. Default all.
    pub rings: Rings,
    /// When a PoP gets a learner of what it reads. Default never.
    pub reader_limits: ReaderLimits,
}

impl Options {
    /// The defaults, for a node of a cluster.
    #[must_use]
    pub fn new(
        cluster: ClusterId,
        node: NodeId,
        bootstrap: Vec<NodeId>,
        policy: PlacementPolicy,
    ) -> Self {
        Self {
            cluster,
            node,
            expect_nodes: u32::try_from(bootstrap.len()).unwrap_or(u32::MAX).max(1),
            bootstrap,
            policy,
            heartbeat: Duration::from_millis(75),
            election_min: Duration::from_millis(250),
            election_max: Duration::from_millis(330),
            lease_reads: false,
            park_after: Duration::from_secs(2),
            log_bytes_before_snapshot: 64 << 20,
            snapshot_chunk_bytes: 1 << 20,
            append_bytes_max: 1 << 20,
            proposals_max: 4096,
            command_bytes_max: 4 << 20,
            hot_documents_bytes: 64 << 20,
            leader_age_min: Duration::from_secs(10),
            compact_after_erasure: Duration::from_secs(30),
            split_limits: SplitLimits {
                keys: 0,
                bytes: 0,
                writes_per_s: 0,
                reads_per_s: 0,
                persist_ms: 10_000,
                rest_ms: 120_000,
            },
            merge: false,
            merge_limits: MergeLimits { percent: 40, persist_ms: 600_000, rest_ms: 60_000 },
            repair_after: Duration::from_secs(300),
            moves_at_once: 0,
            moves_per_node: 4,
            follow_writers_after: Duration::from_secs(30),
            rings: Rings::default(),
            reader_limits: ReaderLimits::NONE,
        }
    }

    /// The node that alone initialises the meta group: the lowest of the bootstrap list.
    #[must_use]
    pub fn initialiser(&self) -> Option<NodeId> {
        self.bootstrap.iter().min().copied()
    }

    /// How long after a quorum answered it a leader may read without asking again, if at all: half of
    /// the time for which voters vote for nobody else (Ongaro's dissertation, section 6.4.1).
    ///
    /// That takes for granted that no voter's monotonic clock runs at more than twice the rate of the
    /// leader's, counted from before the leader sent what was answered. Steps of the wall clock do not
    /// matter. A machine that is suspended or moved while it runs breaks it: Linux's monotonic clock
    /// does not count that time.
    #[must_use]
    pub fn read_lease(&self) -> Duration {
        if self.lease_reads { self.election_max / 2 } else { Duration::ZERO }
    }

    /// openraft's view of these options.
    ///
    /// - Its election timers are off ([`pairs::stand`](crate::pairs)), and its ticks but at leaders.
    /// - Pre-vote is on, so that a node which was cut off does not depose a leader on its return.
    /// - A leader without a quorum falls silent in phases ([`check_quorum`](crate::check_quorum)), which
    ///   openraft's own way of doing so cannot tell from a group that was parked.
    /// - A restarted leader stands for election again (`enable_leader_restore` off). It may have
    ///   sent an entry to others before its own disk had it; restored into the same term it could
    ///   give another entry the same term and index.
    /// - Log reversion stays off: a follower that lost its log is a new replica, never a voter
    ///   that forgot.
    ///
    /// # Errors
    /// [`OpenError::Options`] when openraft refuses the numbers.
    pub(crate) fn raft_config(&self) -> Result<openraft::Config, OpenError> {
        let millis = |duration: Duration| u64::try_from(duration.as_millis()).unwrap_or(u64::MAX);
        openraft::Config {
            cluster_name: self.cluster.to_string(),
            heartbeat_interval: millis(self.heartbeat),
            heartbeat_min_interval: Some(millis(self.heartbeat)),
            election_timeout_min: millis(self.election_min),
            election_timeout_max: millis(self.election_max),
            quorum_loss_probe_interval: None,
            enable_pre_vote: Some(true),
            enable_leader_restore: Some(false),
            allow_log_reversion: Some(false),
            enable_tick: false,
            enable_elect: false,
            snapshot_policy: SnapshotPolicy::Never,
            // The supervisor purges.
            max_in_snapshot_log_to_keep: u64::MAX,
            snapshot_max_chunk_size: u64::try_from(self.snapshot_chunk_bytes).unwrap_or(1 << 20),
            install_snapshot_timeout: 60_000,
            ..openraft::Config::default()
        }
        .validate()
        .map_err(|error| OpenError::Options(error.to_string()))
    }
}
