//! Which words are a typo of which.
//!
//! A typo is a letter too many, too few, another one, or two neighbours swapped, no letter twice:
//! the distance known as optimal string alignment.

/// Shorter words are looked for as they are: too many others are one letter away.
const ONE_TYPO_CHARS_MIN: usize = 4;
/// From this length on two typos are forgiven.
const TWO_TYPOS_CHARS_MIN: usize = 8;

/// A word of a query, ready to be compared with the words of listings.
#[derive(Debug)]
pub(super) struct Pattern {
    chars: Vec<char>,
    letters: Letters,
    /// Typos forgiven at most.
    typos_max: u32,
    /// Whether beginnings of words are compared too.
    is_prefix: bool,
}

impl Pattern {
    /// A word that is looked for, as a whole or as a beginning.
    ///
    /// A word with a digit in it is looked for as it is: `2019` is not `2018`.
    pub(super) fn new(word: &str, is_prefix: bool) -> Self {
        let chars: Vec<char> = word.chars().collect();
        let typos_max = if chars.iter().any(|letter| letter.is_numeric()) {
            0
        } else {
            u32::from(chars.len() >= ONE_TYPO_CHARS_MIN)
                + u32::from(chars.len() >= TWO_TYPOS_CHARS_MIN)
        };
        Self { letters: Letters::of(word), chars, typos_max, is_prefix }
    }

    /// Whether any other word can match.
    pub(super) const fn forgives(&self) -> bool {
        self.typos_max > 0
    }

    /// Whether a word with these letters may be within the typos forgiven: cheap, and rarely wrong.
    pub(super) fn may_match(&self, word: Letters) -> bool {
        let (len, word_len) = (self.chars.len(), usize::from(word.chars));
        let typos = self.typos_max as usize;
        if word_len + typos < len || !few_bits(self.letters.bits & !word.bits, self.typos_max) {
            return false;
        }
        // A word of which only the beginning counts may have any letters besides.
        self.is_prefix
            || (word_len <= len + typos && few_bits(word.bits & !self.letters.bits, self.typos_max))
    }

    /// How many typos it takes to get from what was looked for to a word, if they are forgiven.
    ///
    /// Looked for as a beginning: to get to the word, or to any beginning of it that is at least as
    /// long as what was looked for. (Shorter beginnings would make every word that begins with
    /// `lof` a typo of `loft`.)
    pub(super) fn typos(&self, word: &[char]) -> Option<u32> {
        let owed = if self.is_prefix { self.chars.len() } else { usize::MAX };
        (0..=self.typos_max).find(|typos| is_within(*typos, &self.chars, word, owed))
    }
}

/// Whether `typos` typos suffice to get from `wanted` to the first letters of `word`, at least
/// `owed` of them or all.
fn is_within(typos: u32, wanted: &[char], word: &[char], owed: usize) -> bool {
    let (mut wanted, mut word, mut owed) = (wanted, word, owed);
    // Letters that agree are best taken as they are, whatever follows.
    while let ([a, wanted_rest @ ..], [b, word_rest @ ..]) = (wanted, word)
        && a == b
    {
        (wanted, word, owed) = (wanted_rest, word_rest, owed.saturating_sub(1));
    }
    let ([a, after_a @ ..], [b, after_b @ ..]) = (wanted, word) else {
        return wanted.len() + word.len().min(owed) <= typos as usize;
    };
    let Some(left) = typos.checked_sub(1) else {
        return false;
    };
    if let ([c, after_c @ ..], [d, after_d @ ..]) = (after_a, after_b)
        && (a, c) == (d, b)
        && is_within(left, after_c, after_d, owed.saturating_sub(2))
    {
        return true;
    }
    is_within(left, after_a, after_b, owed.saturating_sub(1))
        || is_within(left, after_a, word, owed)
        || is_within(left, wanted, after_b, owed.saturating_sub(1))
}

