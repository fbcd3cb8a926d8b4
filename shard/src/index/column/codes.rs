//! Codes of a dictionary, in as many bytes as the greatest of the leaf needs.

use super::{fitting, insert, remove, split_off};

/// Codes of rows; a row may have none.
#[derive(Debug, Clone, Default)]
pub(in crate::index) enum Codes {
    /// No row has one.
    #[default]
    Absent,
    /// One more than the code, 0 = none.
    One(Vec<u8>),
    /// Likewise.
    Two(Vec<u16>),
    /// Likewise.
    Four(Vec<u32>),
}

/// What stands for a code in a column; 0 for none.
fn stored(code: Option<u32>) -> u32 {
    code.map_or(0, |code| code.saturating_add(1))
}

impl Codes {
    fn of(values: &[u32]) -> Self {
        let greatest = values.iter().copied().max().unwrap_or_default();
        if greatest == 0 {
            return Self::Absent;
        }
        if let Some(values) = fitting(values, |value| u8::try_from(*value).ok()) {
            return Self::One(values);
        }
        match fitting(values, |value| u16::try_from(*value).ok()) {
            Some(values) => Self::Two(values),
            None => Self::Four(values.to_vec()),
        }
    }

    fn raw(&self, at: usize) -> u32 {
        match self {
            Self::Absent => 0,
            Self::One(values) => values.get(at).copied().map_or(0, u32::from),
            Self::Two(values) => values.get(at).copied().map_or(0, u32::from),
            Self::Four(values) => values.get(at).copied().unwrap_or(0),
        }
    }

    /// The code of a row.
    pub(in crate::index) fn get(&self, at: usize) -> Option<u32> {
        self.raw(at).checked_sub(1)
    }

    fn decoded(&self, len: usize) -> Vec<u32> {
        (0..len).map(|at| self.raw(at)).collect()
    }

    /// Inserts the code of a row into a column of `len` rows.
    pub(in crate::index) fn insert(&mut self, at: usize, len: usize, code: Option<u32>) {
        let value = stored(code);
        match self {
            Self::Absent if value == 0 => return,
            Self::One(values) => {
                if let Ok(value) = u8::try_from(value) {
                    return insert(values, at, value);
                }
            }
            Self::Two(values) => {
                if let Ok(value) = u16::try_from(value) {
                    return insert(values, at, value);
                }
            }
            Self::Four(values) => return insert(values, at, value),
            Self::Absent => {}
        }
        let mut values = self.decoded(len);
        values.insert(at.min(len), value);
        *self = Self::of(&values);
    }

    /// Takes the code of a row out.
    pub(in crate::index) fn remove(&mut self, at: usize) {
        match self {
            Self::Absent => {}
            Self::One(values) => remove(values, at),
            Self::Two(values) => remove(values, at),
            Self::Four(values) => remove(values, at),
        }
    }

    /// Takes the rows from `at` on out.
    pub(in crate::index) fn split_off(&mut self, at: usize) -> Self {
        match self {
            Self::Absent => Self::Absent,
            Self::One(values) => Self::One(split_off(values, at)),
            Self::Two(values) => Self::Two(split_off(values, at)),
            Self::Four(values) => Self::Four(split_off(values, at)),
        }
    }

    /// Keeps the rows wanted whose code is in the set.
    pub(in crate::index) fn keep_in(&self, set: &CodeSet, mask: &mut [u8]) {
        fn keep<T: Copy + Into<u32> + TryFrom<u32> + PartialEq>(
            values: &[T],
            set: &CodeSet,
            mask: &mut [u8],
        ) {
            // A single code is compared with many rows at once.
            if let Some(only) = set.only {
                return match T::try_from(only) {
                    Ok(only) => {
                        for (wanted, value) in mask.iter_mut().zip(values) {
                            *wanted &= u8::from(*value == only);
                        }
                    }
                    Err(_wider) => mask.fill(0),
                };
            }
            for (wanted, value) in mask.iter_mut().zip(values) {
                if *wanted != 0 {
                    *wanted = u8::from(set.has_stored((*value).into()));
                }
            }
        }
        match self {
            Self::Absent => mask.fill(0),
            Self::One(values) => keep(values, set, mask),
            Self::Two(values) => keep(values, set, mask),
            Self::Four(values) => keep(values, set, mask),
        }
    }

