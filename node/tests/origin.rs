//! The stand-in origin over real sockets.
#![expect(
    clippy::unwrap_used,
    clippy::expect_used,
    reason = "a test ends at the first thing that is wrong"
)]

use std::{future::Future, sync::Arc, time::Duration};

use bytes::Bytes;
use http::{Method, Request, Response, StatusCode, header};
use http_body_util::{BodyExt as _, Full};
use hyper::body::Incoming;
use hyper_util::{
    client::legacy::{Client, connect::HttpConnector},
    rt::TokioExecutor,
};
use serde_json::{Value, json};
use tokio::{net::TcpListener, sync::oneshot, task::JoinHandle, time::timeout};
use tokio_util::sync::CancellationToken;

use hexpop_bench::dataset::Generator;
use hexpop_node::origin::{Faults, Limits, Platform, Source, serve};

const LISTINGS: u64 = 500;
/// Long enough for a loaded machine; nothing here waits for it unless it fails.
const PATIENCE: Duration = Duration::from_secs(20);

struct Origin {
    url: String,
    client: Client<HttpConnector, Full<Bytes>>,
    stop: oneshot::Sender<()>,
    server: JoinHandle<()>,
}

impl Origin {
    async fn start(limits: Limits) -> Self {
        let platform = Platform::new(limits, Faults::default(), jiff::Timestamp::now());
        let source = Source::Synthetic { seed: 42, listings: LISTINGS };
        platform.load(&source, &CancellationToken::new()).unwrap();
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let (stop, stopped) = oneshot::channel();
        let server = tokio::spawn(serve(listener, Arc::new(platform), async {
            drop(stopped.await);
        }));
        let client = Client::builder(TokioExecutor::new()).build_http();
        Self { url, client, stop, server }
    }

    async fn try_send(
        &self,
        method: Method,
        target: &str,
        headers: &[(&str, &str)],
        body: impl Into<Bytes>,
    ) -> Result<Response<Incoming>, hyper_util::client::legacy::Error> {
        let mut request = Request::builder().method(method).uri(format!("{}{target}", self.url));
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let request = request.body(Full::new(body.into())).unwrap();
        within(self.client.request(request)).await
    }

    async fn send(&self, method: Method, target: &str, body: &Value) -> Response<Incoming> {
        let headers = [("content-type", "application/json")];
        self.try_send(method, target, &headers, body.to_string()).await.unwrap()
    }

    async fn get(&self, target: &str, headers: &[(&str, &str)]) -> Response<Incoming> {
        self.try_send(Method::GET, target, headers, "").await.unwrap()
    }

    async fn json(&self, target: &str) -> Value {
        let response = self.get(target, &[]).await;
        assert_eq!(response.status(), StatusCode::OK, "{target}");
        serde_json::from_slice(&body(response).await).unwrap()
    }

    async fn stop(self) {
        self.stop.send(()).unwrap();
        within(self.server).await.unwrap();
    }
}

async fn within<T>(future: impl Future<Output = T>) -> T {
    timeout(PATIENCE, future).await.expect("took too long")
}

async fn body(response: Response<Incoming>) -> Bytes {
    within(response.into_body().collect()).await.unwrap().to_bytes()
}

fn field<'a>(response: &'a Response<Incoming>, name: &str) -> &'a str {
    response.headers().get(name).map_or("", |value| value.to_str().unwrap())
}

/// The lines of a feed as they come.
struct Lines {
    body: Incoming,
    buffer: Vec<u8>,
}

impl Lines {
    fn of(response: Response<Incoming>) -> Self {
        assert_eq!(response.status(), StatusCode::OK);
        Self { body: response.into_body(), buffer: Vec::new() }
    }

    /// The next line; `None` at the end.
    async fn next(&mut self) -> Option<Value> {
        loop {
            if let Some(end) = self.buffer.iter().position(|byte| *byte == b'\n') {
                let line: Vec<u8> = self.buffer.drain(..=end).collect();
                return Some(serde_json::from_slice(&line).unwrap());
            }
            match within(self.body.frame()).await {
                Some(Ok(frame)) => self.buffer.extend_from_slice(frame.data_ref().unwrap()),
                Some(Err(_)) | None => return None,
            }
        }
    }

