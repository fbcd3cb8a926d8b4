//! What rows are sorted by.

use super::super::{
    Row,
    column::{cell_of, own_bits},
};

/// The territory's code, the H3 cell (0 = no coordinates), the row.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default)]
pub(in crate::index) struct RowKey {
    pub(in crate::index) territory: u32,
    pub(in crate::index) cell: u64,
    pub(in crate::index) row: Row,
}

const TERRITORY_BITS: u32 = 29;

impl RowKey {
    /// Territory and cell in one word: 34 bits of the cell, one bit that says that there is one, and
    /// one more than the territory's code in 29 bits.
    pub(in crate::index) const fn packed(self) -> u64 {
        let own = own_bits(self.cell);
        let located = (self.cell != 0) as u64;
        (own << (TERRITORY_BITS + 1)) | (located << TERRITORY_BITS) | (self.territory as u64 + 1)
    }

    /// The key behind [`packed`](Self::packed); `None` for 0.
    pub(in crate::index) fn unpacked(packed: u64, row: Row) -> Option<Self> {
        let territory =
            u32::try_from((packed & ((1 << TERRITORY_BITS) - 1)).checked_sub(1)?).ok()?;
        let located = packed >> TERRITORY_BITS & 1 == 1;
        let own = packed >> (TERRITORY_BITS + 1);
        let cell = if located { cell_of(own) } else { 0 };
        Some(Self { territory, cell, row })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{cell::Cell, geo::LatLng};

    #[test]
    fn keys_come_back_from_one_word() {
        let places = [(45.4726, 9.186), (-89.9, 10.0), (89.99, -170.0), (0.0, 0.0), (64.0, 10.5)];
        let cells = places.map(|(lat, lng)| Cell::at(LatLng { lat, lng }).unwrap().raw());
        for cell in cells.into_iter().chain([0, cell_of(0)]) {
            for territory in [0, 1, 500_000_000] {
                let key = RowKey { territory, cell, row: 7 };
                assert_eq!(RowKey::unpacked(key.packed(), 7), Some(key));
            }
        }
        assert_eq!(RowKey::unpacked(0, 7), None);
    }
}
