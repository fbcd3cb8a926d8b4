//! Larger markets of the same density: further copies of one market at other places of the globe.
//!
//! A copy keeps the distances within each city. Copies stand in 10 columns 34 degrees of longitude
//! apart and 6 rows of latitude (three north of the equator, and their mirror images); the market
//! spans 31 by 16 degrees, so that cities of different copies are more than 150 km apart.

use hexpop_bench::dataset::{CITIES, City, city_by_name};
use hexpop_shard::{LatLng, ListingColumns};

/// Copies that there is room for.
pub(crate) const COPIES_MAX: usize = COLUMNS * ROWS;

const COLUMNS: usize = 10;
const ROWS: usize = 6;
/// Westernmost column; the original market is column 5, the one with shift 0.
const WEST_DEGREES: f64 = -170.0;
const COLUMN_DEGREES: f64 = 34.0;
const ROW_DEGREES: f64 = 17.0;
const HOME_COLUMN: usize = 5;

/// The cities that small markets consist of come first: two that are a tenth of the market.
const FIRST_CITIES: [&str; 2] = ["Roma", "Bergamo"];

/// Where copy `number` lies; copy 0 is the original.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Copy {
    number: usize,
    east_degrees: f64,
    south_degrees: f64,
    mirrored: bool,
}

impl Copy {
    /// Copy `number`, below [`COPIES_MAX`].
    pub(crate) fn new(number: usize) -> Self {
        assert!(number < COPIES_MAX, "there is room for {COPIES_MAX} copies");
        let (row, column) = (number / COLUMNS, (number + HOME_COLUMN) % COLUMNS);
        Self {
            number,
            east_degrees: WEST_DEGREES + COLUMN_DEGREES * column as f64,
            south_degrees: ROW_DEGREES * (row / 2) as f64,
            mirrored: row % 2 == 1,
        }
    }

    /// The place of this copy that stands for `place`, which lies in or near `city`.
    pub(crate) fn place(&self, city: &City, place: LatLng) -> LatLng {
        let lat = place.lat - self.south_degrees;
        // Degrees of longitude are longer nearer to the equator.
        let narrower =
            city.lat.to_radians().cos() / (city.lat - self.south_degrees).to_radians().cos();
        LatLng {
            lat: round(if self.mirrored { -lat } else { lat }),
            lng: round(city.lng + self.east_degrees + (place.lng - city.lng) * narrower),
        }
    }

    /// Makes a listing of the original one of this copy.
    pub(crate) fn transform(&self, listing: &mut ListingColumns) {
        if self.number == 0 {
            return;
        }
        let city = listing.city.as_deref().and_then(city_by_name).expect("a city of the market");
        let suffix = format!("{:02}", self.number);
        listing.id = format!("{}-{suffix}", listing.id);
        listing.location = listing.location.map(|place| self.place(city, place));
        for name in [&mut listing.city, &mut listing.neighborhood].into_iter().flatten() {
            *name = format!("{name} {suffix}");
        }
    }
}

/// Six decimals, as listings have them.
fn round(degrees: f64) -> f64 {
    (degrees * 1e6).round() / 1e6
}

/// The cities whose listings are about that share of the market; those of a smaller share are
/// among those of a larger one.
pub(crate) fn cities(share: f64) -> Vec<&'static City> {
    let mut all: Vec<&City> = CITIES.iter().collect();
    let last = FIRST_CITIES.len();
    all.sort_by_key(|city| FIRST_CITIES.iter().position(|it| *it == city.name).unwrap_or(last));
    let wanted = share * all.iter().map(|city| city.weight as f64).sum::<f64>();
    let mut weight = 0.0;
    all.into_iter()
        .take_while(|city| {
            let before = weight;
            weight += city.weight as f64;
            // Whichever of before and after is nearer; at least one city.
            before == 0.0 || weight - wanted <= wanted - before
        })
        .collect()
}
