//! What is kept of answers to searches: as new as the replica that would answer, and no older.

use std::sync::Arc;

use hexpop_router::{Answer, Context, Level, Routed, full};
use hexpop_shard::{MapRequest, SearchAnswer, SearchRequest, SearchRules, SuggestRequest};

use crate::{
    mesh::{LINE_BYTES_MAX, Mesh, TestRouter, complete},
    origin::{TestOrigin, port},
};

const TERRITORIES: [&str; 3] = ["DE:berlin", "IT:lazio", "IT:lombardia"];
const NEAR: &str = r#"{"listingType":"sale","geoFilter":{"type":"radius","center":{"lat":45.46,"lng":9.19},"radiusKm":10},"facets":["priceStats"]}"#;

/// A listing in Lombardia, so many degrees north of Milano.
fn line(id: u64, version: u64, north: f64, price: u64) -> String {
    let lat = 45.46 + north;
    format!(
        r#"{{"id":"l{id}","listingType":"sale","status":"active","country":"IT","region":"lombardia","city":"Milano","version":{version},"price":{{"amount":{price},"currency":"EUR"}},"location":{{"lat":{lat},"lng":9.19}}}}"#
    )
}

async fn ingest(router: &TestRouter, lines: &[String]) {
    let body = full(lines.join("\n").into());
    router.ingest(body, LINE_BYTES_MAX, &Context::default()).await.unwrap();
}

async fn loaded() -> (Arc<Mesh>, Arc<TestRouter>) {
    let mesh = Mesh::new(3, &TERRITORIES);
    let router = mesh.router(1, port(&TestOrigin::none()));
    ingest(&router, &[line(1, 1, 0.0, 100), line(2, 1, 0.01, 200), line(3, 1, 2.0, 300)]).await;
    complete(&router).await;
    (mesh, router)
}

fn request(json: &str) -> SearchRequest {
    SearchRequest::from_json(json.as_bytes(), &SearchRules::default()).unwrap()
}

async fn search(router: &TestRouter, json: &str, level: Option<Level>) -> Answer<SearchAnswer> {
    let context = Context { level, ..Context::default() };
    match router.search(&request(json), &context).await.unwrap() {
        Routed::Mesh(answer) => answer,
        Routed::Origin(_) => panic!("from the origin"),
    }
}

fn is_kept(answer: &Answer<SearchAnswer>) -> bool {
    answer.cache_status.ends_with("; hit; detail=result")
}

/// What of an answer does not say when it was made.
fn content(answer: &SearchAnswer) -> String {
    let answer = SearchAnswer { shards: Vec::new(), ..answer.clone() };
    serde_json::to_string(&answer).unwrap()
}

