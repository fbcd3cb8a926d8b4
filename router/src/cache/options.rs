//! What an operator can set about the HTTP cache.

use std::time::Duration;

/// The `Host` that the origin sees, and the authority of cache keys.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub enum OriginHost {
    /// The authority of the client's request.
    #[default]
    Pass,
    /// This one, whatever the client asked for.
    Fixed(String),
}

/// Options of the HTTP cache.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CacheOptions {
    /// Bytes of stored responses in memory. Too low: responses are evicted before they are used
    /// again. Default 64 MiB. Watch `hexpop_cache_bytes`.
    pub bytes_max: u64,
    /// A longer body is passed on and not stored. A fetch holds at most this much. Default 8 MiB.
    pub object_bytes_max: usize,
    /// Fetches that others can wait for, at a time; further ones go alone. Default 4096.
    pub flights_max: usize,
    /// Who may wait for one fetch; further ones are refused as overload. Default 10,000.
    pub waiters_max: usize,
    /// How long stale responses may be used beyond what they allow themselves when the origin
    /// fails. Default 0.
    pub stale_max: Duration,
    /// For how long a URI that proved uncacheable is not waited for. Default 10 s.
    pub uncacheable_memory: Duration,
    /// For the head of the origin's response. Default 10 s.
    pub origin_timeout: Duration,
    /// For the body of a response that is being stored. Default 30 s.
    pub body_timeout: Duration,
    /// What the origin sees as `Host`.
    pub host: OriginHost,
}

impl Default for CacheOptions {
    fn default() -> Self {
        Self {
            bytes_max: 64 << 20,
            object_bytes_max: 8 << 20,
            flights_max: 4096,
            waiters_max: 10_000,
            stale_max: Duration::ZERO,
            uncacheable_memory: Duration::from_secs(10),
            origin_timeout: Duration::from_secs(10),
            body_timeout: Duration::from_secs(30),
            host: OriginHost::Pass,
        }
    }
}
