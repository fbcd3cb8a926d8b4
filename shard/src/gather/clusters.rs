//! Map clusters as clients see them.

use std::{
    cmp::Reverse,
    collections::{BTreeMap, BTreeSet, btree_map::Entry},
};

use serde::Serialize;

use super::{ShardPart, ShardStamp, facets::serialize_option, stamps};
use crate::{
    cell::Cell,
    geo::LatLng,
    index::{PartialCell, PartialClusters, PriceGroup, mean, median},
    listing::{Currency, Period},
    query::{
        CellAmounts, MapQuery, Problem, ProblemPlace, QueryError, QueryErrorKind, RESOLUTION_MIN,
    },
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

/// Merges the shards' answers to one map view, once they are [finished](unfinished_clusters).
/// `partial` says that a shard is missing among them.
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

/// The query that shards must be asked anew, if some of their cells are one and not all of its amounts
/// are there. Asking for all amounts ends it.
#[must_use]
pub fn unfinished_clusters(
    query: &MapQuery,
    parts: &[ShardPart<PartialClusters>],
) -> Option<MapQuery> {
    let mut seen: BTreeMap<(u64, Option<PriceGroup>), bool> = BTreeMap::new();
    let mut shared = BTreeSet::new();
    for cell in parts.iter().flat_map(|part| &part.answer.cells) {
        let lacks = cell.group.is_some() && cell.amounts.len() as u64 != cell.count;
        match seen.entry((cell.cell, cell.group)) {
            Entry::Occupied(mut before) => {
                *before.get_mut() |= lacks;
                if *before.get() {
                    shared.insert(cell.cell);
                }
            }
            Entry::Vacant(place) => drop(place.insert(lacks)),
        }
    }
    let amounts = match &query.amounts {
        _ if shared.is_empty() => return None,
        CellAmounts::None => CellAmounts::Of(shared.into_iter().collect()),
        CellAmounts::Of(_) => CellAmounts::All,
        CellAmounts::All => return None,
    };
    Some(MapQuery { amounts, ..query.clone() })
}

fn add(sum: &mut PartialCell, more: PartialCell) {
    sum.median = None;
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
    let priced = if cell.group.is_some() { cell.count } else { 0 };
    ClusterCell {
        h3: known.to_string(),
        count: cell.count,
        avg_price: (priced > 0).then(|| mean(cell.sum_millionths, priced)),
        median_price: cell.median.or_else(|| median(&mut cell.amounts)),
        currency: cell.group.map(|group| group.currency),
        period: cell.group.and_then(|group| group.period),
        center: known.center(),
    }
}