#[tokio::test(start_paused = true)]
async fn an_answer_is_kept_until_something_changes_where_it_looks() {
    let (mesh, router) = loaded().await;
    let first = search(&router, NEAR, None).await;
    assert!(!is_kept(&first), "{}", first.cache_status);
    let again = search(&router, NEAR, None).await;
    assert!(is_kept(&again), "{}", again.cache_status);
    assert_eq!(content(&again.value), content(&first.value));
    assert_eq!(again.validator, first.validator);

    // An update elsewhere in the shard: the answer holds, and says that it is of now.
    ingest(&router, &[line(3, 2, 2.0, 301)]).await;
    let elsewhere = search(&router, NEAR, None).await;
    assert!(is_kept(&elsewhere));
    assert_eq!(elsewhere.validator, first.validator);
    let index = |answer: &Answer<SearchAnswer>| {
        let shard = mesh.shard_of("IT:lombardia");
        let stamp = answer.value.shards.iter().find(|stamp| stamp.id == shard).unwrap();
        stamp.as_of.index
    };
    assert!(index(&elsewhere) > index(&again));
    let everywhere = r#"{"listingType":"sale"}"#;
    assert_eq!(search(&router, everywhere, None).await.value.pagination.total, 3);

    // One within.
    ingest(&router, &[line(2, 2, 0.01, 250)]).await;
    let within = search(&router, NEAR, None).await;
    assert!(!is_kept(&within));
    assert_ne!(within.validator, first.validator);
    assert_ne!(content(&within.value), content(&first.value));
    // And one that goes away.
    ingest(&router, &[r#"{"delete":"l2","version":3}"#.to_owned()]).await;
    assert_eq!(search(&router, NEAR, None).await.value.pagination.total, 1);
}

#[tokio::test(start_paused = true)]
async fn equal_questions_share_an_answer_however_they_are_written() {
    let (_mesh, router) = loaded().await;
    search(&router, r#"{"listingType":"sale","territories":["IT"],"limit":20}"#, None).await;
    let other = r#"{"sortBy":"newest","limit":20,"territories":["IT"],"listingType":"sale"}"#;
    assert!(!is_kept(&search(&router, other, None).await), "another order");
    let default = r#"{"territories":["IT"],"listingType":"sale"}"#;
    assert!(is_kept(&search(&router, default, None).await));
    let flat = SearchRequest::from_query_string(
        "territories=IT&listingType=sale&limit=20",
        &SearchRules::default(),
    );
    match router.search(&flat.unwrap(), &Context::default()).await.unwrap() {
        Routed::Mesh(answer) => assert!(is_kept(&answer)),
        Routed::Origin(_) => panic!("from the origin"),
    }
}

#[tokio::test(start_paused = true)]
async fn nodes_agree_on_validators_and_a_strong_read_is_one() {
    let (mesh, router) = loaded().await;
    let other = mesh.router(2, port(&TestOrigin::none()));
    let answers = [search(&router, NEAR, None).await, search(&other, NEAR, None).await];
    assert!(answers[0].validator.is_some());
    assert_eq!(answers[0].validator, answers[1].validator);
    let strong = search(&other, NEAR, Some(Level::Strong)).await;
    assert_eq!(strong.validator, answers[0].validator);
    assert_eq!(strong.given.level, Level::Strong);
    ingest(&router, &[line(1, 9, 0.0, 99)]).await;
    let strong = search(&other, NEAR, Some(Level::Strong)).await;
    assert!(content(&strong.value).contains("99"));
    assert_ne!(strong.validator, answers[0].validator);
}

#[tokio::test(start_paused = true)]
async fn maps_and_suggestions_are_kept_too() {
    let (_mesh, router) = loaded().await;
    let map = br#"{"listingType":"sale","resolution":7}"#;
    let map = MapRequest::from_json(map, &SearchRules::default()).unwrap();
    let suggest = SuggestRequest::from_query_string("q=mil").unwrap();
    let mut before: Option<(String, Option<u64>, Option<u64>)> = None;
    for (round, kept) in [(1, false), (2, true)] {
        let context = Context::default();
        let Routed::Mesh(map) = router.map_clusters(&map, &context).await.unwrap() else {
            panic!("from the origin")
        };
        let Routed::Mesh(places) = router.suggest(&suggest, &context).await.unwrap() else {
            panic!("from the origin")
        };
        for status in [&map.cache_status, &places.cache_status] {
            assert_eq!(status.ends_with("detail=result"), kept, "{round} {status}");
        }
        let cells = format!("{:?} {:?}", map.value.cells, places.value.suggestions);
        let now = (cells, map.validator, places.validator);
        assert!(before.is_none_or(|before| before == now), "{round}");
        before = Some(now);
    }
}

#[tokio::test(start_paused = true)]
async fn without_a_complete_shard_there_is_no_answer_and_with_all_a_validator() {
    let mesh = Mesh::new(3, &TERRITORIES);
    let router = mesh.router(1, port(&TestOrigin::unreachable()));
    ingest(&router, &[line(1, 1, 0.0, 100)]).await;
    let everywhere = r#"{"listingType":"sale"}"#;
    let incomplete = router.search(&request(everywhere), &Context::default()).await;
    assert!(incomplete.is_err(), "nothing is complete");
    complete(&router).await;
    assert!(search(&router, everywhere, None).await.validator.is_some());
}

/// The oracle is a router that keeps nothing.
#[tokio::test(start_paused = true)]
async fn what_is_kept_is_what_would_be_found() {
    let mesh = Mesh::new(3, &TERRITORIES);
    let keeps = mesh.router(1, port(&TestOrigin::none()));
    let forgets =
        mesh.router_with(1, port(&TestOrigin::none()), |options| options.results_bytes_max = 0);
    complete(&keeps).await;
    let questions = [
        NEAR,
        r#"{"listingType":"sale","sortBy":"price_asc","limit":3}"#,
        r#"{"listingType":"sale","priceMin":150,"facets":["priceStats"]}"#,
        r#"{"listingType":"sale","geoFilter":{"type":"bbox","topLeft":{"lat":47.5,"lng":9.0},"bottomRight":{"lat":46.4,"lng":9.3}}}"#,
    ];
    let (mut seed, mut kept) = (7_u64, 0);
    let mut next = |below: u64| {
        seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (seed >> 33) % below
    };
    for version in 1..150 {
        let (id, north, price) = (next(12), next(4) as f64 * 0.5, 100 + next(10) * 20);
        if next(3) == 0 {
            ingest(&keeps, &[line(id, version, north, price)]).await;
        }
        if next(12) == 0 {
            ingest(&keeps, &[format!(r#"{{"delete":"l{id}","version":{version}}}"#)]).await;
        }
        for question in questions {
            let (one, other) =
                (search(&keeps, question, None).await, search(&forgets, question, None).await);
            assert_eq!(content(&one.value), content(&other.value), "{version} {question}");
            assert_eq!(one.validator, other.validator);
            assert!(!is_kept(&other));
            kept += u32::from(is_kept(&one));
        }
    }
    assert!(kept > 200, "{kept} of {} were kept", 4 * 149);
}
