//! What a shard is and what it does: the keyspace, the shard map, placement, and the state machines
//! of listings, directory, sessions and the meta group.
//!
//! **It is** pure: no IO, no clock, no task, no randomness. Time comes in with the commands, documents
//! sit behind a port, and everything replicated is a deterministic function of the log.
//!
//! **It is not** aware of consensus or of the network: whoever applies commands has made sure that
//! they are committed.

mod cell;
mod command;
mod directory;
mod gather;
mod geo;
mod index;
mod key;
mod listing;
mod listings;
mod map;
mod merge;
mod meta;
mod placement;
mod position;
mod purge;
mod query;
mod read;
mod refusal;
mod requests;
mod session;
mod split;
mod stable_hash;
mod state;
mod version;

pub use cell::{Cell, LISTING_RESOLUTION};
pub use command::{Command, Op, Reply};
pub use directory::{
    DirectoryChange, DirectoryChangeOutcome, DirectoryEntry, DirectoryOp, DirectoryOutcome,
    DirectoryState, DirectoryTarget,
};
pub use gather::{
    Bucket, ClusterCell, ClustersAnswer, Count, Facets, MissingCounts, Pagination,
    PriceRangeBucket, PriceStats, SearchAnswer, ShardPart, ShardStamp, Suggestion,
    SuggestionsAnswer, gather_clusters, gather_search, gather_suggestions, unfinished_clusters,
};
pub use geo::{
    Bounds, EARTH_RADIUS_KM, Geometry, LatLng, POLYGON_POINTS_MAX, PolygonError, RADIUS_KM_MAX,
    distance_km, polygon,
};
pub use index::{
    IndexAnswer, IndexHit, IndexView, PartialCell, PartialClusters, PartialFacets, PartialPlace,
    PartialPrices, PartialSuggestions, PlaceKind, PriceGroup, PriceTally, Row, ShardIndex,
    ValueCounts, fold_words,
};
pub use key::{KeyRange, POINT_END, ParseKeyError, ShardKey, Space, hash_point};
pub use listing::{
    Currency, DOCUMENT_BYTES_MAX, Deletion, FieldError, ID_CHARS_MAX, IngestLine, Listing,
    ListingColumns, ListingFormat, ListingType, ListingVersion, Period, Precedence, Price,
    PropertyType, Shown, Status, Word, summary,
};
pub use listings::{
    DeleteItem, DocRef, DocumentStore, FeedCursor, ItemOutcome, ListingRef, ListingsCounts,
    ListingsOp, ListingsOutcome, ListingsState, ListingsView, MemoryDocuments, PartialHit,
    PartialSearch, RestoreError, RowView, SnapshotError, StoredVersion, TOMBSTONE_RETENTION_MS,
    UpsertItem,
};
pub use map::{MapError, Replica, ReplicaRole, ShardDescriptor, ShardMap};
pub use merge::{
    AbsorbError, Absorbed, MERGE_OPEN_MAX_MS, Merge, MergeGoal, MergeNext, MergeOp, MergeOutcome,
    MergeSight, OpenMerge, RightSight, SealMark, SealedFor,
};
pub use meta::{
    ClusterSecret, Errand, MetaOp, MetaOutcome, MetaState, Next, OPERATIONS_MAX, Operation,
    OperationId, OperationKind, OperationState, OperationStep, OperationUpdate, Setbacks, Together,
};
pub use placement::{
    ABSORBED_BYTES_MAX, Candidate, Cause, Demand, Explanation, Finding, Growth, Learners, Losses,
    Member, MergeLimits, Move, Moves, PlacementError, PlacementPolicy, Places, Plan, PlannedMerge,
    Policy, ReadDemand, ReaderLimits, Readers, ReadersOf, Relocation, Rings, ShardLoad, Shrinkage,
    SplitLimits, Step, StepKind, SystemGroup, Traffic, Unplaceable, Verdict, World, Writers,
    bound_of, explain, plan, plan_first_map, plan_first_map_in, plan_led, plan_moves,
    plan_system_group, split_point,
};
pub use position::LogPosition;
pub use purge::{
    PURGE_BYTES_MAX, PURGE_TARGETS_MAX, PURGES_MAX, PurgeEntry, PurgeId, PurgeOp, PurgeOutcome,
    PurgeState, PurgeTail, PurgeTarget,
};
pub use query::{
    CELLS_DEFAULT, CELLS_MAX, CellAmounts, Cursor, FacetMode, FacetName, Filters, HitOrder,
    LANGUAGES_MAX, LIMIT_DEFAULT, LIMIT_MAX, Languages, MapQuery, MapRequest, Place, Problem,
    ProblemPlace, Query, QueryError, QueryErrorKind, RESOLUTION_MAX, RESOLUTION_MIN,
    SUGGEST_LIMIT_DEFAULT, SUGGEST_LIMIT_MAX, SearchRequest, SearchRules, ShardEpoch, Sort,
    SuggestQuery, SuggestRequest,
};
pub use read::{Found, ListingPage, Question, ReadAnswer, ReadOp, StoredListing};
pub use refusal::Refusal;
pub use session::{
    Condition, CreateSession, ERASURE_RETENTION_MS, ErasedHere, ErasureId, ErasureNote,
    ErasureView, IDEMPOTENCY_RETENTION_MS, IdempotencyKey, LeftReplica, OriginAnswer,
    ParseErasureIdError, PutSession, RetiredReplica, SESSION_TTL_MAX_MS, Sealed, SessionHead,
    SessionId, SessionLimits, SessionOp, SessionOutcome, SessionPage, SessionRecord, SessionState,
    SessionTouch, StoredSession, USER_ID_MAX_BYTES, WrappedKey,
};
pub use split::{Child, Split};
pub use state::{ShardState, ShardStats, ShardView, Snapshot, StateRestoreError};
pub use version::RecordVersion;
