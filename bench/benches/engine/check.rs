//! Engine and scan must answer alike before either is timed.

use hexpop_shard::{IndexView, Query};

use crate::{
    engine,
    queries::{Ask, Kind},
    scan::{Place, Scan},
};

/// Whether the words of a text query are matched as they are. A text index that also finds words
/// with a typo may find more, which the scan cannot: it is then only held to find no less.
const WORDS_EXACT: bool = true;

/// Asks both every query and panics when they differ; gives the number of matches per query.
pub(crate) fn same_answers(kind: &Kind, index: &IndexView, scan: &Scan) -> Vec<u64> {
    kind.asks.iter().map(|ask| same_answer(kind.name, ask, index, scan)).collect()
}

fn same_answer(name: &str, ask: &Ask, index: &IndexView, scan: &Scan) -> u64 {
    match ask {
        Ask::Search(query, after) => same_search(name, query, *after, index, scan),
        Ask::Clusters(query) => {
            let (cells, expected) = (engine::clusters(index, query), scan.clusters(query));
            for (cell, expected) in cells.iter().zip(&expected) {
                assert_eq!(cell, expected, "{name}: {query:?}");
            }
            assert_eq!(cells.len(), expected.len(), "{name}: {query:?}");
            cells.iter().map(|cell| cell.count).sum()
        }
        Ask::Suggest(query) => {
            let (places, expected) = (engine::suggest(index, query), scan.suggest(query));
            assert_eq!(places, expected, "{name}: {query:?}");
            places.iter().map(|place| place.count).sum()
        }
    }
}

fn same_search(
    name: &str,
    query: &Query,
    after: Option<Place>,
    index: &IndexView,
    scan: &Scan,
) -> u64 {
    let (answer, expected) = (engine::search(index, query), scan.search(query, after));
    if query.filters.words.is_some() && !WORDS_EXACT {
        assert!(answer.total >= expected.total, "{name}: {query:?}");
        return answer.total;
    }
    assert_eq!(answer.total, expected.total, "{name}: {query:?}");
    assert_eq!(answer.facets, expected.facets, "{name}: {query:?}");
    let hits: Vec<(String, Option<f64>)> =
        answer.hits.iter().map(|hit| (hit.id.to_string(), hit.distance_km)).collect();
    let expected: Vec<(String, Option<f64>)> = (expected.hits.iter())
        .map(|((_, row), distance)| (scan.id(*row).to_owned(), *distance))
        .collect();
    assert_eq!(hits, expected, "{name}: {query:?}");
    answer.total
}
