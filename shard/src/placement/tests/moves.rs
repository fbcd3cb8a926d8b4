//! Replicas that go from node to node.

use std::time::Duration;

use super::{mesh::AFTER, *};
use crate::{Cause, ShardLoad, Verdict};

fn territories(count: usize, label: &str) -> PlacementPolicy {
    let names: Vec<String> = (0..count).map(|n| format!("IT:r{n}")).collect();
    let named: Vec<_> = names.iter().map(|name| (name.as_str(), label)).collect();
    policy(3, &named)
}

/// `count` nodes, one PoP after the other.
fn nodes(count: u32, pops: &[&str]) -> Vec<Member> {
    (1..=count).zip(pops.iter().cycle()).map(|(node, pop)| member(node, pop, &["eu"])).collect()
}

#[test]
fn a_node_that_stays_down_is_replaced_when_it_is_given_up_and_not_before() {
    let mut mesh = Mesh::new(nodes(5, &["mil", "mad", "ber"]), territories(6, "eu"));
    mesh.settle();
    let held = mesh.held(2);
    mesh.kill(|member| member.node.0 == 2, AFTER - Duration::from_secs(1));
    let waiting = mesh.moves();
    assert_eq!(waiting.moves, []);
    assert_eq!(waiting.paused.unwrap(), "node 2 is down; what it holds is replaced in 1 s");
    mesh.away.insert(RaftId(200), AFTER);
    let moves = mesh.moves().moves;
    assert_eq!(moves.len(), 2, "as many as may be on the move");
    assert!(moves.iter().all(|planned| planned.relocation.cause == Cause::Repair), "{moves:?}");
    let begun = mesh.settle();
    let repaired = begun.iter().filter(|(_, it)| it.cause == Cause::Repair).count();
    // One of the directory's may be a learner, which its leader drops.
    assert!((held - 1..=held).contains(&repaired), "{repaired} of {held}");
    for shard in mesh.map.shards() {
        assert_eq!(mesh.live_voters(shard), 3, "{shard:?}");
        assert!(shard.replica_on(NodeId(2)).is_none(), "{shard:?}");
    }
}

#[test]
fn a_lost_pop_is_spread_over_the_others_and_comes_back_into_its_own() {
    let mut mesh = Mesh::new(nodes(9, &["mil", "mad", "ber"]), territories(10, "eu"));
    mesh.settle();
    mesh.kill(|member| member.pop.as_str() == "mil", AFTER);
    mesh.settle();
    for shard in mesh.map.shards() {
        assert_eq!((mesh.live_voters(shard), shard.voters().count()), (3, 3), "{shard:?}");
    }
    let held: Vec<usize> = (1..=9).map(|node| mesh.held(node)).collect();
    assert_eq!([held[0], held[3], held[6]], [0, 0, 0], "{held:?}");
    mesh.revive();
    let begun = mesh.settle();
    assert!(begun.iter().all(|(_, it)| it.cause >= Cause::Spread), "{begun:?}");
    check_hard_rules(&mesh.map, &mesh.members, &mesh.policy);
    let held: Vec<usize> = (1..=9).map(|node| mesh.held(node)).collect();
    assert!(held.iter().max().unwrap() - held.iter().min().unwrap() <= 3, "{held:?}");
    assert_eq!(mesh.settle(), []);
}

#[test]
fn a_new_node_gets_its_share_and_nothing_else_moves() {
    let mut mesh = Mesh::new(nodes(6, &["mil", "mad", "ber"]), territories(20, "eu"));
    assert_eq!(mesh.settle(), [], "the first map is even enough");
    mesh.members.push(member(7, "par", &["eu"]));
    let begun = mesh.settle();
    let total: usize = (1..=7).map(|node| mesh.held(node)).sum();
    let share = total / 7;
    assert!(mesh.held(7) + 2 >= share && mesh.held(7) <= share + 1, "{} of {share}", mesh.held(7));
    // The directory gives it a learner by itself, for its PoP.
    assert_eq!(begun.len(), mesh.held(7) - 1, "{begun:?}");
    assert!(begun.iter().all(|(_, it)| it.to == NodeId(7)), "{begun:?}");
    check_hard_rules(&mesh.map, &mesh.members, &mesh.policy);
}

