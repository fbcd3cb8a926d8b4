//! Opening a node, part by part, and closing it in the opposite order.

use std::{
    fmt,
    sync::{Arc, atomic::AtomicBool},
    time::{Duration, Instant},
};

use arc_swap::ArcSwap;
use hexpop_chaos::{FaultyDisk, FaultyOrigin, Registry as Faults};
use hexpop_edge_config::{
    ClusterId,
    config::{Loaded, Placement},
};
use hexpop_gossip::NodeState;
use hexpop_raft::{
    Disk, Documents, FsDisk, Host, Options as RaftOptions, Parts, identity,
    wal::{Health, Options as WalOptions, Wal, WriterThread},
};
use hexpop_router::{ErasureHandle, FeedHandle, Origin, Ports, Router, RouterOptions, Sealer};
use hexpop_shard::{PlacementPolicy, ReaderLimits, Rings, SplitLimits};
use tokio::runtime::Runtime;

use super::{NodeError, parts};
use crate::{
    adapters::{
        compress::Compressors,
        faults::LinkFaults,
        origin::{HttpOrigin, NoOrigin},
        peer::MeshPeers,
        transport::{RaftTransport, SystemClock},
    },
    context::{Calls, Context, TagSalt},
    control::Dispatch,
    drain_mark::DrainMark,
    http::{admin::AdminPort, data::DataPort, metrics::HttpMetrics, shard_metrics},
    live::Live,
    members::Members,
    mesh::{AddressBook, HookSlot, Mesh, MeshOptions, gossip_loop::GossipHandle},
    purges::Purges,
    seal::{Keyring, KeyringSealer, Scopes},
};

/// How long a shard must have been over a limit before it is divided: a burst is over by then.
const SPLIT_PERSIST_MS: u64 = 10_000;

/// How long after a shard was divided it is left alone.
const SPLIT_REST_MS: u64 = 120_000;

/// How long the end of the process waits for the HTTP cache on disk.
const CACHE_FLUSH: Duration = Duration::from_secs(2);

/// A node whose parts are open.
pub(super) struct Node {
    pub(super) context: Arc<Context>,
    gossip: GossipHandle,
    _feed: Option<FeedHandle>,
    _erasures: ErasureHandle,
    wal: WriterThread,
    process: u64,
}

impl fmt::Debug for Node {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Node").finish_non_exhaustive()
    }
}

/// What is on disk.
struct Storage {
    wal: WriterThread,
    snapshots: Arc<dyn Disk>,
    documents: Documents,
    raft: hexpop_edge_config::RaftId,
    incarnation: u64,
}

impl Node {
    /// Opens everything; on an error what is open already is closed by being dropped.
    pub(super) async fn open(loaded: &Loaded, data: &Runtime) -> Result<Self, NodeError> {
        let config = &loaded.config;
        let started = Instant::now();
        let registry = prometheus::Registry::new();
        let faults = Arc::new(Faults::new(config.chaos.max_ttl));
        let live = Live::read(loaded, Vec::new())?;
        let storage = open_storage(loaded, &faults)?;

        let dispatch = Arc::new(Dispatch::default());
        let mesh = open_mesh(config, &storage, &faults, &dispatch, data)?;

        let identity = (storage.raft, storage.incarnation);
        let drain_mark = DrainMark::new(&config.node.data_dir);
        let drains = drain_mark
            .is_set()
            .map_err(|error| NodeError::open("whether the node is being emptied")(&error))?;
        let state = if drains { NodeState::Draining } else { NodeState::Joining };
        let gossip = parts::start_gossip(config, &mesh, &dispatch, (identity, state), &registry)?;
        let members = Members::new(gossip.clone());
        let host = open_host(config, &storage, &mesh, &members, &registry).await?;
        dispatch.serve_host(host.clone());
        let labels_max = usize::try_from(config.telemetry.shard_labels_max).unwrap_or(usize::MAX);
        shard_metrics::register(&registry, host.clone(), labels_max)
            .map_err(|error| NodeError::open("metrics of shards")(&error))?;
        parts::exchange_map_versions(&host, &gossip);

        let origin = open_origin(config, &faults)?;
        let router = open_router(config, &storage, &host, &mesh, &members, origin, &registry)?;
        dispatch.serve_cache(Arc::clone(&router));
        let purges = {
            let _entered = data.enter();
            Purges::follow(host.clone(), Arc::clone(&router), config.purge.max_silence)
        };
        let process: u64 = rand::random();
        let context = Arc::new(Context {
            cluster: config.mesh.cluster.to_string(),
            pop: config.node.pop.clone(),
            host,
            router,
            purges,
            mesh,
            members,
            faults,
            live: ArcSwap::from_pointee(live),
            reload_failed: AtomicBool::new(false),
            http_metrics: HttpMetrics::register(&registry)
                .map_err(|error| NodeError::open("metrics")(&error))?,
            registry,
            origin_url: config.origin.url.clone(),
            started,
            draining: AtomicBool::new(drains),
            drain_mark,
            drain_turn: tokio::sync::Mutex::default(),
            gossip: gossip.clone(),
            was_ready: AtomicBool::new(false),
            heartbeat_ms: std::sync::atomic::AtomicU64::new(0),
            certificate_expires: parts::certificate_expires(&config.mesh.cert),
            tag_salt: TagSalt::default(),
        });
        dispatch.serve_admin(Arc::new(Calls(Arc::clone(&context))));
        let mut feed = None;
        if config.origin.feed && config.origin.url.is_some() {
            let _entered = data.enter();
            feed = Some(context.router.follow_feeds());
        }
        let erasures = {
            let _entered = data.enter();
            context.router.follow_erasures()
        };
        Ok(Self { context, gossip, _feed: feed, _erasures: erasures, wal: storage.wal, process })
    }

