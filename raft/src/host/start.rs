//! Starting groups: those of the data directory, those that the map asks for, and the meta group.

use std::{
    collections::BTreeMap,
    sync::{Arc, OnceLock},
};

use hexpop_edge_config::{Epoch, GroupId, codec};
use hexpop_shard::{KeyRange, ShardDescriptor, ShardState, Space};
use openraft::{
    AsyncRuntime, Raft,
    async_runtime::{Select2, watch::WatchReceiver},
    errors::{InitializeError, RaftError},
};
use serde::{Deserialize, Serialize};

use super::inner::{Inner, Slot};
use crate::{
    group::{Group, Start},
    log_store::LogStore,
    machine::{Machine, Replica},
    network::{MaySpeak, Network},
    read::ReadLease,
    types::{ReplicaNode, TypeConfig, raft_node_id},
    wal::{GroupLog, NewGroup},
};

/// What a replica was created with: kept with its log, since its state begins with it.
/// By default that of a group without a range that never had a replica here.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub(crate) struct Birth {
    /// The shard's descriptor; `None` for the meta group and that of purges, which have no range.
    pub(crate) shard: Option<ShardDescriptor>,
    /// No vote is given before the members have changed so often in the replica's own log. 0 for one
    /// that was never here before; one that was had entries which it has no more, and whoever lacks
    /// them too must not be elected by its vote.
    pub(crate) votes_from_conf: u64,
}

impl Birth {
    /// The state before the first entry. Whoever is born later knows a later epoch by then; its
    /// changes of members are in the log, and counted there.
    pub(crate) fn state(&self, id: GroupId) -> ShardState {
        match &self.shard {
            Some(shard) => {
                let epoch = Epoch { conf: Epoch::FIRST.conf, ..shard.epoch };
                ShardState::new(&ShardDescriptor { epoch, ..shard.clone() })
            }
            None if id == GroupId::PURGES => ShardState::purge_group(),
            None => ShardState::meta_group(),
        }
    }

    /// Whether it is a shard of sessions.
    pub(crate) fn holds_sessions(&self) -> bool {
        self.shard.as_ref().is_some_and(|shard| shard.range.space_of() == Space::Sessions)
    }

    /// A descriptor, also for a group without a range: an empty one.
    pub(crate) fn descriptor(&self, id: GroupId) -> ShardDescriptor {
        self.shard.clone().unwrap_or_else(|| ShardDescriptor {
            id,
            range: KeyRange::space(Space::Listings),
            epoch: Epoch::FIRST,
            replicas: Vec::new(),
        })
    }
}

impl<R: AsyncRuntime> Inner<R> {
    /// Starts every group of the write-ahead log.
    pub(crate) async fn start_known_groups(self: &Arc<Self>) {
        self.remove_remains();
        for (id, about) in self.wal.groups() {
            match codec::decode::<Birth>(&about) {
                Ok(birth) => self.start(id, birth).await,
                Err(error) => self.fail(id, format!("its birth record: {error}")),
            }
        }
    }

    /// Starts a group unless it has a place here; creates its log if there is none. Resolves when
    /// it runs or has failed, and goes on to that when the caller gives up.
    pub(crate) async fn start(self: &Arc<Self>, id: GroupId, birth: Birth) {
        self.start_as(id, birth, false).await;
    }

    /// As [`start`](Self::start), for a group whose log was created a moment ago by a split: it promised
    /// nothing to anybody, although it has a vote and an end of its log.
    pub(super) async fn start_newborn(self: &Arc<Self>, id: GroupId, birth: Birth) {
        self.start_as(id, birth, true).await;
    }

    async fn start_as(self: &Arc<Self>, id: GroupId, birth: Birth, is_newborn: bool) {
        {
            let mut groups = self.groups.write();
            if groups.contains_key(&id) || self.is_closing() {
                return;
            }
            groups.insert(id, Slot::Starting);
            self.note_started(id);
        }
        let inner = Arc::clone(self);
        let starting = R::spawn(async move {
            match inner.open_group(id, birth, is_newborn).await {
                Ok(group) => {
                    inner.groups.write().insert(id, Slot::Running(Arc::clone(&group)));
                    if inner.is_closing() {
                        // Whoever closed the host did not find it among what runs.
                        group.stop().await;
                        return;
                    }
                    inner.look_after(&group);
                    tracing::info!(group = %id, "a replica runs");
                }
                Err(why) => inner.fail(id, why),
            }
        });
        drop(starting.await);
    }

    pub(super) fn fail(&self, id: GroupId, why: String) {
        tracing::error!(group = %id, %why, "a replica cannot be opened; the others go on");
        self.groups.write().insert(id, Slot::Failed(why));
    }

