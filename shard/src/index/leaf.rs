//! The columns of a run of rows that lie together: neighbours in the keyspace, hence on the ground.

use super::{
    Row,
    column::{Codes, Numbers, Times, insert, remove, split_off},
    tally::{self, Amounts, Tally},
    tree::{self, Child},
    zone::{Facts, Zone},
};
use crate::geo::LatLng;

/// Rows of a leaf at most. Fewer make a change copy less; more make a scan pass over fewer leaves, each of
/// which costs something whatever is in it; 512 measured better than 256 for most queries.
pub(super) const ROWS_MAX: usize = 512;

/// Bytes of ids in a leaf at which it is divided: ends of ids fit 16 bits.
const ID_BYTES_MAX: usize = 60_000;

/// In `kinds`: searches find the row.
const SEARCHABLE: u8 = 4;
/// In `kinds`: the listing is active.
const ACTIVE: u8 = 8;
const TYPE_MASK: u8 = 3;

/// Amenities with a code below this have a bit of their own; the last bit says that there are more.
pub(super) const AMENITY_BITS: u32 = 63;

/// What rows are sorted by: the territory's code, the H3 cell (0 = no coordinates), the row.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default)]
pub(super) struct RowKey {
    pub(super) territory: u32,
    pub(super) cell: u64,
    pub(super) row: Row,
}

/// What all H3 cells of the resolution of keys have in common: mode, resolution, unused digits.
const CELL_BITS: u64 = (1 << 59) | (9 << 52) | CELL_UNUSED;
const CELL_SHIFT: u32 = 18;
const CELL_UNUSED: u64 = (1 << CELL_SHIFT) - 1;
/// Base cell and nine digits.
const CELL_OWN: u64 = (1 << 34) - 1;
const TERRITORY_BITS: u32 = 29;

impl RowKey {
    /// Territory and cell in one word: 34 bits of the cell, one bit that says that there is one, and
    /// one more than the territory's code in 29 bits.
    pub(super) const fn packed(self) -> u64 {
        let own = (self.cell >> CELL_SHIFT) & CELL_OWN;
        let located = (self.cell != 0) as u64;
        (own << (TERRITORY_BITS + 1)) | (located << TERRITORY_BITS) | (self.territory as u64 + 1)
    }

    /// The key behind [`packed`](Self::packed); `None` for 0.
    pub(super) fn unpacked(packed: u64, row: Row) -> Option<Self> {
        let territory =
            u32::try_from((packed & ((1 << TERRITORY_BITS) - 1)).checked_sub(1)?).ok()?;
        let located = packed >> TERRITORY_BITS & 1 == 1;
        let own = packed >> (TERRITORY_BITS + 1);
        let cell = if located { (own << CELL_SHIFT) | CELL_BITS } else { 0 };
        Some(Self { territory, cell, row })
    }
}

/// What a row is to searches.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) struct Kind(u8);

impl Kind {
    /// A row of the listing type with this number.
    pub(super) fn new(listing_type: u8, active: bool, hidden: bool) -> Self {
        let active_bit = if active { ACTIVE } else { 0 };
        let searchable = if active && !hidden { SEARCHABLE } else { 0 };
        Self((listing_type & TYPE_MASK) | active_bit | searchable)
    }

    pub(super) fn hidden(self, hidden: bool) -> Self {
        Self::new(self.0 & TYPE_MASK, self.0 & ACTIVE != 0, hidden)
    }

    /// The number of the listing type, if searches find the row.
    pub(super) fn found_as(self) -> Option<usize> {
        (self.0 & SEARCHABLE != 0).then_some(usize::from(self.0 & TYPE_MASK))
    }
}

/// All that a leaf keeps of one row.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Values {
    pub(super) kind: Kind,
    /// One more than the number of the property type; 0 = none.
    pub(super) property: u8,
    pub(super) group: Option<u32>,
    pub(super) energy: Option<u32>,
    pub(super) city: Option<u32>,
    pub(super) neighborhood: Option<u32>,
    /// Bits of the amenities with codes below [`AMENITY_BITS`].
    pub(super) amenities: u64,
    /// Codes of the others, ascending.
    pub(super) more_amenities: Vec<u32>,
    pub(super) amount: f64,
    pub(super) sq_meters: f64,
    pub(super) bedrooms: f64,
    pub(super) bathrooms: f64,
    pub(super) published: i64,
    pub(super) lat: f64,
    pub(super) lng: f64,
    pub(super) id: Box<str>,
}

