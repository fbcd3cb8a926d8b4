//! What other nodes are to forget and have not said that they did. It goes with each question to them, so
//! that none answers from before a write.

use std::collections::{BTreeMap, VecDeque};

use hexpop_edge_config::NodeId;
use parking_lot::Mutex;

use super::wire::Forgotten;

/// Things of one node that are named one by one; beyond that it is to forget everything.
const NAMED_MAX: usize = 256;

/// Bytes of their names, about; so that they fit into a question beside all else.
const NAMED_BYTES_MAX: usize = 256 << 10;

/// By node, in the order in which it came, each with its number.
#[derive(Debug, Default)]
pub(super) struct Unconfirmed(Mutex<State>);

#[derive(Debug, Default)]
struct State {
    last: u64,
    nodes: BTreeMap<NodeId, VecDeque<Item>>,
    /// Whether somebody tells them again.
    being_told: bool,
}

/// One thing that a node is to forget.
#[derive(Debug)]
struct Item {
    number: u64,
    what: Forgotten,
    /// Whether the node was told after a write of this one, and did not confirm it. Of what others say that a
    /// node missed this is never true, so that nodes do not pass it on to each other without end.
    missed: bool,
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
            for one in forgotten {
                state.last += 1;
                let item = Item { number: state.last, what: one.clone(), missed: false };
                push(state.nodes.entry(*node).or_default(), item);
            }
        }
    }

    /// These nodes were told this, and did not confirm it.
    pub(super) fn note_missed(&self, nodes: &[NodeId], forgotten: &[Forgotten]) {
        let state = &mut *self.0.lock();
        for node in nodes {
            for item in state.nodes.get_mut(node).into_iter().flatten() {
                item.missed |= forgotten.iter().any(|one| meets(one, &item.what));
            }
        }
    }

    /// What a node is to forget.
    pub(super) fn of(&self, node: NodeId) -> Pending {
        let state = self.0.lock();
        let pending = state.nodes.get(&node).into_iter().flatten();
        Pending { all: pending.map(|item| item.what.clone()).collect(), upto: state.last }
    }

    /// The other nodes that missed some of what a node is to forget.
    pub(super) fn missed_too(&self, node: NodeId, pending: &Pending) -> Vec<NodeId> {
        if pending.all.is_empty() {
            return Vec::new();
        }
        let state = self.0.lock();
        let is_of_it =
            |item: &Item| item.missed && pending.all.iter().any(|one| meets(one, &item.what));
        let others = state.nodes.iter().filter(|(other, _items)| **other != node);
        let missed = others.filter(|(_other, items)| items.iter().any(is_of_it));
        missed.map(|(other, _items)| *other).collect()
    }

    /// A node has forgotten it.
    pub(super) fn confirm(&self, node: NodeId, pending: &Pending) {
        let state = &mut *self.0.lock();
        if let Some(left) = state.nodes.get_mut(&node) {
            left.retain(|item| item.number > pending.upto);
            if left.is_empty() {
                state.nodes.remove(&node);
            }
        }
    }

    /// The nodes that are to forget something.
    pub(super) fn nodes(&self) -> Vec<NodeId> {
        self.0.lock().nodes.keys().copied().collect()
    }

    /// Whether the nodes are to be told again from now on, and nobody does that yet.
    pub(super) fn begin(&self) -> bool {
        let state = &mut *self.0.lock();
        let begins = !state.being_told && !state.nodes.is_empty();
        state.being_told |= begins;
        begins
    }

    /// Whether there is nobody left to be told; whoever comes later has to begin again.
    pub(super) fn end(&self) -> bool {
        let state = &mut *self.0.lock();
        state.being_told = !state.nodes.is_empty();
        !state.being_told
    }
}

/// Whether who forgets the one forgets something of the other.
fn meets(one: &Forgotten, other: &Forgotten) -> bool {
    one == other || *one == Forgotten::All || *other == Forgotten::All
}

