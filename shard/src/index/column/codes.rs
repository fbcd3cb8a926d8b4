//! Codes of a dictionary, in as many bytes as the greatest of the leaf needs.

use super::{
    super::mask::{Mask, ROWS_MAX},
    packed::Packed,
};

/// Codes of rows; a row may have none. In place of a code stands one more than it.
#[derive(Debug, Clone, Default)]
pub(in crate::index) struct Codes(Packed);

/// What stands for a code in a column; 0 for none.
fn stored(code: Option<u32>) -> u32 {
    code.map_or(0, |code| code.saturating_add(1))
}

impl Codes {
    /// The code of a row.
    #[inline]
    pub(in crate::index) fn get(&self, at: usize) -> Option<u32> {
        u32::try_from(self.0.stored(at)).ok()?.checked_sub(1)
    }

    /// Inserts the code of a row into a column of `len` rows.
    pub(in crate::index) fn insert(&mut self, at: usize, len: usize, code: Option<u32>) {
        let number = stored(code).into();
        if !self.0.insert(at, number) {
            let mut numbers = self.0.numbers(len);
            numbers.insert(at.min(len), number);
            self.0 = Packed::plain(&numbers);
        }
    }

    /// Takes the code of a row out.
    pub(in crate::index) fn remove(&mut self, at: usize) {
        self.0.remove(at);
    }

    /// Takes the rows from `at` on out.
    pub(in crate::index) fn split_off(&mut self, at: usize) -> Self {
        Self(self.0.split_off(at))
    }

    /// Keeps the rows whose code is in the set.
    pub(in crate::index) fn keep_in(&self, set: &CodeSet, mask: &mut Mask) {
        match set.only {
            // A single code is compared with many rows at once.
            Some(only) => self.0.keep_within(only.into(), only.into(), mask),
            None => self.0.keep_stored(|value| set.has_stored(value), mask),
        }
    }

    /// One more than the codes of some rows, 0 = none, in a list.
    #[inline]
    pub(in crate::index) fn list<'a>(
        &self,
        rows: &[u16],
        room: &'a mut [u32; ROWS_MAX],
    ) -> &'a [u32] {
        let mut slots = room.iter_mut();
        self.0.each_stored(rows, |value| {
            if let Some(slot) = slots.next() {
                *slot = u32::try_from(value).unwrap_or(0);
            }
        });
        room.get(..rows.len()).unwrap_or_default()
    }

    /// Counts the codes of some rows into `counts`, which is indexed by one more than the code, 0 =
    /// none, and grows as needed.
    pub(in crate::index) fn count(&self, rows: &[u16], counts: &mut Vec<u32>) {
        self.0.each_stored(rows, |value| {
            let place = usize::try_from(value).unwrap_or(usize::MAX);
            if counts.len() <= place {
                counts.resize(place + 1, 0);
            }
            if let Some(count) = counts.get_mut(place) {
                *count += 1;
            }
        });
    }

    /// Fetches the column from memory at once.
    #[inline]
    pub(in crate::index) fn fetch(&self) {
        self.0.fetch();
    }

    /// Bytes on the heap.
    pub(in crate::index) const fn bytes(&self) -> usize {
        self.0.bytes()
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

    fn has_stored(&self, value: u64) -> bool {
        let place = usize::try_from(value / 64).unwrap_or(usize::MAX);
        let word = self.bits.get(place).copied().unwrap_or(0);
        word >> (value % 64) & 1 == 1
    }

    /// Whether a code, if any, is in the set.
    pub(in crate::index) fn has(&self, code: Option<u32>) -> bool {
        self.has_stored(stored(code).into())
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
        let kept = |codes: &Codes, set: &CodeSet| {
            let mut mask = Mask::first(7);
            codes.keep_in(set, &mut mask);
            mask.places().collect::<Vec<_>>()
        };
        assert_eq!(kept(&codes, &set), [1, 5]);
        assert_eq!(kept(&codes, &CodeSet::new([255])), [2]);
        assert_eq!(kept(&Codes::default(), &set), [0; 0]);
        assert!(set.has(Some(3)) && !set.has(Some(2)) && !set.has(None));
        let rest = codes.split_off(5);
        codes.insert(5, 5, rest.get(0));
        codes.insert(6, 6, rest.get(1));
        codes.remove(1);
        let mut counts = Vec::new();
        codes.count(&[0, 1, 3], &mut counts);
        assert_eq!((counts[0], counts[1], counts[256]), (1, 1, 1), "none, 0 and 255");
        assert_eq!((codes.bytes() / 4 >= 6, Codes::default().bytes()), (true, 0));
    }
}
