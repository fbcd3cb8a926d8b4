//! The links between simulated nodes.
//!
//! What is sent at [`Lane::Raft`] to one node arrives in order or not at all, as the port promises;
//! everything else may overtake. Frames of the consensus and gossip may be delivered twice, or once more
//! seconds later; requests to shards may be that late, and are delivered once at most, since a
//! router counts on a refusal being all that came of an attempt. A message that is lost, or meets a
//! cut when it sets out or arrives, is silently gone: whoever waits for its answer learns it from the
//! clock, or from a connection on which nothing is heard. A process that is dead answers by refusing
//! the connection; one that stands still takes messages in when it goes on.

use std::{collections::BTreeMap, fmt, sync::Arc, time::Duration};

use bytes::Bytes;
use futures::future::BoxFuture;
use hexpop_edge_config::{NodeId, codec};
use hexpop_raft::{Host, Lane, PeerTransport, TransportError};
use hexpop_router::{PeerClient, PeerError, ShardAnswer, ShardError, ShardRequest};
use openraft_rt::AsyncRuntime;
use parking_lot::Mutex;
use tokio::sync::{mpsc, oneshot};

use super::{
    executor::{Home, Nanos, current},
    random::Random,
    runtime::SimRuntime,
    trace::{Trace, hash_bytes},
};
use crate::HostShards;

/// How a link behaves.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Quality {
    /// The least time a message takes.
    pub(super) base: Duration,
    /// At most so much more.
    pub(super) jitter: Duration,
    /// Of 1000 messages so many take ten times as long.
    pub(super) slow_per_mille: u64,
    /// So many are lost.
    pub(super) lost_per_mille: u64,
    /// So many arrive twice.
    pub(super) twice_per_mille: u64,
}

/// How much later a late message arrives.
const LATE_MS: (u64, u64) = (300, 9_000);

/// A call of which nothing is heard for so long has lost its connection, whatever its deadline is.
const IDLE: Duration = Duration::from_secs(6);

impl Quality {
    /// A link without faults.
    pub(super) const CALM: Self = Self {
        base: Duration::from_micros(500),
        jitter: Duration::from_millis(4),
        slow_per_mille: 1,
        lost_per_mille: 0,
        twice_per_mille: 0,
    };
}

/// A running process, as the network sees it.
#[derive(Clone)]
pub(super) struct Endpoint {
    pub(super) home: Home,
    pub(super) host: Host<SimRuntime>,
    pub(super) gossip: mpsc::UnboundedSender<(NodeId, Bytes)>,
}

type Arrival = Arc<dyn Fn(&Endpoint) + Send + Sync>;

struct State {
    random: Random,
    quality: Quality,
    /// Of 1000 messages without an order so many are late, by seconds.
    late_per_mille: u64,
    /// One-way cuts, and how many faults want each.
    cut: BTreeMap<(NodeId, NodeId), u64>,
    /// When the last message of an ordered lane arrives.
    ordered: BTreeMap<(NodeId, NodeId), Nanos>,
    endpoints: BTreeMap<NodeId, Endpoint>,
    /// What arrived at processes that stand still.
    waiting: BTreeMap<NodeId, Vec<Arrival>>,
}

/// All links.
pub(super) struct Net {
    state: Mutex<State>,
    trace: Arc<Trace>,
}

impl fmt::Debug for Net {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Net").finish_non_exhaustive()
    }
}

/// Numbers of message kinds in the trace.
mod kind {
    pub(super) const RAFT: u64 = 0;
    pub(super) const BULK: u64 = 1;
    pub(super) const QUERY: u64 = 2;
    pub(super) const GOSSIP: u64 = 3;
    pub(super) const ANSWER: u64 = 4;
}

/// A message on its way.
struct Envelope {
    from: NodeId,
    to: NodeId,
    kind: u64,
    hash: u64,
}

