//! What all parts of a host share: the groups that are here, and what is known of the cluster.

use std::{
    collections::{BTreeMap, BTreeSet},
    marker::PhantomData,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use futures::future::{self, BoxFuture};
use hexpop_edge_config::{
    Epoch, GroupId, NodeId, RaftId, RequestId, ShardId,
    planted::{self, Bug},
};
use hexpop_shard::{
    ClusterSecret, Command, KeyRange, LogPosition, Member, Op, OperationId, ReadOp, Setbacks,
    ShardDescriptor, ShardLoad, ShardMap, Shrinkage,
};
use openraft::{AsyncRuntime, Instant as _};
use parking_lot::{Mutex, RwLock};
use rand::Rng as _;
use tokio::sync::{Notify, watch};

use super::{Births, KnownSeats, Parts, Seats, replicas_of};
use crate::{
    api::{Proposed, ReadLevel, ReadResult, ReplicaState, ReplicaStatus},
    documents::Documents,
    error::{OpenError, ProposeError, ReadError},
    group::{Group, ParkedOf},
    metrics::Metrics,
    observe::Observed,
    options::Options,
    pairs::Pairs,
    port::{Membership, WallClock},
    read::{Read, epoch_matches},
    snapshot::SnapshotStore,
    staging::Staging,
    supervisor::{Erased, LateLearners, LeftGroups, Measured, ReadHere, Ridding},
    wal::{Health, WalHandle},
    wire::Wire,
};

/// With so many groups awake, no others are woken but for work that somebody waits for, and those that
/// have nothing to do are parked at once.
const AWAKE_MAX: usize = 128;

/// How many leaders are moved for balance on what the members said once.
const BALANCED_MAX: usize = 8;

/// So many groups may be without a leader before others are started.
const LEADERLESS_MAX: usize = 64;

/// So many are started at a time while too many are awake.
const STARTED_CROWDED: usize = 4;

/// A group that found no leader for so long waits for other nodes, and keeps no others from starting.
const LEADERLESS_FOR: Duration = Duration::from_secs(10);

/// One group's place on this node.
pub(super) enum Slot<R: AsyncRuntime> {
    /// It is being opened.
    Starting,
    /// It runs (or has halted since).
    Running(Arc<Group<R>>),
    /// It could not be opened.
    Failed(String),
    /// It is no replica of its group any more, and what it had is being destroyed.
    Leaving,
}

/// What all parts of a host share.
pub(crate) struct Inner<R: AsyncRuntime> {
    pub(crate) options: Options,
    pub(crate) raft: RaftId,
    pub(crate) wal: WalHandle,
    pub(crate) snapshots: Arc<SnapshotStore>,
    pub(crate) documents: Documents,
    pub(crate) wire: Arc<Wire>,
    pub(crate) membership: Arc<dyn Membership>,
    pub(crate) clock: Arc<dyn WallClock>,
    pub(crate) metrics: Arc<Metrics>,
    pub(crate) observed: Observed,
    pub(super) groups: RwLock<BTreeMap<GroupId, Slot<R>>>,
    pub(super) known: RwLock<Known>,
    /// Which other nodes live.
    pub(crate) pairs: Mutex<Pairs<R::Instant>>,
    /// Tells this life of the node from its others.
    pub(crate) start: u64,
    /// When that life began.
    pub(crate) began: R::Instant,
    /// What is parked, here or under other nodes.
    pub(crate) parked: ParkedOf<R>,
    /// Children of groups here that are durable and do not run yet.
    pub(crate) births: Arc<Births>,
    /// What shards were sealed as for merges.
    pub(crate) staging: Arc<Staging>,
    /// The node that told of purges last.
    pub(crate) purges_from: Mutex<Option<NodeId>>,
    /// A pair was lost. Not a `watch`: that wakes those who wait in an order of chance.
    pub(crate) losses: Notify,
    /// The newest map version anybody mentioned, and who did.
    pub(crate) hint: Mutex<Option<(u64, NodeId)>>,
    /// Wakes the supervisor's loops.
    pub(crate) wake_map: Notify,
    pub(crate) wake_replicas: Notify,
    pub(crate) wake_leading: Notify,
    pub(crate) wake_found: Notify,
    pub(crate) wake_closed: Notify,
    pub(crate) wake_survey: Notify,
    pub(crate) wake_compact: Notify,
    pub(crate) wake_leave: Notify,
    pub(crate) wake_operate: Notify,
    /// Wakes whoever looks where this node is to stand for election.
    pub(crate) wake_standing: Notify,
    pub(crate) wake_grow: Notify,
    pub(crate) wake_readers: Notify,
    /// Learners of the groups that are led here and do not catch up.
    pub(crate) late_learners: Mutex<LateLearners>,
    /// The reads that came in here, of which the voters of their shards are told.
    pub(crate) read_here: ReadHere<R::Instant>,
    /// What the shards that are led here had lately.
    pub(crate) measured: Mutex<BTreeMap<GroupId, Measured<R::Instant>>>,
    /// Which data directories that the map lists have no live node, and since when.
    pub(crate) away: Mutex<BTreeMap<RaftId, R::Instant>>,
    /// Which nodes failed to take replicas lately.
    pub(crate) setbacks: Mutex<Setbacks>,
    /// What the shards hold that others lead; gathered by the leader of the meta group.
    pub(crate) loads: Mutex<BTreeMap<ShardId, ShardLoad>>,
    /// Groups without a range that had a replica here once, and whose leader speaks to this directory.
    pub(crate) invited: Mutex<BTreeSet<GroupId>>,
    /// The groups that were left, as far as somebody asked for them.
    pub(crate) left: Mutex<LeftGroups>,
    /// The groups with something erased that the disk may still hold.
    pub(crate) erased: Mutex<BTreeMap<GroupId, Erased<R::Instant>>>,
    /// How long neighbours have been small enough to be merged.
    pub(crate) shrinkage: Mutex<Shrinkage>,
    /// The keys of shards that were absorbed and whose replicas here were destroyed since the start.
    pub(crate) retired: Mutex<BTreeMap<ShardId, KeyRange>>,
    /// For which operations something to be absorbed is being fetched.
    pub(crate) fetching: Mutex<BTreeSet<OperationId>>,
    /// What the log was asked to rid its files of, while it is not known to have done it.
    pub(crate) ridding: Mutex<Option<Ridding>>,
    /// Which groups each other member said it leads.
    leads: Mutex<BTreeMap<NodeId, Vec<GroupId>>>,
    /// How many leaders were moved for balance since the members were asked what they lead.
    balanced: AtomicUsize,
    turn: AtomicUsize,
    pub(super) map_version: watch::Sender<u64>,
    pub(crate) closing: watch::Sender<bool>,
    runtime: PhantomData<fn() -> R>,
}

/// What is known of the cluster.
#[derive(Debug, Clone, Default)]
pub(super) struct Known {
    map: Arc<ShardMap>,
    pub(super) secret: Option<ClusterSecret>,
    pub(super) seats: KnownSeats,
}

impl<R: AsyncRuntime> Inner<R> {
    /// What the host begins with: nothing runs yet.
    pub(super) fn new(parts: Parts) -> Result<Self, OpenError> {
        let raft = parts.wal.raft_id();
        // Told at once, not by the first group that starts.
        parts.options.raft_config()?;
        let snapshots =
            SnapshotStore::open(parts.snapshots, raft, parts.options.snapshot_chunk_bytes)?;
        Ok(Self {
            raft,
            wal: parts.wal,
            staging: Staging::open(Arc::clone(&snapshots)).map_err(OpenError::from)?,
            snapshots,
            documents: parts.documents,
            wire: Arc::new(Wire {
                cluster: parts.options.cluster,
                raft,
                transport: parts.transport,
            }),
            options: parts.options,
            membership: parts.membership,
            clock: parts.clock,
            metrics: Arc::new(parts.metrics),
            observed: Observed(parts.observer.map(|observer| (observer, raft))),
            groups: RwLock::new(BTreeMap::new()),
            known: RwLock::new(Known::default()),
            pairs: Mutex::default(),
            start: R::thread_rng().next_u64(),
            began: R::Instant::now(),
            parked: Arc::default(),
            births: Arc::default(),
            purges_from: Mutex::new(None),
            losses: Notify::new(),
            hint: Mutex::new(None),
            wake_map: Notify::new(),
            wake_replicas: Notify::new(),
            wake_leading: Notify::new(),
            wake_found: Notify::new(),
            wake_closed: Notify::new(),
            wake_survey: Notify::new(),
            wake_compact: Notify::new(),
            wake_leave: Notify::new(),
            wake_operate: Notify::new(),
            wake_standing: Notify::new(),
            wake_grow: Notify::new(),
            wake_readers: Notify::new(),
            late_learners: Mutex::default(),
            read_here: ReadHere::new(R::Instant::now()),
            measured: Mutex::new(BTreeMap::new()),
            away: Mutex::new(BTreeMap::new()),
            setbacks: Mutex::default(),
            loads: Mutex::default(),
            invited: Mutex::default(),
            left: Mutex::default(),
            erased: Mutex::new(BTreeMap::new()),
            shrinkage: Mutex::default(),
            retired: Mutex::default(),
            fetching: Mutex::default(),
            ridding: Mutex::new(None),
            leads: Mutex::new(BTreeMap::new()),
            balanced: AtomicUsize::new(0),
            turn: AtomicUsize::new(0),
            map_version: watch::channel(0).0,
            closing: watch::channel(false).0,
            runtime: PhantomData,
        })
    }

    /// The newest map known.
    pub(crate) fn map(&self) -> Arc<ShardMap> {
        Arc::clone(&self.known.read().map)
    }

    /// The cluster's secret.
    pub(crate) fn secret(&self) -> Option<ClusterSecret> {
        self.known.read().secret
    }

    /// How many entries a second the log of a shard here had lately.
    pub(crate) fn writes_per_s(&self, shard: ShardId) -> u64 {
        self.measured.lock().get(&shard).map_or(0, |measured| measured.writes_per_s)
    }

    /// Whether another shard has absorbed this one.
    pub(crate) fn is_retired(&self, shard: ShardId) -> bool {
        let map = self.map();
        shard.is_of_shard() && map.get(shard).is_none() && map.was_used(shard)
    }

    /// Takes over a map if it is newer than what is known.
    pub(crate) fn learn_map(
        &self,
        map: Arc<ShardMap>,
        secret: Option<ClusterSecret>,
        seats: Vec<Seats>,
    ) {
        let newer = {
            let mut known = self.known.write();
            if matches!((known.secret, secret), (Some(own), Some(told)) if own != told) {
                drop(known);
                tracing::error!(
                    "a shard map of another cluster under this one's name is not taken over: of the two, \
                     one was founded by nodes that had lost their data directories; stop those"
                );
                return;
            }
            known.seats.learn(seats);
            if secret.is_some() {
                known.secret = secret;
            }
            let newer = map.version() > known.map.version();
            if newer {
                known.map = map;
            }
            newer.then(|| known.map.version())
        };
        self.births.learn(self.map());
        if let Some(version) = newer {
            self.map_version.send_replace(version);
            self.wake_replicas.notify_one();
            self.wake_leading.notify_one();
            self.wake_leave.notify_one();
        }
    }

    pub(crate) fn on_map_hint(&self, version: u64, from: NodeId) {
        if version <= self.map().version() {
            return;
        }
        let mut hint = self.hint.lock();
        if hint.is_none_or(|(known, _)| known < version) {
            *hint = Some((version, from));
            drop(hint);
            self.wake_map.notify_one();
        }
    }

    /// A running replica.
    pub(crate) fn group(&self, id: GroupId) -> Option<Arc<Group<R>>> {
        match self.groups.read().get(&id) {
            Some(Slot::Running(group)) => Some(Arc::clone(group)),
            _ => None,
        }
    }

    /// Whether the group has a place here, running or not.
    pub(crate) fn has_slot(&self, id: GroupId) -> bool {
        self.groups.read().contains_key(&id)
    }

    /// Whether the group could not be opened.
    pub(crate) fn has_failed(&self, id: GroupId) -> bool {
        matches!(self.groups.read().get(&id), Some(Slot::Failed(_)))
    }

    /// Whether there is, or has been heard of, an initialised meta group. One whose log is empty is
    /// not: it may have voted, but nothing was ever acknowledged in it. Whoever was a replica of anything
    /// else, or left the meta group, knows of one too: it may have moved to other nodes since.
    pub(crate) fn has_meta(&self) -> bool {
        if !self.map().is_empty() || self.has_failed(GroupId::META) || self.was_here(GroupId::META)
        {
            return true;
        }
        let log = self.wal.group(GroupId::META);
        log.is_some_and(|log| log.view().is_ok_and(|view| view.last.is_some()))
            || self.wal.remembered().into_iter().any(|id| id != GroupId::META)
    }

    /// Whether a group had a replica here that was destroyed: one that comes into being here again knows
    /// nothing of what that had promised.
    pub(crate) fn was_here(&self, id: GroupId) -> bool {
        self.wal.group(id).is_none() && self.wal.vote(id).is_some()
    }

    /// Counts up, for choices that go round.
    pub(crate) fn next_turn(&self) -> usize {
        self.turn.fetch_add(1, Ordering::Relaxed)
    }

    /// Who leads which group, as far as the other members said.
    pub(crate) fn surveyed_leaders(&self) -> BTreeMap<GroupId, NodeId> {
        let leads = self.leads.lock();
        let pairs = leads.iter().flat_map(|(node, led)| led.iter().map(|group| (*group, *node)));
        pairs.collect()
    }

    /// Takes over what a member said; `None` when it did not answer.
    pub(crate) fn note_leads(&self, node: NodeId, led: Option<Vec<GroupId>>) {
        let mut leads = self.leads.lock();
        match led {
            Some(led) => drop(leads.insert(node, led)),
            None => drop(leads.remove(&node)),
        }
    }

    /// Forgets what nodes said that do not live any more.
    pub(crate) fn retain_leads(&self, members: &[Member]) {
        let lives = |node| members.iter().any(|member| member.alive && member.node == node);
        self.leads.lock().retain(|node, _| lives(*node));
    }

    /// All members were asked which groups they lead.
    pub(crate) fn surveyed(&self) {
        self.balanced.store(0, Ordering::Relaxed);
    }

    /// Whether one more leader may be moved for balance before the members are asked again which groups
    /// they lead: after a node's death each of the others believes to lead far more than anybody else.
    pub(crate) fn may_balance(&self) -> bool {
        self.balanced.fetch_add(1, Ordering::Relaxed) < BALANCED_MAX
    }

    /// The state of every replica, and whether it knows a leader.
    pub(crate) fn states(&self) -> Vec<(ReplicaState, bool)> {
        let groups = self.groups.read();
        groups
            .values()
            .map(|slot| match slot {
                Slot::Running(group) => (group.state(), group.leader().is_some()),
                Slot::Starting => (ReplicaState::Starting, false),
                Slot::Failed(_) => (ReplicaState::Halted, false),
                Slot::Leaving => (ReplicaState::Starting, true),
            })
            .collect()
    }

    /// Resolves when the host shuts down.
    pub(crate) async fn closed(&self) {
        let mut closing = self.closing.subscribe();
        drop(closing.wait_for(|closing| *closing).await);
    }

    /// All running replicas, by group.
    pub(crate) fn running(&self) -> Vec<Arc<Group<R>>> {
        let groups = self.groups.read();
        groups
            .values()
            .filter_map(|slot| match slot {
                Slot::Running(group) => Some(Arc::clone(group)),
                Slot::Starting | Slot::Failed(_) | Slot::Leaving => None,
            })
            .collect()
    }

    /// How many more groups may be awake. What all of those that are awake say at once is heard in
    /// time; with many more, heartbeats come too late to count.
    pub(crate) fn room_awake(&self) -> usize {
        AWAKE_MAX.saturating_sub(self.running().iter().filter(|group| !group.sleeps()).count())
    }

    /// How many more groups may be started. Those that were are to elect their leaders first, and to be
    /// parked: of many more elections and heartbeats at a time than a node can keep up with, none comes in
    /// time.
    pub(crate) fn room_to_start(&self) -> usize {
        let running = self.running();
        let awake = running.iter().filter(|group| !group.sleeps());
        let (mut all, mut seeking) = (0_usize, 0_usize);
        for group in awake {
            all += 1;
            let is_new = group.leader_age() < LEADERLESS_FOR;
            seeking += usize::from(is_new && group.leader().is_none());
        }
        match (LEADERLESS_MAX.saturating_sub(seeking), AWAKE_MAX.saturating_sub(all)) {
            // What is awake although there is no room for it is in use.
            (room, 0) if seeking == 0 => room.min(STARTED_CROWDED),
            (room, room_awake) => room.min(room_awake),
        }
    }

    /// Whether the host is shutting down.
    pub(crate) fn is_closing(&self) -> bool {
        *self.closing.borrow()
    }

    /// The newest descriptor of a shard; from the map, or made from the replica's own birth.
    pub(crate) fn descriptor(&self, group: &Group<R>) -> ShardDescriptor {
        self.map().get(group.id).cloned().unwrap_or_else(|| group.birth.descriptor(group.id))
    }

    /// What is known of where the keys of a group's shard are: itself as its log has it, and the shards
    /// that split off it.
    pub(crate) fn descriptors(&self, group: &Group<R>) -> Vec<ShardDescriptor> {
        let known = self.descriptor(group);
        let (epoch, range, children) = {
            let state = group.replica.state();
            let children: Vec<_> =
                state.children().iter().map(|child| child.descriptor.clone()).collect();
            (state.epoch(), state.range().cloned(), children)
        };
        let map = self.map();
        let newest = |born: ShardDescriptor| match map.get(born.id) {
            Some(known) if known.epoch > born.epoch => known.clone(),
            _ => born,
        };
        let own = match range {
            Some(range) if known.epoch < epoch => {
                let replicas = group.with_metrics(|metrics| {
                    replicas_of(metrics.membership_config.membership(), &known.replicas)
                });
                ShardDescriptor { range, epoch, replicas, ..known }
            }
            _ => known,
        };
        std::iter::once(own).chain(children.into_iter().map(newest)).collect()
    }

    /// What a shard is by now that another one has absorbed: whoever asks goes on there, whether the map has it yet
    /// or not. `None` as long as it is one of its own.
    fn absorber(&self, group: &Group<R>) -> Option<Vec<ShardDescriptor>> {
        if !group.replica.is_sealed() {
            return None;
        }
        let sealed = group.replica.state().sealed_for().copied()?;
        let left = self.group(sealed.left)?;
        let has_it = left.replica.state().absorbed().is_some_and(|it| it.right == group.id);
        has_it.then(|| self.descriptors(&left))
    }

    pub(crate) async fn propose(
        &self,
        shard: ShardId,
        epoch: Epoch,
        request: Option<RequestId>,
        op: Op,
        deadline: Duration,
    ) -> Result<Proposed, ProposeError> {
        let group = self.group(shard).ok_or(ProposeError::NotHere)?;
        let asked = R::Instant::now();
        self.leader_known(&group, deadline).await;
        let deadline = deadline.saturating_sub(asked.elapsed());
        if self.is_closing() {
            return Err(ProposeError::Unavailable("shutting down".to_owned()));
        }
        if matches!(self.wal.health(), Health::Failed(_)) {
            return Err(ProposeError::Unavailable("the write-ahead log failed".to_owned()));
        }
        let current = group.replica.state().epoch();
        if !epoch_matches(shard, epoch, current) {
            if epoch.version > current.version {
                let why = "the replica has not applied the last change of the shard's range";
                return Err(ProposeError::Unavailable(why.to_owned()));
            }
            return Err(ProposeError::StaleEpoch { newer: self.descriptors(&group) });
        }
        if !matches!(op, Op::Merge(_))
            && let Some(newer) = self.absorber(&group)
        {
            return Err(ProposeError::StaleEpoch { newer });
        }
        // Said before it is looked at whether the group is parked: see `park`.
        let _use = group.begin_use();
        if group.leads() {
            group.wake_for(deadline).await;
        }
        let command = Command { request, epoch, at_ms: self.clock.wall_ms(), op };
        let bytes_max = self.options.command_bytes_max;
        group.propose(&command, bytes_max, deadline, &self.metrics).await
    }

    /// Waits until the group has a leader whose node is heard, at most as long as an election takes:
    /// sooner than whoever asks could find out by asking around.
    async fn leader_known(&self, group: &Group<R>, deadline: Duration) {
        let is_known = || {
            group.leads()
                || group.fault().is_some()
                || group.leader_node().is_some_and(|node| self.pairs.lock().hears(node))
        };
        let until = R::Instant::now() + deadline.min(self.options.election_max * 2);
        group.until(until, is_known).await;
    }

    /// See [`Host::lost`](super::Host::lost).
    pub(crate) fn lost(self: &Arc<Self>, node: NodeId) -> BoxFuture<'static, ()> {
        {
            let mut pairs = self.pairs.lock();
            pairs.ask(node, R::Instant::now());
            if !pairs.hears(node) {
                return Box::pin(future::pending());
            }
        }
        let inner = Arc::clone(self);
        Box::pin(async move {
            loop {
                // It notices what happens from here on.
                let loss = inner.losses.notified();
                if !inner.pairs.lock().hears(node) {
                    return;
                }
                loss.await;
            }
        })
    }

    pub(crate) async fn read(
        self: &Arc<Self>,
        shard: ShardId,
        epoch: Epoch,
        level: ReadLevel,
        min: Option<LogPosition>,
        deadline: Duration,
        op: &ReadOp,
    ) -> Result<ReadResult, ReadError> {
        let group = self.group(shard).ok_or(ReadError::NotHere)?;
        if let Some(newer) = self.absorber(&group) {
            return Err(ReadError::StaleEpoch { newer });
        }
        let until = R::Instant::now() + deadline;
        if level == ReadLevel::Strong {
            self.leader_known(&group, deadline).await;
        }
        let read = Read { inner: self, group: &group, until };
        let result = read.run(level, min, op).await?;
        // The epoch of the state that answered, not of a moment before.
        if epoch_matches(shard, epoch, result.epoch) {
            group.reads.fetch_add(1, Ordering::Relaxed);
            Ok(result)
        } else if epoch.version < result.epoch.version {
            Err(ReadError::StaleEpoch { newer: self.descriptors(&group) })
        } else if planted::has(Bug::AnswerBehindSplit) {
            Ok(result)
        } else {
            // What it has of keys that are another shard's by now would be counted twice.
            Err(ReadError::StalenessUnmet { leader: group.leader_node() })
        }
    }

    pub(super) fn status(&self, id: GroupId, slot: &Slot<R>) -> ReplicaStatus {
        match slot {
            Slot::Running(group) => group.status(self),
            Slot::Starting => ReplicaStatus::empty(id, ReplicaState::Starting, None),
            Slot::Failed(why) => ReplicaStatus::empty(id, ReplicaState::Halted, Some(why.clone())),
            Slot::Leaving => ReplicaStatus::empty(id, ReplicaState::Starting, None),
        }
    }
}
