//! The mesh's own answers as what caches and browsers make of them: entity tags, conditions, how long they
//! may be kept, what they vary by, content codings.

use std::io::Read as _;

use serde_json::{Value, json};

use crate::{
    client::Answer,
    edge::Edge,
    mesh::{Mesh, PATIENCE},
    scripted::Reply,
    wait::until_true,
};

const FLAT: &str = "/api/v1/listings?listingType=sale&facets=propertyTypes&limit=50";
const JSON: (&str, &str) = ("content-type", "application/json");

fn search() -> String {
    json!({"limit": 50, "facets": ["propertyTypes"], "listingType": "sale"}).to_string()
}

fn gunzip(body: &[u8]) -> Vec<u8> {
    let mut plain = Vec::new();
    flate2::read::GzDecoder::new(body).read_to_end(&mut plain).unwrap();
    plain
}

/// What of a gathered answer does not say when it was made.
fn content(answer: &Answer) -> Value {
    let mut json = answer.json();
    json.as_object_mut().unwrap().remove("shards");
    json
}

/// A listing that everybody may see.
fn public(mesh: &Mesh) -> String {
    let listings = mesh.data.listings();
    let active = listings.iter().find(|listing| listing["status"] == "active").unwrap();
    format!("/api/v1/listings/{}", active["id"].as_str().unwrap())
}

#[test]
fn a_search_has_one_tag_at_all_nodes_and_a_304_while_nothing_changes() {
    let mesh = Mesh::shared();
    let first = mesh.node(1).get(FLAT).expect(200);
    let tag = first.header("etag").to_owned();
    assert!(tag.starts_with("W/\""), "the age of replicas is in the body: {tag}");
    assert_eq!(first.header("cache-control"), "public, max-age=30");
    let vary: Vec<_> = first.headers.get_all("vary").iter().collect();
    assert_eq!(vary, ["Accept-Encoding, Hexpop-Consistency, Hexpop-Token", "Accept-Language"]);
    for node in &mesh.nodes {
        let same = node.get(FLAT).expect(200);
        assert_eq!(same.header("etag"), tag, "node {}", node.id);
        assert_eq!(content(&same), content(&first));
        let held = node.send("GET", FLAT, &[("if-none-match", &tag)], "").expect(304);
        assert!(held.body.is_empty());
        assert_eq!(held.header("etag"), tag);
        assert!(!held.header("hexpop-consistency").is_empty());
        assert!(!held.header("cache-status").is_empty());
        // POST is the same search and has the same tag; QUERY says that it only reads.
        let posted = node.send("POST", "/api/v1/search", &[JSON], &search()).expect(200);
        assert_eq!((posted.header("etag"), content(&posted)), (tag.as_str(), content(&first)));
        let queried = node.send("QUERY", "/api/v1/search", &[JSON], &search()).expect(200);
        assert_eq!(queried.header("etag"), tag);
        assert_eq!(queried.header("accept-query"), "\"application/json\"");
        let held = [JSON, ("if-none-match", tag.as_str())];
        node.send("QUERY", "/api/v1/search", &held, &search()).expect(304);
        node.send("POST", "/api/v1/search", &held, &search()).expect(200);
        // Asked for at a level: another cache may not give it to who asks for that.
        let strong = [("hexpop-consistency", "strong")];
        let strong = node.send("GET", FLAT, &strong, "").expect(200);
        assert_eq!((strong.header("cache-control"), strong.header("etag")), ("no-store", &*tag));
    }
    let node = mesh.node(2);
    let refused = node.send("DELETE", "/api/v1/search", &[], "");
    assert_eq!((refused.status, refused.header("allow")), (405, "POST, QUERY"));
    let hits = node.get("/api/v1/listings?listingType=sale").expect(200);
    assert_eq!(hits.header("cache-control"), "public, max-age=30");
    let map = json!({"listingType": "sale", "resolution": 5});
    let map = node.post("/api/v1/search/map", &map).expect(200);
    assert_eq!(map.header("cache-control"), "public, max-age=300");
    assert!(map.header("etag").starts_with("W/\""));
    let places = node.get("/api/v1/search/suggest?q=m").expect(200);
    let held = [("if-none-match", places.header("etag"))];
    node.send("GET", "/api/v1/search/suggest?q=m", &held, "").expect(304);
}

#[test]
fn a_search_that_is_asked_again_is_not_computed_again() {
    let mesh = Mesh::shared();
    let path = "/api/v1/listings?listingType=rent&limit=3&sortBy=price_asc";
    let node = mesh.node(3);
    let first = node.get(path).expect(200);
    let again = node.get(path).expect(200);
    assert_eq!(content(&again), content(&first));
    let status = again.header("cache-status");
    let kept = status.ends_with("hit; detail=result");
    assert!(kept || status.ends_with("fwd=stale; detail=peer; fwd-status=304"), "{status}");
    let metrics = node.admin("/metrics").expect(200).text();
    assert!(metrics.contains("hexpop_search_results_total{result=\"held\"}"), "{metrics}");
}

