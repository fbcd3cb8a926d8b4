//! Random histories of splits, moves, crashes, and of lost, repeated and reordered messages, against what
//! a single map of keys to values would say.
//!
//! Consensus is taken for granted: a group's log is the same for all its replicas, and what is appended
//! is committed. Replicas apply it each in their own time, crash back to their last snapshot, get
//! snapshots of others in place of entries, join and leave. Clients route by copies of the map that are
//! old, and repeat what they got no answer to. After every step:
//!
//! - the map of the meta group tiles the keyspace, and so do the ranges that the logs give the shards;
//! - replicas of a group that have applied the same entries have the same state;
//! - what was acknowledged is there, once, in the shard that holds its key, and found by every client
//!   whatever map it has;
//! - a request that was carried out is not carried out again, wherever its repeat goes.
//!
//! `HEXPOP_SPLIT_SEED=N` runs one history again.

use std::collections::{BTreeMap, BTreeSet};

use hexpop_edge_config::{Epoch, NodeId, RaftId, RequestId, ShardId};
use hexpop_shard::{
    Command, KeyRange, LogPosition, MemoryDocuments, MetaOp, MetaOutcome, MetaState, Op,
    PlacementPolicy, Policy, PutSession, ReadAnswer, ReadOp, Refusal, Replica, ReplicaRole, Reply,
    Sealed, SessionId, SessionLimits, SessionOp, ShardDescriptor, ShardKey, ShardMap, ShardState,
    Space, Split, WrappedKey,
};

use crate::seeded::Seeded;

const HISTORIES: u64 = 10_000;
const STEPS: usize = 60;
const SESSIONS: usize = 12;
const NODES: u32 = 6;
const CLIENTS: usize = 3;

/// One entry of a log.
#[derive(Clone)]
enum Entry {
    Command(Box<Command>),
    Members(Vec<Replica>),
}

/// A replica.
struct Copy {
    state: ShardState,
    members: Vec<Replica>,
    /// Its last snapshot.
    disk: (Vec<Vec<u8>>, Vec<Replica>),
}

/// A group: its log, what that makes of it, and its replicas.
struct Group {
    /// What the log begins behind, and goes on from.
    first: u64,
    log: Vec<Entry>,
    truth: ShardState,
    members: Vec<Replica>,
    /// Hash of the state behind each entry.
    hashes: BTreeMap<u64, u64>,
    copies: BTreeMap<u32, Copy>,
    /// Nodes that had a replica and destroyed it.
    left: BTreeSet<u32>,
}

/// A write of which the client may not have heard.
#[derive(Clone)]
struct Write {
    request: u64,
    session: usize,
    value: u64,
}

struct World {
    seed: u64,
    rng: Seeded,
    meta: MetaState,
    groups: BTreeMap<ShardId, Group>,
    maps: Vec<ShardMap>,
    /// Reports on their way.
    reports: Vec<Vec<ShardDescriptor>>,
    /// The last value acknowledged of each session.
    acknowledged: BTreeMap<usize, u64>,
    /// How often each value was stored.
    stored: BTreeMap<u64, u32>,
    unheard: Vec<Write>,
    next: u64,
    splits: u64,
    moves: u64,
}

fn replica(node: u32) -> Replica {
    Replica { raft: RaftId(u64::from(node)), node: NodeId(node), role: ReplicaRole::Voter }
}

fn raft_members(replicas: &[Replica]) -> BTreeMap<RaftId, NodeId> {
    replicas.iter().map(|replica| (replica.raft, replica.node)).collect()
}

fn session(number: usize) -> SessionId {
    format!("it-lombardia.s{number}").parse().unwrap()
}

fn records(state: &ShardState) -> Vec<Vec<u8>> {
    state.snapshot(&MemoryDocuments::default()).map(|record| record.unwrap()).collect()
}

fn restored(records: &[Vec<u8>]) -> ShardState {
    ShardState::restore(records, &mut MemoryDocuments::default()).unwrap()
}

impl Group {
    fn end(&self) -> u64 {
        self.first + self.log.len() as u64
    }