    pub(super) fn data_port(&self) -> Arc<DataPort> {
        Arc::new(DataPort::new(Arc::clone(&self.context), self.process))
    }

    pub(super) fn admin_port(&self) -> Arc<AdminPort> {
        Arc::new(AdminPort::new(Arc::clone(&self.context), self.process.rotate_left(32)))
    }

    /// Tells the members what this node is doing.
    pub(super) async fn set_state(&self, state: NodeState) {
        self.gossip.set_state(state).await;
    }

    /// Leaves the mesh and closes what is on disk.
    pub(super) async fn close(self) {
        self.gossip.leave().await;
        self.context.host.shutdown().await;
        self.context.mesh.close(Duration::from_secs(1)).await;
        // What is not remembered in time is only to be caught up with.
        tokio::time::timeout(CACHE_FLUSH, self.context.router.flush_cache()).await.ok();
        if let Health::Failed(error) = self.context.host.wal_health() {
            tracing::warn!(%error, "the log had failed");
        }
        // Closes the log and waits for its last flush.
        drop(self.wal);
    }
}

fn open_storage(loaded: &Loaded, faults: &Arc<Faults>) -> Result<Storage, NodeError> {
    let config = &loaded.config;
    let dir = &config.node.data_dir;
    let open_dir = |name: &str| {
        let path = dir.join(name);
        FsDisk::open(&path).map(|disk| Arc::new(disk) as Arc<dyn Disk>).map_err(|error| {
            NodeError::open(format!("the data directory {}", path.display()))(&error)
        })
    };
    let log = Arc::new(FaultyDisk::new(open_dir("log")?, Arc::clone(faults)));
    let raft = identity::load_or_create(&*log, rand::random())
        .map_err(|error| NodeError::open("the identity of the data directory")(&error))?;
    let options = WalOptions {
        segment_bytes: u32::try_from(config.raft.segment_bytes.bytes()).unwrap_or(64 << 20),
        queue_bytes_max: config.raft.queue_bytes.as_usize(),
        ..WalOptions::default()
    };
    let (wal, recovery) = Wal::open(log, raft, options)
        .map_err(|error| NodeError::open("the write-ahead log")(&error))?;
    tracing::info!(?recovery, "the write-ahead log is open");
    let wal = WriterThread::spawn(wal)
        .map_err(|error| NodeError::open("the write-ahead log's thread")(&error))?;
    let documents = Documents::open(&dir.join("documents"), config.cache.docs_bytes.bytes())
        .map_err(|error| NodeError::open("the document store")(&error))?;
    let incarnation = parts::next_incarnation(&dir.join("incarnation"))?;
    Ok(Storage { wal, snapshots: open_dir("snapshots")?, documents, raft, incarnation })
}

async fn open_host(
    config: &hexpop_edge_config::Config,
    storage: &Storage,
    mesh: &Mesh,
    members: &Arc<Members>,
    registry: &prometheus::Registry,
) -> Result<crate::adapters::local::NodeHost, NodeError> {
    let transport = Arc::new(RaftTransport::default());
    transport.connect(mesh.clone());
    let policy = PlacementPolicy::from_config(&config.placement, &config.territories);
    let cluster = ClusterId::from(&config.mesh.cluster);
    let options = RaftOptions {
        expect_nodes: config.placement.expect_nodes,
        heartbeat: config.raft.heartbeat,
        election_min: config.raft.election_min,
        election_max: config.raft.election_max,
        lease_reads: config.raft.lease_reads,
        park_after: config.raft.park_after,
        log_bytes_before_snapshot: config.raft.log_bytes_before_snapshot.bytes(),
        snapshot_chunk_bytes: config.raft.snapshot_chunk.as_usize(),
        append_bytes_max: config.raft.max_append_bytes.as_usize(),
        hot_documents_bytes: config.cache.docs_bytes.bytes(),
        compact_after_erasure: config.raft.compact_after_erasure,
        split_limits: SplitLimits {
            keys: config.placement.split_keys,
            bytes: config.placement.split_bytes.bytes(),
            writes_per_s: config.placement.split_writes_per_second,
            reads_per_s: config.placement.split_reads_per_second,
            persist_ms: SPLIT_PERSIST_MS,
            rest_ms: SPLIT_REST_MS,
        },
        merge: config.placement.merge,
        repair_after: config.placement.repair_after,
        moves_at_once: usize::try_from(config.placement.moves_at_once).unwrap_or(usize::MAX),
        moves_per_node: usize::try_from(config.placement.moves_per_node).unwrap_or(usize::MAX),
        rings: Rings::from_config(&config.placement, &config.territories),
        reader_limits: reader_limits(&config.placement),
        ..RaftOptions::new(cluster, config.node.id, config.mesh.bootstrap.clone(), policy)
    };
    let metrics = hexpop_raft::Metrics::register(registry)
        .map_err(|error| NodeError::open("metrics of consensus")(&error))?;
    Host::open(Parts {
        options,
        wal: storage.wal.handle(),
        snapshots: Arc::clone(&storage.snapshots),
        documents: storage.documents.clone(),
        transport,
        membership: Arc::clone(members) as _,
        clock: Arc::new(SystemClock),
        metrics,
        observer: None,
    })
    .await
    .map_err(|error| NodeError::open("consensus")(&error))
}

