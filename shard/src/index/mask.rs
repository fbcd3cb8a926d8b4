//! Some of the rows of a leaf, as bits.

/// Rows of a leaf at most. Fewer make a change copy less; more make a scan pass over fewer leaves, each of
/// which costs something whatever is in it; 512 measured better than 256 for most queries.
pub(super) const ROWS_MAX: usize = 512;

const WORD_BITS: usize = 64;
const WORDS: usize = ROWS_MAX / WORD_BITS;

/// Rows of a word that are looked at one by one rather than all at once.
const FEW: u32 = 6;

/// Some of the rows of a leaf: one cache line.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[repr(align(64))]
pub(super) struct Mask([u64; WORDS]);

/// The bits below a place of a word.
const fn below(place: usize) -> u64 {
    (1 << place) - 1
}

/// The results of a test of up to 64 values, as bits.
///
/// Bytes first, since a loop over them is one that compilers turn into vector instructions.
#[inline]
fn marks<T: Copy>(values: &[T], test: impl Fn(T) -> bool) -> u64 {
    /// Gathers the lowest bits of eight bytes in the highest byte of the product.
    const GATHER: u64 = 0x0102_0408_1020_4080;
    let mut bytes = [0_u8; WORD_BITS];
    for (byte, value) in bytes.iter_mut().zip(values) {
        *byte = u8::from(test(*value));
    }
    let (eights, _) = bytes.as_chunks::<8>();
    eights.iter().rev().fold(0, |word, eight| {
        (word << 8) | (u64::from_le_bytes(*eight).wrapping_mul(GATHER) >> 56)
    })
}

impl Mask {
    /// The first rows.
    pub(super) fn first(rows: usize) -> Self {
        let mut mask = Self::default();
        for (nth, word) in mask.0.iter_mut().enumerate() {
            let left = rows.saturating_sub(nth * WORD_BITS);
            *word = if left >= WORD_BITS { u64::MAX } else { below(left) };
        }
        mask
    }

    /// One row.
    pub(super) fn only(place: usize) -> Self {
        let mut mask = Self::default();
        mask.set(place);
        mask
    }

    /// How many rows.
    pub(super) fn count(&self) -> usize {
        self.0.iter().map(|word| word.count_ones() as usize).sum()
    }

    pub(super) fn is_empty(&self) -> bool {
        self.0.iter().fold(0, |all, word| all | word) == 0
    }

    pub(super) fn clear(&mut self) {
        *self = Self::default();
    }

    /// Whether it has the row at a place.
    pub(super) fn has(&self, place: usize) -> bool {
        self.0.get(place / WORD_BITS).is_some_and(|word| word >> (place % WORD_BITS) & 1 == 1)
    }

    /// Takes the row at a place in.
    pub(super) fn set(&mut self, place: usize) {
        if let Some(word) = self.0.get_mut(place / WORD_BITS) {
            *word |= 1 << (place % WORD_BITS);
        }
    }

    /// Leaves the row at a place out.
    pub(super) fn unset(&mut self, place: usize) {
        if let Some(word) = self.0.get_mut(place / WORD_BITS) {
            *word &= !(1 << (place % WORD_BITS));
        }
    }

    /// Keeps the rows that the other has, too.
    pub(super) fn keep(&mut self, other: &Self) {
        for (word, other) in self.0.iter_mut().zip(other.0) {
            *word &= other;
        }
    }

    /// Keeps the rows that the other lacks.
    pub(super) fn leave_out(&mut self, other: &Self) {
        for (word, other) in self.0.iter_mut().zip(other.0) {
            *word &= !other;
        }
    }

    /// Takes the rows of the other in.
    pub(super) fn join(&mut self, other: &Self) {
        for (word, other) in self.0.iter_mut().zip(other.0) {
            *word |= other;
        }
    }

    /// Keeps the rows whose value passes a test that costs next to nothing.
    #[inline]
    pub(super) fn keep_values<T: Copy>(&mut self, values: &[T], test: impl Fn(T) -> bool) {
        for (word, values) in self.0.iter_mut().zip(values.chunks(WORD_BITS)) {
            if *word == 0 {
                continue;
            }
            if word.count_ones() > FEW {
                *word &= marks(values, &test);
                continue;
            }
            let mut left = *word;
            while left != 0 {
                let bit = left & left.wrapping_neg();
                let value = values.get(left.trailing_zeros() as usize);
                if !value.is_some_and(|value| test(*value)) {
                    *word &= !bit;
                }
                left &= !bit;
            }
        }
    }

