//! Live counts of the places that listings name, for suggestions.

use std::{cmp::Reverse, sync::Arc};

use hexpop_edge_config::Territory;
use serde::{Deserialize, Serialize};

use super::{
    columns::IndexView,
    shared::{ARC_BYTES, SharedMap},
    text::fold_words,
};
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
    /// Most listings first, then by text, kind and territory.
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

/// A place, sorted by what suggestions look for.
#[derive(Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Place {
    /// The name folded, with single spaces between its words.
    folded: Box<str>,
    kind: PlaceKind,
    /// The name as listings write it.
    text: Box<str>,
    territory: Territory,
}

impl Place {
    fn bytes(&self) -> usize {
        let region = self.territory.region.as_str().len();
        ARC_BYTES + size_of::<Self>() + self.folded.len() + self.text.len() + region
    }
}

#[derive(Debug, Clone, Copy, Default)]
struct Count {
    count: u64,
    located: u64,
    lat_sum: i64,
    lng_sum: i64,
}

impl Count {
    fn change(&mut self, location: Option<LatLng>, sign: i64) {
        self.count = self.count.saturating_add_signed(sign);
        if let Some(location) = location {
            self.located = self.located.saturating_add_signed(sign);
            self.lat_sum += sign * degree_units(location.lat);
            self.lng_sum += sign * degree_units(location.lng);
        }
    }
}

/// The places that one row counts for.
#[derive(Debug)]
pub(super) struct RowPlaces<'a> {
    pub(super) territory: &'a Territory,
    pub(super) city: Option<&'a str>,
    pub(super) neighborhood: Option<&'a str>,
    pub(super) location: Option<LatLng>,
}

/// All places of a shard that any row counts for.
///
/// A clone is one count, and keeps what it saw; a row that is counted copies the nodes on the way to
/// its three places.
#[derive(Debug, Clone, Default)]
pub(super) struct Places {
    counts: SharedMap<Arc<Place>, Count>,
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
        let territory = row.territory.clone();
        let place = Place { folded: folded.into(), kind, text: text.into(), territory };
        let sign = if counted_in { 1 } else { -1 };
        match self.counts.get_mut(&place) {
            Some(count) => {
                count.change(row.location, sign);
                if count.count == 0 {
                    self.counts.remove(&place);
                }
            }
            None if counted_in => {
                let mut count = Count::default();
                count.change(row.location, sign);
                self.counts.insert(Arc::new(place), count);
            }
            // Rows are counted out after they were counted in.
            None => {}
        }
    }

    /// The places whose name begins with a folded prefix: of more than `places_max` those with the
    /// most listings, in the order of the answer.
    pub(super) fn suggest(&self, prefix: &str, places_max: usize) -> PartialSuggestions {
        let mut found: Vec<_> = self
            .counts
            .from(|place| *place.folded < *prefix)
            .take_while(|(place, _)| place.folded.starts_with(prefix))
            .map(|(place, count)| {
                (Reverse(count.count), &place.text, place.kind, &place.territory, count)
            })
            .collect();
        let rank = |a: &Ranked<'_>, b: &Ranked<'_>| (a.0, a.1, a.2, a.3).cmp(&(b.0, b.1, b.2, b.3));
        if places_max < found.len() {
            found.select_nth_unstable_by(places_max, rank);
            found.truncate(places_max);
        }
        found.sort_unstable_by(rank);
        let places = found.into_iter().map(|(_, text, kind, territory, count)| PartialPlace {
            text: text.to_string(),
            kind,
            territory: territory.clone(),
            count: count.count,
            located: count.located,
            lat_sum: count.lat_sum,
            lng_sum: count.lng_sum,
        });
        PartialSuggestions { places: places.collect() }
    }

    /// Bytes of everything.
    pub(super) fn bytes(&self) -> usize {
        let places = self.counts.from(|_| false).map(|(place, _)| place.bytes());
        self.counts.bytes() + places.sum::<usize>()
    }
}

/// A place in the order of answers.
type Ranked<'a> = (Reverse<u64>, &'a Box<str>, PlaceKind, &'a Territory, &'a Count);

#[expect(clippy::cast_possible_truncation, reason = "at most 180 degrees")]
fn degree_units(degrees: f64) -> i64 {
    (degrees * DEGREE_UNITS).round() as i64
}

