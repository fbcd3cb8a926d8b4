//! What can be done to sessions, and what it answers.

use serde::{Deserialize, Serialize};

use super::{ErasureId, ErasureNote, IdempotencyKey, Sealed, SessionHead, SessionId, WrappedKey};
use crate::RecordVersion;
use hexpop_edge_config::{RaftId, ShardId};

/// What a session and a user may cost, as configured where the request was taken.
///
/// They travel in the command, so that every replica decides alike whatever its own configuration;
/// the ceilings of [`SessionLimits::CEILING`] hold regardless.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct SessionLimits {
    /// The most bytes of a sealed value.
    pub sealed_bytes: u32,
    /// The most records of one user in the shard: sessions, and ended ones that an idempotency key
    /// still names.
    pub per_user: u32,
}

impl SessionLimits {
    /// What sealing may add to a value: nonce and tag of AES-256-GCM (28 bytes) and room for a header.
    pub const SEAL_OVERHEAD: u32 = 64;

    /// What no command can exceed.
    pub const CEILING: Self =
        Self { sealed_bytes: (1 << 20) + Self::SEAL_OVERHEAD, per_user: 1_000_000 };
}

impl Default for SessionLimits {
    /// Values of 64 KiB, 1000 sessions a user.
    fn default() -> Self {
        Self { sealed_bytes: (64 << 10) + Self::SEAL_OVERHEAD, per_user: 1000 }
    }
}

/// What must hold of the stored session for a write to happen.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Condition {
    /// It exists and has this version (`If-Match: "17-3-9120"`).
    IfMatch(RecordVersion),
    /// It exists, whatever its version (`If-Match: *`).
    IfExists,
    /// It does not exist (`If-None-Match: *`).
    IfAbsent,
}

impl Condition {
    /// Whether it holds of a session with this version, `None` = there is none.
    #[must_use]
    pub fn holds(self, current: Option<RecordVersion>) -> bool {
        match self {
            Self::IfMatch(version) => current == Some(version),
            Self::IfExists => current.is_some(),
            Self::IfAbsent => current.is_none(),
        }
    }
}

/// A new session under an id that nothing has.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct CreateSession {
    /// Its id.
    pub id: SessionId,
    /// Its user.
    pub user: String,
    /// Its life in milliseconds, 1 to [`SESSION_TTL_MAX_MS`](super::SESSION_TTL_MAX_MS).
    pub ttl_ms: u64,
    /// Whether touches renew it.
    pub sliding: bool,
    /// Its value.
    pub sealed: Sealed,
    /// The key that the value is sealed under, unless the shard is known to have it.
    pub key: Option<WrappedKey>,
    /// By which a repeat is recognised for as long as
    /// [`IDEMPOTENCY_RETENTION_MS`](super::IDEMPOTENCY_RETENTION_MS) says.
    pub idempotency: Option<IdempotencyKey>,
    /// The limits it is held to.
    pub limits: SessionLimits,
}

/// A session's new value, or a new session.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PutSession {
    /// Its id.
    pub id: SessionId,
    /// Its user.
    pub user: String,
    /// Its life in milliseconds, 1 to [`SESSION_TTL_MAX_MS`](super::SESSION_TTL_MAX_MS).
    pub ttl_ms: u64,
    /// Whether touches renew it.
    pub sliding: bool,
    /// Its value.
    pub sealed: Sealed,
    /// The key that the value is sealed under, unless the shard is known to have it.
    pub key: Option<WrappedKey>,
    /// What must hold; `None` = upsert.
    pub condition: Option<Condition>,
    /// The limits it is held to.
    pub limits: SessionLimits,
}

/// That a session was used.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SessionTouch {
    /// The session.
    pub id: SessionId,
    /// When, on the clock of the leader that gathered it; counts no later than the command itself.
    pub at_ms: u64,
}