    /// The next line that is no heartbeat.
    async fn change(&mut self) -> Value {
        loop {
            let line = self.next().await.expect("the feed ended");
            if line.get("heartbeat").is_none() {
                return line;
            }
        }
    }
}

#[tokio::test]
async fn listings_have_validators() {
    let origin = Origin::start(Limits::default()).await;
    let response = origin.get("/api/v1/listings/lst_000042", &[]).await;
    assert_eq!(response.status(), StatusCode::OK);
    assert_eq!(field(&response, "surrogate-key"), "listing:lst_000042");
    let etag = field(&response, "etag").to_owned();
    let listing: Value = serde_json::from_slice(&body(response).await).unwrap();
    assert_eq!(listing["id"], "lst_000042");

    let again = origin.get("/api/v1/listings/lst_000042", &[("if-none-match", &etag)]).await;
    assert_eq!(again.status(), StatusCode::NOT_MODIFIED);
    assert_eq!(field(&again, "etag"), etag);
    assert!(body(again).await.is_empty());

    let target = "/api/v1/listings/lst_000042";
    let head = origin.try_send(Method::HEAD, target, &[], "").await.unwrap();
    let length: usize = field(&head, "content-length").parse().unwrap();
    assert_eq!(length, listing.to_string().len());

    let missing = origin.get("/api/v1/listings/lst_999999", &[]).await;
    assert_eq!(missing.status(), StatusCode::NOT_FOUND);
    assert_eq!(field(&missing, "content-type"), "application/problem+json");
    origin.stop().await;
}

#[tokio::test]
async fn the_export_gives_every_listing_once_in_order() {
    let origin = Origin::start(Limits::default()).await;
    let mut after = String::new();
    let mut ids: Vec<String> = Vec::new();
    loop {
        let page = origin.get(&format!("/edge/v1/listings?after={after}&limit=120"), &[]).await;
        assert!(!field(&page, "hexpop-feed-cursor").is_empty());
        let text = String::from_utf8(body(page).await.to_vec()).unwrap();
        let page: Vec<Value> =
            text.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
        let Some(last) = page.last() else { break };
        after = last["id"].as_str().unwrap().to_owned();
        ids.extend(page.iter().map(|listing| listing["id"].as_str().unwrap().to_owned()));
    }
    assert_eq!(ids.len() as u64, LISTINGS);
    assert!(ids.is_sorted());

    let milan = origin.get("/edge/v1/listings?territory=IT:lombardia&limit=10000", &[]).await;
    let text = String::from_utf8(body(milan).await.to_vec()).unwrap();
    assert!(text.lines().count() > 10);
    assert!(text.lines().all(|line| line.contains("\"region\":\"lombardia\"")));
    for wrong in ["limit=0", "limit=10001", "limit=x", "territory=IT"] {
        let refused = origin.get(&format!("/edge/v1/listings?{wrong}"), &[]).await;
        assert_eq!(refused.status(), StatusCode::UNPROCESSABLE_ENTITY, "{wrong}");
    }
    origin.stop().await;
}

