//! Receiving a snapshot from a leader, chunk by chunk, in any order, resumably; at most one of a group at
//! a time, and one more that is being installed.

use std::{collections::BTreeMap, io, sync::Arc};

use tokio::sync::Mutex;

use super::{Manifest, SnapshotFiles, SnapshotId, SnapshotStore};
use crate::disk::DiskFile;

/// Why a chunk or the whole was not taken.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ReceiveError {
    /// The manifest's numbers are out of bounds.
    #[error("the manifest of the snapshot is not sane")]
    Manifest,
    /// It is not the snapshot that is being received.
    #[error("another snapshot is being received")]
    AnotherOne,
    /// The chunk's bytes are not those that the manifest names.
    #[error("chunk {0} is damaged, or there is none of this number")]
    Chunk(u32),
    /// Chunks are missing still.
    #[error("{0} chunks are missing")]
    Missing(usize),
    /// The disk failed.
    #[error(transparent)]
    Io(#[from] io::Error),
}

/// The snapshot of a group that is on its way.
#[derive(Debug, Default)]
pub(crate) struct Receiving {
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    incoming: Option<Incoming>,
    installing: Option<SnapshotId>,
}

/// What the beginning of a snapshot was answered.
#[derive(Debug)]
pub(crate) enum Begun {
    /// These chunks are missing.
    Missing(Vec<u32>),
    /// All of it is here and being installed.
    Installing,
}

/// What there is to be installed.
#[derive(Debug)]
pub(crate) enum Taken {
    /// It is whole. To be put back afterwards, before which nothing of it is removed.
    Whole(Incoming, SnapshotFiles),
    /// It is being installed.
    Installing,
    /// Nothing is being received.
    Nothing,
    /// Another one is, or chunks are missing.
    Error(ReceiveError),
}

impl Receiving {
    /// Begins to receive a snapshot, or goes on with it.
    pub(crate) async fn begin(
        &self,
        store: &Arc<SnapshotStore>,
        manifest: Manifest,
    ) -> Result<Begun, ReceiveError> {
        let mut state = self.state.lock().await;
        if state.installing == Some(manifest.id) {
            return Ok(Begun::Installing);
        }
        // The same one again: it resumes at what is missing.
        if state.incoming.as_ref().is_none_or(|known| known.id() != manifest.id) {
            state.incoming = None;
            state.incoming = Some(Incoming::begin(store, manifest)?);
        }
        Ok(Begun::Missing(state.incoming.as_ref().map(Incoming::missing).unwrap_or_default()))
    }

    /// Takes a chunk; `None` when nothing is being received.
    pub(crate) async fn chunk(
        &self,
        id: SnapshotId,
        number: u32,
        bytes: &[u8],
    ) -> Option<Result<(), ReceiveError>> {
        let mut state = self.state.lock().await;
        if state.installing == Some(id) {
            return Some(Ok(()));
        }
        Some(state.incoming.as_mut()?.chunk(id, number, bytes))
    }

    /// Takes a whole snapshot out, to be installed.
    pub(crate) async fn take(&self, id: SnapshotId) -> Taken {
        let mut state = self.state.lock().await;
        if state.installing.is_some() {
            return Taken::Installing;
        }
        let Some(incoming) = state.incoming.take() else { return Taken::Nothing };
        match incoming.finish(id) {
            Ok(files) => {
                state.installing = Some(id);
                Taken::Whole(incoming, files)
            }
            Err(error) => {
                state.incoming = Some(incoming);
                Taken::Error(error)
            }
        }
    }

    /// The installation is over; if it failed it may be tried again.
    pub(crate) async fn put_back(&self, incoming: Incoming, has_failed: bool) {
        let mut state = self.state.lock().await;
        state.installing = None;
        if has_failed && state.incoming.is_none() {
            state.incoming = Some(incoming);
        }
    }

    /// Gives up what is being received of a snapshot from before the entry of `index`. Answers whether
    /// nothing of such a one is left: not while one is received or installed.
    pub(crate) fn rid_before(&self, index: u64) -> bool {
        let Ok(mut state) = self.state.try_lock() else { return false };
        if state.incoming.as_ref().is_some_and(|incoming| incoming.id().index < index) {
            state.incoming = None;
        }
        state.installing.is_none()
    }
}

/// A snapshot being received. What was written is removed when it is dropped unfinished.
#[derive(Debug)]
pub(crate) struct Incoming {
    store: Arc<SnapshotStore>,
    life: u64,
    manifest: Arc<Manifest>,
    chunks: BTreeMap<u32, Arc<dyn DiskFile>>,
}

impl Incoming {
    /// Begins to receive.
    pub(crate) fn begin(
        store: &Arc<SnapshotStore>,
        manifest: Manifest,
    ) -> Result<Self, ReceiveError> {
        if !manifest.is_sane() {
            return Err(ReceiveError::Manifest);
        }
        Ok(Self {
            store: Arc::clone(store),
            life: store.life(manifest.group),
            manifest: Arc::new(manifest),
            chunks: BTreeMap::new(),
        })
    }

    /// Which snapshot it is.
    pub(crate) fn id(&self) -> SnapshotId {
        self.manifest.id
    }

    /// The numbers of the chunks that are missing.
    pub(crate) fn missing(&self) -> Vec<u32> {
        (0..)
            .take(self.manifest.chunks.len())
            .filter(|number| !self.chunks.contains_key(number))
            .collect()
    }

