//! From listings to the scan's columns.

use hexpop_edge_config::Territory;
use hexpop_shard::{Cell, ListingColumns, PriceGroup, PropertyType, Status};

use super::{
    NOT_FOUND, Scan, ascending,
    coded::CodedBuilder,
    kind_code,
    text::{Text, TextBuilder},
};

/// Amenities are bits of a `u64`.
const AMENITIES_MAX: usize = 64;

/// Takes listings in any order.
pub(crate) struct Builder {
    id_text: String,
    id_ends: Vec<u32>,
    kind: Vec<u8>,
    lat: Vec<f64>,
    lng: Vec<f64>,
    price: Vec<f64>,
    group: CodedBuilder<PriceGroup, u8>,
    bedrooms: CodedBuilder<u64, u8>,
    property: CodedBuilder<PropertyType, u8>,
    energy: CodedBuilder<String, u8>,
    neighborhood: CodedBuilder<(String, Territory), u16>,
    published: Vec<u32>,
    amenity_names: Vec<String>,
    amenities: Vec<u64>,
    cell: CodedBuilder<Cell, u32>,
    city: CodedBuilder<(String, Territory), u16>,
    territory: CodedBuilder<Territory, u8>,
    text: Option<TextBuilder>,
}

impl Builder {
    /// For `rows` listings; more may come. `id_bytes` is about how long ids are; `texts` is whether
    /// their words are wanted.
    pub(crate) fn with_capacity(rows: usize, id_bytes: usize, texts: bool) -> Self {
        Self {
            id_text: String::with_capacity(rows * id_bytes),
            id_ends: Vec::with_capacity(rows),
            kind: Vec::with_capacity(rows),
            lat: Vec::with_capacity(rows),
            lng: Vec::with_capacity(rows),
            price: Vec::with_capacity(rows),
            group: CodedBuilder::with_capacity(rows),
            bedrooms: CodedBuilder::with_capacity(rows),
            property: CodedBuilder::with_capacity(rows),
            energy: CodedBuilder::with_capacity(rows),
            neighborhood: CodedBuilder::with_capacity(rows),
            published: Vec::with_capacity(rows),
            amenity_names: Vec::new(),
            amenities: Vec::with_capacity(rows),
            cell: CodedBuilder::with_capacity(rows),
            city: CodedBuilder::with_capacity(rows),
            territory: CodedBuilder::with_capacity(rows),
            text: texts.then(TextBuilder::default),
        }
    }

    /// The next listing.
    pub(crate) fn push(&mut self, listing: &ListingColumns) {
        self.id_text.push_str(&listing.id);
        self.id_ends.push(u32::try_from(self.id_text.len()).expect("below 4 GiB of ids"));
        let found = listing.status == Status::Active;
        self.kind.push(if found { kind_code(listing.listing_type) } else { NOT_FOUND });
        let number = |value: Option<f64>| value.unwrap_or(f64::NAN);
        self.lat.push(number(listing.location.map(|place| place.lat)));
        self.lng.push(number(listing.location.map(|place| place.lng)));
        self.price.push(number(listing.price.map(|price| price.amount)));
        let group = |price: hexpop_shard::Price| PriceGroup {
            currency: price.currency,
            period: price.period,
        };
        self.group.push(listing.price.map(group));
        self.bedrooms.push(listing.bedrooms.map(ascending));
        self.property.push(listing.property_type);
        self.energy.push(listing.energy_rating.clone());
        let territory = listing.territory();
        let named = |name: &Option<String>| Some((name.clone()?, territory.clone()));
        self.neighborhood.push(named(&listing.neighborhood));
        self.city.push(named(&listing.city));
        self.published.push(listing.published_at_us.map_or(0, whole_seconds));
        let bits = listing.amenities.iter().fold(0, |bits, name| bits | 1 << self.amenity(name));
        self.amenities.push(bits);
        self.cell.push(listing.location.and_then(Cell::at));
        self.territory.push(Some(territory));
        if let Some(text) = &mut self.text {
            text.push(listing);
        }
    }

