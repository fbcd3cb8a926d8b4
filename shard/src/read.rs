//! What can be read of a shard's state, and what it answers. Both cross the mesh.

use hexpop_edge_config::{NodeId, RaftId};
use serde::{Deserialize, Serialize};

use crate::{
    LogPosition,
    directory::DirectoryEntry,
    index::{PartialClusters, PartialSuggestions},
    key::ShardKey,
    listing::{ListingVersion, Status},
    listings::{DocRef, FeedCursor, PartialSearch},
    meta::Operation,
    purge::{PurgeId, PurgeTail},
    query::{MapQuery, Query, SuggestQuery},
    refusal::Refusal,
    session::{ErasureId, ErasureNote, ErasureView, SessionId, SessionPage, StoredSession},
    state::ShardStats,
};

/// A question to one shard.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub enum ReadOp {
    /// Listings: one by id.
    Listing {
        /// The id.
        id: String,
    },
    /// Listings: a search.
    Search(Box<Query>),
    /// Listings: clusters for a map.
    MapClusters(Box<MapQuery>),
    /// Listings: places by prefix.
    Suggest(SuggestQuery),
    /// Any shard: how much it holds.
    Counts,
    /// Listings: all of them with their documents, page by page in the order of ids.
    ExportListings {
        /// The id behind which to begin.
        after: Option<String>,
        /// Where a page ends, in bytes of documents; it has one listing at least.
        max_bytes: u64,
    },
    /// Directory: the entries of ids.
    Directory {
        /// The ids.
        ids: Vec<String>,
    },
    /// Sessions: one by id.
    Session {
        /// The id.
        id: SessionId,
    },
    /// Sessions: all of a user, page by page in the order of ids.
    SessionsOf {
        /// The user.
        user: String,
        /// The id behind which to begin.
        after: Option<SessionId>,
        /// Where a page ends, in bytes; it has one session at least.
        max_bytes: u64,
    },
    /// Meta: the operations that are remembered.
    Operations,
    /// Listings: how far the platform's feeds have been followed.
    Feeds,
    /// Sessions: what became of an erasure.
    Erasure {
        /// The erasure.
        id: ErasureId,
    },
    /// Sessions: the erasures that are not complete elsewhere, page by page in the order of ids.
    OpenErasures {
        /// The erasure behind which to begin.
        after: Option<ErasureId>,
    },
    /// Sessions: whether the shard has anything of a user, or its replicas' logs or snapshots may.
    MayHoldUser {
        /// The user.
        user: String,
    },
    /// Any shard: the key that divides it best.
    SplitPoint,
    /// Purges: those behind a position.
    PurgesAfter {
        /// The position; `None` = it is not known.
        position: Option<PurgeId>,
        /// Where the answer ends, in bytes; it has one purge at least if there is one.
        max_bytes: u64,
    },
    /// Listings: a question, of which the asker may have the answer.
    Ask {
        /// The question.
        question: Question,
        /// When something that the question may find had changed last, in the answer that the asker has.
        unless: Option<LogPosition>,
    },
}

/// What is asked of all the listings of a shard.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub enum Question {
    /// A search.
    Search(Box<Query>),
    /// Clusters for a map.
    MapClusters(Box<MapQuery>),
    /// Places by prefix.
    Suggest(SuggestQuery),
}

impl Question {
    /// A text that equal questions share, however they were written, and different ones do not.
    #[must_use]
    pub fn canonical(&self) -> String {
        let (kind, text) = match self {
            Self::Search(query) => ("search", query.canonical()),
            Self::MapClusters(query) => ("map", query.canonical()),
            Self::Suggest(query) => ("suggest", query.canonical()),
        };
        format!("{kind} {text}")
    }
}

/// What a shard finds for a [`Question`]: its part of the answer.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub enum Found {
    /// Of a search.
    Search(Box<PartialSearch>),
    /// Of a map.
    MapClusters(PartialClusters),
    /// Of suggestions.
    Suggestions(PartialSuggestions),
}

/// What a shard answers, all of it from one point of its log.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub enum ReadAnswer {
    /// The listing, if it is here.
    Listing(Option<Box<StoredListing>>),
    /// The shard's part of a search.
    Search(Box<PartialSearch>),
    /// The shard's part of a map.
    MapClusters(PartialClusters),
    /// The shard's part of suggestions.
    Suggestions(PartialSuggestions),
    /// The shard does not hold everything of its range yet: a count of it would be wrong.
    Incomplete,
    /// How much there is.
    Counts(ShardStats),
    /// Some listings.
    Listings(ListingPage),
    /// The entries, in the order of the ids; `None` = no entry.
    Directory(Vec<Option<DirectoryEntry>>),
    /// The session, unless an applied command ended it. It may be past `expires_ms` on the reader's
    /// clock: that it is gone may be said once the group's time has got there (by a
    /// [`Tick`](crate::Op::Tick)) and a second read finds nothing.
    Session(Option<Box<StoredSession>>),
    /// Some sessions of a user.
    Sessions(SessionPage),
    /// The operations, oldest first.
    Operations(Vec<Operation>),
    /// The question was refused.
    Refused(Refusal),
    /// Where each feed goes on.
    Feeds(Vec<FeedCursor>),
    /// What became of the erasure.
    Erasure(ErasureView),
    /// Erasures that are not complete; none = there are no more.
    OpenErasures(Vec<(ErasureId, ErasureNote)>),
    /// Whether there may be something of the user.
    MayHoldUser {
        /// In the shard, or on the disk of a replica.
        may_hold: bool,
        /// Replicas that left the shard, of whose disks nobody knows.
        left: Vec<(RaftId, NodeId)>,
    },
    /// The key; `None` = all records are at one place.
    SplitPoint(Option<ShardKey>),
    /// The purges behind a position.
    Purges(PurgeTail),
    /// To a question.
    Asked {
        /// When something that the question may find changed last.
        changed: LogPosition,
        /// What was found; `None` = that is when it had in the answer that the asker has, which holds.
        found: Option<Found>,
    },
}

/// A listing with its document.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct StoredListing {
    /// Names the document: the listing's id, and the log entry that wrote it.
    pub at: DocRef,
    /// Where it lives.
    pub key: ShardKey,
    /// How new it is.
    pub version: ListingVersion,
    /// Where it stands in its life.
    pub status: Status,
    /// Whether searches do not find it yet, since the directory does not point to it.
    pub hidden: bool,
    /// Its JSON text; `None` = this replica's store has lost it and another replica has to be asked.
    pub document: Option<String>,
}

/// Some listings, in the order of their ids.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ListingPage {
    /// The listings.
    pub listings: Vec<StoredListing>,
    /// The id behind which to go on; `None` = these were the last.
    pub next: Option<String>,
}
