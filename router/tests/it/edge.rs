//! The HTTP cache: bodies on their way, purges, parts, keys.

use std::{
    sync::{Arc, atomic::Ordering},
    time::Duration,
};

use futures::StreamExt as _;
use hexpop_router::{Client, OriginHost};
use hexpop_shard::PurgeTarget;
use http_body_util::BodyExt as _;

use crate::{
    cache::{ask, get, router, status},
    mesh::Mesh,
    origin::{TestOrigin, client, port, request, respond},
    purges::purge,
};

/// An origin's body that a test writes by hand.
pub(crate) fn by_hand()
-> (futures::channel::mpsc::UnboundedSender<&'static str>, hexpop_router::Body) {
    let (sender, receiver) = futures::channel::mpsc::unbounded();
    let frames = receiver.map(|text: &'static str| {
        if text == "break" {
            return Err("reset".into());
        }
        Ok(http_body::Frame::data(bytes::Bytes::from_static(text.as_bytes())))
    });
    (sender, http_body_util::StreamBody::new(frames).boxed_unsync())
}

/// An origin that answers with that body, once.
pub(crate) fn handing_out(
    headers: &'static [(&'static str, &'static str)],
    body: hexpop_router::Body,
) -> Arc<TestOrigin> {
    let body = parking_lot::Mutex::new(Some(body));
    TestOrigin::new(move |_| {
        let mut response = respond(200, headers, "later");
        if let Some(body) = body.lock().take() {
            *response.body_mut() = body;
        }
        response
    })
}

const FRESH: &[(&str, &str)] = &[("cache-control", "max-age=60")];

async fn settle() {
    // Paused time moves on only when everybody waits.
    tokio::time::sleep(Duration::from_millis(1)).await;
}

#[tokio::test(start_paused = true)]
async fn a_body_reaches_all_who_wait_as_it_arrives() {
    let (origin_writes, body) = by_hand();
    let origin = handing_out(FRESH, body);
    let router = router(&origin);
    let mut readers = Vec::new();
    for _ in 0..3 {
        let response = router.proxy(request("GET", "/p", &[]), client(), None).await.unwrap();
        readers.push(response.into_body());
    }
    assert_eq!(origin.count(), 1);
    origin_writes.unbounded_send("first ").unwrap();
    for reader in &mut readers {
        let frame = reader.frame().await.unwrap().unwrap();
        assert_eq!(frame.into_data().unwrap(), "first ");
    }
    // Who comes in the middle gets all of it too.
    let late = router.proxy(request("GET", "/p", &[]), client(), None).await.unwrap();
    readers.push(late.into_body());
    origin_writes.unbounded_send("second").unwrap();
    drop(origin_writes);
    let mut ends = Vec::new();
    for reader in readers {
        ends.push(reader.collect().await.unwrap().to_bytes());
    }
    assert_eq!(ends, ["second", "second", "second", "first second"]);
    assert_eq!(get(&router, "/p", &[]).await.2, "first second");
    assert_eq!(origin.count(), 1);
}

#[tokio::test(start_paused = true)]
async fn a_body_that_breaks_off_or_stalls_is_not_stored_and_hangs_nobody() {
    for stall in [false, true] {
        let (origin_writes, body) = by_hand();
        let origin = handing_out(FRESH, body);
        let router = router(&origin);
        let one = router.proxy(request("GET", "/p", &[]), client(), None).await.unwrap();
        let two = router.proxy(request("GET", "/p", &[]), client(), None).await.unwrap();
        origin_writes.unbounded_send("begin").unwrap();
        if !stall {
            origin_writes.unbounded_send("break").unwrap();
        }
        for response in [one, two] {
            assert!(response.into_body().collect().await.is_err());
        }
        assert_eq!(get(&router, "/p", &[]).await.2, "later");
        assert_eq!(origin.count(), 2);
        drop(origin_writes);
    }
}

#[tokio::test(start_paused = true)]
async fn a_client_that_leaves_does_not_end_what_is_being_stored() {
    let (origin_writes, body) = by_hand();
    let origin = handing_out(FRESH, body);
    let router = router(&origin);
    drop(router.proxy(request("GET", "/p", &[]), client(), None).await.unwrap());
    origin_writes.unbounded_send("whole").unwrap();
    drop(origin_writes);
    settle().await;
    assert_eq!(get(&router, "/p", &[]).await.1, status("hit; ttl=59"));
    assert_eq!(origin.count(), 1);
}

