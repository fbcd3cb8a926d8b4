//! The submitting side: cloneable handles to the log, and to one group of it.

use std::{fmt, sync::Arc};

use bytes::Bytes;
use hexpop_edge_config::{
    GroupId, RaftId,
    planted::{self, Bug},
};
use tokio::sync::oneshot;

use super::{
    Health, LogEntry, LogPosition, LogVote, NewGroup, Options, WalError, WalStats,
    state::{Queued, Shared, State, append_bytes},
};

/// What is to happen when a submission is durable, or will never be known to be.
pub struct Completion(Box<dyn FnOnce(Result<(), WalError>) + Send>);

impl Completion {
    /// Wraps what is called, once, on the writer's thread; it must not block.
    pub fn new(call: impl FnOnce(Result<(), WalError>) + Send + 'static) -> Self {
        Self(Box::new(call))
    }

    pub(super) fn call(self, result: Result<(), WalError>) {
        (self.0)(result);
    }
}

impl fmt::Debug for Completion {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Completion")
    }
}

/// Resolves when a submission is durable.
struct Durable(oneshot::Receiver<Result<(), WalError>>);

impl Durable {
    fn new() -> (Completion, Self) {
        let (sender, receiver) = oneshot::channel();
        // Whoever waited may be gone; the submission stands all the same.
        (Completion::new(move |result| drop(sender.send(result))), Self(receiver))
    }

    async fn wait(self) -> Result<(), WalError> {
        self.0.await.unwrap_or(Err(WalError::Closed))
    }
}

/// A handle to the log of this node.
#[derive(Debug, Clone)]
pub struct WalHandle {
    pub(super) shared: Arc<Shared>,
}

impl WalHandle {
    /// The Raft id of the data directory.
    #[must_use]
    pub fn raft_id(&self) -> RaftId {
        RaftId(self.shared.log)
    }

    /// The options it was opened with.
    #[must_use]
    pub fn options(&self) -> &Options {
        &self.shared.options
    }

    /// The groups that are here, with what they were created with.
    #[must_use]
    pub fn groups(&self) -> Vec<(GroupId, Bytes)> {
        let state = self.shared.state.lock();
        let alive = state.groups.iter().filter(|(_, group)| group.alive);
        alive.map(|(id, group)| (*id, group.about.clone())).collect()
    }

    /// The handle of a group that is here.
    #[must_use]
    pub fn group(&self, id: GroupId) -> Option<GroupLog> {
        let state = self.shared.state.lock();
        let group = state.groups.get(&id).filter(|group| group.alive)?;
        Some(GroupLog { wal: self.clone(), id, life: group.life })
    }

    /// The groups that are here, and those destroyed of which the vote is remembered.
    #[must_use]
    pub fn remembered(&self) -> Vec<GroupId> {
        let state = self.shared.state.lock();
        let known = state.groups.iter().filter(|(_, group)| group.alive || group.vote.is_some());
        known.map(|(id, _)| *id).collect()
    }

    /// The groups that are not here, and of which the files still had records when the log was opened.
    #[must_use]
    pub fn remains(&self) -> Vec<GroupId> {
        let state = self.shared.state.lock();
        let remains = state.groups.iter().filter(|(_, group)| group.remains && !group.alive);
        remains.map(|(id, _)| *id).collect()
    }

    /// The last vote in a group, also in one that was destroyed.
    #[must_use]
    pub fn vote(&self, id: GroupId) -> Option<LogVote> {
        self.shared.state.lock().groups.get(&id)?.vote
    }

    /// Adds a group. It is durable when it returns, with its vote and purged position.
    ///
    /// # Errors
    /// `GroupExists`, `TooLarge`, or the log being over.
    ///
    /// # Cancel safety
    /// Dropped while it waits, the group may have been added.
    pub async fn create(&self, id: GroupId, new: NewGroup) -> Result<GroupLog, WalError> {
        let (done, durable) = Durable::new();
        let options = &self.shared.options;
        let life = self
            .admit(new.about.len(), |state| {
                let queued = state.create(options, id, new)?;
                let life = queued.op;
                Ok((life, Some(Queued { done: Some(done), ..queued })))
            })
            .await?;
        durable.wait().await?;
        Ok(GroupLog { wal: self.clone(), id, life })
    }

