//! Shards divide and move while they are written and searched, and a node is killed meanwhile.

use std::{
    collections::BTreeMap,
    sync::atomic::{AtomicBool, AtomicU64, Ordering},
    thread,
    time::{Duration, Instant},
};

use serde_json::{Value, json};

use crate::{
    mesh::{Data, Mesh, Node, PATIENCE, turn},
    oracle::Oracle,
    wait::until,
};

/// What a writer saw.
#[derive(Debug, Default)]
pub(super) struct Written {
    /// The last value acknowledged of each session.
    acknowledged: BTreeMap<String, u64>,
    /// Values whose outcome is unknown, by session, behind the last acknowledged one.
    open: BTreeMap<String, Vec<u64>>,
    /// The longest time in which no write was acknowledged.
    pub(super) pause: Duration,
    /// Writes that were acknowledged.
    pub(super) count: u64,
}

/// Writes a handful of sessions again and again, at one node after the other, until told to stop. A
/// refusal that says that it may come again is one; whatever is not certain stays open.
pub(super) fn write(nodes: &[Node], stop: &AtomicBool, next: &AtomicU64, writer: usize) -> Written {
    let mut written = Written::default();
    let ids: Vec<String> = (0..6)
        .map(|n| {
            let place = ["it-lombardia", "de-berlin", "nz-otago"][n % 3];
            format!("{place}.w{writer}s{n}")
        })
        .collect();
    let mut since = Instant::now();
    for (node, id) in nodes.iter().cycle().zip(ids.iter().cycle()) {
        if stop.load(Ordering::Relaxed) {
            break;
        }
        let value = next.fetch_add(1, Ordering::Relaxed);
        let body = json!({"userId": "u", "ttlSeconds": 86_400, "data": {"value": value}});
        let headers = [("content-type", "application/json")];
        let path = format!("/api/v1/sessions/{id}");
        match node.send_or("PUT", &path, &headers, &body.to_string()) {
            Ok(answer) if answer.status == 200 || answer.status == 201 => {
                written.acknowledged.insert(id.clone(), value);
                written.open.remove(id);
                written.count += 1;
                written.pause = written.pause.max(since.elapsed());
                since = Instant::now();
            }
            Ok(answer) => {
                let problem = answer.json();
                assert_eq!(answer.status, 503, "{problem}");
                if problem["applied"] != false {
                    written.open.entry(id.clone()).or_default().push(value);
                }
            }
            Err(_broken) => written.open.entry(id.clone()).or_default().push(value),
        }
    }
    written
}

/// One search: whether it was answered as a whole, and rightly. What is marked as partial, or refused for
/// now, says what it is.
///
/// # Errors
/// An answer that is wrong.
pub(super) fn ask(node: &Node, oracle: &Oracle) -> Result<bool, String> {
    let search = json!({"listingType": "sale", "sortBy": "newest", "limit": 100});
    let headers = [("content-type", "application/json")];
    let Ok(answer) = node.send_or("POST", "/api/v1/search", &headers, &search.to_string()) else {
        return Ok(false);
    };
    let (status, answer) = (answer.status, answer.json());
    if status == 503 || answer["partial"] == true {
        return Ok(false);
    }
    let found = oracle.search(&search);
    let expected: Vec<&Value> = found.iter().take(100).map(|one| &one["id"]).collect();
    let hits = answer["data"].as_array();
    let ids: Option<Vec<&Value>> = hits.map(|hits| hits.iter().map(|hit| &hit["id"]).collect());
    if ids == Some(expected) && answer["pagination"]["total"] == found.len() {
        Ok(true)
    } else {
        Err(format!("node {}: {status}: {}", node.id, answer["pagination"]))
    }
}

/// Searches at one node after the other; answers how many answers were whole, how many were not, and
/// those that were wrong.
pub(super) fn search(
    nodes: &[Node],
    oracle: &Oracle,
    stop: &AtomicBool,
) -> (u64, u64, Vec<String>) {
    let (mut whole, mut not_now, mut wrong) = (0, 0, Vec::new());
    for node in nodes.iter().cycle() {
        if stop.load(Ordering::Relaxed) {
            break;
        }
        match ask(node, oracle) {
            Ok(true) => whole += 1,
            Ok(false) => not_now += 1,
            Err(answer) => wrong.push(answer),
        }
    }
    (whole, not_now, wrong)
}

