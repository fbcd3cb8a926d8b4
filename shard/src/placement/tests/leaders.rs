//! Leaders go where the writes of their shards come in.

use super::*;
use crate::Writers;

/// A mesh of six nodes, two in each PoP, in which only leaders change.
fn mesh(territories: usize) -> Mesh {
    let members: Vec<Member> = (1..)
        .zip(["mil", "mad", "ber", "mil", "mad", "ber"])
        .map(|(node, pop)| member(node, pop, &[]))
        .collect();
    let names: Vec<String> = (0..territories).map(|n| format!("IT:r{n}")).collect();
    let named: Vec<_> = names.iter().map(|name| (name.as_str(), "")).collect();
    let mut mesh = Mesh { at_once: 0, ..Mesh::new(members, policy(3, &named)) };
    mesh.settle();
    mesh
}

/// Until nothing is planned; how many leaders moved.
fn settle(mesh: &mut Mesh) -> usize {
    let before = mesh.steps;
    mesh.settle();
    mesh.steps - before
}

fn pop_of_leader(mesh: &Mesh, shard: ShardId) -> &str {
    mesh.pop(mesh.leaders[&shard]).as_str()
}

fn writes_come_from(mesh: &mut Mesh, shard: ShardId, pop: &str, persist: bool) {
    mesh.writers.insert(shard, Writers { pop: pop.parse().unwrap(), persist });
}

#[test]
fn a_leader_goes_to_its_writers_and_stays_with_them() {
    let mut mesh = mesh(9);
    let shard = mesh.map.shards().find(|shard| pop_of_leader(&mesh, shard.id) != "ber").unwrap().id;
    writes_come_from(&mut mesh, shard, "ber", false);
    assert_eq!(settle(&mut mesh), 0, "not before that has been so for a while");
    writes_come_from(&mut mesh, shard, "ber", true);
    let steps = mesh.planned().steps;
    assert!(steps[0].reason.contains("writes come in at PoP ber"), "{steps:?}");
    settle(&mut mesh);
    assert_eq!(pop_of_leader(&mesh, shard), "ber");
    // The new leader has counted less, and the others do not even it out meanwhile.
    writes_come_from(&mut mesh, shard, "ber", false);
    assert_eq!(settle(&mut mesh), 0);
}

#[test]
fn the_writers_of_everything_do_not_get_all_leaders() {
    let mut mesh = mesh(20);
    for shard in mesh.map.shards().map(|shard| shard.id).collect::<Vec<_>>() {
        writes_come_from(&mut mesh, shard, "mad", true);
    }
    settle(&mut mesh);
    let all = mesh.map.shards().count();
    let share = all.div_ceil(6);
    for node in [2, 5] {
        let leads = mesh.leaders.values().filter(|leader| **leader == NodeId(node)).count();
        assert!(leads > share && leads <= 2 * share + 1, "node {node} leads {leads} of {all}");
    }
}

#[test]
fn writers_where_no_voter_is_move_nothing() {
    let mut mesh = mesh(9);
    mesh.members.push(member(7, "par", &[]));
    settle(&mut mesh);
    let shard = mesh.map.shards().find(|shard| shard.replicas.len() == 3).unwrap().id;
    writes_come_from(&mut mesh, shard, "par", true);
    assert_eq!(settle(&mut mesh), 0);
}
