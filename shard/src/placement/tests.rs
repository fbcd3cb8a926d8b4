mod apply;
mod by_hand;
mod leaders;
mod learners;
mod mesh;
mod moves;
mod readers;
mod rings;
mod system;

use std::collections::{BTreeMap, BTreeSet};

use hexpop_edge_config::{Epoch, NodeId, RaftId, ShardId};
use proptest::prelude::*;

use self::mesh::Mesh;
use super::{
    Losses, Member, PlacementError, PlacementPolicy, Plan, Policy, ReadersOf, Rings, Step,
    StepKind, World, plan_first_map,
};
use crate::{KeyRange, Replica, ReplicaRole, ShardDescriptor, ShardKey, ShardMap, Space};

fn member(node: u32, pop: &str, labels: &[&str]) -> Member {
    Member {
        node: NodeId(node),
        raft: RaftId(u64::from(node) * 100),
        pop: pop.parse().unwrap(),
        labels: labels.iter().map(ToString::to_string).collect(),
        alive: true,
        draining: false,
    }
}

fn policy(replicas: u32, territories: &[(&str, &str)]) -> PlacementPolicy {
    let of = |label: &str| Policy {
        labels: Some(label)
            .filter(|label| !label.is_empty())
            .map(str::to_owned)
            .into_iter()
            .collect(),
        replicas,
    };
    PlacementPolicy {
        default: of(""),
        territories: territories
            .iter()
            .map(|(territory, label)| (territory.parse().unwrap(), of(label)))
            .collect(),
    }
}

fn demo() -> Vec<Member> {
    ["mil", "mad", "ber", "mil", "mad"]
        .into_iter()
        .zip(1..)
        .map(|(pop, node)| member(node, pop, &["eu"]))
        .collect()
}

/// What leaders plan where nobody is lost.
fn plan(
    map: &ShardMap,
    members: &[Member],
    policy: &PlacementPolicy,
    leaders: &BTreeMap<ShardId, NodeId>,
) -> Plan {
    Mesh::of(map, members, policy, leaders).planned()
}

/// Has leaders plan and do steps until there are none, and nothing moved but for them; answers how many there were.
fn settle(
    map: &mut ShardMap,
    members: &[Member],
    policy: &PlacementPolicy,
    leaders: &mut BTreeMap<ShardId, NodeId>,
) -> usize {
    let mut mesh = Mesh { at_once: 0, ..Mesh::of(map, members, policy, leaders) };
    mesh.settle();
    (*map, *leaders) = (mesh.map, mesh.leaders);
    mesh.steps
}

/// The hard rules, for every replica of the map that is on a member.
fn check_hard_rules(map: &ShardMap, members: &[Member], policy: &PlacementPolicy) {
    for shard in map.shards() {
        let of_shard = policy.of(&shard.range);
        let by_node: BTreeMap<NodeId, &Member> = members.iter().map(|m| (m.node, m)).collect();
        let mut pops: BTreeMap<&str, u32> = BTreeMap::new();
        let mut nodes = BTreeSet::new();
        for replica in shard.voters() {
            let member = by_node[&replica.node];
            assert!(member.carries(&of_shard.labels), "residency of {}", shard.range);
            assert!(nodes.insert(replica.node), "two replicas on one node");
            *pops.entry(member.pop.as_str()).or_default() += 1;
        }
        let free = members.iter().any(|member| {
            member.carries(&of_shard.labels) && !pops.contains_key(member.pop.as_str())
        });
        assert!(!free || pops.values().all(|count| *count == 1), "{pops:?} of {}", shard.range);
    }
}

fn first_leaders(map: &ShardMap) -> BTreeMap<ShardId, NodeId> {
    map.shards().map(|shard| (shard.id, shard.replicas[0].node)).collect()
}

