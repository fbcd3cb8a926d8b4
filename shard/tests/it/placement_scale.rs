//! Placement over a whole mesh: skewed shards, lost PoPs that come back, new nodes, loads that move.
//!
//! Once with all PoPs in one ring, once with a ring for each third of them, and readers far away.
//!
//! A small mesh by default; one of 1,000 nodes in 100 PoPs with 100,000 shards with
//! `HEXPOP_PLACEMENT_SCALE=paper`:
//!
//! ```text
//! HEXPOP_PLACEMENT_SCALE=paper cargo test --release -p hexpop-shard --test it placement_scale -- --nocapture
//! ```
//!
//! Moves are driven step by step by the function that drives them in a mesh ([`World::next`]); after each
//! step the hard rules are checked of the shard concerned. Bytes moved are compared with the least that
//! any way from what nodes held before to what they hold after takes: what each holds more than before, of
//! what needs the same labels, learners that went left out; or, if that is more, what had to leave its ring.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::{Duration, Instant},
};

use hexpop_edge_config::{Epoch, NodeId, PopId, RaftId, ShardId};
use hexpop_shard::{
    Cause, Errand, KeyRange, Losses, Member, Next, Operation, OperationId, OperationKind,
    OperationState, PlacementPolicy, Policy, Readers, ReadersOf, Relocation, Replica, ReplicaRole,
    Rings, ShardDescriptor, ShardKey, ShardLoad, ShardMap, Space, StepKind, Traffic, World, plan,
    plan_first_map, plan_moves,
};

use self::apply::apply;
use crate::seeded::Seeded;

#[path = "../../src/placement/tests/apply.rs"]
mod apply;

/// How large a mesh is tried.
#[derive(Clone, Copy)]
struct Scale {
    pops: u32,
    nodes_per_pop: u32,
    territories: usize,
    shards: usize,
    at_once: usize,
    /// The longest time that planning one round may take.
    round_max: Duration,
}

const SMALL: Scale = Scale {
    pops: 12,
    nodes_per_pop: 5,
    territories: 30,
    shards: 3_000,
    at_once: 32,
    // Not a measurement: of a loaded machine, without optimisations.
    round_max: Duration::from_secs(30),
};

const PAPER: Scale = Scale {
    pops: 100,
    nodes_per_pop: 10,
    territories: 200,
    shards: 100_000,
    // More than a configuration allows, so that it ends within minutes.
    at_once: 1_024,
    round_max: Duration::from_secs(1),
};

struct Sim {
    map: ShardMap,
    members: Vec<Member>,
    index: BTreeMap<NodeId, usize>,
    policy: PlacementPolicy,
    leaders: BTreeMap<ShardId, NodeId>,
    loads: BTreeMap<ShardId, ShardLoad>,
    away: BTreeMap<RaftId, Duration>,
    running: BTreeMap<ShardId, Relocation>,
    at_once: usize,
    round_max: Duration,
    moved_bytes: u64,
    begun: BTreeMap<Cause, usize>,
    rings: Rings,
    /// The ring of each PoP, if they are told apart.
    ring_of: BTreeMap<PopId, usize>,
    readers: ReadersOf,
}

/// How many replicas may be on their way to one node, and sent by one.
const PER_NODE: usize = 8;

const REPAIR_AFTER: Duration = Duration::from_secs(300);

fn member(node: u32, pop: u32, pops: u32) -> Member {
    // A third each in two unions, a third in none.
    let label = ["eu", "us", ""][(3 * pop / pops).min(2) as usize];
    Member {
        node: NodeId(node),
        raft: RaftId(u64::from(node) + 1_000_000),
        pop: format!("p{pop}").parse().unwrap(),
        labels: std::iter::once(label.to_owned()).filter(|label| !label.is_empty()).collect(),
        alive: true,
        draining: false,
    }
}

