//! The sessions of one shard.

mod absorb;
mod erase;
mod limits;
#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};

use hexpop_edge_config::planted::{self, Bug};

use super::{
    CreateSession, IDEMPOTENCY_RETENTION_MS, IdempotencyRecord, PutSession, Sealed, SessionHead,
    SessionId, SessionOp, SessionOutcome, SessionRecord, SessionTouch, UserKey, WrappedKey,
    erasure::Erasures, idempotency::FirstAnswer, key::KeyTable,
};
use crate::{RecordVersion, key::KeyRange, placement::Places, refusal::Refusal};

/// Digest of an idempotency key.
type Key = [u8; 32];

/// All sessions of a shard, and what is remembered of their creation.
#[derive(Debug, Clone, Default)]
pub struct SessionState {
    sessions: BTreeMap<SessionId, SessionRecord>,
    by_expiry: BTreeSet<(u64, SessionId)>,
    memory: BTreeMap<Key, IdempotencyRecord>,
    memory_by_end: BTreeSet<(u64, Key)>,
    /// The key by which a living session was created: exactly those whose record has no end yet.
    key_of: BTreeMap<SessionId, Key>,
    users: BTreeMap<String, OfUser>,
    data_keys: KeyTable,
    erasures: Erasures,
    bytes: u64,
}

/// What one user has.
#[derive(Debug, Clone, Default)]
struct OfUser {
    sessions: BTreeSet<SessionId>,
    keys: BTreeSet<Key>,
    /// Those of `keys` whose session has ended.
    ended: u32,
}

/// A session with what opens its value.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct StoredSession {
    /// The session.
    pub record: SessionRecord,
    /// The key of its value, wrapped; `None` = it was destroyed, and the value is noise.
    pub key: Option<WrappedKey>,
}

/// Some sessions of a user, in the order of their ids.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SessionPage {
    /// The sessions.
    pub sessions: Vec<StoredSession>,
    /// Where to go on; `None` = these were the last.
    pub next: Option<SessionId>,
}

/// One unit of a snapshot.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) enum SessionItem {
    /// A session.
    Session(SessionRecord),
    /// What is remembered of a create.
    Memory(Key, IdempotencyRecord),
}

impl SessionState {
    /// Applies `op`, written as `version` when the group's time is `now_ms`.
    ///
    /// What is due goes first, but for a touch: touches happened before the entry they are in.
    ///
    /// # Errors
    /// [`Refusal`] when a limit would be exceeded; only what was due has changed then.
    pub fn apply(
        &mut self,
        op: &SessionOp,
        version: RecordVersion,
        now_ms: u64,
    ) -> Result<SessionOutcome, Refusal> {
        if let SessionOp::Touch { touches } = op {
            let outcome = op.check().map(|()| self.touch(touches, now_ms));
            self.expire_due(now_ms);
            return outcome;
        }
        self.expire_due(now_ms);
        op.check()?;
        match op {
            SessionOp::Create(create) => self.create(create, version, now_ms),
            SessionOp::Put(put) => self.put(put, version, now_ms),
            SessionOp::Delete { id, condition } => {
                let current = self.version_of(id);
                Ok(match condition {
                    Some(condition) if !condition.holds(current) => {
                        SessionOutcome::PreconditionFailed { current }
                    }
                    _ if self.end(id, now_ms) => SessionOutcome::Deleted,
                    _ => SessionOutcome::NotFound,
                })
            }
            SessionOp::Touch { touches } => Ok(self.touch(touches, now_ms)),
            SessionOp::EraseUser { user, erasure, begun_ms } => {
                self.erase_user(user, *erasure, *begun_ms, version.index, now_ms)
            }
            SessionOp::EraseNothing { erasure, begun_ms } => {
                self.erase_nothing(*erasure, *begun_ms, now_ms)
            }
            SessionOp::KeepErasure { erasure, note } => {
                self.erasures.keep(*erasure, note).map(|()| SessionOutcome::Noted)
            }
            SessionOp::CloseErasure { erasure } => {
                if self.erasures.close(*erasure) {
                    // The note names the user, if only to whoever holds the key.
                    self.erasures.note(version.index);
                }
                Ok(SessionOutcome::Noted)
            }
            SessionOp::Compacted { raft, upto } => {
                self.erasures.compacted(*raft, *upto);
                Ok(SessionOutcome::Noted)
            }
            SessionOp::Destroyed { raft, left_at } => {
                self.erasures.destroyed(*raft, *left_at);
                Ok(SessionOutcome::Noted)
            }
            SessionOp::Withdrawn { shard, raft } => {
                self.erasures.withdrawn(*shard, *raft);
                Ok(SessionOutcome::Noted)
            }
        }
    }

