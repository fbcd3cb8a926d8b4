//! Facets as clients see them.

use std::{cmp::Reverse, collections::BTreeMap, sync::Arc};

use serde::{Serialize, Serializer};

use crate::{
    index::{PartialFacets, PriceGroup, PriceTally, from_ascending},
    listing::{Currency, Period, Word},
    query::{FacetName, Query},
};

/// Neighbourhoods shown at most.
const NEIGHBORHOODS_MAX: usize = 30;

/// The facets that were asked for, each of them present. Buckets come with the highest count first,
/// then by key.
#[derive(Debug, Clone, PartialEq, Default, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Facets {
    /// Listings per kind of property.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub property_types: Option<Vec<Bucket<&'static str>>>,
    /// Listings per number of bedrooms.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub bedrooms: Option<Vec<Bucket<Count>>>,
    /// Listings per range of amounts, currency and period.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub price_ranges: Option<Vec<PriceRangeBucket>>,
    /// Lowest, highest and mean amount per currency and period.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub price_stats: Option<Vec<PriceStats>>,
    /// Listings per neighbourhood, the 30 largest.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub neighborhoods: Option<Vec<Bucket<Arc<str>>>>,
    /// Listings per energy class.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub energy_ratings: Option<Vec<Bucket<Arc<str>>>>,
    /// For every facet asked for, how many listings lack its field; absent without facets.
    #[serde(skip_serializing_if = "MissingCounts::is_empty")]
    pub missing: MissingCounts,
}

/// Listings that lack a facet's field, by the facet's name.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize)]
#[serde(transparent)]
pub struct MissingCounts(pub BTreeMap<&'static str, u64>);

impl MissingCounts {
    fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

/// One value and how many listings have it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Bucket<K> {
    /// The value.
    pub key: K,
    /// Listings.
    pub count: u64,
}

/// A number that is written without a fraction if it has none.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Count(pub f64);

impl Serialize for Count {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serialize_number(&self.0, serializer)
    }
}

/// Whole numbers up to here are exact in an `f64`.
const WHOLE_MAX: f64 = 9_007_199_254_740_992.0;

#[expect(clippy::cast_possible_truncation, reason = "whole and below 2^53")]
#[expect(clippy::trivially_copy_pass_by_ref, reason = "the signature that serde calls")]
pub(super) fn serialize_number<S: Serializer>(
    number: &f64,
    serializer: S,
) -> Result<S::Ok, S::Error> {
    if number.fract() == 0.0 && number.abs() < WHOLE_MAX {
        serializer.serialize_i64(*number as i64)
    } else {
        serializer.serialize_f64(*number)
    }
}

pub(super) fn serialize_option<S: Serializer>(
    number: &Option<f64>,
    serializer: S,
) -> Result<S::Ok, S::Error> {
    match number {
        Some(number) => serialize_number(number, serializer),
        None => serializer.serialize_none(),
    }
}

/// Listings in one range of amounts.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct PriceRangeBucket {
    /// The currency.
    pub currency: Currency,
    /// What a rent is paid for.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub period: Option<Period>,
    /// The name of the range, such as `100k_200k`.
    pub key: String,
    /// Its lower bound, inclusive; absent below the first.
    #[serde(skip_serializing_if = "Option::is_none", serialize_with = "serialize_option")]
    pub from: Option<f64>,
    /// Its upper bound, exclusive; absent above the last.
    #[serde(skip_serializing_if = "Option::is_none", serialize_with = "serialize_option")]
    pub to: Option<f64>,
    /// Listings.
    pub count: u64,
}

/// The amounts of one currency and period.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct PriceStats {
    /// The currency.
    pub currency: Currency,
    /// What a rent is paid for.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub period: Option<Period>,
    /// Lowest amount.
    #[serde(serialize_with = "serialize_number")]
    pub min: f64,
    /// Highest amount.
    #[serde(serialize_with = "serialize_number")]
    pub max: f64,
    /// Mean amount.
    #[serde(serialize_with = "serialize_number")]
    pub avg: f64,
    /// Listings with a price.
    pub count: u64,
}

