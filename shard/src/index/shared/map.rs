//! Values by key, sorted.

use std::{borrow::Borrow, sync::Arc};

use super::{ARC_BYTES, room_for_one, take_out};

/// Entries of a node at most.
const ENTRIES_MAX: usize = 32;
/// Nodes with fewer are joined with a neighbour, if the two fit well into one.
const ENTRIES_MIN: usize = 8;

/// Values by key, sorted: a B+ tree.
#[derive(Debug, Clone)]
pub(in crate::index) struct SharedMap<K, V> {
    root: Node<K, V>,
}

#[derive(Debug, Clone)]
enum Node<K, V> {
    Leaf(Arc<Vec<(K, V)>>),
    /// Children, each with a bound: above the keys of the child before, not above its own. That of
    /// the first child is not looked at.
    Inner(Arc<Vec<(K, Self)>>),
}

impl<K, V> Default for Node<K, V> {
    fn default() -> Self {
        Self::Leaf(Arc::default())
    }
}

impl<K, V> Default for SharedMap<K, V> {
    fn default() -> Self {
        Self { root: Node::default() }
    }
}

/// Where a key stands among sorted entries, or would.
fn search<K: Borrow<Q>, T, Q: Ord + ?Sized>(entries: &[(K, T)], key: &Q) -> Result<usize, usize> {
    entries.binary_search_by(|(it, _)| it.borrow().cmp(key))
}

/// The child that holds a key, or would.
fn way<K: Borrow<Q>, T, Q: Ord + ?Sized>(children: &[(K, T)], key: &Q) -> usize {
    search(children, key).unwrap_or_else(|at| at.saturating_sub(1))
}

impl<K: Ord + Clone, V: Clone> Node<K, V> {
    fn len(&self) -> usize {
        match self {
            Self::Leaf(entries) => entries.len(),
            Self::Inner(children) => children.len(),
        }
    }

    fn get<Q: Ord + ?Sized>(&self, key: &Q) -> Option<&V>
    where
        K: Borrow<Q>,
    {
        let mut node = self;
        loop {
            match node {
                Self::Leaf(entries) => {
                    return entries.get(search(entries, key).ok()?).map(|(_, value)| value);
                }
                Self::Inner(children) => node = children.get(way(children, key)).map(|it| &it.1)?,
            }
        }
    }

    /// Stores a value; answers the one it replaces, and what the node outgrew.
    fn insert(&mut self, key: K, value: V) -> (Option<V>, Option<(K, Self)>) {
        match self {
            Self::Leaf(entries) => match search(entries, &key) {
                Ok(at) => {
                    let slot = Arc::make_mut(entries).get_mut(at);
                    (slot.map(|(_, old)| std::mem::replace(old, value)), None)
                }
                Err(at) => {
                    let entries = room_for_one(entries);
                    entries.insert(at, (key, value));
                    let rest = outgrown(entries, at);
                    (None, rest.and_then(|rest| child(Self::Leaf(Arc::new(rest)))))
                }
            },
            Self::Inner(children) => {
                let at = way(children, &key);
                let children = Arc::make_mut(children);
                let Some((_, below)) = children.get_mut(at) else {
                    return (None, None);
                };
                let (old, rest) = below.insert(key, value);
                let Some(rest) = rest else {
                    return (old, None);
                };
                children.insert(at + 1, rest);
                let rest = outgrown(children, at + 1);
                (old, rest.and_then(|rest| child(Self::Inner(Arc::new(rest)))))
            }
        }
    }

    /// Takes the value of a key that is there out.
    fn remove<Q: Ord + ?Sized>(&mut self, key: &Q) -> Option<V>
    where
        K: Borrow<Q>,
    {
        match self {
            Self::Leaf(entries) => {
                let at = search(entries, key).ok()?;
                take_out(entries, at).map(|(_, value)| value)
            }
            Self::Inner(children) => {
                let at = way(children, key);
                let children = Arc::make_mut(children);
                let (_, below) = children.get_mut(at)?;
                let value = below.remove(key);
                if below.len() == 0 {
                    children.remove(at);
                } else if below.len() < ENTRIES_MIN {
                    join(children, at);
                }
                value
            }
        }
    }

    /// Takes the next neighbour in, whose keys begin at `bound`; both are of one level.
    fn append(&mut self, next: Self, bound: K) {
        match (self, next) {
            (Self::Leaf(entries), Self::Leaf(more)) => {
                Arc::make_mut(entries).extend(Arc::unwrap_or_clone(more));
            }
            (Self::Inner(children), Self::Inner(more)) => {
                let mut more = Arc::unwrap_or_clone(more);
                // Its first child may have keys below its own: so far nothing came before it.
                if let Some((first, _)) = more.first_mut() {
                    *first = bound;
                }
                Arc::make_mut(children).extend(more);
            }
            // Levels are never mixed: all leaves are equally deep.
            (Self::Leaf(_), Self::Inner(_)) | (Self::Inner(_), Self::Leaf(_)) => {}
        }
    }

