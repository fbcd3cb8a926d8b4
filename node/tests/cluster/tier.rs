//! Three nodes of one PoP: an object comes from the origin about once, through the node that keeps it.

use std::{
    fs,
    time::{Duration, Instant},
};

use bytes::Bytes;
use http_body_util::{BodyExt as _, Empty};
use hyper::body::Incoming;
use hyper_util::{client::legacy::Client, rt::TokioExecutor};
use serde_json::json;

use crate::{
    client::{Answer, RUNTIME, send_json},
    edge::Edge,
    mesh::{Node, PATIENCE, turn},
    scripted::Reply,
    wait::{until, until_true},
};

const FRESH: [(&str, &str); 1] = [("cache-control", "max-age=3600")];
/// One name for all nodes, as a client knows them: it is part of what an object is kept under.
const HOST: [(&str, &str); 1] = [("host", "www.example.com")];
const BIG: u64 = 256 << 20;
const MIB: u64 = 1 << 20;

fn start(name: &str) -> Edge {
    let edge = Edge::start_in(name, 3, Some("mil"));
    // All see each other, and serve.
    until("one of them keeps a page for another", PATIENCE, || {
        let path = format!("/warm/{}", edge.counter("hexpop_cache_lookups_total"));
        edge.origin.answers(&path, Reply::new(200, &FRESH, "warm"));
        let hops: Vec<String> = edge.mesh.nodes.iter().map(|node| hop(&get(node, &path))).collect();
        let through = hops.iter().filter(|hop| !hop.is_empty()).count();
        if through == 2 { Ok(()) } else { Err(hops) }
    });
    edge
}

#[track_caller]
fn get(node: &Node, path: &str) -> Answer {
    node.send("GET", path, &HOST, "").expect(200)
}

/// What the node says that an answer came through; empty = none.
fn hop(answer: &Answer) -> String {
    let status = answer.header("cache-status");
    status.rsplit_once(", ").map(|(hops, _own)| hops.to_owned()).unwrap_or_default()
}

/// A path that another node than `asked` keeps, and that node.
fn kept_elsewhere(edge: &Edge, asked: u64, name: &str, reply: &Reply) -> (String, u64) {
    until("a page that another node keeps", PATIENCE, || {
        let path = format!("/{name}/{}", edge.counter("hexpop_cache_lookups_total"));
        edge.origin.answers(&path, reply.clone());
        let hop = hop(&get(edge.mesh.node(asked), &path));
        let owner = hop.split(';').next().and_then(|name| name.rsplit('-').next()?.parse().ok());
        owner.map(|owner| (path, owner)).ok_or(hop)
    })
}

#[test]
fn an_object_comes_from_the_origin_once_for_all_nodes_and_the_hop_is_shown() {
    let edge = start("tier");
    let reply = Reply::new(200, &FRESH, "page");
    let (path, owner) = kept_elsewhere(&edge, 1, "once", &reply);
    for node in &edge.mesh.nodes {
        get(node, &path);
        let again = get(node, &path);
        let status = again.header("cache-status").to_owned();
        assert!(status.contains("; hit") && !status.contains(", "), "{status}");
    }
    assert_eq!(edge.origin.seen(&path).len(), 1);
    let served = edge.counter("hexpop_cache_tier_total{outcome=\"served\",role=\"owner\"}");
    assert!(served >= 2, "{served}");
    let asked = edge.counter("hexpop_cache_tier_total{outcome=\"asked\",role=\"asker\"}");
    assert!(asked >= served, "{asked}");

    // A purge leaves nothing behind, whoever is asked when.
    edge.origin.answers(&path, Reply::new(200, &FRESH, "new"));
    let purge = json!({ "urls": [path] });
    let url = format!("{}/admin/v1/purge", edge.mesh.node(owner).admin);
    send_json("POST", &url, &purge).unwrap().expect(200);
    for node in &edge.mesh.nodes {
        assert_eq!(get(node, &path).text(), "new", "node {}", node.id);
    }
    assert_eq!(edge.origin.seen(&path).len(), 2);

    // Nor does a write, wherever it passes through.
    for (nth, writer) in edge.mesh.nodes.iter().enumerate() {
        let fetched = edge.origin.seen(&path).len();
        let text = format!("written {nth}");
        edge.origin.answers(&path, Reply::new(200, &FRESH, &text));
        writer.send("PUT", &path, &HOST, "x").expect(200);
        for node in &edge.mesh.nodes {
            assert_eq!(get(node, &path).text(), text, "node {}", node.id);
        }
        assert_eq!(edge.origin.seen(&path).len(), fetched + 2, "the write and one fetch");
    }
    assert_eq!(edge.mesh.defects_logged(), Vec::<String>::new());
}