#[tokio::test(start_paused = true)]
async fn a_body_that_proves_too_long_reaches_who_reads_it_and_is_not_stored() {
    let (origin_writes, body) = by_hand();
    let origin = handing_out(FRESH, body);
    let router = Mesh::new(1, &[])
        .router_with(1, port(&origin), |options| options.cache.object_bytes_max = 10);
    let one = router.proxy(request("GET", "/p", &[]), client(), None).await.unwrap();
    let two = router.proxy(request("GET", "/p", &[]), client(), None).await.unwrap();
    let readers: Vec<_> =
        [one, two].map(|response| tokio::spawn(response.into_body().collect())).into();
    for _ in 0..10 {
        origin_writes.unbounded_send("0123456789").unwrap();
        settle().await;
    }
    drop(origin_writes);
    for reader in readers {
        assert_eq!(reader.await.unwrap().unwrap().to_bytes().len(), 100);
    }
    assert_eq!(router.cache_stats().entries, 0);
    // It is remembered: nobody waits for another of it.
    origin.set(|_| respond(200, FRESH, "short"));
    assert_eq!(get(&router, "/p", &[]).await.2, "short");
}

#[tokio::test(start_paused = true)]
async fn after_a_purge_nobody_gets_what_was_fetched_before() {
    let (origin_writes, body) = by_hand();
    let origin = handing_out(&[("cache-control", "max-age=60"), ("surrogate-key", "a b")], body);
    let router = router(&origin);
    let before = router.proxy(request("GET", "/p", &[]), client(), None).await.unwrap();
    assert!(!before.headers().contains_key("surrogate-key"));
    purge(&router, &[PurgeTarget::Tag("b".into())], false);
    let after = get(&router, "/p", &[]).await;
    assert_eq!(after.2, "later");
    origin_writes.unbounded_send("before").unwrap();
    drop(origin_writes);
    assert_eq!(before.into_body().collect().await.unwrap().to_bytes(), "before");
    settle().await;
    assert_eq!(get(&router, "/p", &[]).await.2, "later");
    assert_eq!(origin.count(), 2);
}

#[tokio::test(start_paused = true)]
async fn purges_name_urls_prefixes_tags_or_everything() {
    let origin = TestOrigin::new(|got| {
        let tag = got.target.trim_start_matches('/').to_owned();
        respond(200, &[("cache-control", "max-age=60"), ("cache-tag", &tag)], "x")
    });
    let router = router(&origin);
    let targets = ["/a", "/a?b=1", "/a/b", "/c"];
    let fill = async || {
        for target in targets {
            get(&router, target, &[]).await;
        }
    };
    let left = async || {
        let mut left = Vec::new();
        for target in targets {
            let only = [("cache-control", "only-if-cached")];
            if get(&router, target, &only).await.0 == 200 {
                left.push(target);
            }
        }
        left
    };
    for (target, hit, expected) in [
        (
            PurgeTarget::Url("http://WWW.example.com:80/a#x".into()),
            1,
            &["/a?b=1", "/a/b", "/c"][..],
        ),
        (PurgeTarget::Url("/a?b=1".into()), 1, &["/a", "/a/b", "/c"]),
        (PurgeTarget::Url("http://other.example/a".into()), 0, &targets),
        (PurgeTarget::Prefix("/a".into()), 3, &["/c"]),
        // A URL means both schemes.
        (PurgeTarget::Prefix("https://www.example.com/a/".into()), 1, &["/a", "/a?b=1", "/c"]),
        (PurgeTarget::Prefix("http://www.example.com/a/".into()), 1, &["/a", "/a?b=1", "/c"]),
        (PurgeTarget::Tag("a/b".into()), 1, &["/a", "/a?b=1", "/c"]),
        (PurgeTarget::All, 4, &[]),
    ] {
        fill().await;
        let purged = purge(&router, std::slice::from_ref(&target), false);
        assert_eq!(purged, hit, "{target:?}");
        assert_eq!(left().await, expected, "{target:?}");
    }
    assert!(router.check_purge(&[PurgeTarget::All, PurgeTarget::Url("a b".into())]).is_err());
}

