//! The endpoint of a node: opens the socket, knows the peers, closes everything.

use std::{
    collections::BTreeMap,
    fmt,
    net::{SocketAddr, UdpSocket},
    sync::Arc,
    time::Duration,
};

use bytes::Bytes;
use futures::{FutureExt, future::BoxFuture};
use hexpop_edge_config::{ClusterId, NodeId};
use parking_lot::RwLock;
use quinn::{EndpointConfig, IdleTimeout, ServerConfig, TransportConfig, VarInt};
use tokio::runtime::Handle;
use tokio_util::{sync::CancellationToken, task::TaskTracker};

use super::{
    AddressBook, BindError, Class, Frames, HookSlot, MeshCounters, MeshError, MeshHandler,
    MeshOptions, PeerStatus, RefusedCode,
    error::Refused,
    frame::LinkKind,
    hello::{self, close},
    metrics::Counters,
    peer::Peer,
    refusals::RefusalLog,
    server,
    stream::Lane,
    tls::Credentials,
};

/// How many peers are kept. Requests to more nodes than that are refused here.
const PEERS_MAX: usize = 1024;
/// What one connection may buffer before the application reads it.
const CONNECTION_WINDOW: u32 = 32 << 20;
/// What one stream may buffer before the application reads it.
const STREAM_WINDOW: u32 = 4 << 20;
/// What one stream of an answer that streams may buffer before it is read.
const CACHE_STREAM_WINDOW: u32 = 256 << 10;
/// What the datagrams of one connection may buffer, each way.
const DATAGRAM_BUFFER: usize = 256 << 10;
/// The smallest packet that every path of a mesh must carry: the minimum MTU of IPv6 (1280) less its
/// and UDP's headers. A gossip packet of 1178 bytes fits with QUIC's overhead.
const MTU_MIN: u16 = 1232;

/// The mesh of one node. Clones are handles to the same mesh.
#[derive(Clone)]
pub struct Mesh {
    core: Arc<Core>,
}

/// What all parts of the mesh of a node share.
pub(super) struct Core {
    pub(super) options: MeshOptions,
    pub(super) cluster: ClusterId,
    pub(super) endpoint: quinn::Endpoint,
    pub(super) handler: Arc<dyn MeshHandler>,
    pub(super) addresses: Arc<AddressBook>,
    pub(super) hooks: Arc<HookSlot>,
    pub(super) counters: Counters,
    pub(super) refusals: RefusalLog,
    pub(super) inbound: server::Inbound,
    pub(super) runtime: Handle,
    pub(super) tasks: TaskTracker,
    pub(super) closing: CancellationToken,
    credentials: Credentials,
    transport: Arc<TransportConfig>,
    /// Of the connections over which this node gets answers that stream.
    cache_transport: Arc<TransportConfig>,
    peers: RwLock<BTreeMap<NodeId, Arc<Peer>>>,
}

impl Core {
    /// How this node connects to `expected`, or to whoever of the cluster is there.
    pub(super) fn client_config(
        &self,
        expected: Option<NodeId>,
        link: LinkKind,
    ) -> Result<quinn::ClientConfig, rustls::Error> {
        let crypto = self.credentials.quic_client(expected)?;
        let mut config = quinn::ClientConfig::new(Arc::new(crypto));
        config.transport_config(match link {
            LinkKind::Control | LinkKind::Bulk => Arc::clone(&self.transport),
            LinkKind::Cache => Arc::clone(&self.cache_transport),
        });
        Ok(config)
    }

    pub(super) fn known_peer(&self, node: NodeId) -> Option<Arc<Peer>> {
        self.peers.read().get(&node).cloned()
    }

    fn peer(self: &Arc<Self>, node: NodeId) -> Result<Arc<Peer>, MeshError> {
        if let Some(peer) = self.known_peer(node) {
            return Ok(peer);
        }
        if self.addresses.get(node).is_none() {
            let reason = "its address is not known".to_owned();
            return Err(MeshError::Unreachable { to: node, reason });
        }
        let mut peers = self.peers.write();
        if self.closing.is_cancelled() {
            return Err(MeshError::Closed);
        }
        if let Some(peer) = peers.get(&node) {
            return Ok(Arc::clone(peer));
        }
        if peers.len() >= PEERS_MAX {
            let reason = format!("this node has {PEERS_MAX} peers already");
            return Err(MeshError::Unreachable { to: node, reason });
        }
        let peer = Peer::start(self, node);
        peers.insert(node, Arc::clone(&peer));
        Ok(peer)
    }
}

