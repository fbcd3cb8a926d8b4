//! The first rows of an answer, without ordering all of them.
//!
//! Nodes are looked into in the order of the best key that any of their rows can have, until no node left
//! can hold a row that is good enough: the nearest rings first, the cheapest nodes first. Where all keys
//! are equal, ids alone decide, and the rows are either walked in the order of ids, or picked from those
//! that match, whichever costs less.

use std::{cmp::Reverse, collections::BinaryHeap};

use super::{
    Row,
    area::Reference,
    best::Best,
    column::Times,
    columns::IndexView,
    facets::PartialFacets,
    filter::Filter,
    leaf::RowLeaf,
    mask::Mask,
    select::{Item, Scores, Selection},
    tree::Node,
    zone::Zone,
};
use crate::{
    geo::distance_km,
    query::{Query, Sort},
};

/// The sort key of rows that lack what is ordered by: behind every other.
pub(super) const LACKS_IT: u64 = u64::MAX;

/// What one step along the ids costs, in rows that are picked from. On the real listings a step of a
/// page took 0.19 µs at most and a picked row 27 ns, which makes 7; steps miss more of the caches where
/// rows do not match.
const STEP_COST: u64 = 16;

/// What one shard's index answers.
#[derive(Debug, Clone, PartialEq)]
pub struct IndexAnswer {
    /// The best rows behind the cursor, one more than the page has if there are as many.
    pub hits: Vec<IndexHit>,
    /// All rows that match, wherever the page begins.
    pub total: u64,
    /// What was counted over all rows that match.
    pub facets: PartialFacets,
}

/// One row of an answer.
#[derive(Debug, Clone, PartialEq)]
pub struct IndexHit {
    /// The row.
    pub row: Row,
    /// The listing's id.
    pub id: Box<str>,
    /// What it was ordered by; less comes first.
    pub key: u64,
    /// Kilometres from [`Query::reference`], if there is one and the listing has coordinates.
    pub distance_km: Option<f64>,
}

/// Numbers as unsigned integers in the same order. −0 and 0 are one number; NaN does not occur.
pub(crate) fn ascending(number: f64) -> u64 {
    const SIGN: u64 = 1 << 63;
    let bits = (number + 0.0).to_bits();
    if bits & SIGN == 0 { bits | SIGN } else { !bits }
}

/// The number behind [`ascending`].
pub(crate) fn from_ascending(bits: u64) -> f64 {
    const SIGN: u64 = 1 << 63;
    f64::from_bits(if bits & SIGN == 0 { !bits } else { bits & !SIGN })
}

/// Later times come first.
fn latest_first(micros: i64) -> u64 {
    // Flipping the sign bit orders signed numbers as unsigned ones.
    if micros == Times::NONE { LACKS_IT } else { !(micros.cast_unsigned() ^ (1 << 63)) }
}

/// The order of a query.
struct Order<'a> {
    sort: Sort,
    listing_type: usize,
    reference: Option<&'a Reference>,
    scores: &'a Scores<'a>,
}

impl Order<'_> {
    /// The least key that a row within some bounds can have.
    fn least(&self, zone: &Zone) -> u64 {
        let amount = zone.amount.get(self.listing_type).filter(|span| !span.is_empty());
        match self.sort {
            Sort::Relevance if matches!(self.scores, Scores::None) => LACKS_IT,
            Sort::Relevance => 0,
            Sort::PriceAsc => amount.map_or(LACKS_IT, |span| ascending(span.min)),
            Sort::PriceDesc => amount.map_or(LACKS_IT, |span| !ascending(span.max)),
            Sort::Newest => {
                zone.published.get(self.listing_type).map_or(LACKS_IT, |it| latest_first(*it))
            }
            Sort::Distance => match &self.reference {
                Some(from) if !zone.lat.is_empty() => ascending(from.least_km(zone.lat, zone.lng)),
                _ => LACKS_IT,
            },
        }
    }

    /// Takes the rows of a leaf into account.
    fn note<'a>(&self, leaf: &'a RowLeaf, mask: &Mask, best: &mut Best<'a, '_>) {
        let number = |number: f64| if number.is_nan() { LACKS_IT } else { ascending(number) };
        match self.sort {
            Sort::Relevance => mask.places().for_each(|at| {
                let row = leaf.rows.get(at).copied().unwrap_or_default();
                best.note(self.scores.of(row).map_or(LACKS_IT, |score| !score), leaf, at);
            }),
            Sort::PriceAsc => {
                mask.places().for_each(|at| best.note(number(leaf.amount.get(at)), leaf, at));
            }
            Sort::PriceDesc => mask.places().for_each(|at| {
                let amount = leaf.amount.get(at);
                best.note(if amount.is_nan() { LACKS_IT } else { !ascending(amount) }, leaf, at);
            }),
            Sort::Newest => mask
                .places()
                .for_each(|at| best.note(latest_first(leaf.published.get(at)), leaf, at)),
            Sort::Distance => self.note_distances(leaf, mask, best),
        }
    }

    fn note_distances<'a>(&self, leaf: &'a RowLeaf, mask: &Mask, best: &mut Best<'a, '_>) {
        for at in mask.places() {
            let (Some(from), Some(place)) = (&self.reference, leaf.location(at)) else {
                best.note(LACKS_IT, leaf, at);
                continue;
            };
            // Most are ruled out by a bound that costs less than the distance.
            match from.at_least_km(place) {
                Some(least) => best.note_near(least, leaf, at),
                None => best.note(ascending(from.distance_km(place)), leaf, at),
            }
        }
    }
}

