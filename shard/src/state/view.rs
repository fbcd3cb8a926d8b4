//! What readers see of a listings shard, apart from the state that entries are applied to.

use hexpop_edge_config::Epoch;

use super::{Body, ShardState, reads::answer_listings};
use crate::{
    LogPosition,
    listings::{DocumentStore, ListingsView},
    read::{ReadAnswer, ReadOp},
};

/// A listings shard at one position of its log. Held, it keeps nobody waiting: entries are applied to
/// the state, and the next view shows them.
#[derive(Debug, Clone)]
pub struct ShardView {
    epoch: Epoch,
    applied: LogPosition,
    listings: ListingsView,
}

impl ShardState {
    /// The shard as it is now, for readers, if it is one of listings: a handful of counts to copy,
    /// however large it is.
    #[must_use]
    pub fn view(&self) -> Option<ShardView> {
        let Body::Listings(listings) = &self.body else {
            return None;
        };
        Some(ShardView { epoch: self.epoch, applied: self.applied, listings: listings.view() })
    }
}

impl ShardView {
    /// The epoch at that position.
    #[must_use]
    pub const fn epoch(&self) -> Epoch {
        self.epoch
    }

    /// The position.
    #[must_use]
    pub const fn applied(&self) -> LogPosition {
        self.applied
    }

    /// Answers a question; `None` for those that only the state answers.
    #[must_use]
    pub fn read(&self, op: &ReadOp, documents: &dyn DocumentStore) -> Option<ReadAnswer> {
        answer_listings(&self.listings, op, documents)
    }
}
