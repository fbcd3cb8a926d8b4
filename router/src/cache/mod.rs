//! A first shared cache for proxied requests (RFC 9111, RFC 5861, RFC 9211): in memory, one fetch
//! per key however many wait.
//!
//! ```text
//! request ─> key ─> store ─┬─ fresh ──────────────────────────────> answer
//!                          ├─ stale, may be used meanwhile ───────> answer, refresh behind it
//!                          └─ nothing, stale, not this variant
//!                                └─> flight ─┬─ leader: origin ─> store ─> answer
//!                                            └─ waiters ────────> answer, or go alone
//! ```

mod body;
mod control;
mod fetch;
mod flight;
mod headers;
mod key;
mod options;
mod policy;
mod proxy;
mod respond;
mod store;

pub use body::{empty, full};
pub use options::{CacheOptions, OriginHost};
pub use proxy::CacheStats;
pub(crate) use proxy::HttpCache;
