//! The columns of a shard, and how rows come and go.

use std::{collections::BTreeMap, ops::Bound, sync::Arc};

use hexpop_edge_config::Territory;
use roaring::RoaringBitmap;

use super::{
    Row, ascending,
    coded::{CodedColumn, SetColumn},
    facets::PriceGroup,
    places::{Places, RowPlaces},
    postings::Postings,
};
use crate::{
    cell::Cell,
    geo::LatLng,
    listing::{ListingColumns, ListingType, PropertyType, Status},
};

/// The columnar index of one shard.
///
/// Numbers are kept as the `f64` of the JSON text, NaN where a listing lacks them: results must
/// equal those of a scan of the documents.
#[derive(Debug, Default)]
pub struct ShardIndex {
    pub(super) ids: Vec<Arc<str>>,
    pub(super) by_id: BTreeMap<Arc<str>, Row>,
    free: Vec<Row>,
    /// Active and not hidden.
    pub(super) searchable: RoaringBitmap,
    active: RoaringBitmap,
    pub(super) listing_type: CodedColumn<ListingType>,
    pub(super) territory: CodedColumn<Territory>,
    pub(super) property_type: CodedColumn<PropertyType>,
    pub(super) price_group: CodedColumn<PriceGroup>,
    pub(super) city: CodedColumn<String>,
    pub(super) neighborhood: CodedColumn<String>,
    pub(super) energy_rating: CodedColumn<String>,
    /// The number, made comparable by [`ascending`].
    pub(super) bedrooms: CodedColumn<u64>,
    pub(super) amenities: SetColumn,
    pub(super) amount: Vec<f64>,
    pub(super) sq_meters: Vec<f64>,
    pub(super) bedroom_count: Vec<f64>,
    pub(super) bathrooms: Vec<f64>,
    /// [`UNPUBLISHED`] where a listing lacks it.
    pub(super) published_at_us: Vec<i64>,
    pub(super) lat: Vec<f64>,
    pub(super) lng: Vec<f64>,
    /// H3 index at the resolution of keys; 0 without coordinates.
    pub(super) cell: Vec<u64>,
    pub(super) words: Postings,
    pub(super) places: Places,
}

/// Before every time that can be written.
pub(super) const UNPUBLISHED: i64 = i64::MIN;

/// Writes a row of a plain column.
fn put<T: Copy>(column: &mut Vec<T>, row: Row, value: T, absent: T) {
    let at = row as usize;
    if column.len() <= at {
        column.resize(at + 1, absent);
    }
    if let Some(slot) = column.get_mut(at) {
        *slot = value;
    }
}

impl ShardIndex {
    /// The row of a listing.
    #[must_use]
    pub fn row(&self, id: &str) -> Option<Row> {
        self.by_id.get(id).copied()
    }

    /// The id of a row in use.
    #[must_use]
    pub fn id(&self, row: Row) -> Option<&Arc<str>> {
        self.ids.get(row as usize)
    }

    /// Ids and rows in the order of ids.
    pub fn rows(&self) -> impl Iterator<Item = (&Arc<str>, Row)> {
        self.by_id.iter().map(|(id, row)| (id, *row))
    }

    /// Ids and rows in the order of ids, behind `after`.
    pub fn rows_after(&self, after: Option<&str>) -> impl Iterator<Item = (&Arc<str>, Row)> {
        let from = after.map_or(Bound::Unbounded, Bound::Excluded);
        self.by_id.range::<str, _>((from, Bound::Unbounded)).map(|(id, row)| (id, *row))
    }

    /// All listings.
    #[must_use]
    pub fn len(&self) -> usize {
        self.by_id.len()
    }

