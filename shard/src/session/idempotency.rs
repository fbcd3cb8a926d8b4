//! What a repeated create is recognised by.

use serde::{Deserialize, Serialize};

use super::{SessionHead, SessionId};

/// How long the first answer to a create is kept behind the end of its session: 24 h.
pub const IDEMPOTENCY_RETENTION_MS: u64 = 24 * 60 * 60 * 1000;

/// Names one create across its repeats.
///
/// Both digests are the caller's. `key` must cover the user, so that two users' equal keys differ;
/// the id of the session should follow from it, so that repeats meet in one shard.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct IdempotencyKey {
    /// Digest of user and key.
    pub key: [u8; 32],
    /// Digest of the request's body.
    pub body: [u8; 32],
}

/// What is remembered of a create.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct IdempotencyRecord {
    /// The session that the create was about; places the record in the keyspace.
    pub(crate) session: SessionId,
    /// The answer; `None` once the user was erased: nothing of the user is left then, and a repeat
    /// still creates nothing.
    pub(crate) answer: Option<FirstAnswer>,
    /// When it is forgotten; `None` while its session lives.
    pub(crate) until_ms: Option<u64>,
}

/// The answer a repeat gets. The value is not in it: a repeat with the same body carries it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct FirstAnswer {
    /// Digest of the body.
    pub(crate) body: [u8; 32],
    /// The session as it was created.
    pub(crate) head: SessionHead,
}