#[test]
fn the_first_map_gives_each_territory_its_shard_and_tiles_the_rest() {
    let policy = policy(3, &[("IT:lombardia", "eu"), ("ES:madrid", "eu")]);
    let map = ShardMap::create(plan_first_map(&policy, &demo()).unwrap()).unwrap();
    assert_eq!(map.shards().count(), 5 + 1 + 5);
    for space in [Space::Listings, Space::Sessions] {
        let key = ShardKey::new(space, &"IT:lombardia".parse().unwrap(), 77);
        let shard = map.locate(&key).unwrap();
        assert_eq!(shard.range.single_territory(), Some("IT:lombardia".parse().unwrap()));
        assert_eq!(shard.voters().count(), 3);
    }
    check_hard_rules(&map, &demo(), &policy);
}

#[test]
fn leaders_of_the_first_map_are_spread() {
    let territories: Vec<String> = (0..30).map(|n| format!("IT:r{n}")).collect();
    let territories: Vec<_> = territories.iter().map(|t| (t.as_str(), "eu")).collect();
    let shards = plan_first_map(&policy(3, &territories), &demo()).unwrap();
    let mut leads: BTreeMap<NodeId, usize> = BTreeMap::new();
    for shard in &shards {
        *leads.entry(shard.replicas[0].node).or_default() += 1;
        assert_eq!(shard.replicas[0].role, ReplicaRole::Voter);
    }
    assert_eq!(leads.len(), 5, "{leads:?}");
    assert!(leads.values().max().unwrap() - leads.values().min().unwrap() <= 1, "{leads:?}");
}

#[test]
fn a_node_that_drains_is_emptied_as_far_as_others_may_take_its_replicas() {
    let policy = policy(3, &[("IT:lombardia", "eu"), ("ES:madrid", "es")]);
    let mut members = demo();
    for member in &mut members[..3] {
        member.labels.insert("es".to_owned());
    }
    let mut map = ShardMap::create(plan_first_map(&policy, &members).unwrap()).unwrap();
    let mut leaders = first_leaders(&map);
    settle(&mut map, &members, &policy, &mut leaders);
    members[1].draining = true;
    assert!(settle(&mut map, &members, &policy, &mut leaders) > 0);
    for shard in map.shards() {
        let stays = policy.of(&shard.range).labels.contains("es");
        assert_eq!(shard.replica_on(NodeId(2)).is_some(), stays, "{shard:?}");
        assert_eq!(shard.voters().count(), 3);
        assert_ne!(leaders[&shard.id], NodeId(2));
    }
    check_hard_rules(&map, &members, &policy);
    // Why the rest stays is said.
    let plan = plan(&map, &members, &policy, &leaders);
    assert_eq!(plan.findings.len(), 2, "{:?}", plan.findings);
    assert!(plan.findings[0].reason.contains("being emptied"), "{:?}", plan.findings);
    // Nothing comes back by itself, nor goes to it.
    members[1].draining = false;
    settle(&mut map, &members, &policy, &mut leaders);
    let held = map.shards().filter(|shard| shard.replica_on(NodeId(2)).is_some()).count();
    assert!(held >= 2);
}

#[test]
fn every_pop_holds_the_directory() {
    let members: Vec<_> = ["a", "b", "c", "d", "e", "a"]
        .into_iter()
        .zip(1..)
        .map(|(p, n)| member(n, p, &[]))
        .collect();
    let shards = plan_first_map(&policy(3, &[]), &members).unwrap();
    let directory = shards.iter().find(|s| s.range.space_of() == Space::Directory).unwrap();
    assert_eq!((directory.voters().count(), directory.replicas.len()), (3, 5));
    let listings = shards.iter().find(|s| s.range.space_of() == Space::Listings).unwrap();
    assert_eq!(listings.replicas.len(), 3);
}

#[test]
fn with_two_nodes_both_hold_everything_and_four_make_no_fourth_voter() {
    let two = plan_first_map(&policy(3, &[("IT:lazio", "")]), &demo()[..2]).unwrap();
    assert!(two.iter().all(|shard| shard.voters().count() == 2));
    let one = plan_first_map(&policy(3, &[]), &demo()[..1]).unwrap();
    assert!(one.iter().all(|shard| shard.voters().count() == 1));
    let four = plan_first_map(&policy(5, &[]), &demo()[..4]).unwrap();
    assert!(four.iter().all(|shard| shard.voters().count() == 3));
}

