//! The meta group, driven as its leader does while nodes come, go and are emptied.

use std::time::Duration;

use hexpop_edge_config::PopId;

use super::{apply::apply, *};
use crate::{SystemGroup, plan_system_group};

const AFTER: Duration = Duration::from_secs(300);

/// The group, and the mesh that it is in.
#[derive(Debug)]
struct Group {
    members: Vec<Member>,
    replicas: Vec<Replica>,
    leader: NodeId,
    away: BTreeMap<RaftId, Duration>,
    behind: BTreeSet<RaftId>,
    avoid: BTreeSet<NodeId>,
    rings: Rings,
}

impl Group {
    /// Founded by the first `founders` members.
    fn new(members: Vec<Member>, founders: usize) -> Self {
        let voter = |member: &Member| Replica {
            raft: member.raft,
            node: member.node,
            role: ReplicaRole::Voter,
        };
        let replicas: Vec<Replica> = members.iter().take(founders).map(voter).collect();
        let leader = replicas[0].node;
        Self {
            members,
            replicas,
            leader,
            away: BTreeMap::new(),
            behind: BTreeSet::new(),
            avoid: BTreeSet::new(),
            rings: Rings::default(),
        }
    }

    fn member(&self, node: NodeId) -> &Member {
        self.members.iter().find(|member| member.node == node).unwrap()
    }

    fn is_live(&self, replica: &Replica) -> bool {
        let member = self.member(replica.node);
        member.alive && member.raft == replica.raft
    }

    fn voters(&self) -> Vec<Replica> {
        let voters = self.replicas.iter().filter(|replica| replica.role == ReplicaRole::Voter);
        voters.copied().collect()
    }

    fn has_quorum(&self) -> bool {
        let voters = self.voters();
        voters.iter().filter(|voter| self.is_live(voter)).count() > voters.len() / 2
    }

    fn plan(&self) -> Plan {
        let losses = Losses::new(self.away.clone(), AFTER);
        let (id, replicas, leader) = (ShardId::META, &self.replicas[..], self.leader);
        let (behind, avoid) = (&self.behind, &self.avoid);
        let group = SystemGroup { id, replicas, leader, behind, avoid };
        plan_system_group(&group, &self.members, &losses, &self.rings)
    }

    fn execute(&mut self, step: &Step) {
        match step.kind {
            StepKind::AddLearner { node, .. } => assert!(!self.member(node).draining, "{step:?}"),
            StepKind::Replace { old, .. } => {
                assert_ne!(self.raft_of_leader(), old, "the leader does not replace itself");
            }
            StepKind::RemoveVoter { raft, .. } if raft == self.raft_of_leader() => {
                // It hands over, and the next one does it.
                let next = self.voters().into_iter().find(|it| it.raft != raft && self.is_live(it));
                self.leader = next.unwrap().node;
                return;
            }
            StepKind::TransferLeader { from, to } => {
                let mut voters = self.voters().into_iter();
                assert!(voters.any(|it| it.node == to && self.is_live(&it)), "{step:?}");
                assert_eq!(std::mem::replace(&mut self.leader, to), from);
            }
            _ => {}
        }
        let mut replicas = std::mem::take(&mut self.replicas);
        apply(&mut replicas, &step.kind, |replica| self.is_live(replica));
        self.replicas = replicas;
    }

    fn raft_of_leader(&self) -> RaftId {
        self.replicas.iter().find(|known| known.node == self.leader).unwrap().raft
    }

