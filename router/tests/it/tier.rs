//! The tier of a PoP: its nodes fetch an object once for all of them.

use std::{
    sync::{Arc, atomic::Ordering},
    time::Duration,
};

use hexpop_router::RouterOptions;
use hexpop_shard::PurgeTarget;
use http_body_util::BodyExt as _;

use crate::{
    cache::{ask, get},
    edge::{by_hand, handing_out},
    mesh::{Mesh, TestRouter},
    origin::{TestOrigin, client, port, request, respond},
    purges::purge,
};

/// The nodes of one PoP of the test's mesh.
pub(crate) const NODES: [u32; 3] = [3, 6, 9];

/// Three nodes of one PoP in front of an origin.
pub(crate) struct Pop {
    pub(crate) mesh: Arc<Mesh>,
    pub(crate) routers: Vec<(u32, Arc<TestRouter>)>,
}

impl Pop {
    pub(crate) fn new(origin: &Arc<TestOrigin>) -> Self {
        Self::with(origin, |_options| {})
    }

    pub(crate) fn with(origin: &Arc<TestOrigin>, change: impl Fn(&mut RouterOptions)) -> Self {
        let mesh = Mesh::new(9, &[]);
        let routers: Vec<_> = NODES
            .iter()
            .map(|node| (*node, mesh.router_with(*node, port(origin), &change)))
            .collect();
        for (node, router) in &routers {
            mesh.join_caches(*node, router);
        }
        Self { mesh, routers }
    }

    pub(crate) fn node(&self, id: u32) -> &Arc<TestRouter> {
        &self.routers.iter().find(|(node, _router)| *node == id).unwrap().1
    }

    /// A target that a node keeps.
    pub(crate) fn kept_by(&self, node: u32) -> String {
        (0..).map(|n| format!("/page/{n}")).find(|target| self.owner(target) == node).unwrap()
    }

    /// The node that keeps a target: the one that each of the others believes to be it.
    fn owner(&self, target: &str) -> u32 {
        let asked = request("GET", target, &[]);
        let key = format!("http://www.example.com{}", asked.uri().path());
        owner_of(&key)
    }

    /// The other two.
    pub(crate) fn others(owner: u32) -> [u32; 2] {
        let others: Vec<u32> = NODES.into_iter().filter(|node| *node != owner).collect();
        [others[0], others[1]]
    }

    pub(crate) fn purge_all(&self, targets: &[PurgeTarget]) {
        for (_node, router) in &self.routers {
            purge(router, targets, false);
        }
    }
}

/// Who keeps a URL, worked out apart from the code under test: `SplitMix64` over the key's hash and each node.
fn owner_of(url: &str) -> u32 {
    fn mix(value: u64) -> u64 {
        let mut mixed = value.wrapping_add(0x9e37_79b9_7f4a_7c15);
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }
    let path = url.find("/page").unwrap();
    let key = format!("{} {}", &url[..path], &url[path..]);
    let key = hexpop_shard::hash_point(key.as_bytes());
    NODES.into_iter().max_by_key(|node| mix(key ^ mix(u64::from(*node)))).unwrap()
}

pub(crate) const FRESH: &[(&str, &str)] = &[("cache-control", "max-age=60")];

pub(crate) async fn settle() {
    // Paused time moves on only when everybody waits.
    tokio::time::sleep(Duration::from_millis(1)).await;
}

/// A thousand requests spread over the nodes, of which the origin answers those that it gets when all wait.
async fn thousand(
    pop: &Pop,
    origin: &Arc<TestOrigin>,
    target: &str,
    opens: bool,
) -> Vec<(u16, u64)> {
    let waiting: Vec<_> = (0..1000)
        .map(|nth| {
            let router = Arc::clone(&pop.routers[nth % 3].1);
            let target = target.to_owned();
            tokio::spawn(async move { get(&router, &target, &[]).await })
        })
        .collect();
    settle().await;
    if opens {
        origin.open();
    }
    let mut counts: Vec<(u16, u64)> = Vec::new();
    for asked in waiting {
        let (code, ..) = asked.await.unwrap();
        match counts.iter_mut().find(|(known, _count)| *known == code) {
            Some((_known, count)) => *count += 1,
            None => counts.push((code, 1)),
        }
    }
    counts
}

