//! Live counts of the places that listings name, for suggestions.

use std::{collections::BTreeMap, sync::Arc};

use hexpop_edge_config::Territory;
use serde::{Deserialize, Serialize};

use super::{columns::IndexView, shared::SharedMap, text::fold_words};
use crate::{geo::LatLng, listing::Word, query::SuggestQuery};

/// Coordinates are summed in this fraction of a degree (1 cm), as whole numbers, so that the mean
/// does not depend on order or shards.
const DEGREE_UNITS: f64 = 1e7;

/// Places that one shard sends at most: those with the most listings.
const PLACES_MAX: usize = 10_000;

/// What a place is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub enum PlaceKind {
    /// A city.
    City,
    /// A neighbourhood.
    Neighborhood,
    /// A region.
    Region,
}

impl Word for PlaceKind {
    const ALL: &'static [Self] = &[Self::City, Self::Neighborhood, Self::Region];

    fn as_str(self) -> &'static str {
        match self {
            Self::City => "city",
            Self::Neighborhood => "neighborhood",
            Self::Region => "region",
        }
    }
}

/// The places of one shard that begin with the prefix.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct PartialSuggestions {
    /// In no particular order.
    pub places: Vec<PartialPlace>,
}

/// One place, as far as one shard knows it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PartialPlace {
    /// The name as listings write it.
    pub text: String,
    /// What it is.
    pub kind: PlaceKind,
    /// Where it is.
    pub territory: Territory,
    /// Listings there that searches find.
    pub count: u64,
    /// Those of them that have coordinates.
    pub located: u64,
    /// The sum of their latitudes, in 1e-7 degrees.
    pub lat_sum: i64,
    /// The sum of their longitudes.
    pub lng_sum: i64,
}

impl PartialPlace {
    /// The mean of the coordinates, if any listing there has some.
    #[must_use]
    #[expect(clippy::cast_precision_loss, reason = "a mean is rounded to an f64 anyway")]
    pub fn center(&self) -> Option<LatLng> {
        let mean = |sum: i64| sum as f64 / (self.located as f64 * DEGREE_UNITS);
        (self.located > 0).then(|| LatLng { lat: mean(self.lat_sum), lng: mean(self.lng_sum) })
    }
}

/// What tells places of one folded name apart.
type Key = (PlaceKind, String, Territory);

#[derive(Debug, Clone, Default)]
struct Count {
    count: u64,
    located: u64,
    lat_sum: i64,
    lng_sum: i64,
}

/// The places that one row counts for.
#[derive(Debug)]
pub(super) struct RowPlaces<'a> {
    pub(super) territory: &'a Territory,
    pub(super) city: Option<&'a str>,
    pub(super) neighborhood: Option<&'a str>,
    pub(super) location: Option<LatLng>,
}

/// All places of a shard.
#[derive(Debug, Clone, Default)]
pub(super) struct Places {
    /// By the name folded, with single spaces between its words.
    by_name: SharedMap<Box<str>, Arc<BTreeMap<Key, Count>>>,
}

impl Places {
    /// Counts a row in or out.
    pub(super) fn count(&mut self, row: &RowPlaces<'_>, counted_in: bool) {
        let region = row.territory.region.as_str();
        let named = [
            (PlaceKind::City, row.city),
            (PlaceKind::Neighborhood, row.neighborhood),
            (PlaceKind::Region, Some(region)),
        ];
        for (kind, text) in named {
            if let Some(text) = text {
                self.count_one(kind, text, row, counted_in);
            }
        }
    }

    fn count_one(&mut self, kind: PlaceKind, text: &str, row: &RowPlaces<'_>, counted_in: bool) {
        let folded = fold_words(text).join(" ");
        if folded.is_empty() {
            return;
        }
        let sign: i64 = if counted_in { 1 } else { -1 };
        let key = (kind, text.to_owned(), row.territory.clone());
        if self.by_name.get(folded.as_str()).is_none() {
            self.by_name.insert(folded.as_str().into(), Arc::default());
        }
        let Some(of_name) = self.by_name.get_mut(folded.as_str()) else {
            return;
        };
        let of_name = Arc::make_mut(of_name);
        let count = of_name.entry(key.clone()).or_default();
        count.count = count.count.saturating_add_signed(sign);
        if let Some(location) = row.location {
            count.located = count.located.saturating_add_signed(sign);
            count.lat_sum += sign * degree_units(location.lat);
            count.lng_sum += sign * degree_units(location.lng);
        }
        if count.count == 0 {
            of_name.remove(&key);
        }
        if of_name.is_empty() {
            self.by_name.remove(folded.as_str());
        }
    }
}

#[expect(clippy::cast_possible_truncation, reason = "at most 180 degrees")]
fn degree_units(degrees: f64) -> i64 {
    (degrees * DEGREE_UNITS).round() as i64
}

impl IndexView {
    /// The places whose name begins with a prefix.
    #[must_use]
    pub fn suggest(&self, query: &SuggestQuery) -> PartialSuggestions {
        let mut places: Vec<PartialPlace> = self
            .places
            .by_name
            .from(query.prefix.as_str())
            .take_while(|(name, _)| name.starts_with(&query.prefix))
            .flat_map(|(_, of_name)| of_name.iter())
            .map(|((kind, text, territory), count)| PartialPlace {
                text: text.clone(),
                kind: *kind,
                territory: territory.clone(),
                count: count.count,
                located: count.located,
                lat_sum: count.lat_sum,
                lng_sum: count.lng_sum,
            })
            .collect();
        if places.len() > PLACES_MAX {
            places.sort_unstable_by(|a, b| {
                (b.count, &a.text, a.kind, &a.territory).cmp(&(
                    a.count,
                    &b.text,
                    b.kind,
                    &b.territory,
                ))
            });
            places.truncate(PLACES_MAX);
        }
        PartialSuggestions { places }
    }
}
