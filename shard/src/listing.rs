//! A listing: the JSON object that a platform sends, checked once and taken apart into what is
//! searched (columns), what is given back (the document), where it lives (its key) and how new it is.

pub(crate) mod fields;
mod line;
mod parse;
mod reso;
mod summary;
pub(crate) mod timestamp;
mod version;
mod words;

use hexpop_edge_config::{Country, Region, Territory};

pub use self::{
    line::{Deletion, IngestLine},
    summary::{Shown, summary},
    version::{ListingVersion, Precedence},
    words::{Currency, ListingFormat, ListingType, Period, PropertyType, Status, Word},
};
use crate::{geo::LatLng, key::ShardKey};

/// A listing's JSON text may have at most this many bytes.
pub const DOCUMENT_BYTES_MAX: usize = 256 << 10;

/// A listing's id may have at most this many characters.
pub const ID_CHARS_MAX: usize = 128;

/// A listing that was understood.
#[derive(Debug, Clone, PartialEq)]
pub struct Listing {
    /// What is searched.
    pub columns: ListingColumns,
    /// The JSON text that is given back: the fields in their order and as they came, but for
    /// white space, with `title` and `description` as objects, `h3Index` last, and known fields
    /// that were null left out.
    pub document: String,
    /// Where it lives.
    pub key: ShardKey,
    /// How new it is.
    pub version: ListingVersion,
}

/// The fields of a listing that are searched, sorted, counted or grouped by.
#[derive(Debug, Clone, PartialEq)]
pub struct ListingColumns {
    /// 1 to [`ID_CHARS_MAX`] characters, none of them a control character.
    pub id: String,
    /// Sale, rent or auction.
    pub listing_type: ListingType,
    /// Only `active` ones are found by searches.
    pub status: Status,
    /// ISO 3166-1 alpha-2.
    pub country: Country,
    /// Slug of the region.
    pub region: Region,
    /// Kind of property.
    pub property_type: Option<PropertyType>,
    /// Asking price.
    pub price: Option<Price>,
    /// Where it stands.
    pub location: Option<LatLng>,
    /// City, as written.
    pub city: Option<String>,
    /// Neighbourhood, as written.
    pub neighborhood: Option<String>,
    /// Living area in square metres.
    pub sq_meters: Option<f64>,
    /// Number of rooms; all counts may be fractional.
    pub rooms: Option<f64>,
    /// Number of bedrooms.
    pub bedrooms: Option<f64>,
    /// Number of bathrooms.
    pub bathrooms: Option<f64>,
    /// Floor: 0 is the ground floor, negative ones are below.
    pub floor: Option<f64>,
    /// Year of construction.
    pub year_built: Option<i32>,
    /// Energy class, as written.
    pub energy_rating: Option<String>,
    /// Amenities, as written.
    pub amenities: Vec<String>,
    /// Who offers it.
    pub agent_id: Option<String>,
    /// Microseconds since the Unix epoch.
    pub published_at_us: Option<i64>,
    /// The title in every language.
    pub titles: Vec<String>,
    /// The description in every language.
    pub descriptions: Vec<String>,
}

impl ListingColumns {
    /// The territory that decides about residency.
    #[must_use]
    pub fn territory(&self) -> Territory {
        Territory { country: self.country, region: self.region.clone() }
    }
}

/// An asking price, in its own currency.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Price {
    /// Finite, at least 0.
    pub amount: f64,
    /// ISO 4217.
    pub currency: Currency,
    /// What a rent is paid for; sales and auctions have none.
    pub period: Option<Period>,
}

/// What is wrong with one field of a listing.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{pointer}: {detail}")]
pub struct FieldError {
    /// JSON pointer (RFC 6901) to the field, such as `/price/amount`; empty = the whole line.
    pub pointer: String,
    /// What is wrong and what would be right.
    pub detail: String,
}

impl FieldError {
    fn new(pointer: impl Into<String>, detail: impl Into<String>) -> Self {
        Self { pointer: pointer.into(), detail: detail.into() }
    }
}

impl Listing {
    /// Understands one JSON object.
    ///
    /// Required are `id`, `listingType`, `status`, `country` and `region`. Every other field may be
    /// absent or null, and unknown ones are kept.
    ///
    /// # Errors
    /// Everything that is wrong with it, at once.
    pub fn parse(json: &[u8]) -> Result<Self, Vec<FieldError>> {
        parse::parse(json)
    }
}
