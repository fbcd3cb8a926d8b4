//! Cutting the rows of a key range out of an index, for a split, and taking those of another one in, for a
//! merge.

use std::collections::BTreeMap;

use super::{
    Row,
    columns::{IndexView, ShardIndex},
    dictionary::Dictionary,
    leaf::{AMENITY_BITS, RowKey, Values},
};
use crate::{
    key::{KeyRange, ShardKey, Space},
    placement::Places,
};

impl ShardIndex {
    /// Moves the rows of a key range into an index of their own. Answers it, and every row's number
    /// before and after, in the order of keys.
    ///
    /// Costs one removal and one insertion a row, whatever else the index holds; no document is read.
    /// Views that were taken before stay as they are.
    #[must_use = "the rows are nowhere else"]
    pub fn cut(&mut self, range: &KeyRange) -> (Self, Vec<(Row, Row)>) {
        let mut part = Self::default();
        let rows = self.view().rows_of(range);
        let moved = rows.into_iter().filter_map(|row| Some((row, self.move_row(row, &mut part)?)));
        let moved = moved.collect();
        (part, moved)
    }

    fn move_row(&mut self, row: Row, to: &mut Self) -> Option<Row> {
        let from = self.view();
        let id = from.id(row)?.to_owned();
        let number = to.copy_row(from, row)?;
        self.remove(&id);
        Some(number)
    }

    /// Takes in a row of another index, whose id has none here. Answers its number here.
    pub(crate) fn copy_row(&mut self, from: &IndexView, row: Row) -> Option<Row> {
        let key = from.key(row)?;
        let values = from.located(row).map(|(leaf, at)| leaf.values(at))?;
        let id = values.id.clone();
        let territory = from.territories.key(key.territory)?.clone();
        let values = self.adopt(from, values);
        let number = self.number(&id, values.kind);
        self.put(number, &territory, key.cell, values);
        self.copy_words(number, from, row);
        Some(number)
    }

    /// The values of another index's row under the codes of this one.
    fn adopt(&mut self, from: &IndexView, mut values: Values) -> Values {
        let group = values.group.and_then(|code| from.groups.key(code)).copied();
        values.group = group.map(|group| self.take_group(&group));
        let text = |dictionary: &Dictionary<_>, code: Option<u32>| {
            code.and_then(|code| dictionary.key(code).cloned())
        };
        values.energy = text(&from.energy, values.energy).map(|it| self.take_energy(&it));
        values.city = text(&from.cities, values.city).map(|it| self.take_city(&it));
        let neighborhood = text(&from.neighborhoods, values.neighborhood);
        values.neighborhood = neighborhood.map(|it| self.take_neighborhood(&it));
        let bits = (0..AMENITY_BITS).filter(|code| values.amenities >> code & 1 == 1);
        let codes = bits.chain(values.more_amenities.iter().copied());
        let amenities: Vec<_> =
            codes.filter_map(|code| from.amenities.key(code)).cloned().collect();
        (values.amenities, values.more_amenities) = self.take_amenities(&amenities);
        values
    }
}

impl IndexView {
    /// The cells of all rows.
    pub(crate) fn points(&self) -> Places {
        let mut by_code: BTreeMap<u32, Vec<u64>> = BTreeMap::new();
        for key in self.rows.leaves(None, |_| true).flat_map(|leaf| leaf.keys()) {
            by_code.entry(key.territory).or_default().push(key.cell);
        }
        let named = by_code.into_iter();
        named
            .filter_map(|(code, cells)| Some((Some(self.territories.key(code)?.clone()), cells)))
            .collect()
    }

