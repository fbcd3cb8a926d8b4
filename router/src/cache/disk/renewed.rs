//! Of which URIs something came, or was forgotten, while what an earlier process left is still looked for: what is found
//! of them then is of before. Pure.

use std::collections::BTreeSet;

use hexpop_shard::hash_point;

use crate::cache::key::CacheKey;

/// URIs at most; with more, all count.
const URIS_MAX: usize = 1 << 16;

/// These URIs, by their hashes: that another one has the same costs what is stored of it, and nothing else.
#[derive(Debug, Default)]
pub(crate) struct Renewed {
    hashes: BTreeSet<u64>,
    are_all: bool,
}

impl Renewed {
    /// What is found of a URI from now on is of before.
    pub(crate) fn note(&mut self, key: &CacheKey) {
        if self.are_all {
            return;
        }
        self.hashes.insert(hash_point(key.as_str().as_bytes()));
        if self.hashes.len() > URIS_MAX {
            *self = Self { hashes: BTreeSet::new(), are_all: true };
        }
    }

    /// Whether what is found of a URI is of before.
    pub(crate) fn has(&self, key: &CacheKey) -> bool {
        self.are_all || self.hashes.contains(&hash_point(key.as_str().as_bytes()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn uris_are_remembered_and_beyond_a_bound_all_count() {
        let key = |number: usize| CacheKey::of_parts("http://a.test", &format!("/{number}"));
        let mut renewed = Renewed::default();
        renewed.note(&key(1));
        assert!(renewed.has(&key(1)) && !renewed.has(&key(2)));
        (0..=URIS_MAX).for_each(|number| renewed.note(&key(number)));
        assert!(renewed.has(&key(URIS_MAX + 1)) && renewed.hashes.is_empty());
    }
}
