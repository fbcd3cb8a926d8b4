//! The rules of HTTP caching hold across the tier of a PoP, and no purge and no write is undone by it.

use std::{
    sync::{Arc, atomic::Ordering},
    time::Duration,
};

use hexpop_shard::{PurgeEntry, PurgeId, PurgeTail, PurgeTarget};
use http_body_util::BodyExt as _;

use crate::{
    cache::{ask, get},
    mesh::TestRouter,
    origin::{Got, TestOrigin, client, request, respond},
    purges::purge,
    tier::{FRESH, Pop, settle},
};

async fn headers(router: &TestRouter, target: &str) -> http::HeaderMap {
    let response = router.proxy(request("GET", target, &[]), client(), None).await.unwrap();
    let headers = response.headers().clone();
    response.into_body().collect().await.unwrap();
    headers
}

/// An origin whose pages say how often it was asked.
fn counting(headers: &'static [(&'static str, &'static str)]) -> Arc<TestOrigin> {
    let asked = std::sync::atomic::AtomicU64::new(0);
    TestOrigin::new(move |got: &Got| {
        if got.method != "GET" {
            return respond(204, &[], "");
        }
        let nth = asked.fetch_add(1, Ordering::Relaxed) + 1;
        respond(200, headers, &nth.to_string())
    })
}

fn url(target: &str) -> PurgeTarget {
    PurgeTarget::Url(target.into())
}

#[tokio::test(start_paused = true)]
async fn rfc9111_4_2_3_an_object_is_as_old_at_the_asker_as_at_the_owner() {
    let origin = TestOrigin::new(|_| respond(200, FRESH, "page"));
    let pop = Pop::new(&origin);
    let target = pop.kept_by(6);
    get(pop.node(6), &target, &[]).await;
    tokio::time::sleep(Duration::from_millis(30_700)).await;
    assert_eq!(headers(pop.node(3), &target).await["age"], "30");
    // Half a second later it is 31.2 s old, whoever is asked: the whole seconds of the field are not all.
    tokio::time::sleep(Duration::from_millis(500)).await;
    for node in [3, 6] {
        assert_eq!(headers(pop.node(node), &target).await["age"], "31", "node {node}");
    }
    tokio::time::sleep(Duration::from_millis(28_700)).await;
    for node in [3, 6] {
        assert!(get(pop.node(node), &target, &[]).await.1.ends_with("; hit; ttl=0"), "node {node}");
    }
    tokio::time::sleep(Duration::from_millis(200)).await;
    let only = [("cache-control", "only-if-cached")];
    for node in [3, 6] {
        assert_eq!(get(pop.node(node), &target, &only).await.0, 504, "node {node}");
    }
}

#[tokio::test(start_paused = true)]
async fn rfc9111_4_2_3_the_wait_for_the_origin_counts_once() {
    let origin = TestOrigin::shut(|_| respond(200, &[("cache-control", "max-age=10")], "page"));
    let pop = Pop::new(&origin);
    let target = pop.kept_by(6);
    let (router, shared) = (Arc::clone(pop.node(3)), target.clone());
    let waiting = tokio::spawn(async move { headers(&router, &shared).await });
    while origin.count() == 0 {
        tokio::task::yield_now().await;
    }
    tokio::time::sleep(Duration::from_secs(6)).await;
    origin.open();
    assert_eq!(waiting.await.unwrap()["age"], "6");
    for node in [3, 6] {
        let got = get(pop.node(node), &target, &[]).await;
        assert!(got.1.contains(&format!("hexpop-mil-{node}; hit")), "{}", got.1);
    }
    assert_eq!(origin.count(), 1);
}

