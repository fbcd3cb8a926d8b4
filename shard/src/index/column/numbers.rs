//! Numbers as fixed point where that is exact.

use super::{fitting, insert, remove, split_off};

/// Numbers of rows, NaN where a row has none.
#[derive(Debug, Clone, Default)]
pub(in crate::index) enum Numbers {
    /// No row has one.
    #[default]
    Absent,
    /// Each times `scale` is a whole number of 16 bits.
    Short { scale: f64, values: Vec<i16> },
    /// Each times `scale` is a whole number of 32 bits.
    Long { scale: f64, values: Vec<i32> },
    /// As they are.
    Exact(Vec<f64>),
}

/// What is tried, narrowest first: counts, quarters of them, amounts, cents, coordinates.
const SHORT_SCALES: [f64; 2] = [1.0, 100.0];
const LONG_SCALES: [f64; 3] = [1.0, 100.0, 1e7];

/// Stands for NaN.
const NO_SHORT: i16 = i16::MIN;
const NO_LONG: i32 = i32::MIN;

/// The whole number that `value` is `scale` times of, if it is exactly one within `max`.
fn whole(value: f64, scale: f64, max: f64) -> Option<f64> {
    let scaled = (value * scale).round();
    (scaled.abs() <= max && scaled / scale == value).then_some(scaled)
}

#[expect(clippy::cast_possible_truncation, reason = "whole and within the bounds of 16 bits")]
fn short(value: f64, scale: f64) -> Option<i16> {
    if value.is_nan() {
        return Some(NO_SHORT);
    }
    whole(value, scale, f64::from(i16::MAX)).map(|scaled| scaled as i16)
}

#[expect(clippy::cast_possible_truncation, reason = "whole and within the bounds of 32 bits")]
fn long(value: f64, scale: f64) -> Option<i32> {
    if value.is_nan() {
        return Some(NO_LONG);
    }
    whole(value, scale, f64::from(i32::MAX)).map(|scaled| scaled as i32)
}

/// The number that a whole one stands for; most are whole themselves, and dividing takes time.
fn unscaled(whole: f64, scale: f64) -> f64 {
    if scale == 1.0 { whole } else { whole / scale }
}

fn from_short(value: i16, scale: f64) -> f64 {
    if value == NO_SHORT { f64::NAN } else { unscaled(f64::from(value), scale) }
}

fn from_long(value: i32, scale: f64) -> f64 {
    if value == NO_LONG { f64::NAN } else { unscaled(f64::from(value), scale) }
}

impl Numbers {
    /// The narrowest column of `values`.
    pub(in crate::index) fn of(values: &[f64]) -> Self {
        if values.iter().all(|value| value.is_nan()) {
            return Self::Absent;
        }
        for scale in SHORT_SCALES {
            if let Some(values) = fitting(values, |value| short(*value, scale)) {
                return Self::Short { scale, values };
            }
        }
        for scale in LONG_SCALES {
            if let Some(values) = fitting(values, |value| long(*value, scale)) {
                return Self::Long { scale, values };
            }
        }
        Self::Exact(values.to_vec())
    }

    /// The number of a row; NaN if it has none.
    pub(in crate::index) fn get(&self, at: usize) -> f64 {
        match self {
            Self::Absent => f64::NAN,
            Self::Short { scale, values } => {
                values.get(at).map_or(f64::NAN, |value| from_short(*value, *scale))
            }
            Self::Long { scale, values } => {
                values.get(at).map_or(f64::NAN, |value| from_long(*value, *scale))
            }
            Self::Exact(values) => values.get(at).copied().unwrap_or(f64::NAN),
        }
    }

    fn decoded(&self, len: usize) -> Vec<f64> {
        (0..len).map(|at| self.get(at)).collect()
    }

    /// Inserts the number of a row into a column of `len` rows.
    pub(in crate::index) fn insert(&mut self, at: usize, len: usize, value: f64) {
        match self {
            Self::Absent if value.is_nan() => return,
            Self::Short { scale, values } => {
                if let Some(value) = short(value, *scale) {
                    return insert(values, at, value);
                }
            }
            Self::Long { scale, values } => {
                if let Some(value) = long(value, *scale) {
                    return insert(values, at, value);
                }
            }
            Self::Exact(values) => return insert(values, at, value),
            Self::Absent => {}
        }
        let mut values = self.decoded(len);
        values.insert(at.min(len), value);
        *self = Self::of(&values);
    }