    /// Whether there are none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.by_id.is_empty()
    }

    /// Those that searches find.
    #[must_use]
    pub fn searchable(&self) -> u64 {
        self.searchable.len()
    }

    /// Stores a listing, in place of the one with its id if there is one. A hidden one is not found
    /// by searches.
    pub fn insert(&mut self, listing: &ListingColumns, hidden: bool) -> Row {
        self.remove(&listing.id);
        let id: Arc<str> = listing.id.as_str().into();
        let row = if let Some(row) = self.free.pop() {
            row
        } else {
            self.ids.push(Arc::clone(&id));
            // A shard splits long before it has 2^32 rows.
            u32::try_from(self.ids.len() - 1).unwrap_or(Row::MAX)
        };
        if let Some(slot) = self.ids.get_mut(row as usize) {
            *slot = Arc::clone(&id);
        }
        self.by_id.insert(id, row);
        self.insert_coded(row, listing);
        self.insert_plain(row, listing);
        self.words.insert(row, listing);
        if listing.status == Status::Active {
            self.active.insert(row);
        }
        self.set_hidden(row, hidden);
        row
    }

    fn insert_coded(&mut self, row: Row, listing: &ListingColumns) {
        self.listing_type.set(row, Some(listing.listing_type));
        self.territory.set(row, Some(listing.territory()));
        self.property_type.set(row, listing.property_type);
        self.price_group.set(
            row,
            listing
                .price
                .map(|price| PriceGroup { currency: price.currency, period: price.period }),
        );
        self.city.set(row, listing.city.clone());
        self.neighborhood.set(row, listing.neighborhood.clone());
        self.energy_rating.set(row, listing.energy_rating.clone());
        self.bedrooms.set(row, listing.bedrooms.map(ascending));
        self.amenities.set(row, &listing.amenities);
    }

    fn insert_plain(&mut self, row: Row, listing: &ListingColumns) {
        let number = |value: Option<f64>| value.unwrap_or(f64::NAN);
        let amount = number(listing.price.map(|price| price.amount));
        put(&mut self.amount, row, amount, f64::NAN);
        put(&mut self.sq_meters, row, number(listing.sq_meters), f64::NAN);
        put(&mut self.bedroom_count, row, number(listing.bedrooms), f64::NAN);
        put(&mut self.bathrooms, row, number(listing.bathrooms), f64::NAN);
        let published_at_us = listing.published_at_us.unwrap_or(UNPUBLISHED);
        put(&mut self.published_at_us, row, published_at_us, UNPUBLISHED);
        put(&mut self.lat, row, number(listing.location.map(|place| place.lat)), f64::NAN);
        put(&mut self.lng, row, number(listing.location.map(|place| place.lng)), f64::NAN);
        let cell = listing.location.and_then(Cell::at).map_or(0, Cell::raw);
        put(&mut self.cell, row, cell, 0);
    }

    /// Takes a listing away; answers whether there was one.
    pub fn remove(&mut self, id: &str) -> bool {
        let Some(row) = self.by_id.remove(id) else {
            return false;
        };
        self.set_hidden(row, true);
        self.active.remove(row);
        self.listing_type.clear(row);
        self.territory.clear(row);
        self.property_type.clear(row);
        self.price_group.clear(row);
        self.city.clear(row);
        self.neighborhood.clear(row);
        self.energy_rating.clear(row);
        self.bedrooms.clear(row);
        self.amenities.clear(row);
        self.words.remove(row);
        self.free.push(row);
        true
    }

    /// Hides a row from searches, or lets them find it if it is active.
    pub fn set_hidden(&mut self, row: Row, hidden: bool) {
        let searchable = !hidden && self.active.contains(row);
        if searchable == self.searchable.contains(row) {
            return;
        }
        if searchable {
            self.searchable.insert(row);
        } else {
            self.searchable.remove(row);
        }
        let Some(territory) = self.territory.get(row) else {
            return;
        };
        let of_row = RowPlaces {
            territory,
            city: self.city.get(row).map(String::as_str),
            neighborhood: self.neighborhood.get(row).map(String::as_str),
            location: self.location(row),
        };
        self.places.count(&of_row, searchable);
    }

    /// Where a row's listing stands.
    pub(super) fn location(&self, row: Row) -> Option<LatLng> {
        let (lat, lng) = (*self.lat.get(row as usize)?, *self.lng.get(row as usize)?);
        (!lat.is_nan()).then_some(LatLng { lat, lng })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::listing::Listing;

    fn listing(id: &str, city: &str, status: &str) -> ListingColumns {
        let json = format!(
            r#"{{"id":"{id}","listingType":"sale","status":"{status}","country":"IT","region":"lazio","city":"{city}"}}"#
        );
        Listing::parse(json.as_bytes()).unwrap().columns
    }

    #[test]
    fn rows_are_reused_and_leave_nothing_behind() {
        let mut index = ShardIndex::default();
        let first = index.insert(&listing("a", "Roma", "active"), false);
        index.insert(&listing("b", "Roma", "sold"), false);
        assert_eq!((index.len(), index.searchable()), (2, 1));
        assert!(index.remove("a") && !index.remove("a"));
        assert_eq!((index.len(), index.searchable()), (1, 0));
        let again = index.insert(&listing("c", "Latina", "active"), false);
        assert_eq!(again, first);
        assert_eq!(index.city.get(again).unwrap(), "Latina");
        let same = index.insert(&listing("c", "Rieti", "active"), true);
        assert_eq!((same, index.len(), index.searchable()), (again, 2, 0));
        index.set_hidden(same, false);
        assert_eq!(index.searchable(), 1);
    }
}
