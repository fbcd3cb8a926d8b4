//! Numbers as fixed point where that is exact.

use super::{
    super::{
        mask::{Mask, ROWS_MAX},
        order::{ascending, from_ascending},
    },
    packed::Packed,
};

/// Numbers of rows, NaN where a row has none.
#[derive(Debug, Clone, Default)]
pub(in crate::index) struct Numbers {
    /// Each number times this is whole; 0 = the numbers are kept as they are.
    scale: f64,
    packed: Packed,
}

/// What is tried in turn, since the least that is exact needs the fewest bytes: counts and amounts,
/// quarters, cents, coordinates of six and of seven decimals.
const SCALES: [f64; 5] = [1.0, 4.0, 100.0, 1e6, 1e7];

/// Whole numbers up to this are exact in 64 bits of floating point.
const WHOLE_MAX: f64 = 9_007_199_254_740_992.0;

/// What stands for a whole number: in their order, and never 0.
const fn number(whole: i64) -> u64 {
    whole.cast_unsigned() ^ (1 << 63)
}

/// The whole number that `value` is `scale` times of, if it is exactly one.
#[expect(clippy::cast_possible_truncation, reason = "whole and within the bounds of 64 bits")]
fn whole(value: f64, scale: f64) -> Option<i64> {
    let scaled = (value * scale).round();
    (scaled.abs() <= WHOLE_MAX && scaled / scale == value).then_some(scaled as i64)
}

/// The number that a whole one stands for; most are whole themselves, and dividing takes time.
#[expect(clippy::cast_precision_loss, reason = "no more than 2^53")]
#[inline]
fn unscaled(whole: i64, scale: f64) -> f64 {
    if scale == 1.0 { whole as f64 } else { whole as f64 / scale }
}

impl Numbers {
    /// The narrowest column of `values`.
    pub(in crate::index) fn of(values: &[f64]) -> Self {
        for scale in SCALES {
            let numbers: Option<Vec<u64>> =
                values.iter().map(|value| number_of(*value, scale)).collect();
            if let Some(numbers) = numbers {
                return Self { scale, packed: Packed::of(&numbers) };
            }
        }
        let numbers: Vec<u64> = values.iter().filter_map(|it| number_of(*it, 0.0)).collect();
        Self { scale: 0.0, packed: Packed::of(&numbers) }
    }

    /// The number of a row; NaN if it has none.
    #[inline]
    pub(in crate::index) fn get(&self, at: usize) -> f64 {
        self.value(self.packed.get(at))
    }

    /// The number that one of the column stands for.
    #[inline]
    fn value(&self, number: u64) -> f64 {
        if number == 0 {
            f64::NAN
        } else if self.scale == 0.0 {
            from_ascending(number)
        } else {
            unscaled((number ^ (1 << 63)).cast_signed(), self.scale)
        }
    }

    /// Shows the numbers of some rows.
    #[inline]
    pub(in crate::index) fn each(&self, rows: &[u16], mut visit: impl FnMut(f64)) {
        if self.scale == 1.0 {
            // Most are whole.
            return self.packed.each(rows, |number| {
                let whole = (number ^ (1 << 63)).cast_signed();
                visit(if number == 0 { f64::NAN } else { unscaled(whole, 1.0) });
            });
        }
        self.packed.each(rows, |number| visit(self.value(number)));
    }

    /// The numbers of some rows in a list.
    #[inline]
    pub(in crate::index) fn list<'a>(
        &self,
        rows: &[u16],
        room: &'a mut [f64; ROWS_MAX],
    ) -> &'a [f64] {
        let mut slots = room.iter_mut();
        self.each(rows, |value| {
            if let Some(slot) = slots.next() {
                *slot = value;
            }
        });
        room.get(..rows.len()).unwrap_or_default()
    }

    fn values(&self, len: usize) -> Vec<f64> {
        (0..len).map(|at| self.get(at)).collect()
    }

    /// Inserts the number of a row into a column of `len` rows.
    pub(in crate::index) fn insert(&mut self, at: usize, len: usize, value: f64) {
        if number_of(value, self.scale).is_some_and(|number| self.packed.insert(at, number)) {
            return;
        }
        let mut values = self.values(len);
        values.insert(at.min(len), value);
        *self = Self::of(&values);
    }

    /// Takes the number of a row out.
    pub(in crate::index) fn remove(&mut self, at: usize) {
        self.packed.remove(at);
    }

    /// Takes the rows from `at` on out of a column of `len` rows; what is left on either side may be
    /// narrower.
    pub(in crate::index) fn split_off(&mut self, at: usize, len: usize) -> Self {
        let mut values = self.values(len);
        let rest = values.split_off(at.min(len));
        *self = Self::of(&values);
        Self::of(&rest)
    }

    /// Keeps the rows whose number lies within `min..=max`; NaN does not.
    pub(in crate::index) fn keep_within(&self, min: f64, max: f64, mask: &mut Mask) {
        if min > max {
            return mask.clear();
        }
        if self.scale == 0.0 {
            return self.packed.keep_within(ascending(min), ascending(max), mask);
        }
        match whole_range(min, max, self.scale) {
            Some((low, high)) => self.packed.keep_within(number(low), number(high), mask),
            None => mask.clear(),
        }
    }

    /// Fetches the column from memory at once.
    #[inline]
    pub(in crate::index) fn fetch(&self) {
        self.packed.fetch();
    }

    /// Bytes on the heap.
    pub(in crate::index) const fn bytes(&self) -> usize {
        self.packed.bytes()
    }
}

