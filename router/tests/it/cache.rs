use std::{
    sync::{Arc, atomic::Ordering},
    time::Duration,
};

use hexpop_router::Problem;

use crate::{
    mesh::{Mesh, TestRouter},
    origin::{TestOrigin, client, port, request, respond, seen},
};

pub(crate) fn router(origin: &Arc<TestOrigin>) -> Arc<TestRouter> {
    Mesh::new(1, &[]).router(1, port(origin))
}

pub(crate) async fn get(
    router: &TestRouter,
    target: &str,
    headers: &[(&str, &str)],
) -> (u16, String, String) {
    ask(router, "GET", target, headers).await
}

pub(crate) async fn ask(
    router: &TestRouter,
    method: &str,
    target: &str,
    headers: &[(&str, &str)],
) -> (u16, String, String) {
    match router.proxy(request(method, target, headers), client(), None).await {
        Ok(response) => seen(response).await,
        Err(error) => (error.status, error.cache_status.unwrap(), error.problem.slug().to_owned()),
    }
}

pub(crate) fn status(of: &str) -> String {
    format!("hexpop-mad-1; {of}")
}

#[tokio::test(start_paused = true)]
async fn a_thousand_requests_for_one_page_are_one_request_to_the_origin() {
    let origin = TestOrigin::shut(|_| respond(200, &[("cache-control", "max-age=60")], "page"));
    let router = router(&origin);
    let waiting: Vec<_> = (0..1000)
        .map(|_| {
            let router = Arc::clone(&router);
            tokio::spawn(async move { get(&router, "/it/vendita", &[]).await })
        })
        .collect();
    // Paused time moves on only when everybody waits.
    tokio::time::sleep(Duration::from_millis(10)).await;
    origin.open();
    let mut collapsed = 0;
    for asked in waiting {
        let (code, cache_status, body) = asked.await.unwrap();
        assert_eq!((code, body.as_str()), (200, "page"));
        collapsed += u32::from(cache_status == status("fwd=uri-miss; collapsed"));
    }
    assert_eq!((origin.count(), collapsed), (1, 999));
    // The time that the origin took counts as age.
    assert_eq!(get(&router, "/it/vendita", &[]).await.1, status("hit; ttl=59"));
}

#[tokio::test(start_paused = true)]
async fn who_waits_for_something_uncacheable_goes_alone() {
    let origin = TestOrigin::shut(|got| {
        let user = got.headers.get("cookie").unwrap().to_str().unwrap().to_owned();
        respond(200, &[("cache-control", "private")], &user)
    });
    let router = router(&origin);
    let waiting: Vec<_> = (0..20)
        .map(|user| {
            let router = Arc::clone(&router);
            let cookie = format!("user={user}");
            tokio::spawn(async move {
                let answer = get(&router, "/me", &[("cookie", &cookie)]).await;
                (cookie, answer)
            })
        })
        .collect();
    tokio::time::sleep(Duration::from_millis(10)).await;
    origin.open();
    for asked in waiting {
        let (cookie, (_, cache_status, body)) = asked.await.unwrap();
        assert_eq!(body, cookie);
        assert_eq!(cache_status, status("fwd=bypass; detail=private"));
    }
    assert_eq!(origin.count(), 20);
}

#[tokio::test(start_paused = true)]
async fn those_who_wait_share_a_failure_and_the_client_that_leaves_ends_nobodys_fetch() {
    let origin = TestOrigin::shut(|_| respond(503, &[], "overloaded"));
    let router = router(&origin);
    let leader = {
        let router = Arc::clone(&router);
        tokio::spawn(async move { get(&router, "/x", &[]).await })
    };
    tokio::time::sleep(Duration::from_millis(1)).await;
    let waiting: Vec<_> = (0..50)
        .map(|_| {
            let router = Arc::clone(&router);
            tokio::spawn(async move { get(&router, "/x", &[]).await })
        })
        .collect();
    tokio::time::sleep(Duration::from_millis(1)).await;
    leader.abort();
    tokio::time::sleep(Duration::from_millis(1)).await;
    origin.open();
    for asked in waiting {
        let (code, _, body) = asked.await.unwrap();
        assert_eq!((code, body.as_str()), (503, "origin-unavailable"));
    }
    assert_eq!(origin.count(), 1);
}