/// A shard for each territory and what lies between, and those of sessions cut into many.
fn ranges(policy: &PlacementPolicy, members: &[Member], shards: usize) -> Vec<KeyRange> {
    let first = plan_first_map(policy, members).unwrap();
    let named = policy.territories.len();
    let cuts = (shards.saturating_sub(first.len()) / named).max(1) as u64;
    let mut ranges = Vec::new();
    for range in first.into_iter().map(|shard| shard.range) {
        let territory = range.single_territory();
        let Some(territory) = territory.filter(|_| range.space_of() == Space::Sessions) else {
            ranges.push(range);
            continue;
        };
        let mut start = range.start.clone();
        for cut in 1..=cuts {
            let at = ShardKey::new(Space::Sessions, &territory, ((1 << 63) / (cuts + 1)) * cut);
            ranges.push(KeyRange { start, end: Some(at.clone()) });
            start = at;
        }
        ranges.push(KeyRange { start, end: range.end });
    }
    ranges
}

/// Bytes as they are found: most shards small, few near the limit at which they divide.
fn bytes(random: &mut Seeded) -> u64 {
    let mib = random.below(4_096) >> random.below(12);
    (mib as u64) << 20
}

impl Sim {
    /// Replicas where chance has them, within the hard rules.
    fn new(scale: Scale, random: &mut Seeded) -> Self {
        let nodes = scale.pops * scale.nodes_per_pop;
        let members: Vec<Member> = (0..nodes)
            .map(|node| member(node + 1, node / scale.nodes_per_pop, scale.pops))
            .collect();
        let of = |label: &str| Policy {
            labels: std::iter::once(label.to_owned()).filter(|label| !label.is_empty()).collect(),
            replicas: 3,
        };
        let territories = (0..scale.territories).map(|number| {
            let country = ["IT", "US", "BR"][number % 3];
            let label = ["eu", "us", ""][number % 3];
            (format!("{country}:r{number}").parse().unwrap(), of(label))
        });
        let policy = PlacementPolicy { default: of(""), territories: territories.collect() };
        let mut loads = BTreeMap::new();
        let mut shards = Vec::new();
        for (id, range) in (1..).map(ShardId).zip(ranges(&policy, &members, scale.shards)) {
            let labels = &policy.of(&range).labels;
            let mut replicas: Vec<Replica> = Vec::new();
            let mut pops: BTreeSet<PopId> = BTreeSet::new();
            while replicas.len() < 3 {
                let member = random.pick(&members);
                if member.carries(labels) && pops.insert(member.pop.clone()) {
                    let (node, raft) = (member.node, member.raft);
                    replicas.push(Replica { raft, node, role: ReplicaRole::Voter });
                }
            }
            loads.insert(id, ShardLoad { bytes: bytes(random), ..ShardLoad::default() });
            shards.push(ShardDescriptor { id, range, epoch: Epoch::FIRST, replicas });
        }
        let map = ShardMap::create(shards).unwrap();
        let leaders = map.shards().map(|shard| (shard.id, shard.replicas[0].node)).collect();
        let mut sim = Self {
            map,
            members,
            index: BTreeMap::new(),
            policy,
            leaders,
            loads,
            away: BTreeMap::new(),
            running: BTreeMap::new(),
            at_once: scale.at_once,
            round_max: scale.round_max,
            moved_bytes: 0,
            begun: BTreeMap::new(),
            rings: Rings::default(),
            ring_of: BTreeMap::new(),
            readers: ReadersOf::default(),
        };
        sim.reindex();
        sim
    }

    fn reindex(&mut self) {
        let members = self.members.iter().enumerate();
        self.index = members.map(|(at, member)| (member.node, at)).collect();
    }

    fn member(&self, node: NodeId) -> &Member {
        &self.members[self.index[&node]]
    }

