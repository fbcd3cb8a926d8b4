//! Which nodes the writes of a group come in at, counted where it is led.

use std::{collections::BTreeMap, time::Duration};

use hexpop_edge_config::{NodeId, PopId};
use hexpop_shard::{Demand, Member, Writers};
use openraft::{AsyncRuntime, Instant as _};
use parking_lot::Mutex;

use super::Group;

/// How many nodes are told apart between two looks; what comes in at others does not count.
const NODES_MAX: usize = 1_024;

/// The least time that is looked at: a count over less is no rate.
const LOOK: Duration = Duration::from_millis(800);

/// After so long without a look, as when somebody else led, it begins anew.
const ANEW: Duration = Duration::from_secs(10);

/// What was counted, and what came of it.
#[derive(Debug)]
pub(super) struct Counted<I> {
    /// Writes since the last look, by the node that they came in at.
    writes: Mutex<BTreeMap<NodeId, u64>>,
    looked: Mutex<Looked<I>>,
}

#[derive(Debug)]
struct Looked<I> {
    demand: Demand,
    at: I,
}

impl<I> Counted<I> {
    pub(super) fn new(now: I) -> Self {
        let looked = Looked { demand: Demand::default(), at: now };
        Self { writes: Mutex::default(), looked: Mutex::new(looked) }
    }
}

impl<R: AsyncRuntime> Group<R> {
    /// A write that came in at a node is applied.
    pub(crate) fn note_write(&self, from: NodeId) {
        let mut writes = self.counted.writes.lock();
        if writes.len() < NODES_MAX || writes.contains_key(&from) {
            *writes.entry(from).or_default() += 1;
        }
    }

    /// Looks, as the leader at the node `own`, at what was counted since the last look: where most writes come in, if at one PoP, and whether
    /// that has been so for `persist`.
    pub(crate) fn writers(
        &self,
        members: &[Member],
        own: NodeId,
        persist: Duration,
    ) -> Option<Writers> {
        let now = R::Instant::now();
        let millis = |time: Duration| u64::try_from(time.as_millis()).unwrap_or(u64::MAX);
        let now_ms = millis(now.saturating_duration_since(self.started));
        let mut looked = self.counted.looked.lock();
        let elapsed = now.saturating_duration_since(looked.at);
        if elapsed < LOOK {
            return looked.demand.writers(now_ms, millis(persist));
        }
        looked.at = now;
        let writes = std::mem::take(&mut *self.counted.writes.lock());
        if elapsed > ANEW {
            // What gathered meanwhile tells of no rate.
            looked.demand = Demand::default();
            return None;
        }
        let mut counted: BTreeMap<PopId, u64> = BTreeMap::new();
        for (node, count) in writes {
            if let Some(member) = members.iter().find(|member| member.node == node) {
                *counted.entry(member.pop.clone()).or_default() += count;
            }
        }
        let own = members.iter().find(|member| member.node == own).map(|member| &member.pop);
        looked.demand.look(now_ms, millis(elapsed), &counted, own);
        looked.demand.writers(now_ms, millis(persist))
    }
}
