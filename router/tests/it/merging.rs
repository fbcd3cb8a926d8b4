//! Shards become one while they are asked.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use hexpop_edge_config::ShardId;
use hexpop_router::{Context, PutBody, Routed, SessionReply, full};
use hexpop_shard::{
    Op, SearchAnswer, SearchRequest, SearchRules, SessionId, SessionLimits, ShardKey,
};
use serde_json::value::RawValue;

use crate::{
    mesh::{Fault, LINE_BYTES_MAX, Mesh, TestRouter, complete, op_of},
    origin::{TestOrigin, port, respond},
};

/// The shard that has what these tests write.
const SESSIONS: ShardId = ShardId(2);

fn body(data: &str) -> PutBody {
    PutBody {
        user: "u1".to_owned(),
        ttl_ms: 1_800_000,
        sliding: false,
        data: RawValue::from_string(data.to_owned()).unwrap(),
        limits: SessionLimits::default(),
    }
}

async fn put(router: &TestRouter, id: &str, data: &str) -> SessionReply {
    router.session_put(id, body(data), None, &Context::default()).await.unwrap()
}

async fn get(router: &Arc<TestRouter>, id: &str) -> SessionReply {
    router.session_get(id, &Context::default()).await.unwrap()
}

async fn data(router: &Arc<TestRouter>, id: &str) -> String {
    get(router, id).await.data.get().to_owned()
}

/// Sessions in two shards; answers one of the right one.
async fn parted() -> (Arc<Mesh>, Arc<TestRouter>, ShardId, String) {
    let mesh = Mesh::new(3, &[]);
    let router = mesh.router(1, port(&TestOrigin::new(|_| respond(204, &[], ""))));
    let mut ids: Vec<String> = (0..8).map(|n| format!("it-lazio.s{n}")).collect();
    for id in &ids {
        put(&router, id, "0").await;
    }
    ids.sort_by_key(|id| id.parse::<SessionId>().unwrap().key());
    let at = ids[4].parse::<SessionId>().unwrap().key();
    let right = mesh.split(SESSIONS, at);
    let id = ids.pop().unwrap();
    assert_eq!((data(&router, &id).await, data(&router, &ids[0]).await), ("0".into(), "0".into()));
    (mesh, router, right, id)
}

#[tokio::test(start_paused = true)]
async fn who_writes_to_a_sealed_shard_waits_for_the_one_that_takes_it_in() {
    let (mesh, router, right, id) = parted().await;
    let merging = mesh.seal(SESSIONS, right);
    mesh.take_requests();
    let done = AtomicBool::new(false);
    let write = async {
        put(&router, &id, "1").await;
        done.store(true, Ordering::Relaxed);
    };
    let merge = async {
        tokio::time::sleep(Duration::from_millis(1_500)).await;
        assert!(!done.load(Ordering::Relaxed), "a sealed shard takes no write");
        mesh.absorb(merging);
    };
    tokio::join!(write, merge);
    let asked: Vec<ShardId> =
        mesh.take_requests().into_iter().map(|(_node, request)| request.shard).collect();
    assert!(asked.len() < 40, "{} attempts", asked.len());
    assert!(asked.contains(&right) && asked.last() == Some(&SESSIONS));
    assert_eq!(data(&router, &id).await, "1");
}

#[tokio::test(start_paused = true)]
async fn who_writes_to_a_sealed_shard_goes_on_there_when_the_merge_is_called_off() {
    let (mesh, router, right, id) = parted().await;
    let merging = mesh.seal(SESSIONS, right);
    let end = async {
        tokio::time::sleep(Duration::from_millis(1_500)).await;
        mesh.call_off(merging);
    };
    tokio::join!(put(&router, &id, "1"), end);
    assert!(mesh.map().get(right).is_some());
    assert_eq!(data(&router, &id).await, "1");
}

#[tokio::test(start_paused = true)]
async fn a_write_that_was_carried_out_before_the_seal_is_known_behind_it() {
    let (mesh, router, right, id) = parted().await;
    let is_lost = Arc::new(AtomicBool::new(true));
    let lost = Arc::clone(&is_lost);
    // The first one is carried out, and nobody hears of it.
    mesh.plan(Box::new(move |number, request| {
        let is_put = matches!(op_of(request), Some(Op::Session(_)));
        match (number, is_put && lost.load(Ordering::Relaxed)) {
            (1, true) => Some(Fault::LoseAnswer),
            (_, true) => Some(Fault::Refuse),
            (_, false) => None,
        }
    }));
    let merge = async {
        tokio::time::sleep(Duration::from_millis(100)).await;
        let merging = mesh.seal(SESSIONS, right);
        is_lost.store(false, Ordering::Relaxed);
        tokio::time::sleep(Duration::from_millis(500)).await;
        mesh.absorb(merging);
    };
    let (written, ()) = tokio::join!(put(&router, &id, "1"), merge);
    let version = written.head.version;
    assert_eq!(version.shard, right, "it is the version of the first attempt");
    let read = get(&router, &id).await;
    assert_eq!((read.head.version, read.data.get()), (version, "1"));
}

#[tokio::test(start_paused = true)]
async fn a_search_that_meets_a_merge_counts_every_listing_once() {
    const TERRITORY: &str = "IT:lazio";
    let mesh = Mesh::new(3, &[TERRITORY]);
    let router = mesh.router(1, port(&TestOrigin::none()));
    let lines: Vec<String> = (0..60)
        .map(|n| {
            let (lat, price) = (40.0 + f64::from(n % 10) / 10.0, 1_000 + n);
            format!(
                r#"{{"id":"l{n}","listingType":"sale","status":"active","country":"IT","region":"lazio","price":{{"amount":{price},"currency":"EUR"}},"location":{{"lat":{lat},"lng":9.19}}}}"#
            )
        })
        .collect();
    let lines = full(lines.join("\n").into());
    router.ingest(lines, LINE_BYTES_MAX, &Context::default()).await.unwrap();
    complete(&router).await;
    let left = mesh.shard_of(TERRITORY);
    let ask = async || -> SearchAnswer {
        let json = format!(r#"{{"listingType":"sale","territories":["{TERRITORY}"]}}"#);
        let request = SearchRequest::from_json(json.as_bytes(), &SearchRules::default()).unwrap();
        match router.search(&request, &Context::default()).await.unwrap() {
            Routed::Mesh(answer) => answer.value,
            Routed::Origin(_) => panic!("from the origin"),
        }
    };
    // Whatever is asked first, and however calls are interleaved.
    for seed in 1..=24 {
        let mut points: Vec<ShardKey> = mesh.keys(left);
        points.dedup();
        let right = mesh.split(left, points[points.len() / 2].clone());
        let parted = ask().await;
        assert_eq!((parted.pagination.total, parted.partial, parted.shards.len()), (60, false, 2));
        mesh.shuffle(seed);
        mesh.merge_when_asked(left, right);
        let merged = ask().await;
        assert_eq!((merged.pagination.total, merged.partial, merged.shards.len()), (60, false, 1));
        assert!(mesh.map().get(right).is_none(), "it was asked");
    }
}
