//! What is on its way to disk: found there already, and not entered once it is forgotten. Pure.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use http::{HeaderMap, HeaderName};

use crate::cache::{key::CacheKey, purge::Moment, stored::Stored};

/// Of one URI at a time, at most.
pub(super) const OF_URI_MAX: usize = 16;

/// One response on its way.
#[derive(Debug)]
struct Pending {
    ticket: u64,
    announced: Duration,
    vary: Vec<HeaderName>,
    selected_by: Vec<Option<Vec<u8>>>,
    /// All of it, and a moment up to which no purge is about it; `None`: its body is still to come.
    whole: Option<(Arc<Stored>, Moment)>,
}

impl Pending {
    fn is_variant_of(&self, stored: &Stored) -> bool {
        self.vary == stored.vary && self.selected_by == stored.selected_by
    }
}

/// All of them, each under a ticket of its own.
#[derive(Debug, Default)]
pub(crate) struct OnTheWay {
    uris: BTreeMap<CacheKey, Vec<Pending>>,
    tickets: u64,
}

impl OnTheWay {
    /// Announces one whose body is still to come, in place of the same variant. `None`: there are too many of its URI.
    pub(crate) fn announce(
        &mut self,
        key: &CacheKey,
        stored: &Stored,
        now: Duration,
    ) -> Option<u64> {
        self.add(key, stored, None, now)
    }

    /// Announces one that is whole, and that no purge up to a moment is about; else as [`announce`](Self::announce).
    pub(crate) fn announce_whole(
        &mut self,
        key: &CacheKey,
        stored: &Arc<Stored>,
        since: Moment,
        now: Duration,
    ) -> Option<u64> {
        self.add(key, stored, Some((Arc::clone(stored), since)), now)
    }

    fn add(
        &mut self,
        key: &CacheKey,
        stored: &Stored,
        whole: Option<(Arc<Stored>, Moment)>,
        announced: Duration,
    ) -> Option<u64> {
        self.forget_variant(key, stored);
        let of_uri = self.uris.entry(key.clone()).or_default();
        if of_uri.len() >= OF_URI_MAX {
            return None;
        }
        self.tickets += 1;
        let (vary, selected_by) = (stored.vary.clone(), stored.selected_by.clone());
        of_uri.push(Pending { ticket: self.tickets, announced, vary, selected_by, whole });
        Some(self.tickets)
    }

    /// Whether what was announced with a ticket would still be entered.
    pub(crate) fn awaits(&self, key: &CacheKey, ticket: u64) -> bool {
        self.of_uri(key).any(|pending| pending.ticket == ticket)
    }

    /// When one of a variant was announced that is on its way.
    pub(crate) fn announced(&self, key: &CacheKey, stored: &Stored) -> Option<Duration> {
        let mut of_uri = self.of_uri(key);
        of_uri.find(|pending| pending.is_variant_of(stored)).map(|pending| pending.announced)
    }

    /// Ends the way of one. Answers whether nothing was forgotten meanwhile that it may be.
    pub(crate) fn arrive(&mut self, key: &CacheKey, ticket: u64) -> bool {
        self.forget(key, |pending| pending.ticket == ticket)
    }

    /// Forgets the one of the same variant as a response.
    pub(crate) fn forget_variant(&mut self, key: &CacheKey, stored: &Stored) {
        self.forget(key, |pending| pending.is_variant_of(stored));
    }

    /// Whether this very response is among them.
    pub(crate) fn has(&self, key: &CacheKey, stored: &Arc<Stored>) -> bool {
        self.wholes(key).any(|(_ticket, whole)| Arc::ptr_eq(whole, stored))
    }

    /// Those of a URI that are whole, each with its ticket.
    pub(crate) fn wholes(&self, key: &CacheKey) -> impl Iterator<Item = (u64, &Arc<Stored>)> {
        self.of_uri(key).filter_map(|pending| Some((pending.ticket, &pending.whole.as_ref()?.0)))
    }

    /// The latest of those that a request selects and that are whole, with the moment up to which no purge is about
    /// it.
    pub(crate) fn find(
        &self,
        key: &CacheKey,
        request: &HeaderMap,
    ) -> Option<(Arc<Stored>, Moment)> {
        let wholes = self.of_uri(key).filter_map(|pending| pending.whole.as_ref());
        let selected = wholes.filter(|(stored, _since)| stored.matches(request));
        selected.max_by_key(|(stored, _since)| (stored.date_ms, stored.arrived)).cloned()
    }