/// Something to look into, the most promising first.
struct Promise<'a> {
    least: u64,
    number: usize,
    item: Item<'a>,
}

impl PartialEq for Promise<'_> {
    fn eq(&self, other: &Self) -> bool {
        (self.least, self.number) == (other.least, other.number)
    }
}

impl Eq for Promise<'_> {}

impl PartialOrd for Promise<'_> {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Promise<'_> {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        (self.least, self.number).cmp(&(other.least, other.number))
    }
}

impl IndexView {
    /// Answers a search.
    #[must_use]
    pub fn search(&self, query: &Query) -> IndexAnswer {
        let selection = self.select(Filter::new(self, &query.filters, None));
        let reference = query.reference();
        let hit = |(key, leaf, place): (u64, &RowLeaf, usize)| IndexHit {
            row: leaf.rows.get(place).copied().unwrap_or_default(),
            id: leaf.id(place).into(),
            key,
            distance_km: reference.and_then(|from| Some(distance_km(from, leaf.location(place)?))),
        };
        IndexAnswer {
            hits: self.page(query, &selection).into_iter().map(hit).collect(),
            total: selection.total,
            facets: self.count(query, &selection),
        }
    }

    /// The first rows behind the cursor, one more than the page.
    fn page<'a>(
        &'a self,
        query: &Query,
        selection: &Selection<'a>,
    ) -> Vec<(u64, &'a RowLeaf, usize)> {
        let reference = query.reference().map(Reference::new);
        let order = Order {
            sort: query.sort,
            listing_type: usize::from(selection.listing_type),
            reference: reference.as_ref(),
            scores: &selection.scores,
        };
        let wanted = query.limit as usize + 1;
        if selection.total == 0 {
            return Vec::new();
        }
        if self.goes_by_ids(&order, selection, wanted)
            && let Some(page) = self.page_by_ids(query, selection, wanted)
        {
            return page;
        }
        let mut best = Best::new(wanted, query.after.as_ref(), self.ids.common_prefix());
        best.reference = reference.as_ref();
        look_into(&order, selection, &mut best);
        best.finish()
    }

    /// Whether all keys are equal, and rows that match so frequent that walking the ids finds a page
    /// sooner than picking it from all of them.
    fn goes_by_ids(&self, order: &Order<'_>, selection: &Selection<'_>, wanted: usize) -> bool {
        let found = self.found_as(selection.listing_type);
        let steps = (wanted as u64).saturating_mul(found) / selection.total.max(1);
        if steps.saturating_mul(STEP_COST) > selection.total {
            return false;
        }
        let all_equal = |item: &Item<'_>| match item {
            Item::Whole { zone, .. } | Item::Rows { zone: Some(zone), .. } => {
                order.least(zone) == LACKS_IT
            }
            Item::Rows { zone: None, .. } => false,
        };
        selection.items.iter().all(all_equal)
    }

    /// The rows that searches for a listing type find without any other filter.
    fn found_as(&self, listing_type: u8) -> u64 {
        match self.rows.root() {
            Node::Leaf(leaf) => leaf.of_type(listing_type).count() as u64,
            Node::Inner(inner) => {
                inner.tally.of(usize::from(listing_type)).map_or(0, |tally| tally.count.into())
            }
        }
    }

    /// The first rows in the order of ids, where all have the key of those that lack one. `None` if
    /// they do not come within twice the steps that picking them costs: ids often begin with a place,
    /// and rows that match are then not spread evenly among them.
    fn page_by_ids<'a>(
        &'a self,
        query: &Query,
        selection: &Selection<'a>,
        wanted: usize,
    ) -> Option<Vec<(u64, &'a RowLeaf, usize)>> {
        let mut steps_left = 2 * selection.total / STEP_COST;
        let filter = Filter::new(self, &query.filters, None);
        // A cursor with another key is of a time when rows had one: no row is behind it but all are.
        let after = query.after.as_ref().filter(|after| after.key == LACKS_IT);
        let mut page = Vec::with_capacity(wanted);
        let after = after.map(|after| after.id.as_str());
        for row in self.ids.found_after(after, selection.listing_type) {
            steps_left = steps_left.checked_sub(1)?;
            let Some((leaf, place)) = self.located(row) else {
                continue;
            };
            let mut mask = Mask::only(place);
            filter.keep(leaf, false, &mut mask);
            if !mask.is_empty() && selection.scores.of(row) != Some(0) {
                page.push((LACKS_IT, leaf, place));
                if page.len() == wanted {
                    break;
                }
            }
        }
        Some(page)
    }
}

