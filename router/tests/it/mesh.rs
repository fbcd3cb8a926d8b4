//! A mesh in memory: real shard states, one copy each, behind as many nodes as a test wants.

mod reshape;

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use bytes::Bytes;
use futures::{StreamExt as _, future::BoxFuture};
use hexpop_edge_config::{Epoch, NodeId, RaftId, ShardId};
use hexpop_router::{
    AnswerBody, CachePeers, Clear, Clock, Level, LocalReplica, LocalShard, Metrics, Origin, Peer,
    PeerClient, PeerError, PeerFrames, Peers, Ports, Router, RouterOptions, ShardAnswer,
    ShardError, ShardOp, ShardRequest,
};
use hexpop_shard::{
    Command, KeyRange, LogPosition, MemoryDocuments, Op, PurgeId, PurgeTail, Replica, ReplicaRole,
    Reply, ShardDescriptor, ShardKey, ShardMap, ShardState, Space,
};
use openraft_rt_tokio::TokioRuntime;
use parking_lot::Mutex;
use prometheus::Registry;
use tokio::sync::watch;

/// Lines of ingests, as the configuration's default has them.
pub(crate) const LINE_BYTES_MAX: usize = 1 << 20;

pub(crate) type TestRouter = Router<TokioRuntime>;

/// What a node does with a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Fault {
    /// It is refused before anything happens.
    Refuse,
    /// It is executed, and the answer is lost.
    LoseAnswer,
}

/// Called before each write with its number; decides whether it goes wrong.
pub(crate) type FaultPlan = Box<dyn FnMut(u64, &ShardRequest) -> Option<Fault> + Send>;

struct Group {
    state: ShardState,
    documents: MemoryDocuments,
    leader: NodeId,
    index: u64,
}

#[derive(Default)]
struct Inner {
    groups: BTreeMap<ShardId, Group>,
    down: BTreeSet<NodeId>,
    /// Nodes that are not heard any more, whether they are down or not.
    silent: BTreeSet<NodeId>,
    /// Nodes that take requests and never answer.
    hung: BTreeSet<NodeId>,
    /// Nodes that accept questions to their HTTP caches and then say nothing more.
    stalled: BTreeSet<NodeId>,
    /// Nodes of a build that does not know questions with interim responses.
    old: BTreeSet<NodeId>,
    /// Nodes that take nothing more for their HTTP caches, since they have too much to do.
    full: BTreeSet<NodeId>,
    plan: Option<FaultPlan>,
    writes: u64,
    requests: Vec<(NodeId, ShardRequest)>,
    doubles: Vec<String>,
    watch_doubles: bool,
    /// Decides how often a call gives way to others before it is executed.
    jitter: Option<u64>,
    /// Whose HTTP caches answer each other.
    caches: BTreeMap<NodeId, Arc<TestRouter>>,
    /// Who asked whom for an object.
    questions: Vec<(NodeId, NodeId)>,
    /// Whom a node believes to serve, where that is not everybody.
    serving: BTreeMap<NodeId, BTreeSet<NodeId>>,
    /// The second is taken into the first when it is asked next.
    merge_when_asked: Option<(ShardId, ShardId)>,
    /// How many merges there were.
    operations: u64,
}

/// The mesh.
pub(crate) struct Mesh {
    inner: Mutex<Inner>,
    map: Mutex<Arc<ShardMap>>,
    pub(crate) wall_ms: AtomicU64,
    /// Bodies that were coded.
    pub(crate) coded: AtomicU64,
    /// Counts the nodes that fell silent.
    losses: watch::Sender<u64>,
}

/// 2026-11-21 00:00:00 UTC.
pub(crate) const START_MS: u64 = 1_795_219_200_000;

/// The territory that the second sessions shard begins with.
pub(crate) const PARTED_AT: &str = "US:california";

