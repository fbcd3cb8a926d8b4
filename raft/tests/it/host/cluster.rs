//! The cluster that the tests of hosts run on. Each node has a runtime of its own, so that killing
//! one is like killing its process: its tasks end wherever they are.

use std::{
    collections::{BTreeMap, BTreeSet},
    future::Future,
    path::PathBuf,
    sync::Arc,
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use bytes::Bytes;
use futures::future::BoxFuture;
use hexpop_edge_config::{ClusterId, NodeId, RaftId, ShardId, Territory};
use hexpop_raft::{
    Documents, FsDisk, Host, Lane, Membership, Metrics, Options, Parts, PeerTransport,
    ProposeError, Proposed, ReadLevel, ReadResult, ReplicaState, ReplicaStatus, TransportError,
    WallClock, identity,
    wal::{self, Wal, WriterThread},
};
use hexpop_shard::{
    Listing, ListingsOp, Member, Op, PlacementPolicy, Policy, PutSession, ReadAnswer, ReadOp,
    Sealed, SessionId, SessionLimits, SessionOp, ShardDescriptor, ShardKey, Space, UpsertItem,
    WrappedKey,
};
use openraft_rt_tokio::TokioRuntime;
use parking_lot::Mutex;
use tokio::{
    sync::{mpsc, oneshot},
    time::Instant,
};

type Inbox = mpsc::UnboundedSender<(NodeId, Bytes, oneshot::Sender<Bytes>)>;

/// How long anything may take on a machine that is busy with other things.
pub(super) const PATIENCE: Duration = Duration::from_secs(60);

/// The links between the nodes, and who is a member.
#[derive(Debug, Default)]
pub(super) struct Net {
    inboxes: Mutex<BTreeMap<NodeId, Inbox>>,
    cut: Mutex<BTreeSet<(NodeId, NodeId)>>,
    members: Mutex<BTreeMap<NodeId, Member>>,
}

impl Net {
    /// Cuts or mends everything from and to a node.
    pub(super) fn isolate(&self, node: NodeId, others: &[NodeId], cut: bool) {
        let mut links = self.cut.lock();
        for other in others {
            for link in [(node, *other), (*other, node)] {
                if cut {
                    links.insert(link)
                } else {
                    links.remove(&link)
                };
            }
        }
    }

    /// From now on a node is in the PoP of another one.
    pub(super) fn move_to_pop_of(&self, node: NodeId, other: NodeId) {
        let mut members = self.members.lock();
        let pop = members[&other].pop.clone();
        members.get_mut(&node).unwrap().pop = pop;
    }

    /// From now on a node is to be emptied, or not any more.
    pub(super) fn drain(&self, node: NodeId, on: bool) {
        self.members.lock().get_mut(&node).unwrap().draining = on;
    }

    fn is_cut(&self, from: NodeId, to: NodeId) -> bool {
        self.cut.lock().contains(&(from, to))
    }
}

#[derive(Debug)]
struct Link {
    own: NodeId,
    net: Arc<Net>,
}

impl PeerTransport for Link {
    fn call(
        &self,
        to: NodeId,
        _lane: Lane,
        frame: Bytes,
        deadline: Duration,
    ) -> BoxFuture<'static, Result<Bytes, TransportError>> {
        let (own, net) = (self.own, Arc::clone(&self.net));
        let lost = || Err(TransportError::Unreachable("cut".to_owned()));
        let (answer, receiver) = oneshot::channel();
        let sent = !net.is_cut(own, to)
            && net
                .inboxes
                .lock()
                .get(&to)
                .is_some_and(|inbox| inbox.send((own, frame, answer)).is_ok());
        if !sent {
            return Box::pin(futures::future::ready(lost()));
        }
        Box::pin(async move {
            match tokio::time::timeout(deadline, receiver).await {
                Ok(Ok(bytes)) if !net.is_cut(to, own) => Ok(bytes),
                Ok(_) => lost(),
                Err(_) => Err(TransportError::Timeout),
            }
        })
    }
}

impl Membership for Net {
    fn members(&self) -> Arc<[Member]> {
        self.members.lock().values().cloned().collect()
    }
}

#[derive(Debug)]
struct SystemClock;