    /// Keeps the rows whose place passes a test.
    #[inline]
    pub(super) fn keep_places(&mut self, mut test: impl FnMut(usize) -> bool) {
        for at in self.places() {
            if !test(at) {
                self.unset(at);
            }
        }
    }

    /// Makes room for a row at a place; those from there on move one up.
    pub(super) fn insert(&mut self, place: usize, value: bool) {
        let mut carry = u64::from(value);
        for (nth, word) in self.0.iter_mut().enumerate().skip(place / WORD_BITS) {
            let stay = if nth == place / WORD_BITS { below(place % WORD_BITS) } else { 0 };
            let next = *word >> (WORD_BITS - 1);
            let moved = (*word & !stay) << 1;
            *word = (*word & stay) | moved | (carry << stay.count_ones());
            carry = next;
        }
    }

    /// Takes the row at a place out; those behind it move one down.
    pub(super) fn remove(&mut self, place: usize) {
        let mut carry = 0;
        for (nth, word) in self.0.iter_mut().enumerate().skip(place / WORD_BITS).rev() {
            let stay = if nth == place / WORD_BITS { below(place % WORD_BITS) } else { 0 };
            let next = *word >> stay.count_ones() & 1;
            let moved = (*word >> 1) & !stay;
            *word = (*word & stay) | moved | (carry << (WORD_BITS - 1));
            carry = next;
        }
    }

    /// Takes the rows from a place on out.
    pub(super) fn split_off(&mut self, place: usize) -> Self {
        let mut rest = Self::default();
        self.places().skip_while(|at| *at < place).for_each(|at| rest.set(at - place));
        self.keep(&Self::first(place));
        rest
    }

    /// The places of the rows, ascending.
    pub(super) const fn places(&self) -> Places {
        Places { words: self.0, at: 0 }
    }

    /// The places of the rows in a list.
    pub(super) fn list<'a>(&self, room: &'a mut [u16; ROWS_MAX]) -> &'a [u16] {
        let mut len = 0;
        for (slot, place) in room.iter_mut().zip(self.places()) {
            *slot = u16::try_from(place).unwrap_or(u16::MAX);
            len += 1;
        }
        room.get(..len).unwrap_or_default()
    }
}

/// The places of a mask, ascending.
#[derive(Debug, Clone)]
pub(super) struct Places {
    /// The words, without the bits that were given.
    words: [u64; WORDS],
    /// The current word.
    at: usize,
}

impl Iterator for Places {
    type Item = usize;

    #[inline]
    fn next(&mut self) -> Option<usize> {
        loop {
            let word = self.words.get_mut(self.at)?;
            if *word != 0 {
                let bit = word.trailing_zeros() as usize;
                *word &= *word - 1;
                return Some(self.at * WORD_BITS + bit);
            }
            self.at += 1;
        }
    }
}

/// A number of `N` bits for each row of a leaf, bit by bit: comparing all of them takes as many steps
/// over a cache line as there are bits.
#[derive(Debug, Clone, Copy)]
pub(super) struct Planes<const N: usize>([Mask; N]);

impl<const N: usize> Default for Planes<N> {
    fn default() -> Self {
        Self([Mask::default(); N])
    }
}

impl<const N: usize> Planes<N> {
    /// The number of a row.
    #[inline]
    pub(super) fn get(&self, at: usize) -> u8 {
        self.0.iter().rev().fold(0, |number, plane| (number << 1) | u8::from(plane.has(at)))
    }

    /// Gives a row another number.
    pub(super) fn set(&mut self, at: usize, number: u8) {
        for (bit, plane) in self.0.iter_mut().enumerate() {
            if number >> bit & 1 == 1 { plane.set(at) } else { plane.unset(at) }
        }
    }

    /// Keeps the rows whose number is this one in the bits of `which`.
    #[inline]
    pub(super) fn keep_equal(&self, number: u8, which: u8, mask: &mut Mask) {
        for (bit, plane) in self.0.iter().enumerate().filter(|(bit, _)| which >> bit & 1 == 1) {
            if number >> bit & 1 == 1 { mask.keep(plane) } else { mask.leave_out(plane) }
        }
    }

