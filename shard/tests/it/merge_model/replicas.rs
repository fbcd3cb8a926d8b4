//! Groups and their replicas.

use std::collections::{BTreeMap, BTreeSet};

use hexpop_edge_config::{Epoch, ShardId};
use hexpop_shard::{
    Command, MemoryDocuments, MergeOutcome, MetaOp, MetaOutcome, Op, OperationId, Replica, Reply,
    ShardDescriptor, ShardState, Split,
};

use super::world::{
    NODES, PUTS, Report, Slip, World, position, raft_members, records, replica, restored, session,
};

/// One entry of a log.
#[derive(Clone)]
pub(super) enum Entry {
    Command(Box<Command>),
    Members(Vec<Replica>),
}

/// A replica.
pub(super) struct Copy {
    pub(super) state: ShardState,
    pub(super) members: Vec<Replica>,
    /// Its last snapshot.
    disk: (Vec<Vec<u8>>, Vec<Replica>),
}

impl Copy {
    fn new(state: ShardState, members: Vec<Replica>) -> Self {
        let disk = (records(&state), members.clone());
        Self { state, members, disk }
    }
}

/// A group: its log, what that makes of it, and its replicas.
pub(super) struct Group {
    /// What the log begins behind, and goes on from.
    pub(super) first: u64,
    log: Vec<Entry>,
    pub(super) truth: ShardState,
    pub(super) members: Vec<Replica>,
    /// Hash of the state behind each entry.
    hashes: BTreeMap<u64, u64>,
    pub(super) copies: BTreeMap<u32, Copy>,
    /// Nodes that had a replica and destroyed it.
    left: BTreeSet<u32>,
}

impl Group {
    pub(super) fn founded(truth: ShardState, members: Vec<Replica>) -> Self {
        let copies = members.iter().map(|replica| {
            (replica.node.0, Copy::new(restored(&records(&truth)), members.clone()))
        });
        let copies = copies.collect();
        Self { copies, ..Self::behind(truth, members, 0) }
    }

    /// Without replicas, its log behind an entry.
    fn behind(truth: ShardState, members: Vec<Replica>, first: u64) -> Self {
        Self {
            first,
            log: Vec::new(),
            hashes: BTreeMap::from([(first, truth.hash())]),
            copies: BTreeMap::new(),
            left: BTreeSet::new(),
            truth,
            members,
        }
    }

    pub(super) fn end(&self) -> u64 {
        self.first + self.log.len() as u64
    }

    fn entry(&self, index: u64) -> Option<&Entry> {
        self.log.get(index.checked_sub(self.first + 1)? as usize)
    }

    /// As the shard is by its log.
    pub(super) fn descriptor(&self) -> ShardDescriptor {
        ShardDescriptor {
            id: self.truth.shard(),
            range: self.truth.range().unwrap().clone(),
            epoch: self.truth.epoch(),
            replicas: self.members.clone(),
        }
    }
}

/// Applies an entry to a state, with what it absorbs, if that is at hand. Answers the reply and what is
/// split off; `None` = it is not applied.
fn apply(
    state: &mut ShardState,
    members: &mut Vec<Replica>,
    index: u64,
    entry: &Entry,
    staged: impl FnOnce(ShardId, OperationId) -> Option<ShardState>,
) -> Option<(Option<Reply>, Option<ShardState>)> {
    let command = match entry {
        Entry::Members(new) => {
            state.membership_changed(position(index), &raft_members(new));
            members.clone_from(new);
            return Some((None, None));
        }
        Entry::Command(command) => command,
    };
    let documents = &mut MemoryDocuments::default();
    let wanted = state.absorbs(position(index), command);
    let wanted = wanted.map(|(open, _)| (open.merge.right, open.operation));
    if let Some((right, operation)) = wanted {
        let right = staged(right, operation)?;
        let from = MemoryDocuments::default();
        let reply = state.apply_absorbing(position(index), command, right, &from, documents);
        return Some((Some(reply.unwrap()), None));
    }
    let reply = state.apply_among(position(index), command, Some(members), documents);
    Some((Some(reply), state.take_fork()))
}

impl World {
    /// Commits an entry: the truth moves on; replicas follow in their own time.
    pub(super) fn commit(&mut self, id: ShardId, entry: Entry) -> Option<Reply> {
        let seals = &self.seals;
        let group = self.groups.get_mut(&id).unwrap();
        group.log.push(entry.clone());
        let index = group.end();
        let sealed = |right: ShardId, operation: OperationId| {
            // Without one it would not have been proposed.
            Some(restored(seals.get(&(right, operation)).unwrap()))
        };
        let applied = apply(&mut group.truth, &mut group.members, index, &entry, sealed);
        let (reply, fork) = applied.unwrap();
        group.hashes.insert(index, group.truth.hash());
        if let (Some(Reply::Merge(MergeOutcome::Sealed(seal))), Some(sealed)) =
            (&reply, group.truth.sealed_for())
            && seal.at == position(index)
        {
            self.seals.insert((id, sealed.operation), records(&group.truth));
        }
        if let (Some(Reply::Merge(MergeOutcome::Absorbed { .. })), Some(absorbed)) =
            (&reply, group.truth.absorbed())
            && self.absorbed.insert(absorbed.right)
        {
            self.tally.merges += 1;
        }
        if let Some(child) = fork {
            self.tally.splits += 1;
            let members = group.members.clone();
            self.groups.insert(child.shard(), Group::behind(child, members, index));
        }
        reply
    }

