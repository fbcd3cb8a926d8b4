//! What goes wrong in a world, and when: drawn from the seed before it begins, so that it can be
//! printed, replayed in part, and made smaller.

use std::{fmt, time::Duration};

use hexpop_edge_config::NodeId;
use hexpop_shard::Space;

use super::{net::Quality, random::Random, residency};

/// One thing that goes wrong.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fault {
    /// When it begins, milliseconds after the faults begin.
    pub at_ms: u64,
    /// How long it lasts, milliseconds.
    pub for_ms: u64,
    /// What it is.
    pub kind: FaultKind,
}

/// What can go wrong.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum FaultKind {
    /// Two sides of the mesh do not reach each other.
    Partition(Vec<NodeId>),
    /// Messages go one way only.
    OneWay(NodeId, NodeId),
    /// A node hears the others, and they do not hear it.
    Mute(NodeId),
    /// Messages are slow, lost, doubled and overtake each other.
    BadLinks(u64),
    /// Of 1000 messages without an order so many arrive seconds later, or once more then.
    LateMessages(u64),
    /// Whoever leads a group then is cut off: from all but one node without a replica, or from the
    /// other replicas only. Clients go on reaching it.
    CutLeader(Led, Cut),
    /// A node and these others do not reach each other: what became of [`CutLeader`](Self::CutLeader).
    Apart(NodeId, Vec<NodeId>),
    /// A process is killed at any await point; what the page cache had survives.
    Kill(NodeId),
    /// The power goes at a certain change of the log's disk: unflushed writes are lost or torn.
    PowerCut(NodeId, u64),
    /// As a power cut, of all nodes at once.
    Blackout,
    /// A node loses its disks and returns as another replica.
    Wipe(NodeId),
    /// A process stands still.
    Pause(NodeId),
    /// Flushes of a node's log take this many milliseconds more.
    SlowDisk(NodeId, u64),
    /// A node's disks have no room for more than so many bytes.
    FullDisk(NodeId, u64),
    /// A change of a node's log disk fails, counted from now.
    LogError(NodeId, u64),
    /// A change of a node's snapshot disk fails.
    SnapshotError(NodeId, u64),
    /// A node's wall clock is ahead (or behind) by milliseconds.
    Skew(NodeId, i64),
    /// The origin is down.
    OriginDown,
    /// The origin takes so many milliseconds.
    OriginSlow(u64),
    /// An operator has the largest shard of a space divided.
    Divide(Space),
    /// An operator has a replica moved to a node.
    Move(NodeId),
    /// An operator has two neighbouring shards of a space merged.
    Merge(Space),
    /// An operator has the merges cancelled that run.
    CancelMerges,
}

/// The group of which the leader is meant.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Led {
    /// The shard that most sessions are in.
    Sessions,
    /// The meta group.
    Meta,
}

/// From whom a leader is cut off.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Cut {
    /// From every node but one, which has no replica of the group.
    FromMost,
    /// From the other replicas of the group.
    FromReplicas,
    /// From one of the other voters of the group, which both of them reach another one of.
    FromOne,
}

impl FaultKind {
    /// Its name in the coverage.
    #[must_use]
    pub const fn name(&self) -> &'static str {
        match self {
            Self::Partition(_) => "fault-partition",
            Self::OneWay(..) => "fault-one-way-cut",
            Self::Mute(_) => "fault-mute",
            Self::BadLinks(_) => "fault-bad-links",
            Self::LateMessages(_) => "fault-late-messages",
            Self::CutLeader(..) | Self::Apart(..) => "fault-cut-leader",
            Self::Kill(_) => "fault-kill",
            Self::PowerCut(..) => "fault-power-cut",
            Self::Blackout => "fault-blackout",
            Self::Wipe(_) => "fault-wipe",
            Self::Pause(_) => "fault-pause",
            Self::SlowDisk(..) => "fault-slow-disk",
            Self::FullDisk(..) => "fault-full-disk",
            Self::LogError(..) => "fault-log-error",
            Self::SnapshotError(..) => "fault-snapshot-error",
            Self::Skew(..) => "fault-clock-skew",
            Self::OriginDown => "fault-origin-down",
            Self::OriginSlow(_) => "fault-origin-slow",
            Self::Divide(_) => "shards-divided",
            Self::Move(_) => "replicas-moved",
            Self::Merge(_) => "shards-merged",
            Self::CancelMerges => "merges-called-off",
        }
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "at {:>6} ms for {:>5} ms: {:?}", self.at_ms, self.for_ms, self.kind)
    }
}

