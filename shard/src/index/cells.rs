//! What the cells of maps hold, kept from one map view to the next.
//!
//! A view of a whole country counts every listing, and an exact median needs every amount. But leaves
//! are never changed, only replaced: as long as the leaves that a cell's rows lie in are the same ones,
//! so is what the cell holds. A view then goes from cell to cell, and looks at rows only where leaves are
//! new since somebody asked last, and along the borders of its area.

use std::{
    collections::BTreeMap,
    sync::{Arc, PoisonError, RwLock, Weak},
};

use super::{
    clusters::{Pile, Piles, add_rows},
    columns::IndexView,
    leaf::{RowKey, RowLeaf},
    mask::Mask,
    shared::ARC_BYTES,
    zone::{Span, TYPES, Zone},
};
use crate::cell::Cell;

/// The finest resolution whose cells are kept: finer ones hold too few rows to be worth it.
pub(super) const KEPT_RESOLUTION_MAX: u8 = 7;
/// Cells that are kept at most; with more of them, all are forgotten.
const KEPT_MAX: usize = 16_384;

/// A cell of a map in one territory.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) struct MapCell {
    /// The H3 index, at the resolution of the map.
    pub(super) cell: u64,
    /// The territory's code.
    pub(super) territory: u32,
}

impl MapCell {
    /// The bounds of its rows.
    pub(super) const fn keys(self) -> (RowKey, RowKey) {
        let (first, last) = Cell::from_known(self.cell).listing_cells();
        let territory = self.territory;
        (RowKey { territory, cell: first, row: 0 }, RowKey { territory, cell: last, row: u32::MAX })
    }
}

/// What a cell holds.
#[derive(Debug)]
pub(super) struct CellTotals {
    /// The leaves that its rows lie in. They are not kept alive; their addresses are not given to
    /// others.
    leaves: Vec<Weak<RowLeaf>>,
    /// The key behind the cell in the last of the leaves.
    next: Option<RowKey>,
    types: [TypeTotals; TYPES],
}

/// The rows of a listing type that searches find in a cell.
#[derive(Debug, Default)]
pub(super) struct TypeTotals {
    /// Where they are.
    pub(super) lat: Span,
    pub(super) lng: Span,
    /// By the code of the price group, with the median known.
    pub(super) groups: Vec<(Option<u32>, Pile)>,
}

/// The cells of one shard that were asked for.
#[derive(Debug, Default)]
pub(super) struct CellMemo {
    kept: RwLock<BTreeMap<MapCell, Arc<CellTotals>>>,
}

impl CellMemo {
    /// What a cell holds, if that is known and it still lies in these leaves.
    fn get(&self, cell: MapCell, leaves: &[&Arc<RowLeaf>]) -> Option<Arc<CellTotals>> {
        let kept = self.kept.read().unwrap_or_else(PoisonError::into_inner);
        let totals = kept.get(&cell)?;
        let same = |(kept, leaf): (&Weak<RowLeaf>, &&Arc<RowLeaf>)| {
            std::ptr::eq(kept.as_ptr(), Arc::as_ptr(leaf))
        };
        let all = totals.leaves.len() == leaves.len() && totals.leaves.iter().zip(leaves).all(same);
        all.then(|| Arc::clone(totals))
    }

    fn keep(&self, cells: Vec<(MapCell, Arc<CellTotals>)>) {
        if cells.is_empty() {
            return;
        }
        let mut kept = self.kept.write().unwrap_or_else(PoisonError::into_inner);
        if kept.len() + cells.len() > KEPT_MAX {
            kept.clear();
        }
        kept.extend(cells.into_iter().take(KEPT_MAX));
    }

    /// Bytes of memory, about.
    pub(super) fn bytes(&self) -> usize {
        let kept = self.kept.read().unwrap_or_else(PoisonError::into_inner);
        let of_cell = |totals: &Arc<CellTotals>| {
            let groups: usize = totals.types.iter().map(|it| it.groups.len()).sum();
            ARC_BYTES
                + size_of::<CellTotals>()
                + totals.leaves.len() * size_of::<Weak<RowLeaf>>()
                + groups * size_of::<(Option<u32>, Pile)>()
        };
        kept.values().map(of_cell).sum::<usize>() + kept.len() * size_of::<(MapCell, usize)>()
    }
}