    /// Takes a chunk: verified, written and flushed. A repeat is harmless.
    pub(crate) fn chunk(
        &mut self,
        id: SnapshotId,
        number: u32,
        bytes: &[u8],
    ) -> Result<(), ReceiveError> {
        if id != self.manifest.id {
            return Err(ReceiveError::AnotherOne);
        }
        let meta = self.manifest.chunks.get(number as usize).ok_or(ReceiveError::Chunk(number))?;
        if bytes.len() != meta.len as usize || crc32fast::hash(bytes) != meta.crc {
            return Err(ReceiveError::Chunk(number));
        }
        if self.chunks.contains_key(&number) {
            return Ok(());
        }
        let name = self.manifest.chunk_name(number);
        let file = self.store.create_chunk(self.manifest.group, self.life, &name)?;
        file.write_at(0, bytes)?;
        file.sync_data()?;
        self.chunks.insert(number, file);
        Ok(())
    }

    /// All chunks are here: hands out the snapshot. It lasts once the state machine has adopted it,
    /// before which this value must not be dropped.
    pub(crate) fn finish(&self, id: SnapshotId) -> Result<SnapshotFiles, ReceiveError> {
        if id != self.manifest.id {
            return Err(ReceiveError::AnotherOne);
        }
        let missing = self.manifest.chunks.len() - self.chunks.len();
        if missing > 0 {
            return Err(ReceiveError::Missing(missing));
        }
        Ok(SnapshotFiles {
            manifest: Arc::clone(&self.manifest),
            chunks: self.chunks.values().cloned().collect(),
            life: self.life,
        })
    }
}

impl Drop for Incoming {
    fn drop(&mut self) {
        // Once it is installed its chunks are the group's.
        if self.store.is_current(self.manifest.group, self.manifest.id) {
            return;
        }
        let names = self.chunks.keys().map(|number| self.manifest.chunk_name(*number));
        self.store.give_up(self.manifest.group, self.life, names);
    }
}

#[cfg(test)]
mod tests {
    use hexpop_edge_config::{GroupId, RaftId};

    use super::*;
    use crate::{
        mem_disk::MemDisk,
        snapshot::ChunkMeta,
        types::{StoredMembership, log_id},
    };

    const BYTES: &[u8] = b"chunk";

    fn manifest(index: u64) -> Manifest {
        let len = u32::try_from(BYTES.len()).unwrap();
        Manifest {
            group: GroupId::default(),
            id: SnapshotId { term: 1, index, writer: 5, nonce: 0 },
            last: Some(log_id(1, index)),
            membership: StoredMembership::default(),
            chunks: vec![ChunkMeta { len, crc: crc32fast::hash(BYTES) }],
        }
    }

    #[tokio::test]
    async fn while_one_snapshot_is_installed_another_is_received() {
        let disk = MemDisk::new();
        let store = SnapshotStore::open(disk.clone(), RaftId(7), 1 << 10).unwrap();
        let receiving = Receiving::default();
        let (first, second) = (manifest(5), manifest(9));
        receiving.begin(&store, first.clone()).await.unwrap();
        receiving.chunk(first.id, 0, BYTES).await.unwrap().unwrap();
        let Taken::Whole(incoming, files) = receiving.take(first.id).await else {
            panic!("all of it is here");
        };
        // Its leader, impatient, tries again: nothing of what is being installed is touched.
        let again = receiving.begin(&store, first.clone()).await.unwrap();
        assert!(matches!(again, Begun::Installing));
        receiving.chunk(first.id, 0, BYTES).await.unwrap().unwrap();
        assert!(matches!(receiving.take(first.id).await, Taken::Installing));
        let other = receiving.begin(&store, second.clone()).await.unwrap();
        assert!(matches!(other, Begun::Missing(missing) if missing == [0]));
        receiving.chunk(second.id, 0, BYTES).await.unwrap().unwrap();
        assert!(!receiving.rid_before(9), "what is being installed is from before that");
        assert_eq!(files.read_chunk(0).unwrap(), BYTES);
        receiving.put_back(incoming, true).await;
        assert!(receiving.rid_before(9));
        assert!(matches!(receiving.take(second.id).await, Taken::Whole(..)));
    }

    #[tokio::test]
    async fn what_could_not_be_installed_is_tried_again() {
        let store = SnapshotStore::open(MemDisk::new(), RaftId(7), 1 << 10).unwrap();
        let (receiving, manifest) = (Receiving::default(), manifest(5));
        assert!(matches!(receiving.take(manifest.id).await, Taken::Nothing));
        receiving.begin(&store, manifest.clone()).await.unwrap();
        assert!(matches!(
            receiving.take(manifest.id).await,
            Taken::Error(ReceiveError::Missing(1))
        ));
        receiving.chunk(manifest.id, 0, BYTES).await.unwrap().unwrap();
        let Taken::Whole(incoming, _) = receiving.take(manifest.id).await else {
            panic!("all of it is here");
        };
        receiving.put_back(incoming, true).await;
        let again = receiving.begin(&store, manifest.clone()).await.unwrap();
        assert!(matches!(again, Begun::Missing(missing) if missing.is_empty()));
        assert!(matches!(receiving.take(manifest.id).await, Taken::Whole(..)));
    }
}
