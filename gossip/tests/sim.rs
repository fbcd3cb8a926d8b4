//! Whole clusters in virtual time: join, crash, restart, partition, facts, farewell.

#![expect(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "helpers of tests fail as tests do"
)]

use std::{
    collections::{BTreeMap, BTreeSet},
    net::SocketAddr,
    time::{Duration, Instant},
};

use bytes::Bytes;
use hexpop_edge_config::{ClusterId, NodeId, RaftId};
use hexpop_gossip::{
    Event, Gossip, Identity, Liveness, NodeInfo, NodeState, Options, Output, PacketError,
};
use proptest::prelude::*;
use rand::{RngExt, SeedableRng, rngs::StdRng};

const CLUSTER: ClusterId = ClusterId(0xC1);

#[expect(clippy::disallowed_methods, reason = "the origin of virtual time, read once")]
fn origin() -> Instant {
    Instant::now()
}

fn address(node: u32) -> SocketAddr {
    SocketAddr::from(([10, 0, 0, 1], 7000 + u16::try_from(node).unwrap()))
}

fn info(node: u32) -> NodeInfo {
    NodeInfo {
        pop: format!("pop-{}", node % 3).parse().unwrap(),
        labels: BTreeSet::from(["eu".to_owned()]),
        http: address(node),
        admin: address(node),
        mesh: address(node),
        version: "0.1.0".to_owned(),
        state: NodeState::Up,
        started_at_ms: 1,
    }
}

#[derive(Debug)]
enum Wire {
    Packet { from: NodeId, to: NodeId, packet: Bytes },
    Seed { node: NodeId, seed: u32 },
}

struct World {
    now: Instant,
    nodes: BTreeMap<NodeId, Gossip>,
    wires: BTreeMap<(Instant, u64), Wire>,
    sequence: u64,
    rng: StdRng,
    loss: f64,
    /// Nodes of different islands do not reach each other.
    islands: BTreeMap<NodeId, u32>,
    events: Vec<(NodeId, Event)>,
    refused: Vec<PacketError>,
    packets: u64,
    options: Options,
}

impl World {
    fn new(seed: u64) -> Self {
        Self {
            now: origin(),
            nodes: BTreeMap::new(),
            wires: BTreeMap::new(),
            sequence: 0,
            rng: StdRng::seed_from_u64(seed),
            loss: 0.0,
            islands: BTreeMap::new(),
            events: Vec::new(),
            refused: Vec::new(),
            packets: 0,
            options: Options::default(),
        }
    }

    fn of(nodes: u32, seed: u64) -> Self {
        let mut world = Self::new(seed);
        for node in 1..=nodes {
            world.start(node, 1_000, u64::from(node));
        }
        world
    }

    fn start(&mut self, node: u32, incarnation: u64, raft: u64) {
        let identity = Identity {
            node: NodeId(node),
            incarnation,
            raft: RaftId(raft),
            address: address(node),
        };
        let seed = self.rng.random();
        let gossip =
            Gossip::new(self.now, CLUSTER, identity, info(node), self.options.clone(), seed)
                .unwrap();
        self.nodes.insert(NodeId(node), gossip);
    }

    fn crash(&mut self, node: u32) {
        self.nodes.remove(&NodeId(node));
    }

    fn wire(&mut self, after: Duration, wire: Wire) {
        self.wires.insert((self.now + after, self.sequence), wire);
        self.sequence += 1;
    }

    fn reachable(&self, a: NodeId, b: NodeId) -> bool {
        self.islands.get(&a).unwrap_or(&0) == self.islands.get(&b).unwrap_or(&0)
    }

    fn drain(&mut self, node: NodeId) {
        while let Some(output) = self.nodes.get_mut(&node).and_then(Gossip::poll_output) {
            match output {
                Output::Send { to, packet, .. } => {
                    self.packets += 1;
                    assert!(packet.len() <= 1178);
                    if self.rng.random::<f64>() >= self.loss {
                        let delay = Duration::from_micros(self.rng.random_range(2_000..8_000));
                        self.wire(delay, Wire::Packet { from: node, to, packet });
                    }
                }
                Output::AskSeeds { .. } => {
                    for seed in [1, 2] {
                        self.wire(Duration::from_millis(10), Wire::Seed { node, seed });
                    }
                }
                Output::Event(event) => self.events.push((node, event)),
            }
        }
    }

