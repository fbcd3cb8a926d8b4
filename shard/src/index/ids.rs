//! Ids in their order, and the row of each.
//!
//! Every run of ids knows which listing types searches find among it: ids often begin with a source or
//! a place, and a walk in their order would otherwise pass thousands that it does not want.

use super::{
    Row,
    column::{Texts, insert, remove},
    tree::{self, Child, Tree},
};

/// Ids in a leaf at most.
const IDS_MAX: usize = 128;

/// Bytes of ids in a leaf at which it is divided.
const BYTES_MAX: usize = 60_000;

/// A row, and the listing type that searches find it as: 30 bits and 2.
///
/// A shard splits long before it has 2^30 rows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Slot(u32);

impl Slot {
    const TYPE_BITS: u32 = 2;
    const TYPE_MASK: u32 = (1 << Self::TYPE_BITS) - 1;
    /// In place of a listing type: searches do not find it.
    const NOT_FOUND: u32 = Self::TYPE_MASK;

    pub(super) fn new(row: Row, found_as: Option<usize>) -> Self {
        let listing_type = found_as.and_then(|it| u32::try_from(it).ok());
        Self(row << Self::TYPE_BITS | listing_type.unwrap_or(Self::NOT_FOUND) & Self::TYPE_MASK)
    }

    pub(super) const fn row(self) -> Row {
        self.0 >> Self::TYPE_BITS
    }

    /// The bit of the listing type it is found as, or none.
    const fn types(self) -> TypeSet {
        let bit = 1 << (self.0 & Self::TYPE_MASK);
        TypeSet(bit & !(1 << Self::NOT_FOUND))
    }
}

/// Listing types, one bit each.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) struct TypeSet(u8);

impl TypeSet {
    const fn only(listing_type: u8) -> Self {
        Self(1 << (listing_type & 7))
    }

    const fn meets(self, other: Self) -> bool {
        self.0 & other.0 != 0
    }

    const fn and(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }
}

/// A change of one id.
#[derive(Debug)]
pub(super) enum Change {
    /// It comes, with its row.
    Insert(Slot),
    /// Searches find it as something else from now on.
    Turn(Slot),
    /// It goes.
    Remove,
}

/// A run of ids. What they all begin with is kept once: ids of one source differ at their ends.
#[derive(Debug, Clone, Default)]
pub(super) struct IdLeaf {
    prefix: Vec<u8>,
    rest: Texts,
    rows: Vec<Slot>,
}

impl IdLeaf {
    /// The id at a place.
    fn id(&self, at: usize) -> String {
        let bytes = [&self.prefix, self.rest.get(at)].concat();
        // What was put in were texts.
        String::from_utf8(bytes).unwrap_or_default()
    }

    /// Where an id stands, or would.
    fn search(&self, id: &str) -> Result<usize, usize> {
        let common = id.len().min(self.prefix.len());
        let (head, tail) = id.as_bytes().split_at_checked(common).unwrap_or_default();
        match head.cmp(self.prefix.get(..common).unwrap_or_default()) {
            std::cmp::Ordering::Less => return Err(0),
            std::cmp::Ordering::Greater => return Err(self.rows.len()),
            // It is a part of the prefix, hence before all that have it whole.
            std::cmp::Ordering::Equal if common < self.prefix.len() => return Err(0),
            std::cmp::Ordering::Equal => {}
        }
        let (mut low, mut high) = (0, self.rows.len());
        while low < high {
            let middle = usize::midpoint(low, high);
            match self.rest.get(middle).cmp(tail) {
                std::cmp::Ordering::Less => low = middle + 1,
                std::cmp::Ordering::Equal => return Ok(middle),
                std::cmp::Ordering::Greater => high = middle,
            }
        }
        Err(low)
    }

    /// The first place behind an id; 0 without one.
    fn behind(&self, id: Option<String>) -> usize {
        id.map_or(0, |id| match self.search(&id) {
            Ok(at) => at + 1,
            Err(at) => at,
        })
    }

