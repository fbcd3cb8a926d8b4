//! Shards that were divided are made one again while they are written and searched, and the node that leads
//! one of them is killed in the middle of it.

#![expect(clippy::print_stdout, reason = "times that were measured, for whoever asks to see them")]

use std::{
    sync::atomic::{AtomicBool, AtomicU64, Ordering},
    thread,
};

use serde_json::{Value, json};

use crate::{
    divide::{Written, all_is_there, ask, largest, operate, search, write},
    mesh::{Data, Mesh, Node, PATIENCE, turn},
    oracle::Oracle,
    wait::until,
};

const ENV: &[(&str, &str)] = &[("HEXPOP__PLACEMENT__MERGE", "true")];

/// Sessions of one territory, so that its shard can be divided.
fn some_sessions(node: &Node) {
    let headers = [("content-type", "application/json")];
    let body = json!({"userId": "u", "ttlSeconds": 86_400, "data": {}}).to_string();
    for number in 0..12 {
        let path = format!("/api/v1/sessions/it-lombardia.some{number}");
        until("the session is written", PATIENCE, || {
            let answer = node.send_or("PUT", &path, &headers, &body)?;
            if answer.status == 201 || answer.status == 200 { Ok(()) } else { Err(answer.text()) }
        });
    }
}

/// Divides the largest shard of a space; answers both halves by number, the one that lies before first.
fn divide(mesh: &Mesh, space: &str) -> (u64, u64) {
    let left = largest(mesh, 1, space)["id"].as_u64().unwrap();
    let done = operate(mesh.node(1), &format!("/admin/v1/shards/{left}/split"), &json!({}));
    (left, done["child"].as_u64().unwrap())
}

/// Begins a merge, as soon as nothing else runs on the two; answers its number.
fn begin(node: &Node, shard: u64, with: u64) -> u64 {
    let path = format!("/admin/v1/shards/{shard}/merge");
    let begun = until("the merge is begun", PATIENCE, || {
        let answer = node.admin_post(&path, &json!({"with": with}))?;
        if answer.status == 202 { Ok(answer) } else { Err(answer.text()) }
    });
    begun.json()["id"].as_u64().unwrap()
}

/// Waits until an operation is over.
fn ended(node: &Node, id: u64) -> Value {
    until("the merge is over", PATIENCE, || {
        let operation = node.try_admin(&format!("/admin/v1/operations/{id}"))?.json();
        match operation["state"].as_str() {
            Some("done" | "failed" | "cancelled") => Ok(operation),
            _ => Err(operation.to_string()),
        }
    })
}

/// Merges two shards, again when it had to be undone: a listing was on its way between them, say.
fn merge(mesh: &Mesh, asked: u64, (left, right): (u64, u64)) {
    until("the two are one", PATIENCE, || {
        let node = mesh.node(asked);
        let operation = ended(node, begin(node, left, right));
        if operation["state"] == "done" { Ok(()) } else { Err(operation.to_string()) }
    });
    let shards = mesh.shards(asked);
    assert!(shards.iter().any(|shard| shard["id"] == left), "the one before stays");
    assert!(shards.iter().all(|shard| shard["id"] != right), "the other is no more");
}

/// A page that was asked for with a cursor of before: the next one exactly, or gone.
fn continue_exactly(nodes: &[Node], oracle: &Oracle, search: &Value, cursor: &str) {
    let mut next = search.clone();
    next["cursor"] = cursor.into();
    let found = oracle.search(search);
    let limit = usize::try_from(search["limit"].as_u64().unwrap()).unwrap();
    let expected: Vec<&Value> =
        found.iter().skip(limit).take(limit).map(|one| &one["id"]).collect();
    for node in nodes {
        let answer = until("the next page", PATIENCE, || {
            let answer = node.post("/api/v1/search", &next);
            if answer.status == 503 { Err(answer.text()) } else { Ok(answer) }
        });
        if answer.status == 410 {
            assert_eq!(
                answer.json()["type"].as_str().unwrap().rsplit(':').next(),
                Some("cursor-expired")
            );
            continue;
        }
        let answer = answer.expect(200).json();
        let hits = answer["data"].as_array().unwrap();
        let ids: Vec<&Value> = hits.iter().map(|hit| &hit["id"]).collect();
        assert_eq!(ids, expected, "node {}", node.id);
    }
}

/// Runs something while sessions are written and listings searched at some nodes.
fn under_load<T>(
    nodes: &[Node],
    oracle: &Oracle,
    next: &AtomicU64,
    what: impl FnOnce() -> T,
) -> (T, Vec<Written>) {
    let stop = AtomicBool::new(false);
    thread::scope(|scope| {
        let (stop, first) = (&stop, next.load(Ordering::Relaxed));
        let writers: Vec<_> = (0..2)
            .map(|writer| {
                let name = usize::try_from(first).unwrap() * 10 + writer;
                scope.spawn(move || write(nodes, stop, next, name))
            })
            .collect();
        let searcher = scope.spawn(|| search(nodes, oracle, stop));
        let done = what();
        stop.store(true, Ordering::Relaxed);
        let (whole, not_now, wrong) = searcher.join().unwrap();
        assert_eq!(wrong, Vec::<String>::new(), "of {whole} whole answers, {not_now} not now");
        println!("{whole} searches, {not_now} refused or partial");
        let written: Vec<Written> =
            writers.into_iter().map(|writer| writer.join().unwrap()).collect();
        for one in &written {
            println!("{} writes acknowledged, the longest pause {:?}", one.count, one.pause);
        }
        (done, written)
    })
}

