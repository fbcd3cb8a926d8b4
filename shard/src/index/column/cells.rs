//! H3 cells of the resolution of keys: neighbours differ in their last digits only.

use super::packed::Packed;

/// What all H3 cells of the resolution of keys have in common: mode, resolution, unused digits.
const CELL_BITS: u64 = (1 << 59) | (9 << 52) | CELL_UNUSED;
const CELL_SHIFT: u32 = 18;
const CELL_UNUSED: u64 = (1 << CELL_SHIFT) - 1;
/// Base cell and nine digits.
const CELL_OWN: u64 = (1 << 34) - 1;

/// The 34 bits in which a cell differs from others.
pub(in crate::index) const fn own_bits(cell: u64) -> u64 {
    (cell >> CELL_SHIFT) & CELL_OWN
}

/// The cell with these bits of its own.
pub(in crate::index) const fn cell_of(own_bits: u64) -> u64 {
    (own_bits << CELL_SHIFT) | CELL_BITS
}

/// Cells of rows, 0 where a row has none.
#[derive(Debug, Clone, Default)]
pub(in crate::index) struct Cells(Packed);

/// What stands for a cell; 0 for none.
const fn number(cell: u64) -> u64 {
    if cell == 0 { 0 } else { own_bits(cell) + 1 }
}

impl Cells {
    /// The cell of a row.
    #[inline]
    pub(in crate::index) fn get(&self, at: usize) -> u64 {
        self.0.get(at).checked_sub(1).map_or(0, cell_of)
    }

    /// Inserts the cell of a row into a column of `len` rows.
    pub(in crate::index) fn insert(&mut self, at: usize, len: usize, cell: u64) {
        if !self.0.insert(at, number(cell)) {
            let mut numbers = self.0.numbers(len);
            numbers.insert(at.min(len), number(cell));
            self.0 = Packed::of(&numbers);
        }
    }

    /// Takes the cell of a row out.
    pub(in crate::index) fn remove(&mut self, at: usize) {
        self.0.remove(at);
    }

    /// Takes the rows from `at` on out of a column of `len` rows; what is left on either side may be
    /// narrower.
    pub(in crate::index) fn split_off(&mut self, at: usize, len: usize) -> Self {
        let mut numbers = self.0.numbers(len);
        let rest = numbers.split_off(at.min(len));
        self.0 = Packed::of(&numbers);
        Self(Packed::of(&rest))
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{cell::Cell, geo::LatLng};

    #[test]
    fn cells_come_back_and_neighbours_are_narrow() {
        let at = |lat: f64, lng: f64| Cell::at(LatLng { lat, lng }).unwrap().raw();
        let mut cells = Cells::default();
        let mut expected = Vec::new();
        for (step, cell) in
            [0, at(45.4726, 9.186), at(45.4727, 9.187), at(-89.9, 10.0)].into_iter().enumerate()
        {
            cells.insert(step, expected.len(), cell);
            expected.push(cell);
            let seen: Vec<u64> = (0..expected.len()).map(|at| cells.get(at)).collect();
            assert_eq!(seen, expected);
            assert_eq!(cells.bytes() >= 32, step == 3, "a cell far off takes all bytes");
        }
        let rest = cells.split_off(3, 4);
        assert_eq!((rest.get(0), rest.bytes()), (expected[3], 1));
        assert!(cells.bytes() <= 2 * 3);
        cells.remove(0);
        assert_eq!([cells.get(0), cells.get(1), cells.get(2)], [expected[1], expected[2], 0]);
    }
}