    /// One replica applies the next entry of its group's log.
    pub(super) fn follow(&mut self, id: ShardId, node: u32) {
        let group = self.groups.get_mut(&id).unwrap();
        let index = group.copies[&node].state.applied().index + 1;
        let Some(entry) = group.entry(index).cloned() else {
            // What it lacks is purged: it gets a snapshot of another replica.
            if index <= group.first {
                self.take_snapshot_of_another(id, node);
            }
            return;
        };
        let copy = group.copies.get_mut(&node).unwrap();
        let staged = |right: ShardId, operation: OperationId| {
            let files = self.staged.get(&(node, (right, operation)))?;
            Some(restored(files))
        };
        let applied = apply(&mut copy.state, &mut copy.members, index, &entry, staged);
        let Some((reply, fork)) = applied else {
            self.tally.blocked += 1;
            self.unblock(id, node, index);
            return;
        };
        if copy.state.hash() != group.hashes[&index] {
            panic!("seed {}: replicas differ: {id} at {index} on {node}", self.seed);
        }
        if let (Some(Reply::Merge(MergeOutcome::Sealed(seal))), Some(sealed)) =
            (&reply, copy.state.sealed_for())
            && seal.at == position(index)
        {
            self.staged.insert((node, (id, sealed.operation)), records(&copy.state));
        }
        let was_member = copy.members.iter().any(|replica| replica.node.0 == node);
        let members = copy.members.clone();
        // One that is destroyed already stays so: nobody is left to be a quorum with.
        if let Some(child) = fork
            && was_member
            && let Some(there) = self.groups.get_mut(&child.shard())
            && !there.left.contains(&node)
        {
            // Replaying the split leaves alone what became of the child meanwhile.
            let made = Copy::new(restored(&records(&child)), members);
            there.copies.entry(node).or_insert(made);
        }
    }

    /// A replica has nothing staged for what the entry of `index` absorbs.
    fn unblock(&mut self, id: ShardId, node: u32, index: u64) {
        if self.slip == Slip::SkipUnstaged {
            // It goes on with the next entry.
            let group = self.groups.get_mut(&id).unwrap();
            let copy = group.copies.get_mut(&node).unwrap();
            copy.state.skip(position(index));
            if copy.state.hash() != group.hashes[&index] {
                self.violated("replicas differ behind an absorption");
            }
            return;
        }
        let open = self.groups[&id].copies[&node].state.open_merge().unwrap();
        let wanted = (open.merge.right, open.operation);
        match self.staged_anywhere(wanted) {
            Some(files) if self.rng.chance(50) => {
                self.staged.insert((node, wanted), files);
            }
            _ => self.take_snapshot_of_another(id, node),
        }
    }

    pub(super) fn staged_anywhere(&self, wanted: (ShardId, OperationId)) -> Option<Vec<Vec<u8>>> {
        let mut held = self.staged.iter().filter(|((_, sealed), _)| *sealed == wanted);
        held.next().map(|(_, files)| files.clone())
    }

    fn take_snapshot_of_another(&mut self, id: ShardId, node: u32) {
        let group = self.groups.get_mut(&id).unwrap();
        let best = group.copies.iter().filter(|(other, _)| **other != node);
        let Some((_, best)) = best.max_by_key(|(_, copy)| copy.state.applied().index) else {
            return;
        };
        let made = Copy::new(restored(&records(&best.state)), best.members.clone());
        let has = group.copies.get(&node).map(|copy| copy.state.applied().index);
        if has.is_none_or(|index| index < made.state.applied().index) {
            group.copies.insert(node, made);
        }
    }

    /// Back to the last snapshot.
    pub(super) fn crash(&mut self, id: ShardId, node: u32) {
        let copy = self.groups.get_mut(&id).unwrap().copies.get_mut(&node).unwrap();
        copy.state = restored(&copy.disk.0);
        copy.members.clone_from(&copy.disk.1);
    }

    pub(super) fn snapshot(&mut self, id: ShardId, node: u32) {
        let copy = self.groups.get_mut(&id).unwrap().copies.get_mut(&node).unwrap();
        copy.disk = (records(&copy.state), copy.members.clone());
        // What is staged goes once a durable snapshot knows that the operation is over.
        let closed = copy.state.merges_closed();
        let lefts: BTreeSet<OperationId> = self
            .operations
            .iter()
            .filter(|operation| operation.left == id && operation.id <= closed)
            .map(|operation| operation.id)
            .collect();
        self.staged.retain(|(of, (_, operation)), _| *of != node || !lefts.contains(operation));
    }

    /// Whether the map has a shard as its log has it: until then nobody joins or leaves it, it does not
    /// divide again, and its log stays from the split on.
    pub(super) fn is_reported(&self, id: ShardId) -> bool {
        let known = self.meta.map().get(id);
        known.is_some_and(|known| known.epoch == self.groups[&id].truth.epoch())
    }

