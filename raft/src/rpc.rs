//! The frames that nodes exchange about groups.
//!
//! A frame is a record of the codec (so it begins with the format's version byte): the cluster,
//! the data directories of sender and addressee, and one request. The addressee's Raft id guards
//! against a node that came back with another directory: it must not answer for the old one. A
//! frame for another cluster or directory is refused, never handled.

use std::time::Duration;

use bytes::Bytes;
use hexpop_edge_config::{ClusterId, GroupId, NodeId, RaftId, ShardId, codec};
use hexpop_shard::{
    ClusterSecret, DocRef, Errand, MetaOp, MetaOutcome, PurgeId, PurgeOp, PurgeOutcome, PurgeTail,
    RightSight, ShardLoad, ShardMap,
};
use openraft::{
    AsyncRuntime,
    raft::{
        AppendEntriesRequest, AppendEntriesResponse, TransferLeaderRequest, TransferLeaderResponse,
        VoteRequest, VoteResponse,
    },
};
use serde::{Deserialize, Serialize};

use crate::{
    host::Seats,
    snapshot::{Manifest, SnapshotId},
    staging::Staged,
    types::{LogId, TypeConfig, Vote},
};

/// What goes to another node.
#[derive(Serialize, Deserialize)]
#[serde(bound = "")]
pub(crate) struct Frame<R: AsyncRuntime> {
    /// The sender's cluster.
    pub(crate) cluster: ClusterId,
    /// The sender's data directory.
    pub(crate) from: RaftId,
    /// The data directory it is for; `None` = whichever the node has.
    pub(crate) to: Option<RaftId>,
    /// What is asked.
    pub(crate) request: Request<R>,
}

/// What is asked of another node.
///
/// Final on the wire: it only grows at its end.
#[derive(Serialize, Deserialize)]
#[serde(bound = "")]
pub(crate) enum Request<R: AsyncRuntime> {
    /// Raft: append entries, or a heartbeat.
    Append { group: GroupId, rpc: AppendEntriesRequest<TypeConfig<R>> },
    /// Raft: a vote.
    Vote { group: GroupId, rpc: VoteRequest<TypeConfig<R>> },
    /// Raft: would you vote?
    PreVote { group: GroupId, rpc: VoteRequest<TypeConfig<R>> },
    /// Raft: take over the leadership.
    Transfer { group: GroupId, rpc: TransferLeaderRequest<TypeConfig<R>> },
    /// To a leader: a log position that a read must have applied to be linearizable.
    ReadIndex { group: GroupId, wait_ms: u64 },
    /// To a leader of several groups: what is committed, and when a quorum last confirmed that.
    Closed { groups: Vec<GroupId> },
    /// From a leader: which chunks of this snapshot are missing?
    SnapshotBegin { group: GroupId, vote: Vote, manifest: Manifest },
    /// From a leader: one chunk.
    SnapshotChunk { group: GroupId, id: SnapshotId, number: u32, bytes: Bytes },
    /// From a leader: verify and install.
    SnapshotFinish { group: GroupId, vote: Vote, id: SnapshotId },
    /// Who are you, and have you a meta group?
    Hello,
    /// The shard map, if newer than the version known.
    PullMap { known: u64 },
    /// To a replica of the meta group: propose this if you lead it.
    ProposeMeta { op: MetaOp },
    /// To a replica: documents that another one lost.
    FetchDocuments { group: GroupId, wanted: Vec<DocRef> },
    /// The sender lives; do you? Sent by nodes that cannot park.
    Beat,
    /// To a leader: the disk of this replica, the sender's own, is rid of what was erased up to an entry.
    Compacted { group: GroupId, raft: RaftId, upto: u64 },
    /// The sender lives, in its life `start`; the digest is of what is parked under it at the
    /// addressee. Do you live, and agree?
    PairBeat { start: u64, digest: u64 },
    /// From a leader: promise to vote for nobody in these groups while you hear me. `all`: what was
    /// promised before and is not among them need not be kept.
    Park { start: u64, all: bool, groups: Vec<ParkOffer> },
    /// To a leader: is the sender's data directory a replica of this group?
    Standing { group: GroupId },
    /// To a data directory that left this group: may anything of it be there still?
    Holds { group: GroupId },
    /// To the leader of a group: do this for an operation.
    Errand { group: GroupId, errand: Errand },
    /// To a replica of the purge group: propose this if you lead it.
    ProposePurge { op: PurgeOp },
    /// To a replica of the purge group: what is behind this position? As of a time after the question
    /// came.
    PullPurges { position: Option<PurgeId>, wait_ms: u64 },
    /// What do the shards hold that you lead?
    Loads,
    /// To a voter of several shards: how many reads a second of them came in at the sender lately.
    ReadThere { reads: Vec<(ShardId, u64)> },
    /// From the leader of a shard that is to absorb another one: is that staged there? If not, it is to be,
    /// and is waited for.
    Stage { staged: Staged, wait_ms: u64 },
    /// Is a snapshot of this group there that holds the entry of `index`?
    KeptSnapshot { group: GroupId, index: u64 },
    /// One chunk of a snapshot that is there.
    KeptChunk { group: GroupId, id: SnapshotId, number: u32 },
}