/// How many kinds [`draw`] chooses among.
const KINDS: u64 = 18;

/// Draws the faults of a seed: every kind once in a random order, then more of them at random.
#[must_use]
pub fn draw(seed: u64, nodes: u32, over: Duration) -> Vec<Fault> {
    let mut random = Random::fork(seed, 3);
    let over_ms = u64::try_from(over.as_millis()).unwrap_or(u64::MAX);
    let mut kinds: Vec<u64> = (0..KINDS).collect();
    for at in (1..kinds.len()).rev() {
        let other = usize::try_from(random.below(at as u64 + 1)).unwrap_or(0);
        kinds.swap(at, other);
    }
    let more = random.between(4, 14);
    kinds.extend((0..more).map(|_| random.below(KINDS)));
    // A lost disk means changes of membership, which nothing else brings about.
    kinds.push(WIPE);
    let mut faults: Vec<Fault> = kinds
        .into_iter()
        .map(|kind| {
            let is_long = LONG.contains(&kind) || random.chance(250);
            Fault {
                at_ms: random.below(over_ms.saturating_mul(9) / 10),
                for_ms: if is_long {
                    random.between(6_000, 14_000)
                } else {
                    random.between(300, 6_000)
                },
                kind: kind_of(kind, nodes, &mut random),
            }
        })
        .collect();
    faults.extend(operations(seed, nodes, over_ms));
    faults.sort_by_key(|fault| fault.at_ms);
    faults
}

/// What operators do meanwhile. Sessions are what most clients ask for, and divide most often.
fn operations(seed: u64, nodes: u32, over_ms: u64) -> Vec<Fault> {
    let mut random = Random::fork(seed, 5);
    let spaces = [Space::Sessions, Space::Listings, Space::Sessions, Space::Directory];
    let divides = random.between(1, spaces.len() as u64 + 1);
    let spaces = spaces.into_iter().take(usize::try_from(divides).unwrap_or(1));
    let mut kinds: Vec<FaultKind> = spaces.map(FaultKind::Divide).collect();
    for _ in 0..random.below(3) {
        let node = u32::try_from(random.below(u64::from(nodes))).unwrap_or(0) + 1;
        kinds.push(FaultKind::Move(NodeId(node)));
    }
    let mut at = || random.below(over_ms.saturating_mul(9) / 10);
    kinds.into_iter().map(|kind| Fault { at_ms: at(), for_ms: 0, kind }).collect()
}

/// What operators do in worlds whose shards are merged besides: divide early, so that there are neighbours,
/// merge, and change their minds. Drawn apart from all else, which is as it is without.
#[must_use]
pub fn draw_merges(seed: u64, over: Duration) -> Vec<Fault> {
    let mut random = Random::fork(seed, 6);
    let over_ms = u64::try_from(over.as_millis()).unwrap_or(u64::MAX);
    let spaces = [Space::Sessions, Space::Listings, Space::Directory];
    let mut faults = Vec::new();
    let mut add = |kind, from, to, random: &mut Random| {
        let at_ms = random.between(over_ms.saturating_mul(from) / 100, over_ms * to / 100);
        faults.push(Fault { at_ms, for_ms: 0, kind });
    };
    for space in spaces {
        add(FaultKind::Divide(space), 2, 15, &mut random);
    }
    for _ in 0..random.between(5, 10) {
        // Sessions are what most clients ask for.
        let space = match random.below(5) {
            0 => Space::Directory,
            1 => Space::Listings,
            _ => Space::Sessions,
        };
        add(FaultKind::Merge(space), 15, 95, &mut random);
    }
    for _ in 0..random.below(3) {
        add(FaultKind::CancelMerges, 20, 95, &mut random);
    }
    faults
}

