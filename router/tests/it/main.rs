//! The router over real shard states and fake transports.

#![expect(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "a test that cannot go on fails where it is"
)]

mod cache;
mod codings;
mod disk;
mod edge;
mod feed;
mod ingest;
mod interims;
mod listings;
mod merging;
mod mesh;
mod origin;
mod purges;
mod real;
mod results;
mod searches;
mod sessions;
mod tier;
mod tier_rules;
