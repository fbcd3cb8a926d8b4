//! Counts of the rows below a node: what lets a search take a subtree as a whole.

use super::{
    leaf::RowLeaf,
    order::ascending,
    tree::{Child, Node},
    zone::{Facts, TYPES},
};

/// Amounts are summed in this fraction of a unit, as whole numbers: the sum then does not depend
/// on the order or on how listings are divided into shards.
const SUM_UNITS: f64 = 1e6;

/// Where the price ranges meet that are counted beforehand: the defaults of the search rules. Others
/// are counted row by row.
pub(crate) const KEPT_BOUNDS: [f64; 4] = [100_000.0, 200_000.0, 350_000.0, 500_000.0];

/// Property types, and a place for those without.
pub(super) const PROPERTIES: usize = 16;

/// The counts of a subtree, by listing type.
#[derive(Debug, Clone, Default)]
pub(super) struct Tally {
    types: [TypeTally; TYPES],
}

/// The counts of one listing type.
#[derive(Debug, Clone, Default)]
pub(super) struct TypeTally {
    pub(super) count: u32,
    /// By property type, from 1; 0 = none.
    pub(super) properties: [u32; PROPERTIES],
    /// By number, made comparable; ascending.
    pub(super) bedrooms: Vec<(u64, u32)>,
    /// By code; ascending.
    pub(super) energy: Vec<(u32, u32)>,
    /// By code; ascending.
    pub(super) neighborhoods: Vec<(u32, u32)>,
    /// By code of the price group; ascending.
    pub(super) prices: Vec<(u32, Amounts)>,
}

/// Amounts of one price group.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Amounts {
    pub(super) count: u32,
    pub(super) min: f64,
    pub(super) max: f64,
    pub(super) sum_millionths: i128,
    /// Below the first of [`KEPT_BOUNDS`], between each two, from the last one on.
    pub(super) ranges: [u32; KEPT_BOUNDS.len() + 1],
}

impl Default for Amounts {
    fn default() -> Self {
        Self {
            count: 0,
            min: f64::INFINITY,
            max: f64::NEG_INFINITY,
            sum_millionths: 0,
            ranges: [0; KEPT_BOUNDS.len() + 1],
        }
    }
}

/// An amount in whole millionths, rounded half away from zero. Amounts are not negative.
#[expect(clippy::cast_possible_truncation, reason = "whole, and within the bounds of 64 bits")]
#[expect(clippy::cast_precision_loss, reason = "below 2^53 it is exact")]
pub(crate) fn millionths(amount: f64) -> i128 {
    const EXACT: f64 = 9_007_199_254_740_992.0;
    let scaled = amount * SUM_UNITS;
    if scaled >= EXACT {
        // Nothing to round; the cast saturates.
        return scaled as i128;
    }
    let whole = scaled as i64;
    let up = scaled - whole as f64 >= 0.5;
    i128::from(whole) + i128::from(up)
}

/// The mean of `count` amounts whose sum is given in millionths.
#[expect(clippy::cast_precision_loss, reason = "a mean is rounded to an f64 anyway")]
pub(crate) fn mean(sum_millionths: i128, count: u64) -> f64 {
    sum_millionths as f64 / (count as f64 * SUM_UNITS)
}

/// The kept range that an amount lies in.
fn range_of(amount: f64) -> usize {
    KEPT_BOUNDS.iter().filter(|bound| **bound <= amount).count()
}

impl Amounts {
    pub(super) fn note(&mut self, amount: f64) {
        self.count += 1;
        self.min = self.min.min(amount);
        self.max = self.max.max(amount);
        self.sum_millionths = self.sum_millionths.saturating_add(millionths(amount));
        if let Some(count) = self.ranges.get_mut(range_of(amount)) {
            *count += 1;
        }
    }

    pub(super) fn add(&mut self, more: &Self) {
        self.count += more.count;
        self.min = self.min.min(more.min);
        self.max = self.max.max(more.max);
        self.sum_millionths = self.sum_millionths.saturating_add(more.sum_millionths);
        for (count, more) in self.ranges.iter_mut().zip(more.ranges) {
            *count += more;
        }
    }
}

/// The entry of a key in a sorted list, made if there is none.
fn entry<K: Ord + Copy, V: Default>(list: &mut Vec<(K, V)>, key: K) -> Option<&mut V> {
    let at = match list.binary_search_by_key(&key, |(it, _)| *it) {
        Ok(at) => at,
        Err(at) => {
            list.insert(at, (key, V::default()));
            at
        }
    };
    list.get_mut(at).map(|(_, value)| value)
}

fn count_in<K: Ord + Copy>(list: &mut Vec<(K, u32)>, key: Option<K>, by: u32) {
    if let Some(count) = key.and_then(|key| entry(list, key)) {
        *count += by;
    }
}

fn count_out<K: Ord + Copy>(list: &mut Vec<(K, u32)>, key: Option<K>) {
    let Some(key) = key else {
        return;
    };
    if let Ok(at) = list.binary_search_by_key(&key, |(it, _)| *it)
        && let Some((_, count)) = list.get_mut(at)
    {
        *count = count.saturating_sub(1);
        if *count == 0 {
            list.remove(at);
        }
    }
}

