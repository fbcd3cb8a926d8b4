//! Counting the rows of a selection: tallies of whole subtrees, columns of the other rows.

use std::sync::Arc;

use super::{
    columns::IndexView,
    dictionary::Dictionary,
    facets::{PartialFacets, PartialPrices, PriceTally, ValueCounts},
    filter::Filter,
    leaf::RowLeaf,
    mask::{Mask, ROWS_MAX},
    order::ascending,
    select::{Item, Selection, below},
    tally::{Amounts, KEPT_BOUNDS, PROPERTIES, TypeTally, bedrooms_key},
    tree::Node,
};
use crate::{
    listing::{PropertyType, Word as _},
    query::{FacetMode, FacetName, Filters, Query},
};

/// Which facets are counted together.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Asked {
    properties: bool,
    bedrooms: bool,
    neighborhoods: bool,
    energy: bool,
    prices: bool,
}

impl Asked {
    fn new(facets: &[FacetName]) -> Self {
        let has = |name| facets.contains(&name);
        Self {
            properties: has(FacetName::PropertyTypes),
            bedrooms: has(FacetName::Bedrooms),
            neighborhoods: has(FacetName::Neighborhoods),
            energy: has(FacetName::EnergyRatings),
            prices: has(FacetName::PriceStats) || has(FacetName::PriceRanges),
        }
    }
}

/// Numbers of bedrooms that are counted by place, from 0.
const FEW_BEDROOMS: usize = 16;

/// With so many rows of a leaf to count, most lines of its columns are needed.
const FETCHED_FROM: usize = 16;

/// Counts by code, one more than the code; 0 = none.
type ByCode = Vec<u32>;

/// What was counted so far.
#[derive(Debug)]
struct Counts<'q> {
    asked: Asked,
    /// The bounds of the price ranges, if they are not those of the tallies.
    other_bounds: Option<&'q [f64]>,
    properties: [u32; PROPERTIES],
    /// Rows with 0, 1, ... bedrooms that were not counted in `bedrooms`.
    few_bedrooms: [u32; FEW_BEDROOMS],
    bedrooms: Vec<(u64, u32)>,
    no_bedrooms: u32,
    neighborhoods: ByCode,
    energy: ByCode,
    /// By code of the price group.
    prices: Vec<Amounts>,
    /// Per price group, for other bounds.
    other_ranges: Vec<Vec<u64>>,
    no_price: u32,
}

fn add_at(counts: &mut ByCode, at: usize, by: u32) {
    if counts.len() <= at {
        counts.resize(at + 1, 0);
    }
    if let Some(count) = counts.get_mut(at) {
        *count += by;
    }
}

/// Adds the counts of a tally, and what is left of `all` to those without.
fn add_pairs(counts: &mut ByCode, pairs: &[(u32, u32)], all: u32) {
    let mut with = 0;
    for (code, by) in pairs {
        add_at(counts, *code as usize + 1, *by);
        with += by;
    }
    add_at(counts, 0, all.saturating_sub(with));
}

impl<'q> Counts<'q> {
    fn new(asked: Asked, bounds: &'q [f64]) -> Self {
        Self {
            asked,
            other_bounds: (bounds != KEPT_BOUNDS).then_some(bounds),
            properties: [0; PROPERTIES],
            few_bedrooms: [0; FEW_BEDROOMS],
            bedrooms: Vec::new(),
            no_bedrooms: 0,
            neighborhoods: Vec::new(),
            energy: Vec::new(),
            prices: Vec::new(),
            other_ranges: Vec::new(),
            no_price: 0,
        }
    }

    fn add(&mut self, selection: &Selection<'_>) {
        for item in &selection.items {
            match item {
                Item::Rows { leaf, mask, .. } => self.add_rows(leaf, *mask, false),
                Item::Whole { node, .. } => self.add_whole(node, selection.listing_type),
            }
        }
    }

    /// Takes a subtree by its tally; ranges with other bounds have none.
    fn add_whole(&mut self, node: &Node<RowLeaf>, listing_type: u8) {
        let tally = match node {
            Node::Inner(inner) => inner.tally.of(usize::from(listing_type)),
            Node::Leaf(_) => None,
        };
        let Some(tally) = tally else {
            return below(node, listing_type, &mut |leaf, mask| self.add_rows(leaf, mask, false));
        };
        self.add_tally(tally);
        if self.asked.prices && self.other_bounds.is_some() {
            below(node, listing_type, &mut |leaf, mask| self.add_rows(leaf, mask, true));
        }
    }