impl Mesh {
    /// Opens the mesh of a node. Everything of it runs on the current Tokio runtime.
    ///
    /// # Errors
    /// [`BindError`] when the certificates do not do or the socket cannot be opened.
    ///
    /// # Panics
    /// When called outside of a Tokio runtime.
    pub fn bind(
        options: MeshOptions,
        addresses: Arc<AddressBook>,
        hooks: Arc<HookSlot>,
        handler: Arc<dyn MeshHandler>,
    ) -> Result<Self, BindError> {
        let credentials = Credentials::load(
            &options.ca,
            &options.cert,
            &options.key,
            &options.cluster,
            options.node,
        )?;
        let transport = Arc::new(transport_config(&options)?);
        let cache_transport = Arc::new(cache_transport_config(&options)?);
        let endpoint = open(&options, &credentials, &transport)?;
        let core = Arc::new(Core {
            cluster: ClusterId::from(&options.cluster),
            endpoint,
            handler,
            addresses,
            hooks,
            counters: Counters::default(),
            refusals: RefusalLog::default(),
            inbound: server::Inbound::default(),
            runtime: Handle::current(),
            tasks: TaskTracker::new(),
            closing: CancellationToken::new(),
            credentials,
            transport,
            cache_transport,
            peers: RwLock::default(),
            options,
        });
        core.tasks.spawn(server::accept_loop(Arc::clone(&core)));
        Ok(Self { core })
    }

    /// This node.
    #[must_use]
    pub fn node(&self) -> NodeId {
        self.core.options.node
    }

    /// The UDP address that the mesh listens on.
    ///
    /// # Errors
    /// What the system says.
    pub fn local_addr(&self) -> std::io::Result<SocketAddr> {
        self.core.endpoint.local_addr()
    }

    /// The address book that the mesh looks its peers up in.
    #[must_use]
    pub fn addresses(&self) -> &Arc<AddressBook> {
        &self.core.addresses
    }

