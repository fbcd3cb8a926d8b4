//! Counting what matches, in a form that adds up over shards without loss.

use std::{borrow::Cow, cmp::Ordering, iter::Peekable, sync::Arc};

use serde::{Deserialize, Serialize};

use super::{
    Row,
    coded::{CodedColumn, NONE},
    columns::ShardIndex,
};
use crate::{
    listing::{Currency, Period, PropertyType},
    query::{FacetMode, FacetName, Query},
};

/// Amounts are summed in this fraction of a unit, as whole numbers: the sum then does not depend
/// on the order or on how listings are divided into shards.
const SUM_UNITS: f64 = 1e6;

/// Prices that may be compared with each other.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct PriceGroup {
    /// The currency.
    pub currency: Currency,
    /// What a rent is paid for.
    pub period: Option<Period>,
}

/// How many listings have each value, and how many have none.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ValueCounts<K> {
    /// Listings per value, ascending by it, no value twice.
    pub counts: Vec<(K, u64)>,
    /// Listings without the field.
    pub missing: u64,
}

impl<K> Default for ValueCounts<K> {
    fn default() -> Self {
        Self { counts: Vec::new(), missing: 0 }
    }
}

impl<K: Ord> ValueCounts<K> {
    fn add(&mut self, other: Self) {
        merge(&mut self.counts, other.counts, |count, more| *count += more);
        self.missing += other.missing;
    }
}

/// Merges pairs that ascend by key into others that do; `add` joins the values of equal keys.
fn merge<K: Ord, V>(sum: &mut Vec<(K, V)>, more: Vec<(K, V)>, add: impl Fn(&mut V, V)) {
    if sum.is_empty() || more.is_empty() {
        sum.extend(more);
        return;
    }
    let mut merged = Vec::with_capacity(sum.len().max(more.len()));
    let (mut left, mut right) =
        (std::mem::take(sum).into_iter().peekable(), more.into_iter().peekable());
    while let Some(order) = first_of(&mut left, &mut right) {
        let mut next = if order.is_gt() { right.next() } else { left.next() };
        if order.is_eq()
            && let (Some((_, value)), Some((_, other))) = (next.as_mut(), right.next())
        {
            add(value, other);
        }
        merged.extend(next);
    }
    *sum = merged;
}

/// Which of two ascending sequences has the lower key in front; one that has ended has none.
fn first_of<K: Ord, V, I: Iterator<Item = (K, V)>>(
    left: &mut Peekable<I>,
    right: &mut Peekable<I>,
) -> Option<Ordering> {
    match (left.peek(), right.peek()) {
        (Some((a, _)), Some((b, _))) => Some(a.cmp(b)),
        (Some(_), None) => Some(Ordering::Less),
        (None, Some(_)) => Some(Ordering::Greater),
        (None, None) => None,
    }
}

/// The amounts of one [`PriceGroup`].
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct PriceTally {
    /// Listings counted; never 0.
    pub count: u64,
    /// Lowest amount.
    pub min: f64,
    /// Highest amount.
    pub max: f64,
    /// Their sum in millionths, each amount rounded to one; it stays at the greatest number when
    /// amounts beyond 10^32 exceed that.
    pub sum_millionths: i128,
    /// Listings per price range: below the first bound, between each two, from the last one on.
    pub ranges: Vec<u64>,
}

impl PriceTally {
    fn empty(bounds: usize) -> Self {
        Self { count: 0, min: f64::MAX, max: 0.0, sum_millionths: 0, ranges: vec![0; bounds + 1] }
    }

    fn note(&mut self, amount: f64, bounds: &[f64]) {
        self.count += 1;
        self.min = self.min.min(amount);
        self.max = self.max.max(amount);
        self.sum_millionths = self.sum_millionths.saturating_add(millionths(amount));
        let range = bounds.partition_point(|bound| *bound <= amount);
        if let Some(count) = self.ranges.get_mut(range) {
            *count += 1;
        }
    }

    fn add(&mut self, other: Self) {
        self.count += other.count;
        self.min = self.min.min(other.min);
        self.max = self.max.max(other.max);
        self.sum_millionths = self.sum_millionths.saturating_add(other.sum_millionths);
        if self.ranges.len() < other.ranges.len() {
            self.ranges.resize(other.ranges.len(), 0);
        }
        for (count, more) in self.ranges.iter_mut().zip(other.ranges) {
            *count += more;
        }
    }

    /// The mean amount.
    #[must_use]
    pub fn mean(&self) -> f64 {
        mean(self.sum_millionths, self.count)
    }
}

/// An amount in whole millionths.
#[expect(clippy::cast_possible_truncation, reason = "the cast saturates")]
pub(crate) fn millionths(amount: f64) -> i128 {
    (amount * SUM_UNITS).round() as i128
}

/// The mean of `count` amounts whose sum is given in millionths.
#[expect(clippy::cast_precision_loss, reason = "a mean is rounded to an f64 anyway")]
pub(crate) fn mean(sum_millionths: i128, count: u64) -> f64 {
    sum_millionths as f64 / (count as f64 * SUM_UNITS)
}