#[tokio::test(start_paused = true)]
async fn a_thousand_requests_at_three_nodes_are_one_request_to_the_origin() {
    let origin = TestOrigin::shut(|_| respond(200, FRESH, "page"));
    let pop = Pop::new(&origin);
    assert_eq!(thousand(&pop, &origin, "/page/1", true).await, [(200, 1000)]);
    assert_eq!(origin.count(), 1);
    for (_node, router) in &pop.routers {
        assert!(get(router, "/page/1", &[]).await.1.contains("; hit"));
    }
    assert_eq!(origin.count(), 1);
}

#[tokio::test(start_paused = true)]
async fn an_error_is_one_for_all_nodes() {
    let origin = TestOrigin::shut(|_| respond(503, &[], "overloaded"));
    let pop = Pop::new(&origin);
    assert_eq!(thousand(&pop, &origin, "/page/1", true).await, [(503, 1000)]);
    assert_eq!(origin.count(), 1);
}

#[tokio::test(start_paused = true)]
async fn what_is_for_one_client_only_is_asked_for_once_each() {
    let origin = TestOrigin::shut(|_| respond(200, &[("cache-control", "private")], "mine"));
    let pop = Pop::new(&origin);
    assert_eq!(thousand(&pop, &origin, "/page/1", true).await, [(200, 1000)]);
    assert_eq!(origin.count(), 1000);
    // From now on nobody makes the detour.
    pop.mesh.take_questions();
    for (_node, router) in &pop.routers {
        assert!(get(router, "/page/1", &[]).await.1.ends_with("fwd=bypass; detail=private"));
    }
    assert_eq!(pop.mesh.take_questions(), []);
}

#[tokio::test(start_paused = true)]
async fn what_an_owner_gets_for_one_asker_only_is_given_to_nobody_else() {
    let asked = std::sync::atomic::AtomicU64::new(0);
    let origin = TestOrigin::new(move |_| {
        let nth = asked.fetch_add(1, Ordering::Relaxed).to_string();
        respond(200, &[("cache-control", "private")], &nth)
    });
    let pop = Pop::new(&origin);
    let target = pop.kept_by(6);
    let first = get(pop.node(3), &target, &[]).await;
    assert!(
        first.1.starts_with("hexpop-mil-6; fwd=bypass; detail=private, hexpop-mil-3; "),
        "{}",
        first.1
    );
    // Both remember it: the asker makes no detour, and the owner has nothing for others.
    pop.mesh.take_questions();
    let again = get(pop.node(3), &target, &[]).await;
    let other = get(pop.node(9), &target, &[]).await;
    let own = get(pop.node(6), &target, &[]).await;
    assert_eq!(pop.mesh.take_questions(), [(9, 6)]);
    assert_eq!([first.2, again.2, other.2, own.2], ["0", "1", "2", "3"]);
    assert!([again.1, other.1].iter().all(|status| !status.contains("hexpop-mil-6")));
    assert_eq!(origin.count(), 4);
}

#[tokio::test(start_paused = true)]
async fn a_body_that_stalls_on_its_way_through_an_owner_ends_for_all_and_is_kept_by_nobody() {
    let (origin_writes, body) = by_hand();
    let origin = handing_out(FRESH, body);
    let pop = Pop::new(&origin);
    let target = pop.kept_by(6);
    let mut bodies = Vec::new();
    for node in Pop::others(6) {
        let asked = request("GET", &target, &[]);
        bodies.push(pop.node(node).proxy(asked, client(), None).await.unwrap().into_body());
    }
    origin_writes.unbounded_send("some").unwrap();
    let begin = tokio::time::Instant::now();
    for body in &mut bodies {
        let frame = body.frame().await.unwrap().unwrap();
        assert_eq!(frame.into_data().unwrap(), "some");
        assert!(body.frame().await.unwrap().is_err());
    }
    assert!(begin.elapsed() < Duration::from_secs(15), "{:?}", begin.elapsed());
    settle().await;
    for (_node, router) in &pop.routers {
        assert_eq!(get(router, &target, &[]).await.2, "later");
    }
    assert_eq!(origin.count(), 2);
    drop(origin_writes);
}