    /// The leaf of ascending ids.
    fn of<'a>(ids: impl Iterator<Item = (&'a [u8], Slot)> + Clone) -> Self {
        let first = ids.clone().next().map_or(&[][..], |(id, _)| id);
        let last = ids.clone().last().map_or(&[][..], |(id, _)| id);
        let common = first.iter().zip(last).take_while(|(a, b)| a == b).count();
        let bytes = ids.clone().map(|(id, _)| id.len() - common.min(id.len())).sum();
        let count = ids.clone().count();
        let mut leaf = Self {
            prefix: first.get(..common).unwrap_or_default().to_vec(),
            rest: Texts::with_capacity(count, bytes),
            rows: Vec::with_capacity(count),
        };
        for (id, row) in ids {
            leaf.rest.push(id.get(common..).unwrap_or_default());
            leaf.rows.push(row);
        }
        leaf
    }

    fn all(&self) -> Vec<(Vec<u8>, Slot)> {
        let rows = self.rows.iter().enumerate();
        rows.map(|(at, row)| ([&self.prefix, self.rest.get(at)].concat(), *row)).collect()
    }

    fn rebuild(&mut self, ids: &[(Vec<u8>, Slot)]) {
        *self = Self::of(ids.iter().map(|(id, row)| (id.as_slice(), *row)));
    }

    fn insert(&mut self, at: usize, id: &str, row: Slot) {
        let Some(rest) = id.as_bytes().strip_prefix(self.prefix.as_slice()) else {
            let mut ids = self.all();
            ids.insert(at.min(ids.len()), (id.as_bytes().to_vec(), row));
            return self.rebuild(&ids);
        };
        self.rest.insert(at, rest);
        insert(&mut self.rows, at, row);
    }

    fn remove(&mut self, at: usize) {
        self.rest.remove(at);
        remove(&mut self.rows, at);
    }
}

impl tree::Leaf for IdLeaf {
    type Key = Box<str>;
    type Change = Change;
    type Zone = TypeSet;
    type Tally = ();

    fn len(&self) -> usize {
        self.rows.len()
    }

    fn is_full(&self) -> bool {
        // The prefix counts: it may have to be given up.
        self.rows.len() > IDS_MAX
            || self.rest.text_bytes() + self.rows.len() * self.prefix.len() > BYTES_MAX
    }

    fn joins(&self, next: &Self) -> bool {
        let (here, there) = (self.rows.len(), next.rows.len());
        let bytes = |leaf: &Self| leaf.rest.text_bytes() + leaf.rows.len() * leaf.prefix.len();
        here.min(there) < IDS_MAX / 4
            && here + there <= IDS_MAX * 3 / 4
            && bytes(self) + bytes(next) <= BYTES_MAX / 2
    }

    fn first(&self) -> Option<Box<str>> {
        (!self.rows.is_empty()).then(|| self.id(0).into())
    }

    fn change(&mut self, id: &Box<str>, change: &Change) -> usize {
        match (self.search(id), change) {
            (Err(at), Change::Insert(row)) => {
                if self.rows.is_empty() {
                    self.rebuild(&[(id.as_bytes().to_vec(), *row)]);
                } else {
                    self.insert(at, id, *row);
                }
                at
            }
            (Ok(at), Change::Insert(row) | Change::Turn(row)) => {
                if let Some(slot) = self.rows.get_mut(at) {
                    *slot = *row;
                }
                at
            }
            (Ok(at), Change::Remove) => {
                self.remove(at);
                at
            }
            (Err(at), Change::Turn(_) | Change::Remove) => at,
        }
    }

    fn split_off(&mut self, at: usize) -> Self {
        let mut ids = self.all();
        let rest = ids.split_off(at.min(ids.len()));
        self.rebuild(&ids);
        let mut next = Self::default();
        next.rebuild(&rest);
        next
    }

    fn append(&mut self, next: Self) {
        let mut ids = self.all();
        ids.extend(next.all());
        self.rebuild(&ids);
    }

