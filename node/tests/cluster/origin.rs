//! The origin stops, and comes back: what the mesh holds is served all the time.

use serde_json::json;

use crate::{
    mesh::{Data, Mesh, PATIENCE, kill, turn},
    wait::until,
};

/// A page of the stand-in origin that may be kept for a few seconds, and no longer.
const PAGE: &str = "/bytes/100?cache-control=max-age%3D5";
const UNCACHED: &str = "/bytes/101?cache-control=no-store";

#[test]
fn an_origin_may_stop_and_come_back() {
    let _turn = turn();
    let mut mesh = Mesh::start("origin", 3, Data::Synthetic(300));
    mesh.wait_until_purges_are_followed();
    let listing = "/api/v1/listings/lst_000007";
    let search = json!({"listingType": "sale", "limit": 100});
    let before: Vec<_> = mesh
        .nodes
        .iter()
        .map(|node| node.post("/api/v1/search", &search).expect(200).json()["data"].clone())
        .collect();
    let fetched = mesh.node(1).get(PAGE).expect(200);
    assert!(fetched.header("cache-status").contains("stored"), "{:?}", fetched.headers);
    mesh.node(1).get(UNCACHED).expect(200);

    kill(u32::try_from(mesh.ready["origin"]["pid"].as_u64().unwrap()).unwrap());

    // While it is fresh it is served, then no more: 503, and never anything else.
    let mut hits = 0;
    until("the cached page is no longer fresh", PATIENCE, || {
        let answer = mesh.node(1).get(PAGE);
        if answer.status == 200 {
            hits += 1;
            assert_eq!(answer.body, fetched.body);
            assert!(answer.header("cache-status").contains("hit"), "{:?}", answer.headers);
            return Err(answer.status);
        }
        let problem = answer.problem(503);
        assert_eq!(problem["type"], "urn:hexpop:problem:origin-unavailable", "{problem}");
        assert!(!answer.header("retry-after").is_empty(), "{:?}", answer.headers);
        Ok(())
    });
    assert!(hits > 0, "the page was served from the cache");

    for (node, before) in mesh.nodes.iter().zip(&before) {
        node.get(UNCACHED).problem(503);
        node.get(listing).expect(200);
        let answer = node.post("/api/v1/search", &search).expect(200).json();
        assert_eq!(answer["data"], *before);
        assert_eq!(answer["partial"], false);
        let session = json!({"territory": "IT:lazio", "userId": "u", "data": {"at": node.id}});
        let created = node.post("/api/v1/sessions", &session).expect(201).json();
        let id = created["id"].as_str().unwrap();
        for reader in &mesh.nodes {
            assert_eq!(reader.strong(id).expect(200).json()["data"], session["data"]);
        }
        assert!(node.is_ready(), "an origin that is away is no reason not to serve");
    }

    mesh.restart_origin();
    for node in &mesh.nodes {
        for page in [PAGE, UNCACHED] {
            until("the origin is used again", PATIENCE, || {
                let answer = node.get(page);
                if answer.status == 200 { Ok(()) } else { Err(answer.text()) }
            });
        }
    }
}
