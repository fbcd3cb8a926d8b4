//! A child of the shard, made durable by the replica that applies the split.
//!
//! The order is: the snapshot's files, then the record of the write-ahead log that adds the group. What a
//! crash leaves before that record is removed at the start, and the split is applied again from the log of
//! the shard: no snapshot of the shard is written in between. Behind it the child exists, and applying the
//! split again leaves it alone, also when it was destroyed since.

use std::{io, sync::atomic::Ordering, time::Duration};

use hexpop_edge_config::codec;
use hexpop_shard::{ShardDescriptor, ShardState, SnapshotError};
use openraft::AsyncRuntime;

use super::{Machine, position, settled};
use crate::{
    host::Birth,
    types::{LogId, StoredMembership},
    wal::{LogPosition, LogVote, NewGroup},
};

/// How often documents that are missing here are waited for, while other replicas send them.
const DOCUMENT_WAITS: u32 = 300;

/// How long each time.
const DOCUMENT_WAIT: Duration = Duration::from_millis(200);

impl Machine {
    /// Makes the child durable that the entry at `at` split off, unless it is here already or this
    /// replica was no member at that entry: one that replays the log of a time before it came has nothing
    /// to do with the child.
    pub(super) async fn fork<R: AsyncRuntime>(
        &self,
        child: ShardState,
        at: LogId,
    ) -> io::Result<()> {
        let membership = self.replica.view.read().membership.clone();
        let id = child.shard();
        let is_member = membership.membership().get_node(&self.raft.0).is_some();
        let was_here = self.wal.group(id).is_some() || self.wal.vote(id).is_some();
        if is_member && !was_here && !self.births.is_elsewhere(id, self.raft) {
            let written = self.write_child::<R>(&child, at, membership).await;
            written.map_err(|error| {
                self.replica.halt(format!("shard {id}, which splits off, is not durable: {error}"))
            })?;
            self.births.add(id, self.replica.group);
        }
        self.replica.forking.store(false, Ordering::Release);
        Ok(())
    }

    async fn write_child<R: AsyncRuntime>(
        &self,
        child: &ShardState,
        at: LogId,
        membership: StoredMembership,
    ) -> io::Result<()> {
        let (id, invalid) = (child.shard(), || io::Error::other("it has no range or no members"));
        let replicas = settled(membership.membership()).ok_or_else(invalid)?;
        let range = child.range().cloned().ok_or_else(invalid)?;
        let shard = ShardDescriptor { id, range, epoch: child.epoch(), replicas };
        let mut waits = 0;
        while let Err(error) = self.write_child_snapshot(child, at, &membership) {
            // Anything but documents that others still have is for good.
            let SnapshotWrite::Missing(count) = error else { return Err(error.into()) };
            if waits >= DOCUMENT_WAITS {
                return Err(io::Error::other(format!("{count} documents are missing")));
            }
            waits += 1;
            R::sleep(DOCUMENT_WAIT).await;
        }
        let birth = Birth { shard: Some(shard), votes_from_conf: 0 };
        let about = codec::encode(&birth).map_err(io::Error::other)?.into();
        let end = position(at);
        let new = NewGroup {
            about,
            // Not below the term of what the log begins behind; given to nobody.
            vote: Some(LogVote { term: end.term, node: 0, committed: false }),
            purged: Some(LogPosition { term: end.term, index: end.index }),
        };
        let stalled = self.wal.options().stall_timeout;
        match R::timeout(stalled, self.wal.create(id, new)).await {
            Ok(created) => created.map(drop).map_err(io::Error::from),
            Err(_elapsed) => {
                Err(io::Error::new(io::ErrorKind::TimedOut, "the disk does not answer"))
            }
        }
    }

    fn write_child_snapshot(
        &self,
        child: &ShardState,
        at: LogId,
        membership: &StoredMembership,
    ) -> Result<(), SnapshotWrite> {
        let mut writer = self.snapshots.writer(child.shard(), Some(at), membership.clone());
        // The documents are still under the shard that divides; the child's store gets its own from
        // the snapshot.
        for record in child.snapshot(&self.documents) {
            let record = record.map_err(|error| match error {
                SnapshotError::MissingDocuments(missing) => {
                    let count = missing.len();
                    self.documents.note_missing(missing);
                    SnapshotWrite::Missing(count)
                }
                error @ SnapshotError::Encode(_) => {
                    SnapshotWrite::Failed(io::Error::other(error.to_string()))
                }
            })?;
            writer.record(&record)?;
        }
        writer.finish().map(drop)?;
        self.metrics.snapshots.with_label_values(&["written"]).inc();
        Ok(())
    }
}

/// Why the child's snapshot was not written.
enum SnapshotWrite {
    /// So many documents are not here.
    Missing(usize),
    Failed(io::Error),
}

impl From<io::Error> for SnapshotWrite {
    fn from(error: io::Error) -> Self {
        Self::Failed(error)
    }
}

impl From<SnapshotWrite> for io::Error {
    fn from(error: SnapshotWrite) -> Self {
        match error {
            SnapshotWrite::Missing(count) => Self::other(format!("{count} documents are missing")),
            SnapshotWrite::Failed(error) => error,
        }
    }
}
