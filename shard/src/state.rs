//! The replicated state of one group, whatever kind it is: applies commands, answers reads.

mod merge;
mod reads;
mod snapshot;
mod split;
#[cfg(test)]
mod tests;
mod view;

use std::collections::BTreeMap;

use hexpop_edge_config::{
    Epoch, NodeId, RaftId, ShardId,
    planted::{self, Bug},
};
use serde::{Deserialize, Serialize};

use crate::{
    LogPosition, RecordVersion,
    command::{Command, Op, Reply},
    directory::DirectoryState,
    key::{KeyRange, ShardKey, Space},
    listings::{DocumentStore, ListingsState},
    map::{Replica, ShardDescriptor},
    merge::MergeState,
    meta::MetaState,
    purge::PurgeState,
    refusal::Refusal,
    requests::{Remembered, RequestMemory},
    session::{SessionOp, SessionState},
    split::Child,
};

pub use self::{
    snapshot::{Snapshot, StateRestoreError},
    view::ShardView,
};

/// The state of one group: a deterministic function of its log.
///
/// Documents of listings are not in it: they sit behind [`DocumentStore`]. Of its members it has how
/// often they changed, and a sessions shard who they are, since each has a disk that erasures must reach
/// ([`membership_changed`](Self::membership_changed)).
#[derive(Debug)]
pub struct ShardState {
    shard: ShardId,
    /// `None` in the meta group and in that of purges.
    range: Option<KeyRange>,
    epoch: Epoch,
    applied: LogPosition,
    group_time_ms: u64,
    requests: RequestMemory,
    body: Body,
    /// The shards that split off this one, oldest first.
    children: Vec<Child>,
    /// What the last entry split off, until whoever applies entries takes it.
    fork: Option<Box<Self>>,
    merge: MergeState,
}

/// What the kinds of groups hold.
#[derive(Debug)]
enum Body {
    Meta(Box<MetaState>),
    Purges(Box<PurgeState>),
    Listings(Box<ListingsState>),
    Directory(Box<DirectoryState>),
    Sessions(Box<SessionState>),
}

impl Body {
    fn empty(shard: ShardId, range: Option<&KeyRange>) -> Self {
        match range.map(|range| (range, range.space_of())) {
            None if shard == ShardId::PURGES => Self::Purges(Box::default()),
            None => Self::Meta(Box::default()),
            Some((range, Space::Listings)) => {
                Self::Listings(Box::new(ListingsState::new(range.clone())))
            }
            Some((_range, Space::Directory)) => Self::Directory(Box::default()),
            Some((_range, Space::Sessions)) => Self::Sessions(Box::default()),
        }
    }
}

/// How much a group holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct ShardStats {
    /// Records: listings, directory entries, sessions; shards in the meta group, purges in theirs.
    pub keys: u64,
    /// About how many bytes they take, documents included.
    pub bytes: u64,
    /// Listings.
    pub listings_total: u64,
    /// Listings that searches find.
    pub listings_active: u64,
    /// Whether everything of the range is here; only a listings shard may say no.
    pub complete: bool,
    /// When something is due, in group time.
    pub next_due_ms: Option<u64>,
    /// Requests that a repeat would be recognised of.
    pub requests: u64,
}

impl ShardState {
    /// A shard without a record.
    #[must_use]
    pub fn new(descriptor: &ShardDescriptor) -> Self {
        Self::empty(descriptor.id, Some(descriptor.range.clone()), descriptor.epoch)
    }

    /// The meta group before its bootstrap.
    #[must_use]
    pub fn meta_group() -> Self {
        Self::empty(ShardId::META, None, Epoch::FIRST)
    }

    /// The purge group before the first purge.
    #[must_use]
    pub fn purge_group() -> Self {
        Self::empty(ShardId::PURGES, None, Epoch::FIRST)
    }

    fn empty(shard: ShardId, range: Option<KeyRange>, epoch: Epoch) -> Self {
        Self {
            shard,
            body: Body::empty(shard, range.as_ref()),
            range,
            epoch,
            applied: LogPosition::default(),
            group_time_ms: 0,
            requests: RequestMemory::default(),
            children: Vec::new(),
            fork: None,
            merge: MergeState::default(),
        }
    }

