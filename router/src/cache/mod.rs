//! A shared cache for proxied requests (RFC 9111, RFC 5861, RFC 9211, RFC 9213): in memory, and by [`disk`] behind it;
//! one fetch per key however many wait, at this node and, by [`tier`], in its PoP.
//!
//! ```text
//! request ─> exchange ─> store ─> policy ─┬─ answer it ─────────────────────────> respond
//!                         │               ├─ look on disk, if there is a tier ──> policy
//!                                         ├─ answer it, refresh behind ─────────> respond
//!                                         └─ ask elsewhere ──> flight ─┬─ leader: fetch ─┐   owner, origin
//!                                                                      └─ waiters <──────┤
//!                                       store <─ fill <─ transfer (all read as it comes) ┘
//! ```
//!
//! What may be stored and used is decided by the pure functions of [`policy`]. What comes before a response
//! (1xx) goes past all of this to those who wait: [`interim`].

mod body;
mod conclude;
mod disk;
mod exchange;
mod fetch;
mod fill;
mod flight;
mod follow;
mod forget;
pub mod fuzz;
mod headers;
mod index;
mod inspect;
mod interim;
mod key;
mod options;
mod pass;
mod policy;
mod proxy;
mod purge;
mod recall;
mod respond;
mod store;
mod stored;
mod tier;
mod transfer;

pub use body::{empty, full};
pub(crate) use disk::DiskMetrics;
pub use disk::DiskStats;
pub use exchange::Debugged;
pub use follow::{PurgeHit, PurgeProgress};
pub use inspect::{NotAUrl, StoredView};
pub use interim::{INTERIM_BYTES_MAX, INTERIMS_MAX, Interim, InterimSink};
pub use key::QueryRules;
pub use options::{CacheOptions, DiskOptions, OriginHost};
pub(crate) use policy::text::has_token;
pub use proxy::CacheStats;
pub(crate) use proxy::HttpCache;
pub(crate) use tier::{Tier, answer_within};