#[tokio::test]
async fn the_feed_tells_what_happened_after_the_export() {
    let origin = Origin::start(Limits::default()).await;
    let export = origin.get("/edge/v1/listings?limit=1", &[]).await;
    let cursor = field(&export, "hexpop-feed-cursor").to_owned();
    let mut feed =
        Lines::of(origin.get(&format!("/edge/v1/changes?since={cursor}&wait=60"), &[]).await);
    assert_eq!(feed.next().await.unwrap(), json!({"cursor": cursor, "heartbeat": true}));

    let old = origin.json("/api/v1/listings/lst_000042").await;
    let target = "/api/v1/listings/lst_000042";
    let patched = origin.send(Method::PATCH, target, &json!({"price": {"amount": 1}})).await;
    assert_eq!(patched.status(), StatusCode::OK);
    let new: Value = serde_json::from_slice(&body(patched).await).unwrap();
    assert_eq!(new["version"], old["version"].as_u64().unwrap() + 1);
    let change = feed.change().await;
    assert_eq!(change["listing"], new);

    let deleted = origin.try_send(Method::DELETE, target, &[], "").await.unwrap();
    assert_eq!(deleted.status(), StatusCode::NO_CONTENT);
    let deletion = feed.change().await;
    assert_eq!(deletion["delete"], "lst_000042");
    assert_eq!(deletion["version"], new["version"].as_u64().unwrap() + 1);

    let mut listing = new;
    listing.as_object_mut().unwrap().retain(|name, _| !["id", "version"].contains(&name.as_str()));
    let created = origin.send(Method::POST, "/api/v1/listings", &listing).await;
    assert_eq!(created.status(), StatusCode::CREATED);
    let location = field(&created, "location").to_owned();
    let creation = feed.change().await;
    assert_eq!(origin.json(&location).await, creation["listing"]);

    let since = change["cursor"].as_str().unwrap();
    let mut later =
        Lines::of(origin.get(&format!("/edge/v1/changes?since={since}&wait=0"), &[]).await);
    assert_eq!(later.next().await.unwrap(), deletion);
    assert_eq!(later.next().await.unwrap(), creation);
    assert_eq!(later.next().await, None);

    let target = format!("/edge/v1/changes?since={cursor}&wait=0&territory=GR:attiki");
    let mut elsewhere = Lines::of(origin.get(&target, &[]).await);
    let expected = json!({"cursor": creation["cursor"], "heartbeat": true});
    assert_eq!(elsewhere.next().await.unwrap(), expected);
    origin.stop().await;
    assert_eq!(feed.next().await, None);
}

#[tokio::test]
async fn a_cursor_that_is_too_old_means_export_again() {
    let limits = Limits { feed_changes: 2, feed_clients: 1, ..Limits::default() };
    let origin = Origin::start(limits).await;
    let export = origin.get("/edge/v1/listings?limit=1", &[]).await;
    let cursor = field(&export, "hexpop-feed-cursor").to_owned();
    for amount in 1..=3 {
        let patch = json!({"price": {"amount": amount, "currency": "EUR"}});
        let done = origin.send(Method::PATCH, "/api/v1/listings/lst_000001", &patch).await;
        assert_eq!(done.status(), StatusCode::OK);
    }
    let gone = origin.get(&format!("/edge/v1/changes?since={cursor}"), &[]).await;
    assert_eq!(gone.status(), StatusCode::GONE);
    let problem: Value = serde_json::from_slice(&body(gone).await).unwrap();
    assert_eq!(problem["type"], "urn:hexpop:problem:cursor-expired");
    let foreign = origin.get("/edge/v1/changes?since=1-1", &[]).await;
    assert_eq!(foreign.status(), StatusCode::GONE);
    let malformed = origin.get("/edge/v1/changes?since=soon", &[]).await;
    assert_eq!(malformed.status(), StatusCode::UNPROCESSABLE_ENTITY);

    let first = origin.get("/edge/v1/changes", &[]).await;
    assert_eq!(first.status(), StatusCode::OK);
    let second = origin.get("/edge/v1/changes", &[]).await;
    assert_eq!(second.status(), StatusCode::SERVICE_UNAVAILABLE);
    assert!(!field(&second, "retry-after").is_empty());
    drop(first);
    origin.stop().await;
}

