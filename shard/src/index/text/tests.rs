//! The index against a scan of all words of all rows, with the textbook matrix for typos.

use std::collections::BTreeMap;

use proptest::prelude::*;

use super::{typo::tests::distance, *};
use crate::listing::Listing;

/// The texts of a row: title, place, description.
type Texts = [String; 3];

fn listing(texts: &Texts) -> ListingColumns {
    let json =
        br#"{"id":"a","listingType":"sale","status":"active","country":"IT","region":"lazio"}"#;
    let mut columns = Listing::parse(json).unwrap().columns;
    let [title, place, description] = texts;
    // Several texts of one field are searched like one.
    columns.titles = title.split('|').map(str::to_owned).collect();
    (columns.city, columns.neighborhood) = match place.split_once('|') {
        Some((city, neighborhood)) => (Some(city.to_owned()), Some(neighborhood.to_owned())),
        None => (None, Some(place.clone())),
    };
    columns.descriptions = description.split('|').map(str::to_owned).collect();
    columns
}

/// What one word of a listing is worth to one word of a query.
fn factor(wanted: &str, word: &str, is_last: bool) -> u64 {
    if word == wanted {
        return 8;
    }
    if is_last && word.starts_with(wanted) {
        return 7;
    }
    let letters = |word: &str| word.chars().collect::<Vec<_>>();
    let forgiven = match wanted.chars().count() {
        _ if wanted.chars().any(char::is_numeric) => 0,
        0..4 => 0,
        4..8 => 1,
        _ => 2,
    };
    match distance(&letters(wanted), &letters(word)) {
        1 if forgiven >= 1 => 2,
        2 if forgiven >= 2 => 1,
        _ => 0,
    }
}

fn score(texts: &Texts, query: &[String]) -> u64 {
    let mut sum = 0;
    for (nth, wanted) in query.iter().enumerate() {
        let is_last = nth + 1 == query.len();
        let best = [3, 2, 1].into_iter().zip(texts).flat_map(|(weight, text)| {
            fold_words(text).into_iter().map(move |word| weight * factor(wanted, &word, is_last))
        });
        match best.max().unwrap_or(0) {
            0 => return 0,
            best => sum += best,
        }
    }
    sum
}

fn check(index: &TextIndex, model: &BTreeMap<Row, Texts>, query: &[String]) {
    let found = index.matching(query);
    let scores = model.iter().map(|(row, texts)| (*row, score(texts, query)));
    let wanted: Vec<_> = scores.filter(|(_, score)| *score > 0).collect();
    let rows: Vec<Row> = found.rows().collect();
    assert_eq!(rows, wanted.iter().map(|(row, _)| *row).collect::<Vec<_>>(), "{query:?} {model:?}");
    let by_row = found.scores_by_row();
    for (row, score) in &wanted {
        assert_eq!(by_row.get(*row as usize).map(|it| u64::from(*it)), Some(*score), "{query:?}");
    }
    assert!(found.count_max() >= rows.len() as u64);
    for row in model.keys().chain(&[77]) {
        let score = wanted.iter().find(|(it, _)| it == row).map_or(0, |(_, score)| *score);
        assert_eq!((found.score(*row), found.contains(*row)), (score, score > 0), "{query:?}");
    }
}

fn word() -> impl Strategy<Value = String> {
    prop_oneof![
        4 => "[abÁ]{1,6}",
        2 => "[ab]{7,12}",
        2 => prop::sample::select(vec!["loft", "Lofts", "lfot", "apartment", "Apartmänts", "ß", "12a"])
            .prop_map(str::to_owned),
        1 => "[γδ]{11,14}",
    ]
}

fn text() -> impl Strategy<Value = String> {
    prop::collection::vec((word(), prop_oneof![Just(" "), Just("|"), Just("'")]), 0..4).prop_map(
        |words| words.into_iter().flat_map(|(word, gap)| [word, gap.to_owned()]).collect(),
    )
}

/// A row's new texts, or none to remove it.
fn changes() -> impl Strategy<Value = Vec<(u32, Option<Texts>)>> {
    let texts = prop::option::weighted(0.75, [text(), text(), text()]);
    prop::collection::vec((0..12_u32, texts), 1..60)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 300, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn queries_equal_a_scan_at_every_version(
        changes in changes(),
        queries in prop::collection::vec(prop::collection::vec(word(), 1..4), 6),
        // Rows far apart are scored one by one, neighbours all at once.
        step in prop_oneof![Just(1), Just(40), Just(6_000)],
    ) {
        let (mut index, mut model) = (TextIndex::default(), BTreeMap::new());
        let mut versions = Vec::new();
        for (nth, (row, texts)) in changes.into_iter().enumerate() {
            let row = row * step;
            match texts {
                Some(texts) => {
                    index.insert(row, &listing(&texts));
                    model.insert(row, texts);
                }
                None => {
                    index.remove(row);
                    model.remove(&row);
                }
            }
            if nth % 9 == 0 {
                versions.push((index.clone(), model.clone()));
            }
        }
        versions.push((index.clone(), model.clone()));
        for query in queries {
            let query: Vec<String> = query.iter().flat_map(|word| fold_words(word)).collect();
            for (index, model) in &versions {
                check(index, model, &query);
            }
        }
        let rows: Vec<Row> = model.keys().copied().collect();
        for row in rows {
            index.remove(row);
        }
        prop_assert_eq!(index.dictionary.len(), 0);
    }
}

#[test]
fn words_of_a_query_stand_for_these() {
    let texts = |title: &str| [title.to_owned(), String::new(), String::new()];
    let mut index = TextIndex::default();
    for (row, title) in
        ["Loft", "Lofts a Brera", "Lift", "Lofoten", "brerra loft"].iter().enumerate()
    {
        index.insert(u32::try_from(row).unwrap(), &listing(&texts(title)));
    }
    let scores = |query: &str| {
        let found = index.matching(&fold_words(query));
        found.rows().map(|row| (row, found.score(row))).collect::<Vec<_>>()
    };
    assert_eq!(scores("loft"), [(0, 24), (1, 21), (2, 6), (4, 24)]);
    assert_eq!(scores("lof"), [(0, 21), (1, 21), (3, 21), (4, 21)]);
    assert_eq!(scores("loft brera"), [(1, 6 + 24), (4, 24 + 6)]);
    assert_eq!(scores("brera loft"), [(1, 24 + 21), (4, 6 + 24)]);
    assert_eq!(scores("zzz loft"), []);
    assert_eq!(scores("..."), []);
}

#[test]
fn the_same_words_again_change_nothing() {
    let texts = ["Loft".to_owned(), "Milano|Brera".to_owned(), "vista, luce".to_owned()];
    let mut index = TextIndex::default();
    index.insert(3, &listing(&texts));
    let before = format!("{:p}", index.rows.get(3));
    let kept = index.clone();
    index.insert(3, &listing(&texts));
    assert_eq!(format!("{:p}", index.rows.get(3)), before, "what is shared was copied");
    assert_eq!(index.matching(&fold_words("milano lof")).score(3), 16 + 21);
    drop(kept);
}
