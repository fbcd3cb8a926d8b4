//! The write-ahead log of `hexpop_raft`.

use std::{ops::Range, path::Path, sync::Arc, time::Duration};

use hexpop_edge_config::{RaftId, ShardId};
use hexpop_raft::{
    FsDisk,
    wal::{
        Completion, GroupLog, LogEntry, LogPosition, LogVote, NewGroup, Options, Wal, WriterThread,
    },
};
use tokio::sync::oneshot;

use crate::store::{Change, Store};

const LOG: RaftId = RaftId(1);
const TERM: u64 = 1;
/// How much is read at once, in bytes; as replication does.
const READ_BYTES: usize = 1 << 20;

/// `GATHERS`: whether flushes wait for company, as they do by default.
pub(crate) struct Ours<const GATHERS: bool = true> {
    groups: Vec<GroupLog>,
    /// Dropped last: it waits until all is flushed.
    _writer: WriterThread,
}

impl<const GATHERS: bool> Store for Ours<GATHERS> {
    const NAME: &'static str = if GATHERS { "hexpop wal" } else { "hexpop wal, gather 0" };

    fn open(dir: &Path, groups: u64) -> Self {
        let disk = Arc::new(FsDisk::open(dir).unwrap());
        let defaults = Options::default();
        let gather = if GATHERS { defaults.gather } else { Duration::ZERO };
        let (wal, _recovery) = Wal::open(disk, LOG, Options { gather, ..defaults }).unwrap();
        let writer = WriterThread::spawn(wal).unwrap();
        let handle = writer.handle();
        let open = |n| {
            let id = ShardId(n);
            match handle.group(id) {
                Some(group) => group,
                None => block_on(handle.create(id, NewGroup::default())).unwrap(),
            }
        };
        Self { groups: (0..groups).map(open).collect(), _writer: writer }
    }

    async fn change(&self, group: u64, change: Change) {
        let log = &self.groups[group as usize];
        match change {
            Change::Append { first, entries } => {
                let entry = |(index, payload)| LogEntry { index, term: TERM, tag: 1, payload };
                let entries = (first..).zip(entries).map(entry).collect();
                let (sender, durable) = oneshot::channel();
                // A writer that was told to stop may be gone.
                let done = Completion::new(move |result| drop(sender.send(result)));
                log.append(entries, done).await.unwrap();
                durable.await.unwrap().unwrap();
            }
            Change::Vote(term) => {
                log.save_vote(LogVote { term, node: 1, committed: true }).await.unwrap();
            }
            Change::Purge(index) => log.purge(LogPosition { term: TERM, index }).await.unwrap(),
        }
    }

    fn indexes(&self, group: u64) -> Range<u64> {
        let (first, next) = self.groups[group as usize].view().unwrap().indexes;
        first..next
    }

    fn vote(&self, group: u64) -> u64 {
        self.groups[group as usize].view().unwrap().vote.map_or(0, |vote| vote.term)
    }

    fn read(&self, group: u64, mut each: impl FnMut(u64, &[u8])) {
        let log = &self.groups[group as usize];
        let Range { mut start, end } = self.indexes(group);
        while start < end {
            for entry in log.read(start..end, READ_BYTES).unwrap() {
                each(entry.index, &entry.payload);
                start = entry.index + 1;
            }
        }
    }
}

fn block_on<T>(future: impl Future<Output = T>) -> T {
    tokio::runtime::Builder::new_current_thread().build().unwrap().block_on(future)
}
