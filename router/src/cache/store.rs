//! Stored responses, weighed by bytes, in memory; found by URI, and by tag or prefix for purging.

use std::{
    collections::BTreeSet,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use moka::{ops::compute::Op, sync::Cache};
use parking_lot::Mutex;

use super::{
    index::Index,
    key::CacheKey,
    policy::tags::Tag,
    purge::{Moment, Purge, Purged},
    stored::Stored,
};

/// Variants kept of one URI; the oldest makes room.
const VARIANTS_MAX: usize = 16;

/// What is stored under a URI: newest first.
pub(crate) type Variants = Arc<[Arc<Stored>]>;

#[derive(Debug, Clone)]
struct Value {
    generation: u64,
    variants: Variants,
}

/// The memory tier.
#[derive(Debug)]
pub(crate) struct Store {
    values: Cache<CacheKey, Value>,
    index: Arc<Mutex<Index>>,
    purged: Mutex<Purged>,
    generations: AtomicU64,
}

impl Store {
    /// An empty store of at most so many bytes.
    pub(crate) fn new(bytes_max: u64) -> Self {
        let index: Arc<Mutex<Index>> = Arc::default();
        let weigh = |key: &CacheKey, value: &Value| {
            let bytes: usize = value.variants.iter().map(|stored| stored.weight()).sum();
            // The name is in the index as well.
            u32::try_from(bytes.saturating_add(3 * key.len())).unwrap_or(u32::MAX)
        };
        let evicted = Arc::clone(&index);
        let values = Cache::builder()
            .max_capacity(bytes_max)
            .weigher(weigh)
            .eviction_listener(move |key: Arc<CacheKey>, value: Value, _cause| {
                evicted.lock().remove(&key, value.generation);
            })
            .build();
        Self { values, index, purged: Mutex::default(), generations: AtomicU64::new(0) }
    }

    /// What is stored under a URI; empty if nothing is.
    pub(crate) fn get(&self, key: &CacheKey) -> Variants {
        self.values.get(key).map_or_else(Variants::default, |value| value.variants)
    }

    /// The moment that a fetch begins at.
    pub(crate) fn moment(&self) -> Moment {
        self.purged.lock().now()
    }

    /// Whether what was fetched since a moment is out of date by a purge.
    pub(crate) fn is_purged(&self, began: Moment, key: &CacheKey, tags: &[Tag]) -> bool {
        self.purged.lock().hit_since(began, key, tags)
    }

    /// Stores a response whose fetch began at a moment, in place of the same variant, unless it was
    /// purged since. Answers whether it did.
    pub(crate) fn put(&self, key: CacheKey, stored: Arc<Stored>, began: Moment) -> bool {
        let mut kept = false;
        self.values.entry(key.clone()).and_compute_with(|old| {
            let old = old.map(moka::Entry::into_value);
            let others = old
                .iter()
                .flat_map(|value| value.variants.iter())
                .filter(|other| !other.is_variant_of(&stored))
                .take(VARIANTS_MAX - 1)
                .cloned();
            let variants: Variants = std::iter::once(Arc::clone(&stored)).chain(others).collect();
            let value = self.indexed(&key, variants);
            // Only now: a purge that does not see this in the index is seen here.
            if self.is_purged(began, &key, &stored.tags) {
                match old {
                    Some(old) => {
                        self.reindex(&key, &old);
                        Op::Nop
                    }
                    None => {
                        self.index.lock().remove(&key, value.generation);
                        Op::Nop
                    }
                }
            } else {
                kept = true;
                Op::Put(value)
            }
        });
        kept
    }

    /// A new value for a URI, entered in the index.
    fn indexed(&self, key: &CacheKey, variants: Variants) -> Value {
        let generation = self.generations.fetch_add(1, Ordering::Relaxed);
        let value = Value { generation, variants };
        self.reindex(key, &value);
        value
    }

    fn reindex(&self, key: &CacheKey, value: &Value) {
        let tags: Arc<[Tag]> = match &*value.variants {
            [only] => Arc::clone(&only.tags),
            several => {
                let tags: BTreeSet<Tag> =
                    several.iter().flat_map(|stored| stored.tags.iter().cloned()).collect();
                tags.into_iter().collect()
            }
        };
        self.index.lock().set(key, value.generation, tags);
    }

    /// Replaces what is stored under a URI, variant by variant; `None` drops one. Answers how many
    /// changed.
    pub(crate) fn change(
        &self,
        key: &CacheKey,
        mut change: impl FnMut(&Arc<Stored>) -> Option<Arc<Stored>>,
    ) -> usize {
        let mut changed = 0;
        self.values.entry(key.clone()).and_compute_with(|old| {
            let Some(old) = old.map(moka::Entry::into_value) else { return Op::Nop };
            let mut variants = Vec::with_capacity(old.variants.len());
            for stored in old.variants.iter() {
                let new = change(stored);
                changed += usize::from(!new.as_ref().is_some_and(|new| Arc::ptr_eq(new, stored)));
                variants.extend(new);
            }
            if changed == 0 {
                Op::Nop
            } else if variants.is_empty() {
                Op::Remove
            } else {
                Op::Put(self.indexed(key, variants.into()))
            }
        });
        changed
    }

    /// Forgets what a purge is about; a soft one only makes it stale. Answers how many responses it
    /// hit.
    pub(crate) fn purge(&self, purge: &Purge, soft: bool, now: Duration) -> usize {
        // First the mark, so that a fetch that began before cannot store behind the removal.
        self.purged.lock().add(purge.clone());
        let keys = self.index.lock().hit_by(purge);
        let forget = |key: &CacheKey, stored: &Arc<Stored>| {
            if !purge.hits(key, &stored.tags) {
                return Some(Arc::clone(stored));
            }
            let resident = stored.resident(now);
            soft.then(|| {
                let freshness = stored.freshness.expired(resident);
                Arc::new(Stored { freshness, ..Stored::clone(stored) })
            })
        };
        keys.iter().map(|key| self.change(key, |stored| forget(key, stored))).sum()
    }

    /// Entries and bytes, about: counted after pending evictions.
    pub(crate) fn size(&self) -> (u64, u64) {
        self.values.run_pending_tasks();
        (self.values.entry_count(), self.values.weighted_size())
    }
}

#[cfg(test)]
#[path = "store_tests.rs"]
mod tests;
