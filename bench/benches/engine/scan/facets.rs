//! Counts over the rows that match, in arrays by code.

use std::{collections::BTreeMap, sync::Arc};

use hexpop_shard::{FacetName, PartialFacets, PartialPrices, PriceTally, Query, ValueCounts};

use super::{
    Scan,
    coded::{Code, Coded},
    millionths,
};

/// Counts block after block.
pub(super) struct Counters<'a> {
    scan: &'a Scan,
    bounds: &'a [f64],
    property: Option<Vec<u64>>,
    bedrooms: Option<Vec<u64>>,
    neighborhood: Option<Vec<u64>>,
    energy: Option<Vec<u64>>,
    prices: Option<Vec<PriceTally>>,
}

impl<'a> Counters<'a> {
    /// For the facets that a query asks for.
    pub(super) fn new(scan: &'a Scan, query: &'a Query) -> Self {
        let asked = |name| query.facets.contains(&name);
        let prices = asked(FacetName::PriceStats) || asked(FacetName::PriceRanges);
        let bounds = &query.price_bounds;
        Self {
            scan,
            bounds,
            property: asked(FacetName::PropertyTypes).then(|| zeros(&scan.property)),
            bedrooms: asked(FacetName::Bedrooms).then(|| zeros(&scan.bedrooms)),
            neighborhood: asked(FacetName::Neighborhoods).then(|| zeros(&scan.neighborhood)),
            energy: asked(FacetName::EnergyRatings).then(|| zeros(&scan.energy)),
            prices: prices.then(|| vec![no_prices(bounds); scan.group.keys().len() + 1]),
        }
    }

    /// Counts rows in.
    pub(super) fn take(&mut self, rows: &[u32]) {
        count(&mut self.property, &self.scan.property, rows);
        count(&mut self.bedrooms, &self.scan.bedrooms, rows);
        count(&mut self.neighborhood, &self.scan.neighborhood, rows);
        count(&mut self.energy, &self.scan.energy, rows);
        let Some(tallies) = &mut self.prices else {
            return;
        };
        for row in rows {
            let amount = self.scan.price[*row as usize];
            let tally = &mut tallies[self.scan.group.codes()[*row as usize].number()];
            tally.count += 1;
            if !amount.is_nan() {
                tally.min = tally.min.min(amount);
                tally.max = tally.max.max(amount);
                tally.sum_millionths += millionths(amount);
                let below = self.bounds.iter().map(|bound| usize::from(*bound <= amount));
                tally.ranges[below.sum::<usize>()] += 1;
            }
        }
    }

    /// What was counted.
    pub(super) fn finish(self) -> PartialFacets {
        let scan = self.scan;
        PartialFacets {
            property_types: self.property.map(|it| values(&scan.property, it, |key| *key)),
            bedrooms: self.bedrooms.map(|it| values(&scan.bedrooms, it, |key| *key)),
            neighborhoods: (self.neighborhood)
                .map(|it| values(&scan.neighborhood, it, |(name, _)| Arc::from(name.as_str()))),
            energy_ratings: self
                .energy
                .map(|it| values(&scan.energy, it, |name| Arc::from(name.as_str()))),
            prices: self.prices.map(|tallies| PartialPrices {
                missing: tallies[0].count,
                groups: (scan.group.keys().iter().copied().zip(tallies.into_iter().skip(1)))
                    .filter(|(_, tally)| tally.count > 0)
                    .collect(),
            }),
        }
    }
}

fn no_prices(bounds: &[f64]) -> PriceTally {
    let ranges = vec![0; bounds.len() + 1];
    PriceTally { count: 0, min: f64::MAX, max: 0.0, sum_millionths: 0, ranges }
}

fn zeros<K: Ord, C: Code>(column: &Coded<K, C>) -> Vec<u64> {
    vec![0; column.keys().len() + 1]
}

fn count<K: Ord, C: Code>(counts: &mut Option<Vec<u64>>, column: &Coded<K, C>, rows: &[u32]) {
    if let Some(counts) = counts {
        for row in rows {
            counts[column.codes()[*row as usize].number()] += 1;
        }
    }
}

/// Listings per value; values of one name are one.
fn values<K: Ord, C: Code, N: Ord>(
    column: &Coded<K, C>,
    by_code: Vec<u64>,
    name: impl Fn(&K) -> N,
) -> ValueCounts<N> {
    let missing = by_code[0];
    let mut counts = BTreeMap::new();
    for (key, count) in column.keys().iter().zip(by_code.into_iter().skip(1)) {
        if count > 0 {
            *counts.entry(name(key)).or_insert(0) += count;
        }
    }
    ValueCounts { counts: counts.into_iter().collect(), missing }
}
