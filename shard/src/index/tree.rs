//! A sorted tree whose clones share what neither of them changes, with summaries of every subtree.
//!
//! A B+ tree: leaves hold runs of rows, inner nodes hold, per child, its first key and its *zone*
//! (bounds that let a reader skip it), and for themselves a *tally* (counts that let a reader take a
//! subtree as a whole). The writer changes its own tree; a clone of it is one count, and from then on
//! each change copies the nodes on the way to one leaf. Readers therefore keep a version as long as
//! they want and never wait.
//!
//! Why this and not a lock, or two copies: see the front page of the index.

use std::{fmt::Debug, sync::Arc};

/// Children of an inner node at most.
const CHILDREN_MAX: usize = 32;
/// Inner nodes with fewer are joined with a neighbour.
const CHILDREN_MIN: usize = 8;

/// A run of rows with ascending keys.
pub(super) trait Leaf: Clone + Default + Debug {
    /// What rows are sorted by; no two rows have the same.
    type Key: Ord + Clone + Debug;
    /// One change of one row.
    type Change;
    /// Bounds of a subtree.
    type Zone: Clone + Debug;
    /// Counts of a subtree.
    type Tally: Clone + Default + Debug;

    /// Rows.
    fn len(&self) -> usize;
    /// Whether it must be divided.
    fn is_full(&self) -> bool;
    /// Whether it and the leaf that follows are better one, which is then not full.
    fn joins(&self, next: &Self) -> bool;
    /// The first key; `None` without rows.
    fn first(&self) -> Option<Self::Key>;
    /// Makes a change; answers the position it was made at.
    fn change(&mut self, key: &Self::Key, change: &Self::Change) -> usize;
    /// Takes the rows from `at` on out.
    fn split_off(&mut self, at: usize) -> Self;
    /// Adds the rows of the leaf that follows.
    fn append(&mut self, next: Self);

    /// The bounds of this leaf.
    fn zone(&self) -> Self::Zone;
    /// Widens bounds for a change inside them; answers whether that was enough.
    fn extend(zone: &mut Self::Zone, key: &Self::Key, change: &Self::Change) -> bool;
    /// The bounds of several subtrees together.
    fn join<'a>(zones: impl Iterator<Item = &'a Self::Zone>) -> Self::Zone
    where
        Self::Zone: 'a;

    /// Adds the rows of this leaf to a tally.
    fn count(&self, tally: &mut Self::Tally);
    /// Adds one tally to another.
    fn add(tally: &mut Self::Tally, more: &Self::Tally);
    /// Keeps a tally true after a change below; `children` have it already.
    fn note(tally: &mut Self::Tally, change: &Self::Change, children: &[Child<Self>]);
}

/// A tree.
#[derive(Debug, Clone)]
pub(super) struct Tree<L: Leaf> {
    root: Node<L>,
}

/// A subtree.
#[derive(Debug, Clone)]
pub(super) enum Node<L: Leaf> {
    Leaf(Arc<L>),
    Inner(Arc<Inner<L>>),
}

/// A node of subtrees.
#[derive(Debug, Clone)]
pub(super) struct Inner<L: Leaf> {
    pub(super) children: Vec<Child<L>>,
    pub(super) tally: L::Tally,
}

/// A subtree in its parent.
#[derive(Debug, Clone)]
pub(super) struct Child<L: Leaf> {
    first: L::Key,
    pub(super) zone: L::Zone,
    pub(super) node: Node<L>,
}

impl<L: Leaf> Default for Tree<L> {
    fn default() -> Self {
        Self { root: Node::Leaf(Arc::default()) }
    }
}

impl<L: Leaf> Node<L> {
    fn len(&self) -> usize {
        match self {
            Self::Leaf(leaf) => leaf.len(),
            Self::Inner(inner) => inner.children.len(),
        }
    }

