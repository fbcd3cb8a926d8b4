//! Searching listings by words.

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
        self.replace(row, &codes);
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
