//! What other nodes are to forget and have not said that they did. It goes with each question to them, so
//! that none answers from before a write of this node.

use std::collections::{BTreeMap, VecDeque};

use hexpop_edge_config::NodeId;
use parking_lot::Mutex;

use super::wire::Forgotten;

/// Things of one node that are named one by one; beyond that it is to forget everything.
const NAMED_MAX: usize = 256;

/// By node, in the order in which it came, each with its number.
#[derive(Debug, Default)]
pub(super) struct Unconfirmed(Mutex<State>);

#[derive(Debug, Default)]
struct State {
    last: u64,
    nodes: BTreeMap<NodeId, VecDeque<(u64, Forgotten)>>,
}

/// All that a node is to forget so far.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Pending {
    pub(super) all: Vec<Forgotten>,
    upto: u64,
}

impl Unconfirmed {
    /// Of other nodes than these nothing is remembered any more.
    pub(super) fn retain(&self, nodes: &[NodeId]) {
        self.0.lock().nodes.retain(|node, _pending| nodes.contains(node));
    }

    /// These nodes are to forget this.
    pub(super) fn add(&self, nodes: &[NodeId], forgotten: &[Forgotten]) {
        let state = &mut *self.0.lock();
        for node in nodes {
            let pending = state.nodes.entry(*node).or_default();
            for one in forgotten {
                state.last += 1;
                pending.push_back((state.last, one.clone()));
            }
            if pending.len() > NAMED_MAX {
                pending.clear();
                pending.push_back((state.last, Forgotten::All));
            }
        }
    }

    /// What a node is to forget.
    pub(super) fn of(&self, node: NodeId) -> Pending {
        let state = self.0.lock();
        let pending = state.nodes.get(&node).into_iter().flatten();
        Pending { all: pending.map(|(_number, one)| one.clone()).collect(), upto: state.last }
    }

    /// A node has forgotten it.
    pub(super) fn confirm(&self, node: NodeId, pending: &Pending) {
        let state = &mut *self.0.lock();
        if let Some(left) = state.nodes.get_mut(&node) {
            left.retain(|(number, _one)| *number > pending.upto);
            if left.is_empty() {
                state.nodes.remove(&node);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const A: NodeId = NodeId(1);
    const B: NodeId = NodeId(2);

    fn tag(name: &str) -> Forgotten {
        Forgotten::Tag(name.to_owned())
    }

    #[test]
    fn what_a_node_confirmed_is_not_told_again_and_what_came_meanwhile_is() {
        let unconfirmed = Unconfirmed::default();
        unconfirmed.add(&[A, B], &[tag("a"), tag("b")]);
        let told = unconfirmed.of(A);
        assert_eq!(told.all, [tag("a"), tag("b")]);
        unconfirmed.add(&[A, B], &[tag("c")]);
        unconfirmed.confirm(A, &told);
        assert_eq!(unconfirmed.of(A).all, [tag("c")]);
        assert_eq!(unconfirmed.of(B).all.len(), 3);
        unconfirmed.confirm(A, &unconfirmed.of(A));
        assert!(unconfirmed.of(A).all.is_empty());
    }

    #[test]
    fn nodes_that_left_are_forgotten_and_what_is_too_much_becomes_everything() {
        let unconfirmed = Unconfirmed::default();
        unconfirmed.add(&[A, B], &[tag("a")]);
        for _ in 0..NAMED_MAX {
            unconfirmed.add(&[B], &[tag("b")]);
        }
        unconfirmed.retain(&[B]);
        assert!(unconfirmed.of(A).all.is_empty());
        assert_eq!(unconfirmed.of(B).all, [Forgotten::All]);
        let told = unconfirmed.of(B);
        unconfirmed.confirm(B, &told);
        assert!(unconfirmed.of(B).all.is_empty());
    }
}
