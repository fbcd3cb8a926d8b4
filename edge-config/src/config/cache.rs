//! Section `cache`: memory for cached answers and hot documents.

use std::time::Duration;

use super::{
    answers::CacheAnswers, cache_disk::CacheDisk, checks::check_each,
    compression::CacheCompression, section::Section,
};
use crate::ByteSize;

/// Memory for cached answers and hot documents.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Cache {
    /// Memory for answers of the origin.
    ///
    /// Too low: popular pages are thrown out and fetched again. Too high: the node runs out of memory.
    /// Default 256 MiB, from 1 MiB. Since 0.1. Watch `hexpop_cache_bytes`, `hexpop_cache_lookups_total`.
    pub bytes: ByteSize,
    /// The largest answer that is stored in memory; a larger one is passed on as it comes, or stored on
    /// [`disk`](Self::disk).
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
    /// The longest time for which an answer that says nothing of its freshness, but when it last changed,
    /// counts as fresh: a tenth of the time since then, at most this.
    ///
    /// Zero: never. Too high: what an origin forgot to mark is served for too long. Default 1 h, up to 7 d.
    /// Since 0.1.
    pub heuristic_max: Duration,
    /// How long a 404, 405, 410, 414 or 501 that says nothing of its freshness is served again.
    ///
    /// Zero: each goes to the origin. Too high: what was just published is missing for so long. Default
    /// 1 s, up to 1 h. Since 0.1.
    pub negative_ttl: Duration,
    /// Whether one node of a PoP keeps a page for all of them: the others ask it before the origin, so that
    /// the origin is asked about once per PoP.
    ///
    /// Off: each node asks the origin. On: a miss takes one more hop in the PoP. Without effect where a PoP
    /// has one node. Alike on all nodes of a PoP. Default true. Since 0.1. Watch
    /// `hexpop_cache_tier_total`.
    pub tier: bool,
    /// What of a query string tells pages apart.
    pub query: CacheQuery,
    /// The mesh's own answers.
    pub answers: CacheAnswers,
    /// Content codings that a node makes itself.
    pub compression: CacheCompression,
    /// Room on disk for answers of the origin that have none in memory.
    pub disk: CacheDisk,
    /// The cookies that the origin gets with requests that the cache may answer; one that ends in `*` is a
    /// prefix.
    ///
    /// `["*"]`: all. Empty: none. A page that differs by a cookie must say so (`Vary: Cookie`, `private`).
    /// At most 64. Default `["*"]`. Since 0.1.
    pub cookies: Vec<String>,
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
            heuristic_max: Duration::from_secs(3600),
            negative_ttl: Duration::from_secs(1),
            tier: true,
            query: CacheQuery::default(),
            answers: CacheAnswers::default(),
            compression: CacheCompression::default(),
            disk: CacheDisk::default(),
            cookies: vec!["*".to_owned()],
            docs_bytes: ByteSize::mib(64),
        }
    }
}

/// What of a query string tells pages apart. The origin gets the query as these rules leave it.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct CacheQuery {
    /// Parameters that are left out; one that ends in `*` is a prefix, such as `utm_*`.
    ///
    /// At most 256. Default none. Since 0.1.
    pub drop: Vec<String>,
    /// The only parameters that are not left out.
    ///
    /// Empty: all but those of [`drop`](Self::drop). At most 256. Default none. Since 0.1.
    pub keep: Vec<String>,
    /// Whether parameters are put in the order of their names.
    ///
    /// On: pages whose links differ in the order only are one page. Default false. Since 0.1.
    pub sort: bool,
}

impl CacheQuery {
    fn read(section: &mut Section<'_>) -> Self {
        Self {
            drop: section
                .key("drop", "Query parameters that are left out.")
                .check(|names: &Vec<String>| check_each(names, 256, check_name))
                .or(Vec::new()),
            keep: section
                .key("keep", "The only query parameters that are not left out.")
                .check(|names: &Vec<String>| check_each(names, 256, check_name))
                .or(Vec::new()),
            sort: section
                .key("sort", "Whether query parameters are put in the order of their names.")
                .or(false),
        }
    }
}

/// A name of a parameter or cookie, or a prefix with `*` behind it.
fn check_name(name: &str) -> Result<(), String> {
    let plain = name.strip_suffix('*').unwrap_or(name);
    let odd = |letter: char| {
        letter.is_whitespace()
            || letter.is_control()
            || matches!(letter, '*' | '=' | '&' | ';' | '#')
    };
    if name.is_empty() || name.len() > 128 || plain.contains(odd) {
        return Err(format!("`{name}` is no name such as `page`, and no prefix such as `utm_*`"));
    }
    Ok(())
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
            heuristic_max: section
                .key(
                    "heuristic_max",
                    "How long an answer that does not say counts as fresh at most.",
                )
                .between(Duration::ZERO, Duration::from_secs(7 * 24 * 60 * 60))
                .or(default.heuristic_max),
            negative_ttl: section
                .key("negative_ttl", "How long a 404 that does not say is served again.")
                .between(Duration::ZERO, Duration::from_secs(60 * 60))
                .or(default.negative_ttl),
            tier: section
                .key("tier", "Whether one node of a PoP keeps a page for all of them.")
                .or(default.tier),
            query: section.section("query", CacheQuery::read),
            answers: section.section("answers", CacheAnswers::read),
            compression: section.section("compression", CacheCompression::read),
            disk: section.section("disk", CacheDisk::read),
            cookies: section
                .key("cookies", "The cookies that the origin gets with requests for cached pages.")
                .check(|names: &Vec<String>| check_each(names, 64, check_name))
                .or(default.cookies),
            docs_bytes: section
                .key("docs_bytes", "Memory for documents of listings that are often asked for.")
                .between(ByteSize::mib(1), most)
                .or(default.docs_bytes),
        }
    }
}
