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
}

impl Pattern {
    /// A word that is looked for.
    ///
    /// A word with a digit in it is looked for as it is: `2019` is not `2018`.
    pub(super) fn new(word: &str) -> Self {
        let chars: Vec<char> = word.chars().collect();
        let typos_max = if chars.iter().any(|letter| letter.is_numeric()) {
            0
        } else {
            u32::from(chars.len() >= ONE_TYPO_CHARS_MIN)
                + u32::from(chars.len() >= TWO_TYPOS_CHARS_MIN)
        };
        Self { letters: Letters::of(word), chars, typos_max }
    }

    /// Whether any other word can match.
    pub(super) const fn forgives(&self) -> bool {
        self.typos_max > 0
    }

    /// Whether a word with these letters may be within the typos forgiven: cheap, and rarely wrong.
    pub(super) const fn may_match(&self, word: Letters) -> bool {
        self.letters.may_be_within(word, self.typos_max)
    }

    /// How many typos it takes to get to a word, if they are forgiven.
    pub(super) fn typos(&self, word: &[char]) -> Option<u32> {
        (0..=self.typos_max).find(|typos| is_within(*typos, &self.chars, word))
    }
}

/// Whether `typos` typos suffice to get from one word to another.
fn is_within(typos: u32, one: &[char], two: &[char]) -> bool {
    let (mut one, mut two) = (one, two);
    // Letters that agree are best taken as they are, whatever follows.
    while let ([a, after_a @ ..], [b, after_b @ ..]) = (one, two)
        && a == b
    {
        (one, two) = (after_a, after_b);
    }
    let ([a, after_a @ ..], [b, after_b @ ..]) = (one, two) else {
        return one.len() + two.len() <= typos as usize;
    };
    let Some(left) = typos.checked_sub(1) else {
        return false;
    };
    if let ([c, after_c @ ..], [d, after_d @ ..]) = (after_a, after_b)
        && (a, c) == (d, b)
        && is_within(left, after_c, after_d)
    {
        return true;
    }
    is_within(left, after_a, after_b)
        || is_within(left, after_a, two)
        || is_within(left, one, after_b)
}

/// Which letters a word has, and how many: enough to tell most words apart without their text.
///
/// Letters are sorted into 29 bins by their number, which keeps the letters of one alphabet apart.
/// Bits 0 to 28 say which bins have a letter, bits 29 to 57 which have several, the rest how many
/// letters there are. All 0 stands for no word.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Letters(u64);

const BINS: u32 = 29;
const CHARS_MAX: u64 = 63;

impl Letters {
    pub(super) fn of(word: &str) -> Self {
        let (mut bins, mut chars) = (0_u64, 0);
        for letter in word.chars() {
            let bin = 1 << (u32::from(letter) % BINS);
            bins |= if bins & bin == 0 { bin } else { bin << BINS };
            chars = CHARS_MAX.min(chars + 1);
        }
        Self(bins | chars << (2 * BINS))
    }

    /// Whether a few typos may lead from one word to the other. Each adds one letter at most and
    /// takes one at most, which changes one bit of the bins each.
    const fn may_be_within(self, other: Self, typos: u32) -> bool {
        const IN_BINS: u64 = (1 << (2 * BINS)) - 1;
        let chars = (self.0 >> (2 * BINS)).abs_diff(other.0 >> (2 * BINS));
        chars <= typos as u64
            && few_bits(self.0 & !other.0 & IN_BINS, typos)
            && few_bits(other.0 & !self.0 & IN_BINS, typos)
    }
}

/// Whether at most `max` bits are set, which is 1 or 2.
const fn few_bits(bits: u64, max: u32) -> bool {
    let without_one = bits & bits.wrapping_sub(1);
    let without_two = without_one & without_one.wrapping_sub(1);
    (if max == 1 { without_one } else { without_two }) == 0
}

#[cfg(test)]
pub(super) mod tests {
    use proptest::prelude::*;

    use super::*;

    /// The textbook matrix.
    pub(in super::super) fn distance(a: &[char], b: &[char]) -> usize {
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
        table[a.len()][b.len()]
    }

    fn typos(wanted: &str, word: &str) -> Option<u32> {
        Pattern::new(wanted).typos(&word.chars().collect::<Vec<_>>())
    }

    #[test]
    fn typos_are_counted() {
        for (wanted, word, count) in [
            ("loft", "loft", Some(0)),
            ("loft", "lofts", Some(1)),
            ("loft", "lof", Some(1)),
            ("loft", "lofty1", None),
            ("lfot", "loft", Some(1)),
            ("olft", "loft", Some(1)),
            ("brra", "brera", Some(1)),
            ("aprtment", "apartments", Some(2)),
            ("navgili", "navigli", Some(1)),
            ("nvgili", "navigli", None),
            ("fot", "lot", None),
            ("2019", "2018", None),
        ] {
            assert_eq!(typos(wanted, word), count, "{wanted} {word}");
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig { cases: 20_000, failure_persistence: None, ..ProptestConfig::default() })]

        #[test]
        fn typos_equal_those_of_the_matrix(wanted in "[abcéγ]{0,10}", word in "[abcéγ]{0,10}") {
            let (a, b): (Vec<char>, Vec<char>) = (wanted.chars().collect(), word.chars().collect());
            let most = if a.len() < 4 { 0 } else if a.len() < 8 { 1 } else { 2 };
            let forgiven = Some(distance(&a, &b)).filter(|typos| *typos <= most);
            prop_assert_eq!(typos(&wanted, &word).map(|typos| typos as usize), forgiven);
            prop_assert!(forgiven.is_none() || Pattern::new(&wanted).may_match(Letters::of(&word)));
        }
    }
}