#[test]
fn shards_are_merged_under_load_while_a_leader_is_killed() {
    let _turn = turn();
    let mut mesh = Mesh::start_with("merge", 3, Data::Synthetic(600), ENV);
    let oracle = Oracle::new(mesh.data.listings());
    let before = mesh.shards(1).len();
    let next = AtomicU64::new(1);
    let nodes = mesh.nodes.clone();
    some_sessions(mesh.node(1));
    let pairs = ["listings", "sessions", "directory"].map(|space| divide(&mesh, space));
    let page = json!({"listingType": "sale", "sortBy": "newest", "limit": 20});
    let first = nodes[0].post("/api/v1/search", &page).expect(200).json();
    let cursor = first["pagination"]["cursor"].as_str().unwrap().to_owned();
    let ((), mut written) = under_load(&nodes, &oracle, &next, || {
        for pair in pairs {
            merge(&mesh, 1, pair);
        }
    });
    assert_eq!(mesh.shards(1).len(), before);
    continue_exactly(&nodes, &oracle, &page, &cursor);
    all_is_there(&nodes, &written);

    // Again, with the leader of one of them dying in the middle of it.
    for (space, of_left) in [("sessions", false), ("sessions", true), ("listings", true)] {
        let (left, right) = divide(&mesh, space);
        let led = if of_left { left } else { right };
        let victim = until("the shard is led", PATIENCE, || {
            let shard = mesh.shards(1).into_iter().find(|shard| shard["id"] == led);
            shard.and_then(|shard| shard["leader"].as_u64()).ok_or("no leader")
        });
        let survivors = mesh.others(victim);
        let asked = survivors[0].clone();
        let (outcome, more) = under_load(&survivors, &oracle, &next, || {
            let id = begin(&asked, left, right);
            mesh.kill(victim);
            // What had not begun waits for the node; what had goes on without it, or is undone.
            mesh.restart(victim);
            ended(&asked, id)
        });
        println!("{space}: {}, {}", outcome["state"], outcome["error"]);
        written.extend(more);
        all_is_there(&survivors, &written);
        mesh.wait_ready(victim);
        if outcome["state"] != "done" {
            merge(&mesh, asked.id, (left, right));
        }
        all_is_there(&mesh.nodes, &written);
    }
    assert_eq!(mesh.shards(1).len(), before);
    for node in &mesh.nodes {
        until("a whole answer", PATIENCE, || match ask(node, &oracle) {
            Ok(true) => Ok(()),
            Ok(false) => Err("not now"),
            Err(wrong) => panic!("{wrong}"),
        });
    }
    // What is no more is nowhere any more.
    until("nothing is left of the shards that are no more", PATIENCE, || {
        let report = mesh.node(1).try_admin("/admin/v1/shards/residency")?.json();
        let is_well = report["unknown"] == json!([]) && report["state"] == "ok";
        if is_well { Ok(()) } else { Err(report.to_string()) }
    });
}

#[test]
fn what_cannot_be_merged_is_refused_in_words() {
    let _turn = turn();
    let mesh = Mesh::start_with("merge-refused", 3, Data::Synthetic(100), ENV);
    let node = mesh.node(1);
    some_sessions(node);
    let (left, right) = divide(&mesh, "sessions");
    let other = largest(&mesh, 1, "listings")["id"].as_u64().unwrap();
    let refused = |shard: u64, with: u64, status: u16| {
        let path = format!("/admin/v1/shards/{shard}/merge");
        let answer = node.admin_post(&path, &json!({"with": with})).unwrap();
        assert_eq!(answer.status, status, "{}", answer.text());
        answer.json()["detail"].as_str().unwrap().to_owned()
    };
    let why = refused(left, other, 409);
    assert!(why.contains("does not begin where that one ends"), "{why}");
    let why = refused(left, left, 409);
    assert!(why.contains("no other shard"), "{why}");
    let why = refused(left, 999_999, 422);
    assert!(why.contains("there is no shard"), "{why}");
    // The order in which they are named does not matter, nor does a cancel that comes too late.
    let id = begin(node, right, left);
    let url = format!("{}/admin/v1/operations/{id}", node.admin);
    let told = crate::client::send_json("DELETE", &url, &json!({})).unwrap();
    assert!([200, 409].contains(&told.status), "{}", told.text());
    let ended = ended(node, id);
    assert!(["done", "cancelled"].contains(&ended["state"].as_str().unwrap()), "{ended}");
    if ended["state"] == "cancelled" {
        assert!(mesh.shards(1).iter().any(|shard| shard["id"] == right));
        merge(&mesh, 1, (left, right));
    }
}

#[test]
fn nothing_is_merged_where_that_is_off() {
    let mesh = Mesh::shared();
    let shards = mesh.shards(1);
    let ids: Vec<u64> = shards.iter().map(|shard| shard["id"].as_u64().unwrap()).collect();
    let path = format!("/admin/v1/shards/{}/merge", ids[0]);
    let answer = mesh.node(1).admin_post(&path, &json!({"with": ids[1]})).unwrap();
    assert_eq!(answer.status, 409, "{}", answer.text());
    assert!(answer.text().contains("`placement.merge` is off"), "{}", answer.text());
}
