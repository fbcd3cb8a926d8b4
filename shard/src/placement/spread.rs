//! Which node takes the next replica, and which voter leads: shared by the first map and the plan, so
//! that what the one makes the other leaves alone.

use std::collections::BTreeMap;

use hexpop_edge_config::{NodeId, PopId, ShardId};

use super::{Member, Policy, per_node::PerNode};

/// How much each node has of something.
#[derive(Debug, Clone, Default)]
pub(super) struct Counts(PerNode<u32>);

impl Counts {
    pub(super) fn of(&self, node: NodeId) -> u32 {
        self.0.of(node)
    }

    pub(super) fn add(&mut self, node: NodeId) {
        let count = self.0.entry(node);
        *count = count.saturating_add(1);
    }

    pub(super) fn remove(&mut self, node: NodeId) {
        let count = self.0.entry(node);
        *count = count.saturating_sub(1);
    }
}

/// How many replicas of one shard each PoP has.
#[derive(Debug, Clone, Default)]
pub(super) struct PopCounts<'m>(BTreeMap<&'m PopId, u32>);

impl<'m> PopCounts<'m> {
    pub(super) fn of(&self, pop: &PopId) -> u32 {
        self.0.get(pop).copied().unwrap_or(0)
    }

    pub(super) fn add(&mut self, pop: &'m PopId) {
        *self.0.entry(pop).or_default() += 1;
    }
}

/// The live members that a policy lets hold another replica, by node.
pub(super) fn allowed<'m>(members: &'m [Member], policy: &Policy) -> BTreeMap<NodeId, &'m Member> {
    members
        .iter()
        .filter(|member| member.alive && !member.draining && member.carries(&policy.labels))
        .map(|member| (member.node, member))
        .collect()
}

/// The member that takes the next replica: one in the PoP with the fewest of the shard, so that every
/// PoP has one before any has two; among those the least by `preference`.
pub(super) fn next<'m, P: Ord>(
    candidates: impl Iterator<Item = &'m Member>,
    pops: &PopCounts<'_>,
    preference: impl Fn(&Member) -> P,
) -> Option<&'m Member> {
    candidates.min_by_key(|member| (pops.of(&member.pop), preference(member), member.node))
}

/// Where a node is in the order of a shard, which is as good as chance from shard to shard, and always the
/// same: the finaliser of `SplitMix64` (Steele, Lea, Flood 2014).
pub(super) const fn rank(shard: ShardId, node: NodeId) -> u64 {
    let mut mixed = shard.0.rotate_left(32) ^ node.0 as u64;
    mixed = mixed.wrapping_add(0x9e37_79b9_7f4a_7c15);
    mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    mixed ^ (mixed >> 31)
}

/// A shard whose leader could move.
#[derive(Debug)]
pub(super) struct Led {
    pub(super) shard: ShardId,
    pub(super) leader: NodeId,
    /// Who could lead it, the leader included.
    pub(super) voters: Vec<NodeId>,
}

/// Moves leaders off nodes that lead at least two more than another voter of the same shard. Each move
/// makes the sum of the squared counts smaller, so that repeating it comes to an end. Answers the
/// shards moved, from and to whom; each moves at most once.
pub(super) fn balance_leaders(
    shards: &mut [Led],
    leads: &mut Counts,
) -> Vec<(ShardId, NodeId, NodeId)> {
    let mut moves = Vec::new();
    for led in shards {
        let Some(to) = led.voters.iter().copied().min_by_key(|node| (leads.of(*node), *node))
        else {
            continue;
        };
        if leads.of(led.leader) >= leads.of(to).saturating_add(2) {
            leads.remove(led.leader);
            leads.add(to);
            moves.push((led.shard, led.leader, to));
            led.leader = to;
        }
    }
    moves
}