impl IndexView {
    /// The places whose name begins with a prefix.
    #[must_use]
    pub fn suggest(&self, query: &SuggestQuery) -> PartialSuggestions {
        self.places.suggest(&query.prefix, PLACES_MAX)
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use proptest::prelude::*;

    use super::*;

    const TERRITORIES: [&str; 3] = ["IT:milano", "IT:lazio", "ES:madrid"];
    const NAMES: [&str; 7] = ["Milano", "milano", "Milà", "Mil Anos", "Málaga", "Roma", "--"];

    /// What a listing says: territory, city, neighbourhood, coordinates.
    type Said = (usize, Option<usize>, Option<usize>, Option<(i32, i32)>);
    type Counts = BTreeMap<(String, PlaceKind, Territory), (u64, u64, i64, i64)>;

    fn said() -> impl Strategy<Value = Said> {
        let name = || prop::option::of(0..NAMES.len());
        let location = prop::option::of((-900_000_000..900_000_000, -1_800_000_000..1_800_000_000));
        (0..TERRITORIES.len(), name(), name(), location)
    }

    fn territory(at: usize) -> Territory {
        TERRITORIES[at].parse().unwrap()
    }

    fn count(places: &mut Places, said: &Said, counted_in: bool) {
        let degrees = |units: i32| f64::from(units) / DEGREE_UNITS;
        let row = RowPlaces {
            territory: &territory(said.0),
            city: said.1.map(|at| NAMES[at]),
            neighborhood: said.2.map(|at| NAMES[at]),
            location: said.3.map(|(lat, lng)| LatLng { lat: degrees(lat), lng: degrees(lng) }),
        };
        places.count(&row, counted_in);
    }

    fn scan(all: &[Said], prefix: &str) -> Vec<PartialPlace> {
        let mut counts = Counts::new();
        for (at, city, neighborhood, location) in all {
            let territory = territory(*at);
            let named = [
                (PlaceKind::City, city.map(|at| NAMES[at].to_owned())),
                (PlaceKind::Neighborhood, neighborhood.map(|at| NAMES[at].to_owned())),
                (PlaceKind::Region, Some(territory.region.to_string())),
            ];
            for (kind, text) in named {
                let folded = |text: &str| fold_words(text).join(" ");
                let wanted = |text: &String| folded(text).starts_with(prefix) && text != "--";
                if let Some(text) = text.filter(wanted) {
                    let count = counts.entry((text, kind, territory.clone())).or_default();
                    count.0 += 1;
                    if let Some((lat, lng)) = location {
                        count.1 += 1;
                        count.2 += i64::from(*lat);
                        count.3 += i64::from(*lng);
                    }
                }
            }
        }
        let place = |((text, kind, territory), (count, located, lat_sum, lng_sum))| PartialPlace {
            text,
            kind,
            territory,
            count,
            located,
            lat_sum,
            lng_sum,
        };
        let mut places: Vec<_> = counts.into_iter().map(place).collect();
        // Stable: the others stay in the order of text, kind and territory.
        places.sort_by_key(|place| Reverse(place.count));
        places
    }

    proptest! {
        #![proptest_config(ProptestConfig { cases: 200, failure_persistence: None, ..ProptestConfig::default() })]

        #[test]
        fn suggestions_equal_a_scan_at_every_version(
            changes in prop::collection::vec((said(), any::<bool>(), any::<prop::sample::Index>()), 1..80),
        ) {
            let (mut places, mut all) = (Places::default(), Vec::new());
            let mut versions = Vec::new();
            for (said, coming, which) in changes {
                if coming || all.is_empty() {
                    count(&mut places, &said, true);
                    all.push(said);
                } else {
                    let said = all.swap_remove(which.index(all.len()));
                    count(&mut places, &said, false);
                }
                versions.push((places.clone(), all.clone()));
            }
            for (places, all) in &versions {
                for prefix in ["", "mil", "mil a", "milano", "r", "x"] {
                    let wanted = scan(all, prefix);
                    prop_assert_eq!(&places.suggest(prefix, PLACES_MAX).places, &wanted);
                    let most = &wanted[..wanted.len().min(3)];
                    prop_assert_eq!(&places.suggest(prefix, 3).places, most);
                }
            }
            for said in &all {
                count(&mut places, said, false);
            }
            prop_assert_eq!(places.counts.from(|_| false).count(), 0);
        }
    }
}
