//! What is forgotten on demand, and the memory of it that keeps a response fetched before from being
//! stored after. Pure.

use std::collections::{BTreeMap, VecDeque};

use super::{key::CacheKey, policy::tags::Tag};

/// Purges that are remembered; what was fetched before the oldest of them is not stored.
const REMEMBERED_MAX: usize = 16_384;

/// What is forgotten.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Purge {
    /// Everything under one URI.
    Uri(CacheKey),
    /// The same path and query under every origin.
    Target(String),
    /// Whatever has a tag.
    Tag(Tag),
    /// Every URI whose path and query begin so; of one origin, or of all.
    Prefix { origin: Option<String>, path: String },
    /// Everything.
    All,
}

impl Purge {
    /// Whether it forgets a response.
    pub(crate) fn hits(&self, key: &CacheKey, tags: &[Tag]) -> bool {
        match self {
            Self::Uri(uri) => uri == key,
            Self::Target(target) => key.target() == target,
            Self::Tag(tag) => tags.contains(tag),
            Self::Prefix { origin, path } => {
                origin.as_ref().is_none_or(|origin| key.origin() == origin)
                    && key.target().starts_with(path)
            }
            Self::All => true,
        }
    }

    /// Whether it looks at tags, so that it cannot be decided before a response is there.
    pub(crate) const fn is_by_tag(&self) -> bool {
        matches!(self, Self::Tag(_))
    }
}

/// A moment between purges. What was begun at it is hit by those after it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default)]
pub(crate) struct Moment(u64);

/// The latest purges.
#[derive(Debug, Default)]
pub(crate) struct Purged {
    now: Moment,
    /// Purges up to this moment are forgotten.
    floor: Moment,
    uris: BTreeMap<CacheKey, Moment>,
    tags: BTreeMap<Tag, Moment>,
    /// The others, oldest first: there are few.
    wide: VecDeque<(Purge, Moment)>,
    order: VecDeque<(Purge, Moment)>,
}

impl Purged {
    pub(crate) const fn now(&self) -> Moment {
        self.now
    }

    /// Remembers a purge.
    pub(crate) fn add(&mut self, purge: Purge) {
        self.now.0 += 1;
        match &purge {
            Purge::Uri(key) => _ = self.uris.insert(key.clone(), self.now),
            Purge::Tag(tag) => _ = self.tags.insert(Tag::clone(tag), self.now),
            Purge::Target(_) | Purge::Prefix { .. } | Purge::All => {
                self.wide.push_back((purge.clone(), self.now));
            }
        }
        self.order.push_back((purge, self.now));
        while self.order.len() > REMEMBERED_MAX {
            self.forget_oldest();
        }
    }

    fn forget_oldest(&mut self) {
        let Some((purge, moment)) = self.order.pop_front() else { return };
        self.floor = moment;
        match &purge {
            Purge::Uri(key) if self.uris.get(key) == Some(&moment) => _ = self.uris.remove(key),
            Purge::Tag(tag) if self.tags.get(tag) == Some(&moment) => _ = self.tags.remove(tag),
            Purge::Uri(_) | Purge::Tag(_) => {}
            Purge::Target(_) | Purge::Prefix { .. } | Purge::All => drop(self.wide.pop_front()),
        }
    }

    /// Whether a response whose fetch began at a moment was purged since, or may have been.
    pub(crate) fn hit_since(&self, began: Moment, key: &CacheKey, tags: &[Tag]) -> bool {
        let later = |moment: Option<&Moment>| moment.is_some_and(|moment| *moment > began);
        began < self.floor
            || later(self.uris.get(key))
            || tags.iter().any(|tag| later(self.tags.get(tag)))
            || self
                .wide
                .iter()
                .rev()
                .take_while(|(_purge, moment)| *moment > began)
                .any(|(purge, _moment)| purge.hits(key, tags))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn key(path: &str) -> CacheKey {
        CacheKey::new("http", "a.test", path)
    }

    #[test]
    fn what_was_begun_before_a_purge_is_hit_by_it() {
        let mut purged = Purged::default();
        let before = purged.now();
        purged.add(Purge::Tag("t".into()));
        let after = purged.now();
        assert!(purged.hit_since(before, &key("/"), &["t".into()]));
        assert!(!purged.hit_since(before, &key("/"), &["u".into()]));
        assert!(!purged.hit_since(after, &key("/"), &["t".into()]));
    }

    #[test]
    fn what_was_begun_before_all_that_is_remembered_counts_as_hit() {
        let mut purged = Purged::default();
        let before = purged.now();
        for n in 0..=REMEMBERED_MAX {
            purged.add(Purge::Uri(key(&format!("/{n}"))));
        }
        assert!(purged.hit_since(before, &key("/other"), &[]));
        assert!(!purged.hit_since(purged.now(), &key("/1"), &[]));
        assert_eq!((purged.uris.len(), purged.order.len()), (REMEMBERED_MAX, REMEMBERED_MAX));
    }

    fn any_purge() -> impl Strategy<Value = Purge> {
        prop_oneof![
            "/[ab]{1,2}".prop_map(|path| Purge::Uri(key(&path))),
            "/[ab]{1,2}".prop_map(Purge::Target),
            "[ab]".prop_map(|tag| Purge::Tag(tag.into())),
            "/[ab]{0,1}".prop_map(|path| Purge::Prefix { origin: None, path }),
            "/[ab]{0,1}"
                .prop_map(|path| Purge::Prefix { origin: Some("http://b.test".to_owned()), path }),
        ]
    }

    proptest! {
        #[test]
        fn it_is_as_looking_at_all_of_them(
            purges in proptest::collection::vec(any_purge(), 0..20),
            began in 0_usize..20,
            path in "/[ab]{1,2}",
            tag in "[ab]",
        ) {
            let mut purged = Purged::default();
            let mut at = purged.now();
            for (index, purge) in purges.iter().enumerate() {
                if index == began {
                    at = purged.now();
                }
                purged.add(purge.clone());
            }
            let began = if began < purges.len() { began } else { 0 };
            let (key, tags) = (key(&path), [tag.into()]);
            let expected = purges[began..].iter().any(|purge| purge.hits(&key, &tags));
            prop_assert_eq!(purged.hit_since(at, &key, &tags), expected);
        }
    }
}
