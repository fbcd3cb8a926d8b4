//! The cache link: one stream per request, whose answer is any number of frames, as fast as they are read.

use std::{sync::Arc, time::Duration};

use bytes::Bytes;
use hexpop_edge_config::NodeId;
use quinn::{Connection, ReadExactError, RecvStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio_util::sync::CancellationToken;

use super::{
    Class, LinkAction, MeshError, MeshOptions, Traffic,
    bulk::read_payload,
    endpoint::Core,
    frame::{
        BULK_ANSWER_HEAD, BulkAnswer, LinkKind, decode_bulk_answer_head, decode_bulk_refused,
        encode_bulk_request,
    },
    hello::connection_problem,
    peer::Link,
};

/// Requests with a brief answer that may be under way at once with one peer, beside those of
/// [`Class::Cache`]: long answers, which slow clients take, leave these their place.
pub(super) const BRIEF_MAX: usize = 16;

/// What becomes of the answer to a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Lane {
    /// It may take as long as a client takes for it.
    Long,
    /// It ends at once.
    Brief,
}

/// The cache link to one peer.
#[derive(Debug)]
pub(super) struct StreamLink {
    node: NodeId,
    pub(super) link: Link,
    long: Arc<Semaphore>,
    brief: Arc<Semaphore>,
    in_flight_max: usize,
}

impl StreamLink {
    pub(super) fn new(node: NodeId, options: &MeshOptions) -> Self {
        let most = Semaphore::MAX_PERMITS - BRIEF_MAX;
        let in_flight_max = options.in_flight_max(Class::Cache).clamp(1, most);
        Self {
            node,
            link: Link::new(node, LinkKind::Cache),
            long: Arc::new(Semaphore::new(in_flight_max)),
            brief: Arc::new(Semaphore::new(BRIEF_MAX)),
            in_flight_max,
        }
    }

    pub(super) fn in_flight(&self) -> usize {
        let free = self.long.available_permits() + self.brief.available_permits();
        (self.in_flight_max + BRIEF_MAX).saturating_sub(free)
    }

    /// Sends a request. Nobody waits for those under way to end: they may be in the hands of slow clients.
    pub(super) async fn ask(
        &self,
        core: &Arc<Core>,
        lane: Lane,
        payload: Bytes,
        deadline: Duration,
    ) -> Result<Frames, MeshError> {
        let to = self.node;
        self.link.need()?;
        let permits = match lane {
            Lane::Long => &self.long,
            Lane::Brief => &self.brief,
        };
        let permit = Arc::clone(permits)
            .try_acquire_owned()
            .map_err(|_all_taken| MeshError::Overloaded { to, class: Class::Cache })?;
        tokio::time::timeout(deadline, self.send(core, permit, payload, deadline))
            .await
            .unwrap_or(Err(MeshError::TimedOut { to, after: deadline }))
    }

    async fn send(
        &self,
        core: &Arc<Core>,
        permit: OwnedSemaphorePermit,
        payload: Bytes,
        deadline: Duration,
    ) -> Result<Frames, MeshError> {
        let to = self.node;
        match core.hooks.on_send(to, Traffic::Request(Class::Cache)) {
            LinkAction::Pass => {}
            LinkAction::Delay(delay) => tokio::time::sleep(delay).await,
            LinkAction::Drop => return std::future::pending().await,
            LinkAction::Cut => {
                return Err(MeshError::Unreachable { to, reason: "the link is cut".to_owned() });
            }
        }
        let connection = self.link.wait().await?;
        let (mut send, recv) = connection
            .open_bi()
            .await
            .map_err(|error| MeshError::Unreachable { to, reason: connection_problem(&error) })?;
        let frames = Frames { to, core: Arc::clone(core), connection, recv, _permit: permit };
        let deadline_ms = u32::try_from(deadline.as_millis()).unwrap_or(u32::MAX);
        let mut request = encode_bulk_request(Class::Cache, deadline_ms, payload);
        match send.write_all_chunks(&mut request).await {
            Ok(()) => drop(send.finish()),
            // A peer that refuses because of the header stops the stream, and still answers.
            Err(quinn::WriteError::Stopped(_)) => {}
            Err(error) => return Err(frames.interrupted(&error)),
        }
        Ok(frames)
    }

    /// Keeps the link until it is stopped.
    pub(super) async fn run(self: Arc<Self>, core: Arc<Core>, stop: CancellationToken) {
        self.link.keep(&core, &stop).await;
    }
}

/// The frames of an answer. Whoever does not read them makes the peer wait, and whoever drops them ends
/// the exchange.
pub struct Frames {
    to: NodeId,
    core: Arc<Core>,
    connection: Connection,
    recv: RecvStream,
    _permit: OwnedSemaphorePermit,
}

impl std::fmt::Debug for Frames {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Frames").field("to", &self.to).finish_non_exhaustive()
    }
}

impl Frames {
    /// The next frame; `None` after the last.
    ///
    /// # Errors
    /// [`MeshError`]: there are no more, whether the answer is complete or not.
    ///
    /// # Cancel safety
    /// None: a frame of which a part is read is lost.
    pub async fn next(&mut self) -> Result<Option<Bytes>, MeshError> {
        let to = self.to;
        let protocol = |what: String| MeshError::Protocol { to, what };
        let mut head = [0; BULK_ANSWER_HEAD];
        match self.recv.read_exact(&mut head).await {
            Ok(()) => {}
            Err(ReadExactError::FinishedEarly(0)) => return Ok(None),
            Err(error) => return Err(self.interrupted(&error)),
        }
        let (kind, bytes) = decode_bulk_answer_head(&head, self.core.options.bytes_max.cache)
            .map_err(|error| protocol(error.to_string()))?;
        let payload = match read_payload(&mut self.recv, bytes).await {
            Ok(payload) => payload,
            Err(error) => return Err(self.interrupted(&error)),
        };
        match self.core.hooks.on_receive(to, Traffic::Answer(Class::Cache)) {
            LinkAction::Pass => {}
            LinkAction::Delay(delay) => tokio::time::sleep(delay).await,
            LinkAction::Drop | LinkAction::Cut => return std::future::pending().await,
        }
        match kind {
            BulkAnswer::Answer => Ok(Some(payload)),
            BulkAnswer::Refused => {
                let refused =
                    decode_bulk_refused(&payload).map_err(|error| protocol(error.to_string()))?;
                Err(MeshError::Refused { to, refused })
            }
        }
    }

    fn interrupted(&self, error: &dyn std::fmt::Display) -> MeshError {
        let reason = self
            .connection
            .close_reason()
            .map_or_else(|| error.to_string(), |reason| connection_problem(&reason));
        MeshError::Interrupted { to: self.to, reason }
    }
}