impl<R: AsyncRuntime> Request<R> {
    /// Whether it is part of the consensus of a group, and so for one data directory only.
    pub(crate) const fn is_raft(&self) -> bool {
        matches!(
            self,
            Self::Append { .. }
                | Self::Vote { .. }
                | Self::PreVote { .. }
                | Self::Transfer { .. }
                | Self::SnapshotBegin { .. }
                | Self::SnapshotChunk { .. }
                | Self::SnapshotFinish { .. }
        )
    }
}

/// The answer to a request.
///
/// Final on the wire: it only grows at its end.
#[derive(Serialize, Deserialize)]
#[serde(bound = "")]
pub(crate) enum Response<R: AsyncRuntime> {
    /// Not handled.
    Refused(Refused),
    /// To `Append`.
    Append(AppendEntriesResponse<TypeConfig<R>>),
    /// To `Vote` and `PreVote`.
    Vote(VoteResponse<TypeConfig<R>>),
    /// To `Transfer`.
    Transfer(TransferLeaderResponse<TypeConfig<R>>),
    /// To `ReadIndex`.
    ReadIndex(LogId),
    /// To `Closed`: one for each group that is led here with the confirmation of a quorum.
    Closed(Vec<ClosedPosition>),
    /// To `SnapshotBegin`: the numbers of the missing chunks; and to `SnapshotChunk`, empty.
    SnapshotMissing(Vec<u32>),
    /// To `SnapshotFinish`: installed, or refused because of this newer vote.
    SnapshotInstalled(Vote),
    /// To `Hello`.
    Hello(Hello),
    /// To `PullMap`.
    Map(PulledMap),
    /// To `ProposeMeta`.
    Meta(MetaOutcome),
    /// To `FetchDocuments`, in its order; it may end early.
    Documents(Vec<Option<Bytes>>),
    /// To `Beat`.
    Beat,
    /// To `Compacted`: whether the shard knows now.
    Compacted { noted: bool },
    /// To `PairBeat`: in which life, whether the digest is right, the digest of what is parked under
    /// the answering node at the one that asked, and how long ago nobody else led any of that.
    PairBeat { start: u64, agrees: bool, digest: u64, closed_age_ms: Option<u64> },
    /// To `Park`: the groups that nothing is promised about.
    Park { refused: Vec<GroupId> },
    /// To `Standing`.
    Standing(Standing),
    /// To `Holds`.
    Holds(bool),
    /// To `Errand`.
    Errand(ErrandAnswer),
    /// To `ProposePurge`.
    Purge(PurgeOutcome),
    /// To `PullPurges`.
    Purges(PurgeTail),
    /// To `Loads`.
    Loads(Vec<(ShardId, ShardLoad)>),
    /// To `ReadThere`.
    Noted,
    /// To `Stage`.
    Staged(bool),
    /// To `KeptSnapshot`.
    KeptSnapshot(Option<Manifest>),
    /// To `KeptChunk`.
    KeptChunk(Bytes),
}

/// How far an errand is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum ErrandAnswer {
    /// It is done.
    Done,
    /// It goes on, or waits for something: to be asked again.
    Waiting(String),
    /// It can never be done; nothing changed.
    Never(String),
    /// What is seen of the right shard of a merge.
    Right(RightSight),
}

