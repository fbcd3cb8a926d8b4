//! Whole numbers in as few bytes as the range of a leaf needs.

use super::{super::mask::Mask, insert, remove, split_off};

/// Whole numbers of rows, 0 where a row has none.
///
/// What is stored is one more than the number's distance from `base`, so that neighbours, which are
/// alike in much, need few bytes.
#[derive(Debug, Clone)]
pub(super) struct Packed {
    /// Never 0.
    base: u64,
    stored: Stored,
}

#[derive(Debug, Clone)]
enum Stored {
    /// No row has a number.
    Absent,
    One(Vec<u8>),
    Two(Vec<u16>),
    Four(Vec<u32>),
    Eight(Vec<u64>),
}

impl Default for Packed {
    fn default() -> Self {
        Self { base: 1, stored: Stored::Absent }
    }
}

const LINE_BYTES: usize = 64;

/// An unsigned number of some bytes.
trait Word: Copy + PartialOrd + Default + Into<u64> + TryFrom<u64> {}

impl<T: Copy + PartialOrd + Default + Into<u64> + TryFrom<u64>> Word for T {}

impl Packed {
    /// The numbers, about a base that leaves as much room above them as below.
    pub(super) fn of(numbers: &[u64]) -> Self {
        let some = || numbers.iter().copied().filter(|number| *number != 0);
        let Some((min, max)) = some().min().zip(some().max()) else {
            return Self::default();
        };
        let spread = max - min;
        // The greatest distances that a width has room for, beside 0.
        let widths = [u8::MAX.into(), u16::MAX.into(), u32::MAX.into()].map(|most: u64| most - 1);
        match widths.into_iter().find(|most| spread <= *most) {
            Some(most) => Self::about(numbers, min.saturating_sub((most - spread) / 2).max(1), max),
            None => Self::about(numbers, 1, max),
        }
    }

    /// The numbers about the base 1: what is stored are the numbers themselves.
    pub(super) fn plain(numbers: &[u64]) -> Self {
        match numbers.iter().copied().max() {
            None | Some(0) => Self::default(),
            Some(max) => Self::about(numbers, 1, max),
        }
    }

    fn about(numbers: &[u64], base: u64, max: u64) -> Self {
        fn fitted<T: Word>(numbers: &[u64], base: u64) -> Vec<T> {
            let fitted = numbers.iter().map(|number| stored(*number, base));
            // The width was chosen for the greatest of them.
            fitted.map(|number| T::try_from(number).unwrap_or_default()).collect()
        }
        let most = stored(max, base);
        let stored = if u8::try_from(most).is_ok() {
            Stored::One(fitted(numbers, base))
        } else if u16::try_from(most).is_ok() {
            Stored::Two(fitted(numbers, base))
        } else if u32::try_from(most).is_ok() {
            Stored::Four(fitted(numbers, base))
        } else {
            Stored::Eight(fitted(numbers, base))
        };
        Self { base, stored }
    }

    /// What is stored of a row.
    #[inline]
    pub(super) fn stored(&self, at: usize) -> u64 {
        match &self.stored {
            Stored::Absent => 0,
            Stored::One(values) => values.get(at).copied().map_or(0, u64::from),
            Stored::Two(values) => values.get(at).copied().map_or(0, u64::from),
            Stored::Four(values) => values.get(at).copied().map_or(0, u64::from),
            Stored::Eight(values) => values.get(at).copied().unwrap_or(0),
        }
    }

    /// The number of a row.
    #[inline]
    pub(super) fn get(&self, at: usize) -> u64 {
        self.number(self.stored(at))
    }

    #[inline]
    const fn number(&self, stored: u64) -> u64 {
        if stored == 0 { 0 } else { stored.wrapping_add(self.base - 1) }
    }

    /// The numbers of all rows of a column of `len`.
    pub(super) fn numbers(&self, len: usize) -> Vec<u64> {
        (0..len).map(|at| self.get(at)).collect()
    }

