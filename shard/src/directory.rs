//! The directory: where the listing of an id is.
//!
//! Entries hold a key and versions, no listing data. A write compares and sets by entry version, and
//! is the commit point of a listing that appears, moves or goes.

mod op;
mod state;

pub use op::{
    DirectoryChange, DirectoryChangeOutcome, DirectoryEntry, DirectoryOp, DirectoryOutcome,
    DirectoryTarget,
};
pub(crate) use state::DirectoryItem;
pub use state::DirectoryState;
