//! Where a page ended: opaque to clients, bound to its search, checked as a whole when it returns.

use hexpop_edge_config::{Epoch, ShardId, codec};
use serde::{Deserialize, Serialize};

use super::{HitOrder, Query, QueryError, QueryErrorKind, base64url};
use crate::{
    key::hash_point,
    query::error::{Problem, ProblemPlace},
};

/// Bytes of the checksum behind the record.
const CHECK_BYTES: usize = 4;

/// What a shard was when it answered a page.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct ShardEpoch {
    /// The shard.
    pub shard: ShardId,
    /// Its epoch.
    pub epoch: Epoch,
}

/// The end of a page.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Cursor {
    /// [`Query::pages_hash`] of the search it belongs to.
    pages_hash: u64,
    /// The last hit of the page.
    pub after: HitOrder,
    /// The shards that were asked.
    pub shards: Vec<ShardEpoch>,
}

impl Cursor {
    /// The cursor behind a page's last hit.
    #[must_use]
    pub fn new(query: &Query, after: HitOrder, shards: Vec<ShardEpoch>) -> Self {
        Self { pages_hash: query.pages_hash(), after, shards }
    }

    /// The text for clients; `None` only if the codec fails, which it does not for this type.
    #[must_use]
    pub fn encode(&self) -> Option<String> {
        let mut bytes = codec::encode(self).ok()?;
        let check = check(&bytes);
        bytes.extend_from_slice(&check);
        Some(base64url::encode(&bytes))
    }

    /// Reads a cursor back; the error is the problem's detail.
    pub(super) fn decode(text: &str, query: &Query) -> Result<Self, &'static str> {
        const DAMAGED: &str = "is no cursor of this service";
        let bytes = base64url::decode(text).ok_or(DAMAGED)?;
        let at = bytes.len().checked_sub(CHECK_BYTES).ok_or(DAMAGED)?;
        let (record, sum) = bytes.split_at_checked(at).ok_or(DAMAGED)?;
        if check(record) != sum {
            return Err(DAMAGED);
        }
        let cursor: Self = codec::decode(record).map_err(|_error| DAMAGED)?;
        if cursor.pages_hash != query.pages_hash() {
            return Err("belongs to another search: filters and sortBy must stay the same");
        }
        Ok(cursor)
    }

    /// Whether the keys of the shards asked now are divided as they were for the page before.
    #[must_use]
    pub fn same_ranges(&self, now: &[ShardEpoch]) -> bool {
        let ranges = |shards: &[ShardEpoch]| {
            let mut ranges: Vec<_> = shards.iter().map(|it| (it.shard, it.epoch.version)).collect();
            ranges.sort_unstable();
            ranges
        };
        ranges(&self.shards) == ranges(now)
    }

    /// Whether a shard that has answered is one of the page before, with the same range. One that is not has
    /// taken another in since.
    #[must_use]
    pub fn has(&self, answered: ShardEpoch) -> bool {
        let is_it = |then: &ShardEpoch| {
            (then.shard, then.epoch.version) == (answered.shard, answered.epoch.version)
        };
        self.shards.iter().any(is_it)
    }

    /// The refusal of a page that can no longer be exact (410).
    #[must_use]
    pub fn expired() -> QueryError {
        QueryError {
            kind: QueryErrorKind::CursorExpired,
            problems: vec![Problem {
                place: ProblemPlace::Pointer("#/cursor".to_owned()),
                detail: "the listings were divided anew since; begin at the first page".to_owned(),
            }],
        }
    }
}

/// Guards against truncation and typing errors, not against forgery: a forged cursor shows nothing
/// that a search would not.
fn check(record: &[u8]) -> [u8; CHECK_BYTES] {
    let [.., a, b, c, d] = hash_point(record).to_be_bytes();
    [a, b, c, d]
}
