//! Something for each node, found fast: a plan of a large mesh asks for it a million times.

use std::collections::BTreeMap;

use hexpop_edge_config::NodeId;

use super::Member;

/// Nodes with a smaller id than that have a place in a table, which is all of them where ids are counted up;
/// what is kept of the others is found by searching. It bounds what one large id costs.
const TABLE_MAX: usize = 4_096;

/// One value for each node.
#[derive(Debug, Clone, Default)]
pub(super) struct PerNode<T> {
    table: Vec<T>,
    others: BTreeMap<NodeId, T>,
}

impl<T: Copy + Default> PerNode<T> {
    /// The value of a node; the default for one that has none.
    pub(super) fn of(&self, node: NodeId) -> T {
        let at = usize::try_from(node.0).unwrap_or(TABLE_MAX);
        if at < TABLE_MAX {
            return self.table.get(at).copied().unwrap_or_default();
        }
        self.others.get(&node).copied().unwrap_or_default()
    }

    /// The value of a node, to be changed.
    pub(super) fn entry(&mut self, node: NodeId) -> &mut T {
        let at = usize::try_from(node.0).unwrap_or(TABLE_MAX);
        if at < TABLE_MAX && self.table.len() <= at {
            self.table.resize(at + 1, T::default());
        }
        match self.table.get_mut(at) {
            Some(value) => value,
            None => self.others.entry(node).or_default(),
        }
    }
}

/// Some of the members, by node.
#[derive(Debug, Clone, Default)]
pub(super) struct ByNode<'m> {
    /// In the order of their nodes.
    members: Vec<&'m Member>,
    found: PerNode<Option<&'m Member>>,
}

impl<'m> ByNode<'m> {
    /// The one on a node.
    pub(super) fn get(&self, node: NodeId) -> Option<&'m Member> {
        self.found.of(node)
    }

    /// Whether one is on a node.
    pub(super) fn has(&self, node: NodeId) -> bool {
        self.get(node).is_some()
    }

    /// All, in the order of their nodes.
    pub(super) fn iter(&self) -> impl Iterator<Item = &'m Member> {
        self.members.iter().copied()
    }

    /// How many there are.
    pub(super) const fn len(&self) -> usize {
        self.members.len()
    }
}

impl<'m> FromIterator<&'m Member> for ByNode<'m> {
    /// Of two on one node the last one counts.
    fn from_iter<I: IntoIterator<Item = &'m Member>>(members: I) -> Self {
        let members = members.into_iter().map(|member| (member.node, member));
        let members: Vec<&Member> = members.collect::<BTreeMap<_, _>>().into_values().collect();
        let mut found = PerNode::default();
        for member in &members {
            *found.entry(member.node) = Some(*member);
        }
        Self { members, found }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const AT: u32 = 4_096;

    proptest! {
        /// Against a map.
        #[test]
        fn each_node_has_its_own(
            values in prop::collection::vec((prop_oneof![0_u32..4, AT - 2..AT + 2, Just(u32::MAX)], 1_u32..9), 0..20),
        ) {
            let mut found = PerNode::<u32>::default();
            let mut known = BTreeMap::new();
            for (node, value) in values {
                *found.entry(NodeId(node)) += value;
                *known.entry(node).or_insert(0) += value;
            }
            for node in (0..5).chain(AT - 3..AT + 3).chain([u32::MAX]) {
                prop_assert_eq!(found.of(NodeId(node)), known.get(&node).copied().unwrap_or(0));
            }
        }
    }
}
