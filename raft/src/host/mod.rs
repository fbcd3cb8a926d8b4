//! All groups of a node: started, found, asked, stopped.

mod births;
mod handle;
mod holdings;
mod inner;
mod leave;
mod receive;
mod seats;
mod start;
mod status;
#[cfg(test)]
mod tests;

use std::{collections::BTreeMap, fmt, sync::Arc, time::Duration};

use bytes::Bytes;
use futures::future::{self, BoxFuture};
use hexpop_edge_config::{Epoch, NodeId, RaftId, RequestId, ShardId};
use hexpop_shard::{
    ClusterSecret, Explanation, LogPosition, Losses, Merge, MetaOp, MetaOutcome, Op,
    PlacementPolicy, PurgeEntry, PurgeId, PurgeOp, PurgeOutcome, PurgeTail, ReadOp, ReadersOf,
    Reply, ShardDescriptor, ShardMap, World,
};
use openraft::AsyncRuntime;
use tokio::sync::watch;

use crate::{
    api::{Holding, Proposed, ReadLevel, ReadResult, ReplicaStatus, Standing},
    disk::Disk,
    documents::Documents,
    error::{ControlError, OpenError, ProposeError, ReadError},
    metrics::Metrics,
    observe::Observer,
    options::Options,
    pairs,
    port::{Membership, PeerTransport, WallClock},
    supervisor,
    wal::{Health, WalHandle},
};

pub(crate) use births::Births;
pub(crate) use inner::Inner;
pub(crate) use seats::{KnownSeats, Seats};
pub(crate) use start::{Birth, first_voters};
pub(crate) use status::replicas_of;

/// What a host is made of.
#[derive(Debug)]
pub struct Parts {
    /// How the groups are run.
    pub options: Options,
    /// The write-ahead log, driven by its owner, who keeps it going until after
    /// [`Host::shutdown`].
    pub wal: WalHandle,
    /// Where snapshot files are.
    pub snapshots: Arc<dyn Disk>,
    /// Where documents are.
    pub documents: Documents,
    /// The way to other nodes.
    pub transport: Arc<dyn PeerTransport>,
    /// Who is in the mesh.
    pub membership: Arc<dyn Membership>,
    /// Stamps commands.
    pub clock: Arc<dyn WallClock>,
    /// What is counted.
    pub metrics: Metrics,
    /// Looks over the shoulder of the replicas; `None` outside of simulations.
    pub observer: Option<Arc<dyn Observer>>,
}

/// All groups of a node.
///
/// Cheap to clone; every clone is the same host.
pub struct Host<R: AsyncRuntime> {
    inner: Arc<Inner<R>>,
}

impl<R: AsyncRuntime> Clone for Host<R> {
    fn clone(&self) -> Self {
        Self { inner: Arc::clone(&self.inner) }
    }
}

impl<R: AsyncRuntime> fmt::Debug for Host<R> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Host").field("raft", &self.inner.raft).finish_non_exhaustive()
    }
}

impl<R: AsyncRuntime> Host<R> {
    /// Opens what is in the data directory, starts its groups and the loops that look after them.
    ///
    /// # Errors
    /// [`OpenError`]. A single group that cannot be opened is no error: it is reported as halted.
    pub async fn open(parts: Parts) -> Result<Self, OpenError> {
        let inner = Arc::new(Inner::new(parts)?);
        supervisor::remember_left_groups(&inner);
        inner.start_known_groups().await;
        supervisor::spawn(&inner);
        pairs::spawn(&inner);
        Ok(Self { inner })
    }

    /// The Raft id of the data directory.
    #[must_use]
    pub fn raft_id(&self) -> RaftId {
        self.inner.raft
    }