#[tokio::test]
async fn pages_may_be_cached_and_requests_are_counted() {
    let origin = Origin::start(Limits::default()).await;
    let page = origin.get("/it/vendita/milano", &[]).await;
    assert_eq!(page.status(), StatusCode::OK);
    assert_eq!(field(&page, "cache-control"), "max-age=60, stale-while-revalidate=30");
    assert!(field(&page, "surrogate-key").starts_with("page:list city:milano listing:lst_"));
    let (etag, modified) =
        (field(&page, "etag").to_owned(), field(&page, "last-modified").to_owned());
    assert!(String::from_utf8(body(page).await.to_vec()).unwrap().contains("<article>"));
    for condition in [("if-none-match", &etag), ("if-modified-since", &modified)] {
        let (name, value) = condition;
        let unchanged = origin.get("/it/vendita/milano", &[(name, value)]).await;
        assert_eq!(unchanged.status(), StatusCode::NOT_MODIFIED, "{name}");
    }
    let stats = origin.json("/edge/v1/stats?path=/it/vendita/milano").await;
    assert_eq!(stats["requests"], 3);

    let image = origin.get("/listings/lst_000042/images/1", &[("range", "bytes=0-1")]).await;
    assert_eq!(image.status(), StatusCode::PARTIAL_CONTENT);
    assert!(field(&image, "cache-control").contains("immutable"));
    assert_eq!(body(image).await, "BM");
    let listing = origin.json("/api/v1/listings/lst_000042").await;
    let agent = listing["agentId"].as_str().unwrap();
    assert!(origin.json(&format!("/agents/{agent}")).await["listings"].as_u64() >= Some(1));
    let estimate = origin.json("/valuations/estimate?city=Milano&sqMeters=80").await;
    assert!(estimate["estimate"].as_f64() > Some(80_000.0), "{estimate}");
    for missing in ["/it/vendita/atlantis", "/xx/vendita/milano", "/agents/nobody", "/a/b/c/d"] {
        assert_eq!(origin.get(missing, &[]).await.status(), StatusCode::NOT_FOUND, "{missing}");
    }
    origin.stop().await;
}

#[tokio::test]
async fn searches_have_the_shapes_of_the_mesh_and_see_writes() {
    let origin = Origin::start(Limits::default()).await;
    let on_offer = Generator::new(42, LISTINGS)
        .filter(|listing| listing["listingType"] == "sale" && listing["status"] == "active")
        .count();
    let mut request = json!({"listingType": "sale", "sortBy": "price_asc", "limit": 50});
    let mut seen: Vec<(f64, String)> = Vec::new();
    loop {
        let page = origin.send(Method::POST, "/api/v1/search", &request).await;
        assert_eq!(page.status(), StatusCode::OK);
        let page: Value = serde_json::from_slice(&body(page).await).unwrap();
        assert_eq!(page["pagination"]["total"], on_offer);
        assert_eq!(page["shards"], json!([]));
        for hit in page["data"].as_array().unwrap() {
            let amount = hit["price"]["amount"].as_f64().unwrap();
            seen.push((amount, hit["id"].as_str().unwrap().to_owned()));
        }
        if page["pagination"]["hasMore"] == false {
            break;
        }
        request["cursor"] = page["pagination"]["cursor"].clone();
    }
    assert_eq!(seen.len(), on_offer);
    assert!(seen.is_sorted());

    let flat = "/api/v1/listings?listingType=sale&facets=propertyTypes&territories=AT:wien";
    let facets = origin.json(flat).await["facets"]["propertyTypes"].clone();
    assert!(facets[0]["count"].as_u64() >= Some(1), "{facets}");
    let target = "/api/v1/listings/lst_000042";
    let patch = json!({"price": {"amount": 3}, "status": "active"});
    origin.send(Method::PATCH, target, &patch).await;
    let cheap = origin.json("/api/v1/listings?listingType=sale&priceMax=3").await;
    assert_eq!(cheap["data"][0]["id"], "lst_000042");
    origin.try_send(Method::DELETE, target, &[], "").await.unwrap();
    let gone = origin.json("/api/v1/listings?listingType=sale&priceMax=3").await;
    assert_eq!(gone["pagination"]["total"], 0);

    let map = json!({"listingType": "sale", "resolution": 5});
    let map = origin.send(Method::POST, "/api/v1/search/map", &map).await;
    let map: Value = serde_json::from_slice(&body(map).await).unwrap();
    assert!(map["cells"].as_array().unwrap().len() > 10);
    let places = origin.json("/api/v1/search/suggest?q=brer").await;
    assert_eq!(places["suggestions"][0]["text"], "Brera", "{places}");

    let wrong = json!({"listingType": "sale", "priceMin": -1});
    let wrong = origin.send(Method::POST, "/api/v1/search", &wrong).await;
    assert_eq!(wrong.status(), StatusCode::UNPROCESSABLE_ENTITY);
    let wrong: Value = serde_json::from_slice(&body(wrong).await).unwrap();
    assert_eq!(wrong["errors"][0]["pointer"], "#/priceMin");
    let malformed = [("content-type", "application/json")];
    let refused = origin.try_send(Method::POST, "/api/v1/search", &malformed, "{").await.unwrap();
    assert_eq!(refused.status(), StatusCode::BAD_REQUEST);
    origin.stop().await;
}

