//! Which rows have a word, and in which field.

use std::{collections::BTreeMap, ops::Bound};

use roaring::RoaringBitmap;

use super::{Row, text::fold_words};
use crate::listing::ListingColumns;

/// What a word in the title is worth.
const TITLE_WEIGHT: u64 = 3;
/// In the city or the neighbourhood.
const PLACE_WEIGHT: u64 = 2;
/// In the description.
const DESCRIPTION_WEIGHT: u64 = 1;

/// Rows by the field that has a word.
#[derive(Debug, Default, Clone)]
struct Fields {
    title: RoaringBitmap,
    place: RoaringBitmap,
    description: RoaringBitmap,
}

impl Fields {
    fn add(&mut self, other: &Self) {
        self.title |= &other.title;
        self.place |= &other.place;
        self.description |= &other.description;
    }

    fn any(&self) -> RoaringBitmap {
        let mut rows = &self.title | &self.place;
        rows |= &self.description;
        rows
    }

    fn weight(&self, row: Row) -> u64 {
        if self.title.contains(row) {
            TITLE_WEIGHT
        } else if self.place.contains(row) {
            PLACE_WEIGHT
        } else if self.description.contains(row) {
            DESCRIPTION_WEIGHT
        } else {
            0
        }
    }
}

/// The words of titles (in all languages), cities, neighbourhoods and descriptions.
#[derive(Debug, Default)]
pub(super) struct Postings {
    words: BTreeMap<Box<str>, Fields>,
    by_row: Vec<Box<[Box<str>]>>,
}

/// The rows that have all words of a query.
///
/// Every word but the last must be a whole word of the listing, the last one the beginning of one;
/// different words may be in different fields. The score of a row is the sum over the words of the
/// weight of the best field that has the word.
#[derive(Debug)]
pub(super) struct WordMatch {
    words: Vec<Fields>,
    pub(super) rows: RoaringBitmap,
}

impl WordMatch {
    pub(super) fn score(&self, row: Row) -> u64 {
        self.words.iter().map(|fields| fields.weight(row)).sum()
    }
}

impl Postings {
    /// Adds the words of a row that has none.
    pub(super) fn insert(&mut self, row: Row, listing: &ListingColumns) {
        let mut words = Vec::new();
        for text in &listing.titles {
            for word in fold_words(text) {
                self.fields_of(&word, &mut words).title.insert(row);
            }
        }
        for text in listing.city.iter().chain(&listing.neighborhood) {
            for word in fold_words(text) {
                self.fields_of(&word, &mut words).place.insert(row);
            }
        }
        for text in &listing.descriptions {
            for word in fold_words(text) {
                self.fields_of(&word, &mut words).description.insert(row);
            }
        }
        words.sort_unstable();
        words.dedup();
        let at = row as usize;
        if self.by_row.len() <= at {
            self.by_row.resize_with(at + 1, Box::default);
        }
        if let Some(slot) = self.by_row.get_mut(at) {
            *slot = words.into_boxed_slice();
        }
    }

    fn fields_of(&mut self, word: &str, words: &mut Vec<Box<str>>) -> &mut Fields {
        words.push(word.into());
        self.words.entry(word.into()).or_default()
    }

    /// Takes the words of a row away.
    pub(super) fn remove(&mut self, row: Row) {
        let Some(slot) = self.by_row.get_mut(row as usize) else {
            return;
        };
        for word in std::mem::take(slot) {
            if let Some(fields) = self.words.get_mut(&word) {
                fields.title.remove(row);
                fields.place.remove(row);
                fields.description.remove(row);
                if fields.title.is_empty()
                    && fields.place.is_empty()
                    && fields.description.is_empty()
                {
                    self.words.remove(&word);
                }
            }
        }
    }

    /// The rows that have all of `words`; none for no words.
    pub(super) fn matching(&self, words: &[String]) -> WordMatch {
        let mut found = Vec::with_capacity(words.len());
        if let Some((last, whole)) = words.split_last() {
            for word in whole {
                found.push(self.words.get(word.as_str()).cloned().unwrap_or_default());
            }
            found.push(self.beginning_with(last));
        }
        let rows = found.iter().map(Fields::any).reduce(|rows, more| rows & more);
        WordMatch { words: found, rows: rows.unwrap_or_default() }
    }

    fn beginning_with(&self, prefix: &str) -> Fields {
        let mut all = Fields::default();
        let from = (Bound::Included(prefix), Bound::Unbounded);
        for (_, fields) in
            self.words.range::<str, _>(from).take_while(|(word, _)| word.starts_with(prefix))
        {
            all.add(fields);
        }
        all
    }
}
