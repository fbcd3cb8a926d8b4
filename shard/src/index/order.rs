//! The best rows of an answer without sorting all of them.

use std::ops::Bound;

use super::{
    Row,
    columns::{ShardIndex, UNPUBLISHED},
    facets::PartialFacets,
    filter::Matches,
};
use crate::{
    geo::{LatLng, distance_km},
    query::{Query, Sort},
};

/// The sort key of rows that lack what is ordered by: behind every other.
const LACKS_IT: u64 = u64::MAX;

/// Below this many rows of one key, sorting their ids beats walking all ids in order.
const TIES_SORTED_MAX: usize = 2_048;

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
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct IndexHit {
    /// The row.
    pub row: Row,
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

impl ShardIndex {
    /// Answers a search.
    #[must_use]
    pub fn search(&self, query: &Query) -> IndexAnswer {
        let matches = self.matching(&query.filters);
        let center = query.reference();
        let best = self.best(query, &matches, center);
        let hit = |(key, row): (u64, Row)| IndexHit {
            row,
            key,
            distance_km: center.and_then(|center| Some(distance_km(center, self.location(row)?))),
        };
        IndexAnswer {
            hits: best.into_iter().map(hit).collect(),
            total: matches.rows.len() as u64,
            facets: self.count(query, &matches.rows),
        }
    }

    fn keyed(&self, query: &Query, matches: &Matches, center: Option<LatLng>) -> Vec<(u64, Row)> {
        let rows = &matches.rows;
        let amount = |row: Row| {
            self.amount.get(row as usize).copied().filter(|amount| !amount.is_nan()).map(ascending)
        };
        let keyed = |key: &dyn Fn(Row) -> Option<u64>| {
            rows.iter().map(|row| (key(*row).unwrap_or(LACKS_IT), *row)).collect()
        };
        match query.sort {
            Sort::Relevance => match &matches.words {
                Some(words) => keyed(&|row| Some(!words.score(row))),
                None => keyed(&|_| None),
            },
            Sort::PriceAsc => keyed(&amount),
            Sort::PriceDesc => keyed(&|row| amount(row).map(|key| !key)),
            Sort::Newest => keyed(&|row| {
                let at = *self.published_at_us.get(row as usize)?;
                // Flipping the sign bit orders signed numbers as unsigned ones.
                (at != UNPUBLISHED).then_some(!(at.cast_unsigned() ^ (1 << 63)))
            }),
            Sort::Distance => {
                keyed(&|row| Some(ascending(distance_km(center?, self.location(row)?))))
            }
        }
    }

    /// The first rows behind the cursor, one more than the page.
    fn best(&self, query: &Query, matches: &Matches, center: Option<LatLng>) -> Vec<(u64, Row)> {
        let wanted = query.limit as usize + 1;
        let keyed = self.keyed(query, matches, center);
        let Some(after) = &query.after else {
            return self.first(keyed, wanted);
        };
        let (mut tied, mut rest) = (Vec::new(), Vec::with_capacity(keyed.len()));
        for (key, row) in keyed {
            if key == after.key {
                tied.push(row);
            } else if key > after.key {
                rest.push((key, row));
            }
        }
        let mut best = self.first_ids(tied, after.key, Some(&after.id), wanted);
        best.extend(self.first(rest, wanted - best.len()));
        best
    }

    /// The first `wanted` by (key, id).
    fn first(&self, mut keyed: Vec<(u64, Row)>, wanted: usize) -> Vec<(u64, Row)> {
        let Some(&(any, _)) = keyed.first().filter(|_| wanted > 0) else {
            return Vec::new();
        };
        if keyed.len() <= wanted {
            self.sort(&mut keyed);
            return keyed;
        }
        if keyed.iter().all(|(key, _)| *key == any) {
            let tied = keyed.into_iter().map(|(_, row)| row).collect();
            return self.first_ids(tied, any, None, wanted);
        }
        let (_, (bound, _), _) = keyed.select_nth_unstable_by_key(wanted - 1, |(key, _)| *key);
        let bound = *bound;
        let mut best: Vec<_> = keyed.iter().copied().filter(|(key, _)| *key < bound).collect();
        self.sort(&mut best);
        let tied = keyed.iter().filter(|(key, _)| *key == bound).map(|(_, row)| *row).collect();
        best.extend(self.first_ids(tied, bound, None, wanted - best.len()));
        best
    }

    fn sort(&self, keyed: &mut [(u64, Row)]) {
        keyed.sort_unstable_by(|(key_a, a), (key_b, b)| {
            key_a.cmp(key_b).then_with(|| self.id(*a).cmp(&self.id(*b)))
        });
    }

    /// Of rows that all have `key`, the first `wanted` by id behind `after`.
    fn first_ids(
        &self,
        tied: Vec<Row>,
        key: u64,
        after: Option<&str>,
        wanted: usize,
    ) -> Vec<(u64, Row)> {
        let keyed = |row: Row| (key, row);
        if tied.len() <= TIES_SORTED_MAX {
            let behind =
                |row: &Row| after.is_none_or(|after| self.id(*row).is_some_and(|id| **id > *after));
            let mut rows: Vec<_> = tied.into_iter().filter(behind).map(keyed).collect();
            self.sort(&mut rows);
            rows.truncate(wanted);
            return rows;
        }
        let mut is_tied = vec![false; self.ids.len()];
        for row in tied {
            if let Some(slot) = is_tied.get_mut(row as usize) {
                *slot = true;
            }
        }
        let from = after.map_or(Bound::Unbounded, Bound::Excluded);
        self.by_id
            .range::<str, _>((from, Bound::Unbounded))
            .map(|(_, row)| *row)
            .filter(|row| is_tied.get(*row as usize).is_some_and(|tied| *tied))
            .take(wanted)
            .map(keyed)
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

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