    /// Until nothing is planned any more; the words for what was.
    fn settle(&mut self) -> Vec<&'static str> {
        self.elect();
        let mut kinds = Vec::new();
        for _round in 0..100 {
            let Some(step) = self.plan().steps.pop() else { return kinds };
            kinds.push(step.kind.as_str());
            self.execute(&step);
        }
        panic!("no end: {:?}", self.plan());
    }

    /// Whoever is up leads, if the leader is not.
    fn elect(&mut self) {
        let live = |replica: &&Replica| self.is_live(replica);
        let voters = self.voters();
        let leads = voters.iter().filter(live).any(|voter| voter.node == self.leader);
        if let Some(next) = voters.iter().find(live).filter(|_| !leads) {
            self.leader = next.node;
        }
    }

    fn kill(&mut self, is_hit: impl Fn(&Member) -> bool, since: Duration) {
        for member in self.members.iter_mut().filter(|member| is_hit(member)) {
            member.alive = false;
            self.away.insert(member.raft, since);
        }
    }

    /// The nodes that vote, by number.
    fn nodes(&self) -> Vec<u32> {
        let mut nodes: Vec<u32> = self.voters().iter().map(|voter| voter.node.0).collect();
        nodes.sort_unstable();
        nodes
    }

    /// How many voters each PoP has, most first.
    fn per_pop(&self) -> Vec<usize> {
        let mut pops: BTreeMap<String, usize> = BTreeMap::new();
        for voter in self.voters() {
            *pops.entry(self.member(voter.node).pop.to_string()).or_default() += 1;
        }
        let mut counts: Vec<usize> = pops.into_values().collect();
        counts.sort_unstable_by_key(|count| std::cmp::Reverse(*count));
        counts
    }
}

/// Members 1, 2, … in these PoPs.
fn mesh(pops: &[&str]) -> Vec<Member> {
    (1..).zip(pops).map(|(node, pop)| member(node, pop, &[])).collect()
}

#[test]
fn it_grows_with_the_mesh() {
    let mut group = Group::new(mesh(&["mil"]), 1);
    assert!(group.settle().is_empty());
    group.members = mesh(&["mil", "mad"]);
    assert_eq!(group.settle(), ["add-learner", "promote"]);
    group.members = mesh(&["mil", "mad", "ber", "mil"]);
    assert_eq!(group.settle(), ["add-learner", "promote"]);
    assert_eq!(group.nodes(), [1, 2, 3], "a fourth voter makes no failure survivable");
    group.members = demo();
    assert_eq!(group.settle(), ["add-learner", "add-learner", "promote-both"]);
    assert_eq!((group.nodes().len(), group.per_pop()), (5, vec![2, 2, 1]));
}

#[test]
fn on_its_way_to_five_voters_the_loss_of_any_pop_leaves_a_quorum() {
    let mut group = Group::new(mesh(&["mil", "mil", "mad", "mad", "ber"]), 1);
    loop {
        let step = group.plan().steps.pop();
        let voters = group.nodes().len();
        for pop in ["mil", "mad", "ber"].iter().filter(|_| voters >= 3) {
            let is_there = |node: &u32| group.member(NodeId(*node)).pop.as_str() == *pop;
            let lost = group.nodes().iter().filter(|node| is_there(node)).count();
            assert!(voters - lost > voters / 2, "{pop}, before {step:?}: {:?}", group.replicas);
        }
        let Some(step) = step else { break };
        group.execute(&step);
    }
    assert_eq!(group.nodes().len(), 5);
}

#[test]
fn five_voters_only_where_any_pop_may_go() {
    for (pops, wanted) in [
        (&["mil", "mil", "mil", "mil", "mil", "mil"][..], 3),
        (&["mil", "mil", "mil", "mad", "mad", "mad"], 3),
        (&["mil", "mil", "mil", "mad", "ber"], 3),
        (&["mil", "mil", "mad", "mad", "ber"], 5),
        (&["mil", "mad", "ber", "par", "lis"], 5),
    ] {
        let mut group = Group::new(mesh(pops), 1);
        group.settle();
        assert_eq!(group.nodes().len(), wanted, "{pops:?}");
    }
}

#[test]
fn a_voter_that_stays_down_is_replaced_and_one_that_restarts_is_not() {
    let mut group = Group::new(mesh(&["mil", "mad", "ber", "mil"]), 3);
    group.kill(|member| member.node == NodeId(1), AFTER - Duration::from_millis(1));
    assert_eq!(group.plan().steps, []);
    group.kill(|member| member.node == NodeId(1), AFTER);
    assert_eq!(group.settle(), ["add-learner", "replace"]);
    assert_eq!(group.nodes(), [2, 3, 4]);
    // Nobody is left for the next.
    group.kill(|member| member.node == NodeId(2), AFTER);
    assert_eq!(group.settle(), [""; 0]);
    assert_eq!(group.nodes(), [2, 3, 4]);
}

