//! What readers see of a shard's listings: one version, for as long as they hold it.

use std::{collections::BTreeMap, sync::Arc};

use hexpop_edge_config::Territory;

use super::{DocRef, FeedCursor, state::Stored};
use crate::{
    LogPosition,
    index::{Changes, Coverage, IndexView, Row, SharedVec},
    key::ShardKey,
    listing::{ListingVersion, Status},
    read::Question,
};

/// A stored listing without its document.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RowView {
    /// Names the document; its position is the version that an `ETag` is made of.
    pub document: DocRef,
    /// Where it lives.
    pub key: ShardKey,
    /// How new it is.
    pub version: ListingVersion,
    /// Where it stands in its life.
    pub status: Status,
    /// Whether searches do not find it yet.
    pub hidden: bool,
}

/// The listings of a shard at one position of its log. It shares what did not change since with the
/// state, and keeps the rest.
#[derive(Debug, Clone)]
pub struct ListingsView {
    pub(super) index: IndexView,
    pub(super) stored: SharedVec<Option<Arc<Stored>>>,
    pub(super) changes: Changes,
    pub(super) feeds: Arc<BTreeMap<Territory, String>>,
    pub(super) complete: bool,
}

impl ListingsView {
    pub(super) fn stored_row(&self, row: Row) -> Option<&Stored> {
        self.stored.get(row)?.as_deref()
    }

    /// A listing by id, whatever its status; the document is behind the port.
    #[must_use]
    pub fn get(&self, id: &str) -> Option<RowView> {
        self.row_view(id, self.index.row(id)?)
    }

    fn row_view(&self, id: &str, row: Row) -> Option<RowView> {
        let stored = self.stored_row(row)?;
        Some(RowView {
            document: DocRef { id: id.to_owned(), position: stored.position },
            key: self.index.shard_key(row)?,
            version: stored.version,
            status: stored.status,
            hidden: stored.hidden,
        })
    }

    /// Every listing, in the order of ids, beginning behind `after`.
    pub fn documents_after<'a>(
        &'a self,
        after: Option<&str>,
    ) -> impl Iterator<Item = RowView> + use<'a> {
        self.index.rows_after(after).filter_map(|(id, row)| self.row_view(&id, row))
    }

    /// Whether everything that the platform has of the range is here.
    #[must_use]
    pub const fn is_complete(&self) -> bool {
        self.complete
    }

    /// How far each territory's feed has been followed.
    #[must_use]
    pub fn feeds(&self) -> Vec<FeedCursor> {
        let feeds = self.feeds.iter();
        feeds
            .map(|(territory, cursor)| FeedCursor {
                territory: territory.clone(),
                cursor: cursor.clone(),
            })
            .collect()
    }

    /// The position of the last entry that may have changed the answer to a question. As long as it stays
    /// the same the answer does, at whichever replicas.
    #[must_use]
    pub fn last_change(&self, question: &Question) -> LogPosition {
        let coverage = match question {
            Question::Search(query) => Coverage::of_filters(&query.filters),
            Question::MapClusters(query) => Coverage::of_map(query),
            Question::Suggest(_) => Coverage::everything(),
        };
        self.changes.last(&coverage)
    }

    /// The index.
    #[must_use]
    pub const fn index(&self) -> &IndexView {
        &self.index
    }

    /// Bytes of memory by part, documents not counted.
    #[must_use]
    pub fn memory(&self) -> Vec<(&'static str, usize)> {
        let mut parts = self.index.memory();
        let each = size_of::<Stored>() + 2 * size_of::<usize>();
        parts.push(("versions", self.stored.bytes() + self.index.len() * each));
        parts.push(("changes", self.changes.bytes()));
        parts
    }
}
