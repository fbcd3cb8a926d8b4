//! What sessions may cost: checked before a command is proposed, and alike when it is applied.

use super::SessionState;
use crate::{
    refusal::Refusal,
    session::{
        CreateSession, IdempotencyRecord, PutSession, SESSION_TTL_MAX_MS, SessionLimits, SessionOp,
        SessionRecord, USER_ID_MAX_BYTES, WrappedKey,
    },
};

/// The most records of a shard: sessions, and creates that are remembered.
const SHARD_RECORDS_MAX: usize = 2_000_000;

/// The most bytes of a shard.
const SHARD_BYTES_MAX: u64 = 2 << 30;

/// The most touches in one command.
const TOUCHES_MAX: usize = 10_000;

impl SessionOp {
    /// Checks what does not depend on the state. A proposer does so before it proposes; the state
    /// machine does the same, so that a careless proposer harms nobody.
    ///
    /// # Errors
    /// The [`Refusal`] that applying it would answer.
    pub fn check(&self) -> Result<(), Refusal> {
        match self {
            Self::Create(CreateSession { user, ttl_ms, sealed, key, limits, .. })
            | Self::Put(PutSession { user, ttl_ms, sealed, key, limits, .. }) => {
                check_user(user)?;
                key.as_ref().map_or(Ok(()), WrappedKey::check)?;
                if !(1..=SESSION_TTL_MAX_MS).contains(ttl_ms) {
                    return Err(Refusal::Invalid(format!(
                        "a session lives 1 ms to {SESSION_TTL_MAX_MS} ms, not {ttl_ms} ms"
                    )));
                }
                let max = limits.sealed_bytes.min(SessionLimits::CEILING.sealed_bytes);
                check_size("the session's value", sealed.bytes.len(), u64::from(max))
            }
            Self::EraseUser { user, .. } => check_user(user),
            Self::KeepErasure { note, .. } => note.check(),
            Self::Touch { touches } if touches.len() > TOUCHES_MAX => Err(Refusal::Invalid(
                format!("a command takes at most {TOUCHES_MAX} touches, not {}", touches.len()),
            )),
            Self::Touch { .. }
            | Self::Delete { .. }
            | Self::EraseNothing { .. }
            | Self::CloseErasure { .. }
            | Self::Compacted { .. }
            | Self::Destroyed { .. }
            | Self::Withdrawn { .. } => Ok(()),
        }
    }
}

fn check_user(user: &str) -> Result<(), Refusal> {
    if user.is_empty() {
        return Err(Refusal::Invalid("a user's id is not empty".into()));
    }
    check_size("the user's id", user.len(), USER_ID_MAX_BYTES as u64)
}

fn check_size(what: &str, found: usize, max: u64) -> Result<(), Refusal> {
    let found = found as u64;
    if found > max { Err(Refusal::TooLarge { what: what.into(), found, max }) } else { Ok(()) }
}

impl IdempotencyRecord {
    /// What it counts against the limit of the shard, in bytes.
    pub(super) fn weight(&self) -> u64 {
        const OVERHEAD: usize = 384;
        let user = self.answer.as_ref().map_or(0, |answer| answer.head.user.len());
        (OVERHEAD + 3 * self.session.as_str().len() + 2 * user) as u64
    }
}

impl SessionState {
    /// Whether `record` may come in the place of the one with its id, if there is one.
    pub(super) fn check_room(
        &self,
        record: &SessionRecord,
        limits: SessionLimits,
    ) -> Result<(), Refusal> {
        let stored = self.sessions.get(&record.head.id);
        let same_user = stored.is_some_and(|stored| stored.head.user == record.head.user);
        let max = limits.per_user.min(SessionLimits::CEILING.per_user);
        let has = self.users.get(&record.head.user).map_or(0, |of_user| {
            u32::try_from(of_user.sessions.len()).unwrap_or(u32::MAX).saturating_add(of_user.ended)
        });
        if !same_user && has >= max {
            return Err(Refusal::UserQuota { max });
        }
        let records = self.sessions.len() + self.memory.len();
        if stored.is_none() && records >= SHARD_RECORDS_MAX {
            return Err(Refusal::Limit(format!("the shard holds {SHARD_RECORDS_MAX} records")));
        }
        let freed = stored.map_or(0, SessionRecord::weight);
        let bytes = self.bytes().saturating_sub(freed).saturating_add(record.weight());
        // A write that makes the shard smaller is always taken.
        if bytes > SHARD_BYTES_MAX && bytes > self.bytes() {
            return Err(Refusal::Limit(format!("the shard holds {SHARD_BYTES_MAX} bytes")));
        }
        Ok(())
    }
}
