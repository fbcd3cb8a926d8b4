//! Real processes: a demo's mesh on this machine, asked, hurt and asked again.
//!
//! Tests that only ask share one mesh; each that hurts starts its own, one at a time. Processes die
//! with this one, however it ends. With `HEXPOP_TEST_DATA` (a folder that holds
//! `listings/*.ndjson.gz`) searches are compared on some of those files too, with
//! `HEXPOP_TEST_FULL=1` on all of them.

#![expect(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test fails by panicking")]

mod answers;
mod bad_input;
mod client;
mod demo;
mod disk;
mod divide;
mod doctor;
mod drain;
mod edge;
mod edge_load;
mod edge_rules;
mod erasure;
mod failover;
mod listings;
mod merge;
mod mesh;
mod oracle;
mod origin;
mod purge;
mod readers;
mod reload;
mod repair;
mod scripted;
mod searches;
mod sessions;
mod system_groups;
mod tier;
mod wait;
