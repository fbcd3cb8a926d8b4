//! The rows that have a word in a field.

use std::sync::Arc;

use super::super::{
    Row,
    shared::{ARC_BYTES, SharedVec, room_for_one, take_out},
};

/// Rows kept in one sorted list at most: what a change of a rare word copies is 4 KiB at most.
const FEW_MAX: usize = 1_024;
/// A set that shrank to this many becomes one list again.
const FEW_AGAIN: usize = FEW_MAX / 2;
/// Rows of a chunk kept in a sorted list at most: with more, a bit for every row is less.
const LIST_MAX: usize = 4_096;
/// A chunk that shrank to this many rows becomes a list again.
const LIST_AGAIN: usize = LIST_MAX * 3 / 4;
/// Words of 64 bits in a chunk of 65,536 rows: 8 KiB.
const CHUNK_WORDS: usize = 1 << 10;

/// A set of rows. Most words are rare, hence most sets have one row.
///
/// Not a `RoaringBitmap`, because a clone of that copies all of it; and not one of them per chunk,
/// because those of rare words would be mostly overhead.
#[derive(Debug, Clone, Default)]
pub(super) enum RowSet {
    #[default]
    Empty,
    One(Row),
    Few(Arc<Vec<Row>>),
    Many(Arc<Many>),
}

/// A set of many rows.
#[derive(Debug, Clone)]
pub(super) struct Many {
    len: u32,
    /// By the upper half of the row number, 65,536 rows each.
    chunks: SharedVec<Chunk, 4>,
}

/// The lower halves of the numbers of rows.
#[derive(Debug, Clone, Default)]
enum Chunk {
    #[default]
    Empty,
    List(Arc<Vec<u16>>),
    Bits(Arc<Bits>),
}

#[derive(Debug, Clone)]
struct Bits {
    len: u32,
    words: [u64; CHUNK_WORDS],
}

/// The halves of a row number.
#[expect(clippy::cast_possible_truncation, reason = "halves of 32 bits")]
const fn halves(row: Row) -> (u16, u16) {
    ((row >> 16) as u16, row as u16)
}

const fn bit(lower: u16) -> (usize, u64) {
    (lower as usize / 64, 1 << (lower % 64))
}

impl Bits {
    fn of(list: &[u16]) -> Self {
        let mut bits = Self { len: 0, words: [0; CHUNK_WORDS] };
        for lower in list {
            bits.insert(*lower);
        }
        bits
    }

    /// Adds a row that is not there.
    fn insert(&mut self, lower: u16) {
        let (at, bit) = bit(lower);
        if let Some(word) = self.words.get_mut(at) {
            *word |= bit;
            self.len += 1;
        }
    }

    /// Takes a row out that is there.
    fn remove(&mut self, lower: u16) {
        let (at, bit) = bit(lower);
        if let Some(word) = self.words.get_mut(at) {
            *word &= !bit;
            self.len -= 1;
        }
    }

    fn contains(&self, lower: u16) -> bool {
        let (at, bit) = bit(lower);
        self.words.get(at).is_some_and(|word| word & bit != 0)
    }

    fn each(&self, mut visit: impl FnMut(u32)) {
        for (nth, word) in (0_u32..).zip(&self.words) {
            let mut word = *word;
            while word != 0 {
                visit(nth * 64 + word.trailing_zeros());
                word &= word - 1;
            }
        }
    }

    #[expect(clippy::cast_possible_truncation, reason = "lower halves have 16 bits")]
    fn list(&self) -> Vec<u16> {
        let mut list = Vec::with_capacity(self.len as usize);
        self.each(|lower| list.push(lower as u16));
        list
    }
}

impl Chunk {
    /// Adds a row; answers whether it was not there.
    fn insert(&mut self, lower: u16) -> bool {
        match self {
            Self::Empty => *self = Self::List(Arc::new(vec![lower])),
            Self::List(list) => {
                let Err(at) = list.binary_search(&lower) else {
                    return false;
                };
                if list.len() < LIST_MAX {
                    room_for_one(list).insert(at, lower);
                } else {
                    let mut bits = Bits::of(list);
                    bits.insert(lower);
                    *self = Self::Bits(Arc::new(bits));
                }
            }
            Self::Bits(bits) if bits.contains(lower) => return false,
            Self::Bits(bits) => Arc::make_mut(bits).insert(lower),
        }
        true
    }

    /// Takes a row out; answers whether it was there.
    fn remove(&mut self, lower: u16) -> bool {
        match self {
            Self::Empty => return false,
            Self::List(list) => {
                let Ok(at) = list.binary_search(&lower) else {
                    return false;
                };
                take_out(list, at);
                if list.is_empty() {
                    *self = Self::Empty;
                }
            }
            Self::Bits(bits) if !bits.contains(lower) => return false,
            Self::Bits(bits) => {
                Arc::make_mut(bits).remove(lower);
                if bits.len as usize <= LIST_AGAIN {
                    *self = Self::List(Arc::new(bits.list()));
                }
            }
        }
        true
    }

    fn each(&self, first: Row, visit: &mut impl FnMut(Row)) {
        match self {
            Self::Empty => {}
            Self::List(list) => list.iter().for_each(|lower| visit(first + u32::from(*lower))),
            Self::Bits(bits) => bits.each(|lower| visit(first + lower)),
        }
    }

    fn heap_bytes(&self) -> usize {
        match self {
            Self::Empty => 0,
            Self::List(list) => {
                ARC_BYTES + size_of::<Vec<u16>>() + list.capacity() * size_of::<u16>()
            }
            Self::Bits(_) => ARC_BYTES + size_of::<Bits>(),
        }
    }
}

