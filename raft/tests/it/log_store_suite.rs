//! openraft's own suite for log stores, on ours; its state machine half is satisfied by a minimal one.

use std::io;

use futures::{Stream, TryStreamExt};
use hexpop_raft::{
    LogStore, MemDisk,
    types::{LogId, ReplyBytes, StoredMembership, TypeConfig},
    wal::{NewGroup, Options, Wal, WriterThread},
};
use openraft::{
    EntryPayload, OptionalSend, RaftSnapshotBuilder, StorageError,
    storage::{EntryResponder, RaftStateMachine},
    testing::log::{StoreBuilder, Suite},
};
use openraft_rt_tokio::TokioRuntime;

use crate::wal_model::{LOG, id};

type Config = TypeConfig<TokioRuntime>;
type Meta = openraft::alias::SnapshotMetaOf<Config>;
type Snapshot = openraft::alias::SnapshotOf<Config, ()>;

/// Remembers what was applied last, and nothing of what it said.
#[derive(Debug, Clone, Default)]
struct Machine {
    applied: Option<LogId>,
    membership: StoredMembership,
    snapshot: std::sync::Arc<std::sync::Mutex<Option<Meta>>>,
}

impl RaftSnapshotBuilder<Config> for Machine {
    type SnapshotData = ();

    async fn build_snapshot(&mut self) -> Result<Snapshot, io::Error> {
        let meta = Meta { last_log_id: self.applied, last_membership: self.membership.clone() };
        *self.snapshot.lock().unwrap() = Some(meta.clone());
        Ok(Snapshot { meta, snapshot: () })
    }
}

impl RaftStateMachine<Config> for Machine {
    type SnapshotData = ();
    type SnapshotBuilder = Self;

    async fn applied_state(&mut self) -> Result<(Option<LogId>, StoredMembership), io::Error> {
        Ok((self.applied, self.membership.clone()))
    }

    async fn apply<S>(&mut self, mut entries: S) -> Result<(), io::Error>
    where
        S: Stream<Item = Result<EntryResponder<Config>, io::Error>> + Unpin + OptionalSend,
    {
        while let Some((entry, responder)) = entries.try_next().await? {
            self.applied = Some(entry.log_id);
            if let EntryPayload::Membership(membership) = entry.payload {
                self.membership = StoredMembership::new(Some(entry.log_id), membership);
            }
            if let Some(responder) = responder {
                responder.send(ReplyBytes::default());
            }
        }
        Ok(())
    }

    async fn get_snapshot_builder(&mut self) -> Self {
        self.clone()
    }

    async fn install_snapshot(&mut self, meta: &Meta, _snapshot: ()) -> Result<(), io::Error> {
        self.applied = meta.last_log_id;
        self.membership = meta.last_membership.clone();
        *self.snapshot.lock().unwrap() = Some(meta.clone());
        Ok(())
    }

    async fn get_current_snapshot(&mut self) -> Result<Option<Snapshot>, io::Error> {
        Ok(self.snapshot.lock().unwrap().clone().map(|meta| Snapshot { meta, snapshot: () }))
    }
}

struct Builder;

impl StoreBuilder<Config, LogStore<TokioRuntime>, Machine, WriterThread> for Builder {
    async fn build(
        &self,
    ) -> Result<(WriterThread, LogStore<TokioRuntime>, Machine), StorageError<Config>> {
        let options = Options { segment_bytes: 4096, cache_bytes_max: 64, ..Options::default() };
        let wal = Wal::open(MemDisk::new(), LOG, options).unwrap().0;
        let thread = WriterThread::spawn(wal).unwrap();
        let log = thread.handle().create(id(1), NewGroup::default()).await.unwrap();
        Ok((thread, LogStore::new(log), Machine::default()))
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn openrafts_storage_suite_passes() {
    Suite::test_all(Builder).await.unwrap();
}
