//! Listings by id, totals and the admin port, at every node.

use std::process::{Command, Output};

use serde_json::{Value, json};

use crate::{client, mesh::Mesh, oracle::Oracle};

#[test]
fn every_node_answers_every_listing_by_id() {
    let mesh = Mesh::shared();
    let oracle = Oracle::new(mesh.data.listings());
    for (number, listing) in oracle.listings().enumerate().step_by(7) {
        let id = listing["id"].as_str().unwrap();
        let node = &mesh.nodes[number % mesh.nodes.len()];
        let answer = node.get(&format!("/api/v1/listings/{id}"));
        if listing["status"] == "draft" || listing["status"] == "pending_review" {
            answer.problem(404);
            continue;
        }
        let given = answer.clone().expect(200).json();
        for (name, value) in listing.as_object().unwrap() {
            assert_eq!(given[name], *value, "{name} of {id}");
        }
        if listing["location"].is_object() {
            assert!(given["h3Index"].is_string(), "{given}");
        }
        assert!(answer.header("cache-status").starts_with("hexpop-"), "{:?}", answer.headers);
        let etag = answer.header("etag").to_owned();
        assert!(etag.len() > 2, "{:?}", answer.headers);
        let path = format!("/api/v1/listings/{id}");
        let again = node.send("GET", &path, &[("if-none-match", &etag)], "").expect(304);
        assert!(again.body.is_empty());
    }
    for node in &mesh.nodes {
        node.get("/api/v1/listings/lst_does_not_exist").problem(404);
    }
}

#[test]
fn totals_agree_on_all_nodes() {
    let mesh = Mesh::shared();
    let oracle = Oracle::new(mesh.data.listings());
    for node in &mesh.nodes {
        let status = node.admin("/admin/v1/status").expect(200).json();
        let expected = json!({"total": oracle.listings().len(), "active": oracle.active()});
        assert_eq!(status["listings"], expected, "node {}", node.id);
        assert_eq!(status["state"], "ok", "{status}");
        assert_eq!(node.admin("/livez").status, 200);
        let mut sum = 0;
        for listing_type in ["sale", "rent", "auction"] {
            let answer = node.post("/api/v1/search", &json!({"listingType": listing_type}));
            sum += answer.expect(200).json()["pagination"]["total"].as_u64().unwrap();
        }
        assert_eq!(sum, oracle.active() as u64, "node {}", node.id);
    }
}

#[test]
fn a_search_in_the_query_string_is_the_same_search() {
    let mesh = Mesh::shared();
    for node in &mesh.nodes {
        let flat = "/api/v1/listings?listingType=sale&priceMax=400000&amenities=elevator&sortBy=price_asc\
                    &limit=7&facets=propertyTypes&geoFilter.type=bbox&geoFilter.topLeft.lat=60\
                    &geoFilter.topLeft.lng=-10&geoFilter.bottomRight.lat=35&geoFilter.bottomRight.lng=30";
        let body = json!({
            "listingType": "sale", "priceMax": 400_000, "amenities": ["elevator"],
            "sortBy": "price_asc", "limit": 7, "facets": ["propertyTypes"],
            "geoFilter": {"type": "bbox", "topLeft": {"lat": 60, "lng": -10},
                          "bottomRight": {"lat": 35, "lng": 30}},
        });
        let by_get = node.get(flat).expect(200).json();
        let by_post = node.post("/api/v1/search", &body).expect(200).json();
        for part in ["data", "facets", "pagination"] {
            assert_eq!(by_get[part], by_post[part], "{part}");
        }
        assert!(by_get["pagination"]["total"].as_u64().unwrap() > 0);
    }
}

#[test]
fn every_shard_has_a_leader_and_three_voters() {
    let mesh = Mesh::shared();
    for node in &mesh.nodes {
        let shards = mesh.shards(node.id);
        assert!(shards.len() > 3, "{shards:?}");
        for shard in &shards {
            assert!(shard["leader"].is_u64(), "{shard}");
            let voters = shard["replicas"].as_array().unwrap().iter();
            assert_eq!(voters.filter(|one| one["role"] == "voter").count(), 3, "{shard}");
        }
    }
    let leaders: std::collections::BTreeSet<u64> =
        mesh.shards(1).iter().filter_map(|shard| shard["leader"].as_u64()).collect();
    assert!(leaders.len() > 1, "shards are led by several nodes: {leaders:?}");
}

fn import(admin: &str, words: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_hexpop"))
        .args(["listings", "--admin", admin, "--output=json", "import"])
        .args(words)
        .output()
        .unwrap()
}

/// Other tests count, so nothing new comes in: the mesh has a newer version of what is valid here.
#[test]
fn records_of_the_reso_standard_are_taken_in_as_lines_and_as_collections() {
    let mesh = Mesh::shared();
    let node = mesh.node(2);
    let known = mesh
        .data
        .listings()
        .into_iter()
        .find(|listing| listing["location"].is_object() && listing["updatedAt"].is_string());
    let known = known.unwrap();
    let old = json!({
        "ListingKey": known["id"], "StandardStatus": "Closed", "PropertyType": "Residential",
        "Country": known["country"], "StateOrProvince": known["region"],
        "Latitude": known["location"]["lat"], "Longitude": known["location"]["lng"],
        "ModificationTimestamp": "2001-01-01T00:00:00Z", "ClosePrice": "1", "Zoning": null,
    });
    let odd = json!({"ListingKey": "odd", "StateOrProvince": "WA", "StandardStatus": "Odd"});
    let url = format!("{}/admin/v1/ingest", node.admin);
    let send = |query: &str, body: String| {
        let kind = [("content-type", "application/x-ndjson")];
        client::send("POST", &format!("{url}{query}"), &kind, body).unwrap()
    };
    let lines = send("?format=reso", format!("{old}\n{odd}\n")).expect(200).json();
    assert_eq!((&lines["accepted"], &lines["ignored"]), (&json!(0), &json!(1)), "{lines}");
    let error = lines["rejected"][0]["error"].as_str().unwrap();
    assert!(error.starts_with("/StandardStatus: is not known"), "{lines}");
    let problem = send("?format=csv", String::new()).problem(422);
    assert_eq!(problem["errors"][0]["parameter"], "format", "{problem}");

    let collection = mesh.dir.join("collection.json");
    let text = json!({"@odata.context": "$metadata#Property", "value": [old, odd]});
    std::fs::write(&collection, serde_json::to_string_pretty(&text).unwrap()).unwrap();
    let collection = collection.display().to_string();
    let output = import(&node.admin, &["--format", "reso", &collection]);
    let said = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(1), "{said}");
    assert!(said.contains(":2: /StandardStatus: is not known"), "{said}");
    let report: Value = serde_json::from_slice(&output.stdout).unwrap();
    for (name, count) in [("lines", 2), ("accepted", 0), ("ignored", 1), ("rejectedTotal", 1)] {
        assert_eq!(report[name], count, "{name} of {report}");
    }
    assert_eq!(import(&node.admin, &["--format", "csv", &collection]).status.code(), Some(2));
    let still = node.get(&format!("/api/v1/listings/{}", known["id"].as_str().unwrap()));
    assert_eq!(still.expect(200).json()["updatedAt"], known["updatedAt"]);
}