    /// Applies the command that was committed at `position`.
    ///
    /// An entry that was applied before changes nothing; neither does the repeat of a request that is
    /// remembered, which gets the first reply. Group time moves on in any case, and what is due goes.
    pub fn apply(
        &mut self,
        position: LogPosition,
        command: &Command,
        documents: &mut dyn DocumentStore,
    ) -> Reply {
        self.apply_among(position, command, None, documents)
    }

    /// As [`apply`](Self::apply), knowing the `replicas` of the group at that entry: `None` while they
    /// change from some to others, and nothing can be divided.
    ///
    /// An entry that [absorbs](Self::absorbs) another shard is not applied by this: it is refused, and
    /// [`applied`](Self::applied) stays before it.
    pub fn apply_among(
        &mut self,
        position: LogPosition,
        command: &Command,
        replicas: Option<&[Replica]>,
        documents: &mut dyn DocumentStore,
    ) -> Reply {
        if position.index <= self.applied.index && !planted::has(Bug::ApplyTwice) {
            return self.remembered(command).unwrap_or(Reply::Done);
        }
        if self.absorbs(position, command).is_some() {
            return Reply::Refused(Refusal::NotStaged { shard: self.shard });
        }
        self.applied = position;
        self.group_time_ms = self.group_time_ms.max(command.at_ms);
        self.requests.forget_due(self.group_time_ms);
        let demand = self.name_user(command);
        let reply = self.decide(position, command, replicas, documents);
        self.name_remembered(demand);
        reply
    }

    fn decide(
        &mut self,
        position: LogPosition,
        command: &Command,
        replicas: Option<&[Replica]>,
        documents: &mut dyn DocumentStore,
    ) -> Reply {
        if let Some(reply) = self.remembered(command) {
            self.note_idle_entry(position, command, &reply, true);
            self.expire_due();
            return reply;
        }
        let reply = match self.check(command) {
            Ok(()) => match &command.op {
                Op::Split(split) => self.split(position, split, replicas),
                Op::Merge(op) => self.merge(op).map(Reply::Merge),
                op => self.run(position, op, documents),
            },
            Err(refusal) => Err(refusal),
        };
        if let (Op::Session(SessionOp::EraseUser { user, .. }), Ok(_)) = (&command.op, &reply) {
            self.requests.blank(user);
        }
        self.expire_due();
        let reply = reply.map_or_else(Reply::Refused, |reply| self.marked(reply));
        let passing = matches!(&reply, Reply::Refused(refusal) if refusal.is_passing());
        self.note_idle_entry(position, command, &reply, passing);
        // What was refused for now may come again under the same id. The steps of a merge are recognised
        // by their operation.
        let is_forgotten = passing || matches!(command.op, Op::Merge(_));
        if let Some(id) = command.request.filter(|_| !is_forgotten) {
            let remembered = Remembered { id, at_ms: self.group_time_ms, reply: reply.clone() };
            self.requests.remember(remembered);
        }
        reply
    }

    /// Takes note of an entry without a command.
    pub fn skip(&mut self, position: LogPosition) {
        if position.index > self.applied.index {
            self.applied = position;
            // A term begins. Of one before, a leader's log may have entries that nobody will ever apply,
            // and that name anybody.
            if position.term > 1
                && let Body::Sessions(state) = &mut self.body
            {
                state.name_any();
            }
        }
    }

    /// Takes note of the entry that gives the group its first members.
    pub fn founded(&mut self, position: LogPosition, members: &BTreeMap<RaftId, NodeId>) {
        // It may be the entry of index 0.
        if position.index >= self.applied.index {
            self.applied = position;
            self.members_are(position, members);
        }
    }

    /// Takes note of an entry that changes the members to these: the epoch's `conf` grows.
    pub fn membership_changed(
        &mut self,
        position: LogPosition,
        members: &BTreeMap<RaftId, NodeId>,
    ) {
        if position.index > self.applied.index {
            self.applied = position;
            self.epoch.conf = self.epoch.conf.saturating_add(1);
            self.members_are(position, members);
        }
    }

    fn members_are(&mut self, position: LogPosition, members: &BTreeMap<RaftId, NodeId>) {
        if let Body::Sessions(state) = &mut self.body {
            state.members_are(position.index, members);
        }
    }