    fn first(&self) -> Option<L::Key> {
        match self {
            Self::Leaf(leaf) => leaf.first(),
            Self::Inner(inner) => inner.children.first().map(|child| child.first.clone()),
        }
    }

    fn zone(&self) -> L::Zone {
        match self {
            Self::Leaf(leaf) => leaf.zone(),
            Self::Inner(inner) => L::join(inner.children.iter().map(|child| &child.zone)),
        }
    }

    /// The subtree with its summary; `None` if it is empty.
    fn into_child(self) -> Option<Child<L>> {
        Some(Child { first: self.first()?, zone: self.zone(), node: self })
    }

    /// Makes a change below; answers what the subtree outgrew.
    fn change(&mut self, key: &L::Key, change: &L::Change) -> Option<Self> {
        match self {
            Self::Leaf(leaf) => {
                let leaf = Arc::make_mut(leaf);
                let at = leaf.change(key, change);
                let rows = leaf.len();
                if !leaf.is_full() {
                    return None;
                }
                // Keys that come in order leave full leaves behind.
                let keep = if at + 1 == rows { rows - rows / 8 } else { rows / 2 };
                Some(Self::Leaf(Arc::new(leaf.split_off(keep))))
            }
            Self::Inner(inner) => {
                let inner = Arc::make_mut(inner);
                inner.change(key, change);
                (inner.children.len() > CHILDREN_MAX).then(|| {
                    let rest = inner.children.split_off(inner.children.len() / 2);
                    inner.children.shrink_to(CHILDREN_MAX);
                    inner.tally = tally_of(&inner.children);
                    Self::inner(rest)
                })
            }
        }
    }

    fn inner(children: Vec<Child<L>>) -> Self {
        let tally = tally_of(&children);
        Self::Inner(Arc::new(Inner { children, tally }))
    }

    /// Whether two neighbours are better one node.
    fn joins(&self, next: &Self) -> bool {
        match (self, next) {
            (Self::Leaf(leaf), Self::Leaf(next)) => leaf.joins(next),
            (Self::Inner(_), Self::Inner(_)) => {
                let (here, there) = (self.len(), next.len());
                here.min(there) < CHILDREN_MIN && here + there <= CHILDREN_MAX * 3 / 4
            }
            (Self::Leaf(_), Self::Inner(_)) | (Self::Inner(_), Self::Leaf(_)) => false,
        }
    }

    /// Takes the next neighbour in; both are of one level.
    fn append(&mut self, next: Self) {
        match (self, next) {
            (Self::Leaf(leaf), Self::Leaf(next)) => {
                Arc::make_mut(leaf).append(Arc::unwrap_or_clone(next));
            }
            (Self::Inner(inner), Self::Inner(next)) => {
                let inner = Arc::make_mut(inner);
                let next = Arc::unwrap_or_clone(next);
                inner.children.extend(next.children);
                L::add(&mut inner.tally, &next.tally);
            }
            // Levels are never mixed: all leaves are equally deep.
            (Self::Leaf(_), Self::Inner(_)) | (Self::Inner(_), Self::Leaf(_)) => {}
        }
    }
}

fn tally_of<L: Leaf>(children: &[Child<L>]) -> L::Tally {
    let mut tally = L::Tally::default();
    for child in children {
        match &child.node {
            Node::Leaf(leaf) => leaf.count(&mut tally),
            Node::Inner(inner) => L::add(&mut tally, &inner.tally),
        }
    }
    tally
}

impl<L: Leaf> Inner<L> {
    /// Bytes of the node without its tally's.
    pub(super) fn bytes(&self) -> usize {
        size_of::<Self>()
            + 2 * size_of::<usize>()
            + self.children.capacity() * size_of::<Child<L>>()
    }

    /// The child that holds a key, or would.
    fn position(&self, key: &L::Key) -> usize {
        self.children.partition_point(|child| child.first <= *key).saturating_sub(1)
    }

