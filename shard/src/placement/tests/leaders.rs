//! Leaders go where the writes of their shards come in.

use super::*;
use crate::{Writers, plan_led};

/// A mesh of six nodes, two in each PoP, and who leads what in it.
struct Led {
    map: ShardMap,
    members: Vec<Member>,
    policy: PlacementPolicy,
    leaders: BTreeMap<ShardId, NodeId>,
    writers: BTreeMap<ShardId, Writers>,
}

impl Led {
    fn new(territories: usize) -> Self {
        let members: Vec<Member> = (1..)
            .zip(["mil", "mad", "ber", "mil", "mad", "ber"])
            .map(|(node, pop)| member(node, pop, &[]))
            .collect();
        let names: Vec<String> = (0..territories).map(|n| format!("IT:r{n}")).collect();
        let named: Vec<_> = names.iter().map(|name| (name.as_str(), "")).collect();
        let policy = policy(3, &named);
        let map = ShardMap::create(plan_first_map(&policy, &members).unwrap()).unwrap();
        let leaders = first_leaders(&map);
        let mut led = Self { map, members, policy, leaders, writers: BTreeMap::new() };
        led.settle();
        led
    }

    fn plan(&self) -> Plan {
        let losses = Losses::default();
        let world = World {
            map: &self.map,
            members: &self.members,
            policy: &self.policy,
            leaders: &self.leaders,
            losses: &losses,
            rings: &Rings::default(),
            readers: &ReadersOf::default(),
        };
        plan_led(&world, &self.writers)
    }

    /// Until nothing is planned; how many leaders moved.
    fn settle(&mut self) -> usize {
        let mut count = 0;
        for _round in 0..100 {
            let steps = self.plan().steps;
            if steps.is_empty() {
                return count;
            }
            count += steps.len();
            for step in &steps {
                execute(&mut self.map, &self.members, step, &mut self.leaders);
            }
        }
        panic!("no end: {:?}", self.plan().steps);
    }

    fn pop_of_leader(&self, shard: ShardId) -> &str {
        let leader = self.leaders[&shard];
        self.members.iter().find(|member| member.node == leader).unwrap().pop.as_str()
    }

    fn writes_come_from(&mut self, shard: ShardId, pop: &str, persist: bool) {
        self.writers.insert(shard, Writers { pop: pop.parse().unwrap(), persist });
    }
}

#[test]
fn a_leader_goes_to_its_writers_and_stays_with_them() {
    let mut led = Led::new(9);
    let shard = led.map.shards().find(|shard| led.pop_of_leader(shard.id) != "ber").unwrap().id;
    led.writes_come_from(shard, "ber", false);
    assert_eq!(led.settle(), 0, "not before that has been so for a while");
    led.writes_come_from(shard, "ber", true);
    let steps = led.plan().steps;
    assert!(steps[0].reason.contains("writes come in at PoP ber"), "{steps:?}");
    led.settle();
    assert_eq!(led.pop_of_leader(shard), "ber");
    // The new leader has counted less, and the others do not even it out meanwhile.
    led.writes_come_from(shard, "ber", false);
    assert_eq!(led.settle(), 0);
}

#[test]
fn the_writers_of_everything_do_not_get_all_leaders() {
    let mut led = Led::new(20);
    for shard in led.map.shards().map(|shard| shard.id).collect::<Vec<_>>() {
        led.writes_come_from(shard, "mad", true);
    }
    led.settle();
    let all = led.map.shards().count();
    let share = all.div_ceil(6);
    for node in [2, 5] {
        let leads = led.leaders.values().filter(|leader| **leader == NodeId(node)).count();
        assert!(leads > share && leads <= 2 * share + 1, "node {node} leads {leads} of {all}");
    }
}

#[test]
fn writers_where_no_voter_is_move_nothing() {
    let mut led = Led::new(9);
    led.members.push(member(7, "par", &[]));
    led.settle();
    let shard = led.map.shards().find(|shard| shard.replicas.len() == 3).unwrap().id;
    led.writes_come_from(shard, "par", true);
    assert_eq!(led.settle(), 0);
}