fn reader_limits(placement: &Placement) -> ReaderLimits {
    let millis = |time: Duration| u64::try_from(time.as_millis()).unwrap_or(u64::MAX);
    ReaderLimits {
        reads_per_s: placement.learner_reads_per_second,
        learners_max: usize::try_from(placement.learners_max).unwrap_or(usize::MAX),
        persist_ms: millis(placement.learner_after),
        keep_ms: millis(placement.learner_keep),
    }
}

/// The mesh, whose requests are answered by `dispatch` on the runtime of the data port.
fn open_mesh(
    config: &hexpop_edge_config::Config,
    storage: &Storage,
    faults: &Arc<Faults>,
    dispatch: &Arc<Dispatch>,
    data: &Runtime,
) -> Result<Mesh, NodeError> {
    let hooks = Arc::new(HookSlot::default());
    if config.chaos.enabled {
        hooks.arm(Arc::new(LinkFaults(Arc::clone(faults))));
    }
    let mut options = MeshOptions::from_config(&config.mesh, config.node.id, storage.raft);
    options.bulk_runtime = Some(data.handle().clone());
    let addresses = Arc::new(AddressBook::default());
    Mesh::bind(options, addresses, hooks, Arc::clone(dispatch) as _)
        .map_err(|error| NodeError::open("the mesh")(&error))
}

fn open_origin(
    config: &hexpop_edge_config::Config,
    faults: &Arc<Faults>,
) -> Result<Arc<dyn Origin>, NodeError> {
    let inner: Arc<dyn Origin> = match &config.origin.url {
        None => Arc::new(NoOrigin),
        Some(url) => {
            let idle_max = usize::try_from(config.origin.max_connections).unwrap_or(64);
            let origin = HttpOrigin::new(url, config.origin.connect_timeout, idle_max)
                .map_err(|error| NodeError::open("the origin")(&error))?;
            Arc::new(origin)
        }
    };
    Ok(Arc::new(FaultyOrigin::new(inner, Arc::clone(faults))))
}

/// The keys that session values are sealed under. A node without them serves everything else.
fn open_sealer(config: &hexpop_edge_config::Config) -> Result<Arc<dyn Sealer>, NodeError> {
    let ring = match &config.data.session_keys {
        Some(path) => {
            Some(Keyring::read(path).map_err(|error| NodeError::open("the session keys")(&error))?)
        }
        None => {
            tracing::warn!("no session keys (data.session_keys): sessions answer 503 here");
            None
        }
    };
    Ok(Arc::new(KeyringSealer::new(ring, Scopes::from_config(config))))
}

fn open_router(
    config: &hexpop_edge_config::Config,
    storage: &Storage,
    host: &crate::adapters::local::NodeHost,
    mesh: &Mesh,
    members: &Arc<Members>,
    origin: Arc<dyn Origin>,
    registry: &prometheus::Registry,
) -> Result<Arc<crate::context::NodeRouter>, NodeError> {
    let mut options = RouterOptions::new(
        config.node.id,
        config.node.pop.clone(),
        storage.raft,
        storage.incarnation,
    );
    parts::apply_router_config(&mut options, config);
    parts::remove_unused_cache(config);
    let peers = Arc::new(MeshPeers::default());
    peers.connect(mesh.clone());
    let sealer = open_sealer(config)?;
    let secret = host.clone();
    let ports = Ports {
        local: Arc::new(hexpop_chaos::HostShards(host.clone())),
        cache_peers: Arc::clone(&peers) as _,
        peer: peers,
        peers: Arc::clone(members) as _,
        origin,
        clock: Arc::new(SystemClock),
        sealer,
        compress: Arc::new(Compressors::new(&config.cache.compression)),
        mac: Arc::new(move |message: &[u8]| {
            let secret = secret.cluster_secret()?;
            let key = ring::hmac::Key::new(ring::hmac::HMAC_SHA256, &secret.0);
            ring::hmac::sign(&key, message).as_ref().try_into().ok()
        }),
    };
    let metrics = hexpop_router::Metrics::register(registry)
        .map_err(|error| NodeError::open("metrics of routing")(&error))?;
    Ok(Router::new(options, ports, metrics))
}
