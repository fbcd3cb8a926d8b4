//! What the crate promises, tested from outside.
#![expect(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::cast_possible_truncation,
    reason = "a test that goes wrong may panic, in its helper functions too"
)]

mod check;
mod listing_changes;
mod listing_parse;
mod listing_state;
mod market;
mod merge_model;
mod oracle;
mod placement_scale;
mod random;
mod reso;
mod search_errors;
mod search_pages;
mod search_random;
mod search_real;
mod seeded;
mod split_model;
mod world;