impl WallClock for SystemClock {
    #[expect(clippy::disallowed_methods, reason = "this is the clock that others are given")]
    fn wall_ms(&self) -> u64 {
        u64::try_from(SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_millis()).unwrap()
    }
}

/// A running node.
pub(super) struct Node {
    pub(super) id: NodeId,
    pub(super) host: Host<TokioRuntime>,
    pub(super) metrics: prometheus::Registry,
    runtime: Option<tokio::runtime::Runtime>,
    wal: Option<WriterThread>,
}

impl Node {
    /// Does something with the host, on the node's own runtime.
    pub(super) async fn run<T, F, Fut>(&self, act: F) -> T
    where
        T: Send + 'static,
        F: FnOnce(Host<TokioRuntime>) -> Fut,
        Fut: Future<Output = T> + Send + 'static,
    {
        let runtime = self.runtime.as_ref().unwrap();
        runtime.spawn(act(self.host.clone())).await.unwrap()
    }

    pub(super) async fn read(
        &self,
        shard: &ShardDescriptor,
        level: ReadLevel,
        op: ReadOp,
    ) -> Result<ReadResult, hexpop_raft::ReadError> {
        let (id, epoch) = (shard.id, shard.epoch);
        self.run(|host| async move {
            host.read(id, epoch, level, None, Duration::from_secs(5), &op).await
        })
        .await
    }

    /// The sum of a counter over its labels, or over those with `label`.
    pub(super) fn counter(&self, name: &str, label: Option<&str>) -> f64 {
        let families = self.metrics.gather();
        let family = families.iter().find(|family| family.name() == name);
        let metrics = family.map(|family| family.get_metric()).unwrap_or_default();
        let of_label = metrics.iter().filter(|metric| {
            label.is_none_or(|label| metric.get_label().iter().any(|pair| pair.value() == label))
        });
        of_label.map(|metric| metric.get_counter().get_value()).sum()
    }
}

impl Drop for Node {
    /// As a kill: tasks end where they are; nothing is handed over.
    fn drop(&mut self) {
        if let Some(runtime) = self.runtime.take() {
            runtime.shutdown_background();
        }
        drop(self.wal.take());
    }
}

/// A cluster, and the directories of its nodes.
pub(super) struct Cluster {
    pub(super) net: Arc<Net>,
    pub(super) nodes: BTreeMap<NodeId, Node>,
    bootstrap: Vec<NodeId>,
    dir: tempfile::TempDir,
    tune: fn(&mut Options),
}

pub(super) fn lombardia() -> Territory {
    "IT:lombardia".parse().unwrap()
}

fn policy(replicas: u32) -> PlacementPolicy {
    let policy = Policy { labels: BTreeSet::new(), replicas };
    PlacementPolicy {
        default: policy.clone(),
        territories: BTreeMap::from([(lombardia(), policy)]),
    }
}

impl Cluster {
    /// Starts nodes 1 to `count`, of which the first three found the cluster, and waits until
    /// every shard has a leader.
    pub(super) async fn start(count: u32, tune: fn(&mut Options)) -> Self {
        // RUST_LOG=hexpop_raft=debug shows what the nodes do.
        let logs = tracing_subscriber::fmt()
            .with_env_filter(tracing_subscriber::EnvFilter::from_default_env())
            .with_writer(std::io::stderr);
        drop(logs.try_init());
        let dir = tempfile::tempdir().unwrap();
        let mut cluster = Self {
            net: Arc::default(),
            nodes: BTreeMap::new(),
            bootstrap: (1..=count.min(3)).map(NodeId).collect(),
            dir,
            tune,
        };
        for node in (1..=count).map(NodeId) {
            cluster.boot(node).await;
        }
        cluster.settled().await;
        cluster
    }

    pub(super) fn dir(&self, node: NodeId) -> PathBuf {
        self.dir.path().join(format!("node-{node}"))
    }

