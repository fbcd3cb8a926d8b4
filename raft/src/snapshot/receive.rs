//! Receiving a snapshot from a leader, chunk by chunk, in any order, resumably.

use std::{collections::BTreeMap, io, sync::Arc};

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

/// A snapshot being received. What was written is removed when it is dropped unfinished.
#[derive(Debug)]
pub(crate) struct Incoming {
    store: Arc<SnapshotStore>,
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
        Ok(Self { store: Arc::clone(store), manifest: Arc::new(manifest), chunks: BTreeMap::new() })
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
        let file = match self.store.disk().open(&name, true) {
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
                // Of an attempt that failed to write it.
                self.store.disk().remove(&name)?;
                self.store.disk().open(&name, true)?
            }
            opened => opened?,
        };
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
        })
    }
}

impl Drop for Incoming {
    fn drop(&mut self) {
        // Once it is installed its chunks are the group's.
        if self.store.is_current(self.manifest.group, self.manifest.id) {
            return;
        }
        for number in self.chunks.keys() {
            let name = self.manifest.chunk_name(*number);
            if let Err(error) = self.store.disk().remove(&name) {
                tracing::debug!(%name, %error, "a chunk of a given-up snapshot stays");
            }
        }
    }
}
