//! What there is, and what happens to it step by step.

use std::collections::{BTreeMap, BTreeSet};

use hexpop_edge_config::{Epoch, NodeId, RaftId, ShardId};
use hexpop_shard::{
    Command, ErasureId, KeyRange, LogPosition, MemoryDocuments, MergeGoal, MetaOp, MetaState,
    OperationId, PlacementPolicy, Policy, Replica, ReplicaRole, SessionId, ShardDescriptor,
    ShardKey, ShardMap, ShardState, Space,
};

use super::replicas::Group;
use crate::seeded::Seeded;

/// Sessions that are put again and again.
pub(super) const PUTS: usize = 12;
/// All sessions; the others are created once.
pub(super) const SESSIONS: usize = 16;
pub(super) const USERS: usize = 3;
pub(super) const NODES: u32 = 6;
const CLIENTS: usize = 3;

/// A mistake of whoever carries a merge out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Slip {
    None,
    /// The right shard takes writes again before the left one has cancelled.
    UnsealFirst,
    /// The right shard is destroyed when its absorption is proposed.
    RetireEarly,
    /// A replica takes an absorption for refused that it has nothing staged for.
    SkipUnstaged,
}

/// How often things happened.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Tally {
    pub(super) merges: u64,
    /// Those while everything went wrong.
    pub(super) merges_amid: u64,
    pub(super) cancelled: u64,
    pub(super) splits: u64,
    pub(super) moves: u64,
    /// Absorptions that were refused.
    pub(super) unfit: u64,
    /// Replicas that came to an absorption with nothing staged.
    pub(super) blocked: u64,
    pub(super) erasures: u64,
    /// Writes that a sealed shard refused.
    pub(super) sealed: u64,
}

impl Tally {
    pub(super) fn add(&mut self, more: &Self) {
        self.merges += more.merges;
        self.merges_amid += more.merges_amid;
        self.cancelled += more.cancelled;
        self.splits += more.splits;
        self.moves += more.moves;
        self.unfit += more.unfit;
        self.blocked += more.blocked;
        self.erasures += more.erasures;
        self.sealed += more.sealed;
    }
}

/// A write of which the client may not have heard.
#[derive(Clone)]
pub(super) struct Write {
    pub(super) request: u64,
    pub(super) session: usize,
    pub(super) value: u64,
}

pub(super) struct Erasure {
    pub(super) id: ErasureId,
    pub(super) user: usize,
    /// When, in steps.
    pub(super) begun: u64,
    pub(super) confirmed: BTreeSet<ShardId>,
    pub(super) complete: Option<u64>,
}

pub(super) struct Operation {
    pub(super) id: OperationId,
    pub(super) left: ShardId,
    pub(super) right: ShardDescriptor,
    pub(super) goal: MergeGoal,
    pub(super) is_over: bool,
}

/// A report to the meta group.
#[derive(Clone)]
pub(super) enum Report {
    Shards(Vec<ShardDescriptor>),
    Merged(ShardDescriptor, ShardId),
}

/// The snapshot of a shard behind the seal for an operation.
pub(super) type Sealed = (ShardId, OperationId);

pub(super) struct World {
    pub(super) seed: u64,
    pub(super) slip: Slip,
    pub(super) rng: Seeded,
    pub(super) meta: MetaState,
    pub(super) groups: BTreeMap<ShardId, Group>,
    /// Those that another one has absorbed.
    pub(super) absorbed: BTreeSet<ShardId>,
    /// What the logs say that was sealed.
    pub(super) seals: BTreeMap<Sealed, Vec<Vec<u8>>>,
    /// What nodes have of it on their disks.
    pub(super) staged: BTreeMap<(u32, Sealed), Vec<Vec<u8>>>,
    pub(super) operations: Vec<Operation>,
    /// Proposals on their way.
    pub(super) flight: Vec<(ShardId, Command)>,
    pub(super) maps: Vec<ShardMap>,
    pub(super) reports: Vec<Report>,
    /// The last value of each session, and the step that stored it.
    pub(super) reference: BTreeMap<usize, (u64, u64)>,
    /// How often each value was stored.
    pub(super) stored: BTreeMap<u64, u32>,
    /// Sessions that were created.
    pub(super) created: BTreeSet<usize>,
    pub(super) erasures: Vec<Erasure>,
    pub(super) unheard: Vec<Write>,
    pub(super) now: u64,
    pub(super) tally: Tally,
}

pub(super) fn replica(node: u32) -> Replica {
    Replica { raft: RaftId(u64::from(node)), node: NodeId(node), role: ReplicaRole::Voter }
}

pub(super) fn raft_members(replicas: &[Replica]) -> BTreeMap<RaftId, NodeId> {
    replicas.iter().map(|replica| (replica.raft, replica.node)).collect()
}

pub(super) fn session(number: usize) -> SessionId {
    format!("it-lombardia.s{number}").parse().unwrap()
}

pub(super) fn records(state: &ShardState) -> Vec<Vec<u8>> {
    state.snapshot(&MemoryDocuments::default()).map(|record| record.unwrap()).collect()
}

pub(super) fn restored(records: &[Vec<u8>]) -> ShardState {
    ShardState::restore(records, &mut MemoryDocuments::default()).unwrap()
}

pub(super) const fn position(index: u64) -> LogPosition {
    LogPosition { term: 1, index }
}

pub(super) fn territory() -> KeyRange {
    KeyRange::territory(Space::Sessions, &"IT:lombardia".parse().unwrap())
}

