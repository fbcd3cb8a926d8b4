//! What the parts of a running node share.

use std::{
    collections::BTreeMap,
    fmt,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use arc_swap::{ArcSwap, ArcSwapOption};
use bytes::Bytes;
use futures::{FutureExt as _, future::BoxFuture};
use hexpop_chaos::Registry;
use hexpop_edge_config::{Epoch, NodeId, PopId, ShardId, codec};
use hexpop_gossip::NodeState;
use hexpop_raft::{ReadLevel, ReplicaState, wal::Health};
use hexpop_router::{Clock, Router};
use hexpop_shard::{ClusterSecret, ReadAnswer, ReadOp};
use openraft_rt_tokio::TokioRuntime;
use serde_json::Value;

use crate::{
    adapters::{
        local::{HostShards, NodeHost},
        transport::SystemClock,
    },
    admin_api::{CacheDiskSummary, CacheSummary, ConfigState, OriginHealth},
    control::{AdminAnswer, AdminCalls, AdminRequest, NodeReport},
    drain_mark::DrainMark,
    http::admin::change_faults,
    live::Live,
    members::Members,
    mesh::{Class, Mesh, gossip_loop::GossipHandle},
    purges::Purges,
    view::{self, Clocks, MemberView, Own, Reports},
};

/// The router of a node.
pub type NodeRouter = Router<TokioRuntime>;

/// How long an operator's call that is passed on may take.
pub(crate) const CALL_DEADLINE: Duration = Duration::from_secs(5);

/// What the parts of a running node share.
pub struct Context {
    /// The cluster's name.
    pub cluster: String,
    /// Its PoP.
    pub pop: PopId,
    /// The consensus host.
    pub host: NodeHost,
    /// The router.
    pub router: Arc<NodeRouter>,
    /// What follows the purges of the mesh.
    pub purges: Purges,
    /// The mesh.
    pub mesh: Mesh,
    /// The members.
    pub members: Arc<Members>,
    /// Fault rules.
    pub faults: Arc<Registry>,
    /// What may change while the node runs; see [`live`](Self::live).
    pub live: ArcSwap<Live>,
    /// Whether the last reading of the configuration was refused.
    pub reload_failed: AtomicBool,
    /// All metrics of the process.
    pub registry: prometheus::Registry,
    /// The origin's address.
    pub origin_url: Option<String>,
    /// When the process started.
    pub started: Instant,
    /// Whether the node is being taken out.
    pub draining: AtomicBool,
    /// Whether it is to be emptied, also after a restart.
    pub drain_mark: DrainMark,
    /// Held while a drain begins or is undone, so that of two at once the later one holds everywhere: in the
    /// data directory, here, and in what the others hear.
    pub drain_turn: tokio::sync::Mutex<()>,
    /// What this node tells the others of itself.
    pub gossip: GossipHandle,
    /// Whether it has been ready once: from then on only its own state counts.
    pub was_ready: AtomicBool,
    /// Milliseconds after the start when the control plane moved last.
    pub heartbeat_ms: AtomicU64,
    /// Until when the node's certificate is valid, as RFC 3339.
    pub certificate_expires: Option<String>,
    /// What [`tag_salt`](Self::tag_salt) answers, once it is known.
    pub tag_salt: TagSalt,
    /// What was counted of HTTP.
    pub http_metrics: crate::http::metrics::HttpMetrics,
}

/// What is derived from the cluster's secret for entity tags, so that it is not derived for each answer.
#[derive(Debug, Default)]
pub struct TagSalt(ArcSwapOption<(ClusterSecret, u32)>);

impl TagSalt {
    fn of(&self, secret: ClusterSecret) -> Option<u32> {
        if let Some(known) = &*self.0.load()
            && known.0 == secret
        {
            return Some(known.1);
        }
        let key = ring::hmac::Key::new(ring::hmac::HMAC_SHA256, &secret.0);
        let digest = ring::hmac::sign(&key, b"entity tags");
        let salt = digest.as_ref().first_chunk().map(|first| u32::from_be_bytes(*first))?;
        self.0.store(Some(Arc::new((secret, salt))));
        Some(salt)
    }
}

impl fmt::Debug for Context {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Context").field("node", &self.node()).finish_non_exhaustive()
    }
}

