//! What peers ask of this node: their connections, requests and datagrams.

use std::{
    collections::{BTreeMap, VecDeque},
    net::SocketAddr,
    sync::Arc,
    time::Duration,
};

use bytes::Bytes;
use futures::{
    StreamExt,
    future::BoxFuture,
    stream::{BoxStream, FuturesUnordered},
};
use hexpop_edge_config::NodeId;
use parking_lot::Mutex;
use quinn::{Connection, ConnectionError, Incoming, RecvStream, SendStream, VarInt};
use tokio::{
    sync::{Semaphore, mpsc},
    time::Instant,
};

use super::{
    Class, LinkAction, Refused, RefusedCode, Traffic,
    bulk::read_payload,
    control::{BATCH_BYTES_MAX, READ_BYTES_MAX},
    endpoint::Core,
    frame::{
        BULK_REQUEST_HEAD, ControlDecoder, ControlFrame, LinkKind, WriteBatch,
        decode_bulk_request_head, encode_bulk_answer,
    },
    hello::{self, Established, close},
    metrics::Counters,
    stream::BRIEF_MAX,
};

/// Connections of one kind that one peer may have here. More than one only while an older one has
/// not been found dead yet.
const CONNECTIONS_PER_PEER: usize = 3;
/// How long a peer may take nothing of an answer that streams. It reads a frame of 64 KiB when its client
/// has taken the one before, so that this is enough for one that takes 300 bytes a second. A client that
/// takes nothing at all is given up by the peer long before.
const STREAM_STALL_TIMEOUT: Duration = Duration::from_secs(240);
/// How long the bytes of one request may take to arrive.
const REQUEST_READ_TIMEOUT: Duration = Duration::from_secs(30);

/// The connections that peers have made to this node.
#[derive(Debug, Default)]
pub(super) struct Inbound {
    connections: Mutex<BTreeMap<(NodeId, LinkKind), VecDeque<Connection>>>,
}

impl Inbound {
    /// Keeps a connection; the oldest goes when there are too many of one peer.
    fn admit(&self, node: NodeId, link: LinkKind, connection: &Connection) {
        let mut connections = self.connections.lock();
        let kept = connections.entry((node, link)).or_default();
        kept.retain(|known| known.close_reason().is_none());
        kept.push_back(connection.clone());
        if kept.len() > CONNECTIONS_PER_PEER
            && let Some(oldest) = kept.pop_front()
        {
            oldest.close(close::REPLACED, b"a newer connection takes its place");
        }
    }

    fn release(&self, node: NodeId, link: LinkKind) {
        let mut connections = self.connections.lock();
        let key = (node, link);
        if let Some(kept) = connections.get_mut(&key) {
            kept.retain(|known| known.close_reason().is_none());
            if kept.is_empty() {
                connections.remove(&key);
            }
        }
    }
}

/// Takes connections until the mesh closes.
pub(super) async fn accept_loop(core: Arc<Core>) {
    let handshakes = Arc::new(Semaphore::new(core.options.incoming_max.max(1)));
    loop {
        let incoming = tokio::select! {
            incoming = core.endpoint.accept() => incoming,
            () = core.closing.cancelled() => return,
        };
        let Some(incoming) = incoming else {
            return;
        };
        let Ok(permit) = Arc::clone(&handshakes).try_acquire_owned() else {
            incoming.ignore();
            continue;
        };
        let task_core = Arc::clone(&core);
        core.tasks.spawn(async move {
            let core = task_core;
            let Some(established) = let_in(&core, incoming).await else {
                return;
            };
            drop(permit);
            tokio::select! {
                () = serve(&core, established) => {}
                () = core.closing.cancelled() => {}
            }
        });
    }
}

async fn let_in(core: &Arc<Core>, incoming: Incoming) -> Option<Established> {
    let remote = incoming.remote_address();
    let accept = hello::accept(core, incoming);
    let problem = match tokio::time::timeout(core.options.connect_timeout, accept).await {
        Ok(Ok(established)) => return Some(established),
        Ok(Err(hello::Unwelcome::Gone)) => return None,
        Ok(Err(hello::Unwelcome::Because(problem))) => problem,
        Err(_elapsed) => {
            format!("it did not introduce itself within {:?}", core.options.connect_timeout)
        }
    };
    Counters::add(&core.counters.refused);
    core.refusals.note(remote, &problem);
    None
}