    /// Checks a command as [`apply`](Self::apply) will, so that nobody proposes in vain. The state may
    /// have changed until then.
    ///
    /// # Errors
    /// The [`Refusal`] that applying it now would answer, but for those that depend on what is stored.
    pub fn check(&self, command: &Command) -> Result<(), Refusal> {
        let kind_fits = match (&command.op, &self.body) {
            (Op::Tick, _)
            | (Op::Meta(_), Body::Meta(_))
            | (Op::Purge(_), Body::Purges(_))
            | (Op::Listings(_), Body::Listings(_))
            | (Op::Directory(_), Body::Directory(_))
            | (Op::Session(_), Body::Sessions(_)) => true,
            (Op::Split(_) | Op::Merge(_), body) => !matches!(body, Body::Meta(_) | Body::Purges(_)),
            (
                Op::Meta(_) | Op::Purge(_) | Op::Listings(_) | Op::Directory(_) | Op::Session(_),
                _,
            ) => false,
        };
        if !kind_fits {
            return Err(Refusal::WrongKind);
        }
        if command.epoch.version != self.epoch.version {
            return Err(Refusal::StaleEpoch { shard: self.shard, current: self.epoch });
        }
        self.check_merging(&command.op)?;
        let keys_fit = match &command.op {
            Op::Tick | Op::Meta(_) | Op::Purge(_) | Op::Split(_) | Op::Merge(_) => true,
            Op::Listings(op) => op.keys().all(|key| self.holds(key)),
            Op::Directory(op) => op.ids().all(|id| self.holds(&ShardKey::directory(id))),
            Op::Session(op) => op.ids().all(|id| self.holds(&id.key())),
        };
        if !keys_fit {
            return Err(Refusal::WrongKey { shard: self.shard });
        }
        match &command.op {
            Op::Tick | Op::Listings(_) => Ok(()),
            Op::Split(split) => {
                let range = self.range.as_ref().ok_or(Refusal::WrongKind)?;
                split.check(self.shard, range)
            }
            Op::Merge(op) => self.check_merge(op),
            Op::Meta(op) => op.check(),
            Op::Purge(op) => op.check(),
            Op::Directory(op) => op.check(),
            Op::Session(op) => op.check(),
        }
    }

    /// The group this is the state of.
    #[must_use]
    pub const fn shard(&self) -> ShardId {
        self.shard
    }

    /// The keys it holds; `None` for the meta group and that of purges.
    #[must_use]
    pub const fn range(&self) -> Option<&KeyRange> {
        self.range.as_ref()
    }

    /// Its epoch, as far as the log has been applied.
    #[must_use]
    pub const fn epoch(&self) -> Epoch {
        self.epoch
    }

    /// How far the log has been applied.
    #[must_use]
    pub const fn applied(&self) -> LogPosition {
        self.applied
    }

    /// The greatest time that any applied command carried, in milliseconds since the Unix epoch.
    #[must_use]
    pub const fn group_time_ms(&self) -> u64 {
        self.group_time_ms
    }

    /// The state of the meta group, if this is it.
    #[must_use]
    pub fn as_meta(&self) -> Option<&MetaState> {
        if let Body::Meta(state) = &self.body { Some(state) } else { None }
    }

    /// The state of the purge group, if this is it.
    #[must_use]
    pub fn as_purges(&self) -> Option<&PurgeState> {
        if let Body::Purges(state) = &self.body { Some(state) } else { None }
    }

    /// The state of a listings shard, if this is one.
    #[must_use]
    pub fn as_listings(&self) -> Option<&ListingsState> {
        if let Body::Listings(state) = &self.body { Some(state) } else { None }
    }

    /// The state of a sessions shard, if this is one.
    #[must_use]
    pub fn as_sessions(&self) -> Option<&SessionState> {
        if let Body::Sessions(state) = &self.body { Some(state) } else { None }
    }

