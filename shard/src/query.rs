//! What is asked of the listings: requests as clients write them, checked once and as a whole, and
//! the plain queries that cross the mesh.
//!
//! JSON bodies and query strings become one tree of nodes, and one set of readers checks it, so
//! that the two forms cannot differ in what they accept.

mod base64url;
mod canonical;
mod cursor;
mod error;
pub(crate) mod language;
mod node;
mod query_string;
mod reader;
mod request;
mod suggestion;

use hexpop_edge_config::{Country, Region};
use serde::{Deserialize, Serialize};

pub use self::{
    cursor::{Cursor, ShardEpoch},
    error::{Problem, ProblemPlace, QueryError, QueryErrorKind},
    language::Languages,
    request::{MapRequest, SearchRequest, SearchRules},
    suggestion::SuggestRequest,
};
use crate::{
    geo::{Bounds, Geometry, LatLng},
    key::{KeyRange, ShardKey, Space},
    listing::{Currency, ListingType, Period, PropertyType, Word},
};

/// Hits per page unless the request says otherwise.
pub const LIMIT_DEFAULT: u32 = 20;
/// Hits per page at most.
pub const LIMIT_MAX: u32 = 200;
/// The coarsest H3 resolution of a map view.
pub const RESOLUTION_MIN: u8 = 3;
/// The finest one: that of listings' own cells.
pub const RESOLUTION_MAX: u8 = 9;
/// Map cells at most, unless the request says otherwise.
pub const CELLS_DEFAULT: u32 = 2_000;
/// Map cells that a request may ask for at most.
pub const CELLS_MAX: u32 = 10_000;
/// Languages of a query at most.
pub const LANGUAGES_MAX: usize = 8;
/// Suggestions unless the request says otherwise.
pub const SUGGEST_LIMIT_DEFAULT: u32 = 10;
/// Suggestions at most.
pub const SUGGEST_LIMIT_MAX: u32 = 50;

/// Which listings match. All conditions must hold; a listing that lacks a field fails every
/// condition on it; ranges include their ends.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Filters {
    /// Any of these listings; empty = all. Ascending bytewise, none twice, at most 100.
    pub ids: Vec<String>,
    /// Sale, rent or auction.
    pub listing_type: ListingType,
    /// The words searched for, folded as [`crate::fold_words`] does; the last one is a prefix.
    /// `Some` of no words matches nothing: the text had none in it.
    pub words: Option<Vec<String>>,
    /// Any of these; empty = all.
    pub property_types: Vec<PropertyType>,
    /// Only prices in this currency.
    pub currency: Option<Currency>,
    /// Only prices for this period.
    pub period: Option<Period>,
    /// Lowest amount, in whatever currency the price has.
    pub price_min: Option<f64>,
    /// Highest amount.
    pub price_max: Option<f64>,
    /// Smallest area.
    pub sq_meters_min: Option<f64>,
    /// Largest area.
    pub sq_meters_max: Option<f64>,
    /// Fewest bedrooms.
    pub bedrooms_min: Option<f64>,
    /// Fewest bathrooms.
    pub bathrooms_min: Option<f64>,
    /// All of these.
    pub amenities: Vec<String>,
    /// Any of these; empty = all.
    pub energy_ratings: Vec<String>,
    /// Any of these, exactly as written; empty = all.
    pub neighborhoods: Vec<String>,
    /// Published at this time or later, in microseconds since the Unix epoch.
    pub published_after_us: Option<i64>,
    /// In any of these; empty = everywhere.
    pub territories: Vec<Place>,
    /// In this area; a listing without coordinates is in none.
    pub geometry: Option<Geometry>,
}

impl Filters {
    /// The key ranges that can hold a match.
    #[must_use]
    pub fn key_ranges(&self) -> Vec<KeyRange> {
        if self.territories.is_empty() {
            return vec![KeyRange::space(Space::Listings)];
        }
        self.territories.iter().map(Place::key_range).collect()
    }

