//! Stored responses, weighed by bytes, in memory; found by URI, and by tag or prefix for purging. What has no room
//! there goes on to disk, if there is a tier for that.

use std::{
    collections::BTreeSet,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use moka::{notification::RemovalCause, ops::compute::Op, sync::Cache};
use parking_lot::Mutex;

use super::{
    disk::DiskTier,
    index::Index,
    key::CacheKey,
    policy::tags::Tag,
    purge::{Moment, Purge, Purged},
    stored::{Payload, Stored},
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

/// The memory tier, and what is behind it.
#[derive(Debug)]
pub(crate) struct Store {
    values: Cache<CacheKey, Value>,
    index: Arc<Mutex<Index>>,
    purged: Arc<Mutex<Purged>>,
    generations: AtomicU64,
    disk: Option<Arc<DiskTier>>,
}

impl Store {
    /// An empty store of at most so many bytes. A tier on disk has the same memory of purges.
    pub(crate) fn new(
        bytes_max: u64,
        purged: Arc<Mutex<Purged>>,
        disk: Option<Arc<DiskTier>>,
    ) -> Self {
        let index: Arc<Mutex<Index>> = Arc::default();
        let weigh = |key: &CacheKey, value: &Value| {
            let bytes: usize = value.variants.iter().map(|stored| stored.weight()).sum();
            // The name is in the index as well.
            u32::try_from(bytes.saturating_add(3 * key.len())).unwrap_or(u32::MAX)
        };
        let (evicted, marks, behind) = (Arc::clone(&index), Arc::clone(&purged), disk.clone());
        let values = Cache::builder()
            .max_capacity(bytes_max)
            .weigher(weigh)
            .eviction_listener(move |key: Arc<CacheKey>, value: Value, cause| {
                let mut index = evicted.lock();
                if let Some(disk) = behind.as_ref().filter(|_| cause == RemovalCause::Size)
                    && index.is_untouched(&key, value.generation)
                {
                    // Under the lock: purges up to this moment were not about it, and later ones are seen by
                    // the moment.
                    let since = marks.lock().now();
                    value.variants.iter().for_each(|stored| disk.offer(&key, stored, since));
                }
                index.remove(&key, value.generation);
            })
            .build();
        Self { values, index, purged, generations: AtomicU64::new(0), disk }
    }

    /// The tier on disk.
    pub(crate) fn disk(&self) -> Option<&Arc<DiskTier>> {
        self.disk.as_ref()
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
        if let Payload::Disk(_) = &stored.payload {
            return self.disk.as_ref().is_some_and(|disk| disk.refresh(&key, &stored, began));
        }
        let kept = self.put_in_memory(key.clone(), &stored, began, |_old| true);
        if let Some(disk) = &self.disk {
            // Or it would come back once this one has gone.
            disk.forget_variant(&key, &stored);
        }
        kept
    }

    /// Takes a response back into memory that was read from disk since a moment, unless a newer one of the same
    /// variant is there by now.
    pub(crate) fn promote(&self, key: CacheKey, stored: &Arc<Stored>, began: Moment) {
        if matches!(stored.payload, Payload::Whole(_)) {
            self.put_in_memory(key, stored, began, |other| !other.is_variant_of(stored));
        }
    }

    fn put_in_memory(
        &self,
        key: CacheKey,
        stored: &Arc<Stored>,
        began: Moment,
        may_beside: impl Fn(&Stored) -> bool,
    ) -> bool {
        let mut kept = false;
        self.values.entry(key.clone()).and_compute_with(|old| {
            let old = old.map(moka::Entry::into_value);
            let all = old.iter().flat_map(|value| value.variants.iter());
            if !all.into_iter().all(|other| may_beside(other)) {
                return Op::Nop;
            }
            let others = old
                .iter()
                .flat_map(|value| value.variants.iter())
                .filter(|other| !other.is_variant_of(stored))
                .take(VARIANTS_MAX - 1)
                .cloned();
            let variants: Variants = std::iter::once(Arc::clone(stored)).chain(others).collect();
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

    /// Replaces what is stored under a URI, variant by variant; `None` drops one. Of what is on disk only, that
    /// of which the head is known is looked at.
    pub(crate) fn change(
        &self,
        key: &CacheKey,
        mut change: impl FnMut(&Arc<Stored>) -> Option<Arc<Stored>>,
    ) {
        let Some(disk) = &self.disk else {
            self.change_in_memory(key, change);
            return;
        };
        self.change_in_memory(key, |stored| {
            let new = change(stored);
            if !new.as_ref().is_some_and(|new| Arc::ptr_eq(new, stored)) {
                disk.forget_variant(key, stored);
            }
            new
        });
        disk.change(key, change);
    }

    /// Forgets a response that a request found stored, wherever it is.
    pub(crate) fn forget_variant(&self, key: &CacheKey, before: &Stored) {
        let keep = |stored: &Arc<Stored>| !stored.is_variant_of(before);
        self.change_in_memory(key, |stored| keep(stored).then(|| Arc::clone(stored)));
        if let Some(disk) = &self.disk {
            disk.forget_variant(key, before);
        }
    }

    /// Forgets parts of a response in memory, which hide all of it on disk.
    pub(crate) fn forget_pieces(&self, key: &CacheKey, whole: &Stored) {
        let keep = |stored: &Arc<Stored>| {
            !(matches!(stored.payload, Payload::Pieces(_)) && stored.is_variant_of(whole))
        };
        self.change_in_memory(key, |stored| keep(stored).then(|| Arc::clone(stored)));
    }

    /// Answers how many changed.
    fn change_in_memory(
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
        let keys = {
            let mut index = self.index.lock();
            // First the mark, so that a fetch that began before cannot store behind the removal.
            self.purged.lock().add(purge.clone());
            index.touch_hit_by(purge)
        };
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
        let mut hit = 0;
        let mut keys_in_memory = BTreeSet::new();
        for key in keys {
            let of_it = self.change_in_memory(&key, |stored| forget(&key, stored));
            self.index.lock().release(&key);
            hit += of_it;
            if of_it > 0 && self.disk.is_some() {
                keys_in_memory.insert(key);
            }
        }
        let elsewhere = |key: &CacheKey| keys_in_memory.contains(key);
        hit + self.disk.as_ref().map_or(0, |disk| disk.purge(purge, soft, now, elsewhere))
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