/// A cell that a map view comes through.
#[derive(Debug)]
pub(super) struct Visit {
    pub(super) cell: MapCell,
    pub(super) totals: Arc<CellTotals>,
}

impl Visit {
    /// Its rows of a listing type.
    pub(super) fn of_type(&self, listing_type: u8) -> Option<&TypeTotals> {
        self.totals.types.get(usize::from(listing_type)).filter(|it| !it.groups.is_empty())
    }
}

impl IndexView {
    /// The cells of a resolution below wanted nodes, in the order of keys, and perhaps others.
    pub(super) fn visits(&self, resolution: u8, is_wanted: impl Fn(&Zone) -> bool) -> Vec<Visit> {
        let (mut visits, mut new) = (Vec::new(), Vec::new());
        let mut from = self.existing(&RowKey::default());
        while let Some(key) = from.and_then(|key| self.rows.wanted(&key, &is_wanted)) {
            if key.cell == 0 {
                // Listings without coordinates come first in their territory.
                from = self.existing(&RowKey { cell: 1, row: 0, ..key });
                continue;
            }
            let cell = Cell::from_known(key.cell).ancestor(resolution).raw();
            let cell = MapCell { cell, territory: key.territory };
            let (first, last) = cell.keys();
            let (leaves, behind) = self.rows.run(&first, &last);
            let totals = self.cells.get(cell, &leaves).unwrap_or_else(|| {
                let totals = Arc::new(totals_of(cell, &leaves));
                new.push((cell, Arc::clone(&totals)));
                totals
            });
            from = totals.next.or_else(|| behind.copied());
            visits.push(Visit { cell, totals });
        }
        self.cells.keep(new);
        visits
    }

    /// The first key from `key` on that a row has.
    fn existing(&self, key: &RowKey) -> Option<RowKey> {
        let mut leaves = self.rows.leaves(Some(key), |_| true);
        let leaf = leaves.next()?;
        let at = leaf.search(key).unwrap_or_else(|at| at);
        leaf.key(at).or_else(|| leaves.next()?.key(0))
    }

    /// The rows of a cell, leaf by leaf.
    pub(super) fn each_leaf_of<'a>(
        &'a self,
        cell: MapCell,
        mut visit: impl FnMut(&'a RowLeaf, Mask),
    ) {
        let (first, last) = cell.keys();
        for leaf in self.rows.run(&first, &last).0 {
            visit(leaf, rows_within(leaf, &first, &last));
        }
    }
}

fn rows_within(leaf: &RowLeaf, first: &RowKey, last: &RowKey) -> Mask {
    let place = |key| leaf.search(key).unwrap_or_else(|at| at);
    let mut mask = Mask::first(place(last));
    mask.leave_out(&Mask::first(place(first)));
    mask
}

fn totals_of(cell: MapCell, leaves: &[&Arc<RowLeaf>]) -> CellTotals {
    let (first, last) = cell.keys();
    let mut piles: [Piles; TYPES] = Default::default();
    let mut types: [TypeTotals; TYPES] = Default::default();
    let resolution = Cell::from_known(cell.cell).resolution();
    for leaf in leaves {
        let rows = rows_within(leaf, &first, &last);
        for (number, (piles, totals)) in (0_u8..).zip(piles.iter_mut().zip(&mut types)) {
            let mut of_type = rows;
            leaf.keep_type(number, &mut of_type);
            for at in of_type.places() {
                totals.lat.add(leaf.lat.get(at));
                totals.lng.add(leaf.lng.get(at));
            }
            add_rows(piles, leaf, &of_type, resolution);
        }
    }
    for (piles, totals) in piles.into_iter().zip(&mut types) {
        totals.groups = piles.into_totals();
    }
    let next = leaves.last().and_then(|leaf| {
        leaf.key(leaf.search(&last).unwrap_or_else(|at| at)).filter(|key| *key > last)
    });
    CellTotals { leaves: leaves.iter().map(|leaf| Arc::downgrade(leaf)).collect(), next, types }
}
