//! The parts of a mesh that what they hold does not leave: rings of PoPs, by number, so that a plan of a large mesh
//! compares numbers where it would compare names.

use std::collections::BTreeMap;

use super::{
    Rings,
    nodes::Nodes,
    per_node::PerNode,
    rings::{Home, Ring},
};
use hexpop_edge_config::NodeId;

/// The rings that nodes are in; without any all nodes are in one.
#[derive(Debug)]
pub(super) struct Areas<'a> {
    known: BTreeMap<Option<Ring<'a>>, usize>,
    of: PerNode<usize>,
}

impl<'a> Areas<'a> {
    pub(super) fn new(nodes: &Nodes<'a>, rings: &'a Rings) -> Self {
        let mut known = BTreeMap::new();
        let mut of = PerNode::default();
        for member in nodes.iter() {
            let ring = rings.are_told_apart().then(|| rings.ring(&member.pop));
            let next = known.len();
            *of.entry(member.node) = *known.entry(ring).or_insert(next);
        }
        Self { known, of }
    }

    /// How many there are.
    pub(super) fn len(&self) -> usize {
        self.known.len()
    }

    /// The one that a node is in.
    pub(super) fn of(&self, node: NodeId) -> usize {
        self.of.of(node)
    }

    /// The one where the voters of a shard are to be; `None` = anywhere.
    pub(super) fn at(&self, home: Home<'a>) -> Option<usize> {
        // Nobody is in one that is not known.
        home.ring().map(|ring| self.known.get(&Some(ring)).copied().unwrap_or(usize::MAX))
    }
}
