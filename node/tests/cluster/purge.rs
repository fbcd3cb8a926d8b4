//! Purges are a log that every node follows: whoever missed one serves nothing that it named.

#![expect(clippy::print_stdout, reason = "times that were measured, for whoever asks to see them")]

use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::{
    client::{Answer, send_json},
    edge::Edge,
    mesh::{Node, PATIENCE, turn},
    scripted::Reply,
    wait::{until, until_true},
};

/// Fresh for longer than a test takes, and usable beyond that when the origin fails.
const HEADERS: [(&str, &str); 2] =
    [("cache-control", "max-age=3600, stale-if-error=3600"), ("surrogate-key", "home")];

/// How many purges are timed.
const TIMED: usize = 30;

fn purge(node: &Node, tag: &str) -> Answer {
    node.admin_post("/admin/v1/purge", &json!({ "tags": [tag] })).unwrap()
}

/// Has all nodes store what the origin gives under a path, and waits until they have.
fn fill(edge: &Edge, path: &str, headers: &[(&str, &str)], body: &str) {
    edge.origin.answers(path, Reply::new(200, headers, body));
    for node in &edge.mesh.nodes {
        until(&format!("node {} stores {path}", node.id), PATIENCE, || {
            let answer = node.get(path).expect(200);
            let status = answer.header("cache-status").to_owned();
            if status.contains("; hit") { Ok(()) } else { Err(status) }
        });
    }
}

/// Cuts a node off from all others, or lets it back.
fn cut_off(node: &Node, cut: bool) {
    let faults = format!("{}/admin/v1/faults", node.admin);
    if cut {
        for place in ["link-out", "link-in"] {
            let rule = json!({"where": place, "what": "cut", "ttl": "5m"});
            send_json("POST", &faults, &rule).unwrap().expect(201);
        }
    } else {
        send_json("DELETE", &faults, &json!({})).unwrap().expect(200);
    }
}

fn state_of(receipt: &Value, node: u64) -> Value {
    let nodes = receipt["nodes"].as_array().unwrap();
    nodes.iter().find(|entry| entry["id"] == json!(node)).unwrap()["state"].clone()
}

#[test]
fn a_node_that_was_cut_off_during_a_purge_never_serves_what_it_named() {
    let _turn = turn();
    let edge = Edge::start("purge", 5);
    time_purges(&edge);
    let away = edge.mesh.node(5);
    for path in ["/p/asked", "/p/failing", "/p/kept"] {
        fill(&edge, path, &HEADERS, "one");
    }
    cut_off(away, true);
    for path in ["/p/asked", "/p/kept"] {
        edge.origin.answers(path, Reply::new(200, &HEADERS, "two"));
    }
    edge.origin.answers("/p/failing", Reply::new(500, &[], "broken"));
    let recorded = Instant::now();
    let receipt = purge(edge.mesh.node(4), "home").expect(202).json();
    assert_eq!((&receipt["confirmed"], &receipt["of"]), (&json!(4), &json!(5)), "{receipt}");
    assert_eq!(state_of(&receipt, 5), json!("pending"), "{receipt}");
    assert!(receipt["worstStalenessMs"].as_u64().unwrap() <= 5000, "{receipt}");

    // It cannot know, and for a while it need not; then it asks the origin, each time.
    until_true("the node that is cut off asks the origin", PATIENCE, || {
        away.get("/p/asked").expect(200).text() == "two"
    });
    assert!(recorded.elapsed() < Duration::from_secs(10), "{:?}", recorded.elapsed());
    let before = edge.origin.seen("/p/asked").len();
    for nth in 1..=3 {
        assert_eq!(away.get("/p/asked").expect(200).text(), "two");
        assert_eq!(edge.origin.seen("/p/asked").len(), before + nth);
    }
    assert_eq!(away.get("/p/failing").status, 500, "nothing stored stands in for the origin");
    assert!(edge.stored(5, "/p/kept"), "what nobody asked for is there still");

    // From now on, whatever it has heard by then.
    cut_off(away, false);
    let path = format!("/admin/v1/purge/{}", receipt["id"]);
    let healed = Instant::now();
    until("all nodes have applied the purge", PATIENCE, || {
        assert_eq!(away.get("/p/kept").expect(200).text(), "two");
        let later = edge.mesh.node(1).admin(&path);
        if later.status == 200 { Ok(()) } else { Err(later.text()) }
    });
    println!("applied {:?} after it was healed", healed.elapsed());
    until_true("it serves again what it has stored", PATIENCE, || {
        let answer = away.get("/p/kept").expect(200);
        assert_eq!(answer.text(), "two");
        answer.header("cache-status").contains("; hit")
    });
    assert_eq!(edge.mesh.node(5).admin("/admin/v1/purge/999999").status, 404);
    assert_eq!(edge.mesh.defects_logged(), Vec::<String>::new());
}

