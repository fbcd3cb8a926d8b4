//! The HTTP side of the load generator: data ports used in turn over kept connections.

use std::{
    sync::atomic::{AtomicU64, AtomicUsize, Ordering},
    time::Duration,
};

use bytes::Bytes;
use hexpop_bench::{Answer, Outcome, Request, Source, Target, TargetReport};
use http::{HeaderMap, Method, header};
use http_body_util::{BodyExt as _, Full, Limited};
use hyper_util::{
    client::legacy::{Client as HyperClient, connect::HttpConnector},
    rt::TokioExecutor,
};
use parking_lot::Mutex;
use serde_json::{Value, json};
use sfv::{List, ListEntry, Parser};
use tokio::time::{Instant, timeout_at};

use super::super::{client::Client, error::CliResult, listings::encode};

/// How long an address that refused a connection gets no requests.
const REST: Duration = Duration::from_secs(1);
/// How long a connection may take to come about.
const CONNECT_MAX: Duration = Duration::from_secs(2);
/// An answer larger than this counts as a failure.
const ANSWER_BYTES_MAX: usize = 64 << 20;

/// Several data ports of one mesh, used in turn.
#[derive(Debug)]
pub(super) struct Targets {
    http: HyperClient<HttpConnector, Full<Bytes>>,
    bases: Vec<Base>,
    next: AtomicUsize,
    authorization: Option<String>,
    ttl: Duration,
}

/// One data port.
#[derive(Debug)]
struct Base {
    url: String,
    rests_until: Mutex<Option<Instant>>,
    sent: AtomicU64,
    unreachable: AtomicU64,
    skipped: AtomicU64,
}

impl Base {
    fn rests(&self, now: Instant) -> bool {
        self.rests_until.lock().is_some_and(|until| now < until)
    }
}

impl Targets {
    /// Targets at these addresses; sessions are written with this time to live.
    pub(super) fn new(bases: &[String], token: Option<String>, ttl: Duration) -> CliResult<Self> {
        let bases = bases
            .iter()
            .map(|base| {
                Ok(Base {
                    // Checks the address.
                    url: Client::new(base, None)?.base().to_owned(),
                    rests_until: Mutex::new(None),
                    sent: AtomicU64::new(0),
                    unreachable: AtomicU64::new(0),
                    skipped: AtomicU64::new(0),
                })
            })
            .collect::<CliResult<_>>()?;
        let mut connector = HttpConnector::new();
        connector.set_nodelay(true);
        connector.set_connect_timeout(Some(CONNECT_MAX));
        Ok(Self {
            http: HyperClient::builder(TokioExecutor::new()).build(connector),
            bases,
            next: AtomicUsize::new(0),
            authorization: token.map(|token| format!("Bearer {token}")),
            ttl,
        })
    }

    /// What was counted for each address.
    pub(super) fn reports(&self) -> Vec<TargetReport> {
        self.bases
            .iter()
            .map(|base| TargetReport {
                url: base.url.clone(),
                sent: base.sent.load(Ordering::Relaxed),
                unreachable: base.unreachable.load(Ordering::Relaxed),
                skipped: base.skipped.load(Ordering::Relaxed),
            })
            .collect()
    }

    /// Starts counting anew.
    pub(super) fn forget_counts(&self) {
        for base in &self.bases {
            for count in [&base.sent, &base.unreachable, &base.skipped] {
                count.store(0, Ordering::Relaxed);
            }
        }
    }

    /// The addresses in the order in which this request tries them: from whose turn it is, those that
    /// rest left out, unless all do.
    fn in_turn(&self) -> Vec<&Base> {
        let first = self.next.fetch_add(1, Ordering::Relaxed) % self.bases.len().max(1);
        let turned = self.bases.iter().cycle().skip(first).take(self.bases.len());
        let all: Vec<&Base> = turned.collect();
        let now = Instant::now();
        let (resting, awake): (Vec<&Base>, Vec<&Base>) =
            all.iter().partition(|base| base.rests(now));
        if awake.is_empty() {
            return all;
        }
        for base in resting {
            base.skipped.fetch_add(1, Ordering::Relaxed);
        }
        awake
    }

