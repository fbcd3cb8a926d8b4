//! Nodes are killed, restarted, wiped. What was acknowledged stays.

use std::{
    collections::BTreeSet,
    fs::{self, File},
    path::{Path, PathBuf},
    process::{Command, Stdio},
    sync::atomic::{AtomicBool, AtomicU64, Ordering},
    thread,
};

use serde_json::{Value, json};

use crate::{
    mesh::{Data, Mesh, Node, PATIENCE, turn},
    oracle::Oracle,
    wait::until,
};

/// Lines that the history must have before the node is killed.
const WRITES_BEFORE: usize = 150;

/// `hexpop bench verify` at these nodes: its report, which must tell of no loss.
#[track_caller]
fn verify(history: &Path, nodes: &[Node]) -> Value {
    let output = Command::new(env!("CARGO_BIN_EXE_hexpop"))
        .args(["bench", "verify"])
        .arg(history)
        .arg("--output=json")
        .args(nodes.iter().map(|node| format!("--target={}", node.http)))
        .output()
        .unwrap();
    let report = String::from_utf8_lossy(&output.stdout);
    let said = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(0), "{report}{said}");
    let report: Value = serde_json::from_str(&report).unwrap();
    assert_eq!(report["targets"].as_array().unwrap().len(), nodes.len(), "{report}");
    for target in report["targets"].as_array().unwrap() {
        assert_eq!(target["read"], report["sessions"], "{report}");
    }
    report
}

fn lines(path: &Path) -> usize {
    fs::read_to_string(path).map_or(0, |text| text.lines().count())
}

/// All replicas of all shards have applied what their leaders have committed.
fn wait_caught_up(mesh: &Mesh, asked: u64) {
    until("all replicas have caught up", PATIENCE, || {
        for shard in mesh.shards(asked) {
            let commit = shard["commit"].as_u64();
            for replica in shard["replicas"].as_array().unwrap() {
                let applied = replica["applied"].as_u64();
                if commit.is_none() || shard["leader"].is_null() || applied < commit {
                    return Err(shard.to_string());
                }
            }
        }
        Ok(())
    });
}

/// Reads listings at each of these nodes until told to stop; answers how many reads there were and
/// what was not as it should be.
fn read_listings(nodes: &[Node], ids: &[String], stop: &AtomicBool) -> (u64, Vec<String>) {
    let (mut reads, mut wrong) = (0, Vec::new());
    for (node, id) in nodes.iter().cycle().zip(ids.iter().cycle()) {
        if stop.load(Ordering::Relaxed) {
            break;
        }
        reads += 1;
        match node.try_get(&format!("/api/v1/listings/{id}")) {
            Ok(answer) if answer.status == 200 => {}
            Ok(answer) => wrong.push(format!("node {}: {}", node.id, answer.text())),
            Err(error) => wrong.push(format!("node {}: {error}", node.id)),
        }
    }
    (reads, wrong)
}

fn public_ids(mesh: &Mesh) -> Vec<String> {
    let hidden = ["draft", "pending_review"];
    let listings = mesh.data.listings();
    let public = listings.iter().filter(|one| !hidden.contains(&one["status"].as_str().unwrap()));
    public.map(|one| one["id"].as_str().unwrap().to_owned()).collect()
}

