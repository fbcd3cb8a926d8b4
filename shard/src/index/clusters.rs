//! Listings per H3 cell, in a form that adds up over shards without loss.

use serde::{Deserialize, Serialize};

use super::{
    area::Relation,
    cells::{KEPT_RESOLUTION_MAX, TypeTotals},
    columns::IndexView,
    facets::PriceGroup,
    filter::{Filter, Reach},
    leaf::RowLeaf,
    mask::{Mask, ROWS_MAX},
    tally::millionths,
    zone::Zone,
};
use crate::{
    cell::Cell,
    query::{CellAmounts, MapQuery},
};

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
    /// The median of the amounts; of an even number, the mean of the middle two.
    pub median: Option<f64>,
    /// The amounts, in no particular order, where [they were asked for](CellAmounts); else empty.
    pub amounts: Vec<f64>,
}

/// The rows of one cell and price group, as they come.
#[derive(Debug, Clone, Default)]
pub(super) struct Pile {
    count: u64,
    sum_millionths: i128,
    /// The median, if that is known without the amounts.
    median: Option<f64>,
    amounts: Vec<f64>,
}

impl Pile {
    /// Puts the median in the place of the amounts.
    fn into_total(mut self) -> Self {
        self.median = median(&mut self.amounts);
        self.amounts = Vec::new();
        self
    }
}

