//! Section `raft`: consensus groups and their log.

use std::time::Duration;

use super::section::Section;
use crate::ByteSize;

/// Consensus groups and the write-ahead log that they share.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Raft {
    /// How often the leader of a group tells its followers that it lives.
    ///
    /// Too low: idle groups cost CPU and traffic. Too high: the election timeouts have to grow with it.
    /// Three of it must fit below [`election_min`](Self::election_min). Default 75 ms, 10 ms to 10 s.
    /// Since 0.1.
    pub heartbeat: Duration,
    /// The least time that a follower waits without hearing from the leader before it stands for election.
    ///
    /// Too low: elections during short stalls, and below 10 round trips between the voters none is won.
    /// The default is for voters within 25 ms of each other; `hexpop doctor` warns where they are not.
    /// Too high: writes to the shard stall longer when a leader falls silent whose node lives. Default
    /// 250 ms, 50 ms to 60 s. Since 0.1. Watch `hexpop_raft_leader_changes_total`.
    pub election_min: Duration,
    /// The most time of the same. It is also the lease: peers refuse votes this long after they heard
    /// from the leader.
    ///
    /// Close to `election_min`: followers stand at the same moment and split the votes. Too high: writes
    /// stall longer; about this long when the leader's node dies. Default 330 ms, up to 120 s. Since 0.1.
    pub election_max: Duration,
    /// Whether leaders answer strong reads without asking their voters each time, for half of
    /// [`election_max`](Self::election_max) after a quorum answered them.
    ///
    /// Saves a round trip and its work. Takes for granted that no node's monotonic clock runs at twice the
    /// rate of another's, and that no node is suspended or moved to another machine while it runs:
    /// otherwise a strong read may miss the latest writes. Default false. Since 0.1.
    pub lease_reads: bool,
    /// After so long without anything to do a shard is parked: no heartbeats, no timers, until the next
    /// request.
    ///
    /// Too low: shards fall asleep between two requests, and the next one waits a round trip longer. Too
    /// high: shards without work cost CPU and traffic. Default 2 s, 100 ms to 1 h. Since 0.1. Watch
    /// `hexpop_raft_parked_groups`, `hexpop_raft_wakes_total`.
    pub park_after: Duration,
    /// The size of one file of the write-ahead log, allocated in advance.
    ///
    /// Too low: files change often. Too high: space is freed late. Default 64 MiB, 1 MiB to 1 GiB. Since
    /// 0.1.
    pub segment_bytes: ByteSize,
    /// How much log a group gathers before it writes a snapshot, or half of its state if that is more.
    ///
    /// Too low: the disk is busy with snapshots. Too high: a restart replays longer, and the log takes
    /// more space. Default 64 MiB, from 1 MiB. Since 0.1.
    pub log_bytes_before_snapshot: ByteSize,
    /// How many bytes may wait for the disk, of all groups together; then proposals are refused as busy.
    ///
    /// Too low: refusals in short bursts. Too high: memory, and everyone waits for the disk. At least
    /// twice [`max_append_bytes`](Self::max_append_bytes). Default 64 MiB, 1 MiB to 4 GiB. Since 0.1.
    /// Watch `hexpop_queue_depth`.
    pub queue_bytes: ByteSize,
    /// How many bytes of entries one append message carries; a single larger entry goes alone.
    ///
    /// Too low: a follower that lags catches up in many round trips. Too high: heartbeats wait behind
    /// it. Default 1 MiB, 16 KiB to 16 MiB. Since 0.1.
    pub max_append_bytes: ByteSize,
    /// How long a write may wait for its quorum before its outcome is reported as unknown.
    ///
    /// Too low: writes fail during an election that would have ended. Too high: clients hang. More than
    /// [`election_max`](Self::election_max). Default 5 s, up to 5 min. Since 0.1.
    /// Watch `hexpop_raft_proposals_total`.
    pub propose_timeout: Duration,
    /// The size of the pieces in which a snapshot is sent.
    ///
    /// Too low: many round trips. Too high: memory on both sides. Default 1 MiB, 16 KiB to 16 MiB. Since
    /// 0.1.
    pub snapshot_chunk: ByteSize,
    /// How long after an erasure a replica begins to rid its disk of what was erased: it writes a
    /// snapshot, purges its log and rewrites the files of the log. Erasures within this time share the
    /// work.
    ///
    /// Too low: the disk is busy when many users are erased. Too high: what was erased is on disk, as
    /// noise without its key, for longer. Default 30 s, 1 s to 9 min. Since 0.1.
    pub compact_after_erasure: Duration,
}

impl Default for Raft {
    fn default() -> Self {
        Self {
            heartbeat: Duration::from_millis(75),
            election_min: Duration::from_millis(250),
            election_max: Duration::from_millis(330),
            lease_reads: false,
            park_after: Duration::from_secs(2),
            segment_bytes: ByteSize::mib(64),
            log_bytes_before_snapshot: ByteSize::mib(64),
            queue_bytes: ByteSize::mib(64),
            max_append_bytes: ByteSize::mib(1),
            propose_timeout: Duration::from_secs(5),
            snapshot_chunk: ByteSize::mib(1),
            compact_after_erasure: Duration::from_secs(30),
        }
    }
}

impl Raft {
    pub(super) fn read(section: &mut Section<'_>) -> Self {
        let millis = Duration::from_millis;
        let secs = Duration::from_secs;
        let (kib, mib) = (ByteSize::kib, ByteSize::mib);
        let default = Self::default();
        Self {
            heartbeat: section
                .key("heartbeat", "How often a leader tells its followers that it lives.")
                .between(millis(10), secs(10))
                .or(default.heartbeat),
            election_min: section
                .key("election_min", "The least time without a leader before an election.")
                .between(millis(50), secs(60))
                .or(default.election_min),
            election_max: section
                .key("election_max", "The most time without a leader before an election.")
                .between(millis(50), secs(120))
                .or(default.election_max),
            lease_reads: section
                .key("lease_reads", "Whether leaders answer strong reads by their lease.")
                .or(default.lease_reads),
            park_after: section
                .key("park_after", "After how long without work a shard costs nothing.")
                .between(millis(100), secs(3600))
                .or(default.park_after),
            segment_bytes: section
                .key("segment_bytes", "The size of one file of the write-ahead log.")
                .between(mib(1), mib(1024))
                .or(default.segment_bytes),
            log_bytes_before_snapshot: section
                .key("log_bytes_before_snapshot", "How much log a group gathers before a snapshot.")
                .between(mib(1), ByteSize::gib(64))
                .or(default.log_bytes_before_snapshot),
            queue_bytes: section
                .key("queue_bytes", "How many bytes may wait for the disk.")
                .between(mib(1), ByteSize::gib(4))
                .or(default.queue_bytes),
            max_append_bytes: section
                .key("max_append_bytes", "How many bytes of entries one append carries.")
                .between(kib(16), mib(16))
                .or(default.max_append_bytes),
            propose_timeout: section
                .key("propose_timeout", "How long a write may wait for its quorum.")
                .between(millis(50), secs(300))
                .or(default.propose_timeout),
            snapshot_chunk: section
                .key("snapshot_chunk", "The size of the pieces in which a snapshot is sent.")
                .between(kib(16), mib(16))
                .or(default.snapshot_chunk),
            compact_after_erasure: section
                .key("compact_after_erasure", "How long erased data may wait to leave the disk.")
                .between(secs(1), secs(540))
                .or(default.compact_after_erasure),
        }
    }
}
