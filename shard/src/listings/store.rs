//! The port behind which documents sit, and a store in memory for tests and simulation.

use std::{collections::BTreeMap, sync::Arc};

use serde::{Deserialize, Serialize};

use crate::LogPosition;

/// Names one version of a document.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct DocRef {
    /// The listing's id.
    pub id: String,
    /// The entry that wrote it.
    pub position: LogPosition,
}

/// Where a replica keeps the documents of its listings.
///
/// A store may lose documents, for it can be rebuilt from log, snapshot and peers: the state goes
/// on without them and says which are missing. It must never answer with another version.
pub trait DocumentStore {
    /// Keeps a document.
    fn put(&mut self, at: &DocRef, document: &[u8]);

    /// The documents that are here, in the order of `wanted`.
    fn get_many(&self, wanted: &[DocRef]) -> Vec<Option<Arc<[u8]>>>;

    /// Forgets one version of a document; another version of it stays.
    fn remove(&mut self, at: &DocRef);
}

/// Documents in memory.
#[derive(Debug, Clone, Default)]
pub struct MemoryDocuments {
    documents: BTreeMap<DocRef, Arc<[u8]>>,
}

impl MemoryDocuments {
    /// How many there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.documents.len()
    }

    /// Whether there are none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.documents.is_empty()
    }
}

impl DocumentStore for MemoryDocuments {
    fn put(&mut self, at: &DocRef, document: &[u8]) {
        self.documents.insert(at.clone(), document.into());
    }

    fn get_many(&self, wanted: &[DocRef]) -> Vec<Option<Arc<[u8]>>> {
        wanted.iter().map(|at| self.documents.get(at).cloned()).collect()
    }

    fn remove(&mut self, at: &DocRef) {
        self.documents.remove(at);
    }
}
