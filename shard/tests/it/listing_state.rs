//! The state machine of a listings shard: versions, tombstones, hidden copies, snapshots.

use hexpop_edge_config::codec;
use hexpop_shard::{
    DeleteItem, DocRef, DocumentStore, FeedCursor, ItemOutcome, KeyRange, ListingRef, ListingsOp,
    ListingsOutcome, ListingsState, LogPosition, MemoryDocuments, RestoreError, ShardKey,
    SnapshotError, Space, TOMBSTONE_RETENTION_MS, UpsertItem,
};
use serde_json::{Value, json};

use crate::market::{self, Shard};

fn listing(id: &str, version: Option<u64>, city: &str, lat: f64) -> Value {
    let mut json = json!({"id": id, "listingType": "sale", "status": "active", "country": "IT",
        "region": "lazio", "city": city, "location": {"lat": lat, "lng": 12.5}});
    if let Some(version) = version {
        json["version"] = json!(version);
    }
    json
}

fn item(json: &Value, hidden: bool) -> UpsertItem {
    UpsertItem::new(market::parse(json), hidden)
}

fn only(outcome: ListingsOutcome) -> ItemOutcome {
    match outcome {
        ListingsOutcome::Items(mut items) if items.len() == 1 => items.remove(0),
        other => panic!("{other:?}"),
    }
}

fn store(shard: &mut Shard, json: &Value) -> ItemOutcome {
    only(shard.apply(1, &ListingsOp::Upsert { items: vec![item(json, false)] }))
}

fn delete(shard: &mut Shard, at_ms: u64, json: &Value, version: Option<u64>) -> ItemOutcome {
    let listing = market::parse(json);
    let mut version_of = listing.version;
    version_of.version = version;
    let items = vec![DeleteItem { key: listing.key, id: listing.columns.id, version: version_of }];
    only(shard.apply(at_ms, &ListingsOp::Delete { items }))
}

fn reference(json: &Value) -> ListingRef {
    let listing = market::parse(json);
    ListingRef {
        key: listing.key,
        id: listing.columns.id,
        version: listing.version,
        position: None,
    }
}

fn city(shard: &Shard, id: &str) -> Option<String> {
    let row = shard.state.get(id)?;
    let document = shard.documents.get_many(&[row.document]).remove(0)?;
    let json: Value = serde_json::from_slice(&document).unwrap();
    Some(json["city"].as_str().unwrap().to_owned())
}

fn applied(outcome: &ItemOutcome) -> bool {
    matches!(outcome, ItemOutcome::Applied | ItemOutcome::AppliedHidden)
}

#[test]
fn the_newer_version_stays_whatever_the_order() {
    let mut shard = Shard::new();
    assert!(applied(&store(&mut shard, &listing("a", Some(2), "Roma", 41.9))));
    let position = shard.state.get("a").unwrap().document.position;
    for stale in [1, 2] {
        let outcome = store(&mut shard, &listing("a", Some(stale), "Latina", 41.9));
        let ItemOutcome::Ignored { stored: Some(stored) } = outcome else {
            panic!("{outcome:?}");
        };
        assert_eq!((stored.version.version, stored.position), (Some(2), position));
    }
    assert_eq!(city(&shard, "a").unwrap(), "Roma");
    assert!(applied(&store(&mut shard, &listing("a", Some(3), "Rieti", 42.4))));
    assert_eq!(city(&shard, "a").unwrap(), "Rieti");
    assert_eq!((shard.state.counts().total, shard.documents.len()), (1, 1));
    assert!(shard.state.get("a").unwrap().document.position > position);
}

#[test]
fn without_versions_the_log_decides_and_equal_content_is_ignored() {
    let mut shard = Shard::new();
    assert!(applied(&store(&mut shard, &listing("a", None, "Roma", 41.9))));
    assert!(!applied(&store(&mut shard, &listing("a", None, "Roma", 41.9))));
    assert!(applied(&store(&mut shard, &listing("a", None, "Latina", 41.9))));
    assert!(applied(&store(&mut shard, &listing("a", None, "Roma", 41.9))));
    assert_eq!(city(&shard, "a").unwrap(), "Roma");
}