#[test]
fn a_territory_that_nobody_may_hold_is_named() {
    let policy = policy(3, &[("IT:lazio", "eu"), ("US:texas", "us")]);
    let error = plan_first_map(&policy, &demo()).unwrap_err();
    let PlacementError::Unplaceable(shards) = &error;
    assert_eq!(shards.len(), 2);
    assert_eq!(
        error.to_string(),
        "no node that is up may hold listings of US:texas (needs us); sessions of US:texas (needs us)"
    );
}

#[test]
fn a_node_that_lost_its_directory_gets_its_replicas_again_under_the_new_id() {
    let policy = policy(3, &[("IT:lazio", "eu")]);
    let mut members = demo();
    let mut map = ShardMap::create(plan_first_map(&policy, &members).unwrap()).unwrap();
    let mut leaders = first_leaders(&map);
    let held = map.shards().filter(|shard| shard.replica_on(NodeId(3)).is_some()).count();
    members[2].raft = RaftId(999);
    leaders.retain(|_, node| *node != NodeId(3));
    let steps = plan(&map, &members, &policy, &leaders).steps;
    assert!(steps[0].reason.contains("node 3 came back without the data of replica 300"));
    let steps = settle(&mut map, &members, &policy, &mut leaders);
    assert!((2 * held..=3 * held).contains(&steps), "{steps} for {held} replicas");
    for shard in map.shards() {
        assert!(shard.replicas.iter().all(|replica| replica.raft != RaftId(300)));
        assert!(shard.replica_on(NodeId(3)).is_some_and(|r| r.raft == RaftId(999)));
    }
    check_hard_rules(&map, &members, &policy);
}

#[test]
fn a_third_node_gets_what_is_missing() {
    let policy = policy(3, &[("IT:lazio", "eu")]);
    let members = demo();
    let mut map = ShardMap::create(plan_first_map(&policy, &members[..1]).unwrap()).unwrap();
    let mut leaders = first_leaders(&map);
    settle(&mut map, &members[..2], &policy, &mut leaders);
    assert!(map.shards().all(|shard| shard.voters().count() == 2));
    settle(&mut map, &members[..3], &policy, &mut leaders);
    assert!(map.shards().all(|shard| shard.voters().count() == 3));
    let leads = |node| leaders.values().filter(|leader| **leader == NodeId(node)).count();
    assert!((1..=3).all(|node| leads(node) >= 2), "{leaders:?}");
    assert!(plan(&map, &members[..3], &policy, &leaders).findings.is_empty());
}

#[test]
fn without_a_quorum_nothing_is_planned_and_it_is_said() {
    let policy = policy(3, &[]);
    let mut members = demo()[..3].to_vec();
    let map = ShardMap::create(plan_first_map(&policy, &members).unwrap()).unwrap();
    members[0].raft = RaftId(1);
    members[1].alive = false;
    let plan = plan(&map, &members, &policy, &first_leaders(&map));
    assert_eq!(plan.steps, []);
    assert_eq!(plan.findings[0].reason, "1 of 3 voters are up, which is no quorum");
}

#[test]
fn a_replica_without_the_label_is_reported() {
    let range = KeyRange::space(Space::Listings);
    let replica = |node: u32| Replica {
        raft: RaftId(u64::from(node) * 100),
        node: NodeId(node),
        role: ReplicaRole::Voter,
    };
    let mut shards: Vec<ShardDescriptor> = Space::ALL
        .into_iter()
        .zip(1..)
        .map(|(space, id)| ShardDescriptor {
            id: ShardId(id),
            range: KeyRange::space(space),
            epoch: Epoch::FIRST,
            replicas: vec![replica(1)],
        })
        .collect();
    shards[0].range = range;
    let mut policy = policy(1, &[]);
    policy.default.labels = BTreeSet::from(["eu".to_owned()]);
    let map = ShardMap::create(shards).unwrap();
    let plan = plan(&map, &[member(1, "mil", &["us"])], &policy, &BTreeMap::new());
    assert_eq!((plan.steps.len(), plan.findings.len()), (0, 3));
    assert!(plan.findings[0].reason.contains("lacks a label"));
}

