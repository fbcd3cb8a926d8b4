//! How the rows of a leaf change, and what it adds to the nodes above it.

use super::{
    super::{
        column::{insert, remove, split_off},
        mask::ROWS_MAX,
        tally::{self, Tally},
        tree::{self, Child},
        zone::Zone,
    },
    Change, RowKey, RowLeaf, Values,
};

/// Bytes of ids in a leaf at which it is divided: ends of ids fit 16 bits.
const ID_BYTES_MAX: usize = 60_000;

impl RowLeaf {
    fn insert(&mut self, at: usize, key: &RowKey, values: &Values) {
        let len = self.rows.len();
        insert(&mut self.rows, at, key.row);
        self.cells.insert(at, len, key.cell);
        self.kinds.insert(at, values.kind.0);
        self.properties.insert(at, values.property);
        self.amenities.insert(at, values.amenities, &values.more_amenities);
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
        self.ids.insert(at, values.id.as_bytes());
    }

    fn remove(&mut self, at: usize) {
        if at >= self.rows.len() {
            return;
        }
        remove(&mut self.rows, at);
        self.cells.remove(at);
        self.kinds.remove(at);
        self.properties.remove(at);
        self.amenities.remove(at);
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
        self.ids.remove(at);
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
        // A mask has no bit for one row more.
        self.rows.len() >= ROWS_MAX || self.ids.text_bytes() > ID_BYTES_MAX
    }

    fn joins(&self, next: &Self) -> bool {
        let (here, there) = (self.rows.len(), next.rows.len());
        here.min(there) < ROWS_MAX / 4
            && here + there <= ROWS_MAX * 3 / 4
            && self.ids.text_bytes() + next.ids.text_bytes() <= ID_BYTES_MAX * 3 / 4
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
                self.kinds.set(at, to.0);
                at
            }
            // Whoever makes changes looks first.
            (Ok(at), Change::Insert(_)) | (Err(at), Change::Remove(_) | Change::Turn { .. }) => at,
        }
    }

    fn split_off(&mut self, at: usize) -> Self {
        let len = self.rows.len();
        Self {
            kinds: self.kinds.split_off(at),
            properties: self.properties.split_off(at),
            rows: split_off(&mut self.rows, at),
            territories: self.territories.split_off(at),
            cells: self.cells.split_off(at, len),
            groups: self.groups.split_off(at),
            energy: self.energy.split_off(at),
            cities: self.cities.split_off(at),
            neighborhoods: self.neighborhoods.split_off(at),
            amenities: self.amenities.split_off(at),
            amount: self.amount.split_off(at, len),
            sq_meters: self.sq_meters.split_off(at, len),
            bedrooms: self.bedrooms.split_off(at, len),
            bathrooms: self.bathrooms.split_off(at, len),
            published: self.published.split_off(at),
            lat: self.lat.split_off(at, len),
            lng: self.lng.split_off(at, len),
            ids: self.ids.split_off(at),
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
        for (listing_type, amenities) in (0..).zip(&mut zone.amenities) {
            *amenities = self.amenities.bits_of(&self.of_type(listing_type));
        }
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
