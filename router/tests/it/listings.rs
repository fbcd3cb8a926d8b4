use std::{
    sync::{Arc, atomic::Ordering},
    time::Duration,
};

use hexpop_router::{Context, Fallback, Level, Routed, full};
use hexpop_shard::Op;
use http::{HeaderMap, Method};

use crate::{
    mesh::{Fault, Mesh, TestRouter, complete, listing, op_of},
    origin::{TestOrigin, client, port, respond, seen},
};

fn context(level: Option<Level>) -> Context {
    let fallback = Fallback {
        method: Method::GET,
        target: "/api/v1/listings/x".to_owned(),
        headers: HeaderMap::new(),
        body: bytes::Bytes::new(),
        client: client(),
    };
    Context { level, fallback: Some(fallback), ..Context::default() }
}

async fn ingest(router: &TestRouter, line: String) {
    router
        .ingest(full(line.into()), crate::mesh::LINE_BYTES_MAX, &Context::default())
        .await
        .unwrap();
}

async fn json(router: &TestRouter, id: &str, level: Option<Level>) -> Result<String, u16> {
    match router.get_listing(id, &context(level)).await {
        Ok(Routed::Mesh(answer)) => Ok(String::from_utf8(answer.value.json.to_vec()).unwrap()),
        Ok(Routed::Origin(response)) => Ok(seen(response).await.2),
        Err(error) => Err(error.status),
    }
}

#[tokio::test(start_paused = true)]
async fn a_listing_is_read_from_the_replica_at_hand() {
    let mesh = Mesh::new(3, &["IT:lazio"]);
    let routers: Vec<Arc<TestRouter>> =
        (1..=3).map(|node| mesh.router(node, port(&TestOrigin::none()))).collect();
    ingest(&routers[0], listing("a", "IT:lazio", 1, 1)).await;
    let mut tags = Vec::new();
    for router in &routers {
        let Routed::Mesh(answer) = router.get_listing("a", &context(None)).await.unwrap() else {
            panic!("not from the mesh")
        };
        assert_eq!(answer.cache_status, format!("{}; hit; detail=replica", router.name()));
        let given = answer.given.to_string();
        assert!(given.starts_with("eventual; staleness=0; shard="), "{given}");
        tags.push(answer.value.etag);
    }
    assert!(tags.iter().all(|tag| *tag == tags[0]));
    mesh.take_requests();
    json(&routers[1], "a", None).await.unwrap();
    // The id's place is remembered: one read, here.
    assert_eq!(mesh.take_requests().len(), 1);
    let strong = routers[1].get_listing("a", &context(Some(Level::Strong))).await.unwrap();
    let Routed::Mesh(strong) = strong else { panic!("not from the mesh") };
    assert!(strong.given.to_string().starts_with("strong; staleness=0; shard="));
}

