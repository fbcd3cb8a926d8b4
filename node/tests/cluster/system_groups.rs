//! The meta group and that of purges outlive the nodes that founded them, and are found again after all
//! nodes were stopped.

use std::{process::Command, time::Instant};

use serde_json::json;

use crate::{
    client::send_json,
    failover::{sessions_are_there, write_sessions},
    mesh::{Data, Mesh, Node, PATIENCE, turn},
    wait::until,
};

/// Nodes are given up soon. Only the first three found the mesh, and all others know no seeds but them.
const ENV: &[(&str, &str)] = &[
    ("HEXPOP__PLACEMENT__REPAIR_AFTER", "3s"),
    ("HEXPOP__PLACEMENT__MOVES_AT_ONCE", "16"),
    ("HEXPOP__MESH__BOOTSTRAP", "[1, 2, 3]"),
];

const GROUPS: [&str; 2] = ["meta", "purges"];

/// Waits until both groups have so many voters, all up and none of them among the `dead`.
pub(crate) fn have_voters(mesh: &Mesh, asked: u64, count: usize, dead: &[u64]) {
    for name in GROUPS {
        until("the group has its voters", PATIENCE * 2, || {
            let voters = mesh.group_voters(asked, name)?;
            let is_so = voters.len() == count && voters.iter().all(|node| !dead.contains(node));
            if is_so { Ok(()) } else { Err(format!("{name}: {voters:?}")) }
        });
    }
}

/// Every shard has its voters on nodes that are not dead, and one that leads.
fn shards_are_whole(mesh: &Mesh, asked: u64, dead: &[u64]) -> Result<(), String> {
    for shard in mesh.shards(asked) {
        let replicas = shard["replicas"].as_array().unwrap();
        let live = replicas.iter().all(|replica| {
            replica["role"] == "voter" && !dead.contains(&replica["node"].as_u64().unwrap())
        });
        if !live || replicas.len() != 3 || shard["leader"].is_null() || shard["state"] != "ok" {
            return Err(shard.to_string());
        }
    }
    Ok(())
}

/// A purge goes through the purge group, an operation through the meta group.
fn both_groups_serve(node: &Node) {
    until("a purge is recorded", PATIENCE, || {
        let url = format!("{}/admin/v1/purge", node.admin);
        let answer = send_json("POST", &url, &json!({"tags": ["none"]}))?;
        if answer.status < 300 { Ok(()) } else { Err(answer.text()) }
    });
    until("operations are listed", PATIENCE, || {
        let answer = node.try_admin("/admin/v1/operations")?;
        if answer.status == 200 { Ok(()) } else { Err(answer.text()) }
    });
}

#[test]
fn they_outlive_their_founders_one_after_the_other_and_a_stop_of_everything() {
    let _turn = turn();
    // mil has 1 and 4, mad 2 and 5, ber 3 and 6.
    let mut mesh = Mesh::start_with("system-groups", 6, Data::Synthetic(300), ENV);
    let sessions = write_sessions(mesh.node(6), 40);
    have_voters(&mesh, 6, 5, &[]);
    let output = Command::new(env!("CARGO_BIN_EXE_hexpop"))
        .args(["shards", "list", "--admin", &mesh.node(6).admin])
        .output()
        .unwrap();
    let table = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(GROUPS.iter().all(|name| table.contains(name)), "{table}");

    let mut dead = Vec::new();
    for (node, left) in [(1, 5), (2, 3), (3, 3)] {
        let begun = Instant::now();
        mesh.kill(node);
        dead.push(node);
        have_voters(&mesh, 6, left, &dead);
        until("every shard is whole", PATIENCE * 2, || shards_are_whole(&mesh, 6, &dead));
        println!("node {node} is made up for after {:.1?}", begun.elapsed());
    }
    both_groups_serve(mesh.node(5));

    // Nobody who starts again has a seed that still is.
    let left = [4, 5, 6];
    left.iter().for_each(|node| mesh.kill(*node));
    let begun = Instant::now();
    left.iter().for_each(|node| mesh.restart(*node));
    left.iter().for_each(|node| mesh.wait_ready(*node));
    have_voters(&mesh, 5, 3, &dead);
    until("every shard is whole", PATIENCE * 2, || shards_are_whole(&mesh, 5, &dead));
    println!("all three were there again after {:.1?}", begun.elapsed());
    for node in left {
        sessions_are_there(mesh.node(node), &sessions);
        both_groups_serve(mesh.node(node));
    }
}
