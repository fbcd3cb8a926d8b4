use std::sync::{Arc, atomic::Ordering};

use hexpop_router::{Context, Fallback, RouteError, Routed, full};
use hexpop_shard::{MapRequest, SearchAnswer, SearchRequest, SearchRules, SuggestRequest};
use http::{HeaderMap, Method};

use crate::{
    mesh::{Mesh, TestRouter, complete, listing},
    origin::{TestOrigin, client, port, respond, seen},
};

const TERRITORIES: [&str; 3] = ["DE:berlin", "IT:lazio", "IT:lombardia"];

fn context() -> Context {
    let fallback = Fallback {
        method: Method::POST,
        target: "/api/v1/search".to_owned(),
        headers: HeaderMap::new(),
        body: bytes::Bytes::from_static(b"{}"),
        client: client(),
    };
    Context { fallback: Some(fallback), ..Context::default() }
}

fn search(json: &str) -> SearchRequest {
    SearchRequest::from_json(json.as_bytes(), &SearchRules::default()).unwrap()
}

async fn loaded(origin: &Arc<TestOrigin>) -> (Arc<Mesh>, Arc<TestRouter>) {
    let mesh = Mesh::new(3, &TERRITORIES);
    let router = mesh.router(1, port(origin));
    let lines: Vec<String> = (0..90)
        .map(|n| listing(&format!("l{n:02}"), TERRITORIES[n % 3], 1, 1000 + n as u64))
        .collect();
    router
        .ingest(full(lines.join("\n").into()), crate::mesh::LINE_BYTES_MAX, &Context::default())
        .await
        .unwrap();
    (mesh, router)
}

async fn answer(router: &TestRouter, request: &SearchRequest) -> Result<SearchAnswer, RouteError> {
    match router.search(request, &context()).await? {
        Routed::Mesh(answer) => {
            assert_eq!(answer.given.vector.len(), answer.value.shards.len());
            Ok(answer.value)
        }
        Routed::Origin(_) => panic!("from the origin"),
    }
}

