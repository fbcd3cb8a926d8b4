//! Places by prefix: the listings of those whose name begins so, counted.

use std::cmp::Reverse;

use hexpop_edge_config::Territory;
use hexpop_shard::{LatLng, PlaceKind, SuggestQuery, Suggestion, fold_words};

use super::{
    NOT_FOUND, Scan,
    coded::{Code, Coded},
};

/// Coordinates are summed in whole 1e-7 degrees, as the interface defines their mean.
const DEGREE_UNITS: f64 = 1e7;

#[derive(Clone, Copy, Default)]
struct Tally {
    count: u64,
    located: u64,
    lat_sum: i64,
    lng_sum: i64,
}

impl Scan {
    /// Answers a question for places, as the engine's gathered answer shows it.
    pub(crate) fn suggest(&self, query: &SuggestQuery) -> Vec<Suggestion> {
        let prefix = &query.prefix;
        let mut places = Vec::new();
        self.count(&mut places, prefix, &self.city, |(name, territory)| {
            (PlaceKind::City, name.clone(), territory.clone())
        });
        self.count(&mut places, prefix, &self.neighborhood, |(name, territory)| {
            (PlaceKind::Neighborhood, name.clone(), territory.clone())
        });
        self.count(&mut places, prefix, &self.territory, |territory| {
            (PlaceKind::Region, territory.region.as_str().to_owned(), territory.clone())
        });
        places.sort_by(|a, b| {
            let order = |it: &Suggestion| (Reverse(it.count), it.text.clone(), it.kind);
            order(a).cmp(&order(b)).then_with(|| a.territory.cmp(&b.territory))
        });
        places.truncate(query.limit as usize);
        places
    }

    fn count<K: Ord, C: Code>(
        &self,
        places: &mut Vec<Suggestion>,
        prefix: &str,
        column: &Coded<K, C>,
        name: impl Fn(&K) -> (PlaceKind, String, Territory),
    ) {
        let named: Vec<_> = column.keys().iter().map(name).collect();
        let begins = |(_, text, _): &(_, String, _)| fold_words(text).join(" ").starts_with(prefix);
        // The rows of code 0 have no such name.
        let wanted: Vec<bool> = std::iter::once(false).chain(named.iter().map(begins)).collect();
        if !wanted.contains(&true) {
            return;
        }
        let mut tallies = vec![Tally::default(); wanted.len()];
        let rows = column.codes().iter().zip(&self.kind).zip(self.lat.iter().zip(&self.lng));
        for ((code, kind), (lat, lng)) in rows {
            if wanted[code.number()] && *kind != NOT_FOUND {
                let tally = &mut tallies[code.number()];
                tally.count += 1;
                if !lat.is_nan() {
                    tally.located += 1;
                    tally.lat_sum += (lat * DEGREE_UNITS).round() as i64;
                    tally.lng_sum += (lng * DEGREE_UNITS).round() as i64;
                }
            }
        }
        for ((kind, text, territory), tally) in named.into_iter().zip(tallies.into_iter().skip(1)) {
            if tally.count > 0 {
                places.push(Suggestion {
                    text,
                    kind,
                    territory,
                    center: tally.center(),
                    count: tally.count,
                });
            }
        }
    }
}

impl Tally {
    fn center(&self) -> Option<LatLng> {
        let mean = |sum: i64| sum as f64 / (self.located as f64 * DEGREE_UNITS);
        (self.located > 0).then(|| LatLng { lat: mean(self.lat_sum), lng: mean(self.lng_sum) })
    }
}
