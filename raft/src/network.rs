//! openraft's network over the peer transport.

use std::{
    fmt,
    future::Future,
    pin::pin,
    sync::{Arc, OnceLock},
    time::Duration,
};

use bytes::Bytes;
use futures::{Stream, StreamExt, future::BoxFuture, stream::BoxStream};
use hexpop_edge_config::{GroupId, NodeId, RaftId};
use openraft::{
    AnyError, AsyncRuntime, OptionalSend, RaftNetworkFactory,
    async_runtime::Select2,
    errors::{NetworkError, RPCError, ReplicationClosed, StreamingError, Timeout, Unreachable},
    network::{Backoff, RPCOption, RPCTypes, RaftNetworkV2},
    raft::{
        AppendEntriesRequest, AppendEntriesResponse, SnapshotResponse, StreamAppendResult,
        TransferLeaderRequest, TransferLeaderResponse, VoteRequest, VoteResponse,
    },
};

use crate::{
    metrics::Metrics,
    port::{Lane, TransportError},
    rpc::{Request, Response},
    snapshot::{Snapshot, SnapshotFiles},
    types::{ReplicaNode, TypeConfig, Vote},
    wire::{Wire, WireError},
};

/// How many appends may be on their way to one follower of one group.
const PIPELINE: usize = 32;

/// How many chunks of a snapshot may be on their way.
const CHUNKS_IN_FLIGHT: usize = 4;

/// How often a chunk is sent before the transfer is given up (openraft then starts it again, and it
/// resumes at what is missing).
const CHUNK_ATTEMPTS: u32 = 3;

/// Whether the group's leader may send appends now.
pub(crate) type MaySpeak = Box<dyn Fn() -> bool + Send + Sync>;

/// Makes the clients of one group.
#[derive(Clone)]
pub(crate) struct Network {
    pub(crate) group: GroupId,
    /// Set once the group runs; until then nothing forbids it.
    pub(crate) speaks: Arc<OnceLock<MaySpeak>>,
    pub(crate) wire: Arc<Wire>,
    /// How long an append, a vote or a transfer may take.
    pub(crate) deadline: Duration,
    pub(crate) metrics: Arc<Metrics>,
}

impl fmt::Debug for Network {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Network").field("group", &self.group).finish_non_exhaustive()
    }
}

/// The way of one group to one replica.
#[derive(Debug)]
pub(crate) struct Client {
    network: Network,
    to: RaftId,
    node: NodeId,
}

impl<R: AsyncRuntime> RaftNetworkFactory<TypeConfig<R>> for Network {
    type Network = Client;

    async fn new_client(&mut self, target: u64, node: &ReplicaNode) -> Client {
        Client { network: self.clone(), to: RaftId(target), node: node.id() }
    }
}