#[tokio::test(start_paused = true)]
async fn an_owner_that_drains_ends_what_it_began_and_is_asked_for_nothing_new() {
    let origin = TestOrigin::shut(|_| respond(200, FRESH, "page"));
    let pop = Pop::new(&origin);
    let target = pop.kept_by(6);
    let (router, shared) = (Arc::clone(pop.node(3)), target.clone());
    let begun = tokio::spawn(async move { get(&router, &shared, &[]).await });
    settle().await;
    for node in NODES {
        pop.mesh.believes(node, &Pop::others(6));
    }
    origin.open();
    let (_code, status, body) = begun.await.unwrap();
    assert!(status.starts_with("hexpop-mil-6; ") && body == "page", "{status}");
    pop.purge_all(&[PurgeTarget::All]);
    pop.mesh.take_questions();
    for node in NODES {
        assert_eq!(get(pop.node(node), &target, &[]).await.2, "page");
    }
    assert!(!pop.mesh.is_asked(6));
    assert_eq!(origin.count(), 2, "another one keeps it");
}

#[tokio::test(start_paused = true)]
async fn an_origin_that_stalls_is_waited_for_once_by_all_nodes() {
    let origin = TestOrigin::shut(|_| respond(200, FRESH, "never"));
    let pop = Pop::new(&origin);
    let begin = tokio::time::Instant::now();
    assert_eq!(thousand(&pop, &origin, "/page/1", false).await, [(504, 1000)]);
    assert!(begin.elapsed() < Duration::from_secs(12), "{:?}", begin.elapsed());
    assert_eq!(origin.count(), 1);
}

#[tokio::test(start_paused = true)]
async fn the_hop_is_shown_and_the_object_is_kept_at_both_nodes() {
    let origin = TestOrigin::new(|_| {
        respond(200, &[("cache-control", "max-age=60"), ("surrogate-key", "k")], "page")
    });
    let pop = Pop::new(&origin);
    let target = pop.kept_by(6);
    let first = get(pop.node(3), &target, &[]).await;
    assert_eq!(
        first.1,
        "hexpop-mil-6; fwd=uri-miss; fwd-status=200; stored, \
         hexpop-mil-3; fwd=uri-miss; fwd-status=200; stored; detail=peer"
    );
    let other = get(pop.node(9), &target, &[]).await;
    assert_eq!(
        other.1,
        "hexpop-mil-6; hit; ttl=60, \
         hexpop-mil-9; fwd=uri-miss; fwd-status=200; stored; detail=peer"
    );
    // What is stored came through another node once, and does not now.
    assert_eq!(get(pop.node(3), &target, &[]).await.1, "hexpop-mil-3; hit; ttl=60");
    assert_eq!(origin.count(), 1);
    let got = origin.last();
    let via: Vec<_> = got.headers.get_all("via").iter().collect();
    assert_eq!(via, ["1.1 hexpop-mil-3", "1.1 hexpop-mil-6"]);
    assert_eq!(got.headers["x-forwarded-for"], "10.1.2.3");
    // Tags come along, and reach no client.
    let response = pop.node(9).proxy(request("GET", &target, &[]), client(), None).await.unwrap();
    assert!(!response.headers().contains_key("surrogate-key"));
    pop.purge_all(&[PurgeTarget::Tag("k".into())]);
    assert!(!get(pop.node(9), &target, &[]).await.1.contains("hexpop-mil-9; hit"));
}

#[tokio::test(start_paused = true)]
async fn an_owner_that_is_down_hangs_or_falls_silent_is_left_out() {
    let origin = TestOrigin::new(|_| respond(200, FRESH, "page"));
    let pop = Pop::new(&origin);
    let target = pop.kept_by(6);
    pop.mesh.stop(6);
    let alone = get(pop.node(3), &target, &[]).await;
    assert_eq!(alone.1, "hexpop-mil-3; fwd=uri-miss; fwd-status=200; stored");
    pop.mesh.start(6);
    // One that takes the question and says nothing costs a moment.
    pop.mesh.hang(6);
    let begin = tokio::time::Instant::now();
    assert_eq!(get(pop.node(9), &target, &[]).await.2, "page");
    assert_eq!(begin.elapsed(), Duration::from_secs(2));
    // One that is heard no more does not, and the next one keeps what it kept.
    pop.purge_all(&[PurgeTarget::All]);
    let router = Arc::clone(pop.node(3));
    pop.mesh.take_questions();
    let (begin, shared) = (tokio::time::Instant::now(), target.clone());
    let waiting = tokio::spawn(async move { get(&router, &shared, &[]).await });
    while !pop.mesh.is_asked(6) {
        tokio::task::yield_now().await;
    }
    pop.mesh.silence(6);
    assert_eq!(waiting.await.unwrap().2, "page");
    assert!(begin.elapsed() < Duration::from_millis(10));
    pop.purge_all(&[PurgeTarget::All]);
    pop.mesh.take_questions();
    for node in Pop::others(6) {
        get(pop.node(node), &target, &[]).await;
    }
    assert_eq!(pop.mesh.take_questions().len(), 1, "one of the two keeps it now");
}