#[tokio::test(start_paused = true)]
async fn waiting_ends_with_the_deadline() {
    let origin = TestOrigin::shut(|_| respond(200, &[], ""));
    let router = router(&origin);
    let asked = router.proxy(request("GET", "/x", &[]), client(), Some(Duration::from_millis(50)));
    assert_eq!(asked.await.unwrap_err().problem, Problem::OriginTimeout);
}

#[tokio::test(start_paused = true)]
async fn a_stale_page_is_confirmed_or_replaced() {
    let origin = TestOrigin::new(|got| {
        let head = [("cache-control", "max-age=60"), ("etag", "\"1\"")];
        if got.headers.get("if-none-match").is_some_and(|tag| tag == "\"1\"") {
            respond(304, &head, "")
        } else {
            respond(200, &head, "first")
        }
    });
    let router = router(&origin);
    assert_eq!(get(&router, "/p", &[]).await.1, status("fwd=uri-miss; fwd-status=200; stored"));
    tokio::time::sleep(Duration::from_secs(61)).await;
    let confirmed = get(&router, "/p", &[]).await;
    assert_eq!(confirmed.1, status("fwd=stale; fwd-status=304; stored"));
    assert_eq!(confirmed.2, "first");
    tokio::time::sleep(Duration::from_secs(10)).await;
    assert_eq!(get(&router, "/p", &[]).await.1, status("hit; ttl=50"));
    let not_modified = get(&router, "/p", &[("if-none-match", "\"1\"")]).await;
    assert_eq!((not_modified.0, not_modified.2.as_str()), (304, ""));
    origin.set(|_| respond(200, &[("cache-control", "max-age=60")], "second"));
    tokio::time::sleep(Duration::from_secs(61)).await;
    let replaced = get(&router, "/p", &[]).await;
    assert_eq!(replaced.1, status("fwd=stale; fwd-status=200; stored"));
    assert_eq!(replaced.2, "second");
}

#[tokio::test(start_paused = true)]
async fn a_client_past_the_cache_and_one_that_takes_only_what_is_there() {
    let origin = TestOrigin::new(|_| respond(200, &[("cache-control", "max-age=60")], "x"));
    let router = router(&origin);
    let only = [("cache-control", "only-if-cached")];
    assert_eq!(get(&router, "/p", &only).await.0, 504);
    get(&router, "/p", &[]).await;
    assert_eq!(get(&router, "/p", &only).await.0, 200);
    let past = get(&router, "/p", &[("cache-control", "no-cache")]).await;
    assert_eq!(past.1, status("fwd=request; fwd-status=200; stored"));
    let never = get(&router, "/p", &[("cache-control", "no-store")]).await;
    assert_eq!(never.1, status("fwd=bypass; detail=no-store"));
    assert_eq!(origin.count(), 3);
    let head = ask(&router, "HEAD", "/p", &[]).await;
    assert_eq!((head.1, head.2.as_str()), (status("hit; ttl=60"), ""));
}

