//! Section `cache.answers`: for how long clients and caches on their way may keep what the mesh itself
//! answers, and what a node keeps of it.

use std::time::Duration;

use super::section::Section;
use crate::ByteSize;

/// The mesh's own answers. Times: zero = ask each time (`no-cache`), which costs a 304 as long as nothing
/// changed. Too high: clients see what was changed so long ago. Up to 1 d. Since 0.1.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CacheAnswers {
    /// How long a listing may be kept. Default 60 s.
    pub listing: Duration,
    /// How long hits and suggestions may be kept. Default 30 s.
    pub search: Duration,
    /// How long a search with facets may be kept. Default 30 s.
    pub facets: Duration,
    /// How long the cells of a map may be kept. Default 5 min.
    pub clusters: Duration,
    /// Memory for what shards found, which holds for who asks the same until something changes there.
    ///
    /// Too low: each search is computed. Default 32 MiB, from 1 MiB. Since 0.1. Watch
    /// `hexpop_search_results_total`, `hexpop_search_results_bytes`.
    pub bytes: ByteSize,
}

impl Default for CacheAnswers {
    fn default() -> Self {
        Self {
            listing: Duration::from_secs(60),
            search: Duration::from_secs(30),
            facets: Duration::from_secs(30),
            clusters: Duration::from_secs(300),
            bytes: ByteSize::mib(32),
        }
    }
}

impl CacheAnswers {
    pub(super) fn read(section: &mut Section<'_>) -> Self {
        let default = Self::default();
        let mut time = |name, about, default| {
            let day = Duration::from_secs(24 * 60 * 60);
            section.key(name, about).between(Duration::ZERO, day).reloads().or(default)
        };
        Self {
            listing: time("listing", "How long a listing may be kept.", default.listing),
            search: time("search", "How long hits may be kept.", default.search),
            facets: time("facets", "How long a search with facets may be kept.", default.facets),
            clusters: time("clusters", "How long map cells may be kept.", default.clusters),
            bytes: section
                .key("bytes", "Memory for what shards found for searches.")
                .between(ByteSize::mib(1), ByteSize::gib(1024))
                .or(default.bytes),
        }
    }

    /// Takes over what a running node can change.
    pub(super) fn take_live(&mut self, new: &Self) {
        let bytes = self.bytes;
        *self = Self { bytes, ..new.clone() };
    }
}