/// The largest shard of a space, as node `asked` sees it.
pub(super) fn largest(mesh: &Mesh, asked: u64, space: &str) -> Value {
    let shards = mesh.shards(asked).into_iter().filter(|shard| shard["space"] == space);
    shards.max_by_key(|shard| shard["keys"].as_u64()).unwrap()
}

/// Begins an operation, and waits until it is done.
pub(super) fn operate(node: &Node, path: &str, body: &Value) -> Value {
    let begun = until("the operation is begun", PATIENCE, || {
        let answer = node.admin_post(path, body)?;
        if answer.status == 202 { Ok(answer) } else { Err(answer.text()) }
    });
    assert!(begun.header("location").starts_with("/admin/v1/operations/"));
    let id = begun.json()["id"].as_u64().unwrap();
    until("the operation is done", PATIENCE, || {
        let answer = node.try_admin(&format!("/admin/v1/operations/{id}"))?;
        let operation = answer.json();
        assert_ne!(operation["state"], "failed", "{operation}");
        if operation["state"] == "done" { Ok(operation) } else { Err(operation.to_string()) }
    })
}

#[track_caller]
pub(super) fn all_is_there(nodes: &[Node], written: &[Written]) {
    for node in nodes {
        for one in written {
            for (id, value) in &one.acknowledged {
                let session = until("a strong read", PATIENCE, || {
                    let answer = node.strong(id);
                    if answer.status == 503 { Err(answer.text()) } else { Ok(answer) }
                });
                let found = session.expect(200).json()["data"]["value"].as_u64().unwrap();
                let open = one.open.get(id).cloned().unwrap_or_default();
                assert!(
                    found == *value || open.contains(&found),
                    "{id} at node {}: {found}, acknowledged {value}, open {open:?}",
                    node.id
                );
            }
        }
    }
}

#[test]
fn shards_divide_under_load_while_a_node_is_killed() {
    let _turn = turn();
    let mut mesh = Mesh::start("divide", 3, Data::Synthetic(600));
    let oracle = Oracle::new(mesh.data.listings());
    let before = mesh.shards(1).len();
    let (stop, next) = (AtomicBool::new(false), AtomicU64::new(1));
    let nodes = mesh.nodes.clone();
    let survivors = mesh.others(3);
    let written = thread::scope(|scope| {
        let writers: Vec<_> = (0..2)
            .map(|writer| {
                let (nodes, stop, next) = (&survivors, &stop, &next);
                scope.spawn(move || write(nodes, stop, next, writer))
            })
            .collect();
        let searcher = scope.spawn(|| search(&survivors, &oracle, &stop));
        let asked = &nodes[0];
        for space in ["listings", "sessions", "directory"] {
            let shard = largest(&mesh, 1, space);
            operate(asked, &format!("/admin/v1/shards/{}/split", shard["id"]), &json!({}));
        }
        // Again, with a node dying in the middle of it.
        let shard = largest(&mesh, 1, "sessions");
        let path = format!("/admin/v1/shards/{}/split", shard["id"]);
        let begun = asked.admin_post(&path, &json!({})).unwrap();
        mesh.kill(3);
        assert_eq!(begun.status, 202, "{}", begun.text());
        let id = begun.json()["id"].as_u64().unwrap();
        until("the operation ends without the node", PATIENCE, || {
            let operation = asked.try_admin(&format!("/admin/v1/operations/{id}"))?.json();
            if operation["state"] == "done" { Ok(()) } else { Err(operation.to_string()) }
        });
        let shard = largest(&mesh, 1, "listings");
        operate(asked, &format!("/admin/v1/shards/{}/split", shard["id"]), &json!({}));
        stop.store(true, Ordering::Relaxed);
        let (whole, not_now, wrong) = searcher.join().unwrap();
        assert_eq!(wrong, Vec::<String>::new(), "of {whole} whole answers, {not_now} not now");
        assert!(whole > 50, "{whole} whole, {not_now} not now");
        println!("{whole} searches, {not_now} refused or partial");
        writers.into_iter().map(|writer| writer.join().unwrap()).collect::<Vec<_>>()
    });
    for one in &written {
        println!("{} writes acknowledged, the longest pause {:?}", one.count, one.pause);
        assert!(one.count > 100, "{one:?}");
    }
    assert_eq!(mesh.shards(1).len(), before + 5);
    all_is_there(&survivors, &written);
    mesh.restart(3);
    mesh.wait_ready(3);
    all_is_there(&mesh.nodes, &written);
    // The node that was away has the halves too.
    until("all replicas are up again", PATIENCE, || {
        for shard in mesh.shards(3) {
            if shard["state"] != "ok" {
                return Err(shard.to_string());
            }
        }
        Ok(())
    });
    for node in &mesh.nodes {
        until("a whole answer", PATIENCE, || match ask(node, &oracle) {
            Ok(true) => Ok(()),
            Ok(false) => Err("not now"),
            Err(wrong) => panic!("{wrong}"),
        });
    }
}

