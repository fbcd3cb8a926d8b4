//! Interim responses (RFC 9110 §15.2, RFC 8297): to who asked and to who waits, through the tier too, and
//! into no store.

use std::{sync::Arc, time::Duration};

use hexpop_router::{Interim, InterimSink};
use http::{HeaderMap, HeaderValue, StatusCode};
use tokio::{sync::mpsc::Receiver, task::JoinHandle};

use crate::{
    mesh::TestRouter,
    origin::{TestOrigin, client, request, respond, seen},
    tier::{FRESH, Pop, settle},
};

const LINK: &str = "</style.css>; rel=preload; as=style";

fn hint() -> Interim {
    let mut headers = HeaderMap::new();
    headers.insert("link", HeaderValue::from_static(LINK));
    headers.insert("x-own", HeaderValue::from_static("1"));
    Interim { status: StatusCode::EARLY_HINTS, headers }
}

/// An origin that says so before each answer, and answers once it is opened.
fn hinting(fields: &'static [(&'static str, &'static str)]) -> Arc<TestOrigin> {
    let origin = TestOrigin::shut(move |_| respond(200, fields, "page"));
    origin.hints.lock().push(hint());
    origin
}

/// Has nodes store a target, until it is stale, so that they know what it varies by; the origin is shut then.
async fn stored_before(origin: &TestOrigin, pop: &Pop, nodes: &[u32], target: &str) {
    origin.open();
    for node in nodes {
        assert_eq!(ask(pop.node(*node), target, &[]).1.await.unwrap().2, "page");
    }
    tokio::time::sleep(Duration::from_secs(61)).await;
    origin.shut_again();
}

type Seen = (u16, String, String);

/// Asks; what comes before the answer is received apart from it.
fn ask(
    router: &Arc<TestRouter>,
    target: &str,
    fields: &[(&str, &str)],
) -> (Receiver<Interim>, JoinHandle<Seen>) {
    let (sink, interims) = InterimSink::channel();
    let mut asked = request("GET", target, fields);
    asked.extensions_mut().insert(sink);
    let router = Arc::clone(router);
    let answer =
        tokio::spawn(async move { seen(router.proxy(asked, client(), None).await.unwrap()).await });
    (interims, answer)
}

/// The names of the fields of each that has come, and its links.
fn come(interims: &mut Receiver<Interim>) -> Vec<String> {
    let mut all = Vec::new();
    while let Ok(Interim { status, headers }) = interims.try_recv() {
        assert_eq!(
            (status.as_u16(), headers.get("link").unwrap().as_bytes()),
            (103, LINK.as_bytes())
        );
        let names: Vec<&str> = headers.keys().map(http::HeaderName::as_str).collect();
        all.push(names.join(" "));
    }
    all
}

#[tokio::test(start_paused = true)]
async fn hints_come_before_the_answer_to_all_who_wait_and_not_with_a_hit() {
    let origin = hinting(FRESH);
    let pop = Pop::new(&origin);
    let target = pop.kept_by(3);
    stored_before(&origin, &pop, &[3], &target).await;
    let (mut own, first) = ask(pop.node(3), &target, &[]);
    settle().await;
    let (mut shared, second) = ask(pop.node(3), &target, &[]);
    settle().await;
    assert_eq!(come(&mut own), ["link x-own via"]);
    assert_eq!(come(&mut shared), ["link"]);
    origin.open();
    assert_eq!(first.await.unwrap().2, "page");
    assert_eq!(second.await.unwrap().2, "page");
    let (mut none, hit) = ask(pop.node(3), &target, &[]);
    assert!(hit.await.unwrap().1.contains("; hit"));
    assert_eq!(come(&mut none), [""; 0]);
    assert_eq!(origin.count(), 2);
}

