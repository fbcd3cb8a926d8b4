//! What a query for words found.

use super::{
    super::Row,
    TextIndex,
    dictionary::Found,
    field::{Field, Nearness},
    row_words::decode,
};

/// With more words than this for one of the query, their nearness is looked up by code in a table.
const SEARCHED_MAX: usize = 64;

/// What the score of one row costs, in steps of the way that goes through all rows once for every
/// word of the query. Measured: 150 to 350 ns against 1 to 3.
const ONE_SCORE_COST: u64 = 128;

/// The rows that have all words of a query, each with a score.
///
/// Nothing is computed ahead but which words of the index match: a planner that has better ways to
/// the rows asks [`score`](Self::score) for each of a few.
#[derive(Debug)]
pub(crate) struct TextMatch<'a> {
    index: &'a TextIndex,
    /// The words of the query, the rarest first.
    words: Vec<QueryWord<'a>>,
}

/// A word of a query.
#[derive(Debug)]
struct QueryWord<'a> {
    /// The words of the index that match it, by code.
    found: Vec<Found<'a>>,
    /// Factors by code, 0 where no word matches; only if there are many.
    factors: Vec<u8>,
    /// Rows that have any of them in any field, those with several counted as often.
    rows: u64,
}

impl<'a> QueryWord<'a> {
    fn new(index: &'a TextIndex, word: &str, is_last: bool) -> Self {
        let found = index.dictionary.find(word, is_last);
        let mut factors = Vec::new();
        if found.len() > SEARCHED_MAX {
            factors.resize(index.dictionary.code_end() as usize, 0);
            for it in &found {
                if let Some(slot) = factors.get_mut(it.code as usize) {
                    *slot = it.nearness.factor();
                }
            }
        }
        let rows = found.iter().flat_map(|it| &it.entry.rows).map(|rows| rows.len() as u64).sum();
        Self { found, factors, rows }
    }

    fn factor(&self, code: u32) -> u8 {
        if self.factors.is_empty() {
            let at = self.found.binary_search_by_key(&code, |it| it.code);
            at.ok().and_then(|at| self.found.get(at)).map_or(0, |it| it.nearness.factor())
        } else {
            self.factors.get(code as usize).copied().unwrap_or(0)
        }
    }

    /// What the best of a row's words is worth; 0 if none matches.
    fn score(&self, words: &[u8]) -> u8 {
        let mut best = 0;
        for (field, code) in decode(words) {
            // Fields come with falling weight: what follows cannot be worth more.
            if best >= field.weight() * Nearness::Same.factor() {
                break;
            }
            best = best.max(field.weight() * self.factor(code));
        }
        best
    }

    /// Raises the scores, by row, to what the rows' words are worth.
    fn raise(&self, scores: &mut [u8]) {
        for it in &self.found {
            for (field, rows) in Field::ALL.into_iter().zip(&it.entry.rows) {
                let score = field.weight() * it.nearness.factor();
                rows.each(&mut |row| {
                    if let Some(slot) = scores.get_mut(row as usize) {
                        *slot = score.max(*slot);
                    }
                });
            }
        }
    }
}

impl<'a> TextMatch<'a> {
    pub(super) fn new(index: &'a TextIndex, words: &[String]) -> Self {
        let last = words.len().saturating_sub(1);
        let words = words.iter().enumerate();
        let mut words: Vec<_> =
            words.map(|(nth, word)| QueryWord::new(index, word, nth == last)).collect();
        words.sort_by_key(|word| word.rows);
        Self { index, words }
    }

    /// At least as many as there are rows.
    pub(crate) fn count_max(&self) -> u64 {
        let rarest = self.words.first().map_or(0, |word| word.rows);
        rarest.min(u64::from(self.index.row_end))
    }

    /// Whether a row matches.
    pub(crate) fn contains(&self, row: Row) -> bool {
        self.score(row) > 0
    }

    /// The score of a row; 0 if it does not match.
    pub(crate) fn score(&self, row: Row) -> u64 {
        if self.count_max() == 0 {
            return 0;
        }
        let words = self.index.rows.get(row);
        let mut sum = 0;
        for word in &self.words {
            match word.score(words) {
                0 => return 0,
                score => sum += u64::from(score),
            }
        }
        sum
    }

    /// The rows that match, ascending.
    pub(crate) fn rows(&self) -> impl Iterator<Item = Row> + use<> {
        let rows = match self.words.first() {
            None => Vec::new(),
            Some(rarest) if self.one_by_one_is_cheaper(rarest.rows) => self.rows_of(rarest),
            Some(_) => {
                let scores = self.scores_by_row();
                (0..).zip(scores).filter(|(_, score)| *score > 0).map(|(row, _)| row).collect()
            }
        };
        rows.into_iter()
    }

    /// Whether `rows` scores are had faster one by one than all at once. Both ways lead to the same
    /// scores, hence only the ratio of their measured costs matters.
    fn one_by_one_is_cheaper(&self, rows: u64) -> bool {
        let words = self.words.len() as u64;
        let entries: u64 = self.words.iter().map(|word| word.rows).sum();
        rows * words * ONE_SCORE_COST < entries + u64::from(self.index.row_end) * words
    }

    /// The rows that have a word of the query and match the others too.
    fn rows_of(&self, word: &QueryWord<'_>) -> Vec<Row> {
        let mut rows = Vec::new();
        for set in word.found.iter().flat_map(|it| &it.entry.rows) {
            set.each(&mut |row| rows.push(row));
        }
        rows.sort_unstable();
        rows.dedup();
        if self.words.len() > 1 {
            rows.retain(|row| self.contains(*row));
        }
        rows
    }

    /// The scores of all rows, 0 for those that do not match.
    pub(crate) fn scores_by_row(&self) -> Vec<u16> {
        let rows = self.index.row_end as usize;
        let (mut sums, mut scores) = (Vec::new(), vec![0; rows]);
        for (nth, word) in self.words.iter().enumerate() {
            if nth == 0 {
                word.raise(&mut scores);
                sums.extend(scores.iter().map(|score| u16::from(*score)));
                continue;
            }
            scores.fill(0);
            word.raise(&mut scores);
            for (sum, score) in sums.iter_mut().zip(&scores) {
                let both = *sum > 0 && *score > 0;
                *sum = if both { sum.saturating_add(u16::from(*score)) } else { 0 };
            }
        }
        sums
    }
}