#[tokio::test(start_paused = true)]
async fn pages_over_many_shards_neither_skip_nor_repeat() {
    let (_mesh, router) = loaded(&TestOrigin::none()).await;
    complete(&router).await;
    let mut cursor = String::new();
    let mut ids = Vec::new();
    loop {
        let request = search(&format!(
            r#"{{"listingType":"sale","sortBy":"price_asc","limit":20,"facets":["priceStats"]{cursor}}}"#
        ));
        let page = answer(&router, &request).await.unwrap();
        assert_eq!((page.pagination.total, page.partial), (90, false));
        assert_eq!(page.facets.price_stats.unwrap()[0].count, 90);
        for hit in &page.data {
            let hit: serde_json::Value = serde_json::from_str(hit.get()).unwrap();
            ids.push(hit["id"].as_str().unwrap().to_owned());
        }
        match page.pagination.cursor {
            Some(next) => cursor = format!(r#","cursor":"{next}""#),
            None => break,
        }
    }
    let expected: Vec<String> = (0..90).map(|n| format!("l{n:02}")).collect();
    assert_eq!(ids, expected);
}

#[tokio::test(start_paused = true)]
async fn only_shards_that_can_hold_a_match_are_asked() {
    let (mesh, router) = loaded(&TestOrigin::none()).await;
    complete(&router).await;
    let all = answer(&router, &search(r#"{"listingType":"sale"}"#)).await.unwrap();
    assert!(all.shards.len() >= 3);
    let one = search(r#"{"listingType":"sale","territories":["IT:lazio"]}"#);
    let one = answer(&router, &one).await.unwrap();
    assert_eq!((one.pagination.total, one.shards.len()), (30, 1));
    assert_eq!(one.shards[0].id, mesh.shard_of("IT:lazio"));
    let italy = search(r#"{"listingType":"sale","territories":["IT"]}"#);
    assert_eq!(answer(&router, &italy).await.unwrap().pagination.total, 60);
    let map = br#"{"listingType":"sale","resolution":5}"#;
    let map = MapRequest::from_json(map, &SearchRules::default()).unwrap();
    let Routed::Mesh(map) = router.map_clusters(&map, &context()).await.unwrap() else {
        panic!("from the origin")
    };
    assert_eq!(map.value.cells.iter().map(|cell| cell.count).sum::<u64>(), 90);
    assert!(map.given.to_string().contains("shards="));
    let suggest = SuggestRequest::from_query_string("q=la").unwrap();
    assert!(matches!(router.suggest(&suggest, &context()).await.unwrap(), Routed::Mesh(_)));
}

#[tokio::test(start_paused = true)]
async fn a_map_of_too_many_cells_is_refused_over_all_shards() {
    let (_mesh, router) = loaded(&TestOrigin::none()).await;
    complete(&router).await;
    let map = |limit: usize| {
        let json = format!(r#"{{"listingType":"sale","resolution":9,"limit":{limit}}}"#);
        MapRequest::from_json(json.as_bytes(), &SearchRules::default()).unwrap()
    };
    let Routed::Mesh(all) = router.map_clusters(&map(2_000), &context()).await.unwrap() else {
        panic!("from the origin")
    };
    let cells = all.value.cells.len();
    assert!(cells > 1 && all.value.shards.len() > 1);
    assert!(router.map_clusters(&map(cells), &context()).await.is_ok());
    let error = router.map_clusters(&map(cells - 1), &context()).await.unwrap_err();
    assert_eq!((error.problem.slug(), error.status), ("invalid-search", 422));
    assert!(error.detail.starts_with("#/resolution: gives"), "{}", error.detail);
}

#[tokio::test(start_paused = true)]
async fn the_median_of_a_cell_that_shards_share_is_that_of_all_its_listings() {
    let mesh = Mesh::new(3, &TERRITORIES);
    let router = mesh.router(1, port(&TestOrigin::none()));
    let lines: Vec<String> = (0..90)
        .map(|n| {
            let (country, region) = TERRITORIES[n % 3].split_once(':').unwrap();
            let price = 1_000 + n;
            format!(
                r#"{{"id":"l{n}","listingType":"sale","status":"active","country":"{country}","region":"{region}","price":{{"amount":{price},"currency":"EUR"}},"location":{{"lat":45.46,"lng":9.19}}}}"#
            )
        })
        .collect();
    let lines = full(lines.join("\n").into());
    router.ingest(lines, crate::mesh::LINE_BYTES_MAX, &Context::default()).await.unwrap();
    complete(&router).await;
    for resolution in [3, 9] {
        let json = format!(r#"{{"listingType":"sale","resolution":{resolution}}}"#);
        let request = MapRequest::from_json(json.as_bytes(), &SearchRules::default()).unwrap();
        let Routed::Mesh(map) = router.map_clusters(&request, &context()).await.unwrap() else {
            panic!("from the origin")
        };
        let [cell] = map.value.cells.as_slice() else { panic!("{:?}", map.value.cells) };
        assert_eq!(
            (cell.count, cell.median_price, cell.avg_price),
            (90, Some(1_044.5), Some(1_044.5))
        );
    }
}

#[tokio::test(start_paused = true)]
async fn a_mesh_that_is_not_loaded_lets_the_origin_answer() {
    let origin = TestOrigin::new(|_| respond(200, &[], "from origin"));
    let (_mesh, router) = loaded(&origin).await;
    let request = search(r#"{"listingType":"sale"}"#);
    let Routed::Origin(response) = router.search(&request, &context()).await.unwrap() else {
        panic!("not from the origin")
    };
    assert_eq!(seen(response).await.2, "from origin");
    let got = origin.last();
    assert_eq!((got.method, got.body.as_ref()), (Method::POST, &b"{}"[..]));
    origin.down.store(true, Ordering::Relaxed);
    let error = router.search(&request, &context()).await.unwrap_err();
    assert_eq!(error.status, 503);
    assert!(error.retry_after.is_some());
    complete(&router).await;
    assert!(answer(&router, &request).await.is_ok());
}