impl Net {
    pub(super) fn new(seed: u64, trace: Arc<Trace>) -> Arc<Self> {
        let state = State {
            random: Random::fork(seed, 2),
            quality: Quality::CALM,
            late_per_mille: 0,
            cut: BTreeMap::new(),
            ordered: BTreeMap::new(),
            endpoints: BTreeMap::new(),
            waiting: BTreeMap::new(),
        };
        Arc::new(Self { state: Mutex::new(state), trace })
    }

    pub(super) fn set_quality(&self, quality: Quality) {
        self.state.lock().quality = quality;
    }

    /// Of 1000 messages without an order so many are late, by seconds.
    pub(super) fn set_late(&self, per_mille: u64) {
        self.state.lock().late_per_mille = per_mille;
    }

    /// Cuts a link in one direction, or mends it if no other fault wants it cut.
    pub(super) fn cut(&self, from: NodeId, to: NodeId, cut: bool) {
        let mut state = self.state.lock();
        let faults = state.cut.entry((from, to)).or_default();
        *faults = if cut { *faults + 1 } else { faults.saturating_sub(1) };
        if *faults == 0 {
            state.cut.remove(&(from, to));
        }
    }

    pub(super) fn connect(&self, node: NodeId, endpoint: Endpoint) {
        self.state.lock().endpoints.insert(node, endpoint);
    }

    /// A process is gone.
    pub(super) fn disconnect(&self, node: NodeId) {
        let gone = {
            let mut state = self.state.lock();
            (state.endpoints.remove(&node), state.waiting.remove(&node))
        };
        drop(gone);
    }

    /// Hands over what arrived while the process stood still.
    pub(super) fn resumed(&self, node: NodeId) {
        let (endpoint, waiting) = {
            let mut state = self.state.lock();
            (state.endpoints.get(&node).cloned(), state.waiting.remove(&node))
        };
        let (Some(endpoint), Some(waiting)) = (endpoint, waiting) else { return };
        for arrival in waiting {
            hand_over(&endpoint, &arrival);
        }
    }

    /// Sends something on its way; `refused` is called when nobody listens there.
    fn send(
        self: &Arc<Self>,
        envelope: Envelope,
        arrival: Arrival,
        refused: impl Fn() + Send + Sync + 'static,
    ) {
        let Some(executor) = current() else { return };
        if executor.is_dead(executor.home()) {
            return;
        }
        let refused: Arc<dyn Fn() + Send + Sync> = Arc::new(refused);
        for at in self.arrivals(&envelope, executor.now()) {
            let (net, arrival, refused) =
                (Arc::clone(self), Arc::clone(&arrival), Arc::clone(&refused));
            let Envelope { from, to, kind, hash } = envelope;
            executor.at(at, move || {
                net.arrive(&Envelope { from, to, kind, hash }, &arrival, &*refused);
            });
        }
    }

    /// When a message arrives: never, once, or twice.
    fn arrivals(&self, envelope: &Envelope, now: Nanos) -> Vec<Nanos> {
        let mut state = self.state.lock();
        let state = &mut *state;
        let link = (envelope.from, envelope.to);
        if state.cut.contains_key(&link) {
            self.trace.fold(now, "message-cut", &[]);
            return Vec::new();
        }
        let quality = state.quality;
        if state.random.chance(quality.lost_per_mille) {
            self.trace.fold(now, "message-lost", &[]);
            return Vec::new();
        }
        let mut take = || {
            let jitter = u64::try_from(quality.jitter.as_nanos()).unwrap_or(u64::MAX);
            let base = u64::try_from(quality.base.as_nanos()).unwrap_or(u64::MAX);
            let slow = if state.random.chance(quality.slow_per_mille) { 10 } else { 1 };
            now + (base + state.random.below(jitter + 1)) * slow
        };
        let mut arrivals = vec![take()];
        let twice = take();
        let is_query = envelope.kind == kind::QUERY;
        if !is_query && state.random.chance(quality.twice_per_mille) {
            self.trace.fold(now, "message-twice", &[]);
            arrivals.push(twice);
        }
        let is_ordered = matches!(envelope.kind, kind::RAFT | kind::ANSWER);
        if !is_ordered && state.random.chance(state.late_per_mille) {
            self.trace.fold(now, "message-late", &[]);
            let late = now + state.random.between(LATE_MS.0, LATE_MS.1) * 1_000_000;
            if is_query {
                arrivals = vec![late];
            } else {
                arrivals.push(late);
            }
        }
        if envelope.kind == kind::RAFT {
            let last = state.ordered.entry(link).or_default();
            for at in &mut arrivals {
                *at = (*at).max(*last + 1);
                *last = *at;
            }
        }
        arrivals
    }