#[test]
fn a_replica_moves_under_load_and_what_was_left_is_destroyed() {
    let _turn = turn();
    // What is moved by hand stays there.
    let env = &[("HEXPOP__PLACEMENT__MOVES_AT_ONCE", "0")];
    let mesh = Mesh::start_with("move", 4, Data::Synthetic(300), env);
    let nodes = mesh.nodes.clone();
    let (stop, next) = (AtomicBool::new(false), AtomicU64::new(1));
    let written = thread::scope(|scope| {
        let writer = scope.spawn(|| write(&nodes, &stop, &next, 0));
        let shard = largest(&mesh, 1, "sessions");
        let holders: Vec<u64> = shard["replicas"]
            .as_array()
            .unwrap()
            .iter()
            .map(|replica| replica["node"].as_u64().unwrap())
            .collect();
        let to = (1..=4).find(|node| !holders.contains(node)).unwrap();
        let from = shard["leader"].as_u64().unwrap();
        let id = &shard["id"];
        let path = format!("/admin/v1/shards/{id}/move");
        operate(&nodes[0], &path, &json!({"from": from, "to": to}));
        let moved = mesh.shards(1).into_iter().find(|shard| shard["id"] == *id).unwrap();
        let on =
            |node: u64| moved["replicas"].as_array().unwrap().iter().any(|r| r["node"] == node);
        assert!(on(to) && !on(from), "{moved}");
        // There already, and not there: both are told in words.
        let again = nodes[0].admin_post(&path, &json!({"from": to, "to": to})).unwrap();
        assert_eq!(again.status, 409, "{}", again.text());
        let nobody = nodes[0].admin_post(&path, &json!({"from": from, "to": 9})).unwrap();
        assert_eq!(nobody.status, 422, "{}", nobody.text());
        stop.store(true, Ordering::Relaxed);
        writer.join().unwrap()
    });
    println!("{} writes acknowledged, the longest pause {:?}", written.count, written.pause);
    assert!(written.count > 0, "{written:?}");
    all_is_there(&mesh.nodes, std::slice::from_ref(&written));
}

#[test]
fn a_node_is_drained_under_load_and_can_be_stopped() {
    let _turn = turn();
    let mut mesh = Mesh::start("drain", 4, Data::Synthetic(300));
    let oracle = Oracle::new(mesh.data.listings());
    let others = mesh.others(2);
    let (stop, next) = (AtomicBool::new(false), AtomicU64::new(1));
    let written = thread::scope(|scope| {
        let writer = scope.spawn(|| write(&others, &stop, &next, 0));
        let searcher = scope.spawn(|| search(&others, &oracle, &stop));
        let told = others[0].admin_post("/admin/v1/drain", &json!({"node": 2})).unwrap();
        assert_eq!(told.status, 202, "{}", told.text());
        until("the node holds nothing", PATIENCE, || {
            let held: Vec<String> = mesh
                .shards(1)
                .iter()
                .filter(|shard| {
                    shard["replicas"].as_array().unwrap().iter().any(|r| r["node"] == 2)
                })
                .map(ToString::to_string)
                .collect();
            if held.is_empty() { Ok(()) } else { Err(held) }
        });
        assert!(!mesh.node(2).is_ready());
        stop.store(true, Ordering::Relaxed);
        let (whole, not_now, wrong) = searcher.join().unwrap();
        assert_eq!(wrong, Vec::<String>::new(), "of {whole} whole answers, {not_now} not now");
        writer.join().unwrap()
    });
    println!("{} writes acknowledged, the longest pause {:?}", written.count, written.pause);
    assert!(written.count > 0, "{written:?}");
    mesh.kill(2);
    all_is_there(&others, std::slice::from_ref(&written));
}
