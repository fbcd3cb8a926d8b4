//! The columns of a run of rows that lie together: neighbours in the keyspace, hence on the ground.
//!
//! Passing over a leaf costs what it makes the processor fetch, not what it computes: a leaf is 30 KB
//! that nobody has read lately. What most searches ask of most leaves therefore stands in its head, as
//! bits: what kind of listing a row is, and of what property type.

mod amenities;
mod change;
mod key;
mod values;

use self::amenities::Amenities;
pub(super) use self::{
    key::RowKey,
    values::{AMENITY_BITS, Change, Kind, Values},
};
use super::{
    Row,
    column::{Cells, Codes, Numbers, Texts, Times},
    mask::{Mask, Planes, ROWS_MAX},
    tally::Amounts,
    zone::Facts,
};
use crate::geo::LatLng;

/// Bits of the number of a property type.
const PROPERTY_BITS: usize = 4;

/// The columns of fewer than [`ROWS_MAX`] rows.
#[derive(Debug, Clone, Default)]
pub(super) struct RowLeaf {
    kinds: Planes<{ Kind::BITS }>,
    properties: Planes<PROPERTY_BITS>,
    pub(super) rows: Vec<Row>,
    territories: Codes,
    pub(super) cells: Cells,
    pub(super) groups: Codes,
    pub(super) energy: Codes,
    cities: Codes,
    pub(super) neighborhoods: Codes,
    amenities: Amenities,
    pub(super) amount: Numbers,
    pub(super) sq_meters: Numbers,
    pub(super) bedrooms: Numbers,
    pub(super) bathrooms: Numbers,
    pub(super) published: Times,
    pub(super) lat: Numbers,
    pub(super) lng: Numbers,
    ids: Texts,
}

impl RowLeaf {
    /// The key of the row at a place.
    pub(super) fn key(&self, at: usize) -> Option<RowKey> {
        let row = *self.rows.get(at)?;
        Some(RowKey { territory: self.territory(at)?, cell: self.cells.get(at), row })
    }