#[test]
fn bytes_weigh_and_what_is_on_its_way_counts_where_it_goes() {
    let mut mesh = Mesh::new(nodes(3, &["mil", "mad", "ber"]), territories(8, "eu"));
    mesh.settle();
    for (id, gib) in mesh.map.shards().map(|shard| shard.id).zip(1..) {
        mesh.loads.insert(id, ShardLoad { bytes: gib << 30, ..ShardLoad::default() });
    }
    mesh.members.extend([member(4, "mil", &["eu"]), member(5, "mad", &["eu"])]);
    mesh.members.push(member(6, "ber", &["eu"]));
    mesh.at_once = 1;
    let first = mesh.moves().moves.remove(0);
    mesh.running.insert(first.shard, first.relocation);
    mesh.at_once = 2;
    let second = mesh.moves().moves.remove(0);
    assert_ne!((second.shard, second.relocation.to), (first.shard, first.relocation.to));
    mesh.settle();
    let bytes = |node| -> u64 {
        let held = mesh.map.shards().filter(|shard| shard.replica_on(NodeId(node)).is_some());
        held.map(|shard| mesh.loads[&shard.id].bytes >> 30).sum()
    };
    let all: Vec<u64> = (1..=6).map(bytes).collect();
    let (least, most) = (all.iter().min().unwrap(), all.iter().max().unwrap());
    assert!(most - least <= most / 5, "{all:?}");
}

#[test]
fn a_replica_where_it_must_not_be_goes_before_all_else() {
    let mut mesh = Mesh::new(nodes(5, &["mil", "mad", "ber"]), territories(4, "eu"));
    mesh.settle();
    // Its operator took the label away, and another node is down for a moment.
    mesh.members[0].labels.clear();
    mesh.kill(|member| member.node.0 == 5, Duration::from_secs(1));
    let moves = mesh.moves();
    assert_eq!(moves.moves.len(), 2, "{moves:?}");
    for planned in &moves.moves {
        assert_eq!(planned.relocation.cause, Cause::Residency, "{planned:?}");
        assert!(planned.reason.contains("lacks a label"), "{planned:?}");
    }
    mesh.revive();
    mesh.settle();
    for shard in mesh.map.shards().filter(|shard| shard.range.single_territory().is_some()) {
        assert!(shard.replica_on(NodeId(1)).is_none(), "{shard:?}");
    }
    check_hard_rules(&mesh.map, &mesh.members, &mesh.policy);
}

#[test]
fn without_a_place_it_is_said_and_nothing_is_planned() {
    let mut mesh = Mesh::new(nodes(3, &["mil", "mad", "ber"]), territories(2, "eu"));
    mesh.settle();
    mesh.members.push(member(4, "par", &[]));
    mesh.kill(|member| member.node.0 == 3, AFTER * 2);
    let labelled = mesh.map.shards().find(|shard| shard.range.single_territory().is_some());
    let id = labelled.unwrap().id;
    let moves = mesh.moves();
    let found = moves.findings.iter().find(|finding| finding.shard == id).unwrap();
    assert_eq!(found.reason, "node 3 stays down, and no other node may take it");
    assert!(moves.moves.iter().all(|planned| planned.shard != id), "{moves:?}");
    let why = mesh.why(id);
    assert_eq!((why.next, why.labels.len()), (None, 1));
    assert_eq!(why.none_because.unwrap(), found.reason);
    let verdicts: Vec<Verdict> = why.candidates.iter().map(|it| it.verdict).collect();
    let voter = Verdict::Voter;
    assert_eq!(verdicts, [voter, voter, voter, Verdict::Forbidden]);
    assert!(why.candidates[3].why.contains("eu") && why.candidates[2].why == "down");
}

