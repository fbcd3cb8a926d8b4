//! One peer as this node sees it: the links that this node's requests run over.

use std::{net::SocketAddr, sync::Arc, time::Duration};

use futures::FutureExt;
use hexpop_edge_config::NodeId;
use parking_lot::Mutex;
use quinn::Connection;
use tokio::{
    sync::{Notify, watch},
    time::Instant,
};
use tokio_util::sync::CancellationToken;

use super::{
    MeshError,
    bulk::BulkLink,
    control::ControlLink,
    endpoint::Core,
    frame::LinkKind,
    hello::{self, Established, connection_problem},
    metrics::Counters,
    stream::StreamLink,
};

/// A connection that broke sooner than this is not made again at once: whatever ended it may end the
/// next one as well.
const STEADY_AFTER: Duration = Duration::from_secs(2);

/// What is known about a peer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PeerStatus {
    /// The peer.
    pub node: NodeId,
    /// Where it is reached, if that is known.
    pub address: Option<SocketAddr>,
    /// Whether the connection for Raft and gossip stands.
    pub control_connected: bool,
    /// Whether the connection for everything else stands.
    pub bulk_connected: bool,
    /// The smoothed round-trip time, while a connection stands.
    pub rtt: Option<Duration>,
    /// Requests under way.
    pub in_flight: usize,
    /// Why there is no connection, if one was tried and failed.
    pub last_error: Option<String>,
}

/// One peer.
#[derive(Debug)]
pub(super) struct Peer {
    pub(super) node: NodeId,
    pub(super) control: Arc<ControlLink>,
    pub(super) bulk: Arc<BulkLink>,
    pub(super) cache: Arc<StreamLink>,
    stop: CancellationToken,
}

impl Peer {
    /// Makes the links and starts their tasks on the runtime of the mesh.
    pub(super) fn start(core: &Arc<Core>, node: NodeId) -> Arc<Self> {
        let stop = core.closing.child_token();
        let (control, queue) = ControlLink::new(node, &core.options);
        let control = Arc::new(control);
        let bulk = Arc::new(BulkLink::new(node, &core.options));
        let run_control = Arc::clone(&control).run(Arc::clone(core), queue, stop.clone());
        let run_bulk = Arc::clone(&bulk).run(Arc::clone(core), stop.clone());
        core.tasks.spawn_on(run_control, &core.runtime);
        core.tasks.spawn_on(run_bulk, &core.runtime);
        let cache = Arc::new(StreamLink::new(node, &core.options));
        let run_cache = Arc::clone(&cache).run(Arc::clone(core), stop.clone());
        core.tasks.spawn_on(run_cache, &core.runtime);
        Arc::new(Self { node, control, bulk, cache, stop })
    }

    /// Ends all links for good.
    pub(super) fn stop(&self) {
        self.stop.cancel();
    }

    /// There is reason to believe that the peer can be reached now: do not wait any longer.
    pub(super) fn hasten(&self) {
        self.control.link.hasten.notify_one();
        self.bulk.link.hasten.notify_one();
        self.cache.link.hasten.notify_one();
    }

    pub(super) fn rtt(&self) -> Option<Duration> {
        let connection = self.control.link.connection().or_else(|| self.bulk.link.connection())?;
        Some(connection.rtt())
    }

    pub(super) fn status(&self, address: Option<SocketAddr>) -> PeerStatus {
        let (control, bulk) = (&self.control.link, &self.bulk.link);
        PeerStatus {
            node: self.node,
            address,
            control_connected: control.connection().is_some(),
            bulk_connected: bulk.connection().is_some(),
            rtt: self.rtt(),
            in_flight: self.control.in_flight() + self.bulk.in_flight() + self.cache.in_flight(),
            last_error: control.last_error().or_else(|| bulk.last_error()),
        }
    }
}

/// How things stand with a link.
#[derive(Debug, Clone)]
pub(super) enum LinkState {
    /// Nobody has needed it yet, or not for a while.
    Idle,
    /// The first attempt to connect runs: requests wait for it.
    Connecting,
    /// The connection stands.
    Up(Connection),
    /// The last attempt failed, or the connection broke: requests fail at once.
    Down(String),
}

/// Keeps one connection to one peer, as long as somebody needs it.
#[derive(Debug)]
pub(super) struct Link {
    node: NodeId,
    kind: LinkKind,
    state: watch::Sender<LinkState>,
    demand: Notify,
    hasten: Notify,
    backoff: Mutex<Duration>,
    up_since: Mutex<Option<Instant>>,
}

impl Link {
    pub(super) fn new(node: NodeId, kind: LinkKind) -> Self {
        Self {
            node,
            kind,
            state: watch::Sender::new(LinkState::Idle),
            demand: Notify::new(),
            hasten: Notify::new(),
            backoff: Mutex::new(Duration::ZERO),
            up_since: Mutex::new(None),
        }
    }

    /// The connection, while it stands.
    pub(super) fn connection(&self) -> Option<Connection> {
        match &*self.state.borrow() {
            LinkState::Up(connection) => Some(connection.clone()),
            LinkState::Idle | LinkState::Connecting | LinkState::Down(_) => None,
        }
    }

    fn last_error(&self) -> Option<String> {
        match &*self.state.borrow() {
            LinkState::Down(reason) => Some(reason.clone()),
            LinkState::Idle | LinkState::Connecting | LinkState::Up(_) => None,
        }
    }