#[tokio::test(start_paused = true)]
async fn a_soft_purge_leaves_a_stand_in() {
    let origin = TestOrigin::new(|_| {
        respond(200, &[("cache-control", "max-age=60, stale-if-error=30")], "x")
    });
    let router = router(&origin);
    get(&router, "/p", &[]).await;
    assert_eq!(purge(&router, &[PurgeTarget::All], true), 1);
    origin.down.store(true, Ordering::Relaxed);
    assert_eq!(get(&router, "/p", &[]).await.1, status("fwd=stale; detail=stale-if-error"));
}

#[tokio::test(start_paused = true)]
async fn what_is_stored_can_be_looked_at() {
    let origin = TestOrigin::new(|_| {
        let head = [("cache-control", "max-age=60"), ("surrogate-key", "t"), ("vary", "accept")];
        respond(200, &head, "12345")
    });
    let router = router(&origin);
    get(&router, "/p?q", &[("accept", "a/b")]).await;
    tokio::time::sleep(Duration::from_secs(12)).await;
    let views = router.inspect("http://www.example.com/p?q").unwrap();
    assert_eq!(views.len(), 1);
    let view = &views[0];
    assert_eq!((view.age, view.ttl, view.bytes, view.rule), (12, 48, 5, "fresh"));
    assert_eq!(
        (view.tags.as_slice(), view.key.as_str()),
        (&["t".to_owned()][..], "http://www.example.com/p?q")
    );
    assert_eq!(view.vary, [("accept".to_owned(), Some("a/b".to_owned()))]);
    assert!(router.inspect("http://www.example.com/other").unwrap().is_empty());
    assert!(router.inspect("/p").is_err());
}

#[tokio::test(start_paused = true)]
async fn what_the_key_lacks_never_reaches_the_origin() {
    let origin = TestOrigin::new(|_| respond(200, FRESH, "x"));
    let router = Mesh::new(1, &[]).router_with(1, port(&origin), |options| {
        options.cache.host = OriginHost::Fixed("platform.test".to_owned());
        options.cache.query.drop = vec!["utm_*".to_owned()];
        options.cache.query.sort = true;
        options.cache.cookies = Some(vec!["theme".to_owned()]);
    });
    let poison = [
        ("x-forwarded-host", "evil.test"),
        ("x-original-url", "/admin"),
        ("x-http-method-override", "DELETE"),
        ("cookie", "session=1; theme=dark"),
    ];
    get(&router, "/p?b=1&utm_source=x&a=2", &poison).await;
    let got = origin.last();
    assert_eq!(got.target, "/p?a=2&b=1");
    assert_eq!(got.headers["x-forwarded-host"], "platform.test");
    assert_eq!(got.headers["host"], "platform.test");
    assert_eq!(got.headers["cookie"], "theme=dark");
    assert_eq!(got.headers["cdn-loop"], "hexpop-mad-1");
    for name in ["x-original-url", "x-http-method-override"] {
        assert!(!got.headers.contains_key(name), "{name}");
    }
    assert_eq!(get(&router, "/p?a=2&b=1&utm_medium=y", &[]).await.1, status("hit; ttl=60"));
    let looped = [("cdn-loop", "other, hexpop-mad-1; v=1")];
    assert_eq!(get(&router, "/q", &looped).await.0, 508);
    // A write goes as it came.
    ask(&router, "POST", "/p?b=1&utm_source=x", &[("cookie", "session=1")]).await;
    assert_eq!(origin.last().target, "/p?b=1&utm_source=x");
    assert_eq!(origin.last().headers["cookie"], "session=1");
}

#[tokio::test(start_paused = true)]
async fn rfc9111_4_1_a_field_that_the_origin_gets_from_us_selects_by_what_it_gets() {
    for (vary, claimed, shared) in [
        // The address of the client, whatever it claims.
        ("x-forwarded-for", "10.9.9.9", false),
        ("forwarded", "for=10.9.9.9", false),
        // The same for all of one scheme and authority.
        ("x-forwarded-proto", "https", true),
        ("x-forwarded-host", "evil.test", true),
        // The origin gets none.
        ("x-forwarded-port", "81", true),
        ("x-original-url", "/admin", true),
        ("te", "trailers", true),
    ] {
        let origin = TestOrigin::new(move |got| {
            let said = got.headers.get(vary).map_or("nothing", |value| value.to_str().unwrap());
            respond(200, &[FRESH[0], ("vary", vary)], said)
        });
        let router = router(&origin);
        let ask = async |address: &str, claim: Option<&str>| {
            let claim: Vec<_> = claim.iter().map(|claim| (vary, *claim)).collect();
            let from = Client { address: address.parse().unwrap(), ..client() };
            let response = router.proxy(request("GET", "/p", &claim), from, None).await.unwrap();
            crate::origin::seen(response).await.2
        };
        let first = ask("10.1.2.3", Some(claimed)).await;
        assert_ne!(first, claimed, "{vary}");
        assert_eq!(ask("10.1.2.3", None).await, first, "{vary}");
        assert_eq!(origin.count(), 1, "{vary}: the claim means nothing");
        let other = ask("10.9.9.9", None).await;
        assert_eq!(other == first, shared, "{vary}");
        assert_eq!(origin.count(), if shared { 1 } else { 2 }, "{vary}");
        assert_eq!(ask("10.9.9.9", Some("x")).await, other, "{vary}");
        assert_eq!(ask("10.1.2.3", None).await, first, "{vary}: both are kept");
        assert_eq!(origin.count(), if shared { 1 } else { 2 }, "{vary}");
    }
}