    fn zone(&self) -> TypeSet {
        self.rows.iter().fold(TypeSet::default(), |all, slot| all.and(slot.types()))
    }

    fn extend(zone: &mut TypeSet, _id: &Box<str>, change: &Change) -> bool {
        match change {
            Change::Insert(slot) => *zone = zone.and(slot.types()),
            Change::Turn(_) | Change::Remove => return false,
        }
        true
    }

    fn join<'a>(zones: impl Iterator<Item = &'a TypeSet>) -> TypeSet {
        zones.fold(TypeSet::default(), |all, zone| all.and(*zone))
    }

    fn count(&self, (): &mut ()) {}

    fn add((): &mut (), (): &()) {}

    fn note((): &mut (), _change: &Change, _children: &[Child<Self>]) {}
}

/// All ids of a shard.
#[derive(Debug, Clone, Default)]
pub(super) struct Ids {
    tree: Tree<IdLeaf>,
    len: usize,
}

impl Ids {
    pub(super) const fn len(&self) -> usize {
        self.len
    }

    /// The row of an id.
    pub(super) fn row(&self, id: &str) -> Option<Row> {
        self.slot(id).map(Slot::row)
    }

    /// The row of an id, and what searches find it as.
    pub(super) fn slot(&self, id: &str) -> Option<Slot> {
        let leaf = self.tree.leaf(&Box::from(id))?;
        leaf.rows.get(leaf.search(id).ok()?).copied()
    }

    /// Adds an id that is not there.
    pub(super) fn insert(&mut self, id: &str, slot: Slot) {
        self.tree.change(&Box::from(id), &Change::Insert(slot));
        self.len += 1;
    }

    /// Notes what searches find an id as, which is there.
    pub(super) fn turn(&mut self, id: &str, to: Slot) {
        if self.slot(id).is_some_and(|slot| slot != to) {
            self.tree.change(&Box::from(id), &Change::Turn(to));
        }
    }

    /// Takes an id that is there away.
    pub(super) fn remove(&mut self, id: &str) {
        self.tree.change(&Box::from(id), &Change::Remove);
        self.len = self.len.saturating_sub(1);
    }

