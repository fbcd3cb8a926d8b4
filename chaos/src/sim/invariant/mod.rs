//! What must hold in every world, one file each. Those that watch every step are told by the
//! replicas themselves ([`hexpop_raft::Observer`]); the others look at the world from time to time.

mod committed;
mod erased;
mod kept;
mod leaders;
mod merges;
mod once;
mod paths;
mod places;
mod recovery;
mod renewed;
mod search;
mod shard_map;
mod state_hash;
mod votes;

use std::fmt;

use hexpop_edge_config::{GroupId, RaftId};
use hexpop_raft::{Observer, wal::WalHandle};
use hexpop_shard::{LogPosition, ShardState};
use parking_lot::Mutex;

pub(super) use self::{
    committed::Committed, erased::Erased, kept::Kept, leaders::Leaders, merges::Merges, once::Once,
    paths::Paths, places::Places, recovery::Recovery, renewed::Renewed, search::Searches,
    shard_map::ShardMaps, state_hash::StateHashes, votes::Votes,
};
use super::{
    executor::{BEGIN, current},
    trace::{Trace, hash_bytes},
};

/// Something that must hold did not.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Violation {
    /// What must hold.
    pub invariant: &'static str,
    /// When it was seen, milliseconds of virtual time.
    pub at_ms: u64,
    /// What was seen.
    pub detail: String,
}

impl fmt::Display for Violation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} violated at {} ms: {}", self.invariant, self.at_ms, self.detail)
    }
}

/// Violations that are kept; the first one is what counts.
const VIOLATIONS_MAX: usize = 8;

/// All invariants of one world.
pub(super) struct Checks {
    pub(super) state: Mutex<State>,
    violations: Mutex<Vec<Violation>>,
    trace: std::sync::Arc<Trace>,
    /// The ids of all listings that clients write.
    listings: Vec<String>,
}

/// What the invariants remember.
#[derive(Default)]
pub(super) struct State {
    pub(super) committed: Committed,
    pub(super) kept: Kept,
    pub(super) paths: Paths,
    pub(super) hashes: StateHashes,
    pub(super) votes: Votes,
    pub(super) leaders: Leaders,
    pub(super) merges: Merges,
    pub(super) maps: ShardMaps,
    pub(super) searches: Searches,
    pub(super) places: Places,
    pub(super) recovery: Recovery,
    pub(super) erased: Erased,
    pub(super) once: Once,
    pub(super) renewed: Renewed,
}

impl fmt::Debug for Checks {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Checks").finish_non_exhaustive()
    }
}

fn now_ms() -> u64 {
    current().map_or(0, |executor| executor.now().saturating_sub(BEGIN) / 1_000_000)
}

impl Checks {
    pub(super) fn new(trace: std::sync::Arc<Trace>, listings: Vec<String>) -> Self {
        Self { state: Mutex::default(), violations: Mutex::default(), trace, listings }
    }

    pub(super) fn report(&self, invariant: &'static str, detail: String) {
        let mut violations = self.violations.lock();
        if violations.len() < VIOLATIONS_MAX {
            violations.push(Violation { invariant, at_ms: now_ms(), detail });
        }
    }

    /// A process has opened its logs, and nothing has reached it yet.
    pub(super) fn reopened(&self, log: &WalHandle) {
        let raft = log.raft_id();
        let last = |group| {
            let view = log.group(group)?.view().ok()?;
            view.last.map(|last| last.index)
        };
        let kept = {
            let mut checks = self.state.lock();
            checks.paths.serves.remove(&raft);
            checks.kept.reopened(raft, &checks.committed, last)
        };
        self.take("what was acknowledged is kept over restarts", kept);
    }

    /// From now on others reach a process.
    pub(super) fn serves(&self, raft: RaftId) {
        self.state.lock().paths.serves.insert(raft);
    }