/// The number of bedrooms as it is counted.
pub(super) fn bedrooms_key(number: f64) -> Option<u64> {
    (!number.is_nan()).then(|| ascending(number))
}

impl TypeTally {
    fn add_row(&mut self, facts: &Facts) {
        self.count += 1;
        if let Some(count) = self.properties.get_mut(usize::from(facts.property)) {
            *count += 1;
        }
        count_in(&mut self.bedrooms, bedrooms_key(facts.bedrooms), 1);
        count_in(&mut self.energy, facts.energy, 1);
        count_in(&mut self.neighborhoods, facts.neighborhood, 1);
        if let Some(amounts) = facts.group.and_then(|group| entry(&mut self.prices, group)) {
            amounts.note(facts.amount);
        }
    }

    fn add(&mut self, more: &Self) {
        self.count += more.count;
        for (count, more) in self.properties.iter_mut().zip(more.properties) {
            *count += more;
        }
        let pairs = |list: &mut Vec<(u32, u32)>, more: &[(u32, u32)]| {
            more.iter().for_each(|(key, by)| count_in(list, Some(*key), *by));
        };
        more.bedrooms.iter().for_each(|(key, by)| count_in(&mut self.bedrooms, Some(*key), *by));
        pairs(&mut self.energy, &more.energy);
        pairs(&mut self.neighborhoods, &more.neighborhoods);
        for (group, amounts) in &more.prices {
            if let Some(sum) = entry(&mut self.prices, *group) {
                sum.add(amounts);
            }
        }
    }

    /// Takes a row out; answers the price group whose amounts must be gone through anew.
    fn remove_row(&mut self, facts: &Facts) -> Option<u32> {
        self.count = self.count.saturating_sub(1);
        if let Some(count) = self.properties.get_mut(usize::from(facts.property)) {
            *count = count.saturating_sub(1);
        }
        count_out(&mut self.bedrooms, bedrooms_key(facts.bedrooms));
        count_out(&mut self.energy, facts.energy);
        count_out(&mut self.neighborhoods, facts.neighborhood);
        let group = facts.group?;
        let at = self.prices.binary_search_by_key(&group, |(it, _)| *it).ok()?;
        let (_, amounts) = self.prices.get_mut(at)?;
        amounts.count = amounts.count.saturating_sub(1);
        let saturated = amounts.sum_millionths == i128::MAX;
        amounts.sum_millionths -= millionths(facts.amount);
        if let Some(count) = amounts.ranges.get_mut(range_of(facts.amount)) {
            *count = count.saturating_sub(1);
        }
        if amounts.count == 0 {
            self.prices.remove(at);
            return None;
        }
        let outermost = facts.amount <= amounts.min || facts.amount >= amounts.max;
        (outermost || saturated).then_some(group)
    }

    fn amounts(&self, group: u32) -> Option<&Amounts> {
        let at = self.prices.binary_search_by_key(&group, |(it, _)| *it).ok()?;
        self.prices.get(at).map(|(_, amounts)| amounts)
    }
}

impl Tally {
    /// The counts of one listing type.
    pub(super) fn of(&self, listing_type: usize) -> Option<&TypeTally> {
        self.types.get(listing_type)
    }

    /// Takes a row in.
    pub(super) fn add_row(&mut self, facts: &Facts) {
        if let Some(tally) = self.types.get_mut(facts.listing_type) {
            tally.add_row(facts);
        }
    }

    /// Takes the rows of another subtree in.
    pub(super) fn add(&mut self, more: &Self) {
        for (tally, more) in self.types.iter_mut().zip(&more.types) {
            tally.add(more);
        }
    }

    /// Bytes on the heap.
    pub(super) fn bytes(&self) -> usize {
        let of_type = |tally: &TypeTally| {
            tally.bedrooms.capacity() * 16
                + (tally.energy.capacity() + tally.neighborhoods.capacity()) * 8
                + tally.prices.capacity() * size_of::<(u32, Amounts)>()
        };
        self.types.iter().map(of_type).sum()
    }
}

/// Takes a row out of the tally of a node whose children lack it already.
pub(super) fn take_out(tally: &mut Tally, facts: &Facts, children: &[Child<RowLeaf>]) {
    let of = facts.listing_type;
    let Some(tally) = tally.types.get_mut(of) else {
        return;
    };
    let Some(group) = tally.remove_row(facts) else {
        return;
    };
    let mut anew = Amounts::default();
    let listing_type = u8::try_from(of).unwrap_or(u8::MAX);
    for child in children {
        match &child.node {
            Node::Leaf(leaf) => leaf.note_amounts(listing_type, group, &mut anew),
            Node::Inner(inner) => {
                if let Some(amounts) = inner.tally.of(of).and_then(|it| it.amounts(group)) {
                    anew.add(amounts);
                }
            }
        }
    }
    if let Some(amounts) = entry(&mut tally.prices, group) {
        *amounts = anew;
    }
}