/// Purges by tag, one after the other; prints how long each took until all nodes had applied it.
fn time_purges(edge: &Edge) {
    // The purge group was founded a moment ago.
    until("purges are recorded", PATIENCE, || {
        let answer = purge(edge.mesh.node(1), "none");
        if answer.status == 200 { Ok(()) } else { Err(answer.text()) }
    });
    let mut took: Vec<Duration> = (0..TIMED)
        .map(|nth| {
            let (path, tag) = (format!("/timed/{nth}"), format!("timed-{nth}"));
            let headers = [("cache-control", "max-age=3600"), ("cache-tag", tag.as_str())];
            fill(edge, &path, &headers, "one");
            let begin = Instant::now();
            let receipt = purge(edge.mesh.node(1 + nth as u64 % 5), &tag).expect(200).json();
            let took = begin.elapsed();
            for node in receipt["nodes"].as_array().unwrap() {
                assert_eq!(node["state"], json!("confirmed"), "{receipt}");
                // It may keep that of another node of its PoP as well: each is asked by a name of its own.
                assert!(node["objects"].as_u64().unwrap() >= 1, "{receipt}");
            }
            assert_eq!(receipt["worstStalenessMs"], 0, "{receipt}");
            took
        })
        .collect();
    took.sort_unstable();
    let (p50, p90, max) = (took[TIMED / 2], took[TIMED * 9 / 10], took[TIMED - 1]);
    println!("{TIMED} purges by tag at 5 nodes: p50 {p50:?}, p90 {p90:?}, max {max:?}");
}

#[test]
fn a_purge_without_a_quorum_is_refused_and_nothing_stored_is_trusted() {
    let _turn = turn();
    let mut edge = Edge::start("purge-quorum", 5);
    fill(&edge, "/q", &HEADERS, "one");
    // Nodes 1 to 3 vote.
    edge.mesh.kill(2);
    edge.mesh.kill(3);
    edge.origin.answers("/q", Reply::new(200, &HEADERS, "two"));
    let refused = until("nobody is left to agree", PATIENCE, || {
        let answer = purge(edge.mesh.node(4), "home");
        if answer.status == 503 { Ok(answer) } else { Err(answer.text()) }
    });
    refused.problem(503);
    for id in [1, 4, 5] {
        until_true("it asks the origin", PATIENCE, || {
            edge.mesh.node(id).get("/q").expect(200).text() == "two"
        });
    }
    edge.mesh.restart(2);
    edge.mesh.wait_ready(2);
    until("purges are recorded again", PATIENCE, || {
        let answer = purge(edge.mesh.node(4), "home");
        if answer.status == 202 { Ok(()) } else { Err(answer.text()) }
    });
    fill(&edge_without(edge, 3), "/q", &HEADERS, "three");
}

/// The same without a node that is dead.
fn edge_without(mut edge: Edge, id: u64) -> Edge {
    edge.mesh.nodes.retain(|node| node.id != id);
    edge
}
