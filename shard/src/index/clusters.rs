//! Listings per H3 cell, in a form that adds up over shards without loss.

use serde::{Deserialize, Serialize};

use super::{
    columns::IndexView, facets::PriceGroup, filter::Filter, leaf::RowLeaf, mask::ROWS_MAX,
    tally::millionths,
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

/// The rows of one cell and price group, as they come.
#[derive(Debug, Default)]
struct Pile {
    count: u64,
    sum_millionths: i128,
    amounts: Vec<f64>,
}

/// The cell whose rows are coming, and the cells before it.
#[derive(Debug, Default)]
struct Piles {
    cell: u64,
    /// Where the pile of the row before is among those that are open.
    last: usize,
    /// By code of the price group.
    open: Vec<(Option<u32>, Pile)>,
    /// Lists of amounts that have grown and are empty again.
    spare: Vec<Vec<f64>>,
    closed: Vec<(u64, Option<u32>, Pile)>,
}

impl Piles {
    /// Adds rows of one cell and group that come one after the other.
    fn add(&mut self, cell: u64, group: Option<u32>, amounts: &[f64]) {
        if cell != self.cell {
            self.close();
            self.cell = cell;
        }
        // Mostly the next row is of the group of the row before.
        if self.open.get(self.last).is_none_or(|(it, _)| *it != group) {
            self.last = self.open.iter().position(|(it, _)| *it == group).unwrap_or_else(|| {
                let amounts = self.spare.pop().unwrap_or_default();
                self.open.push((group, Pile { amounts, ..Pile::default() }));
                self.open.len() - 1
            });
        }
        if let Some((_, pile)) = self.open.get_mut(self.last) {
            pile.count += amounts.len() as u64;
            if group.is_some() {
                for amount in amounts {
                    pile.sum_millionths = pile.sum_millionths.saturating_add(millionths(*amount));
                }
                pile.amounts.extend_from_slice(amounts);
            }
        }
    }

    fn close(&mut self) {
        let cell = self.cell;
        for (group, pile) in self.open.drain(..) {
            // The list that grew is of use to the next cell, and this one needs no more than its length.
            let mut grown = pile.amounts;
            self.closed.push((cell, group, Pile { amounts: grown.clone(), ..pile }));
            grown.clear();
            self.spare.push(grown);
        }
    }
}

/// The cell of the first of some rows, if that has one, and how many rows from there on share it.
fn first_cell(leaf: &RowLeaf, places: &[u16], resolution: u8) -> Option<(Option<u64>, usize)> {
    let own = |at: &u16| leaf.cells.get(usize::from(*at));
    let shown = |own: u64| (own != 0).then(|| Cell::from_known(own).ancestor(resolution).raw());
    let mut last = own(places.first()?);
    let cell = shown(last);
    let same = places.iter().take_while(|at| {
        let next = own(at);
        // Mostly the next row is in the very cell of the row before.
        let same = next == last || shown(next) == cell;
        last = next;
        same
    });
    Some((cell, same.count()))
}

impl IndexView {
    /// Answers a map view. Listings without coordinates are in no cell.
    ///
    /// Rows come in the order of their cells, so that those of one cell come one after the other, at
    /// whatever resolution.
    #[must_use]
    pub fn clusters(&self, query: &MapQuery) -> PartialClusters {
        let selection = self.select(Filter::new(self, &query.filters, query.bounds));
        let mut piles = Piles::default();
        selection.for_each_leaf(|leaf, mask| {
            leaf.groups.fetch();
            leaf.amount.fetch();
            leaf.cells.fetch();
            let mut room = [0; ROWS_MAX];
            leaf.each_price_run(mask.list(&mut room), |group, mut places, mut amounts| {
                while let Some((cell, rows)) = first_cell(leaf, places, query.resolution) {
                    let (of_cell, behind) = amounts.split_at_checked(rows).unwrap_or_default();
                    if let Some(cell) = cell {
                        piles.add(cell, group, of_cell);
                    }
                    amounts = behind;
                    places = places.get(rows..).unwrap_or_default();
                }
            });
        });
        piles.close();
        PartialClusters { cells: self.cells_of(piles.closed) }
    }

    /// The cells, each of which may have come in several runs: one per territory.
    fn cells_of(&self, piles: Vec<(u64, Option<u32>, Pile)>) -> Vec<PartialCell> {
        let shown = piles.into_iter().map(|(cell, group, pile)| PartialCell {
            cell,
            group: group.and_then(|code| self.groups.key(code).copied()),
            count: pile.count,
            sum_millionths: pile.sum_millionths,
            amounts: pile.amounts,
        });
        let mut cells: Vec<PartialCell> = shown.collect();
        // Codes differ between replicas; groups do not.
        cells.sort_by_key(|cell| (cell.cell, cell.group));
        cells.dedup_by(|more, cell| {
            let same = (more.cell, more.group) == (cell.cell, cell.group);
            if same {
                cell.count += more.count;
                cell.sum_millionths = cell.sum_millionths.saturating_add(more.sum_millionths);
                cell.amounts.append(&mut more.amounts);
            }
            same
        });
        cells
    }
}