    /// How the log is.
    #[must_use]
    pub fn health(&self) -> Health {
        self.shared.health.borrow().clone()
    }

    /// Resolves when the log has failed or was closed, with the reason.
    ///
    /// # Cancel safety
    /// Safe.
    pub async fn failed(&self) -> WalError {
        let mut health = self.shared.health.subscribe();
        match health.wait_for(|health| matches!(health, Health::Failed(_))).await.as_deref() {
            Ok(Health::Failed(error)) => error.clone(),
            // The sender lives in `shared`, which `self` keeps.
            Ok(Health::Working | Health::LowSpace) | Err(_) => WalError::Closed,
        }
    }

    /// Numbers for metrics.
    #[must_use]
    pub fn stats(&self) -> WalStats {
        self.shared.state.lock().stats()
    }

    /// Takes nothing more; the writer flushes what is queued and stops.
    pub fn close(&self) {
        self.shared.state.lock().closing = true;
        self.shared.work.notify_one();
        self.shared.work_async.notify_one();
        self.shared.room.notify_waiters();
    }

    /// Waits for room, and lets `submit` queue something.
    async fn admit<T>(
        &self,
        bytes: usize,
        submit: impl FnOnce(&mut State) -> Result<(T, Option<Queued>), WalError>,
    ) -> Result<T, WalError> {
        loop {
            let mut room = std::pin::pin!(self.shared.room.notified());
            // Registered before the look, so that no notice is lost in between.
            room.as_mut().enable();
            {
                let mut state = self.shared.state.lock();
                if state.has_room(&self.shared.options, bytes) {
                    return self.submit(&mut state, submit);
                }
                state.check_open()?;
            }
            room.await;
        }
    }

    fn admit_now<T>(
        &self,
        bytes: usize,
        submit: impl FnOnce(&mut State) -> Result<(T, Option<Queued>), WalError>,
    ) -> Result<T, WalError> {
        let mut state = self.shared.state.lock();
        if !state.has_room(&self.shared.options, bytes) {
            state.check_open()?;
            return Err(WalError::Full);
        }
        self.submit(&mut state, submit)
    }

    fn submit<T>(
        &self,
        state: &mut State,
        submit: impl FnOnce(&mut State) -> Result<(T, Option<Queued>), WalError>,
    ) -> Result<T, WalError> {
        state.check_open()?;
        let (value, queued) = submit(state)?;
        if let Some(queued) = queued {
            let idle = state.queue.is_empty();
            state.enqueue(queued);
            // The second time for a thread that gathers, when all whom it waits for are there.
            if idle || state.queue.len() == state.answered {
                self.shared.work.notify_one();
            }
            if idle {
                self.shared.work_async.notify_one();
            }
        }
        Ok(value)
    }
}

/// A handle to the log of one group, good for one life of it: after the group was destroyed every
/// call says `NoGroup`, also when a group of that number has been created again.
#[derive(Debug, Clone)]
pub struct GroupLog {
    pub(super) wal: WalHandle,
    pub(super) id: GroupId,
    pub(super) life: u64,
}

impl GroupLog {
    /// The group.
    #[must_use]
    pub const fn id(&self) -> GroupId {
        self.id
    }

    /// The log it is part of.
    #[must_use]
    pub const fn wal(&self) -> &WalHandle {
        &self.wal
    }

