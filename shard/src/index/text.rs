//! Searching listings by words: titles and descriptions in all their languages, cities and
//! neighbourhoods.
//!
//! # What matches
//!
//! Words are compared [folded](fold_words). A listing matches a query if it has all words of it, each
//! in any field. It has a word of a query if one of its own is
//!
//! | | factor |
//! |---|---:|
//! | the same | 8 |
//! | one that begins with it: for the last word of the query only, which may still be being typed | 7 |
//! | one typo away: for words of at least 4 letters | 2 |
//! | two typos away: for words of at least 8 letters | 1 |
//!
//! A typo is a letter too many, too few, another one, or two neighbours swapped, where no letter is
//! part of two typos (optimal string alignment). Words with digits are taken as they are. Beginnings
//! allow for no typo: every word that begins with `cas` and goes on would be one of `casa`.
//!
//! The score is the sum, over the words of the query, of the best factor times the weight of the
//! field: 3 for the title, 2 for city and neighbourhood, 1 for the description. It depends on the
//! listing and the query alone, hence is the same on every replica and however listings are divided
//! into shards; for the same reason there is no bound on how many words a query stands for.
//!
//! # How it is kept
//!
//! Words have codes; a word's rows are kept by field, and a row's words, as codes, by row: so that
//! they can be taken away and scored without the document. All of it is of shared nodes: a clone is
//! four counts and a version of its own for as long as it is held, and a change copies some small
//! nodes per word that comes or goes: lists of rows up to 8 KiB, and what leads to them.
//!
//! Typos are found by comparing the letters of all words, 64 bits each, and then the few words whose
//! letters could do. That is linear in the number of different words, but these are far fewer than
//! listings, and it is 1 to 3 ns for each of them.
//!
//! # Why our own
//!
//! Measured on the same texts against tantivy 0.27 (no positions, no norms, one segment in memory,
//! its own fuzzy queries), CPU time on a busy machine with 2 cores. *Plain* are the listings of
//! `hexpop-bench` (272 bytes of text, 43 words), *rich* the same with 4 words each of a vocabulary of
//! 150,000 made-up ones (68,000 in use at 100,000 listings). A version is visible to readers after
//! each update.
//!
//! | 100,000 listings | ours, plain | ours, rich | tantivy, plain | tantivy, rich |
//! |---|---:|---:|---:|---:|
//! | bytes a listing | 111 | 228 | 40 | 58 |
//! | update that keeps the words, visible | 8 µs | 14 µs | 11,300 µs | 10,300 µs |
//! | update that changes all of them, visible | 58 µs | 108 µs | 11,300 µs | 10,300 µs |
//! | the same, 100 updates a commit | | | 144 µs | 148 µs |
//! | rows for a rare word, two typos | 45 µs | 300 µs | 295 µs | 1,140 µs |
//! | rows for a frequent word, two typos | 330 µs | 580 µs | 520 µs | 1,080 µs |
//! | rows for `a`, a beginning | 560 µs | 590 µs | 1,470 µs | 1,450 µs |
//!
//! tantivy is smaller, because its segments never change; that is also why one visible update costs
//! it a new segment and 11 ms, where 5,000 of them a second are wanted. With a million listings ours
//! takes 96 (plain) or 144 bytes each, and 38 with the 162,655 real ones of the project, whose titles
//! are short.

mod dictionary;
mod field;
mod fold;
mod found;
mod row_set;
mod row_words;
mod typo;
mod word;

#[cfg(test)]
mod tests;

pub use self::fold::fold_words;
pub(super) use self::found::TextMatch;
use self::{
    dictionary::Dictionary,
    field::Field,
    fold::for_each_word,
    row_words::{Codes, RowWords, decode, encode},
};
use super::Row;
use crate::listing::ListingColumns;

/// The words of the titles, cities, neighbourhoods and descriptions of all rows.
#[derive(Debug, Clone, Default)]
pub(super) struct TextIndex {
    dictionary: Dictionary,
    rows: RowWords,
    /// One more than the greatest row that ever had words.
    row_end: Row,
}

impl TextIndex {
    /// Makes the words of a row those of a listing, whatever it had before. Costs next to nothing if
    /// they are the same, as after most updates of a listing.
    pub(super) fn insert(&mut self, row: Row, listing: &ListingColumns) {
        let codes = self.codes(listing);
        self.set(row, &codes);
    }

    /// Makes the words of a row those that a row has elsewhere.
    pub(super) fn copy(&mut self, row: Row, from: &Self, of: Row) {
        let mut codes = Codes::default();
        for (field, code) in decode(from.rows.get(of)) {
            if let Some(word) = from.dictionary.word(code) {
                in_field(&mut codes, field).push(self.dictionary.code_for(word));
            }
        }
        codes.iter_mut().for_each(|codes| codes.sort_unstable());
        self.set(row, &codes);
    }

    fn set(&mut self, row: Row, codes: &Codes) {
        self.replace(row, codes);
        self.row_end = self.row_end.max(row.saturating_add(1));
    }

    /// Takes the words of a row away.
    pub(super) fn remove(&mut self, row: Row) {
        self.replace(row, &Codes::default());
    }

    /// The rows that have all words of a query, folded as [`fold_words`] does. No words match
    /// nothing.
    pub(super) fn matching(&self, words: &[String]) -> TextMatch<'_> {
        TextMatch::new(self, words)
    }

    /// Bytes by part.
    pub(super) fn memory(&self) -> Vec<(&'static str, usize)> {
        let (words, rows) = self.dictionary.bytes();
        vec![("words", words), ("rows of words", rows), ("words of rows", self.rows.bytes())]
    }

    fn codes(&mut self, listing: &ListingColumns) -> Codes {
        let mut codes = Codes::default();
        let [title, place, description] = &mut codes;
        let mut word = String::new();
        let mut add = |text: &str, codes: &mut Vec<u32>| {
            for_each_word(text, &mut word, |word| codes.push(self.dictionary.code_for(word)));
        };
        listing.titles.iter().for_each(|text| add(text, title));
        listing.city.iter().chain(&listing.neighborhood).for_each(|text| add(text, place));
        listing.descriptions.iter().for_each(|text| add(text, description));
        for codes in &mut codes {
            codes.sort_unstable();
            codes.dedup();
        }
        codes
    }

    fn replace(&mut self, row: Row, codes: &Codes) {
        let encoded = encode(codes);
        let before = self.rows.get(row);
        if before == encoded {
            return;
        }
        let mut had = Codes::default();
        for (field, code) in decode(before) {
            in_field(&mut had, field).push(code);
        }
        // First what comes: a word that only moves from field to field keeps its code.
        for ((field, codes), had) in Field::ALL.into_iter().zip(codes).zip(&had) {
            for code in missing(codes, had) {
                self.dictionary.add(code, field, row);
            }
        }
        for ((field, codes), had) in Field::ALL.into_iter().zip(codes).zip(&had) {
            for code in missing(had, codes) {
                self.dictionary.take(code, field, row);
            }
        }
        self.rows.set(row, &encoded);
    }
}

fn in_field(codes: &mut Codes, field: Field) -> &mut Vec<u32> {
    let [title, place, description] = codes;
    match field {
        Field::Title => title,
        Field::Place => place,
        Field::Description => description,
    }
}

/// What of `codes` is not in `other`; both are sorted.
fn missing<'a>(codes: &'a [u32], other: &'a [u32]) -> impl Iterator<Item = u32> + 'a {
    codes.iter().copied().filter(|code| other.binary_search(code).is_err())
}
