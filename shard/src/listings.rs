//! The replicated state of a listings shard: what the log carries, what applying it does, and what
//! can be read. Documents sit behind a port.

mod absorb;
mod op;
mod read;
mod snapshot;
mod state;
mod store;
mod tombstones;
mod view;

pub use self::{
    op::{
        DeleteItem, FeedCursor, ItemOutcome, ListingRef, ListingsOp, ListingsOutcome,
        StoredVersion, UpsertItem,
    },
    read::{PartialHit, PartialSearch},
    snapshot::{RestoreError, SnapshotError},
    state::{ListingsCounts, ListingsState},
    store::{DocRef, DocumentStore, MemoryDocuments},
    tombstones::TOMBSTONE_RETENTION_MS,
    view::{ListingsView, RowView},
};
