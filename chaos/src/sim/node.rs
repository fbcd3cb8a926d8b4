//! One simulated node: its disks, which outlive its processes, and a process made of the real
//! write-ahead log, consensus host, gossip and router.

use std::{
    collections::BTreeSet,
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicI64, AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use bytes::Bytes;
use futures::future::BoxFuture;
use hexpop_edge_config::{ClusterId, NodeId, PopId, RaftId, Territory};
use hexpop_gossip::{Event, Gossip, Identity, NodeInfo, NodeState, Output, View};
use hexpop_raft::{
    Documents, Host, MemDisk, Membership, Metrics, Options, Parts, WallClock, identity,
    wal::{self, Wal, WalHandle, Work},
};
use hexpop_router::{
    Body, Clock, ErasureHandle, NoCachePeers, NoCompression, Origin, OriginError, Peer, Peers,
    Ports, Router, RouterOptions,
};
use hexpop_shard::{Member, PlacementPolicy, Policy};
use openraft_rt::{AsyncRuntime, Select2};
use parking_lot::Mutex;
use tokio::sync::mpsc;

use super::{
    executor::{BEGIN, Home, current},
    invariant::Checks,
    net::{Endpoint, Links, Net},
    random::{Random, mix},
    residency,
    runtime::SimRuntime,
    seal::SimSealer,
    trace::Trace,
};
use crate::HostShards;

/// The cluster that is simulated.
const CLUSTER: ClusterId = ClusterId(0x51);

/// 2026-11-21 00:00:00 UTC: when the world begins, on an exact clock.
pub(super) const WALL_BEGIN_MS: u64 = 1_795_219_200_000;

/// The territories with shards of their own.
pub(super) const TERRITORIES: [&str; 1] = ["IT:lombardia"];

/// What outlives the processes of a node.
#[derive(Debug)]
pub(super) struct Machine {
    pub(super) log: Arc<MemDisk>,
    pub(super) snapshots: Arc<MemDisk>,
    /// Milliseconds its wall clock is ahead.
    pub(super) skew_ms: Arc<AtomicI64>,
    /// How many milliseconds a flush takes at least; the world makes it slow at times.
    pub(super) flush_ms: Arc<AtomicU64>,
    pub(super) starts: u64,
    /// The Raft id that it had last.
    pub(super) raft: Option<RaftId>,
}

impl Machine {
    pub(super) fn new() -> Self {
        Self {
            log: MemDisk::new(),
            snapshots: MemDisk::new(),
            skew_ms: Arc::default(),
            flush_ms: Arc::default(),
            starts: 0,
            raft: None,
        }
    }

    /// What its disks met with goes into the coverage. Called once for each pair of them.
    pub(super) fn collect(&self, trace: &Trace) {
        trace.count("log-disk-failed", self.log.failed());
        trace.count("log-disk-full", self.log.refused());
        trace.count("snapshot-disk-failed", self.snapshots.failed());
        trace.count("snapshot-disk-full", self.snapshots.refused());
    }
}

/// A running process.
pub(super) struct Process {
    pub(super) home: Home,
    pub(super) raft: RaftId,
    pub(super) host: Host<SimRuntime>,
    pub(super) router: Arc<Router<SimRuntime>>,
    pub(super) members: Arc<Members>,
    pub(super) registry: prometheus::Registry,
    pub(super) log: WalHandle,
    _erasures: ErasureHandle,
}

/// What a world gives to its processes.
pub(super) struct Surroundings {
    pub(super) net: Arc<Net>,
    pub(super) trace: Arc<Trace>,
    pub(super) checks: Arc<Checks>,
    pub(super) origin: Arc<SimOrigin>,
    pub(super) nodes: u32,
    /// The start of virtual time on the clock that gossip counts by.
    pub(super) epoch: Instant,
    pub(super) seed: u64,
    /// Whether a territory has to stay on some of the nodes.
    pub(super) residency: bool,
}

/// The wall clock of a node.
#[derive(Debug)]
pub(super) struct NodeClock {
    skew_ms: Arc<AtomicI64>,
}

impl NodeClock {
    pub(super) fn now_ms(&self) -> u64 {
        let elapsed = current().map_or(0, |executor| executor.now().saturating_sub(BEGIN));
        let exact = WALL_BEGIN_MS + elapsed / 1_000_000;
        exact.saturating_add_signed(self.skew_ms.load(Ordering::Relaxed))
    }
}

impl WallClock for NodeClock {
    fn wall_ms(&self) -> u64 {
        self.now_ms()
    }
}

impl Clock for NodeClock {
    fn wall_ms(&self) -> u64 {
        self.now_ms()
    }
}

/// The members, as a node's gossip sees them.
#[derive(Debug)]
pub(super) struct Members {
    view: Mutex<Arc<View>>,
}

impl Members {
    pub(super) fn view(&self) -> Arc<View> {
        Arc::clone(&self.view.lock())
    }
}

impl Membership for Members {
    fn members(&self) -> Arc<[Member]> {
        let view = self.view();
        let members = view.members.values().filter_map(|member| {
            let info = member.info.as_ref()?;
            Some(Member {
                node: member.identity.node,
                raft: member.identity.raft,
                pop: info.pop.clone(),
                labels: info.labels.clone(),
                alive: member.liveness.is_up() && info.state != NodeState::Leaving,
                draining: info.state == NodeState::Draining,
            })
        });
        members.collect()
    }
}

impl Peers for Members {
    fn members(&self) -> Arc<[Peer]> {
        let view = self.view();
        let members = view.members.values().filter_map(|member| {
            let info = member.info.as_ref()?;
            let (alive, serves) = (member.liveness.is_up(), info.state == NodeState::Up);
            Some(Peer { node: member.identity.node, pop: info.pop.clone(), alive, serves })
        });
        members.collect()
    }
}

/// The platform behind the mesh: it takes what it is told, when it can be reached.
#[derive(Debug, Default)]
pub(super) struct SimOrigin {
    pub(super) is_down: std::sync::atomic::AtomicBool,
    pub(super) slow_ms: AtomicU64,
}

impl Origin for SimOrigin {
    fn fetch(
        &self,
        _request: http::Request<Body>,
        deadline: Duration,
    ) -> BoxFuture<'static, Result<http::Response<Body>, OriginError>> {
        let is_down = self.is_down.load(Ordering::Relaxed);
        let takes = Duration::from_millis(20 + self.slow_ms.load(Ordering::Relaxed));
        Box::pin(async move {
            SimRuntime::sleep(takes.min(deadline)).await;
            if takes > deadline {
                return Err(OriginError::TimedOut);
            }
            if is_down {
                return Err(OriginError::NotSent("the origin is down".to_owned()));
            }
            Ok(http::Response::new(hexpop_router::full(Bytes::from_static(b"{}"))))
        })
    }
}