    fn arrive(&self, envelope: &Envelope, arrival: &Arrival, refused: &(dyn Fn() + Send + Sync)) {
        let Some(executor) = current() else { return };
        let now = executor.now();
        let Envelope { from, to, kind, hash } = envelope;
        let endpoint = {
            let mut state = self.state.lock();
            if state.cut.contains_key(&(*from, *to)) {
                self.trace.fold(now, "message-cut", &[]);
                return;
            }
            let endpoint = state.endpoints.get(to).cloned();
            if let Some(endpoint) = &endpoint
                && executor.is_paused(endpoint.home)
            {
                state.waiting.entry(*to).or_default().push(Arc::clone(arrival));
                return;
            }
            endpoint.filter(|endpoint| !executor.is_dead(endpoint.home))
        };
        let numbers = [u64::from(from.0), u64::from(to.0), *kind, *hash];
        match endpoint {
            Some(endpoint) => {
                self.trace.fold(now, "message", &numbers);
                hand_over(&endpoint, arrival);
            }
            None => {
                self.trace.fold(now, "message-refused", &numbers);
                refused();
            }
        }
    }

    /// Sends an answer back; it needs no process that listens, only one that still waits.
    fn answer<T: Send + 'static>(self: &Arc<Self>, envelope: Envelope, slot: Slot<T>, value: T) {
        let Some(executor) = current() else { return };
        if executor.is_dead(executor.home()) {
            return;
        }
        let Some(at) = self.arrivals(&envelope, executor.now()).first().copied() else { return };
        let net = Arc::clone(self);
        executor.at(at, move || {
            let Some(executor) = current() else { return };
            let Envelope { from, to, kind, hash } = envelope;
            if net.state.lock().cut.contains_key(&(from, to)) {
                net.trace.fold(executor.now(), "message-cut", &[]);
                return;
            }
            let numbers = [u64::from(from.0), u64::from(to.0), kind, hash];
            net.trace.fold(executor.now(), "message", &numbers);
            fill(&slot, value);
        });
    }

    fn call_raft(
        self: &Arc<Self>,
        from: NodeId,
        to: NodeId,
        lane: Lane,
        frame: Bytes,
        deadline: Duration,
    ) -> BoxFuture<'static, Result<Bytes, TransportError>> {
        let (slot, receiver) = slot();
        let kind = if lane == Lane::Raft { kind::RAFT } else { kind::BULK };
        let envelope = Envelope { from, to, kind, hash: hash_bytes(&frame) };
        let (net, filled) = (Arc::clone(self), slot.clone());
        let arrival: Arrival = Arc::new(move |endpoint| {
            let handled = endpoint.host.handle(from, frame.clone());
            let (net, slot) = (Arc::clone(&net), filled.clone());
            drop(SimRuntime::spawn(async move {
                let bytes = handled.await;
                let back =
                    Envelope { from: to, to: from, kind: kind::ANSWER, hash: hash_bytes(&bytes) };
                net.answer(back, slot, Ok(bytes));
            }));
        });
        let refused = slot.clone();
        self.send(envelope, arrival, move || {
            fill(&refused, Err(TransportError::Unreachable("refused".to_owned())));
        });
        Box::pin(async move {
            // The slot is kept: a message that is lost must not be told from one that is slow.
            let waited = SimRuntime::timeout(deadline.min(IDLE), receiver).await;
            drop(slot);
            match waited {
                Ok(Ok(answer)) => answer,
                Ok(Err(_)) | Err(_) => Err(TransportError::Timeout),
            }
        })
    }

    fn call_shard(
        self: &Arc<Self>,
        from: NodeId,
        to: NodeId,
        request: ShardRequest,
    ) -> BoxFuture<'static, Result<Result<ShardAnswer, ShardError>, PeerError>> {
        let (slot, receiver) = slot();
        let deadline = Duration::from_millis(u64::from(request.deadline_ms) + 100);
        let hash = hash_bytes(&codec::encode(&request).unwrap_or_default());
        let envelope = Envelope { from, to, kind: kind::QUERY, hash };
        let (net, filled) = (Arc::clone(self), slot.clone());
        let arrival: Arrival = Arc::new(move |endpoint| {
            let shards = HostShards(endpoint.host.clone());
            let executed = shards.execute_for(from, request.clone());
            let (net, slot) = (Arc::clone(&net), filled.clone());
            drop(SimRuntime::spawn(async move {
                let answer = executed.await;
                let hash = hash_bytes(&codec::encode(&answer).unwrap_or_default());
                let back = Envelope { from: to, to: from, kind: kind::ANSWER, hash };
                net.answer(back, slot, Ok(answer));
            }));
        });
        let refused = slot.clone();
        self.send(envelope, arrival, move || {
            let detail = "refused".to_owned();
            fill(&refused, Err(PeerError::NotSent { node: to, detail }));
        });
        Box::pin(async move {
            let waited = SimRuntime::timeout(deadline, receiver).await;
            drop(slot);
            match waited {
                Ok(Ok(answer)) => answer,
                Ok(Err(_)) | Err(_) => Err(PeerError::TimedOut { node: to }),
            }
        })
    }

    /// Sends a datagram of gossip.
    pub(super) fn datagram(self: &Arc<Self>, from: NodeId, to: NodeId, packet: Bytes) {
        let envelope = Envelope { from, to, kind: kind::GOSSIP, hash: hash_bytes(&packet) };
        let arrival: Arrival = Arc::new(move |endpoint| {
            // A process that is going down takes nothing in any more.
            endpoint.gossip.send((from, packet.clone())).ok();
        });
        self.send(envelope, arrival, || {});
    }
}