    /// Runs to the next thing that happens before `until`.
    fn step(&mut self, until: Instant) -> bool {
        let wire = self.wires.keys().next().map(|(at, _)| *at);
        let timer = self
            .nodes
            .iter()
            .filter_map(|(node, gossip)| Some((gossip.poll_timeout()?, *node)))
            .min();
        let next = wire.into_iter().chain(timer.map(|(at, _)| at)).min();
        let Some(next) = next.filter(|next| *next <= until) else {
            self.now = until;
            return false;
        };
        self.now = self.now.max(next);
        if wire == Some(next) {
            let (_, wire) = self.wires.pop_first().unwrap();
            self.deliver(wire);
        } else if let Some((_, node)) = timer {
            self.nodes.get_mut(&node).unwrap().handle_timer(self.now);
            self.drain(node);
        }
        true
    }

    fn deliver(&mut self, wire: Wire) {
        let now = self.now;
        match wire {
            Wire::Packet { from, to, packet } if self.reachable(from, to) => {
                if let Some(gossip) = self.nodes.get_mut(&to) {
                    self.refused.extend(gossip.handle_datagram(now, from, &packet).err());
                    self.drain(to);
                }
            }
            Wire::Seed { node, seed } if self.reachable(node, NodeId(seed)) => {
                // Only a seed that runs says who it is.
                if self.nodes.contains_key(&NodeId(seed))
                    && let Some(gossip) = self.nodes.get_mut(&node)
                {
                    gossip.join(now, NodeId(seed), address(seed));
                    self.drain(node);
                }
            }
            Wire::Packet { .. } | Wire::Seed { .. } => {}
        }
    }

    fn run(&mut self, time: Duration) {
        let until = self.now + time;
        while self.step(until) {}
    }

    /// Runs until `holds`, at most `time`; how long it took.
    fn run_until(&mut self, time: Duration, holds: impl Fn(&Self) -> bool) -> Duration {
        let start = self.now;
        let until = start + time;
        while !holds(self) {
            assert!(self.step(until), "it does not hold after {time:?}");
        }
        self.now - start
    }

    fn liveness(&self, of: u32, seen_by: NodeId) -> Option<Liveness> {
        Some(self.nodes[&seen_by].members().get(&NodeId(of))?.liveness)
    }

    /// Every running node sees all running nodes up, with what they say about themselves.
    fn all_see_all(&self) -> bool {
        let running: BTreeSet<_> = self.nodes.keys().copied().collect();
        self.nodes.values().all(|gossip| {
            let view = gossip.view();
            let up: BTreeSet<_> = view.up().map(|member| member.identity.node).collect();
            up == running && view.up().all(|member| member.info.is_some())
        })
    }

    fn all_see(&self, of: u32, liveness: Liveness) -> bool {
        self.nodes.keys().all(|node| self.liveness(of, *node) == Some(liveness))
    }

    fn count(&self, wanted: impl Fn(&Event) -> bool) -> usize {
        self.events.iter().filter(|(_, event)| wanted(event)).count()
    }
}

#[test]
fn clusters_of_any_size_find_each_other() {
    for (nodes, within_s) in [(1, 1), (2, 3), (5, 5), (30, 10)] {
        let mut world = World::of(nodes, u64::from(nodes));
        let took = world.run_until(Duration::from_secs(within_s), World::all_see_all);
        println!("{nodes} nodes: all see all after {took:?}, {} packets", world.packets);
        assert!(world.refused.is_empty(), "{:?}", world.refused);
        world.run(Duration::from_secs(60));
        let down = world.count(|event| matches!(event, Event::Down { .. } | Event::Suspect(_)));
        assert_eq!(down, 0, "nobody is suspected without a reason");
    }
}

#[test]
fn a_lossy_network_delays_and_does_not_divide() {
    let mut world = World::of(12, 7);
    world.loss = 0.1;
    world.run_until(Duration::from_secs(30), World::all_see_all);
    world.run(Duration::from_secs(120));
    assert_eq!(world.count(|event| matches!(event, Event::Down { .. })), 0);
    assert!(world.all_see_all());
}