#[tokio::test(start_paused = true)]
async fn an_origin_that_fails_is_stood_in_for_as_far_as_the_page_allows() {
    let origin = TestOrigin::new(|_| {
        respond(200, &[("cache-control", "max-age=60, stale-if-error=30")], "x")
    });
    let router = router(&origin);
    get(&router, "/p", &[]).await;
    origin.down.store(true, Ordering::Relaxed);
    assert_eq!(get(&router, "/p", &[]).await.1, status("hit; ttl=60"));
    tokio::time::sleep(Duration::from_secs(80)).await;
    let stale = get(&router, "/p", &[]).await;
    assert_eq!((stale.0, stale.1), (200, status("fwd=stale; detail=stale-if-error")));
    origin.down.store(false, Ordering::Relaxed);
    origin.set(|_| respond(502, &[], "bad gateway"));
    tokio::time::sleep(Duration::from_secs(5)).await;
    let stale = get(&router, "/p", &[]).await;
    assert_eq!(stale.1, status("fwd=stale; fwd-status=502; detail=stale-if-error"));
    tokio::time::sleep(Duration::from_secs(10)).await;
    assert_eq!(get(&router, "/p", &[]).await.0, 502);
}

#[tokio::test(start_paused = true)]
async fn stale_while_revalidate_answers_at_once_and_refreshes_behind() {
    let origin = TestOrigin::new(|_| {
        respond(200, &[("cache-control", "max-age=60, stale-while-revalidate=30")], "1")
    });
    let router = router(&origin);
    get(&router, "/p", &[]).await;
    origin.set(|_| respond(200, &[("cache-control", "max-age=60")], "2"));
    tokio::time::sleep(Duration::from_secs(72)).await;
    let stale = get(&router, "/p", &[]).await;
    assert_eq!((stale.1, stale.2.as_str()), (status("hit; ttl=-12; detail=swr"), "1"));
    tokio::time::sleep(Duration::from_millis(1)).await;
    assert_eq!(get(&router, "/p", &[]).await.2, "2");
    assert_eq!(origin.count(), 2);
}

#[tokio::test(start_paused = true)]
async fn the_breaker_of_the_origin_opens_probes_and_closes() {
    let origin = TestOrigin::unreachable();
    let router = router(&origin);
    for _ in 0..5 {
        assert_eq!(get(&router, "/p", &[]).await.0, 503);
    }
    let state = |router: &TestRouter| router.breakers()[0].state;
    assert_eq!((state(&router), router.breakers()[0].target.as_str()), ("open", "origin"));
    origin.down.store(false, Ordering::Relaxed);
    let error = router.proxy(request("POST", "/p", &[]), client(), None).await.unwrap_err();
    assert_eq!((error.status, error.applied()), (503, Some(false)));
    assert!(error.retry_after.is_some());
    assert_eq!(origin.count(), 0);
    tokio::time::sleep(Duration::from_secs(2)).await;
    assert_eq!(get(&router, "/p", &[]).await.0, 404);
    assert_eq!(state(&router), "closed");
    assert_eq!(get(&router, "/q", &[]).await.0, 404);
}

#[tokio::test(start_paused = true)]
async fn variants_are_stored_apart() {
    let origin = TestOrigin::new(|got| {
        let language = got.headers.get("accept-language").map(|value| value.to_str().unwrap());
        let head = [("cache-control", "max-age=60"), ("vary", "Accept-Language")];
        respond(200, &head, language.unwrap_or("none"))
    });
    let router = router(&origin);
    let language = |name| [("accept-language", name)];
    assert_eq!(get(&router, "/p", &language("it")).await.2, "it");
    let other = get(&router, "/p", &language("de")).await;
    assert_eq!(other.1, status("fwd=vary-miss; fwd-status=200; stored"));
    assert_eq!(other.2, "de");
    assert_eq!(get(&router, "/p", &language("it")).await.1, status("hit; ttl=60"));
    assert_eq!(get(&router, "/p", &[]).await.2, "none");
    assert_eq!(origin.count(), 3);
}

