//! Which URIs are stored, by name and by tag: what a purge looks up. Pure.

use std::{
    collections::{BTreeMap, BTreeSet},
    ops::Bound,
    sync::Arc,
};

use super::{key::CacheKey, policy::tags::Tag, purge::Purge};

#[derive(Debug)]
struct Indexed {
    /// Which of the values that the URI had is meant: a removal of an older one changes nothing.
    generation: u64,
    tags: Arc<[Tag]>,
}

/// All stored URIs.
#[derive(Debug, Default)]
pub(crate) struct Index {
    uris: BTreeMap<CacheKey, Indexed>,
    tags: BTreeMap<Tag, BTreeSet<CacheKey>>,
    /// How many purges that are being applied are about a URI, whatever values it has meanwhile.
    touched: BTreeMap<CacheKey, usize>,
}

impl Index {
    /// A URI has a value with these tags now.
    pub(crate) fn set(&mut self, key: &CacheKey, generation: u64, tags: Arc<[Tag]>) {
        self.forget(key);
        for tag in tags.iter() {
            self.tags.entry(Tag::clone(tag)).or_default().insert(key.clone());
        }
        self.uris.insert(key.clone(), Indexed { generation, tags });
    }

    /// A value is not stored any more.
    pub(crate) fn remove(&mut self, key: &CacheKey, generation: u64) {
        if self.uris.get(key).is_some_and(|indexed| indexed.generation == generation) {
            self.forget(key);
        }
    }

    /// Whether a value is the one that is stored, and no purge about it is being applied.
    pub(crate) fn is_untouched(&self, key: &CacheKey, generation: u64) -> bool {
        let is_it = |indexed: &Indexed| indexed.generation == generation;
        self.uris.get(key).is_some_and(is_it) && !self.touched.contains_key(key)
    }

    /// As [`hit_by`](Self::hit_by); from now on these are [touched](Self::is_untouched), each until it is
    /// [released](Self::release).
    pub(crate) fn touch_hit_by(&mut self, purge: &Purge) -> Vec<CacheKey> {
        let keys = self.hit_by(purge);
        for key in &keys {
            *self.touched.entry(key.clone()).or_default() += 1;
        }
        keys
    }

    /// A purge that was about a URI is applied to it.
    pub(crate) fn release(&mut self, key: &CacheKey) {
        if let Some(purges) = self.touched.get_mut(key) {
            *purges = purges.saturating_sub(1);
            if *purges == 0 {
                self.touched.remove(key);
            }
        }
    }

    fn forget(&mut self, key: &CacheKey) {
        let Some(indexed) = self.uris.remove(key) else { return };
        for tag in indexed.tags.iter() {
            if let Some(keys) = self.tags.get_mut(tag) {
                keys.remove(key);
                if keys.is_empty() {
                    self.tags.remove(tag);
                }
            }
        }
    }

    /// The URIs that a purge is about, found in time that grows with their number and that of the
    /// origins.
    pub(crate) fn hit_by(&self, purge: &Purge) -> Vec<CacheKey> {
        match purge {
            Purge::Uri(key) => {
                self.uris.contains_key(key).then(|| key.clone()).into_iter().collect()
            }
            Purge::Tag(tag) => self.tags.get(tag).into_iter().flatten().cloned().collect(),
            Purge::All => self.uris.keys().cloned().collect(),
            Purge::Prefix { origin: Some(origin), path } => self.below(origin, path),
            Purge::Prefix { origin: None, path } => {
                self.origins().into_iter().flat_map(|origin| self.below(&origin, path)).collect()
            }
            Purge::Target(target) => self
                .origins()
                .into_iter()
                .map(|origin| CacheKey::of_parts(&origin, target))
                .filter(|key| self.uris.contains_key(key))
                .collect(),
        }
    }