#[test]
fn a_crashed_node_is_suspected_then_down_within_seconds() {
    let mut world = World::of(8, 3);
    world.run_until(Duration::from_secs(10), World::all_see_all);
    world.crash(5);
    let took = world.run_until(Duration::from_secs(15), |w| w.all_see(5, Liveness::Down));
    println!("8 nodes: down everywhere after {took:?}");
    assert!(world.count(|event| matches!(event, Event::Suspect(_))) > 0);
    let left = world.count(|event| matches!(event, Event::Down { left: true, .. }));
    assert_eq!(left, 0);
}

#[test]
fn a_restart_is_noticed_also_when_nobody_missed_the_node() {
    let mut world = World::of(6, 4);
    world.run_until(Duration::from_secs(10), World::all_see_all);
    world.events.clear();
    world.crash(4);
    world.start(4, 2_000, 4);
    let others = |event: &Event| {
        matches!(event, Event::Rejoined { from, to }
            if from.incarnation == 1_000 && to.incarnation == 2_000 && from.raft == to.raft)
    };
    world.run_until(Duration::from_secs(10), |w| w.count(others) == 5 && w.all_see_all());
    assert_eq!(world.count(|event| matches!(event, Event::Down { .. })), 0);
}

#[test]
fn a_wiped_node_returns_with_another_raft_id_after_it_was_down() {
    let mut world = World::of(6, 5);
    world.run_until(Duration::from_secs(10), World::all_see_all);
    world.crash(6);
    world.run_until(Duration::from_secs(15), |w| w.all_see(6, Liveness::Down));
    world.start(6, 3_000, 99);
    world.run_until(Duration::from_secs(10), World::all_see_all);
    for gossip in world.nodes.values() {
        assert_eq!(gossip.members()[&NodeId(6)].identity.raft, RaftId(99));
    }
}

#[test]
fn a_clock_that_went_back_does_not_keep_a_node_out() {
    let mut world = World::of(5, 6);
    world.run_until(Duration::from_secs(10), World::all_see_all);
    world.crash(3);
    world.start(3, 500, 3);
    world.run_until(Duration::from_secs(30), World::all_see_all);
    let seen = world.nodes[&NodeId(1)].members()[&NodeId(3)].identity.incarnation;
    assert!(seen > 1_000, "it outbids its former self, and has {seen}");
}

#[test]
fn a_partition_heals_on_both_sides() {
    let mut world = World::of(9, 8);
    world.run_until(Duration::from_secs(10), World::all_see_all);
    for node in 6..=9 {
        world.islands.insert(NodeId(node), 1);
    }
    world.run_until(Duration::from_secs(40), |w| {
        (1..=5).all(|of| (6..=9).all(|by| w.liveness(of, NodeId(by)) == Some(Liveness::Down)))
            && (6..=9)
                .all(|of| (1..=5).all(|by| w.liveness(of, NodeId(by)) == Some(Liveness::Down)))
    });
    world.islands.clear();
    let took = world.run_until(Duration::from_secs(40), World::all_see_all);
    println!("9 nodes, 5 and 4: healed after {took:?}");
    world.run(Duration::from_secs(30));
    assert!(world.all_see_all());
}

#[test]
fn partitions_that_follow_one_another_heal() {
    let mut world = World::of(5, 15);
    world.run_until(Duration::from_secs(10), World::all_see_all);
    // Who returned a short while ago pauses before it returns again; meanwhile nodes that hold each
    // other for down go on telling each other so.
    for _ in 0..4 {
        world.islands.extend([(NodeId(4), 1), (NodeId(5), 1)]);
        world.run_until(Duration::from_secs(40), |w| {
            (1..=3).all(|of| w.liveness(of, NodeId(4)) == Some(Liveness::Down))
                && (4..=5).all(|of| w.liveness(of, NodeId(1)) == Some(Liveness::Down))
        });
        world.islands.clear();
        let before = world.packets;
        world.run_until(Duration::from_secs(60), World::all_see_all);
        assert!(world.packets - before < 20_000, "{} packets", world.packets - before);
    }
}