    fn look<T>(&self, look: impl FnOnce(&World<'_>, &Traffic<'_>) -> T) -> T {
        let losses = Losses::new(self.away.clone(), REPAIR_AFTER);
        let running = self.running.iter().map(|(id, it)| (*id, Some((it.from, it.to)))).collect();
        let resting = BTreeSet::new();
        let world = World {
            map: &self.map,
            members: &self.members,
            policy: &self.policy,
            leaders: &self.leaders,
            losses: &losses,
            rings: &self.rings,
            readers: &self.readers,
        };
        let traffic = Traffic {
            running: &running,
            resting: &resting,
            loads: Some(&self.loads),
            avoid: &BTreeSet::new(),
            at_once: self.at_once,
            per_node: PER_NODE,
        };
        look(&world, &traffic)
    }

    fn kill_pop(&mut self, pop: &str) {
        for member in self.members.iter_mut().filter(|member| member.pop.as_str() == pop) {
            member.alive = false;
            self.away.insert(member.raft, REPAIR_AFTER);
        }
        let mut lost = Vec::new();
        for shard in self.map.shards() {
            if !self.member(self.leaders[&shard.id]).alive {
                let next = shard.voters().find(|voter| self.member(voter.node).alive);
                lost.push((shard.id, next.unwrap().node));
            }
        }
        self.leaders.extend(lost);
    }

    fn revive(&mut self) {
        self.away.clear();
        self.members.iter_mut().for_each(|member| member.alive = true);
    }

    /// What each node that is up holds.
    fn held(&self) -> BTreeMap<NodeId, u64> {
        let up = self.members.iter().filter(|member| member.alive);
        let mut held: BTreeMap<NodeId, u64> = up.map(|member| (member.node, 0)).collect();
        for shard in self.map.shards() {
            for replica in &shard.replicas {
                if let Some(held) = held.get_mut(&replica.node) {
                    *held += self.loads[&shard.id].bytes;
                }
            }
        }
        held
    }

    /// What each node holds of what needs the same labels, in some of the replicas of a map.
    fn held_by_labels(
        &self,
        map: &ShardMap,
        counts: impl Fn(ShardId, &Replica) -> bool,
    ) -> BTreeMap<(NodeId, &BTreeSet<String>), u64> {
        let mut held = BTreeMap::new();
        for shard in map.shards() {
            let labels = &self.policy.of(&shard.range).labels;
            for replica in shard.replicas.iter().filter(|replica| counts(shard.id, replica)) {
                *held.entry((replica.node, labels)).or_default() += self.loads[&shard.id].bytes;
            }
        }
        held
    }

    /// The least bytes that have to go to nodes for them to hold what they do, having held what is in `before`. What
    /// a learner had that is no more is of no use to anybody.
    fn least_moved(&self, before: &ShardMap) -> u64 {
        let is_still_there = |shard, replica: &Replica| {
            let now = self.map.get(shard).unwrap().replica_on(replica.node);
            now.is_some_and(|now| now.raft == replica.raft)
        };
        let before = self.held_by_labels(before, |shard, replica| {
            replica.role == ReplicaRole::Voter || is_still_there(shard, replica)
        });
        let now = self.held_by_labels(&self.map, |_shard, _replica| true);
        let more = now
            .into_iter()
            .map(|(at, now)| now.saturating_sub(before.get(&at).copied().unwrap_or(0)));
        more.sum()
    }

    /// The bytes that are outside of the ring where most of their shard's voters are: they have to leave.
    fn outside_of_rings(&self) -> u64 {
        let outside = |shard: &ShardDescriptor| {
            let mut found: BTreeMap<usize, u64> = BTreeMap::new();
            for voter in shard.voters() {
                if let Some(ring) = self.ring_of.get(&self.member(voter.node).pop) {
                    *found.entry(*ring).or_default() += 1;
                }
            }
            found.values().sum::<u64>() - found.values().max().copied().unwrap_or(0)
        };
        self.map.shards().map(|shard| outside(shard) * self.loads[&shard.id].bytes).sum()
    }

