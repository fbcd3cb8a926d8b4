//! From the bytes of one JSON object to a [`Listing`].

use std::collections::BTreeMap;

use hexpop_edge_config::{Country, Region};

use super::{
    Currency, DOCUMENT_BYTES_MAX, FieldError, ID_CHARS_MAX, Listing, ListingColumns, ListingType,
    ListingVersion, Period, Price,
    fields::{FieldReader, RawObject},
};
use crate::{
    cell::Cell,
    key::{ShardKey, Space},
};

const NAME_CHARS_MAX: usize = 200;
const REFERENCE_CHARS_MAX: usize = 256;
/// A listing may have this many amenities.
pub(super) const AMENITIES_MAX: usize = 256;
const LANGUAGES_MAX: usize = 64;

/// The fields that a document leaves out when they are null: in the format, absent means unknown.
const OPTIONAL: &[&str] = &[
    "source",
    "externalId",
    "propertyType",
    "price",
    "location",
    "city",
    "neighborhood",
    "postalCode",
    "sqMeters",
    "rooms",
    "bedrooms",
    "bathrooms",
    "floor",
    "yearBuilt",
    "energyRating",
    "amenities",
    "title",
    "description",
    "agentId",
    "agencyId",
    "publishedAt",
    "updatedAt",
    "version",
    "media",
];

pub(super) fn parse(json: &[u8]) -> Result<Listing, Vec<FieldError>> {
    let whole = |detail: String| vec![FieldError::new("", detail)];
    if json.len() > DOCUMENT_BYTES_MAX {
        return Err(whole(format!("is longer than {DOCUMENT_BYTES_MAX} bytes")));
    }
    let text =
        std::str::from_utf8(json).map_err(|error| whole(format!("is not UTF-8: {error}")))?;
    let object =
        RawObject::parse(text).map_err(|error| whole(format!("is not a JSON object: {error}")))?;
    let mut reader = FieldReader::new(object, "");
    let columns = columns(&mut reader);
    let titles = languages(&mut reader, "title");
    let descriptions = languages(&mut reader, "description");
    let version = ListingVersion {
        version: reader.whole("version", "a whole number of at least 0"),
        updated_at_us: reader.timestamp("updatedAt"),
    };
    check_the_rest(&mut reader);
    let (object, errors) = reader.into_parts();
    let (Some(mut columns), true) = (columns, errors.is_empty()) else {
        return Err(errors);
    };
    let cell = columns.location.and_then(Cell::at);
    let document = document(&object, &titles, &descriptions, cell);
    columns.titles = titles.into_values().collect();
    columns.descriptions = descriptions.into_values().collect();
    let point = cell.map_or(0, Cell::raw);
    let key = ShardKey::new(Space::Listings, &columns.territory(), point);
    Ok(Listing { columns, document, key, version })
}

/// `None` when something required is missing or wrong; the reader then holds the errors.
fn columns(reader: &mut FieldReader<'_>) -> Option<ListingColumns> {
    for required in ["id", "listingType", "status", "country", "region"] {
        if reader.raw(required).is_none() {
            reader.fail(required, "is required");
        }
    }
    let (id, listing_type) = (id(reader), reader.word("listingType"));
    let (status, country, region) = (reader.word("status"), country(reader), region(reader));
    // Everything is read before anything is given up, so that all errors are reported.
    let (property_type, price) = (reader.word("propertyType"), price(reader, listing_type));
    let location = reader.place("location", "/location");
    let city = reader.text("city", NAME_CHARS_MAX);
    let neighborhood = reader.text("neighborhood", NAME_CHARS_MAX);
    let [sq_meters, rooms, bedrooms, bathrooms] =
        ["sqMeters", "rooms", "bedrooms", "bathrooms"].map(|it| reader.number(it, 0.0, f64::MAX));
    let floor = reader.number("floor", -1_000.0, 10_000.0);
    let year_built = reader.whole("yearBuilt", "a year (a whole number)");
    let energy_rating = reader.text("energyRating", NAME_CHARS_MAX);
    let amenities = reader.texts("amenities", AMENITIES_MAX, NAME_CHARS_MAX);
    let agent_id = reader.text("agentId", REFERENCE_CHARS_MAX);
    let published_at_us = reader.timestamp("publishedAt");
    Some(ListingColumns {
        id: id?,
        listing_type: listing_type?,
        status: status?,
        country: country?,
        region: region?,
        property_type,
        price,
        location,
        city,
        neighborhood,
        sq_meters,
        rooms,
        bedrooms,
        bathrooms,
        floor,
        year_built,
        energy_rating,
        amenities,
        agent_id,
        published_at_us,
        titles: Vec::new(),
        descriptions: Vec::new(),
    })
}

/// The types of fields that are only given back.
fn check_the_rest(reader: &mut FieldReader<'_>) {
    for name in ["source", "externalId", "postalCode", "agencyId"] {
        reader.text(name, REFERENCE_CHARS_MAX);
    }
    if reader.raw("media").is_some_and(|media| !media.starts_with('[')) {
        reader.fail("media", "must be a list");
    }
}

fn id(reader: &mut FieldReader<'_>) -> Option<String> {
    let id = reader.text("id", ID_CHARS_MAX)?;
    if let Some(fault) = id_fault(&id) {
        reader.fail("id", fault);
        return None;
    }
    Some(id)
}

