//! Section `data`: what may be asked of the data, and by whom.

use std::path::PathBuf;

/// The filters of a search request that may be forbidden, by their names in it.
pub const FILTERS: [&str; 17] = [
    "query",
    "propertyTypes",
    "currency",
    "period",
    "priceMin",
    "priceMax",
    "sqMetersMin",
    "sqMetersMax",
    "bedroomsMin",
    "bathroomsMin",
    "amenities",
    "energyRatings",
    "neighborhoods",
    "publishedAfter",
    "territories",
    "geoFilter",
    "facets",
];

/// What may be asked of the data, and by whom.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Data {
    /// Who may use sessions and users' data.
    pub auth: DataAuth,
    /// Fields of a listing that never leave the edge, by their JSON names, such as view counters.
    ///
    /// Default none; at most 64. Fields that the edge itself works with cannot be dropped. Since 0.1.
    pub drop_fields: Vec<String>,
    /// Filters of [`FILTERS`] that a search may not use (fair-housing rules forbid some); a search with
    /// one is refused with 422.
    ///
    /// Default none. The same on all nodes, else answers depend on the node asked. Since 0.1.
    pub forbidden_filters: Vec<String>,
    /// The inner bounds of the price ranges that facets count, in whole units of the listing's currency;
    /// each bound belongs to the range above it.
    ///
    /// Rising, 1 to 32 of them. Default `[100000, 200000, 350000, 500000]`, which makes five ranges. The
    /// same on all nodes. Since 0.1.
    pub price_ranges: Vec<u64>,
}

impl Default for Data {
    fn default() -> Self {
        Self {
            auth: DataAuth::default(),
            drop_fields: Vec::new(),
            forbidden_filters: Vec::new(),
            price_ranges: vec![100_000, 200_000, 350_000, 500_000],
        }
    }
}

/// Who may use sessions and users' data on the data port.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct DataAuth {
    /// Files with one bearer token each, for the platform's servers.
    ///
    /// None: sessions and users' data answer on loopback only. At most 64. Default none. Since 0.1.
    pub tokens: Vec<PathBuf>,
}