#[tokio::test(start_paused = true)]
async fn an_owner_that_has_too_much_to_do_is_not_taken_for_a_sick_one() {
    let origin = TestOrigin::new(|_| respond(200, FRESH, "page"));
    let pop = Pop::new(&origin);
    let target = pop.kept_by(6);
    pop.mesh.fill(6, true);
    for nth in 0..20 {
        let alone = get(pop.node(3), &target, &[("cache-control", "no-cache")]).await;
        assert_eq!((alone.0, alone.2.as_str()), (200, "page"), "{nth}");
        assert!(!alone.1.contains("hexpop-mil-6"), "{}", alone.1);
    }
    pop.mesh.fill(6, false);
    let asked = get(pop.node(3), &target, &[("cache-control", "no-cache")]).await;
    assert!(asked.1.starts_with("hexpop-mil-6; "), "{}", asked.1);
}

#[tokio::test(start_paused = true)]
async fn an_owner_that_accepts_and_says_nothing_more_is_taken_for_a_sick_one() {
    let origin = TestOrigin::new(|_| respond(200, FRESH, "page"));
    let pop = Pop::new(&origin);
    let target = pop.kept_by(6);
    pop.mesh.stall(6);
    for _ in 0..5 {
        assert_eq!(get(pop.node(3), &target, &[]).await.0, 504);
    }
    pop.mesh.take_questions();
    assert_eq!(get(pop.node(3), &target, &[]).await.2, "page");
    assert!(!pop.mesh.is_asked(6));
}

#[tokio::test(start_paused = true)]
async fn while_a_sick_owner_is_probed_the_next_one_is_asked() {
    let origin = TestOrigin::new(|_| respond(200, FRESH, "page"));
    let pop = Pop::new(&origin);
    // Two pages of node 6, of which node 9 keeps the second without it.
    let first = pop.kept_by(6);
    pop.mesh.believes(3, &Pop::others(6));
    let mut second = String::new();
    for target in (0..).map(|n| format!("/page/{n}")).filter(|target| pop.owner(target) == 6) {
        pop.mesh.take_questions();
        get(pop.node(3), &target, &[]).await;
        second = target;
        if second != first && pop.mesh.is_asked(9) {
            break;
        }
    }
    pop.mesh.believes(3, &NODES);
    pop.purge_all(&[PurgeTarget::All]);
    pop.mesh.stall(6);
    for _ in 0..5 {
        get(pop.node(3), &first, &[]).await;
    }
    tokio::time::sleep(Duration::from_secs(3)).await;
    pop.mesh.take_questions();
    // Both choose it before one of them probes it.
    let probe = get(pop.node(3), &first, &[]);
    let beside = get(pop.node(3), &second, &[]);
    let (probe, beside) = tokio::join!(probe, beside);
    assert_eq!((probe.0, beside.2.as_str()), (504, "page"));
    assert_eq!(pop.mesh.take_questions(), [(3, 6), (3, 9)]);
}

#[tokio::test(start_paused = true)]
async fn a_head_that_is_too_long_for_the_way_is_left_to_the_asker() {
    let long = "x".repeat(2 << 20);
    let origin =
        TestOrigin::new(move |_| respond(200, &[FRESH[0], ("x-long", long.as_str())], "page"));
    let pop = Pop::new(&origin);
    let target = pop.kept_by(6);
    let got = get(pop.node(3), &target, &[]).await;
    assert_eq!((got.0, got.2.as_str()), (200, "page"));
    assert!(!got.1.contains("hexpop-mil-6"), "{}", got.1);
    assert_eq!(origin.count(), 2);
}