    fn entry(&self, index: u64) -> Option<&Entry> {
        self.log.get(index.checked_sub(self.first + 1)? as usize)
    }

    /// A replica behind everything before `first`, or at the start of the log.
    fn copy_of(state: ShardState, members: Vec<Replica>) -> Copy {
        let disk = (records(&state), members.clone());
        Copy { state, members, disk }
    }
}

const fn position(index: u64) -> LogPosition {
    LogPosition { term: 1, index }
}

/// Applies an entry to a state; what it splits off is answered.
fn apply(
    state: &mut ShardState,
    members: &mut Vec<Replica>,
    index: u64,
    entry: &Entry,
) -> (Option<Reply>, Option<ShardState>) {
    match entry {
        Entry::Members(new) => {
            state.membership_changed(position(index), &raft_members(new));
            members.clone_from(new);
            (None, None)
        }
        Entry::Command(command) => {
            let documents = &mut MemoryDocuments::default();
            let reply = state.apply_among(position(index), command, Some(members), documents);
            (Some(reply), state.take_fork())
        }
    }
}

impl World {
    fn new(seed: u64) -> Self {
        let voters: Vec<Replica> = (1..=3).map(replica).collect();
        let shards = Space::ALL.into_iter().zip(1..).map(|(space, id)| ShardDescriptor {
            id: ShardId(id),
            range: KeyRange::space(space),
            epoch: Epoch::FIRST,
            replicas: voters.clone(),
        });
        let descriptors: Vec<_> = shards.collect();
        let mut meta = MetaState::default();
        let default = Policy { labels: BTreeSet::new(), replicas: 3 };
        let policy = PlacementPolicy { default, territories: BTreeMap::new() };
        let secret = hexpop_shard::ClusterSecret([1; 32]);
        let bootstrap = MetaOp::Bootstrap { descriptors: descriptors.clone(), secret, policy };
        meta.apply(&bootstrap, 0).unwrap();
        let mut truth = ShardState::new(&descriptors[2]);
        truth.founded(position(0), &raft_members(&voters));
        let copies = voters.iter().map(|replica| {
            let state = restored(&records(&truth));
            (replica.node.0, Group::copy_of(state, voters.clone()))
        });
        let group = Group {
            first: 0,
            log: Vec::new(),
            hashes: BTreeMap::from([(0, truth.hash())]),
            copies: copies.collect(),
            truth,
            members: voters,
            left: BTreeSet::new(),
        };
        Self {
            seed,
            rng: Seeded(seed),
            maps: vec![meta.map().clone(); CLIENTS],
            meta,
            groups: BTreeMap::from([(ShardId(3), group)]),
            reports: Vec::new(),
            acknowledged: BTreeMap::new(),
            stored: BTreeMap::new(),
            unheard: Vec::new(),
            next: 1,
            splits: 0,
            moves: 0,
        }
    }

    fn a_group(&mut self) -> ShardId {
        let ids: Vec<ShardId> = self.groups.keys().copied().collect();
        *self.rng.pick(&ids)
    }

    fn a_copy(&mut self, id: ShardId) -> Option<u32> {
        let nodes: Vec<u32> = self.groups[&id].copies.keys().copied().collect();
        (!nodes.is_empty()).then(|| *self.rng.pick(&nodes))
    }

    /// Commits an entry: the truth moves on; replicas follow in their own time.
    fn commit(&mut self, id: ShardId, entry: Entry) -> Option<Reply> {
        let group = self.groups.get_mut(&id).unwrap();
        group.log.push(entry.clone());
        let index = group.end();
        let (reply, fork) = apply(&mut group.truth, &mut group.members, index, &entry);
        group.hashes.insert(index, group.truth.hash());
        if let Some(child) = fork {
            self.splits += 1;
            let members = group.members.clone();
            let child = Group {
                first: index,
                log: Vec::new(),
                hashes: BTreeMap::from([(index, child.hash())]),
                copies: BTreeMap::new(),
                members,
                left: BTreeSet::new(),
                truth: child,
            };
            self.groups.insert(child.truth.shard(), child);
        }
        reply
    }