#[tokio::test(start_paused = true)]
async fn a_stale_object_is_confirmed_by_the_owner() {
    let origin = TestOrigin::new(|got| {
        let head = [("cache-control", "max-age=60"), ("etag", "\"1\"")];
        if got.headers.contains_key("if-none-match") {
            return respond(304, &head, "");
        }
        respond(200, &head, "page")
    });
    let pop = Pop::new(&origin);
    let target = pop.kept_by(6);
    get(pop.node(3), &target, &[]).await;
    tokio::time::sleep(Duration::from_secs(61)).await;
    let confirmed = get(pop.node(3), &target, &[]).await;
    assert_eq!(
        confirmed.1,
        "hexpop-mil-6; fwd=stale; fwd-status=304; stored, \
         hexpop-mil-3; fwd=stale; fwd-status=304; stored; detail=peer"
    );
    assert_eq!(confirmed.2, "page");
    assert_eq!(origin.count(), 2);
    // A client's own condition is answered here.
    let not_modified = get(pop.node(9), &target, &[("if-none-match", "\"1\"")]).await;
    assert_eq!((not_modified.0, not_modified.2.as_str()), (304, ""));
    assert!(get(pop.node(9), &target, &[]).await.1.contains("hexpop-mil-9; hit"));
    assert_eq!(origin.count(), 2);
}

#[tokio::test(start_paused = true)]
async fn variants_ranges_and_credentials_keep_apart() {
    let all = "0123456789";
    let origin = TestOrigin::new(move |got| {
        let text =
            |name: &str| got.headers.get(name).map(|value| value.to_str().unwrap().to_owned());
        if let Some(user) = text("authorization") {
            return respond(200, FRESH, &user);
        }
        if let Some(language) = text("accept-language") {
            let head = [("cache-control", "max-age=60"), ("vary", "Accept-Language")];
            return respond(200, &head, &language);
        }
        let head = [("cache-control", "max-age=60"), ("etag", "\"1\"")];
        if text("range").as_deref() == Some("bytes=2-4") {
            let head = [head[0], head[1], ("content-range", "bytes 2-4/10")];
            return respond(206, &head, &all[2..=4]);
        }
        respond(200, &head, all)
    });
    let pop = Pop::new(&origin);
    let target = format!("{}?language", pop.kept_by(6));
    for node in [3, 9, 3, 9] {
        for language in ["it", "de"] {
            let answer = get(pop.node(node), &target, &[("accept-language", language)]).await;
            assert_eq!(answer.2, language);
        }
    }
    assert_eq!(origin.count(), 2);
    let target = pop.kept_by(6);
    let range = [("range", "bytes=2-4")];
    for node in [3, 9] {
        let (code, _, body) = get(pop.node(node), &target, &range).await;
        assert_eq!((code, body.as_str()), (206, "234"));
    }
    assert_eq!(origin.count(), 3);
    assert_eq!(get(pop.node(3), &target, &[]).await.2, all);
    // Cut from the whole that the owner has by now.
    let several = get(pop.node(9), &target, &[("range", "bytes=0-1, -1")]).await;
    assert_eq!(several.0, 206);
    assert!(several.2.contains("\r\n\r\n01\r\n--"), "{}", several.2);
    assert_eq!(get(pop.node(9), &target, &[("range", "bytes=10-")]).await.0, 416);
    assert_eq!(origin.count(), 4);
    for user in ["Basic a", "Basic b"] {
        for node in [3, 6, 9] {
            let answer = get(pop.node(node), &target, &[("authorization", user)]).await;
            assert_eq!(answer.2, user);
            assert!(answer.1.contains("fwd=bypass; detail=authorization"), "{}", answer.1);
        }
    }
    assert_eq!(get(pop.node(3), &target, &[]).await.2, all);
}