/// Adds to what a node is to forget. What is there already is not there twice.
fn push(pending: &mut VecDeque<Item>, mut item: Item) {
    pending.retain(|known| {
        let is_same = known.what == item.what;
        item.missed |= is_same && known.missed;
        !is_same
    });
    let bytes: usize = pending.iter().map(|known| bytes_of(&known.what)).sum();
    let is_too_much =
        pending.len() >= NAMED_MAX || bytes.saturating_add(bytes_of(&item.what)) > NAMED_BYTES_MAX;
    let is_all = |item: &Item| item.what == Forgotten::All;
    if is_too_much || is_all(&item) || pending.iter().any(is_all) {
        item.what = Forgotten::All;
        item.missed |= pending.iter().any(|known| known.missed);
        pending.clear();
    }
    pending.push_back(item);
}

/// How long it is in a question, about.
fn bytes_of(forgotten: &Forgotten) -> usize {
    let name = match forgotten {
        Forgotten::Uri { origin, target } => origin.len() + target.len(),
        Forgotten::Tag(tag) => tag.len(),
        Forgotten::All => 0,
    };
    name + 16
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
        for nth in 0..NAMED_MAX {
            unconfirmed.add(&[B], &[tag(&format!("b{nth}"))]);
        }
        unconfirmed.retain(&[B]);
        assert!(unconfirmed.of(A).all.is_empty());
        assert_eq!(unconfirmed.of(B).all, [Forgotten::All]);
        let told = unconfirmed.of(B);
        unconfirmed.confirm(B, &told);
        assert!(unconfirmed.of(B).all.is_empty());
    }

    #[test]
    fn the_same_is_not_told_twice_and_is_as_new_as_the_last_of_it() {
        let unconfirmed = Unconfirmed::default();
        unconfirmed.add(&[A], &[tag("a"), tag("b")]);
        let told = unconfirmed.of(A);
        unconfirmed.add(&[A], &[tag("a")]);
        assert_eq!(unconfirmed.of(A).all, [tag("b"), tag("a")]);
        unconfirmed.confirm(A, &told);
        assert_eq!(unconfirmed.of(A).all, [tag("a")]);
        unconfirmed.add(&[A], &[Forgotten::All]);
        unconfirmed.add(&[A], &[tag("a")]);
        assert_eq!(unconfirmed.of(A).all, [Forgotten::All]);
    }

    #[test]
    fn long_names_become_everything_and_it_fits_into_a_question() {
        let unconfirmed = Unconfirmed::default();
        let long = |nth: usize| Forgotten::Tag(format!("{nth}{}", "x".repeat(60 << 10)));
        for nth in 0..4 {
            unconfirmed.add(&[A], &[long(nth)]);
        }
        assert_eq!(unconfirmed.of(A).all.len(), 4);
        unconfirmed.add(&[A], &[long(4)]);
        assert_eq!(unconfirmed.of(A).all, [Forgotten::All]);
    }

    #[test]
    fn a_node_learns_who_missed_the_same_after_a_write_of_this_one() {
        let unconfirmed = Unconfirmed::default();
        unconfirmed.add(&[A, B], &[tag("a")]);
        assert!(unconfirmed.missed_too(A, &unconfirmed.of(A)).is_empty());
        unconfirmed.note_missed(&[B], &[tag("a")]);
        unconfirmed.add(&[B], &[tag("a"), tag("b")]);
        assert_eq!(unconfirmed.missed_too(A, &unconfirmed.of(A)), [B]);
        assert!(unconfirmed.missed_too(B, &unconfirmed.of(B)).is_empty());
        let other = NodeId(3);
        unconfirmed.add(&[other], &[tag("b")]);
        assert!(unconfirmed.missed_too(other, &unconfirmed.of(other)).is_empty());
    }

    #[test]
    fn the_nodes_are_told_again_by_one_at_a_time_until_nothing_is_left() {
        let unconfirmed = Unconfirmed::default();
        assert!(!unconfirmed.begin());
        unconfirmed.add(&[A], &[tag("a")]);
        assert!(unconfirmed.begin() && !unconfirmed.begin());
        assert!(!unconfirmed.end() && !unconfirmed.begin());
        unconfirmed.confirm(A, &unconfirmed.of(A));
        assert!(unconfirmed.end());
        unconfirmed.add(&[A], &[tag("b")]);
        assert!(unconfirmed.begin());
    }
}