#[test]
fn a_deletion_keeps_older_writes_out_until_no_feed_can_repeat_them() {
    let mut shard = Shard::new();
    let json = listing("a", Some(5), "Roma", 41.9);
    assert!(applied(&store(&mut shard, &json)));
    assert!(!applied(&delete(&mut shard, 1_000, &json, Some(4))));
    assert!(applied(&delete(&mut shard, 1_000, &json, Some(5))));
    assert!(!applied(&delete(&mut shard, 1_000, &json, Some(5))));
    assert!(shard.state.get("a").is_none() && shard.documents.is_empty());
    assert!(!applied(&store(&mut shard, &json)));
    assert_eq!(shard.state.next_due_ms(), Some(1_000 + TOMBSTONE_RETENTION_MS));
    shard.state.tick(999 + TOMBSTONE_RETENTION_MS);
    assert!(!applied(&store(&mut shard, &json)));
    shard.state.tick(1_000 + TOMBSTONE_RETENTION_MS);
    assert_eq!((shard.state.counts().tombstones, shard.state.next_due_ms()), (0, None));
    assert!(applied(&store(&mut shard, &json)));
}

#[test]
fn a_newer_write_comes_back_after_a_deletion() {
    let mut shard = Shard::new();
    let json = listing("a", Some(5), "Roma", 41.9);
    assert!(applied(&delete(&mut shard, 1, &json, Some(5))));
    assert!(!applied(&store(&mut shard, &json)));
    assert!(applied(&store(&mut shard, &listing("a", Some(6), "Roma", 41.9))));
    assert_eq!(shard.state.counts().tombstones, 0);
}

#[test]
fn a_hidden_copy_is_found_once_it_is_revealed() {
    let mut shard = Shard::new();
    let json = listing("a", Some(1), "Roma", 41.9);
    let upsert = ListingsOp::Upsert { items: vec![item(&json, true)] };
    assert!(applied(&only(shard.apply(1, &upsert))));
    assert!(shard.state.get("a").unwrap().hidden);
    let found = |shard: &Shard| {
        let ask = json!({"listingType": "sale"});
        market::search(std::slice::from_ref(shard), &ask).pagination.total
    };
    assert_eq!((found(&shard), shard.state.counts().active), (0, 0));
    // The same write again says that the copy is still hidden.
    let outcome = only(shard.apply(1, &upsert));
    assert!(matches!(outcome, ItemOutcome::Ignored { stored: Some(it) } if it.hidden));
    let mut other = reference(&json);
    other.version.version = Some(9);
    assert!(!applied(&only(shard.apply(1, &ListingsOp::Reveal { items: vec![other] }))));
    let reveal = ListingsOp::Reveal { items: vec![reference(&json)] };
    assert!(applied(&only(shard.apply(1, &reveal))));
    assert!(!applied(&only(shard.apply(1, &reveal))));
    assert_eq!((found(&shard), shard.state.counts().active), (1, 1));
}

#[test]
fn the_old_place_of_a_moved_listing_is_retired_and_nothing_newer() {
    let mut shard = Shard::new();
    let (old, new) = (listing("a", Some(1), "Roma", 41.9), listing("a", Some(2), "Roma", 42.9));
    store(&mut shard, &old);
    let mut retire = reference(&old);
    retire.version = market::parse(&new).version;
    // Moved within the shard: the row has the new key already.
    store(&mut shard, &new);
    let op = ListingsOp::Retire { items: vec![retire.clone()] };
    assert!(!applied(&only(shard.apply(1, &op))));
    assert!(shard.state.get("a").is_some());
    // Moved to another shard.
    let mut shard = Shard::new();
    store(&mut shard, &old);
    let elsewhere = ListingRef { position: Some(LogPosition { term: 9, index: 9 }), ..retire };
    assert!(!applied(&only(shard.apply(1, &ListingsOp::Retire { items: vec![elsewhere] }))));
    assert!(applied(&only(shard.apply(1, &op))));
    assert!(!applied(&only(shard.apply(1, &op))));
    assert!(shard.state.get("a").is_none());
    assert!(!applied(&store(&mut shard, &old)));
    assert!(applied(&store(&mut shard, &listing("a", Some(3), "Roma", 41.9))));
}