    /// Counts the codes of some rows into `counts`, which is indexed by one more than the code, 0 =
    /// none, and grows as needed.
    pub(in crate::index) fn count(&self, rows: &[u16], counts: &mut Vec<u32>) {
        fn tally<T: Copy + Into<u32>>(values: &[T], rows: &[u16], counts: &mut Vec<u32>) {
            for at in rows {
                let Some(value) = values.get(usize::from(*at)) else {
                    continue;
                };
                let place = (*value).into() as usize;
                if counts.len() <= place {
                    counts.resize(place + 1, 0);
                }
                if let Some(count) = counts.get_mut(place) {
                    *count += 1;
                }
            }
        }
        match self {
            Self::Absent => {
                if counts.is_empty() {
                    counts.push(0);
                }
                if let (Some(none), Ok(rows)) = (counts.first_mut(), u32::try_from(rows.len())) {
                    *none += rows;
                }
            }
            Self::One(values) => tally(values, rows, counts),
            Self::Two(values) => tally(values, rows, counts),
            Self::Four(values) => tally(values, rows, counts),
        }
    }

    /// Bytes on the heap.
    pub(in crate::index) fn bytes(&self) -> usize {
        match self {
            Self::Absent => 0,
            Self::One(values) => values.capacity(),
            Self::Two(values) => values.capacity() * 2,
            Self::Four(values) => values.capacity() * 4,
        }
    }
}

/// A set of codes.
#[derive(Debug, Clone, Default)]
pub(in crate::index) struct CodeSet {
    /// By one more than the code; the place of "none" is never set.
    bits: Vec<u64>,
    /// What stands for the code, if there is but one.
    only: Option<u32>,
    /// [`bloom`] of the codes.
    pub(in crate::index) bloom: u64,
}

/// A set of codes in 64 bits: what is not in it is not in the set.
pub(in crate::index) const fn bloom(code: u32) -> u64 {
    1 << (code % 64)
}

impl CodeSet {
    pub(in crate::index) fn new(codes: impl IntoIterator<Item = u32>) -> Self {
        let mut set = Self::default();
        for code in codes {
            let place = stored(Some(code)) as usize;
            if set.bits.len() <= place / 64 {
                set.bits.resize(place / 64 + 1, 0);
            }
            let is_first = set.bloom == 0;
            set.only = is_first.then(|| stored(Some(code)));
            if let Some(word) = set.bits.get_mut(place / 64) {
                *word |= 1 << (place % 64);
            }
            set.bloom |= bloom(code);
        }
        set
    }

    fn has_stored(&self, value: u32) -> bool {
        let word = self.bits.get(value as usize / 64).copied().unwrap_or(0);
        word >> (value % 64) & 1 == 1
    }

    /// Whether a code, if any, is in the set.
    pub(in crate::index) fn has(&self, code: Option<u32>) -> bool {
        self.has_stored(stored(code))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn codes_widen_as_they_must_and_come_back() {
        let mut codes = Codes::default();
        let mut expected = Vec::new();
        for code in [None, Some(3), None, Some(254), Some(255), Some(70_000), Some(0)] {
            codes.insert(0, expected.len(), code);
            expected.insert(0, code);
            let seen: Vec<_> = (0..expected.len()).map(|at| codes.get(at)).collect();
            assert_eq!(seen, expected);
        }
        let set = CodeSet::new([70_000, 3]);
        let mut mask = vec![1; 7];
        codes.keep_in(&set, &mut mask);
        assert_eq!(mask, [0, 1, 0, 0, 0, 1, 0]);
        assert!(set.has(Some(3)) && !set.has(Some(2)) && !set.has(None));
        let rest = codes.split_off(5);
        assert!(matches!(rest, Codes::Four(_)));
        codes.insert(5, 5, rest.get(0));
        codes.insert(6, 6, rest.get(1));
        codes.remove(1);
        assert!(matches!(codes, Codes::Four(_)));
        let mut counts = Vec::new();
        codes.count(&[0, 1, 3], &mut counts);
        assert_eq!((counts[0], counts[1], counts[256]), (1, 1, 1), "none, 0 and 255");
        assert!(matches!(Codes::of(&[0, 0]), Codes::Absent));
    }
}