    /// Ids and rows in the order of ids, behind `after`.
    pub(super) fn after<'a>(
        &'a self,
        after: Option<&str>,
    ) -> impl Iterator<Item = (String, Row)> + use<'a> {
        let start = after.map(Box::from);
        let mut from = after.map(ToOwned::to_owned);
        self.tree.leaves(start.as_ref(), |_| true).flat_map(move |leaf| {
            let rows = leaf.rows.iter().enumerate().skip(leaf.behind(from.take()));
            rows.map(|(at, slot)| (leaf.id(at), slot.row())).collect::<Vec<_>>()
        })
    }

    /// The rows that searches for a listing type find, in the order of ids, behind `after`.
    pub(super) fn found_after<'a>(
        &'a self,
        after: Option<&str>,
        listing_type: u8,
    ) -> impl Iterator<Item = Row> + use<'a> {
        let wanted = TypeSet::only(listing_type);
        let start = after.map(Box::from);
        let mut from = after.map(ToOwned::to_owned);
        let leaves = self.tree.leaves(start.as_ref(), move |zone| zone.meets(wanted));
        leaves.flat_map(move |leaf| {
            let rows = leaf.rows.iter().skip(leaf.behind(from.take()));
            rows.filter(move |slot| slot.types().meets(wanted)).map(|slot| slot.row())
        })
    }

    /// Bytes that all ids begin with.
    pub(super) fn common_prefix(&self) -> usize {
        let first = self.tree.leaves(None, |_| true).next();
        let last = self.tree.last();
        let (Some(first), Some(last)) = (first, last) else {
            return 0;
        };
        let (first, last) = (first.id(0), last.id(last.rows.len().saturating_sub(1)));
        first.bytes().zip(last.bytes()).take_while(|(a, b)| a == b).count()
    }

    /// Bytes of memory.
    pub(super) fn bytes(&self) -> usize {
        let mut bytes = 0;
        let mut inner = 0;
        self.tree.sizes(
            &mut |leaf| {
                bytes += size_of::<IdLeaf>() + 16 + leaf.prefix.capacity();
                bytes += leaf.rest.bytes() + leaf.rows.capacity() * 4;
            },
            &mut |node| inner += node.bytes() + node.children.capacity() * 24,
        );
        bytes + inner
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn ids_are_a_sorted_map(
            changes in prop::collection::vec(
                ("(lst_|a|é)?[a-c0-9]{0,4}", 0..5_u8, prop::option::of(0..3_usize)),
                0..1_500,
            ),
            after in "[a-z0-9_]{0,5}",
        ) {
            let (mut ids, mut model) = (Ids::default(), BTreeMap::new());
            let mut kept = Vec::new();
            for (row, (id, what, found_as)) in (0_u32..).zip(changes) {
                let known: Option<(Row, Option<usize>)> = model.get(&id).copied();
                match (what, known) {
                    (0, Some(_)) => {
                        ids.remove(&id);
                        model.remove(&id);
                    }
                    (_, Some((row, _))) => {
                        ids.turn(&id, Slot::new(row, found_as));
                        model.insert(id, (row, found_as));
                    }
                    (_, None) => {
                        ids.insert(&id, Slot::new(row, found_as));
                        model.insert(id, (row, found_as));
                    }
                }
                if row == 700 {
                    kept = vec![(ids.clone(), model.clone())];
                }
            }
            kept.push((ids, model));
            for (ids, model) in kept {
                prop_assert_eq!(ids.len(), model.len());
                let all: Vec<_> = ids.after(None).collect();
                let expected: Vec<_> =
                    model.iter().map(|(id, (row, _))| (id.clone(), *row)).collect();
                prop_assert_eq!(&all, &expected);
                for listing_type in 0..3_u8 {
                    let found: Vec<_> = ids.found_after(Some(&after), listing_type).collect();
                    let wanted = Some(usize::from(listing_type));
                    let expected: Vec<_> = model
                        .iter()
                        .filter(|(id, (_, found_as))| **id > after && *found_as == wanted)
                        .map(|(_, (row, _))| *row)
                        .collect();
                    prop_assert_eq!(found, expected);
                }
                for (id, (row, _)) in &model {
                    prop_assert_eq!(ids.row(id), Some(*row));
                }
                prop_assert_eq!(ids.row("nowhere"), None);
            }
        }
    }

    #[test]
    fn a_walk_passes_over_runs_without_the_wanted_type() {
        let mut ids = Ids::default();
        let number = |row: Row| format!("{}{row:06}", if row < 50_000 { "rent-" } else { "sale-" });
        for row in 0..50_010 {
            let found_as = usize::from(row < 50_000);
            ids.insert(&number(row), Slot::new(row, Some(found_as)));
        }
        let sales = TypeSet::only(0);
        let passed = ids.tree.leaves(None, |zone| zone.meets(sales)).count();
        assert!(passed <= 2, "{passed}");
        // What is no longer found is passed over, too.
        for row in 50_000..50_010 {
            ids.turn(&number(row), Slot::new(row, None));
        }
        assert_eq!(ids.tree.leaves(None, |zone| zone.meets(sales)).count(), 0);
        assert_eq!(ids.found_after(None, 0).count(), 0);
        assert_eq!(ids.found_after(None, 1).count(), 50_000);
    }

    #[test]
    fn long_ids_divide_leaves_by_bytes() {
        let mut ids = Ids::default();
        for row in 0..400 {
            ids.insert(&format!("{}{row:03}", "é".repeat(125)), Slot::new(row, None));
        }
        ids.insert("a", Slot::new(400, None));
        assert_eq!(ids.after(None).count(), 401);
        assert_eq!(ids.row(&format!("{}{:03}", "é".repeat(125), 399)), Some(399));
        assert_eq!(ids.common_prefix(), 0);
        ids.remove("a");
        assert_eq!(ids.common_prefix(), 250);
    }
}
