//! The index of one shard: columns over row numbers, bitmaps for what has few values, postings for
//! words, and live counts of places. It holds every listing of the shard; searches find those that
//! are active and not hidden.
//!
//! Nothing that a search answers depends on row numbers, so that replicas whose rows are numbered
//! differently (after a snapshot, say) answer alike.

mod clusters;
mod coded;
mod columns;
mod facets;
mod filter;
mod order;
mod places;
mod postings;
mod text;

pub use self::{
    clusters::{PartialCell, PartialClusters},
    columns::ShardIndex,
    facets::{PartialFacets, PartialPrices, PriceGroup, PriceTally, ValueCounts},
    order::{IndexAnswer, IndexHit},
    places::{PartialPlace, PartialSuggestions, PlaceKind},
    text::fold_words,
};
pub(crate) use self::{
    facets::mean,
    order::{ascending, from_ascending},
};

/// The number of a row: stable while its listing is stored, reused afterwards.
pub type Row = u32;