#[tokio::test(start_paused = true)]
async fn a_field_that_the_connection_keeps_from_the_origin_selects_nothing() {
    let origin = TestOrigin::new(|got| {
        let language = got.headers.get("accept-language").map(|value| value.to_str().unwrap());
        let head = [
            ("cache-control", "max-age=60, stale-while-revalidate=60"),
            ("vary", "Accept-Language"),
            ("last-modified", "Mon, 01 Jan 2024 00:00:00 GMT"),
        ];
        if got.headers.contains_key("if-modified-since") {
            respond(304, &head, "")
        } else {
            respond(200, &head, language.unwrap_or("none"))
        }
    });
    let router = router(&origin);
    let german = ("accept-language", "de");
    let kept = ("connection", "Accept-Language");
    for (target, how, after) in
        [("/asks", ("cache-control", "no-cache"), 0), ("/stale", ("accept", "*/*"), 61)]
    {
        assert_eq!(get(&router, target, &[german]).await.2, "de");
        tokio::time::sleep(Duration::from_secs(after)).await;
        assert_eq!(get(&router, target, &[german, kept, how]).await.2, "none");
        let hit = get(&router, target, &[]).await;
        assert_eq!((hit.1, hit.2.as_str()), (status("hit; ttl=60"), "none"));
        assert_eq!(get(&router, target, &[german]).await.2, "de");
    }
}

#[tokio::test(start_paused = true)]
async fn a_write_forgets_what_it_changed() {
    let origin = TestOrigin::new(|got| match got.method.as_str() {
        "GET" => respond(200, &[("cache-control", "max-age=60")], "x"),
        _ => respond(201, &[("location", "/list"), ("content-location", "http://b.test/y")], ""),
    });
    let router = router(&origin);
    for target in ["/p", "/list", "/other"] {
        get(&router, target, &[]).await;
    }
    let posted = ask(&router, "POST", "/p", &[]).await;
    assert_eq!((posted.0, posted.1), (201, status("fwd=method")));
    let is_hit = |answer: (u16, String, String)| answer.1.contains("hit");
    assert!(!is_hit(get(&router, "/p", &[]).await));
    assert!(!is_hit(get(&router, "/list", &[]).await));
    assert!(is_hit(get(&router, "/other", &[]).await));
}

#[tokio::test(start_paused = true)]
async fn long_bodies_pass_through_whole() {
    let long = "x".repeat(3000);
    let origin = {
        let long = long.clone();
        TestOrigin::new(move |_| respond(200, &[("cache-control", "max-age=60")], &long))
    };
    let router = Mesh::new(1, &[])
        .router_with(1, port(&origin), |options| options.cache.object_bytes_max = 2999);
    for _ in 0..2 {
        let (_, cache_status, body) = get(&router, "/p", &[]).await;
        assert_eq!((cache_status, body.len()), (status("fwd=bypass; detail=rule:size"), 3000));
    }
    assert_eq!((origin.count(), router.cache_stats().entries), (2, 0));
}

#[tokio::test(start_paused = true)]
async fn the_origin_hears_of_us_and_of_the_client_only_what_is_true() {
    let origin = TestOrigin::new(|_| {
        respond(200, &[("cache-status", "up; hit"), ("connection", "x-hop"), ("x-hop", "1")], "")
    });
    let router = router(&origin);
    let claims = [("x-forwarded-for", "6.6.6.6"), ("connection", "close"), ("te", "gzip")];
    let response = router.proxy(request("GET", "/p", &claims), client(), None).await.unwrap();
    assert!(!response.headers().contains_key("x-hop"));
    assert_eq!(response.headers()["via"], "1.1 hexpop-mad-1");
    let cache_status = response.headers()["cache-status"].to_str().unwrap();
    assert!(cache_status.starts_with("up; hit, hexpop-mad-1; "), "{cache_status}");
    let got = origin.last();
    assert_eq!(got.headers["host"], "www.example.com");
    assert_eq!(got.headers["x-forwarded-for"], "10.1.2.3");
    assert_eq!(got.headers["via"], "1.1 hexpop-mad-1");
    assert!(!got.headers.contains_key("te") && !got.headers.contains_key("connection"));
    let looped = [("via", "1.1 hexpop-mad-1")];
    assert_eq!(get(&router, "/p", &looped).await.0, 508);
}