#[tokio::test(start_paused = true)]
async fn rfc9110_14_4_content_range_means_nothing_beside_200() {
    let fields = [FRESH[0], ("content-range", "bytes 1-2/3"), ("etag", "\"1\"")];
    let origin = TestOrigin::new(move |_| respond(200, &fields, "whole"));
    let router = router(&origin);
    let ask = async |range: Option<&str>| {
        let fields: Vec<_> = range.iter().map(|range| ("range", *range)).collect();
        let response = router.proxy(request("GET", "/p", &fields), client(), None).await.unwrap();
        let range = response.headers().get("content-range");
        let range = range.map(|range| range.to_str().unwrap().to_owned());
        (response.status().as_u16(), range, crate::origin::seen(response).await.2)
    };
    for _ in 0..2 {
        let (status, range, body) = ask(None).await;
        assert_eq!((status, range.as_deref(), body.as_str()), (200, Some(fields[1].1), "whole"));
    }
    let (status, range, body) = ask(Some("bytes=0-1")).await;
    assert_eq!((status, range.as_deref(), body.as_str()), (206, Some("bytes 0-1/5"), "wh"));
    let (status, range, _body) = ask(Some("bytes=0-0,4-4")).await;
    assert_eq!((status, range), (206, None));
    assert_eq!(origin.count(), 1);
}

#[tokio::test(start_paused = true)]
async fn parts_are_stored_and_completed() {
    let all = "0123456789";
    let origin = TestOrigin::new(move |got| {
        let head = [("cache-control", "max-age=60"), ("etag", "\"1\"")];
        let range = got.headers.get("range").map(|range| range.to_str().unwrap().to_owned());
        let Some((first, last)) = range.as_deref().and_then(|range| {
            let (first, last) = range.strip_prefix("bytes=")?.split_once('-')?;
            Some((first.parse::<usize>().ok()?, last.parse::<usize>().ok()?))
        }) else {
            return respond(200, &head, all);
        };
        let part = format!("bytes {first}-{last}/10");
        let head = [head[0], head[1], ("content-range", part.as_str())];
        respond(206, &head, &all[first..=last])
    });
    let router = router(&origin);
    let range = |range| [("range", range)];
    let first = get(&router, "/p", &range("bytes=0-4")).await;
    assert_eq!(
        (first.0, first.1, first.2.as_str()),
        (206, status("fwd=uri-miss; fwd-status=206; stored"), "01234")
    );
    assert_eq!(
        get(&router, "/p", &range("bytes=1-2")).await,
        (206, status("hit; ttl=60"), "12".to_owned())
    );
    let more = get(&router, "/p", &range("bytes=3-9")).await;
    assert_eq!((more.0, more.1), (206, status("fwd=partial; fwd-status=206; stored")));
    // Now all of it is there.
    assert_eq!(get(&router, "/p", &[]).await, (200, status("hit; ttl=60"), all.to_owned()));
    assert_eq!(origin.count(), 2);
    let (code, _, body) = get(&router, "/p", &range("bytes=0-1, -1")).await;
    assert_eq!(code, 206);
    assert_eq!(body.matches("Content-Range: bytes ").count(), 2, "{body}");
    assert!(body.contains("\r\n\r\n01\r\n--") && body.contains("\r\n\r\n9\r\n--"), "{body}");
    assert_eq!(get(&router, "/p", &range("bytes=10-")).await.0, 416);
    let other = [("range", "bytes=0-1"), ("if-range", "\"2\"")];
    assert_eq!(get(&router, "/p", &other).await.0, 200);
}

