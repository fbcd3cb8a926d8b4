//! Times as seconds where that is exact.

use super::{super::mask::Mask, packed::Packed};

/// Times of rows in microseconds since the Unix epoch, [`Times::NONE`] where a row has none.
#[derive(Debug, Clone)]
pub(in crate::index) struct Times {
    /// Microseconds of which every time is a multiple.
    unit: i64,
    packed: Packed,
}

const SECOND: i64 = 1_000_000;

impl Default for Times {
    fn default() -> Self {
        Self { unit: SECOND, packed: Packed::default() }
    }
}

/// What stands for a time: in the order of times, 0 for [`Times::NONE`].
const fn number(time: i64) -> u64 {
    time.cast_unsigned() ^ (1 << 63)
}

const fn time(number: u64) -> i64 {
    (number ^ (1 << 63)).cast_signed()
}

impl Times {
    /// Before every time that can be written.
    pub(in crate::index) const NONE: i64 = i64::MIN;

    fn of(values: &[i64]) -> Self {
        let whole = |value: &i64| *value == Self::NONE || value % SECOND == 0;
        let unit = if values.iter().all(whole) { SECOND } else { 1 };
        let mut times = Self { unit, packed: Packed::default() };
        let numbers: Vec<u64> = values.iter().filter_map(|value| times.number(*value)).collect();
        times.packed = Packed::of(&numbers);
        times
    }

    /// What stands for a time, if it is a multiple of the unit.
    const fn number(&self, value: i64) -> Option<u64> {
        if value == Self::NONE {
            Some(0)
        } else if value % self.unit == 0 {
            Some(number(value / self.unit))
        } else {
            None
        }
    }

    /// The time of a row.
    #[inline]
    pub(in crate::index) fn get(&self, at: usize) -> i64 {
        match self.packed.get(at) {
            0 => Self::NONE,
            number => time(number).saturating_mul(self.unit),
        }
    }

    /// Inserts the time of a row into a column of `len` rows.
    pub(in crate::index) fn insert(&mut self, at: usize, len: usize, value: i64) {
        if self.number(value).is_some_and(|number| self.packed.insert(at, number)) {
            return;
        }
        let mut values: Vec<i64> = (0..len).map(|at| self.get(at)).collect();
        values.insert(at.min(len), value);
        *self = Self::of(&values);
    }

    /// Takes the time of a row out.
    pub(in crate::index) fn remove(&mut self, at: usize) {
        self.packed.remove(at);
    }

    /// Takes the rows from `at` on out.
    pub(in crate::index) fn split_off(&mut self, at: usize) -> Self {
        Self { unit: self.unit, packed: self.packed.split_off(at) }
    }

    /// Keeps the rows whose time is `from` or later.
    pub(in crate::index) fn keep_from(&self, from: i64, mask: &mut Mask) {
        // The first multiple of the unit that is not before it.
        let first = from.div_euclid(self.unit) + i64::from(from.rem_euclid(self.unit) != 0);
        self.packed.keep_within(number(first).max(1), u64::MAX, mask);
    }

    /// Bytes on the heap.
    pub(in crate::index) const fn bytes(&self) -> usize {
        self.packed.bytes()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn all(times: &Times, len: usize) -> Vec<i64> {
        (0..len).map(|at| times.get(at)).collect()
    }

    fn kept(times: &Times, len: usize, from: i64) -> Vec<usize> {
        let mut mask = Mask::first(len);
        times.keep_from(from, &mut mask);
        mask.places().collect()
    }

    #[test]
    fn times_come_back_whatever_their_form() {
        let second = 1_772_965_800 * SECOND;
        let mut times = Times::default();
        let mut expected = Vec::new();
        for value in [Times::NONE, second, Times::NONE, second + 1, -5, i64::MAX] {
            times.insert(0, expected.len(), value);
            expected.insert(0, value);
            assert_eq!(all(&times, expected.len()), expected);
        }
        assert_eq!(kept(&times, 6, second), [0, 2, 4]);
        assert_eq!(kept(&times, 6, i64::MIN), [0, 1, 2, 4]);
        let rest = times.split_off(4);
        assert_eq!(rest.bytes(), 16);
        times.insert(4, 4, rest.get(0));
        times.insert(5, 5, rest.get(1));
        times.remove(0);
        assert_eq!(all(&times, 5), expected[1..]);
        let mut of_seconds = Times::of(&[second, Times::NONE, -3 * SECOND]);
        assert_eq!((of_seconds.unit, of_seconds.bytes()), (SECOND, 12));
        assert_eq!(kept(&of_seconds, 3, second + 1), [0; 0]);
        assert_eq!(kept(&of_seconds, 3, second - 1), [0]);
        assert_eq!(kept(&of_seconds, 3, -3 * SECOND - 1), [0, 2]);
        of_seconds.insert(3, 3, second + 1);
        assert_eq!(all(&of_seconds, 4), [second, Times::NONE, -3 * SECOND, second + 1]);
    }
}