    /// Does a step as the leader of the shard would, and checks what must hold after it.
    fn execute(&mut self, id: ShardId, kind: &StepKind) {
        if let StepKind::TransferLeader { from, to } = *kind {
            assert_eq!(self.leaders.insert(id, to), Some(from));
            return;
        }
        let mut shard = self.map.get(id).unwrap().clone();
        apply(&mut shard.replicas, kind, |replica| {
            let member = self.member(replica.node);
            member.alive && member.raft == replica.raft
        });
        if matches!(kind, StepKind::AddLearner { .. }) {
            self.moved_bytes += self.loads[&id].bytes;
        }
        self.check(
            &shard,
            matches!(
                kind,
                StepKind::Promote { .. } | StepKind::PromoteBoth { .. } | StepKind::Replace { .. }
            ),
        );
        shard.epoch.conf += 1;
        assert_eq!(self.map.report(vec![shard]), Ok(1));
    }

    /// Residency of every replica, and, when one has just got its vote, that it shares its PoP with none unless
    /// there is no other.
    fn check(&self, shard: &ShardDescriptor, has_voted_in: bool) {
        let labels = &self.policy.of(&shard.range).labels;
        for replica in &shard.replicas {
            assert!(self.member(replica.node).carries(labels), "residency: {shard:?}");
        }
        let nodes: BTreeSet<NodeId> = shard.replicas.iter().map(|replica| replica.node).collect();
        assert_eq!(nodes.len(), shard.replicas.len(), "two replicas on a node: {shard:?}");
        let voters = shard.voters().count();
        if has_voted_in && voters <= 3 {
            let pops: BTreeSet<&str> =
                shard.voters().map(|voter| self.member(voter.node).pop.as_str()).collect();
            let is_free = |member: &&Member| {
                member.alive && member.carries(labels) && !pops.contains(member.pop.as_str())
            };
            let shares_in_need = || !self.members.iter().any(|member| is_free(&member));
            assert!(pops.len() == voters || shares_in_need(), "two voters in a PoP: {shard:?}");
        }
    }

    /// What a move does next; whether it goes on.
    fn drive(&mut self, shard: ShardId, relocation: Relocation) -> bool {
        let operation = Operation {
            id: OperationId(1),
            kind: OperationKind::Relocate(relocation),
            shard,
            reason: String::new(),
            state: OperationState::Running,
            steps: Vec::new(),
            started_ms: 0,
            finished_ms: None,
        };
        match self.look_without_traffic(|world| world.next(&operation)) {
            Next::Ask(Errand::Step { step: kind, .. }) => {
                self.execute(shard, &kind);
                true
            }
            Next::End(state) => {
                assert_eq!(state, OperationState::Done);
                false
            }
            other => panic!("{other:?}"),
        }
    }

