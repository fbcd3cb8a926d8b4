//! One stored response: a value.

use std::{sync::Arc, time::Duration};

use bytes::Bytes;
use http::{HeaderMap, HeaderName, StatusCode};

use super::{
    disk::DiskBody,
    policy::{freshness::Freshness, partial::Pieces, tags::Tag, vary::selecting},
};

/// What an entry costs besides its bytes: map nodes, counters, the struct itself.
const ENTRY_OVERHEAD_BYTES: usize = 512;

/// What is stored of a body.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Payload {
    /// All of it.
    Whole(Bytes),
    /// Parts of it; the response counts as a 200 whose body is not complete.
    Pieces(Pieces),
    /// All of it, on disk, where it stays.
    Disk(DiskBody),
}

impl Payload {
    /// Whether all of the body is there.
    pub(crate) const fn is_whole(&self) -> bool {
        matches!(self, Self::Whole(_) | Self::Disk(_))
    }
}

/// One stored response. Immutable: a refresh makes another one.
#[derive(Debug, Clone)]
pub(crate) struct Stored {
    pub(crate) status: StatusCode,
    /// Without fields of the connection, those withheld, `Age` and those that say how long the body
    /// is.
    pub(crate) headers: HeaderMap,
    pub(crate) payload: Payload,
    /// Of the payload: no other one has it.
    pub(crate) number: u64,
    pub(crate) freshness: Freshness,
    /// When it arrived, on the node's own clock.
    pub(crate) arrived: Duration,
    /// When it was made: `Date`, in milliseconds since the Unix epoch.
    pub(crate) date_ms: i64,
    /// The headers by which it was chosen, and the values they had.
    pub(crate) vary: Vec<HeaderName>,
    pub(crate) selected_by: Vec<Option<Vec<u8>>>,
    /// What it is purged by besides its URI.
    pub(crate) tags: Arc<[Tag]>,
}

impl Stored {
    /// Whether it is a variant that this request asks for.
    pub(crate) fn matches(&self, request: &HeaderMap) -> bool {
        self.vary.is_empty() || selecting(&self.vary, request) == self.selected_by
    }

    /// Whether it is the same variant as another one.
    pub(crate) fn is_variant_of(&self, other: &Self) -> bool {
        self.vary == other.vary && self.selected_by == other.selected_by
    }

    /// How long it has been here.
    pub(crate) const fn resident(&self, now: Duration) -> Duration {
        now.saturating_sub(self.arrived)
    }

    /// How long the whole body is.
    pub(crate) const fn length(&self) -> u64 {
        match &self.payload {
            Payload::Whole(bytes) => bytes.len() as u64,
            Payload::Pieces(pieces) => pieces.length(),
            Payload::Disk(body) => body.length(),
        }
    }

    /// Bytes it takes.
    pub(crate) fn weight(&self) -> usize {
        let headers: usize =
            self.headers.iter().map(|(name, value)| name.as_str().len() + value.len() + 32).sum();
        let selected: usize = self.selected_by.iter().flatten().map(|value| value.len() + 32).sum();
        let tags: usize = self.tags.iter().map(|tag| 2 * tag.len() + 128).sum();
        let body = match &self.payload {
            Payload::Whole(bytes) => bytes.len(),
            Payload::Pieces(pieces) => usize::try_from(pieces.held()).unwrap_or(usize::MAX),
            Payload::Disk(_) => 0,
        };
        body.saturating_add(headers + selected + tags + ENTRY_OVERHEAD_BYTES)
    }
}
