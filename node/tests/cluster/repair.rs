//! A PoP is lost for good, and comes back: its replicas are made anew elsewhere, and even out again, without
//! a person.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    process::Command,
    time::Instant,
};

use serde_json::{Value, json};

use crate::{
    failover::{sessions_are_there, write_sessions},
    mesh::{Data, Mesh, Node, PATIENCE, turn},
    oracle::Oracle,
    system_groups::have_voters,
    wait::until,
};

/// Nodes 1 to 7 are in these, in turn: three in the first, two in each of the others.
const POPS: [&str; 3] = ["mil", "mad", "ber"];

/// As in production, but for the times. Some territories need a label, which all nodes carry, so that it is
/// told where they are.
const ENV: &[(&str, &str)] = &[
    ("HEXPOP__PLACEMENT__REPAIR_AFTER", "5s"),
    ("HEXPOP__PLACEMENT__MOVES_AT_ONCE", "16"),
    ("HEXPOP__TERRITORIES", TERRITORIES),
];

const TERRITORIES: &str = r#"[
    {territory = "IT:lombardia"}, {territory = "IT:lazio"}, {territory = "ES:madrid"},
    {territory = "DE:berlin"}, {territory = "PT:norte", labels = ["eu"]},
    {territory = "PT:centro", labels = ["eu"]}, {territory = "SE:skane", labels = ["eu"]},
    {territory = "AT:tirol", labels = ["eu"]}, {territory = "GR:attica", labels = ["eu"]},
]"#;

fn pop(node: u64) -> &'static str {
    POPS[usize::try_from(node - 1).unwrap() % POPS.len()]
}

/// Runs the command line at a node; its exit code and output.
fn hexpop(node: &Node, words: &[&str]) -> (Option<i32>, String) {
    let mut command = Command::new(env!("CARGO_BIN_EXE_hexpop"));
    let output = command.args(words).args(["--admin", &node.admin]).output().unwrap();
    let text = String::from_utf8_lossy(&output.stdout) + String::from_utf8_lossy(&output.stderr);
    (output.status.code(), text.into_owned())
}

fn voters(shard: &Value) -> Vec<u64> {
    let replicas = shard["replicas"].as_array().unwrap();
    let voters = replicas.iter().filter(|replica| replica["role"] == "voter");
    voters.map(|replica| replica["node"].as_u64().unwrap()).collect()
}

/// Every shard has a leader and three voters on `nodes`, all up and with all that is committed, and no
/// replica anywhere else.
fn fully_replicated(mesh: &Mesh, asked: u64, nodes: &[u64]) -> Result<(), String> {
    for shard in mesh.shards(asked) {
        let commit = shard["commit"].as_u64();
        let whole = shard["replicas"].as_array().unwrap().iter().all(|replica| {
            nodes.contains(&replica["node"].as_u64().unwrap())
                && replica["applied"].as_u64() >= commit
        });
        if !whole || commit.is_none() || shard["leader"].is_null() || voters(&shard).len() != 3 {
            return Err(shard.to_string());
        }
    }
    Ok(())
}

/// How many replicas each node has.
fn held(mesh: &Mesh, asked: u64) -> BTreeMap<u64, usize> {
    let mut held: BTreeMap<u64, usize> = mesh.nodes.iter().map(|node| (node.id, 0)).collect();
    for shard in mesh.shards(asked) {
        for replica in shard["replicas"].as_array().unwrap() {
            *held.get_mut(&replica["node"].as_u64().unwrap()).unwrap() += 1;
        }
    }
    held
}

/// The voters of every shard are in three PoPs, and no node has much more than another.
fn spread_and_even(mesh: &Mesh, asked: u64) -> Result<(), String> {
    for shard in mesh.shards(asked) {
        let pops: BTreeSet<&str> = voters(&shard).into_iter().map(pop).collect();
        if pops.len() != POPS.len() || voters(&shard).len() != POPS.len() {
            return Err(shard.to_string());
        }
    }
    // Within a PoP: three nodes share what two do elsewhere.
    let held = held(mesh, asked);
    for name in POPS {
        let of_pop = held.iter().filter(|(node, _)| pop(**node) == name).map(|(_, count)| *count);
        let (least, most) = (of_pop.clone().min().unwrap(), of_pop.max().unwrap());
        if most - least > 4 {
            return Err(format!("{held:?}"));
        }
    }
    Ok(())
}

