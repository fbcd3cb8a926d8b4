//! What each node would have if all were as even as they may be.

use std::collections::{BTreeMap, BTreeSet};

use hexpop_edge_config::NodeId;

use super::{
    moves::{Scene, Weights},
    nodes::Nodes,
    per_node::PerNode,
};

/// What the nodes of each area have together.
#[derive(Debug, Default)]
pub(super) struct Shares {
    areas: Vec<Area>,
    /// The nodes that replicas may go to and from.
    are_open: PerNode<bool>,
}

/// An area.
#[derive(Debug, Clone, Default)]
struct Area {
    /// Its nodes that replicas may go to and from, with what each has.
    nodes: BTreeMap<NodeId, u64>,
    /// What of that needs certain labels, by their number.
    bound: Vec<u64>,
}

impl Shares {
    pub(super) fn new(scene: &Scene<'_>, weights: &Weights) -> Self {
        let classes = scene.nodes.all_holders().count();
        let empty = Area { nodes: BTreeMap::new(), bound: vec![0; classes] };
        let areas = vec![empty; scene.areas.len()];
        let mut shares = Self { areas, are_open: PerNode::default() };
        for member in scene.nodes.iter().filter(|member| member.alive && !member.draining) {
            *shares.are_open.entry(member.node) = true;
            if let Some(area) = shares.areas.get_mut(scene.areas.of(member.node)) {
                area.nodes.insert(member.node, weights.of(member.node));
            }
        }
        shares
    }

    /// What a node in an area holds needs labels.
    pub(super) fn bind(&mut self, (node, area): (NodeId, usize), class: usize, weight: u64) {
        let area = self.areas.get_mut(area).filter(|_| self.are_open.of(node));
        if let Some(bound) = area.and_then(|area| area.bound.get_mut(class)) {
            *bound = bound.saturating_add(weight);
        }
    }

    /// What each node would have if all were as even as labels and rings let them be: what only some may hold is
    /// theirs alone, and where that is more than an even share of everything in their area, they get nothing else.
    pub(super) fn fair(&self, nodes: &Nodes<'_>) -> PerNode<u64> {
        let mut fair = PerNode::default();
        for (node, share) in self.areas.iter().flat_map(|area| area.fair(nodes)) {
            *fair.entry(node) = share;
        }
        fair
    }
}

impl Area {
    fn fair(&self, nodes: &Nodes<'_>) -> BTreeMap<NodeId, u64> {
        let share = |weight: u64, nodes: usize| weight / u64::try_from(nodes).unwrap_or(1).max(1);
        let mut open: BTreeSet<NodeId> = self.nodes.keys().copied().collect();
        let mut rest = self.nodes.values().fold(0_u64, |sum, held| sum.saturating_add(*held));
        let mut fair = BTreeMap::new();
        loop {
            let fullest = nodes.all_holders().filter_map(|(_, holders)| {
                let bound = self.bound.get(holders.class).copied().filter(|bound| *bound > 0)?;
                let theirs: Vec<NodeId> =
                    open.iter().copied().filter(|node| holders.allowed.has(*node)).collect();
                let level = share(bound, theirs.len());
                Some((level, bound, theirs)).filter(|(_, _, theirs)| !theirs.is_empty())
            });
            let fullest = fullest.max_by_key(|(level, _, _)| *level);
            match fullest.filter(|(level, _, _)| *level > share(rest, open.len())) {
                Some((level, bound, theirs)) => {
                    rest = rest.saturating_sub(bound);
                    for node in theirs {
                        open.remove(&node);
                        fair.insert(node, level);
                    }
                }
                None => break,
            }
        }
        let level = share(rest, open.len());
        fair.extend(open.into_iter().map(|node| (node, level)));
        fair
    }
}