    /// Sends `payload` to `to` and waits for the answer, at most `deadline`, nor longer than
    /// [`MeshOptions::deadline_of`] allows.
    ///
    /// Requests of [`Class::Raft`] are queued in this call, not when the future is first polled, so
    /// that those of one task reach the peer in the order of the calls. A request to this node
    /// itself goes straight to its handler.
    ///
    /// # Errors
    /// [`MeshError`]; see there which of them leave open whether the request was carried out.
    ///
    /// # Cancel safety
    /// Dropping the future gives the answer up; the peer may carry the request out all the same.
    #[must_use]
    pub fn call(
        &self,
        to: NodeId,
        class: Class,
        payload: Bytes,
        deadline: Duration,
    ) -> BoxFuture<'static, Result<Bytes, MeshError>> {
        let core = &self.core;
        let bytes_max = core.options.bytes_max.of(class);
        if payload.len() > bytes_max {
            let error = MeshError::TooLarge { class, bytes: payload.len(), bytes_max };
            return futures::future::ready(Err(error)).boxed();
        }
        let deadline = core.options.deadline_of(class, deadline);
        if to == core.options.node {
            return call_self(core, class, payload, deadline);
        }
        let peer = match core.peer(to) {
            Ok(peer) => peer,
            Err(error) => return futures::future::ready(Err(error)).boxed(),
        };
        Counters::count(&core.counters.requests_sent, class);
        let counted = Arc::clone(core);
        let answer = match class {
            Class::Raft => peer.control.call(core, payload, deadline),
            Class::Query | Class::Cache | Class::Admin | Class::Snapshot => {
                peer.bulk.call(core, class, payload, deadline)
            }
        };
        answer
            .inspect(move |answer| {
                if answer.is_err() {
                    Counters::count(&counted.counters.requests_failed, class);
                }
            })
            .boxed()
    }

    /// Sends `payload` to `to`, as a request of [`Class::Cache`] whose answer streams, and hands out its frames
    /// once it is sent, which takes at most `deadline`. For their time the caller has to see.
    ///
    /// # Errors
    /// [`MeshError`]: nothing was sent, or it is not certain that it was.
    ///
    /// # Cancel safety
    /// As that of [`call`](Self::call).
    pub fn ask(
        &self,
        to: NodeId,
        payload: Bytes,
        deadline: Duration,
    ) -> BoxFuture<'static, Result<Frames, MeshError>> {
        self.stream(to, Lane::Long, payload, deadline)
    }

    /// As [`ask`](Self::ask), for a request whose answer ends at once: however many long ones are under
    /// way, there is room for it.
    ///
    /// # Errors
    /// As [`ask`](Self::ask).
    ///
    /// # Cancel safety
    /// As that of [`call`](Self::call).
    pub fn ask_briefly(
        &self,
        to: NodeId,
        payload: Bytes,
        deadline: Duration,
    ) -> BoxFuture<'static, Result<Frames, MeshError>> {
        self.stream(to, Lane::Brief, payload, deadline)
    }

    fn stream(
        &self,
        to: NodeId,
        lane: Lane,
        payload: Bytes,
        deadline: Duration,
    ) -> BoxFuture<'static, Result<Frames, MeshError>> {
        let core = Arc::clone(&self.core);
        let bytes_max = core.options.bytes_max.cache;
        let error = if payload.len() > bytes_max {
            MeshError::TooLarge { class: Class::Cache, bytes: payload.len(), bytes_max }
        } else {
            match core.peer(to) {
                Ok(peer) => {
                    Counters::count(&core.counters.requests_sent, Class::Cache);
                    return async move {
                        let asked = peer.cache.ask(&core, lane, payload, deadline).await;
                        if asked.is_err() {
                            Counters::count(&core.counters.requests_failed, Class::Cache);
                        }
                        asked
                    }
                    .boxed();
                }
                Err(error) => error,
            }
        };
        futures::future::ready(Err(error)).boxed()
    }

    /// Sends a datagram to `to`. It may be lost, as datagrams are: also when the connection is
    /// still being made and too many wait for it.
    ///
    /// # Errors
    /// [`MeshError::Unreachable`] when there is no connection and none can be had right now,
    /// [`MeshError::Closed`].
    pub fn send_datagram(&self, to: NodeId, payload: Bytes) -> Result<(), MeshError> {
        self.core.peer(to)?.control.send_datagram(&self.core, payload)
    }

    /// Asks whoever listens at `address` who it is, and notes its address.
    ///
    /// # Errors
    /// Why it cannot be asked, in words.
    pub async fn discover(&self, address: SocketAddr) -> Result<NodeId, String> {
        let core = &self.core;
        let connect = hello::connect(core, address, None, LinkKind::Control);
        let established = tokio::time::timeout(core.options.connect_timeout, connect)
            .await
            .map_err(|_elapsed| format!("no answer within {:?}", core.options.connect_timeout))??;
        established.connection.close(close::DONE, b"");
        if established.node != core.options.node {
            core.addresses.set(established.node, address);
        }
        Ok(established.node)
    }

    /// Notes where `node` is reached from now on; a link that waits for its next attempt tries at
    /// once.
    pub fn note_address(&self, node: NodeId, address: SocketAddr) {
        if self.core.addresses.set(node, address)
            && let Some(peer) = self.core.known_peer(node)
        {
            peer.hasten();
        }
    }

    /// Forgets `node`: ends its links and removes its address.
    pub fn forget(&self, node: NodeId) {
        self.core.addresses.remove(node);
        if let Some(peer) = self.core.peers.write().remove(&node) {
            peer.stop();
        }
    }

    /// The smoothed round-trip time to `node`, while a connection stands.
    #[must_use]
    pub fn rtt(&self, node: NodeId) -> Option<Duration> {
        self.core.known_peer(node)?.rtt()
    }

    /// All peers that this node has had something to send to.
    #[must_use]
    pub fn peers(&self) -> Vec<PeerStatus> {
        let peers: Vec<_> = self.core.peers.read().values().cloned().collect();
        peers.iter().map(|peer| peer.status(self.core.addresses.get(peer.node))).collect()
    }

    /// What was counted since the mesh was opened.
    #[must_use]
    pub fn counters(&self) -> MeshCounters {
        self.core.counters.read()
    }

    /// Where faults are put into the links of this node.
    #[must_use]
    pub fn hooks(&self) -> &Arc<HookSlot> {
        &self.core.hooks
    }

    /// Closes the mesh: tells the peers, ends what is under way, and waits for both at most
    /// `grace`.
    pub async fn close(&self, grace: Duration) {
        let core = &self.core;
        core.closing.cancel();
        for peer in std::mem::take(&mut *core.peers.write()).into_values() {
            peer.stop();
        }
        core.endpoint.close(close::CLOSING, b"the node closes");
        core.tasks.close();
        let done = async {
            core.tasks.wait().await;
            core.endpoint.wait_idle().await;
        };
        if tokio::time::timeout(grace, done).await.is_err() {
            tracing::warn!(?grace, "the mesh did not close in time");
        }
    }
}