#[test]
fn a_lost_pop_is_made_up_for_and_gets_its_share_when_it_returns() {
    let _turn = turn();
    let mut mesh = Mesh::start_with("repair", 7, Data::Synthetic(300), ENV);
    let oracle = Oracle::new(mesh.data.listings());
    let sessions = write_sessions(mesh.node(2), 60);
    let (lost, left) = ([1, 4, 7], [2, 3, 5, 6]);
    assert!(lost.iter().all(|node| pop(*node) == "mil"));
    let shards = mesh.shards(2).len();
    let (code, text) = hexpop(mesh.node(2), &["shards", "residency"]);
    assert_eq!(code, Some(0), "{text}");

    // On their way from three voters to five the groups without a range have four, two of them in the PoP.
    have_voters(&mesh, 2, 5, &[]);
    let begun = Instant::now();
    lost.iter().for_each(|node| mesh.kill(*node));
    until("every shard is whole again", PATIENCE * 4, || fully_replicated(&mesh, 2, &left));
    println!("a PoP of three lost: {shards} shards whole again after {:.1?}", begun.elapsed());
    let survivors: Vec<Node> = left.iter().map(|node| mesh.node(*node).clone()).collect();
    for node in &survivors {
        sessions_are_there(node, &sessions);
    }
    searched(&survivors, &oracle);

    // What it was, and what is not known: the disks of the dead.
    let operations = mesh.node(2).admin("/admin/v1/operations").expect(200).json();
    let kinds: Vec<&Value> =
        operations["operations"].as_array().unwrap().iter().map(|it| &it["kind"]).collect();
    assert!(kinds.contains(&&json!("repair")), "{kinds:?}");
    let report = mesh.node(3).admin("/admin/v1/shards/residency").expect(200).json();
    assert_eq!(report["state"], "incomplete", "{report}");
    assert_eq!(report["unanswered"], json!(lost), "{report}");
    let (code, text) = hexpop(mesh.node(3), &["shards", "residency"]);
    assert!(code == Some(3) && text.contains("nodes 1, 4, 7"), "{code:?}: {text}");
    let id = mesh.shards(2)[0]["id"].to_string();
    let (code, text) = hexpop(mesh.node(5), &["shards", "why", &id]);
    assert!(code == Some(0) && text.contains("policy    3 voters"), "{text}");
    assert!(text.contains("it is down"), "{text}");

    // Two come back with what they had, which is nobody's any more, and one as a new node.
    let begun = Instant::now();
    fs::remove_dir_all(&mesh.node(7).data_dir).unwrap();
    for node in lost {
        mesh.restart(node);
    }
    until("replicas are spread and even", PATIENCE * 4, || spread_and_even(&mesh, 2));
    println!("it came back: spread and even after {:.1?}: {:?}", begun.elapsed(), held(&mesh, 2));
    lost.iter().for_each(|node| mesh.wait_ready(*node));
    let all: Vec<u64> = (1..=7).collect();
    until("every shard is whole", PATIENCE, || fully_replicated(&mesh, 2, &all));
    // What is on the disks is what the map says: nobody kept what is not his.
    until("what was left is destroyed", PATIENCE, || {
        let mut listed: BTreeMap<u64, u64> = all.iter().map(|node| (*node, 0)).collect();
        let needs_label = |shard: &&Value| {
            let labelled = ["PT:norte", "PT:centro", "SE:skane", "AT:tirol", "GR:attica"];
            labelled.contains(&shard["range"]["text"].as_str().unwrap())
        };
        for shard in mesh.shards(2).iter().filter(needs_label) {
            for replica in shard["replicas"].as_array().unwrap() {
                *listed.get_mut(&replica["node"].as_u64().unwrap()).unwrap() += 1;
            }
        }
        let report = mesh.node(2).admin("/admin/v1/shards/residency").expect(200).json();
        let mut there: BTreeMap<u64, u64> = all.iter().map(|node| (*node, 0)).collect();
        for row in report["territories"].as_array().unwrap() {
            for held in row["held"].as_array().unwrap() {
                let shards = held["shards"].as_u64().unwrap();
                *there.get_mut(&held["node"].as_u64().unwrap()).unwrap() += shards;
            }
        }
        if report["state"] == "ok" && there == listed { Ok(()) } else { Err((there, listed)) }
    });
    for node in &mesh.nodes {
        sessions_are_there(node, &sessions);
    }
    searched(&mesh.nodes, &oracle);
}

/// A search at each node is answered as a scan answers it.
#[track_caller]
fn searched(nodes: &[Node], oracle: &Oracle) {
    let search = json!({"listingType": "sale", "sortBy": "newest", "limit": 100});
    let found = oracle.search(&search);
    let expected: Vec<&Value> = found.iter().take(100).map(|one| &one["id"]).collect();
    for node in nodes {
        until("a whole answer", PATIENCE, || {
            let answer = node.post("/api/v1/search", &search);
            let body = answer.json();
            if answer.status == 503 || body["partial"] == true {
                return Err(body);
            }
            let ids: Vec<&Value> =
                body["data"].as_array().unwrap().iter().map(|hit| &hit["id"]).collect();
            assert_eq!(ids, expected, "node {}", node.id);
            Ok(())
        });
    }
}
