//! How near a word of a listing is to one of a query, straight from the definitions.

/// 8 for the word itself, 7 for one that begins with the last word of a query, 2 for one typo in at
/// least 4 letters, 1 for two in at least 8; words with digits are taken as they are.
pub(super) fn nearness(wanted: &str, word: &str, is_last: bool) -> u32 {
    if word == wanted {
        return 8;
    }
    if is_last && word.starts_with(wanted) {
        return 7;
    }
    if wanted.chars().any(char::is_numeric) {
        return 0;
    }
    match (typos(wanted, word), wanted.chars().count()) {
        (1, 4..) => 2,
        (2, 8..) => 1,
        _ => 0,
    }
}

/// Letters too many, too few, or other ones, and neighbours swapped: the optimal string alignment.
fn typos(a: &str, b: &str) -> usize {
    let (a, b): (Vec<char>, Vec<char>) = (a.chars().collect(), b.chars().collect());
    let mut rows: Vec<Vec<usize>> = vec![(0..=b.len()).collect()];
    for i in 1..=a.len() {
        let mut row = vec![i];
        for j in 1..=b.len() {
            let replaced = rows[i - 1][j - 1] + usize::from(a[i - 1] != b[j - 1]);
            let mut least = replaced.min(rows[i - 1][j] + 1).min(row[j - 1] + 1);
            if i > 1 && j > 1 && (a[i - 1], a[i - 2]) == (b[j - 2], b[j - 1]) {
                least = least.min(rows[i - 2][j - 2] + 1);
            }
            row.push(least);
        }
        rows.push(row);
    }
    rows[a.len()][b.len()]
}