/// A group to be parked, as its leader has it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct ParkOffer {
    /// The group.
    pub(crate) group: GroupId,
    /// The leader's term.
    pub(crate) term: u64,
    /// The last entry of its log.
    pub(crate) index: u64,
}

/// Why a request was not handled. Nothing changed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, thiserror::Error)]
pub(crate) enum Refused {
    /// The frame does not decode here.
    #[error("the frame is not understood: {0}")]
    Unintelligible(String),
    /// The frame is of another cluster.
    #[error("cluster {here} refuses a frame of another one")]
    WrongCluster {
        /// The cluster here.
        here: ClusterId,
    },
    /// The frame is for another data directory of this node.
    #[error("the frame is for another data directory; here is {here}")]
    WrongReplica {
        /// The data directory here.
        here: RaftId,
    },
    /// The group is not created here yet: ask again.
    #[error("the group is not created here yet")]
    NotYet,
    /// The replica of the group has halted.
    #[error("the replica has halted")]
    Halted,
    /// The replica started a moment ago and may have promised a leader not to vote.
    #[error("no votes so shortly after the start")]
    Grace,
    /// Too much is waiting.
    #[error("too much is waiting")]
    Busy,
    /// The replica does not lead the group.
    #[error("the replica does not lead the group")]
    NotLeader {
        /// Who does, if known.
        leader: Option<NodeId>,
    },
    /// It could not be done.
    #[error("{0}")]
    Failed(String),
    /// The replica promised to vote for nobody while it hears the group's leader.
    #[error("the group is parked under a leader that is heard")]
    Parked,
}

/// What a leader had committed, at a time when a quorum still followed it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct ClosedPosition {
    /// The group.
    pub(crate) group: GroupId,
    /// Everything acknowledged before that time is at or below this.
    pub(crate) committed: LogId,
    /// How long before the answer that time was.
    pub(crate) age_ms: u64,
}

/// What a data directory is to a group, by its leader, which a quorum confirmed meanwhile.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Standing {
    /// Whether it is a replica, voter or learner.
    pub(crate) is_member: bool,
    /// How often the members have changed: [`Epoch::conf`](hexpop_edge_config::Epoch).
    pub(crate) conf: u64,
}

/// Who a node is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Hello {
    /// Its data directory.
    pub(crate) raft: RaftId,
    /// The bootstrap list it was configured with.
    pub(crate) bootstrap: Vec<NodeId>,
    /// Whether it has, or has heard of, an initialised meta group.
    pub(crate) meta: bool,
    /// The version of its shard map; 0 = none.
    pub(crate) map_version: u64,
    /// The groups it leads.
    pub(crate) leads: Vec<GroupId>,
}

/// A shard map on its way.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct PulledMap {
    /// The map, if it is newer than what was known.
    pub(crate) map: Option<ShardMap>,
    /// The cluster's secret, once there is one.
    pub(crate) secret: Option<ClusterSecret>,
    /// The replicas of the meta group and of that of purges, as far as known.
    pub(crate) seats: Vec<Seats>,
}

impl<R: AsyncRuntime> Frame<R> {
    /// Encodes the frame.
    pub(crate) fn encode(&self) -> Result<Bytes, codec::CodecError> {
        Ok(codec::encode(self)?.into())
    }

    /// Decodes a frame.
    pub(crate) fn decode(bytes: &[u8]) -> Result<Self, codec::CodecError> {
        codec::decode(bytes)
    }
}

impl<R: AsyncRuntime> Response<R> {
    /// Encodes the answer; one that cannot be encoded becomes a refusal that can.
    pub(crate) fn encode(&self) -> Bytes {
        codec::encode(self)
            .or_else(|error| codec::encode(&Self::Refused(Refused::Failed(error.to_string()))))
            .unwrap_or_default()
            .into()
    }

    /// Decodes an answer.
    pub(crate) fn decode(bytes: &[u8]) -> Result<Self, codec::CodecError> {
        codec::decode(bytes)
    }
}

/// A duration in whole milliseconds, rounded up so that an age is never understated.
pub(crate) fn millis_up(duration: Duration) -> u64 {
    u64::try_from(duration.as_nanos().div_ceil(1_000_000)).unwrap_or(u64::MAX)
}
