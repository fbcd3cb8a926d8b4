//! Times as seconds where that is exact.

use super::{fitting, insert, remove, split_off};

/// Times of rows in microseconds since the Unix epoch, [`Times::NONE`] where a row has none.
#[derive(Debug, Clone, Default)]
pub(in crate::index) enum Times {
    /// No row has one.
    #[default]
    Absent,
    /// Each is a whole second of the years 1970 to 2106.
    Seconds(Vec<u32>),
    /// As they are.
    Micros(Vec<i64>),
}

const MICROS: i64 = 1_000_000;
const NO_SECOND: u32 = u32::MAX;

fn second(micros: i64) -> Option<u32> {
    if micros == Times::NONE {
        return Some(NO_SECOND);
    }
    let whole = micros % MICROS == 0;
    u32::try_from(micros / MICROS).ok().filter(|second| whole && *second != NO_SECOND)
}

fn micros(second: u32) -> i64 {
    if second == NO_SECOND { Times::NONE } else { i64::from(second) * MICROS }
}

impl Times {
    /// Before every time that can be written.
    pub(in crate::index) const NONE: i64 = i64::MIN;

    fn of(values: &[i64]) -> Self {
        if values.iter().all(|value| *value == Self::NONE) {
            return Self::Absent;
        }
        match fitting(values, |value| second(*value)) {
            Some(seconds) => Self::Seconds(seconds),
            None => Self::Micros(values.to_vec()),
        }
    }

    /// The time of a row.
    pub(in crate::index) fn get(&self, at: usize) -> i64 {
        match self {
            Self::Absent => Self::NONE,
            Self::Seconds(values) => values.get(at).map_or(Self::NONE, |value| micros(*value)),
            Self::Micros(values) => values.get(at).copied().unwrap_or(Self::NONE),
        }
    }

    fn decoded(&self, len: usize) -> Vec<i64> {
        (0..len).map(|at| self.get(at)).collect()
    }

    /// Inserts the time of a row into a column of `len` rows.
    pub(in crate::index) fn insert(&mut self, at: usize, len: usize, value: i64) {
        match self {
            Self::Absent if value == Self::NONE => return,
            Self::Seconds(values) => {
                if let Some(value) = second(value) {
                    return insert(values, at, value);
                }
            }
            Self::Micros(values) => return insert(values, at, value),
            Self::Absent => {}
        }
        let mut values = self.decoded(len);
        values.insert(at.min(len), value);
        *self = Self::of(&values);
    }

    /// Takes the time of a row out.
    pub(in crate::index) fn remove(&mut self, at: usize) {
        match self {
            Self::Absent => {}
            Self::Seconds(values) => remove(values, at),
            Self::Micros(values) => remove(values, at),
        }
    }

    /// Takes the rows from `at` on out.
    pub(in crate::index) fn split_off(&mut self, at: usize) -> Self {
        match self {
            Self::Absent => Self::Absent,
            Self::Seconds(values) => Self::Seconds(split_off(values, at)),
            Self::Micros(values) => Self::Micros(split_off(values, at)),
        }
    }

    /// Keeps the rows wanted whose time is `from` or later.
    pub(in crate::index) fn keep_from(&self, from: i64, mask: &mut [u8]) {
        match self {
            Self::Absent => mask.fill(0),
            Self::Seconds(values) => {
                for (wanted, value) in mask.iter_mut().zip(values) {
                    let late = *value != NO_SECOND && i64::from(*value) * MICROS >= from;
                    *wanted &= u8::from(late);
                }
            }
            Self::Micros(values) => {
                for (wanted, value) in mask.iter_mut().zip(values) {
                    *wanted &= u8::from(*value != Self::NONE && *value >= from);
                }
            }
        }
    }

    /// Bytes on the heap.
    pub(in crate::index) fn bytes(&self) -> usize {
        match self {
            Self::Absent => 0,
            Self::Seconds(values) => values.capacity() * 4,
            Self::Micros(values) => values.capacity() * 8,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_come_back_whatever_their_form() {
        let second = 1_772_965_800 * MICROS;
        let mut times = Times::default();
        let mut expected = Vec::new();
        for value in [Times::NONE, second, Times::NONE, second + 1, -5, i64::MAX] {
            times.insert(0, expected.len(), value);
            expected.insert(0, value);
            assert_eq!(times.decoded(expected.len()), expected);
        }
        let mut mask = vec![1; 6];
        times.keep_from(second, &mut mask);
        assert_eq!(mask, [1, 0, 1, 0, 1, 0]);
        let rest = times.split_off(4);
        assert!(matches!(rest, Times::Micros(_)) && rest.bytes() == 16);
        times.insert(4, 4, rest.get(0));
        times.insert(5, 5, rest.get(1));
        times.remove(0);
        assert_eq!(times.decoded(5), expected[1..]);
        let mut of_seconds = Times::of(&[second, Times::NONE]);
        assert!(matches!(of_seconds, Times::Seconds(_)));
        let mut mask = vec![1, 1];
        of_seconds.keep_from(second + 1, &mut mask);
        assert_eq!(mask, [0, 0]);
        of_seconds.insert(2, 2, second + 1);
        assert_eq!(of_seconds.decoded(3), [second, Times::NONE, second + 1]);
    }
}
