//! Where listings are, remembered in front of the directory. Entries may be out of date: whoever
//! finds nothing at the place asks the directory.

use std::sync::Arc;

use hexpop_shard::ShardKey;
use moka::sync::Cache;

/// A bounded map from ids to keys.
#[derive(Debug, Clone)]
pub(crate) struct IdCache {
    places: Cache<Arc<str>, ShardKey>,
}

impl IdCache {
    pub(crate) fn new(entries_max: u64) -> Self {
        Self { places: Cache::new(entries_max) }
    }

    pub(crate) fn get(&self, id: &str) -> Option<ShardKey> {
        self.places.get(id)
    }

    pub(crate) fn put(&self, id: &str, key: ShardKey) {
        self.places.insert(id.into(), key);
    }

    pub(crate) fn forget(&self, id: &str) {
        self.places.invalidate(id);
    }
}
