//! Section `data`: what may be asked of the data, and by whom.

use std::path::PathBuf;

use super::{
    ProblemKind,
    checks::{Fault, at_most, check_each},
    section::Section,
    suggest::closest,
    tree::shorten,
};
use crate::LanguageTag;

/// The filters of a search request that may be forbidden, by their names in it.
pub const FILTERS: [&str; 17] = [
    "ids",
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
];

/// What may be asked of the data, and by whom.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Data {
    /// Who may use sessions and users' data.
    pub auth: DataAuth,
    /// The file of the keys that session values are encrypted under: a name, the residency labels it
    /// serves (`*` for none) and the key on each line; the last one of its labels is used, all open.
    /// Made by `hexpop certs session-keys`. Give a node the keys of its own labels only.
    ///
    /// Without it, or without the key of a territory's labels, this node answers 503 to what needs the
    /// value of a session: nothing is ever stored in clear. Lost, the values are lost. Default none.
    /// Since 0.1.
    pub session_keys: Option<PathBuf>,
    /// Top-level fields of a listing that are left out of every answer, by their JSON names, such as
    /// view counters: of listings by id and of the hits of searches, also where the origin answers in the
    /// mesh's place. What is proxied besides is passed on as the origin gives it.
    ///
    /// Default none; at most 64. Fields that the edge itself works with cannot be dropped. The same on
    /// all nodes, else entity tags depend on the node asked. Since 0.1.
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
    /// The languages that titles in search results, and pages of the origin, are offered in. A client's
    /// `Accept-Language` is reduced to these, so that it has few different answers.
    ///
    /// Empty: whatever a client asks for is looked up among the languages of each listing. At most 64.
    /// Default empty. The same on all nodes. Since 0.1.
    pub languages: Vec<LanguageTag>,
    /// The language of titles for those who ask for none, or for none that there is; a listing without
    /// it is shown in another one of its own.
    ///
    /// One of [`languages`](Self::languages), if those are given. Default the first of them, else `en`.
    /// The same on all nodes. Since 0.1.
    pub default_language: Option<LanguageTag>,
}

impl Data {
    /// [`default_language`](Self::default_language), or what stands in for it; `None` = `en`.
    #[must_use]
    pub fn fallback_language(&self) -> Option<&LanguageTag> {
        self.default_language.as_ref().or_else(|| self.languages.first())
    }
}

impl Default for Data {
    fn default() -> Self {
        Self {
            auth: DataAuth::default(),
            session_keys: None,
            drop_fields: Vec::new(),
            forbidden_filters: Vec::new(),
            price_ranges: vec![100_000, 200_000, 350_000, 500_000],
            languages: Vec::new(),
            default_language: None,
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

/// Fields that the edge itself works with.
const KEPT_FIELDS: [&str; 11] = [
    "id",
    "source",
    "listingType",
    "propertyType",
    "status",
    "price",
    "location",
    "country",
    "region",
    "version",
    "updatedAt",
];

impl Data {
    pub(super) fn read(section: &mut Section<'_>) -> Self {
        let default = Self::default();
        Self {
            auth: section.section("auth", DataAuth::read),
            session_keys: section
                .key(
                    "session_keys",
                    "The file of the keys that session values are encrypted under.",
                )
                .optional(),
            drop_fields: section
                .key(
                    "drop_fields",
                    "Top-level fields of a listing that are left out of every answer.",
                )
                .check(|fields: &Vec<String>| check_each(fields, 64, check_field))
                .reloads()
                .or(default.drop_fields),
            forbidden_filters: section
                .key("forbidden_filters", "Filters that a search may not use.")
                .check(|names: &Vec<String>| check_each(names, FILTERS.len(), check_filter))
                .reloads()
                .or(default.forbidden_filters),
            price_ranges: section
                .key("price_ranges", "The inner bounds of the price ranges that facets count.")
                .check(|bounds: &Vec<u64>| check_price_ranges(bounds))
                .reloads()
                .or(default.price_ranges),
            languages: section
                .key("languages", "The languages that titles in search results are offered in.")
                .check(|tags: &Vec<LanguageTag>| at_most(tags.len(), 64).into_iter().collect())
                .or(default.languages),
            default_language: section
                .key("default_language", "The language of titles for those who ask for no other.")
                .optional(),
        }
    }
}

impl DataAuth {
    fn read(section: &mut Section<'_>) -> Self {
        let tokens = section
            .key("tokens", "Files with one bearer token each, for the platform's servers.")
            .check(|files: &Vec<PathBuf>| at_most(files.len(), 64).into_iter().collect())
            .reloads();
        Self { tokens: tokens.or(Vec::new()) }
    }
}

fn check_field(name: &str) -> Result<(), String> {
    if KEPT_FIELDS.contains(&name) {
        return Err(format!("the edge works with `{name}`, so it cannot be dropped"));
    }
    let is_name = !name.is_empty() && name.len() <= 128 && !name.contains(char::is_whitespace);
    if is_name { Ok(()) } else { Err(format!("\"{}\" is not a field's name", shorten(name))) }
}

fn check_filter(name: &str) -> Result<(), String> {
    if FILTERS.contains(&name) {
        return Ok(());
    }
    let help = match closest(name, FILTERS) {
        Some(meant) => format!("did you mean \"{meant}\"?"),
        None => format!("they are {}", FILTERS.join(", ")),
    };
    Err(format!("there is no filter \"{}\"; {help}", shorten(name)))
}

fn check_price_ranges(bounds: &[u64]) -> Vec<Fault> {
    let mut faults: Vec<_> = at_most(bounds.len(), 32).into_iter().collect();
    if !bounds.is_sorted_by(|low, high| low < high) || bounds.first().is_none_or(|low| *low == 0) {
        let message = "expected at least one bound, rising, the first above 0";
        faults.push(Fault::whole(ProblemKind::Wrong, message));
    }
    faults
}