#[test]
fn an_owner_that_is_killed_is_left_out_and_kept_from_nobody() {
    let _turn = turn();
    let mut edge = start("tier-kill");
    let reply = Reply::new(200, &FRESH, "page");
    let (path, owner) = kept_elsewhere(&edge, 1, "killed", &reply);
    let missing = format!("{path}/other");
    edge.origin.answers(&missing, reply);
    edge.mesh.signal_kill(owner);
    let begin = Instant::now();
    let left = edge.mesh.others(owner);
    for node in &left {
        assert_eq!(get(node, &missing).text(), "page");
        assert_eq!(get(node, &path).text(), "page");
    }
    println!("four answers {:?} after the owner was killed", begin.elapsed());
    assert!(begin.elapsed() < Duration::from_secs(10), "{:?}", begin.elapsed());
    // The others share what it kept.
    until_true("an object comes once for both", PATIENCE, || {
        let path = format!("/after/{}", begin.elapsed().as_micros());
        edge.origin.answers(&path, Reply::new(200, &FRESH, "page"));
        for node in &left {
            get(node, &path);
        }
        edge.origin.seen(&path).len() == 1
    });
    // What was purged while it was away it does not bring back.
    edge.origin.answers(&path, Reply::new(200, &FRESH, "new"));
    let url = format!("{}/admin/v1/purge", left[0].admin);
    send_json("POST", &url, &json!({ "urls": [path] })).unwrap();
    edge.mesh.restart(owner);
    edge.mesh.wait_ready(owner);
    for node in &edge.mesh.nodes {
        assert_eq!(get(node, &path).text(), "new", "node {}", node.id);
    }
}

/// The most memory that a node had, and what it has, in bytes.
fn memory(node: &Node) -> (u64, u64) {
    let status = fs::read_to_string(format!("/proc/{}/status", node.pid)).unwrap();
    let of = |name: &str| {
        let line = status.lines().find(|line| line.starts_with(name)).unwrap();
        line.split_whitespace().nth(1).unwrap().parse::<u64>().unwrap() * 1024
    };
    (of("VmHWM"), of("VmRSS"))
}

/// What a node has, from which on its most is counted.
fn from_here_on(node: &Node) -> u64 {
    fs::write(format!("/proc/{}/clear_refs", node.pid), "5").unwrap();
    memory(node).1
}

fn streaming() -> Client<hyper_util::client::legacy::connect::HttpConnector, Empty<Bytes>> {
    Client::builder(TokioExecutor::new()).build_http()
}

/// Begins to read a body.
fn begin(node: &Node, path: &str) -> http::Response<Incoming> {
    let url = format!("{}{path}", node.http);
    let [(name, host)] = HOST;
    let request = http::Request::get(url).header(name, host).body(Empty::new()).unwrap();
    RUNTIME.block_on(streaming().request(request)).unwrap()
}

fn read(mut body: Incoming) -> u64 {
    RUNTIME.block_on(async {
        let mut bytes = 0;
        while let Some(frame) = body.frame().await {
            bytes += frame.unwrap().into_data().map_or(0, |data| data.len() as u64);
        }
        bytes
    })
}

#[test]
fn a_big_body_passes_two_nodes_in_bounded_memory_and_slow_readers_harm_nobody() {
    let _turn = turn();
    let edge = start("tier-big");
    let node = edge.mesh.node(1);
    let mut through = 0;
    for (nth, chunked) in [false, true, false, true, false, true].into_iter().enumerate() {
        let path = format!("/big/{nth}");
        let reply = Reply { zeros: BIG, chunked, ..Reply::new(200, &FRESH, "") };
        edge.origin.answers(&path, reply);
        let before: Vec<u64> = edge.mesh.nodes.iter().map(from_here_on).collect();
        let started = Instant::now();
        let response = begin(node, &path);
        let is_through = response.headers()["cache-status"].to_str().unwrap().contains(", ");
        through += u32::from(is_through);
        assert_eq!(read(response.into_body()), BIG);
        let took = started.elapsed();
        let grown = edge.mesh.nodes.iter().zip(before);
        let grown =
            grown.map(|(node, before)| memory(node).0.saturating_sub(before)).max().unwrap();
        println!(
            "{} MiB{} {} took {took:.2?}, memory grew by at most {:.1} MiB",
            BIG / MIB,
            if chunked { " of unknown length" } else { "" },
            if is_through { "through two nodes" } else { "through one node" },
            grown as f64 / MIB as f64,
        );
        assert!(grown < 96 * MIB, "{grown} bytes more");
    }
    assert!(through > 0, "another node kept one of them");

    // Many who take nothing of theirs.
    let before: Vec<u64> = edge.mesh.nodes.iter().map(|node| memory(node).1).collect();
    let stalled: Vec<_> = (0..60)
        .map(|nth| {
            let path = format!("/stalled/{nth}");
            edge.origin.answers(&path, Reply { zeros: BIG, ..Reply::new(200, &FRESH, "") });
            begin(node, &path)
        })
        .collect();
    let is_through = |response: &&http::Response<Incoming>| {
        response.headers()["cache-status"].to_str().unwrap().contains(", ")
    };
    let through = stalled.iter().filter(is_through).count();
    assert!(through > 10, "{through} of {}", stalled.len());
    let started = Instant::now();
    let reply = Reply::new(200, &FRESH, "page");
    for nth in 0..20 {
        kept_elsewhere(&edge, 1, &format!("beside/{nth}"), &reply);
    }
    let took = started.elapsed();
    let grown = edge.mesh.nodes.iter().zip(before);
    let grown = grown.map(|(node, before)| memory(node).1.saturating_sub(before)).max().unwrap();
    println!(
        "beside {through} stalled bodies 20 pages through the tier took {took:.2?}, memory grew by at most {:.1} MiB",
        grown as f64 / MIB as f64,
    );
    assert!(took < Duration::from_secs(20), "{took:?}");
    assert!(grown < 160 * MIB, "{grown} bytes more");
    drop(stalled);
    assert_eq!(edge.mesh.defects_logged(), Vec::<String>::new());
}
