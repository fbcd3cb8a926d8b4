//! The log as it should be, and what a real one says it is.

use std::{collections::BTreeMap, sync::Arc};

use bytes::Bytes;
use futures::FutureExt;
use hexpop_edge_config::{GroupId, RaftId, ShardId};
use hexpop_raft::{
    Disk,
    wal::{
        Completion, GroupLog, LogEntry, LogPosition, LogVote, NewGroup, OpenError, Options,
        Recovery, Wal, WalError, WalHandle,
    },
};

pub(crate) const LOG: RaftId = RaftId(0x5eed);

/// One group's log, as a value.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(crate) struct GroupModel {
    pub(crate) alive: bool,
    pub(crate) about: Bytes,
    pub(crate) vote: Option<LogVote>,
    pub(crate) purged: Option<LogPosition>,
    pub(crate) first: u64,
    pub(crate) entries: Vec<LogEntry>,
}

/// All groups.
pub(crate) type Model = BTreeMap<GroupId, GroupModel>;

impl GroupModel {
    pub(crate) fn next(&self) -> u64 {
        self.first + self.entries.len() as u64
    }
}

pub(crate) fn small_options() -> Options {
    Options {
        segment_bytes: 4096,
        queue_bytes_max: 1 << 20,
        queue_ops_max: 1 << 12,
        cache_bytes_max: 512,
        relocate_bytes_max: 512,
        ..Options::default()
    }
}

pub(crate) fn open(disk: &Arc<impl Disk + 'static>) -> Result<(Wal, Recovery), OpenError> {
    Wal::open(disk.clone(), LOG, small_options())
}

pub(crate) fn id(n: u64) -> GroupId {
    ShardId(n)
}

pub(crate) fn entry(index: u64, term: u64, bytes: usize) -> LogEntry {
    let payload: Vec<u8> =
        (0..bytes).map(|n| (index as usize * 7 + n + term as usize) as u8).collect();
    LogEntry { index, term, tag: 1, payload: payload.into() }
}

pub(crate) fn ignore() -> Completion {
    Completion::new(drop)
}

/// Creates a group and makes it durable.
pub(crate) fn create(wal: &mut Wal, n: u64) -> GroupLog {
    submit(wal.handle().create(id(n), NewGroup::default()));
    wal.step().unwrap();
    wal.handle().group(id(n)).unwrap()
}

/// Submits without waiting for the flush: the first poll of each of these futures queues.
pub(crate) fn submit<T>(future: impl Future<Output = Result<T, WalError>>) {
    if let Some(result) = future.now_or_never() {
        drop(result.unwrap());
    }
}

/// Everything the log says, but the committed positions.
pub(crate) fn observe(wal: &WalHandle, model: &Model) -> Model {
    let about: BTreeMap<_, _> = wal.groups().into_iter().collect();
    let mut seen = Model::new();
    for &id in model.keys() {
        let Some(log) = wal.group(id) else {
            let vote = wal.vote(id);
            seen.insert(id, GroupModel { vote, ..GroupModel::default() });
            continue;
        };
        let view = log.view().unwrap();
        let entries = log.read(0..u64::MAX, usize::MAX).unwrap();
        assert_eq!(entries.len() as u64, view.indexes.1 - view.indexes.0);
        let last = entries.last().map(|last| LogPosition { term: last.term, index: last.index });
        assert_eq!(view.last, last.or(view.purged));
        seen.insert(
            id,
            GroupModel {
                alive: true,
                about: about[&id].clone(),
                vote: view.vote,
                purged: view.purged,
                first: view.indexes.0,
                entries,
            },
        );
    }
    assert!(about.keys().all(|id| model.contains_key(id)), "a group from nowhere");
    seen
}
