//! A drain lasts: the node that is emptied is killed and starts again, and so does whoever leads the meta
//! group, and it goes on.

use std::collections::BTreeSet;

use serde_json::{Value, json};

use crate::{
    client::send_json,
    failover::{sessions_are_there, write_sessions},
    mesh::{Data, Mesh, PATIENCE, turn},
    wait::until,
};

const ENV: &[(&str, &str)] = &[("HEXPOP__PLACEMENT__MOVES_AT_ONCE", "16")];

fn state(mesh: &Mesh, asked: u64, node: u64) -> Result<Value, String> {
    let report = mesh.node(asked).try_admin("/admin/v1/nodes")?.json();
    let nodes = report["nodes"].as_array().cloned().unwrap_or_default();
    let row = nodes.into_iter().find(|row| row["id"] == json!(node));
    row.map(|row| row["state"].clone()).ok_or_else(|| "it is not known".to_owned())
}

/// What a node holds of shards and of the other groups: the rows of those that have it.
///
/// # Errors
/// What has no leader, who alone knows who holds it.
fn held(mesh: &Mesh, asked: u64, node: u64) -> Result<Vec<String>, String> {
    let report = mesh.node(asked).try_admin("/admin/v1/shards")?.json();
    let rows = |name: &str| report[name].as_array().cloned().unwrap_or_default();
    let holds = |row: &Value| {
        row["replicas"].as_array().unwrap().iter().any(|replica| replica["node"] == json!(node))
    };
    let (shards, groups) = (rows("shards"), rows("groups"));
    let rows = || shards.iter().chain(&groups);
    if let Some(row) = rows().find(|row| row["leader"].is_null()) {
        return Err(row.to_string());
    }
    Ok(rows().filter(|row| holds(row)).map(Value::to_string).collect())
}

#[test]
fn a_node_is_emptied_through_restarts_and_stays_empty_until_that_is_undone() {
    let _turn = turn();
    let mut mesh = Mesh::start_with("drain", 5, Data::Synthetic(300), ENV);
    let sessions = write_sessions(mesh.node(2), 40);
    let drained = 3;
    assert!(!held(&mesh, 1, drained).unwrap().is_empty());
    let url = format!("{}/admin/v1/drain", mesh.node(1).admin);
    send_json("POST", &url, &json!({"node": drained})).unwrap().expect(202);
    mesh.kill(drained);
    // Whoever leads the meta group, too.
    let others = mesh.others(drained);
    let leader = until("the meta group is led", PATIENCE, || {
        let leads = |row: &&Value| row["meta"] == true;
        for asked in &others {
            let report = asked.try_admin("/admin/v1/nodes")?.json();
            let nodes = report["nodes"].as_array().cloned().unwrap_or_default();
            if let Some(id) = nodes.iter().find(leads).and_then(|row| row["id"].as_u64()) {
                return Ok(id);
            }
        }
        Err("nobody leads it".to_owned())
    });
    mesh.kill(leader);
    mesh.restart(leader);
    mesh.restart(drained);
    mesh.wait_ready(leader);
    let asked = others.iter().map(|node| node.id).find(|node| *node != leader).unwrap();
    until("it drains on", PATIENCE, || match state(&mesh, asked, drained)? {
        state if state == "draining" => Ok(()),
        other => Err(other.to_string()),
    });
    until("it holds nothing", PATIENCE * 2, || match held(&mesh, asked, drained)? {
        none if none.is_empty() => Ok(()),
        held => Err(held.join("\n")),
    });
    // Once more, with nothing on it.
    mesh.kill(drained);
    mesh.restart(drained);
    until("it drains on", PATIENCE, || match state(&mesh, asked, drained)? {
        state if state == "draining" => Ok(()),
        other => Err(other.to_string()),
    });
    let held_then = until("everything is led", PATIENCE, || held(&mesh, asked, drained));
    assert_eq!(held_then, Vec::<String>::new());
    assert!(!mesh.node(drained).is_ready());
    for node in &others {
        sessions_are_there(node, &sessions);
    }

    let url = format!("{}/admin/v1/drain?node={drained}", mesh.node(asked).admin);
    send_json("DELETE", &url, &json!({})).unwrap().expect(200);
    mesh.wait_ready(drained);
    until("it gets its share again", PATIENCE * 2, || match held(&mesh, asked, drained)? {
        none if none.is_empty() => Err("it holds nothing".to_owned()),
        _some => Ok(()),
    });
    mesh.kill(drained);
    mesh.restart(drained);
    mesh.wait_ready(drained);
    let states: BTreeSet<String> =
        mesh.nodes.iter().map(|node| state(&mesh, asked, node.id).unwrap().to_string()).collect();
    assert_eq!(states, BTreeSet::from(["\"up\"".to_owned()]), "the undone drain is over");
}