/// The facets of one shard, or of several added up; those that were not asked for are `None`.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
pub struct PartialFacets {
    /// Per kind of property.
    pub property_types: Option<ValueCounts<PropertyType>>,
    /// Per number of bedrooms, made comparable by the index's order of numbers.
    pub bedrooms: Option<ValueCounts<u64>>,
    /// Per neighbourhood: all of them, since the largest of each shard need not be the largest.
    pub neighborhoods: Option<ValueCounts<Arc<str>>>,
    /// Per energy class.
    pub energy_ratings: Option<ValueCounts<Arc<str>>>,
    /// For `priceStats` and `priceRanges` alike.
    pub prices: Option<PartialPrices>,
}

/// Prices by group.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
pub struct PartialPrices {
    /// One tally per group that occurs, ascending by group.
    pub groups: Vec<(PriceGroup, PriceTally)>,
    /// Listings without a price.
    pub missing: u64,
}

/// Adds `more`, if there is any, to what there is.
fn add_to<T>(sum: &mut Option<T>, more: Option<T>, add: impl FnOnce(&mut T, T)) {
    match (sum.as_mut(), more) {
        (Some(sum), Some(more)) => add(sum, more),
        (None, more @ Some(_)) => *sum = more,
        (_, None) => {}
    }
}

impl PartialFacets {
    /// Adds the facets of another shard for the same query.
    pub fn add(&mut self, other: Self) {
        add_to(&mut self.property_types, other.property_types, ValueCounts::add);
        add_to(&mut self.bedrooms, other.bedrooms, ValueCounts::add);
        add_to(&mut self.neighborhoods, other.neighborhoods, ValueCounts::add);
        add_to(&mut self.energy_ratings, other.energy_ratings, ValueCounts::add);
        add_to(&mut self.prices, other.prices, |prices, more| {
            merge(&mut prices.groups, more.groups, PriceTally::add);
            prices.missing += more.missing;
        });
    }
}

impl ShardIndex {
    /// The facets that a query asks for, over the rows that match.
    pub(super) fn count(&self, query: &Query, rows: &[Row]) -> PartialFacets {
        let asked = |name| query.facets.contains(&name).then(|| self.counted(query, name, rows));
        let prices = asked(FacetName::PriceStats).or_else(|| asked(FacetName::PriceRanges));
        PartialFacets {
            property_types: asked(FacetName::PropertyTypes)
                .map(|rows| count_values(&self.property_type, &rows, Clone::clone)),
            bedrooms: asked(FacetName::Bedrooms)
                .map(|rows| count_values(&self.bedrooms, &rows, Clone::clone)),
            neighborhoods: asked(FacetName::Neighborhoods)
                .map(|rows| count_values(&self.neighborhood, &rows, |key| key.as_str().into())),
            energy_ratings: asked(FacetName::EnergyRatings)
                .map(|rows| count_values(&self.energy_rating, &rows, |key| key.as_str().into())),
            prices: prices.map(|rows| self.count_prices(&rows, &query.price_bounds)),
        }
    }

    /// The rows that a facet counts.
    fn counted<'a>(&self, query: &Query, facet: FacetName, rows: &'a [Row]) -> Cow<'a, [Row]> {
        if query.facet_mode == FacetMode::All {
            return Cow::Borrowed(rows);
        }
        Cow::Owned(self.matching(&query.filters.without_own(facet)).rows)
    }

    fn count_prices(&self, rows: &[Row], bounds: &[f64]) -> PartialPrices {
        let codes = self.price_group.codes();
        let mut tallies = vec![PriceTally::empty(bounds.len()); self.price_group.code_end()];
        let mut missing = 0;
        for row in rows {
            let code = codes.get(*row as usize).copied().unwrap_or(NONE);
            match (tallies.get_mut(code as usize), self.amount.get(*row as usize)) {
                (Some(tally), Some(amount)) => tally.note(*amount, bounds),
                _ => missing += 1,
            }
        }
        let groups = (0..).zip(tallies).filter(|(_, tally)| tally.count > 0);
        let mut groups: Vec<_> = groups
            .filter_map(|(code, tally)| Some((*self.price_group.key(code)?, tally)))
            .collect();
        groups.sort_unstable_by_key(|(group, _)| *group);
        PartialPrices { groups, missing }
    }
}

fn count_values<K: Ord + Clone, T: Ord>(
    column: &CodedColumn<K>,
    rows: &[Row],
    show: impl Fn(&K) -> T,
) -> ValueCounts<T> {
    let codes = column.codes();
    let mut counts = vec![0_u64; column.code_end()];
    let mut missing = 0;
    for row in rows {
        let code = codes.get(*row as usize).copied().unwrap_or(NONE);
        match counts.get_mut(code as usize) {
            Some(count) => *count += 1,
            None => missing += 1,
        }
    }
    let counts = (0..).zip(counts).filter(|(_, count)| *count > 0);
    let mut counts: Vec<_> =
        counts.filter_map(|(code, count)| Some((show(column.key(code)?), count))).collect();
    counts.sort_unstable();
    ValueCounts { counts, missing }
}