    /// One replica applies the next entry of its group's log.
    fn follow(&mut self, id: ShardId, node: u32) {
        let group = self.groups.get_mut(&id).unwrap();
        let copy = group.copies.get(&node).unwrap();
        let index = copy.state.applied().index + 1;
        let Some(entry) = group.entry(index).cloned() else {
            // What it lacks is purged: it gets a snapshot of another replica.
            if index <= group.first {
                self.take_snapshot_of_another(id, node);
            }
            return;
        };
        let copy = group.copies.get_mut(&node).unwrap();
        let (_, fork) = apply(&mut copy.state, &mut copy.members, index, &entry);
        assert_eq!(copy.state.hash(), group.hashes[&index], "seed {}: {id} at {index}", self.seed);
        let was_member = copy.members.iter().any(|replica| replica.node.0 == node);
        let members = copy.members.clone();
        if let Some(child) = fork
            && was_member
        {
            let there = self.groups.get_mut(&child.shard()).unwrap();
            // Replaying the split leaves alone what became of the child meanwhile.
            if !there.left.contains(&node) {
                let made = Group::copy_of(restored(&records(&child)), members);
                there.copies.entry(node).or_insert(made);
            }
        }
    }

    fn take_snapshot_of_another(&mut self, id: ShardId, node: u32) {
        let group = self.groups.get_mut(&id).unwrap();
        let best = group.copies.iter().filter(|(other, _)| **other != node);
        let Some((_, best)) = best.max_by_key(|(_, copy)| copy.state.applied().index) else {
            return;
        };
        let made = Group::copy_of(restored(&records(&best.state)), best.members.clone());
        let has = group.copies.get(&node).map(|copy| copy.state.applied().index);
        if has.is_none_or(|index| index < made.state.applied().index) {
            group.copies.insert(node, made);
        }
    }

    /// Back to the last snapshot.
    fn crash(&mut self, id: ShardId, node: u32) {
        let copy = self.groups.get_mut(&id).unwrap().copies.get_mut(&node).unwrap();
        copy.state = restored(&copy.disk.0);
        copy.members.clone_from(&copy.disk.1);
    }

    fn snapshot(&mut self, id: ShardId, node: u32) {
        let copy = self.groups.get_mut(&id).unwrap().copies.get_mut(&node).unwrap();
        copy.disk = (records(&copy.state), copy.members.clone());
    }

    /// Whether the map has a shard as its log has it: until then nobody joins or leaves it, it does not
    /// divide again, and its log stays from the split on.
    fn is_reported(&self, id: ShardId) -> bool {
        let known = self.meta.map().get(id);
        known.is_some_and(|known| known.epoch == self.groups[&id].truth.epoch())
    }

    fn purge(&mut self, id: ShardId) {
        let is_reported = self.is_reported(id);
        let group = self.groups.get_mut(&id).unwrap();
        if !is_reported {
            return;
        }
        let upto = group.copies.values().map(|copy| restored(&copy.disk.0).applied().index).max();
        let Some(upto) = upto.filter(|upto| *upto > group.first) else { return };
        group.log.drain(..(upto - group.first) as usize);
        group.first = upto;
    }

    fn split(&mut self, id: ShardId) {
        if !self.is_reported(id) {
            return;
        }
        let at = session(self.rng.below(SESSIONS)).key();
        let range = self.groups[&id].truth.range().unwrap().clone();
        if !range.contains(&at) || at == range.start {
            return;
        }
        let allocated = self.meta.apply(&MetaOp::AllocateIds { count: 1 }, 0).unwrap();
        let MetaOutcome::Allocated { first: child, .. } = allocated else {
            panic!("{allocated:?}")
        };
        let epoch = self.groups[&id].truth.epoch();
        // Proposed once or twice: whoever proposed it may not have heard.
        for _ in 0..=self.rng.below(2) {
            let op = Op::Split(Split { at: at.clone(), child });
            let command = Command { request: None, epoch, at_ms: self.next, op };
            self.commit(id, Entry::Command(Box::new(command)));
        }
    }