    /// Handles a frame of another node. It is queued when this returns, in the order of the calls;
    /// the future resolves with the answer, within a bounded time.
    #[must_use]
    pub fn handle(&self, from: NodeId, frame: Bytes) -> BoxFuture<'static, Bytes> {
        handle::handle(&self.inner, from, &frame)
    }

    /// Proposes an operation to a group that is led here, and waits until it is applied.
    ///
    /// # Errors
    /// [`ProposeError`]; only `Unknown` leaves open whether it is or will be applied.
    ///
    /// # Cancel safety
    /// Dropped while it waits, the operation may be applied.
    pub async fn propose(
        &self,
        shard: ShardId,
        epoch: Epoch,
        request: Option<RequestId>,
        op: Op,
        deadline: Duration,
    ) -> Result<Proposed, ProposeError> {
        let inner = &self.inner;
        let proposed = inner.propose(shard, epoch, request, op, deadline).await;
        let outcome = match &proposed {
            Ok(Proposed { reply: Reply::Refused(_), .. }) => "refused",
            Ok(_) => "applied",
            Err(ProposeError::NotLeader { .. } | ProposeError::NotHere) => "not_leader",
            Err(ProposeError::StaleEpoch { .. }) => "stale_epoch",
            Err(ProposeError::Overloaded) => "overloaded",
            Err(ProposeError::Invalid(_)) => "invalid",
            Err(ProposeError::Unknown(_)) => "unknown",
            Err(ProposeError::Unavailable(_)) => "unavailable",
        };
        inner.metrics.proposals.with_label_values(&[outcome]).inc();
        proposed
    }

    /// This node.
    #[must_use]
    pub fn node(&self) -> NodeId {
        self.inner.options.node
    }

    /// A write of a shard that is led here, and that came in at a node, is done: leaders go where the writes
    /// of their shards come in.
    pub fn note_write(&self, shard: ShardId, from: NodeId) {
        if let Some(group) = self.inner.group(shard) {
            group.note_write(from);
        }
    }

    /// A read of a shard came in at this node that any replica may answer, whoever does: a PoP that reads much
    /// of a shard gets a replica of it.
    pub fn note_read(&self, shard: ShardId) {
        if self.inner.options.reader_limits.are_any() {
            self.inner.read_here.note(shard);
        }
    }

    /// Reads from the replica that is here.
    ///
    /// # Errors
    /// [`ReadError`]; another replica may answer.
    pub async fn read(
        &self,
        shard: ShardId,
        epoch: Epoch,
        level: ReadLevel,
        min: Option<LogPosition>,
        deadline: Duration,
        op: &ReadOp,
    ) -> Result<ReadResult, ReadError> {
        let read = self.inner.read(shard, epoch, level, min, deadline, op).await;
        let outcome = match &read {
            Ok(_) => "answered",
            Err(ReadError::NotLeader { .. } | ReadError::NotHere) => "not_leader",
            Err(ReadError::StaleEpoch { .. }) => "stale_epoch",
            Err(ReadError::StalenessUnmet { .. }) => "staleness_unmet",
            Err(ReadError::Unavailable(_)) => "unavailable",
        };
        self.inner.metrics.reads.with_label_values(&[outcome]).inc();
        read
    }

    /// Every replica that is here, by shard.
    #[must_use]
    pub fn replicas(&self) -> Vec<ReplicaStatus> {
        let groups = self.inner.groups.read();
        groups.iter().map(|(id, slot)| self.inner.status(*id, slot)).collect()
    }

    /// One replica that is here.
    #[must_use]
    pub fn replica(&self, shard: ShardId) -> Option<ReplicaStatus> {
        let groups = self.inner.groups.read();
        groups.get(&shard).map(|slot| self.inner.status(shard, slot))
    }

    /// Where the replica that is here stands; far cheaper than [`replica`](Self::replica).
    #[must_use]
    pub fn standing(&self, shard: ShardId) -> Option<Standing> {
        self.inner.groups.read().get(&shard).map(inner::Slot::standing)
    }

    /// The newest shard map known here; empty until there is one.
    #[must_use]
    pub fn shard_map(&self) -> Arc<ShardMap> {
        self.inner.map()
    }

    /// Follows the version of [`shard_map`](Self::shard_map).
    #[must_use]
    pub fn watch_map(&self) -> watch::Receiver<u64> {
        self.inner.map_version.subscribe()
    }

    /// The cluster's secret, once a map is there.
    #[must_use]
    pub fn cluster_secret(&self) -> Option<ClusterSecret> {
        self.inner.known.read().secret
    }

    /// Whether a node that shares a group with this one, or was [asked](Self::lost) lately, is still
    /// heard; true of any other.
    #[must_use]
    pub fn hears(&self, node: NodeId) -> bool {
        self.inner.pairs.lock().hears(node)
    }

    /// For who asks a node for something: resolves once a node that is [heard](Self::hears) now is heard
    /// no more; never for one that is not heard to begin with, nor after the host closed. Beats are
    /// exchanged with it from now on for a while, whether it shares a group with this one or not.
    #[must_use]
    pub fn lost(&self, node: NodeId) -> BoxFuture<'static, ()> {
        self.inner.lost(node)
    }

    /// Somebody has a shard map of this version; it is pulled if it is newer.
    pub fn on_map_hint(&self, version: u64, from: NodeId) {
        self.inner.on_map_hint(version, from);
    }

    /// Proposes an operation to the meta group, wherever it is led.
    ///
    /// # Errors
    /// [`ProposeError`].
    pub async fn propose_meta(
        &self,
        op: MetaOp,
        deadline: Duration,
    ) -> Result<MetaOutcome, ProposeError> {
        supervisor::propose_meta(&self.inner, op, deadline).await
    }

    /// Records a purge in the purge group, wherever it is led. From then on every node applies it, or
    /// forgets more, before it serves what is stored without asking the origin. A repeat forgets the same
    /// once more.
    ///
    /// # Errors
    /// [`ProposeError`].
    pub async fn propose_purge(
        &self,
        op: PurgeOp,
        deadline: Duration,
    ) -> Result<PurgeEntry, ProposeError> {
        op.check().map_err(|refusal| ProposeError::Invalid(refusal.to_string()))?;
        let PurgeOutcome::Appended(entry) =
            supervisor::propose_purge(&self.inner, op, deadline).await?;
        Ok(entry)
    }

    /// What was purged behind a position, `None` = one that is not known, as of a time after this was
    /// called.
    ///
    /// # Errors
    /// [`ReadError`] when no replica of the purge group proves within the deadline that it knows.
    pub async fn pull_purges(
        &self,
        position: Option<PurgeId>,
        deadline: Duration,
    ) -> Result<PurgeTail, ReadError> {
        supervisor::pull_purges(&self.inner, position, deadline).await
    }

    /// Whether an operator may have a replica of a shard moved from one node to another.
    ///
    /// # Errors
    /// Why not, in words: residency above all.
    pub fn may_move(
        &self,
        shard: &ShardDescriptor,
        from: NodeId,
        to: NodeId,
    ) -> Result<(), String> {
        self.placed(|world| world.may_move(shard, from, to))
    }

    /// Where replicas may be, as far as that needs no leaders.
    fn placed<T>(&self, look: impl FnOnce(&World<'_>) -> T) -> T {
        let members = self.inner.membership.members();
        let (map, leaders, losses) = (self.inner.map(), BTreeMap::new(), Losses::default());
        let policy = &self.inner.options.policy;
        let (map, members, leaders) = (&map, &members, &leaders);
        let (rings, readers) = (&self.inner.options.rings, &ReadersOf::default());
        look(&World { map, members, policy, leaders, losses: &losses, rings, readers })
    }

    /// Whether a shard may be begun to be merged into another one, on whose nodes it would have to be. The
    /// two are looked at again when the operation is recorded.
    ///
    /// # Errors
    /// Why not, in words.
    pub fn may_merge(&self, left: &ShardDescriptor, right: &ShardDescriptor) -> Result<(), String> {
        if !self.inner.options.merge {
            return Err("shards are not merged here: `placement.merge` is off".to_owned());
        }
        let checked = Merge::of(right).check(left.id, &left.range);
        checked.map_err(|refusal| refusal.to_string())?;
        let mut nodes = left.replicas.iter().map(|replica| replica.node);
        self.placed(|world| nodes.try_for_each(|node| world.may_hold(right, node).map(drop)))
    }

    /// Why a shard is where it is, and what is planned next; `None` when there is no such shard. The
    /// leader of the meta group knows best: what is planned and what is under way.
    #[must_use]
    pub fn explain(&self, shard: ShardId) -> Option<Explanation> {
        supervisor::why(&self.inner, shard)
    }

    /// Where replicas may be.
    #[must_use]
    pub fn placement_policy(&self) -> &PlacementPolicy {
        &self.inner.options.policy
    }

    /// What is here of which shards, in memory and on disk, whatever the map says.
    ///
    /// # Errors
    /// [`ControlError::Unavailable`] when not all of it can be looked at.
    pub fn holdings(&self) -> Result<Vec<Holding>, ControlError> {
        self.inner.holdings()
    }

    /// Hands the leadership of a group that is led here to the voter on `to`.
    ///
    /// # Errors
    /// [`ControlError`].
    pub async fn transfer_leader(
        &self,
        shard: ShardId,
        to: NodeId,
        deadline: Duration,
    ) -> Result<(), ControlError> {
        let group = self.inner.group(shard).ok_or(ControlError::NotHere)?;
        group.transfer(to, deadline).await
    }

    /// Hands over every leadership that is here to another live voter, as far as there is one.
    /// Answers how many groups are still led here after `deadline`.
    pub async fn hand_over_leaders(&self, deadline: Duration) -> usize {
        supervisor::hand_over_leaders(&self.inner, deadline).await
    }

    /// How the write-ahead log is. Once it failed, nothing is acknowledged here any more.
    #[must_use]
    pub fn wal_health(&self) -> Health {
        self.inner.wal.health()
    }

    /// Stops all groups, within a bounded time. The write-ahead log is its owner's to close.
    pub async fn shutdown(&self) {
        self.inner.closing.send_replace(true);
        let stopping: Vec<_> = self.inner.running();
        let stopped = future::join_all(stopping.iter().map(|group| group.stop()));
        if R::timeout(Duration::from_secs(10), stopped).await.is_err() {
            tracing::warn!("some groups did not stop in time");
        }
        self.inner.documents.flush();
    }
}