#[test]
fn a_listing_has_a_strong_tag_of_its_own_log_entry() {
    let mesh = Mesh::shared();
    let path = public(mesh);
    let tags: Vec<String> = mesh
        .nodes
        .iter()
        .map(|node| {
            let answer = node.get(&path).expect(200);
            assert_eq!(answer.header("cache-control"), "public, max-age=60");
            let head = node.send("HEAD", &path, &[], "").expect(200);
            assert_eq!(head.header("content-length"), answer.body.len().to_string());
            assert_eq!(head.header("etag"), answer.header("etag"));
            assert!(head.body.is_empty());
            answer.header("etag").to_owned()
        })
        .collect();
    assert!(tags.iter().all(|tag| *tag == tags[0] && tag.starts_with('"')), "{tags:?}");
    let problem = mesh.node(1).get("/api/v1/listings/lst_none");
    problem.problem(404);
    assert!(problem.header("cache-status").starts_with("hexpop-"), "{:?}", problem.headers);
    let wrong = mesh.node(1).post("/api/v1/search", &json!({"listingTyp": "sale"}));
    wrong.problem(422);
    let status = wrong.header("cache-status");
    assert!(status.starts_with("hexpop-") && status.contains("; detail="), "{status}");
}

#[test]
fn long_answers_are_coded_as_clients_like_and_each_coding_has_its_tag() {
    let mesh = Mesh::shared();
    let node = mesh.node(1);
    let plain = node.get(FLAT).expect(200);
    let tag = plain.header("etag").to_owned();
    let gzip = ("accept-encoding", "gzip, br;q=0.1");
    let coded = node.send("GET", FLAT, &[gzip], "").expect(200);
    assert_eq!(coded.header("content-encoding"), "gzip");
    assert!(coded.body.len() * 2 < plain.body.len());
    let mut decoded: Value = serde_json::from_slice(&gunzip(&coded.body)).unwrap();
    decoded.as_object_mut().unwrap().remove("shards");
    assert_eq!(decoded, content(&plain));
    let of_coding = format!("{};gzip\"", tag.trim_end_matches('"'));
    assert_eq!(coded.header("etag"), of_coding);
    for held in [&of_coding, &tag] {
        let held = node.send("GET", FLAT, &[gzip, ("if-none-match", held)], "").expect(304);
        assert!(held.header("vary").contains("Accept-Encoding"));
    }
    let other = [("accept-encoding", "identity"), ("if-none-match", of_coding.as_str())];
    node.send("GET", FLAT, &other, "").expect(200);
    let br = node.send("GET", FLAT, &[("accept-encoding", "br, gzip")], "").expect(200);
    assert_eq!(br.header("content-encoding"), "br");
    let none = node.send("GET", FLAT, &[("accept-encoding", "gzip;q=0, *;q=0")], "").expect(200);
    assert_eq!(none.header("content-encoding"), "");
}

#[test]
fn who_asks_from_this_machine_sees_how_an_answer_came_about() {
    let mesh = Mesh::shared();
    let debug = ("hexpop-debug", "1");
    let plain = mesh.node(1).get(FLAT).expect(200);
    assert!(!plain.header("cache-status").contains("key="));
    assert_eq!(plain.header("server-timing"), "");
    let keys: Vec<String> = [
        mesh.node(1).send("GET", FLAT, &[debug], ""),
        mesh.node(2).send("POST", "/api/v1/search", &[JSON, debug], &search()),
    ]
    .into_iter()
    .map(|answer| {
        let answer = answer.expect(200);
        let timing: Vec<_> = answer.headers.get_all("server-timing").iter().collect();
        let timing = format!("{timing:?}");
        assert!(timing.contains("route;dur=") && timing.contains("shard;dur="), "{timing}");
        let status = answer.header("cache-status");
        status.split_once("; key=").unwrap_or_else(|| panic!("{status}")).1.to_owned()
    })
    .collect();
    assert_eq!(keys[0], keys[1], "one question has one key");
}

#[test]
fn pages_of_the_origin_are_coded_once_they_are_stored() {
    let edge = Edge::shared();
    let (path, page) = ("/coding/page", "<p>Appartamento a Milano, Brera</p>".repeat(400));
    let fields = [
        ("cache-control", "max-age=600"),
        ("content-type", "text/html; charset=utf-8"),
        ("etag", "\"v1\""),
    ];
    edge.origin.answers(path, Reply::new(200, &fields, &page));
    let node = edge.mesh.node(1);
    node.get(path).expect(200);
    until_true("the page is stored", PATIENCE, || edge.stored(1, path));
    let gzip = ("accept-encoding", "gzip");
    let coded = node.send("GET", path, &[gzip], "").expect(200);
    assert_eq!((coded.header("content-encoding"), coded.header("etag")), ("gzip", "\"v1;gzip\""));
    assert_eq!(gunzip(&coded.body), page.as_bytes());
    assert_eq!(coded.header("vary"), "Accept-Encoding");
    node.send("GET", path, &[gzip, ("if-none-match", "\"v1;gzip\"")], "").expect(304);
    let part = node.send("GET", path, &[gzip, ("range", "bytes=3-13")], "").expect(206);
    assert_eq!((part.text().as_str(), part.header("etag")), ("Appartament", "\"v1\""));
    let metrics = node.admin("/metrics").expect(200).text();
    let line = "hexpop_compressions_total{coding=\"gzip\",outcome=\"done\"}";
    assert!(metrics.contains(line), "{metrics}");
    assert_eq!(edge.origin.seen(path).len(), 1);
}