    async fn open_group(
        self: &Arc<Self>,
        id: GroupId,
        birth: Birth,
        is_newborn: bool,
    ) -> Result<Arc<Group<R>>, String> {
        let say = |error: &dyn std::fmt::Display| error.to_string();
        let mut birth = birth;
        let log = match self.wal.group(id) {
            Some(log) => {
                // What it was created with counts, whoever starts it again.
                let about = self.wal.groups().into_iter().find(|(known, _)| *known == id);
                if let Some((_, about)) = about.filter(|_| !id.is_of_shard()) {
                    birth = codec::decode(&about).map_err(|error| say(&error))?;
                }
                log
            }
            None => {
                let about = codec::encode(&birth).map_err(|error| say(&error))?.into();
                let new = NewGroup { about, ..NewGroup::default() };
                self.wal.create(id, new).await.map_err(|error| say(&error))?
            }
        };
        // One that never voted and has no entry promised nothing to anybody.
        let fresh = is_newborn || is_fresh(&log);
        let config = self.options.raft_config().map_err(|error| say(&error))?;
        let state = birth.state(id);
        let documents = self.documents.group(id);
        let replica = Replica::new(id, state, documents.clone());
        let speaks = Arc::new(OnceLock::new());
        let network = Network {
            group: id,
            speaks: Arc::clone(&speaks),
            wire: Arc::clone(&self.wire),
            deadline: self.options.election_min,
            metrics: Arc::clone(&self.metrics),
        };
        let machine = Machine {
            replica: Arc::clone(&replica),
            documents,
            snapshots: Arc::clone(&self.snapshots),
            metrics: Arc::clone(&self.metrics),
            observed: self.observed.clone(),
            clock: Arc::clone(&self.clock),
            raft: self.raft,
            wal: self.wal.clone(),
            births: Arc::clone(&self.births),
            staging: Arc::clone(&self.staging),
        };
        let store = LogStore::new(log);
        let raft: Raft<TypeConfig<R>, Machine> =
            Raft::new(raft_node_id(self.raft), Arc::new(config), network, store, machine)
                .await
                .map_err(|error| replica.fault().unwrap_or_else(|| say(&error)))?;
        let grace = (!fresh).then_some(self.options.election_max);
        let group = Group::new(Start {
            id,
            raft,
            replica,
            birth,
            proposals_max: self.options.proposals_max,
            grace,
            parked: Arc::clone(&self.parked),
            wakes: self.metrics.pairs.wakes.clone(),
            observed: self.observed.clone(),
            lease: self.options.election_max,
            read_lease: ReadLease {
                time: self.options.read_lease(),
                reads: self.metrics.lease_reads.clone(),
            },
        });
        let (weak, host) = (Arc::downgrade(&group), Arc::downgrade(self));
        let hears = move |raft| host.upgrade().is_some_and(|host| host.pairs.lock().is_live(raft));
        let may_speak = move || weak.upgrade().is_none_or(|group| group.may_speak(&hears));
        // It is set once, here.
        drop(speaks.set(Box::new(may_speak) as MaySpeak));
        Ok(group)
    }

    /// Follows a replica's Raft instance: counts leaders, tells the supervisor.
    fn look_after(self: &Arc<Self>, group: &Arc<Group<R>>) {
        let (inner, watched) = (Arc::clone(self), Arc::clone(group));
        drop(R::spawn(async move {
            let mut seen = watched.watch_metrics();
            loop {
                watched.changed.notify_waiters();
                watched.note_role();
                if watched.note_leader() {
                    inner.metrics.leader_changes.inc();
                    inner.wake_leading.notify_one();
                }
                if let Some(fault) = watched.fault() {
                    if inner.is_closing() || inner.is_leaving(watched.id) {
                        return;
                    }
                    tracing::error!(group = %watched.id, %fault, "a replica has halted");
                    return;
                }
                if seen.changed().await.is_err() {
                    return;
                }
            }
        }));
        if group.id == GroupId::META {
            let (inner, meta) = (Arc::clone(self), Arc::downgrade(group));
            let mut applied = group.replica.watch_applied();
            drop(R::spawn(async move {
                loop {
                    // It is over once the replica has left the group.
                    let Some(known) = meta.upgrade() else { return };
                    inner.learn_from_meta(&known);
                    drop(known);
                    inner.wake_operate.notify_one();
                    let changed = R::select2(inner.closed(), applied.changed()).await;
                    if !matches!(changed, Select2::Second(Ok(()))) {
                        return;
                    }
                }
            }));
        }
    }

    /// Takes over the map of the meta group's replica here.
    pub(crate) fn learn_from_meta(&self, meta: &Group<R>) {
        let known = self.map().version();
        let news = {
            let state = meta.replica.state();
            state
                .as_meta()
                .filter(|state| state.map().version() > known)
                .map(|state| (Arc::new(state.map().clone()), state.secret().copied()))
        };
        if let Some((map, secret)) = news {
            self.learn_map(map, secret, Vec::new());
        }
    }

    /// Gives a group its first membership, unless it has one. Every node that does so gives it the
    /// same one, so that it does not matter who does, or how many.
    pub(crate) async fn initialise(&self, group: &Group<R>, voters: BTreeMap<u64, ReplicaNode>) {
        match group.raft.initialize(voters).await {
            Ok(()) => tracing::info!(group = %group.id, "the group is initialised"),
            Err(RaftError::APIError(InitializeError::NotAllowed(_))) => {}
            Err(error) => {
                tracing::warn!(group = %group.id, %error, "the group was not initialised");
            }
        }
    }
}

/// The first members of a shard's group.
pub(crate) fn first_voters(shard: &ShardDescriptor) -> BTreeMap<u64, ReplicaNode> {
    shard.voters().map(|replica| (raft_node_id(replica.raft), replica.node.into())).collect()
}

fn is_fresh(log: &GroupLog) -> bool {
    log.view().is_ok_and(|view| view.vote.is_none() && view.last.is_none() && view.purged.is_none())
}