    fn of_uri(&self, key: &CacheKey) -> impl Iterator<Item = &Pending> {
        self.uris.get(key).into_iter().flatten()
    }

    /// Whether there was such a one.
    fn forget(&mut self, key: &CacheKey, gone: impl Fn(&Pending) -> bool) -> bool {
        let Some(of_uri) = self.uris.get_mut(key) else { return false };
        let before = of_uri.len();
        of_uri.retain(|pending| !gone(pending));
        let is_gone = of_uri.len() < before;
        if of_uri.is_empty() {
            self.uris.remove(key);
        }
        is_gone
    }
}

#[cfg(test)]
mod tests {
    use http::{HeaderValue, header};

    use super::*;
    use crate::cache::disk::tests::{key, stored};

    fn variant(language: Option<&'static str>) -> Stored {
        stored(b"x", if language.is_some() { "accept-language" } else { "" }, language)
    }

    #[test]
    fn what_is_on_its_way_is_not_entered_once_it_is_forgotten_or_there_is_a_newer_one() {
        let mut all = OnTheWay::default();
        let (key, plain, italian) = (key("/0"), variant(None), variant(Some("it")));
        let first = all.announce(&key, &plain, Duration::ZERO).unwrap();
        let other = all.announce(&key, &italian, Duration::ZERO).unwrap();
        let second = all.announce(&key, &plain, Duration::from_secs(1)).unwrap();
        assert!(!all.arrive(&key, first) && all.awaits(&key, second));
        assert_eq!(all.announced(&key, &plain), Some(Duration::from_secs(1)));
        assert!(all.arrive(&key, second));
        assert_eq!(all.announced(&key, &plain), None);
        let third = all.announce(&key, &plain, Duration::ZERO).unwrap();
        all.forget_variant(&key, &plain);
        assert!(!all.arrive(&key, third));
        assert!(all.arrive(&key, other), "another variant is none of their business");
        assert!(all.uris.is_empty());
    }

    #[test]
    fn of_one_uri_only_so_many_are_on_their_way() {
        let (mut all, key) = (OnTheWay::default(), key("/0"));
        let numbered = |number: usize| {
            let selected_by = vec![Some(number.to_string().into_bytes())];
            Stored { selected_by, ..variant(Some("it")) }
        };
        for number in 0..OF_URI_MAX {
            assert!(all.announce(&key, &numbered(number), Duration::ZERO).is_some());
        }
        assert!(all.announce(&key, &numbered(OF_URI_MAX), Duration::ZERO).is_none());
        assert!(all.announce(&key, &numbered(0), Duration::ZERO).is_some(), "in place of it");
    }

    #[test]
    fn what_is_whole_is_found_by_who_selects_it() {
        let (mut all, key) = (OnTheWay::default(), key("/0"));
        let [mut plain, mut italian] = [variant(None), variant(Some("it"))];
        (plain.date_ms, italian.date_ms) = (1, 2);
        let (plain, italian) = (Arc::new(plain), Arc::new(italian));
        let mut asks_italian = HeaderMap::new();
        asks_italian.insert(header::ACCEPT_LANGUAGE, HeaderValue::from_static("it"));
        assert!(all.announce(&key, &plain, Duration::ZERO).is_some());
        assert!(all.find(&key, &asks_italian).is_none(), "its body is still to come");
        let since = Moment::default();
        all.announce_whole(&key, &plain, since, Duration::ZERO).unwrap();
        let ticket = all.announce_whole(&key, &italian, since, Duration::ZERO).unwrap();
        let found = |all: &OnTheWay, request: &HeaderMap| all.find(&key, request).unwrap().0;
        assert!(Arc::ptr_eq(&found(&all, &asks_italian), &italian), "the latest");
        assert!(Arc::ptr_eq(&found(&all, &HeaderMap::new()), &plain));
        assert_eq!(all.wholes(&key).count(), 2);
        assert!(all.has(&key, &plain) && !all.has(&key, &Arc::new(Stored::clone(&plain))));
        assert!(all.arrive(&key, ticket));
        assert!(Arc::ptr_eq(&found(&all, &asks_italian), &plain));
    }
}