async fn serve(core: &Arc<Core>, established: Established) {
    let Established { connection, node, link, send, recv } = established;
    let remote: SocketAddr = connection.remote_address();
    tracing::debug!(peer = %node, ?link, %remote, "a peer connected");
    core.inbound.admit(node, link, &connection);
    // A peer that can reach this node can probably be reached.
    if let Some(peer) = core.known_peer(node) {
        peer.hasten();
    }
    match link {
        LinkKind::Control => serve_control(core, node, &connection, send, recv).await,
        LinkKind::Bulk | LinkKind::Cache => serve_streams(core, node, link, &connection).await,
    }
    connection.close(close::DONE, b"");
    core.inbound.release(node, link);
    tracing::debug!(peer = %node, ?link, %remote, "a peer's connection ended");
}

async fn serve_control(
    core: &Arc<Core>,
    node: NodeId,
    connection: &Connection,
    send: SendStream,
    recv: RecvStream,
) {
    let (answers, queue) = mpsc::channel(core.options.in_flight_max(Class::Raft).max(1));
    let problem = tokio::select! {
        problem = serve_raft(core, node, recv, answers) => problem,
        problem = write_answers(send, queue) => problem,
        problem = serve_datagrams(core, node, connection) => problem,
    };
    tracing::debug!(peer = %node, problem, "the control link of a peer ended");
}

type Running = FuturesUnordered<BoxFuture<'static, Option<ControlFrame>>>;

/// Hands requests on in the order in which they arrive, and answers as they are done.
async fn serve_raft(
    core: &Arc<Core>,
    node: NodeId,
    mut recv: RecvStream,
    answers: mpsc::Sender<ControlFrame>,
) -> String {
    let in_flight_max = core.options.in_flight_max(Class::Raft).max(1);
    let mut decoder = ControlDecoder::new(core.options.bytes_max.raft);
    let mut running = Running::new();
    // Requests held back by a fault, in order; empty without one.
    let mut held: VecDeque<(Instant, ControlFrame)> = VecDeque::new();
    loop {
        let release = held.front().map(|(at, _)| *at);
        tokio::select! {
            Some(done) = running.next(), if !running.is_empty() => {
                if let Some(frame) = done
                    && answers.send(frame).await.is_err()
                {
                    return "the answers cannot be written".to_owned();
                }
            }
            chunk = recv.read_chunk(READ_BYTES_MAX, true),
                if running.len() + held.len() < in_flight_max =>
            {
                match chunk {
                    Ok(Some(chunk)) => decoder.extend(&chunk.bytes),
                    Ok(None) => return "the peer ended the control stream".to_owned(),
                    Err(error) => return error.to_string(),
                }
                loop {
                    match decoder.next_frame() {
                        Ok(Some(frame)) => receive(core, node, frame, &mut held, &running),
                        Ok(None) => break,
                        Err(error) => return error.to_string(),
                    }
                }
            }
            () = tokio::time::sleep_until(release.unwrap_or_else(Instant::now)),
                if release.is_some() =>
            {
                if let Some((_, frame)) = held.pop_front() {
                    start(core, node, frame, &running);
                }
            }
        }
    }
}

/// Asks the hook about a request, and starts it now, later, or never.
fn receive(
    core: &Arc<Core>,
    node: NodeId,
    frame: ControlFrame,
    held: &mut VecDeque<(Instant, ControlFrame)>,
    running: &Running,
) {
    match core.hooks.on_receive(node, Traffic::Request(Class::Raft)) {
        LinkAction::Pass if held.is_empty() => start(core, node, frame, running),
        LinkAction::Pass => held.push_back((Instant::now(), frame)),
        LinkAction::Delay(delay) => held.push_back((Instant::now() + delay, frame)),
        LinkAction::Drop | LinkAction::Cut => {}
    }
}

fn start(core: &Arc<Core>, node: NodeId, frame: ControlFrame, running: &Running) {
    let ControlFrame::Request { id, deadline_ms, payload } = frame else {
        return;
    };
    Counters::count(&core.counters.requests_received, Class::Raft);
    let handled = core.handler.request(node, Class::Raft, payload);
    let core = Arc::clone(core);
    running.push(Box::pin(async move {
        let answer = within(deadline_ms, handled).await;
        let answer = checked(&core, Class::Raft, answer);
        match core.hooks.on_send(node, Traffic::Answer(Class::Raft)) {
            LinkAction::Pass => {}
            LinkAction::Delay(delay) => tokio::time::sleep(delay).await,
            LinkAction::Drop | LinkAction::Cut => return None,
        }
        Some(match answer {
            Ok(payload) => ControlFrame::Answer { id, payload },
            Err(refused) => ControlFrame::Refused { id, refused },
        })
    }));
}

async fn within(
    deadline_ms: u32,
    handled: BoxFuture<'static, Result<Bytes, Refused>>,
) -> Result<Bytes, Refused> {
    let deadline = Duration::from_millis(u64::from(deadline_ms));
    match tokio::time::timeout(deadline, handled).await {
        Ok(answer) => answer,
        Err(_elapsed) => {
            Err(Refused::with(RefusedCode::Deadline, format!("not done within {deadline:?}")))
        }
    }
}