/// The shards at the start: one of them, of the sessions of a territory, is looked at.
fn descriptors(voters: &[Replica]) -> Vec<ShardDescriptor> {
    let inner = territory();
    let start = ShardKey::space_start(Space::Sessions);
    let ranges = [
        KeyRange { start, end: Some(inner.start.clone()) },
        inner.clone(),
        KeyRange { start: inner.end.unwrap(), end: None },
        KeyRange::space(Space::Listings),
        KeyRange::space(Space::Directory),
    ];
    let shards = ranges.into_iter().zip(1..).map(|(range, id)| ShardDescriptor {
        id: ShardId(id),
        range,
        epoch: Epoch::FIRST,
        replicas: voters.to_vec(),
    });
    shards.collect()
}

impl World {
    pub(super) fn new(seed: u64, slip: Slip) -> Self {
        let voters: Vec<Replica> = (1..=3).map(replica).collect();
        let descriptors = descriptors(&voters);
        let mut truth = ShardState::new(&descriptors[1]);
        truth.founded(position(0), &raft_members(&voters));
        let mut meta = MetaState::default();
        let default = Policy { labels: BTreeSet::new(), replicas: 3 };
        let policy = PlacementPolicy { default, territories: BTreeMap::new() };
        let secret = hexpop_shard::ClusterSecret([1; 32]);
        meta.apply(&MetaOp::Bootstrap { descriptors, secret, policy }, 0).unwrap();
        Self {
            seed,
            slip,
            rng: Seeded(seed),
            maps: vec![meta.map().clone(); CLIENTS],
            meta,
            groups: BTreeMap::from([(ShardId(2), Group::founded(truth, voters))]),
            absorbed: BTreeSet::new(),
            seals: BTreeMap::new(),
            staged: BTreeMap::new(),
            operations: Vec::new(),
            flight: Vec::new(),
            reports: Vec::new(),
            reference: BTreeMap::new(),
            stored: BTreeMap::new(),
            created: BTreeSet::new(),
            erasures: Vec::new(),
            unheard: Vec::new(),
            now: 1,
            tally: Tally::default(),
        }
    }

    pub(super) fn violated(&self, what: &str) -> ! {
        panic!("seed {}: {what}", self.seed)
    }

    fn a_group(&mut self) -> ShardId {
        let ids: Vec<ShardId> = self.groups.keys().copied().collect();
        *self.rng.pick(&ids)
    }

    fn a_copy(&mut self, id: ShardId) -> Option<u32> {
        let nodes: Vec<u32> = self.groups[&id].copies.keys().copied().collect();
        (!nodes.is_empty()).then(|| *self.rng.pick(&nodes))
    }

    pub(super) fn step(&mut self) {
        self.now += 1;
        if self.groups.is_empty() {
            self.violated("nobody holds anything");
        }
        let id = self.a_group();
        let client = self.rng.below(CLIENTS);
        match self.rng.below(36) {
            0..6 => {
                let session = self.rng.below(SESSIONS);
                let write = Write { request: self.now, session, value: self.now };
                self.write(client, write);
            }
            6 => {
                if let Some(write) = self.unheard.pop() {
                    self.write(client, write);
                }
            }
            7 => self.split(id),
            8 => self.move_a_replica(id),
            9 => self.report(id),
            10 | 11 => self.deliver_report(),
            12 => self.maps[client] = self.meta.map().clone(),
            13 => {
                if let Some(node) = self.a_copy(id) {
                    self.crash(id, node);
                }
            }
            14 => {
                if let Some(node) = self.a_copy(id) {
                    self.snapshot(id, node);
                    self.purge(id);
                }
            }
            15 => {
                let node = 1 + self.rng.below(NODES as usize) as u32;
                self.create_empty(id, node);
            }
            16 => {
                if self.rng.chance(30) {
                    self.begin_erasure();
                }
            }
            17 | 18 => self.carry_on_erasing(),
            19 => self.begin_merge(),
            20..26 => {
                self.drive();
                if self.rng.chance(50) {
                    self.deliver_proposal();
                }
            }
            26..31 => self.deliver_proposal(),
            31 => {
                if self.rng.chance(30) {
                    self.cancel_one();
                }
            }
            32 => self.retire(),
            _ => {
                for _ in 0..6 {
                    let id = self.a_group();
                    if let Some(node) = self.a_copy(id) {
                        self.follow(id, node);
                    }
                }
            }
        }
    }

    /// Some shards, all of whose replicas are there.
    pub(super) fn divide_at_first(&mut self) {
        for _ in 0..6 {
            let id = self.a_group();
            self.split(id);
            for id in self.groups.keys().copied().collect::<Vec<_>>() {
                self.catch_up(id);
                self.report(id);
            }
            for report in std::mem::take(&mut self.reports) {
                self.take_report(report);
            }
        }
    }

    /// Nothing is lost any more: all that was begun comes to its end, and all replicas catch up.
    pub(super) fn heal(&mut self) {
        self.tally.merges_amid = self.tally.merges;
        for _round in 0..60 {
            self.now += 1;
            for at in 0..self.operations.len() {
                self.drive_one(at);
            }
            for (id, command) in std::mem::take(&mut self.flight) {
                self.propose(id, command);
            }
            for id in self.groups.keys().copied().collect::<Vec<_>>() {
                self.catch_up(id);
                self.report(id);
            }
            for report in std::mem::take(&mut self.reports) {
                self.take_report(report);
            }
            for at in 0..self.erasures.len() {
                self.erase_where_left(at);
            }
            self.retire();
            self.check();
            if self.is_settled() {
                break;
            }
        }
        self.check_healed();
    }
}
