//! Sessions: an opaque value with a version, a user and an end, changed by compare-and-set.
//!
//! The value is sealed before it comes here ([`Sealed`]): command, log and snapshot never hold it in
//! clear. Its key is here too, but wrapped ([`WrappedKey`]); a key goes with the last value under it,
//! and with everything else of a user who is erased. Time is the group's ([`SessionState::expire_due`]): a session ends when an applied command
//! says that it is late enough, on every replica at the same entry.

mod erasure;
mod idempotency;
mod key;
mod named;
mod op;
mod record;
mod state;

pub(crate) use erasure::ErasureItem;
pub use erasure::{
    ERASURE_RETENTION_MS, ErasedHere, ErasureId, ErasureNote, ErasureView, LeftReplica,
    OriginAnswer, ParseErasureIdError, RetiredReplica,
};
pub(crate) use idempotency::IdempotencyRecord;
pub use idempotency::{IDEMPOTENCY_RETENTION_MS, IdempotencyKey};
pub(crate) use key::UserKey;
pub use key::WrappedKey;
pub use op::{
    Condition, CreateSession, PutSession, SessionLimits, SessionOp, SessionOutcome, SessionTouch,
};
pub use record::{SESSION_TTL_MAX_MS, Sealed, SessionHead, SessionId, SessionRecord};
pub(crate) use state::SessionItem;
pub use state::{SessionPage, SessionState, StoredSession};

/// The most bytes of a user's id.
pub const USER_ID_MAX_BYTES: usize = 256;
