use std::{
    sync::{Arc, atomic::Ordering},
    time::Duration,
};

use hexpop_edge_config::ShardId;
use hexpop_router::{Context, DiskState, NewSession, OriginState, Problem, PutBody, SessionOrigin};
use hexpop_shard::{Condition, ERASURE_RETENTION_MS, Op, RecordVersion, SessionLimits, SessionOp};
use serde_json::value::RawValue;

use crate::{
    mesh::{Fault, Mesh, TestRouter, op_of},
    origin::{TestOrigin, port, respond},
};

/// The sessions shards of the test mesh: the first has what these tests write.
const SHARD: ShardId = ShardId(2);
const OTHER_SHARD: ShardId = ShardId(4);

fn body(data: &str, sliding: bool) -> PutBody {
    PutBody {
        user: "u1".to_owned(),
        ttl_ms: 1_800_000,
        sliding,
        data: RawValue::from_string(data.to_owned()).unwrap(),
        limits: SessionLimits::default(),
    }
}

fn new(data: &str, key: Option<&str>) -> NewSession {
    NewSession {
        territory: "IT:lombardia".parse().unwrap(),
        body: body(data, false),
        idempotency_key: key.map(ToOwned::to_owned),
    }
}

fn routers(nodes: u32) -> (Arc<Mesh>, Vec<Arc<TestRouter>>) {
    let mesh = Mesh::new(nodes, &[]);
    let origin = TestOrigin::new(|_| respond(204, &[], ""));
    let routers = (1..=nodes).map(|node| mesh.router(node, port(&origin))).collect();
    (mesh, routers)
}

fn context() -> Context {
    Context::default()
}