impl Client {
    fn call<R: AsyncRuntime>(
        &self,
        lane: Lane,
        request: Request<R>,
        deadline: Duration,
    ) -> BoxFuture<'static, Result<Response<R>, WireError>> {
        self.network.wire.call(self.node, Some(self.to), lane, request, deadline)
    }

    fn rpc_error<R: AsyncRuntime>(
        &self,
        kind: RPCTypes,
        error: &WireError,
    ) -> RPCError<TypeConfig<R>> {
        if matches!(error, WireError::Transport(TransportError::Timeout)) {
            return RPCError::Timeout(Timeout {
                action: kind,
                id: self.network.wire.raft.0,
                target: self.to.0,
                timeout: self.network.deadline,
            });
        }
        if error.backs_off() {
            RPCError::Unreachable(Unreachable::new(&AnyError::new(error)))
        } else {
            RPCError::Network(NetworkError::new(&AnyError::new(error)))
        }
    }

    /// What an answer of the wrong kind is.
    fn mismatch<R: AsyncRuntime>(&self, kind: RPCTypes) -> RPCError<TypeConfig<R>> {
        self.rpc_error(kind, &WireError::Codec("an answer of another kind".to_owned()))
    }

    /// The answer of one append. It was queued when the future was made.
    fn append<R: AsyncRuntime>(
        &self,
        rpc: AppendEntriesRequest<TypeConfig<R>>,
    ) -> impl Future<Output = Result<AppendEntriesResponse<TypeConfig<R>>, RPCError<TypeConfig<R>>>>
    + Send
    + use<R> {
        let answer = if self.network.speaks.get().is_none_or(|may_speak| may_speak()) {
            let request = Request::Append { group: self.network.group, rpc };
            self.call::<R>(Lane::Raft, request, self.network.deadline)
        } else {
            Box::pin(futures::future::ready(Err(WireError::Silent)))
        };
        let client = Self { network: self.network.clone(), to: self.to, node: self.node };
        async move {
            match answer.await {
                Ok(Response::Append(answer)) => Ok(answer),
                Ok(_) => Err(client.mismatch(RPCTypes::AppendEntries)),
                Err(error) => Err(client.rpc_error(RPCTypes::AppendEntries, &error)),
            }
        }
    }

    async fn vote_call<R: AsyncRuntime>(
        &self,
        request: Request<R>,
    ) -> Result<VoteResponse<TypeConfig<R>>, RPCError<TypeConfig<R>>> {
        match self.call(Lane::Raft, request, self.network.deadline).await {
            Ok(Response::Vote(answer)) => Ok(answer),
            Ok(_) => Err(self.mismatch(RPCTypes::Vote)),
            Err(error) => Err(self.rpc_error(RPCTypes::Vote, &error)),
        }
    }

    /// Sends a snapshot: the manifest, whichever chunks the other side lacks, and the order to
    /// install it. A transfer that broke off resumes, since the other side keeps verified chunks.
    async fn send_snapshot<R: AsyncRuntime>(
        &self,
        vote: Vote,
        files: &SnapshotFiles,
    ) -> Result<Vote, WireError> {
        let (group, id) = (self.network.group, files.manifest().id);
        let begin = Request::SnapshotBegin { group, vote, manifest: files.manifest().clone() };
        let long = self.network.deadline.max(Duration::from_secs(10));
        let begun = self.call::<R>(Lane::Bulk, begin, long).await?;
        let Response::SnapshotMissing(missing) = begun else {
            return Err(WireError::Codec("an answer of another kind".to_owned()));
        };
        let mut sending = futures::stream::iter(missing)
            .map(|number| self.send_chunk::<R>(files, number, long))
            .buffer_unordered(CHUNKS_IN_FLIGHT);
        while let Some(sent) = sending.next().await {
            sent?;
        }
        let finish = Request::SnapshotFinish { group, vote, id };
        // Loading a large state takes its time.
        match self.call::<R>(Lane::Bulk, finish, Duration::from_secs(120)).await? {
            Response::SnapshotInstalled(vote) => Ok(vote),
            _ => Err(WireError::Codec("an answer of another kind".to_owned())),
        }
    }

    async fn send_chunk<R: AsyncRuntime>(
        &self,
        files: &SnapshotFiles,
        number: u32,
        deadline: Duration,
    ) -> Result<(), WireError> {
        let (group, id) = (self.network.group, files.manifest().id);
        let bytes: Bytes =
            files.read_chunk(number).map_err(|error| WireError::Codec(error.to_string()))?.into();
        let mut attempt = 1;
        loop {
            let chunk = Request::SnapshotChunk { group, id, number, bytes: bytes.clone() };
            match self.call::<R>(Lane::Bulk, chunk, deadline).await {
                Ok(_) => {
                    self.network.metrics.snapshot_bytes_sent.inc_by(bytes.len() as u64);
                    return Ok(());
                }
                Err(WireError::Transport(_)) if attempt < CHUNK_ATTEMPTS => attempt += 1,
                Err(error) => return Err(error),
            }
        }
    }
}

impl<R: AsyncRuntime> RaftNetworkV2<TypeConfig<R>> for Client {
    type SnapshotData = SnapshotFiles;

    async fn append_entries(
        &mut self,
        rpc: AppendEntriesRequest<TypeConfig<R>>,
        _option: RPCOption,
    ) -> Result<AppendEntriesResponse<TypeConfig<R>>, RPCError<TypeConfig<R>>> {
        self.append::<R>(rpc).await
    }

