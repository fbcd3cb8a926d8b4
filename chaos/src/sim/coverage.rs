//! What a campaign is to bring about, so that its output shows what never happened as well.

/// Kinds of faults, as [`FaultKind::name`](super::FaultKind::name) has them.
pub const FAULTS: [&str; 18] = [
    "fault-bad-links",
    "fault-blackout",
    "fault-clock-skew",
    "fault-cut-leader",
    "fault-full-disk",
    "fault-kill",
    "fault-late-messages",
    "fault-log-error",
    "fault-mute",
    "fault-one-way-cut",
    "fault-origin-down",
    "fault-origin-slow",
    "fault-partition",
    "fault-pause",
    "fault-power-cut",
    "fault-slow-disk",
    "fault-snapshot-error",
    "fault-wipe",
];

/// What happens in worlds whose shards are merged.
pub const MERGES: [&str; 8] = [
    "merges-absorbed",
    "merges-begun",
    "merges-called-off",
    "merges-cancelled",
    "merges-sealed",
    "merges-unfit",
    "merges-unsealed",
    "shards-merged",
];

/// What happens in worlds with a territory that stays on some of the nodes.
pub const RESIDENCY: [&str; 3] =
    ["holdings-looked-at", "moves-abroad-refused", "values-found-at-home"];

/// What happens in worlds with lulls.
pub const LULLS: [&str; 5] = [
    "fault-cut-leader",
    "groups-woken-by-losses",
    "lull-writes",
    "reads-while-parked",
    "votes-refused-for-promises",
];

/// What happens now and then only.
pub const RARE: [&str; 36] = [
    // Links.
    "message-cut",
    "message-late",
    "message-lost",
    "message-refused",
    "message-twice",
    // Disks.
    "log-disk-failed",
    "log-disk-full",
    "power-cut-at-write",
    "snapshot-disk-failed",
    "snapshot-disk-full",
    "torn-tail-cut",
    // Consensus.
    "election",
    "groups-parked",
    "log-truncations",
    "membership-changes",
    "promises-to-leaders",
    "reads-by-lease",
    "reports-of-old-epochs",
    "requests-proposed-again",
    "snapshots-failed",
    "snapshots-received",
    "snapshots-written",
    // Placement.
    "moves-begun",
    "replicas-left",
    "replicas-moved",
    "shards-divided",
    "splits-applied",
    "splits-begun",
    // Erasures.
    "erasures-completed",
    "erasures-left-open",
    "forced-compactions",
    "keys-destroyed",
    "log-records-moved",
    // Clients.
    "reads-at-cut-leaders",
    "creates-repeated",
    "sessions-renewed",
];