impl Mesh {
    /// One directory shard, two of sessions (parted at [`PARTED_AT`]), and listings shards split at
    /// these territories: each has one of its own, and there is one between any two. Every replica
    /// is on every node; the node that leads a shard follows from its id.
    pub(crate) fn new(nodes: u32, territories: &[&str]) -> Arc<Self> {
        let sessions = KeyRange::space(Space::Sessions);
        let parted = KeyRange::territory(Space::Sessions, &PARTED_AT.parse().unwrap()).start;
        let first = KeyRange { start: sessions.start, end: Some(parted.clone()) };
        let mut ranges = vec![KeyRange::space(Space::Directory), first];
        let mut named: Vec<KeyRange> = territories
            .iter()
            .map(|text| KeyRange::territory(Space::Listings, &text.parse().unwrap()))
            .collect();
        named.sort_by(|a, b| a.start.cmp(&b.start));
        let mut from = ShardKey::space_start(Space::Listings);
        for range in named {
            let end = range.end.clone().unwrap();
            if from != range.start {
                ranges.push(KeyRange { start: from, end: Some(range.start.clone()) });
            }
            ranges.push(range);
            from = end;
        }
        ranges.push(KeyRange { start: from, end: None });
        ranges.push(KeyRange { start: parted, end: sessions.end });
        let replica = |node| Replica {
            raft: RaftId(u64::from(node)),
            node: NodeId(node),
            role: ReplicaRole::Voter,
        };
        let descriptors: Vec<ShardDescriptor> = (1..)
            .zip(ranges)
            .map(|(id, range)| ShardDescriptor {
                id: ShardId(id),
                range,
                epoch: Epoch::FIRST,
                replicas: (1..=nodes).map(replica).collect(),
            })
            .collect();
        let groups = descriptors.iter().map(|shard| {
            let leader = NodeId(u32::try_from(shard.id.0).unwrap() % nodes + 1);
            let state = ShardState::new(shard);
            (shard.id, Group { state, documents: MemoryDocuments::default(), leader, index: 0 })
        });
        let groups = groups.collect();
        Arc::new(Self {
            inner: Mutex::new(Inner { groups, ..Inner::default() }),
            map: Mutex::new(Arc::new(ShardMap::create(descriptors).unwrap())),
            wall_ms: AtomicU64::new(START_MS),
            coded: AtomicU64::new(0),
            losses: watch::channel(0).0,
        })
    }

    /// A router on a node.
    pub(crate) fn router(self: &Arc<Self>, node: u32, origin: Arc<dyn Origin>) -> Arc<TestRouter> {
        self.router_with(node, origin, |_options| {})
    }

    pub(crate) fn router_with(
        self: &Arc<Self>,
        node: u32,
        origin: Arc<dyn Origin>,
        change: impl FnOnce(&mut RouterOptions),
    ) -> Arc<TestRouter> {
        let node = NodeId(node);
        let raft = RaftId(u64::from(node.0));
        let mut options = RouterOptions::new(node, pop_of(node), raft, 1);
        change(&mut options);
        let ports = Ports {
            local: Arc::new(Local { mesh: Arc::clone(self), node }),
            peer: Arc::new(Others { mesh: Arc::clone(self) }),
            cache_peers: Arc::new(Caches { mesh: Arc::clone(self), node }),
            peers: Arc::new(Members { mesh: Arc::clone(self), node }),
            origin,
            clock: Arc::new(Wall { mesh: Arc::clone(self) }),
            sealer: Arc::new(Clear),
            compress: Arc::new(Marking { mesh: Arc::clone(self) }),
            mac: Arc::new(|bytes| {
                let mut digest = [0; 32];
                for (at, byte) in digest.iter_mut().zip(0_u8..).map(|(slot, n)| (n, slot)) {
                    let salted: Vec<u8> = bytes.iter().copied().chain([at]).collect();
                    *byte = hexpop_shard::hash_point(&salted).to_be_bytes()[7];
                }
                Some(digest)
            }),
        };
        let router = Router::new(options, ports, Metrics::register(&Registry::new()).unwrap());
        if router.purge_position().is_none() {
            // The first position: that before the first purge.
            router.follow_purges(&PurgeTail::Lost { head: PurgeId(0) }, router.uptime());
        }
        router
    }

    /// From now on the HTTP cache of this node answers others.
    pub(crate) fn join_caches(&self, node: u32, router: &Arc<TestRouter>) {
        self.inner.lock().caches.insert(NodeId(node), Arc::clone(router));
    }

    /// Who asked whom for an object so far, and forgets it.
    pub(crate) fn take_questions(&self) -> Vec<(u32, u32)> {
        let questions = std::mem::take(&mut self.inner.lock().questions);
        questions.into_iter().map(|(from, to)| (from.0, to.0)).collect()
    }

    /// From now on a node believes that only these serve.
    pub(crate) fn believes(&self, node: u32, serving: &[u32]) {
        let serving = serving.iter().copied().map(NodeId).collect();
        self.inner.lock().serving.insert(NodeId(node), serving);
    }

    pub(crate) fn map(&self) -> Arc<ShardMap> {
        Arc::clone(&self.map.lock())
    }

    pub(crate) fn stop(&self, node: u32) {
        self.inner.lock().down.insert(NodeId(node));
    }

