//! Opened data keys: bounded, and none is kept long after its last use.

use std::{
    collections::BTreeMap,
    sync::Arc,
    time::{Duration, Instant},
};

use hexpop_edge_config::ShardId;
use ring::aead::LessSafeKey;

/// Users per generation at most.
const USERS_MAX: usize = 50_000;

/// How long a generation lasts: a key that is not used goes after one to two of them.
const GENERATION: Duration = Duration::from_mins(5);

/// A data key that a shard has for a user.
#[derive(Debug, Clone)]
pub(super) struct Known {
    pub(super) id: u64,
    pub(super) key: Arc<LessSafeKey>,
}

/// Whose keys: scope, shard and user.
type Owner = (String, ShardId, String);

/// The keys that shards are known to have, in two generations.
#[derive(Debug)]
pub(super) struct KeyCache {
    young: BTreeMap<Owner, Known>,
    old: BTreeMap<Owner, Known>,
    since: Instant,
}

impl KeyCache {
    pub(super) const fn new(now: Instant) -> Self {
        Self { young: BTreeMap::new(), old: BTreeMap::new(), since: now }
    }

    pub(super) fn get(&mut self, owner: &Owner, now: Instant) -> Option<Known> {
        self.turn(now);
        if let Some(known) = self.young.get(owner) {
            return Some(known.clone());
        }
        let known = self.old.remove(owner)?;
        self.young.insert(owner.clone(), known.clone());
        Some(known)
    }

    pub(super) fn insert(&mut self, owner: Owner, known: Known, now: Instant) {
        self.turn(now);
        self.old.remove(&owner);
        self.young.insert(owner, known);
    }

    /// Forgets a key, unless another one has taken its place.
    pub(super) fn forget(&mut self, owner: &Owner, id: u64) {
        for generation in [&mut self.young, &mut self.old] {
            if generation.get(owner).is_some_and(|known| known.id == id) {
                generation.remove(owner);
            }
        }
    }

    fn turn(&mut self, now: Instant) {
        let idle = now.saturating_duration_since(self.since);
        if idle >= GENERATION || self.young.len() >= USERS_MAX {
            self.old = std::mem::take(&mut self.young);
            if idle >= GENERATION * 2 {
                self.old.clear();
            }
            self.since = now;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::seal::crypto::key_of;

    fn owner(user: &str) -> Owner {
        ("*".to_owned(), ShardId(1), user.to_owned())
    }

    fn known(id: u64) -> Known {
        Known { id, key: Arc::new(key_of(&[1; 32]).unwrap()) }
    }

    #[test]
    fn what_is_not_used_goes() {
        let start = Instant::now();
        let mut cache = KeyCache::new(start);
        cache.insert(owner("a"), known(1), start);
        cache.insert(owner("b"), known(2), start);
        let later = start + GENERATION;
        assert_eq!(cache.get(&owner("a"), later).map(|known| known.id), Some(1));
        let latest = later + GENERATION;
        assert!(cache.get(&owner("a"), latest).is_some());
        assert!(cache.get(&owner("b"), latest).is_none());
        assert!(cache.get(&owner("a"), latest + GENERATION * 2).is_none());
    }

    #[test]
    fn only_the_named_key_is_forgotten() {
        let now = Instant::now();
        let mut cache = KeyCache::new(now);
        cache.insert(owner("a"), known(1), now);
        cache.forget(&owner("a"), 2);
        assert!(cache.get(&owner("a"), now).is_some());
        cache.forget(&owner("a"), 1);
        assert!(cache.get(&owner("a"), now).is_none());
    }

    #[test]
    fn it_is_bounded() {
        let now = Instant::now();
        let mut cache = KeyCache::new(now);
        let key = known(1).key;
        for user in 0..3 * USERS_MAX {
            let known = Known { id: 1, key: Arc::clone(&key) };
            cache.insert(owner(&user.to_string()), known, now);
        }
        assert!(cache.young.len() + cache.old.len() <= 2 * USERS_MAX);
    }
}