fn address(node: NodeId) -> SocketAddr {
    SocketAddr::from(([10, 0, 0, 1], 7000_u16.saturating_add(u16::try_from(node.0).unwrap_or(0))))
}

fn pop(node: NodeId) -> Result<PopId, String> {
    format!("pop-{node}").parse().map_err(|error| format!("{error}"))
}

/// Where what may be, with a territory that has to stay on some of the nodes or without.
pub(super) fn policy(residency: bool) -> PlacementPolicy {
    let default = Policy { labels: BTreeSet::new(), replicas: 3 };
    let of_territory = Policy { labels: residency::labels(residency), replicas: default.replicas };
    let territories = TERRITORIES.iter().filter_map(|text| text.parse::<Territory>().ok());
    PlacementPolicy {
        default,
        territories: territories.map(|territory| (territory, of_territory.clone())).collect(),
    }
}

/// As in production, but for timers, which are for nodes far apart, snapshots, which are frequent and in small pieces, and disks, which are rid
/// of what was erased soon. Half of the meshes read by lease, and a third makes up for nodes that stay down.
fn host_options(node: NodeId, nodes: u32, seed: u64, residency: bool) -> Options {
    let bootstrap: Vec<NodeId> = (1..=nodes.min(3)).map(NodeId).collect();
    let mut options = Options::new(CLUSTER, node, bootstrap, policy(residency));
    options.expect_nodes = nodes;
    options.lease_reads = seed.is_multiple_of(2);
    options.heartbeat = Duration::from_millis(250);
    options.election_min = Duration::from_millis(800);
    options.election_max = Duration::from_millis(1000);
    options.park_after = Duration::from_millis(400);
    options.log_bytes_before_snapshot = 4 << 10;
    options.snapshot_chunk_bytes = 4 << 10;
    options.compact_after_erasure = Duration::from_secs(3);
    // In some, nodes that are down for long are given up.
    if seed.is_multiple_of(3) {
        options.repair_after = Duration::from_secs(5);
        options.moves_at_once = 2;
    }
    options
}

/// How long a replica that started again gives no vote.
pub(super) fn vote_grace() -> Duration {
    host_options(NodeId(1), 1, 0, false).election_max
}