    pub(crate) fn start(&self, node: u32) {
        self.inner.lock().down.remove(&NodeId(node));
    }

    pub(crate) fn silence(&self, node: u32) {
        self.inner.lock().silent.insert(NodeId(node));
        self.losses.send_modify(|losses| *losses += 1);
    }

    pub(crate) fn hang(&self, node: u32) {
        self.inner.lock().hung.insert(NodeId(node));
    }

    /// From now on a node accepts what its HTTP cache is asked, and says nothing more.
    pub(crate) fn stall(&self, node: u32) {
        self.inner.lock().stalled.insert(NodeId(node));
    }

    /// A node is of an earlier build, which does not know questions with interim responses, or not any more.
    pub(crate) fn be_old(&self, node: u32, is_old: bool) {
        let mut inner = self.inner.lock();
        if is_old {
            inner.old.insert(NodeId(node));
        } else {
            inner.old.remove(&NodeId(node));
        }
    }

    /// Whether a node's HTTP cache takes nothing more.
    pub(crate) fn fill(&self, node: u32, full: bool) {
        let mut inner = self.inner.lock();
        if full {
            inner.full.insert(NodeId(node))
        } else {
            inner.full.remove(&NodeId(node))
        };
    }

    pub(crate) fn is_asked(&self, node: u32) -> bool {
        self.inner.lock().questions.iter().any(|(_from, to)| *to == NodeId(node))
    }

    pub(crate) fn lead(&self, shard: ShardId, node: u32) {
        self.inner.lock().groups.get_mut(&shard).unwrap().leader = NodeId(node);
    }

    pub(crate) fn leader(&self, shard: ShardId) -> u32 {
        self.inner.lock().groups[&shard].leader.0
    }

    pub(crate) fn plan(&self, plan: FaultPlan) {
        let mut inner = self.inner.lock();
        inner.writes = 0;
        inner.plan = Some(plan);
    }

    pub(crate) fn no_faults(&self) {
        self.inner.lock().plan = None;
    }

    pub(crate) fn writes(&self) -> u64 {
        self.inner.lock().writes
    }

    /// Requests so far, and forgets them.
    pub(crate) fn take_requests(&self) -> Vec<(NodeId, ShardRequest)> {
        std::mem::take(&mut self.inner.lock().requests)
    }

    /// From now on every write is followed by a search for listings that are found twice.
    pub(crate) fn watch_doubles(&self) {
        self.inner.lock().watch_doubles = true;
    }

    /// Listings that were found twice at some moment.
    pub(crate) fn doubles(&self) -> Vec<String> {
        self.inner.lock().doubles.clone()
    }

    /// The listings that searches find, with their shards.
    pub(crate) fn found(&self) -> BTreeMap<String, Vec<ShardId>> {
        found(&self.inner.lock().groups)
    }

    /// All copies, found or not.
    pub(crate) fn copies(&self) -> BTreeMap<String, Vec<(ShardId, bool)>> {
        let inner = self.inner.lock();
        let mut copies: BTreeMap<String, Vec<(ShardId, bool)>> = BTreeMap::new();
        for (shard, group) in &inner.groups {
            let Some(listings) = group.state.as_listings() else { continue };
            for row in listings.view().documents_after(None) {
                copies.entry(row.document.id).or_default().push((*shard, row.hidden));
            }
        }
        copies
    }

    pub(crate) fn shard_of(&self, territory: &str) -> ShardId {
        let key = ShardKey::new(Space::Listings, &territory.parse().unwrap(), 5);
        self.map().locate(&key).unwrap().id
    }

    /// From now on calls are executed in an order that follows from `seed`.
    pub(crate) fn shuffle(&self, seed: u64) {
        self.inner.lock().jitter = Some(seed | 1);
    }

    async fn give_way(&self) {
        let turns = {
            let mut inner = self.inner.lock();
            let Some(state) = &mut inner.jitter else { return };
            // xorshift64
            *state ^= *state << 13;
            *state ^= *state >> 7;
            *state ^= *state << 17;
            *state % 12
        };
        for _ in 0..turns {
            tokio::task::yield_now().await;
        }
    }