    fn http_request(&self, base: &str, request: &Request) -> Option<http::Request<Full<Bytes>>> {
        let json = |body: &Value| Bytes::from(body.to_string());
        let (method, path, body) = match request {
            Request::Listing { id } => {
                (Method::GET, format!("/api/v1/listings/{}", encode(id)), None)
            }
            Request::Search { listing_type, lat, lng, radius_km } => {
                let body = json!({
                    "listingType": listing_type,
                    "geoFilter": {
                        "type": "radius",
                        "center": {"lat": lat, "lng": lng},
                        "radiusKm": radius_km,
                    },
                    "facets": ["propertyTypes", "bedrooms", "priceStats"],
                    "limit": 20,
                });
                (Method::POST, "/api/v1/search".to_owned(), Some(json(&body)))
            }
            Request::SessionRead { id } => {
                (Method::GET, format!("/api/v1/sessions/{}", encode(id)), None)
            }
            Request::SessionDelete { id } => {
                (Method::DELETE, format!("/api/v1/sessions/{}", encode(id)), None)
            }
            Request::SessionWrite { id, value } | Request::SessionSwap { id, value, .. } => {
                let body = json!({
                    "userId": format!("user-{id}"),
                    "ttlSeconds": self.ttl.as_secs(),
                    "data": {"value": value},
                });
                (Method::PUT, format!("/api/v1/sessions/{}", encode(id)), Some(json(&body)))
            }
        };
        let mut builder = http::Request::builder().method(method).uri(format!("{base}{path}"));
        if body.is_some() {
            builder = builder.header(header::CONTENT_TYPE, "application/json");
        }
        if request.session().is_some() {
            builder = match request {
                Request::SessionRead { .. } => builder.header("hexpop-consistency", "strong"),
                Request::SessionSwap { expected: Some(version), .. } => {
                    builder.header(header::IF_MATCH, format!("\"{version}\""))
                }
                Request::SessionSwap { expected: None, .. } => {
                    builder.header(header::IF_NONE_MATCH, "*")
                }
                _ => builder,
            };
            if let Some(authorization) = &self.authorization {
                builder = builder.header(header::AUTHORIZATION, authorization);
            }
        }
        builder.body(Full::new(body.unwrap_or_default())).ok()
    }

    async fn ask(&self, base: &Base, request: &Request) -> Outcome {
        // The address was checked and the path is encoded, so it can always be built.
        let Some(sent) = self.http_request(&base.url, request) else {
            return Outcome::NotConnected;
        };
        let response = match self.http.request(sent).await {
            Ok(response) => response,
            Err(error) if error.is_connect() => return Outcome::NotConnected,
            Err(_error) => return Outcome::Broken,
        };
        let (head, body) = response.into_parts();
        let Ok(body) = Limited::new(body, ANSWER_BYTES_MAX).collect().await else {
            return Outcome::Broken;
        };
        Outcome::Answered(look_at(request, head.status.as_u16(), &head.headers, &body.to_bytes()))
    }
}

impl Target for Targets {
    /// The next address in turn; one that cannot be connected to rests, and the following is tried,
    /// since nothing was sent.
    async fn send(&self, request: &Request, deadline: Duration) -> Outcome {
        let deadline = Instant::now() + deadline;
        for base in self.in_turn() {
            match timeout_at(deadline, self.ask(base, request)).await {
                Err(_elapsed) => {
                    base.sent.fetch_add(1, Ordering::Relaxed);
                    return Outcome::TimedOut;
                }
                Ok(Outcome::NotConnected) => {
                    base.unreachable.fetch_add(1, Ordering::Relaxed);
                    *base.rests_until.lock() = Some(Instant::now() + REST);
                }
                Ok(outcome) => {
                    base.sent.fetch_add(1, Ordering::Relaxed);
                    return outcome;
                }
            }
        }
        Outcome::NotConnected
    }
}

/// What the harness wants to know of an answer.
fn look_at(request: &Request, status: u16, headers: &HeaderMap, body: &[u8]) -> Answer {
    let parsed = || serde_json::from_slice::<Value>(body).ok();
    let mut answer = Answer { status, source: source(headers), ..Answer::default() };
    if request.session().is_none() {
        return answer;
    }
    let is_read = matches!(request, Request::SessionRead { .. });
    if is_read && status == 200 {
        answer.value = parsed().and_then(|body| body.pointer("/data/value")?.as_u64());
    }
    if status < 300 {
        answer.version = version(headers);
    } else if status >= 500 && !is_read {
        answer.applied = parsed().and_then(|problem| problem.get("applied")?.as_bool());
    }
    answer
}

/// The session's version: its `ETag` without quotes.
fn version(headers: &HeaderMap) -> Option<String> {
    let etag = headers.get(header::ETAG)?.to_str().ok()?;
    Some(etag.trim_matches('"').to_owned())
}

