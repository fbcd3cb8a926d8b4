//! Map clusters as clients see them.

use std::{cmp::Reverse, collections::BTreeMap};

use serde::Serialize;

use super::{ShardPart, ShardStamp, facets::serialize_option, stamps};
use crate::{
    cell::Cell,
    geo::LatLng,
    index::{PartialCell, PartialClusters, PriceGroup, mean, millionths},
    listing::{Currency, Period},
    query::MapQuery,
};

/// The answer to a map view.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct ClustersAnswer {
    /// One entry per cell, currency and period; highest count first, then by cell.
    pub cells: Vec<ClusterCell>,
    /// What the answer was read from.
    pub shards: Vec<ShardStamp>,
    /// Whether a shard did not answer.
    pub partial: bool,
}

/// The listings of one cell whose prices may be compared; those without a price are an entry
/// without currency.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct ClusterCell {
    /// The H3 index.
    pub h3: String,
    /// Listings.
    pub count: u64,
    /// Mean amount.
    #[serde(skip_serializing_if = "Option::is_none", serialize_with = "serialize_option")]
    pub avg_price: Option<f64>,
    /// Median amount; of an even number, the mean of the middle two.
    #[serde(skip_serializing_if = "Option::is_none", serialize_with = "serialize_option")]
    pub median_price: Option<f64>,
    /// The currency.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub currency: Option<Currency>,
    /// What a rent is paid for.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub period: Option<Period>,
    /// The centre of the cell.
    pub center: LatLng,
}

/// Merges the shards' answers to one map view. `partial` says that a shard is missing among them.
#[must_use]
pub fn gather_clusters(
    query: &MapQuery,
    parts: Vec<ShardPart<PartialClusters>>,
    partial: bool,
) -> ClustersAnswer {
    let shards = stamps(&parts);
    let mut merged: BTreeMap<(u64, Option<PriceGroup>), PartialCell> = BTreeMap::new();
    for cell in parts.into_iter().flat_map(|part| part.answer.cells) {
        match merged.get_mut(&(cell.cell, cell.group)) {
            Some(sum) => {
                sum.count += cell.count;
                sum.amounts.extend(cell.amounts);
            }
            None => {
                merged.insert((cell.cell, cell.group), cell);
            }
        }
    }
    let mut cells: Vec<ClusterCell> =
        merged.into_values().filter(|cell| cell.count >= query.min_count).map(show).collect();
    // The rest of the order is that of the map.
    cells.sort_by_key(|cell| Reverse(cell.count));
    ClustersAnswer { cells, shards, partial }
}

fn show(mut cell: PartialCell) -> ClusterCell {
    cell.amounts.sort_unstable_by(f64::total_cmp);
    let sum =
        cell.amounts.iter().fold(0_i128, |sum, amount| sum.saturating_add(millionths(*amount)));
    let known = Cell::from_known(cell.cell);
    ClusterCell {
        h3: known.to_string(),
        count: cell.count,
        avg_price: (!cell.amounts.is_empty()).then(|| mean(sum, cell.amounts.len() as u64)),
        median_price: median(&cell.amounts),
        currency: cell.group.map(|group| group.currency),
        period: cell.group.and_then(|group| group.period),
        center: known.center(),
    }
}

/// The median of ascending amounts.
fn median(amounts: &[f64]) -> Option<f64> {
    let middle = amounts.len() / 2;
    let upper = *amounts.get(middle)?;
    if amounts.len() % 2 == 1 {
        return Some(upper);
    }
    let lower = *amounts.get(middle.checked_sub(1)?)?;
    // Not half their sum, which may exceed the greatest number.
    Some(lower + (upper - lower) / 2.0)
}

#[cfg(test)]
mod tests {
    use super::median;

    #[test]
    fn the_median_of_an_even_count_is_the_mean_of_the_middle_two() {
        assert_eq!(median(&[]), None);
        assert_eq!(median(&[3.0]), Some(3.0));
        assert_eq!(median(&[1.0, 2.0, 4.0, 9.0]), Some(3.0));
        assert_eq!(median(&[f64::MAX, f64::MAX]), Some(f64::MAX));
    }
}