#[test]
fn a_killed_leader_loses_nothing_and_catches_up() {
    let _turn = turn();
    let mut mesh = Mesh::start("leader", 3, Data::Synthetic(500));
    let ids = public_ids(&mesh);
    let victim = mesh.busiest_leader(1);
    let survivors = mesh.others(victim);
    let history = mesh.dir.join("writes.jsonl");
    let result = mesh.dir.join("bench.json");
    let mut bench = Command::new(env!("CARGO_BIN_EXE_hexpop"))
        .args(["bench", "run", "mixed", "--rate=120/s", "--duration=16s", "--warm-up=0s"])
        .args(["--sessions=100", "--timeout=8s", "--output=json"])
        .args(mesh.nodes.iter().map(|node| format!("--target={}", node.http)))
        .arg("--history")
        .arg(&history)
        .stdin(Stdio::null())
        .stdout(File::create(&result).unwrap())
        .stderr(File::create(mesh.dir.join("bench.log")).unwrap())
        .spawn()
        .unwrap();
    until("the load is under way", PATIENCE, || {
        let written = lines(&history);
        if written >= WRITES_BEFORE { Ok(()) } else { Err(written) }
    });
    let stop = AtomicBool::new(false);
    let status = thread::scope(|scope| {
        let reader = scope.spawn(|| read_listings(&survivors, &ids, &stop));
        mesh.kill(victim);
        let status = bench.wait().unwrap();
        stop.store(true, Ordering::Relaxed);
        let (reads, wrong) = reader.join().unwrap();
        assert!(reads > 100, "{reads}");
        assert_eq!(wrong, Vec::<String>::new(), "of {reads} reads at the surviving nodes");
        status
    });
    assert_eq!(
        status.code(),
        Some(0),
        "{}",
        fs::read_to_string(mesh.dir.join("bench.log")).unwrap()
    );
    let report: Value = serde_json::from_slice(&fs::read(&result).unwrap()).unwrap();
    writes_resumed(&report);

    let verified = verify(&history, &survivors);
    assert!(verified["acknowledged"].as_u64().unwrap() > WRITES_BEFORE as u64, "{verified}");
    mesh.restart(victim);
    mesh.wait_ready(victim);
    wait_caught_up(&mesh, victim);
    let restarted = mesh.node(victim).clone();
    verify(&history, std::slice::from_ref(&restarted));
    for id in ids.iter().step_by(10) {
        restarted.get(&format!("/api/v1/listings/{id}")).expect(200);
    }
}

/// In the last seconds of the load session writes succeeded, and nothing else was going on.
#[track_caller]
fn writes_resumed(report: &Value) {
    let timeline = report["timeline"].as_array().unwrap();
    let (mut ok, mut failed) = (0, 0);
    for second in timeline.iter().rev().skip(1).take(3) {
        ok += second["ok"]["session-write"].as_u64().unwrap_or_default();
        failed += second["failed"]["session-write"].as_u64().unwrap_or_default();
    }
    assert!(ok > 0 && failed == 0, "{ok} ok, {failed} failed at the end: {timeline:?}");
}

/// Writes this many sessions all over the map; answers their ids.
pub(crate) fn write_sessions(node: &Node, count: u64) -> Vec<(String, u64)> {
    let territories =
        ["IT:lombardia", "IT:lazio", "ES:madrid", "DE:berlin", "FR:occitanie", "NZ:otago"];
    let next = AtomicU64::new(0);
    let one = |territory: &str| {
        let value = next.fetch_add(1, Ordering::Relaxed);
        let body = json!({
            "territory": territory, "userId": "u", "ttlSeconds": 86_400, "data": {"value": value},
        });
        let created = node.post("/api/v1/sessions", &body).expect(201).json();
        (created["id"].as_str().unwrap().to_owned(), value)
    };
    territories.into_iter().cycle().take(usize::try_from(count).unwrap()).map(one).collect()
}

#[track_caller]
pub(crate) fn sessions_are_there(node: &Node, sessions: &[(String, u64)]) {
    for (id, value) in sessions {
        let session = until("a strong read", PATIENCE, || {
            let answer = node.strong(id);
            // Not now is no answer; absent is one.
            if answer.status == 503 { Err(answer.text()) } else { Ok(answer) }
        });
        assert_eq!(session.expect(200).json()["data"]["value"], *value, "{id} at node {}", node.id);
    }
}