    /// The keys of all rows.
    pub(super) fn keys(&self) -> impl Iterator<Item = RowKey> + use<'_> {
        (0..self.rows.len()).filter_map(|at| self.key(at))
    }

    pub(super) fn territory(&self, at: usize) -> Option<u32> {
        self.territories.get(at)
    }

    pub(super) const fn territories(&self) -> &Codes {
        &self.territories
    }

    /// Where a key stands, or would.
    pub(super) fn search(&self, key: &RowKey) -> Result<usize, usize> {
        let (mut low, mut high) = (0, self.rows.len());
        while low < high {
            let middle = usize::midpoint(low, high);
            match self.key(middle).map(|it| it.cmp(key)) {
                Some(std::cmp::Ordering::Less) => low = middle + 1,
                Some(std::cmp::Ordering::Equal) => return Ok(middle),
                Some(std::cmp::Ordering::Greater) | None => high = middle,
            }
        }
        Err(low)
    }

    /// The place of a row.
    pub(super) fn place(&self, key: &RowKey) -> Option<usize> {
        self.search(key).ok()
    }

    /// The id of the row at a place.
    pub(super) fn id(&self, at: usize) -> &str {
        // What was put in was a text.
        std::str::from_utf8(self.id_bytes(at)).unwrap_or_default()
    }

    /// The bytes of the id of the row at a place, whose order is that of ids.
    pub(super) fn id_bytes(&self, at: usize) -> &[u8] {
        self.ids.get(at)
    }

    /// Where the listing at a place stands.
    pub(super) fn location(&self, at: usize) -> Option<LatLng> {
        let (lat, lng) = (self.lat.get(at), self.lng.get(at));
        (!lat.is_nan()).then_some(LatLng { lat, lng })
    }

    pub(super) fn city(&self, at: usize) -> Option<u32> {
        self.cities.get(at)
    }

    pub(super) fn kind(&self, at: usize) -> Kind {
        Kind(self.kinds.get(at))
    }

    /// One more than the number of the property type; 0 = none.
    pub(super) fn property(&self, at: usize) -> u8 {
        self.properties.get(at)
    }

    /// Shows the property types of some rows, as [`property`](Self::property) does.
    #[inline]
    pub(super) fn each_property(&self, rows: &Mask, visit: impl FnMut(u8)) {
        self.properties.each(rows, visit);
    }

    /// All rows.
    pub(super) fn all(&self) -> Mask {
        Mask::first(self.rows.len())
    }

    /// The rows that searches for a listing type find.
    pub(super) fn of_type(&self, listing_type: u8) -> Mask {
        let mut mask = self.all();
        self.keep_type(listing_type, &mut mask);
        mask
    }

    /// Keeps the rows that searches for a listing type find.
    pub(super) fn keep_type(&self, listing_type: u8, mask: &mut Mask) {
        let kind = Kind::new(listing_type, true, false).0;
        self.kinds.keep_equal(kind, Kind::FOUND_BITS, mask);
    }

    /// Keeps the rows whose property type is in a set of bits, by [`Values::property`].
    pub(super) fn keep_properties(&self, set: u16, mask: &mut Mask) {
        let mut kept = Mask::default();
        for number in (0_u8..1 << PROPERTY_BITS).filter(|number| set >> number & 1 == 1) {
            let mut equal = *mask;
            self.properties.keep_equal(number, u8::MAX, &mut equal);
            kept.join(&equal);
        }
        *mask = kept;
    }

    /// Keeps the rows that have all of these amenities.
    pub(super) fn keep_amenities(&self, bits: u64, more: &[u32], mask: &mut Mask) {
        self.amenities.keep(bits, more, mask);
    }

    /// All that is kept of the row at a place.
    pub(super) fn values(&self, at: usize) -> Values {
        Values {
            kind: self.kind(at),
            property: self.property(at),
            group: self.groups.get(at),
            energy: self.energy.get(at),
            city: self.cities.get(at),
            neighborhood: self.neighborhoods.get(at),
            amenities: self.amenities.bits(at),
            more_amenities: self.amenities.more(at),
            amount: self.amount.get(at),
            sq_meters: self.sq_meters.get(at),
            bedrooms: self.bedrooms.get(at),
            bathrooms: self.bathrooms.get(at),
            published: self.published.get(at),
            lat: self.lat.get(at),
            lng: self.lng.get(at),
            id: self.id(at).into(),
        }
    }

    /// What is summarised of the row at a place, but for its amenities, if searches find it.
    fn facts(&self, at: usize) -> Option<Facts> {
        Some(Facts {
            listing_type: self.kind(at).found_as()?,
            territory: self.territory(at)?,
            property: self.property(at),
            group: self.groups.get(at),
            energy: self.energy.get(at),
            neighborhood: self.neighborhoods.get(at),
            amenities: 0,
            amount: self.amount.get(at),
            sq_meters: self.sq_meters.get(at),
            bedrooms: self.bedrooms.get(at),
            bathrooms: self.bathrooms.get(at),
            published: self.published.get(at),
            lat: self.lat.get(at),
            lng: self.lng.get(at),
        })
    }

    /// Shows the amounts of some rows in runs of one price group, with the places of the rows.
    #[inline]
    pub(super) fn each_price_run(
        &self,
        places: &[u16],
        mut visit: impl FnMut(Option<u32>, &[u16], &[f64]),
    ) {
        let (mut groups, mut amounts) = ([0; ROWS_MAX], [0.0; ROWS_MAX]);
        let groups = self.groups.list(places, &mut groups);
        let mut amounts = self.amount.list(places, &mut amounts);
        let mut places = places;
        for run in groups.chunk_by(|a, b| a == b) {
            let (of_run, behind) = amounts.split_at_checked(run.len()).unwrap_or_default();
            let (at, left) = places.split_at_checked(run.len()).unwrap_or_default();
            visit(run.first().and_then(|stored| stored.checked_sub(1)), at, of_run);
            (amounts, places) = (behind, left);
        }
    }

    /// Notes the amounts of a listing type in a price group.
    pub(super) fn note_amounts(&self, listing_type: u8, group: u32, amounts: &mut Amounts) {
        for at in self.of_type(listing_type).places() {
            if self.groups.get(at) == Some(group) {
                amounts.note(self.amount.get(at));
            }
        }
    }

    /// Bytes on the heap by part: what identifies rows, and their columns.
    pub(super) fn bytes(&self) -> (usize, usize) {
        let identity = self.rows.capacity() * 4
            + self.cells.bytes()
            + self.territories.bytes()
            + self.ids.bytes();
        let codes = [&self.groups, &self.energy, &self.cities, &self.neighborhoods];
        let numbers =
            [&self.amount, &self.sq_meters, &self.bedrooms, &self.bathrooms, &self.lat, &self.lng];
        let columns = self.amenities.bytes()
            + codes.iter().map(|column| column.bytes()).sum::<usize>()
            + numbers.iter().map(|column| column.bytes()).sum::<usize>()
            + self.published.bytes();
        (identity, columns)
    }
}