    fn move_a_replica(&mut self, id: ShardId) {
        if !self.is_reported(id) {
            return;
        }
        let founded = self.meta.map().founded_with(id).cloned();
        let to = 1 + self.rng.below(NODES as usize) as u32;
        let from = self.rng.below(3);
        let group = self.groups.get_mut(&id).unwrap();
        if group.members.iter().any(|member| member.node.0 == to) || group.left.contains(&to) {
            return;
        }
        let mut members = group.members.clone();
        let gone = std::mem::replace(&mut members[from], replica(to)).node.0;
        // The new one replays the log from its start if that is there, else it gets a snapshot.
        if group.first == 0 {
            let range = founded.unwrap();
            let born = ShardDescriptor { id, range, epoch: Epoch::FIRST, replicas: Vec::new() };
            let mut state = ShardState::new(&born);
            let first: Vec<Replica> = (1..=3).map(replica).collect();
            state.founded(position(0), &raft_members(&first));
            group.copies.insert(to, Group::copy_of(state, first));
        } else {
            self.take_snapshot_of_another(id, to);
            if !self.groups[&id].copies.contains_key(&to) {
                return;
            }
        }
        self.moves += 1;
        self.commit(id, Entry::Members(members));
        let group = self.groups.get_mut(&id).unwrap();
        group.copies.remove(&gone);
        group.left.insert(gone);
    }

    /// A replica of a child whose shard here is past the split without having applied it.
    fn create_empty(&mut self, id: ShardId, node: u32) {
        let group = &self.groups[&id];
        let is_member = group.members.iter().any(|member| member.node.0 == node);
        if !is_member || group.copies.contains_key(&node) || group.left.contains(&node) {
            return;
        }
        let range = group.truth.range().unwrap().clone();
        let may_be_born = self.groups.iter().any(|(other, group)| {
            let copy = group.copies.get(&node).filter(|_copy| *other != id);
            copy.is_some_and(|copy| copy.state.range().unwrap().overlaps(&range))
        });
        if !may_be_born {
            self.take_snapshot_of_another(id, node);
        }
    }

    /// A leader tells what its shard is, with what split off it: once a quorum has each of those.
    fn report(&mut self, id: ShardId) {
        let group = &self.groups[&id];
        let known = self.meta.map().get(id).map_or(0, |known| known.epoch.version);
        let children: Vec<ShardDescriptor> = group
            .truth
            .children()
            .iter()
            .map(|child| child.descriptor.clone())
            .filter(|child| child.epoch.version > known)
            .collect();
        let has_quorum = |child: &ShardDescriptor| {
            let there = &self.groups[&child.id];
            let has = |member: &&Replica| there.copies.contains_key(&member.node.0);
            there.members.iter().filter(has).count() * 2 > there.members.len()
        };
        if !children.iter().all(has_quorum) {
            return;
        }
        let own = ShardDescriptor {
            id,
            range: group.truth.range().unwrap().clone(),
            epoch: group.truth.epoch(),
            replicas: group.members.clone(),
        };
        self.reports.push(std::iter::once(own).chain(children).collect());
    }

    /// A report arrives, perhaps again later, perhaps never.
    fn deliver(&mut self) {
        if self.reports.is_empty() {
            return;
        }
        let at = self.rng.below(self.reports.len());
        let descriptors = match self.rng.below(3) {
            0 => self.reports[at].clone(),
            _ => self.reports.swap_remove(at),
        };
        if self.rng.chance(20) {
            return;
        }
        self.meta.apply(&MetaOp::Report { descriptors }, 0).unwrap();
        self.meta.map().check().unwrap();
    }

