//! Which questions a change of a listings shard may give another answer to.

use hexpop_shard::{
    DeleteItem, Found, KeyRange, ListingRef, ListingsOp, ListingsState, LogPosition, MapRequest,
    MemoryDocuments, Question, SearchRules, Space, SuggestRequest, UpsertItem,
};
use proptest::prelude::*;
use serde_json::{Value, json};

use crate::market::{self, Shard};

const CITIES: [(&str, &str, f64, f64); 5] = [
    ("lombardia", "Milano", 45.46, 9.19),
    ("lombardia", "Como", 45.81, 9.08),
    ("lazio", "Roma", 41.9, 12.5),
    ("lazio", "Roma Nord", 41.96, 12.48),
    ("lazio", "Ostia", 41.73, 12.28),
];

fn listing(id: usize, at: usize, version: u64, price: u64) -> Value {
    let (region, city, lat, lng) = CITIES[at % CITIES.len()];
    let mut json = json!({"id": format!("l{id}"), "listingType": "sale", "country": "IT",
        "status": if price.is_multiple_of(5) { "sold" } else { "active" }, "region": region, "city": city,
        "title": format!("Casa {city} {price}"), "price": {"amount": price, "currency": "EUR"},
        "version": version});
    // Some have no coordinates.
    if at < CITIES.len() {
        json["location"] = json!({"lat": lat + id as f64 * 0.002, "lng": lng});
    }
    json
}

fn questions() -> Vec<Question> {
    let around = |lat: f64, lng: f64| json!({"type": "radius", "center": {"lat": lat, "lng": lng}, "radiusKm": 9});
    let searches = [
        json!({"listingType": "sale", "facets": ["priceStats", "neighborhoods"]}),
        json!({"listingType": "sale", "territories": ["IT:lazio"], "sortBy": "price_asc"}),
        json!({"listingType": "sale", "territories": ["IT:lombardia"], "query": "casa mil"}),
        json!({"listingType": "sale", "geoFilter": around(41.9, 12.5), "sortBy": "distance"}),
        json!({"listingType": "sale", "geoFilter": around(45.46, 9.19), "query": "como"}),
        json!({"listingType": "sale", "geoFilter": {"type": "bbox",
            "topLeft": {"lat": 41.8, "lng": 12.2}, "bottomRight": {"lat": 41.6, "lng": 12.4}}}),
    ];
    let searches =
        searches.iter().map(|ask| Question::Search(Box::new(market::request(ask).query)));
    let map = |ask: Value| {
        let map = MapRequest::from_json(ask.to_string().as_bytes(), &SearchRules::default());
        Question::MapClusters(Box::new(map.unwrap().query))
    };
    let maps = [
        map(json!({"listingType": "sale", "resolution": 5})),
        map(json!({"listingType": "sale", "resolution": 7, "geoFilter": around(45.81, 9.08)})),
    ];
    let suggest = SuggestRequest::from_query_string("q=ro").unwrap();
    searches.chain(maps).chain([Question::Suggest(suggest.query)]).collect()
}

#[derive(Debug, Clone)]
enum Change {
    Store { id: usize, at: usize, price: u64, hidden: bool },
    Reveal { id: usize },
    Retire { id: usize },
    Delete { id: usize },
    Complete(bool),
    Feeds,
    Restart,
}

fn changes() -> impl Strategy<Value = Change> {
    prop_oneof![
        8 => (0_usize..6, 0_usize..7, 1_u64..30, any::<bool>())
            .prop_map(|(id, at, price, hidden)| Change::Store { id, at, price, hidden }),
        3 => (0_usize..6).prop_map(|id| Change::Reveal { id }),
        1 => (0_usize..6).prop_map(|id| Change::Retire { id }),
        2 => (0_usize..6).prop_map(|id| Change::Delete { id }),
        1 => any::<bool>().prop_map(Change::Complete),
        1 => Just(Change::Feeds),
        1 => Just(Change::Restart),
    ]
}