/// A change of one row.
#[derive(Debug)]
pub(super) enum Change {
    /// It comes.
    Insert(Values),
    /// It goes; these were its values.
    Remove(Values),
    /// It is hidden or shown; `from` was its kind.
    Turn { values: Values, to: Kind },
}

impl Change {
    /// What goes and what comes of what searches find.
    fn facts(&self, territory: u32) -> (Option<Facts>, Option<Facts>) {
        match self {
            Self::Insert(values) => (None, values.facts(territory)),
            Self::Remove(values) => (values.facts(territory), None),
            Self::Turn { values, to } => {
                let turned = Values { kind: *to, ..values.clone() };
                (values.facts(territory), turned.facts(territory))
            }
        }
    }
}

/// The columns of at most [`ROWS_MAX`] rows.
#[derive(Debug, Clone, Default)]
pub(super) struct RowLeaf {
    pub(super) rows: Vec<Row>,
    territories: Codes,
    pub(super) cells: Vec<u64>,
    kinds: Vec<u8>,
    properties: Vec<u8>,
    pub(super) groups: Codes,
    pub(super) energy: Codes,
    cities: Codes,
    pub(super) neighborhoods: Codes,
    /// Empty if no row has any.
    amenities: Vec<u64>,
    /// Place and code, ascending.
    more_amenities: Vec<(u16, u32)>,
    pub(super) amount: Numbers,
    pub(super) sq_meters: Numbers,
    pub(super) bedrooms: Numbers,
    pub(super) bathrooms: Numbers,
    pub(super) published: Times,
    pub(super) lat: Numbers,
    pub(super) lng: Numbers,
    id_bytes: Vec<u8>,
    id_ends: Vec<u16>,
}

