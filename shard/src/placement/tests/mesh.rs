//! A mesh, driven as the leaders of its shards and of the meta group do.

use std::time::Duration;

use hexpop_edge_config::PopId;

use super::{apply::apply, *};
use crate::{
    Errand, Explanation, Next, Operation, OperationId, OperationKind, OperationState, Relocation,
    ShardLoad, Traffic, Writers, explain, plan_first_map_in, plan_led, plan_moves,
};

pub(super) const AFTER: Duration = Duration::from_secs(300);

/// A mesh, with what runs in it.
pub(super) struct Mesh {
    pub(super) map: ShardMap,
    pub(super) members: Vec<Member>,
    pub(super) policy: PlacementPolicy,
    pub(super) leaders: BTreeMap<ShardId, NodeId>,
    /// Where the writes of shards come in.
    pub(super) writers: BTreeMap<ShardId, Writers>,
    pub(super) away: BTreeMap<RaftId, Duration>,
    pub(super) loads: BTreeMap<ShardId, ShardLoad>,
    pub(super) running: BTreeMap<ShardId, Relocation>,
    pub(super) avoid: BTreeSet<(ShardId, NodeId)>,
    pub(super) rings: Rings,
    pub(super) readers: ReadersOf,
    pub(super) at_once: usize,
    pub(super) per_node: usize,
    /// What was begun since it settled last, in order.
    pub(super) begun: Vec<(ShardId, Relocation)>,
    /// How many steps its leaders have done.
    pub(super) steps: usize,
}

impl Mesh {
    pub(super) fn new(members: Vec<Member>, policy: PlacementPolicy) -> Self {
        Self::in_rings(members, policy, Rings::default())
    }

    pub(super) fn in_rings(members: Vec<Member>, policy: PlacementPolicy, rings: Rings) -> Self {
        let first = plan_first_map_in(&policy, &rings, &members).unwrap();
        let map = ShardMap::create(first).unwrap();
        let leaders = first_leaders(&map);
        Self { rings, ..Self::of(&map, &members, &policy, &leaders) }
    }

    /// One in which this is so, and all nodes that are up have always been.
    pub(super) fn of(
        map: &ShardMap,
        members: &[Member],
        policy: &PlacementPolicy,
        leaders: &BTreeMap<ShardId, NodeId>,
    ) -> Self {
        Self {
            map: map.clone(),
            members: members.to_vec(),
            policy: policy.clone(),
            leaders: leaders.clone(),
            writers: BTreeMap::new(),
            away: BTreeMap::new(),
            loads: BTreeMap::new(),
            running: BTreeMap::new(),
            avoid: BTreeSet::new(),
            rings: Rings::default(),
            readers: ReadersOf::default(),
            at_once: 2,
            per_node: 2,
            begun: Vec::new(),
            steps: 0,
        }
    }

    fn losses(&self) -> Losses {
        Losses::new(self.away.clone(), AFTER)
    }

    pub(super) fn look<T>(&self, look: impl FnOnce(&World<'_>, &Traffic<'_>) -> T) -> T {
        let losses = self.losses();
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
        let loads = Some(&self.loads).filter(|loads| !loads.is_empty());
        let (avoid, at_once, per_node) = (&self.avoid, self.at_once, self.per_node);
        let traffic =
            Traffic { running: &running, resting: &resting, loads, avoid, at_once, per_node };
        look(&world, &traffic)
    }

    pub(super) fn moves(&self) -> crate::Moves {
        self.look(plan_moves)
    }

    /// What leaders do next.
    pub(super) fn planned(&self) -> Plan {
        self.look(|world, _| plan_led(world, &self.writers))
    }

    pub(super) fn why(&self, shard: ShardId) -> Explanation {
        self.look(|world, traffic| explain(world, traffic, shard)).unwrap()
    }

    /// Kills nodes; for how long they are dead is told apart.
    pub(super) fn kill(&mut self, dead: impl Fn(&Member) -> bool, since: Duration) {
        for member in self.members.iter_mut().filter(|member| dead(member)) {
            member.alive = false;
            self.away.insert(member.raft, since);
        }
        let members = &self.members;
        let is_up = |node| members.iter().any(|member| member.node == node && member.alive);
        for shard in self.map.shards() {
            let leader = self.leaders.get(&shard.id).copied();
            if !leader.is_some_and(is_up) {
                let next = shard.voters().find(|voter| is_up(voter.node));
                match next {
                    Some(voter) => self.leaders.insert(shard.id, voter.node),
                    None => self.leaders.remove(&shard.id),
                };
            }
        }
    }