/// What the last member of `Cache-Status` (RFC 9211: the cache next to us) says.
fn source(headers: &HeaderMap) -> Option<Source> {
    let value = headers.get_all("cache-status").iter().next_back()?;
    let list: List = Parser::new(value.as_bytes()).parse().ok()?;
    let ListEntry::Item(item) = list.last()? else { return None };
    let detail = item.params.get("detail").and_then(|detail| detail.as_token());
    if item.params.contains_key("hit") {
        Some(Source::Hit)
    } else if detail.is_some_and(|detail| detail.as_str() == "peer") {
        Some(Source::Peer)
    } else {
        item.params.contains_key("fwd").then_some(Source::Origin)
    }
}

#[cfg(test)]
mod tests {
    use tokio::{
        io::{AsyncReadExt as _, AsyncWriteExt as _},
        net::TcpListener,
    };

    use super::*;

    fn from(value: &'static str) -> Option<Source> {
        let mut headers = HeaderMap::new();
        headers.append("cache-status", "origin; hit".parse().unwrap());
        headers.append("cache-status", value.parse().unwrap());
        source(&headers)
    }

    #[test]
    fn cache_status_tells_where_an_answer_came_from() {
        assert_eq!(from("hexpop-mil-1; hit; detail=replica"), Some(Source::Hit));
        assert_eq!(from("hexpop-mil-1; hit; ttl=-12; detail=swr"), Some(Source::Hit));
        let peer = "hexpop-mad-2; hit, hexpop-mil-1; fwd=uri-miss; detail=peer; fwd-status=200";
        assert_eq!(from(peer), Some(Source::Peer));
        assert_eq!(
            from("hexpop-mil-1; fwd=uri-miss; fwd-status=200; stored"),
            Some(Source::Origin)
        );
        assert_eq!(from("=="), None);
        assert_eq!(source(&HeaderMap::new()), None);
    }

    /// Answers every request on every connection in the same way.
    async fn server(answer: &'static str) -> String {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        tokio::spawn(async move {
            while let Ok((mut connection, _from)) = listener.accept().await {
                tokio::spawn(async move {
                    let mut buffer = [0; 4_096];
                    while connection.read(&mut buffer).await.is_ok_and(|count| count > 0) {
                        if connection.write_all(answer.as_bytes()).await.is_err() {
                            return;
                        }
                    }
                });
            }
        });
        url
    }

    async fn closed_port() -> String {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        format!("http://{}", listener.local_addr().unwrap())
    }

    #[tokio::test]
    async fn a_dead_address_rests_and_the_next_one_is_asked() {
        let alive =
            server("HTTP/1.1 200 OK\r\ncontent-length: 23\r\n\r\n{\"data\":{\"value\":7123}}")
                .await;
        let dead = closed_port().await;
        let targets = Targets::new(&[dead, alive], None, Duration::from_secs(60)).unwrap();
        let read = Request::SessionRead { id: "it-lazio.x".into() };
        for _request in 0..20 {
            let outcome = targets.send(&read, Duration::from_secs(10)).await;
            let Outcome::Answered(answer) = outcome else { panic!("{outcome:?}") };
            assert_eq!((answer.status, answer.value), (200, Some(7_123)));
        }
        let reports = targets.reports();
        assert_eq!((reports[0].sent, reports[1].sent), (0, 20));
        assert!(reports[0].unreachable >= 1);
        assert!(reports[0].unreachable + reports[0].skipped >= 10, "{reports:?}");
    }

    #[tokio::test]
    async fn a_refusal_says_whether_the_write_was_applied() {
        let problem =
            "HTTP/1.1 503 Service Unavailable\r\ncontent-length: 17\r\n\r\n{\"applied\":false}";
        let targets =
            Targets::new(&[server(problem).await], None, Duration::from_secs(60)).unwrap();
        let write = Request::SessionWrite { id: "it-lazio.x".into(), value: 1 };
        let outcome = targets.send(&write, Duration::from_secs(10)).await;
        let Outcome::Answered(answer) = outcome else { panic!("{outcome:?}") };
        assert_eq!((answer.status, answer.applied), (503, Some(false)));
    }

    #[tokio::test]
    async fn without_any_address_alive_nothing_is_sent() {
        let targets = Targets::new(&[closed_port().await], None, Duration::from_secs(60)).unwrap();
        let read = Request::Listing { id: "lst_000000".into() };
        assert_eq!(targets.send(&read, Duration::from_secs(10)).await, Outcome::NotConnected);
        assert_eq!(targets.send(&read, Duration::from_secs(10)).await, Outcome::NotConnected);
    }

    #[test]
    fn an_address_must_be_one() {
        assert!(Targets::new(&["ftp://x".into()], None, Duration::ZERO).is_err());
    }
}