    /// Where a client goes for a key: by its map, then wherever it is told.
    fn route(&self, client: usize, key: &ShardKey) -> Option<(ShardId, Epoch)> {
        let mut believed = self.maps[client].locate(key).unwrap().clone();
        for _hop in 0..8 {
            let group = &self.groups[&believed.id];
            let current = group.truth.epoch();
            if believed.epoch.version == current.version {
                return Some((believed.id, believed.epoch));
            }
            let children = group.truth.children().iter().map(|child| child.descriptor.clone());
            let own = ShardDescriptor {
                range: group.truth.range().unwrap().clone(),
                epoch: current,
                ..believed.clone()
            };
            let holders = children.chain([own]).filter(|holder| holder.range.contains(key));
            believed = holders.max_by_key(|holder| holder.epoch)?;
        }
        panic!("seed {}: {key} is not found from {}", self.seed, self.maps[client].version());
    }

    fn put(&self, write: &Write, epoch: Epoch) -> Entry {
        let put = PutSession {
            id: session(write.session),
            user: "u".into(),
            ttl_ms: 1_000_000,
            sliding: false,
            sealed: Sealed { key_id: 1, bytes: write.value.to_be_bytes().to_vec() },
            key: Some(WrappedKey { id: 1, by: "k".into(), bytes: vec![1] }),
            condition: None,
            limits: SessionLimits { per_user: 1_000, ..SessionLimits::default() },
        };
        let request = Some(RequestId { origin: RaftId(9), start: 1, sequence: write.request });
        let op = Op::Session(SessionOp::Put(put));
        Entry::Command(Box::new(Command { request, epoch, at_ms: self.next, op }))
    }

    fn write(&mut self, client: usize, write: Write) {
        let key = session(write.session).key();
        // Some go by an old map to a leader that has not applied the split yet.
        let blind = self.rng.chance(20);
        let (shard, epoch) = if blind {
            let believed = self.maps[client].locate(&key).unwrap();
            (believed.id, believed.epoch)
        } else {
            match self.route(client, &key) {
                Some(found) => found,
                None => panic!("seed {}: nobody holds {key}", self.seed),
            }
        };
        let before = self.read_truth(write.session);
        let entry = self.put(&write, epoch);
        let reply = self.commit(shard, entry).unwrap();
        match reply {
            Reply::Session(_) => {
                // A repeat is recognised: it stores nothing again.
                if self.read_truth(write.session) != before {
                    *self.stored.entry(write.value).or_default() += 1;
                }
                let times = self.stored.get(&write.value).copied().unwrap_or_default();
                assert_eq!(
                    times, 1,
                    "seed {}: {} was stored {times} times",
                    self.seed, write.value
                );
                if self.rng.chance(25) {
                    self.unheard.push(write);
                } else {
                    let last = self.acknowledged.entry(write.session).or_default();
                    *last = (*last).max(write.value);
                }
            }
            Reply::Refused(Refusal::StaleEpoch { .. }) => {
                assert!(blind, "seed {}: the right epoch is refused", self.seed);
                self.unheard.push(write);
            }
            other => panic!("seed {}: {other:?}", self.seed),
        }
    }

    fn value(state: &ShardState, number: usize) -> Option<u64> {
        let op = ReadOp::Session { id: session(number) };
        match state.read(&op, &MemoryDocuments::default()) {
            ReadAnswer::Session(stored) => stored
                .map(|stored| u64::from_be_bytes(stored.record.sealed.bytes.try_into().unwrap())),
            ReadAnswer::Refused(_) => None,
            other => panic!("{other:?}"),
        }
    }

    fn read_truth(&self, number: usize) -> Option<u64> {
        let key = session(number).key();
        let mut holders = self
            .groups
            .values()
            .filter(|group| group.truth.range().is_some_and(|range| range.contains(&key)));
        let value = Self::value(&holders.next().unwrap().truth, number);
        assert_eq!(holders.count(), 0, "seed {}: two shards hold {key}", self.seed);
        value
    }

