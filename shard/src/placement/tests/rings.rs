//! Voters within one ring of PoPs.

use hexpop_edge_config::{PopId, Territory};

use super::{mesh::AFTER, *};
use crate::Cause;

/// Rings of PoPs by name, numbered in order.
fn rings(lists: &[&[&str]], near: &[(&str, &str)]) -> Rings {
    let of = lists
        .iter()
        .enumerate()
        .flat_map(|(number, pops)| pops.iter().map(move |pop| (pop.parse().unwrap(), number)));
    let near = near.iter().map(|(of, pop)| (of.parse().unwrap(), pop.parse().unwrap()));
    Rings::new(of.collect(), near.collect())
}

fn members(pops: &[&str]) -> Vec<Member> {
    (1..).zip(pops).map(|(node, pop)| member(node, pop, &["eu"])).collect()
}

fn pops_of<'a>(mesh: &'a Mesh, shard: &ShardDescriptor) -> Vec<&'a str> {
    let pop = |node| mesh.members.iter().find(|it| it.node == node).unwrap().pop.as_str();
    let mut pops: Vec<&str> = shard.voters().map(|voter| pop(voter.node)).collect();
    pops.sort_unstable();
    pops
}

const EUROPE: [&str; 3] = ["ber", "mad", "mil"];
const AMERICA: [&str; 3] = ["bos", "nyc", "sfo"];

fn two_rings(near: &[(&str, &str)]) -> Rings {
    rings(&[&EUROPE, &AMERICA], near)
}

#[test]
fn the_first_map_keeps_voters_in_one_ring_and_uses_both() {
    let pops = [EUROPE, AMERICA].concat();
    let policy = policy(3, &[("IT:lazio", ""), ("US:texas", ""), ("IT:puglia", "")]);
    let near = two_rings(&[("IT:lazio", "mil"), ("US:texas", "nyc")]);
    let mut mesh = Mesh::in_rings(members(&pops), policy, near);
    let mut seen = BTreeSet::new();
    for shard in mesh.map.shards() {
        let found = pops_of(&mesh, shard);
        assert!(found == EUROPE || found == AMERICA, "{found:?}");
        seen.insert(found[0].to_owned());
        let territory = shard.range.single_territory().map(|it| it.to_string());
        match territory.as_deref() {
            Some("IT:lazio") => assert_eq!(found, EUROPE),
            Some("US:texas") => assert_eq!(found, AMERICA),
            _ => {}
        }
        if shard.range.space_of() == Space::Directory {
            assert_eq!(shard.replicas.len(), 6, "and a learner in every other PoP");
        }
    }
    assert_eq!(seen.len(), 2, "both rings have shards");
    assert!(mesh.settle().is_empty(), "{:?}", mesh.begun);
}

#[test]
fn a_lost_pop_is_made_up_for_in_the_ring_or_outside_and_what_is_outside_comes_home() {
    let pops = [&EUROPE[..], &AMERICA[..], &["mil"]].concat();
    let policy = policy(3, &[("IT:lazio", "")]);
    let mut mesh = Mesh::in_rings(members(&pops), policy, two_rings(&[("IT:lazio", "mil")]));
    mesh.settle();
    mesh.kill(|member| member.pop.as_str() == "mad", AFTER);
    mesh.settle();
    let of_lazio = |mesh: &Mesh| {
        let key = ShardKey::new(Space::Listings, &"IT:lazio".parse().unwrap(), 7);
        let shard = mesh.map.locate(&key).unwrap().clone();
        let pops: Vec<String> = pops_of(mesh, &shard).iter().map(ToString::to_string).collect();
        (shard.id, pops)
    };
    // One replica a PoP comes before the ring.
    let (id, found) = of_lazio(&mesh);
    assert!(found.contains(&"ber".to_owned()) && found.contains(&"mil".to_owned()));
    assert!(AMERICA.iter().any(|pop| found.contains(&(*pop).to_owned())), "{found:?}");
    let findings = mesh.why(id).findings;
    assert!(findings.iter().any(|it| it.contains("outside of the ring")), "{findings:?}");
    mesh.revive();
    let begun = mesh.settle();
    assert!(begun.iter().any(|(_, it)| it.cause == Cause::Ring), "{begun:?}");
    assert_eq!(of_lazio(&mesh).1, EUROPE);
    for shard in mesh.map.shards() {
        let found = pops_of(&mesh, shard);
        assert!(found == EUROPE || found == AMERICA, "{found:?}");
    }
}