#[tokio::test(start_paused = true)]
async fn nodes_that_believe_each_other_to_be_the_owner_wait_for_nobody() {
    let origin = TestOrigin::shut(|_| respond(200, FRESH, "page"));
    let pop = Pop::new(&origin);
    pop.mesh.believes(3, &[6]);
    pop.mesh.believes(6, &[3]);
    let asked: Vec<_> = (0..10)
        .map(|nth| {
            let router = Arc::clone(pop.node([3, 6][nth % 2]));
            tokio::spawn(async move { get(&router, "/page/1", &[]).await })
        })
        .collect();
    settle().await;
    assert_eq!(origin.count(), 2, "each asked the origin for the other");
    origin.open();
    for asked in asked {
        assert_eq!(asked.await.unwrap().2, "page");
    }
    assert_eq!(origin.count(), 2);
}

#[tokio::test(start_paused = true)]
async fn an_owner_that_cannot_reach_the_origin_does_not_keep_others_from_it() {
    let (origin, gone) =
        (TestOrigin::new(|_| respond(200, FRESH, "page")), TestOrigin::unreachable());
    let pop = Pop::new(&origin);
    let cut_off = pop.mesh.router(6, port(&gone));
    pop.mesh.join_caches(6, &cut_off);
    let target = pop.kept_by(6);
    assert_eq!(get(pop.node(3), &target, &[]).await.2, "page");
    assert_eq!(get(&cut_off, &target, &[]).await.0, 503);
}

#[tokio::test(start_paused = true)]
async fn switched_off_it_is_as_if_there_was_none() {
    let origin = TestOrigin::new(|_| respond(200, FRESH, "page"));
    let pop = Pop::with(&origin, |options| options.cache.tier = false);
    for (_node, router) in &pop.routers {
        get(router, "/page/1", &[]).await;
        ask(router, "POST", "/page/2", &[]).await;
    }
    assert_eq!(origin.count(), 6);
    assert_eq!(pop.mesh.take_questions(), []);
}

#[tokio::test(start_paused = true)]
async fn any_bytes_as_a_question_are_declined() {
    use futures::StreamExt as _;
    let origin = TestOrigin::none();
    let pop = Pop::new(&origin);
    for bytes in [&b""[..], b"\x01", b"\x02", b"\x02\x00\xff\xff", &[2; 3 << 20]] {
        let frames: Vec<_> = pop.node(3).serve_cache(bytes).collect().await;
        assert_eq!(frames.len(), 1);
        assert_eq!(&frames[0][..2], b"\x02\x01", "declined");
    }
    assert_eq!(origin.count(), 0);
}

#[tokio::test(start_paused = true)]
async fn a_body_reaches_the_clients_of_all_nodes_as_it_arrives() {
    let (origin_writes, receiver) = futures::channel::mpsc::unbounded::<&'static str>();
    let frames = futures::StreamExt::map(receiver, |text| {
        Ok(http_body::Frame::data(bytes::Bytes::from_static(text.as_bytes())))
    });
    let body =
        parking_lot::Mutex::new(Some(http_body_util::StreamBody::new(frames).boxed_unsync()));
    let origin = TestOrigin::new(move |_| {
        let mut response = respond(200, FRESH, "");
        *response.body_mut() = body.lock().take().unwrap();
        response
    });
    let pop = Pop::new(&origin);
    let mut readers = Vec::new();
    for (_node, router) in &pop.routers {
        let response = router.proxy(request("GET", "/page/1", &[]), client(), None).await.unwrap();
        readers.push(response.into_body());
    }
    origin_writes.unbounded_send("first ").unwrap();
    for reader in &mut readers {
        let frame = reader.frame().await.unwrap().unwrap();
        assert_eq!(frame.into_data().unwrap(), "first ");
    }
    origin_writes.unbounded_send("second").unwrap();
    drop(origin_writes);
    for reader in readers {
        assert_eq!(reader.collect().await.unwrap().to_bytes(), "second");
    }
    assert_eq!(origin.count.load(Ordering::Relaxed), 1);
    settle().await;
    for (_node, router) in &pop.routers {
        assert_eq!(get(router, "/page/1", &[]).await.2, "first second");
    }
}
