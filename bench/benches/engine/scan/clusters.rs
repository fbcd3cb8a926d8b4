//! Listings per cell: rows are counted into the cells of the resolution asked for, amounts are
//! laid out cell by cell, medians are selected.

use std::cmp::Reverse;

use hexpop_shard::{Cell, ClusterCell, MapQuery};

use super::{Scan, coded::Code, millionths};

impl Scan {
    /// Answers a map view, as the engine's gathered answer shows it.
    pub(crate) fn clusters(&self, query: &MapQuery) -> Vec<ClusterCell> {
        let rows = self.matching(&query.filters);
        let (parents, parent_of) = self.parents(query.resolution);
        let groups = self.group.keys().len() + 1;
        let bucket = |row: u32| {
            let at = row as usize;
            let parent = parent_of[self.cell.codes()[at].number()] as usize;
            parent * groups + self.group.codes()[at].number()
        };
        let mut ends = vec![0_u32; parents.len() * groups];
        for row in &rows {
            ends[bucket(*row)] += 1;
        }
        let counts = ends.clone();
        let mut end = 0;
        for slot in &mut ends {
            end += *slot;
            *slot = end - *slot;
        }
        let mut amounts = vec![0.0; rows.len()];
        for row in &rows {
            let next = &mut ends[bucket(*row)];
            amounts[*next as usize] = self.price[*row as usize];
            *next += 1;
        }
        let mut cells = Vec::new();
        // Parent 0 stands for no coordinates.
        for (at, count) in counts.iter().enumerate().skip(groups) {
            if u64::from(*count) >= query.min_count.max(1) {
                let end = ends[at] as usize;
                let amounts = &mut amounts[end - *count as usize..end];
                cells.push(self.cluster(parents[at / groups].unwrap(), at % groups, amounts));
            }
        }
        cells.sort_by_key(|cell| Reverse(cell.count));
        cells
    }

    /// The cells of a resolution that have listings, ascending behind `None`, and for every code of
    /// a cell which of them it lies in.
    fn parents(&self, resolution: u8) -> (Vec<Option<Cell>>, Vec<u32>) {
        let (mut parents, mut parent_of) = (vec![None], vec![0]);
        for cell in self.cell.keys() {
            // The order of cells is that of the hierarchy: children of one parent are together.
            let parent = Some(cell.ancestor(resolution));
            if parents.last() != Some(&parent) {
                parents.push(parent);
            }
            parent_of.push(u32::try_from(parents.len() - 1).unwrap());
        }
        (parents, parent_of)
    }

    /// One cell and group; the group of code 0 are the listings without a price.
    fn cluster(&self, cell: Cell, group: usize, amounts: &mut [f64]) -> ClusterCell {
        let count = amounts.len() as u64;
        let key = group.checked_sub(1).map(|at| self.group.keys()[at]);
        let sum: i128 = match key {
            Some(_) => amounts.iter().map(|amount| millionths(*amount)).sum(),
            None => 0,
        };
        ClusterCell {
            h3: cell.to_string(),
            count,
            avg_price: key.map(|_| sum as f64 / (count as f64 * 1e6)),
            median_price: key.map(|_| median(amounts)),
            currency: key.map(|key| key.currency),
            period: key.and_then(|key| key.period),
            center: cell.center(),
        }
    }
}

/// The median of one amount or more.
fn median(amounts: &mut [f64]) -> f64 {
    let middle = amounts.len() / 2;
    let even = amounts.len().is_multiple_of(2);
    let (below, upper, _) = amounts.select_nth_unstable_by(middle, f64::total_cmp);
    if !even {
        return *upper;
    }
    let lower = below.iter().copied().fold(0.0, f64::max);
    lower + (*upper - lower) / 2.0
}
