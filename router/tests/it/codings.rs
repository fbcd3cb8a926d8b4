//! Content codings of stored responses.

use std::sync::{Arc, atomic::Ordering};

use hexpop_router::Debugged;
use http::{HeaderMap, Response};
use http_body_util::BodyExt as _;

use crate::{
    cache::router,
    mesh::{Mesh, TestRouter},
    origin::{TestOrigin, client, port, request, respond},
};

const PAGE: &[(&str, &str)] = &[
    ("cache-control", "max-age=60"),
    ("content-type", "text/html; charset=utf-8"),
    ("etag", "\"a\""),
    ("surrogate-key", "page"),
];

fn long() -> String {
    "<p>Milano</p>".repeat(200)
}

struct Seen {
    status: u16,
    headers: HeaderMap,
    body: String,
}

impl Seen {
    fn field(&self, name: &str) -> &str {
        self.headers.get(name).map_or("", |value| value.to_str().unwrap())
    }

    /// The coding that the test's compressor made, and the entity tag.
    fn coding(&self) -> (u16, &str, &str) {
        (self.status, self.field("content-encoding"), self.field("etag"))
    }
}

async fn see(response: Response<hexpop_router::Body>) -> Seen {
    let (head, body) = response.into_parts();
    let body = body.collect().await.unwrap().to_bytes();
    let body = String::from_utf8(body.to_vec()).unwrap();
    Seen { status: head.status.as_u16(), headers: head.headers, body }
}

async fn ask(router: &TestRouter, method: &str, headers: &[(&str, &str)]) -> Seen {
    see(router.proxy(request(method, "/p", headers), client(), None).await.unwrap()).await
}

async fn get(router: &TestRouter, headers: &[(&str, &str)]) -> Seen {
    ask(router, "GET", headers).await
}

async fn stored(
    headers: &'static [(&str, &str)],
    body: String,
) -> (Arc<TestOrigin>, Arc<TestRouter>) {
    let origin = TestOrigin::new(move |_| respond(200, headers, &body));
    let router = router(&origin);
    get(&router, &[]).await;
    (origin, router)
}

#[tokio::test(start_paused = true)]
async fn a_stored_page_goes_out_in_the_coding_that_a_client_likes() {
    let (origin, router) = stored(PAGE, long()).await;
    for (taken, coding) in
        [("gzip, br", "br"), ("gzip", "gzip"), ("zstd, gzip;q=0.5", "zstd"), ("identity", "")]
    {
        let seen = get(&router, &[("accept-encoding", taken)]).await;
        let tag = if coding.is_empty() { "\"a\"".to_owned() } else { format!("\"a;{coding}\"") };
        assert_eq!(seen.coding(), (200, coding, tag.as_str()));
        assert_eq!(seen.field("vary"), "Accept-Encoding");
        let body = if coding.is_empty() { long() } else { format!("{coding}:{}", long()) };
        assert_eq!(seen.body, body);
        assert_eq!(seen.field("content-length"), body.len().to_string());
        assert!(seen.field("cache-status").contains("; hit"), "{:?}", seen.headers);
        let head = ask(&router, "HEAD", &[("accept-encoding", taken)]).await;
        assert_eq!(head.coding(), seen.coding());
        assert!(head.body.is_empty());
    }
    assert_eq!(origin.count(), 1);
}

#[tokio::test(start_paused = true)]
async fn rfc9110_8_8_3_3_each_coding_has_a_tag_of_its_own() {
    let (origin, router) = stored(PAGE, long()).await;
    let br = ("accept-encoding", "br");
    for (held, expected) in [
        ("\"a;br\"", (304, "", "\"a;br\"")),
        ("W/\"a;br\"", (304, "", "\"a;br\"")),
        // What it has without a coding is as good.
        ("\"a\"", (304, "", "\"a\"")),
        ("\"a;gzip\"", (200, "br", "\"a;br\"")),
        ("\"b;br\"", (200, "br", "\"a;br\"")),
    ] {
        let seen = get(&router, &[br, ("if-none-match", held)]).await;
        assert_eq!((seen.status, seen.field("etag")), (expected.0, expected.2), "{held}");
        assert_eq!(seen.field("vary"), "Accept-Encoding");
    }
    let plain = get(&router, &[("if-none-match", "\"a;br\"")]).await;
    assert_eq!(plain.coding(), (200, "", "\"a\""));
    // The origin knows nothing of them.
    get(&router, &[("if-match", "\"a;br\""), ("cache-control", "no-cache")]).await;
    assert_eq!(origin.last().headers["if-match"], "\"a\"");
}

#[tokio::test(start_paused = true)]
async fn rfc9110_14_ranges_are_of_the_body_without_a_coding() {
    let (_origin, router) = stored(PAGE, long()).await;
    let br = ("accept-encoding", "br");
    let part = get(&router, &[br, ("range", "bytes=0-2")]).await;
    assert_eq!((part.coding(), part.body.as_str()), ((206, "", "\"a\""), "<p>"));
    let part = get(&router, &[br, ("range", "bytes=0-2"), ("if-range", "\"a\"")]).await;
    assert_eq!(part.status, 206);
    let whole = get(&router, &[br, ("range", "bytes=0-2"), ("if-range", "\"a;br\"")]).await;
    assert_eq!(whole.coding(), (200, "br", "\"a;br\""));
}