impl Many {
    fn of(rows: &[Row]) -> Self {
        let mut many = Self { len: 0, chunks: SharedVec::default() };
        for row in rows {
            many.insert(*row);
        }
        many
    }

    fn insert(&mut self, row: Row) -> bool {
        let (upper, lower) = halves(row);
        let inserted = self.chunks.change(upper.into(), |chunk| chunk.insert(lower));
        let inserted = inserted.unwrap_or(false);
        self.len += u32::from(inserted);
        inserted
    }

    fn remove(&mut self, row: Row) -> bool {
        let (upper, lower) = halves(row);
        let removed = self.chunks.change(upper.into(), |chunk| chunk.remove(lower));
        let removed = removed.unwrap_or(false);
        self.len -= u32::from(removed);
        removed
    }

    fn each(&self, visit: &mut impl FnMut(Row)) {
        self.chunks.each(&mut |upper, chunk| chunk.each(upper << 16, visit));
    }
}

impl RowSet {
    pub(super) fn len(&self) -> usize {
        match self {
            Self::Empty => 0,
            Self::One(_) => 1,
            Self::Few(rows) => rows.len(),
            Self::Many(many) => many.len as usize,
        }
    }

    /// Adds a row; answers whether it was not there.
    pub(super) fn insert(&mut self, row: Row) -> bool {
        match self {
            Self::Empty => *self = Self::One(row),
            Self::One(only) if *only == row => return false,
            Self::One(only) => {
                let two = vec![row.min(*only), row.max(*only)];
                *self = Self::Few(Arc::new(two));
            }
            Self::Few(rows) => {
                let Err(at) = rows.binary_search(&row) else {
                    return false;
                };
                if rows.len() < FEW_MAX {
                    room_for_one(rows).insert(at, row);
                } else {
                    let mut many = Many::of(rows);
                    many.insert(row);
                    *self = Self::Many(Arc::new(many));
                }
            }
            Self::Many(many) => return Arc::make_mut(many).insert(row),
        }
        true
    }

    /// Takes a row out; answers whether it was there.
    pub(super) fn remove(&mut self, row: Row) -> bool {
        match self {
            Self::One(only) if *only == row => *self = Self::Empty,
            Self::Empty | Self::One(_) => return false,
            Self::Few(rows) => {
                let Ok(at) = rows.binary_search(&row) else {
                    return false;
                };
                match rows.as_slice() {
                    [other, _] | [_, other] if *other != row => *self = Self::One(*other),
                    _ => drop(take_out(rows, at)),
                }
            }
            Self::Many(many) => {
                let removed = Arc::make_mut(many).remove(row);
                if many.len as usize <= FEW_AGAIN {
                    *self = Self::Few(Arc::new(self.list()));
                }
                return removed;
            }
        }
        true
    }

    fn list(&self) -> Vec<Row> {
        let mut list = Vec::with_capacity(self.len());
        self.each(&mut |row| list.push(row));
        list
    }

    /// Shows all rows, in ascending order.
    pub(super) fn each(&self, visit: &mut impl FnMut(Row)) {
        match self {
            Self::Empty => {}
            Self::One(row) => visit(*row),
            Self::Few(rows) => rows.iter().for_each(|row| visit(*row)),
            Self::Many(many) => many.each(visit),
        }
    }

    /// Bytes it owns elsewhere.
    pub(super) fn heap_bytes(&self) -> usize {
        match self {
            Self::Empty | Self::One(_) => 0,
            Self::Few(rows) => {
                ARC_BYTES + size_of::<Vec<Row>>() + rows.capacity() * size_of::<Row>()
            }
            Self::Many(many) => {
                let mut bytes = ARC_BYTES + size_of::<Many>() + many.chunks.bytes();
                many.chunks.each(&mut |_, chunk| bytes += chunk.heap_bytes());
                bytes
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use proptest::prelude::*;

    use super::*;

    /// Rows that come and go in runs, so that every form is reached and left again.
    fn changes() -> impl Strategy<Value = Vec<(bool, u32, u32, u32)>> {
        let starts = prop_oneof![0..200_000_u32, Just(u32::MAX - 70_000), Just(65_530)];
        prop::collection::vec((any::<bool>(), starts, 1..6_000_u32, 1..12_u32), 1..12)
    }

    proptest! {
        #![proptest_config(ProptestConfig { cases: 60, failure_persistence: None, ..ProptestConfig::default() })]

        #[test]
        fn it_is_a_set_and_clones_keep_what_they_saw(changes in changes()) {
            let (mut set, mut model) = (RowSet::default(), BTreeSet::new());
            let mut kept = Vec::new();
            for (coming, start, len, step) in changes {
                for row in (0..len).map(|nth| start.saturating_add(nth * step)) {
                    if coming {
                        prop_assert_eq!(set.insert(row), model.insert(row));
                    } else {
                        prop_assert_eq!(set.remove(row), model.remove(&row));
                    }
                }
                kept.push((set.clone(), model.clone()));
            }
            for (set, model) in kept {
                prop_assert_eq!(set.len(), model.len());
                prop_assert!(set.list().into_iter().eq(model));
            }
        }
    }

    #[test]
    fn it_becomes_small_again() {
        let mut set = RowSet::default();
        (0..100_000).for_each(|row| assert!(set.insert(row)));
        // Bits for every row.
        assert!(set.heap_bytes() < 100_000 / 6, "{}", set.heap_bytes());
        (0..99_000).for_each(|row| assert!(set.remove(row)));
        assert!(set.heap_bytes() < 5_000, "{}", set.heap_bytes());
        (99_000..100_000).for_each(|row| assert!(set.remove(row) && !set.remove(row)));
        assert!(matches!(set, RowSet::Empty));
    }
}
