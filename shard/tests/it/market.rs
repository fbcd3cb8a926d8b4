//! Shards with listings in them, and questions put to all of them.

use std::collections::BTreeSet;

use hexpop_edge_config::{Epoch, ShardId};
use hexpop_shard::{
    ClustersAnswer, IngestLine, KeyRange, Listing, ListingsOp, ListingsOutcome, ListingsState,
    LogPosition, MapQuery, MapRequest, MemoryDocuments, Query, QueryError, SearchAnswer,
    SearchRequest, SearchRules, ShardPart, ShardStamp, Space, SuggestQuery, SuggestRequest,
    SuggestionsAnswer, UpsertItem, gather_clusters, gather_search, gather_suggestions,
};
use serde_json::Value;

/// One shard with its documents.
#[derive(Debug)]
pub(crate) struct Shard {
    pub(crate) state: ListingsState,
    pub(crate) documents: MemoryDocuments,
    pub(crate) index: u64,
}

impl Shard {
    pub(crate) fn new() -> Self {
        Self {
            state: ListingsState::new(KeyRange::space(Space::Listings)),
            documents: MemoryDocuments::default(),
            index: 0,
        }
    }

    pub(crate) fn apply(&mut self, at_ms: u64, op: &ListingsOp) -> ListingsOutcome {
        self.index += 1;
        let position = LogPosition { term: 1, index: self.index };
        self.state.apply(position, at_ms, op, &mut self.documents)
    }

    pub(crate) fn store(&mut self, listings: Vec<Listing>) -> ListingsOutcome {
        let items = listings.into_iter().map(|listing| UpsertItem::new(listing, false)).collect();
        self.apply(1, &ListingsOp::Upsert { items })
    }
}

pub(crate) fn parse(json: &Value) -> Listing {
    match IngestLine::parse(json.to_string().as_bytes()) {
        Ok(IngestLine::Upsert(listing)) => listing,
        other => panic!("{json} is no listing: {other:?}"),
    }
}

fn parts<T>(shards: &[Shard], answer: impl Fn(&Shard) -> T) -> Vec<ShardPart<T>> {
    (1..)
        .zip(shards)
        .map(|(id, shard)| ShardPart {
            stamp: ShardStamp {
                id: ShardId(id),
                epoch: Epoch::FIRST,
                as_of: LogPosition { term: 1, index: shard.index },
                staleness_ms: 0,
            },
            answer: answer(shard),
        })
        .collect()
}

pub(crate) fn request(ask: &Value) -> SearchRequest {
    match SearchRequest::from_json(ask.to_string().as_bytes(), &SearchRules::default()) {
        Ok(request) => request,
        Err(error) => panic!("{ask}: {error:?}"),
    }
}

pub(crate) fn search(shards: &[Shard], ask: &Value) -> SearchAnswer {
    answer(shards, &request(ask).query)
}

pub(crate) fn answer(shards: &[Shard], query: &Query) -> SearchAnswer {
    let parts = parts(shards, |shard| shard.state.view().search(query, &shard.documents));
    gather_search(query, parts, false)
}

pub(crate) fn clusters(shards: &[Shard], ask: &Value) -> Result<ClustersAnswer, QueryError> {
    let request =
        MapRequest::from_json(ask.to_string().as_bytes(), &SearchRules::default()).unwrap();
    map(shards, &request.query)
}

pub(crate) fn map(shards: &[Shard], query: &MapQuery) -> Result<ClustersAnswer, QueryError> {
    gather_clusters(query, parts(shards, |shard| shard.state.view().clusters(query)), false)
}

pub(crate) fn suggest(shards: &[Shard], prefix: &str) -> Value {
    let ask = serde_json::json!({"q": prefix, "limit": 50});
    let request = SuggestRequest::from_json(ask.to_string().as_bytes()).unwrap();
    serde_json::to_value(places(shards, &request.query)).unwrap()
}

pub(crate) fn places(shards: &[Shard], query: &SuggestQuery) -> SuggestionsAnswer {
    gather_suggestions(query, parts(shards, |shard| shard.state.view().suggest(query)))
}

/// Follows the cursors of a search to its end, at most `pages` pages; answers the hits, and all of
/// the first page.
pub(crate) fn walk(shards: &[Shard], ask: &Value, pages: usize) -> (Vec<Value>, Value) {
    let mut ask = ask.clone();
    let (mut seen, mut first, mut known) = (Vec::new(), None, BTreeSet::new());
    for page in 0..pages {
        let answer = serde_json::to_value(search(shards, &ask)).unwrap();
        for hit in answer["data"].as_array().unwrap() {
            assert!(known.insert(hit["id"].to_string()), "{} comes twice: {ask}", hit["id"]);
            seen.push(hit.clone());
        }
        if page == 0 {
            first = Some(answer.clone());
        }
        let cursor = answer["pagination"].get("cursor").cloned();
        assert_eq!(cursor.is_some(), answer["pagination"]["hasMore"].as_bool().unwrap());
        let Some(cursor) = cursor else {
            break;
        };
        ask["cursor"] = cursor;
    }
    (seen, first.unwrap())
}

/// The ids of hits.
pub(crate) fn ids(hits: &[Value]) -> Vec<&str> {
    hits.iter().map(|hit| hit["id"].as_str().unwrap()).collect()
}
