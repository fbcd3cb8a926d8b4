//! Counts over the rows that match, in arrays by code.

use std::collections::BTreeMap;

use hexpop_shard::{FacetName, PartialFacets, PartialPrices, PriceTally, Query, ValueCounts};

use super::{
    Scan,
    coded::{Code, Coded},
    millionths,
};

impl Scan {
    /// The facets that a query asks for.
    pub(super) fn facets(&self, query: &Query, rows: &[u32]) -> PartialFacets {
        let asked = |name| query.facets.contains(&name);
        let prices = asked(FacetName::PriceStats) || asked(FacetName::PriceRanges);
        PartialFacets {
            property_types: asked(FacetName::PropertyTypes)
                .then(|| values(&self.property, rows, |key| *key)),
            bedrooms: asked(FacetName::Bedrooms).then(|| values(&self.bedrooms, rows, |key| *key)),
            neighborhoods: asked(FacetName::Neighborhoods)
                .then(|| values(&self.neighborhood, rows, |(name, _)| name.clone())),
            energy_ratings: asked(FacetName::EnergyRatings)
                .then(|| values(&self.energy, rows, Clone::clone)),
            prices: prices.then(|| self.prices(rows, &query.price_bounds)),
        }
    }

    fn prices(&self, rows: &[u32], bounds: &[f64]) -> PartialPrices {
        let empty = PriceTally {
            count: 0,
            min: f64::MAX,
            max: 0.0,
            sum_millionths: 0,
            ranges: vec![0; bounds.len() + 1],
        };
        let mut tallies = vec![empty; self.group.keys().len() + 1];
        for row in rows {
            let amount = self.price[*row as usize];
            let tally = &mut tallies[self.group.codes()[*row as usize].number()];
            tally.count += 1;
            if amount.is_nan() {
                continue;
            }
            tally.min = tally.min.min(amount);
            tally.max = tally.max.max(amount);
            tally.sum_millionths += millionths(amount);
            let range: usize = bounds.iter().map(|bound| usize::from(*bound <= amount)).sum();
            tally.ranges[range] += 1;
        }
        let missing = tallies[0].count;
        let named = self.group.keys().iter().copied().zip(tallies.into_iter().skip(1));
        PartialPrices { groups: named.filter(|(_, tally)| tally.count > 0).collect(), missing }
    }
}

/// Listings per value; values of one name are one.
fn values<K: Ord, C: Code, N: Ord>(
    column: &Coded<K, C>,
    rows: &[u32],
    name: impl Fn(&K) -> N,
) -> ValueCounts<N> {
    let mut by_code = vec![0_u64; column.keys().len() + 1];
    for row in rows {
        by_code[column.codes()[*row as usize].number()] += 1;
    }
    let missing = by_code[0];
    let mut counts = BTreeMap::new();
    for (key, count) in column.keys().iter().zip(by_code.into_iter().skip(1)) {
        if count > 0 {
            *counts.entry(name(key)).or_insert(0) += count;
        }
    }
    ValueCounts { counts, missing }
}