    fn add_tally(&mut self, tally: &TypeTally) {
        for (count, more) in self.properties.iter_mut().zip(tally.properties) {
            *count += more;
        }
        if self.asked.bedrooms {
            let mut with = 0;
            for (key, by) in &tally.bedrooms {
                self.add_bedrooms(*key, *by);
                with += by;
            }
            self.no_bedrooms += tally.count.saturating_sub(with);
        }
        if self.asked.neighborhoods {
            add_pairs(&mut self.neighborhoods, &tally.neighborhoods, tally.count);
        }
        if self.asked.energy {
            add_pairs(&mut self.energy, &tally.energy, tally.count);
        }
        if self.asked.prices {
            let mut with = 0;
            for (group, amounts) in &tally.prices {
                self.add_amounts(*group, amounts);
                with += amounts.count;
            }
            self.no_price += tally.count.saturating_sub(with);
        }
    }

    fn add_amounts(&mut self, group: u32, amounts: &Amounts) {
        let at = group as usize;
        if self.prices.len() <= at {
            self.prices.resize(at + 1, Amounts::default());
        }
        if let Some(sum) = self.prices.get_mut(at) {
            sum.add(amounts);
        }
    }

    fn add_bedrooms(&mut self, key: u64, by: u32) {
        match self.bedrooms.iter_mut().find(|(it, _)| *it == key) {
            Some((_, count)) => *count += by,
            None => self.bedrooms.push((key, by)),
        }
    }

    /// Fetches the columns that are counted.
    fn fetch(&self, leaf: &RowLeaf) {
        if self.asked.bedrooms {
            leaf.bedrooms.fetch();
        }
        if self.asked.neighborhoods {
            leaf.neighborhoods.fetch();
        }
        if self.asked.energy {
            leaf.energy.fetch();
        }
        if self.asked.prices {
            leaf.groups.fetch();
            leaf.amount.fetch();
        }
    }

    fn note_bedrooms(&mut self, number: f64) {
        #[expect(clippy::cast_possible_truncation, reason = "the cast saturates, then is undone")]
        #[expect(clippy::cast_sign_loss, reason = "likewise")]
        let whole = number as u8;
        match self.few_bedrooms.get_mut(usize::from(whole)) {
            Some(count) if f64::from(whole) == number => *count += 1,
            _ => match bedrooms_key(number) {
                Some(key) => self.add_bedrooms(key, 1),
                None => self.no_bedrooms += 1,
            },
        }
    }

    /// Counts rows of a leaf; `ranges_only` those of other bounds, since a tally said the rest.
    fn add_rows(&mut self, leaf: &RowLeaf, mask: Mask, ranges_only: bool) {
        let mut room = [0; ROWS_MAX];
        let places = mask.list(&mut room);
        if self.asked.prices && self.other_bounds.is_some() {
            self.add_other_ranges(leaf, places);
        }
        if ranges_only {
            return;
        }
        if places.len() >= FETCHED_FROM {
            self.fetch(leaf);
        }
        if self.asked.properties {
            leaf.each_property(&mask, |number| {
                if let Some(count) = self.properties.get_mut(usize::from(number)) {
                    *count += 1;
                }
            });
        }
        if self.asked.bedrooms {
            leaf.bedrooms.each(places, |number| self.note_bedrooms(number));
        }
        if self.asked.neighborhoods {
            leaf.neighborhoods.count(places, &mut self.neighborhoods);
        }
        if self.asked.energy {
            leaf.energy.count(places, &mut self.energy);
        }
        if self.asked.prices {
            self.add_prices(leaf, places);
        }
    }

    fn add_prices(&mut self, leaf: &RowLeaf, places: &[u16]) {
        // Runs of one group are summed before they are added: most leaves have but one.
        leaf.each_price_run(places, |group, _, amounts| match group {
            None => self.no_price += u32::try_from(amounts.len()).unwrap_or(u32::MAX),
            Some(group) => {
                let mut sum = Amounts::default();
                amounts.iter().for_each(|amount| sum.note(*amount));
                self.add_amounts(group, &sum);
            }
        });
    }

    fn add_other_ranges(&mut self, leaf: &RowLeaf, places: &[u16]) {
        let bounds = self.other_bounds.unwrap_or_default();
        for at in places {
            let Some(group) = leaf.groups.get(usize::from(*at)) else {
                continue;
            };
            let group = group as usize;
            if self.other_ranges.len() <= group {
                self.other_ranges.resize_with(group + 1, || vec![0; bounds.len() + 1]);
            }
            let amount = leaf.amount.get(usize::from(*at));
            let range = bounds.partition_point(|bound| *bound <= amount);
            if let Some(count) = self.other_ranges.get_mut(group).and_then(|it| it.get_mut(range)) {
                *count += 1;
            }
        }
    }