#[test]
fn a_node_alone_finds_back_through_the_seeds() {
    let mut world = World::of(5, 9);
    world.run_until(Duration::from_secs(10), World::all_see_all);
    world.islands.insert(NodeId(4), 1);
    world.run_until(Duration::from_secs(60), |w| {
        w.nodes[&NodeId(4)].view().up().count() == 1
            && w.liveness(4, NodeId(1)) == Some(Liveness::Down)
    });
    world.islands.clear();
    let took = world.run_until(Duration::from_secs(30), World::all_see_all);
    println!("one of 5 was cut off: back after {took:?}");
    assert!(world.count(|event| matches!(event, Event::Returned(_))) > 0);
}

#[test]
fn the_newest_shard_map_version_reaches_all_also_newcomers() {
    let mut world = World::of(20, 10);
    world.run_until(Duration::from_secs(10), World::all_see_all);
    let now = world.now;
    for (node, version) in [(7, 41), (9, 42), (7, 40)] {
        let gossip = world.nodes.get_mut(&NodeId(node)).unwrap();
        gossip.set_shard_map_version(now, version).unwrap();
        world.drain(NodeId(node));
    }
    let all_have = |w: &World| w.nodes.values().all(|g| g.view().shard_map == (42, NodeId(9)));
    let took = world.run_until(Duration::from_secs(5), all_have);
    println!("20 nodes: a fact reached all after {took:?}");
    // Long after the news has stopped travelling on its own.
    world.run(Duration::from_secs(60));
    world.start(21, 1_000, 21);
    world.run_until(Duration::from_secs(30), |w| w.all_see_all() && all_have(w));
}

#[test]
fn what_a_node_says_about_itself_spreads_and_survives_its_return() {
    let mut world = World::of(10, 11);
    world.run_until(Duration::from_secs(10), World::all_see_all);
    let now = world.now;
    world.nodes.get_mut(&NodeId(3)).unwrap().set_state(now, NodeState::Draining).unwrap();
    world.drain(NodeId(3));
    let draining = |w: &World| {
        w.nodes.values().all(|g| {
            let info = g.members()[&NodeId(3)].info.clone();
            info.is_some_and(|info| info.state == NodeState::Draining)
        })
    };
    world.run_until(Duration::from_secs(5), draining);
    world.crash(3);
    world.start(3, 2_000, 3);
    world.run_until(Duration::from_secs(15), |w| {
        w.nodes.values().all(|g| {
            let member = &g.members()[&NodeId(3)];
            member.identity.incarnation == 2_000
                && member.info.as_ref().is_some_and(|info| info.state == NodeState::Up)
        })
    });
}

#[test]
fn a_node_that_leaves_is_gone_at_once_and_called_so() {
    let mut world = World::of(7, 12);
    world.run_until(Duration::from_secs(10), World::all_see_all);
    let now = world.now;
    world.nodes.get_mut(&NodeId(2)).unwrap().leave(now);
    world.drain(NodeId(2));
    world.run(Duration::from_millis(200));
    world.crash(2);
    let took = world.run_until(Duration::from_secs(4), |w| w.all_see(2, Liveness::Left));
    println!("7 nodes: a farewell reached all after {took:?}");
    assert_eq!(world.count(|event| matches!(event, Event::Suspect(_))), 0);
}

#[test]
fn the_dead_are_forgotten_with_what_they_said() {
    let mut world = World::new(13);
    world.options.forget_after = Duration::from_secs(30);
    for node in 1..=4 {
        world.start(node, 1_000, u64::from(node));
    }
    world.run_until(Duration::from_secs(10), World::all_see_all);
    world.crash(4);
    world.run_until(Duration::from_secs(15), |w| w.all_see(4, Liveness::Down));
    world.run_until(Duration::from_secs(60), |w| {
        w.nodes.keys().all(|node| w.liveness(4, *node).is_none())
    });
    assert_eq!(world.count(|event| matches!(event, Event::Forgotten(NodeId(4)))), 3);
}

#[test]
fn two_processes_with_one_id_do_not_flood_the_network() {
    let mut world = World::of(4, 14);
    world.run_until(Duration::from_secs(10), World::all_see_all);
    // The second process of node 4 speaks from an address of its own; what is sent to node 4 still
    // reaches the first.
    let identity =
        Identity { node: NodeId(4), incarnation: 5_000, raft: RaftId(77), address: address(40) };
    let mut second =
        Gossip::new(world.now, CLUSTER, identity, info(4), Options::default(), 1).unwrap();
    second.join(world.now, NodeId(1), address(1));
    while let Some(output) = second.poll_output() {
        if let Output::Send { to, packet, .. } = output {
            world.wire(Duration::from_millis(1), Wire::Packet { from: NodeId(4), to, packet });
        }
    }
    let before = world.packets;
    world.run(Duration::from_secs(60));
    let per_second = (world.packets - before) / 60;
    assert!(per_second < 200, "{per_second} packets per second");
}