#[tokio::test(start_paused = true)]
async fn stale_while_revalidate_and_stale_if_error_reach_through() {
    const HEADERS: &[(&str, &str)] =
        &[("cache-control", "max-age=60, stale-while-revalidate=30, stale-if-error=600")];
    let origin = counting(HEADERS);
    let pop = Pop::new(&origin);
    let target = pop.kept_by(6);
    get(pop.node(3), &target, &[]).await;
    tokio::time::sleep(Duration::from_secs(70)).await;
    // The asker has it: it answers at once, and what it refreshes with is no stale one.
    let stale = get(pop.node(3), &target, &[]).await;
    assert_eq!(
        (stale.1.as_str(), stale.2.as_str()),
        ("hexpop-mil-3; hit; ttl=-10; detail=swr", "1")
    );
    settle().await;
    assert_eq!(get(pop.node(3), &target, &[]).await.2, "2");
    assert_eq!(origin.count(), 2);
    // Who has none gets the owner's stale one, and it is stale there too.
    tokio::time::sleep(Duration::from_secs(70)).await;
    let stale = get(pop.node(9), &target, &[]).await;
    assert!(stale.1.starts_with("hexpop-mil-6; hit; ttl=-10; detail=swr, "), "{}", stale.1);
    settle().await;
    assert_eq!(origin.count(), 3);
    // The origin fails: whatever the node that is asked has.
    tokio::time::sleep(Duration::from_secs(100)).await;
    origin.down.store(true, Ordering::Relaxed);
    pop.node(9).push_purge(&PurgeEntry {
        id: PurgeId(1),
        targets: vec![PurgeTarget::All],
        soft: false,
        at_ms: 0,
    });
    pop.node(6).push_purge(&PurgeEntry {
        id: PurgeId(1),
        targets: vec![PurgeTarget::Tag("none".into())],
        soft: false,
        at_ms: 0,
    });
    let stale = get(pop.node(3), &target, &[]).await;
    assert_eq!((stale.0, stale.2.as_str()), (200, "2"));
    let router = pop.node(9);
    let all = futures::future::join_all((0..20).map(|_| get(router, &target, &[]))).await;
    for stale in all {
        assert_eq!((stale.0, stale.2.as_str()), (200, "3"));
        assert!(
            stale.1.starts_with("hexpop-mil-6; fwd=stale; detail=stale-if-error, "),
            "{}",
            stale.1
        );
    }
}

#[tokio::test(start_paused = true)]
async fn what_a_purge_named_does_not_come_back_from_an_owner_that_is_behind() {
    let origin = counting(&[("cache-control", "max-age=600")]);
    let pop = Pop::new(&origin);
    let target = pop.kept_by(6);
    for node in [6, 3] {
        assert_eq!(get(pop.node(node), &target, &[]).await.2, "1");
    }
    purge(pop.node(3), &[url(&target)], false);
    pop.mesh.take_questions();
    let after = get(pop.node(3), &target, &[]).await;
    assert_eq!(
        (after.1.as_str(), after.2.as_str()),
        ("hexpop-mil-3; fwd=uri-miss; fwd-status=200; stored", "2",)
    );
    assert_eq!(pop.mesh.take_questions(), [(3, 6)], "it was asked, and declined");
    // One that has not heard of the purge yet may have the old one, and loses it with the purge.
    assert_eq!(get(pop.node(9), &target, &[]).await.2, "1");
    purge(pop.node(6), &[url(&target)], false);
    purge(pop.node(9), &[url(&target)], false);
    assert_eq!(get(pop.node(9), &target, &[]).await.2, "3");
    assert_eq!(get(pop.node(6), &target, &[]).await.2, "3");
    assert_eq!(get(pop.node(3), &target, &[]).await.2, "2");
}

#[tokio::test(start_paused = true)]
async fn what_was_asked_for_before_a_purge_is_not_stored_after_it() {
    let origin = TestOrigin::shut(|_| respond(200, &[("cache-control", "max-age=600")], "old"));
    let pop = Pop::new(&origin);
    let target = pop.kept_by(6);
    let (asking, shared) = (Arc::clone(pop.node(3)), target.clone());
    let waiting = tokio::spawn(async move { get(&asking, &shared, &[]).await });
    while origin.count() == 0 {
        tokio::task::yield_now().await;
    }
    pop.purge_all(&[url(&target)]);
    origin.open();
    assert_eq!(waiting.await.unwrap().2, "old");
    origin.set(|_| respond(200, FRESH, "new"));
    for node in [3, 6, 9] {
        assert_eq!(get(pop.node(node), &target, &[]).await.2, "new", "node {node}");
    }
}

