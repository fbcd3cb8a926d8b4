//! Counting what matches, in a form that adds up over shards without loss.

use std::{cmp::Ordering, iter::Peekable, sync::Arc};

use serde::{Deserialize, Serialize};

use super::tally::mean;
use crate::listing::{Currency, Period, PropertyType};

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
