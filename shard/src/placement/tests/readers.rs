//! Learners near the readers of a shard.

use hexpop_edge_config::PopId;

use super::{mesh::AFTER, *};
use crate::{Readers, Verdict};

/// Six nodes in three PoPs that get the replicas, and two in each of two others, which come later.
pub(super) fn mesh() -> Mesh {
    let pops = ["mil", "mad", "ber", "mil", "mad", "ber"];
    let members = (1..).zip(pops).map(|(node, pop)| member(node, pop, &["eu"])).collect();
    let mut mesh = Mesh::new(members, policy(3, &[("IT:lazio", "eu"), ("IT:puglia", "eu")]));
    mesh.members.extend([
        member(7, "par", &["eu"]),
        member(8, "par", &["eu"]),
        member(9, "nyc", &["us"]),
        member(10, "waw", &["eu"]),
    ]);
    // Placed before the others came, and not to be evened out over them here.
    mesh.at_once = 0;
    mesh.readers = ReadersOf { learners_max: 2, others_are_led: true, ..ReadersOf::default() };
    mesh.settle();
    mesh
}

pub(super) fn shard(mesh: &Mesh) -> ShardId {
    let key = ShardKey::new(Space::Listings, &"IT:lazio".parse().unwrap(), 7);
    mesh.map.locate(&key).unwrap().id
}

pub(super) fn reads(mesh: &mut Mesh, hot: &[(&str, u64)], kept: Option<&[&str]>) {
    let id = shard(mesh);
    let hot = hot.iter().map(|(pop, reads)| (pop.parse().unwrap(), *reads)).collect();
    let kept = kept.map(|kept| kept.iter().map(|pop| pop.parse().unwrap()).collect());
    mesh.readers.shards.insert(id, Readers { hot, kept });
}

/// The PoPs with a learner of the shard.
pub(super) fn learners(mesh: &Mesh) -> Vec<String> {
    let shard = mesh.map.get(shard(mesh)).unwrap();
    let learners = shard.replicas.iter().filter(|it| it.role == ReplicaRole::Learner);
    let pop = |node| mesh.members.iter().find(|member| member.node == node).unwrap().pop.clone();
    learners.map(|learner| pop(learner.node).to_string()).collect()
}

#[test]
fn a_pop_that_reads_much_gets_one_learner_and_loses_it_when_it_reads_no_more() {
    let mut mesh = mesh();
    let none: [&str; 0] = [];
    assert_eq!(learners(&mesh), none);
    reads(&mut mesh, &[("par", 900), ("mil", 5_000)], Some(&["par", "mil"]));
    mesh.settle();
    assert_eq!(learners(&mesh), ["par"], "mil has a voter");
    let why = mesh.why(shard(&mesh));
    let found = why.candidates.iter().find(|it| it.verdict == Verdict::Learner).unwrap();
    assert!(found.why.contains("reads the shard 900 times a second"), "{}", found.why);
    // It reads less, and stays warm.
    reads(&mut mesh, &[], Some(&["par"]));
    assert!(mesh.settle().is_empty());
    assert_eq!(learners(&mesh), ["par"]);
    // Another leader, which knows nothing yet; and somebody who does not lead it.
    reads(&mut mesh, &[], None);
    mesh.settle();
    let id = shard(&mesh);
    mesh.readers.shards.remove(&id);
    mesh.settle();
    assert_eq!(learners(&mesh), ["par"]);
    reads(&mut mesh, &[], Some(&[]));
    mesh.settle();
    assert_eq!(learners(&mesh), none);
}

#[test]
fn residency_and_the_number_bound_what_readers_get() {
    let mut mesh = mesh();
    reads(&mut mesh, &[("nyc", 9_000), ("par", 500), ("waw", 400)], None);
    mesh.readers.learners_max = 1;
    mesh.settle();
    assert_eq!(learners(&mesh), ["par"], "nyc must not hold it, and more are not allowed");
    mesh.readers.learners_max = 2;
    mesh.settle();
    assert_eq!(learners(&mesh), ["par", "waw"]);
    let voters = mesh.map.get(shard(&mesh)).unwrap().voters().count();
    assert_eq!(voters, 3, "a learner is no voter");
    // Switched off where somebody looks who does not lead it, and then at its leader.
    let known = std::mem::take(&mut mesh.readers.shards);
    mesh.readers.learners_max = 0;
    mesh.settle();
    assert_eq!(learners(&mesh), ["par", "waw"]);
    let paused = mesh.moves().paused;
    assert!(paused.is_none(), "it waits for what nobody does: {paused:?}");
    mesh.readers.shards = known;
    mesh.settle();
    assert!(learners(&mesh).is_empty());
}

#[test]
fn a_pop_that_reads_spreads_its_learners_over_nodes_that_hold_as_much() {
    let pops = ["mil", "mad", "ber"];
    let members = (1..).zip(pops).map(|(node, pop)| member(node, pop, &[])).collect();
    let names: Vec<String> = (0..24).map(|n| format!("IT:r{n}")).collect();
    let named: Vec<_> = names.iter().map(|name| (name.as_str(), "")).collect();
    let mut mesh = Mesh::new(members, policy(3, &named));
    mesh.members.extend((4..8).map(|node| member(node, "par", &[])));
    mesh.readers.learners_max = 1;
    // Of each shard by itself, as each leader of one sees it.
    let mut chosen = BTreeMap::<NodeId, usize>::new();
    let shards: Vec<ShardId> = mesh.map.shards().map(|shard| shard.id).collect();
    for shard in shards {
        let hot = vec![("par".parse().unwrap(), 900)];
        mesh.readers.shards = BTreeMap::from([(shard, Readers { hot, kept: None })]);
        let planned = mesh.planned();
        for step in planned.steps.iter().filter(|step| step.for_readers) {
            let StepKind::AddLearner { node, .. } = step.kind else { panic!("{step:?}") };
            *chosen.entry(node).or_default() += 1;
        }
        assert_eq!(planned, mesh.planned(), "the same again");
    }
    assert_eq!(chosen.len(), 4, "{chosen:?}");
    let most = chosen.values().max().copied();
    assert!(most.is_some_and(|most| most <= chosen.values().sum::<usize>() / 2), "{chosen:?}");
}

