//! What an operator can set about the HTTP cache.

use std::{path::PathBuf, time::Duration};

use super::key::QueryRules;

/// The `Host` that the origin sees, and the authority of cache keys.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub enum OriginHost {
    /// The authority of the client's request.
    #[default]
    Pass,
    /// This one, whatever the client asked for.
    Fixed(String),
}

/// Where on disk there is room for stored responses, and how much.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DiskOptions {
    /// The directory, which nobody else uses. It is made.
    pub dir: PathBuf,
    /// Bytes of files at most. Watch `hexpop_cache_disk_bytes`.
    pub bytes_max: u64,
    /// A longer body is passed on and not stored. At most half of [`bytes_max`](Self::bytes_max) is of use.
    pub object_bytes_max: u64,
}

impl DiskOptions {
    /// Files that are open at most, besides those that were removed and are being read still: those count for who
    /// reads them.
    pub const OPEN_FILES_MAX: usize = 512;
}

/// Options of the HTTP cache.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CacheOptions {
    /// Bytes of stored responses in memory. Too low: responses are evicted before they are used
    /// again. Default 64 MiB. Watch `hexpop_cache_bytes`.
    pub bytes_max: u64,
    /// A longer body is passed on and not stored. Default 8 MiB.
    pub object_bytes_max: usize,
    /// Bytes of bodies that are on their way into the cache, all together; further ones are passed on
    /// and not stored. Default 64 MiB.
    pub arriving_bytes_max: u64,
    /// Fetches that others can wait for, at a time; further ones go alone. Default 4096.
    pub flights_max: usize,
    /// Who may wait for one fetch; further ones are refused as overload. Default 10,000.
    pub waiters_max: usize,
    /// How long stale responses may be used beyond what they allow themselves when the origin
    /// fails. Default 0.
    pub stale_max: Duration,
    /// For how long what is stored may be used without proof that all purges of the mesh are known; then
    /// the origin is asked each time. Default `None`: there are no purges to follow.
    pub purge_max_silence: Option<Duration>,
    /// How long a response that says nothing of it is fresh at most, by when it last changed. Zero =
    /// it is not. Default 1 h.
    pub heuristic_max: Duration,
    /// How long a 404, 405, 410, 414 or 501 that says nothing of it is fresh. Default 1 s.
    pub negative: Duration,
    /// For how long a URI that proved uncacheable is not waited for. Default 10 s.
    pub uncacheable_memory: Duration,
    /// For the head of the origin's response, and for each further part of its body. Default 10 s.
    pub origin_timeout: Duration,
    /// For a whole answer, where a client does not say. Default 30 s.
    pub body_timeout: Duration,
    /// Whether the node that keeps a URI for its PoP is asked before the origin. Default true.
    pub tier: bool,
    /// Room on disk for what has none in memory. Default `None`.
    pub disk: Option<DiskOptions>,
    /// What the origin sees as `Host`.
    pub host: OriginHost,
    /// What of a query counts.
    pub query: QueryRules,
    /// The cookies that the origin gets with requests that the cache may answer; one that ends in `*`
    /// is a prefix. `None` = all.
    pub cookies: Option<Vec<String>>,
}

impl Default for CacheOptions {
    fn default() -> Self {
        Self {
            bytes_max: 64 << 20,
            object_bytes_max: 8 << 20,
            arriving_bytes_max: 64 << 20,
            flights_max: 4096,
            waiters_max: 10_000,
            stale_max: Duration::ZERO,
            purge_max_silence: None,
            heuristic_max: Duration::from_secs(3600),
            negative: Duration::from_secs(1),
            uncacheable_memory: Duration::from_secs(10),
            origin_timeout: Duration::from_secs(10),
            body_timeout: Duration::from_secs(30),
            tier: true,
            disk: None,
            host: OriginHost::Pass,
            query: QueryRules::default(),
            cookies: None,
        }
    }
}