/// What is wrong with a listing's id, if anything.
pub(super) fn id_fault(id: &str) -> Option<&'static str> {
    if id.is_empty() {
        Some("must not be empty")
    } else if id.chars().count() > ID_CHARS_MAX {
        Some("must have at most 128 characters")
    } else if id.chars().any(char::is_control) {
        Some("must not contain control characters")
    } else {
        None
    }
}

fn country(reader: &mut FieldReader<'_>) -> Option<Country> {
    let text = reader.text("country", NAME_CHARS_MAX)?;
    match text.parse() {
        Ok(Country::NONE) => {
            reader.fail("country", "ZZ is reserved");
            None
        }
        Ok(country) => Some(country),
        Err(error) => {
            reader.fail("country", error.to_string());
            None
        }
    }
}

fn region(reader: &mut FieldReader<'_>) -> Option<Region> {
    let text = reader.text("region", NAME_CHARS_MAX)?;
    text.parse().map_err(|error| reader.fail("region", format!("{error}"))).ok()
}

/// An amount never goes without its currency: amounts of different ones must not be mixed.
fn price(reader: &mut FieldReader<'_>, listing_type: Option<ListingType>) -> Option<Price> {
    let mut inner = reader.object("price", "/price")?;
    for required in ["amount", "currency"] {
        if inner.raw(required).is_none() {
            inner.fail(required, "is required in a price");
        }
    }
    let amount = inner.number("amount", 0.0, f64::MAX);
    let currency = inner.text("currency", NAME_CHARS_MAX).and_then(|code| {
        let currency = Currency::from_code(&code);
        if currency.is_none() {
            inner.fail("currency", "must be an ISO 4217 code such as EUR");
        }
        currency
    });
    let period: Option<Period> = inner.word("period");
    if period.is_some() && listing_type.is_some_and(|kind| kind != ListingType::Rent) {
        inner.fail("period", "only the price of a rent has a period");
    }
    reader.errors.append(&mut inner.errors);
    Some(Price { amount: amount?, currency: currency?, period })
}

/// A text per language; a plain string is of the language `und`.
fn languages(reader: &mut FieldReader<'_>, name: &'static str) -> BTreeMap<String, String> {
    let Some(raw) = reader.raw(name) else {
        return BTreeMap::new();
    };
    if raw.starts_with('"') {
        let text = serde_json::from_str(raw).unwrap_or_default();
        return BTreeMap::from([("und".to_owned(), text)]);
    }
    match serde_json::from_str::<BTreeMap<String, Option<String>>>(raw) {
        Ok(texts) if texts.len() <= LANGUAGES_MAX => {
            texts.into_iter().filter_map(|(language, text)| Some((language, text?))).collect()
        }
        Ok(_) => {
            reader.fail(name, format!("must have at most {LANGUAGES_MAX} languages"));
            BTreeMap::new()
        }
        Err(_) => {
            reader.fail(name, "must be a text or an object of texts by language");
            BTreeMap::new()
        }
    }
}

/// The JSON text that is given back.
fn document(
    object: &RawObject<'_>,
    titles: &BTreeMap<String, String>,
    descriptions: &BTreeMap<String, String>,
    cell: Option<Cell>,
) -> String {
    let mut out = ObjectWriter::default();
    for (name, value) in &object.0 {
        let raw = value.get();
        match name.as_str() {
            "h3Index" => {}
            known if raw == "null" && OPTIONAL.contains(&known) => {}
            "title" => out.text_member(name, titles),
            "description" => out.text_member(name, descriptions),
            "price" | "location" => out.member_without_nulls(name, raw),
            _ => out.member(name, raw),
        }
    }
    if let Some(cell) = cell {
        out.member("h3Index", &format!("\"{cell}\""));
    }
    out.finish()
}

/// Writes a JSON object from members that are JSON already.
#[derive(Debug, Default)]
pub(super) struct ObjectWriter(String);

impl ObjectWriter {
    /// Adds a member; white space between the tokens of `raw` is left out, so that a document is
    /// one line.
    pub(super) fn member(&mut self, name: &str, raw: &str) {
        self.0.push(if self.0.is_empty() { '{' } else { ',' });
        self.0.push_str(&serde_json::Value::from(name).to_string());
        self.0.push(':');
        let (mut in_text, mut escaped) = (false, false);
        // Pieces between white space that is not part of a text.
        let pieces = raw.split(|letter: char| {
            if in_text {
                in_text = escaped || letter != '"';
                escaped = !escaped && letter == '\\';
                false
            } else {
                in_text = letter == '"';
                letter.is_ascii_whitespace()
            }
        });
        self.0.extend(pieces);
    }

    fn text_member(&mut self, name: &str, texts: &BTreeMap<String, String>) {
        let mut inner = Self::default();
        for (language, text) in texts {
            inner.member(language, &serde_json::Value::from(text.as_str()).to_string());
        }
        self.member(name, &inner.finish());
    }

    fn member_without_nulls(&mut self, name: &str, raw: &str) {
        let object = RawObject::parse(raw).unwrap_or_default();
        let mut inner = Self::default();
        for (name, value) in &object.0 {
            if value.get() != "null" {
                inner.member(name, value.get());
            }
        }
        self.member(name, &inner.finish());
    }

    pub(super) fn finish(mut self) -> String {
        if self.0.is_empty() {
            self.0.push('{');
        }
        self.0.push('}');
        self.0
    }
}