    /// The facets by value.
    fn finish(mut self, view: &IndexView) -> PartialFacets {
        let asked = self.asked;
        for (number, by) in (0_u8..).zip(self.few_bedrooms).filter(|(_, by)| *by > 0) {
            self.add_bedrooms(ascending(number.into()), by);
        }
        PartialFacets {
            property_types: asked.properties.then(|| property_counts(&self.properties)),
            bedrooms: asked.bedrooms.then(|| {
                let mut counts: Vec<_> =
                    self.bedrooms.iter().map(|(key, count)| (*key, u64::from(*count))).collect();
                counts.sort_unstable();
                ValueCounts { counts, missing: self.no_bedrooms.into() }
            }),
            neighborhoods: asked
                .neighborhoods
                .then(|| text_counts(&self.neighborhoods, &view.neighborhoods)),
            energy_ratings: asked.energy.then(|| text_counts(&self.energy, &view.energy)),
            prices: asked.prices.then(|| self.price_counts(view)),
        }
    }

    fn price_counts(&self, view: &IndexView) -> PartialPrices {
        let found = self.prices.iter().enumerate().filter(|(_, amounts)| amounts.count > 0);
        let mut groups: Vec<_> = found
            .filter_map(|(code, amounts)| {
                let group = *view.groups.key(u32::try_from(code).ok()?)?;
                let ranges = match self.other_bounds {
                    None => amounts.ranges.iter().map(|count| u64::from(*count)).collect(),
                    Some(_) => self.other_ranges.get(code)?.clone(),
                };
                let tally = PriceTally {
                    count: amounts.count.into(),
                    min: amounts.min,
                    max: amounts.max,
                    sum_millionths: amounts.sum_millionths,
                    ranges,
                };
                Some((group, tally))
            })
            .collect();
        groups.sort_unstable_by_key(|(group, _)| *group);
        PartialPrices { groups, missing: self.no_price.into() }
    }
}

fn property_counts(counts: &[u32; PROPERTIES]) -> ValueCounts<PropertyType> {
    let [missing, counts @ ..] = counts;
    let mut counts: Vec<_> = PropertyType::ALL
        .iter()
        .zip(counts)
        .filter(|(_, count)| **count > 0)
        .map(|(it, count)| (*it, u64::from(*count)))
        .collect();
    counts.sort_unstable();
    ValueCounts { counts, missing: (*missing).into() }
}

/// Counts by text, ascending: the dictionary is.
fn text_counts(counts: &[u32], texts: &Dictionary<Arc<str>>) -> ValueCounts<Arc<str>> {
    let found = texts.iter().filter_map(|(text, code)| {
        let count = *counts.get(code as usize + 1)?;
        (count > 0).then(|| (Arc::clone(text), u64::from(count)))
    });
    let missing = counts.first().copied().unwrap_or_default();
    ValueCounts { counts: found.collect(), missing: missing.into() }
}

impl IndexView {
    /// The facets that a query asks for, over what was selected.
    pub(super) fn count(&self, query: &Query, selection: &Selection<'_>) -> PartialFacets {
        let count = |facets: &[FacetName], selection: &Selection<'_>| {
            let mut counts = Counts::new(Asked::new(facets), &query.price_bounds);
            counts.add(selection);
            counts.finish(self)
        };
        if query.facets.is_empty() {
            return PartialFacets::default();
        }
        if query.facet_mode == FacetMode::All {
            return count(&query.facets, selection);
        }
        // Facets without a filter of their own share the selection at hand; those with the same one, too.
        let mut facets = PartialFacets::default();
        let mut others: Vec<(Filters, Vec<FacetName>)> = Vec::new();
        let mut together = Vec::new();
        for name in &query.facets {
            let filters = query.filters.without_own(*name);
            if filters == query.filters {
                together.push(*name);
            } else if let Some((_, names)) = others.iter_mut().find(|(it, _)| *it == filters) {
                names.push(*name);
            } else {
                others.push((filters, vec![*name]));
            }
        }
        facets.add(count(&together, selection));
        for (filters, names) in others {
            facets.add(count(&names, &self.select(Filter::new(self, &filters, None))));
        }
        facets
    }
}