#[tokio::test]
async fn searches_have_titles_in_the_language_asked_for() {
    let origin = Origin::start(Limits::default()).await;
    let all = "/api/v1/listings?listingType=sale&limit=200";
    for (wanted, language, tags) in [
        ("de-AT, it;q=0.5", "de-at", &["de", "it", "en"][..]),
        ("it", "it", &["it", "en"]),
        ("", "en", &["en"]),
    ] {
        let answer = origin.get(all, &[("accept-language", wanted)]).await;
        assert_eq!(field(&answer, "content-language"), language);
        assert_eq!(field(&answer, "vary"), "Accept-Language");
        let page: Value = serde_json::from_slice(&body(answer).await).unwrap();
        for hit in page["data"].as_array().unwrap().iter().step_by(20) {
            let id = hit["id"].as_str().unwrap();
            let titles = origin.json(&format!("/api/v1/listings/{id}")).await["title"].clone();
            let expected = tags.iter().find_map(|tag| titles.get(tag));
            let first =
                || titles.as_object()?.iter().min_by_key(|(tag, _)| *tag).map(|(_, text)| text);
            let expected = expected.or_else(first);
            assert_eq!(Some(&hit["title"]), expected, "{id}");
        }
    }
    origin.stop().await;
}

#[tokio::test]
async fn probes_answer_as_asked() {
    let origin = Origin::start(Limits::default()).await;
    let status = async |target: &str| origin.get(target, &[]).await.status().as_u16();
    assert_eq!(status("/status/418").await, 418);
    assert_eq!(status("/status/99").await, 404);
    assert_eq!(status("/slow?ms=0").await, 200);
    assert_eq!(status("/slow?ms=60001").await, 422);
    assert_eq!(status("/bytes/999999999999").await, 404);
    assert_eq!(body(origin.get("/bytes/200001", &[]).await).await.len(), 200_001);
    let chunked = origin.get("/bytes/70000?chunked&cache-control=max-age%3D9", &[]).await;
    assert_eq!(field(&chunked, "content-length"), "");
    assert_eq!(field(&chunked, "cache-control"), "max-age=9");
    assert_eq!(body(chunked).await.len(), 70_000);
    let echo = origin.send(Method::POST, "/echo?a=1", &json!({"b": 2})).await;
    let echo: Value = serde_json::from_slice(&body(echo).await).unwrap();
    assert_eq!((&echo["method"], &echo["target"]), (&json!("POST"), &json!("/echo?a=1")));
    assert_eq!((&echo["body"], &echo["bodyBytes"]), (&json!("{\"b\":2}"), &json!(7)));
    assert_eq!(echo["headers"]["content-type"], json!(["application/json"]));
    let vary = origin.get("/vary", &[("accept-language", "it")]).await;
    assert_eq!(field(&vary, "vary"), "Accept-Language");
    assert_eq!(body(vary).await, "it\n");
    let cookie = origin.get("/set-cookie", &[]).await;
    assert!(cookie.headers().contains_key(header::SET_COOKIE));
    origin.stop().await;
}