/// The shard as a snapshot of it gives it again.
fn restarted(shard: &Shard) -> Shard {
    let written: Vec<_> =
        shard.state.snapshot_chunks(&shard.documents).collect::<Result<_, _>>().unwrap();
    let mut documents = MemoryDocuments::default();
    let range = KeyRange::space(Space::Listings);
    let state = ListingsState::restore(range, &written, &mut documents).unwrap();
    Shard { state, documents, index: shard.index }
}

fn answers(shard: &Shard, questions: &[Question]) -> Vec<(LogPosition, bool, Found)> {
    let view = shard.state.view();
    let answer = |question| {
        (view.last_change(question), view.is_complete(), view.answer(question, &shard.documents))
    };
    questions.iter().map(answer).collect()
}

fn op(shard: &Shard, change: &Change, nth: u64) -> Option<ListingsOp> {
    let stored = |id: &usize| {
        let row = shard.state.get(&format!("l{id}"))?;
        let id = row.document.id;
        Some(ListingRef { key: row.key, id, version: row.version, position: None })
    };
    Some(match change {
        Change::Store { id, at, price, hidden } => {
            let parsed = market::parse(&listing(*id, *at, nth, *price));
            ListingsOp::Upsert { items: vec![UpsertItem::new(parsed, *hidden)] }
        }
        Change::Reveal { id } => ListingsOp::Reveal { items: vec![stored(id)?] },
        Change::Retire { id } => ListingsOp::Retire { items: vec![stored(id)?] },
        Change::Delete { id } => {
            let ListingRef { key, id, version, .. } = stored(id)?;
            ListingsOp::Delete { items: vec![DeleteItem { key, id, version }] }
        }
        Change::Complete(complete) => {
            ListingsOp::MarkComplete { complete: *complete, feeds: Vec::new() }
        }
        Change::Feeds => ListingsOp::AdvanceFeeds { feeds: Vec::new() },
        Change::Restart => return None,
    })
}

proptest! {
    /// The oracle is the answer itself: it differs only where the shard says that something changed.
    #[test]
    fn as_long_as_nothing_changed_where_a_question_looks_its_answer_is_the_same(
        changes in proptest::collection::vec(changes(), 1..40),
    ) {
        let questions = questions();
        let mut shard = Shard::new();
        let mut before = answers(&shard, &questions);
        for (nth, change) in (1..).zip(&changes) {
            if matches!(change, Change::Restart) {
                shard = restarted(&shard);
                prop_assert_eq!(&answers(&shard, &questions), &before, "a snapshot is the state");
                continue;
            }
            let Some(op) = op(&shard, change, nth) else { continue };
            shard.apply(nth, &op);
            let after = answers(&shard, &questions);
            for ((question, before), after) in questions.iter().zip(&before).zip(&after) {
                prop_assert!(before.0 <= after.0);
                if before.0 == after.0 {
                    prop_assert_eq!(before, after, "{:?} {:?}", question, change);
                } else {
                    prop_assert_eq!(after.0.index, shard.index, "{:?}", change);
                }
            }
            before = after;
        }
    }
}

#[test]
fn an_update_changes_the_answers_of_its_own_surroundings_only() {
    let mut shard = Shard::new();
    for at in 0..5 {
        shard.store(vec![market::parse(&listing(at, at, 1, 7))]);
    }
    let questions = questions();
    let last = |shard: &Shard| -> Vec<u64> {
        let view = shard.state.view();
        questions.iter().map(|question| view.last_change(question).index).collect()
    };
    assert_eq!(last(&shard), [5, 5, 2, 4, 1, 5, 5, 2, 5]);
    shard.store(vec![market::parse(&listing(0, 0, 2, 8))]);
    assert_eq!(last(&shard), [6, 5, 6, 4, 6, 5, 6, 2, 6]);
    // What moves changes both places.
    shard.store(vec![market::parse(&listing(3, 4, 2, 8))]);
    assert_eq!(last(&shard), [7, 7, 6, 7, 6, 7, 7, 2, 7]);
}
