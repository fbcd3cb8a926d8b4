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

    /// What each of all words is worth as `word`: 8 for the word itself, 7 for one that begins with the
    /// last of a query, 2 for one typo in at least 4 letters, 1 for two in at least 8.
    fn worth(&self, word: &str, is_last: bool) -> Vec<u8> {
        let letters: Vec<char> = word.chars().collect();
        let forgives = !letters.iter().any(|letter| letter.is_numeric());
        let worth = |other: &String| match other {
            same if same == word => 8,
            longer if is_last && longer.starts_with(word) => 7,
            other if forgives => match (typos(&letters, other), letters.len()) {
                (1, 4..) => 2,
                (2, 8..) => 1,
                _ => 0,
            },
            _ => 0,
        };
        self.words.iter().map(worth).collect()
    }
}

/// Letters too many, too few, or other ones, and neighbours swapped, up to 3.
fn typos(a: &[char], b: &str) -> usize {
    let b: Vec<char> = b.chars().collect();
    if a.len().abs_diff(b.len()) > 2 {
        return 3;
    }
    let mut before: Vec<usize> = Vec::new();
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for i in 1..=a.len() {
        let mut next = vec![i];
        for j in 1..=b.len() {
            let replaced = row[j - 1] + usize::from(a[i - 1] != b[j - 1]);
            let mut least = replaced.min(row[j] + 1).min(next[j - 1] + 1);
            if i > 1 && j > 1 && (a[i - 1], a[i - 2]) == (b[j - 2], b[j - 1]) {
                least = least.min(before[j - 2] + 1);
            }
            next.push(least);
        }
        before = std::mem::replace(&mut row, next);
    }
    row[b.len()]
}

fn range(ends: &[u32], row: u32) -> std::ops::Range<usize> {
    let at = row as usize;
    let start = if at == 0 { 0 } else { ends[at - 1] };
    start as usize..ends[at] as usize
}

impl Scan {
    /// What every row scores for `words`: the sum over the words of the best field's weight times what
    /// the word there is worth, 0 unless all are found.
    pub(super) fn scores(&self, words: &[String]) -> Scores {
        let text = self.text.as_ref().expect("the market has texts");
        let last = words.len().saturating_sub(1);
        let wanted: Vec<_> =
            words.iter().enumerate().map(|(at, word)| text.worth(word, at == last)).collect();
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
                    best = best.max(*weight * known[*token as usize]);
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