    /// Pipelined: up to [`PIPELINE`] appends are on their way, and answers are yielded in the
    /// order of the requests. The transport keeps the order on the way out; were it to lose a
    /// frame, the next one would not fit the follower's log and is answered as a conflict.
    fn stream_append<'s, S>(
        &'s mut self,
        input: S,
        _option: RPCOption,
    ) -> BoxFuture<
        's,
        Result<
            BoxStream<'s, Result<StreamAppendResult<TypeConfig<R>>, RPCError<TypeConfig<R>>>>,
            RPCError<TypeConfig<R>>,
        >,
    >
    where
        S: Stream<Item = AppendEntriesRequest<TypeConfig<R>>> + OptionalSend + Unpin + 'static,
    {
        let client = Self { network: self.network.clone(), to: self.to, node: self.node };
        let answers = input
            .map(move |rpc| {
                let prev = rpc.prev_log_id;
                let last = rpc.entries.last().map_or(prev, |entry| Some(entry.log_id));
                let answer = client.append::<R>(rpc);
                async move { answer.await.map(|answer| into_stream_result(answer, prev, last)) }
            })
            .buffered(PIPELINE);
        // What follows a failure on the same stream is no longer asked for.
        let until_failure = answers.scan(false, |failed, item| {
            let item = (!*failed).then_some(item);
            *failed |= !matches!(item, Some(Ok(Ok(_))));
            futures::future::ready(item)
        });
        let boxed: BoxStream<'s, _> = Box::pin(until_failure);
        Box::pin(futures::future::ready(Ok(boxed)))
    }

    async fn vote(
        &mut self,
        rpc: VoteRequest<TypeConfig<R>>,
        _option: RPCOption,
    ) -> Result<VoteResponse<TypeConfig<R>>, RPCError<TypeConfig<R>>> {
        self.vote_call(Request::<R>::Vote { group: self.network.group, rpc }).await
    }

    async fn pre_vote(
        &mut self,
        rpc: VoteRequest<TypeConfig<R>>,
        _option: RPCOption,
    ) -> Result<VoteResponse<TypeConfig<R>>, RPCError<TypeConfig<R>>> {
        self.vote_call(Request::<R>::PreVote { group: self.network.group, rpc }).await
    }

    async fn full_snapshot(
        &mut self,
        vote: Vote,
        snapshot: Snapshot,
        cancel: impl Future<Output = ReplicationClosed> + OptionalSend + 'static,
        _option: RPCOption,
    ) -> Result<SnapshotResponse<TypeConfig<R>>, StreamingError<TypeConfig<R>>> {
        let sending = pin!(self.send_snapshot::<R>(vote, &snapshot.snapshot));
        let cancel = pin!(cancel);
        match R::select2(cancel, sending).await {
            Select2::First(closed) => Err(StreamingError::Closed(closed)),
            Select2::Second(Ok(vote)) => Ok(SnapshotResponse::new(vote)),
            Select2::Second(Err(error)) => {
                tracing::warn!(group = %self.network.group, node = %self.node, %error,
                    "a snapshot was not sent");
                Err(self.rpc_error::<R>(RPCTypes::InstallSnapshot, &error).into())
            }
        }
    }

    async fn transfer_leader(
        &mut self,
        rpc: TransferLeaderRequest<TypeConfig<R>>,
        _option: RPCOption,
    ) -> Result<TransferLeaderResponse<TypeConfig<R>>, RPCError<TypeConfig<R>>> {
        let request = Request::<R>::Transfer { group: self.network.group, rpc };
        match self.call(Lane::Raft, request, self.network.deadline).await {
            Ok(Response::Transfer(answer)) => Ok(answer),
            Ok(_) => Err(self.mismatch(RPCTypes::TransferLeader)),
            Err(error) => Err(self.rpc_error(RPCTypes::TransferLeader, &error)),
        }
    }

    fn backoff(&self) -> Option<Backoff> {
        // Short at first, so that a replica which is just being created ("not yet") gets its
        // first entries soon; bounded, so that a dead peer costs little.
        let steps = [20, 50, 100, 200, 400].into_iter().chain(std::iter::repeat(800));
        Some(Backoff::new(steps.map(Duration::from_millis)))
    }
}

/// openraft's own conversion unwraps the previous log id of a conflict; a follower that answers
/// so to an append without one is answered as if it had lost everything.
fn into_stream_result<R: AsyncRuntime>(
    answer: AppendEntriesResponse<TypeConfig<R>>,
    prev: Option<crate::types::LogId>,
    last: Option<crate::types::LogId>,
) -> StreamAppendResult<TypeConfig<R>> {
    use openraft::raft::StreamAppendError;
    match answer {
        AppendEntriesResponse::Success => Ok(last),
        AppendEntriesResponse::PartialSuccess(matching) => Ok(matching),
        AppendEntriesResponse::Conflict => {
            Err(StreamAppendError::Conflict(prev.unwrap_or_else(|| crate::types::log_id(0, 0))))
        }
        AppendEntriesResponse::HigherVote(vote) => Err(StreamAppendError::HigherVote(vote)),
    }
}