/// What stands for a number in a column of a scale, if anything can; 0 for NaN.
fn number_of(value: f64, scale: f64) -> Option<u64> {
    if value.is_nan() {
        Some(0)
    } else if scale == 0.0 {
        Some(ascending(value))
    } else {
        whole(value, scale).map(number)
    }
}

/// The whole numbers that stand for numbers within `min..=max`.
///
/// Rounded to the right neighbourhood, then moved until decoding agrees: the comparison must be that
/// of the numbers themselves.
fn whole_range(min: f64, max: f64, scale: f64) -> Option<(i64, i64)> {
    #[expect(clippy::cast_possible_truncation, reason = "clamped to 2^53")]
    let start = |bound: f64| (bound * scale).round().clamp(-WHOLE_MAX, WHOLE_MAX) as i64;
    let stands_for = |whole: i64| unscaled(whole, scale);
    let most = start(f64::MAX);
    let (mut low, mut high) = (start(min), start(max));
    while low > -most && stands_for(low - 1) >= min {
        low -= 1;
    }
    while low < most && stands_for(low) < min {
        low += 1;
    }
    while high < most && stands_for(high + 1) <= max {
        high += 1;
    }
    while high > -most && stands_for(high) > max {
        high -= 1;
    }
    // All of them may be below or above.
    (stands_for(low) >= min && stands_for(high) <= max && low <= high).then_some((low, high))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn number() -> impl Strategy<Value = f64> {
        prop_oneof![
            3 => (-40_000_i32..40_000).prop_map(f64::from),
            2 => (-400_000_i32..400_000).prop_map(|cents| f64::from(cents) / 100.0),
            2 => (-1_800_000_000_i32..1_800_000_000).prop_map(|it| f64::from(it) / 1e7),
            1 => any::<f64>().prop_filter("finite", |it| it.is_finite()),
            1 => Just(f64::NAN),
        ]
    }

    fn bound() -> impl Strategy<Value = f64> {
        number().prop_filter("a number", |it| !it.is_nan())
    }

    fn same(a: f64, b: f64) -> bool {
        a == b || a.is_nan() && b.is_nan()
    }

    proptest! {
        #[test]
        fn every_form_gives_the_numbers_back_and_compares_them(
            values in prop::collection::vec(number(), 0..40),
            at in 0_usize..40, extra in number(), split in 0_usize..40,
            (min, max) in (bound(), bound()),
        ) {
            let mut values = values;
            let mut column = Numbers::of(&values);
            let at = at.min(values.len());
            column.insert(at, values.len(), extra);
            values.insert(at, extra);
            prop_assert!(column.values(values.len()).iter().zip(&values).all(|(a, b)| same(*a, *b)));
            let split = split.min(values.len());
            let rest = column.split_off(split, values.len());
            for (nth, value) in rest.values(values.len() - split).into_iter().enumerate() {
                column.insert(split + nth, split + nth, value);
            }
            column.remove(0);
            values.remove(0);
            let mut mask = Mask::first(values.len());
            column.keep_within(min, max, &mut mask);
            let rows: Vec<u16> = (0..=u16::MAX).take(values.len()).collect();
            let mut shown = Vec::new();
            column.each(&rows, |value| shown.push(value));
            prop_assert!(shown.iter().zip(&values).all(|(a, b)| same(*a, *b)));
            for (at, value) in values.iter().enumerate() {
                prop_assert!(same(column.get(at), *value));
                prop_assert_eq!(mask.has(at), *value >= min && *value <= max, "{} {} {}", value, min, max);
            }
            // Bounds that are values themselves.
            for bound in values.iter().filter(|it| !it.is_nan()) {
                let mut mask = Mask::first(values.len());
                column.keep_within(*bound, f64::MAX, &mut mask);
                let expected = (0..values.len()).filter(|at| values[*at] >= *bound);
                prop_assert_eq!(mask.places().collect::<Vec<_>>(), expected.collect::<Vec<_>>());
            }
        }
    }

    #[test]
    fn common_numbers_take_few_bytes() {
        let narrow = |values: &[f64]| Numbers::of(values).bytes() / values.len();
        assert_eq!(narrow(&[1.0, 2.0, f64::NAN]), 1);
        assert_eq!(narrow(&[1.0, 2.25]), 1);
        assert_eq!(narrow(&[385_000.0, 1_250_000.5]), 4);
        assert_eq!(narrow(&[45.472_612, 45.447_999]), 2);
        assert_eq!(narrow(&[45.4726, -9.186_123_4]), 4);
        assert_eq!(narrow(&[45.472_612_345_678, 1.0]), 8);
        assert_eq!(narrow(&[f64::NAN]), 0);
    }
}
