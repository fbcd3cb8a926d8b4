//! Words of the texts: a number per word of a listing, looked at one by one.

use std::collections::BTreeMap;

use hexpop_shard::{ListingColumns, fold_words};

use super::Scan;

/// What a word in the title is worth, in the city or neighbourhood, and in the description.
const WEIGHTS: [u8; 3] = [3, 2, 1];

/// The words of all rows.
pub(super) struct Text {
    /// All words, ascending.
    words: Vec<String>,
    /// For every row where its tokens end.
    ends: Vec<u32>,
    /// Places in `words`, one per word and row.
    tokens: Vec<u32>,
    /// What each token is worth: the weight of the best field that has it.
    weights: Vec<u8>,
}

/// The words of rows in the order they come in.
#[derive(Default)]
pub(super) struct TextBuilder {
    by_word: BTreeMap<String, u32>,
    ends: Vec<u32>,
    tokens: Vec<u32>,
    weights: Vec<u8>,
}

/// What every row scores; 0 = does not match.
pub(super) struct Scores(Vec<u8>);

impl Scores {
    pub(super) fn of(&self, row: u32) -> u64 {
        u64::from(self.0[row as usize])
    }
}

impl TextBuilder {
    pub(super) fn push(&mut self, listing: &ListingColumns) {
        let mut of_row: BTreeMap<u32, u8> = BTreeMap::new();
        let places: Vec<String> =
            listing.city.iter().chain(&listing.neighborhood).cloned().collect();
        let fields = [&listing.titles, &places, &listing.descriptions];
        for (texts, weight) in fields.into_iter().zip(WEIGHTS) {
            for word in texts.iter().flat_map(|text| fold_words(text)) {
                let next = self.by_word.len() as u32;
                let token = *self.by_word.entry(word).or_insert(next);
                // Fields come with falling weights.
                of_row.entry(token).or_insert(weight);
            }
        }
        self.tokens.extend(of_row.keys());
        self.weights.extend(of_row.values());
        self.ends.push(u32::try_from(self.tokens.len()).unwrap());
    }

    pub(super) fn heap_bytes(&self) -> usize {
        size_of_val(&*self.ends) + size_of_val(&*self.tokens) + size_of_val(&*self.weights)
    }
}

impl Text {
    /// The words of rows in the order of ids.
    pub(super) fn new(builder: TextBuilder, order: &[u32]) -> Self {
        let mut places = vec![0; builder.by_word.len()];
        for (at, provisional) in (0..).zip(builder.by_word.values()) {
            places[*provisional as usize] = at;
        }
        let mut text =
            Self { words: Vec::new(), ends: Vec::new(), tokens: Vec::new(), weights: Vec::new() };
        for row in order {
            let range = range(&builder.ends, *row);
            let tokens = builder.tokens[range.clone()].iter();
            text.tokens.extend(tokens.map(|token| places[*token as usize]));
            text.weights.extend(&builder.weights[range]);
            text.ends.push(u32::try_from(text.tokens.len()).unwrap());
        }
        text.words = builder.by_word.into_keys().collect();
        text
    }

    /// All words with the number of listings that have them.
    pub(super) fn words(&self) -> Vec<(&str, usize)> {
        let mut counts = vec![0; self.words.len()];
        for token in &self.tokens {
            counts[*token as usize] += 1;
        }
        self.words.iter().map(String::as_str).zip(counts).collect()
    }

    /// The words that are `word`, or begin with it.
    fn known(&self, word: &str, as_prefix: bool) -> std::ops::Range<u32> {
        let start = self.words.partition_point(|it| it.as_str() < word);
        let same = |it: &String| if as_prefix { it.starts_with(word) } else { it == word };
        let count = self.words[start..].iter().take_while(|it| same(it)).count();
        start as u32..(start + count) as u32
    }
}

fn range(ends: &[u32], row: u32) -> std::ops::Range<usize> {
    let at = row as usize;
    let start = if at == 0 { 0 } else { ends[at - 1] };
    start as usize..ends[at] as usize
}

impl Scan {
    /// What every row scores for `words`: the sum over the words of the weight of the best field
    /// that has the word, 0 unless all are found. The last word is a prefix.
    pub(super) fn scores(&self, words: &[String]) -> Scores {
        let text = self.text.as_ref().expect("the market has texts");
        let last = words.len().saturating_sub(1);
        let wanted: Vec<_> =
            words.iter().enumerate().map(|(at, word)| text.known(word, at == last)).collect();
        let mut scores = Vec::with_capacity(text.ends.len());
        let mut start = 0;
        for end in &text.ends {
            let range = start..*end as usize;
            start = range.end;
            let (tokens, weights) = (&text.tokens[range.clone()], &text.weights[range]);
            let mut score = 0;
            for known in &wanted {
                let mut best = 0;
                for (token, weight) in tokens.iter().zip(weights) {
                    if known.contains(token) {
                        best = best.max(*weight);
                    }
                }
                if best == 0 {
                    score = 0;
                    break;
                }
                score += best;
            }
            scores.push(score);
        }
        Scores(scores)
    }
}