#[tokio::test(start_paused = true)]
async fn a_remembered_place_that_is_out_of_date_is_looked_up_again() {
    let mesh = Mesh::new(3, &["DE:berlin", "IT:lazio"]);
    let origin = TestOrigin::none();
    let (one, two) = (mesh.router(1, port(&origin)), mesh.router(2, port(&origin)));
    ingest(&one, listing("a", "IT:lazio", 1, 1)).await;
    assert!(json(&two, "a", None).await.unwrap().contains("lazio"));
    ingest(&one, listing("a", "DE:berlin", 2, 2)).await;
    assert!(json(&two, "a", None).await.unwrap().contains("berlin"));
    ingest(&one, r#"{"delete":"a","version":3}"#.to_owned()).await;
    assert_eq!(json(&two, "a", None).await, Err(404));
    assert_eq!(origin.count(), 0);
}

#[tokio::test(start_paused = true)]
async fn what_is_not_for_the_public_is_not_found() {
    let mesh = Mesh::new(1, &[]);
    let origin = TestOrigin::new(|_| respond(200, &[], "leak"));
    let router = mesh.router(1, port(&origin));
    for (status, code) in [("draft", Err(404)), ("pending_review", Err(404)), ("sold", Ok(()))] {
        let line = listing(status, "IT:lazio", 1, 1).replace("active", status);
        ingest(&router, line).await;
        assert_eq!(json(&router, status, None).await.map(drop), code, "{status}");
    }
}

#[tokio::test(start_paused = true)]
async fn what_the_mesh_does_not_have_the_origin_is_asked_for() {
    let mesh = Mesh::new(3, &[]);
    let origin = TestOrigin::new(|_| respond(200, &[], "from origin"));
    let router = mesh.router(1, port(&origin));
    let Routed::Origin(response) = router.get_listing("x", &context(None)).await.unwrap() else {
        panic!("not from the origin")
    };
    let (code, cache_status, body) = seen(response).await;
    assert_eq!((code, body.as_str()), (200, "from origin"));
    assert_eq!(cache_status, "hexpop-mad-1; fwd=uri-miss; fwd-status=200; detail=origin");
    assert_eq!(origin.last().target, "/api/v1/listings/x");
    origin.set(|_| respond(404, &[], "no"));
    assert_eq!(json(&router, "x", None).await, Err(404));
    origin.down.store(true, Ordering::Relaxed);
    // A mesh that was never loaded does not know; one that was is sure.
    assert_eq!(json(&router, "x", None).await, Err(503));
    complete(&router).await;
    assert_eq!(json(&router, "x", None).await, Err(404));
}

#[tokio::test(start_paused = true)]
async fn reads_go_on_while_nodes_are_down() {
    let mesh = Mesh::new(3, &["IT:lazio"]);
    let router = mesh.router(1, port(&TestOrigin::unreachable()));
    ingest(&router, listing("a", "IT:lazio", 1, 1)).await;
    let leader = mesh.leader(mesh.shard_of("IT:lazio"));
    mesh.stop(leader);
    assert!(json(&router, "a", None).await.is_ok());
}

#[tokio::test(start_paused = true)]
async fn a_leader_that_is_not_heard_is_not_asked_first() {
    let mesh = Mesh::new(3, &["IT:lazio"]);
    let router = mesh.router(1, port(&TestOrigin::unreachable()));
    ingest(&router, listing("a", "IT:lazio", 1, 1)).await;
    let shard = mesh.shard_of("IT:lazio");
    let old = 2 + mesh.leader(shard) % 2;
    let new = 5 - old;
    mesh.lead(shard, old);
    ingest(&router, listing("a", "IT:lazio", 2, 2)).await;
    // Another one leads, which nobody told this router. Were the old one dead, it would cost a timeout.
    mesh.silence(old);
    mesh.lead(shard, new);
    mesh.take_requests();
    ingest(&router, listing("a", "IT:lazio", 3, 3)).await;
    let asked: Vec<u32> = mesh
        .take_requests()
        .into_iter()
        .filter(|(_, request)| request.shard == shard && op_of(request).is_some())
        .map(|(node, _)| node.0)
        .collect();
    assert!(!asked.contains(&old) && asked.last() == Some(&new), "{asked:?}");
}

#[tokio::test(start_paused = true)]
async fn a_leader_that_falls_silent_is_waited_for_no_longer() {
    const ATTEMPT: Duration = Duration::from_millis(1500);
    let mesh = Mesh::new(3, &["IT:lazio"]);
    let router = mesh.router_with(1, port(&TestOrigin::unreachable()), |options| {
        options.write_attempt_timeout = ATTEMPT;
    });
    let shard = mesh.shard_of("IT:lazio");
    let old = 2 + mesh.leader(shard) % 2;
    mesh.lead(shard, old);
    ingest(&router, listing("a", "IT:lazio", 1, 1)).await;
    mesh.hang(old);
    mesh.take_requests();
    let writing = {
        let router = Arc::clone(&router);
        tokio::spawn(async move { ingest(&router, listing("a", "IT:lazio", 2, 2)).await })
    };
    let started = tokio::time::Instant::now();
    while !mesh.take_requests().iter().any(|(node, _)| node.0 == old) {
        tokio::task::yield_now().await;
    }
    mesh.lead(shard, 5 - old);
    mesh.silence(old);
    writing.await.unwrap();
    // The clock is the test's: what was waited for is exact, and no attempt ran to its end.
    assert!(started.elapsed() < ATTEMPT, "{:?}", started.elapsed());
    assert!(json(&router, "a", None).await.unwrap().contains("\"version\":2"));
}

#[tokio::test(start_paused = true)]
async fn while_the_others_elect_a_silent_leader_is_not_asked() {
    const NOBODY: u32 = 9;
    let mesh = Mesh::new(3, &["IT:lazio"]);
    let router = mesh.router(1, port(&TestOrigin::unreachable()));
    let shard = mesh.shard_of("IT:lazio");
    let old = 2 + mesh.leader(shard) % 2;
    mesh.lead(shard, old);
    ingest(&router, listing("a", "IT:lazio", 1, 1)).await;
    mesh.hang(old);
    mesh.silence(old);
    mesh.lead(shard, NOBODY);
    mesh.take_requests();
    let writing = {
        let router = Arc::clone(&router);
        tokio::spawn(async move { ingest(&router, listing("a", "IT:lazio", 2, 2)).await })
    };
    let mut asked = Vec::new();
    while asked.len() < 4 {
        tokio::time::sleep(Duration::from_millis(1)).await;
        let requests = mesh.take_requests();
        asked.extend(requests.into_iter().filter(|(_, request)| request.shard == shard));
    }
    mesh.lead(shard, 5 - old);
    writing.await.unwrap();
    asked.extend(mesh.take_requests());
    assert!(asked.iter().all(|(node, _)| node.0 != old), "{asked:?}");
    assert!(json(&router, "a", None).await.unwrap().contains("\"version\":2"));
}

#[tokio::test(start_paused = true)]
async fn a_replica_that_others_always_outrun_is_not_asked_first_for_ever() {
    let mesh = Mesh::new(3, &["IT:lazio"]);
    ingest(&mesh.router(1, port(&TestOrigin::unreachable())), listing("a", "IT:lazio", 1, 1)).await;
    // No replica of its own; node 1 is of its PoP.
    let router = mesh.router(4, port(&TestOrigin::unreachable()));
    mesh.hang(1);
    let mut slow = 0;
    for _ in 0..20 {
        let started = tokio::time::Instant::now();
        json(&router, "a", None).await.unwrap();
        slow += u32::from(!started.elapsed().is_zero());
    }
    // As many as open a breaker, of the directory and of the listing; then a probe now and then.
    assert!(slow > 0 && slow <= 8, "{slow} of 20 waited");
}

#[tokio::test(start_paused = true)]
async fn a_copy_that_the_directory_never_pointed_to_is_not_read() {
    let mesh = Mesh::new(3, &["IT:lazio"]);
    let router = mesh.router(1, port(&TestOrigin::none()));
    complete(&router).await;
    ingest(&router, listing("a", "IT:lazio", 1, 100)).await;
    // The copy goes, and the directory is not told; then a newer one comes, and it is not told either.
    mesh.plan(Box::new(|_number, request| {
        matches!(op_of(request), Some(Op::Directory(_))).then_some(Fault::Refuse)
    }));
    ingest(&router, r#"{"delete":"a","version":2}"#.to_owned()).await;
    ingest(&router, listing("a", "IT:lazio", 3, 300)).await;
    for level in [None, Some(Level::Strong)] {
        assert_eq!(json(&router, "a", level).await, Err(404), "{level:?}");
    }
    // Repeated, the line is finished, and read.
    mesh.no_faults();
    ingest(&router, listing("a", "IT:lazio", 3, 300)).await;
    assert!(json(&router, "a", Some(Level::Strong)).await.unwrap().contains(r#""version":3"#));
}