    fn execute(&self, node: NodeId, request: &ShardRequest) -> Result<ShardAnswer, ShardError> {
        let mut inner = self.inner.lock();
        let inner = &mut *inner;
        inner.requests.push((node, request.clone()));
        self.reshape(inner, request.shard);
        let newer = inner.newer(&self.map(), request.shard, request.epoch);
        if !newer.is_empty() {
            return Err(ShardError::StaleEpoch { newer });
        }
        let group = inner.groups.get_mut(&request.shard).ok_or(ShardError::NotHere)?;
        let leads = group.leader == node;
        let is_write = matches!(request.op, ShardOp::Write { .. });
        if !leads && (is_write || request.level == Level::Strong) {
            let up = !inner.down.contains(&group.leader);
            return Err(ShardError::NotLeader { leader: up.then_some(group.leader) });
        }
        let fault = if is_write {
            inner.writes += 1;
            let number = inner.writes;
            inner.plan.as_mut().and_then(|plan| plan(number, request))
        } else {
            None
        };
        if fault == Some(Fault::Refuse) {
            return Err(ShardError::Unavailable { detail: "a fault of the test".to_owned() });
        }
        let body = match &request.op {
            ShardOp::Read(op) => AnswerBody::Read(group.state.read(op, &group.documents)),
            ShardOp::Write { request: id, op } => {
                let at_ms = self.wall_ms.load(Ordering::Relaxed);
                let command = Command { request: *id, epoch: request.epoch, at_ms, op: op.clone() };
                AnswerBody::Written(group.apply(&command))
            }
        };
        let position = LogPosition { term: 1, index: group.index };
        let epoch = group.state.epoch();
        if is_write && inner.watch_doubles {
            let twice = found(&inner.groups).into_iter().filter(|(_, shards)| shards.len() > 1);
            inner.doubles.extend(twice.map(|(id, shards)| format!("{id} in {shards:?}")));
        }
        if fault == Some(Fault::LoseAnswer) {
            return Err(ShardError::Unknown { detail: "a fault of the test".to_owned() });
        }
        let level_given = request.level;
        Ok(ShardAnswer { position, epoch, staleness_ms: Some(0), level_given, body })
    }
}

impl Group {
    fn apply(&mut self, command: &Command) -> Reply {
        self.index += 1;
        let position = LogPosition { term: 1, index: self.index };
        self.state.apply(position, command, &mut self.documents)
    }
}

fn found(groups: &BTreeMap<ShardId, Group>) -> BTreeMap<String, Vec<ShardId>> {
    let mut found: BTreeMap<String, Vec<ShardId>> = BTreeMap::new();
    for (shard, group) in groups {
        let Some(listings) = group.state.as_listings() else { continue };
        for row in listings.view().documents_after(None).filter(|row| !row.hidden) {
            found.entry(row.document.id).or_default().push(*shard);
        }
    }
    found
}

pub(crate) fn pop_of(node: NodeId) -> hexpop_edge_config::PopId {
    ["mil", "mad", "ber"][node.0 as usize % 3].parse().unwrap()
}

struct Local {
    mesh: Arc<Mesh>,
    node: NodeId,
}

impl LocalShard for Local {
    fn execute(
        &self,
        request: ShardRequest,
    ) -> BoxFuture<'static, Result<ShardAnswer, ShardError>> {
        let (mesh, node) = (Arc::clone(&self.mesh), self.node);
        Box::pin(async move {
            mesh.give_way().await;
            mesh.execute(node, &request)
        })
    }

    fn replica(&self, shard: ShardId) -> Option<LocalReplica> {
        let inner = self.mesh.inner.lock();
        let group = inner.groups.get(&shard)?;
        self.mesh.map().get(shard)?.replica_on(self.node)?;
        Some(LocalReplica { leader: None, is_leader: group.leader == self.node, ready: true })
    }

    fn note_read(&self, _shard: ShardId) {}

    fn map(&self) -> Arc<ShardMap> {
        self.mesh.map()
    }

    fn hears(&self, node: NodeId) -> bool {
        !self.mesh.inner.lock().silent.contains(&node)
    }

    fn lost(&self, node: NodeId) -> BoxFuture<'static, ()> {
        let mesh = Arc::clone(&self.mesh);
        let mut losses = mesh.losses.subscribe();
        let is_silent = move || mesh.inner.lock().silent.contains(&node);
        if is_silent() {
            return Box::pin(std::future::pending());
        }
        Box::pin(async move {
            while !is_silent() {
                losses.changed().await.unwrap();
            }
        })
    }
}

struct Others {
    mesh: Arc<Mesh>,
}