/// Starts a process of `machine` in the home that is at work.
pub(super) async fn start(
    machine: MachineParts,
    around: Arc<Surroundings>,
) -> Result<Process, String> {
    let say = |error: &dyn std::fmt::Display| error.to_string();
    let home = current().map_or(0, |executor| executor.home());
    let MachineParts { node, log, snapshots, skew_ms, flush_ms, start, wanted_raft } = machine;
    let raft = identity::load_or_create(&*log, wanted_raft.0).map_err(|error| say(&error))?;
    let wal_options = wal::Options { segment_bytes: 128 << 10, ..wal::Options::default() };
    let (wal, recovery) =
        Wal::open(log, raft, wal_options).map_err(|error| format!("the log: {error}"))?;
    if recovery.torn.is_some() {
        around.trace.count("torn-tail-cut", 1);
    }
    let handle = wal.handle();
    around.checks.reopened(&handle);
    let random = Random::fork(around.seed, home ^ 0xd15c);
    drop(SimRuntime::spawn(drive(wal, flush_ms, random, Arc::clone(&around.trace))));

    let registry = prometheus::Registry::new();
    let (inbox, datagrams) = mpsc::unbounded_channel();
    let info = NodeInfo {
        pop: pop(node)?,
        labels: residency::labels(around.residency && residency::may_hold(node)),
        http: address(node),
        admin: address(node),
        mesh: address(node),
        version: "0.1.0".to_owned(),
        state: NodeState::Up,
        started_at_ms: start,
    };
    let identity = Identity { node, incarnation: start, raft, address: address(node) };
    let gossip = Gossip::new(
        now(&around),
        CLUSTER,
        identity,
        info,
        hexpop_gossip::Options::default(),
        mix(around.seed ^ home),
    )
    .map_err(|error| say(&error))?;
    let members = Arc::new(Members { view: Mutex::new(Arc::new(gossip.view())) });
    let clock = Arc::new(NodeClock { skew_ms });
    let links = Arc::new(Links { own: node, net: Arc::clone(&around.net) });
    let parts = Parts {
        options: host_options(node, around.nodes, around.seed, around.residency),
        wal: handle.clone(),
        snapshots,
        documents: Documents::in_memory(1 << 20),
        transport: links.clone(),
        membership: members.clone(),
        clock: clock.clone(),
        metrics: Metrics::register(&registry).map_err(|error| say(&error))?,
        observer: Some(around.checks.clone()),
    };
    let host = Host::<SimRuntime>::open(parts).await.map_err(|error| say(&error))?;
    drop(SimRuntime::spawn(gossip_loop(
        gossip,
        datagrams,
        Arc::clone(&around),
        Arc::clone(&members),
        host.clone(),
    )));
    let router_options = RouterOptions::new(node, pop(node)?, raft, start);
    let sealer = SimSealer::new(mix(around.seed ^ mix(home)), Arc::clone(&around.checks));
    let ports = ports(&host, links, Arc::clone(&members), &around, clock, sealer);
    let metrics = hexpop_router::Metrics::register(&registry).map_err(|error| say(&error))?;
    let router = Router::new(router_options, ports, metrics);
    let erasures = router.follow_erasures();
    around.checks.serves(raft);
    around.net.connect(node, Endpoint { home, host: host.clone(), gossip: inbox });
    Ok(Process { home, raft, host, router, members, registry, log: handle, _erasures: erasures })
}

fn ports(
    host: &Host<SimRuntime>,
    links: Arc<Links>,
    members: Arc<Members>,
    around: &Surroundings,
    clock: Arc<NodeClock>,
    sealer: SimSealer,
) -> Ports {
    let secret_of = host.clone();
    Ports {
        local: Arc::new(HostShards(host.clone())),
        peer: links,
        cache_peers: Arc::new(NoCachePeers),
        peers: members,
        origin: around.origin.clone(),
        clock,
        sealer: Arc::new(sealer),
        compress: Arc::new(NoCompression),
        mac: Arc::new(move |bytes| digest(&secret_of, bytes)),
    }
}

/// What [`start`] needs of a machine.
pub(super) struct MachineParts {
    pub(super) node: NodeId,
    pub(super) log: Arc<MemDisk>,
    pub(super) snapshots: Arc<MemDisk>,
    pub(super) skew_ms: Arc<AtomicI64>,
    pub(super) flush_ms: Arc<AtomicU64>,
    pub(super) start: u64,
    /// The id that an empty directory gets.
    pub(super) wanted_raft: RaftId,
}