impl Context {
    /// This node.
    #[must_use]
    pub fn node(&self) -> NodeId {
        self.mesh.node()
    }

    /// What the configuration in force says, where it may change while the node runs.
    #[must_use]
    pub fn live(&self) -> Arc<Live> {
        self.live.load_full()
    }

    /// Puts another configuration in force.
    pub fn set_live(&self, live: Live) {
        self.live.store(Arc::new(live));
    }

    /// Notes whether a reading of the configuration was taken.
    pub fn note_reload(&self, taken: bool) {
        self.reload_failed.store(!taken, Ordering::Relaxed);
    }

    /// A number that is in all entity tags of the mesh's own answers, the same at all nodes. Log positions
    /// come again when a mesh is founded anew, and its secret does not, so that no client takes what it
    /// had of the old one for something of the new. `None` until the node has learned the secret.
    #[must_use]
    pub fn tag_salt(&self) -> Option<u32> {
        let secret = self.host.cluster_secret()?;
        self.tag_salt.of(secret)
    }

    /// All members as gossip sees them, by id.
    #[must_use]
    pub fn members(&self) -> Vec<MemberView> {
        self.members.views(&self.mesh, Instant::now())
    }

    /// What the members that answer know of themselves.
    pub async fn reports(&self, members: &[MemberView]) -> Reports {
        view::gather(&self.mesh, members).await
    }

    /// How far the clocks of the members that answer are off this node's.
    pub async fn clocks(&self, members: &[MemberView]) -> Clocks {
        view::gather_clocks(&self.mesh, members, || Clock::wall_ms(&SystemClock)).await
    }

    /// What this node knows of itself.
    #[must_use]
    pub fn report(&self) -> NodeReport {
        NodeReport {
            node: self.node(),
            uptime_s: self.started.elapsed().as_secs(),
            map_version: self.host.shard_map().version(),
            replicas: self.host.replicas(),
        }
    }

    /// What a status needs of this node.
    #[must_use]
    pub fn own(&self) -> Own {
        let cache = self.router.cache_stats();
        let breakers = self.router.breakers();
        let origin = breakers.iter().filter(|breaker| breaker.target == "origin");
        let breaker = origin
            .map(|breaker| breaker.state)
            .find(|state| *state != "closed")
            .unwrap_or("closed");
        Own {
            node: self.node(),
            pop: self.pop.to_string(),
            cluster: self.cluster.clone(),
            uptime_s: self.started.elapsed().as_secs(),
            origin: OriginHealth {
                url: self.origin_url.clone(),
                state: match (&self.origin_url, breaker) {
                    (None, _) => "none".to_owned(),
                    (Some(_), "closed") => "up".to_owned(),
                    (Some(_), _) => "down".to_owned(),
                },
                breaker: breaker.to_owned(),
            },
            cache: CacheSummary {
                entries: cache.entries,
                bytes: cache.bytes,
                bytes_max: cache.bytes_max,
                disk: cache.disk.map(|disk| CacheDiskSummary {
                    entries: disk.entries,
                    bytes: disk.bytes,
                    bytes_max: disk.bytes_max,
                    off: disk.off,
                }),
            },
            faults: self.faults.list(Instant::now()).len() as u64,
            certificate_expires: self.certificate_expires.clone(),
            config: ConfigState {
                last_reload_successful: !self.reload_failed.load(Ordering::Relaxed),
                restart_pending: self.live().restart_pending.clone(),
            },
        }
    }

