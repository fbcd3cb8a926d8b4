//! Where the documents of listings are: one sled database per node, with the hot ones in memory.
//!
//! Everything here can be rebuilt, so nothing is flushed before it is acknowledged: sled 0.34 never
//! calls `fsync` anyway. Each value carries its checksum; one that is missing or damaged is treated as
//! missing, noted, and fetched again: at a start by loading the snapshot and replaying the log, while
//! running from another replica.
//!
//! **It is not** part of the replicated state, and two replicas need not hold the same documents.

use std::{
    collections::BTreeSet,
    fmt, io,
    path::{Path, PathBuf},
    sync::Arc,
};

use hexpop_edge_config::GroupId;
use hexpop_shard::{DocRef, DocumentStore};
use moka::sync::Cache;
use parking_lot::{Mutex, RwLock};

use crate::error::OpenError;

/// How many missing documents of a group are remembered until they are fetched.
const MISSING_MAX: usize = 16 << 10;

/// What a document in memory costs besides its bytes.
const HOT_OVERHEAD: usize = 128;

type Key = Vec<u8>;

/// The documents of all groups of a node.
#[derive(Debug, Clone)]
pub struct Documents {
    store: Arc<Store>,
}

struct Store {
    cold: Cold,
    hot: Cache<Key, Arc<[u8]>>,
}

/// Where documents are when they are not hot.
enum Cold {
    Disk { tree: sled::Tree, db: sled::Db },
    Memory(RwLock<std::collections::BTreeMap<Key, Vec<u8>>>),
}

impl fmt::Debug for Store {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Store").field("hot", &self.hot.entry_count()).finish_non_exhaustive()
    }
}

fn hot(bytes_max: u64) -> Cache<Key, Arc<[u8]>> {
    Cache::builder()
        .max_capacity(bytes_max)
        .weigher(|key: &Key, value: &Arc<[u8]>| {
            u32::try_from(key.len() + value.len() + HOT_OVERHEAD).unwrap_or(u32::MAX)
        })
        .build()
}

impl Documents {
    /// Opens the database in `dir`, with `hot_bytes` of memory for hot documents. One that cannot be
    /// opened is put aside and begun anew: what it held is fetched again.
    ///
    /// # Errors
    /// [`OpenError::Documents`] when not even an empty one can be opened.
    pub fn open(dir: &Path, hot_bytes: u64) -> Result<Self, OpenError> {
        let failed = |error: &dyn fmt::Display| OpenError::Documents(error.to_string());
        let db = match open_sled(dir) {
            Ok(db) => db,
            Err(error) => {
                tracing::warn!(%error, "the document store is damaged: it is begun anew");
                put_aside(dir).map_err(|error| failed(&error))?;
                open_sled(dir).map_err(|error| failed(&error))?
            }
        };
        let tree = db.open_tree("documents").map_err(|error| failed(&error))?;
        let cold = Cold::Disk { tree, db };
        Ok(Self { store: Arc::new(Store { cold, hot: hot(hot_bytes) }) })
    }

    /// Keeps documents in memory only: for simulation.
    #[must_use]
    pub fn in_memory(hot_bytes: u64) -> Self {
        let cold = Cold::Memory(RwLock::default());
        Self { store: Arc::new(Store { cold, hot: hot(hot_bytes) }) }
    }

    /// The documents of one group.
    pub(crate) fn group(&self, group: GroupId) -> GroupDocuments {
        GroupDocuments { store: Arc::clone(&self.store), group, missing: Arc::default() }
    }

    /// Writes what sled still holds back, as a courtesy to the next start.
    pub(crate) fn flush(&self) {
        if let Cold::Disk { db, .. } = &self.store.cold
            && let Err(error) = db.flush()
        {
            tracing::warn!(%error, "the document store was not flushed");
        }
    }
}

fn open_sled(dir: &Path) -> Result<sled::Db, sled::Error> {
    // Its own cache is small, since the hot tier is in front of it.
    sled::Config::new().path(dir).cache_capacity(32 << 20).open()
}

/// Moves a damaged database out of the way; an older one put aside before makes room.
fn put_aside(dir: &Path) -> io::Result<()> {
    let mut name = dir.as_os_str().to_owned();
    name.push(".damaged");
    let aside = PathBuf::from(name);
    if aside.exists() {
        std::fs::remove_dir_all(&aside)?;
    }
    std::fs::rename(dir, aside)
}

/// The documents of one group.
#[derive(Debug, Clone)]
pub(crate) struct GroupDocuments {
    store: Arc<Store>,
    group: GroupId,
    missing: Arc<Mutex<BTreeSet<DocRef>>>,
}

impl GroupDocuments {
    /// Group, id, position: the versions of one document lie together.
    fn key(&self, at: &DocRef) -> Key {
        let mut key = Vec::with_capacity(at.id.len() + 25);
        key.extend_from_slice(&self.group.0.to_be_bytes());
        key.extend_from_slice(at.id.as_bytes());
        key.push(0);
        key.extend_from_slice(&at.position.term.to_be_bytes());
        key.extend_from_slice(&at.position.index.to_be_bytes());
        key
    }

    /// The document, if it is here and sound; a miss is not noted.
    pub(crate) fn get(&self, at: &DocRef) -> Option<Arc<[u8]>> {
        let key = self.key(at);
        if let Some(document) = self.store.hot.get(&key) {
            return Some(document);
        }
        let document = self.store.cold.get(&key)?;
        self.store.hot.insert(key, Arc::clone(&document));
        Some(document)
    }

    /// The documents that were asked for and not here, at most `max`; they are forgotten until they
    /// are missed again.
    pub(crate) fn take_missing(&self, max: usize) -> Vec<DocRef> {
        let mut missing = self.missing.lock();
        let mut taken = Vec::new();
        while taken.len() < max
            && let Some(at) = missing.pop_first()
        {
            taken.push(at);
        }
        taken
    }

