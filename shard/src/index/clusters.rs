//! Listings per H3 cell, in a form that adds up over shards without loss.

use serde::{Deserialize, Serialize};

use super::{
    Row,
    coded::NONE,
    columns::ShardIndex,
    facets::{PriceGroup, millionths},
    order::{ascending, from_ascending},
};
use crate::{cell::Cell, query::MapQuery};

/// The cells of one shard.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
pub struct PartialClusters {
    /// Ascending by cell and group.
    pub cells: Vec<PartialCell>,
}

/// The listings of one cell whose prices may be compared.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct PartialCell {
    /// H3 index, at the resolution asked for.
    pub cell: u64,
    /// Currency and period; `None` = the listings without a price.
    pub group: Option<PriceGroup>,
    /// How many.
    pub count: u64,
    /// The sum of their amounts in millionths, each amount rounded to one; it stays at the greatest
    /// number when amounts beyond 10^32 exceed that.
    pub sum_millionths: i128,
    /// Their amounts in no particular order: an exact median over several shards needs all of them.
    /// At most one per listing of the shard.
    pub amounts: Vec<f64>,
}

impl ShardIndex {
    /// Answers a map view. Listings without coordinates are in no cell.
    #[must_use]
    pub fn clusters(&self, query: &MapQuery) -> PartialClusters {
        let mut rows = self.matching(&query.filters).rows;
        if let Some(bounds) = query.bounds {
            rows.retain(|row| self.location(*row).is_some_and(|place| bounds.contains(place)));
        }
        let mut members: Vec<(u64, u32, u64)> =
            rows.into_iter().filter_map(|row| self.member(row, query.resolution)).collect();
        members.sort_unstable();
        let mut cells: Vec<PartialCell> = members
            .chunk_by(|a, b| (a.0, a.1) == (b.0, b.1))
            .filter_map(|chunk| {
                let (cell, code, _) = *chunk.first()?;
                let group = self.price_group.key(code).copied();
                let amounts: Vec<f64> = match group {
                    Some(_) => chunk.iter().map(|(_, _, amount)| from_ascending(*amount)).collect(),
                    None => Vec::new(),
                };
                let sum_millionths = amounts
                    .iter()
                    .fold(0_i128, |sum, amount| sum.saturating_add(millionths(*amount)));
                Some(PartialCell {
                    cell,
                    group,
                    count: chunk.len() as u64,
                    sum_millionths,
                    amounts,
                })
            })
            .collect();
        // Codes differ between replicas; groups do not.
        cells.sort_unstable_by_key(|cell| (cell.cell, cell.group));
        PartialClusters { cells }
    }

    fn member(&self, row: Row, resolution: u8) -> Option<(u64, u32, u64)> {
        let at = row as usize;
        let cell = Cell::from_known(*self.cell.get(at).filter(|cell| **cell != 0)?);
        let code = self.price_group.codes().get(at).copied().unwrap_or(NONE);
        let amount = self.amount.get(at).copied().filter(|amount| !amount.is_nan());
        Some((cell.ancestor(resolution).raw(), code, amount.map_or(0, ascending)))
    }
}
