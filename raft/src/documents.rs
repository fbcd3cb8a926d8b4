//! Where the documents of listings are: one sled database per node, with the hot ones in memory.
//!
//! On disk documents are compressed, in memory they are not. Everything here can be rebuilt, so
//! nothing is flushed before it is acknowledged: sled 0.34 never calls `fsync` anyway. Each value
//! carries its checksum; one that is missing or damaged is treated as missing, noted, and fetched
//! again: at a start by loading the snapshot and replaying the log, while running from another
//! replica.
//!
//! **It is not** part of the replicated state, and two replicas need not hold the same documents.

mod dictionary;
#[cfg(test)]
mod tests;
mod value;

use std::{
    collections::BTreeSet,
    fmt, io,
    path::{Path, PathBuf},
    sync::Arc,
};

use hexpop_edge_config::GroupId;
use hexpop_shard::{DocRef, DocumentStore, LIMIT_MAX, SnapshotError};
use moka::sync::Cache;
use parking_lot::{Mutex, RwLock};

use crate::error::OpenError;

/// How many missing documents of a group are remembered until they are fetched.
const MISSING_MAX: usize = 16 << 10;

/// How many documents a page of results may have. Whoever reads more at once reads each once, as a
/// snapshot does, and would only drive out of memory what is asked for often.
const PAGE_MAX: usize = LIMIT_MAX as usize;

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
    /// Opens the database in `dir`, with `hot_bytes` of memory for hot documents. One that cannot
    /// be opened is put aside and begun anew: what it held is fetched again.
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

    /// Removes all documents of a group that was left.
    pub(crate) fn destroy(&self, group: GroupId) {
        for key in self.store.cold.keys_of(group) {
            self.store.hot.invalidate(&key);
            self.store.cold.remove(&key);
        }
    }

    /// The groups that documents are here of.
    ///
    /// # Errors
    /// When the store cannot be read: there may be more.
    pub(crate) fn groups(&self) -> Result<Vec<GroupId>, sled::Error> {
        let mut groups = Vec::new();
        let mut next = Some(0_u64);
        // One look per group: the next begins behind all keys of the last.
        while let Some(from) = next {
            let Some(group) = self.store.cold.first_group(from)? else { break };
            groups.push(hexpop_edge_config::ShardId(group));
            next = group.checked_add(1);
        }
        Ok(groups)
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

    /// A record of the group's state cannot be written; what it lacks is noted as missing.
    pub(crate) fn note_unwritten(&self, error: SnapshotError) -> io::Error {
        match error {
            SnapshotError::MissingDocuments(missing) => {
                let what = format!("{} documents are missing", missing.len());
                self.note_missing(missing);
                io::Error::other(what)
            }
            error @ SnapshotError::Encode(_) => io::Error::other(error.to_string()),
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
        let mut found = vec![None; wanted.len()];
        let mut cold = Vec::new();
        for (at, place) in wanted.iter().zip(&mut found) {
            let key = self.key(at);
            *place = self.store.hot.get(&key);
            if place.is_none() {
                cold.push((key, place));
            }
        }
        // One pass over the tree in its order, so that neighbours come from the same pages.
        cold.sort_unstable_by(|(one, _), (other, _)| one.cmp(other));
        let becomes_hot = wanted.len() <= PAGE_MAX;
        for (key, place) in cold {
            *place = self.store.cold.get(&key);
            if let Some(document) = place.as_ref().filter(|_| becomes_hot) {
                self.store.hot.insert(key, Arc::clone(document));
            }
        }
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
                Ok(value) => read(key, &value?),
                Err(error) => {
                    tracing::warn!(%error, "a document cannot be read");
                    None
                }
            },
            Self::Memory(map) => read(key, map.read().get(key)?),
        }
    }

    /// The keys of a group's documents.
    fn keys_of(&self, group: GroupId) -> Vec<Key> {
        let prefix = group.0.to_be_bytes();
        match self {
            Self::Disk { tree, .. } => {
                let keys = tree.scan_prefix(prefix).keys();
                keys.map_while(Result::ok).map(|key| key.to_vec()).collect()
            }
            Self::Memory(map) => {
                let map = map.read();
                map.keys().filter(|key| key.starts_with(&prefix)).cloned().collect()
            }
        }
    }

    /// The first group from a number on that a document is here of.
    fn first_group(&self, from: u64) -> Result<Option<u64>, sled::Error> {
        let from = from.to_be_bytes();
        let key = match self {
            Self::Disk { tree, .. } => {
                tree.range(from..).keys().next().transpose()?.map(|key| key.to_vec())
            }
            Self::Memory(map) => {
                map.read().range(from.to_vec()..).next().map(|(key, _)| key.clone())
            }
        };
        let group = key.as_ref().and_then(|key| key.first_chunk());
        Ok(group.map(|group| u64::from_be_bytes(*group)))
    }

    fn put(&self, key: &[u8], document: &[u8]) {
        let value = value::seal(key, document);
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

fn read(key: &[u8], value: &[u8]) -> Option<Arc<[u8]>> {
    let document = value::unseal(key, value);
    if document.is_none() {
        tracing::warn!("a document is damaged: it counts as missing");
    }
    document.map(Arc::from)
}