#[test]
fn of_five_voters_without_a_sixth_node_three_stay() {
    let mut group = Group::new(demo(), 5);
    group.kill(|member| member.node == NodeId(3), AFTER - Duration::from_secs(1));
    assert_eq!(group.settle(), [""; 0]);
    group.kill(|member| member.node == NodeId(3), AFTER);
    assert_eq!(group.settle(), ["remove-voter", "remove-voter"]);
    assert_eq!(group.per_pop(), [2, 1]);
    group.members[2].alive = true;
    group.away.clear();
    group.settle();
    assert_eq!(group.nodes(), [1, 2, 3, 4, 5]);
}

#[test]
fn a_lost_pop_leaves_a_quorum_that_makes_up_for_it() {
    let pops = ["mil", "mil", "mil", "mad", "mad", "ber", "ber"];
    let mut group = Group::new(mesh(&pops), 3);
    group.settle();
    assert_eq!(group.per_pop(), [2, 2, 1]);
    group.kill(|member| member.pop.as_str() == "mil", AFTER);
    assert!(group.has_quorum());
    group.settle();
    assert_eq!((group.nodes().len(), group.per_pop()), (3, vec![2, 1]));
    assert!(group.voters().iter().all(|voter| group.is_live(voter)));
    group.members.iter_mut().for_each(|member| member.alive = true);
    group.away.clear();
    group.settle();
    assert_eq!(group.per_pop(), [2, 2, 1]);
}

#[test]
fn founders_in_one_pop_spread_when_there_are_others() {
    let mut group = Group::new(mesh(&["mil", "mil", "mil", "mad", "ber"]), 3);
    group.settle();
    assert_eq!(group.per_pop(), [1, 1, 1]);
    let mut group = Group::new(mesh(&["mil", "mil", "mil", "mil", "mil", "mad", "ber", "ber"]), 5);
    group.settle();
    assert_eq!(group.per_pop(), [2, 2, 1]);
}

#[test]
fn a_node_that_is_emptied_loses_its_voter_the_leader_last_of_all() {
    let mut group = Group::new(mesh(&["mil", "mad", "ber", "mil"]), 3);
    group.members[0].draining = true;
    assert_eq!(group.leader, NodeId(1));
    let kinds = group.settle();
    assert_eq!(kinds, ["add-learner", "promote", "remove-voter", "remove-voter"]);
    assert_eq!(group.nodes(), [2, 3, 4]);
    // With nobody to take it, it stays, and that is said.
    group.members[1].draining = true;
    assert_eq!(group.settle(), [""; 0]);
    let findings = group.plan().findings;
    assert!(findings[0].reason.contains("no other node may take"), "{findings:?}");
}

#[test]
fn a_voter_that_lost_its_directory_gets_its_place_again() {
    let mut group = Group::new(mesh(&["mil", "mad", "ber"]), 3);
    group.members[2].raft = RaftId(999);
    assert_eq!(group.settle(), ["add-learner", "replace"]);
    assert_eq!(group.nodes(), [1, 2, 3]);
}

fn two_rings() -> Rings {
    let of = [("ber", 0), ("mad", 0), ("mil", 0), ("bos", 1), ("nyc", 1), ("sfo", 1)];
    let of = of.into_iter().map(|(pop, ring)| (pop.parse().unwrap(), ring));
    Rings::new(of.collect(), BTreeMap::new())
}

/// The PoPs of the voters, in order.
fn pops(group: &Group) -> Vec<&str> {
    let voters = group.voters().into_iter();
    let mut pops: Vec<&str> = voters.map(|voter| group.member(voter.node).pop.as_str()).collect();
    pops.sort_unstable();
    pops
}

#[test]
fn it_gathers_in_a_ring_with_three_pops_and_a_leader_outside_hands_over_first() {
    let mut group = Group::new(mesh(&["bos", "ber", "mad", "nyc", "sfo", "mil"]), 3);
    group.rings = two_rings();
    assert_eq!(group.settle(), ["transfer-leader", "add-learner", "replace"]);
    assert_eq!(pops(&group), ["ber", "mad", "mil"]);
    // More of them outside, and none of a ring that is too small.
    let mut group = Group::new(mesh(&["bos", "nyc", "ber", "mad", "mil"]), 2);
    group.rings = two_rings();
    group.settle();
    assert_eq!(pops(&group), ["ber", "mad", "mil"]);
}

