//! Section `cache`: memory for cached answers and hot documents.

use std::time::Duration;

use super::section::Section;
use crate::ByteSize;

/// Memory for cached answers and hot documents.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Cache {
    /// Memory for answers of the origin.
    ///
    /// Too low: popular pages are thrown out and fetched again. Too high: the node runs out of memory.
    /// Default 256 MiB, from 1 MiB. Since 0.1. Watch `hexpop_cache_bytes`, `hexpop_cache_lookups_total`.
    pub bytes: ByteSize,
    /// The largest answer that is stored; a larger one is passed on as it comes.
    ///
    /// Too low: images always come from the origin. Too high: few objects push out many. At most
    /// [`bytes`](Self::bytes). Default 8 MiB, from 1 KiB. Since 0.1.
    pub object_max: ByteSize,
    /// How long beyond its freshness an answer may be served when the origin fails and the answer itself
    /// does not say.
    ///
    /// Zero: never beyond what the answer allows. Too high: pages of yesterday. Default 0 s, up to 30 d.
    /// Since 0.1.
    pub stale_max: Duration,
    /// Memory for the documents of listings that are asked for often.
    ///
    /// Too low: they are read from disk each time. Default 64 MiB, from 1 MiB. Since 0.1.
    pub docs_bytes: ByteSize,
}

impl Default for Cache {
    fn default() -> Self {
        Self {
            bytes: ByteSize::mib(256),
            object_max: ByteSize::mib(8),
            stale_max: Duration::ZERO,
            docs_bytes: ByteSize::mib(64),
        }
    }
}

impl Cache {
    pub(super) fn read(section: &mut Section<'_>) -> Self {
        let default = Self::default();
        let most = ByteSize::gib(1024);
        Self {
            bytes: section
                .key("bytes", "Memory for answers of the origin.")
                .between(ByteSize::mib(1), most)
                .or(default.bytes),
            object_max: section
                .key("object_max", "The largest answer that is stored.")
                .between(ByteSize::kib(1), most)
                .or(default.object_max),
            stale_max: section
                .key("stale_max", "How long beyond its freshness an answer may be served.")
                .between(Duration::ZERO, Duration::from_secs(30 * 24 * 60 * 60))
                .reloads()
                .or(default.stale_max),
            docs_bytes: section
                .key("docs_bytes", "Memory for documents of listings that are often asked for.")
                .between(ByteSize::mib(1), most)
                .or(default.docs_bytes),
        }
    }
}