#[test]
fn residency_comes_before_the_ring() {
    let mut members = members(&[EUROPE, AMERICA].concat());
    members.iter_mut().skip(2).for_each(|it| it.labels.clear());
    members[4].labels.insert("eu".to_owned());
    let policy = policy(3, &[("IT:lazio", "eu")]);
    let mut mesh = Mesh::in_rings(members, policy, two_rings(&[("IT:lazio", "mil")]));
    mesh.settle();
    let key = ShardKey::new(Space::Sessions, &"IT:lazio".parse().unwrap(), 7);
    let shard = mesh.map.locate(&key).unwrap().clone();
    assert_eq!(pops_of(&mesh, &shard), ["ber", "mad", "nyc"]);
    let findings = mesh.why(shard.id).findings;
    assert!(findings.iter().any(|it| it.contains("outside of the ring")), "{findings:?}");
}

/// Whether no voter is outside of the ring of `near`, if a node there may hold the shard, or else of one of
/// those with the most voters, while a PoP in it without a voter has a node that may hold one.
fn keeps_to_a_ring(
    mesh: &Mesh,
    rings: &Rings,
    shard: &ShardDescriptor,
    near: Option<&PopId>,
) -> bool {
    let labels = &mesh.policy.of(&shard.range).labels;
    let holders: Vec<&PopId> =
        mesh.members.iter().filter(|it| it.carries(labels)).map(|it| &it.pop).collect();
    let pop = |node| &mesh.members.iter().find(|it| it.node == node).unwrap().pop;
    let voters: Vec<&PopId> = shard.voters().map(|voter| pop(voter.node)).collect();
    let is_met = |ring| {
        let is_in = |pop: &&&PopId| rings.ring(pop) == ring;
        voters.iter().all(|voter| is_in(&voter))
            || holders.iter().filter(is_in).all(|pop| voters.contains(pop))
    };
    if let Some(ring) = near.map(|near| rings.ring(near))
        && holders.iter().any(|pop| rings.ring(pop) == ring)
    {
        return is_met(ring);
    }
    let mut found = BTreeMap::new();
    for voter in &voters {
        *found.entry(rings.ring(voter)).or_insert(0) += 1;
    }
    let most = found.values().max().copied();
    found.iter().any(|(ring, count)| Some(*count) == most && is_met(*ring))
}

proptest! {
    /// Whatever the rings are, and whoever fails and comes back: it comes to an end within the hard rules,
    /// and then no voter is outside of its ring while a PoP in there is free.
    #[test]
    fn rings_come_to_rest_within_the_rules(
        members in any_members(1..10),
        of in prop::collection::vec(0_usize..3, 5),
        near in prop::option::of(0_u8..5),
        events in prop::collection::vec((0_usize..10, any::<bool>()), 0..5),
    ) {
        let policy = policy(3, &[("IT:lazio", ""), ("IT:puglia", "eu")]);
        prop_assume!(plan_first_map(&policy, &members).is_ok());
        let pops = (0..5).map(|pop| format!("p{pop}"));
        let of = pops.zip(of).map(|(pop, ring)| (pop.parse().unwrap(), ring));
        let near: Option<PopId> = near.map(|pop| format!("p{pop}").parse().unwrap());
        let of_lazio: Territory = "IT:lazio".parse().unwrap();
        let named = near.clone().map(|near| (of_lazio.clone(), near));
        let rings = Rings::new(of.collect(), named.into_iter().collect());
        let mut mesh = Mesh::in_rings(members, policy, rings.clone());
        check_hard_rules(&mesh.map, &mesh.members, &mesh.policy);
        mesh.settle();
        for (at, dies) in events {
            if dies {
                let node = mesh.members[at % mesh.members.len()].node;
                mesh.kill(|member| member.node == node, AFTER);
            } else {
                mesh.revive();
            }
            mesh.settle();
        }
        mesh.revive();
        mesh.settle();
        check_hard_rules(&mesh.map, &mesh.members, &mesh.policy);
        prop_assert!(mesh.moves().moves.is_empty());
        prop_assert!(mesh.moves().paused.is_none());
        for shard in mesh.map.shards() {
            let near = near.as_ref().filter(|_| shard.range.single_territory() == Some(of_lazio.clone()));
            let in_a_ring = keeps_to_a_ring(&mesh, &rings, shard, near);
            prop_assert!(in_a_ring, "{:?} of {:?}, {:?}", shard, rings, mesh.members);
        }
    }
}
