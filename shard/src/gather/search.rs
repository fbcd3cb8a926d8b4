//! Hits, total and facets of a search.

use serde::Serialize;
use serde_json::value::RawValue;

use super::{Facets, ShardPart, ShardStamp, stamps};
use crate::{
    index::PartialFacets,
    listings::{PartialHit, PartialSearch},
    query::{Cursor, Query, ShardEpoch},
};

/// The answer to a search.
#[derive(Debug, Clone, Serialize)]
pub struct SearchAnswer {
    /// The page's hits as JSON objects.
    pub data: Vec<Box<RawValue>>,
    /// Where the page stands.
    pub pagination: Pagination,
    /// Every facet that was asked for.
    pub facets: Facets,
    /// What the answer was read from.
    pub shards: Vec<ShardStamp>,
    /// Whether a shard did not answer: hits, total and facets are then of the others.
    pub partial: bool,
}

/// Where a page stands.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Pagination {
    /// Leads to the next page; absent on the last one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cursor: Option<String>,
    /// Whether there is a next page.
    pub has_more: bool,
    /// All listings that match.
    pub total: u64,
}

/// Merges the shards' answers to one query. `partial` says that a shard is missing among them.
#[must_use]
pub fn gather_search(
    query: &Query,
    parts: Vec<ShardPart<PartialSearch>>,
    partial: bool,
) -> SearchAnswer {
    let shards = stamps(&parts);
    let (mut total, mut facets) = (0, PartialFacets::default());
    let mut hits: Vec<PartialHit> = Vec::new();
    for part in parts {
        total += part.answer.total;
        facets.add(part.answer.facets);
        hits.extend(part.answer.hits);
    }
    // Each shard sent its best (limit + 1), so the best of all are among them.
    hits.sort_by(|a, b| a.order.cmp(&b.order));
    let has_more = hits.len() > query.limit as usize;
    hits.truncate(query.limit as usize);
    let cursor = hits.last().filter(|_| has_more).and_then(|last| {
        let asked = shards.iter().map(|it| ShardEpoch { shard: it.id, epoch: it.epoch }).collect();
        Cursor::new(query, last.order.clone(), asked).encode()
    });
    SearchAnswer {
        data: hits.into_iter().filter_map(summary).collect(),
        pagination: Pagination { cursor, has_more, total },
        facets: Facets::new(query, facets),
        shards,
        partial,
    }
}

/// A hit whose document is missing still shows which listing it is.
fn summary(hit: PartialHit) -> Option<Box<RawValue>> {
    let whole = hit.summary.and_then(|summary| RawValue::from_string(summary).ok());
    whole.or_else(|| {
        let only_id = serde_json::json!({ "id": hit.order.id });
        RawValue::from_string(only_id.to_string()).ok()
    })
}