fn hand_over(endpoint: &Endpoint, arrival: &Arrival) {
    if let Some(executor) = current() {
        executor.within(endpoint.home, || arrival(endpoint));
    }
}

/// Where the first answer goes; a message that arrives twice is answered twice.
type Slot<T> = Arc<Mutex<Option<oneshot::Sender<T>>>>;

fn slot<T>() -> (Slot<T>, oneshot::Receiver<T>) {
    let (sender, receiver) = oneshot::channel();
    (Arc::new(Mutex::new(Some(sender))), receiver)
}

fn fill<T>(slot: &Slot<T>, value: T) {
    let sender = slot.lock().take();
    if let Some(sender) = sender {
        // Whoever asked may have given up.
        sender.send(value).ok();
    }
}

/// The links of one node.
#[derive(Debug, Clone)]
pub(super) struct Links {
    pub(super) own: NodeId,
    pub(super) net: Arc<Net>,
}

impl PeerTransport for Links {
    fn call(
        &self,
        to: NodeId,
        lane: Lane,
        frame: Bytes,
        deadline: Duration,
    ) -> BoxFuture<'static, Result<Bytes, TransportError>> {
        self.net.call_raft(self.own, to, lane, frame, deadline)
    }
}

impl PeerClient for Links {
    fn call(
        &self,
        to: NodeId,
        request: ShardRequest,
    ) -> BoxFuture<'static, Result<Result<ShardAnswer, ShardError>, PeerError>> {
        self.net.call_shard(self.own, to, request)
    }

    fn rtt(&self, node: NodeId) -> Option<Duration> {
        Some(Duration::from_millis(2 + u64::from(node.0 % 4)))
    }
}