#[test]
fn why_tells_what_is_next_and_why_nothing_is() {
    let mut mesh = Mesh::new(nodes(5, &["mil", "mad", "ber"]), territories(6, "eu"));
    mesh.settle();
    let id = mesh.map.shards().find(|shard| shard.replica_on(NodeId(2)).is_some()).unwrap().id;
    assert!(mesh.why(id).none_because.unwrap().starts_with("it has its voters where they may be"));
    mesh.kill(|member| member.node.0 == 2, Duration::from_secs(10));
    // Some hand their leadership over next: the dead node's went to others.
    let mut held = mesh.map.shards().filter(|shard| shard.replica_on(NodeId(2)).is_some());
    let why = held.find_map(|shard| mesh.why(shard.id).none_because).unwrap();
    assert!(why.contains("replaced in 290 s"), "{why}");
    mesh.away.insert(RaftId(200), Duration::from_secs(301));
    let planned = mesh.moves().moves.remove(0);
    let next = mesh.why(planned.shard).next.unwrap();
    assert!(next.starts_with("repair: the replica on node 2 goes to node"), "{next}");
    assert!(next.contains("node 2 has been down for 301 s"), "{next}");
    mesh.running.insert(planned.shard, planned.relocation);
    let running = mesh.why(planned.shard).next.unwrap();
    assert!(running.starts_with("an operation moves its replica from node 2"), "{running}");
    mesh.running.clear();
    mesh.at_once = 0;
    let mut held = mesh.map.shards().filter(|shard| shard.replica_on(NodeId(2)).is_some());
    let none = held.find_map(|shard| mesh.why(shard.id).none_because).unwrap();
    assert!(none.contains("moves_at_once is 0"), "{none}");
}

#[test]
fn a_repair_is_given_up_when_its_node_is_back_or_its_target_is_not() {
    let mut mesh = Mesh::new(nodes(5, &["mil", "mad", "ber"]), territories(3, "eu"));
    mesh.settle();
    mesh.kill(|member| member.node.0 == 2, AFTER);
    let planned = mesh.moves().moves.remove(0);
    let (shard, relocation) = (planned.shard, planned.relocation);
    assert!(mesh.drive(shard, relocation), "a learner is added");
    let mut later =
        Mesh { map: mesh.map.clone(), ..Mesh::new(mesh.members.clone(), mesh.policy.clone()) };
    later.leaders = mesh.leaders.clone();
    let at = mesh.members.iter().position(|member| member.node == relocation.to).unwrap();
    mesh.members[at].alive = false;
    assert!(!mesh.drive(shard, relocation), "its target is down");
    mesh.members[at].alive = true;
    mesh.revive();
    assert!(!mesh.drive(shard, relocation), "its node is back");
    mesh.settle();
    let voters: Vec<u32> = mesh.map.get(shard).unwrap().voters().map(|it| it.node.0).collect();
    assert!(voters.contains(&2) && voters.len() == 3, "{voters:?}");
    // Else the dead voter goes in the same change that lets the new one vote.
    assert!(later.drive(shard, relocation));
    let voters: Vec<u32> = later.map.get(shard).unwrap().voters().map(|it| it.node.0).collect();
    assert!(!voters.contains(&2) && voters.len() == 3, "{voters:?}");
    assert!(!later.drive(shard, relocation), "it is done");
}

#[test]
fn no_node_gets_or_sends_more_at_a_time_than_it_may() {
    let mut mesh = Mesh::new(nodes(6, &["mil", "mad", "ber"]), territories(20, "eu"));
    (mesh.at_once, mesh.per_node) = (16, 2);
    mesh.settle();
    mesh.members.push(member(7, "mil", &["eu"]));
    let moves = mesh.moves().moves;
    assert_eq!(moves.len(), 2, "a node that joins is not flooded: {moves:?}");
    mesh.settle();
    // And those that take over from one that is lost are not, nor those that lead what it had.
    mesh.kill(|member| member.node.0 == 1, AFTER);
    let moves = mesh.moves().moves;
    assert!(moves.len() > 2, "{moves:?}");
    for node in mesh.members.iter().map(|member| member.node) {
        let to = moves.iter().filter(|planned| planned.relocation.to == node).count();
        let by = moves.iter().filter(|planned| mesh.leaders.get(&planned.shard) == Some(&node));
        assert!(to <= 2 && by.count() <= 2, "node {node}: {moves:?}");
    }
    mesh.settle();
    for shard in mesh.map.shards() {
        assert_eq!(mesh.live_voters(shard), 3, "{shard:?}");
    }
}

