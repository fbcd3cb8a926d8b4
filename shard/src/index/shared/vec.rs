//! Values by number.

use std::sync::Arc;

use super::ARC_BYTES;

const BITS: u32 = 4;
/// Children of a node.
const WIDTH: usize = 1 << BITS;

/// Values by number; those that were never set are the default.
///
/// A radix tree of 16 ways over leaves of `LEAF` values, a power of 2: few, unless values are small,
/// change rarely and are read in order. It grows with the greatest number used and never shrinks.
#[derive(Debug, Clone)]
pub(crate) struct SharedVec<T, const LEAF: usize = WIDTH> {
    root: Node<T, LEAF>,
    /// Levels of inner nodes.
    levels: u32,
}

#[derive(Debug, Clone)]
enum Node<T, const LEAF: usize> {
    Empty,
    Inner(Arc<[Self; WIDTH]>),
    Leaf(Arc<[T; LEAF]>),
}

impl<T, const LEAF: usize> Default for SharedVec<T, LEAF> {
    fn default() -> Self {
        Self { root: Node::Empty, levels: 0 }
    }
}

impl<T: Clone + Default, const LEAF: usize> SharedVec<T, LEAF> {
    const LEAF_BITS: u32 = LEAF.trailing_zeros();

    /// The child of a node `levels` above the leaves on the way to value `at`.
    const fn way(at: u32, levels: u32) -> usize {
        match levels.checked_sub(1) {
            None => at as usize % LEAF,
            Some(below) => (at >> (Self::LEAF_BITS + BITS * below)) as usize % WIDTH,
        }
    }

    /// The value at a number; `None` if nothing near it was ever set.
    pub(crate) fn get(&self, at: u32) -> Option<&T> {
        if self.is_beyond(at) {
            return None;
        }
        let (mut node, mut levels) = (&self.root, self.levels);
        loop {
            match node {
                Node::Empty => return None,
                Node::Leaf(values) => return values.get(Self::way(at, 0)),
                Node::Inner(children) => node = children.get(Self::way(at, levels))?,
            }
            levels = levels.saturating_sub(1);
        }
    }

    const fn is_beyond(&self, at: u32) -> bool {
        (at as u64) >> (Self::LEAF_BITS + BITS * self.levels) != 0
    }

    /// Changes the value at a number.
    pub(crate) fn change<R>(&mut self, at: u32, change: impl FnOnce(&mut T) -> R) -> Option<R> {
        while self.is_beyond(at) {
            let mut first = std::mem::replace(&mut self.root, Node::Empty);
            // The old root is the first child, and the others are empty.
            let children = std::array::from_fn(|_| std::mem::replace(&mut first, Node::Empty));
            self.root = Node::Inner(Arc::new(children));
            self.levels += 1;
        }
        let (mut node, mut levels) = (&mut self.root, self.levels);
        loop {
            if matches!(node, Node::Empty) {
                *node = if levels == 0 {
                    Node::Leaf(Arc::new(std::array::from_fn(|_| T::default())))
                } else {
                    Node::Inner(Arc::new(std::array::from_fn(|_| Node::Empty)))
                };
            }
            match node {
                Node::Empty => return None,
                Node::Leaf(values) => {
                    return Arc::make_mut(values).get_mut(Self::way(at, 0)).map(change);
                }
                Node::Inner(children) => {
                    node = Arc::make_mut(children).get_mut(Self::way(at, levels))?;
                }
            }
            levels = levels.saturating_sub(1);
        }
    }

    /// Shows all values near ones that were set, with their numbers, in their order.
    pub(crate) fn each<'a>(&'a self, visit: &mut impl FnMut(u32, &'a T)) {
        walk(&self.root, self.levels, 0, visit);
    }

    /// Bytes of all nodes, without what the values own elsewhere.
    pub(crate) fn bytes(&self) -> usize {
        node_bytes(&self.root)
    }
}

fn walk<'a, T, const LEAF: usize>(
    node: &'a Node<T, LEAF>,
    levels: u32,
    first: u32,
    visit: &mut impl FnMut(u32, &'a T),
) {
    match node {
        Node::Empty => {}
        Node::Leaf(values) => {
            (0..).zip(values.iter()).for_each(|(nth, value)| visit(first + nth, value));
        }
        Node::Inner(children) => {
            let below = levels.saturating_sub(1);
            let step = BITS * below + LEAF.trailing_zeros();
            for (nth, child) in (0..).zip(children.iter()) {
                walk(child, below, first + (nth << step), visit);
            }
        }
    }
}

fn node_bytes<T, const LEAF: usize>(node: &Node<T, LEAF>) -> usize {
    match node {
        Node::Empty => 0,
        Node::Leaf(_) => ARC_BYTES + LEAF * size_of::<T>(),
        Node::Inner(children) => {
            let own = ARC_BYTES + WIDTH * size_of::<Node<T, LEAF>>();
            own + children.iter().map(node_bytes).sum::<usize>()
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_clone_keeps_what_it_saw() {
        let mut numbers = SharedVec::<u32>::default();
        assert_eq!(numbers.get(0), None);
        for at in 0..5_000 {
            numbers.change(at, |it| *it = at + 1);
        }
        let kept = numbers.clone();
        numbers.change(17, |it| *it = 0);
        numbers.change(70_000, |it| *it = 9);
        assert_eq!((kept.get(17), kept.get(70_000)), (Some(&18), None));
        assert_eq!((numbers.get(17), numbers.get(4_999)), (Some(&0), Some(&5_000)));
        assert_eq!((numbers.get(70_000), numbers.get(70_001)), (Some(&9), Some(&0)));
        assert_eq!(numbers.get(60_000), None);
        numbers.change(u32::MAX, |it| *it = 3);
        assert_eq!((numbers.get(u32::MAX), numbers.get(1)), (Some(&3), Some(&2)));
    }

    #[test]
    fn values_are_shown_with_their_numbers() {
        shown_with_their_numbers::<16>();
        shown_with_their_numbers::<256>();
    }

    fn shown_with_their_numbers<const LEAF: usize>() {
        let mut numbers = SharedVec::<_, LEAF>::default();
        let used = [0_u32, 15, 16, 300, 65_536, 1 << 24, u32::MAX];
        for at in used {
            numbers.change(at, |it| *it = Some(at));
        }
        let mut shown = Vec::new();
        numbers.each(&mut |at, it| shown.extend(it.map(|value: u32| (at, value))));
        assert_eq!(shown, used.map(|at| (at, at)));
        assert!(used.iter().all(|at| numbers.get(*at) == Some(&Some(*at))));
        assert_eq!(numbers.get(1 << 25), None);
    }

    #[test]
    fn a_change_copies_one_path() {
        let mut numbers = SharedVec::<u32>::default();
        for at in 0..4_096 {
            numbers.change(at, |it| *it = at);
        }
        let kept = numbers.clone();
        numbers.change(1_000, |it| *it = 0);
        let (Node::Inner(old), Node::Inner(new)) = (&kept.root, &numbers.root) else {
            panic!("4,096 values are more than a leaf");
        };
        let same = |(old, new): (&Node<u32, WIDTH>, &Node<u32, WIDTH>)| match (old, new) {
            (Node::Inner(old), Node::Inner(new)) => Arc::ptr_eq(old, new),
            _ => false,
        };
        assert_eq!(old.iter().zip(new.iter()).filter(|pair| same(*pair)).count(), WIDTH - 1);
    }
}
