//! The index of one shard: columns of rows that lie together on the ground, a tree over them with bounds
//! and counts of every subtree, ids in their order, words, and live counts of places. It holds every
//! listing of the shard; searches find those that are active and not hidden.
//!
//! A version of it ([`IndexView`]) is an immutable value: the writer changes its own ([`ShardIndex`]),
//! and a clone of the view shares all that is not changed afterwards. A query therefore sees one position
//! of the log from its first row to its last, waits for nobody, and holds nobody up.
//!
//! # Why it is copied on write
//!
//! A lock around columns that change in place makes a search of milliseconds hold up every entry of the
//! log, and an entry of many listings every search. Two copies, changed in turns, double the memory and
//! the work of every change. Here a change copies one leaf, the nodes above it and a few more small
//! nodes: 40 microseconds at the median, 0.1 ms at the 99th percentile, with a million listings; under 5,000
//! updates a second a reader's 99th percentile is 1.1 times that of quiet. The benchmark set compares
//! both schemes (`--updates`, `lock` and `snapshot`).
//!
//! # What it costs, and what is short of its goal
//!
//! `cargo bench -p hexpop-bench --bench engine` compares every kind of query with a plain columnar scan,
//! answers first, then times. On a million synthetic listings the index takes 85 bytes a listing, words
//! among them. Short of its goal is the nearest of a radius with a price range (0.14 ms for 0.1). Slower
//! than the scan are facets of everything with an amenity (3.0 ms for 2.3). Map views without filters take
//! cells whole that were counted before, for as long as their leaves are the same ones.
//!
//! Where all keys are equal a page comes in the order of ids. On the real listings, whose ids begin with
//! their source and city, the walk along the ids is fast only because runs of ids know the listing types
//! among them: 4 µs for the first page of everything, 1.4 ms for comparing the ids of all rows instead.
//!
//! Passing a leaf is bound by the memory it touches: most of a filter's time was spent on the first load of
//! a column. Hence bit planes in the head of a leaf, one cache line per amenity, and numbers about a base.
//!
//! Nothing that a search answers depends on row numbers or codes, so that replicas whose rows are
//! numbered differently (after a snapshot, say) answer alike.

mod area;
mod best;
mod cells;
mod changed;
mod clusters;
mod column;
mod columns;
mod count;
mod cut;
mod dictionary;
mod facets;
mod filter;
mod ids;
mod leaf;
mod mask;
mod order;
mod places;
mod select;
mod shared;
mod tally;
mod text;
mod tree;
mod zone;

pub(crate) use self::{
    changed::{ChangedCell, Changes, Coverage},
    clusters::median,
    order::from_ascending,
    shared::SharedVec,
    tally::mean,
};
pub use self::{
    clusters::{PartialCell, PartialClusters},
    columns::{IndexView, ShardIndex},
    facets::{PartialFacets, PartialPrices, PriceGroup, PriceTally, ValueCounts},
    order::{IndexAnswer, IndexHit},
    places::{PartialPlace, PartialSuggestions, PlaceKind},
    text::fold_words,
};

/// The number of a row: stable while its listing is stored, reused afterwards.
pub type Row = u32;