    /// Starts a node from its directory.
    pub(super) async fn boot(&mut self, node: NodeId) {
        let dir = self.dir(node);
        let (net, bootstrap, tune) = (Arc::clone(&self.net), self.bootstrap.clone(), self.tune);
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(1)
            .enable_all()
            .build()
            .unwrap();
        let opening = runtime.spawn(async move {
            // The killed predecessor's tasks may hold the locks for a moment.
            let log = retry(|| FsDisk::open(dir.join("wal"))).await;
            let snapshots = retry(|| FsDisk::open(dir.join("snapshots"))).await;
            let raft = identity::load_or_create(&log, rand::random()).unwrap();
            let options = wal::Options { segment_bytes: 1 << 20, ..wal::Options::default() };
            let (wal, _) = Wal::open(Arc::new(log), raft, options).unwrap();
            let writer = WriterThread::spawn(wal).unwrap();
            let registry = prometheus::Registry::new();
            let mut options = Options::new(ClusterId(42), node, bootstrap.clone(), policy(3));
            options.heartbeat = Duration::from_millis(100);
            options.election_min = Duration::from_millis(600);
            options.election_max = Duration::from_millis(900);
            options.leader_age_min = Duration::from_secs(3);
            tune(&mut options);
            net.members.lock().insert(
                node,
                Member {
                    node,
                    raft,
                    pop: format!("pop-{node}").parse().unwrap(),
                    labels: BTreeSet::new(),
                    alive: true,
                    draining: false,
                },
            );
            let parts = Parts {
                options,
                wal: writer.handle(),
                snapshots: Arc::new(snapshots),
                documents: Documents::open(&dir.join("documents"), 1 << 20).unwrap(),
                transport: Arc::new(Link { own: node, net: Arc::clone(&net) }),
                membership: Arc::clone(&net) as Arc<dyn Membership>,
                clock: Arc::new(SystemClock),
                metrics: Metrics::register(&registry).unwrap(),
                observer: None,
            };
            let host = Host::<TokioRuntime>::open(parts).await.unwrap();
            let (inbox, mut arrivals) = mpsc::unbounded_channel();
            net.inboxes.lock().insert(node, inbox);
            let handler = host.clone();
            tokio::spawn(async move {
                while let Some((from, frame, answer)) = arrivals.recv().await {
                    let handled = handler.handle(from, frame);
                    tokio::spawn(async move { drop(answer.send(handled.await)) });
                }
            });
            (host, writer, registry)
        });
        let (host, wal, metrics) = opening.await.unwrap();
        let node = Node { id: node, host, metrics, runtime: Some(runtime), wal: Some(wal) };
        self.nodes.insert(node.id, node);
    }

    /// Kills a node: its tasks end where they are, and the others notice.
    pub(super) fn kill(&mut self, node: NodeId) {
        self.net.inboxes.lock().remove(&node);
        if let Some(member) = self.net.members.lock().get_mut(&node) {
            member.alive = false;
        }
        self.nodes.remove(&node);
    }

    pub(super) fn node(&self, node: u32) -> &Node {
        &self.nodes[&NodeId(node)]
    }

    /// Waits until every node has the map, every replica of it runs, and every group has a leader.
    pub(super) async fn settled(&self) {
        let nodes = &self.nodes;
        eventually("every replica runs under a leader", || async {
            let newest = nodes.values().map(|node| node.host.shard_map().version()).max();
            nodes.values().all(|node| {
                let map = node.host.shard_map();
                let own = node.host.raft_id();
                !map.is_empty()
                    && Some(map.version()) == newest
                    && map.shards().all(|shard| {
                        !shard.replicas.iter().any(|replica| replica.raft == own)
                            || node.host.replica(shard.id).is_some_and(|status| is_led(&status))
                    })
            })
        })
        .await;
    }

    /// The descriptor of the shard with `key`.
    pub(super) fn shard(&self, key: &ShardKey) -> ShardDescriptor {
        let node = self.nodes.values().next().unwrap();
        node.host.shard_map().locate(key).unwrap().clone()
    }

    /// The node that leads a shard, among those that run.
    pub(super) fn leader(&self, shard: ShardId) -> Option<NodeId> {
        let leads = |node: &&Node| {
            node.host.replica(shard).is_some_and(|status| status.state == ReplicaState::Leader)
        };
        self.nodes.values().find(leads).map(|node| node.id)
    }