    pub(super) fn purge(&mut self, id: ShardId) {
        if !self.is_reported(id) {
            return;
        }
        let group = self.groups.get_mut(&id).unwrap();
        let upto = group.copies.values().map(|copy| restored(&copy.disk.0).applied().index).max();
        let Some(upto) = upto.filter(|upto| *upto > group.first) else { return };
        group.log.drain(..(upto - group.first) as usize);
        group.first = upto;
    }

    pub(super) fn split(&mut self, id: ShardId) {
        if !self.is_reported(id) {
            return;
        }
        let at = session(self.rng.below(PUTS)).key();
        let truth = &self.groups[&id].truth;
        let (range, epoch) = (truth.range().unwrap(), truth.epoch());
        if !range.contains(&at) || at == range.start {
            return;
        }
        let allocated = self.meta.apply(&MetaOp::AllocateIds { count: 1 }, 0).unwrap();
        let MetaOutcome::Allocated { first: child, .. } = allocated else {
            panic!("{allocated:?}")
        };
        let op = Op::Split(Split { at, child });
        let command = Command { request: None, epoch, at_ms: self.now, op };
        // Whoever proposed it may not have heard.
        if self.rng.chance(30) {
            self.flight.push((id, command.clone()));
        }
        self.commit(id, Entry::Command(Box::new(command)));
    }

    /// While a merge is open nobody joins or leaves.
    pub(super) fn move_a_replica(&mut self, id: ShardId) {
        let truth = &self.groups[&id].truth;
        let is_merging = truth.open_merge().is_some() || truth.sealed_for().is_some();
        if !self.is_reported(id) || is_merging {
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
            group.copies.insert(to, Copy::new(state, first));
        } else {
            self.take_snapshot_of_another(id, to);
            if !self.groups[&id].copies.contains_key(&to) {
                return;
            }
        }
        self.tally.moves += 1;
        self.commit(id, Entry::Members(members));
        let group = self.groups.get_mut(&id).unwrap();
        group.copies.remove(&gone);
        group.left.insert(gone);
    }

    /// A replica of a child whose shard here is past the split without having applied it, or is gone.
    pub(super) fn create_empty(&mut self, id: ShardId, node: u32) {
        let group = &self.groups[&id];
        let is_member = group.members.iter().any(|member| member.node.0 == node);
        let was_here = group.copies.contains_key(&node) || group.left.contains(&node);
        if !is_member || was_here || self.absorbed.contains(&id) {
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

    /// Replicas of a shard that the map has no more are destroyed, one after the other.
    pub(super) fn retire(&mut self) {
        let map = self.meta.map();
        let is_retired = |id: &&ShardId| map.get(**id).is_none() && map.was_used(**id);
        let Some(id) = self.groups.keys().find(is_retired).copied() else { return };
        let group = self.groups.get_mut(&id).unwrap();
        if let Some((node, _)) = group.copies.pop_first() {
            group.left.insert(node);
        }
        if group.copies.is_empty() {
            self.groups.remove(&id);
        }
    }

    /// A leader tells what its shard is, with what split off it: once a quorum has each of those.
    pub(super) fn report(&mut self, id: ShardId) {
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
            let Some(there) = self.groups.get(&child.id) else { return false };
            let has = |member: &&Replica| there.copies.contains_key(&member.node.0);
            there.members.iter().filter(has).count() * 2 > there.members.len()
        };
        if !children.iter().all(has_quorum) {
            return;
        }
        let own = group.descriptor();
        self.reports.push(Report::Shards(std::iter::once(own).chain(children).collect()));
    }

    /// A report arrives, perhaps again later, perhaps never.
    pub(super) fn deliver_report(&mut self) {
        if self.reports.is_empty() {
            return;
        }
        let at = self.rng.below(self.reports.len());
        let report = match self.rng.below(3) {
            0 => self.reports[at].clone(),
            _ => self.reports.swap_remove(at),
        };
        if !self.rng.chance(20) {
            self.take_report(report);
        }
    }

    pub(super) fn take_report(&mut self, report: Report) {
        let op = match report {
            Report::Shards(descriptors) => MetaOp::Report { descriptors },
            Report::Merged(shard, absorbed) => MetaOp::ReportMerged { shard, absorbed },
        };
        self.meta.apply(&op, 0).unwrap();
    }

    /// All replicas apply all there is.
    pub(super) fn catch_up(&mut self, id: ShardId) {
        for node in 1..=NODES {
            self.create_empty(id, node);
        }
        for node in self.groups[&id].copies.keys().copied().collect::<Vec<_>>() {
            // One that is blocked once goes on with what it has fetched.
            let mut stood = 0;
            while self.groups[&id].copies[&node].state.applied().index < self.groups[&id].end()
                && stood < 4
            {
                let before = self.groups[&id].copies[&node].state.applied();
                self.follow(id, node);
                let moved = self.groups[&id].copies[&node].state.applied() != before;
                stood = if moved { 0 } else { stood + 1 };
            }
        }
    }
}