/// The median, by selection; the amounts are left in another order.
pub(crate) fn median(amounts: &mut [f64]) -> Option<f64> {
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

/// The cell whose rows are coming, and the cells before it.
#[derive(Debug, Default)]
pub(super) struct Piles {
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

    /// Adds what is known of a cell as a whole.
    fn add_totals(&mut self, cell: u64, totals: &TypeTotals) {
        let totals = totals.groups.iter().map(|(group, pile)| (cell, *group, pile.clone()));
        self.closed.extend(totals);
    }

    /// By group, of piles of one cell.
    pub(super) fn into_totals(mut self) -> Vec<(Option<u32>, Pile)> {
        self.close();
        let closed = self.closed.into_iter();
        closed.map(|(_, group, pile)| (group, pile.into_total())).collect()
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

/// Adds rows of a leaf. Those without coordinates are in no cell.
pub(super) fn add_rows(piles: &mut Piles, leaf: &RowLeaf, mask: &Mask, resolution: u8) {
    let mut room = [0; ROWS_MAX];
    leaf.each_price_run(mask.list(&mut room), |group, mut places, mut amounts| {
        while let Some((cell, rows)) = first_cell(leaf, places, resolution) {
            let (of_cell, behind) = amounts.split_at_checked(rows).unwrap_or_default();
            if let Some(cell) = cell {
                piles.add(cell, group, of_cell);
            }
            amounts = behind;
            places = places.get(rows..).unwrap_or_default();
        }
    });
}

impl IndexView {
    /// Answers a map view. Listings without coordinates are in no cell.
    ///
    /// Cells are taken as they are known as wholes where nothing but the listing type and areas is asked
    /// for; rows come in the order of their cells, so that those of one cell come one after the
    /// other, at whatever resolution.
    #[must_use]
    pub fn clusters(&self, query: &MapQuery) -> PartialClusters {
        let filter = Filter::new(self, &query.filters, query.bounds);
        let mut piles = Piles::default();
        let keeps = query.resolution <= KEPT_RESOLUTION_MAX && query.amounts != CellAmounts::All;
        if keeps && filter.is_plain() {
            self.add_cells(&filter, query, &mut piles);
        } else {
            let selection = self.select(filter);
            selection.for_each_leaf(|leaf, mask| {
                leaf.groups.fetch();
                leaf.amount.fetch();
                leaf.cells.fetch();
                add_rows(&mut piles, leaf, &mask, query.resolution);
            });
        }
        piles.close();
        PartialClusters { cells: self.cells_of(piles.closed, &query.amounts) }
    }

    fn add_cells(&self, filter: &Filter<'_>, query: &MapQuery, piles: &mut Piles) {
        let is_wanted = |zone: &Zone| filter.reach(zone, false) != Reach::None;
        let mut visits = self.visits(query.resolution, is_wanted);
        // The cells of two territories may be one.
        visits.sort_by_key(|visit| visit.cell);
        for same in visits.chunk_by(|one, next| one.cell.cell == next.cell.cell) {
            let needs_amounts =
                same.len() > 1 || same.iter().any(|it| query.amounts.has(it.cell.cell));
            for visit in same {
                let Some(totals) = visit.of_type(filter.listing_type) else { continue };
                let inside = match filter.relation(totals.lat, totals.lng) {
                    Relation::Outside => continue,
                    Relation::Inside => true,
                    Relation::Border => false,
                };
                if inside && !needs_amounts {
                    piles.add_totals(visit.cell.cell, totals);
                    continue;
                }
                self.each_leaf_of(visit.cell, |leaf, mut mask| {
                    filter.keep(leaf, inside, &mut mask);
                    add_rows(piles, leaf, &mask, query.resolution);
                });
            }
        }
    }

    /// The cells, each of which may have come in several runs: one per territory.
    fn cells_of(
        &self,
        piles: Vec<(u64, Option<u32>, Pile)>,
        wanted: &CellAmounts,
    ) -> Vec<PartialCell> {
        let shown = piles.into_iter().map(|(cell, group, pile)| PartialCell {
            cell,
            group: group.and_then(|code| self.groups.key(code).copied()),
            count: pile.count,
            sum_millionths: pile.sum_millionths,
            median: pile.median,
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
        for cell in &mut cells {
            cell.median = cell.median.or_else(|| median(&mut cell.amounts));
            if !wanted.has(cell.cell) {
                cell.amounts = Vec::new();
            }
        }
        cells
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::{
        index::ShardIndex,
        listing::Listing,
        query::{MapRequest, SearchRules},
    };

    fn listing(number: u32, (lat, lng, amount, kind): (u8, u8, u8, u8)) -> Listing {
        let (lat, lng) = (45.0 + f64::from(lat) * 0.01, 8.9 + f64::from(lng) * 0.01);
        let region = if kind % 4 == 0 { "piemonte" } else { "lombardia" };
        let status = if kind % 7 == 0 { "sold" } else { "active" };
        let place = match kind {
            0..20 => String::new(),
            _ => format!(r#","location":{{"lat":{lat},"lng":{lng}}}"#),
        };
        let price = match amount {
            0..20 => String::new(),
            _ => format!(
                r#","price":{{"amount":{amount},"currency":"{}"}}"#,
                ["EUR", "CHF"][usize::from(amount % 2)]
            ),
        };
        let json = format!(
            r#"{{"id":"l-{number}","listingType":"sale","status":"{status}","country":"IT","region":"{region}"{place}{price}}}"#
        );
        Listing::parse(json.as_bytes()).unwrap()
    }

    fn without_amounts(mut clusters: PartialClusters) -> PartialClusters {
        clusters.cells.iter_mut().for_each(|cell| cell.amounts = Vec::new());
        clusters
    }

    proptest! {
        #![proptest_config(ProptestConfig { cases: 12, ..ProptestConfig::default() })]

        /// Whether cells are known from before or not, in every version, also in older ones.
        #[test]
        fn cells_taken_whole_are_what_their_rows_say(
            rows in prop::collection::vec(any::<(u8, u8, u8, u8)>(), 1..3_000),
            changes in prop::collection::vec((any::<prop::sample::Index>(), any::<(u8, u8, u8, u8)>()), 60),
            (south, west, size) in (45.0..47.0, 8.9..11.0, 0.0..1.0),
        ) {
            let mut index = ShardIndex::default();
            for (number, row) in (0..).zip(&rows) {
                index.insert(&listing(number, *row).columns, false);
            }
            let mut versions = vec![index.view().clone()];
            for (nth, (at, row)) in changes.iter().enumerate() {
                let number = u32::try_from(at.index(rows.len())).unwrap();
                if row.3 % 5 == 0 {
                    index.remove(&format!("l-{number}"));
                } else {
                    index.insert(&listing(number, *row).columns, false);
                }
                if nth % 20 == 7 {
                    versions.push(index.view().clone());
                }
                for (resolution, is_bounded) in [(3, false), (5, nth % 2 == 0), (6, true), (7, nth % 3 == 0)] {
                    let bounds = if is_bounded {
                        let (north, east) = (south + size, west + size);
                        format!(
                            r#","bounds":{{"topLeft":{{"lat":{north},"lng":{west}}},"bottomRight":{{"lat":{south},"lng":{east}}}}}"#
                        )
                    } else {
                        String::new()
                    };
                    let body = format!(r#"{{"listingType":"sale","resolution":{resolution}{bounds}}}"#);
                    let request = MapRequest::from_json(body.as_bytes(), &SearchRules::default());
                    let known = request.unwrap().query;
                    let counted = MapQuery { amounts: CellAmounts::All, ..known.clone() };
                    let view = if nth % 4 == 1 { &versions[nth % versions.len()] } else { index.view() };
                    let expected = view.clusters(&counted);
                    let some = expected.cells.iter().step_by(3).map(|cell| cell.cell);
                    let some: std::collections::BTreeSet<u64> = some.collect();
                    let amounts = CellAmounts::Of(some.iter().copied().collect());
                    let with_some = view.clusters(&MapQuery { amounts, ..known.clone() });
                    for cell in &with_some.cells {
                        let wanted = some.contains(&cell.cell) && cell.group.is_some();
                        let count = if wanted { cell.count } else { 0 };
                        prop_assert_eq!(cell.amounts.len() as u64, count);
                    }
                    let expected = without_amounts(expected);
                    prop_assert_eq!(&without_amounts(with_some), &expected);
                    prop_assert_eq!(&view.clusters(&known), &expected);
                }
            }
        }
    }

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
