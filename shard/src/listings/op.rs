//! What the log of a listings shard carries. Final on disk: the enums only grow at their ends.

use hexpop_edge_config::Territory;
use serde::{Deserialize, Serialize};

use crate::{
    LogPosition,
    key::ShardKey,
    listing::{Listing, ListingVersion},
};

/// A change of a listings shard.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub enum ListingsOp {
    /// Stores listings.
    Upsert {
        /// Each is applied by itself.
        items: Vec<UpsertItem>,
    },
    /// Deletes listings, and leaves tombstones.
    Delete {
        /// Each is applied by itself.
        items: Vec<DeleteItem>,
    },
    /// Lets searches find copies that were stored hidden.
    Reveal {
        /// The copies.
        items: Vec<ListingRef>,
    },
    /// Takes away copies of listings that live elsewhere now, or that lost a race, and leaves
    /// tombstones.
    Retire {
        /// The copies.
        items: Vec<ListingRef>,
    },
    /// Says whether the shard holds everything that the platform has of its range, and how far
    /// the feeds have been followed when it does.
    MarkComplete {
        /// Whether searches may be answered.
        complete: bool,
        /// Where each feed goes on.
        feeds: Vec<FeedCursor>,
    },
    /// Moves feeds on.
    AdvanceFeeds {
        /// Where each feed goes on.
        feeds: Vec<FeedCursor>,
    },
}

impl ListingsOp {
    /// The keys that the change touches, all of which must lie in the shard.
    pub fn keys(&self) -> impl Iterator<Item = &ShardKey> {
        let (upserts, deletes, refs): (&[UpsertItem], &[DeleteItem], &[ListingRef]) = match self {
            Self::Upsert { items } => (items, &[], &[]),
            Self::Delete { items } => (&[], items, &[]),
            Self::Reveal { items } | Self::Retire { items } => (&[], &[], items),
            Self::MarkComplete { .. } | Self::AdvanceFeeds { .. } => (&[], &[], &[]),
        };
        let upserts = upserts.iter().map(|item| &item.key);
        upserts.chain(deletes.iter().map(|item| &item.key)).chain(refs.iter().map(|item| &item.key))
    }
}

/// A listing to store.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct UpsertItem {
    /// Its place, which must be that of its document.
    pub key: ShardKey,
    /// How new it is.
    pub version: ListingVersion,
    /// [`Listing::document`].
    pub document: String,
    /// Whether searches must not find it yet: a copy at a new place stays hidden until the
    /// directory points to it. A newer version of a copy that is found at the same place is found
    /// in any case.
    pub hidden: bool,
}

impl UpsertItem {
    /// The item of a parsed listing.
    #[must_use]
    pub fn new(listing: Listing, hidden: bool) -> Self {
        let Listing { key, version, document, .. } = listing;
        Self { key, version, document, hidden }
    }
}

/// A listing to delete.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct DeleteItem {
    /// Its place.
    pub key: ShardKey,
    /// Its id.
    pub id: String,
    /// How new the deletion is. Unlike a write, a deletion as new as what is stored wins.
    pub version: ListingVersion,
}

/// One copy of a listing.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ListingRef {
    /// Where the copy is.
    pub key: ShardKey,
    /// The listing's id.
    pub id: String,
    /// To reveal: the copy's version. To retire: the version that made this copy obsolete; a newer
    /// copy stays.
    pub version: ListingVersion,
    /// Only the copy that was written at this position; `None` = whichever there is.
    pub position: Option<LogPosition>,
}

/// How far a platform's feed has been followed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct FeedCursor {
    /// The territory whose feed it is.
    pub territory: Territory,
    /// The platform's cursor.
    pub cursor: String,
}

/// What applying a change answered.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum ListingsOutcome {
    /// One answer per item, in their order.
    Items(Vec<ItemOutcome>),
    /// The shard's own marks were changed.
    Marked,
}

/// What became of one item.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum ItemOutcome {
    /// It changed the shard.
    Applied,
    /// Nothing changed: what is stored is as new or newer, or there is no such copy.
    Ignored {
        /// What is stored, if anything.
        stored: Option<StoredVersion>,
    },
    /// It can never be applied; nothing changed.
    Rejected {
        /// Why.
        reason: String,
    },
    /// It was stored, and searches do not find it before it is revealed: there was no copy at its
    /// place that they found. Whoever wrote it sets the directory first.
    AppliedHidden,
}

/// What a shard has of an id.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct StoredVersion {
    /// How new it is.
    pub version: ListingVersion,
    /// The entry that wrote it.
    pub position: LogPosition,
    /// Whether searches do not find it yet.
    pub hidden: bool,
    /// Whether it is the tombstone of a deleted or retired copy.
    pub deleted: bool,
}