    /// The rows of a key range, in the order of keys.
    fn rows_of(&self, range: &KeyRange) -> Vec<Row> {
        let mut rows = Vec::new();
        for (territory, code) in self.territories.iter() {
            let bound = |point| ShardKey::new(Space::Listings, territory, point);
            let lowest = bound(0);
            let start = match range.contains(&lowest) {
                true => 0,
                // The range may begin within the territory.
                false if range.start.territory().as_ref() == Some(territory) => range.start.point,
                false => continue,
            };
            let first = RowKey { territory: code, cell: start, row: 0 };
            let keys = self.rows.leaves(Some(&first), |_| true).flat_map(|leaf| leaf.keys());
            let inside = keys
                .skip_while(|key| *key < first)
                .take_while(|key| key.territory == code && range.contains(&bound(key.cell)));
            rows.extend(inside.map(|key| key.row));
        }
        rows
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::{
        listing::Listing,
        query::{SearchRequest, SearchRules},
    };

    fn listing(number: usize) -> Listing {
        let (country, region) =
            [("IT", "lazio"), ("IT", "lombardia"), ("ES", "madrid")][number % 3];
        let place = match number % 11 {
            0 => String::new(),
            _ => {
                let lat = 41.0 + (number % 17) as f64 * 0.05;
                let lng = 9.0 + (number % 23) as f64 * 0.05;
                format!(r#""location":{{"lat":{lat},"lng":{lng}}},"#)
            }
        };
        let json = format!(
            r#"{{"id":"l-{number}","listingType":"sale","status":"{}","country":"{country}","region":"{region}",{place}
            "city":"City {}","neighborhood":"Area {}","title":"Loft number {number}","price":{{"amount":{},"currency":"EUR"}},
            "energyRating":"{}","amenities":["wifi","extra {}"],"propertyType":"apartment"}}"#,
            ["active", "active", "sold"][(number % 3) & (number % 5)],
            number % 5,
            number % 7,
            100_000 + number % 1_000,
            ["A", "B"][number % 2],
            number % 90,
        );
        Listing::parse(json.as_bytes()).unwrap()
    }

    fn index_of<'a>(listings: impl Iterator<Item = &'a Listing>) -> ShardIndex {
        let mut index = ShardIndex::default();
        for listing in listings {
            index.insert(&listing.columns, listing.columns.id.ends_with('7'));
        }
        index
    }

    /// Everything that searches see, with ids in place of row numbers.
    fn seen(view: &IndexView) -> Vec<String> {
        let bodies = [
            r#"{"listingType":"sale","limit":100,"facets":["neighborhoods","priceStats","energyRatings"]}"#,
            r#"{"listingType":"sale","limit":100,"amenities":["extra 5"]}"#,
            r#"{"listingType":"sale","limit":100,"query":"loft numbr city"}"#,
        ];
        let mut seen: Vec<String> = bodies
            .iter()
            .map(|body| {
                let rules = SearchRules::default();
                let query = SearchRequest::from_json(body.as_bytes(), &rules).unwrap().query;
                let answer = view.search(&query);
                let hits: Vec<_> = answer.hits.iter().map(|hit| (&hit.id, hit.key)).collect();
                format!("{} {hits:?} {:?}", answer.total, answer.facets)
            })
            .collect();
        let rows = view.rows_after(None);
        seen.extend(rows.map(|(id, row)| format!("{id} {:?}", view.shard_key(row))));
        seen.push(format!("{}", view.searchable()));
        seen
    }

    proptest! {
        #![proptest_config(ProptestConfig { cases: 40, ..ProptestConfig::default() })]

        #[test]
        fn both_parts_are_what_they_would_be_without_the_other(
            numbers in prop::collection::btree_set(0..5_000_usize, 0..1_500),
            bounds in prop::array::uniform2((0..3_usize, any::<prop::sample::Index>())),
        ) {
            let listings: Vec<_> = numbers.into_iter().map(listing).collect();
            let keys: Vec<_> = listings.iter().map(|listing| listing.key.clone()).collect();
            let bound = |(kind, at): &(usize, prop::sample::Index)| match kind {
                0 if !keys.is_empty() => at.get(&keys).clone(),
                1 => KeyRange::territory(Space::Listings, &"IT:lazio".parse().unwrap()).start,
                _ => ShardKey::space_start(Space::Listings),
            };
            let range = KeyRange {
                start: bound(&bounds[0]),
                end: (bounds[1].0 < 2).then(|| bound(&bounds[1])),
            };
            let mut index = index_of(listings.iter());
            let (before, whole) = (index.view().clone(), seen(index.view()));
            let (part, moved) = index.cut(&range);
            let (inside, outside): (Vec<_>, Vec<_>) =
                listings.iter().partition(|listing| range.contains(&listing.key));
            prop_assert_eq!(seen(part.view()), seen(index_of(inside.into_iter()).view()));
            prop_assert_eq!(seen(index.view()), seen(index_of(outside.into_iter()).view()));
            prop_assert_eq!(moved.len(), part.view().len());
            for (old, new) in moved {
                prop_assert_eq!(before.id(old), part.view().id(new));
            }
            prop_assert_eq!(seen(&before), whole);
        }
    }
}