    /// Reports what a check answered.
    pub(super) fn take(&self, invariant: &'static str, checked: Result<(), String>) {
        if let Err(detail) = checked {
            self.report(invariant, detail);
        }
    }

    pub(super) fn is_violated(&self) -> bool {
        !self.violations.lock().is_empty()
    }

    pub(super) fn violations(&self) -> Vec<Violation> {
        self.violations.lock().clone()
    }
}

impl Observer for Checks {
    fn applied(
        &self,
        raft: RaftId,
        group: GroupId,
        position: LogPosition,
        entry: &[u8],
        state: &ShardState,
    ) {
        let executor_now = current().map_or(0, |executor| executor.now());
        let hash = hash_bytes(entry);
        let numbers = [raft.0, group.0, position.term, position.index, hash];
        self.trace.fold(executor_now, "applied", &numbers);
        let (committed, hashes, searches, maps, renewed, merged, is_rid) = {
            let mut checks = self.state.lock();
            let committed = checks.committed.applied(raft, group, position, hash);
            let (mut renewed, mut merged) = (Ok(()), Ok(()));
            if committed == Ok(true) {
                checks.paths.applied(&self.trace, group, entry, state);
                renewed = checks.renewed.applied(group, entry, state);
                merged = checks.merges.applied(&self.trace, group, position, entry, state);
            }
            let is_absorbed = checks.merges.is_absorbed(group);
            checks.places.applied(group, position, (state, is_absorbed), &self.listings);
            (
                committed.map(drop),
                checks.hashes.applied(raft, group, position, state),
                checks.searches.applied(group, position, state),
                state
                    .as_meta()
                    .map_or(Ok(false), |meta| checks.maps.seen("the meta group", meta.map())),
                renewed,
                merged,
                checks.erased.reached(raft, group, state),
            )
        };
        self.trace.count("forced-compactions", u64::from(is_rid));
        self.take("committed entries never change", committed);
        self.take("equal positions mean equal states", hashes);
        self.take("counts agree with the documents", searches);
        self.take("shard map", maps.map(drop));
        self.take("no touch renews what is over", renewed);
        self.take("a shard is absorbed once", merged);
    }

    fn installed(&self, raft: RaftId, group: GroupId, state: &ShardState) {
        let (hashes, serves) = {
            let mut checks = self.state.lock();
            checks.erased.reached(raft, group, state);
            (checks.hashes.installed(raft, group, state), checks.paths.serves.contains(&raft))
        };
        self.trace.count(if serves { "snapshots-received" } else { "snapshots-loaded" }, 1);
        self.take("equal positions mean equal states", hashes);
    }

    fn acknowledged(&self, raft: RaftId, group: GroupId, position: LogPosition) {
        self.state.lock().kept.acknowledged(raft, group, position);
    }

    fn voted(&self, raft: RaftId, group: GroupId, term: u64, candidate: RaftId, granted: bool) {
        if !granted {
            return;
        }
        self.trace.count("votes-granted", 1);
        let voted = self.state.lock().votes.granted(raft, group, term, candidate, now_ms());
        self.take("votes are given once, and not right after a start", voted);
    }

    fn slept(&self, _raft: RaftId, _group: GroupId, leads: bool) {
        self.trace.count(if leads { "groups-parked" } else { "promises-to-leaders" }, 1);
    }

    fn refused_for_promise(&self) {
        self.trace.count("votes-refused-for-promises", 1);
    }

    fn woken_by_loss(&self, groups: usize) {
        self.trace.count("groups-woken-by-losses", groups as u64);
    }

    fn read_asleep(&self) {
        self.trace.count("reads-while-parked", 1);
    }

    fn read_by_lease(&self) {
        self.trace.count("reads-by-lease", 1);
    }

    fn left(&self, raft: RaftId, group: GroupId) {
        self.trace.count("replicas-left", 1);
        let mut state = self.state.lock();
        state.kept.left(raft, group);
        state.votes.left(raft, group);
    }
}
