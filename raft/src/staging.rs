//! What shards were sealed as for merges, on this node's disk.
//!
//! A replica of a shard that is [sealed](hexpop_shard::MergeOp::Seal) writes what it is right behind the
//! seal, as a snapshot beside those of the groups: the head first, then the records of the state. It is
//! kept under a number that no group has, so that it is as durable, and as well checked, as any other
//! snapshot. Nodes with a replica of the shard that is to absorb it, and without this, fetch it
//! ([`supervisor`](crate::supervisor)).
//!
//! **Invariants**
//! - What is here under an operation is whole and durable, or it is not here.
//! - It goes once a snapshot of the left shard that knows the operation to be over is durable, and before
//!   the disk counts as rid of what is erased in either shard.
//!
//! **It is not** needed to be whole over a damaged disk: what does not read is dropped, and fetched again.

use std::{
    collections::{BTreeMap, BTreeSet},
    io,
    sync::Arc,
};

use hexpop_edge_config::{GroupId, ShardId, codec};
use hexpop_shard::{OperationId, SealMark, ShardState};
use parking_lot::Mutex;
use serde::{Deserialize, Serialize};
use tokio::sync::Notify;

use crate::{
    documents::GroupDocuments,
    snapshot::{SnapshotFiles, SnapshotStore},
    types::{LogId, StoredMembership},
};

/// The bit that no group's number has: the meta group gives numbers from 1 on.
const STAGED: u64 = 1 << 63;

/// Under which number the snapshot of what was sealed for an operation is kept.
pub(crate) const fn staged_group(operation: OperationId) -> GroupId {
    ShardId(STAGED | operation.0)
}

/// Whether a number of snapshots is that of something staged.
pub(crate) fn is_staged(group: GroupId) -> bool {
    group.is_of_shard() && group.0 & STAGED != 0
}

/// What is staged.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Staged {
    /// For which operation.
    pub(crate) operation: OperationId,
    /// The shard that was sealed.
    pub(crate) right: ShardId,
    /// The shard that is to absorb it.
    pub(crate) left: ShardId,
    /// The state that it was sealed in.
    pub(crate) seal: SealMark,
}

/// Something that is to be fetched.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Wanted {
    /// What.
    pub(crate) staged: Staged,
    /// A replica of the left shard has met the entry of this index, which absorbs it: a snapshot of that
    /// shard from there or later would do as well.
    pub(crate) met_at: Option<u64>,
}

/// What is to be fetched, in the order in which it is.
#[derive(Debug, Default)]
struct Queue {
    waiting: BTreeMap<OperationId, Waiting>,
    next: u64,
}

/// Something that waits to be fetched.
#[derive(Debug, Clone, Copy)]
struct Waiting {
    wanted: Wanted,
    /// Who came first has the lower one.
    since: u64,
    /// Fetching it has failed: it waits for the next turn, and nobody is woken for it.
    has_failed: bool,
}

impl Queue {
    fn push(&mut self, wanted: Wanted, has_failed: bool) {
        let since = self.next;
        self.next += 1;
        let new = Waiting { wanted, since, has_failed };
        let known = self.waiting.entry(wanted.staged.operation).or_insert(new);
        known.wanted.met_at = known.wanted.met_at.max(wanted.met_at);
        // Somebody asks for it anew, or has from before on.
        known.has_failed &= has_failed;
    }
}

/// What is staged here, and what is to be.
#[derive(Debug)]
pub(crate) struct Staging {
    snapshots: Arc<SnapshotStore>,
    known: Mutex<BTreeMap<OperationId, Staged>>,
    wanted: Mutex<Queue>,
    /// Up to which entry a replica of the left shard had applied when it was seen that an operation is
    /// over.
    over_at: Mutex<BTreeMap<OperationId, u64>>,
    /// Something has come.
    news: Notify,
}

impl Staging {
    /// Finds what is there; what does not read is removed.
    pub(crate) fn open(snapshots: Arc<SnapshotStore>) -> io::Result<Arc<Self>> {
        let mut known = BTreeMap::new();
        for group in snapshots.groups().into_iter().filter(|group| is_staged(*group)) {
            let head = snapshots.current(group).and_then(|files| head(&files));
            match head.filter(|head| staged_group(head.operation) == group) {
                Some(head) => drop(known.insert(head.operation, head)),
                None => snapshots.destroy(group)?,
            }
        }
        Ok(Arc::new(Self {
            snapshots,
            known: Mutex::new(known),
            wanted: Mutex::default(),
            over_at: Mutex::default(),
            news: Notify::new(),
        }))
    }

    /// All that is staged here.
    pub(crate) fn all(&self) -> Vec<Staged> {
        self.known.lock().values().copied().collect()
    }

    /// Whether it is here.
    pub(crate) fn has(&self, staged: &Staged) -> bool {
        self.known.lock().get(&staged.operation) == Some(staged)
    }

