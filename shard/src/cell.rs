//! H3 cells as 64-bit numbers, and what the keyspace and the map view need of them.

use std::fmt;

use h3o::{CellIndex, Resolution};

use crate::geo::LatLng;

/// The resolution of listing keys and of `h3Index`: cells of about 0.1 km².
pub const LISTING_RESOLUTION: u8 = 9;

/// Where the resolution stands in an H3 index.
const RESOLUTION_SHIFT: u32 = 52;
const RESOLUTION_MASK: u64 = 0xf << RESOLUTION_SHIFT;
/// Every digit of an index has three bits; those finer than its resolution are all ones.
const DIGIT_BITS: u32 = 3;
const RESOLUTION_MAX: u8 = 15;

/// An H3 cell.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Cell(u64);

impl Cell {
    /// The cell of [`LISTING_RESOLUTION`] that `place` lies in; `None` unless both are finite.
    #[must_use]
    pub fn at(place: LatLng) -> Option<Self> {
        let point = h3o::LatLng::new(place.lat, place.lng).ok()?;
        Some(Self(u64::from(point.to_cell(Resolution::Nine))))
    }

    /// The cell with this index, if it is one.
    #[must_use]
    pub fn from_raw(raw: u64) -> Option<Self> {
        CellIndex::try_from(raw).ok().map(|cell| Self(u64::from(cell)))
    }

    /// The cell with an index that came from [`Cell::raw`].
    pub(crate) const fn from_known(raw: u64) -> Self {
        Self(raw)
    }

    /// The index as a number: the point of a listing's key.
    #[must_use]
    pub const fn raw(self) -> u64 {
        self.0
    }

    /// The resolution, 0 (coarsest) to 15.
    #[must_use]
    pub const fn resolution(self) -> u8 {
        ((self.0 & RESOLUTION_MASK) >> RESOLUTION_SHIFT) as u8
    }

    /// The cell of `resolution` that this one lies in; itself when `resolution` is not coarser.
    ///
    /// Bits only, since a map view asks it of every listing that matches.
    #[must_use]
    pub const fn ancestor(self, resolution: u8) -> Self {
        if resolution >= self.resolution() {
            return self;
        }
        let finer_digits = (RESOLUTION_MAX - resolution) as u32;
        let ones = (1_u64 << (finer_digits * DIGIT_BITS)) - 1;
        Self((self.0 & !RESOLUTION_MASK) | ((resolution as u64) << RESOLUTION_SHIFT) | ones)
    }

    /// The first and the last index that a cell of [`LISTING_RESOLUTION`] in this one may have; this one
    /// is coarser or itself such a cell.
    pub(crate) const fn listing_cells(self) -> (u64, u64) {
        let finer_digits = LISTING_RESOLUTION.saturating_sub(self.resolution()) as u32;
        let below = (RESOLUTION_MAX - LISTING_RESOLUTION) as u32 * DIGIT_BITS;
        let digits = ((1_u64 << (finer_digits * DIGIT_BITS)) - 1) << below;
        let last = (self.0 & !RESOLUTION_MASK) | ((LISTING_RESOLUTION as u64) << RESOLUTION_SHIFT);
        (last & !digits, last)
    }

    /// The centre of the cell.
    #[must_use]
    pub fn center(self) -> LatLng {
        CellIndex::try_from(self.0).map_or(LatLng { lat: 0.0, lng: 0.0 }, |cell| {
            let center = h3o::LatLng::from(cell);
            LatLng { lat: center.lat(), lng: center.lng() }
        })
    }
}

impl fmt::Display for Cell {
    /// As H3 writes it: lower-case hexadecimal without leading zeros.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:x}", self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ancestors_are_those_of_the_library() {
        for (lat, lng) in
            [(45.4726, 9.186), (-33.9, 151.2), (64.7, 10.5), (0.0, 0.0), (89.9, -179.9)]
        {
            let cell = Cell::at(LatLng { lat, lng }).unwrap();
            assert_eq!(cell.resolution(), LISTING_RESOLUTION);
            let theirs = CellIndex::try_from(cell.raw()).unwrap();
            for resolution in 0..=9 {
                let expected = theirs.parent(resolution.try_into().unwrap()).unwrap();
                assert_eq!(cell.ancestor(resolution).raw(), u64::from(expected));
                assert_eq!(cell.ancestor(resolution).to_string(), expected.to_string());
            }
        }
    }

    #[test]
    fn the_order_of_cells_is_the_order_of_the_hierarchy() {
        let milano = Cell::at(LatLng { lat: 45.4726, lng: 9.186 }).unwrap();
        let near = Cell::at(LatLng { lat: 45.4730, lng: 9.187 }).unwrap();
        assert_eq!(milano.ancestor(5), near.ancestor(5));
        assert!(Cell::from_raw(0).is_none());
    }
}