    /// These filters without those on the field that a facet counts: what it is counted over with
    /// [`FacetMode::ExcludeOwn`].
    #[must_use]
    pub fn without_own(&self, facet: FacetName) -> Self {
        let mut others = self.clone();
        match facet {
            FacetName::PropertyTypes => others.property_types.clear(),
            FacetName::Bedrooms => others.bedrooms_min = None,
            FacetName::PriceRanges | FacetName::PriceStats => {
                (others.price_min, others.price_max) = (None, None);
            }
            FacetName::Neighborhoods => others.neighborhoods.clear(),
            FacetName::EnergyRatings => others.energy_ratings.clear(),
        }
        others
    }
}

/// A country or a territory.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Place {
    /// The country.
    pub country: Country,
    /// One region of it, or all.
    pub region: Option<Region>,
}

impl Place {
    fn key_range(&self) -> KeyRange {
        let bound = |region: Option<Region>, point| ShardKey {
            space: Space::Listings,
            country: self.country,
            region,
            point,
        };
        match &self.region {
            Some(region) => KeyRange {
                start: bound(Some(region.clone()), 0),
                end: Some(bound(Some(region.clone()), crate::key::POINT_END)),
            },
            None => KeyRange {
                start: bound(None, 0),
                end: next_country(self.country)
                    .map(|country| ShardKey { country, ..bound(None, 0) }),
            },
        }
    }
}

/// The country that follows in key order, whether or not it exists.
fn next_country(country: Country) -> Option<Country> {
    let text = match country.as_str().as_bytes() {
        [b'Z', b'Z'] => return None,
        [first, b'Z'] => [first + 1, b'A'],
        [first, second] => [*first, second + 1],
        _ => return None,
    };
    std::str::from_utf8(&text).ok()?.parse().ok()
}

/// The order of hits. Ties are broken by id, ascending bytewise; a listing that lacks what is
/// ordered by comes last, in both directions.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum Sort {
    /// Best match of the words first; without words all are equal.
    Relevance,
    /// Cheapest first, by amount as it stands.
    PriceAsc,
    /// Dearest first.
    PriceDesc,
    /// Latest publication first.
    Newest,
    /// Nearest to [`Query::reference`] first.
    Distance,
}

impl Word for Sort {
    const ALL: &'static [Self] =
        &[Self::Relevance, Self::PriceAsc, Self::PriceDesc, Self::Newest, Self::Distance];

    fn as_str(self) -> &'static str {
        match self {
            Self::Relevance => "relevance",
            Self::PriceAsc => "price_asc",
            Self::PriceDesc => "price_desc",
            Self::Newest => "newest",
            Self::Distance => "distance",
        }
    }
}

/// What is counted besides the hits.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum FacetName {
    /// Listings per kind of property.
    PropertyTypes,
    /// Listings per number of bedrooms.
    Bedrooms,
    /// Listings per range of amounts.
    PriceRanges,
    /// Lowest, highest and mean amount.
    PriceStats,
    /// Listings per neighbourhood, the 30 largest.
    Neighborhoods,
    /// Listings per energy class.
    EnergyRatings,
}

impl Word for FacetName {
    const ALL: &'static [Self] = &[
        Self::PropertyTypes,
        Self::Bedrooms,
        Self::PriceRanges,
        Self::PriceStats,
        Self::Neighborhoods,
        Self::EnergyRatings,
    ];

    fn as_str(self) -> &'static str {
        match self {
            Self::PropertyTypes => "propertyTypes",
            Self::Bedrooms => "bedrooms",
            Self::PriceRanges => "priceRanges",
            Self::PriceStats => "priceStats",
            Self::Neighborhoods => "neighborhoods",
            Self::EnergyRatings => "energyRatings",
        }
    }
}

/// Over which listings a facet counts.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Serialize, Deserialize,
)]
pub enum FacetMode {
    /// Those that pass all filters.
    #[default]
    All,
    /// Those that pass all filters but the ones on the facet's own field, so that what is not
    /// chosen can be offered with its count. The facets of prices disregard the amounts asked for,
    /// not the currency nor the period.
    ExcludeOwn,
}

impl Word for FacetMode {
    const ALL: &'static [Self] = &[Self::All, Self::ExcludeOwn];

    fn as_str(self) -> &'static str {
        match self {
            Self::All => "all",
            Self::ExcludeOwn => "excludeOwn",
        }
    }
}

