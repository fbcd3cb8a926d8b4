//! What operators have moved against the rings.

use hexpop_edge_config::PopId;

use super::*;
use crate::Cause;

const PER_POP: u32 = 2;

/// Two nodes in each of these PoPs.
fn members(pops: &[&str]) -> Vec<Member> {
    let pops = pops.iter().flat_map(|pop| [pop; PER_POP as usize]);
    (1..).zip(pops).map(|(node, pop)| member(node, pop, &["eu"])).collect()
}

fn two_rings() -> Rings {
    let of = [("ber", 0), ("mad", 0), ("mil", 0), ("bos", 1), ("nyc", 1), ("sfo", 1)];
    Rings::new(of.map(|(pop, ring)| (pop.parse().unwrap(), ring)).into(), BTreeMap::new())
}

fn on(mesh: &Mesh, pop: &str) -> NodeId {
    mesh.members.iter().find(|member| member.pop.as_str() == pop).unwrap().node
}

fn may_move(mesh: &Mesh, shard: &ShardDescriptor, from: NodeId, to: NodeId) -> Result<(), String> {
    mesh.look(|world, _| world.may_move(shard, from, to))
}

#[test]
fn a_voter_does_not_leave_the_ring_and_it_is_said_what_to_do() {
    let pops = ["ber", "mad", "mil", "bos", "nyc", "sfo"];
    let mut mesh = Mesh::in_rings(members(&pops), policy(3, &[("IT:lazio", "")]), two_rings());
    let is_in = |mesh: &Mesh, shard: &ShardDescriptor, pop: &str| {
        shard.voters().any(|voter| mesh.pop(voter.node).as_str() == pop)
    };
    let shard = mesh.map.shards().find(|shard| is_in(&mesh, shard, "mil")).unwrap().clone();
    let from = shard.voters().find(|voter| mesh.pop(voter.node).as_str() == "mil").unwrap().node;
    let refused = may_move(&mesh, &shard, from, on(&mesh, "nyc")).unwrap_err();
    for word in ["move it back", "PoP nyc is outside", "and mil in there", "`placement.rings`"] {
        assert!(refused.contains(word), "{refused}");
    }
    let mut others = mesh.members.iter().filter(|member| member.pop.as_str() == "mil");
    let other = others.find(|member| member.node != from).unwrap().node;
    assert_eq!(may_move(&mesh, &shard, from, other), Ok(()));
    // Residency comes first; and with the other rings it is nobody's matter.
    let at = mesh.members.iter().position(|member| member.pop.as_str() == "nyc").unwrap();
    mesh.policy.default.labels = BTreeSet::from(["eu".to_owned()]);
    mesh.members[at].labels.clear();
    let mut territories = mesh.map.shards().filter(|it| it.range.single_territory().is_none());
    let shard = territories.find(|shard| is_in(&mesh, shard, "mil")).unwrap().clone();
    let from = shard.voters().find(|voter| mesh.pop(voter.node).as_str() == "mil").unwrap().node;
    let refused = may_move(&mesh, &shard, from, on(&mesh, "nyc")).unwrap_err();
    assert!(refused.contains("residency"), "{refused}");
    mesh.rings = Rings::default();
    assert_eq!(may_move(&mesh, &shard, from, on(&mesh, "sfo")), Ok(()));
}

#[test]
fn where_the_ring_has_no_place_left_a_voter_outside_may_go_to_another() {
    let pops = ["ber", "mad", "bos", "nyc"];
    let mesh = Mesh::in_rings(members(&pops), policy(3, &[]), two_rings());
    for shard in mesh.map.shards() {
        let ring = |node| usize::from(["bos", "nyc"].contains(&mesh.pop(node).as_str()));
        let in_second = shard.voters().filter(|voter| ring(voter.node) == 1).count();
        let alone = usize::from(in_second == 1);
        let outside = shard.voters().find(|voter| ring(voter.node) == alone).unwrap().node;
        let taken: Vec<&PopId> = shard.voters().map(|voter| mesh.pop(voter.node)).collect();
        let free = mesh.members.iter().find(|it| !taken.contains(&&it.pop)).unwrap();
        assert_eq!(may_move(&mesh, shard, outside, free.node), Ok(()), "{shard:?}");
    }
}

proptest! {
    /// What is refused would not have stayed as it is; what is not stays, as far as rings go.
    #[test]
    fn what_is_refused_would_come_back_and_what_is_not_stays(
        members in any_members(4..10),
        of in prop::collection::vec(0_usize..3, 5),
        (at, from, to) in (any::<usize>(), any::<usize>(), any::<usize>()),
    ) {
        let policy = policy(3, &[("IT:lazio", "")]);
        prop_assume!(plan_first_map(&policy, &members).is_ok());
        let of = (0..5).map(|pop| format!("p{pop}").parse().unwrap()).zip(of).collect();
        let mut mesh = Mesh::in_rings(members, policy, Rings::new(of, BTreeMap::new()));
        mesh.settle();
        let shards: Vec<ShardDescriptor> = mesh.map.shards().cloned().collect();
        let shard = &shards[at % shards.len()];
        let voters: Vec<&Replica> = shard.voters().collect();
        let old = voters[from % voters.len()];
        let free: Vec<&Member> =
            mesh.members.iter().filter(|it| shard.replica_on(it.node).is_none()).collect();
        prop_assume!(!free.is_empty());
        let (to, raft) = (free[to % free.len()].node, free[to % free.len()].raft);
        let allowed = may_move(&mesh, shard, old.node, to);
        mesh.execute(shard.id, &StepKind::AddLearner { node: to, raft });
        mesh.execute(shard.id, &StepKind::Replace { node: to, old: old.raft, new: raft });
        mesh.leaders.insert(shard.id, to);
        let begun = mesh.settle();
        let of_shard = begun.iter().filter(|(id, _)| *id == shard.id);
        match allowed {
            // Where another one is outside too, and there is one place for both, that one may go.
            Err(_) => prop_assert!(of_shard.clone().next().is_some(), "{:?}", begun),
            Ok(()) => {
                let first = of_shard.clone().next().filter(|(_, it)| it.cause == Cause::Ring);
                prop_assert!(first.is_none_or(|(_, it)| it.from != to), "{:?}", begun);
            }
        }
    }
}