#[test]
fn the_loss_of_a_pop_weighs_more_than_the_ring_and_what_went_outside_comes_back() {
    let mut group = Group::new(mesh(&["ber", "mad", "mil", "bos", "nyc"]), 3);
    group.rings = two_rings();
    assert_eq!(group.settle(), [""; 0], "three voters in one ring, not five in both");
    group.kill(|member| member.pop.as_str() == "mad", AFTER);
    group.settle();
    assert_eq!(group.per_pop(), [1, 1, 1]);
    assert_eq!(pops(&group).iter().filter(|pop| ["ber", "mil"].contains(pop)).count(), 2);
    group.members.iter_mut().for_each(|member| member.alive = true);
    group.away.clear();
    group.settle();
    assert_eq!(pops(&group), ["ber", "mad", "mil"]);
}

#[test]
fn without_a_ring_of_three_pops_it_spreads_over_all() {
    let mut group = Group::new(mesh(&["ber", "ber", "mad", "mad", "bos"]), 3);
    group.rings = two_rings();
    group.settle();
    assert_eq!(group.per_pop(), [2, 2, 1]);
}

#[test]
fn a_learner_that_has_caught_up_gets_the_vote_before_one_that_has_not() {
    let mut group = Group::new(mesh(&["mil", "mad", "ber", "par", "waw", "lis"]), 3);
    for at in [3, 4, 5] {
        let Member { node, raft, .. } = group.members[at];
        group.replicas.push(Replica { raft, node, role: ReplicaRole::Learner });
    }
    group.behind = BTreeSet::from([group.members[3].raft]);
    let step = group.plan().steps.remove(0);
    let StepKind::PromoteBoth { new } = step.kind else { panic!("{step:?}") };
    assert_eq!(new.map(|(node, _)| node), [NodeId(5), NodeId(6)]);
}

/// What happens to a node.
#[derive(Debug, Clone, Copy)]
enum Event {
    Dies,
    IsGivenUp,
    Returns,
    ReturnsEmpty,
    Drains,
    IsKept,
}

fn any_event() -> impl Strategy<Value = (usize, Event)> {
    let events = [
        Event::Dies,
        Event::IsGivenUp,
        Event::Returns,
        Event::ReturnsEmpty,
        Event::Drains,
        Event::IsKept,
    ];
    (0..12_usize, proptest::sample::select(events.to_vec()))
}

