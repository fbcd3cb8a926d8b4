//! Section `placement`: where replicas of what no territory names go.

use std::{collections::BTreeSet, time::Duration};

use super::{
    ProblemKind,
    checks::{Fault, at_most, check_labels},
    section::Section,
};
use crate::{ByteSize, PopId};

/// How many rings there may be, and how many PoPs in each.
const RINGS_MAX: usize = 256;

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
    /// How many records a shard may hold before it is divided; 0 = any number.
    ///
    /// Too low: many small shards, each with its own log. Too high: a node that needs a replica waits long
    /// for it, and one shard's leader does the work of several. Default 2,000,000. Since 0.1. Watch
    /// `hexpop_shard_keys`.
    pub split_keys: u64,
    /// How many bytes a shard may hold, documents included, before it is divided; `"0B"` = any number.
    ///
    /// As `split_keys`. Default 4 GiB. Since 0.1. Watch `hexpop_shard_bytes`.
    pub split_bytes: ByteSize,
    /// How many writes a second a shard may take before it is divided; 0 = any number.
    ///
    /// Too low: short surges divide shards for good. Too high: one leader's log is the limit of what is
    /// written. Default 0. Since 0.1. Watch `hexpop_raft_proposals_total`.
    pub split_writes_per_second: u64,
    /// How many reads a second any one replica of a shard may answer before it is divided; 0 = any number.
    ///
    /// Too low: short surges divide shards for good, and a search has to ask more of them. Too high: one
    /// node's cores are the limit of what is read near it. Default 0. Since 0.1. Watch
    /// `hexpop_raft_reads_total`.
    pub split_reads_per_second: u64,
    /// Whether neighbouring shards may be made one again: with `hexpop shards merge`, and by themselves when
    /// both together have had at most 40 % of `split_keys`, `split_bytes` and `split_writes_per_second` for 10
    /// minutes, one a minute, while nothing is down, drained or moved. Not by themselves where
    /// `split_reads_per_second` is set.
    ///
    /// Off: what was divided stays so. On: the shard that goes takes no writes for a second or two, which wait
    /// for that long, longer where it has more, and one with more than 64 MiB stays; a merge that takes longer is
    /// undone. Both must be of one territory. The same on all
    /// nodes. Default false. Since 0.1. Watch `hexpop_raft_merges_total`.
    pub merge: bool,
    /// How long a node must be down before the replicas on it are given up and made anew on other nodes.
    ///
    /// Too low: a restart has data copied that would have come back by itself. Too high: shards that lost
    /// a replica wait long for their next, and losing a second node meanwhile stops them. Default 5m, at
    /// least 1s. Since 0.1. Watch `hexpop_shards_under_replicated`.
    pub repair_after: Duration,
    /// How many replicas may be on the move from node to node at a time, in the whole mesh, whether to
    /// repair or to even out; 0 = none, but those of the meta group and that of purges.
    ///
    /// Too low: a lost PoP takes long to make up for. Too high: copies take disks and links from requests.
    /// Default 2, at most 128. Since 0.1. Watch `hexpop_shards_under_replicated`.
    pub moves_at_once: u32,
    /// How many of these may be on their way to one node at a time, and as many sent by one.
    ///
    /// Too low: a node that joins waits long for its share. Too high: one node's disk and links are taken
    /// from requests by all the copies at once. Default 4, 1 to 128. Since 0.1. Watch
    /// `hexpop_shards_under_replicated`.
    pub moves_per_node: u32,
    /// PoPs that are near each other, one list a ring: the voters of a shard stay within one of them, as far
    /// as residency, the number of replicas and one replica a PoP let them.
    ///
    /// Empty: all PoPs are one ring. A PoP in none of them is one by itself. Rings that are too wide make every
    /// write wait for the far ones; rings that are too small put two voters in a PoP, or one elsewhere. The
    /// same list on all nodes. Default `[]`, at most 256 of 256. Since 0.1. `hexpop doctor` says when the round
    /// trips measured are not in keeping with it.
    pub rings: Vec<Vec<PopId>>,
    /// How many reads a second of a shard, from a PoP that has no replica of it, give that PoP a learner; 0 =
    /// none ever.
    ///
    /// Too low: learners for what is hardly read, each of which takes part in every write. Too high: reads
    /// cross between PoPs. The `learner_*` keys and `learners_max` are to be the same on all nodes: each shard's
    /// leader goes by its own. Default 500. Since 0.1. Watch `hexpop_shard_requests_total`.
    pub learner_reads_per_second: u64,
    /// How many learners a shard may have for that.
    ///
    /// Too low: some of the PoPs that ask go on asking others. Too high: the leader of a shard that is asked
    /// for everywhere sends every write to all of them. Default 4, 1 to 64. Since 0.1.
    pub learners_max: u32,
    /// How long the reads must have been so many before the learner is made.
    ///
    /// Too low: bursts have state copied. Too high: a PoP waits long for its own replica. Default 30s, 1s to
    /// 1h. Since 0.1.
    pub learner_after: Duration,
    /// How long they must have been less than a quarter of it before the learner goes again.
    ///
    /// Too low: every quiet hour has state copied twice. Too high: what nobody reads is kept. Default 10m, 1s
    /// to 7d. Since 0.1.
    pub learner_keep: Duration,
}

