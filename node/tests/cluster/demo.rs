//! The demo itself: what its ready file says, and how it ends.

use std::{collections::BTreeSet, path::Path};

use crate::{
    client,
    mesh::{Data, Mesh, turn},
    oracle::Oracle,
};

#[test]
fn the_ready_file_names_everything() {
    let mesh = Mesh::shared();
    let ready = &mesh.ready;
    assert!(ready["origin"]["url"].as_str().unwrap().starts_with("http://127.0.0.1:"), "{ready}");
    assert!(ready["origin"]["pid"].is_u64(), "{ready}");
    assert!(is_absolute_file(&ready["ca"]), "{ready}");
    let nodes = ready["nodes"].as_array().unwrap();
    assert_eq!(nodes.len(), 3);
    for (index, (node, pop)) in nodes.iter().zip(["mil", "mad", "ber"]).enumerate() {
        assert_eq!(node["id"], index + 1, "{node}");
        assert_eq!(node["pop"], pop, "{node}");
        assert!(Path::new(&format!("/proc/{}", node["pid"])).exists(), "{node}");
        assert!(is_absolute_file(&node["config"]), "{node}");
        assert!(Path::new(node["data_dir"].as_str().unwrap()).is_dir(), "{node}");
        assert!(node["mesh"].as_str().unwrap().starts_with("127.0.0.1:"), "{node}");
        assert!(node["https"].as_str().unwrap().starts_with("https://127.0.0.1:"), "{node}");
        for port in ["http", "admin"] {
            assert!(node[port].as_str().unwrap().starts_with("http://127.0.0.1:"), "{node}");
        }
    }
    // Of 3 nodes 3 ports each, and the origin's: all different.
    let ports: BTreeSet<&str> = nodes
        .iter()
        .flat_map(|node| ["http", "https", "admin"].map(|name| node[name].as_str().unwrap()))
        .chain(ready["origin"]["url"].as_str())
        .filter_map(|url| url.rsplit(':').next())
        .collect();
    assert_eq!(ports.len(), 10);
    for node in &mesh.nodes {
        assert!(node.is_ready());
    }
}

#[test]
fn every_node_answers_over_tls_with_a_certificate_of_the_demo() {
    let mesh = Mesh::shared();
    let ca = Path::new(mesh.ready["ca"].as_str().unwrap());
    for node in mesh.ready["nodes"].as_array().unwrap() {
        let https = node["https"].as_str().unwrap();
        let (answer, _certificate) = client::secure_get(https, ca, "/openapi.json").unwrap();
        assert_eq!(answer.json()["openapi"], "3.1.0");
        let port = https.rsplit(':').next().unwrap();
        assert_eq!(answer.header("alt-svc"), format!("h3=\":{port}\"; ma=86400"));
    }
}

fn is_absolute_file(path: &serde_json::Value) -> bool {
    let path = Path::new(path.as_str().unwrap());
    path.is_absolute() && path.is_file()
}

#[test]
fn five_nodes_share_the_work_and_end_together() {
    let _turn = turn();
    let mesh = Mesh::start("five", 5, Data::Synthetic(500));
    let oracle = Oracle::new(mesh.data.listings());
    let search = serde_json::json!({"listingType": "sale", "sortBy": "price_desc", "limit": 50});
    let expected: Vec<&serde_json::Value> =
        oracle.search(&search).into_iter().take(50).map(|listing| &listing["id"]).collect();
    let mut leaders = BTreeSet::new();
    for node in &mesh.nodes {
        let status = node.admin("/admin/v1/status").expect(200).json();
        assert_eq!(status["listings"]["total"], 500, "{status}");
        assert_eq!(status["mesh"]["nodes"], 5, "{status}");
        assert_eq!(status["mesh"]["pops"], 3, "{status}");
        let answer = node.post("/api/v1/search", &search).expect(200).json();
        let ids: Vec<&serde_json::Value> =
            answer["data"].as_array().unwrap().iter().map(|hit| &hit["id"]).collect();
        assert_eq!(ids, expected, "node {}", node.id);
        for shard in mesh.shards(node.id) {
            leaders.insert(shard["leader"].as_u64().unwrap());
        }
    }
    assert!(leaders.len() >= 3, "{leaders:?}");
    let (addresses, origin): (Vec<String>, String) = (
        mesh.nodes.iter().map(|node| node.http.clone()).collect(),
        mesh.ready["origin"]["url"].as_str().unwrap().to_owned(),
    );
    assert_eq!(mesh.stop(), Some(143));
    for address in addresses.iter().chain([&origin]) {
        assert!(client::get(address).is_err(), "{address} is closed");
    }
}