#[tokio::test(start_paused = true)]
async fn an_owner_that_may_have_missed_purges_declines() {
    let origin = counting(&[("cache-control", "max-age=600")]);
    let max = Duration::from_secs(5);
    let pop = Pop::with(&origin, |options| options.cache.purge_max_silence = Some(max));
    let target = pop.kept_by(6);
    assert_eq!(get(pop.node(6), &target, &[]).await.2, "1");
    tokio::time::advance(max * 2).await;
    let hears = |node| {
        let router: &Arc<TestRouter> = pop.node(node);
        let tail = PurgeTail::Next { entries: Vec::new(), head: PurgeId(0) };
        assert!(router.follow_purges(&tail, router.uptime()));
    };
    hears(3);
    assert_eq!(get(pop.node(3), &target, &[]).await.2, "2");
    assert!(get(pop.node(3), &target, &[]).await.1.contains("; hit"));
    // An asker that may have missed some may take what one gives that has not.
    hears(6);
    assert_eq!(get(pop.node(9), &target, &[]).await.2, "1");
    tokio::time::advance(max * 2).await;
    assert!(!get(pop.node(9), &target, &[]).await.1.contains("hexpop-mil-9; hit"));
}

#[tokio::test(start_paused = true)]
async fn a_soft_purge_makes_it_stale_at_the_asker_as_well() {
    let origin = counting(&[("cache-control", "max-age=600, stale-while-revalidate=600")]);
    let pop = Pop::new(&origin);
    let target = pop.kept_by(6);
    assert_eq!(get(pop.node(6), &target, &[]).await.2, "1");
    tokio::time::sleep(Duration::from_secs(10)).await;
    for (_node, router) in &pop.routers {
        purge(router, &[url(&target)], true);
    }
    // By its fields alone it would be fresh for ten minutes more.
    let stale = get(pop.node(3), &target, &[]).await;
    assert_eq!(stale.2, "1");
    assert!(stale.1.starts_with("hexpop-mil-6; hit; ttl=0; detail=swr, "), "{}", stale.1);
    settle().await;
    let stale = get(pop.node(3), &target, &[]).await;
    assert!(stale.1.ends_with("detail=swr"), "{}", stale.1);
    settle().await;
    assert_eq!(get(pop.node(3), &target, &[]).await.2, "2");
    assert_eq!(origin.count(), 2);
}

#[tokio::test(start_paused = true)]
async fn a_write_is_visible_at_all_nodes_once_it_is_answered() {
    let origin = counting(&[("cache-control", "max-age=600"), ("cache-groups", "\"list\"")]);
    let pop = Pop::new(&origin);
    for (owner, writer) in [(6, 3), (3, 3), (9, 6)] {
        let target = pop.kept_by(owner);
        let mut before = Vec::new();
        for node in [3, 6, 9] {
            before.push(get(pop.node(node), &target, &[]).await.2);
        }
        assert_eq!(ask(pop.node(writer), "PATCH", &target, &[]).await.0, 204);
        let fetched = origin.count();
        for node in [3, 6, 9] {
            let after = get(pop.node(node), &target, &[]).await.2;
            assert!(!before.contains(&after), "{after}: node {node}, kept by {owner}");
        }
        assert_eq!(origin.count(), fetched + 1, "once for all nodes");
    }
    // A group of another URI.
    let target = pop.kept_by(6);
    let old = get(pop.node(9), &target, &[]).await.2;
    origin.set(|got| match got.method.as_str() {
        "GET" => respond(200, FRESH, "new"),
        _ => respond(200, &[("cache-group-invalidation", "\"list\"")], ""),
    });
    ask(pop.node(3), "POST", "/elsewhere", &[]).await;
    for node in [3, 6, 9] {
        let new = get(pop.node(node), &target, &[]).await.2;
        assert!(new == "new" && new != old, "{new}: node {node}");
    }
}

#[tokio::test(start_paused = true)]
async fn an_owner_that_did_not_hear_of_a_write_hears_of_it_before_it_is_asked_again() {
    let origin = counting(&[("cache-control", "max-age=600")]);
    let pop = Pop::new(&origin);
    let target = pop.kept_by(6);
    for node in [6, 3] {
        assert_eq!(get(pop.node(node), &target, &[]).await.2, "1");
    }
    pop.mesh.stop(6);
    let begin = tokio::time::Instant::now();
    assert_eq!(ask(pop.node(3), "PATCH", &target, &[]).await.0, 204);
    assert!(begin.elapsed() < Duration::from_millis(600), "a write waits, but not for long");
    pop.mesh.start(6);
    pop.mesh.take_questions();
    let after = get(pop.node(3), &target, &[]).await;
    assert_eq!(after.2, "2");
    assert!(after.1.starts_with("hexpop-mil-6; fwd=uri-miss"), "{}", after.1);
    // It has what is new, and this node tells it no more.
    assert_eq!(get(pop.node(6), &target, &[]).await.2, "2");
    // The other one, which heard of the write and that this one did not, cannot know that it has by now.
    assert_eq!(get(pop.node(9), &target, &[]).await.2, "3");
    assert_eq!(origin.count(), 4);
}