    fn bytes(&self) -> usize {
        let own = ARC_BYTES + size_of::<Vec<(K, V)>>();
        match self {
            Self::Leaf(entries) => own + entries.capacity() * size_of::<(K, V)>(),
            Self::Inner(children) => {
                let below: usize = children.iter().map(|(_, below)| below.bytes()).sum();
                own + children.capacity() * size_of::<(K, Self)>() + below
            }
        }
    }
}

/// Takes out of a node what is too much for it after an insertion at `at`.
fn outgrown<T>(entries: &mut Vec<T>, at: usize) -> Option<Vec<T>> {
    if entries.len() <= ENTRIES_MAX {
        return None;
    }
    // Keys that come in order leave full nodes behind.
    let keep = if at + 1 == entries.len() { at } else { entries.len() / 2 };
    let rest = entries.split_off(keep);
    entries.shrink_to_fit();
    Some(rest)
}

/// A node as a child, with its first key; `None` if it is empty.
fn child<K: Clone, V>(node: Node<K, V>) -> Option<(K, Node<K, V>)> {
    let key = match &node {
        Node::Leaf(entries) => entries.first().map(|(key, _)| key.clone()),
        Node::Inner(children) => children.first().map(|(key, _)| key.clone()),
    };
    key.map(|key| (key, node))
}

/// Joins a child that became small with a neighbour.
fn join<K: Ord + Clone, V: Clone>(children: &mut Vec<(K, Node<K, V>)>, at: usize) {
    for left in [at, at.wrapping_sub(1)] {
        let Some([(_, one), (_, two)]) = children.get(left..left.saturating_add(2)) else {
            continue;
        };
        if one.len() + two.len() <= ENTRIES_MAX * 3 / 4 {
            let (bound, next) = children.remove(left + 1);
            if let Some((_, joined)) = children.get_mut(left) {
                joined.append(next, bound);
            }
            return;
        }
    }
}

impl<K: Ord + Clone, V: Clone> SharedMap<K, V> {
    /// The value of a key.
    pub(in crate::index) fn get<Q: Ord + ?Sized>(&self, key: &Q) -> Option<&V>
    where
        K: Borrow<Q>,
    {
        self.root.get(key)
    }

    /// The value of a key, to be changed. Copies nothing if there is none.
    pub(in crate::index) fn get_mut<Q: Ord + ?Sized>(&mut self, key: &Q) -> Option<&mut V>
    where
        K: Borrow<Q>,
    {
        self.get(key)?;
        let mut node = &mut self.root;
        loop {
            match node {
                Node::Leaf(entries) => {
                    let at = search(entries, key).ok()?;
                    return Arc::make_mut(entries).get_mut(at).map(|(_, value)| value);
                }
                Node::Inner(children) => {
                    let at = way(children, key);
                    node = &mut Arc::make_mut(children).get_mut(at)?.1;
                }
            }
        }
    }

    /// Stores a value; answers the one it replaces.
    pub(in crate::index) fn insert(&mut self, key: K, value: V) -> Option<V> {
        let (old, rest) = self.root.insert(key, value);
        if let Some(rest) = rest {
            let halves = [child(std::mem::take(&mut self.root)), Some(rest)];
            self.root = Node::Inner(Arc::new(halves.into_iter().flatten().collect()));
        }
        old
    }

    /// Takes a value out. Copies nothing if there is none.
    pub(in crate::index) fn remove<Q: Ord + ?Sized>(&mut self, key: &Q) -> Option<V>
    where
        K: Borrow<Q>,
    {
        self.get(key)?;
        let value = self.root.remove(key);
        while let Node::Inner(children) = &self.root {
            self.root = match children.as_slice() {
                [] => Node::default(),
                [(_, only)] => only.clone(),
                _ => break,
            };
        }
        value
    }

    /// The entries in order, without the first ones, of whose keys `before` is true.
    pub(in crate::index) fn from(&self, before: impl Fn(&K) -> bool) -> Entries<'_, K, V> {
        let mut above = Vec::new();
        let mut node = &self.root;
        loop {
            match node {
                Node::Leaf(entries) => {
                    let at = entries.partition_point(|(key, _)| before(key));
                    let leaf = entries.get(at..).unwrap_or_default().iter();
                    return Entries { above, leaf };
                }
                Node::Inner(children) => {
                    // The child before the first that begins too late may have the first entry.
                    let at = children.partition_point(|(bound, _)| before(bound)).saturating_sub(1);
                    let mut rest = children.get(at..).unwrap_or_default().iter();
                    let Some((_, below)) = rest.next() else {
                        return Entries { above, leaf: [].iter() };
                    };
                    above.push(rest);
                    node = below;
                }
            }
        }
    }

    /// Bytes of all nodes, without what keys and values own elsewhere.
    pub(in crate::index) fn bytes(&self) -> usize {
        self.root.bytes()
    }
}