#[tokio::test(start_paused = true)]
async fn what_must_not_or_need_not_be_coded_is_not() {
    let all = ("accept-encoding", "br, gzip, zstd");
    let cases: [(&'static [(&str, &str)], String); 5] = [
        (&[("cache-control", "max-age=60"), ("content-type", "image/jpeg")], long()),
        (&[("cache-control", "max-age=60"), ("content-type", "text/html")], "short".to_owned()),
        (&[("cache-control", "max-age=60, no-transform"), ("content-type", "text/html")], long()),
        (
            &[
                ("cache-control", "max-age=60"),
                ("content-type", "text/html"),
                ("content-encoding", "x-own"),
            ],
            long(),
        ),
        (
            &[
                ("cache-control", "max-age=60"),
                ("content-type", "text/html"),
                ("repr-digest", "sha-256=:AA==:"),
            ],
            long(),
        ),
    ];
    for (headers, body) in cases {
        let (_origin, router) = stored(headers, body.clone()).await;
        let seen = get(&router, &[all]).await;
        assert_eq!(seen.body, body, "{headers:?}");
        assert_eq!(seen.field("vary"), "", "{headers:?}");
    }
    let (_origin, router) = stored(PAGE, long()).await;
    let asked = get(&router, &[all, ("cache-control", "no-transform")]).await;
    assert_eq!(asked.body, long());
}

#[tokio::test(start_paused = true)]
async fn a_new_body_is_coded_anew() {
    let origin = TestOrigin::new(|_| respond(200, PAGE, &long()));
    let router = router(&origin);
    let br = ("accept-encoding", "br");
    get(&router, &[]).await;
    assert_eq!(get(&router, &[br]).await.body, format!("br:{}", long()));
    router.invalidate("http", "www.example.com", "/p");
    origin.set(|_| respond(200, PAGE, &long().replace("Milano", "Bergamo")));
    assert!(get(&router, &[br]).await.body.contains("Bergamo"));
    assert!(get(&router, &[br]).await.body.starts_with("br:<p>Bergamo"));
}

#[tokio::test(start_paused = true)]
async fn who_debugs_sees_the_key_and_the_tags() {
    let (_origin, router) = stored(PAGE, long()).await;
    let plain = get(&router, &[]).await;
    assert!(!plain.headers.contains_key("surrogate-key"));
    let mut asking = request("GET", "/p", &[("hexpop-debug", "1")]);
    asking.extensions_mut().insert(Debugged);
    let seen = see(router.proxy(asking, client(), None).await.unwrap()).await;
    assert_eq!(seen.field("surrogate-key"), "page");
    let status = seen.field("cache-status");
    assert!(status.ends_with("; key=\"http://www.example.com/p\""), "{status}");
}

#[tokio::test(start_paused = true)]
async fn a_part_without_a_validator_stays_as_it_is() {
    let head: &[(&str, &str)] = &[("cache-control", "max-age=60"), ("content-type", "text/html")];
    let all = long();
    let origin = TestOrigin::new(move |got| {
        if !got.headers.contains_key("range") {
            return respond(200, head, &all);
        }
        let part = [head[0], head[1], ("content-range", "bytes 0-1299/2600")];
        respond(206, &part, &all[..1300])
    });
    let router = router(&origin);
    let asked = [("accept-encoding", "br"), ("range", "bytes=0-1299")];
    // As it arrives, and out of what is stored of it.
    for _ in 0..2 {
        let part = get(&router, &asked).await;
        assert_eq!((part.coding(), part.body.as_str()), ((206, "", ""), &long()[..1300]));
        assert_eq!(part.field("content-range"), "bytes 0-1299/2600");
        assert_eq!(part.field("vary"), "Accept-Encoding");
    }
    assert_eq!(origin.count(), 1);
}

#[tokio::test(start_paused = true)]
async fn a_body_that_the_origin_confirmed_is_not_coded_again() {
    let origin = TestOrigin::new(|_| respond(200, PAGE, &long()));
    let mesh = Mesh::new(1, &[]);
    let router = mesh.router(1, port(&origin));
    get(&router, &[]).await;
    let br = [("accept-encoding", "br")];
    assert_eq!(get(&router, &br).await.coding(), (200, "br", "\"a;br\""));
    assert_eq!(mesh.coded.load(Ordering::Relaxed), 1);
    tokio::time::sleep(std::time::Duration::from_secs(61)).await;
    origin.set(|got| {
        assert_eq!(got.headers["if-none-match"], "\"a\"");
        respond(304, PAGE, "")
    });
    for _ in 0..2 {
        assert_eq!(get(&router, &br).await.coding(), (200, "br", "\"a;br\""));
    }
    assert_eq!((origin.count(), mesh.coded.load(Ordering::Relaxed)), (2, 1));
}