#[tokio::test(start_paused = true)]
async fn a_node_that_did_not_hear_of_a_write_gives_nobody_what_is_from_before() {
    let origin = counting(&[("cache-control", "max-age=600")]);
    let pop = Pop::new(&origin);
    let target = pop.kept_by(6);
    for node in [6, 3] {
        assert_eq!(get(pop.node(node), &target, &[]).await.2, "1");
    }
    pop.mesh.stop(6);
    assert_eq!(ask(pop.node(3), "PATCH", &target, &[]).await.0, 204);
    pop.mesh.start(6);
    // It asks the one that did not hear of it, and knows that it did not.
    assert_eq!(get(pop.node(9), &target, &[]).await.2, "2");
}

#[tokio::test(start_paused = true)]
async fn a_node_that_did_not_hear_of_a_write_is_told_without_being_asked_for_anything() {
    let origin = counting(&[("cache-control", "max-age=600")]);
    let pop = Pop::new(&origin);
    let target = pop.kept_by(6);
    for node in [6, 3, 9] {
        assert_eq!(get(pop.node(node), &target, &[]).await.2, "1");
    }
    pop.mesh.stop(6);
    assert_eq!(ask(pop.node(3), "PATCH", &target, &[]).await.0, 204);
    tokio::time::sleep(Duration::from_secs(20)).await;
    pop.mesh.start(6);
    assert_eq!(get(pop.node(6), &target, &[]).await.2, "1");
    tokio::time::sleep(Duration::from_secs(6)).await;
    for node in [6, 3, 9] {
        assert_eq!(get(pop.node(node), &target, &[]).await.2, "2", "node {node}");
    }
    // All have heard of all.
    pop.mesh.take_questions();
    tokio::time::sleep(Duration::from_secs(60)).await;
    assert_eq!(pop.mesh.take_questions(), []);
}

#[tokio::test(start_paused = true)]
async fn a_client_that_goes_away_after_its_write_takes_nothing_from_the_others() {
    let origin = counting(&[("cache-control", "max-age=600")]);
    let pop = Pop::new(&origin);
    let target = pop.kept_by(6);
    for node in [6, 9] {
        assert_eq!(get(pop.node(node), &target, &[]).await.2, "1");
    }
    pop.mesh.hang(6);
    pop.mesh.take_questions();
    let (router, shared) = (Arc::clone(pop.node(3)), target.clone());
    let writing = tokio::spawn(async move { ask(&router, "PATCH", &shared, &[]).await });
    while !pop.mesh.is_asked(6) {
        tokio::task::yield_now().await;
    }
    writing.abort();
    tokio::time::sleep(Duration::from_secs(1)).await;
    assert!(pop.mesh.is_asked(9));
    assert_eq!(get(pop.node(9), &target, &[]).await.2, "2");
}

#[tokio::test(start_paused = true)]
async fn rfc9111_4_3_5_what_a_head_found_changed_does_not_come_back_from_the_owner() {
    let origin = TestOrigin::new(|_| {
        respond(200, &[("cache-control", "max-age=600"), ("etag", "\"1\"")], "old")
    });
    let pop = Pop::new(&origin);
    let target = pop.kept_by(6);
    for node in [6, 3] {
        assert_eq!(get(pop.node(node), &target, &[]).await.2, "old");
    }
    origin.set(|_| respond(200, &[("cache-control", "max-age=600"), ("etag", "\"2\"")], "new"));
    ask(pop.node(3), "HEAD", &target, &[("cache-control", "no-cache")]).await;
    assert_eq!(get(pop.node(3), &target, &[]).await.2, "new");
}
