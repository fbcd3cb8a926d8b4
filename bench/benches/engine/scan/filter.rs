//! Which rows match: every filter over every row, a block of rows at a time.
//!
//! Narrow columns and latitudes are tested for whole blocks, without branches; wide columns and
//! exact geometry only for the rows of a block that are left.

use hexpop_shard::{Bounds, Filters, Geometry, LatLng, PropertyType, distance_km};

use super::{Scan, kind_code};

/// Rows that are looked at together: their marks and numbers stay in the first-level cache.
const BLOCK_ROWS: usize = 2048;

/// The filters in terms of the columns' codes.
struct Tests<'a> {
    kind: u8,
    bounds: Option<Bounds>,
    price: Option<(f64, f64)>,
    bedrooms_min: Option<usize>,
    /// One bit per code.
    property: Option<u64>,
    energy: Option<u64>,
    amenities: u64,
    geometry: Option<&'a Geometry>,
}

impl Scan {
    /// Gives the rows that match, ascending and a block at a time, and for a radius how far each
    /// is from its centre.
    pub(super) fn for_each_block(&self, filters: &Filters, mut take: impl FnMut(&[u32], &[f64])) {
        let Some(tests) = self.tests(filters) else {
            return;
        };
        let mut marks = [0_u8; BLOCK_ROWS];
        let mut numbers = [0_u32; BLOCK_ROWS];
        let mut distances_km = Vec::with_capacity(BLOCK_ROWS);
        for start in (0..self.len()).step_by(BLOCK_ROWS) {
            let marks = &mut marks[..BLOCK_ROWS.min(self.len() - start)];
            self.mark(&tests, start, marks);
            let count = collect(marks, start, &mut numbers);
            distances_km.clear();
            let count = self.test_rows(&tests, &mut numbers[..count], &mut distances_km);
            if count > 0 {
                take(&numbers[..count], &distances_km);
            }
        }
    }

    /// All rows that match.
    pub(super) fn matching(&self, filters: &Filters) -> Vec<u32> {
        let mut rows = Vec::new();
        self.for_each_block(filters, |block, _| rows.extend_from_slice(block));
        rows
    }

