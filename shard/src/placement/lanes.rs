//! How much may be on the move at a time: in the whole mesh, to one node, and from one sender.

use std::collections::BTreeMap;

use hexpop_edge_config::{NodeId, ShardId};

use super::{Traffic, World};

/// What is on the move, and how much more may be.
///
/// Whoever leads a shard sends its state to the node that is to have it. That node is not to get more than
/// it can take in beside what it does already, nor the leader to send more.
#[derive(Debug)]
pub(super) struct Lanes<'a> {
    leaders: &'a BTreeMap<ShardId, NodeId>,
    room: usize,
    per_node: usize,
    to: BTreeMap<NodeId, usize>,
    by: BTreeMap<NodeId, usize>,
}

impl<'a> Lanes<'a> {
    pub(super) fn new(world: &World<'a>, traffic: &Traffic<'_>) -> Self {
        let mut lanes = Self {
            leaders: world.leaders,
            room: traffic.at_once,
            per_node: traffic.per_node,
            to: BTreeMap::new(),
            by: BTreeMap::new(),
        };
        for (shard, places) in traffic.running {
            if let Some((_from, to)) = places {
                lanes.begin(*shard, *to);
            }
        }
        lanes
    }

    /// Whether nothing may begin any more.
    pub(super) const fn are_full(&self) -> bool {
        self.room == 0
    }

    /// Whether a node gets as much as it may already.
    pub(super) fn is_full(&self, node: NodeId) -> bool {
        self.to.get(&node).is_some_and(|count| *count >= self.per_node)
    }

    /// Whether whoever leads a shard may send its state to one more node.
    pub(super) fn may_send(&self, shard: ShardId) -> bool {
        let sent = self.leaders.get(&shard).and_then(|leader| self.by.get(leader));
        sent.is_none_or(|count| *count < self.per_node)
    }

    /// A replica of a shard goes to a node.
    pub(super) fn begin(&mut self, shard: ShardId, to: NodeId) {
        self.room = self.room.saturating_sub(1);
        *self.to.entry(to).or_default() += 1;
        if let Some(leader) = self.leaders.get(&shard) {
            *self.by.entry(*leader).or_default() += 1;
        }
    }
}
