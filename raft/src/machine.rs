//! openraft's state machine over a shard's state, which lives in memory.
//!
//! The state is rebuilt at a start from the newest snapshot and the committed log. What readers see
//! ([`Replica`]) is published entry by entry, before the entry's proposer hears of it. Readers of
//! listings take a version of the shard and leave: a long search holds no entry up, nor does an entry
//! that is being applied hold them up.

mod absorb;
mod fork;

use std::{
    collections::BTreeMap,
    fmt, io,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
};

use bytes::Bytes;
use futures::{Stream, StreamExt};
use hexpop_edge_config::{
    GroupId, NodeId, RaftId, codec,
    planted::{self, Bug},
};
use hexpop_shard::{Command, LogPosition, Op, Replica as Member, ShardState, ShardView};
use openraft::{
    AsyncRuntime, EntryPayload, OptionalSend, RaftSnapshotBuilder,
    storage::{EntryResponder, RaftStateMachine},
};
use parking_lot::{MappedRwLockReadGuard, Mutex, RwLock, RwLockReadGuard};
use tokio::sync::watch;

use crate::{
    documents::GroupDocuments,
    host::{Births, replicas_of},
    metrics::Metrics,
    observe::Observed,
    port::WallClock,
    snapshot::{Snapshot, SnapshotFiles, SnapshotMeta, SnapshotStore},
    staging::Staging,
    types::{Entry, LogId, Membership, ReplyBytes, StoredMembership, TypeConfig},
    wal::WalHandle,
};

/// A state, and where in the log it is.
struct View {
    state: ShardState,
    last: Option<LogId>,
    membership: StoredMembership,
}

/// What readers see of a replica.
pub(crate) struct Replica {
    group: GroupId,
    view: RwLock<View>,
    /// What readers of listings see; the lock is held to take it or to put the next one there.
    published: RwLock<Option<Arc<ShardView>>>,
    applied: watch::Sender<LogPosition>,
    documents: GroupDocuments,
    /// Bytes of commands applied since the last snapshot.
    log_bytes: AtomicU64,
    /// A child has been split off and is not durable yet: no snapshot may say that it was.
    forking: AtomicBool,
    /// The shard takes no writes: another one may take those for its keys already.
    sealed: AtomicBool,
    fault: Mutex<Option<String>>,
}

impl fmt::Debug for Replica {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Replica").field("group", &self.group).finish_non_exhaustive()
    }
}

impl Replica {
    pub(crate) fn new(group: GroupId, state: ShardState, documents: GroupDocuments) -> Arc<Self> {
        let (applied, _) = watch::channel(LogPosition::default());
        let published = RwLock::new(state.view().map(Arc::new));
        let view = View { state, last: None, membership: StoredMembership::default() };
        Arc::new(Self {
            group,
            view: RwLock::new(view),
            published,
            applied,
            documents,
            log_bytes: AtomicU64::new(0),
            forking: AtomicBool::new(false),
            sealed: AtomicBool::new(false),
            fault: Mutex::new(None),
        })
    }

    /// Whether a child is split off that is not durable yet.
    pub(crate) fn is_forking(&self) -> bool {
        self.forking.load(Ordering::Acquire)
    }

    /// The state as it is now. Held, it keeps the next entry from being applied.
    pub(crate) fn state(&self) -> MappedRwLockReadGuard<'_, ShardState> {
        RwLockReadGuard::map(self.view.read(), |view| &view.state)
    }

    /// The newest version of a shard of listings.
    pub(crate) fn listings(&self) -> Option<Arc<ShardView>> {
        self.published.read().clone()
    }

    /// Whether the shard is sealed, as of the last entry applied.
    pub(crate) fn is_sealed(&self) -> bool {
        self.sealed.load(Ordering::Acquire)
    }

    /// Lets readers see what was applied. The version before goes when its last reader does.
    fn publish(&self, state: &ShardState) {
        self.sealed.store(state.sealed_for().is_some(), Ordering::Release);
        if let Some(view) = state.view() {
            let before = self.published.write().replace(Arc::new(view));
            drop(before);
        }
    }

    /// The members as of the last entry applied; `None` before the first, and while they change from
    /// some to others.
    pub(crate) fn settled_members(&self) -> Option<BTreeMap<RaftId, NodeId>> {
        let view = self.view.read();
        let membership = view.membership.membership();
        (membership.get_joint_config().len() == 1).then(|| members_of(membership))
    }

    pub(crate) const fn documents(&self) -> &GroupDocuments {
        &self.documents
    }

    /// The last entry applied.
    pub(crate) fn applied(&self) -> LogPosition {
        *self.applied.borrow()
    }

    /// Follows the last entry applied.
    pub(crate) fn watch_applied(&self) -> watch::Receiver<LogPosition> {
        self.applied.subscribe()
    }

    /// Resolves when the entry of `index` is applied.
    pub(crate) async fn reached(&self, index: u64) {
        let mut applied = self.watch_applied();
        // The sender lives as long as `self`.
        drop(applied.wait_for(|position| position.index >= index).await);
    }

    /// Bytes of commands applied since the last snapshot.
    pub(crate) fn log_bytes(&self) -> u64 {
        self.log_bytes.load(Ordering::Relaxed)
    }

    /// Why the replica halted, if its state machine did it.
    pub(crate) fn fault(&self) -> Option<String> {
        self.fault.lock().clone()
    }

    fn halt(&self, what: String) -> io::Error {
        tracing::error!(group = %self.group, %what, "this replica halts");
        *self.fault.lock() = Some(what.clone());
        io::Error::new(io::ErrorKind::InvalidData, what)
    }
}

