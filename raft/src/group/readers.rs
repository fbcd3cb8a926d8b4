//! Which nodes the reads of a group come in at, as they tell its voters: whoever leads it next knows too.

use std::{collections::BTreeMap, time::Duration};

use hexpop_edge_config::{NodeId, PopId};
use hexpop_shard::{Member, ReadDemand, ReaderLimits, Readers};
use openraft::{AsyncRuntime, Instant as _};
use parking_lot::Mutex;

use super::Group;

/// How many nodes are told apart; what others tell does not count.
const NODES_MAX: usize = 1_024;

/// What a node told counts for so long: as long as it reads, it tells more often, also when some of those whom
/// it tells answer late.
const TOLD_FOR: Duration = Duration::from_secs(30);

/// The least time between two looks.
const LOOK: Duration = Duration::from_millis(800);

/// After so long without a look it begins anew.
const ANEW: Duration = Duration::from_secs(10);

/// What nodes told, and what came of it.
#[derive(Debug)]
pub(super) struct Told<I> {
    /// Reads a second, by the node that they came in at, and when it told.
    reads: Mutex<BTreeMap<NodeId, (u64, I)>>,
    looked: Mutex<Looked<I>>,
}

#[derive(Debug)]
struct Looked<I> {
    demand: ReadDemand,
    at: I,
    found: Readers,
}

impl<I> Told<I> {
    pub(super) fn new(now: I) -> Self {
        let looked = Looked { demand: ReadDemand::new(0), at: now, found: Readers::default() };
        Self { reads: Mutex::default(), looked: Mutex::new(looked) }
    }
}

impl<R: AsyncRuntime> Group<R> {
    /// A node tells how many reads a second come in there.
    pub(crate) fn note_reads(&self, from: NodeId, reads_per_s: u64) {
        let mut reads = self.told.reads.lock();
        if reads.len() < NODES_MAX || reads.contains_key(&from) {
            reads.insert(from, (reads_per_s, R::Instant::now()));
        }
    }

    /// Looks at what was told lately. Who reads, by PoP.
    pub(crate) fn readers(&self, members: &[Member], limits: &ReaderLimits) -> Readers {
        let now = R::Instant::now();
        let mut looked = self.told.looked.lock();
        let elapsed = now.saturating_duration_since(looked.at);
        if elapsed < LOOK {
            return looked.found.clone();
        }
        looked.at = now;
        let since = now.saturating_duration_since(self.started).as_millis();
        let now_ms = u64::try_from(since).unwrap_or(u64::MAX);
        if elapsed > ANEW {
            looked.demand = ReadDemand::new(now_ms);
        }
        let mut told: BTreeMap<PopId, u64> = BTreeMap::new();
        let mut reads = self.told.reads.lock();
        reads.retain(|_, (_, at)| now.saturating_duration_since(*at) < TOLD_FOR);
        for (node, (reads_per_s, _)) in reads.iter() {
            if let Some(member) = members.iter().find(|member| member.node == *node) {
                let sum = told.entry(member.pop.clone()).or_default();
                *sum = sum.saturating_add(*reads_per_s);
            }
        }
        drop(reads);
        looked.found = looked.demand.look(now_ms, &told, limits);
        looked.found.clone()
    }

    /// What the last look found.
    pub(crate) fn known_readers(&self) -> Readers {
        self.told.looked.lock().found.clone()
    }
}