/// A search, checked.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Query {
    /// Which listings match.
    pub filters: Filters,
    /// In which order.
    pub sort: Sort,
    /// Where distances are measured from; `None` = from the centre of a radius.
    pub near: Option<LatLng>,
    /// Hits per page, 1..=[`LIMIT_MAX`].
    pub limit: u32,
    /// What to count; no facet twice, in the order of [`FacetName`].
    pub facets: Vec<FacetName>,
    /// Over which listings they count.
    pub facet_mode: FacetMode,
    /// Where the ranges of the facet `priceRanges` meet, ascending.
    pub price_bounds: Vec<f64>,
    /// In which language titles are shown: language tags in lower case, the most wanted first, none
    /// twice, at most [`LANGUAGES_MAX`].
    pub languages: Vec<String>,
    /// The last hit of the page before.
    pub after: Option<HitOrder>,
}

impl Query {
    /// What distances are measured from, if anything: `near`, else the centre of a radius.
    #[must_use]
    pub const fn reference(&self) -> Option<LatLng> {
        match (self.near, &self.filters.geometry) {
            (Some(near), _) => Some(near),
            (None, Some(Geometry::Radius { center, .. })) => Some(*center),
            (None, _) => None,
        }
    }

    /// How well the words match a hit that is ordered by `key`; only searches with words that are
    /// ordered by relevance know.
    #[must_use]
    pub const fn score(&self, key: u64) -> Option<u64> {
        match (self.sort, &self.filters.words) {
            (Sort::Relevance, Some(_)) => Some(!key),
            _ => None,
        }
    }
}

/// What hits are ordered by: less comes first.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct HitOrder {
    /// The sort key, made comparable; the greatest number stands for "lacks it".
    pub key: u64,
    /// The listing's id.
    pub id: String,
}

/// A question for map clusters, checked.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct MapQuery {
    /// Which listings are counted.
    pub filters: Filters,
    /// The part of the map that is seen: only listings in it are counted, whatever the geometry of
    /// the filters is.
    pub bounds: Option<Bounds>,
    /// H3 resolution, 3..=9.
    pub resolution: u8,
    /// Cells with fewer listings (of one currency and period) are left out.
    pub min_count: u64,
    /// Entries of the answer at most, 1..=[`CELLS_MAX`]; with more of them the answer is refused.
    pub limit: u32,
    /// Of which cells all amounts are wanted, not only the median: those whose listings are divided
    /// between shards.
    pub amounts: CellAmounts,
}

/// The cells of a map view whose medians can be told only from all amounts of several shards.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub enum CellAmounts {
    /// None, as far as known: the first time that shards are asked.
    #[default]
    None,
    /// These: what more than one shard named. Ascending.
    Of(Vec<u64>),
    /// All: cells that nobody shared came to be shared while shards were asked.
    All,
}

impl CellAmounts {
    /// Whether those of a cell are wanted.
    #[must_use]
    pub fn has(&self, cell: u64) -> bool {
        match self {
            Self::None => false,
            Self::Of(cells) => cells.binary_search(&cell).is_ok(),
            Self::All => true,
        }
    }
}

/// A question for places by prefix, checked.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SuggestQuery {
    /// The words of the prefix, folded, with single spaces between them.
    pub prefix: String,
    /// Places at most, 1..=[`SUGGEST_LIMIT_MAX`].
    pub limit: u32,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_country_is_one_range_of_keys() {
        let place = |text: &str| {
            let (country, region) = text.split_once(':').unwrap_or((text, ""));
            Place { country: country.parse().unwrap(), region: region.parse().ok() }
        };
        let italy = place("IT").key_range();
        let key = |text: &str, point| ShardKey::new(Space::Listings, &text.parse().unwrap(), point);
        assert!(italy.contains(&key("IT:a", 0)) && italy.contains(&key("IT:zz", u64::MAX)));
        assert!(!italy.contains(&key("IS:zz", 5)) && !italy.contains(&key("IU:a", 0)));
        assert!(place("IZ").key_range().contains(&key("IZ:a", 1)));
        assert!(!place("IZ").key_range().contains(&key("JA:a", 1)));
        assert!(place("ZZ").key_range().contains(&key("ZZ:a", 1)));
        assert_eq!(
            place("IT:lazio").key_range(),
            KeyRange::territory(Space::Listings, &"IT:lazio".parse().unwrap())
        );
    }
}