    fn below(&self, origin: &str, path: &str) -> Vec<CacheKey> {
        let first = CacheKey::of_parts(origin, path);
        self.uris
            .range(first.clone()..)
            .map(|(key, _indexed)| key)
            .take_while(|key| key.starts_with(&first))
            .cloned()
            .collect()
    }

    fn origins(&self) -> Vec<String> {
        let mut found = Vec::new();
        let mut next = self.uris.keys().next();
        while let Some(key) = next {
            let origin = key.origin().to_owned();
            let end = CacheKey::after_origin(&origin);
            found.push(origin);
            next = self.uris.range((Bound::Included(end), Bound::Unbounded)).next().map(|(k, _)| k);
        }
        found
    }

    #[cfg(test)]
    pub(crate) fn len(&self) -> (usize, usize) {
        (self.uris.len(), self.tags.len())
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_uri_is_touched_until_all_purges_about_it_are_applied() {
        let (mut index, key) = (Index::default(), CacheKey::of_parts("a", "/"));
        let tags: Arc<[Tag]> = Arc::from(["t".into()]);
        index.set(&key, 1, Arc::clone(&tags));
        assert!(index.is_untouched(&key, 1) && !index.is_untouched(&key, 2));
        assert_eq!(index.touch_hit_by(&Purge::Tag("t".into())).len(), 1);
        assert_eq!(index.touch_hit_by(&Purge::All).len(), 1);
        index.set(&key, 2, tags);
        assert!(!index.is_untouched(&key, 2), "another value may have in it what is to be purged");
        index.release(&key);
        assert!(!index.is_untouched(&key, 2));
        index.release(&key);
        assert!(index.is_untouched(&key, 2));
        assert!(index.touched.is_empty());
    }

    type Step = (bool, String, String, Vec<String>);

    fn any_step() -> impl Strategy<Value = Step> {
        (any::<bool>(), "[abc](:1)?", "/[xy]{0,3}", proptest::collection::vec("[tuv]", 0..3))
    }

    fn any_purge() -> impl Strategy<Value = Purge> {
        prop_oneof![
            ("[abc](:1)?", "/[xy]{0,3}").prop_map(|(a, p)| Purge::Uri(CacheKey::of_parts(&a, &p))),
            "/[xy]{0,3}".prop_map(Purge::Target),
            "[tuv]".prop_map(|tag| Purge::Tag(tag.into())),
            (proptest::option::of("[abc](:1)?"), "/[xy]{0,2}")
                .prop_map(|(origin, path)| Purge::Prefix { origin, path }),
            Just(Purge::All),
        ]
    }

    proptest! {
        #[test]
        fn a_purge_finds_what_a_scan_finds(
            steps in proptest::collection::vec(any_step(), 0..30),
            purge in any_purge(),
        ) {
            let mut index = Index::default();
            let mut oracle: BTreeMap<CacheKey, (u64, Vec<Tag>)> = BTreeMap::new();
            for (generation, (put, origin, path, tags)) in (0..).zip(steps) {
                let key = CacheKey::of_parts(&origin, &path);
                let tags: Vec<Tag> = tags.into_iter().map(Tag::from).collect();
                if put {
                    index.set(&key, generation, tags.clone().into());
                    oracle.insert(key, (generation, tags));
                } else if let Some((generation, _tags)) = oracle.remove(&key) {
                    index.remove(&key, generation.wrapping_sub(1));
                    prop_assert!(index.uris.contains_key(&key));
                    index.remove(&key, generation);
                }
            }
            let expected: Vec<_> = oracle
                .iter()
                .filter(|(key, (_, tags))| purge.hits(key, tags))
                .map(|(key, _)| key.clone())
                .collect();
            let mut found = index.hit_by(&purge);
            found.sort_unstable();
            prop_assert_eq!(found, expected);
            let keys: Vec<_> = oracle.into_keys().collect();
            for key in keys {
                index.forget(&key);
            }
            prop_assert_eq!(index.len(), (0, 0));
        }
    }
}