/// Entries in the order of their keys.
#[derive(Debug)]
pub(in crate::index) struct Entries<'a, K, V> {
    /// What is left of the nodes above the leaf, the root's first.
    above: Vec<std::slice::Iter<'a, (K, Node<K, V>)>>,
    leaf: std::slice::Iter<'a, (K, V)>,
}

impl<'a, K, V> Iterator for Entries<'a, K, V> {
    type Item = (&'a K, &'a V);

    fn next(&mut self) -> Option<(&'a K, &'a V)> {
        loop {
            if let Some((key, value)) = self.leaf.next() {
                return Some((key, value));
            }
            match self.above.last_mut()?.next() {
                None => drop(self.above.pop()),
                Some((_, Node::Leaf(entries))) => self.leaf = entries.iter(),
                Some((_, Node::Inner(children))) => self.above.push(children.iter()),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use proptest::prelude::*;

    use super::*;

    fn depth<K, V>(node: &Node<K, V>) -> usize {
        match node {
            Node::Leaf(_) => 0,
            Node::Inner(children) => {
                let depths: Vec<_> = children.iter().map(|(_, below)| depth(below)).collect();
                assert!(depths.windows(2).all(|pair| pair[0] == pair[1]));
                assert!(children.len() <= ENTRIES_MAX);
                1 + depths[0]
            }
        }
    }

    fn same(map: &SharedMap<u32, u32>, model: &BTreeMap<u32, u32>) {
        assert!(map.from(|_| false).eq(model.iter()));
    }

    proptest! {
        #![proptest_config(ProptestConfig { cases: 60, failure_persistence: None, ..ProptestConfig::default() })]

        #[test]
        fn it_is_a_sorted_map_and_clones_keep_what_they_saw(
            changes in prop::collection::vec((0..10_u8, 0..6_000_u32), 0..12_000),
            range in 1..6_000_u32,
        ) {
            let (mut map, mut model) = (SharedMap::default(), BTreeMap::new());
            let mut kept = Vec::new();
            for (nth, (kind, key)) in (0..).zip(changes) {
                // It grows and shrinks by turns, from one end or anywhere.
                let turn = nth / 2_000 % 4;
                let key = if turn < 2 { key % range } else { key % range / 8 + nth % 2_000 / 4 };
                match kind {
                    0..8 if (turn % 2 == 0) == (kind < 7) => {
                        assert_eq!(map.insert(key, nth), model.insert(key, nth));
                    }
                    0..8 => assert_eq!(map.remove(&key), model.remove(&key)),
                    _ => {
                        let (value, wanted) = (map.get_mut(&key), model.get_mut(&key));
                        assert_eq!(value, wanted);
                        map.get_mut(&key).into_iter().for_each(|it| *it += 1);
                        model.get_mut(&key).into_iter().for_each(|it| *it += 1);
                    }
                }
                if nth % 500 == 0 {
                    kept.push((map.clone(), model.clone()));
                }
            }
            for (map, model) in kept.iter().chain([&(map, model)]) {
                same(map, model);
                depth(&map.root);
                for key in [0, range / 2, range] {
                    assert!(map.from(|it| *it < key).eq(model.range(key..)));
                    assert_eq!(map.get(&key), model.get(&key));
                }
            }
        }
    }

    #[test]
    fn keys_below_the_first_of_a_node_are_found_after_it_was_joined() {
        let mut map = SharedMap::default();
        for key in (0..40_000_u32).step_by(10) {
            map.insert(key, key);
        }
        // The first leaf of the second inner node goes, and a key of its range comes again.
        let second = 32 * 32 * 10;
        for key in (second..second + 320).step_by(10) {
            map.remove(&key);
        }
        map.insert(second + 5, 0);
        // Both inner nodes become small enough to be one.
        for key in (3_200..second).chain(second + 1_000..20_480).filter(|key| key % 10 == 0) {
            map.remove(&key);
        }
        assert_eq!(map.get(&(second + 5)), Some(&0));
        assert_eq!(map.from(|it| *it < second + 5).next(), Some((&(second + 5), &0)));
    }

    #[test]
    fn it_empties_and_stays_shallow() {
        let mut map = SharedMap::default();
        for key in 0..10_000_u32 {
            map.insert(key, key);
        }
        // Keys in order fill their nodes: 10,000 / 32 leaves need one level more than 32 children.
        assert_eq!(depth(&map.root), 2);
        for key in (0..10_000).filter(|key| key % 100 != 0) {
            map.remove(&key);
        }
        assert!(map.bytes() < 100 * 200, "{} bytes for 100 entries", map.bytes());
        for key in (0..10_000).step_by(100) {
            assert_eq!(map.remove(&key), Some(key));
        }
        assert_eq!((map.from(|_| false).count(), depth(&map.root)), (0, 0));
    }
}
