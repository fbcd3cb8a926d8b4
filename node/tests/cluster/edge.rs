//! A client, a node and an origin over real sockets: the rules of HTTP caching, purges.

use std::sync::OnceLock;

use http::HeaderMap;
use serde_json::json;

use crate::{
    client::{self, send_json},
    edge_rules::{CASES, Case, Fields, Step},
    mesh::{Data, Mesh, Node, PATIENCE},
    scripted::{Reply, Scripted},
    wait::until_true,
};

/// One node in front of an origin that does as told.
pub(crate) struct Edge {
    pub(crate) origin: Scripted,
    pub(crate) mesh: Mesh,
}

impl Edge {
    /// The one for tests that do not hurt.
    pub(crate) fn shared() -> &'static Self {
        static SHARED: OnceLock<Edge> = OnceLock::new();
        SHARED.get_or_init(|| Self::start("edge", 1))
    }

    pub(crate) fn start(name: &str, nodes: u32) -> Self {
        Self::start_in(name, nodes, None)
    }

    /// As [`start`](Self::start), in these PoPs.
    pub(crate) fn start_in(name: &str, nodes: u32, pops: Option<&str>) -> Self {
        let origin = Scripted::start();
        let mesh = Mesh::start_in(name, nodes, Data::Behind(origin.url()), pops, &[]);
        mesh.wait_until_purges_are_followed();
        Self { origin, mesh }
    }

    /// A counter, of all nodes together.
    pub(crate) fn counter(&self, name: &str) -> u64 {
        let of = |node: &Node| {
            let text = node.admin("/metrics").expect(200).text();
            let lines = text.lines().filter(|line| line.starts_with(name));
            lines.map(|line| line.rsplit(' ').next().unwrap().parse::<u64>().unwrap()).sum::<u64>()
        };
        self.mesh.nodes.iter().map(of).sum()
    }

    pub(crate) fn stored(&self, node: u64, path: &str) -> bool {
        let url = format!("{}{path}", self.mesh.node(node).http);
        let report = self.mesh.node(node).admin(&format!("/admin/v1/cache?url={url}"));
        let report = report.expect(200).json();
        let nodes = report["nodes"].as_array().unwrap();
        let own = nodes.iter().find(|entry| entry["id"] == json!(node)).unwrap();
        !own["entries"].as_array().unwrap().is_empty()
    }
}

#[test]
fn every_rule_holds_between_client_node_and_origin() {
    let edge = Edge::shared();
    let mut failed = Vec::new();
    for case in CASES {
        if let Err(why) = run(edge, case) {
            failed.push(format!("{}: {why}", case.0));
        }
    }
    assert!(failed.is_empty(), "{} of {}:\n{}", failed.len(), CASES.len(), failed.join("\n"));
}

fn run(edge: &Edge, (name, steps): &Case) -> Result<(), String> {
    let path = format!("/{name}");
    for (nth, step) in steps.iter().enumerate() {
        take(edge, &path, step).map_err(|why| format!("step {}: {why}", nth + 1))?;
    }
    Ok(())
}

fn take(edge: &Edge, path: &str, step: &Step) -> Result<(), String> {
    let before = edge.origin.seen(path).len();
    let (status, headers, body) = step.origin.unwrap_or((599, &[], "the origin was asked"));
    edge.origin.answers(path, Reply::new(status, headers, body));
    let url = format!("{}{path}", edge.mesh.node(1).http);
    let answer = client::send(step.method, &url, step.headers, "")?;
    let seen = edge.origin.seen(path);
    let asked = seen.len() - before;
    let cache_status = answer.header("cache-status").to_owned();
    if asked != usize::from(step.origin.is_some()) {
        return Err(format!("the origin was asked {asked} times; {cache_status}"));
    }
    if answer.status != step.status {
        return Err(format!("status {}, not {}; {cache_status}", answer.status, step.status));
    }
    if let Some(body) = step.body
        && answer.text() != body
    {
        return Err(format!("body {:?}, not {body:?}; {cache_status}", answer.text()));
    }
    has(&answer.headers, step.gets).map_err(|why| format!("the client got {why}"))?;
    if let Some(seen) = seen.last() {
        has(&seen.headers, step.sees).map_err(|why| format!("the origin got {why}"))?;
        if step.origin.is_some() && seen.method != step.method {
            return Err(format!("the origin got {}", seen.method));
        }
    }
    // A problem that the node made says itself what happened.
    let is_problem = answer.header("content-type") == "application/problem+json";
    if cache_status.is_empty() && !is_problem {
        return Err("no Cache-Status".to_owned());
    }
    Ok(())
}

fn has(headers: &HeaderMap, fields: Fields) -> Result<(), String> {
    for (name, expected) in fields {
        let found = headers.get(*name).map_or("", |value| value.to_str().unwrap());
        if found != *expected {
            return Err(format!("{name}: {found:?}, not {expected:?}"));
        }
    }
    Ok(())
}

#[test]
fn purges_reach_what_they_name_on_all_nodes_and_say_who_did_it() {
    let edge = Edge::start("edge-purge", 3);
    let purge =
        |body| send_json("POST", &format!("{}/admin/v1/purge", edge.mesh.node(2).admin), &body);
    let tagged = [("cache-control", "max-age=600"), ("surrogate-key", "city:milano page")];
    let paths = ["/purge/a", "/purge/b", "/purge/other"];
    for path in paths {
        let headers = if path == "/purge/other" { &tagged[..1] } else { &tagged[..] };
        edge.origin.answers(path, Reply::new(200, headers, "one"));
        for node in &edge.mesh.nodes {
            node.get(path).expect(200);
        }
    }
    let held =
        |path: &str| edge.mesh.nodes.iter().filter(|node| edge.stored(node.id, path)).count();
    let all_held = || paths.iter().all(|path| held(path) == 3);
    until_true("everything is stored", PATIENCE, all_held);

    let receipt = purge(json!({"tags": ["city:milano"]})).unwrap().expect(200).json();
    assert_eq!((&receipt["confirmed"], &receipt["of"]), (&json!(3), &json!(3)), "{receipt}");
    for node in receipt["nodes"].as_array().unwrap() {
        assert_eq!(
            (&node["state"], &node["objects"]),
            (&json!("confirmed"), &json!(2)),
            "{receipt}"
        );
    }
    assert_eq!([held("/purge/a"), held("/purge/b"), held("/purge/other")], [0, 0, 3]);

    let receipt = purge(json!({"tags": ["city:milano"]})).unwrap().expect(200).json();
    assert_eq!(receipt["nodes"][0]["objects"], 0, "{receipt}");
    let receipt = purge(json!({"prefixes": ["/purge/"], "soft": true})).unwrap().expect(200).json();
    assert_eq!(receipt["nodes"][0]["objects"], 1, "{receipt}");
    assert_eq!(held("/purge/other"), 3, "a soft purge forgets nothing");
    let again = edge.mesh.node(1).get("/purge/other").expect(200);
    assert!(again.header("cache-status").contains("fwd=stale"), "{}", again.header("cache-status"));
    purge(json!({"all": true})).unwrap().expect(200);
    assert_eq!(held("/purge/other"), 0);
    for wrong in [json!({}), json!({"urls": ["nonsense"]}), json!({"urls": ["/a"], "tagz": []})] {
        purge(wrong).unwrap().problem(422);
    }
}
