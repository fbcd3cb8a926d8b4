//! The engine behind the few calls that the benchmark makes: what changes in its interface is
//! changed here and nowhere else.

use hexpop_edge_config::{Epoch, ShardId};
use hexpop_shard::{
    ClusterCell, HitOrder, IndexAnswer, IndexHit, ListingColumns, LogPosition, MapQuery,
    MapRequest, Query, SearchRequest, SearchRules, ShardIndex, ShardPart, ShardStamp, SuggestQuery,
    SuggestRequest, Suggestion, gather_clusters, gather_suggestions,
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

/// Hits, total and facets of one shard.
pub(crate) fn search(index: &ShardIndex, query: &Query) -> IndexAnswer {
    index.search(query)
}

/// The cells of a map view with their means and medians, as clients see them.
pub(crate) fn clusters(index: &ShardIndex, query: &MapQuery) -> Vec<ClusterCell> {
    gather_clusters(query, vec![part(index.clusters(query))], false).cells
}

/// The places of a prefix, as clients see them.
pub(crate) fn suggest(index: &ShardIndex, query: &SuggestQuery) -> Vec<Suggestion> {
    gather_suggestions(query, vec![part(index.suggest(query))]).suggestions
}

/// The id of a hit.
pub(crate) fn id(index: &ShardIndex, hit: &IndexHit) -> String {
    index.id(hit.row).map(ToString::to_string).expect("a hit has an id")
}

/// Whether the listing with that id is the row of the hit.
pub(crate) fn is_row(index: &ShardIndex, id: &str, hit: &IndexHit) -> bool {
    index.row(id) == Some(hit.row)
}

/// The end of a page, to begin the next one behind it.
pub(crate) fn order(index: &ShardIndex, hit: &IndexHit) -> HitOrder {
    HitOrder { key: hit.key, id: id(index, hit) }
}

/// Bytes by part of the index; `None` as long as the index does not say.
///
/// Becomes `Some(index.memory())`.
pub(crate) fn memory(_index: &ShardIndex) -> Option<Vec<(&'static str, usize)>> {
    None
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
