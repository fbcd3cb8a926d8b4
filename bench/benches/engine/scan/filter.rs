//! Which rows match: every filter over every row, a block of rows at a time.

use hexpop_shard::{Bounds, Filters, Geometry, LatLng, PropertyType, distance_km};

use super::{Scan, kind_code};

/// Rows whose marks are kept at a time; they stay in the first-level cache.
const BLOCK_ROWS: usize = 2048;

/// Rows that match, ascending, and for a radius how far each is from its centre.
#[derive(Default)]
pub(super) struct Matches {
    pub(super) rows: Vec<u32>,
    pub(super) distances_km: Vec<f64>,
}

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
    /// The rows that match.
    pub(super) fn matching(&self, filters: &Filters) -> Matches {
        let mut matches = Matches::default();
        let Some(tests) = self.tests(filters) else {
            return matches;
        };
        let mut marks = [0_u8; BLOCK_ROWS];
        let mut start = 0;
        while start < self.len() {
            let end = (start + BLOCK_ROWS).min(self.len());
            let marks = &mut marks[..end - start];
            self.mark(&tests, start, marks);
            let before = matches.rows.len();
            collect(marks, start, &mut matches.rows);
            self.test_exactly(&tests, before, &mut matches);
            start = end;
        }
        matches
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

    /// Marks the rows from `start` on that pass everything but the exact geometry.
    fn mark(&self, tests: &Tests<'_>, start: usize, marks: &mut [u8]) {
        let rows = start..start + marks.len();
        for (mark, kind) in marks.iter_mut().zip(&self.kind[rows.clone()]) {
            *mark = u8::from(*kind == tests.kind);
        }
        if let Some(Bounds { south, north, west, east }) = tests.bounds {
            assert!(west <= east, "the yardstick's market does not cross the antimeridian");
            keep(marks, &self.lat[rows.clone()], |lat| (lat >= south) & (lat <= north));
            keep(marks, &self.lng[rows.clone()], |lng| (lng >= west) & (lng <= east));
        }
        if let Some((min, max)) = tests.price {
            keep(marks, &self.price[rows.clone()], |price| (price >= min) & (price <= max));
        }
        if let Some(min) = tests.bedrooms_min {
            // Code 0, which stands for a missing number, is below every other.
            keep(marks, &self.bedrooms.codes()[rows.clone()], |code| usize::from(code) >= min);
        }
        if let Some(bits) = tests.property {
            keep(marks, &self.property.codes()[rows.clone()], |code| bits >> code & 1 == 1);
        }
        if let Some(bits) = tests.energy {
            keep(marks, &self.energy.codes()[rows.clone()], |code| bits >> code & 1 == 1);
        }
        if tests.amenities != 0 {
            let wanted = tests.amenities;
            keep(marks, &self.amenities[rows], |bits| bits & wanted == wanted);
        }
    }

    /// Leaves of the rows from place `from` on those inside the very area.
    fn test_exactly(&self, tests: &Tests<'_>, from: usize, matches: &mut Matches) {
        let place = |row: u32| LatLng { lat: self.lat[row as usize], lng: self.lng[row as usize] };
        match tests.geometry {
            Some(Geometry::Radius { center, radius_km }) => {
                let mut kept = from;
                for at in from..matches.rows.len() {
                    let row = matches.rows[at];
                    let distance = distance_km(*center, place(row));
                    if distance <= *radius_km {
                        matches.rows[kept] = row;
                        matches.distances_km.push(distance);
                        kept += 1;
                    }
                }
                matches.rows.truncate(kept);
            }
            Some(area @ Geometry::Polygon { .. }) => {
                let mut kept = from;
                for at in from..matches.rows.len() {
                    let row = matches.rows[at];
                    if area.contains(place(row)) {
                        matches.rows[kept] = row;
                        kept += 1;
                    }
                }
                matches.rows.truncate(kept);
            }
            Some(Geometry::Bbox { .. }) | None => {}
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

/// The numbers of marked rows; eight rows without a mark cost one comparison.
fn collect(marks: &[u8], start: usize, rows: &mut Vec<u32>) {
    const LANES: usize = 8;
    let mut kept = rows.len();
    rows.resize(kept + marks.len(), 0);
    let mut first = u32::try_from(start).unwrap();
    let (lanes, rest) = marks.as_chunks::<LANES>();
    for lane in lanes.iter().map(|lane| &lane[..]).chain(std::iter::once(rest)) {
        if lane.iter().any(|mark| *mark != 0) {
            for (row, mark) in (first..).zip(lane) {
                rows[kept] = row;
                // An unmarked row is overwritten by the next one.
                kept += usize::from(*mark);
            }
        }
        first += LANES as u32;
    }
    rows.truncate(kept);
}