#[tokio::test(start_paused = true)]
async fn hints_for_what_was_never_seen_are_for_who_asked_only() {
    let origin = hinting(FRESH);
    let pop = Pop::new(&origin);
    let target = pop.kept_by(6);
    let [one, other] = Pop::others(6);
    let (mut own, first) = ask(pop.node(one), &target, &[("x-api-key", "secret")]);
    settle().await;
    let (mut beside, second) = ask(pop.node(one), &target, &[]);
    let (mut elsewhere, third) = ask(pop.node(other), &target, &[]);
    settle().await;
    assert_eq!(come(&mut own), ["link x-own via"]);
    assert_eq!((come(&mut beside), come(&mut elsewhere)), (Vec::new(), Vec::new()));
    origin.open();
    for answer in [first, second, third] {
        assert_eq!(answer.await.unwrap().2, "page");
    }
    assert_eq!(origin.count(), 1);
}

#[tokio::test(start_paused = true)]
async fn hints_of_an_owner_s_fetch_reach_the_clients_of_all_nodes() {
    let origin = hinting(FRESH);
    let pop = Pop::new(&origin);
    let target = pop.kept_by(6);
    let [one, other] = Pop::others(6);
    stored_before(&origin, &pop, &[6, one, other], &target).await;
    let (mut own, first) = ask(pop.node(one), &target, &[]);
    settle().await;
    let (mut beside, second) = ask(pop.node(one), &target, &[]);
    let (mut elsewhere, third) = ask(pop.node(other), &target, &[]);
    settle().await;
    assert_eq!(come(&mut own), ["link x-own via"]);
    assert_eq!(come(&mut beside), ["link"]);
    assert_eq!(come(&mut elsewhere), ["link via"]);
    origin.open();
    for answer in [first, second, third] {
        assert_eq!(answer.await.unwrap().2, "page");
    }
    assert_eq!(origin.count(), 2);
    let (mut none, hit) = ask(pop.node(6), &target, &[]);
    assert!(hit.await.unwrap().1.contains("; hit"));
    assert_eq!(come(&mut none), [""; 0]);
}

#[tokio::test(start_paused = true)]
async fn hints_that_may_name_somebody_are_for_that_one_only() {
    let origin = hinting(&[("cache-control", "private")]);
    let pop = Pop::new(&origin);
    let target = pop.kept_by(3);
    let (mut own, first) = ask(pop.node(3), &target, &[("cookie", "session=1")]);
    settle().await;
    let (mut other, second) = ask(pop.node(3), &target, &[]);
    settle().await;
    assert_eq!(come(&mut own), ["link x-own via"]);
    assert_eq!(come(&mut other), [""; 0]);
    origin.open();
    assert_eq!(first.await.unwrap().2, "page");
    // It goes alone, and gets hints of its own.
    assert_eq!(second.await.unwrap().2, "page");
    assert_eq!(come(&mut other), ["link x-own via"]);
    let (mut written, answer) = ask(pop.node(3), &target, &[("cache-control", "no-store")]);
    answer.await.unwrap();
    assert_eq!(come(&mut written), ["link x-own via"], "past the cache");
}

#[tokio::test(start_paused = true)]
async fn an_owner_of_an_earlier_build_is_asked_without() {
    let origin = TestOrigin::new(|_| respond(200, FRESH, "page"));
    origin.hints.lock().push(hint());
    let pop = Pop::new(&origin);
    let target = pop.kept_by(6);
    pop.mesh.be_old(6, true);
    let new = [("cache-control", "no-cache")];
    for (nth, questions) in [(1, 2), (2, 1)] {
        let (mut interims, answer) = ask(pop.node(3), &target, &new);
        let (code, cache_status, _) = answer.await.unwrap();
        assert_eq!(code, 200);
        assert!(cache_status.starts_with("hexpop-mil-6; "), "{cache_status}");
        assert_eq!(come(&mut interims), [""; 0], "it knows of none");
        assert_eq!(pop.mesh.take_questions().len(), questions, "{nth}: once is enough to know it");
        assert_eq!(origin.count(), nth);
    }
    // After its upgrade it is asked with them again, by and by.
    pop.mesh.be_old(6, false);
    tokio::time::advance(Duration::from_secs(61)).await;
    let (mut interims, answer) = ask(pop.node(3), &target, &new);
    assert_eq!(answer.await.unwrap().0, 200);
    assert_eq!(come(&mut interims).len(), 1);
    assert_eq!(pop.mesh.take_questions().len(), 1);
}