proptest! {
    #[test]
    fn whatever_happens_it_keeps_its_quorum_and_comes_to_rest_where_it_should(
        members in any_members(1..12),
        founders in 1..6_usize,
        events in proptest::collection::vec(any_event(), 0..24),
        of in prop::option::of(prop::collection::vec(0_usize..3, 5)),
    ) {
        let founders = founders.min(members.len());
        let mut group = Group::new(members, founders);
        let of = of.into_iter().flatten().zip(0..);
        let of = of.map(|(ring, pop)| (format!("p{pop}").parse().unwrap(), ring));
        let of: BTreeMap<PopId, usize> = of.collect();
        group.rings = Rings::new(of.clone(), BTreeMap::new());
        for (at, event) in events {
            let at = at % group.members.len();
            let member = &mut group.members[at];
            let before = (member.clone(), group.away.clone());
            match event {
                Event::Dies | Event::IsGivenUp if member.alive => {
                    let since = if matches!(event, Event::Dies) { Duration::ZERO } else { AFTER };
                    member.alive = false;
                    group.away.insert(member.raft, since);
                }
                Event::Returns | Event::ReturnsEmpty => {
                    member.alive = true;
                    let raft = member.raft;
                    if matches!(event, Event::ReturnsEmpty) {
                        // Its former directory is gone for good.
                        group.away.insert(raft, AFTER);
                        member.raft = RaftId(raft.0 + 1);
                    } else {
                        group.away.remove(&raft);
                    }
                }
                Event::Drains => member.draining = true,
                Event::IsKept => member.draining = false,
                Event::Dies | Event::IsGivenUp => {}
            }
            // Nothing helps without a quorum.
            if !group.has_quorum() {
                (group.members[at], group.away) = before;
            }
            group.settle();
        }
        group.members.iter_mut().for_each(|member| {
            member.alive = true;
            member.draining = false;
        });
        let current: BTreeSet<RaftId> = group.members.iter().map(|member| member.raft).collect();
        group.away.retain(|raft, _| !current.contains(raft));
        group.settle();
        let voters = group.voters();
        prop_assert!(voters.iter().all(|voter| group.is_live(voter)), "{:?}", group);
        prop_assert_eq!(group.replicas.len(), voters.len());
        let mut sizes: BTreeMap<&PopId, usize> = BTreeMap::new();
        for member in &group.members {
            *sizes.entry(&member.pop).or_default() += 1;
        }
        // In one ring, if any has three PoPs.
        let has_room = |ring| sizes.keys().filter(|pop| of.get(**pop) == Some(ring)).count() >= 3;
        if [0, 1, 2].iter().any(has_room) {
            let rings: BTreeSet<usize> =
                voters.iter().map(|voter| of[&group.member(voter.node).pop]).collect();
            prop_assert!(rings.len() == 1 && rings.iter().all(has_room), "{:?}", group);
            sizes.retain(|pop, _| rings.contains(&of[*pop]));
        }
        let room: usize = sizes.values().map(|size| (*size).min(2)).sum();
        let wanted = match sizes.values().sum::<usize>() {
            _ if room >= 5 => 5,
            count => count.min(3),
        };
        prop_assert_eq!(voters.len(), wanted);
        if wanted > 2 && sizes.len() > 2 {
            // Without any one PoP the others are a quorum.
            prop_assert!(group.per_pop()[0] <= wanted / 2, "{:?}", group.per_pop());
        }
    }
}

#[test]
fn a_learner_that_does_not_catch_up_is_given_up_for_another_node() {
    let pops = ["mil", "mad", "ber", "par", "par"];
    let members: Vec<Member> = (1..).zip(pops).map(|(node, pop)| member(node, pop, &[])).collect();
    let mut group = Group::new(members, 3);
    let lost = group.replicas[1];
    group.members[1].alive = false;
    group.away.insert(lost.raft, AFTER);
    let added = group.plan().steps.remove(0);
    let StepKind::AddLearner { node: slow, .. } = added.kind else { panic!("{added:?}") };
    group.execute(&added);
    let waits = group.plan().steps.remove(0);
    assert!(matches!(waits.kind, StepKind::Replace { node, .. } if node == slow), "{waits:?}");
    group.avoid.insert(slow);
    let mut seen = Vec::new();
    while let Some(step) = group.plan().steps.pop() {
        assert!(seen.len() < 10, "{seen:?}");
        group.execute(&step);
        seen.push(step.kind);
    }
    let gone =
        |kind: &StepKind| matches!(kind, StepKind::RemoveLearner { node, .. } if *node == slow);
    assert!(seen.iter().any(gone), "{seen:?}");
    let voters = group.voters();
    assert_eq!(voters.len(), 3);
    assert!(voters.iter().all(|voter| voter.node != slow && voter.raft != lost.raft), "{voters:?}");
    // It may take one again later.
    group.avoid.clear();
    assert!(group.plan().steps.is_empty());
}

#[test]
fn one_that_is_slow_is_better_than_none() {
    let pops = ["mil", "mad", "ber", "par"];
    let members: Vec<Member> = (1..).zip(pops).map(|(node, pop)| member(node, pop, &[])).collect();
    let slow = members[3].node;
    let mut group = Group::new(members, 3);
    let lost = group.replicas[1];
    group.members[1].alive = false;
    group.away.insert(lost.raft, AFTER);
    group.avoid.insert(slow);
    while let Some(step) = group.plan().steps.pop() {
        group.execute(&step);
    }
    let voters = group.voters();
    assert!(voters.len() == 3 && voters.iter().any(|voter| voter.node == slow), "{voters:?}");
}