    /// How much there is.
    #[must_use]
    pub fn stats(&self) -> ShardStats {
        let base = ShardStats {
            complete: true,
            next_due_ms: self.next_due_ms(),
            requests: self.requests.len() as u64,
            ..ShardStats::default()
        };
        match &self.body {
            Body::Meta(state) => ShardStats { keys: state.map().shards().count() as u64, ..base },
            Body::Purges(state) => {
                ShardStats { keys: state.len() as u64, bytes: state.bytes() as u64, ..base }
            }
            Body::Listings(state) => {
                let counts = state.counts();
                ShardStats {
                    keys: counts.total,
                    bytes: counts.document_bytes,
                    listings_total: counts.total,
                    listings_active: counts.active,
                    complete: state.is_complete(),
                    ..base
                }
            }
            Body::Directory(state) => {
                ShardStats { keys: state.len() as u64, bytes: state.bytes(), ..base }
            }
            Body::Sessions(state) => {
                ShardStats { keys: state.len() as u64, bytes: state.bytes(), ..base }
            }
        }
    }

    /// When a [`Tick`](Op::Tick) would find something to do, in group time.
    #[must_use]
    pub fn next_due_ms(&self) -> Option<u64> {
        match &self.body {
            Body::Meta(_) | Body::Purges(_) => None,
            Body::Listings(state) => state.next_due_ms(),
            Body::Directory(state) => state.next_due_ms(),
            Body::Sessions(state) => state.next_due_ms(),
        }
    }

    fn remembered(&self, command: &Command) -> Option<Reply> {
        command.request.and_then(|id| self.requests.get(&id)).cloned()
    }

    /// Notes whom an entry of the log names, whatever becomes of it. Answers the last demand on disks.
    fn name_user(&mut self, command: &Command) -> u64 {
        match (&mut self.body, &command.op) {
            (Body::Sessions(state), Op::Session(op)) => {
                if let Some(user) = op.user() {
                    state.name(user);
                }
                state.last_demand()
            }
            _ => 0,
        }
    }

    /// After a new demand on disks: the snapshots that meet it hold the replies that are remembered, and
    /// so the users in them.
    fn name_remembered(&mut self, demand: u64) {
        if let Body::Sessions(state) = &mut self.body
            && state.last_demand() > demand
        {
            self.requests.users().for_each(|user| state.name(user));
        }
    }

    /// An entry that stored nothing may be a late repeat, and bring back to the log what an erasure
    /// took from it.
    fn note_idle_entry(
        &mut self,
        position: LogPosition,
        command: &Command,
        reply: &Reply,
        late: bool,
    ) {
        if let (Body::Sessions(state), Op::Session(op)) = (&mut self.body, &command.op) {
            state.note_idle_entry(position.index, op, reply, late);
        }
    }

    fn holds(&self, key: &ShardKey) -> bool {
        self.range.as_ref().is_some_and(|range| range.contains(key))
    }

    fn run(
        &mut self,
        position: LogPosition,
        op: &Op,
        documents: &mut dyn DocumentStore,
    ) -> Result<Reply, Refusal> {
        let version = RecordVersion::at(self.shard, position);
        let now_ms = self.group_time_ms;
        match (op, &mut self.body) {
            (Op::Tick, _) => Ok(Reply::Done),
            (Op::Meta(op), Body::Meta(state)) => state.apply(op, now_ms).map(Reply::Meta),
            (Op::Purge(op), Body::Purges(state)) => state.apply(op, now_ms).map(Reply::Purge),
            (Op::Listings(op), Body::Listings(state)) => {
                Ok(Reply::Listings(state.apply(position, now_ms, op, documents)))
            }
            (Op::Directory(op), Body::Directory(state)) => {
                state.apply(op, version, now_ms).map(Reply::Directory)
            }
            (Op::Session(op), Body::Sessions(state)) => {
                state.apply(op, version, now_ms).map(Reply::Session)
            }
            (
                Op::Meta(_)
                | Op::Purge(_)
                | Op::Listings(_)
                | Op::Directory(_)
                | Op::Session(_)
                | Op::Split(_)
                | Op::Merge(_),
                _,
            ) => Err(Refusal::WrongKind),
        }
    }

    fn expire_due(&mut self) {
        let now_ms = self.group_time_ms;
        match &mut self.body {
            Body::Meta(_) | Body::Purges(_) => {}
            Body::Listings(state) => state.tick(now_ms),
            Body::Directory(state) => {
                state.expire_due(now_ms);
            }
            Body::Sessions(state) => {
                state.expire_due(now_ms);
            }
        }
    }
}
