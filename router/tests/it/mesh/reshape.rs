//! Shards that divide, and become one again.

use hexpop_edge_config::{Epoch, ShardId};
use hexpop_shard::{
    Command, DocumentStore, LogPosition, MemoryDocuments, Merge, MergeOp, MergeOutcome, Op,
    OperationId, Reply, SealMark, ShardDescriptor, ShardKey, ShardMap, ShardState, Split,
};

use super::{Group, Inner, Mesh, START_MS};

/// A merge that is under way.
pub(crate) struct Merging {
    left: ShardId,
    right: ShardId,
    operation: OperationId,
    seal: SealMark,
    /// What the right one was right behind its seal.
    staged: (ShardState, MemoryDocuments),
}

impl Group {
    fn command(&self, op: Op) -> Command {
        Command { request: None, epoch: self.state.epoch(), at_ms: START_MS, op }
    }

    fn merge(&mut self, op: MergeOp) -> MergeOutcome {
        let command = self.command(Op::Merge(op));
        match self.apply(&command) {
            Reply::Merge(outcome) => outcome,
            other => panic!("{other:?}"),
        }
    }

    /// As another replica gets a state: through its snapshot.
    fn copy(state: &ShardState, documents: &dyn DocumentStore) -> (ShardState, MemoryDocuments) {
        let records: Vec<_> = state.snapshot(documents).map(|record| record.unwrap()).collect();
        let mut copied = MemoryDocuments::default();
        (ShardState::restore(records, &mut copied).unwrap(), copied)
    }
}

impl Mesh {
    /// Divides a shard; answers the half from `at` on.
    pub(crate) fn split(&self, shard: ShardId, at: ShardKey) -> ShardId {
        let mut inner = self.inner.lock();
        let mut map = ShardMap::clone(&self.map());
        let child = (1..).map(ShardId).find(|id| !map.was_used(*id)).unwrap();
        let replicas = map.get(shard).unwrap().replicas.clone();
        let group = inner.groups.get_mut(&shard).unwrap();
        let command = group.command(Op::Split(Split { at, child }));
        group.index += 1;
        let position = LogPosition { term: 1, index: group.index };
        let documents = &mut group.documents;
        let reply = group.state.apply_among(position, &command, Some(&replicas), documents);
        assert!(matches!(reply, Reply::Split(_)), "{reply:?}");
        let fork = group.state.take_fork().unwrap();
        let (state, documents) = Group::copy(&fork, &group.documents);
        let (leader, index) = (group.leader, group.index);
        let descriptor = |id, state: &ShardState| {
            let (range, epoch) = (state.range().unwrap().clone(), state.epoch());
            ShardDescriptor { id, range, epoch, replicas: replicas.clone() }
        };
        map.report(vec![descriptor(shard, &group.state), descriptor(child, &state)]).unwrap();
        inner.groups.insert(child, Group { state, documents, leader, index });
        *self.map.lock() = map.into();
        child
    }

    /// Seals a shard to be taken into its left neighbour.
    pub(crate) fn seal(&self, left: ShardId, right: ShardId) -> Merging {
        let map = self.map();
        self.inner.lock().seal(&map, left, right)
    }

    /// Carries a merge out: the right shard is no more.
    pub(crate) fn absorb(&self, merging: Merging) {
        let map = self.inner.lock().absorb(&self.map(), merging);
        *self.map.lock() = map.into();
    }

    /// Both are back as they were.
    pub(crate) fn call_off(&self, Merging { left, right, operation, .. }: Merging) {
        let mut inner = self.inner.lock();
        inner.groups.get_mut(&left).unwrap().merge(MergeOp::Cancel { operation });
        inner.groups.get_mut(&right).unwrap().merge(MergeOp::Unseal { operation });
    }

    /// Where the listings of a shard are, in order.
    pub(crate) fn keys(&self, shard: ShardId) -> Vec<ShardKey> {
        let inner = self.inner.lock();
        let listings = inner.groups[&shard].state.as_listings().unwrap();
        let mut keys: Vec<ShardKey> =
            listings.view().documents_after(None).map(|row| row.key).collect();
        keys.sort();
        keys
    }

    /// Has a shard taken into its left neighbour when it is asked next.
    pub(crate) fn merge_when_asked(&self, left: ShardId, right: ShardId) {
        self.inner.lock().merge_when_asked = Some((left, right));
    }

    /// As the request to a shard comes in.
    pub(super) fn reshape(&self, inner: &mut Inner, asked: ShardId) {
        if let Some((left, right)) = inner.merge_when_asked.take_if(|(_, right)| *right == asked) {
            let map = self.map();
            let merging = inner.seal(&map, left, right);
            *self.map.lock() = inner.absorb(&map, merging).into();
        }
    }
}

impl Inner {
    fn seal(&mut self, map: &ShardMap, left: ShardId, right: ShardId) -> Merging {
        self.operations += 1;
        let operation = OperationId(self.operations);
        let merge = Merge::of(map.get(right).unwrap());
        self.groups.get_mut(&left).unwrap().merge(MergeOp::Prepare { operation, merge });
        let group = self.groups.get_mut(&right).unwrap();
        let sealed = group.merge(MergeOp::Seal { operation, left });
        let MergeOutcome::Sealed(seal) = sealed else { panic!("{sealed:?}") };
        let staged = Group::copy(&group.state, &group.documents);
        Merging { left, right, operation, seal, staged }
    }

    fn absorb(&mut self, map: &ShardMap, merging: Merging) -> ShardMap {
        let Merging { left, right, operation, seal, staged: (state, documents) } = merging;
        self.groups.remove(&right).unwrap();
        let group = self.groups.get_mut(&left).unwrap();
        let command = group.command(Op::Merge(MergeOp::Absorb { operation, seal }));
        group.index += 1;
        let position = LogPosition { term: 1, index: group.index };
        let to = &mut group.documents;
        let reply = group.state.apply_absorbing(position, &command, state, &documents, to).unwrap();
        let Reply::Merge(MergeOutcome::Absorbed { range, epoch }) = reply else {
            panic!("{reply:?}")
        };
        let mut map = map.clone();
        let replicas = map.get(left).unwrap().replicas.clone();
        let merged = ShardDescriptor { id: left, range, epoch, replicas };
        assert_eq!(map.report_merged(merged, right), Ok(true));
        map
    }

    /// What is newer than a request believes, if anything is.
    pub(super) fn newer(
        &self,
        map: &ShardMap,
        shard: ShardId,
        believed: Epoch,
    ) -> Vec<ShardDescriptor> {
        let epoch = self.groups.get(&shard).map(|group| group.state.epoch());
        match epoch {
            Some(epoch) if epoch.version > believed.version => map.shards().cloned().collect(),
            _ => Vec::new(),
        }
    }
}