/// Which letters a word has and how many: enough to tell most words apart without their text.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Letters {
    /// By the last five bits of each character: all different within Latin, Greek or Cyrillic.
    bits: u32,
    chars: u8,
}

impl Letters {
    pub(super) fn of(word: &str) -> Self {
        let bits = word.chars().fold(0, |bits, letter| bits | 1 << (u32::from(letter) % 32));
        Self { bits, chars: u8::try_from(word.chars().count()).unwrap_or(u8::MAX) }
    }
}

/// Whether at most `max` bits are set, for a `max` of at most 2.
const fn few_bits(bits: u32, max: u32) -> bool {
    let without_one = bits & bits.wrapping_sub(1);
    let without_two = without_one & without_one.wrapping_sub(1);
    match max {
        0 => bits == 0,
        1 => without_one == 0,
        _ => without_two == 0,
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// The textbook matrix: `table[i][j]` is the distance of the first `i` and `j` letters.
    fn table(a: &[char], b: &[char]) -> Vec<Vec<usize>> {
        let mut table = vec![vec![0; b.len() + 1]; a.len() + 1];
        for i in 0..=a.len() {
            for j in 0..=b.len() {
                table[i][j] = if i == 0 || j == 0 {
                    i + j
                } else {
                    let other = usize::from(a[i - 1] != b[j - 1]);
                    let swapped = i > 1 && j > 1 && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1];
                    let swap = if swapped { table[i - 2][j - 2] + 1 } else { usize::MAX };
                    (table[i - 1][j] + 1)
                        .min(table[i][j - 1] + 1)
                        .min(table[i - 1][j - 1] + other)
                        .min(swap)
                };
            }
        }
        table
    }

    fn typos(wanted: &str, word: &str, is_prefix: bool) -> Option<u32> {
        Pattern::new(wanted, is_prefix).typos(&word.chars().collect::<Vec<_>>())
    }

    #[test]
    fn typos_are_counted() {
        for (wanted, word, whole, prefix) in [
            ("loft", "loft", Some(0), Some(0)),
            ("loft", "lofts", Some(1), Some(0)),
            ("loft", "lof", Some(1), Some(1)),
            ("loft", "lofoten", None, None),
            ("lfot", "loft", Some(1), Some(1)),
            ("lfot", "lofts", None, Some(1)),
            ("brra", "brera", Some(1), Some(1)),
            ("aprtment", "apartments", Some(2), Some(1)),
            ("appartamentto", "appartamento", Some(1), Some(1)),
            ("navgili", "navigli", Some(1), Some(1)),
            ("fot", "lot", None, None),
            ("2019", "2018", None, None),
        ] {
            assert_eq!(typos(wanted, word, false), whole, "{wanted} {word}");
            assert_eq!(typos(wanted, word, true), prefix, "{wanted}* {word}");
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig { cases: 20_000, failure_persistence: None, ..ProptestConfig::default() })]

        #[test]
        fn typos_equal_those_of_the_matrix(wanted in "[abcé]{0,9}", word in "[abcé]{0,11}") {
            let (a, b): (Vec<char>, Vec<char>) = (wanted.chars().collect(), word.chars().collect());
            let distances = table(&a, &b).pop().unwrap();
            let most = if a.len() < 4 { 0 } else if a.len() < 8 { 1 } else { 2 };
            let forgiven = |typos: usize| u32::try_from(typos).ok().filter(|typos| *typos <= most);
            prop_assert_eq!(typos(&wanted, &word, false), forgiven(distances[b.len()]));
            let nearest = distances.iter().enumerate()
                .filter(|(len, _)| *len >= a.len() || *len == b.len())
                .map(|(_, typos)| *typos)
                .min();
            prop_assert_eq!(typos(&wanted, &word, true), forgiven(nearest.unwrap()));
            for is_prefix in [false, true] {
                let pattern = Pattern::new(&wanted, is_prefix);
                prop_assert!(pattern.typos(&b).is_none() || pattern.may_match(Letters::of(&word)));
            }
        }
    }
}