#[test]
fn a_node_that_failed_to_take_a_replica_is_not_asked_again_at_once() {
    let mut mesh = Mesh::new(nodes(5, &["mil", "mad", "ber"]), territories(6, "eu"));
    mesh.settle();
    mesh.kill(|member| member.node.0 == 2, AFTER);
    (mesh.at_once, mesh.per_node) = (64, 64);
    let first = mesh.moves().moves.remove(0);
    let planned = |mesh: &Mesh| {
        let mut moves = mesh.moves().moves.into_iter();
        moves.find(|planned| planned.shard == first.shard).map(|planned| planned.relocation.to)
    };
    let mut asked = BTreeSet::new();
    while let Some(to) = planned(&mesh) {
        assert!(asked.insert(to), "node {to} is asked again");
        mesh.avoid.insert((first.shard, to));
    }
    assert!(asked.len() > 1, "others are asked meanwhile: {asked:?}");
    let findings = mesh.moves().findings;
    let found = findings.iter().find(|finding| finding.shard == first.shard).unwrap();
    assert!(found.reason.contains("failed to, and are left alone"), "{found:?}");
    // Other shards are not held back.
    assert!(!mesh.moves().moves.is_empty());
    mesh.avoid.clear();
    assert_eq!(planned(&mesh), Some(first.relocation.to));
}

proptest! {
    #[test]
    fn whatever_is_lost_and_comes_back_the_moves_come_to_an_end_within_the_rules(
        members in any_members(3..10),
        events in prop::collection::vec((0_usize..10, 0_u8..6), 0..8),
        heavy in prop::collection::vec(0_u64..4_000, 16),
        at_once in 1_usize..5,
    ) {
        let policy = policy(3, &[("IT:lazio", ""), ("IT:puglia", "eu"), ("US:texas", "us")]);
        prop_assume!(plan_first_map(&policy, &members).is_ok());
        let mut mesh = Mesh::new(members, policy);
        mesh.at_once = at_once;
        for (id, mib) in mesh.map.shards().map(|shard| shard.id).zip(heavy) {
            mesh.loads.insert(id, ShardLoad { bytes: mib << 20, ..ShardLoad::default() });
        }
        mesh.settle();
        for (at, what) in events {
            let node = mesh.members[at % mesh.members.len()].node;
            match what {
                0 => mesh.kill(|member| member.node == node, AFTER),
                1 => {
                    let pop = mesh.members[at % mesh.members.len()].pop.clone();
                    mesh.kill(|member| member.pop == pop, AFTER);
                }
                2 => mesh.kill(|member| member.node == node, Duration::from_secs(1)),
                3 => mesh.revive(),
                4 => {
                    let mut new = mesh.members[at % mesh.members.len()].clone();
                    let last = mesh.members.iter().map(|member| member.node.0).max().unwrap();
                    (new.node, new.raft) = (NodeId(last + 1), RaftId(u64::from(last + 1) * 100));
                    (new.alive, new.draining) = (true, false);
                    mesh.members.push(new);
                }
                _ => {
                    let at = at % mesh.members.len();
                    mesh.members[at].draining = !mesh.members[at].draining;
                }
            }
            mesh.settle();
            for shard in mesh.map.shards() {
                for replica in shard.voters() {
                    let member = mesh.members.iter().find(|it| it.node == replica.node).unwrap();
                    prop_assert!(member.carries(&mesh.policy.of(&shard.range).labels));
                }
            }
        }
        mesh.revive();
        mesh.members.iter_mut().for_each(|member| member.draining = false);
        mesh.settle();
        check_hard_rules(&mesh.map, &mesh.members, &mesh.policy);
        prop_assert_eq!(mesh.settle(), vec![]);
    }
}
