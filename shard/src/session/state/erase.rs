//! Erasing users, and what the shard can say of it.

use std::collections::BTreeMap;

use hexpop_edge_config::{
    NodeId, RaftId,
    planted::{self, Bug},
};

use super::SessionState;
use crate::{
    Reply,
    refusal::Refusal,
    session::{
        ErasedHere, ErasureId, ErasureItem, ErasureNote, ErasureView, IDEMPOTENCY_RETENTION_MS,
        IdempotencyRecord, LeftReplica, Sealed, SessionOp, SessionOutcome,
    },
};

impl SessionState {
    /// What is known of an erasure.
    #[must_use]
    pub fn erasure(&self, id: ErasureId) -> ErasureView {
        self.erasures.view(id)
    }

    /// The erasures behind `after` that are not complete elsewhere, in the order of their ids.
    pub fn open_erasures(
        &self,
        after: Option<ErasureId>,
    ) -> impl Iterator<Item = (ErasureId, &ErasureNote)> {
        self.erasures.open(after)
    }

    /// Whether the shard has anything of a user, or the log or a snapshot of a replica may. Of the disks of
    /// [`left_replicas`](Self::left_replicas) and [`retired_replicas`](Self::retired_replicas) it says
    /// nothing.
    #[must_use]
    pub fn may_hold(&self, user: &str) -> bool {
        self.users.contains_key(user) || self.erasures.may_name(user)
    }

    /// The replicas that left the group and have not said that nothing of it is on their disks.
    pub fn left_replicas(&self) -> impl Iterator<Item = LeftReplica> {
        self.erasures.left()
    }

    /// Whose disks may hold something although they are no replicas, or not for that.
    pub(crate) fn gone_replicas(&self) -> impl Iterator<Item = (RaftId, NodeId)> {
        self.erasures.gone()
    }

    /// Takes over who the replicas are since the entry of `index`.
    pub(crate) fn members_are(&mut self, index: u64, members: &BTreeMap<RaftId, NodeId>) {
        self.erasures.members_are(index, members);
    }

    /// Notes that logs may name users of whom nothing was ever applied.
    pub(crate) fn name_any(&mut self) {
        self.erasures.name_any();
    }

    /// Notes that log or snapshots hold something of a user from now on.
    pub(crate) fn name(&mut self, user: &str) {
        self.erasures.name(user);
    }

    /// The newest entry behind which nothing of what was erased may stay on a disk; 0 = none.
    pub(crate) const fn last_demand(&self) -> u64 {
        self.erasures.last()
    }

    /// The index of the newest entry that destroyed something, unless the disk of `raft` is rid of
    /// what was destroyed.
    #[must_use]
    pub fn erasure_due_at(&self, raft: RaftId) -> Option<u64> {
        self.erasures.due_at(raft)
    }

    /// Notes the entry of `index`, which was answered by `reply`, if it names a user who was erased, or
    /// carries what was destroyed, although it stored nothing: it must leave the disks too.
    ///
    /// What came `late`, as a repeat or for an epoch that is over, may be from before an erasure whoever it
    /// was answered by then: a value whose key is not here is taken for that, once there was an erasure.
    pub(crate) fn note_idle_entry(
        &mut self,
        index: u64,
        op: &SessionOp,
        reply: &Reply,
        late: bool,
    ) {
        let of_erased = matches!(
            reply,
            Reply::Session(SessionOutcome::UserErased | SessionOutcome::IdempotencyErased)
        );
        let late = late && !planted::has(Bug::LateRepeatStays);
        let is_old =
            |sealed: &Sealed| late && self.erasures.are_any() && !self.data_keys.has(sealed.key_id);
        let is_erasure = matches!(op, SessionOp::EraseUser { .. });
        if of_erased || is_erasure || op.sealed().is_some_and(is_old) {
            self.erasures.note(index);
        }
    }

    /// What is known of erasures, in an order that depends on the content alone.
    pub(crate) fn erasure_items(&self) -> impl Iterator<Item = ErasureItem> {
        self.erasures.items()
    }

    /// Takes one of them.
    pub(crate) fn restore_erasure(&mut self, item: ErasureItem) {
        self.erasures.restore(item);
    }

    pub(super) fn erase_user(
        &mut self,
        user: &str,
        erasure: ErasureId,
        begun_ms: u64,
        index: u64,
        now_ms: u64,
    ) -> Result<SessionOutcome, Refusal> {
        if let Some(done) = self.erasures.get(erasure) {
            // The repeat names the user too: it is not over before that is gone as well.
            self.erasures.note(index);
            self.erasures.record(erasure, ErasedHere { index, ..done });
            return Ok(SessionOutcome::Erased { sessions: done.sessions, index });
        }
        self.erasures.may_begin(begun_ms, now_ms)?;
        let (ids, keys) = self.users.get(user).map_or_else(Default::default, |of_user| {
            (of_user.sessions.clone(), of_user.keys.clone())
        });
        for id in &ids {
            self.end(id, now_ms);
        }
        for key in keys {
            if let Some(record) = self.forget(&key) {
                let until_ms = record
                    .until_ms
                    .unwrap_or_else(|| now_ms.saturating_add(IDEMPOTENCY_RETENTION_MS));
                let blank = IdempotencyRecord {
                    session: record.session,
                    answer: None,
                    until_ms: Some(until_ms),
                };
                self.remember(key, blank);
            }
        }
        // Also when there was nothing: what ended before may still be on the disks.
        self.erasures.note(index);
        let sessions = u32::try_from(ids.len()).unwrap_or(u32::MAX);
        // On a clock ahead of the group's it may be begun later than now; it is remembered for as long
        // as it may be begun.
        let at_ms = now_ms.max(begun_ms);
        self.erasures.record(erasure, ErasedHere { index, sessions, at_ms });
        Ok(SessionOutcome::Erased { sessions, index })
    }

    pub(super) fn erase_nothing(
        &mut self,
        erasure: ErasureId,
        begun_ms: u64,
        now_ms: u64,
    ) -> Result<SessionOutcome, Refusal> {
        if let Some(ErasedHere { index, sessions, .. }) = self.erasures.get(erasure) {
            return Ok(SessionOutcome::Erased { sessions, index });
        }
        self.erasures.may_begin(begun_ms, now_ms)?;
        let at_ms = now_ms.max(begun_ms);
        self.erasures.record(erasure, ErasedHere { index: 0, sessions: 0, at_ms });
        Ok(SessionOutcome::Erased { sessions: 0, index: 0 })
    }
}