    /// Removes every session whose end `now_ms` has reached, and forgets creates whose time is over.
    /// Answers how many sessions went.
    pub fn expire_due(&mut self, now_ms: u64) -> u64 {
        let mut expired = 0;
        while let Some((expires_ms, id)) = self.by_expiry.first() {
            if *expires_ms > now_ms {
                break;
            }
            let id = id.clone();
            self.end(&id, now_ms);
            expired += 1;
        }
        while let Some((until_ms, key)) = self.memory_by_end.first().copied() {
            if until_ms > now_ms {
                break;
            }
            self.forget(&key);
        }
        self.erasures.expire_due(now_ms);
        expired
    }

    /// When something is due next, in group time.
    #[must_use]
    pub fn next_due_ms(&self) -> Option<u64> {
        let session = self.by_expiry.first().map(|(at, _id)| *at);
        let memory = self.memory_by_end.first().map(|(at, _key)| *at);
        session.into_iter().chain(memory).chain(self.erasures.next_due_ms()).min()
    }

    /// A session that no applied command has ended.
    ///
    /// It may be past its end on the reader's clock: whether it is gone is decided by the log, so a
    /// reader that sees it late has time moved on there and reads again.
    #[must_use]
    pub fn get(&self, id: &SessionId) -> Option<&SessionRecord> {
        self.sessions.get(id)
    }

    /// A session as [`get`](Self::get) finds it, with its key.
    #[must_use]
    pub fn stored(&self, id: &SessionId) -> Option<StoredSession> {
        self.sessions.get(id).map(|record| self.with_key(record))
    }

    fn with_key(&self, record: &SessionRecord) -> StoredSession {
        let key = self.data_keys.get(record.sealed.key_id).cloned();
        StoredSession { record: record.clone(), key }
    }

    /// The sessions of `user` behind `after`, until their values exceed `max_bytes`; at least one.
    #[must_use]
    pub fn of_user(&self, user: &str, after: Option<&SessionId>, max_bytes: u64) -> SessionPage {
        let mut page = SessionPage { sessions: Vec::new(), next: None };
        let Some(of_user) = self.users.get(user) else { return page };
        let mut bytes = 0_u64;
        for id in &of_user.sessions {
            if after.is_some_and(|after| id <= after) {
                continue;
            }
            let Some(record) = self.sessions.get(id) else { continue };
            bytes = bytes.saturating_add(record.weight());
            if let Some(last) = page.sessions.last().filter(|_| bytes > max_bytes) {
                page.next = Some(last.record.head.id.clone());
                break;
            }
            page.sessions.push(self.with_key(record));
        }
        page
    }

    /// The points of all sessions.
    pub(crate) fn points(&self) -> Places {
        let mut places = Places::new();
        for id in self.sessions.keys() {
            places.entry(Some(id.territory().clone())).or_default().push(id.key().point);
        }
        places
    }

    /// For a split by the entry of `index`: moves what is of a key range into a state of its own, sessions
    /// and memory of creates. A data key that values of both parts are under is in both then.
    ///
    /// Who has nothing left here is known as somebody of whom log and snapshots hold something.
    pub(crate) fn cut(&mut self, range: &KeyRange, index: u64) -> Self {
        let erasures = self.erasures.inherited(index);
        let mut part = Self { erasures, ..Self::default() };
        let of_range = |id: &&SessionId| range.contains(&id.key());
        let moved: Vec<SessionId> = self.sessions.keys().filter(of_range).cloned().collect();
        for id in &moved {
            let key_id = self.sessions.get(id).map(|record| record.sealed.key_id);
            let key = key_id.filter(|key_id| !part.data_keys.has(*key_id));
            if let Some(entry) = key.and_then(|key_id| self.data_keys.entry(key_id)) {
                part.data_keys.add(entry.clone());
            }
            if let Some(record) = self.take(id) {
                part.insert(record);
            }
        }
        let of_range =
            |(_, record): &(&Key, &IdempotencyRecord)| range.contains(&record.session.key());
        let moved: Vec<Key> = self.memory.iter().filter(of_range).map(|(key, _)| *key).collect();
        for key in moved {
            if let Some(record) = self.forget(&key) {
                part.remember(key, record);
            }
        }
        part
    }

