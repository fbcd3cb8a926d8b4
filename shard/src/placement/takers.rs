//! Who may take replicas, those with the least first.

use std::collections::{BTreeMap, BTreeSet};

use hexpop_edge_config::NodeId;

use super::{
    Member,
    moves::{Scene, Weights},
};

/// The number of the labels that are needed, and the area that must not be left, if there is one.
pub(super) type Where = (usize, Option<usize>);

/// Nodes by what they have, least first.
pub(super) type Least = BTreeSet<(u64, NodeId)>;

/// Those who may take replicas, by what they have.
#[derive(Debug, Default)]
pub(super) struct Takers {
    /// For each set of labels, anywhere.
    anywhere: Vec<Least>,
    /// In each area, if there are several.
    within: BTreeMap<(usize, usize), Least>,
}

impl Takers {
    /// Those of a mesh that get no more than they may by `is_free`.
    pub(super) fn new(
        scene: &Scene<'_>,
        weights: &Weights,
        is_free: impl Fn(&Member) -> bool,
    ) -> Self {
        let mut takers = Self::default();
        for (_, holders) in scene.nodes.all_holders() {
            let free = || holders.allowed.iter().filter(|member| is_free(member));
            let least = |member: &Member| (weights.of(member.node), member.node);
            takers.anywhere.push(free().map(least).collect());
            if scene.world.rings.are_told_apart() {
                for member in free() {
                    let within = (holders.class, scene.areas.of(member.node));
                    takers.within.entry(within).or_default().insert(least(member));
                }
            }
        }
        takers
    }

    /// Those who may take what is to be there.
    pub(super) fn of(&self, (class, area): Where) -> Option<&Least> {
        match area {
            None => self.anywhere.get(class),
            Some(area) => self.within.get(&(class, area)),
        }
    }

    /// The least that anybody has.
    pub(super) fn least(&self) -> Option<u64> {
        self.anywhere.iter().filter_map(|nodes| nodes.first()).map(|(has, _)| *has).min()
    }

    /// A node in an area has more, or less; or it takes nothing any more.
    pub(super) fn note(&mut self, (node, area): (NodeId, usize), before: u64, after: Option<u64>) {
        for (class, anywhere) in self.anywhere.iter_mut().enumerate() {
            let within = self.within.get_mut(&(class, area));
            for nodes in std::iter::once(anywhere).chain(within) {
                if nodes.remove(&(before, node))
                    && let Some(after) = after
                {
                    nodes.insert((after, node));
                }
            }
        }
    }
}
