//! The yardstick: the plain columnar scan that a careful programmer writes first.
//!
//! Narrow columns in the order of ids, every filter tested in one pass over blocks of rows, exact
//! geometry for what its bounding box lets through, the best rows kept by selection, facets counted
//! in arrays. **It is not** an index: nothing is sorted, bucketed or summed in advance, and every
//! query touches every row.

mod build;
mod clusters;
mod coded;
mod facets;
mod filter;
mod places;
mod search;
mod text;

use hexpop_edge_config::Territory;
use hexpop_shard::{Cell, LatLng, ListingType, PriceGroup, PropertyType, Word};

pub(crate) use self::{build::Builder, search::Place};
use self::{coded::Coded, text::Text};

/// The kind of rows that searches do not find.
const NOT_FOUND: u8 = 255;

/// All listings as columns; row numbers follow the order of ids.
pub(crate) struct Scan {
    id_text: String,
    id_ends: Vec<u32>,
    /// The listing type by its place in [`ListingType::ALL`], or [`NOT_FOUND`].
    kind: Vec<u8>,
    /// NaN without coordinates.
    lat: Vec<f64>,
    lng: Vec<f64>,
    /// NaN without a price.
    price: Vec<f64>,
    group: Coded<PriceGroup, u8>,
    /// By [`ascending`], so that a greater code is a greater number.
    bedrooms: Coded<u64, u8>,
    property: Coded<PropertyType, u8>,
    energy: Coded<String, u8>,
    neighborhood: Coded<(String, Territory), u16>,
    /// Seconds since the Unix epoch; 0 where it is missing.
    published: Vec<u32>,
    amenity_names: Vec<String>,
    /// One bit per name.
    amenities: Vec<u64>,
    cell: Coded<Cell, u32>,
    city: Coded<(String, Territory), u16>,
    territory: Coded<Territory, u8>,
    text: Option<Text>,
}

impl Scan {
    /// All listings.
    pub(crate) fn len(&self) -> usize {
        self.kind.len()
    }

    /// The id of a row.
    pub(crate) fn id(&self, row: u32) -> &str {
        let at = row as usize;
        let start = if at == 0 { 0 } else { self.id_ends[at - 1] };
        &self.id_text[start as usize..self.id_ends[at] as usize]
    }

    /// Whether searches for a listing type find a row.
    pub(crate) fn finds(&self, row: u32, kind: ListingType) -> bool {
        self.kind[row as usize] == kind_code(kind)
    }

    /// Where a row's listing stands.
    pub(crate) fn location(&self, row: u32) -> Option<LatLng> {
        let (lat, lng) = (self.lat[row as usize], self.lng[row as usize]);
        (!lat.is_nan()).then_some(LatLng { lat, lng })
    }

    /// The kind of property and the energy class of a row.
    pub(crate) fn property(&self, row: u32) -> (Option<PropertyType>, Option<&str>) {
        (self.property.get(row).copied(), self.energy.get(row).map(String::as_str))
    }

    /// The amenities of a row.
    pub(crate) fn amenities(&self, row: u32) -> impl Iterator<Item = &str> {
        let bits = self.amenities[row as usize];
        let named = self.amenity_names.iter().enumerate();
        named.filter(move |(bit, _)| bits >> bit & 1 == 1).map(|(_, name)| name.as_str())
    }

    /// The amenities of listings that searches for a type find, rarest first.
    pub(crate) fn amenities_by_count(&self, kind: ListingType) -> Vec<&str> {
        let code = kind_code(kind);
        let mut counted: Vec<(usize, &str)> = (self.amenity_names.iter().enumerate())
            .map(|(bit, name)| {
                let rows = self.amenities.iter().zip(&self.kind);
                let has = rows.filter(|(bits, kind)| **kind == code && **bits >> bit & 1 == 1);
                (has.count(), name.as_str())
            })
            .filter(|(count, _)| *count > 0)
            .collect();
        counted.sort_unstable();
        counted.into_iter().map(|(_, name)| name).collect()
    }

    /// Words of the texts and how many listings have them, in the order of words; none without
    /// texts.
    pub(crate) fn words(&self) -> Vec<(&str, usize)> {
        self.text.as_ref().map_or_else(Vec::new, Text::words)
    }

    /// The folded names of all places.
    pub(crate) fn place_names(&self) -> impl Iterator<Item = String> {
        let cities = self.city.keys().iter().map(|(name, _)| name.as_str());
        let hoods = self.neighborhood.keys().iter().map(|(name, _)| name.as_str());
        let regions = self.territory.keys().iter().map(|it| it.region.as_str());
        let names = cities.chain(hoods).chain(regions);
        names.map(|name| hexpop_shard::fold_words(name).join(" "))
    }

    /// Bytes of the columns that searches without text touch.
    pub(crate) fn column_bytes(&self) -> usize {
        let wide = size_of_val(&*self.lat) + size_of_val(&*self.lng) + size_of_val(&*self.price);
        let plain = size_of_val(&*self.kind)
            + size_of_val(&*self.published)
            + size_of_val(&*self.amenities);
        let coded = self.group.bytes()
            + self.bedrooms.bytes()
            + self.property.bytes()
            + self.energy.bytes()
            + self.neighborhood.bytes()
            + self.cell.bytes()
            + self.city.bytes()
            + self.territory.bytes();
        wide + plain + coded
    }
}

/// The listing type as [`Scan::kind`] has it.
fn kind_code(kind: ListingType) -> u8 {
    let at = ListingType::ALL.iter().position(|it| *it == kind).unwrap();
    u8::try_from(at).unwrap()
}

/// Numbers as unsigned integers in the same order, as the engine's keys have them.
fn ascending(number: f64) -> u64 {
    const SIGN: u64 = 1 << 63;
    let bits = (number + 0.0).to_bits();
    if bits & SIGN == 0 { bits | SIGN } else { !bits }
}

/// The sum of amounts in millionths, each rounded to one, as the interface defines it.
fn millionths(amount: f64) -> i128 {
    /// Whole amounts below this are exact in millionths.
    const EXACT_MAX: f64 = 9e9;
    let whole = amount as i64;
    if whole as f64 == amount && amount < EXACT_MAX {
        return i128::from(whole * 1_000_000);
    }
    (amount * 1e6).round() as i128
}
