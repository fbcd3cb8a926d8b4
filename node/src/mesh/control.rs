//! The control link: Raft requests in order over one long-lived stream, gossip in datagrams.

use std::{
    collections::BTreeMap,
    fmt,
    sync::{
        Arc,
        atomic::{AtomicU64, AtomicUsize, Ordering},
    },
    time::Duration,
};

use bytes::Bytes;
use futures::{FutureExt, future::BoxFuture};
use hexpop_edge_config::NodeId;
use parking_lot::Mutex;
use quinn::{RecvStream, SendDatagramError, SendStream};
use tokio::{
    sync::{mpsc, oneshot},
    time::Instant,
};
use tokio_util::sync::CancellationToken;

use super::{
    Class, LinkAction, MeshError, MeshOptions, Traffic,
    endpoint::Core,
    frame::{ControlDecoder, ControlFrame, LinkKind, WriteBatch},
    hello::{Established, close, connection_problem},
    metrics::Counters,
    peer::Link,
};

/// What may wait to be written to one peer.
const QUEUE_BYTES_MAX: usize = 64 << 20;
/// Datagrams that wait for the first connection. Gossip repeats itself: the newest are worth most.
const DATAGRAMS_MAX: usize = 16;
/// One write gathers at most this many bytes, so that the buffer of a batch stays small.
pub(super) const BATCH_BYTES_MAX: usize = 256 << 10;
/// One read takes at most this many bytes.
pub(super) const READ_BYTES_MAX: usize = 256 << 10;

type Answer = Result<Bytes, MeshError>;

/// A request that waits to be written.
#[derive(Debug)]
pub(super) struct Queued {
    id: u64,
    payload: Bytes,
    deadline: Instant,
    not_before: Option<Instant>,
}

/// The control link to one peer.
pub(super) struct ControlLink {
    node: NodeId,
    pub(super) link: Link,
    queue: mpsc::Sender<Queued>,
    queued_bytes: AtomicUsize,
    next_id: AtomicU64,
    in_flight_max: usize,
    pending: Mutex<BTreeMap<u64, oneshot::Sender<Answer>>>,
    waiting_datagrams: Mutex<Vec<Bytes>>,
}

impl fmt::Debug for ControlLink {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ControlLink").field("node", &self.node).finish_non_exhaustive()
    }
}

/// Takes the request out of the books when its caller gives up.
struct Waiting {
    link: Arc<ControlLink>,
    id: u64,
}

impl Drop for Waiting {
    fn drop(&mut self) {
        self.link.pending.lock().remove(&self.id);
    }
}

impl ControlLink {
    pub(super) fn new(node: NodeId, options: &MeshOptions) -> (Self, mpsc::Receiver<Queued>) {
        let in_flight_max = options.in_flight_max(Class::Raft).max(1);
        // Requests that were given up stay in the queue until it is written.
        let (queue, receiver) = mpsc::channel(in_flight_max.saturating_mul(2).max(64));
        let link = Self {
            node,
            link: Link::new(node, LinkKind::Control),
            queue,
            queued_bytes: AtomicUsize::new(0),
            next_id: AtomicU64::new(1),
            in_flight_max,
            pending: Mutex::default(),
            waiting_datagrams: Mutex::default(),
        };
        (link, receiver)
    }

    pub(super) fn in_flight(&self) -> usize {
        self.pending.lock().len()
    }