    /// How many sessions there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.sessions.len()
    }

    /// Whether there is no session.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.sessions.is_empty()
    }

    /// What sessions, their keys and memory of creates weigh, in bytes.
    #[must_use]
    pub const fn bytes(&self) -> u64 {
        self.bytes.saturating_add(self.data_keys.bytes())
    }

    /// The key table, in an order that depends on the content alone. Apart from
    /// [`items`](Self::items).
    pub(crate) fn keys(&self) -> impl Iterator<Item = UserKey> {
        self.data_keys.rows().cloned()
    }

    /// Takes one row of the key table; they come before the sessions.
    pub(crate) fn restore_key(&mut self, key: UserKey) {
        self.data_keys.add(key);
    }

    /// Everything but keys and erasures, in an order that depends on the content alone.
    pub(crate) fn items(&self) -> impl Iterator<Item = SessionItem> {
        let sessions = self.sessions.values().cloned().map(SessionItem::Session);
        let memory =
            self.memory.iter().map(|(key, record)| SessionItem::Memory(*key, record.clone()));
        sessions.chain(memory)
    }

    /// Takes one item of a snapshot; sessions come before memory.
    pub(crate) fn restore(&mut self, item: SessionItem) {
        match item {
            SessionItem::Session(record) => self.insert(record),
            SessionItem::Memory(key, record) => self.remember(key, record),
        }
    }

    fn version_of(&self, id: &SessionId) -> Option<RecordVersion> {
        self.sessions.get(id).map(|record| record.head.version)
    }

    fn create(
        &mut self,
        create: &CreateSession,
        version: RecordVersion,
        now_ms: u64,
    ) -> Result<SessionOutcome, Refusal> {
        if let Some(key) = &create.idempotency
            && let Some(known) = self.memory.get(&key.key)
            && !is_forgotten(known, version)
        {
            return Ok(match &known.answer {
                None => SessionOutcome::IdempotencyErased,
                Some(answer) if answer.body != key.body => SessionOutcome::IdempotencyMismatch,
                Some(answer) => SessionOutcome::Repeated(answer.head.clone()),
            });
        }
        if let Some(current) = self.version_of(&create.id)
            && !planted::has(Bug::SecondSession)
        {
            return Ok(SessionOutcome::PreconditionFailed { current: Some(current) });
        }
        let head = SessionHead {
            id: create.id.clone(),
            user: create.user.clone(),
            created_ms: now_ms,
            expires_ms: now_ms.saturating_add(create.ttl_ms),
            ttl_ms: create.ttl_ms,
            sliding: create.sliding,
            version,
        };
        let record = SessionRecord { head: head.clone(), sealed: create.sealed.clone() };
        self.check_room(&record, create.limits)?;
        if !self.take_key(&create.user, &create.sealed, create.key.as_ref()) {
            return Ok(SessionOutcome::KeyUnknown);
        }
        self.insert(record);
        if let Some(key) = create.idempotency {
            let answer = Some(FirstAnswer { body: key.body, head: head.clone() });
            let session = create.id.clone();
            self.remember(key.key, IdempotencyRecord { session, answer, until_ms: None });
        }
        Ok(SessionOutcome::Created(head))
    }

    fn put(
        &mut self,
        put: &PutSession,
        version: RecordVersion,
        now_ms: u64,
    ) -> Result<SessionOutcome, Refusal> {
        let stored = self.sessions.get(&put.id).map(|record| &record.head);
        let current = stored.map(|head| head.version);
        if put.condition.is_some_and(|condition| !condition.holds(current)) {
            return Ok(SessionOutcome::PreconditionFailed { current });
        }
        let head = SessionHead {
            id: put.id.clone(),
            user: put.user.clone(),
            created_ms: stored.map_or(now_ms, |head| head.created_ms),
            expires_ms: now_ms.saturating_add(put.ttl_ms),
            ttl_ms: put.ttl_ms,
            sliding: put.sliding,
            version,
        };
        let record = SessionRecord { head: head.clone(), sealed: put.sealed.clone() };
        self.check_room(&record, put.limits)?;
        if !self.take_key(&put.user, &put.sealed, put.key.as_ref()) {
            return Ok(SessionOutcome::KeyUnknown);
        }
        // Counted before the old value goes, so that a key that both are under stays.
        self.data_keys.hold(put.sealed.key_id);
        let replaced = self.take(&put.id).is_some();
        self.insert(record);
        self.data_keys.release(put.sealed.key_id);
        Ok(if replaced { SessionOutcome::Replaced(head) } else { SessionOutcome::Created(head) })
    }

    fn touch(&mut self, touches: &[SessionTouch], now_ms: u64) -> SessionOutcome {
        let mut found = 0_u32;
        for touch in touches {
            let at_ms = touch.at_ms.min(now_ms);
            let Some(record) = self.sessions.get_mut(&touch.id) else { continue };
            let head = &mut record.head;
            // A touch at or behind the end met a session that was over.
            if at_ms >= head.expires_ms && !planted::has(Bug::TouchRevives) {
                continue;
            }
            found = found.saturating_add(1);
            let expires_ms = head.expires_ms.max(at_ms.saturating_add(head.ttl_ms));
            if head.sliding && expires_ms != head.expires_ms {
                self.by_expiry.remove(&(head.expires_ms, touch.id.clone()));
                head.expires_ms = expires_ms;
                self.by_expiry.insert((expires_ms, touch.id.clone()));
            }
        }
        SessionOutcome::Touched { found }
    }

    /// Makes sure that the key of a value is here.
    fn take_key(&mut self, user: &str, sealed: &Sealed, along: Option<&WrappedKey>) -> bool {
        if !self.data_keys.takes(user, sealed, along) {
            return false;
        }
        if let Some(key) = along.filter(|key| !self.data_keys.has(key.id)) {
            self.data_keys.add(UserKey { user: user.to_owned(), key: key.clone() });
        }
        true
    }

    /// Ends a session: it goes, and the memory of its creation gets an end. Answers whether it was.
    fn end(&mut self, id: &SessionId, now_ms: u64) -> bool {
        let was = self.take(id).is_some();
        if was
            && let Some(key) = self.key_of.get(id).copied()
            && let Some(record) = self.forget(&key)
        {
            let until_ms = Some(now_ms.saturating_add(IDEMPOTENCY_RETENTION_MS));
            self.remember(key, IdempotencyRecord { until_ms, ..record });
        }
        was
    }

    fn insert(&mut self, record: SessionRecord) {
        let head = &record.head;
        self.bytes = self.bytes.saturating_add(record.weight());
        self.by_expiry.insert((head.expires_ms, head.id.clone()));
        self.users.entry(head.user.clone()).or_default().sessions.insert(head.id.clone());
        self.data_keys.hold(record.sealed.key_id);
        self.sessions.insert(head.id.clone(), record);
    }

    fn take(&mut self, id: &SessionId) -> Option<SessionRecord> {
        let record = self.sessions.remove(id)?;
        self.bytes = self.bytes.saturating_sub(record.weight());
        self.by_expiry.remove(&(record.head.expires_ms, id.clone()));
        self.data_keys.release(record.sealed.key_id);
        self.change_user(&record.head.user, |of_user| {
            of_user.sessions.remove(id);
        });
        Some(record)
    }

    fn remember(&mut self, key: Key, record: IdempotencyRecord) {
        self.bytes = self.bytes.saturating_add(record.weight());
        if let Some(answer) = &record.answer {
            let of_user = self.users.entry(answer.head.user.clone()).or_default();
            of_user.keys.insert(key);
            of_user.ended += u32::from(record.until_ms.is_some());
        }
        match record.until_ms {
            Some(until_ms) => {
                self.memory_by_end.insert((until_ms, key));
            }
            None => {
                self.key_of.insert(record.session.clone(), key);
            }
        }
        self.memory.insert(key, record);
    }

    fn forget(&mut self, key: &Key) -> Option<IdempotencyRecord> {
        let record = self.memory.remove(key)?;
        self.bytes = self.bytes.saturating_sub(record.weight());
        match record.until_ms {
            Some(until_ms) => {
                self.memory_by_end.remove(&(until_ms, *key));
            }
            None => {
                self.key_of.remove(&record.session);
            }
        }
        if let Some(answer) = &record.answer {
            let ended = u32::from(record.until_ms.is_some());
            self.change_user(&answer.head.user, |of_user| {
                of_user.keys.remove(key);
                of_user.ended = of_user.ended.saturating_sub(ended);
            });
        }
        Some(record)
    }

    /// Changes what a user has, and drops the user who has nothing left; snapshots hold it still.
    fn change_user(&mut self, user: &str, change: impl FnOnce(&mut OfUser)) {
        if let Some(of_user) = self.users.get_mut(user) {
            change(of_user);
            if of_user.sessions.is_empty() && of_user.keys.is_empty() {
                self.users.remove(user);
                self.erasures.name(user);
            }
        }
    }
}

/// Never, but for a planted bug: what a leader of an earlier term was told.
fn is_forgotten(known: &IdempotencyRecord, version: RecordVersion) -> bool {
    let first = known.answer.as_ref().map(|answer| answer.head.version);
    planted::has(Bug::SecondSession) && first.is_some_and(|first| first.term != version.term)
}