/// What operators do, and lose, in worlds with a territory that stays on some nodes besides: they divide it, move
/// its replicas here and there, to where they must not be too, and disks of those nodes are lost, so that others
/// make up for them. Drawn apart from all else, which is as it is without.
#[must_use]
pub fn draw_residency(seed: u64, nodes: u32, over: Duration) -> Vec<Fault> {
    let mut random = Random::fork(seed, 7);
    let over_ms = u64::try_from(over.as_millis()).unwrap_or(u64::MAX);
    let (at_home, abroad): (Vec<NodeId>, Vec<NodeId>) =
        (1..=nodes).map(NodeId).partition(|node| residency::may_hold(*node));
    let mut kinds = vec![FaultKind::Divide(Space::Sessions), FaultKind::Divide(Space::Listings)];
    for _ in 0..random.between(3, 6) {
        kinds.extend(random.pick(&abroad).map(|node| FaultKind::Move(*node)));
        kinds.extend(random.pick(&at_home).map(|node| FaultKind::Move(*node)));
    }
    for _ in 0..random.between(1, 3) {
        kinds.extend(random.pick(&at_home).map(|node| FaultKind::Wipe(*node)));
    }
    let mut fault = |kind| {
        let at_ms = random.below(over_ms.saturating_mul(9) / 10);
        Fault { at_ms, for_ms: random.between(300, 6_000), kind }
    };
    kinds.into_iter().map(&mut fault).collect()
}

const WIPE: u64 = 7;
const FULL_DISK: u64 = 10;
const SNAPSHOT_ERROR: u64 = 12;
const LATE_MESSAGES: u64 = 15;
const CUT_LEADER: u64 = 16;

/// What comes to nothing when it is over soon: another leader has to be elected, replicas have to
/// change, a snapshot or a segment of the log has to be written.
const LONG: [u64; 4] = [FULL_DISK, SNAPSHOT_ERROR, LATE_MESSAGES, CUT_LEADER];

fn kind_of(kind: u64, nodes: u32, random: &mut Random) -> FaultKind {
    let mut node = || NodeId(u32::try_from(random.below(u64::from(nodes))).unwrap_or(0) + 1);
    let one = node();
    let other = NodeId((one.0 - 1 + node().0 % nodes.saturating_sub(1).max(1) + 1) % nodes + 1);
    match kind {
        0 => {
            let side = (1..=nodes).map(NodeId).filter(|_| random.chance(400)).collect();
            FaultKind::Partition(side)
        }
        1 => FaultKind::OneWay(one, other),
        2 => FaultKind::Mute(one),
        3 => FaultKind::BadLinks(random.between(1, 100)),
        4 => FaultKind::Kill(one),
        5 => FaultKind::PowerCut(one, random.between(1, 60)),
        6 => FaultKind::Blackout,
        WIPE => FaultKind::Wipe(one),
        8 => FaultKind::Pause(one),
        9 => FaultKind::SlowDisk(one, random.between(5, 400)),
        FULL_DISK => FaultKind::FullDisk(one, random.below(8 << 10)),
        11 => FaultKind::LogError(one, random.between(1, 60)),
        SNAPSHOT_ERROR => FaultKind::SnapshotError(one, random.between(1, 4)),
        13 => {
            let ms = i64::try_from(random.between(50, 1_000)).unwrap_or(0);
            FaultKind::Skew(one, if random.chance(500) { ms } else { -ms })
        }
        14 => FaultKind::OriginDown,
        LATE_MESSAGES => FaultKind::LateMessages(random.between(50, 400)),
        CUT_LEADER => {
            let led = if random.chance(700) { Led::Sessions } else { Led::Meta };
            let cut = if random.chance(500) { Cut::FromMost } else { Cut::FromReplicas };
            FaultKind::CutLeader(led, cut)
        }
        _ => FaultKind::OriginSlow(random.between(100, 8_000)),
    }
}

/// How links behave at so many of 100.
pub(super) const fn bad(badness: u64) -> Quality {
    Quality {
        base: Duration::from_millis(1),
        jitter: Duration::from_millis(5 + badness),
        slow_per_mille: badness / 2,
        lost_per_mille: badness,
        twice_per_mille: badness,
    }
}
