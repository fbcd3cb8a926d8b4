//! What shards found for questions, kept for who asks the same.
//!
//! An entry is a shard's part of an answer, with the position of the last change where the question looks
//! (`hexpop_shard::ReadOp::Ask`). The replica that would answer is asked in any case, at the level and
//! with the token of the request, whether that is still the last change; if it is, the entry is its
//! answer, as new as itself, and it has searched nothing and sent nothing. So nothing has to be purged,
//! and no request is answered from an older state than without this.
//!
//! **Bounds**: bytes, weighed as they cross the mesh; and what nobody asks for any more goes after a while,
//! so that a night's questions do not fill the memory of the morning.

use std::{sync::Arc, time::Duration};

use hexpop_edge_config::{ShardId, codec};
use hexpop_shard::{Found, LogPosition};
use moka::sync::Cache;

use crate::metrics::Metrics;

/// What an entry costs besides its bytes.
const ENTRY_OVERHEAD_BYTES: usize = 256;

/// For how long an entry is kept that nobody asks for.
const IDLE_MAX: Duration = Duration::from_secs(600);

/// Which part of which answer. The version of the shard's epoch counts: with it changes what the shard
/// holds, which is no change of any cell.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) struct PartKey {
    pub(crate) shard: ShardId,
    pub(crate) version: u64,
    /// The question in its one form.
    pub(crate) question: Arc<str>,
}

/// A part of an answer.
#[derive(Debug, Clone)]
pub(crate) struct Part {
    /// When something that the question may find had changed last.
    pub(crate) changed: LogPosition,
    pub(crate) found: Arc<Found>,
    bytes: u32,
}

/// All parts that are kept.
#[derive(Debug)]
pub(crate) struct Results {
    parts: Cache<PartKey, Part>,
    metrics: Metrics,
}

impl Results {
    /// Nothing yet; at most so many bytes.
    pub(crate) fn new(bytes_max: u64, metrics: Metrics) -> Self {
        let weigh = |key: &PartKey, part: &Part| {
            let own = u32::try_from(key.question.len() + ENTRY_OVERHEAD_BYTES).unwrap_or(u32::MAX);
            part.bytes.saturating_add(own)
        };
        let parts =
            Cache::builder().max_capacity(bytes_max).weigher(weigh).time_to_idle(IDLE_MAX).build();
        Self { parts, metrics }
    }

    /// The part that is kept, if any.
    pub(crate) fn get(&self, key: &PartKey) -> Option<Part> {
        self.parts.get(key)
    }

    /// Takes note that a part still holds.
    pub(crate) fn held(&self) {
        self.metrics.result(true);
    }

    /// Keeps what a shard found.
    pub(crate) fn put(&self, key: PartKey, changed: LogPosition, found: Found) -> Arc<Found> {
        self.metrics.result(false);
        // What cannot be weighed is not kept: that is what a weight of everything comes to.
        let bytes = codec::encode(&found).map_or(usize::MAX, |bytes| bytes.len());
        let bytes = u32::try_from(bytes).unwrap_or(u32::MAX);
        let found = Arc::new(found);
        // A hit whose document this replica lost is not what others answer.
        if is_whole(&found) {
            self.parts.insert(key, Part { changed, found: Arc::clone(&found), bytes });
        }
        found
    }

    /// Bytes that are kept.
    pub(crate) fn bytes(&self) -> u64 {
        self.parts.run_pending_tasks();
        self.parts.weighted_size()
    }
}

/// Whether a part lacks nothing that another replica may have.
pub(crate) fn is_whole(found: &Found) -> bool {
    match found {
        Found::Search(part) => part.missing.is_empty(),
        Found::MapClusters(_) | Found::Suggestions(_) => true,
    }
}

#[cfg(test)]
mod tests {
    use hexpop_shard::{DocRef, PartialFacets, PartialHit, PartialSearch};

    use super::*;

    fn key(question: &str) -> PartKey {
        PartKey { shard: ShardId(1), version: 1, question: question.into() }
    }

    fn found(bytes: usize, missing: Vec<DocRef>) -> Found {
        let order = hexpop_shard::HitOrder { key: 1, id: "a".to_owned() };
        let hit = PartialHit { order, summary: Some("x".repeat(bytes)) };
        let facets = PartialFacets::default();
        Found::Search(Box::new(PartialSearch { hits: vec![hit], total: 1, facets, missing }))
    }

    fn at(index: u64) -> LogPosition {
        LogPosition { term: 1, index }
    }

    #[test]
    fn what_is_kept_is_bounded_by_its_bytes() {
        let results = Results::new(64 << 10, Metrics::unregistered());
        for nth in 0..100 {
            results.put(key(&nth.to_string()), at(nth), found(4 << 10, Vec::new()));
        }
        assert!(results.bytes() <= 64 << 10);
        assert_eq!(results.parts.policy().time_to_idle(), Some(IDLE_MAX));
        assert!((0..100).any(|nth| results.get(&key(&nth.to_string())).is_some()));
    }

    #[test]
    fn what_lacks_a_document_is_not_kept() {
        let results = Results::new(1 << 20, Metrics::unregistered());
        let lost = DocRef { id: "a".to_owned(), position: at(1) };
        results.put(key("q"), at(1), found(10, vec![lost]));
        assert!(results.get(&key("q")).is_none());
        results.put(key("q"), at(1), found(10, Vec::new()));
        assert_eq!(results.get(&key("q")).map(|part| part.changed), Some(at(1)));
        let other = PartKey { version: 2, ..key("q") };
        assert!(results.get(&other).is_none());
    }
}
