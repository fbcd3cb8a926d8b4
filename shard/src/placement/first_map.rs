//! The first shard map.

use std::collections::{BTreeMap, BTreeSet};

use hexpop_edge_config::{Epoch, NodeId, ShardId};

use super::{
    Member, PlacementPolicy, Policy, Rings,
    spread::{Counts, Led, PopCounts, allowed, balance_leaders, next},
};
use crate::{KeyRange, Replica, ReplicaRole, ShardDescriptor, ShardKey, Space};

/// Why there is no first map yet. The bootstrap waits, and says this.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum PlacementError {
    /// No live node may hold these shards.
    #[error("no node that is up may hold {}", list(.0))]
    Unplaceable(Vec<Unplaceable>),
}

/// A shard that no live node may hold.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Unplaceable {
    /// What it holds.
    pub range: KeyRange,
    /// The labels that a node would need.
    pub labels: BTreeSet<String>,
}

fn list(shards: &[Unplaceable]) -> String {
    const SHOWN: usize = 5;
    let mut text: Vec<String> = shards
        .iter()
        .take(SHOWN)
        .map(|shard| {
            let labels = shard.labels.iter().map(String::as_str).collect::<Vec<_>>().join(", ");
            let what = shard.range.single_territory().map_or_else(
                || shard.range.to_string(),
                |territory| format!("{} of {territory}", shard.range.space_of()),
            );
            if labels.is_empty() { what } else { format!("{what} (needs {labels})") }
        })
        .collect();
    if shards.len() > SHOWN {
        text.push(format!("{} more", shards.len() - SHOWN));
    }
    text.join("; ")
}

/// The first map: in the spaces of listings and sessions every named territory is a shard and so is
/// what lies between two of them; the directory is one shard, with a learner in every PoP that has no
/// voter of it. Shard ids count from 1 in key order. The first replica of each descriptor should lead.
///
/// A shard has as many voters as [`Policy::voters`] says of the live nodes that may hold it.
///
/// # Errors
/// [`PlacementError::Unplaceable`] names every shard that no live member may hold.
pub fn plan_first_map(
    policy: &PlacementPolicy,
    members: &[Member],
) -> Result<Vec<ShardDescriptor>, PlacementError> {
    plan_first_map_in(policy, &Rings::default(), members)
}

/// As [`plan_first_map`], with the voters of each shard within one ring, as far as one each in a PoP lets
/// them.
///
/// # Errors
/// As there.
pub fn plan_first_map_in(
    policy: &PlacementPolicy,
    rings: &Rings,
    members: &[Member],
) -> Result<Vec<ShardDescriptor>, PlacementError> {
    let mut planned = Vec::new();
    let mut unplaceable = Vec::new();
    let mut load = BTreeMap::new();
    let mut total = Counts::default();
    for (id, range) in (1..).map(ShardId).zip(first_ranges(policy)) {
        let of_shard = policy.of(&range);
        let of_class = load.entry(Class::of(&range)).or_default();
        let replicas = place(&range, of_shard, (rings, members), of_class, &mut total);
        if replicas.is_empty() {
            unplaceable.push(Unplaceable { range, labels: of_shard.labels.clone() });
        } else {
            planned.push(ShardDescriptor { id, range, epoch: Epoch::FIRST, replicas });
        }
    }
    if !unplaceable.is_empty() {
        return Err(PlacementError::Unplaceable(unplaceable));
    }
    spread_leaders(&mut planned);
    Ok(planned)
}

/// Shards of one class have about the same load; each class is spread on its own.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
struct Class {
    space: Space,
    named: bool,
}

impl Class {
    fn of(range: &KeyRange) -> Self {
        Self { space: range.space_of(), named: range.single_territory().is_some() }
    }
}

fn first_ranges(policy: &PlacementPolicy) -> Vec<KeyRange> {
    let mut ranges = Vec::new();
    for space in Space::ALL {
        let mut start = ShardKey::space_start(space);
        if space != Space::Directory {
            for territory in policy.territories.keys() {
                let range = KeyRange::territory(space, territory);
                ranges.push(KeyRange { start, end: Some(range.start.clone()) });
                start = range.end.clone().unwrap_or_else(|| range.start.clone());
                ranges.push(range);
            }
        }
        ranges.push(KeyRange { start, end: None });
    }
    ranges
}

fn place(
    range: &KeyRange,
    policy: &Policy,
    (rings, members): (&Rings, &[Member]),
    of_class: &mut Counts,
    total: &mut Counts,
) -> Vec<Replica> {
    let mut free = allowed(members, policy);
    let voters = policy.voters(free.len());
    let held = |member: &Member| of_class.of(member.node);
    let home = rings.first_home(range, voters, free.values().copied(), held);
    let mut pops = PopCounts::default();
    let mut replicas = Vec::new();
    loop {
        let role = if replicas.len() < voters { ReplicaRole::Voter } else { ReplicaRole::Learner };
        let missing = |member: &&&Member| {
            role == ReplicaRole::Voter
                || (PlacementPolicy::in_every_pop(range) && pops.of(&member.pop) == 0)
        };
        let candidates = free.values().filter(missing).copied();
        let load = |member: &Member| {
            (!home.has(&member.pop), of_class.of(member.node), total.of(member.node))
        };
        let Some(member) = next(candidates, &pops, load) else { return replicas };
        free.remove(&member.node);
        pops.add(&member.pop);
        of_class.add(member.node);
        total.add(member.node);
        replicas.push(Replica { raft: member.raft, node: member.node, role });
    }
}

/// Puts the voter that should lead in front: evenly within each class and over all.
fn spread_leaders(shards: &mut [ShardDescriptor]) {
    let mut of_class: BTreeMap<Class, Counts> = BTreeMap::new();
    let mut leads = Counts::default();
    let mut led = Vec::new();
    for shard in shards.iter() {
        let of_class = of_class.entry(Class::of(&shard.range)).or_default();
        let voters: Vec<NodeId> = shard.voters().map(|replica| replica.node).collect();
        let fewest =
            voters.iter().copied().min_by_key(|node| (of_class.of(*node), leads.of(*node), *node));
        if let Some(leader) = fewest {
            of_class.add(leader);
            leads.add(leader);
            led.push(Led { shard: shard.id, leader, voters });
        }
    }
    while !balance_leaders(&mut led, &mut leads).is_empty() {}
    let leaders: BTreeMap<ShardId, NodeId> =
        led.into_iter().map(|led| (led.shard, led.leader)).collect();
    for shard in shards {
        let leader = leaders.get(&shard.id).copied();
        shard.replicas.sort_by_key(|replica| (Some(replica.node) != leader, replica.role));
    }
}