#[tokio::test]
async fn faults_come_and_go() {
    let origin = Origin::start(Limits::default()).await;
    let faults = "/edge/v1/faults";
    let mut feed = Lines::of(origin.get("/edge/v1/changes?wait=60", &[]).await);
    assert!(feed.next().await.is_some());
    let set = origin.send(Method::PUT, faults, &json!({"down": true})).await;
    assert_eq!(set.status(), StatusCode::OK);
    assert!(origin.try_send(Method::GET, "/", &[], "").await.is_err());
    assert_eq!(feed.next().await, None);

    origin.send(Method::PUT, faults, &json!({"error": 1.0, "prefix": "/it/"})).await;
    let failed = origin.get("/it/vendita/milano", &[]).await;
    assert_eq!(failed.status(), StatusCode::INTERNAL_SERVER_ERROR);
    assert_eq!(origin.get("/", &[]).await.status(), StatusCode::OK);
    for wrong in [json!({"error": 2}), json!({"slow": 5}), json!({"dwon": true})] {
        let refused = origin.send(Method::PUT, faults, &wrong).await;
        assert_eq!(refused.status(), StatusCode::UNPROCESSABLE_ENTITY, "{wrong}");
    }

    origin.send(Method::PUT, faults, &json!({"slow": "10m"})).await;
    let slow = origin.get("/private", &[]);
    assert!(timeout(Duration::from_millis(50), slow).await.is_err());
    let cleared = origin.try_send(Method::DELETE, faults, &[], "").await.unwrap();
    assert_eq!(cleared.status(), StatusCode::NO_CONTENT);
    assert_eq!(origin.get("/private", &[]).await.status(), StatusCode::OK);
    origin.stop().await;
}

#[tokio::test]
async fn wrong_requests_are_refused_and_named() {
    let origin = Origin::start(Limits::default()).await;
    let create = "/api/v1/listings";
    let json_type = [("content-type", "application/json")];
    let post = async |headers: &[(&str, &str)], body: &str| {
        let body = body.to_owned();
        origin.try_send(Method::POST, create, headers, body).await.unwrap().status().as_u16()
    };
    assert_eq!(post(&json_type, "{").await, 400);
    assert_eq!(post(&json_type, "[]").await, 422);
    assert_eq!(post(&json_type, "{}").await, 422);
    assert_eq!(post(&[], "{}").await, 415);
    assert_eq!(post(&json_type, &" ".repeat(2 << 20)).await, 413);
    let put = origin.send(Method::PUT, "/api/v1/listings/lst_000042", &json!({})).await;
    assert_eq!(put.status(), StatusCode::METHOD_NOT_ALLOWED);
    assert_eq!(field(&put, "allow"), "DELETE, GET, HEAD, PATCH");
    let headers = [json_type[0], ("if-match", "\"old\"")];
    let target = "/api/v1/listings/lst_000042";
    let changed = origin.try_send(Method::PATCH, target, &headers, "{}").await.unwrap();
    assert_eq!(changed.status(), StatusCode::PRECONDITION_FAILED);
    assert!(!field(&changed, "etag").is_empty());
    assert_eq!(origin.get("/%zz", &[]).await.status(), StatusCode::BAD_REQUEST);
    let erased = origin.send(Method::POST, "/edge/v1/erasures", &json!({"userId": "u1"})).await;
    assert_eq!(erased.status(), StatusCode::OK);
    assert_eq!(origin.json("/edge/v1/erasures").await["erasures"][0]["userId"], "u1");
    let nobody = origin.send(Method::POST, "/edge/v1/erasures", &json!({"userId": ""})).await;
    assert_eq!(nobody.status(), StatusCode::UNPROCESSABLE_ENTITY);
    origin.stop().await;
}

#[tokio::test]
async fn equal_requests_at_once_are_counted_one_by_one() {
    let origin = Origin::start(Limits::default()).await;
    let requests = (0..8).map(|_| origin.get("/slow?ms=100", &[]));
    futures::future::join_all(requests).await;
    let stats = origin.json("/edge/v1/stats").await;
    assert_eq!(stats["paths"]["/slow"], 8);
    assert!(stats["inFlightPeak"].as_u64() >= Some(2), "{stats}");
    origin.try_send(Method::DELETE, "/edge/v1/stats", &[], "").await.unwrap();
    assert_eq!(origin.json("/edge/v1/stats").await["requests"], 0);
    origin.stop().await;
}
