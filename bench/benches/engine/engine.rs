//! The engine behind the few calls that the benchmark makes: what changes in its interface is
//! changed here and nowhere else.

use hexpop_edge_config::{Epoch, ShardId};
use hexpop_shard::{
    ClusterCell, HitOrder, IndexAnswer, IndexHit, IndexView, KeyRange, ListingColumns, LogPosition,
    MapQuery, MapRequest, Query, SearchRequest, SearchRules, ShardIndex, ShardPart, ShardStamp,
    SuggestQuery, SuggestRequest, Suggestion, gather_clusters, gather_suggestions,
};
use serde_json::Value;

/// Stores a listing, in place of the one with its id.
pub(crate) fn insert(index: &mut ShardIndex, listing: &ListingColumns) {
    index.insert(listing, false);
}

/// Takes a listing away.
pub(crate) fn remove(index: &mut ShardIndex, id: &str) {
    index.remove(id);
}

/// The range of keys from that of the listing on which has so many behind it.
pub(crate) fn last_keys(index: &IndexView, listings: usize) -> Option<KeyRange> {
    let mut keys: Vec<_> =
        index.rows_after(None).filter_map(|(_, row)| index.shard_key(row)).collect();
    keys.sort_unstable();
    let at = keys.len().saturating_sub(listings);
    let start = keys.into_iter().nth(at)?;
    Some(KeyRange { start, end: None })
}

/// Cuts a range of keys off; gives how many listings were in it.
pub(crate) fn cut(index: &mut ShardIndex, range: &KeyRange) -> usize {
    index.cut(range).1.len()
}

/// Hits, total and facets of one shard.
pub(crate) fn search(index: &IndexView, query: &Query) -> IndexAnswer {
    index.search(query)
}

/// The cells of a map view with their means and medians, as clients see them.
pub(crate) fn clusters(index: &IndexView, query: &MapQuery) -> Vec<ClusterCell> {
    gather_clusters(query, vec![part(index.clusters(query))], false)
        .expect("fewer cells than the limit")
        .cells
}

/// The places of a prefix, as clients see them.
pub(crate) fn suggest(index: &IndexView, query: &SuggestQuery) -> Vec<Suggestion> {
    gather_suggestions(query, vec![part(index.suggest(query))]).suggestions
}

/// Whether the listing with that id is the row of the hit.
pub(crate) fn is_row(index: &IndexView, id: &str, hit: &IndexHit) -> bool {
    index.row(id) == Some(hit.row)
}

/// The end of a page, to begin the next one behind it.
pub(crate) fn order(hit: &IndexHit) -> HitOrder {
    HitOrder { key: hit.key, id: hit.id.to_string() }
}

/// Bytes by part of the index.
pub(crate) fn memory(index: &IndexView) -> Vec<(&'static str, usize)> {
    index.memory()
}

/// The search of a JSON body, as a client would send it.
pub(crate) fn search_query(body: &Value) -> Query {
    SearchRequest::from_json(body.to_string().as_bytes(), &SearchRules::default())
        .unwrap_or_else(|error| panic!("{body}: {error:?}"))
        .query
}

/// The map view of a JSON body.
pub(crate) fn map_query(body: &Value) -> MapQuery {
    MapRequest::from_json(body.to_string().as_bytes(), &SearchRules::default())
        .unwrap_or_else(|error| panic!("{body}: {error:?}"))
        .query
}

/// The question for places of a JSON body.
pub(crate) fn suggest_query(body: &Value) -> SuggestQuery {
    SuggestRequest::from_json(body.to_string().as_bytes())
        .unwrap_or_else(|error| panic!("{body}: {error:?}"))
        .query
}

fn part<T>(answer: T) -> ShardPart<T> {
    let stamp = ShardStamp {
        id: ShardId(1),
        epoch: Epoch::FIRST,
        as_of: LogPosition::default(),
        staleness_ms: 0,
    };
    ShardPart { stamp, answer }
}