/// An answer that is too long for its class becomes a refusal: the peer would not read it.
fn checked(core: &Core, class: Class, answer: Result<Bytes, Refused>) -> Result<Bytes, Refused> {
    let bytes_max = core.options.bytes_max.of(class);
    match answer {
        Ok(payload) if payload.len() > bytes_max => {
            let bytes = payload.len();
            let text = format!("an answer of {bytes} bytes is over the limit of {bytes_max}");
            Err(Refused::with(RefusedCode::TooLarge, text))
        }
        answer => answer,
    }
}

async fn write_answers(mut send: SendStream, mut queue: mpsc::Receiver<ControlFrame>) -> String {
    let mut batch = WriteBatch::default();
    while let Some(frame) = queue.recv().await {
        batch.push(frame);
        while batch.bytes() < BATCH_BYTES_MAX {
            let Ok(frame) = queue.try_recv() else {
                break;
            };
            batch.push(frame);
        }
        if let Err(error) = send.write_all_chunks(&mut batch.take()).await {
            return error.to_string();
        }
    }
    "no more answers".to_owned()
}

async fn serve_datagrams(core: &Arc<Core>, node: NodeId, connection: &Connection) -> String {
    loop {
        let payload = match connection.read_datagram().await {
            Ok(payload) => payload,
            Err(error) => return hello::connection_problem(&error),
        };
        Counters::add(&core.counters.datagrams_received);
        match core.hooks.on_receive(node, Traffic::Datagram) {
            LinkAction::Pass => core.handler.datagram(node, payload),
            LinkAction::Drop | LinkAction::Cut => {}
            LinkAction::Delay(delay) => {
                let task_core = Arc::clone(core);
                core.tasks.spawn(async move {
                    tokio::time::sleep(delay).await;
                    task_core.handler.datagram(node, payload);
                });
            }
        }
    }
}

async fn serve_streams(core: &Arc<Core>, node: NodeId, link: LinkKind, connection: &Connection) {
    let lanes: Arc<[Semaphore; 5]> = Arc::new(Class::ALL.map(|class| {
        let most = core.options.in_flight_max(class);
        // Those with a brief answer have a place of their own at who asks, so that there is room for them.
        let most = if class == Class::Cache { most.saturating_add(BRIEF_MAX) } else { most };
        Semaphore::new(most.clamp(1, Semaphore::MAX_PERMITS))
    }));
    let runtime = core.options.bulk_runtime.as_ref().unwrap_or(&core.runtime);
    loop {
        let (send, recv) = match connection.accept_bi().await {
            Ok(streams) => streams,
            Err(
                ConnectionError::ApplicationClosed(_)
                | ConnectionError::LocallyClosed
                | ConnectionError::TimedOut
                | ConnectionError::Reset,
            ) => return,
            Err(error) => {
                tracing::debug!(peer = %node, ?link, %error, "the link of a peer ended");
                return;
            }
        };
        let (task_core, lanes) = (Arc::clone(core), Arc::clone(&lanes));
        core.tasks.spawn_on(
            async move {
                let core = task_core;
                let serving = async {
                    match link {
                        LinkKind::Cache => serve_stream(&core, node, &lanes, send, recv).await,
                        _ => serve_request(&core, node, &lanes, send, recv).await,
                    }
                };
                tokio::select! {
                    () = serving => {}
                    () = core.closing.cancelled() => {}
                }
            },
            runtime,
        );
    }
}

/// One request on its own stream. When it cannot be read, or nobody waits for the answer any more,
/// there is nobody to tell.
async fn serve_request(
    core: &Arc<Core>,
    node: NodeId,
    lanes: &[Semaphore; 5],
    mut send: SendStream,
    mut recv: RecvStream,
) {
    let read = read_request(core, lanes, &mut recv);
    let Ok(Some(request)) = tokio::time::timeout(REQUEST_READ_TIMEOUT, read).await else {
        send.reset(VarInt::from_u32(1)).ok();
        return;
    };
    let Request { class, deadline_ms, payload, _permit } = request;
    match core.hooks.on_receive(node, Traffic::Request(class)) {
        LinkAction::Pass => {}
        LinkAction::Delay(delay) => tokio::time::sleep(delay).await,
        LinkAction::Drop | LinkAction::Cut => return lose(send).await,
    }
    let answer = match payload {
        Ok(payload) => {
            Counters::count(&core.counters.requests_received, class);
            let handled = core.handler.request(node, class, payload);
            tokio::select! {
                answer = within(deadline_ms, handled) => checked(core, class, answer),
                // The peer gave up.
                _stopped = send.stopped() => return,
            }
        }
        Err(refused) => Err(refused),
    };
    match core.hooks.on_send(node, Traffic::Answer(class)) {
        LinkAction::Pass => {}
        LinkAction::Delay(delay) => tokio::time::sleep(delay).await,
        LinkAction::Drop | LinkAction::Cut => return lose(send).await,
    }
    if send.write_all_chunks(&mut encode_bulk_answer(answer)).await.is_ok() {
        send.finish().ok();
    }
}