impl Facets {
    /// Shows what was counted.
    pub(super) fn new(query: &Query, mut counted: PartialFacets) -> Self {
        let mut missing = BTreeMap::new();
        let prices = counted.prices.take().unwrap_or_default();
        let mut facets = Self::default();
        for name in &query.facets {
            let lacking = match name {
                FacetName::PropertyTypes => {
                    let it = counted.property_types.take().unwrap_or_default();
                    facets.property_types = Some(by_word(it.counts));
                    it.missing
                }
                FacetName::Bedrooms => {
                    let it = counted.bedrooms.take().unwrap_or_default();
                    let show = |bits| Count(from_ascending(bits));
                    facets.bedrooms = Some(buckets(it.counts, usize::MAX, show));
                    it.missing
                }
                FacetName::Neighborhoods => {
                    let it = counted.neighborhoods.take().unwrap_or_default();
                    facets.neighborhoods = Some(buckets(it.counts, NEIGHBORHOODS_MAX, |key| key));
                    it.missing
                }
                FacetName::EnergyRatings => {
                    let it = counted.energy_ratings.take().unwrap_or_default();
                    facets.energy_ratings = Some(buckets(it.counts, usize::MAX, |key| key));
                    it.missing
                }
                FacetName::PriceStats => {
                    facets.price_stats = Some(price_stats(&prices.groups));
                    prices.missing
                }
                FacetName::PriceRanges => {
                    facets.price_ranges = Some(price_ranges(&prices.groups, &query.price_bounds));
                    prices.missing
                }
            };
            missing.insert(name.as_str(), lacking);
        }
        facets.missing = MissingCounts(missing);
        facets
    }
}

/// Highest count first, then by the word that is shown, which orders them otherwise than the enum
/// does.
fn by_word<K: Word>(counts: Vec<(K, u64)>) -> Vec<Bucket<&'static str>> {
    let mut shown: Vec<_> = counts.into_iter().map(|(key, count)| (key.as_str(), count)).collect();
    shown.sort_unstable();
    buckets(shown, usize::MAX, |key| key)
}

/// Highest count first, then by key as the counts are ordered; at most `most` of them.
fn buckets<K, T>(mut counts: Vec<(K, u64)>, most: usize, show: impl Fn(K) -> T) -> Vec<Bucket<T>> {
    counts.sort_by_key(|(_, count)| Reverse(*count));
    counts.truncate(most);
    counts.into_iter().map(|(key, count)| Bucket { key: show(key), count }).collect()
}

fn price_stats(groups: &[(PriceGroup, PriceTally)]) -> Vec<PriceStats> {
    let mut stats: Vec<PriceStats> = groups
        .iter()
        .map(|(group, tally)| PriceStats {
            currency: group.currency,
            period: group.period,
            min: tally.min,
            max: tally.max,
            avg: tally.mean(),
            count: tally.count,
        })
        .collect();
    stats.sort_by_key(|it| (Reverse(it.count), it.currency, it.period.map(Word::as_str)));
    stats
}

fn price_ranges(groups: &[(PriceGroup, PriceTally)], bounds: &[f64]) -> Vec<PriceRangeBucket> {
    let mut ranges = Vec::new();
    for (group, tally) in groups {
        for (at, count) in tally.ranges.iter().enumerate().filter(|(_, count)| **count > 0) {
            let from = at.checked_sub(1).and_then(|below| bounds.get(below)).copied();
            let to = bounds.get(at).copied();
            ranges.push(PriceRangeBucket {
                currency: group.currency,
                period: group.period,
                key: range_name(from, to),
                from,
                to,
                count: *count,
            });
        }
    }
    ranges.sort_by(|a, b| {
        let order = |it: &PriceRangeBucket| (it.currency, it.period.map(Word::as_str));
        (Reverse(a.count), &a.key, order(a)).cmp(&(Reverse(b.count), &b.key, order(b)))
    });
    ranges
}

/// `under_100k`, `100k_200k`, `over_500k`
fn range_name(from: Option<f64>, to: Option<f64>) -> String {
    let short = |bound: f64| {
        let thousands = bound / 1_000.0;
        if bound >= 1_000.0 && thousands.fract() == 0.0 {
            format!("{thousands}k")
        } else {
            bound.to_string()
        }
    };
    match (from, to) {
        (Some(from), Some(to)) => format!("{}_{}", short(from), short(to)),
        (None, Some(to)) => format!("under_{}", short(to)),
        (Some(from), None) => format!("over_{}", short(from)),
        (None, None) => "all".to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::range_name;

    #[test]
    fn ranges_are_named_by_their_bounds() {
        assert_eq!(range_name(None, Some(100_000.0)), "under_100k");
        assert_eq!(range_name(Some(100_000.0), Some(200_000.0)), "100k_200k");
        assert_eq!(range_name(Some(500_000.0), None), "over_500k");
        assert_eq!(range_name(Some(50.0), Some(1_250.0)), "50_1250");
    }
}