    /// Whether anything is here that is of a shard, or for it.
    pub(crate) fn concerns(&self, shard: ShardId) -> bool {
        let known = self.known.lock();
        known.values().any(|staged| staged.left == shard || staged.right == shard)
    }

    /// The files of what is staged, if it is here.
    pub(crate) fn files(&self, staged: &Staged) -> Option<SnapshotFiles> {
        if !self.has(staged) {
            return None;
        }
        self.snapshots.current(staged_group(staged.operation))
    }

    /// Writes what a shard is behind its seal, durably, unless it is here.
    ///
    /// # Errors
    /// The disk's, or that documents are missing, which are noted as such: others have it.
    pub(crate) fn write(
        &self,
        staged: &Staged,
        state: &ShardState,
        (last, membership): (LogId, StoredMembership),
        documents: &GroupDocuments,
    ) -> io::Result<()> {
        if self.has(staged) {
            return Ok(());
        }
        let group = staged_group(staged.operation);
        let mut writer = self.snapshots.writer(group, Some(last), membership);
        writer.record(&codec::encode(staged).map_err(io::Error::other)?)?;
        for record in state.snapshot(documents) {
            let record = record.map_err(|error| documents.note_unwritten(error))?;
            writer.record(&record)?;
        }
        writer.finish()?;
        self.note(*staged);
        Ok(())
    }

    /// Takes what was fetched from elsewhere: its chunks are durable.
    ///
    /// # Errors
    /// The disk's, or that it is something else.
    pub(crate) fn adopt(&self, staged: &Staged, files: &SnapshotFiles) -> io::Result<()> {
        if head(files) != Some(*staged) {
            return Err(io::Error::other("what was fetched is not what was sealed"));
        }
        self.snapshots.adopt(files)?;
        self.note(*staged);
        Ok(())
    }

    fn note(&self, staged: Staged) {
        self.known.lock().insert(staged.operation, staged);
        // A replica that has halted for it is started again by whoever finds it wanted, and here.
        let mut wanted = self.wanted.lock();
        let waiting = wanted.waiting.get(&staged.operation);
        if waiting.is_some_and(|waiting| waiting.wanted.met_at.is_none()) {
            wanted.waiting.remove(&staged.operation);
        }
        drop(wanted);
        self.news.notify_waiters();
    }

    /// Removes what is staged for an operation, for good.
    ///
    /// # Errors
    /// The disk's: it may be there still, and counts as being there.
    pub(crate) fn remove(&self, operation: OperationId) -> io::Result<()> {
        self.snapshots.destroy(staged_group(operation))?;
        self.known.lock().remove(&operation);
        self.over_at.lock().remove(&operation);
        Ok(())
    }

    /// Something that somebody here has to have.
    pub(crate) fn want(&self, wanted: Wanted) {
        self.wanted.lock().push(wanted, false);
    }

    /// Something that could not be fetched, and that somebody here still has to have: behind all that waits.
    pub(crate) fn want_again(&self, wanted: Wanted) {
        self.wanted.lock().push(wanted, true);
    }

    /// What is to be fetched, so many of it, but for what is being fetched: who has waited for longest comes first.
    /// It is forgotten until somebody wants it again.
    pub(crate) fn take_wanted(&self, fetching: &BTreeSet<OperationId>, room: usize) -> Vec<Wanted> {
        let mut queue = self.wanted.lock();
        let waiting = queue.waiting.values();
        let mut due: Vec<Waiting> =
            waiting.filter(|it| !fetching.contains(&it.wanted.staged.operation)).copied().collect();
        due.sort_unstable_by_key(|waiting| waiting.since);
        due.truncate(room);
        for taken in &due {
            queue.waiting.remove(&taken.wanted.staged.operation);
        }
        due.into_iter().map(|taken| taken.wanted).collect()
    }

    /// Whether something waits that fetching has not failed for: room for it is to be used at once. What has
    /// failed would be tried in a loop.
    pub(crate) fn has_untried(&self, fetching: &BTreeSet<OperationId>) -> bool {
        let queue = self.wanted.lock();
        let mut waiting = queue.waiting.iter();
        waiting.any(|(operation, it)| !it.has_failed && !fetching.contains(operation))
    }

    /// Resolves when something comes, counted from the call.
    pub(crate) fn news(&self) -> impl Future<Output = ()> + '_ {
        self.news.notified()
    }

    /// A replica of the left shard, which has applied the entry of `applied`, knows an operation to be over:
    /// answers from which entry on a snapshot of it is known to know that.
    pub(crate) fn over_at(&self, operation: OperationId, applied: u64) -> u64 {
        *self.over_at.lock().entry(operation).or_insert(applied)
    }
}

/// What a snapshot is of that was staged.
fn head(files: &SnapshotFiles) -> Option<Staged> {
    let record = files.records().next()?.ok()?;
    codec::decode(&record).ok()
}

#[cfg(test)]
mod tests {
    use hexpop_edge_config::{Epoch, RaftId};
    use hexpop_shard::{KeyRange, LogPosition, ShardDescriptor, Space};