impl Default for Placement {
    fn default() -> Self {
        Self {
            replicas: 3,
            expect_nodes: 1,
            labels: Vec::new(),
            split_keys: 2_000_000,
            split_bytes: ByteSize::gib(4),
            split_writes_per_second: 0,
            split_reads_per_second: 0,
            merge: false,
            repair_after: Duration::from_secs(300),
            moves_at_once: 2,
            moves_per_node: 4,
            rings: Vec::new(),
            learner_reads_per_second: 500,
            learners_max: 4,
            learner_after: Duration::from_secs(30),
            learner_keep: Duration::from_secs(600),
        }
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
            split_keys: section
                .key(
                    "split_keys",
                    "How many records a shard may hold before it is divided; 0 = any.",
                )
                .between(0, 1 << 40)
                .or(default.split_keys),
            split_bytes: section
                .key(
                    "split_bytes",
                    "How many bytes a shard may hold before it is divided; 0 = any.",
                )
                .between(ByteSize::ZERO, ByteSize::gib(1 << 20))
                .or(default.split_bytes),
            split_writes_per_second: section
                .key(
                    "split_writes_per_second",
                    "How many writes a second a shard may take before it is divided; 0 = any.",
                )
                .between(0, 1 << 40)
                .or(default.split_writes_per_second),
            split_reads_per_second: section
                .key(
                    "split_reads_per_second",
                    "How many reads a second a replica may answer before its shard is divided; 0 = any.",
                )
                .between(0, 1 << 40)
                .or(default.split_reads_per_second),
            merge: section
                .key("merge", "Whether neighbouring shards may be made one again.")
                .or(default.merge),
            repair_after: section
                .key(
                    "repair_after",
                    "How long a node must be down before its replicas are made anew elsewhere.",
                )
                .between(Duration::from_secs(1), Duration::from_secs(30 * 24 * 60 * 60))
                .or(default.repair_after),
            moves_at_once: section
                .key(
                    "moves_at_once",
                    "How many replicas may be on the move at a time in the mesh; 0 = none.",
                )
                .between(0, 128)
                .or(default.moves_at_once),
            moves_per_node: section
                .key(
                    "moves_per_node",
                    "How many of these may be on their way to one node, and sent by one, at a time.",
                )
                .between(1, 128)
                .or(default.moves_per_node),
            ..Self::read_learners(section)
        }
    }

    /// Where voters are beyond that, and learners.
    fn read_learners(section: &mut Section<'_>) -> Self {
        let default = Self::default();
        Self {
            rings: section
                .key("rings", "PoPs near each other, one list a ring: a shard's voters stay in one.")
                .check(|rings: &Vec<Vec<PopId>>| check_rings(rings))
                .or(default.rings),
            learner_reads_per_second: section
                .key(
                    "learner_reads_per_second",
                    "Reads a second of a shard that give a PoP without a replica a learner; 0 = none.",
                )
                .between(0, 1 << 40)
                .or(default.learner_reads_per_second),
            learners_max: section
                .key("learners_max", "How many learners near its readers a shard may have.")
                .between(1, 64)
                .or(default.learners_max),
            learner_after: section
                .key("learner_after", "How long the reads must have been so many before that.")
                .between(Duration::from_secs(1), Duration::from_secs(60 * 60))
                .or(default.learner_after),
            learner_keep: section
                .key("learner_keep", "How long they must have been few before the learner goes.")
                .between(Duration::from_secs(1), Duration::from_secs(7 * 24 * 60 * 60))
                .or(default.learner_keep),
            ..default
        }
    }
}

/// That no PoP is in two rings, and that there are not too many.
fn check_rings(rings: &[Vec<PopId>]) -> Vec<Fault> {
    let mut faults: Vec<Fault> = at_most(rings.len(), RINGS_MAX).into_iter().collect();
    faults.extend(rings.iter().filter_map(|ring| at_most(ring.len(), RINGS_MAX)));
    let mut seen = BTreeSet::new();
    for pop in rings.iter().flatten() {
        if !seen.insert(pop) {
            let message = format!("PoP \"{pop}\" is named twice");
            faults.push(Fault::whole(ProblemKind::Wrong, message));
        }
    }
    faults
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