    /// Proposes at whoever leads, again and again while that is certain to have done nothing.
    pub(super) async fn propose(&self, key: &ShardKey, op: Op) -> Proposed {
        let until = Instant::now() + PATIENCE;
        loop {
            let shard = self.shard(key);
            let leader = self.leader(shard.id);
            let error = match leader.map(|leader| &self.nodes[&leader]) {
                None => ProposeError::NotLeader { leader: None },
                Some(node) => {
                    let op = op.clone();
                    let (id, epoch) = (shard.id, shard.epoch);
                    let deadline = Duration::from_secs(10);
                    let proposed = node
                        .run(
                            |host| async move { host.propose(id, epoch, None, op, deadline).await },
                        )
                        .await;
                    match proposed {
                        Ok(proposed) => return proposed,
                        Err(error) => error,
                    }
                }
            };
            assert!(Instant::now() < until, "not proposed: {error}");
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }

    /// Stores a session and answers its id.
    pub(super) async fn put_session(&self, token: &str) -> SessionId {
        let (id, put) = session_put(token);
        self.propose(&id.key(), put).await;
        id
    }

    /// Stores a listing and answers its key.
    pub(super) async fn put_listing(&self, id: &str, version: u64) -> ShardKey {
        let listing = listing(id, version);
        let key = listing.key.clone();
        let op = ListingsOp::Upsert { items: vec![UpsertItem::new(listing, false)] };
        self.propose(&key, Op::Listings(op)).await;
        key
    }
}

/// What stores a session, and its id.
pub(super) fn session_put(token: &str) -> (SessionId, Op) {
    let id = SessionId::new(&lombardia(), token).unwrap();
    let put = PutSession {
        id: id.clone(),
        user: "u".into(),
        ttl_ms: 3_600_000,
        sliding: false,
        sealed: Sealed { key_id: 1, bytes: token.as_bytes().to_vec() },
        key: Some(WrappedKey { id: 1, by: "k".into(), bytes: vec![5] }),
        condition: None,
        limits: SessionLimits::default(),
    };
    (id, Op::Session(SessionOp::Put(put)))
}

pub(super) fn is_led(status: &ReplicaStatus) -> bool {
    status.leader.is_some() && status.state != ReplicaState::Candidate
}

/// A listing in Milan.
pub(super) fn listing(id: &str, version: u64) -> Listing {
    let json = format!(
        r#"{{"id":"{id}","listingType":"sale","status":"active","country":"IT","region":"lombardia","version":{version},"title":"{}","location":{{"lat":45.46,"lng":9.19}}}}"#,
        "bilocale ".repeat(40)
    );
    Listing::parse(json.as_bytes()).unwrap()
}

/// The document that a node's own replica has of a listing.
pub(super) async fn document(node: &Node, shard: &ShardDescriptor, id: &str) -> Option<String> {
    let op = ReadOp::Listing { id: id.to_owned() };
    match node.read(shard, ReadLevel::Eventual, op).await.ok()?.answer {
        ReadAnswer::Listing(stored) => stored?.document,
        other => panic!("another answer: {other:?}"),
    }
}

/// Whether a strong read at a node finds the session.
pub(super) async fn has_session(node: &Node, shard: &ShardDescriptor, id: &SessionId) -> bool {
    let op = ReadOp::Session { id: id.clone() };
    match node.read(shard, ReadLevel::Strong, op).await {
        Ok(found) => matches!(found.answer, ReadAnswer::Session(Some(_))),
        Err(_) => false,
    }
}

pub(super) fn listings_key() -> ShardKey {
    ShardKey::new(Space::Listings, &lombardia(), 0)
}

/// Waits until something holds.
pub(super) async fn eventually<F, Fut>(what: &str, mut holds: F)
where
    F: FnMut() -> Fut,
    Fut: Future<Output = bool>,
{
    let until = Instant::now() + PATIENCE;
    while !holds().await {
        assert!(Instant::now() < until, "it never came about that {what}");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

async fn retry<T, E: std::fmt::Debug>(mut attempt: impl FnMut() -> Result<T, E>) -> T {
    let until = Instant::now() + PATIENCE;
    loop {
        match attempt() {
            Ok(value) => return value,
            Err(error) => assert!(Instant::now() < until, "{error:?}"),
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

pub(super) fn raft_of(cluster: &Cluster, node: NodeId) -> RaftId {
    cluster.net.members.lock()[&node].raft
}
