//! The bulk link: one stream per request, so that none waits behind another.

use std::{
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use bytes::{Bytes, BytesMut};
use futures::{FutureExt, future::BoxFuture};
use hexpop_edge_config::NodeId;
use quinn::{Connection, RecvStream};
use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;

use super::{
    Class, LinkAction, MeshError, MeshOptions, Traffic,
    endpoint::Core,
    frame::{
        BULK_ANSWER_HEAD, BulkAnswer, LinkKind, decode_bulk_answer_head, decode_bulk_refused,
        encode_bulk_request,
    },
    hello::connection_problem,
    peer::Link,
};

/// How many requests may wait for one of those under way to end, as a multiple of these.
const WAITING_FACTOR: usize = 4;

type Answer = Result<Bytes, MeshError>;

/// The requests of one class to one peer.
#[derive(Debug)]
struct Lane {
    under_way: Semaphore,
    in_flight_max: usize,
    /// Requests under way and waiting.
    all: AtomicUsize,
}

/// Counts a request while it lives.
struct Counted<'a>(&'a AtomicUsize);

impl Drop for Counted<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

impl Lane {
    fn new(in_flight_max: usize) -> Self {
        let in_flight_max = in_flight_max.clamp(1, Semaphore::MAX_PERMITS);
        Self { under_way: Semaphore::new(in_flight_max), in_flight_max, all: AtomicUsize::new(0) }
    }

    fn enter(&self) -> Option<Counted<'_>> {
        let before = self.all.fetch_add(1, Ordering::Relaxed);
        let counted = Counted(&self.all);
        let most = self.in_flight_max.saturating_mul(1 + WAITING_FACTOR);
        (before < most).then_some(counted)
    }
}

/// The bulk link to one peer.
#[derive(Debug)]
pub(super) struct BulkLink {
    node: NodeId,
    pub(super) link: Link,
    lanes: [Lane; 5],
}

impl BulkLink {
    pub(super) fn new(node: NodeId, options: &MeshOptions) -> Self {
        Self {
            node,
            link: Link::new(node, LinkKind::Bulk),
            lanes: Class::ALL.map(|class| Lane::new(options.in_flight_max(class))),
        }
    }

    pub(super) fn in_flight(&self) -> usize {
        self.lanes.iter().map(|lane| lane.all.load(Ordering::Relaxed)).sum()
    }

    pub(super) fn call(
        self: &Arc<Self>,
        core: &Arc<Core>,
        class: Class,
        payload: Bytes,
        deadline: Duration,
    ) -> BoxFuture<'static, Answer> {
        let to = self.node;
        if let Err(error) = self.link.need() {
            return futures::future::ready(Err(error)).boxed();
        }
        let (link, core) = (Arc::clone(self), Arc::clone(core));
        async move {
            let exchange = link.exchange(&core, class, payload, deadline);
            match tokio::time::timeout(deadline, exchange).await {
                Ok(answer) => answer,
                Err(_elapsed) => Err(MeshError::TimedOut { to, after: deadline }),
            }
        }
        .boxed()
    }

    async fn exchange(
        &self,
        core: &Core,
        class: Class,
        payload: Bytes,
        deadline: Duration,
    ) -> Answer {
        let to = self.node;
        let started = tokio::time::Instant::now();
        let overloaded = || MeshError::Overloaded { to, class };
        let lane = self.lanes.get(class.index()).ok_or_else(overloaded)?;
        let _counted = lane.enter().ok_or_else(overloaded)?;
        let _permit = lane.under_way.acquire().await.map_err(|_closed| MeshError::Closed)?;
        match core.hooks.on_send(to, Traffic::Request(class)) {
            LinkAction::Pass => {}
            LinkAction::Delay(delay) => tokio::time::sleep(delay).await,
            LinkAction::Drop => return std::future::pending().await,
            LinkAction::Cut => {
                let reason = "the link is cut".to_owned();
                return Err(MeshError::Unreachable { to, reason });
            }
        }
        let connection = self.link.wait().await?;
        let left = deadline.saturating_sub(started.elapsed()).as_millis();
        let deadline_ms = u32::try_from(left).unwrap_or(u32::MAX);
        let answer = self.ask(&connection, core, class, deadline_ms, payload).await;
        match core.hooks.on_receive(to, Traffic::Answer(class)) {
            LinkAction::Pass => {}
            LinkAction::Delay(delay) => tokio::time::sleep(delay).await,
            LinkAction::Drop | LinkAction::Cut => return std::future::pending().await,
        }
        answer
    }

    async fn ask(
        &self,
        connection: &Connection,
        core: &Core,
        class: Class,
        deadline_ms: u32,
        payload: Bytes,
    ) -> Answer {
        let to = self.node;
        let (mut send, mut recv) = connection
            .open_bi()
            .await
            .map_err(|error| MeshError::Unreachable { to, reason: connection_problem(&error) })?;
        let interrupted = |error: &dyn std::fmt::Display| MeshError::Interrupted {
            to,
            reason: connection
                .close_reason()
                .map_or_else(|| error.to_string(), |reason| connection_problem(&reason)),
        };
        let mut request = encode_bulk_request(class, deadline_ms, payload);
        // A peer that refuses because of the header stops the stream, and still answers.
        let written = send.write_all_chunks(&mut request).await;
        match written {
            Ok(()) => {
                send.finish().ok();
            }
            Err(quinn::WriteError::Stopped(_)) => {}
            Err(error) => return Err(interrupted(&error)),
        }
        let mut head = [0; BULK_ANSWER_HEAD];
        recv.read_exact(&mut head).await.map_err(|error| interrupted(&error))?;
        let bytes_max = core.options.bytes_max.of(class);
        let protocol = |what: String| MeshError::Protocol { to, what };
        let (kind, bytes) = decode_bulk_answer_head(&head, bytes_max)
            .map_err(|error| protocol(error.to_string()))?;
        let payload = read_payload(&mut recv, bytes).await.map_err(|error| interrupted(&error))?;
        match kind {
            BulkAnswer::Answer => Ok(payload),
            BulkAnswer::Refused => {
                let refused =
                    decode_bulk_refused(&payload).map_err(|error| protocol(error.to_string()))?;
                Err(MeshError::Refused { to, refused })
            }
        }
    }

    /// Keeps the link until it is stopped.
    pub(super) async fn run(self: Arc<Self>, core: Arc<Core>, stop: CancellationToken) {
        self.link.keep(&core, &stop).await;
    }
}

/// Reads exactly `bytes`; without a copy when they come in one piece.
pub(super) async fn read_payload(
    recv: &mut RecvStream,
    bytes: usize,
) -> Result<Bytes, quinn::ReadExactError> {
    let mut gathered = BytesMut::new();
    while gathered.len() < bytes {
        let left = bytes - gathered.len();
        let chunk = recv
            .read_chunk(left, true)
            .await
            .map_err(quinn::ReadExactError::ReadError)?
            .ok_or(quinn::ReadExactError::FinishedEarly(gathered.len()))?;
        if chunk.bytes.len() == bytes {
            return Ok(chunk.bytes);
        }
        gathered.extend_from_slice(&chunk.bytes);
    }
    Ok(gathered.freeze())
}