impl fmt::Debug for Mesh {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Mesh").field("node", &self.core.options.node).finish_non_exhaustive()
    }
}

fn call_self(
    core: &Arc<Core>,
    class: Class,
    payload: Bytes,
    deadline: Duration,
) -> BoxFuture<'static, Result<Bytes, MeshError>> {
    let to = core.options.node;
    let answer = core.handler.request(to, class, payload);
    async move {
        match tokio::time::timeout(deadline, answer).await {
            Ok(answer) => answer.map_err(|refused| MeshError::Refused { to, refused }),
            Err(_elapsed) => {
                let refused = Refused::with(RefusedCode::Deadline, format!("{deadline:?}"));
                Err(MeshError::Refused { to, refused })
            }
        }
    }
    .boxed()
}

fn transport_config(options: &MeshOptions) -> Result<TransportConfig, BindError> {
    let idle = IdleTimeout::try_from(options.idle_timeout)
        .map_err(|error| BindError::Option { name: "idle_timeout", problem: error.to_string() })?;
    let streams: usize = Class::ALL.iter().map(|class| options.in_flight_max(*class)).sum();
    let streams = VarInt::from_u32(u32::try_from(streams).unwrap_or(u32::MAX));
    let mut transport = TransportConfig::default();
    transport
        .max_idle_timeout(Some(idle))
        .keep_alive_interval(Some(options.keep_alive))
        .max_concurrent_bidi_streams(streams)
        .max_concurrent_uni_streams(VarInt::from_u32(0))
        .stream_receive_window(VarInt::from_u32(STREAM_WINDOW))
        .receive_window(VarInt::from_u32(CONNECTION_WINDOW))
        .send_window(u64::from(CONNECTION_WINDOW))
        .datagram_receive_buffer_size(Some(DATAGRAM_BUFFER))
        .datagram_send_buffer_size(DATAGRAM_BUFFER)
        .initial_mtu(MTU_MIN)
        .min_mtu(MTU_MIN)
        // Links of a mesh are known to be short compared to QUIC's guess of 333 ms: a lost first
        // packet must not cost a second.
        .initial_rtt(Duration::from_millis(100))
        .enable_segmentation_offload(options.gso);
    Ok(transport)
}

/// A stream that nobody reads holds no more than its own part of what its connection may hold, so that it
/// is in nobody's way. The connection may hold twice what all streams together can: the sender hears of
/// room only when an eighth of it has been read.
fn cache_transport_config(options: &MeshOptions) -> Result<TransportConfig, BindError> {
    let mut transport = transport_config(options)?;
    let streams = u32::try_from(options.in_flight_max(Class::Cache)).unwrap_or(u32::MAX);
    let window = VarInt::from_u64(2 * u64::from(CACHE_STREAM_WINDOW) * u64::from(streams));
    transport
        .stream_receive_window(VarInt::from_u32(CACHE_STREAM_WINDOW))
        .receive_window(window.unwrap_or(VarInt::MAX));
    Ok(transport)
}

fn open(
    options: &MeshOptions,
    credentials: &Credentials,
    transport: &Arc<TransportConfig>,
) -> Result<quinn::Endpoint, BindError> {
    let crypto = credentials
        .quic_server()
        .map_err(|error| BindError::Option { name: "certificates", problem: error.to_string() })?;
    let mut server = ServerConfig::with_crypto(Arc::new(crypto));
    server
        .transport_config(Arc::clone(transport))
        .migration(false)
        .max_incoming(options.incoming_max)
        .incoming_buffer_size(64 << 10)
        .incoming_buffer_size_total(8 << 20);
    let mut config = EndpointConfig::new(Arc::new(credentials.reset_key()));
    // Ids that cannot be checked: only then are packets of connections of a killed predecessor
    // answered with a stateless reset.
    config.cid_generator(|| Box::new(RandomIds));
    let socket_error = |source| BindError::Socket { addr: options.listen, source };
    let socket = UdpSocket::bind(options.listen).map_err(socket_error)?;
    quinn::Endpoint::new(config, Some(server), socket, Arc::new(quinn::TokioRuntime))
        .map_err(socket_error)
}

/// Connection ids of eight random bytes.
#[derive(Debug)]
struct RandomIds;

impl quinn::ConnectionIdGenerator for RandomIds {
    fn generate_cid(&mut self) -> quinn::ConnectionId {
        quinn::ConnectionId::new(&rand::random::<[u8; 8]>())
    }

    fn cid_len(&self) -> usize {
        8
    }

    fn cid_lifetime(&self) -> Option<Duration> {
        None
    }
}