    /// Queues a request before it returns; the future waits for the answer.
    pub(super) fn call(
        self: &Arc<Self>,
        core: &Core,
        payload: Bytes,
        deadline: Duration,
    ) -> BoxFuture<'static, Answer> {
        let (waiting, answer) = match self.enqueue(core, payload, deadline) {
            Ok(queued) => queued,
            Err(error) => return futures::future::ready(Err(error)).boxed(),
        };
        async move {
            let to = waiting.link.node;
            match tokio::time::timeout(deadline, answer).await {
                Ok(Ok(answer)) => answer,
                Ok(Err(_dropped)) => Err(MeshError::Closed),
                Err(_elapsed) => Err(MeshError::TimedOut { to, after: deadline }),
            }
        }
        .boxed()
    }

    fn enqueue(
        self: &Arc<Self>,
        core: &Core,
        payload: Bytes,
        deadline: Duration,
    ) -> Result<(Waiting, oneshot::Receiver<Answer>), MeshError> {
        let to = self.node;
        self.link.need()?;
        let now = Instant::now();
        let (not_before, lost) = match core.hooks.on_send(to, Traffic::Request(Class::Raft)) {
            LinkAction::Pass => (None, false),
            LinkAction::Delay(delay) => (Some(now + delay), false),
            LinkAction::Drop => (None, true),
            LinkAction::Cut => {
                let reason = "the link is cut".to_owned();
                return Err(MeshError::Unreachable { to, reason });
            }
        };
        let id = self.next_id.fetch_add(1, Ordering::Relaxed);
        let (sender, receiver) = oneshot::channel();
        let overloaded = MeshError::Overloaded { to, class: Class::Raft };
        {
            let mut pending = self.pending.lock();
            if pending.len() >= self.in_flight_max {
                return Err(overloaded);
            }
            pending.insert(id, sender);
        }
        let waiting = Waiting { link: Arc::clone(self), id };
        if lost {
            return Ok((waiting, receiver));
        }
        let bytes = payload.len();
        if self.queued_bytes.fetch_add(bytes, Ordering::Relaxed) + bytes > QUEUE_BYTES_MAX {
            self.queued_bytes.fetch_sub(bytes, Ordering::Relaxed);
            return Err(overloaded);
        }
        let queued = Queued { id, payload, deadline: now + deadline, not_before };
        if self.queue.try_send(queued).is_err() {
            self.queued_bytes.fetch_sub(bytes, Ordering::Relaxed);
            return Err(overloaded);
        }
        Ok((waiting, receiver))
    }

    pub(super) fn send_datagram(&self, core: &Core, payload: Bytes) -> Result<(), MeshError> {
        match core.hooks.on_send(self.node, Traffic::Datagram) {
            LinkAction::Pass => self.send_datagram_now(core, payload),
            LinkAction::Drop => Ok(()),
            LinkAction::Cut => {
                let reason = "the link is cut".to_owned();
                Err(MeshError::Unreachable { to: self.node, reason })
            }
            LinkAction::Delay(delay) => {
                let Some(connection) = self.link.connection() else {
                    return self.send_datagram_now(core, payload);
                };
                core.tasks.spawn_on(
                    async move {
                        tokio::time::sleep(delay).await;
                        // A datagram that finds its connection gone is lost, as datagrams are.
                        connection.send_datagram(payload).ok();
                    },
                    &core.runtime,
                );
                Ok(())
            }
        }
    }

    fn send_datagram_now(&self, core: &Core, payload: Bytes) -> Result<(), MeshError> {
        if let Some(connection) = self.link.connection() {
            match connection.send_datagram(payload) {
                Ok(()) => Counters::add(&core.counters.datagrams_sent),
                Err(SendDatagramError::ConnectionLost(_)) => {
                    Counters::add(&core.counters.datagrams_dropped);
                }
                Err(
                    error @ (SendDatagramError::TooLarge
                    | SendDatagramError::Disabled
                    | SendDatagramError::UnsupportedByPeer),
                ) => {
                    Counters::add(&core.counters.datagrams_dropped);
                    tracing::debug!(peer = %self.node, %error, "a datagram cannot be sent");
                }
            }
            return Ok(());
        }
        let needed = self.link.need();
        if needed.is_ok() {
            let mut waiting = self.waiting_datagrams.lock();
            if waiting.len() >= DATAGRAMS_MAX {
                waiting.remove(0);
                Counters::add(&core.counters.datagrams_dropped);
            }
            waiting.push(payload);
        } else {
            Counters::add(&core.counters.datagrams_dropped);
        }
        needed
    }

    /// Keeps the link until it is stopped.
    pub(super) async fn run(
        self: Arc<Self>,
        core: Arc<Core>,
        mut queue: mpsc::Receiver<Queued>,
        stop: CancellationToken,
    ) {
        loop {
            let turned_away = |problem: &str| self.turn_away_queued(&mut queue, problem);
            let Some(established) = self.link.establish(&core, &stop, turned_away).await else {
                break;
            };
            let problem = tokio::select! {
                problem = self.carry(&core, established, &mut queue) => problem,
                () = stop.cancelled() => break,
            };
            tracing::info!(peer = %self.node, link = "control", problem, "connection lost");
            self.link.set_down(&problem);
            self.turn_away_queued(&mut queue, &problem);
            self.fail_all(|| MeshError::Interrupted { to: self.node, reason: problem.clone() });
        }
        queue.close();
        self.fail_all(|| MeshError::Closed);
    }

    /// Answers everything that was not written yet with "unreachable".
    fn turn_away_queued(&self, queue: &mut mpsc::Receiver<Queued>, problem: &str) {
        self.waiting_datagrams.lock().clear();
        while let Ok(queued) = queue.try_recv() {
            self.queued_bytes.fetch_sub(queued.payload.len(), Ordering::Relaxed);
            let reason = problem.to_owned();
            self.finish(queued.id, Err(MeshError::Unreachable { to: self.node, reason }));
        }
    }

    fn fail_all(&self, error: impl Fn() -> MeshError) {
        for (_, answer) in std::mem::take(&mut *self.pending.lock()) {
            // The caller may have gone in the meantime.
            answer.send(Err(error())).ok();
        }
    }

    fn finish(&self, id: u64, answer: Answer) {
        let waiting = self.pending.lock().remove(&id);
        if let Some(waiting) = waiting {
            // The caller may have gone in the meantime.
            waiting.send(answer).ok();
        }
    }

    /// Carries requests and answers until the connection is of no use; returns why.
    async fn carry(
        self: &Arc<Self>,
        core: &Arc<Core>,
        established: Established,
        queue: &mut mpsc::Receiver<Queued>,
    ) -> String {
        let Established { connection, send, recv, .. } = established;
        for datagram in std::mem::take(&mut *self.waiting_datagrams.lock()) {
            if connection.send_datagram(datagram).is_ok() {
                Counters::add(&core.counters.datagrams_sent);
            }
        }
        let problem = tokio::select! {
            problem = self.write_requests(send, queue) => problem,
            problem = self.read_answers(core, recv) => problem,
            error = connection.closed() => connection_problem(&error),
        };
        let problem = connection.close_reason().map_or(problem, |error| connection_problem(&error));
        connection.close(close::PROTOCOL, b"the control stream ended");
        problem
    }

    async fn write_requests(
        &self,
        mut send: SendStream,
        queue: &mut mpsc::Receiver<Queued>,
    ) -> String {
        let mut batch = WriteBatch::default();
        // A request that may not leave yet holds back all that follow.
        let mut held: Option<Queued> = None;
        loop {
            let first = match held.take() {
                Some(queued) => queued,
                None => match queue.recv().await {
                    Some(queued) => queued,
                    None => return "the link is stopped".to_owned(),
                },
            };
            if let Some(not_before) = first.not_before {
                tokio::time::sleep_until(not_before).await;
            }
            let now = Instant::now();
            self.gather(first, now, &mut batch);
            while batch.bytes() < BATCH_BYTES_MAX {
                let Ok(queued) = queue.try_recv() else {
                    break;
                };
                if queued.not_before.is_some_and(|not_before| not_before > now) {
                    held = Some(queued);
                    break;
                }
                self.gather(queued, now, &mut batch);
            }
            if let Err(error) = send.write_all_chunks(&mut batch.take()).await {
                return error.to_string();
            }
        }
    }

    fn gather(&self, queued: Queued, now: Instant, batch: &mut WriteBatch) {
        let Queued { id, payload, deadline, not_before: _ } = queued;
        self.queued_bytes.fetch_sub(payload.len(), Ordering::Relaxed);
        // Whoever asked is gone: the peer need not do it.
        if deadline <= now {
            return;
        }
        let left = deadline.duration_since(now).as_millis();
        let deadline_ms = u32::try_from(left).unwrap_or(u32::MAX);
        batch.push(ControlFrame::Request { id, deadline_ms, payload });
    }

    async fn read_answers(self: &Arc<Self>, core: &Arc<Core>, mut recv: RecvStream) -> String {
        let mut decoder = ControlDecoder::new(core.options.bytes_max.raft);
        loop {
            match recv.read_chunk(READ_BYTES_MAX, true).await {
                Ok(Some(chunk)) => decoder.extend(&chunk.bytes),
                Ok(None) => return "the peer ended the control stream".to_owned(),
                Err(error) => return error.to_string(),
            }
            loop {
                match decoder.next_frame() {
                    Ok(Some(frame)) => self.take_answer(core, frame),
                    Ok(None) => break,
                    Err(error) => return error.to_string(),
                }
            }
        }
    }

    fn take_answer(self: &Arc<Self>, core: &Arc<Core>, frame: ControlFrame) {
        let to = self.node;
        let (id, answer) = match frame {
            ControlFrame::Answer { id, payload } => (id, Ok(payload)),
            ControlFrame::Refused { id, refused } => (id, Err(MeshError::Refused { to, refused })),
            // Only the side that opened the stream asks on it.
            ControlFrame::Request { .. } => return,
        };
        match core.hooks.on_receive(to, Traffic::Answer(Class::Raft)) {
            LinkAction::Pass => self.finish(id, answer),
            LinkAction::Drop | LinkAction::Cut => {}
            LinkAction::Delay(delay) => {
                let link = Arc::clone(self);
                core.tasks.spawn_on(
                    async move {
                        tokio::time::sleep(delay).await;
                        link.finish(id, answer);
                    },
                    &core.runtime,
                );
            }
        }
    }
}
