//! The best of the rows that match.

use hexpop_shard::{Geometry, PartialFacets, Query, Sort, distance_km};

use super::{Scan, ascending, facets::Counters, text::Scores};

/// The sort key of rows that lack what is ordered by.
const LACKS_IT: u64 = u64::MAX;

/// A place in the order of hits: sort key and row, which stands for the id.
pub(crate) type Place = (u64, u32);

/// The answer to a search.
pub(crate) struct Found {
    /// The page's hits and one more, with their distances where there is a centre.
    pub(crate) hits: Vec<(Place, Option<f64>)>,
    /// All rows that match.
    pub(crate) total: u64,
    /// What was counted.
    pub(crate) facets: PartialFacets,
}

impl Scan {
    /// Answers a search; the page begins behind `after`. The query's own cursor is the engine's and
    /// is not looked at.
    pub(crate) fn search(&self, query: &Query, after: Option<Place>) -> Found {
        let scores = query.filters.words.as_ref().map(|words| self.scores(words));
        let mut best = Best::new(query.limit as usize + 1, after);
        let mut counters = Counters::new(self, query);
        let mut total = 0;
        let mut take = |rows: &[u32], distances_km: &[f64]| {
            total += rows.len() as u64;
            self.rank(query.sort, rows, distances_km, scores.as_ref(), &mut best);
            counters.take(rows);
        };
        self.for_each_block(&query.filters, |rows, distances_km| match &scores {
            None => take(rows, distances_km),
            Some(scores) => {
                assert!(distances_km.is_empty(), "no text query here has a radius");
                let scored = rows.iter().copied().filter(|row| scores.of(*row) > 0);
                take(&scored.collect::<Vec<_>>(), distances_km);
            }
        });
        let center = match &query.filters.geometry {
            Some(Geometry::Radius { center, .. }) => Some(*center),
            _ => None,
        };
        let distance = |row: u32| Some(distance_km(center?, self.location(row)?));
        Found {
            hits: best.finish().into_iter().map(|place| (place, distance(place.1))).collect(),
            total,
            facets: counters.finish(),
        }
    }

    fn rank(
        &self,
        sort: Sort,
        rows: &[u32],
        distances_km: &[f64],
        scores: Option<&Scores>,
        best: &mut Best,
    ) {
        let places = rows.iter().copied();
        let price = |row: u32| {
            let amount = self.price[row as usize];
            (!amount.is_nan()).then(|| ascending(amount))
        };
        match (sort, scores) {
            (Sort::Relevance, Some(scores)) => best.take(places.map(|row| (!scores.of(row), row))),
            (Sort::Relevance, None) => best.take(places.map(|row| (LACKS_IT, row))),
            (Sort::PriceAsc, _) => {
                best.take(places.map(|row| (price(row).unwrap_or(LACKS_IT), row)));
            }
            (Sort::PriceDesc, _) => {
                best.take(places.map(|row| (price(row).map_or(LACKS_IT, |key| !key), row)));
            }
            (Sort::Newest, _) => best.take(places.map(|row| {
                let seconds = self.published[row as usize];
                (if seconds == 0 { LACKS_IT } else { !u64::from(seconds) }, row)
            })),
            (Sort::Distance, _) => {
                let keys = distances_km.iter().map(|distance| ascending(*distance));
                best.take(keys.zip(places));
            }
        }
    }
}

/// Keeps the first places of many: what is beyond the worst of those is turned away at once.
struct Best {
    wanted: usize,
    after: Option<Place>,
    /// Of the places kept so far, the first `wanted` are before it.
    bound: Place,
    kept: Vec<Place>,
}

impl Best {
    /// Selections get rarer the more places are kept between them.
    const SLACK: usize = 1024;

    fn new(wanted: usize, after: Option<Place>) -> Self {
        Self { wanted, after, bound: (u64::MAX, u32::MAX), kept: Vec::new() }
    }

    fn take(&mut self, places: impl Iterator<Item = Place>) {
        for place in places {
            if place < self.bound && self.after.is_none_or(|after| place > after) {
                self.kept.push(place);
                if self.kept.len() >= self.wanted + Self::SLACK {
                    self.select();
                }
            }
        }
    }

    fn select(&mut self) {
        if self.kept.len() > self.wanted {
            let (_, bound, _) = self.kept.select_nth_unstable(self.wanted);
            self.bound = *bound;
            self.kept.truncate(self.wanted);
        }
    }

    fn finish(mut self) -> Vec<Place> {
        self.select();
        self.kept.sort_unstable();
        self.kept
    }
}