#[test]
fn a_learner_is_left_where_it_is_by_what_evens_out_and_replaced_when_its_node_is_emptied_or_lost() {
    let mut mesh = mesh();
    reads(&mut mesh, &[("par", 900)], Some(&["par"]));
    mesh.settle();
    mesh.at_once = 4;
    mesh.settle();
    let on = |mesh: &Mesh| {
        let shard = mesh.map.get(shard(mesh)).unwrap();
        let pop = |node| &mesh.members.iter().find(|member| member.node == node).unwrap().pop;
        let there = |it: &&Replica| pop(it.node).as_str() == "par";
        shard.replicas.iter().filter(there).map(|it| it.node).collect::<Vec<_>>()
    };
    assert_eq!(on(&mesh).len(), 1, "a replica of either kind");
    mesh.at_once = 0;
    let node = on(&mesh)[0];
    mesh.members.iter_mut().find(|it| it.node == node).unwrap().draining = true;
    mesh.settle();
    let other = on(&mesh);
    assert!(other.len() == 1 && other[0] != node, "{other:?}");
    mesh.members.iter_mut().for_each(|it| it.draining = false);
    mesh.kill(|member| member.node == other[0], AFTER);
    mesh.at_once = 4;
    mesh.settle();
    assert_eq!(on(&mesh), [node]);
}

proptest! {
    /// Whatever is read where, and whoever fails: it comes to an end, within residency and the bound, one
    /// learner a PoP at most, in no PoP that has a voter.
    #[test]
    fn learners_come_and_go_within_the_rules(
        members in any_members(4..10),
        events in prop::collection::vec(
            (0_usize..10, 0_u8..4, prop::collection::btree_set(0_u8..5, 0..4), any::<bool>()), 1..6),
        learners_max in 1_usize..3,
    ) {
        let policy = policy(3, &[("IT:lazio", "eu")]);
        prop_assume!(plan_first_map(&policy, &members).is_ok());
        let mut mesh = Mesh::new(members, policy);
        mesh.readers.learners_max = learners_max;
        mesh.settle();
        for (at, what, pops, is_late) in events {
            let count = mesh.members.len();
            let member = &mut mesh.members[at % count];
            match what {
                0 => member.draining = true,
                1 => member.draining = false,
                2 => {
                    let node = member.node;
                    mesh.kill(|member| member.node == node, AFTER);
                }
                _ => mesh.revive(),
            }
            let Member { node: late, raft: behind, .. } = mesh.members[at % count];
            let pops: Vec<_> = pops.iter().map(|pop| format!("p{pop}").parse().unwrap()).collect();
            let readers = Readers {
                hot: pops.iter().cloned().map(|pop| (pop, 1_000)).collect(),
                kept: Some(pops.iter().cloned().collect()),
            };
            for shard in mesh.map.shards() {
                mesh.readers.shards.insert(shard.id, readers.clone());
                if is_late {
                    mesh.readers.learners.late.insert((shard.id, late));
                    mesh.readers.learners.behind.insert((shard.id, behind));
                }
            }
            mesh.settle();
            for shard in mesh.map.shards().filter(|it| it.range.space_of() != Space::Directory) {
                let live = shard.voters().filter(|voter| {
                    mesh.members.iter().any(|it| it.alive && it.raft == voter.raft)
                });
                if live.count() <= shard.voters().count() / 2 {
                    continue;
                }
                let learners: Vec<&Replica> =
                    shard.replicas.iter().filter(|it| it.role == ReplicaRole::Learner).collect();
                prop_assert!(learners.len() <= learners_max, "{:?}", shard);
                let pop_of =
                    |it: &&Replica| mesh.members.iter().find(|member| member.raft == it.raft);
                let live = shard.voters().filter_map(|it| pop_of(&it)).filter(|it| it.alive);
                let voting: BTreeSet<&PopId> = live.map(|it| &it.pop).collect();
                let has_room = learners.len() < learners_max;
                let awaited = shard.replicas.iter().filter_map(|it| pop_of(&it));
                let reached: BTreeSet<&PopId> =
                    awaited.filter(|it| it.alive).map(|it| &it.pop).collect();
                let labels = &mesh.policy.of(&shard.range).labels;
                let mut takers = mesh.members.iter().filter(|it| {
                    it.alive && !it.draining && it.carries(labels) && pops.contains(&it.pop)
                        && !mesh.readers.learners.late.contains(&(shard.id, it.node))
                });
                prop_assert!(
                    !has_room || takers.all(|it| reached.contains(&it.pop)),
                    "read, and without a replica: {:?}", shard
                );
                let mut seen = BTreeSet::new();
                for learner in learners {
                    let at = mesh.members.iter().find(|it| it.node == learner.node).unwrap();
                    prop_assert!(at.carries(&mesh.policy.of(&shard.range).labels));
                    let late = &mesh.readers.learners.late;
                    prop_assert!(!late.contains(&(shard.id, at.node)), "late: {:?}", shard);
                    prop_assert!(pops.contains(&at.pop), "nobody reads there: {:?}", shard);
                    prop_assert!(seen.insert(&at.pop), "two in a PoP: {:?}", shard);
                    prop_assert!(!voting.contains(&at.pop), "it has a voter: {:?}", shard);
                }
            }
        }
    }
}
