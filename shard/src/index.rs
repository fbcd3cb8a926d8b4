//! The index of one shard: columns of rows that lie together on the ground, a tree over them with bounds
//! and counts of every subtree, ids in their order, words, and live counts of places. It holds every
//! listing of the shard; searches find those that are active and not hidden.
//!
//! A version of it ([`IndexView`]) is an immutable value: the writer changes its own ([`ShardIndex`]),
//! and a clone of the view shares all that is not changed afterwards. A query therefore sees one position
//! of the log from its first row to its last, waits for nobody, and holds nobody up.
//!
//! Nothing that a search answers depends on row numbers or codes, so that replicas whose rows are
//! numbered differently (after a snapshot, say) answer alike.

mod area;
mod clusters;
mod column;
mod columns;
mod count;
mod dictionary;
mod facets;
mod filter;
mod ids;
mod leaf;
mod order;
mod places;
mod select;
mod shared;
mod tally;
mod text;
mod tree;
mod zone;

pub use self::{
    clusters::{PartialCell, PartialClusters},
    columns::{IndexView, ShardIndex},
    facets::{PartialFacets, PartialPrices, PriceGroup, PriceTally, ValueCounts},
    order::{IndexAnswer, IndexHit},
    places::{PartialPlace, PartialSuggestions, PlaceKind},
    text::fold_words,
};
pub(crate) use self::{order::from_ascending, shared::SharedVec, tally::mean};

/// The number of a row: stable while its listing is stored, reused afterwards.
pub type Row = u32;
