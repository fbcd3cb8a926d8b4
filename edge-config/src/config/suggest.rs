//! "Did you mean": the known name that is closest to an unknown one.

/// The closest of `known` to `name`, if it is close enough to be what was meant.
pub(super) fn closest<'k>(name: &str, known: impl IntoIterator<Item = &'k str>) -> Option<&'k str> {
    // About one slip in three letters; short names need one at least.
    let most = (name.chars().count() / 3).clamp(1, 5);
    known
        .into_iter()
        .map(|candidate| (distance(name, candidate), candidate))
        .filter(|(slips, _)| *slips <= most)
        .min_by_key(|(slips, _)| *slips)
        .map(|(_, candidate)| candidate)
}

/// Edit distance (Levenshtein), in which `-` and `_` are one letter and case does not count.
fn distance(a: &str, b: &str) -> usize {
    // A name beyond this is no slip of any of ours, and the cost stays bounded.
    const LONGEST: usize = 128;
    let fold = |text: &str| -> Vec<char> {
        let lower = text.chars().take(LONGEST).map(|c| c.to_ascii_lowercase());
        lower.map(|c| if c == '-' { '_' } else { c }).collect()
    };
    let (a, b) = (fold(a), fold(b));
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (i, from) in a.iter().enumerate() {
        let mut diagonal = i;
        let mut left = i + 1;
        let mut next = vec![left];
        for (to, above) in b.iter().zip(row.iter().skip(1)) {
            let cost = (diagonal + usize::from(from != to)).min(above + 1).min(left + 1);
            diagonal = *above;
            left = cost;
            next.push(cost);
        }
        row = next;
    }
    row.last().copied().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_distance_counts_slips() {
        for (a, b, slips) in [
            ("", "", 0),
            ("abc", "", 3),
            ("", "abc", 3),
            ("heartbeat", "heartbeat", 0),
            ("hartbeat", "heartbeat", 1),
            ("kitten", "sitting", 3),
            ("max-inflight", "max_inflight", 0),
        ] {
            assert_eq!(distance(a, b), slips, "{a} {b}");
        }
    }

    #[test]
    fn only_what_is_close_is_suggested() {
        let known = ["heartbeat", "election_min", "election_max"];
        assert_eq!(closest("hartbeat", known), Some("heartbeat"));
        assert_eq!(closest("election_mim", known), Some("election_min"));
        assert_eq!(closest("colour", known), None);
    }
}