impl PeerClient for Others {
    fn call(
        &self,
        to: NodeId,
        request: ShardRequest,
    ) -> BoxFuture<'static, Result<Result<ShardAnswer, ShardError>, PeerError>> {
        let mesh = Arc::clone(&self.mesh);
        Box::pin(async move {
            mesh.give_way().await;
            if mesh.inner.lock().down.contains(&to) {
                return Err(PeerError::NotSent { node: to, detail: "it is down".to_owned() });
            }
            if mesh.inner.lock().hung.contains(&to) {
                mesh.inner.lock().requests.push((to, request));
                return std::future::pending().await;
            }
            Ok(mesh.execute(to, &request))
        })
    }

    fn rtt(&self, node: NodeId) -> Option<Duration> {
        Some(Duration::from_millis(u64::from(node.0)))
    }
}

/// The HTTP caches of the others, as a node asks them.
struct Caches {
    mesh: Arc<Mesh>,
    node: NodeId,
}

impl CachePeers for Caches {
    fn ask(&self, to: NodeId, frame: Bytes, _within: Duration) -> PeerFrames {
        let mut inner = self.mesh.inner.lock();
        inner.questions.push((self.node, to));
        if inner.hung.contains(&to) {
            return Box::pin(futures::stream::pending());
        }
        if inner.stalled.contains(&to) {
            // In the codec's second version.
            let accepted =
                futures::stream::once(std::future::ready(Ok(Bytes::from_static(b"\x02\x00"))));
            return accepted.chain(futures::stream::pending()).boxed();
        }
        if inner.full.contains(&to) {
            let error = PeerError::Full { node: to };
            return Box::pin(futures::stream::once(std::future::ready(Err(error))));
        }
        match inner.caches.get(&to).filter(|_| !inner.down.contains(&to)) {
            Some(router) => {
                let router = Arc::clone(router);
                // The third question, which it cannot decode: nor can anybody this.
                let is_unknown = inner.old.contains(&to) && frame.get(1) == Some(&2);
                let frame = if is_unknown { Bytes::from_static(b"?") } else { frame };
                drop(inner);
                router.serve_cache(&frame).map(Ok).boxed()
            }
            None => {
                let error = PeerError::NotSent { node: to, detail: "it is down".to_owned() };
                Box::pin(futures::stream::once(std::future::ready(Err(error))))
            }
        }
    }

    fn tell(&self, to: NodeId, frame: Bytes, within: Duration) -> PeerFrames {
        self.ask(to, frame, within)
    }
}

struct Members {
    mesh: Arc<Mesh>,
    node: NodeId,
}

impl Peers for Members {
    fn members(&self) -> Arc<[Peer]> {
        let nodes: BTreeSet<NodeId> = self
            .mesh
            .map()
            .shards()
            .flat_map(|shard| shard.replicas.iter().map(|replica| replica.node))
            .collect();
        let inner = self.mesh.inner.lock();
        let serving = inner.serving.get(&self.node);
        let peer = |node: NodeId| Peer {
            node,
            pop: pop_of(node),
            alive: true,
            serves: serving.is_none_or(|serving| serving.contains(&node)),
        };
        nodes.into_iter().map(peer).collect()
    }
}

struct Wall {
    mesh: Arc<Mesh>,
}

impl Clock for Wall {
    fn wall_ms(&self) -> u64 {
        self.mesh.wall_ms.load(Ordering::Relaxed)
    }
}

/// A listing as a line.
pub(crate) fn listing(id: &str, territory: &str, version: u64, price: u64) -> String {
    let (country, region) = territory.split_once(':').unwrap();
    // Every territory has its own place, so that a move changes the cell too.
    let offset = territory.bytes().map(u64::from).sum::<u64>() % 40;
    format!(
        r#"{{"id":"{id}","listingType":"sale","status":"active","country":"{country}","region":"{region}","version":{version},"price":{{"amount":{price},"currency":"EUR"}},"location":{{"lat":{}.46,"lng":9.19}}}}"#,
        offset + 20
    )
}

/// Puts the name of the coding in front, and counts.
struct Marking {
    mesh: Arc<Mesh>,
}

impl hexpop_router::Compress for Marking {
    fn compress(
        &self,
        coding: hexpop_router::Coding,
        body: Bytes,
    ) -> BoxFuture<'static, Option<Bytes>> {
        self.mesh.coded.fetch_add(1, Ordering::Relaxed);
        let coded = [coding.as_str().as_bytes(), b":", &body].concat();
        Box::pin(std::future::ready(Some(coded.into())))
    }
}

/// Marks every listings shard complete.
pub(crate) async fn complete(router: &TestRouter) {
    router.mark_complete(&hexpop_router::Context::default()).await.unwrap();
}

/// The operation of a write.
pub(crate) fn op_of(request: &ShardRequest) -> Option<&Op> {
    match &request.op {
        ShardOp::Write { op, .. } => Some(op),
        ShardOp::Read(_) => None,
    }
}
