//! Whom to ask, one after the other.

use hexpop_edge_config::NodeId;

/// The one that answers as a rule, and then the others, whose order is worked out only when it did not:
/// that looks at members, breakers and round trips, which most requests need not pay for.
pub(super) struct Order<F> {
    /// Whom to ask next, before the others.
    first: Option<NodeId>,
    /// Who was asked before the others, and is not asked again.
    asked: Option<NodeId>,
    others: Others<F>,
}

enum Others<F> {
    /// Whether there are any, and their order.
    Unordered(bool, Option<F>),
    Ordered(std::vec::IntoIter<NodeId>),
}

impl<F: FnOnce() -> Vec<NodeId>> Order<F> {
    /// `order` may name `first` again; `has_others` says whether it will name anybody else.
    pub(super) fn new(first: Option<NodeId>, has_others: bool, order: F) -> Self {
        Self { first, asked: first, others: Others::Unordered(has_others, Some(order)) }
    }

    /// Whether there is somebody left to ask.
    pub(super) fn has_more(&self) -> bool {
        self.first.is_some()
            || match &self.others {
                Others::Unordered(has_others, _order) => *has_others,
                Others::Ordered(nodes) => nodes.len() > 0,
            }
    }
}

impl<F: FnOnce() -> Vec<NodeId>> Iterator for Order<F> {
    type Item = NodeId;

    fn next(&mut self) -> Option<NodeId> {
        if let Some(first) = self.first.take() {
            return Some(first);
        }
        if let Others::Unordered(_has_others, order) = &mut self.others {
            let mut nodes = order.take().map(|order| order()).unwrap_or_default();
            nodes.retain(|node| Some(*node) != self.asked);
            self.others = Others::Ordered(nodes.into_iter());
        }
        match &mut self.others {
            Others::Ordered(nodes) => nodes.next(),
            Others::Unordered(..) => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;

    use super::*;

    #[test]
    fn the_others_are_ordered_only_when_the_first_was_not_enough() {
        let ordered = Cell::new(0);
        let order = || {
            ordered.set(ordered.get() + 1);
            vec![NodeId(3), NodeId(1), NodeId(2)]
        };
        let mut nodes = Order::new(Some(NodeId(1)), true, order);
        assert_eq!(nodes.next(), Some(NodeId(1)));
        assert!(nodes.has_more());
        assert_eq!(ordered.get(), 0);
        assert_eq!(nodes.next(), Some(NodeId(3)));
        assert_eq!(nodes.next(), Some(NodeId(2)));
        assert!(!nodes.has_more());
        assert_eq!(nodes.next(), None);
        assert_eq!(ordered.get(), 1);
    }

    #[test]
    fn without_a_first_one_the_order_is_that_of_the_others() {
        let nodes = Order::new(None, true, || vec![NodeId(2), NodeId(1)]);
        assert_eq!(nodes.collect::<Vec<_>>(), [NodeId(2), NodeId(1)]);
    }
}
