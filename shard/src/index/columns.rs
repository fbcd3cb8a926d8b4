//! The index of a shard: how rows come and go, and the versions that readers see.

use std::sync::Arc;

use hexpop_edge_config::Territory;

use super::{
    Row,
    cells::CellMemo,
    column::Times,
    dictionary::{Dictionary, Uses},
    facets::PriceGroup,
    ids::{Ids, Slot},
    leaf::{AMENITY_BITS, Change, Kind, RowKey, RowLeaf, Values},
    places::{Places, RowPlaces},
    shared::SharedVec,
    text::TextIndex,
    tree::Tree,
};
use crate::{
    cell::Cell,
    geo::LatLng,
    key::{ShardKey, Space},
    listing::{ListingColumns, ListingType, PropertyType, Status, Word},
};

/// One version of the index of a shard. A clone shares everything and stays as it is.
///
/// Numbers are kept exactly, in whatever form that takes: results must equal those of a scan of the
/// documents.
#[derive(Debug, Clone, Default)]
pub struct IndexView {
    pub(super) rows: Tree<RowLeaf>,
    /// Where each row is among [`rows`](Self::rows), by its number, packed; 0 for free numbers.
    keys: SharedVec<u64>,
    pub(super) ids: Ids,
    pub(super) searchable: u64,
    pub(super) territories: Dictionary<Territory>,
    pub(super) groups: Dictionary<PriceGroup>,
    pub(super) cities: Dictionary<Arc<str>>,
    pub(super) neighborhoods: Dictionary<Arc<str>>,
    pub(super) energy: Dictionary<Arc<str>>,
    pub(super) amenities: Dictionary<Arc<str>>,
    pub(super) text: TextIndex,
    pub(super) places: Places,
    /// What map cells hold, as far as asked before; shared by all versions.
    pub(super) cells: Arc<CellMemo>,
}

/// The index of a shard, as its one writer has it.
#[derive(Debug, Default)]
pub struct ShardIndex {
    view: IndexView,
    /// One more than the greatest row number that was ever given.
    row_end: Row,
    free: Vec<Row>,
    territories: Uses,
    groups: Uses,
    cities: Uses,
    neighborhoods: Uses,
    energy: Uses,
    amenities: Uses,
}

/// The number of a listing type in columns.
pub(super) const fn type_number(listing_type: ListingType) -> u8 {
    match listing_type {
        ListingType::Sale => 0,
        ListingType::Rent => 1,
        ListingType::Auction => 2,
    }
}

/// One more than the number of a property type.
pub(super) fn property_number(property_type: PropertyType) -> u8 {
    let at = PropertyType::ALL.iter().position(|it| *it == property_type);
    at.and_then(|at| u8::try_from(at + 1).ok()).unwrap_or_default()
}

impl IndexView {
    /// The row of a listing.
    #[must_use]
    pub fn row(&self, id: &str) -> Option<Row> {
        self.ids.row(id)
    }

    /// The id of a row in use.
    #[must_use]
    pub fn id(&self, row: Row) -> Option<&str> {
        self.located(row).map(|(leaf, at)| leaf.id(at))
    }

    /// Ids and rows in the order of ids, behind `after`.
    pub fn rows_after<'a>(
        &'a self,
        after: Option<&str>,
    ) -> impl Iterator<Item = (String, Row)> + use<'a> {
        self.ids.after(after)
    }

    /// All listings.
    #[must_use]
    pub const fn len(&self) -> usize {
        self.ids.len()
    }

    /// Whether there are none.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Those that searches find.
    #[must_use]
    pub const fn searchable(&self) -> u64 {
        self.searchable
    }

    /// Where a row is.
    pub(super) fn key(&self, row: Row) -> Option<RowKey> {
        RowKey::unpacked(*self.keys.get(row)?, row)
    }

    /// The leaf that holds a row, and its place there.
    pub(super) fn located(&self, row: Row) -> Option<(&RowLeaf, usize)> {
        let key = self.key(row)?;
        let leaf = self.rows.leaf(&key)?;
        Some((leaf, leaf.place(&key)?))
    }

    /// Where a listing lives in the keyspace.
    #[must_use]
    pub fn shard_key(&self, row: Row) -> Option<ShardKey> {
        let key = self.key(row)?;
        Some(ShardKey::new(Space::Listings, self.territories.key(key.territory)?, key.cell))
    }

    /// Where the listing of a row stands.
    pub(crate) fn place(&self, row: Row) -> Option<LatLng> {
        let (leaf, at) = self.located(row)?;
        leaf.location(at)
    }

    /// Bytes of memory by part, about: what allocators add is not counted.
    #[must_use]
    pub fn memory(&self) -> Vec<(&'static str, usize)> {
        let (mut identity, mut columns, mut inner, mut leaves) = (0, 0, 0, 0);
        self.rows.sizes(
            &mut |leaf| {
                let (of_identity, of_columns) = leaf.bytes();
                identity += of_identity;
                columns += of_columns;
                leaves += size_of::<RowLeaf>() + 2 * size_of::<usize>();
            },
            &mut |node| inner += node.bytes() + node.tally.bytes(),
        );
        let texts = [&self.cities, &self.neighborhoods, &self.energy, &self.amenities];
        let texts = texts.iter().map(|it| it.bytes(|text| text.len() + 16)).sum::<usize>();
        let dictionaries = texts + self.territories.bytes(|_| 16) + self.groups.bytes(|_| 0);
        let mut parts = vec![
            ("columns", columns),
            ("ids and keys of rows", identity),
            ("rows by id", self.ids.bytes()),
            ("rows by number", self.keys.bytes()),
            ("leaf headers", leaves),
            ("zones and tallies", inner),
            ("dictionaries", dictionaries),
        ];
        parts.extend(self.text.memory().into_iter().map(|(part, bytes)| (text_part(part), bytes)));
        parts.push(("places", self.places.bytes()));
        parts.push(("map cells", self.cells.bytes()));
        parts
    }
}