#[tokio::test(start_paused = true)]
async fn a_session_made_at_one_node_is_read_replaced_and_deleted_at_others() {
    let (_mesh, routers) = routers(3);
    let made = routers[0].session_create(new(r#"{"a":1}"#, None), &context()).await.unwrap();
    let id = made.head.id.as_str();
    assert!(id.starts_with("it-lombardia.") && id.len() > "it-lombardia.".len() + 21);
    let read = routers[1].session_get(id, &context()).await.unwrap();
    assert_eq!(read.etag(), made.etag());
    assert_eq!(serde_json::to_value(read.body()).unwrap()["data"]["a"], 1);
    assert!(read.given.unwrap().to_string().starts_with("strong; staleness=0; shard=2"));
    let if_match = Some(Condition::IfMatch(made.head.version));
    let put = routers[2].session_put(id, body("2", false), if_match, &context()).await.unwrap();
    assert_eq!((put.origin, put.data.get()), (SessionOrigin::Replaced, "2"));
    assert_ne!(put.etag(), made.etag());
    let late =
        routers[0].session_put(id, body("3", false), if_match, &context()).await.unwrap_err();
    assert_eq!((late.status, late.current_version), (412, Some(put.head.version.to_string())));
    let late = routers[0].session_delete(id, if_match, &context()).await.unwrap_err();
    assert_eq!(late.status, 412);
    routers[1].session_delete(id, None, &context()).await.unwrap();
    assert_eq!(routers[2].session_get(id, &context()).await.unwrap_err().status, 404);
    assert_eq!(routers[2].session_delete(id, None, &context()).await.unwrap_err().status, 404);
}

#[tokio::test(start_paused = true)]
async fn ids_are_read_as_they_are_and_others_refused() {
    let (_mesh, routers) = routers(1);
    for wrong in ["", "x", "IT-lazio.a", "it-lazio", "it-lazio.a b"] {
        assert_eq!(routers[0].session_get(wrong, &context()).await.unwrap_err().status, 404);
        let put = routers[0].session_put(wrong, body("1", false), None, &context()).await;
        assert_eq!(put.unwrap_err().status, 422, "{wrong}");
    }
    let only_new = Some(Condition::IfAbsent);
    for expected in [Ok(SessionOrigin::Created), Err(412)] {
        let put = routers[0]
            .session_put("es-castilla-y-leon.mine", body("1", false), only_new, &context())
            .await;
        assert_eq!(put.map(|reply| reply.origin).map_err(|error| error.status), expected);
    }
}

#[tokio::test(start_paused = true)]
async fn an_idempotency_key_gets_the_first_answer_at_any_node() {
    let (_mesh, routers) = routers(3);
    let first = routers[0].session_create(new("1", Some("k")), &context()).await.unwrap();
    let second = routers[2].session_create(new("1", Some("k")), &context()).await.unwrap();
    assert_eq!(second.origin, SessionOrigin::Repeated);
    assert_eq!(second.head, first.head);
    let other = routers[1].session_create(new("2", Some("k")), &context()).await.unwrap_err();
    assert_eq!(other.problem, Problem::IdempotencyMismatch);
    let third = routers[1].session_create(new("1", Some("k2")), &context()).await.unwrap();
    assert_ne!(third.head.id, first.head.id);
}

#[tokio::test(start_paused = true)]
async fn the_end_of_a_session_is_answered_once_it_is_in_the_log() {
    let (mesh, routers) = routers(3);
    let made = routers[0].session_create(new("1", None), &context()).await.unwrap();
    let id = made.head.id.as_str();
    mesh.wall_ms.store(made.head.expires_ms - 1, Ordering::Relaxed);
    assert!(routers[1].session_get(id, &context()).await.is_ok());
    mesh.wall_ms.store(made.head.expires_ms, Ordering::Relaxed);
    let before = mesh.writes();
    let ended = routers[1].session_get(id, &context()).await.unwrap_err();
    assert_eq!((ended.status, ended.problem), (404, Problem::SessionExpired));
    assert_eq!(mesh.writes(), before + 1);
    let gone = routers[1].session_get(id, &context()).await.unwrap_err();
    assert_eq!((gone.problem, mesh.writes()), (Problem::NotFound, before + 1));
}

#[tokio::test(start_paused = true)]
async fn reading_renews_a_sliding_session() {
    let (mesh, routers) = routers(3);
    let put =
        routers[0].session_put("it-lazio.s", body("1", true), None, &context()).await.unwrap();
    mesh.wall_ms.fetch_add(1_000_000, Ordering::Relaxed);
    routers[1].session_get("it-lazio.s", &context()).await.unwrap();
    // The renewal runs behind the answer.
    tokio::time::sleep(Duration::from_millis(1)).await;
    let renewed = routers[2].session_get("it-lazio.s", &context()).await.unwrap();
    assert_eq!(renewed.head.expires_ms, put.head.expires_ms + 1_000_000);
    assert_eq!(renewed.etag(), put.etag());
    mesh.wall_ms.fetch_add(1_000_000, Ordering::Relaxed);
    routers[0].session_touch("it-lazio.s", &context()).await.unwrap();
    assert_eq!(routers[0].session_touch("it-lazio.t", &context()).await.unwrap_err().status, 404);
}

#[tokio::test(start_paused = true)]
async fn a_write_follows_the_leader_and_waits_out_an_election() {
    let (mesh, routers) = routers(3);
    for leader in [1, 2, 3, 2] {
        mesh.lead(SHARD, leader);
        routers[0].session_create(new("1", None), &context()).await.unwrap();
    }
    mesh.lead(SHARD, 3);
    mesh.stop(3);
    let writing = {
        let router = Arc::clone(&routers[0]);
        tokio::spawn(async move { router.session_create(new("1", None), &context()).await })
    };
    tokio::time::sleep(Duration::from_millis(600)).await;
    assert!(!writing.is_finished());
    mesh.lead(SHARD, 2);
    writing.await.unwrap().unwrap();
}

#[tokio::test(start_paused = true)]
async fn without_a_leader_a_write_says_whether_it_may_have_been_applied() {
    let (mesh, routers) = routers(3);
    mesh.lead(SHARD, 3);
    mesh.stop(3);
    let error = routers[0].session_create(new("1", None), &context()).await.unwrap_err();
    assert_eq!((error.status, error.applied()), (503, Some(false)));
    mesh.start(3);
    mesh.plan(Box::new(|_, _| Some(Fault::LoseAnswer)));
    let error = routers[0].session_create(new("1", None), &context()).await.unwrap_err();
    assert_eq!((error.status, error.applied()), (503, None));
    assert_eq!(error.to_json(None)["outcome"], "unknown");
    // A read is never of unknown outcome.
    mesh.stop(3);
    let error = routers[0].session_get("it-lazio.a", &context()).await.unwrap_err();
    assert!(error.to_json(None).get("outcome").is_none());
}

#[tokio::test(start_paused = true)]
async fn a_repeat_of_a_write_does_not_meet_its_own_first_attempt() {
    let (mesh, routers) = routers(3);
    mesh.lead(SHARD, 2);
    let made = routers[0].session_create(new("1", None), &context()).await.unwrap();
    mesh.plan(Box::new(|number, _| (number == 1).then_some(Fault::LoseAnswer)));
    let if_match = Some(Condition::IfMatch(made.head.version));
    let id = made.head.id.as_str();
    let put = routers[0].session_put(id, body("2", false), if_match, &context()).await.unwrap();
    assert_eq!((put.origin, mesh.writes()), (SessionOrigin::Replaced, 2));
    let read = routers[1].session_get(id, &context()).await.unwrap();
    assert_eq!(read.etag(), put.etag());
}

#[tokio::test(start_paused = true)]
async fn a_condition_that_never_holds_still_tells_the_version() {
    let (_mesh, routers) = routers(1);
    let made = routers[0].session_create(new("1", None), &context()).await.unwrap();
    let never = RecordVersion { shard: ShardId(u64::MAX), term: 0, index: 0 };
    let id = made.head.id.as_str();
    let error = routers[0]
        .session_put(id, body("2", false), Some(Condition::IfMatch(never)), &context())
        .await
        .unwrap_err();
    assert_eq!(error.current_version, Some(made.head.version.to_string()));
}

#[tokio::test(start_paused = true)]
async fn a_user_is_exported_and_erased_everywhere() {
    let (mesh, routers) = routers(3);
    for data in ["1", "2", "3"] {
        routers[0].session_create(new(data, None), &context()).await.unwrap();
    }
    let export = routers[1].export_user("u1", &context()).await.unwrap();
    assert_eq!(export.sessions.len(), 3);
    let erased = routers[1].erase_user("u1", &context()).await.unwrap();
    assert!(erased.is_complete());
    assert_eq!((erased.territories[0].sessions, erased.origin), (3, OriginState::Told));
    assert!(routers[2].export_user("u1", &context()).await.unwrap().sessions.is_empty());
    routers[0].session_create(new("4", None), &context()).await.unwrap();
    let again = routers[2].erasure("u1", &erased.erasure_id.to_string(), &context()).await.unwrap();
    // A later session is none of the first erasure's business.
    assert_eq!((again.territories[0].sessions, again.origin), (3, OriginState::Told));
    assert!(again.is_complete() && again.disk == DiskState::Pending);
    let unknown = routers[2].erasure("u1", &"0".repeat(32), &context()).await.unwrap_err();
    assert_eq!(unknown.status, 404);
    assert_eq!(routers[2].erasure("u1", "x", &context()).await.unwrap_err().status, 404);
    assert_eq!(routers[0].erase_user("", &context()).await.unwrap_err().status, 422);
    drop(mesh);
}

#[tokio::test(start_paused = true)]
async fn a_receipt_is_its_own_user_s_at_every_node() {
    let (_mesh, routers) = routers(3);
    routers[0].session_create(new("1", None), &context()).await.unwrap();
    let erased = routers[1].erase_user("u1", &context()).await.unwrap();
    let id = erased.erasure_id.to_string();
    routers[2].erasure("u1", &id, &context()).await.unwrap();
    let other = routers[2].erasure("u2", &id, &context()).await.unwrap_err();
    assert_eq!((other.status, other.problem), (404, Problem::NotFound));
    // Two erasures of one user are two.
    let second = routers[1].erase_user("u1", &context()).await.unwrap();
    assert_ne!(second.erasure_id, erased.erasure_id);
}

#[tokio::test(start_paused = true)]
async fn no_shard_without_anything_of_a_user_hears_the_name_or_has_disks_to_rid() {
    let (mesh, routers) = routers(3);
    routers[0].session_create(new("1", None), &context()).await.unwrap();
    mesh.take_requests();
    let erased = routers[1].erase_user("u1", &context()).await.unwrap();
    assert!(erased.is_complete());
    let named = mesh.take_requests().into_iter().filter(
        |(_, request)| matches!(op_of(request), Some(Op::Session(op)) if op.user() == Some("u1")),
    );
    assert_eq!(named.map(|(_, request)| request.shard).collect::<Vec<_>>(), [SHARD]);
    let receipt =
        routers[2].erasure("u1", &erased.erasure_id.to_string(), &context()).await.unwrap();
    let shards = receipt.territories.iter().flat_map(|territory| &territory.shards);
    for shard in shards {
        let expected = if shard.shard == SHARD { DiskState::Pending } else { DiskState::Compacted };
        assert!(shard.replicas.iter().all(|replica| replica.disk == expected), "{shard:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn erasures_that_cannot_be_completed_do_not_starve_others() {
    let mesh = Mesh::new(3, &[]);
    let takes = Arc::new(std::sync::atomic::AtomicU16::new(422));
    let answers = Arc::clone(&takes);
    let origin = TestOrigin::new(move |_| respond(answers.load(Ordering::Relaxed), &[], ""));
    let routers: Vec<_> = (1..=3).map(|node| mesh.router(node, port(&origin))).collect();
    // Refused by the origin, they stay open for good.
    for _ in 0..150 {
        routers[0].erase_user("u1", &context()).await.unwrap();
    }
    takes.store(503, Ordering::Relaxed);
    let mut open = Vec::new();
    for _ in 0..20 {
        open.push(routers[0].erase_user("u1", &context()).await.unwrap().erasure_id.to_string());
    }
    takes.store(204, Ordering::Relaxed);
    let followed: Vec<_> = routers.iter().map(|router| router.follow_erasures()).collect();
    tokio::time::sleep(Duration::from_secs(120)).await;
    for id in &open {
        let receipt = routers[1].erasure("u1", id, &context()).await.unwrap();
        assert_eq!(receipt.origin, OriginState::Told);
    }
    drop(followed);
}

#[tokio::test(start_paused = true)]
async fn an_erasure_goes_on_without_the_node_that_began_it() {
    let (mesh, routers) = routers(3);
    let followed: Vec<_> = routers.iter().map(|router| router.follow_erasures()).collect();
    let made = routers[0].session_create(new("1", None), &context()).await.unwrap();
    mesh.lead(SHARD, 3);
    mesh.lead(OTHER_SHARD, 2);
    mesh.stop(3);
    let pending = routers[0].erase_user("u1", &context()).await.unwrap();
    assert!(!pending.is_complete());
    assert_eq!(pending.origin, OriginState::Told);
    // Who began it is gone; who was missing is back.
    mesh.stop(1);
    mesh.start(3);
    tokio::time::sleep(Duration::from_secs(60)).await;
    let id = pending.erasure_id.to_string();
    let done = routers[2].erasure("u1", &id, &context()).await.unwrap();
    assert!(done.is_complete(), "{done:?}");
    let gone = routers[2].session_get(made.head.id.as_str(), &context()).await.unwrap_err();
    assert_eq!(gone.status, 404);
    // It is over: a session of the user that comes later stays.
    let later = routers[2].session_create(new("2", None), &context()).await.unwrap();
    tokio::time::sleep(Duration::from_secs(60)).await;
    routers[1].session_get(later.head.id.as_str(), &context()).await.unwrap();
    drop(followed);
}

#[tokio::test(start_paused = true)]
async fn an_erasure_that_nobody_can_keep_in_mind_is_no_success() {
    let (mesh, routers) = routers(3);
    mesh.lead(SHARD, 3);
    mesh.lead(OTHER_SHARD, 3);
    mesh.stop(3);
    let error = routers[0].erase_user("u1", &context()).await.unwrap_err();
    assert_eq!(error.status, 503);
}

/// The shards that were asked to erase something since the last call.
fn erased_in(mesh: &Mesh) -> Vec<ShardId> {
    let requests = mesh.take_requests().into_iter();
    let erasures = requests.filter(|(_, request)| {
        matches!(
            op_of(request),
            Some(Op::Session(SessionOp::EraseUser { .. } | SessionOp::EraseNothing { .. }))
        )
    });
    erasures.map(|(_, request)| request.shard).collect()
}

#[tokio::test(start_paused = true)]
async fn an_open_erasure_never_takes_what_was_made_after_a_shard_confirmed_it() {
    let mesh = Mesh::new(3, &[]);
    let origin = TestOrigin::unreachable();
    let routers: Vec<_> = (1..=3).map(|node| mesh.router(node, port(&origin))).collect();
    let pending = routers[0].erase_user("u1", &context()).await.unwrap();
    assert!(pending.is_complete() && pending.origin == OriginState::Pending);
    assert!(!erased_in(&mesh).is_empty());
    let followed: Vec<_> = routers.iter().map(|router| router.follow_erasures()).collect();
    tokio::time::sleep(Duration::from_secs(60)).await;
    assert_eq!(erased_in(&mesh), []);
    // By now the shards have forgotten what they did.
    mesh.wall_ms.fetch_add(ERASURE_RETENTION_MS, Ordering::Relaxed);
    let later = routers[0].session_create(new("1", None), &context()).await.unwrap();
    tokio::time::sleep(Duration::from_secs(60)).await;
    routers[1].session_get(later.head.id.as_str(), &context()).await.unwrap();
    drop(followed);
}

#[tokio::test(start_paused = true)]
async fn an_origin_that_refuses_an_erasure_is_not_asked_again() {
    let mesh = Mesh::new(3, &[]);
    let origin = TestOrigin::new(|_| respond(422, &[], ""));
    let routers: Vec<_> = (1..=3).map(|node| mesh.router(node, port(&origin))).collect();
    let followed: Vec<_> = routers.iter().map(|router| router.follow_erasures()).collect();
    let erased = routers[0].erase_user("u1", &context()).await.unwrap();
    assert!(erased.is_complete() && erased.origin == OriginState::Refused);
    tokio::time::sleep(Duration::from_secs(60)).await;
    let receipt = routers[1].erasure("u1", &erased.erasure_id.to_string(), &context()).await;
    assert_eq!(receipt.unwrap().origin, OriginState::Refused);
    assert_eq!(origin.got.lock().len(), 1);
    drop(followed);
}