/// What a command does in a sessions shard.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum SessionOp {
    /// Makes a new session.
    Create(CreateSession),
    /// Replaces or makes a session.
    Put(PutSession),
    /// Removes a session.
    Delete {
        /// Its id.
        id: SessionId,
        /// What must hold.
        condition: Option<Condition>,
    },
    /// Renews sliding sessions; the only operation that comes before the expiry of its own entry,
    /// since the touches happened before it.
    Touch {
        /// The touches, in any order.
        touches: Vec<SessionTouch>,
    },
    /// Removes everything the shard holds of a user, keys included. A repeat of the same erasure
    /// removes nothing more: it is refused once the shard may have forgotten the first.
    EraseUser {
        /// The user.
        user: String,
        /// Which erasure it is part of.
        erasure: ErasureId,
        /// When the erasure was begun, in milliseconds since the Unix epoch: the same in all repeats.
        begun_ms: u64,
    },
    /// Keeps in mind that an erasure is not complete elsewhere; adds to an earlier note of it.
    KeepErasure {
        /// The erasure.
        erasure: ErasureId,
        /// What is to be done.
        note: ErasureNote,
    },
    /// The erasure is complete everywhere, or too old to be carried on; its note goes.
    CloseErasure {
        /// The erasure.
        erasure: ErasureId,
    },
    /// A replica has rid its disk of everything that was erased up to an entry.
    Compacted {
        /// The replica's data directory.
        raft: RaftId,
        /// The index of the entry.
        upto: u64,
    },
    /// A replica that has left the group holds nothing of it any more.
    Destroyed {
        /// The replica's data directory.
        raft: RaftId,
        /// The index of the entry that removed it.
        left_at: u64,
    },
    /// Notes that an erasure found nothing to remove: neither the shard nor, as far as it can know, any
    /// of its disks has anything of the user, whom the entry therefore does not name. Whoever proposes
    /// it has asked, after the erasure was begun
    /// ([`ReadOp::MayHoldUser`](crate::ReadOp::MayHoldUser)).
    EraseNothing {
        /// Which erasure it is part of.
        erasure: ErasureId,
        /// As in `EraseUser`.
        begun_ms: u64,
    },
    /// A replica of a shard that this one has taken in holds nothing of it any more.
    Withdrawn {
        /// The shard that is no more.
        shard: ShardId,
        /// The replica's data directory.
        raft: RaftId,
    },
}

impl SessionOp {
    /// The sessions it names.
    pub fn ids(&self) -> impl Iterator<Item = &SessionId> {
        let (one, many): (Option<&SessionId>, &[SessionTouch]) = match self {
            Self::Create(create) => (Some(&create.id), &[]),
            Self::Put(put) => (Some(&put.id), &[]),
            Self::Delete { id, .. } => (Some(id), &[]),
            Self::Touch { touches } => (None, touches),
            Self::EraseUser { .. }
            | Self::EraseNothing { .. }
            | Self::KeepErasure { .. }
            | Self::CloseErasure { .. }
            | Self::Compacted { .. }
            | Self::Destroyed { .. }
            | Self::Withdrawn { .. } => (None, &[]),
        };
        one.into_iter().chain(many.iter().map(|touch| &touch.id))
    }

    /// The value it carries.
    pub(crate) const fn sealed(&self) -> Option<&Sealed> {
        match self {
            Self::Create(CreateSession { sealed, .. }) | Self::Put(PutSession { sealed, .. }) => {
                Some(sealed)
            }
            _ => None,
        }
    }

    /// The user it names.
    #[must_use]
    pub fn user(&self) -> Option<&str> {
        match self {
            Self::Create(CreateSession { user, .. })
            | Self::Put(PutSession { user, .. })
            | Self::EraseUser { user, .. } => Some(user),
            Self::Delete { .. }
            | Self::Touch { .. }
            | Self::EraseNothing { .. }
            | Self::KeepErasure { .. }
            | Self::CloseErasure { .. }
            | Self::Compacted { .. }
            | Self::Destroyed { .. }
            | Self::Withdrawn { .. } => None,
        }
    }
}

/// What an operation did. None carries a value: the caller of a write has it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum SessionOutcome {
    /// The session is new.
    Created(SessionHead),
    /// The session has a new value.
    Replaced(SessionHead),
    /// A repeat of a create: its first answer. The session may have changed or ended since.
    Repeated(SessionHead),
    /// The idempotency key was used with another body; nothing changed.
    IdempotencyMismatch,
    /// The idempotency key was used for a session whose user was erased; nothing changed.
    IdempotencyErased,
    /// The condition does not hold, or a create met an existing id; nothing changed.
    PreconditionFailed {
        /// The version there is; `None` = no session.
        current: Option<RecordVersion>,
    },
    /// There is no such session; nothing changed.
    NotFound,
    /// The session is gone.
    Deleted,
    /// The touches that found their session were counted; the others met none.
    Touched {
        /// How many sessions were found, sliding or not.
        found: u32,
    },
    /// Nothing of the user is left.
    Erased {
        /// How many sessions were removed.
        sessions: u32,
        /// The index of the entry that did it; that of the first one for a repeat; 0 when no disk has
        /// to be rid of anything.
        index: u64,
    },
    /// The value is sealed under a key that the shard does not have (any more), and that did not come
    /// along; nothing changed.
    KeyUnknown,
    /// It is noted.
    Noted,
    /// A repeat of a write whose user was erased since: what it answered is gone too.
    UserErased,
}