    /// `None` when a value asked for does not occur at all.
    fn tests<'a>(&self, filters: &'a Filters) -> Option<Tests<'a>> {
        let unused = filters.currency.is_none()
            && filters.period.is_none()
            && filters.sq_meters_min.is_none()
            && filters.sq_meters_max.is_none()
            && filters.bathrooms_min.is_none()
            && filters.neighborhoods.is_empty()
            && filters.published_after_us.is_none()
            && filters.territories.is_empty();
        assert!(unused, "the scan has no column for a filter of {filters:?}");
        let mut amenities = 0;
        for name in &filters.amenities {
            amenities |= 1 << self.amenity_names.iter().position(|known| known == name)?;
        }
        let priced = filters.price_min.is_some() || filters.price_max.is_some();
        let price = (filters.price_min.unwrap_or(f64::MIN), filters.price_max.unwrap_or(f64::MAX));
        let property = |wanted: &[PropertyType]| code_bits(self.property.keys(), wanted);
        let energy = |wanted: &[String]| code_bits(self.energy.keys(), wanted);
        Some(Tests {
            kind: kind_code(filters.listing_type),
            bounds: filters.geometry.as_ref().map(Geometry::bounds),
            price: priced.then_some(price),
            bedrooms_min: filters
                .bedrooms_min
                .map(|min| self.bedrooms.first_code(&super::ascending(min))),
            property: some_of(&filters.property_types).map(property),
            energy: some_of(&filters.energy_ratings).map(energy),
            amenities,
            geometry: filters.geometry.as_ref(),
        })
    }

    /// Marks the rows from `start` on that pass what is tested for whole blocks.
    fn mark(&self, tests: &Tests<'_>, start: usize, marks: &mut [u8]) {
        let rows = start..start + marks.len();
        for (mark, kind) in marks.iter_mut().zip(&self.kind[rows.clone()]) {
            *mark = u8::from(*kind == tests.kind);
        }
        if let Some(Bounds { south, north, .. }) = tests.bounds {
            keep(marks, &self.lat[rows.clone()], |lat| (lat >= south) & (lat <= north));
        }
        if let Some(min) = tests.bedrooms_min {
            // Code 0, which stands for a missing number, is below every other.
            keep(marks, &self.bedrooms.codes()[rows.clone()], |code| usize::from(code) >= min);
        }
        if let Some(bits) = tests.property {
            keep(marks, &self.property.codes()[rows.clone()], |code| bits >> code & 1 == 1);
        }
        if let Some(bits) = tests.energy {
            keep(marks, &self.energy.codes()[rows], |code| bits >> code & 1 == 1);
        }
    }

    /// Moves the rows that pass everything else to the front and counts them.
    fn test_rows(&self, tests: &Tests<'_>, rows: &mut [u32], distances_km: &mut Vec<f64>) -> usize {
        let mut count = rows.len();
        if let Some(Bounds { west, east, .. }) = tests.bounds {
            assert!(west <= east, "the yardstick's market does not cross the antimeridian");
            let inside = |lng: f64| (lng >= west) & (lng <= east);
            count = retain(&mut rows[..count], |row| inside(self.lng[row]));
        }
        if let Some((min, max)) = tests.price {
            let inside = |price: f64| (price >= min) & (price <= max);
            count = retain(&mut rows[..count], |row| inside(self.price[row]));
        }
        if tests.amenities != 0 {
            let all = |bits: u64| bits & tests.amenities == tests.amenities;
            count = retain(&mut rows[..count], |row| all(self.amenities[row]));
        }
        let place = |row: usize| LatLng { lat: self.lat[row], lng: self.lng[row] };
        match tests.geometry {
            Some(Geometry::Radius { center, radius_km }) => retain(&mut rows[..count], |row| {
                let distance = distance_km(*center, place(row));
                let inside = distance <= *radius_km;
                distances_km.extend(inside.then_some(distance));
                inside
            }),
            Some(area @ Geometry::Polygon { .. }) => {
                retain(&mut rows[..count], |row| area.contains(place(row)))
            }
            Some(Geometry::Bbox { .. }) | None => count,
        }
    }
}

fn some_of<T>(wanted: &[T]) -> Option<&[T]> {
    (!wanted.is_empty()).then_some(wanted)
}

/// One bit for the code of each value that occurs.
fn code_bits<K: Ord>(keys: &[K], wanted: &[K]) -> u64 {
    assert!(keys.len() < 64, "codes are bits of a u64");
    let codes = wanted.iter().filter_map(|key| Some(keys.binary_search(key).ok()? + 1));
    codes.fold(0, |bits, code| bits | 1 << code)
}

/// Takes the mark off rows that do not pass; without branches, so that it becomes vector code.
fn keep<T: Copy>(marks: &mut [u8], column: &[T], passes: impl Fn(T) -> bool) {
    for (mark, value) in marks.iter_mut().zip(column) {
        *mark &= u8::from(passes(*value));
    }
}

/// Writes the numbers of marked rows and counts them; eight rows without a mark cost one
/// comparison.
fn collect(marks: &[u8], start: usize, rows: &mut [u32; BLOCK_ROWS]) -> usize {
    const LANES: usize = 8;
    let mut kept = 0;
    let mut first = start as u32;
    let (lanes, rest) = marks.as_chunks::<LANES>();
    for lane in lanes {
        if u64::from_ne_bytes(*lane) != 0 {
            kept = collect_lane(lane, first, rows, kept);
        }
        first += LANES as u32;
    }
    collect_lane(rest, first, rows, kept)
}

fn collect_lane(marks: &[u8], first: u32, rows: &mut [u32; BLOCK_ROWS], mut kept: usize) -> usize {
    for (row, mark) in (first..).zip(marks) {
        // An unmarked row is overwritten by the next one.
        rows[kept % BLOCK_ROWS] = row;
        kept += usize::from(*mark);
    }
    kept
}

/// Moves the rows that pass to the front and counts them.
fn retain(rows: &mut [u32], mut passes: impl FnMut(usize) -> bool) -> usize {
    let mut kept = 0;
    for at in 0..rows.len() {
        let row = rows[at];
        rows[kept] = row;
        kept += usize::from(passes(row as usize));
    }
    kept
}
