use bytes::Bytes;
use http::{HeaderMap, HeaderValue, StatusCode, header};

use super::*;
use crate::cache::{
    policy::{
        freshness::{FetchTimes, Guesses},
        partial::Pieces,
        storing::may_store,
    },
    stored::Payload,
};

fn stored(body: &[u8], vary: &'static str, language: Option<&'static str>) -> Arc<Stored> {
    tagged(body, vary, language, &[])
}

fn tagged(
    body: &[u8],
    vary: &'static str,
    language: Option<&'static str>,
    tags: &[&str],
) -> Arc<Stored> {
    let mut headers = HeaderMap::new();
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("max-age=60"));
    if !vary.is_empty() {
        headers.insert(header::VARY, HeaderValue::from_static(vary));
    }
    let times = FetchTimes { received_ms: 0, delay: Duration::ZERO };
    let guesses = Guesses { heuristic_max: Duration::ZERO, negative: Duration::ZERO };
    let how = may_store(&request(language), StatusCode::OK, &headers, times, guesses).unwrap();
    Arc::new(Stored {
        status: StatusCode::OK,
        freshness: how.freshness,
        headers,
        payload: Payload::Whole(Bytes::copy_from_slice(body)),
        arrived: Duration::ZERO,
        number: 0,
        date_ms: 0,
        vary: how.vary,
        selected_by: how.selected_by,
        tags: tags.iter().map(|tag| Tag::from(*tag)).collect(),
    })
}

fn request(language: Option<&'static str>) -> HeaderMap {
    let mut headers = HeaderMap::new();
    if let Some(language) = language {
        headers.insert(header::ACCEPT_LANGUAGE, HeaderValue::from_static(language));
    }
    headers
}

fn key(path: &str) -> CacheKey {
    CacheKey::new("http", "a", path)
}

fn memory(bytes_max: u64) -> Store {
    Store::new(bytes_max, Arc::default(), None)
}

fn put(store: &Store, path: &str, stored: Arc<Stored>) {
    assert!(store.put(key(path), stored, store.moment()));
}

#[test]
fn a_response_replaces_the_same_variant_only() {
    let store = memory(1 << 20);
    put(&store, "/", stored(b"it", "accept-language", Some("it")));
    put(&store, "/", stored(b"de", "accept-language", Some("de")));
    put(&store, "/", stored(b"it2", "accept-language", Some("it")));
    let bodies: Vec<u64> = store.get(&key("/")).iter().map(|stored| stored.length()).collect();
    assert_eq!(bodies, [3, 2]);
    assert!(store.get(&key("/other")).is_empty());
}

#[test]
fn variants_of_one_uri_are_bounded() {
    let store = memory(1 << 20);
    for language in ["a", "b", "c", "d", "e", "f", "g", "h", "i"] {
        put(&store, "/", stored(b"x", "accept-language", Some(language)));
        put(&store, "/", stored(b"x", "accept-language, accept", Some(language)));
    }
    assert_eq!(store.get(&key("/")).len(), VARIANTS_MAX);
}

#[test]
fn bytes_are_bounded_and_what_is_evicted_leaves_the_index() {
    let store = memory(100_000);
    for index in 0..200 {
        let tag = format!("t{index}");
        put(&store, &format!("/{index}"), tagged(&[0; 10_000], "", None, &[&tag]));
    }
    let (entries, bytes) = store.size();
    assert!(entries < 11 && bytes <= 100_000, "{entries} {bytes}");
    let indexed = store.index.lock().len();
    let entries = usize::try_from(entries).unwrap();
    assert_eq!(indexed, (entries, entries));
}

#[test]
fn a_purge_by_tag_hits_the_variants_that_have_it() {
    let store = memory(1 << 20);
    put(&store, "/", tagged(b"it", "accept-language", Some("it"), &["a", "b"]));
    put(&store, "/", tagged(b"de", "accept-language", Some("de"), &["b"]));
    put(&store, "/x", tagged(b"x", "", None, &["c"]));
    let purge = |tag: &str| store.purge(&Purge::Tag(tag.into()), false, Duration::ZERO);
    assert_eq!((purge("a"), purge("a")), (1, 0));
    assert_eq!(store.get(&key("/")).len(), 1);
    assert_eq!((purge("b"), store.get(&key("/")).len()), (1, 0));
    assert_eq!((purge("none"), store.get(&key("/x")).len()), (0, 1));
    assert_eq!(store.purge(&Purge::All, false, Duration::ZERO), 1);
    assert_eq!(store.index.lock().len(), (0, 0));
}

#[test]
fn a_soft_purge_makes_stale() {
    let store = memory(1 << 20);
    put(&store, "/a/b", stored(b"x", "", None));
    let purge = Purge::Prefix { origin: None, path: "/a".to_owned() };
    let now = Duration::from_secs(5);
    assert_eq!(store.purge(&purge, true, now), 1);
    let left = store.get(&key("/a/b"));
    assert!(!left[0].freshness.is_fresh(left[0].resident(now)));
    assert_eq!(left[0].freshness.staleness(left[0].resident(Duration::from_secs(7))).as_secs(), 2);
}

#[test]
fn what_was_fetched_before_a_purge_is_not_stored_after_it() {
    let store = memory(1 << 20);
    put(&store, "/", tagged(b"old", "accept", None, &["a"]));
    let before = store.moment();
    store.purge(&Purge::Tag("b".into()), false, Duration::ZERO);
    assert!(!store.put(key("/"), tagged(b"x", "", None, &["b"]), before));
    assert!(store.put(key("/y"), tagged(b"x", "", None, &["c"]), before));
    assert_eq!(store.get(&key("/")).len(), 1);
    // What was there stays in the index as it is stored.
    assert_eq!(store.purge(&Purge::Tag("a".into()), false, Duration::ZERO), 1);
    let before = store.moment();
    store.purge(&Purge::Uri(key("/z")), true, Duration::ZERO);
    assert!(!store.put(key("/z"), stored(b"x", "", None), before));
    assert_eq!(store.index.lock().len(), (1, 1));
}

#[test]
fn parts_make_way_for_the_whole_of_the_same_variant_and_nothing_else_does() {
    let store = memory(1 << 20);
    let parts = |language| {
        let pieces = Pieces::new(10, 0, Bytes::from_static(b"abc")).unwrap();
        let whole = stored(b"", "accept-language", Some(language));
        Arc::new(Stored { payload: Payload::Pieces(pieces), ..Stored::clone(&whole) })
    };
    let (italian, german) = (parts("it"), parts("de"));
    let french = stored(b"whole", "accept-language", Some("fr"));
    for one in [&italian, &german, &french] {
        assert!(store.put(key("/a"), Arc::clone(one), store.moment()));
    }
    store.forget_pieces(&key("/a"), &italian);
    store.forget_pieces(&key("/a"), &french);
    let left = store.get(&key("/a"));
    assert!(left.iter().all(|one| !one.is_variant_of(&italian)));
    assert_eq!(left.len(), 2);
}