    /// Says that the link is needed, and whether it can be had: at once, or perhaps soon.
    ///
    /// # Errors
    /// [`MeshError::Unreachable`] while the peer is known not to be reachable.
    pub(super) fn need(&self) -> Result<(), MeshError> {
        let state = self.state.borrow();
        match &*state {
            LinkState::Up(_) => Ok(()),
            LinkState::Idle | LinkState::Connecting => {
                self.demand.notify_one();
                Ok(())
            }
            LinkState::Down(reason) => {
                self.demand.notify_one();
                Err(MeshError::Unreachable { to: self.node, reason: reason.clone() })
            }
        }
    }

    /// The connection, made first if need be.
    ///
    /// # Errors
    /// [`MeshError::Unreachable`] when it cannot be made, [`MeshError::Closed`].
    pub(super) async fn wait(&self) -> Result<Connection, MeshError> {
        let mut states = self.state.subscribe();
        loop {
            self.need()?;
            if let LinkState::Up(connection) = &*states.borrow_and_update() {
                return Ok(connection.clone());
            }
            states.changed().await.map_err(|_closed| MeshError::Closed)?;
        }
    }

    /// Notes that no requests can be carried, and why.
    pub(super) fn set_down(&self, reason: &str) {
        self.state.send_replace(LinkState::Down(reason.to_owned()));
    }

    /// Waits until somebody needs the link, connects, and returns the connection. A link that was
    /// up for a while does not wait: its peer was needed a moment ago. A failed attempt is told to `failed`, so
    /// that what waits for the link can be turned away.
    ///
    /// Returns `None` when the link is stopped.
    pub(super) async fn establish(
        &self,
        core: &Arc<Core>,
        stop: &CancellationToken,
        mut failed: impl FnMut(&str),
    ) -> Option<Established> {
        let mut needed = matches!(&*self.state.borrow(), LinkState::Down(_));
        let steady = self.up_since.lock().is_none_or(|since| since.elapsed() > STEADY_AFTER);
        if steady {
            *self.backoff.lock() = Duration::ZERO;
        } else if !self.pause(core, stop).await {
            return None;
        }
        loop {
            if !needed {
                tokio::select! {
                    () = self.demand.notified() => {}
                    () = stop.cancelled() => return None,
                }
                self.state.send_replace(LinkState::Connecting);
            }
            let attempt = tokio::select! {
                attempt = self.attempt(core) => attempt,
                () = stop.cancelled() => return None,
            };
            match attempt {
                Ok(established) => {
                    Counters::add(&core.counters.connects);
                    *self.up_since.lock() = Some(Instant::now());
                    tracing::info!(peer = %self.node, link = ?self.kind, "connected");
                    self.state.send_replace(LinkState::Up(established.connection.clone()));
                    return Some(established);
                }
                Err(problem) => {
                    Counters::add(&core.counters.connect_failures);
                    self.note_failure(&problem);
                    self.set_down(&problem);
                    failed(&problem);
                    if !self.pause(core, stop).await {
                        return None;
                    }
                    // Requests that came during the pause were turned away, and so will be those
                    // of the next attempt. When there were none, the next one may wait for it.
                    needed = self.demand.notified().now_or_never().is_some();
                    if !needed {
                        self.state.send_replace(LinkState::Idle);
                    }
                }
            }
        }
    }

    /// Keeps the connection until the link is stopped, where nothing has to be done about it meanwhile.
    pub(super) async fn keep(&self, core: &Arc<Core>, stop: &CancellationToken) {
        loop {
            let Some(established) = self.establish(core, stop, |_problem| {}).await else {
                break;
            };
            let problem = tokio::select! {
                error = established.connection.closed() => connection_problem(&error),
                () = stop.cancelled() => break,
            };
            tracing::info!(peer = %self.node, link = ?self.kind, problem, "connection lost");
            self.set_down(&problem);
        }
        self.set_down("the mesh of this node is closed");
    }

    async fn attempt(&self, core: &Arc<Core>) -> Result<Established, String> {
        let address =
            core.addresses.get(self.node).ok_or_else(|| "its address is not known".to_owned())?;
        let connect = hello::connect(core, address, Some(self.node), self.kind);
        match tokio::time::timeout(core.options.connect_timeout, connect).await {
            Ok(attempt) => attempt.map_err(|problem| format!("{problem} ({address})")),
            Err(_elapsed) => {
                Err(format!("no connection to {address} within {:?}", core.options.connect_timeout))
            }
        }
    }

    /// One line when the trouble begins or changes; the attempts that follow are silent.
    fn note_failure(&self, problem: &str) {
        let known = self.backoff.lock().as_nanos() > 0;
        if known {
            tracing::debug!(peer = %self.node, link = ?self.kind, problem, "cannot connect");
        } else {
            tracing::warn!(peer = %self.node, link = ?self.kind, problem, "cannot connect");
        }
    }

    /// Waits before the next attempt; false when the link is stopped.
    async fn pause(&self, core: &Core, stop: &CancellationToken) -> bool {
        let options = &core.options;
        let pause = {
            let mut backoff = self.backoff.lock();
            *backoff = (*backoff * 2).clamp(options.backoff_min, options.backoff_max);
            *backoff
        };
        // Half of the pause is random, so that the peers of a node that returns spread out.
        let jittered = pause.mul_f64(0.5 + 0.5 * rand::random::<f64>());
        let until = Instant::now() + jittered;
        tokio::select! {
            () = tokio::time::sleep_until(until) => true,
            () = self.hasten.notified() => true,
            () = stop.cancelled() => false,
        }
    }
}