/// The state machine of one replica.
pub(crate) struct Machine {
    pub(crate) replica: Arc<Replica>,
    pub(crate) documents: GroupDocuments,
    pub(crate) snapshots: Arc<SnapshotStore>,
    pub(crate) metrics: Arc<Metrics>,
    pub(crate) observed: Observed,
    pub(crate) clock: Arc<dyn WallClock>,
    pub(crate) raft: RaftId,
    pub(crate) wal: WalHandle,
    pub(crate) births: Arc<Births>,
    pub(crate) staging: Arc<Staging>,
}

impl fmt::Debug for Machine {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Machine").field("group", &self.replica.group).finish_non_exhaustive()
    }
}

fn members_of(membership: &Membership) -> BTreeMap<RaftId, NodeId> {
    membership.nodes().map(|(raft, node)| (RaftId(*raft), node.id())).collect()
}

/// The replicas, unless they change from some to others.
fn settled(membership: &Membership) -> Option<Vec<Member>> {
    (membership.get_joint_config().len() == 1).then(|| replicas_of(membership, &[]))
}

fn position(id: LogId) -> LogPosition {
    LogPosition { term: id.leader_id.term, index: id.index }
}

impl Machine {
    /// Applies one entry. A command that does not decode halts this replica of this group, and
    /// nothing else: what it would do is unknown here, so nothing behind it may be applied.
    ///
    /// A child that the entry split off is answered, to be made durable before the next entry.
    fn apply_entry(
        &mut self,
        entry: Entry,
        answer: bool,
    ) -> io::Result<(ReplyBytes, Option<ShardState>)> {
        let mut fork = None;
        let at = position(entry.log_id);
        let mut reply = ReplyBytes::default();
        let mut seen = Bytes::new();
        match entry.payload {
            EntryPayload::Blank => {
                let mut view = self.replica.view.write();
                view.state.skip(at);
                view.last = Some(entry.log_id);
                self.replica.publish(&view.state);
            }
            EntryPayload::Membership(membership) => {
                let mut view = self.replica.view.write();
                let members = members_of(&membership);
                // The first membership belongs to the first epoch; each later one begins another.
                if view.membership.log_id().is_none() {
                    view.state.founded(at, &members);
                } else {
                    view.state.membership_changed(at, &members);
                }
                view.membership = StoredMembership::new(Some(entry.log_id), membership);
                view.last = Some(entry.log_id);
                self.replica.publish(&view.state);
            }
            EntryPayload::Normal(proposal) => {
                let mut command: Command = codec::decode(&proposal.0).map_err(|error| {
                    self.replica.halt(format!("the command of entry {}: {error}", at.index))
                })?;
                if planted::has(Bug::LocalExpiry) {
                    command.at_ms = self.clock.wall_ms();
                }
                // Whoever went on without what the entry takes in would have another state than whoever has
                // it.
                let applied = if let Some(staged) = self.absorbs(at, &command) {
                    self.absorb(entry.log_id, &command, &staged)?
                } else {
                    let mut view = self.replica.view.write();
                    view.last = Some(entry.log_id);
                    let replicas = matches!(command.op, Op::Split(_))
                        .then(|| settled(view.membership.membership()))
                        .flatten();
                    let documents = &mut self.documents;
                    let applied =
                        view.state.apply_among(at, &command, replicas.as_deref(), documents);
                    fork = view.state.take_fork();
                    if fork.is_some() {
                        self.replica.forking.store(true, Ordering::Release);
                    }
                    self.replica.publish(&view.state);
                    applied
                };
                self.stage(entry.log_id, &applied);
                if answer {
                    reply = codec::encode(&applied).map_err(io::Error::other)?.into();
                }
                self.replica.log_bytes.fetch_add(proposal.0.len() as u64, Ordering::Relaxed);
                seen = proposal.0;
            }
        }
        self.note_applied(at, &seen);
        self.replica.applied.send_replace(at);
        Ok((reply, fork))
    }

    /// Lets whoever looks on see an entry and the state after it.
    fn note_applied(&self, at: LogPosition, entry: &[u8]) {
        if let Some((observer, raft)) = &self.observed.0 {
            let view = self.replica.view.read();
            observer.applied(*raft, self.replica.group, at, entry, &view.state);
        }
    }