#[test]
fn items_that_are_no_listings_or_lie_elsewhere_are_rejected_alone() {
    let lazio = KeyRange::territory(Space::Listings, &"IT:lazio".parse().unwrap());
    let mut state = ListingsState::new(lazio);
    let mut documents = MemoryDocuments::default();
    let good = item(&listing("a", None, "Roma", 41.9), false);
    let broken = UpsertItem { document: "{}".to_owned(), ..good.clone() };
    let moved =
        UpsertItem { key: item(&listing("a", None, "Roma", 10.0), false).key, ..good.clone() };
    let mut abroad = listing("b", None, "Madrid", 40.0);
    abroad["country"] = json!("ES");
    let items = vec![broken, moved, item(&abroad, false), good];
    let outcome = state.apply(
        LogPosition { term: 1, index: 1 },
        1,
        &ListingsOp::Upsert { items },
        &mut documents,
    );
    let ListingsOutcome::Items(outcomes) = outcome else { panic!() };
    assert!(outcomes[..3].iter().all(|it| matches!(it, ItemOutcome::Rejected { .. })));
    assert!(applied(&outcomes[3]));
    assert_eq!(state.counts().total, 1);
}

/// A shard with rows, tombstones, a hidden copy, feeds and time.
fn lived() -> Shard {
    let mut shard = Shard::new();
    for number in 0..600 {
        store(
            &mut shard,
            &listing(&format!("l{number}"), Some(1), "Roma", 41.0 + f64::from(number) / 1e3),
        );
    }
    for number in 0..100 {
        let json = listing(&format!("l{}", number * 3), Some(1), "Roma", 41.0);
        delete(&mut shard, 5_000, &json, Some(2));
    }
    shard.apply(
        6_000,
        &ListingsOp::Upsert { items: vec![item(&listing("h", None, "Ostia", 41.7), true)] },
    );
    let feeds =
        vec![FeedCursor { territory: "IT:lazio".parse().unwrap(), cursor: "c-9".to_owned() }];
    shard.apply(7_000, &ListingsOp::MarkComplete { complete: true, feeds });
    shard
}

fn records(shard: &Shard) -> Vec<Vec<u8>> {
    shard.state.snapshot_chunks(&shard.documents).collect::<Result<_, _>>().unwrap()
}

#[test]
fn a_snapshot_is_the_state() {
    let shard = lived();
    let written = records(&shard);
    assert!(written.len() > 4);
    let mut documents = MemoryDocuments::default();
    let range = KeyRange::space(Space::Listings);
    let state = ListingsState::restore(range, &written, &mut documents).unwrap();
    assert_eq!(state.hash(), shard.state.hash());
    assert_eq!(state.counts(), shard.state.counts());
    assert_eq!((state.is_complete(), state.group_time_ms()), (true, 7_000));
    assert_eq!(state.feeds().len(), 1);
    assert!(state.get("h").unwrap().hidden);
    let restored = Shard { state, documents, index: shard.index };
    assert_eq!(records(&restored), written);
    let ask = json!({"listingType": "sale", "limit": 200, "facets": ["neighborhoods"],
        "geoFilter": {"type": "radius", "center": {"lat": 41.3, "lng": 12.5}, "radiusKm": 20}, "sortBy": "distance"});
    let answers = [&shard, &restored].map(|shard| {
        serde_json::to_string(&market::search(std::slice::from_ref(shard), &ask)).unwrap()
    });
    assert_eq!(answers[0], answers[1]);
}

#[test]
fn a_damaged_snapshot_is_refused() {
    let written = records(&lived());
    let range = KeyRange::space(Space::Listings);
    let mut documents = MemoryDocuments::default();
    let mut restore = |records: &[Vec<u8>]| {
        ListingsState::restore(range.clone(), records, &mut documents).map(|_| ())
    };
    assert_eq!(restore(&[]), Err(RestoreError::Incomplete));
    assert_eq!(restore(&written[..written.len() - 1]), Err(RestoreError::Incomplete));
    assert_eq!(restore(&written[1..]), Err(RestoreError::Incomplete));
    let mut without_one = written.clone();
    without_one.remove(2);
    assert_eq!(restore(&without_one), Err(RestoreError::Incomplete));
    let mut again = written.clone();
    again.push(written[0].clone());
    assert_eq!(restore(&again), Err(RestoreError::Incomplete));
    let mut cut = written;
    cut[1].truncate(40);
    assert!(matches!(restore(&cut), Err(RestoreError::Decode { record: 1, .. })));
}