/// Parts of the text index are told apart in one account.
fn text_part(part: &'static str) -> &'static str {
    match part {
        "words" => "text: words",
        "rows of words" => "text: rows of words",
        "words of rows" => "text: words of rows",
        other => other,
    }
}

impl ShardIndex {
    /// The index as it is now.
    #[must_use]
    pub const fn view(&self) -> &IndexView {
        &self.view
    }

    /// Stores a listing, in place of the one with its id if there is one. A hidden one is not found
    /// by searches.
    pub fn insert(&mut self, listing: &ListingColumns, hidden: bool) -> Row {
        let kind =
            Kind::new(type_number(listing.listing_type), listing.status == Status::Active, hidden);
        let row = self.number(&listing.id, kind);
        let cell = listing.location.and_then(Cell::at).map_or(0, Cell::raw);
        let values = self.values(listing, kind);
        self.put(row, &listing.territory(), cell, values);
        self.view.text.insert(row, listing);
        row
    }

    /// The number for a listing of a kind: the one that it has, whose values are then taken out, or a
    /// free one. Its words stay until they are compared with the new ones.
    pub(super) fn number(&mut self, id: &str, kind: Kind) -> Row {
        if let Some(row) = self.view.ids.row(id) {
            self.take_out(row);
            self.view.ids.turn(id, Slot::new(row, kind.found_as()));
            return row;
        }
        let row = self.free.pop().unwrap_or_else(|| {
            // A shard splits long before numbers end.
            self.row_end = self.row_end.saturating_add(1);
            self.row_end - 1
        });
        self.view.ids.insert(id, Slot::new(row, kind.found_as()));
        row
    }

    /// Puts the values of a row, which has none, at its place.
    pub(super) fn put(&mut self, row: Row, territory: &Territory, cell: u64, values: Values) {
        let territory = self.territories.take(&mut self.view.territories, territory);
        let key = RowKey { territory, cell, row };
        let found = values.kind.found_as().is_some();
        self.view.keys.change(row, |slot| *slot = key.packed());
        self.view.rows.change(&key, &Change::Insert(values));
        if found {
            self.count_found(&key, true);
        }
    }

    fn values(&mut self, listing: &ListingColumns, kind: Kind) -> Values {
        let number = |value: Option<f64>| value.unwrap_or(f64::NAN);
        let group = listing.price.map(|price| {
            let group = PriceGroup { currency: price.currency, period: price.period };
            self.take_group(&group)
        });
        let energy = listing.energy_rating.as_deref().map(|it| self.take_energy(it));
        let city = listing.city.as_deref().map(|it| self.take_city(it));
        let neighborhood = listing.neighborhood.as_deref().map(|it| self.take_neighborhood(it));
        let (amenities, more_amenities) = self.take_amenities(&listing.amenities);
        Values {
            kind,
            property: listing.property_type.map_or(0, property_number),
            group,
            energy,
            city,
            neighborhood,
            amenities,
            more_amenities,
            amount: number(listing.price.map(|price| price.amount)),
            sq_meters: number(listing.sq_meters),
            bedrooms: number(listing.bedrooms),
            bathrooms: number(listing.bathrooms),
            published: listing.published_at_us.unwrap_or(Times::NONE),
            lat: number(listing.location.map(|place| place.lat)),
            lng: number(listing.location.map(|place| place.lng)),
            id: listing.id.as_str().into(),
        }
    }

    pub(super) fn take_group(&mut self, group: &PriceGroup) -> u32 {
        self.groups.take(&mut self.view.groups, group)
    }

    pub(super) fn take_energy(&mut self, text: &str) -> u32 {
        self.energy.take_text(&mut self.view.energy, text)
    }

    pub(super) fn take_city(&mut self, text: &str) -> u32 {
        self.cities.take_text(&mut self.view.cities, text)
    }

    pub(super) fn take_neighborhood(&mut self, text: &str) -> u32 {
        self.neighborhoods.take_text(&mut self.view.neighborhoods, text)
    }

    /// Gives the words that a row has in another index to one of this.
    pub(super) fn copy_words(&mut self, row: Row, from: &IndexView, of: Row) {
        self.view.text.copy(row, &from.text, of);
    }

    /// Bits of the amenities that have one, and the codes of the others.
    pub(super) fn take_amenities<T: AsRef<str> + PartialEq>(
        &mut self,
        amenities: &[T],
    ) -> (u64, Vec<u32>) {
        let (mut bits, mut more) = (0, Vec::new());
        for (at, amenity) in amenities.iter().enumerate() {
            // Named twice, it is still one.
            if amenities.iter().take(at).any(|before| before == amenity) {
                continue;
            }
            let code = self.amenities.take_text(&mut self.view.amenities, amenity.as_ref());
            if code < AMENITY_BITS {
                bits |= 1 << code;
            } else {
                more.push(code);
            }
        }
        more.sort_unstable();
        (bits, more)
    }

    /// Takes a listing away; answers whether there was one.
    pub fn remove(&mut self, id: &str) -> bool {
        let Some(row) = self.view.ids.row(id) else {
            return false;
        };
        self.take_out(row);
        self.view.ids.remove(id);
        self.view.text.remove(row);
        self.view.keys.change(row, |slot| *slot = 0);
        self.free.push(row);
        true
    }

    /// Takes all but the id and the words of a row away.
    fn take_out(&mut self, row: Row) {
        let Some(key) = self.view.key(row) else {
            return;
        };
        let Some(values) = self.view.located(row).map(|(leaf, at)| leaf.values(at)) else {
            return;
        };
        if values.kind.found_as().is_some() {
            self.count_found(&key, false);
        }
        self.territories.give_back(&mut self.view.territories, Some(key.territory));
        self.groups.give_back(&mut self.view.groups, values.group);
        self.energy.give_back(&mut self.view.energy, values.energy);
        self.cities.give_back(&mut self.view.cities, values.city);
        self.neighborhoods.give_back(&mut self.view.neighborhoods, values.neighborhood);
        let bits = (0..AMENITY_BITS).filter(|code| values.amenities >> code & 1 == 1);
        for code in bits.chain(values.more_amenities.iter().copied()) {
            self.amenities.give_back(&mut self.view.amenities, Some(code));
        }
        self.view.rows.change(&key, &Change::Remove(values));
    }

    /// Hides a row from searches, or lets them find it if it is active.
    pub fn set_hidden(&mut self, row: Row, hidden: bool) {
        let Some(key) = self.view.key(row) else {
            return;
        };
        let Some(values) = self.view.located(row).map(|(leaf, at)| leaf.values(at)) else {
            return;
        };
        let to = values.kind.hidden(hidden);
        if to == values.kind {
            return;
        }
        if values.kind.found_as().is_some() {
            self.count_found(&key, false);
        }
        self.view.ids.turn(&values.id, Slot::new(row, to.found_as()));
        self.view.rows.change(&key, &Change::Turn { values, to });
        if to.found_as().is_some() {
            self.count_found(&key, true);
        }
    }

    /// Counts a row that searches find in or out of what is counted besides the columns.
    fn count_found(&mut self, key: &RowKey, counted_in: bool) {
        let view = &mut self.view;
        let Some(leaf) = view.rows.leaf(key) else {
            return;
        };
        let (Some(at), Some(territory)) = (leaf.place(key), view.territories.key(key.territory))
        else {
            return;
        };
        let text = |texts: &Dictionary<Arc<str>>, code: Option<u32>| texts.key(code?).cloned();
        let city = text(&view.cities, leaf.city(at));
        let neighborhood = text(&view.neighborhoods, leaf.neighborhoods.get(at));
        let location: Option<LatLng> = leaf.location(at);
        let of_row = RowPlaces {
            territory,
            city: city.as_deref(),
            neighborhood: neighborhood.as_deref(),
            location,
        };
        view.places.count(&of_row, counted_in);
        let by: i64 = if counted_in { 1 } else { -1 };
        view.searchable = view.searchable.saturating_add_signed(by);
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

    fn city(index: &ShardIndex, row: Row) -> String {
        let view = index.view();
        let (leaf, at) = view.located(row).unwrap();
        view.cities.key(leaf.city(at).unwrap()).unwrap().to_string()
    }

    #[test]
    fn rows_are_reused_and_leave_nothing_behind() {
        let mut index = ShardIndex::default();
        let first = index.insert(&listing("a", "Roma", "active"), false);
        index.insert(&listing("b", "Roma", "sold"), false);
        assert_eq!((index.view().len(), index.view().searchable()), (2, 1));
        let kept = index.view().clone();
        assert!(index.remove("a") && !index.remove("a"));
        assert_eq!((index.view().len(), index.view().searchable()), (1, 0));
        let again = index.insert(&listing("c", "Latina", "active"), false);
        assert_eq!(again, first);
        assert_eq!(city(&index, again), "Latina");
        let same = index.insert(&listing("c", "Rieti", "active"), true);
        assert_eq!((same, city(&index, same).as_str()), (again, "Rieti"));
        assert_eq!((index.view().len(), index.view().searchable()), (2, 0));
        index.set_hidden(same, false);
        assert_eq!(index.view().searchable(), 1);
        assert_eq!((kept.len(), kept.searchable(), kept.id(first)), (2, 1, Some("a")));
        assert_eq!(kept.row("c"), None);
    }
}
