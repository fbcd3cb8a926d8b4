//! The disk tier behind the HTTP cache: what memory has no room for, over a real directory.

use std::{
    fs,
    path::Path,
    sync::{Arc, atomic::Ordering},
    time::Duration,
};

use bytes::Bytes;
use hexpop_router::{Body, DiskOptions, full};
use hexpop_shard::{PurgeEntry, PurgeId, PurgeTail, PurgeTarget};
use http::Response;
use http_body_util::BodyExt as _;

use crate::{
    cache::{ask, get, status},
    mesh::{Mesh, TestRouter},
    origin::{Got, TestOrigin, client, port, request, respond},
    purges::purge,
};

/// Bytes of memory; pages are of [`PAGE`] bytes, so that few fit.
const MEMORY: u64 = 64 << 10;
const PAGE: usize = 16 << 10;

/// Bytes of a body that is too large for memory.
const LARGE: usize = 300_000;

fn router_at(dir: &Path, origin: &Arc<TestOrigin>) -> Arc<TestRouter> {
    Mesh::new(1, &[]).router_with(1, port(origin), |options| {
        options.cache.bytes_max = MEMORY;
        options.cache.object_bytes_max = 32 << 10;
        options.cache.disk = Some(DiskOptions {
            dir: dir.to_owned(),
            bytes_max: 4 << 20,
            object_bytes_max: 1 << 20,
        });
    })
}

/// A router that nothing was purged for yet.
async fn fresh(dir: &Path, origin: &Arc<TestOrigin>) -> Arc<TestRouter> {
    let router = router_at(dir, origin);
    assert_eq!(router.purge_position(), Some(PurgeId(0)));
    router.flush_cache().await;
    router
}

fn large_body() -> Vec<u8> {
    (0..LARGE as u64)
        .map(|at| hexpop_shard::hash_point(&at.to_le_bytes()).to_le_bytes()[0])
        .collect()
}

/// An origin of pages with a strong validator: `/large` is large, and gives parts; others say who they are.
fn origin() -> Arc<TestOrigin> {
    TestOrigin::new(answer)
}

fn answer(got: &Got) -> Response<Body> {
    let tag = format!("\"{}\"", got.target.len());
    let head: &[(&str, &str)] =
        &[("cache-control", "max-age=600"), ("etag", &tag), ("surrogate-key", "pages")];
    if got.headers.get("if-none-match").is_some_and(|asked| asked.as_bytes() == tag.as_bytes()) {
        return respond(304, head, "");
    }
    let body = if got.target == "/large" {
        large_body()
    } else {
        let mut body = format!("{} ", got.target).into_bytes();
        body.resize(PAGE, b'.');
        body
    };
    let mut response = respond(200, head, "");
    let asked = got.headers.get("range").map(|range| range.to_str().unwrap());
    let asked = asked.and_then(|range| range.strip_prefix("bytes=")?.split_once('-'));
    if let Some((first, last)) = asked {
        let (first, last): (usize, usize) = (first.parse().unwrap(), last.parse().unwrap());
        *response.status_mut() = http::StatusCode::PARTIAL_CONTENT;
        let range = format!("bytes {first}-{last}/{}", body.len());
        response.headers_mut().insert("content-range", range.parse().unwrap());
        *response.body_mut() = full(Bytes::copy_from_slice(&body[first..=last]));
    } else {
        *response.body_mut() = full(Bytes::from(body));
    }
    response
}

/// Has memory let go of what it has no room for, and the disk take it.
async fn settle(router: &TestRouter) {
    let _stats = router.cache_stats();
    router.flush_cache().await;
}

/// Asks for so many pages.
async fn fill(router: &TestRouter, pages: usize) {
    for page in 0..pages {
        get(router, &format!("/{page}"), &[]).await;
    }
    settle(router).await;
}

/// The URL of a page that is on disk only.
fn on_disk_only(router: &TestRouter, pages: usize) -> String {
    let only = |page: &usize| {
        let views = router.inspect(&format!("http://www.example.com/{page}")).unwrap();
        views.iter().any(|view| view.on_disk)
    };
    format!("/{}", (0..pages).find(only).unwrap())
}

async fn bytes_of(router: &TestRouter, target: &str, headers: &[(&str, &str)]) -> (u16, Vec<u8>) {
    let response = router.proxy(request("GET", target, headers), client(), None).await.unwrap();
    let code = response.status().as_u16();
    (code, response.into_body().collect().await.unwrap().to_bytes().to_vec())
}