#[test]
fn missing_documents_are_named_and_searches_go_on() {
    let mut shard = lived();
    let at: DocRef = shard.state.get("l1").unwrap().document;
    shard.documents.remove(&at);
    let error = shard.state.snapshot_chunks(&shard.documents).find_map(Result::err);
    assert_eq!(error, Some(SnapshotError::MissingDocuments(vec![at.clone()])));
    let query = market::request(&json!({"listingType": "sale", "limit": 1})).query;
    let answer = shard.state.view().search(&query, &shard.documents);
    assert_eq!((answer.missing, answer.total), (vec![at], 500));
    let page =
        market::search(std::slice::from_ref(&shard), &json!({"listingType": "sale", "limit": 1}));
    assert_eq!(page.data[0].get(), r#"{"id":"l1"}"#);
    let row = shard.state.get("l1").unwrap();
    assert!(applied(&store(&mut shard, &listing("l1", Some(2), "Roma", 41.0))));
    assert!(shard.state.get("l1").unwrap().document.position > row.document.position);
}

#[test]
fn applying_the_last_entry_again_changes_nothing() {
    let mut shard = Shard::new();
    let (a, b) = (listing("a", None, "Roma", 41.9), listing("b", Some(1), "Roma", 41.9));
    let ops = [
        ListingsOp::Upsert { items: vec![item(&a, false), item(&b, true)] },
        ListingsOp::Reveal { items: vec![reference(&b)] },
        ListingsOp::Upsert { items: vec![item(&listing("a", None, "Ostia", 41.8), false)] },
        ListingsOp::Retire { items: vec![reference(&b)] },
        ListingsOp::Delete {
            items: vec![DeleteItem {
                key: market::parse(&a).key,
                id: "a".into(),
                version: market::parse(&a).version,
            }],
        },
        ListingsOp::AdvanceFeeds { feeds: Vec::new() },
    ];
    for op in &ops {
        let bytes = codec::encode(op).unwrap();
        assert_eq!(codec::decode::<ListingsOp>(&bytes).unwrap(), *op);
        let outcome = shard.apply(5, op);
        assert_eq!(
            codec::decode::<ListingsOutcome>(&codec::encode(&outcome).unwrap()).unwrap(),
            outcome
        );
        let hash = shard.state.hash();
        shard.apply(5, op);
        assert_eq!(shard.state.hash(), hash, "{op:?}");
    }
    assert_eq!((shard.state.counts().total, shard.documents.len()), (0, 0));
}

#[test]
fn a_cut_gives_each_part_what_lies_in_its_range() {
    let whole = lived();
    let keys = |lat: f64| market::parse(&listing("k", None, "Roma", lat)).key;
    let mut bounds =
        vec![keys(41.15), keys(41.0), keys(41.7), ShardKey::space_start(Space::Listings)];
    bounds.push(KeyRange::territory(Space::Listings, &"IT:toscana".parse().unwrap()).start);
    for at in bounds {
        let mut left = lived();
        let Some(right) = left.state.cut(&at) else {
            assert_eq!(at, ShardKey::space_start(Space::Listings));
            assert_eq!(left.state.hash(), whole.state.hash());
            continue;
        };
        assert_eq!(left.state.range().end.as_ref(), Some(&at));
        assert_eq!((&right.range().start, &right.range().end), (&at, &None));
        for part in [&left.state, &right] {
            assert!(part.is_complete());
            assert_eq!(part.group_time_ms(), 7_000);
            // The records name every listing's place, and are refused outside the range.
            let written: Vec<_> =
                part.snapshot_chunks(&whole.documents).collect::<Result<_, _>>().unwrap();
            let mut documents = MemoryDocuments::default();
            let again = ListingsState::restore(part.range().clone(), &written, &mut documents);
            assert_eq!(again.unwrap().hash(), part.hash());
        }
        let sum = |of: fn(&ListingsState) -> u64| of(&left.state) + of(&right);
        for of in [
            |state: &ListingsState| state.counts().total,
            |state: &ListingsState| state.counts().active,
            |state: &ListingsState| state.counts().tombstones,
            |state: &ListingsState| state.counts().document_bytes,
        ] {
            assert_eq!(sum(of), of(&whole.state), "{at}");
        }
        for (id, row) in whole.state.index().rows_after(None) {
            let key = whole.state.index().shard_key(row).unwrap();
            let (here, there) =
                if key < at { (&left.state, &right) } else { (&right, &left.state) };
            assert_eq!(here.get(&id), whole.state.get(&id), "{id}");
            assert_eq!(there.get(&id), None, "{id}");
        }
        let has_feed = |state: &ListingsState| state.feeds().len();
        let in_left = at > KeyRange::territory(Space::Listings, &"IT:lazio".parse().unwrap()).start;
        assert_eq!(has_feed(&left.state), usize::from(in_left));
    }
}