    /// Why this node cannot serve, by the name of the check; all `None` = it can.
    #[must_use]
    pub fn ready_checks(&self) -> BTreeMap<String, Option<String>> {
        let map = self.host.shard_map();
        let mut checks = BTreeMap::new();
        checks.insert(
            "draining".to_owned(),
            self.draining.load(Ordering::Relaxed).then(|| "the node is being taken out".to_owned()),
        );
        checks.insert(
            "log".to_owned(),
            match self.host.wal_health() {
                Health::Failed(why) => Some(format!("the write-ahead log failed: {why}")),
                _ => None,
            },
        );
        checks.insert(
            "shard-map".to_owned(),
            map.is_empty().then(|| "this node has not learned the shard map yet".to_owned()),
        );
        checks.insert("shards".to_owned(), self.shards_check(&map));
        checks
    }

    /// What does not work and does not keep the node from serving, by name.
    #[must_use]
    pub fn warnings(&self) -> BTreeMap<String, String> {
        let off = self.router.cache_stats().disk.and_then(|disk| disk.off);
        let off =
            off.map(|why| ("cache-disk".to_owned(), format!("off until the next start: {why}")));
        off.into_iter().collect()
    }

    /// Whether the replicas that the map gives this node are there. Until the node was ready once, they
    /// must also know a leader and have its log; later an election does not make it unready.
    fn shards_check(&self, map: &hexpop_shard::ShardMap) -> Option<String> {
        let raft = self.host.raft_id();
        let before = !self.was_ready.load(Ordering::Relaxed);
        let mut own =
            map.shards().filter(|shard| shard.replicas.iter().any(|replica| replica.raft == raft));
        let waiting = own.find_map(|shard| match self.host.replica(shard.id) {
            None => Some(format!("the replica of shard {} has not started", shard.id)),
            Some(status) if status.state == ReplicaState::Halted => Some(format!(
                "the replica of shard {} has halted: {}",
                shard.id,
                status.fault.unwrap_or_default()
            )),
            Some(status) if before && status.leader.is_none() => {
                Some(format!("shard {} has no leader yet", shard.id))
            }
            Some(status) if before && status.applied.index < status.commit_index => {
                Some(format!("the replica of shard {} is catching up", shard.id))
            }
            Some(_) => None,
        });
        if waiting.is_none() && !map.is_empty() {
            self.was_ready.store(true, Ordering::Relaxed);
        }
        waiting
    }

    /// How long ago the control plane moved last.
    #[must_use]
    pub fn control_plane_silence(&self) -> Duration {
        let last = Duration::from_millis(self.heartbeat_ms.load(Ordering::Relaxed));
        self.started.elapsed().saturating_sub(last)
    }

    /// Notes that the control plane moves.
    pub fn beat(&self) {
        let now = u64::try_from(self.started.elapsed().as_millis()).unwrap_or(u64::MAX);
        self.heartbeat_ms.store(now, Ordering::Relaxed);
    }

    /// Brings gauges up to date before they are read.
    pub fn refresh_metrics(&self) {
        let _stats = self.router.cache_stats();
        self.http_metrics.refresh(self);
    }

    /// Passes an operator's call on to a node, which may be this one.
    ///
    /// # Errors
    /// Why there was no answer, in words.
    pub async fn ask(&self, node: NodeId, request: AdminRequest) -> Result<AdminAnswer, String> {
        let frame = codec::encode(&request).map_err(|error| error.to_string())?;
        let answer = self
            .mesh
            .call(node, Class::Admin, Bytes::from(frame), CALL_DEADLINE)
            .await
            .map_err(|error| error.to_string())?;
        codec::decode(&answer).map_err(|error| error.to_string())
    }
}

/// Answers operators' calls that peers passed on.
#[derive(Debug)]
pub struct Calls(pub Arc<Context>);

