//! Stored responses, weighed by bytes, in memory.

use std::{sync::Arc, time::Duration};

use bytes::Bytes;
use http::{HeaderMap, HeaderName, StatusCode};
use moka::{ops::compute::Op, sync::Cache};

use super::{
    key::CacheKey,
    policy::{Freshness, selecting},
};

/// Variants kept of one URI; the oldest makes room.
const VARIANTS_MAX: usize = 16;

/// What an entry costs besides its bytes: map nodes, counters, the struct itself.
const ENTRY_OVERHEAD_BYTES: usize = 512;

/// One stored response. Immutable: a refresh makes another one.
#[derive(Debug, Clone)]
pub(crate) struct Stored {
    pub(crate) status: StatusCode,
    /// Without fields of the connection and without `Age`.
    pub(crate) headers: HeaderMap,
    pub(crate) body: Bytes,
    pub(crate) freshness: Freshness,
    /// When it arrived, on the node's own clock.
    pub(crate) arrived: Duration,
    /// The headers by which it was chosen, and the values they had.
    pub(crate) vary: Vec<HeaderName>,
    pub(crate) selected_by: Vec<Option<Vec<u8>>>,
}

impl Stored {
    /// Whether it is the variant that this request asks for.
    pub(crate) fn matches(&self, request: &HeaderMap) -> bool {
        selecting(&self.vary, request) == self.selected_by
    }

    /// How long it has been here.
    pub(crate) const fn resident(&self, now: Duration) -> Duration {
        now.saturating_sub(self.arrived)
    }

    fn weight(&self) -> usize {
        let headers: usize =
            self.headers.iter().map(|(name, value)| name.as_str().len() + value.len() + 32).sum();
        let selected: usize = self.selected_by.iter().flatten().map(|value| value.len() + 32).sum();
        self.body.len() + headers + selected + ENTRY_OVERHEAD_BYTES
    }
}

/// What is stored under a URI: newest first.
type Variants = Arc<[Arc<Stored>]>;

/// What a lookup found.
#[derive(Debug, Clone)]
pub(crate) enum Found {
    /// Nothing under the URI.
    Nothing,
    /// Responses, but none for this request's headers; the names by which the newest varies.
    OtherVariant(Vec<HeaderName>),
    /// The response for this request.
    Response(Arc<Stored>),
}

/// The memory tier.
#[derive(Debug, Clone)]
pub(crate) struct Store {
    entries: Cache<CacheKey, Variants>,
}

impl Store {
    /// An empty store of at most so many bytes.
    pub(crate) fn new(bytes_max: u64) -> Self {
        let weigh = |key: &CacheKey, variants: &Variants| {
            let bytes: usize = variants.iter().map(|stored| stored.weight()).sum();
            u32::try_from(bytes + key.len()).unwrap_or(u32::MAX)
        };
        Self { entries: Cache::builder().max_capacity(bytes_max).weigher(weigh).build() }
    }

    /// The stored response for a request.
    pub(crate) fn find(&self, key: &CacheKey, request: &HeaderMap) -> Found {
        let Some(variants) = self.entries.get(key) else { return Found::Nothing };
        match variants.iter().find(|stored| stored.matches(request)) {
            Some(stored) => Found::Response(Arc::clone(stored)),
            None => variants
                .first()
                .map_or(Found::Nothing, |newest| Found::OtherVariant(newest.vary.clone())),
        }
    }

    /// Stores a response; it replaces the one of the same variant.
    pub(crate) fn put(&self, key: CacheKey, stored: Arc<Stored>) {
        self.entries.entry(key).and_upsert_with(|old| {
            let kept = old
                .iter()
                .flat_map(|old| old.value().iter())
                .filter(|other| {
                    other.vary != stored.vary || other.selected_by != stored.selected_by
                })
                .take(VARIANTS_MAX - 1)
                .cloned();
            std::iter::once(Arc::clone(&stored)).chain(kept).collect()
        });
    }

    /// Forgets everything under a URI.
    pub(crate) fn invalidate(&self, key: CacheKey) {
        self.entries.entry(key).and_compute_with(|_old| Op::Remove);
    }

    /// Entries and bytes, about: counted after pending evictions.
    pub(crate) fn size(&self) -> (u64, u64) {
        self.entries.run_pending_tasks();
        (self.entries.entry_count(), self.entries.weighted_size())
    }
}

#[cfg(test)]
mod tests {
    use http::{HeaderValue, header};

    use super::*;
    use crate::cache::policy::{FetchTimes, may_store, vary_names};

    fn stored(body: &[u8], vary: &'static str, language: Option<&'static str>) -> Arc<Stored> {
        let mut headers = HeaderMap::new();
        headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("max-age=60"));
        if !vary.is_empty() {
            headers.insert(header::VARY, HeaderValue::from_static(vary));
        }
        let times = FetchTimes { received_ms: 0, delay: Duration::ZERO };
        let request = request(language);
        let vary = vary_names(&headers).unwrap();
        Arc::new(Stored {
            status: StatusCode::OK,
            freshness: may_store(&request, StatusCode::OK, &headers, times).unwrap(),
            headers,
            body: Bytes::copy_from_slice(body),
            arrived: Duration::ZERO,
            selected_by: selecting(&vary, &request),
            vary,
        })
    }

    fn request(language: Option<&'static str>) -> HeaderMap {
        let mut headers = HeaderMap::new();
        if let Some(language) = language {
            headers.insert(header::ACCEPT_LANGUAGE, HeaderValue::from_static(language));
        }
        headers
    }

    fn body(found: &Found) -> &[u8] {
        match found {
            Found::Response(stored) => &stored.body,
            Found::Nothing => b"nothing",
            Found::OtherVariant(_) => b"other",
        }
    }

    #[test]
    fn each_variant_is_found_by_its_headers() {
        let store = Store::new(1 << 20);
        let key = CacheKey::new("http", "a", "/");
        assert_eq!(body(&store.find(&key, &request(None))), b"nothing");
        store.put(key.clone(), stored(b"it", "accept-language", Some("it")));
        store.put(key.clone(), stored(b"de", "accept-language", Some("de")));
        store.put(key.clone(), stored(b"it2", "accept-language", Some("it")));
        assert_eq!(body(&store.find(&key, &request(Some("it")))), b"it2");
        assert_eq!(body(&store.find(&key, &request(Some("de")))), b"de");
        assert_eq!(body(&store.find(&key, &request(None))), b"other");
        store.invalidate(key.clone());
        assert_eq!(body(&store.find(&key, &request(Some("it")))), b"nothing");
    }

    #[test]
    fn variants_of_one_uri_are_bounded() {
        let store = Store::new(1 << 20);
        let key = CacheKey::new("http", "a", "/");
        for language in ["a", "b", "c", "d", "e", "f", "g", "h", "i"] {
            store.put(key.clone(), stored(b"x", "accept-language", Some(language)));
            store.put(key.clone(), stored(b"x", "accept-language, accept", Some(language)));
        }
        assert_eq!(store.entries.get(&key).unwrap().len(), VARIANTS_MAX);
    }

    #[test]
    fn bytes_are_bounded() {
        let store = Store::new(100_000);
        for index in 0..200 {
            let key = CacheKey::new("http", "a", &format!("/{index}"));
            store.put(key, stored(&[0; 10_000], "", None));
        }
        let (entries, bytes) = store.size();
        assert!(entries < 11 && bytes <= 100_000, "{entries} {bytes}");
    }
}