impl RowLeaf {
    /// The key of the row at a place.
    pub(super) fn key(&self, at: usize) -> Option<RowKey> {
        let (row, cell) = (*self.rows.get(at)?, *self.cells.get(at)?);
        Some(RowKey { territory: self.territory(at)?, cell, row })
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
    fn search(&self, key: &RowKey) -> Result<usize, usize> {
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
        let start =
            at.checked_sub(1).and_then(|before| self.id_ends.get(before)).map_or(0, |end| *end);
        let end = self.id_ends.get(at).copied().unwrap_or(start);
        let bytes = self.id_bytes.get(usize::from(start)..usize::from(end)).unwrap_or_default();
        // What was put in was a text.
        std::str::from_utf8(bytes).unwrap_or_default()
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
        Kind(self.kinds.get(at).copied().unwrap_or_default())
    }

    /// One more than the number of the property type; 0 = none.
    pub(super) fn property(&self, at: usize) -> u8 {
        self.properties.get(at).copied().unwrap_or_default()
    }

    /// Keeps the rows wanted that searches for a listing type find.
    pub(super) fn keep_type(&self, listing_type: u8, mask: &mut [u8]) {
        let kind = Kind::new(listing_type, true, false).0;
        for (wanted, value) in mask.iter_mut().zip(&self.kinds) {
            *wanted &= u8::from(*value == kind);
        }
    }

    /// Keeps the rows wanted whose property type is in a set of bits, by [`Values::property`].
    pub(super) fn keep_properties(&self, set: u16, mask: &mut [u8]) {
        if set.count_ones() == 1 {
            // One is compared with many rows at once.
            let only = u8::try_from(set.trailing_zeros()).unwrap_or(u8::MAX);
            for (wanted, value) in mask.iter_mut().zip(&self.properties) {
                *wanted &= u8::from(*value == only);
            }
            return;
        }
        for (wanted, value) in mask.iter_mut().zip(&self.properties) {
            if *wanted != 0 {
                *wanted = u8::from(set >> value & 1 == 1);
            }
        }
    }

    /// Keeps the rows wanted that have all of these amenities.
    pub(super) fn keep_amenities(&self, bits: u64, more: &[u32], mask: &mut [u8]) {
        if self.amenities.is_empty() && (bits != 0 || !more.is_empty()) {
            return mask.fill(0);
        }
        for (wanted, value) in mask.iter_mut().zip(&self.amenities) {
            *wanted &= u8::from(value & bits == bits);
        }
        if more.is_empty() {
            return;
        }
        for (at, wanted) in mask.iter_mut().enumerate().filter(|(_, wanted)| **wanted != 0) {
            let all = more.iter().all(|code| self.has_more(at, *code));
            *wanted = u8::from(all);
        }
    }

    fn has_more(&self, at: usize, code: u32) -> bool {
        u16::try_from(at).is_ok_and(|at| self.more_amenities.binary_search(&(at, code)).is_ok())
    }

    pub(super) fn amenity_bits(&self, at: usize) -> u64 {
        self.amenities.get(at).copied().unwrap_or_default()
    }

    /// All that is kept of the row at a place.
    pub(super) fn values(&self, at: usize) -> Values {
        let place = u16::try_from(at).unwrap_or(u16::MAX);
        let more = self.more_amenities.iter().filter(|(it, _)| *it == place);
        Values {
            kind: self.kind(at),
            property: self.property(at),
            group: self.groups.get(at),
            energy: self.energy.get(at),
            city: self.cities.get(at),
            neighborhood: self.neighborhoods.get(at),
            amenities: self.amenity_bits(at) & !(1 << AMENITY_BITS),
            more_amenities: more.map(|(_, code)| *code).collect(),
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

    /// What is summarised of the row at a place, if searches find it.
    fn facts(&self, at: usize) -> Option<Facts> {
        Some(Facts {
            listing_type: self.kind(at).found_as()?,
            territory: self.territory(at)?,
            property: self.property(at),
            group: self.groups.get(at),
            energy: self.energy.get(at),
            neighborhood: self.neighborhoods.get(at),
            amenities: self.amenity_bits(at),
            amount: self.amount.get(at),
            sq_meters: self.sq_meters.get(at),
            bedrooms: self.bedrooms.get(at),
            bathrooms: self.bathrooms.get(at),
            published: self.published.get(at),
            lat: self.lat.get(at),
            lng: self.lng.get(at),
        })
    }

    /// Notes the amounts of a listing type in a price group.
    pub(super) fn note_amounts(&self, listing_type: usize, group: u32, amounts: &mut Amounts) {
        let rows = (0..self.rows.len()).filter(|at| {
            self.kind(*at).found_as() == Some(listing_type) && self.groups.get(*at) == Some(group)
        });
        rows.for_each(|at| amounts.note(self.amount.get(at)));
    }

    fn insert(&mut self, at: usize, key: &RowKey, values: &Values) {
        let len = self.rows.len();
        self.insert_amenities(at, len, values);
        let put = insert::<u8>;
        insert(&mut self.rows, at, key.row);
        insert(&mut self.cells, at, key.cell);
        put(&mut self.kinds, at, values.kind.0);
        put(&mut self.properties, at, values.property);
        self.territories.insert(at, len, Some(key.territory));
        self.groups.insert(at, len, values.group);
        self.energy.insert(at, len, values.energy);
        self.cities.insert(at, len, values.city);
        self.neighborhoods.insert(at, len, values.neighborhood);
        self.amount.insert(at, len, values.amount);
        self.sq_meters.insert(at, len, values.sq_meters);
        self.bedrooms.insert(at, len, values.bedrooms);
        self.bathrooms.insert(at, len, values.bathrooms);
        self.published.insert(at, len, values.published);
        self.lat.insert(at, len, values.lat);
        self.lng.insert(at, len, values.lng);
        self.insert_id(at, &values.id);
    }

    fn insert_amenities(&mut self, at: usize, len: usize, values: &Values) {
        let more = if values.more_amenities.is_empty() { 0 } else { 1 << AMENITY_BITS };
        let bits = values.amenities | more;
        if self.amenities.is_empty() && bits != 0 {
            self.amenities = vec![0; len];
        }
        if self.amenities.len() == len && (len > 0 || bits != 0) {
            insert(&mut self.amenities, at, bits);
        }
        let place = u16::try_from(at).unwrap_or(u16::MAX);
        for (it, _) in &mut self.more_amenities {
            if *it >= place {
                *it += 1;
            }
        }
        let from = self.more_amenities.partition_point(|(it, _)| *it < place);
        let added = values.more_amenities.iter().map(|code| (place, *code));
        self.more_amenities.splice(from..from, added);
    }

    fn insert_id(&mut self, at: usize, id: &str) {
        let start =
            at.checked_sub(1).and_then(|before| self.id_ends.get(before)).map_or(0, |end| *end);
        let length = u16::try_from(id.len()).unwrap_or(u16::MAX);
        let from = usize::from(start);
        if self.id_bytes.capacity() < self.id_bytes.len() + id.len() {
            self.id_bytes.reserve_exact(id.len() * 8);
        }
        self.id_bytes.splice(from..from, id.bytes());
        for end in self.id_ends.iter_mut().skip(at) {
            *end = end.saturating_add(length);
        }
        insert(&mut self.id_ends, at, start.saturating_add(length));
    }

    fn remove(&mut self, at: usize) {
        if at >= self.rows.len() {
            return;
        }
        self.remove_id(at);
        self.rows.remove(at);
        remove(&mut self.cells, at);
        remove(&mut self.kinds, at);
        remove(&mut self.properties, at);
        remove(&mut self.amenities, at);
        let place = u16::try_from(at).unwrap_or(u16::MAX);
        self.more_amenities.retain(|(it, _)| *it != place);
        for (it, _) in &mut self.more_amenities {
            if *it > place {
                *it -= 1;
            }
        }
        let codes = [
            &mut self.territories,
            &mut self.groups,
            &mut self.energy,
            &mut self.cities,
            &mut self.neighborhoods,
        ];
        codes.into_iter().for_each(|column| column.remove(at));
        let numbers = [
            &mut self.amount,
            &mut self.sq_meters,
            &mut self.bedrooms,
            &mut self.bathrooms,
            &mut self.lat,
            &mut self.lng,
        ];
        numbers.into_iter().for_each(|column| column.remove(at));
        self.published.remove(at);
    }

    fn remove_id(&mut self, at: usize) {
        let start =
            at.checked_sub(1).and_then(|before| self.id_ends.get(before)).map_or(0, |end| *end);
        let Some(end) = self.id_ends.get(at).copied() else {
            return;
        };
        drop(self.id_bytes.drain(usize::from(start)..usize::from(end)));
        self.id_ends.remove(at);
        for it in self.id_ends.iter_mut().skip(at) {
            *it = it.saturating_sub(end - start);
        }
    }

    /// Bytes on the heap by part: what identifies rows, and their columns.
    pub(super) fn bytes(&self) -> (usize, usize) {
        let identity = self.rows.capacity() * 4
            + self.cells.capacity() * 8
            + self.territories.bytes()
            + self.id_bytes.capacity()
            + self.id_ends.capacity() * 2;
        let codes = [&self.groups, &self.energy, &self.cities, &self.neighborhoods];
        let numbers =
            [&self.amount, &self.sq_meters, &self.bedrooms, &self.bathrooms, &self.lat, &self.lng];
        let columns = self.kinds.capacity()
            + self.properties.capacity()
            + self.amenities.capacity() * 8
            + self.more_amenities.capacity() * 8
            + codes.iter().map(|column| column.bytes()).sum::<usize>()
            + numbers.iter().map(|column| column.bytes()).sum::<usize>()
            + self.published.bytes();
        (identity, columns)
    }
}

impl tree::Leaf for RowLeaf {
    type Key = RowKey;
    type Change = Change;
    type Zone = Zone;
    type Tally = Tally;

    fn len(&self) -> usize {
        self.rows.len()
    }

    fn is_full(&self) -> bool {
        self.rows.len() > ROWS_MAX || self.id_bytes.len() > ID_BYTES_MAX
    }

    fn joins(&self, next: &Self) -> bool {
        let (here, there) = (self.rows.len(), next.rows.len());
        here.min(there) < ROWS_MAX / 4
            && here + there <= ROWS_MAX * 3 / 4
            && self.id_bytes.len() + next.id_bytes.len() <= ID_BYTES_MAX * 3 / 4
    }

    fn first(&self) -> Option<RowKey> {
        self.key(0)
    }

    fn change(&mut self, key: &RowKey, change: &Change) -> usize {
        match (self.search(key), change) {
            (Err(at), Change::Insert(values)) => {
                self.insert(at, key, values);
                at
            }
            (Ok(at), Change::Remove(_)) => {
                self.remove(at);
                at
            }
            (Ok(at), Change::Turn { to, .. }) => {
                if let Some(kind) = self.kinds.get_mut(at) {
                    *kind = to.0;
                }
                at
            }
            // Whoever makes changes looks first.
            (Ok(at), Change::Insert(_)) | (Err(at), Change::Remove(_) | Change::Turn { .. }) => at,
        }
    }

    fn split_off(&mut self, at: usize) -> Self {
        let cut = split_off::<u8>;
        let first_end =
            at.checked_sub(1).and_then(|before| self.id_ends.get(before)).map_or(0, |end| *end);
        let mut id_ends = split_off(&mut self.id_ends, at);
        for end in &mut id_ends {
            *end = end.saturating_sub(first_end);
        }
        let place = u16::try_from(at).unwrap_or(u16::MAX);
        let from = self.more_amenities.partition_point(|(it, _)| *it < place);
        let mut more_amenities = self.more_amenities.split_off(from);
        for (it, _) in &mut more_amenities {
            *it -= place;
        }
        Self {
            rows: split_off(&mut self.rows, at),
            territories: self.territories.split_off(at),
            cells: split_off(&mut self.cells, at),
            kinds: cut(&mut self.kinds, at),
            properties: cut(&mut self.properties, at),
            groups: self.groups.split_off(at),
            energy: self.energy.split_off(at),
            cities: self.cities.split_off(at),
            neighborhoods: self.neighborhoods.split_off(at),
            amenities: split_off(&mut self.amenities, at),
            more_amenities,
            amount: self.amount.split_off(at),
            sq_meters: self.sq_meters.split_off(at),
            bedrooms: self.bedrooms.split_off(at),
            bathrooms: self.bathrooms.split_off(at),
            published: self.published.split_off(at),
            lat: self.lat.split_off(at),
            lng: self.lng.split_off(at),
            id_bytes: cut(&mut self.id_bytes, usize::from(first_end)),
            id_ends,
        }
    }

    fn append(&mut self, next: Self) {
        // Leaves are joined seldom: row by row keeps every column in its narrowest form.
        for at in 0..next.rows.len() {
            if let Some(key) = next.key(at) {
                self.insert(self.rows.len(), &key, &next.values(at));
            }
        }
    }

    fn zone(&self) -> Zone {
        let mut zone = Zone::default();
        (0..self.rows.len()).filter_map(|at| self.facts(at)).for_each(|facts| zone.add(&facts));
        zone
    }

    fn extend(zone: &mut Zone, key: &RowKey, change: &Change) -> bool {
        let (gone, come) = change.facts(key.territory);
        if gone.is_some() {
            return false;
        }
        if let Some(facts) = come {
            zone.add(&facts);
        }
        true
    }

    fn join<'a>(zones: impl Iterator<Item = &'a Zone>) -> Zone {
        let mut all = Zone::default();
        zones.for_each(|zone| all.join(zone));
        all
    }

    fn count(&self, tally: &mut Tally) {
        let facts = (0..self.rows.len()).filter_map(|at| self.facts(at));
        facts.for_each(|facts| tally.add_row(&facts));
    }

    fn add(tally: &mut Tally, more: &Tally) {
        tally.add(more);
    }

    fn note(tally: &mut Tally, change: &Change, children: &[Child<Self>]) {
        let (gone, come) = change.facts(0);
        if let Some(facts) = gone {
            tally::take_out(tally, &facts, children);
        }
        if let Some(facts) = come {
            tally.add_row(&facts);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cell::Cell;

    #[test]
    fn keys_come_back_from_one_word() {
        let places = [(45.4726, 9.186), (-89.9, 10.0), (89.99, -170.0), (0.0, 0.0), (64.0, 10.5)];
        let cells = places.map(|(lat, lng)| Cell::at(LatLng { lat, lng }).unwrap().raw());
        for cell in cells.into_iter().chain([0, CELL_BITS]) {
            for territory in [0, 1, 500_000_000] {
                let key = RowKey { territory, cell, row: 7 };
                assert_eq!(RowKey::unpacked(key.packed(), 7), Some(key));
            }
        }
        assert_eq!(RowKey::unpacked(0, 7), None);
    }
}
