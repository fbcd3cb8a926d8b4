//! The answers of several shards made one, in the shapes that clients see.
//!
//! Everything adds up exactly: how listings are divided into shards cannot be seen in an answer.

mod clusters;
mod facets;
mod search;
mod suggestions;

use hexpop_edge_config::{Epoch, ShardId};
use serde::{Serialize, Serializer};

pub use self::{
    clusters::{ClusterCell, ClustersAnswer, gather_clusters, unfinished_clusters},
    facets::{Bucket, Count, Facets, MissingCounts, PriceRangeBucket, PriceStats},
    search::{Pagination, SearchAnswer, gather_search},
    suggestions::{Suggestion, SuggestionsAnswer, gather_suggestions},
};
use crate::LogPosition;

/// What one shard's part of an answer was read from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct ShardStamp {
    /// The shard.
    pub id: ShardId,
    /// Its epoch; a text, since 4.10 is not 4.1.
    #[serde(serialize_with = "as_text")]
    pub epoch: Epoch,
    /// The last entry that had been applied.
    pub as_of: LogPosition,
    /// How old that may be, in milliseconds.
    pub staleness_ms: u64,
}

fn as_text<S: Serializer>(epoch: &Epoch, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_str(epoch)
}

/// One shard's part of an answer.
#[derive(Debug, Clone, PartialEq)]
pub struct ShardPart<T> {
    /// What it was read from.
    pub stamp: ShardStamp,
    /// The part.
    pub answer: T,
}

/// The stamps in the order of shard ids.
fn stamps<T>(parts: &[ShardPart<T>]) -> Vec<ShardStamp> {
    let mut stamps: Vec<ShardStamp> = parts.iter().map(|part| part.stamp).collect();
    stamps.sort_unstable_by_key(|stamp| stamp.id);
    stamps
}