    use super::*;
    use crate::{
        documents::Documents,
        mem_disk::{MemDisk, Split},
        types::log_id,
    };

    const STAGED: Staged = Staged {
        operation: OperationId(7),
        right: ShardId(4),
        left: ShardId(3),
        seal: SealMark { at: LogPosition { term: 1, index: 9 }, hash: 5 },
    };

    fn open(disk: &Arc<MemDisk>) -> (Arc<SnapshotStore>, Arc<Staging>) {
        let store = SnapshotStore::open(disk.clone(), RaftId(7), 1 << 10).unwrap();
        (Arc::clone(&store), Staging::open(store).unwrap())
    }

    fn write(staging: &Staging) {
        let shard = ShardDescriptor {
            id: STAGED.right,
            range: KeyRange::space(Space::Sessions),
            epoch: Epoch::FIRST,
            replicas: Vec::new(),
        };
        let documents = Documents::in_memory(1 << 10).group(STAGED.right);
        let at = (log_id(1, 9), StoredMembership::default());
        staging.write(&STAGED, &ShardState::new(&shard), at, &documents).unwrap();
    }

    #[test]
    fn what_is_staged_outlives_a_power_cut_and_what_is_removed_does_not_come_back() {
        let disk = MemDisk::new();
        let (_store, staging) = open(&disk);
        staging.want(Wanted { staged: STAGED, met_at: None });
        write(&staging);
        assert_eq!(staging.take_wanted(&BTreeSet::new(), 4), [], "it is here");
        for seed in 0..8 {
            let (_store, again) = open(&disk.after_power_cut(&mut Split::new(seed)));
            assert!(again.has(&STAGED) && again.concerns(ShardId(3)) && again.concerns(ShardId(4)));
            assert!(again.files(&STAGED).unwrap().records().all(|record| record.is_ok()));
            let other = Staged { seal: SealMark { hash: 6, ..STAGED.seal }, ..STAGED };
            assert!(again.files(&other).is_none(), "another state");
        }
        staging.remove(STAGED.operation).unwrap();
        for seed in 0..8 {
            let (store, again) = open(&disk.after_power_cut(&mut Split::new(seed)));
            assert!(!again.concerns(ShardId(3)) && store.groups().is_empty());
        }
    }

    fn wanted(operation: u64, met_at: Option<u64>) -> Wanted {
        Wanted { staged: Staged { operation: OperationId(operation), ..STAGED }, met_at }
    }

    #[test]
    fn who_waited_longest_is_fetched_first_and_what_failed_goes_behind_and_wakes_nobody() {
        let (_store, staging) = open(&MemDisk::new());
        let none = BTreeSet::new();
        let take = |fetching: &BTreeSet<OperationId>, room| {
            let taken = staging.take_wanted(fetching, room);
            taken.iter().map(|it| it.staged.operation.0).collect::<Vec<_>>()
        };
        for operation in [9, 3, 8, 1, 5, 2] {
            staging.want(wanted(operation, None));
        }
        // Asked for again, it keeps its place, and what it was met at.
        staging.want(wanted(8, Some(4)));
        assert_eq!(take(&none, 0), [0; 0]);
        assert_eq!(
            staging.take_wanted(&none, 3),
            [wanted(9, None), wanted(3, None), wanted(8, Some(4))]
        );
        assert!(staging.has_untried(&none));
        staging.want_again(wanted(8, Some(4)));
        let fetching = BTreeSet::from([OperationId(1)]);
        assert_eq!(take(&fetching, 1), [5], "the one that is being fetched is left");
        assert_eq!(take(&none, 1), [1]);
        // Others come for ever: what has failed has its turn.
        staging.want(wanted(7, None));
        assert_eq!(take(&none, 2), [2, 8]);
        staging.want_again(wanted(8, Some(4)));
        assert!(staging.has_untried(&none));
        assert!(!staging.has_untried(&BTreeSet::from([OperationId(7)])));
        assert_eq!(take(&none, 1), [7]);
        assert!(!staging.has_untried(&none), "it would be tried in a loop");
        staging.want(wanted(8, None));
        assert!(staging.has_untried(&none), "somebody asks anew");
        assert_eq!(staging.take_wanted(&none, 4), [wanted(8, Some(4))]);
    }

    #[test]
    fn what_is_staged_and_damaged_keeps_no_node_from_starting() {
        let disk = MemDisk::new();
        let (store, staging) = open(&disk);
        write(&staging);
        let files = staging.files(&STAGED).unwrap();
        let (manifest, chunk) = (
            format!("g{}.manifest", staged_group(STAGED.operation)),
            files.manifest().chunk_name(0),
        );
        drop((store, staging));
        for name in [chunk, manifest] {
            let disk = disk.after_kill();
            let file = crate::disk::Disk::open(disk.as_ref(), &name, false).unwrap();
            file.write_at(6, &[0xff; 3]).unwrap();
            let (store, staging) = open(&disk);
            assert!(staging.all().is_empty() && store.groups().is_empty(), "{name}");
        }
    }
}