/// Finds the best rows of a selection.
fn look_into<'a>(order: &Order<'_>, selection: &Selection<'a>, best: &mut Best<'a, '_>) {
    let listing_type = selection.listing_type;
    let mut promises = BinaryHeap::with_capacity(selection.items.len());
    let mut number = 0;
    for item in &selection.items {
        let least = match item {
            Item::Whole { zone, .. } | Item::Rows { zone: Some(zone), .. } => order.least(zone),
            Item::Rows { zone: None, .. } => 0,
        };
        promises.push(Reverse(Promise { least, number, item: *item }));
        number += 1;
    }
    while let Some(Reverse(promise)) = promises.pop() {
        if promise.least > best.key_max() {
            return;
        }
        match promise.item {
            Item::Rows { leaf, mask, .. } => order.note(leaf, &mask, best),
            Item::Whole { node: Node::Leaf(leaf), .. } => {
                order.note(leaf, &leaf.of_type(listing_type), best);
            }
            Item::Whole { node: Node::Inner(inner), .. } => {
                let found = |child: &&super::tree::Child<RowLeaf>| {
                    child.zone.count(usize::from(listing_type)) > 0
                };
                for child in inner.children.iter().filter(found) {
                    let least = order.least(&child.zone);
                    if least <= best.key_max() {
                        let item = Item::Whole { node: &child.node, zone: &child.zone };
                        promises.push(Reverse(Promise { least, number, item }));
                        number += 1;
                    }
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_page_in_the_order_of_ids_is_found_wherever_its_ids_stand() {
        let mut index = crate::index::ShardIndex::default();
        for number in 0..6_000 {
            let (prefix, kind) = if number % 2 == 0 { ("a", "rent") } else { ("b", "sale") };
            let json = format!(
                r#"{{"id":"{prefix}-{number:04}","listingType":"{kind}","status":"active","country":"IT","region":"lazio"}}"#
            );
            let listing = crate::listing::Listing::parse(json.as_bytes()).unwrap();
            index.insert(&listing.columns, false);
        }
        for (kind, prefix, first) in [("rent", "a", 0), ("sale", "b", 1)] {
            let body = format!(r#"{{"listingType":"{kind}","limit":5}}"#);
            let rules = crate::query::SearchRules::default();
            let request = crate::query::SearchRequest::from_json(body.as_bytes(), &rules).unwrap();
            let answer = index.view().search(&request.query);
            let ids: Vec<_> = answer.hits.iter().map(|hit| hit.id.to_string()).collect();
            let wanted: Vec<_> =
                (0..6).map(|nth| format!("{prefix}-{:04}", first + 2 * nth)).collect();
            assert_eq!(ids, wanted);
        }
    }

    #[test]
    fn numbers_keep_their_order_and_come_back() {
        let numbers = [f64::MIN, -2.5, -0.0, 1e-300, 1.0, 2.25, 1e15, f64::MAX];
        for pair in numbers.windows(2) {
            assert!(ascending(pair[0]) < ascending(pair[1]), "{pair:?}");
        }
        for number in numbers {
            assert_eq!(from_ascending(ascending(number)), number);
            assert!(!ascending(number) < LACKS_IT && ascending(number) < LACKS_IT);
        }
        assert_eq!(ascending(0.0), ascending(-0.0));
    }
}