    /// Appends entries once there is room in the queue. They can be read when this returns; `done`
    /// is called when they are durable.
    ///
    /// # Errors
    /// `Gap`, `TooLarge`, `NoGroup`, or the log being over; `done` is not called then.
    ///
    /// # Cancel safety
    /// Dropped while it waits, nothing was appended.
    pub async fn append(&self, entries: Vec<LogEntry>, done: Completion) -> Result<(), WalError> {
        let bytes = append_bytes(&entries);
        self.wal.admit(bytes, |state| self.append_to(state, entries, done)).await
    }

    /// As [`append`](Self::append), but `Full` instead of waiting.
    ///
    /// # Errors
    /// As [`append`](Self::append), and `Full`.
    pub fn try_append(&self, entries: Vec<LogEntry>, done: Completion) -> Result<(), WalError> {
        self.wal.admit_now(append_bytes(&entries), |state| self.append_to(state, entries, done))
    }

    fn append_to(
        &self,
        state: &mut State,
        entries: Vec<LogEntry>,
        done: Completion,
    ) -> Result<((), Option<Queued>), WalError> {
        let queued = state.append(&self.wal.shared.options, self.key(), entries)?;
        Ok(((), Some(Queued { done: Some(done), ..queued })))
    }

    /// Replaces the vote; it is durable when this returns.
    ///
    /// # Errors
    /// `NoGroup`, or the log being over; whether the vote is on disk is then unknown.
    ///
    /// # Cancel safety
    /// Dropped while it waits, the vote may become durable.
    pub async fn save_vote(&self, vote: LogVote) -> Result<(), WalError> {
        if planted::has(Bug::ForgetVote) {
            return self.wal.shared.state.lock().vote(self.key(), vote).map(drop);
        }
        self.durably(|state, key| state.vote(key, vote).map(Some)).await
    }

    /// Removes the entries from index `from` on. What is appended afterwards comes after this on
    /// disk, so there is no need to wait for it.
    ///
    /// # Errors
    /// `NoGroup`, or the log being over.
    pub async fn truncate(&self, from: u64) -> Result<(), WalError> {
        self.wal.admit(0, |state| Ok(((), state.truncate(self.key(), from)?))).await
    }

    /// Removes the entries up to `upto`, which may lie behind the last one. Not awaited on disk: if a
    /// crash undoes it, older entries are back and nothing else.
    ///
    /// # Errors
    /// `NoGroup`, or the log being over.
    pub async fn purge(&self, upto: LogPosition) -> Result<(), WalError> {
        self.wal.admit(0, |state| Ok(((), state.purge(self.key(), upto)?))).await
    }

    /// Notes what is committed. It is written with what is submitted next, or after
    /// [`Options::linger`], and has no flush of its own.
    ///
    /// # Errors
    /// `NoGroup`, or the log being over.
    pub fn save_committed(&self, committed: Option<LogPosition>) -> Result<(), WalError> {
        let mut state = self.wal.shared.state.lock();
        state.check_open()?;
        let idle = state.lazy.is_empty();
        state.committed(self.key(), committed)?;
        if idle {
            self.wal.shared.work.notify_one();
            self.wal.shared.work_async.notify_one();
        }
        Ok(())
    }

    /// Removes the group and its entries; its vote is remembered, in case a group of this number is
    /// created here again. It is gone for good when this returns.
    ///
    /// # Errors
    /// `NoGroup`, or the log being over.
    pub async fn destroy(&self) -> Result<(), WalError> {
        self.durably(|state, key| state.destroy(key).map(Some)).await
    }

    pub(super) const fn key(&self) -> (GroupId, u64) {
        (self.id, self.life)
    }

    async fn durably(
        &self,
        submit: impl FnOnce(&mut State, (GroupId, u64)) -> Result<Option<Queued>, WalError> + Send,
    ) -> Result<(), WalError> {
        let (done, durable) = Durable::new();
        let key = self.key();
        self.wal
            .admit(0, |state| {
                let queued = submit(state, key)?;
                Ok(((), queued.map(|queued| Queued { done: Some(done), ..queued })))
            })
            .await?;
        durable.wait().await
    }
}