    /// Notes documents as missing.
    pub(crate) fn note_missing(&self, at: impl IntoIterator<Item = DocRef>) {
        let mut missing = self.missing.lock();
        for at in at {
            if missing.len() >= MISSING_MAX {
                return;
            }
            missing.insert(at);
        }
    }
}

impl DocumentStore for GroupDocuments {
    fn put(&mut self, at: &DocRef, document: &[u8]) {
        let key = self.key(at);
        // Replay and a snapshot that is loaded again put what is mostly there.
        if self.store.cold.get(&key).is_none_or(|known| *known != *document) {
            self.store.cold.put(&key, document);
        }
        self.store.hot.insert(key, document.into());
    }

    fn get_many(&self, wanted: &[DocRef]) -> Vec<Option<Arc<[u8]>>> {
        let found: Vec<_> = wanted.iter().map(|at| self.get(at)).collect();
        if found.iter().any(Option::is_none) {
            let missing = wanted.iter().zip(&found).filter(|(_, found)| found.is_none());
            self.note_missing(missing.map(|(at, _)| at.clone()));
        }
        found
    }

    fn remove(&mut self, at: &DocRef) {
        let key = self.key(at);
        self.store.hot.invalidate(&key);
        self.store.cold.remove(&key);
    }
}

impl Cold {
    /// The sound document under `key`.
    fn get(&self, key: &[u8]) -> Option<Arc<[u8]>> {
        match self {
            Self::Disk { tree, .. } => match tree.get(key) {
                Ok(value) => unseal(key, &value?),
                Err(error) => {
                    tracing::warn!(%error, "a document cannot be read");
                    None
                }
            },
            Self::Memory(map) => unseal(key, map.read().get(key)?),
        }
    }

    fn put(&self, key: &[u8], document: &[u8]) {
        let mut value = Vec::with_capacity(document.len() + 4);
        value.extend_from_slice(&checksum(key, document).to_le_bytes());
        value.extend_from_slice(document);
        match self {
            Self::Disk { tree, .. } => {
                if let Err(error) = tree.insert(key, value) {
                    tracing::warn!(%error, "a document was not written");
                }
            }
            Self::Memory(map) => drop(map.write().insert(key.to_vec(), value)),
        }
    }

    fn remove(&self, key: &[u8]) {
        match self {
            Self::Disk { tree, .. } => {
                if let Err(error) = tree.remove(key) {
                    tracing::warn!(%error, "a document was not removed");
                }
            }
            Self::Memory(map) => drop(map.write().remove(key)),
        }
    }
}

/// Covers the key, so that a value under another key is damage too.
fn checksum(key: &[u8], document: &[u8]) -> u32 {
    let mut hasher = crc32fast::Hasher::new();
    hasher.update(key);
    hasher.update(document);
    hasher.finalize()
}

fn unseal(key: &[u8], value: &[u8]) -> Option<Arc<[u8]>> {
    let (crc, document) = value.split_first_chunk::<4>()?;
    if checksum(key, document) == u32::from_le_bytes(*crc) {
        return Some(document.into());
    }
    tracing::warn!("a document is damaged: it counts as missing");
    None
}

#[cfg(test)]
mod tests {
    use hexpop_shard::LogPosition;

    use super::*;

    fn doc(id: &str, index: u64) -> DocRef {
        DocRef { id: id.to_owned(), position: LogPosition { term: 1, index } }
    }

    #[test]
    fn versions_and_groups_are_kept_apart() {
        let dir = tempfile::tempdir().unwrap();
        let documents = Documents::open(dir.path(), 1 << 20).unwrap();
        let mut one = documents.group(hexpop_edge_config::ShardId(1));
        let two = documents.group(hexpop_edge_config::ShardId(2));
        one.put(&doc("a", 1), b"old");
        one.put(&doc("a", 2), b"new");
        one.remove(&doc("a", 1));
        let found = one.get_many(&[doc("a", 1), doc("a", 2)]);
        assert_eq!(found, [None, Some(b"new".as_slice().into())]);
        assert_eq!(two.get_many(&[doc("a", 2)]), [None]);
        assert_eq!(one.take_missing(9), [doc("a", 1)]);
        assert!(one.take_missing(9).is_empty());
    }

    #[test]
    fn a_damaged_document_is_missing_until_it_is_put_again() {
        let dir = tempfile::tempdir().unwrap();
        let at = doc("a", 1);
        {
            let documents = Documents::open(dir.path(), 0).unwrap();
            let mut group = documents.group(hexpop_edge_config::ShardId(1));
            group.put(&at, b"document");
            let Cold::Disk { tree, .. } = &documents.store.cold else { panic!() };
            let mut value = tree.get(group.key(&at)).unwrap().unwrap().to_vec();
            value[6] ^= 1;
            tree.insert(group.key(&at), value).unwrap();
            documents.flush();
        }
        let mut group =
            Documents::open(dir.path(), 0).unwrap().group(hexpop_edge_config::ShardId(1));
        assert!(group.get(&at).is_none());
        group.put(&at, b"document");
        assert!(group.get(&at).is_some());
    }

    #[test]
    fn a_database_that_does_not_open_is_begun_anew() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("documents");
        // Where sled has a file.
        std::fs::create_dir_all(path.join("db")).unwrap();
        let mut group = Documents::open(&path, 0).unwrap().group(hexpop_edge_config::ShardId(1));
        group.put(&doc("a", 1), b"document");
        assert!(group.get(&doc("a", 1)).is_some());
        assert!(dir.path().join("documents.damaged").exists());
    }
}