/// One request whose answer streams. The next frame is made when the one before is on its way.
async fn serve_stream(
    core: &Arc<Core>,
    node: NodeId,
    lanes: &[Semaphore; 5],
    mut send: SendStream,
    mut recv: RecvStream,
) {
    let read = read_request(core, lanes, &mut recv);
    let Ok(Some(request)) = tokio::time::timeout(REQUEST_READ_TIMEOUT, read).await else {
        send.reset(VarInt::from_u32(1)).ok();
        return;
    };
    let Request { class, deadline_ms: _, payload, _permit } = request;
    match core.hooks.on_receive(node, Traffic::Request(class)) {
        LinkAction::Pass => {}
        LinkAction::Delay(delay) => tokio::time::sleep(delay).await,
        LinkAction::Drop | LinkAction::Cut => return lose(send).await,
    }
    let mut frames = match payload {
        Ok(payload) if class == Class::Cache => {
            Counters::count(&core.counters.requests_received, class);
            core.handler.stream(node, payload)
        }
        Ok(_other) => refusal(Refused::new(format!("{class} requests do not stream"))),
        Err(refused) => refusal(refused),
    };
    loop {
        let frame = tokio::select! {
            frame = frames.next() => frame,
            // The peer gave up.
            _stopped = send.stopped() => return,
        };
        let Some(frame) = frame else {
            send.finish().ok();
            return;
        };
        match core.hooks.on_send(node, Traffic::Answer(class)) {
            LinkAction::Pass => {}
            LinkAction::Delay(delay) => tokio::time::sleep(delay).await,
            LinkAction::Drop | LinkAction::Cut => return lose(send).await,
        }
        let mut frame = encode_bulk_answer(checked(core, class, frame));
        if !write_while_taken(&mut send, &mut frame).await {
            send.reset(VarInt::from_u32(1)).ok();
            return;
        }
    }
}

/// Writes it all, however long that takes, as long as the peer takes some of it now and then.
async fn write_while_taken(send: &mut SendStream, mut chunks: &mut [Bytes]) -> bool {
    while !chunks.is_empty() {
        let write = send.write_chunks(chunks);
        let Ok(Ok(written)) = tokio::time::timeout(STREAM_STALL_TIMEOUT, write).await else {
            return false;
        };
        chunks = chunks.get_mut(written.chunks..).unwrap_or_default();
    }
    true
}

fn refusal(refused: Refused) -> BoxStream<'static, Result<Bytes, Refused>> {
    futures::stream::once(std::future::ready(Err(refused))).boxed()
}

/// Keeps silent until the peer gives up: a stream that ended would tell it that something is wrong.
async fn lose(send: SendStream) {
    send.stopped().await.ok();
}

struct Request<'a> {
    class: Class,
    deadline_ms: u32,
    payload: Result<Bytes, Refused>,
    _permit: Option<tokio::sync::SemaphorePermit<'a>>,
}

async fn read_request<'a>(
    core: &Core,
    lanes: &'a [Semaphore; 5],
    recv: &mut RecvStream,
) -> Option<Request<'a>> {
    let mut head = [0; BULK_REQUEST_HEAD];
    recv.read_exact(&mut head).await.ok()?;
    let (class, deadline_ms, bytes) = decode_bulk_request_head(&head).ok()?;
    // Raft messages have an order, which streams of their own would lose.
    if class == Class::Raft {
        return None;
    }
    let bytes_max = core.options.bytes_max.of(class);
    let refuse = |code, text: String| Request {
        class,
        deadline_ms,
        payload: Err(Refused::with(code, text)),
        _permit: None,
    };
    if bytes > bytes_max {
        recv.stop(VarInt::from_u32(1)).ok();
        let text = format!("a request of {bytes} bytes is over the limit of {bytes_max}");
        return Some(refuse(RefusedCode::TooLarge, text));
    }
    let Some(permit) = lanes.get(class.index()).and_then(|lane| lane.try_acquire().ok()) else {
        recv.stop(VarInt::from_u32(1)).ok();
        return Some(refuse(RefusedCode::Busy, format!("too many {class} requests at once")));
    };
    let payload = read_payload(recv, bytes).await.ok()?;
    Some(Request { class, deadline_ms, payload: Ok(payload), _permit: Some(permit) })
}