    /// Takes the number of a row out.
    pub(in crate::index) fn remove(&mut self, at: usize) {
        match self {
            Self::Absent => {}
            Self::Short { values, .. } => remove(values, at),
            Self::Long { values, .. } => remove(values, at),
            Self::Exact(values) => remove(values, at),
        }
    }

    /// Takes the rows from `at` on out.
    pub(in crate::index) fn split_off(&mut self, at: usize) -> Self {
        match self {
            Self::Absent => Self::Absent,
            Self::Short { scale, values } => {
                Self::Short { scale: *scale, values: split_off(values, at) }
            }
            Self::Long { scale, values } => {
                Self::Long { scale: *scale, values: split_off(values, at) }
            }
            Self::Exact(values) => Self::Exact(split_off(values, at)),
        }
    }

    /// Keeps the rows wanted whose number lies within `min..=max`; NaN does not.
    pub(in crate::index) fn keep_within(&self, min: f64, max: f64, mask: &mut [u8]) {
        match self {
            Self::Absent => mask.fill(0),
            Self::Short { scale, values } => {
                let most = i32::from(i16::MAX);
                let (low, high) = whole_range(min, max, *scale, most);
                for (wanted, value) in mask.iter_mut().zip(values) {
                    let value = i32::from(*value);
                    *wanted &= u8::from(value >= low) & u8::from(value <= high);
                }
            }
            Self::Long { scale, values } => {
                let (low, high) = whole_range(min, max, *scale, i32::MAX);
                for (wanted, value) in mask.iter_mut().zip(values) {
                    *wanted &= u8::from(*value >= low) & u8::from(*value <= high);
                }
            }
            Self::Exact(values) => {
                for (wanted, value) in mask.iter_mut().zip(values) {
                    *wanted &= u8::from(*value >= min) & u8::from(*value <= max);
                }
            }
        }
    }

    /// Bytes on the heap.
    pub(in crate::index) fn bytes(&self) -> usize {
        match self {
            Self::Absent => 0,
            Self::Short { values, .. } => values.capacity() * 2,
            Self::Long { values, .. } => values.capacity() * 4,
            Self::Exact(values) => values.capacity() * 8,
        }
    }
}

/// The whole numbers within `-most..=most` that stand for numbers within `min..=max`.
///
/// Rounded to the right neighbourhood, then moved until decoding agrees: the comparison must be that
/// of the numbers themselves.
fn whole_range(min: f64, max: f64, scale: f64, most: i32) -> (i32, i32) {
    let stands_for = |whole: i32| f64::from(whole) / scale;
    let start = |bound: f64| {
        let scaled = (bound * scale).round();
        let most = f64::from(most);
        #[expect(clippy::cast_possible_truncation, reason = "clamped to 32 bits")]
        let whole = scaled.clamp(-most, most) as i32;
        whole
    };
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
    // All of them are below or above: an empty range.
    if stands_for(low) < min || stands_for(high) > max { (1, 0) } else { (low, high) }
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
            prop_assert!(column.decoded(values.len()).iter().zip(&values).all(|(a, b)| same(*a, *b)));
            let split = split.min(values.len());
            let rest = column.split_off(split);
            for (nth, value) in rest.decoded(values.len() - split).into_iter().enumerate() {
                column.insert(split + nth, split + nth, value);
            }
            column.remove(0);
            values.remove(0);
            let mut mask = vec![1; values.len()];
            column.keep_within(min, max, &mut mask);
            for (at, value) in values.iter().enumerate() {
                prop_assert!(same(column.get(at), *value));
                prop_assert_eq!(mask[at] == 1, *value >= min && *value <= max, "{} {} {}", value, min, max);
            }
            // Bounds that are values themselves.
            for bound in values.iter().filter(|it| !it.is_nan()) {
                let mut mask = vec![1; values.len()];
                column.keep_within(*bound, f64::MAX, &mut mask);
                let expected: Vec<u8> = values.iter().map(|it| u8::from(it >= bound)).collect();
                prop_assert_eq!(mask, expected);
            }
        }
    }

    #[test]
    fn common_numbers_take_few_bytes() {
        let narrow = |values: &[f64]| Numbers::of(values).bytes() / values.len();
        assert_eq!(narrow(&[1.0, 2.0, f64::NAN]), 2);
        assert_eq!(narrow(&[1.0, 2.25]), 2);
        assert_eq!(narrow(&[385_000.0, 1_250_000.5]), 4);
        assert_eq!(narrow(&[45.4726, -9.186_123_4]), 4);
        assert_eq!(narrow(&[45.472_612_345_678, 1.0]), 8);
        assert_eq!(narrow(&[f64::NAN]), 0);
    }
}
