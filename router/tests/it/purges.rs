//! Following purges: what a node may serve by what it knows of them.

use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use hexpop_shard::{PurgeEntry, PurgeId, PurgeTail, PurgeTarget};

use crate::{
    cache::{ask, get, status},
    mesh::{Mesh, TestRouter},
    origin::{TestOrigin, port, respond},
};

const MAX_SILENCE: Duration = Duration::from_secs(5);

fn entry(id: PurgeId, targets: &[PurgeTarget], soft: bool) -> PurgeEntry {
    PurgeEntry { id, targets: targets.to_vec(), soft, at_ms: 0 }
}

/// Applies the next purge; answers how many stored responses it hit.
pub(crate) fn purge(router: &TestRouter, targets: &[PurgeTarget], soft: bool) -> usize {
    let id = router.purge_position().unwrap().next();
    assert!(router.push_purge(&entry(id, targets, soft)));
    router.purge_progress(id).hit.unwrap().objects
}

/// The purge group says that these are all behind the position, now.
fn hear(router: &TestRouter, entries: Vec<PurgeEntry>, head: u64) -> bool {
    router.follow_purges(&PurgeTail::Next { entries, head: PurgeId(head) }, router.uptime())
}

fn following(origin: &Arc<TestOrigin>) -> Arc<TestRouter> {
    Mesh::new(1, &[]).router_with(1, port(origin), |options| {
        options.cache.purge_max_silence = Some(MAX_SILENCE);
    })
}

/// An origin whose pages say how often it was asked, or that they are confirmed.
fn counting(asked: &Arc<AtomicU64>) -> Arc<TestOrigin> {
    let asked = Arc::clone(asked);
    TestOrigin::new(move |request| {
        let nth = asked.fetch_add(1, Ordering::Relaxed) + 1;
        let head = [("cache-control", "max-age=600, stale-if-error=600"), ("etag", "\"a\"")];
        if request.headers.get("if-none-match").is_some_and(|tag| tag == "\"a\"") {
            return respond(304, &head, "");
        }
        respond(200, &head, &nth.to_string())
    })
}

fn home() -> Vec<PurgeTarget> {
    vec![PurgeTarget::Url("/p".into())]
}

#[tokio::test(start_paused = true)]
async fn without_contact_the_origin_is_asked_before_anything_stored_is_used() {
    let asked = Arc::default();
    let origin = counting(&asked);
    let router = following(&origin);
    get(&router, "/p", &[]).await;
    tokio::time::advance(MAX_SILENCE).await;
    assert!(get(&router, "/p", &[]).await.1.contains("; hit"), "it may be silent for so long");
    tokio::time::advance(Duration::from_millis(1)).await;
    for nth in 2..=4 {
        let answer = get(&router, "/p", &[]).await;
        assert!(answer.1.contains("fwd=stale; fwd-status=304"), "{}", answer.1);
        assert_eq!((answer.2.as_str(), asked.load(Ordering::Relaxed)), ("1", nth));
    }
    let only = ask(&router, "GET", "/p", &[("cache-control", "only-if-cached")]).await;
    assert_eq!(only.0, 504);
    origin.down.store(true, Ordering::Relaxed);
    assert_eq!(get(&router, "/p", &[]).await.0, 503, "nothing stands in for an origin that fails");
    origin.down.store(false, Ordering::Relaxed);
    assert!(hear(&router, Vec::new(), 0));
    assert!(get(&router, "/p", &[]).await.1.contains("; hit"));
}

#[tokio::test(start_paused = true)]
async fn what_was_missed_is_applied_before_anything_stored_is_used() {
    let asked = Arc::default();
    let router = following(&counting(&asked));
    get(&router, "/p", &[]).await;
    get(&router, "/other", &[]).await;
    tokio::time::advance(MAX_SILENCE * 2).await;
    // More is behind it: it is not in contact yet.
    assert!(!hear(&router, vec![entry(PurgeId(1), &home(), false)], 2));
    assert!(!get(&router, "/other", &[]).await.1.contains("; hit"));
    assert!(!router.push_purge(&entry(PurgeId(3), &home(), false)), "one is missing before it");
    assert!(hear(
        &router,
        vec![entry(PurgeId(1), &home(), false), entry(PurgeId(2), &home(), false)],
        2
    ));
    assert!(get(&router, "/other", &[]).await.1.contains("; hit"));
    assert_eq!(get(&router, "/p", &[]).await.1, status("fwd=uri-miss; fwd-status=200; stored"));
    assert_eq!(router.purge_progress(PurgeId(1)).hit.unwrap().objects, 1);
}

#[tokio::test(start_paused = true)]
async fn whoever_cannot_know_what_it_missed_forgets_everything() {
    let asked = Arc::default();
    let router = following(&counting(&asked));
    get(&router, "/p", &[]).await;
    assert!(router.follow_purges(&PurgeTail::Lost { head: PurgeId(900) }, router.uptime()));
    assert_eq!(router.purge_position(), Some(PurgeId(900)));
    assert_eq!(get(&router, "/p", &[]).await.1, status("fwd=uri-miss; fwd-status=200; stored"));
}

#[tokio::test(start_paused = true)]
async fn a_proof_counts_from_when_it_was_asked_for() {
    let asked = Arc::default();
    let router = following(&counting(&asked));
    get(&router, "/p", &[]).await;
    let began = router.uptime();
    tokio::time::advance(MAX_SILENCE + Duration::from_millis(1)).await;
    let tail = PurgeTail::Next { entries: Vec::new(), head: PurgeId(0) };
    router.follow_purges(&tail, began);
    assert!(!get(&router, "/p", &[]).await.1.contains("; hit"), "the answer took too long");
}

#[tokio::test(start_paused = true)]
async fn what_was_fetched_before_a_purge_is_not_stored_after_it() {
    let origin = TestOrigin::shut(|_| respond(200, &[("cache-control", "max-age=600")], "old"));
    let router = following(&origin);
    let (asking, shared) = (Arc::clone(&router), Arc::clone(&origin));
    let waiting = tokio::spawn(async move { get(&asking, "/p", &[]).await });
    while shared.count() == 0 {
        tokio::task::yield_now().await;
    }
    assert!(hear(&router, vec![entry(PurgeId(1), &home(), false)], 1));
    origin.open();
    assert_eq!(waiting.await.unwrap().0, 200);
    assert_eq!(get(&router, "/p", &[]).await.1, status("fwd=uri-miss; fwd-status=200; stored"));
}
