//! Learners that lag, and those that come along.

use super::{
    mesh::AFTER,
    readers::{learners, mesh, reads, shard},
    *,
};

/// With learners in two PoPs that have no voter: on node 7 or 8 in `par`, and on 10 in `waw`.
fn with_two() -> (Mesh, NodeId, NodeId) {
    let mut mesh = mesh();
    reads(&mut mesh, &[("par", 900), ("waw", 800)], Some(&["par", "waw"]));
    mesh.settle();
    assert_eq!(learners(&mesh), ["par", "waw"]);
    let replicas = &mesh.map.get(shard(&mesh)).unwrap().replicas;
    let learners = replicas.iter().filter(|it| it.role == ReplicaRole::Learner);
    let nodes: Vec<NodeId> = learners.map(|it| it.node).collect();
    (mesh, nodes[0], nodes[1])
}

/// A voter of the shard.
fn voter(mesh: &Mesh) -> Replica {
    *mesh.map.get(shard(mesh)).unwrap().voters().next().unwrap()
}

fn raft(mesh: &Mesh, node: NodeId) -> RaftId {
    mesh.members.iter().find(|member| member.node == node).unwrap().raft
}

#[test]
fn the_learner_that_has_caught_up_becomes_the_voter() {
    let (mut mesh, par, waw) = with_two();
    let (id, leaving) = (shard(&mesh), voter(&mesh));
    mesh.members.iter_mut().find(|it| it.node == leaving.node).unwrap().draining = true;
    for (behind, chosen) in [(par, waw), (waw, par)] {
        mesh.readers.learners.behind = BTreeSet::from([(id, raft(&mesh, behind))]);
        let step = mesh.planned().steps.into_iter().find(|step| step.shard == id).unwrap();
        let raft = raft(&mesh, chosen);
        assert_eq!(step.kind, StepKind::Promote { node: chosen, raft });
    }
    // One that is on its way is waited for, rather than a third filled.
    mesh.readers.learners.behind = [par, waw].map(|node| (id, raft(&mesh, node))).into();
    let step = mesh.planned().steps.into_iter().find(|step| step.shard == id).unwrap();
    assert!(matches!(step.kind, StepKind::Promote { .. }), "{step:?}");
    // But not one that had its time.
    mesh.readers.learners.late = BTreeSet::from([(id, par), (id, waw)]);
    let step = mesh.planned().steps.into_iter().find(|step| step.shard == id).unwrap();
    let StepKind::AddLearner { node, .. } = step.kind else { panic!("{step:?}") };
    assert!(node != par && node != waw, "{step:?}");
    // However late, one that has caught up is the nearest.
    mesh.readers.learners.behind = BTreeSet::from([(id, raft(&mesh, par))]);
    let step = mesh.planned().steps.into_iter().find(|step| step.shard == id).unwrap();
    assert_eq!(step.kind, StepKind::Promote { node: waw, raft: raft(&mesh, waw) });
}

#[test]
fn a_repair_goes_to_the_learner_that_has_caught_up() {
    let (mut mesh, par, waw) = with_two();
    let (id, dead) = (shard(&mesh), voter(&mesh).node);
    mesh.kill(|member| member.node == dead, AFTER);
    (mesh.at_once, mesh.per_node) = (64, 64);
    for (behind, chosen) in [(par, waw), (waw, par)] {
        mesh.readers.learners.behind = BTreeSet::from([(id, raft(&mesh, behind))]);
        let planned = mesh.moves().moves.into_iter().find(|planned| planned.shard == id).unwrap();
        assert_eq!(planned.relocation.to, chosen);
    }
}

#[test]
fn one_that_does_not_catch_up_makes_room_for_another_node_and_then_for_another_pop() {
    let mut mesh = mesh();
    mesh.readers.learners_max = 1;
    reads(&mut mesh, &[("par", 900), ("waw", 800)], Some(&["par", "waw"]));
    mesh.settle();
    let id = shard(&mesh);
    let on = |mesh: &Mesh| {
        let replicas = &mesh.map.get(id).unwrap().replicas;
        let mut learners = replicas.iter().filter(|it| it.role == ReplicaRole::Learner);
        (learners.next().unwrap().node, learners.count())
    };
    let (first, more) = on(&mesh);
    assert_eq!((mesh.pop(first).as_str(), more), ("par", 0));
    let is_late = |mesh: &mut Mesh, node| {
        let raft = raft(mesh, node);
        mesh.readers.learners.behind.insert((id, raft));
        mesh.readers.learners.late.insert((id, node));
    };
    is_late(&mut mesh, first);
    mesh.settle();
    let (second, more) = on(&mesh);
    assert_eq!((mesh.pop(second).as_str(), more), ("par", 0));
    assert_ne!(second, first);
    is_late(&mut mesh, second);
    mesh.settle();
    assert_eq!(learners(&mesh), ["waw"]);
    assert!(mesh.moves().paused.is_none(), "what nobody does is not waited for");
    // After a while they may try again, in the place of nobody.
    mesh.readers.learners.late.clear();
    assert!(mesh.settle().is_empty());
    assert_eq!(learners(&mesh), ["waw"]);
}