    /// Inserts the number of a row; answers whether the column has room for such a number. If not,
    /// nothing has changed.
    #[must_use]
    pub(super) fn insert(&mut self, at: usize, number: u64) -> bool {
        fn put<T: Word>(values: &mut Vec<T>, at: usize, number: Option<u64>) -> bool {
            let fitting = number.and_then(|number| T::try_from(number).ok());
            fitting.inspect(|value| insert(values, at, *value)).is_some()
        }
        let fits = number == 0 || number >= self.base;
        let number = fits.then(|| stored(number, self.base));
        match &mut self.stored {
            Stored::Absent => number == Some(0),
            Stored::One(values) => put(values, at, number),
            Stored::Two(values) => put(values, at, number),
            Stored::Four(values) => put(values, at, number),
            Stored::Eight(values) => put(values, at, number),
        }
    }

    /// Takes the number of a row out.
    pub(super) fn remove(&mut self, at: usize) {
        match &mut self.stored {
            Stored::Absent => {}
            Stored::One(values) => remove(values, at),
            Stored::Two(values) => remove(values, at),
            Stored::Four(values) => remove(values, at),
            Stored::Eight(values) => remove(values, at),
        }
    }

    /// Takes the rows from `at` on out.
    pub(super) fn split_off(&mut self, at: usize) -> Self {
        let stored = match &mut self.stored {
            Stored::Absent => Stored::Absent,
            Stored::One(values) => Stored::One(split_off(values, at)),
            Stored::Two(values) => Stored::Two(split_off(values, at)),
            Stored::Four(values) => Stored::Four(split_off(values, at)),
            Stored::Eight(values) => Stored::Eight(split_off(values, at)),
        };
        Self { base: self.base, stored }
    }

    /// Keeps the rows whose number lies within `min..=max`; rows without one are not kept. `min` is not 0.
    pub(super) fn keep_within(&self, min: u64, max: u64, mask: &mut Mask) {
        fn keep<T: Word>(values: &[T], min: u64, max: u64, mask: &mut Mask) {
            let Ok(min) = T::try_from(min) else {
                return mask.clear();
            };
            match T::try_from(max) {
                Ok(max) => mask.keep_values(values, |value| (value >= min) & (value <= max)),
                Err(_wider) => mask.keep_values(values, |value| value >= min),
            }
        }
        if max < self.base || min > max {
            return mask.clear();
        }
        let (min, max) = (stored(min.max(self.base), self.base), stored(max, self.base));
        match &self.stored {
            Stored::Absent => mask.clear(),
            Stored::One(values) => keep(values, min, max, mask),
            Stored::Two(values) => keep(values, min, max, mask),
            Stored::Four(values) => keep(values, min, max, mask),
            Stored::Eight(values) => keep(values, min, max, mask),
        }
    }

    /// Keeps the rows whose stored number passes a test.
    pub(super) fn keep_stored(&self, test: impl Fn(u64) -> bool + Copy, mask: &mut Mask) {
        match &self.stored {
            Stored::Absent => mask.keep_places(|_| test(0)),
            Stored::One(values) => mask.keep_values(values, |it| test(it.into())),
            Stored::Two(values) => mask.keep_values(values, |it| test(it.into())),
            Stored::Four(values) => mask.keep_values(values, |it| test(it.into())),
            Stored::Eight(values) => mask.keep_values(values, test),
        }
    }

    /// Shows the stored numbers of some rows.
    #[inline]
    pub(super) fn each_stored(&self, rows: &[u16], mut visit: impl FnMut(u64)) {
        #[inline]
        fn each<T: Word>(values: &[T], rows: &[u16], visit: &mut impl FnMut(u64)) {
            for at in rows {
                if let Some(value) = values.get(usize::from(*at)) {
                    visit((*value).into());
                }
            }
        }
        match &self.stored {
            Stored::Absent => rows.iter().for_each(|_| visit(0)),
            Stored::One(values) => each(values, rows, &mut visit),
            Stored::Two(values) => each(values, rows, &mut visit),
            Stored::Four(values) => each(values, rows, &mut visit),
            Stored::Eight(values) => each(values, rows, &mut visit),
        }
    }

    /// Shows the numbers of some rows.
    #[inline]
    pub(super) fn each(&self, rows: &[u16], mut visit: impl FnMut(u64)) {
        self.each_stored(rows, |stored| visit(self.number(stored)));
    }