#[tokio::test(start_paused = true)]
async fn a_head_updates_what_a_get_stored() {
    let origin = TestOrigin::new(|_| {
        respond(200, &[("cache-control", "max-age=5"), ("etag", "\"1\"")], "x")
    });
    let router = router(&origin);
    get(&router, "/p", &[]).await;
    tokio::time::sleep(Duration::from_secs(6)).await;
    origin.set(|_| {
        respond(200, &[("cache-control", "max-age=60"), ("etag", "\"1\""), ("x-new", "1")], "")
    });
    ask(&router, "HEAD", "/p", &[]).await;
    let response = router.proxy(request("GET", "/p", &[]), client(), None).await.unwrap();
    assert_eq!(
        (response.headers()["x-new"].as_bytes(), response.headers()["content-length"].as_bytes()),
        (&b"1"[..], &b"1"[..])
    );
    assert_eq!(origin.count(), 2);
    origin.set(|_| respond(200, &[("cache-control", "max-age=60"), ("etag", "\"2\"")], ""));
    tokio::time::sleep(Duration::from_secs(61)).await;
    ask(&router, "HEAD", "/p", &[]).await;
    assert_eq!(router.inspect("http://www.example.com/p").unwrap()[0].rule, "stale");
}

#[tokio::test(start_paused = true)]
async fn conditions_on_the_current_state_go_to_the_origin() {
    let origin = TestOrigin::new(|got| match got.headers.get("if-match") {
        Some(tag) if tag == "\"2\"" => respond(200, &[("etag", "\"2\"")], "two"),
        Some(_) => respond(412, &[], ""),
        None => respond(200, &[("cache-control", "max-age=60"), ("etag", "\"1\"")], "one"),
    });
    let router = router(&origin);
    assert_eq!(get(&router, "/p", &[("if-match", "\"1\"")]).await.0, 412);
    get(&router, "/p", &[]).await;
    assert_eq!(get(&router, "/p", &[("if-match", "\"1\"")]).await.1, status("hit; ttl=60"));
    assert_eq!(get(&router, "/p", &[("if-match", "\"2\"")]).await.2, "two");
    assert_eq!(get(&router, "/p", &[]).await.2, "one");
}

#[tokio::test(start_paused = true)]
async fn groups_of_rfc_9875_are_invalidated_by_writes() {
    let origin = TestOrigin::new(|got| match got.method.as_str() {
        "GET" => {
            respond(200, &[("cache-control", "max-age=60"), ("cache-groups", "\"list\"")], "x")
        }
        _ => respond(200, &[("cache-group-invalidation", "\"list\", \"other\"")], ""),
    });
    let router = router(&origin);
    get(&router, "/p", &[]).await;
    ask(&router, "POST", "/elsewhere", &[]).await;
    assert_eq!(get(&router, "/p", &[]).await.1, status("fwd=uri-miss; fwd-status=200; stored"));
}

#[tokio::test(start_paused = true)]
async fn a_304_about_something_else_is_asked_again() {
    let origin = TestOrigin::new(|_| {
        respond(200, &[("cache-control", "max-age=5"), ("etag", "\"1\"")], "one")
    });
    let router = router(&origin);
    get(&router, "/p", &[]).await;
    tokio::time::sleep(Duration::from_secs(6)).await;
    origin.set(|got| {
        if got.headers.contains_key("if-none-match") {
            return respond(304, &[("etag", "\"other\"")], "");
        }
        respond(200, &[("cache-control", "max-age=60"), ("etag", "\"2\"")], "two")
    });
    assert_eq!(get(&router, "/p", &[]).await.2, "two");
    assert_eq!(origin.count(), 3);
}

#[tokio::test(start_paused = true)]
async fn a_head_that_finds_it_stale_refreshes_the_body_too() {
    let origin = TestOrigin::new(|got| {
        let body = if got.method == "HEAD" { "" } else { "body" };
        respond(200, &[("cache-control", "max-age=5, stale-while-revalidate=60")], body)
    });
    let router = router(&origin);
    get(&router, "/p", &[]).await;
    tokio::time::sleep(Duration::from_secs(6)).await;
    assert!(ask(&router, "HEAD", "/p", &[]).await.1.contains("detail=swr"));
    settle().await;
    assert_eq!(get(&router, "/p", &[]).await, (200, status("hit; ttl=4"), "body".to_owned()));
    assert_eq!(origin.count(), 2);
}