#[test]
fn members_beyond_the_limit_are_turned_away() {
    let mut world = World::new(15);
    world.options.members_max = 3;
    for node in 1..=6 {
        world.start(node, 1_000, u64::from(node));
    }
    world.run(Duration::from_secs(20));
    assert!(world.refused.iter().any(|e| matches!(e, PacketError::TooManyMembers(3))));
    assert!(world.nodes.values().all(|gossip| gossip.members().len() <= 4));
}

#[test]
fn the_same_seed_gives_the_same_history() {
    let history = |seed| {
        let mut world = World::of(10, seed);
        world.loss = 0.05;
        world.run(Duration::from_secs(20));
        (format!("{:?}", world.events), world.packets)
    };
    assert_eq!(history(16), history(16));
    assert_ne!(history(16).1, history(17).1);
}

#[test]
fn strangers_are_told_apart() {
    let mut world = World::of(2, 18);
    world.run_until(Duration::from_secs(5), World::all_see_all);
    let now = world.now;
    let other = Identity { node: NodeId(9), incarnation: 1, raft: RaftId(9), address: address(9) };
    let mut foreign =
        Gossip::new(now, ClusterId(0xBAD), other, info(9), Options::default(), 1).unwrap();
    foreign.join(now, NodeId(1), address(1));
    let mut packet = None;
    while let Some(output) = foreign.poll_output() {
        if let Output::Send { packet: sent, .. } = output {
            packet = Some(sent);
        }
    }
    let packet = packet.unwrap();
    let gossip = world.nodes.get_mut(&NodeId(1)).unwrap();
    let mut check = |from, packet: &[u8]| gossip.handle_datagram(now, NodeId(from), packet);
    assert_eq!(check(9, &packet), Err(PacketError::OtherCluster));
    let mut ours = packet.to_vec();
    ours[1..9].copy_from_slice(&CLUSTER.0.to_be_bytes());
    assert_eq!(check(8, &ours), Err(PacketError::OtherSender));
    assert_eq!(check(1, &ours), Err(PacketError::OwnId));
    ours[0] = 9;
    assert_eq!(check(9, &ours), Err(PacketError::Version(9)));
    assert_eq!(check(9, &[]), Err(PacketError::TooShort(0)));
    assert!(matches!(check(9, &[0; 2000]), Err(PacketError::TooLong { .. })));
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 200, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn any_datagram_is_taken_or_refused(
        kind in 0_u8..5,
        body in proptest::collection::vec(any::<u8>(), 0..300),
        real in any::<prop::sample::Index>(),
        damage in proptest::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 0..4),
    ) {
        // One node of a small cluster that already knows another, and what crosses its wires.
        let mut world = World::of(3, 19);
        let mut seen = Vec::new();
        for _ in 0..400 {
            let until = world.now + Duration::from_secs(1);
            world.step(until);
            seen.extend(world.wires.values().filter_map(|wire| match wire {
                Wire::Packet { from, packet, .. } => Some((*from, packet.clone())),
                Wire::Seed { .. } => None,
            }));
            if seen.len() > 40 { break; }
        }
        let now = world.now;
        let gossip = world.nodes.get_mut(&NodeId(1)).unwrap();
        let mut junk = vec![1];
        junk.extend_from_slice(&CLUSTER.0.to_be_bytes());
        junk.push(kind);
        junk.extend_from_slice(&body);
        let _ignored = gossip.handle_datagram(now, NodeId(2), &junk);
        let (from, packet) = real.get(&seen);
        let mut packet = packet.to_vec();
        for (at, byte) in damage {
            let at = at.index(packet.len());
            packet[at] = byte;
        }
        let _ignored = gossip.handle_datagram(now, *from, &packet);
        while let Some(_output) = gossip.poll_output() {}
        prop_assert!(gossip.members().contains_key(&NodeId(1)));
    }
}