fn any_members(count: std::ops::Range<usize>) -> impl Strategy<Value = Vec<Member>> {
    prop::collection::vec((0_u8..5, any::<bool>(), any::<bool>()), count).prop_map(|nodes| {
        nodes
            .into_iter()
            .zip(1..)
            .map(|((pop, eu, us), node)| {
                let labels: Vec<_> =
                    [("eu", eu), ("us", us)].into_iter().filter(|l| l.1).map(|l| l.0).collect();
                member(node, &format!("p{pop}"), &labels)
            })
            .collect()
    })
}

proptest! {
    #[test]
    fn the_first_map_obeys_the_hard_rules_and_needs_no_step(
        members in any_members(1..9),
        replicas in prop_oneof![Just(1_u32), Just(3), Just(5)],
    ) {
        let policy = policy(replicas, &[("IT:lazio", "eu"), ("IT:puglia", ""), ("US:texas", "us")]);
        let Ok(shards) = plan_first_map(&policy, &members) else {
            let missing = |label: &str| members.iter().all(|m| !m.labels.contains(label));
            prop_assert!(missing("eu") || missing("us"));
            return Ok(());
        };
        let map = ShardMap::create(shards).unwrap();
        check_hard_rules(&map, &members, &policy);
        prop_assert_eq!(plan(&map, &members, &policy, &first_leaders(&map)).steps, vec![]);
    }

    #[test]
    fn whatever_happens_to_nodes_the_plan_comes_to_an_end_within_the_rules(
        members in any_members(1..8),
        events in prop::collection::vec((0_usize..8, 0_u8..5), 0..6),
        start in 1_usize..8,
        leaders_seed in any::<usize>(),
    ) {
        let policy = policy(3, &[("IT:lazio", ""), ("IT:puglia", "eu")]);
        let mut now: Vec<Member> = members.iter().take(start).cloned().collect();
        let Ok(shards) = plan_first_map(&policy, &now) else { return Ok(()) };
        let mut map = ShardMap::create(shards).unwrap();
        // Any voter may lead at first.
        let mut leaders: BTreeMap<ShardId, NodeId> = map.shards().map(|shard| {
            let voters: Vec<_> = shard.voters().collect();
            (shard.id, voters[leaders_seed % voters.len()].node)
        }).collect();
        settle(&mut map, &now, &policy, &mut leaders);
        for member in members.iter().skip(start) {
            now.push(member.clone());
            settle(&mut map, &now, &policy, &mut leaders);
        }
        for (at, what) in events {
            let count = now.len();
            let member = &mut now[at % count];
            match what {
                0 => member.raft.0 += 1,
                1 => member.alive = false,
                2 => member.alive = true,
                3 => member.draining = true,
                _ => member.draining = false,
            }
            settle(&mut map, &now, &policy, &mut leaders);
            for shard in map.shards() {
                let nodes: BTreeSet<_> = shard.voters().map(|replica| replica.node).collect();
                prop_assert!(shard.voters().count() <= 3.max(nodes.len()));
                for replica in shard.voters() {
                    let member = now.iter().find(|m| m.node == replica.node).unwrap();
                    prop_assert!(member.carries(&policy.of(&shard.range).labels));
                }
            }
        }
    }

    #[test]
    fn an_even_number_of_leaders_stays(members in any_members(3..6)) {
        let policy = policy(3, &[]);
        let Ok(shards) = plan_first_map(&policy, &members) else { return Ok(()) };
        let map = ShardMap::create(shards).unwrap();
        let mut leaders = first_leaders(&map);
        let mut copy = map.clone();
        prop_assert_eq!(settle(&mut copy, &members, &policy, &mut leaders), 0);
        prop_assert_eq!(copy, map);
    }
}