    /// Shows the numbers of some rows.
    #[inline]
    pub(super) fn each(&self, rows: &Mask, mut visit: impl FnMut(u8)) {
        for (nth, word) in rows.0.iter().enumerate() {
            let planes: [u64; N] = std::array::from_fn(|bit| {
                self.0.get(bit).and_then(|it| it.0.get(nth)).map_or(0, |it| *it)
            });
            let mut left = *word;
            while left != 0 {
                let at = left.trailing_zeros();
                left &= left - 1;
                let bits = planes.iter().rev();
                visit(bits.fold(0, |number, plane| (number << 1) | (plane >> at & 1) as u8));
            }
        }
    }

    pub(super) fn insert(&mut self, at: usize, number: u8) {
        for (bit, plane) in self.0.iter_mut().enumerate() {
            plane.insert(at, number >> bit & 1 == 1);
        }
    }

    pub(super) fn remove(&mut self, at: usize) {
        self.0.iter_mut().for_each(|plane| plane.remove(at));
    }

    pub(super) fn split_off(&mut self, at: usize) -> Self {
        Self(self.0.each_mut().map(|plane| plane.split_off(at)))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn mask_of(bits: &[bool]) -> Mask {
        let mut mask = Mask::default();
        (0..bits.len()).filter(|at| bits[*at]).for_each(|at| mask.set(at));
        mask
    }

    fn bits_of(mask: &Mask, len: usize) -> Vec<bool> {
        assert_eq!(mask.places().find(|at| *at >= len), None);
        (0..len).map(|at| mask.has(at)).collect()
    }

    proptest! {
        #[test]
        fn masks_change_as_lists_of_bits_do(
            mut bits in prop::collection::vec(any::<bool>(), 0..ROWS_MAX),
            other in prop::collection::vec(any::<bool>(), ROWS_MAX),
            at in any::<prop::sample::Index>(), value in any::<bool>(),
        ) {
            let mut mask = mask_of(&bits);
            let place = at.index(bits.len() + 1);
            mask.insert(place, value);
            bits.insert(place, value);
            prop_assert_eq!(bits_of(&mask, bits.len()), bits.clone());
            prop_assert_eq!(mask.count(), bits.iter().filter(|bit| **bit).count());
            prop_assert_eq!(mask.is_empty(), !bits.contains(&true));
            let expected: Vec<usize> = (0..bits.len()).filter(|at| bits[*at]).collect();
            prop_assert_eq!(&mask.places().collect::<Vec<_>>(), &expected);
            let mut room = [0; ROWS_MAX];
            let list: Vec<usize> = mask.list(&mut room).iter().map(|at| usize::from(*at)).collect();
            prop_assert_eq!(list, expected);
            let mut tested = mask;
            tested.keep_values(&other[..bits.len()], |it| it);
            let mut kept = mask;
            kept.keep(&mask_of(&other));
            prop_assert_eq!(tested, kept);
            let mut left_out = mask;
            left_out.leave_out(&mask_of(&other));
            kept.join(&left_out);
            prop_assert_eq!(kept, mask);
            let gone = at.index(bits.len());
            mask.remove(gone);
            bits.remove(gone);
            prop_assert_eq!(bits_of(&mask, bits.len()), bits.clone());
            let cut = at.index(bits.len() + 1);
            let rest = mask.split_off(cut);
            prop_assert_eq!(bits_of(&rest, bits.len() - cut), bits.split_off(cut));
            prop_assert_eq!(bits_of(&mask, cut), bits);
        }

        #[test]
        fn planes_hold_numbers(
            numbers in prop::collection::vec(0_u8..16, 1..ROWS_MAX), wanted in 0_u8..16, which in 0_u8..16,
        ) {
            let mut planes = Planes::<4>::default();
            for number in &numbers {
                planes.insert(0, *number);
            }
            let numbers: Vec<u8> = numbers.into_iter().rev().collect();
            let seen: Vec<u8> = (0..numbers.len()).map(|at| planes.get(at)).collect();
            prop_assert_eq!(&seen, &numbers);
            let mut mask = Mask::first(numbers.len());
            planes.keep_equal(wanted, which, &mut mask);
            let equal = |number: &u8| number & which == wanted & which;
            let expected: Vec<bool> = numbers.iter().map(equal).collect();
            prop_assert_eq!(bits_of(&mask, numbers.len()), expected);
            let mut seen = Vec::new();
            planes.each(&mask, |number| seen.push(number));
            let shown: Vec<u8> = mask.places().map(|at| numbers[at]).collect();
            prop_assert_eq!(seen, shown);
            planes.set(0, wanted);
            prop_assert_eq!(planes.get(0), wanted);
        }
    }
}