    /// Loads a snapshot; its documents go to the store.
    fn load(&self, files: &SnapshotFiles) -> io::Result<ShardState> {
        let mut documents = self.documents.clone();
        // The records are handed on one by one; what stops them is found afterwards.
        let mut failure = None;
        let records = files.records().map_while(|record| match record {
            Ok(record) => Some(record),
            Err(error) => {
                failure = Some(error);
                None
            }
        });
        let restored = ShardState::restore(records, &mut documents);
        match failure {
            Some(error) => Err(error),
            None => restored
                .map_err(|error| io::Error::new(io::ErrorKind::InvalidData, error.to_string())),
        }
    }
}

impl<R: AsyncRuntime> RaftStateMachine<TypeConfig<R>> for Machine {
    type SnapshotData = SnapshotFiles;
    type SnapshotBuilder = Builder;

    async fn applied_state(&mut self) -> io::Result<(Option<LogId>, StoredMembership)> {
        let view = self.replica.view.read();
        Ok((view.last, view.membership.clone()))
    }

    async fn apply<S>(&mut self, mut entries: S) -> io::Result<()>
    where
        S: Stream<Item = Result<EntryResponder<TypeConfig<R>>, io::Error>> + Unpin + OptionalSend,
    {
        while let Some(item) = entries.next().await {
            let (entry, responder) = item?;
            let at = entry.log_id;
            let (reply, fork) = self.apply_entry(entry, responder.is_some())?;
            if let Some(child) = fork {
                self.fork::<R>(child, at).await?;
            }
            if let Some(responder) = responder {
                responder.send(reply);
            }
        }
        Ok(())
    }

    async fn get_snapshot_builder(&mut self) -> Builder {
        Builder {
            replica: Arc::clone(&self.replica),
            snapshots: Arc::clone(&self.snapshots),
            metrics: Arc::clone(&self.metrics),
        }
    }

    async fn install_snapshot(
        &mut self,
        meta: &SnapshotMeta,
        files: SnapshotFiles,
    ) -> io::Result<()> {
        let state = self
            .load(&files)
            .map_err(|error| self.replica.halt(format!("a snapshot does not load: {error}")))?;
        // Durable before it counts: the log before it is purged next.
        self.snapshots.adopt(&files)?;
        let (last, membership) = (meta.last_log_id, meta.last_membership.clone());
        {
            let mut view = self.replica.view.write();
            self.replica.publish(&state);
            if let Some((observer, raft)) = &self.observed.0 {
                observer.installed(*raft, self.replica.group, &state);
            }
            *view = View { state, last, membership };
        }
        self.replica.log_bytes.store(0, Ordering::Relaxed);
        self.replica.applied.send_replace(last.map(position).unwrap_or_default());
        self.metrics.snapshots.with_label_values(&["installed"]).inc();
        Ok(())
    }

    async fn get_current_snapshot(&mut self) -> io::Result<Option<Snapshot>> {
        let current = self.snapshots.current(self.replica.group);
        Ok(current.map(|files| {
            let mut meta = files.manifest().meta();
            if planted::has(Bug::ApplyTwice)
                && let Some(last) = &mut meta.last_log_id
            {
                last.index = last.index.saturating_sub(3);
            }
            Snapshot { meta, snapshot: files }
        }))
    }
}

/// Writes a snapshot of the state.
#[derive(Debug)]
pub(crate) struct Builder {
    replica: Arc<Replica>,
    snapshots: Arc<SnapshotStore>,
    metrics: Arc<Metrics>,
}

impl Builder {
    /// Reads go on meanwhile. Entries wait while the records are made and handed to the page cache,
    /// one chunk in memory at a time; not while they are flushed.
    fn write(&self) -> io::Result<SnapshotFiles> {
        let documents = &self.replica.documents;
        let writer = {
            let view = self.replica.view.read();
            if self.replica.is_forking() {
                return Err(io::Error::other(
                    "the shard divides, and its other half is not written",
                ));
            }
            let mut writer =
                self.snapshots.writer(self.replica.group, view.last, view.membership.clone());
            for record in view.state.snapshot(documents) {
                let record = record.map_err(|error| documents.note_unwritten(error))?;
                writer.record(&record)?;
            }
            self.replica.log_bytes.store(0, Ordering::Relaxed);
            writer
        };
        writer.finish()
    }
}

impl<R: AsyncRuntime> RaftSnapshotBuilder<TypeConfig<R>> for Builder {
    type SnapshotData = SnapshotFiles;

    /// A snapshot that cannot be written now (the disk is full, documents are being fetched) is no
    /// reason to stop the group: its log is kept, and a later look tries again. openraft is handed
    /// an empty one then, which it ignores since it is older than any.
    async fn build_snapshot(&mut self) -> io::Result<Snapshot> {
        let before = self.replica.log_bytes();
        let files = match self.write() {
            Ok(files) => {
                self.metrics.snapshots.with_label_values(&["written"]).inc();
                files
            }
            Err(error) => {
                tracing::warn!(group = %self.replica.group, %error, "no snapshot was written");
                self.metrics.snapshots.with_label_values(&["failed"]).inc();
                self.replica.log_bytes.fetch_max(before, Ordering::Relaxed);
                SnapshotFiles::empty(self.replica.group)
            }
        };
        Ok(Snapshot { meta: files.manifest().meta(), snapshot: files })
    }
}
