//! Amenities of rows.

use super::{super::mask::Mask, values::AMENITY_BITS};

/// Amenities of the rows of a leaf: for each of the frequent ones the rows that have it, since searches
/// ask for one or two of dozens; the others row by row.
#[derive(Debug, Clone, Default)]
pub(super) struct Amenities {
    /// Codes that have a mask.
    present: u64,
    /// By code, ascending; none is empty.
    masks: Vec<Mask>,
    /// Place and code, ascending.
    more: Vec<(u16, u32)>,
}

/// The codes of some bits.
fn codes(mut bits: u64) -> impl Iterator<Item = u32> {
    std::iter::from_fn(move || {
        let code = (bits != 0).then(|| bits.trailing_zeros())?;
        bits &= bits - 1;
        Some(code)
    })
}

fn narrow(at: usize) -> u16 {
    u16::try_from(at).unwrap_or(u16::MAX)
}

impl Amenities {
    /// Where the mask of a code is, or would be.
    const fn position(&self, code: u32) -> usize {
        (self.present & ((1 << code) - 1)).count_ones() as usize
    }

    /// Bits of the frequent amenities of a row.
    pub(super) fn bits(&self, at: usize) -> u64 {
        let of_row = codes(self.present).zip(&self.masks).filter(|(_, mask)| mask.has(at));
        of_row.fold(0, |bits, (code, _)| bits | 1 << code)
    }

    /// Bits of the frequent amenities that any of some rows has.
    pub(super) fn bits_of(&self, rows: &Mask) -> u64 {
        let of_rows = codes(self.present).zip(&self.masks).filter(|(_, mask)| {
            let mut both = **mask;
            both.keep(rows);
            !both.is_empty()
        });
        of_rows.fold(0, |bits, (code, _)| bits | 1 << code)
    }

    /// Codes of the other amenities of a row.
    pub(super) fn more(&self, at: usize) -> Vec<u32> {
        let place = narrow(at);
        let from = self.more.partition_point(|(it, _)| *it < place);
        let of_row = self.more.iter().skip(from).take_while(|(it, _)| *it == place);
        of_row.map(|(_, code)| *code).collect()
    }

    /// Keeps the rows that have all of these amenities.
    pub(super) fn keep(&self, bits: u64, more: &[u32], mask: &mut Mask) {
        if self.present & bits != bits {
            return mask.clear();
        }
        for code in codes(bits) {
            match self.masks.get(self.position(code)) {
                Some(of_code) => mask.keep(of_code),
                None => mask.clear(),
            }
        }
        if !more.is_empty() {
            let has = |at, code: &u32| self.more.binary_search(&(narrow(at), *code)).is_ok();
            mask.keep_places(|at| more.iter().all(|code| has(at, code)));
        }
    }

    /// Inserts the amenities of a row.
    pub(super) fn insert(&mut self, at: usize, bits: u64, more: &[u32]) {
        for (code, mask) in codes(self.present).zip(&mut self.masks) {
            mask.insert(at, bits >> code & 1 == 1);
        }
        for code in codes(bits & !self.present) {
            let position = self.position(code);
            self.masks.reserve_exact(1);
            self.masks.insert(position.min(self.masks.len()), Mask::only(at));
            self.present |= 1 << code;
        }
        let place = narrow(at);
        let from = self.more.partition_point(|(it, _)| *it < place);
        for (it, _) in self.more.iter_mut().skip(from) {
            *it += 1;
        }
        self.more.splice(from..from, more.iter().map(|code| (place, *code)));
    }

    /// Takes the amenities of a row out.
    pub(super) fn remove(&mut self, at: usize) {
        self.masks.iter_mut().for_each(|mask| mask.remove(at));
        self.drop_empty();
        let place = narrow(at);
        self.more.retain(|(it, _)| *it != place);
        for (it, _) in self.more.iter_mut().filter(|(it, _)| *it > place) {
            *it -= 1;
        }
    }

    fn drop_empty(&mut self) {
        for (code, mask) in codes(self.present).zip(&self.masks) {
            if mask.is_empty() {
                self.present &= !(1 << code);
            }
        }
        self.masks.retain(|mask| !mask.is_empty());
    }

    /// Takes the rows from `at` on out.
    pub(super) fn split_off(&mut self, at: usize) -> Self {
        let place = narrow(at);
        let from = self.more.partition_point(|(it, _)| *it < place);
        let mut more = self.more.split_off(from);
        for (it, _) in &mut more {
            *it -= place;
        }
        let masks = self.masks.iter_mut().map(|mask| mask.split_off(at)).collect();
        let mut rest = Self { present: self.present, masks, more };
        for half in [self, &mut rest] {
            half.drop_empty();
            half.masks.shrink_to_fit();
            half.more.shrink_to_fit();
        }
        rest
    }

    /// Bytes on the heap.
    pub(super) const fn bytes(&self) -> usize {
        self.masks.capacity() * size_of::<Mask>() + self.more.capacity() * size_of::<(u16, u32)>()
    }
}

const _: () = assert!(AMENITY_BITS == u64::BITS, "a bit for each code that has a mask");

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    type Row = (u64, Vec<u32>);

    fn row() -> impl Strategy<Value = Row> {
        let more = prop::collection::btree_set(64_u32..70, 0..3);
        let bits = prop_oneof![Just(0), any::<u64>().prop_map(|it| it & 0x8000_0000_0000_0213)];
        (bits, more.prop_map(|more| more.into_iter().collect()))
    }

    fn rows_of(amenities: &Amenities, len: usize) -> Vec<Row> {
        (0..len).map(|at| (amenities.bits(at), amenities.more(at))).collect()
    }

    proptest! {
        #[test]
        fn amenities_change_as_a_list_does(
            rows in prop::collection::vec((row(), any::<prop::sample::Index>()), 1..40),
            gone in any::<prop::sample::Index>(), cut in any::<prop::sample::Index>(),
            (bits, more) in row(),
        ) {
            let (mut amenities, mut expected) = (Amenities::default(), Vec::new());
            for (row, at) in rows {
                let at = at.index(expected.len() + 1);
                amenities.insert(at, row.0, &row.1);
                expected.insert(at, row);
            }
            prop_assert_eq!(rows_of(&amenities, expected.len()), expected.clone());
            let mut mask = Mask::first(expected.len());
            amenities.keep(bits, &more, &mut mask);
            let has_all = |row: &Row| row.0 & bits == bits && more.iter().all(|it| row.1.contains(it));
            let kept: Vec<usize> = (0..expected.len()).filter(|at| has_all(&expected[*at])).collect();
            prop_assert_eq!(mask.places().collect::<Vec<_>>(), kept);
            let any = mask.places().fold(0, |bits, at| bits | expected[at].0);
            prop_assert_eq!(amenities.bits_of(&mask), any);
            let gone = gone.index(expected.len());
            amenities.remove(gone);
            expected.remove(gone);
            prop_assert_eq!(rows_of(&amenities, expected.len()), expected.clone());
            let cut = cut.index(expected.len() + 1);
            let rest = amenities.split_off(cut);
            prop_assert_eq!(rows_of(&rest, expected.len() - cut), expected.split_off(cut));
            prop_assert_eq!(rows_of(&amenities, cut), expected);
            for half in [amenities, rest] {
                prop_assert_eq!(half.present.count_ones() as usize, half.masks.len());
                prop_assert!(half.masks.iter().all(|mask| !mask.is_empty()));
            }
        }
    }
}