    /// Fetches the column from memory, all of its cache lines at once.
    ///
    /// A column is mostly cold, and too short for the processor to notice that it is read in order;
    /// loops over its values would wait for one or two lines at a time.
    #[inline]
    pub(super) fn fetch(&self) {
        fn touch<T: Word>(values: &[T]) {
            let lines = values.iter().step_by(LINE_BYTES / size_of::<T>());
            std::hint::black_box(lines.fold(0, |all: u64, value| all ^ (*value).into()));
        }
        match &self.stored {
            Stored::Absent => {}
            Stored::One(values) => touch(values),
            Stored::Two(values) => touch(values),
            Stored::Four(values) => touch(values),
            Stored::Eight(values) => touch(values),
        }
    }

    /// Bytes on the heap.
    pub(super) const fn bytes(&self) -> usize {
        match &self.stored {
            Stored::Absent => 0,
            Stored::One(values) => values.capacity(),
            Stored::Two(values) => values.capacity() * 2,
            Stored::Four(values) => values.capacity() * 4,
            Stored::Eight(values) => values.capacity() * 8,
        }
    }
}

/// What stands for a number that is 0 or no less than the base.
const fn stored(number: u64, base: u64) -> u64 {
    if number == 0 { 0 } else { number - base + 1 }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::index::mask::ROWS_MAX;

    /// None, some near each other at any place, and some anywhere.
    fn numbers() -> impl Strategy<Value = Vec<u64>> {
        let near = (any::<u64>(), 0_u32..40).prop_flat_map(|(at, bits)| {
            let number = (0..1_u64 << bits).prop_map(move |off| at.saturating_add(off));
            prop::collection::vec(prop_oneof![1 => Just(0), 6 => number], 0..ROWS_MAX)
        });
        prop_oneof![near, prop::collection::vec(any::<u64>(), 0..ROWS_MAX)]
    }

    proptest! {
        #[test]
        fn numbers_come_back_and_compare_whatever_their_width(
            numbers in numbers(), more in any::<u64>(), at in any::<prop::sample::Index>(),
            bounds in (1..=u64::MAX, any::<u64>()),
        ) {
            for mut packed in [Packed::of(&numbers), Packed::plain(&numbers)] {
                let mut numbers = numbers.clone();
                prop_assert_eq!(packed.numbers(numbers.len()), numbers.clone());
                let own = numbers.get(at.index(numbers.len().max(1))).copied().unwrap_or(0).max(1);
                for (min, max) in [bounds, (own, own), (own, u64::MAX), (1, own), (own + (own < u64::MAX) as u64, own)] {
                    let mut mask = Mask::first(numbers.len());
                    packed.keep_within(min, max, &mut mask);
                    let expected = (0..numbers.len()).filter(|at| (min..=max).contains(&numbers[*at]));
                    prop_assert_eq!(mask.places().collect::<Vec<_>>(), expected.collect::<Vec<_>>());
                }
                let place = at.index(numbers.len() + 1);
                if packed.insert(place, more) {
                    numbers.insert(place, more);
                } else {
                    prop_assert_ne!(more, 0);
                }
                prop_assert_eq!(packed.numbers(numbers.len()), numbers.clone());
                let mut rows: Vec<u16> = (0..=u16::MAX).take(numbers.len()).collect();
                rows.reverse();
                let mut seen = Vec::new();
                packed.each(&rows, |number| seen.push(number));
                seen.reverse();
                prop_assert_eq!(seen, numbers.clone());
                if !numbers.is_empty() {
                    let gone = at.index(numbers.len());
                    packed.remove(gone);
                    numbers.remove(gone);
                }
                let cut = at.index(numbers.len() + 1);
                let rest = packed.split_off(cut);
                let expected = numbers.split_off(cut);
                prop_assert_eq!(rest.numbers(expected.len()), expected);
                prop_assert_eq!(packed.numbers(cut), numbers);
            }
        }
    }

    #[test]
    fn neighbours_take_few_bytes() {
        let of = |numbers: &[u64]| Packed::of(numbers).bytes() / numbers.len();
        assert_eq!(of(&[1 << 60, (1 << 60) + 254, 0]), 1);
        assert_eq!(of(&[1 << 60, (1 << 60) + 255, 0]), 2);
        assert_eq!(of(&[1, 65_535]), 2);
        assert_eq!(of(&[1, 65_536]), 4);
        assert_eq!(of(&[1, u64::MAX]), 8);
        assert_eq!(Packed::of(&[0, 0]).bytes(), 0);
    }
}