async fn large_is_stored(router: &TestRouter) {
    assert_eq!(bytes_of(router, "/large", &[]).await, (200, large_body()));
    // Its end is written behind the answer.
    let is_stored = async {
        while router.inspect("http://www.example.com/large").unwrap().is_empty() {
            router.flush_cache().await;
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(Duration::from_secs(60), is_stored).await.unwrap();
}

#[tokio::test]
async fn what_memory_has_no_room_for_is_a_hit_all_the_same() {
    let (dir, origin) = (tempfile::tempdir().unwrap(), origin());
    let router = fresh(dir.path(), &origin).await;
    fill(&router, 20).await;
    assert_eq!(origin.count(), 20);
    for page in 0..20 {
        let (code, cache_status, body) = get(&router, &format!("/{page}"), &[]).await;
        assert!(cache_status.contains("; hit; ttl="), "{page}: {cache_status}");
        assert!(code == 200 && body.starts_with(&format!("/{page} ")));
    }
    assert_eq!(origin.count(), 20, "the origin is not asked again");
    let stats = router.cache_stats();
    assert!(stats.bytes <= MEMORY && stats.disk.unwrap().entries >= 16);
    // Conditions, parts and HEAD are answered from there as from memory.
    fill(&router, 20).await;
    let page = on_disk_only(&router, 20);
    let tag = format!("\"{}\"", page.len());
    assert_eq!(ask(&router, "HEAD", &page, &[]).await.0, 200);
    settle(&router).await;
    assert_eq!(get(&router, &page, &[("if-none-match", &tag)]).await.0, 304);
    let (code, part) = bytes_of(&router, &page, &[("range", "bytes=0-1")]).await;
    assert_eq!((code, part.as_slice()), (206, &page.as_bytes()[..2]));
    assert_eq!(origin.count(), 20);
}

#[tokio::test]
async fn a_thousand_requests_for_what_is_on_disk_ask_nobody() {
    let (dir, origin) = (tempfile::tempdir().unwrap(), origin());
    let router = fresh(dir.path(), &origin).await;
    fill(&router, 20).await;
    let page = on_disk_only(&router, 20);
    let asked: Vec<_> = (0..1000)
        .map(|_| {
            let (router, page) = (Arc::clone(&router), page.clone());
            tokio::spawn(async move { get(&router, &page, &[]).await })
        })
        .collect();
    for answer in asked {
        let (code, cache_status, _body) = answer.await.unwrap();
        assert!(code == 200 && cache_status.contains("; hit"), "{cache_status}");
    }
    assert_eq!(origin.count(), 20);
}

#[tokio::test]
async fn a_body_that_is_too_large_for_memory_streams_from_disk() {
    let (dir, origin) = (tempfile::tempdir().unwrap(), origin());
    let router = fresh(dir.path(), &origin).await;
    large_is_stored(&router).await;
    assert_eq!(bytes_of(&router, "/large", &[]).await, (200, large_body()));
    for (range, first, end) in [
        ("bytes=0-0", 0, 1),
        ("bytes=70000-199999", 70_000, 200_000),
        ("bytes=-1", LARGE - 1, LARGE),
    ] {
        let part = bytes_of(&router, "/large", &[("range", range)]).await;
        assert_eq!(part, (206, large_body()[first..end].to_vec()), "{range}");
    }
    let several = bytes_of(&router, "/large", &[("range", "bytes=0-0,5-5")]).await;
    assert_eq!(several, (200, large_body()), "several parts are not worth it");
    let head = router.proxy(request("HEAD", "/large", &[]), client(), None).await.unwrap();
    assert_eq!(head.headers()["content-length"], LARGE.to_string().as_str());
    assert_eq!(get(&router, "/large", &[("if-none-match", "\"6\"")]).await.0, 304);
    assert_eq!(origin.count(), 1);
    assert!(router.cache_stats().bytes < 10_000, "memory has none of it");
    // Asked about anew, it need not come again.
    let again =
        router.proxy(request("GET", "/large", &[("cache-control", "no-cache")]), client(), None);
    let again = again.await.unwrap();
    assert_eq!(
        again.headers()["cache-status"],
        status("fwd=stale; fwd-status=304; stored").as_str()
    );
    assert_eq!(again.into_body().collect().await.unwrap().to_bytes(), large_body());
    assert_eq!(origin.count(), 2);
}

#[tokio::test]
async fn purges_and_writes_reach_what_is_on_disk() {
    let (dir, origin) = (tempfile::tempdir().unwrap(), origin());
    let router = fresh(dir.path(), &origin).await;
    for (target, soft) in [
        (PurgeTarget::Url("http://www.example.com/0".to_owned()), false),
        (PurgeTarget::Tag("pages".to_owned()), false),
        (PurgeTarget::Prefix("/".to_owned()), false),
        (PurgeTarget::All, false),
        (PurgeTarget::Tag("pages".to_owned()), true),
    ] {
        fill(&router, 12).await;
        large_is_stored(&router).await;
        let asked = origin.count();
        let is_of_all = !matches!(target, PurgeTarget::Url(_));
        let hit = purge(&router, std::slice::from_ref(&target), soft);
        assert_eq!(hit, if is_of_all { 13 } else { 1 }, "{target:?}");
        let (_, cache_status, _) = get(&router, "/0", &[]).await;
        let expected =
            if soft { "fwd=stale; fwd-status=304" } else { "fwd=uri-miss; fwd-status=200" };
        assert!(cache_status.contains(expected), "{target:?}: {cache_status}");
        assert_eq!(origin.count(), asked + 1);
        assert_eq!(bytes_of(&router, "/large", &[]).await, (200, large_body()));
        assert_eq!(origin.count(), asked + 1 + u64::from(is_of_all), "{target:?}");
    }
    fill(&router, 12).await;
    let page = on_disk_only(&router, 12);
    ask(&router, "POST", &page, &[]).await;
    assert!(get(&router, &page, &[]).await.1.contains("fwd=uri-miss"));
}

/// Flips a bit in the middle of every segment.
fn damage(dir: &Path) {
    for entry in fs::read_dir(dir).unwrap() {
        let path = entry.unwrap().path();
        if path.extension().is_some_and(|extension| extension == "seg") {
            let mut bytes = fs::read(&path).unwrap();
            // Within the bodies, and behind what is read ahead of a large one.
            for at in (8_000..bytes.len()).step_by(PAGE) {
                bytes[at] ^= 1;
            }
            let file = fs::File::options().write(true).open(&path).unwrap();
            std::os::unix::fs::FileExt::write_all_at(&file, &bytes, 0).unwrap();
        }
    }
}

#[tokio::test]
async fn what_is_damaged_on_disk_comes_from_the_origin() {
    let (dir, origin) = (tempfile::tempdir().unwrap(), origin());
    let router = fresh(dir.path(), &origin).await;
    fill(&router, 12).await;
    let page = on_disk_only(&router, 12);
    damage(dir.path());
    let asked = origin.count();
    let (code, cache_status, body) = get(&router, &page, &[]).await;
    assert!(code == 200 && body.starts_with(&page) && body.len() == PAGE);
    assert!(cache_status.contains("fwd=uri-miss"), "{cache_status}");
    assert_eq!(origin.count(), asked + 1);
}

#[tokio::test]
async fn a_large_body_that_proves_damaged_is_continued_by_the_origin() {
    let (dir, origin) = (tempfile::tempdir().unwrap(), origin());
    let router = fresh(dir.path(), &origin).await;
    large_is_stored(&router).await;
    // In its last chunk.
    for entry in fs::read_dir(dir.path()).unwrap() {
        let path = entry.unwrap().path();
        let mut bytes = fs::read(&path).unwrap();
        if bytes.len() > LARGE {
            let at = bytes.len() - 100;
            bytes[at] ^= 1;
            fs::write(&path, &bytes).unwrap();
        }
    }
    assert_eq!(bytes_of(&router, "/large", &[]).await, (200, large_body()));
    assert_eq!(origin.count(), 2);
    let rest = origin.last();
    assert!(rest.headers["range"].to_str().unwrap().starts_with("bytes=262144-"), "{rest:?}");
    assert_eq!(rest.headers["if-range"], "\"6\"");
    // It is forgotten: the next one is fetched anew, and stored.
    large_is_stored(&router).await;
    assert_eq!(origin.count(), 3);
    // Where the origin has another one by now, what was begun breaks off.
    damage(dir.path());
    origin.set(|_got| respond(200, &[("etag", "\"other\"")], "other"));
    let response = router.proxy(request("GET", "/large", &[]), client(), None).await.unwrap();
    assert!(response.into_body().collect().await.is_err());
}

#[tokio::test]
async fn a_restart_keeps_it_and_the_origin_confirms_it() {
    let (dir, origin) = (tempfile::tempdir().unwrap(), origin());
    let before = fresh(dir.path(), &origin).await;
    fill(&before, 12).await;
    large_is_stored(&before).await;
    before.flush_cache().await;
    let page = on_disk_only(&before, 12);
    drop(before);
    let asked = origin.count();
    let router = router_at(dir.path(), &origin);
    assert_eq!(router.purge_position(), Some(PurgeId(0)));
    router.flush_cache().await;
    for target in [page.as_str(), "/large"] {
        // A 304: the body does not come again.
        let (_, cache_status, _) = {
            let response = router.proxy(request("GET", target, &[]), client(), None).await.unwrap();
            let status = response.headers()["cache-status"].to_str().unwrap().to_owned();
            (0, status, drop(response.into_body().collect().await.unwrap()))
        };
        assert!(cache_status.contains("fwd=stale; fwd-status=304"), "{target}: {cache_status}");
        let again = router.proxy(request("GET", target, &[]), client(), None).await.unwrap();
        assert!(again.headers()["cache-status"].to_str().unwrap().contains("; hit"), "{target}");
    }
    assert_eq!(origin.count(), asked + 2);
    assert_eq!(bytes_of(&router, "/large", &[]).await, (200, large_body()));
    // Nothing of before stands in for an origin that fails: nobody knows what was written meanwhile.
    origin.down.store(true, Ordering::Relaxed);
    let views = router.inspect(&format!("http://www.example.com{page}")).unwrap();
    assert!(!views.is_empty());
    let unconfirmed = (0..12).map(|page| format!("/{page}")).filter(|other| *other != page);
    for other in unconfirmed {
        assert_eq!(get(&router, &other, &[]).await.0, 503, "{other}");
    }
}

#[tokio::test]
async fn purges_of_while_it_was_away_are_obeyed() {
    let (dir, origin) = (tempfile::tempdir().unwrap(), origin());
    let before = fresh(dir.path(), &origin).await;
    fill(&before, 12).await;
    assert_eq!(purge(&before, &[PurgeTarget::Url("/11".to_owned())], false), 1);
    before.flush_cache().await;
    let kept = before.cache_stats().disk.unwrap().entries;
    let page = on_disk_only(&before, 11);
    drop(before);
    let entry = |id: u64, target: PurgeTarget| PurgeEntry {
        id: PurgeId(id),
        targets: vec![target],
        soft: false,
        at_ms: 0,
    };
    let router = router_at(dir.path(), &origin);
    assert_eq!(router.purge_position(), Some(PurgeId(1)));
    let entries = vec![entry(2, PurgeTarget::Url(page.clone()))];
    // At once, while what is there is still looked for.
    assert!(router.follow_purges(&PurgeTail::Next { entries, head: PurgeId(2) }, router.uptime()));
    router.flush_cache().await;
    assert!(router.cache_stats().disk.unwrap().entries < kept);
    assert!(get(&router, &page, &[]).await.1.contains("fwd=uri-miss; fwd-status=200"));
    router.flush_cache().await;
    drop(router);
    // Away for too long: nothing is of use any more.
    let router = router_at(dir.path(), &origin);
    assert_eq!(router.purge_position(), Some(PurgeId(2)));
    router.follow_purges(&PurgeTail::Lost { head: PurgeId(900) }, router.uptime());
    router.flush_cache().await;
    assert_eq!(router.cache_stats().disk.unwrap().entries, 0);
    assert_eq!(router.purge_position(), Some(PurgeId(900)));
}

#[tokio::test]
async fn nothing_that_names_somebody_gets_to_the_disk() {
    let dir = tempfile::tempdir().unwrap();
    let origin = TestOrigin::new(|got| {
        let vary = if got.target.starts_with("/by-cookie") { "cookie" } else { "accept" };
        let head = [("cache-control", "public, max-age=600"), ("etag", "\"a\""), ("vary", vary)];
        let body = "secret".repeat(PAGE / 6);
        respond(200, &head, &body)
    });
    let router = fresh(dir.path(), &origin).await;
    let cookie = [("cookie", "session=it-lombardia.secret"), ("accept", "*/*")];
    for page in 0..12 {
        get(&router, &format!("/by-cookie/{page}"), &cookie).await;
        get(&router, &format!("/api/v1/sessions/it-lombardia.{page}"), &cookie).await;
        get(&router, &format!("/api/v1/users/u{page}/export"), &cookie).await;
    }
    settle(&router).await;
    for entry in fs::read_dir(dir.path()).unwrap() {
        let bytes = fs::read(entry.unwrap().path()).unwrap();
        assert!(!bytes.windows(6).any(|window| window == b"secret"));
    }
    assert_eq!(router.cache_stats().disk.unwrap().entries, 0);
}

#[tokio::test]
async fn without_its_directory_it_is_off_and_fails_nobody() {
    let (dir, origin) = (tempfile::tempdir().unwrap(), origin());
    let file = dir.path().join("file");
    fs::write(&file, "").unwrap();
    let router = router_at(&file.join("below"), &origin);
    assert!(router.cache_stats().disk.unwrap().off.is_some());
    tokio::time::timeout(Duration::from_secs(5), router.flush_cache()).await.unwrap();
    assert_eq!(bytes_of(&router, "/large", &[]).await.0, 200);
    assert_eq!(get(&router, "/1", &[]).await.0, 200);
    assert!(get(&router, "/1", &[]).await.1.contains("; hit"));
}