    fn amenity(&mut self, name: &str) -> usize {
        if let Some(bit) = self.amenity_names.iter().position(|known| known == name) {
            return bit;
        }
        assert!(self.amenity_names.len() < AMENITIES_MAX, "more than {AMENITIES_MAX} amenities");
        self.amenity_names.push(name.to_owned());
        self.amenity_names.len() - 1
    }

    /// Bytes of what came so far, dictionaries not counted.
    pub(crate) fn heap_bytes(&self) -> usize {
        let coded = self.group.bytes()
            + self.bedrooms.bytes()
            + self.property.bytes()
            + self.energy.bytes()
            + self.neighborhood.bytes()
            + self.cell.bytes()
            + self.city.bytes()
            + self.territory.bytes();
        self.id_text.len()
            + size_of_val(&*self.id_ends)
            + size_of_val(&*self.kind)
            + size_of_val(&*self.lat)
            + size_of_val(&*self.lng)
            + size_of_val(&*self.price)
            + size_of_val(&*self.published)
            + size_of_val(&*self.amenities)
            + coded
            + self.text.as_ref().map_or(0, TextBuilder::heap_bytes)
    }

    /// The columns, in the order of ids.
    pub(crate) fn finish(self) -> Scan {
        let order = self.order();
        Scan {
            kind: ordered(&self.kind, &order),
            lat: ordered(&self.lat, &order),
            lng: ordered(&self.lng, &order),
            price: ordered(&self.price, &order),
            published: ordered(&self.published, &order),
            amenities: ordered(&self.amenities, &order),
            group: self.group.finish(&order),
            bedrooms: self.bedrooms.finish(&order),
            property: self.property.finish(&order),
            energy: self.energy.finish(&order),
            neighborhood: self.neighborhood.finish(&order),
            cell: self.cell.finish(&order),
            city: self.city.finish(&order),
            territory: self.territory.finish(&order),
            text: self.text.map(|text| Text::new(text, &order)),
            amenity_names: self.amenity_names,
            id_ends: id_ends(&self.id_ends, &order),
            id_text: order.iter().map(|row| id(&self.id_text, &self.id_ends, *row)).collect(),
        }
    }

    /// Rows in the order of ids.
    fn order(&self) -> Vec<u32> {
        let rows = u32::try_from(self.kind.len()).expect("fewer than 2^32 rows");
        let mut order: Vec<u32> = (0..rows).collect();
        let id = |row: &u32| id(&self.id_text, &self.id_ends, *row);
        order.sort_unstable_by(|a, b| id(a).cmp(id(b)));
        let repeated = order.windows(2).find(|pair| id(&pair[0]) == id(&pair[1]));
        assert!(repeated.is_none(), "ids must differ: {}", id(&repeated.unwrap()[0]));
        order
    }
}

fn id<'a>(text: &'a str, ends: &[u32], row: u32) -> &'a str {
    let at = row as usize;
    let start = if at == 0 { 0 } else { ends[at - 1] };
    &text[start as usize..ends[at] as usize]
}

fn id_ends(ends: &[u32], order: &[u32]) -> Vec<u32> {
    let lengths = order.iter().map(|row| {
        let at = *row as usize;
        ends[at] - if at == 0 { 0 } else { ends[at - 1] }
    });
    lengths
        .scan(0, |end, length| {
            *end += length;
            Some(*end)
        })
        .collect()
}

fn ordered<T: Copy>(column: &[T], order: &[u32]) -> Vec<T> {
    order.iter().map(|row| column[*row as usize]).collect()
}

/// Narrow, which the scan gains from, but only right for the data at hand.
fn whole_seconds(micros: i64) -> u32 {
    assert!(micros > 0 && micros % 1_000_000 == 0, "a time that 32 bits of seconds do not hold");
    u32::try_from(micros / 1_000_000).expect("a time before 2106")
}