/// Not a real MAC: ids that follow from secret and key, alike at every node.
fn digest(host: &Host<SimRuntime>, bytes: &[u8]) -> Option<[u8; 32]> {
    let secret = host.cluster_secret()?;
    let mut state = hexpop_shard::hash_point(&[secret.0.as_slice(), bytes].concat());
    let mut out = [0; 32];
    for part in out.chunks_mut(8) {
        state = mix(state);
        part.copy_from_slice(&state.to_be_bytes());
    }
    Some(out)
}

/// Drives the write-ahead log with the time that a disk takes.
async fn drive(mut wal: Wal, flush_ms: Arc<AtomicU64>, mut random: Random, trace: Arc<Trace>) {
    let linger = wal.handle().options().linger;
    loop {
        let stepped = match wal.work() {
            Work::Over => return,
            Work::Now => {
                let slow = flush_ms.load(Ordering::Relaxed) * 1_000_000;
                let before = Duration::from_nanos(random.below(300_000));
                let flush = Duration::from_nanos(200_000 + random.below(1_500_000) + slow);
                SimRuntime::sleep(before).await;
                match wal.begin() {
                    Some(batch) => {
                        SimRuntime::sleep(flush).await;
                        wal.commit(batch)
                    }
                    None => wal.step(),
                }
            }
            Work::Linger => match SimRuntime::timeout(linger, wal.woken()).await {
                Ok(()) => Ok(()),
                Err(_elapsed) => wal.step(),
            },
            Work::Idle => {
                wal.woken().await;
                Ok(())
            }
        };
        if stepped.is_err() {
            trace.count("log-failed", 1);
            return;
        }
    }
}

fn now(around: &Surroundings) -> Instant {
    let elapsed = current().map_or(0, |executor| executor.now().saturating_sub(BEGIN));
    around.epoch + Duration::from_nanos(elapsed)
}

/// Drives the gossip of a node, as its process does.
async fn gossip_loop(
    mut gossip: Gossip,
    mut datagrams: mpsc::UnboundedReceiver<(NodeId, Bytes)>,
    around: Arc<Surroundings>,
    members: Arc<Members>,
    host: Host<SimRuntime>,
) {
    let own = gossip.identity().node;
    let mut map_version = host.watch_map();
    loop {
        carry_out(&mut gossip, own, &around, &members, &host);
        let time = now(&around);
        let wait = gossip
            .poll_timeout()
            .map_or(Duration::from_secs(1), |due| due.saturating_duration_since(time));
        let told = SimRuntime::select2(datagrams.recv(), map_version.changed());
        match SimRuntime::timeout(wait, told).await {
            Ok(Select2::First(Some((from, packet)))) => {
                if gossip.handle_datagram(now(&around), from, &packet).is_err() {
                    around.trace.count("gossip-refused", 1);
                }
            }
            Ok(Select2::First(None) | Select2::Second(Err(_))) => return,
            Ok(Select2::Second(Ok(()))) => {
                let version = *map_version.borrow_and_update();
                if gossip.set_shard_map_version(now(&around), version).is_err() {
                    around.trace.count("gossip-refused", 1);
                }
            }
            Err(_elapsed) => gossip.handle_timer(now(&around)),
        }
    }
}

fn carry_out(
    gossip: &mut Gossip,
    own: NodeId,
    around: &Arc<Surroundings>,
    members: &Members,
    host: &Host<SimRuntime>,
) {
    let mut changed = false;
    let mut ask = false;
    while let Some(output) = gossip.poll_output() {
        match output {
            Output::Send { to, packet, .. } => around.net.datagram(own, to, packet),
            Output::AskSeeds { .. } => ask = true,
            Output::Event(event) => {
                changed = true;
                if let Event::ShardMap { version, holder } = event {
                    host.on_map_hint(version, holder);
                }
            }
        }
    }
    if ask {
        // Who listens at a seed's address is found out by asking it; here it is always the node.
        for seed in (1..=around.nodes).map(NodeId).filter(|seed| *seed != own) {
            gossip.join(now(around), seed, address(seed));
        }
        while let Some(output) = gossip.poll_output() {
            if let Output::Send { to, packet, .. } = output {
                around.net.datagram(own, to, packet);
            }
        }
    }
    let shown = members.view().members.get(&own).and_then(|member| member.info.clone());
    if changed || shown.as_ref() != Some(gossip.info()) {
        *members.view.lock() = Arc::new(gossip.view());
    }
}