    fn step(&mut self) {
        self.next += 1;
        let id = self.a_group();
        let client = self.rng.below(CLIENTS);
        match self.rng.below(20) {
            0..6 => {
                let write = Write {
                    request: self.next,
                    session: self.rng.below(SESSIONS),
                    value: self.next,
                };
                self.write(client, write);
            }
            6 => {
                if let Some(write) = self.unheard.pop() {
                    // The last value of the session may be a later one; what counts is that it is
                    // not stored twice.
                    self.write(client, write);
                }
            }
            7 => self.split(id),
            8 => self.move_a_replica(id),
            9 | 10 => self.report(id),
            11 | 12 => self.deliver(),
            13 => self.maps[client] = self.meta.map().clone(),
            14 => {
                if let Some(node) = self.a_copy(id) {
                    self.crash(id, node);
                }
            }
            15 => {
                if let Some(node) = self.a_copy(id) {
                    self.snapshot(id, node);
                    self.purge(id);
                }
            }
            16 => {
                let node = 1 + self.rng.below(NODES as usize) as u32;
                self.create_empty(id, node);
            }
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

    fn check(&self) {
        let mut ranges: Vec<&KeyRange> =
            self.groups.values().filter_map(|group| group.truth.range()).collect();
        ranges.sort_by(|a, b| a.start.cmp(&b.start));
        assert_eq!(ranges[0].start, ShardKey::space_start(Space::Sessions), "seed {}", self.seed);
        for pair in ranges.windows(2) {
            assert_eq!(pair[0].end.as_ref(), Some(&pair[1].start), "seed {}", self.seed);
        }
        assert!(ranges.last().unwrap().end.is_none(), "seed {}", self.seed);
        for (number, acknowledged) in &self.acknowledged {
            let found = self.read_truth(*number);
            assert!(
                found.is_some_and(|found| self.stored.contains_key(&found)),
                "seed {}: {acknowledged} of session {number} is lost, {found:?} is there",
                self.seed
            );
        }
    }

    /// Messages arrive again, and all replicas catch up.
    fn heal(&mut self) {
        for _round in 0..4 {
            for id in self.groups.keys().copied().collect::<Vec<_>>() {
                for node in 1..=NODES {
                    self.create_empty(id, node);
                }
                for node in self.groups[&id].copies.keys().copied().collect::<Vec<_>>() {
                    while self.groups[&id].copies[&node].state.applied().index
                        < self.groups[&id].end()
                    {
                        let before = self.groups[&id].copies[&node].state.applied();
                        self.follow(id, node);
                        if self.groups[&id].copies[&node].state.applied() == before {
                            break;
                        }
                    }
                }
                self.report(id);
                for descriptors in std::mem::take(&mut self.reports) {
                    self.meta.apply(&MetaOp::Report { descriptors }, 0).unwrap();
                }
            }
        }
        let map = self.meta.map();
        map.check().unwrap();
        for (id, group) in &self.groups {
            let known = map.get(*id).unwrap_or_else(|| panic!("seed {}: {id}", self.seed));
            assert_eq!(Some(&known.range), group.truth.range(), "seed {}", self.seed);
            for member in &group.members {
                let copy = group.copies.get(&member.node.0);
                let copy =
                    copy.unwrap_or_else(|| panic!("seed {}: {id} on {}", self.seed, member.node));
                assert_eq!(copy.state.hash(), group.truth.hash(), "seed {}: {id}", self.seed);
            }
        }
    }
}

fn run(seed: u64) -> (u64, u64) {
    let mut world = World::new(seed);
    for _ in 0..STEPS {
        world.step();
        world.check();
    }
    world.heal();
    world.check();
    (world.splits, world.moves)
}

#[test]
fn random_histories_keep_every_invariant() {
    if let Some(seed) = std::env::var("HEXPOP_SPLIT_SEED").ok().and_then(|seed| seed.parse().ok()) {
        run(seed);
        return;
    }
    let (mut splits, mut moves) = (0, 0);
    for seed in 0..HISTORIES {
        let (more_splits, more_moves) = run(seed);
        splits += more_splits;
        moves += more_moves;
    }
    println!("{HISTORIES} histories, seeds 0 to {}: {splits} splits, {moves} moves", HISTORIES - 1);
    assert!(splits > HISTORIES / 4 && moves > HISTORIES / 4, "{splits} splits, {moves} moves");
}