    pub(super) fn revive(&mut self) {
        self.away.clear();
        self.members.iter_mut().for_each(|member| member.alive = true);
    }

    /// What an operation does next; `false` when it is over.
    pub(super) fn drive(&mut self, shard: ShardId, relocation: Relocation) -> bool {
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
        match self.look(|world, _| world.next(&operation)) {
            Next::Ask(Errand::Step { step: kind, .. }) => {
                self.execute(shard, &kind);
                true
            }
            Next::End(_) => false,
            other => panic!("{other:?}"),
        }
    }

    fn member(&self, node: NodeId) -> &Member {
        self.members.iter().find(|member| member.node == node).unwrap()
    }

    pub(super) fn pop(&self, node: NodeId) -> &PopId {
        &self.member(node).pop
    }

    /// Does a step as the leader of the shard would.
    pub(super) fn execute(&mut self, id: ShardId, kind: &StepKind) {
        let mut shard = self.map.get(id).unwrap().clone();
        let members = &self.members;
        let is_live = |it: &Replica| {
            members
                .iter()
                .any(|member| member.alive && member.node == it.node && member.raft == it.raft)
        };
        apply(&mut shard.replicas, kind, is_live);
        if let StepKind::TransferLeader { from, to } = *kind {
            assert_eq!(self.leaders.insert(id, to), Some(from));
            assert!(is_live(shard.voters().find(|replica| replica.node == to).unwrap()));
            return;
        }
        shard.epoch.conf += 1;
        assert_eq!(self.map.report(vec![shard]), Ok(1));
    }

    /// That the new voter shares its PoP with another only if no PoP without one could have it.
    fn check_promoted(&self, shard: ShardId, node: NodeId) {
        let shard = self.map.get(shard).unwrap();
        // One on a node that is being emptied goes.
        let voters_in = |wanted: &PopId| {
            let in_pop = |voter: &&Replica| {
                let member = self.member(voter.node);
                !member.draining && member.pop == *wanted
            };
            shard.voters().filter(in_pop).count()
        };
        let labels = &self.policy.of(&shard.range).labels;
        let is_free = |member: &Member| {
            let may_hold = member.alive && !member.draining && member.carries(labels);
            may_hold && voters_in(&member.pop) == 0
        };
        let is_alone = voters_in(self.pop(node)) == 1;
        assert!(is_alone || !self.members.iter().any(is_free), "{shard:?}");
    }

    /// One look of all leaders, of shards and of the meta group.
    fn round(&mut self) -> bool {
        let planned = self.planned();
        let shards: BTreeSet<ShardId> = planned.steps.iter().map(|step| step.shard).collect();
        assert_eq!(shards.len(), planned.steps.len(), "one step per shard");
        let mut has_changed = false;
        for step in &planned.steps {
            if self.running.contains_key(&step.shard) {
                continue;
            }
            self.execute(step.shard, &step.kind);
            // Else moves spread them afterwards.
            if let StepKind::Promote { node, .. } = &step.kind
                && self.at_once == 0
            {
                self.check_promoted(step.shard, *node);
            }
            self.steps += 1;
            has_changed = true;
        }
        let moves = self.moves().moves;
        has_changed |= !moves.is_empty();
        for planned in moves {
            self.begun.push((planned.shard, planned.relocation));
            assert!(self.running.insert(planned.shard, planned.relocation).is_none());
        }
        assert!(self.running.len() <= self.at_once, "{:?}", self.running);
        for (shard, relocation) in self.running.clone() {
            has_changed = true;
            if !self.drive(shard, relocation) {
                self.running.remove(&shard);
            }
        }
        has_changed
    }

    /// Until nothing is planned any more; answers what was begun meanwhile.
    pub(super) fn settle(&mut self) -> Vec<(ShardId, Relocation)> {
        self.begun.clear();
        for _round in 0..2_000 {
            if !self.round() {
                return self.begun.clone();
            }
        }
        let planned = self.planned();
        panic!("no end: {:?}, {:?}", planned.steps, self.moves().moves);
    }

    pub(super) fn held(&self, node: u32) -> usize {
        self.map.shards().filter(|shard| shard.replica_on(NodeId(node)).is_some()).count()
    }

    pub(super) fn live_voters(&self, shard: &ShardDescriptor) -> usize {
        let is_live = |voter: &&Replica| {
            self.members.iter().any(|member| member.alive && member.raft == voter.raft)
        };
        shard.voters().filter(is_live).count()
    }
}