    fn look_without_traffic<T>(&self, look: impl FnOnce(&World<'_>) -> T) -> T {
        self.look(|world, _| look(world))
    }

    /// Plans and does until nothing is planned; prints what that took, and answers the bytes moved for
    /// each byte that had to be.
    #[expect(clippy::disallowed_methods, clippy::print_stdout, reason = "it measures, and tells")]
    fn settle(&mut self, what: &str) -> f64 {
        (self.moved_bytes, self.begun) = (0, BTreeMap::new());
        let before = self.map.clone();
        let to_leave = self.outside_of_rings();
        let (mut rounds, mut longest, mut total) = (0_u32, Duration::ZERO, Duration::ZERO);
        loop {
            let begun = Instant::now();
            let planned = self.look_without_traffic(plan);
            let moves = self.look(plan_moves);
            let took = begun.elapsed();
            (rounds, total, longest) = (rounds + 1, total + took, longest.max(took));
            assert!(rounds < 20_000, "{what}: no end: {:?}", moves.moves);
            let shards: BTreeSet<ShardId> = planned.steps.iter().map(|step| step.shard).collect();
            assert_eq!(shards.len(), planned.steps.len(), "one step per shard");
            for planned in &moves.moves {
                *self.begun.entry(planned.relocation.cause).or_default() += 1;
                let before = self.running.insert(planned.shard, planned.relocation);
                assert!(before.is_none(), "one change at a time: {planned:?}");
            }
            assert!(self.running.len() <= self.at_once);
            let is_over = planned.steps.is_empty() && self.running.is_empty();
            for step in &planned.steps {
                if !self.running.contains_key(&step.shard) {
                    self.execute(step.shard, &step.kind);
                }
            }
            for (shard, relocation) in self.running.clone() {
                if !self.drive(shard, relocation) {
                    self.running.remove(&shard);
                }
            }
            if is_over {
                break;
            }
        }
        let after = self.held();
        let bound = self.least_moved(&before).max(to_leave);
        let ratio = if bound == 0 { 1.0 } else { self.moved_bytes as f64 / bound as f64 };
        let (least, most) = (after.values().min().unwrap(), after.values().max().unwrap());
        let begun: Vec<String> =
            self.begun.iter().map(|(cause, count)| format!("{count} {}", cause.as_str())).collect();
        println!(
            "{what}: {} in {rounds} rounds; {} GiB moved, {ratio:.3} of the least possible; nodes hold \
             {} to {} GiB; planning a round took {:.1?}, at most {longest:.1?}",
            if begun.is_empty() { "nothing moved".to_owned() } else { begun.join(", ") },
            self.moved_bytes >> 30,
            least >> 30,
            most >> 30,
            total / rounds,
        );
        assert!(longest <= self.round_max, "{what}: a round took {longest:?}");
        for shard in self.map.shards() {
            self.check(shard, true);
            assert!(shard.voters().all(|voter| self.member(voter.node).alive), "{shard:?}");
        }
        ratio
    }
}

fn scale() -> Scale {
    match std::env::var("HEXPOP_PLACEMENT_SCALE").as_deref() {
        Ok("paper") => PAPER,
        _ => SMALL,
    }
}

#[test]
fn a_mesh_settles_within_the_rules_and_moves_little_more_than_it_has_to() {
    let scale = scale();
    let mut random = Seeded(7);
    let mut sim = Sim::new(scale, &mut random);
    println!(
        "{} nodes, {} PoPs, {} shards, {} GiB",
        sim.members.len(),
        scale.pops,
        sim.map.shards().count(),
        sim.held().values().sum::<u64>() >> 30,
    );
    assert!(sim.settle("evened out from chance") < 1.2);
    assert_eq!((sim.settle("again"), sim.moved_bytes), (1.0, 0));

    sim.kill_pop("p1");
    assert!(sim.settle("a PoP is lost") < 1.2);
    assert!(sim.begun[&Cause::Repair] > scale.shards / scale.pops as usize, "{:?}", sim.begun);
    sim.revive();
    assert!(sim.settle("it comes back, empty") < 1.2);

    // One after the other, in two unions.
    sim.kill_pop("p2");
    assert!(sim.settle("another PoP is lost") < 1.2);
    sim.kill_pop(&format!("p{}", scale.pops / 2));
    assert!(sim.settle("and one more") < 1.2);
    sim.revive();
    assert!(sim.settle("both come back, empty") < 1.2);

    // Where the load is changes.
    for load in sim.loads.values_mut().step_by(5) {
        load.bytes = bytes(&mut random);
    }
    assert!(sim.settle("the load has moved") < 1.2);

    let next = sim.members.iter().map(|member| member.node.0).max().unwrap() + 1;
    for node in 0..scale.nodes_per_pop {
        sim.members.push(member(next + node, scale.pops, scale.pops + 1));
    }
    sim.reindex();
    assert!(sim.settle("a PoP is new") < 1.2);
    let held = sim.held();
    let share = held.values().sum::<u64>() / held.len() as u64;
    for node in next..next + scale.nodes_per_pop {
        assert!(held[&NodeId(node)] > share / 2, "{} of {share}", held[&NodeId(node)]);
    }
}

/// The PoPs where the replicas of a shard in a role are.
fn pops_of(sim: &Sim, shard: &ShardDescriptor, role: ReplicaRole) -> BTreeSet<PopId> {
    let replicas = shard.replicas.iter().filter(|replica| replica.role == role);
    replicas.map(|replica| sim.member(replica.node).pop.clone()).collect()
}

#[test]
fn voters_gather_in_rings_and_far_readers_get_learners_for_as_long_as_they_read() {
    let scale = scale();
    let mut random = Seeded(11);
    let mut sim = Sim::new(scale, &mut random);
    let ring = |pop: u32| (3 * pop / scale.pops) as usize;
    let pop = |pop: u32| -> PopId { format!("p{pop}").parse().unwrap() };
    let of: BTreeMap<PopId, usize> = (0..scale.pops).map(|it| (pop(it), ring(it))).collect();
    sim.rings = Rings::new(of.clone(), BTreeMap::new());
    sim.ring_of = of.clone();
    let gathered = |sim: &Sim| {
        for shard in sim.map.shards() {
            let pops = pops_of(sim, shard, ReplicaRole::Voter);
            let rings: BTreeSet<usize> = pops.iter().map(|pop| of[pop]).collect();
            assert_eq!((pops.len(), rings.len()), (3, 1), "{shard:?}");
        }
    };
    assert!(sim.settle("gathered in rings from chance") < 1.5);
    gathered(&sim);
    sim.settle("again");
    assert_eq!(sim.moved_bytes, 0);
    sim.kill_pop("p1");
    assert!(sim.settle("a PoP of a ring is lost") < 1.2);
    gathered(&sim);
    sim.revive();
    assert!(sim.settle("it comes back, empty") < 1.2);
    gathered(&sim);

    // Every fiftieth shard is read at both ends of the mesh, and nobody reads the others.
    let ends = [pop(0), pop(scale.pops - 1)];
    let hot: BTreeSet<ShardId> = sim.map.shards().map(|shard| shard.id).step_by(50).collect();
    let of_nobody = Readers { hot: Vec::new(), kept: Some(BTreeSet::new()) };
    let of_ends = Readers {
        hot: ends.iter().map(|pop| (pop.clone(), 1_000)).collect(),
        kept: Some(BTreeSet::from(ends.clone())),
    };
    sim.readers.learners_max = 2;
    for shard in sim.map.shards() {
        let readers = if hot.contains(&shard.id) { &of_ends } else { &of_nobody };
        sim.readers.shards.insert(shard.id, readers.clone());
    }
    sim.settle("some shards are read from afar");
    let of_listings = |shard: &&ShardDescriptor| shard.range.space_of() != Space::Directory;
    let mut learners = 0;
    for shard in sim.map.shards().filter(of_listings) {
        let found = pops_of(&sim, shard, ReplicaRole::Learner);
        learners += found.len();
        let voters = pops_of(&sim, shard, ReplicaRole::Voter);
        let labels = &sim.policy.of(&shard.range).labels;
        let wanted = |pop: &&PopId| {
            let mut there = sim.members.iter().filter(|member| member.pop == **pop);
            hot.contains(&shard.id) && !voters.contains(*pop) && there.any(|it| it.carries(labels))
        };
        let wanted: BTreeSet<PopId> = ends.iter().filter(wanted).cloned().collect();
        assert_eq!(found, wanted, "{shard:?}");
    }
    assert!(learners > 0);
    gathered(&sim);
    for readers in sim.readers.shards.values_mut() {
        *readers = of_nobody.clone();
    }
    sim.settle("nobody reads any more");
    let is_learner = |replica: &Replica| replica.role == ReplicaRole::Learner;
    assert!(sim.map.shards().filter(of_listings).all(|it| !it.replicas.iter().any(is_learner)));
}