    fn change(&mut self, key: &L::Key, change: &L::Change) {
        let at = self.position(key);
        let Some(child) = self.children.get_mut(at) else {
            return;
        };
        let rest = child.node.change(key, change).and_then(Node::into_child);
        match child.node.first() {
            Some(first) => {
                child.first = first;
                if rest.is_some() || !L::extend(&mut child.zone, key, change) {
                    child.zone = child.node.zone();
                }
            }
            None => drop(self.children.remove(at)),
        }
        if let Some(rest) = rest {
            self.children.insert(at + 1, rest);
        } else {
            self.join_at(at);
        }
        L::note(&mut self.tally, change, &self.children);
    }

    /// Joins a child that became small with a neighbour.
    fn join_at(&mut self, at: usize) {
        for left in [at, at.wrapping_sub(1)] {
            let Some([one, two]) = self.children.get(left..left.saturating_add(2)) else {
                continue;
            };
            if one.node.joins(&two.node) {
                let next = self.children.remove(left + 1);
                if let Some(child) = self.children.get_mut(left) {
                    child.node.append(next.node);
                    child.zone = child.node.zone();
                }
                return;
            }
        }
    }
}

impl<L: Leaf> Tree<L> {
    /// The whole.
    pub(super) const fn root(&self) -> &Node<L> {
        &self.root
    }

    /// Makes a change of the row with `key`.
    pub(super) fn change(&mut self, key: &L::Key, change: &L::Change) {
        if let Some(rest) = self.root.change(key, change) {
            let first = std::mem::replace(&mut self.root, Node::Leaf(Arc::default()));
            let halves = [first, rest].into_iter().filter_map(Node::into_child);
            self.root = Node::inner(halves.collect());
        }
        while let Node::Inner(inner) = &self.root {
            let lower = match inner.children.as_slice() {
                [] => Node::Leaf(Arc::default()),
                [only] => only.node.clone(),
                _ => break,
            };
            self.root = lower;
        }
    }

    /// The leaf that holds a key, or would.
    pub(super) fn leaf(&self, key: &L::Key) -> Option<&Arc<L>> {
        let mut node = &self.root;
        loop {
            match node {
                Node::Leaf(leaf) => return Some(leaf),
                Node::Inner(inner) => node = &inner.children.get(inner.position(key))?.node,
            }
        }
    }

    /// The first key from `key` on below which rows may be wanted: `key` itself if its leaf is, or the
    /// first one of a leaf. A lone leaf is always.
    pub(super) fn wanted(
        &self,
        key: &L::Key,
        is_wanted: &impl Fn(&L::Zone) -> bool,
    ) -> Option<L::Key> {
        fn below<L: Leaf>(
            inner: &Inner<L>,
            key: Option<&L::Key>,
            is_wanted: &impl Fn(&L::Zone) -> bool,
        ) -> Option<L::Key> {
            let at = key.map_or(0, |key| inner.position(key));
            for (nth, child) in inner.children.iter().skip(at).enumerate() {
                if !is_wanted(&child.zone) {
                    continue;
                }
                let key = key.filter(|_| nth == 0);
                let found = match &child.node {
                    Node::Leaf(_) => Some(key.unwrap_or(&child.first).clone()),
                    Node::Inner(inner) => below(inner, key, is_wanted),
                };
                if found.is_some() {
                    return found;
                }
            }
            None
        }
        match &self.root {
            Node::Leaf(_) => Some(key.clone()),
            Node::Inner(inner) => below(inner, Some(key), is_wanted),
        }
    }