#[test]
fn all_nodes_killed_at_once_come_back_with_everything() {
    let _turn = turn();
    let mut mesh = Mesh::start("all", 3, Data::Synthetic(500));
    let oracle = Oracle::new(mesh.data.listings());
    let sessions = write_sessions(mesh.node(2), 90);
    for id in 1..=3 {
        mesh.signal_kill(id);
    }
    for id in 1..=3 {
        until("the node is gone", PATIENCE, || match mesh.node(id).try_get("/openapi.json") {
            Err(_closed) => Ok(()),
            Ok(answer) => Err(answer.status),
        });
    }
    for id in 1..=3 {
        mesh.restart(id);
    }
    for id in 1..=3 {
        mesh.wait_ready(id);
    }
    wait_caught_up(&mesh, 1);
    let search = json!({"listingType": "sale", "sortBy": "newest", "limit": 200});
    let found = oracle.search(&search);
    let expected: Vec<&Value> = found.iter().take(200).map(|one| &one["id"]).collect();
    for node in &mesh.nodes {
        sessions_are_there(node, &sessions);
        let status = node.admin("/admin/v1/status").expect(200).json();
        assert_eq!(
            status["listings"],
            json!({"total": 500, "active": oracle.active()}),
            "{status}"
        );
        let answer = node.post("/api/v1/search", &search).expect(200).json();
        let ids: Vec<&Value> =
            answer["data"].as_array().unwrap().iter().map(|hit| &hit["id"]).collect();
        assert_eq!(ids, expected);
        assert_eq!(answer["pagination"]["total"], found.len());
    }
    // And the mesh goes on.
    sessions_are_there(mesh.node(3), &write_sessions(mesh.node(1), 12));
}

/// The Raft ids under which node `id` stands in the shard map, as `asked` sees it, by role.
fn raft_ids(mesh: &Mesh, asked: u64, id: u64) -> BTreeSet<String> {
    let shards = mesh.shards(asked);
    let replicas = shards.iter().flat_map(|shard| shard["replicas"].as_array().unwrap());
    let own = replicas.filter(|replica| replica["node"] == id);
    own.map(|replica| replica["raftId"].as_str().unwrap().to_owned()).collect()
}

#[test]
fn a_wiped_node_comes_back_as_a_new_replica() {
    let _turn = turn();
    let mut mesh = Mesh::start("wiped", 3, Data::Synthetic(300));
    let sessions = write_sessions(mesh.node(1), 30);
    let before = raft_ids(&mesh, 1, 3);
    assert_eq!(before.len(), 1, "one id per data directory: {before:?}");
    let held = |mesh: &Mesh| {
        let shards = mesh.shards(1);
        let holds = |shard: &&Value| {
            let mut replicas = shard["replicas"].as_array().unwrap().iter();
            replicas.any(|replica| replica["node"] == 3 && replica["role"] == "voter")
        };
        shards.iter().filter(holds).count()
    };
    let held_before = held(&mesh);
    mesh.kill(3);
    let data_dir: PathBuf = mesh.node(3).data_dir.clone();
    fs::remove_dir_all(&data_dir).unwrap();
    mesh.restart(3);
    until("the new replica has taken the old one's place", PATIENCE, || {
        let now = raft_ids(&mesh, 1, 3);
        if now.len() == 1 && now.is_disjoint(&before) && held(&mesh) == held_before {
            Ok(())
        } else {
            Err(format!("{now:?}, voter of {} of {held_before} shards", held(&mesh)))
        }
    });
    mesh.wait_ready(3);
    wait_caught_up(&mesh, 1);
    assert_eq!(raft_ids(&mesh, 3, 3), raft_ids(&mesh, 1, 3), "both nodes see the same");
    for id in public_ids(&mesh).iter().step_by(5) {
        mesh.node(3).get(&format!("/api/v1/listings/{id}")).expect(200);
    }
    sessions_are_there(mesh.node(3), &sessions);
    // It counts as a voter: with another one away there is still a majority.
    mesh.kill(1);
    let more = until("a majority of the two is formed", PATIENCE, || {
        let body = json!({"territory": "IT:lombardia", "userId": "u", "data": {"value": 7}});
        let answer = mesh.node(3).post("/api/v1/sessions", &body);
        if answer.status == 201 { Ok(answer.json()) } else { Err(answer.text()) }
    });
    assert_eq!(
        mesh.node(2).strong(more["id"].as_str().unwrap()).expect(200).json()["data"]["value"],
        7
    );
}