impl AdminCalls for Calls {
    fn answer(&self, request: AdminRequest) -> BoxFuture<'static, AdminAnswer> {
        let context = Arc::clone(&self.0);
        async move {
            match request {
                AdminRequest::Report => AdminAnswer::Report(context.report()),
                AdminRequest::Clock => AdminAnswer::Clock(Clock::wall_ms(&SystemClock)),
                AdminRequest::Purge(entry) => AdminAnswer::Purge(context.purges.push(&entry).await),
                AdminRequest::PurgeReport(id) => AdminAnswer::Purge(context.purges.report(id)),
                AdminRequest::Inspect { url } => match context.router.inspect(&url) {
                    Ok(entries) => match serde_json::to_string(&entries) {
                        Ok(text) => AdminAnswer::Inspected(text),
                        Err(error) => AdminAnswer::Failed(error.to_string()),
                    },
                    Err(error) => AdminAnswer::Failed(error.to_string()),
                },
                AdminRequest::Why { shard } => AdminAnswer::Why(context.host.explain(shard)),
                AdminRequest::Holdings => match context.host.holdings() {
                    Ok(holdings) => AdminAnswer::Holdings(holdings),
                    Err(error) => AdminAnswer::Failed(error.to_string()),
                },
                AdminRequest::Operations => {
                    match context.read_here(ShardId::META, &ReadOp::Operations).await {
                        Ok(ReadAnswer::Operations(operations)) => {
                            AdminAnswer::Operations(operations)
                        }
                        Ok(_) => AdminAnswer::Failed("an answer out of place".to_owned()),
                        Err(why) => AdminAnswer::Failed(why),
                    }
                }
                AdminRequest::Drain { on } => context.drain(on).await,
                AdminRequest::SplitPoint { shard } => {
                    match context.read_here(shard, &ReadOp::SplitPoint).await {
                        Ok(ReadAnswer::SplitPoint(at)) => AdminAnswer::SplitPoint(at),
                        Ok(_) => AdminAnswer::Failed("an answer out of place".to_owned()),
                        Err(why) => AdminAnswer::Failed(why),
                    }
                }
                AdminRequest::TransferLeader { shard, to } => {
                    match context.host.transfer_leader(shard, to, CALL_DEADLINE).await {
                        Ok(()) => AdminAnswer::Done,
                        Err(error) => AdminAnswer::Failed(error.to_string()),
                    }
                }
                AdminRequest::Faults { method, body } => {
                    if !context.live().chaos_enabled {
                        let why = "fault rules are switched off there (chaos.enabled)";
                        return AdminAnswer::Failed(why.to_owned());
                    }
                    let body = serde_json::from_str(&body).unwrap_or(Value::Null);
                    match change_faults(&context.faults, &method, &body) {
                        Ok(_changed) => AdminAnswer::Done,
                        Err(problem) => AdminAnswer::Failed(problem.error.to_string()),
                    }
                }
            }
        }
        .boxed()
    }
}

impl Context {
    /// Begins to empty this node, or undoes that.
    async fn drain(&self, on: bool) -> AdminAnswer {
        let _turn = self.drain_turn.lock().await;
        let mark = self.drain_mark.clone();
        match tokio::task::spawn_blocking(move || mark.set(on)).await {
            Ok(Ok(())) => {}
            Ok(Err(error)) => {
                let why = format!("it cannot be kept in the data directory: {error}");
                return AdminAnswer::Failed(why);
            }
            Err(error) => return AdminAnswer::Failed(error.to_string()),
        }
        self.draining.store(on, Ordering::Relaxed);
        let state = if on { NodeState::Draining } else { NodeState::Up };
        self.gossip.set_state(state).await;
        AdminAnswer::Done
    }

    /// Asks the replica of a group that is here, which leads it.
    async fn read_here(&self, shard: ShardId, op: &ReadOp) -> Result<ReadAnswer, String> {
        let epoch = self.host.replica(shard).map_or(Epoch::FIRST, |replica| replica.epoch);
        let level = ReadLevel::Strong;
        let read = self.host.read(shard, epoch, level, None, CALL_DEADLINE, op).await;
        read.map(|result| result.answer).map_err(|error| error.to_string())
    }

    /// The node's replicas, for the router.
    #[must_use]
    pub fn shards(&self) -> HostShards {
        hexpop_chaos::HostShards(self.host.clone())
    }
}