    /// The leaves that hold the keys from `first` to `last`, or would, and the first key behind them.
    pub(super) fn run(&self, first: &L::Key, last: &L::Key) -> (Vec<&Arc<L>>, Option<&L::Key>) {
        fn below<'a, L: Leaf>(
            inner: &'a Inner<L>,
            first: Option<&L::Key>,
            last: &L::Key,
            leaves: &mut Vec<&'a Arc<L>>,
        ) -> Option<&'a L::Key> {
            let at = first.map_or(0, |first| inner.position(first));
            for (nth, child) in inner.children.iter().skip(at).enumerate() {
                let first = first.filter(|_| nth == 0);
                if first.is_none() && child.first > *last {
                    return Some(&child.first);
                }
                match &child.node {
                    Node::Leaf(leaf) => leaves.push(leaf),
                    Node::Inner(inner) => {
                        if let Some(behind) = below(inner, first, last, leaves) {
                            return Some(behind);
                        }
                    }
                }
            }
            None
        }
        let mut leaves = Vec::new();
        let behind = match &self.root {
            Node::Leaf(leaf) => {
                leaves.push(leaf);
                None
            }
            Node::Inner(inner) => below(inner, Some(first), last, &mut leaves),
        };
        (leaves, behind)
    }

    /// The last leaf.
    pub(super) fn last(&self) -> Option<&Arc<L>> {
        let mut node = &self.root;
        loop {
            match node {
                Node::Leaf(leaf) => return Some(leaf),
                Node::Inner(inner) => node = &inner.children.last()?.node,
            }
        }
    }

    /// The leaves with wanted zones in order, from the one on that holds `from`, or would. A lone leaf
    /// is always wanted.
    pub(super) fn leaves<W: Fn(&L::Zone) -> bool>(
        &self,
        from: Option<&L::Key>,
        is_wanted: W,
    ) -> Leaves<'_, L, W> {
        let mut leaves = Leaves { stack: Vec::new(), lone: None, is_wanted };
        let mut node = &self.root;
        if let Node::Leaf(leaf) = node {
            leaves.lone = Some(leaf);
        }
        // Each level's children from the one on that leads to `from`; that one comes off the next level.
        while let Node::Inner(inner) = node {
            let at = from.map_or(0, |key| inner.position(key));
            let Some(child) = inner.children.get(at) else {
                break;
            };
            let leads_to_leaf = matches!(child.node, Node::Leaf(_));
            let behind = if leads_to_leaf { at } else { at + 1 };
            leaves.stack.push(inner.children.get(behind..).unwrap_or_default().iter());
            node = &child.node;
        }
        leaves
    }

    /// All leaves and inner nodes, for accounts of memory.
    pub(super) fn sizes(&self, leaf: &mut dyn FnMut(&L), inner: &mut dyn FnMut(&Inner<L>)) {
        fn walk<L: Leaf>(
            node: &Node<L>,
            leaf: &mut dyn FnMut(&L),
            inner: &mut dyn FnMut(&Inner<L>),
        ) {
            match node {
                Node::Leaf(it) => leaf(it),
                Node::Inner(it) => {
                    inner(it);
                    for child in &it.children {
                        walk(&child.node, leaf, inner);
                    }
                }
            }
        }
        walk(&self.root, leaf, inner);
    }
}

/// Leaves in order.
#[derive(Debug)]
pub(super) struct Leaves<'a, L: Leaf, W> {
    stack: Vec<std::slice::Iter<'a, Child<L>>>,
    /// The root, if it is a leaf.
    lone: Option<&'a Arc<L>>,
    is_wanted: W,
}

impl<'a, L: Leaf, W: Fn(&L::Zone) -> bool> Iterator for Leaves<'a, L, W> {
    type Item = &'a L;

    fn next(&mut self) -> Option<&'a L> {
        if let Some(leaf) = self.lone.take() {
            return Some(leaf);
        }
        loop {
            let Some(child) = self.stack.last_mut()?.next() else {
                self.stack.pop();
                continue;
            };
            if !(self.is_wanted)(&child.zone) {
                continue;
            }
            match &child.node {
                Node::Leaf(leaf) => return Some(leaf),
                Node::Inner(inner) => self.stack.push(inner.children.iter()),
            }
        }
    }
}
