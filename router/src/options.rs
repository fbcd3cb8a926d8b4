//! What an operator can set about routing.

use std::time::Duration;

use hexpop_edge_config::{NodeId, PopId, RaftId, Territory};

use crate::{
    breaker::BreakerOptions, cache::CacheOptions, coding::CodingOptions, retry::RetryPolicy,
};

/// Options of a router. [`RouterOptions::new`] gives the defaults.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RouterOptions {
    /// This node.
    pub node: NodeId,
    /// Its PoP.
    pub pop: PopId,
    /// The identity of its data directory: half of every request id.
    pub raft: RaftId,
    /// The number of this process's start, so that request ids never repeat.
    pub start: u64,
    /// For a read, all its parts and repeats included. Default 2 s.
    pub read_timeout: Duration,
    /// For a write, an election in between included. Default 5 s.
    pub write_timeout: Duration,
    /// For one attempt of a write; then another node is asked with the same request id. Too low:
    /// writes are sent twice when the disk is slow. Too high: one dead node costs the client all
    /// its time. Default 1.5 s.
    pub write_attempt_timeout: Duration,
    /// After this a read is also sent to the next replica. Default 100 ms.
    pub hedge_after: Duration,
    /// Repeats of one part of a request.
    pub retry: RetryPolicy,
    /// Shards asked at a time for one search. Default 64.
    pub fan_out_max: usize,
    /// Ids whose place is remembered in front of the directory. Default 200,000 (about 40 MiB).
    pub id_cache_max: u64,
    /// Bytes of what shards found for questions, kept for who asks the same. Default 32 MiB.
    pub results_bytes_max: u64,
    /// Breakers of other nodes.
    pub peer_breaker: BreakerOptions,
    /// Breakers of the origin.
    pub origin_breaker: BreakerOptions,
    /// The HTTP cache.
    pub cache: CacheOptions,
    /// Content codings.
    pub coding: CodingOptions,
    /// Taking listings in.
    pub ingest: IngestOptions,
    /// Following the origin's feed.
    pub feed: FeedOptions,
}

/// Options of taking listings in.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct IngestOptions {
    /// Items of one command at most. Default 512.
    pub batch_items_max: usize,
    /// Bytes of one command at most; a single larger item makes one of its own. Default 512 KiB.
    pub batch_bytes_max: usize,
    /// Lines worked on together: their steps share round trips. Default 4096.
    pub window_lines_max: usize,
    /// Bytes of such a window. Default 8 MiB.
    pub window_bytes_max: usize,
    /// Commands under way at a time. Default 16.
    pub concurrency: usize,
    /// For one window. Default 15 s.
    pub timeout: Duration,
    /// How often a lost race for a directory entry is run again within a window. Default 4.
    pub races_max: u32,
}

impl Default for IngestOptions {
    fn default() -> Self {
        Self {
            batch_items_max: 512,
            batch_bytes_max: 512 << 10,
            window_lines_max: 4096,
            window_bytes_max: 8 << 20,
            concurrency: 16,
            timeout: Duration::from_secs(15),
            races_max: 4,
        }
    }
}

/// Options of following the origin's feed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FeedOptions {
    /// The territories that the origin is followed for; empty = no feed.
    pub territories: Vec<Territory>,
    /// Listings of one page of the export. Default 2000.
    pub page_lines: u32,
    /// For the head of a response. Default 10 s.
    pub head_timeout: Duration,
    /// After so long without a line (heartbeats are lines) a change feed is asked for anew.
    /// Default 60 s.
    pub idle_timeout: Duration,
    /// The pause after the first failure; doubles from there. Default 1 s.
    pub backoff_first: Duration,
    /// The longest pause. Default 30 s.
    pub backoff_max: Duration,
    /// How often leadership is looked at. Default 1 s.
    pub watch_interval: Duration,
    /// The longest line. Default 512 KiB.
    pub line_bytes_max: usize,
}

impl Default for FeedOptions {
    fn default() -> Self {
        Self {
            territories: Vec::new(),
            page_lines: 2000,
            head_timeout: Duration::from_secs(10),
            idle_timeout: Duration::from_secs(60),
            backoff_first: Duration::from_secs(1),
            backoff_max: Duration::from_secs(30),
            watch_interval: Duration::from_secs(1),
            line_bytes_max: 512 << 10,
        }
    }
}

impl RouterOptions {
    /// The defaults for a node.
    #[must_use]
    pub fn new(node: NodeId, pop: PopId, raft: RaftId, start: u64) -> Self {
        Self {
            node,
            pop,
            raft,
            start,
            read_timeout: Duration::from_secs(2),
            write_timeout: Duration::from_secs(5),
            write_attempt_timeout: Duration::from_millis(1500),
            hedge_after: Duration::from_millis(100),
            retry: RetryPolicy::default(),
            fan_out_max: 64,
            id_cache_max: 200_000,
            results_bytes_max: 32 << 20,
            peer_breaker: BreakerOptions::default(),
            origin_breaker: BreakerOptions::default(),
            cache: CacheOptions::default(),
            coding: CodingOptions::default(),
            ingest: IngestOptions::default(),
            feed: FeedOptions::default(),
        }
    }
}
