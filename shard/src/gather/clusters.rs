//! Map clusters as clients see them.

use std::{
    cmp::Reverse,
    collections::{BTreeMap, btree_map::Entry},
};

use serde::Serialize;

use super::{ShardPart, ShardStamp, facets::serialize_option, stamps};
use crate::{
    cell::Cell,
    geo::LatLng,
    index::{PartialCell, PartialClusters, PriceGroup, mean},
    listing::{Currency, Period},
    query::{MapQuery, Problem, ProblemPlace, QueryError, QueryErrorKind, RESOLUTION_MIN},
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
///
/// # Errors
/// When the answer would have more than [`MapQuery::limit`] cells.
pub fn gather_clusters(
    query: &MapQuery,
    parts: Vec<ShardPart<PartialClusters>>,
    partial: bool,
) -> Result<ClustersAnswer, QueryError> {
    let shards = stamps(&parts);
    let mut merged: BTreeMap<(u64, Option<PriceGroup>), PartialCell> = BTreeMap::new();
    for cell in parts.into_iter().flat_map(|part| part.answer.cells) {
        match merged.entry((cell.cell, cell.group)) {
            Entry::Occupied(sum) => add(sum.into_mut(), cell),
            Entry::Vacant(place) => {
                place.insert(cell);
            }
        }
    }
    let shown = merged.values().filter(|cell| cell.count >= query.min_count).count();
    if shown > query.limit as usize {
        return Err(too_many(query, shown, &merged));
    }
    let mut cells: Vec<ClusterCell> =
        merged.into_values().filter(|cell| cell.count >= query.min_count).map(show).collect();
    // The rest of the order is that of the map.
    cells.sort_by_key(|cell| Reverse(cell.count));
    Ok(ClustersAnswer { cells, shards, partial })
}

fn add(sum: &mut PartialCell, more: PartialCell) {
    sum.count += more.count;
    sum.sum_millionths = sum.sum_millionths.saturating_add(more.sum_millionths);
    sum.amounts.extend(more.amounts);
}

/// The refusal of an answer with too many cells, with the finest resolution that would do.
fn too_many(
    query: &MapQuery,
    shown: usize,
    merged: &BTreeMap<(u64, Option<PriceGroup>), PartialCell>,
) -> QueryError {
    let fits = |resolution: &u8| {
        let mut counts: BTreeMap<(u64, Option<PriceGroup>), u64> = BTreeMap::new();
        for ((cell, group), it) in merged {
            let parent = Cell::from_known(*cell).ancestor(*resolution).raw();
            *counts.entry((parent, *group)).or_default() += it.count;
        }
        let shown = counts.values().filter(|count| **count >= query.min_count).count();
        shown <= query.limit as usize
    };
    let hint = match (RESOLUTION_MIN..query.resolution).rev().find(fits) {
        Some(resolution) => format!("resolution {resolution}"),
        None => "a smaller area".to_owned(),
    };
    let detail = format!(
        "gives {shown} cells, of which limit allows {}: ask for {hint}, or a higher minCount",
        query.limit
    );
    QueryError {
        kind: QueryErrorKind::InvalidSearch,
        problems: vec![Problem { place: ProblemPlace::Pointer("#/resolution".to_owned()), detail }],
    }
}

fn show(mut cell: PartialCell) -> ClusterCell {
    let known = Cell::from_known(cell.cell);
    let priced = cell.amounts.len() as u64;
    ClusterCell {
        h3: known.to_string(),
        count: cell.count,
        avg_price: (priced > 0).then(|| mean(cell.sum_millionths, priced)),
        median_price: median(&mut cell.amounts),
        currency: cell.group.map(|group| group.currency),
        period: cell.group.and_then(|group| group.period),
        center: known.center(),
    }
}

/// The median, by selection; the amounts are left in another order.
fn median(amounts: &mut [f64]) -> Option<f64> {
    if amounts.is_empty() {
        return None;
    }
    let (middle, is_odd) = (amounts.len() / 2, amounts.len() % 2 == 1);
    let (below, upper, _) = amounts.select_nth_unstable_by(middle, f64::total_cmp);
    let upper = *upper;
    if is_odd {
        return Some(upper);
    }
    // Of an even number, none of which is above the upper middle one, the lower middle one is the
    // greatest below.
    let lower = below.iter().copied().max_by(f64::total_cmp)?;
    // Not half their sum, which may exceed the greatest number.
    Some(lower + (upper - lower) / 2.0)
}

#[cfg(test)]
mod tests {
    use super::median;

    #[test]
    fn the_median_of_an_even_count_is_the_mean_of_the_middle_two() {
        assert_eq!(median(&mut []), None);
        assert_eq!(median(&mut [3.0]), Some(3.0));
        assert_eq!(median(&mut [9.0, 1.0, 4.0]), Some(4.0));
        assert_eq!(median(&mut [9.0, 4.0, 1.0, 2.0]), Some(3.0));
        assert_eq!(median(&mut [2.0, 2.0, 1.0, 2.0]), Some(2.0));
        assert_eq!(median(&mut [f64::MAX, f64::MAX]), Some(f64::MAX));
    }
}
