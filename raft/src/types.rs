//! The types openraft is run with, generic over the asynchronous runtime: `TokioRuntime` in
//! production, a simulated one in simulation.
//!
//! Commands and replies are opaque bytes here: they are encoded once, by whoever proposes, and
//! neither replication nor the write-ahead log encodes them again.

use std::{cmp::Ordering, fmt, marker::PhantomData};

use bytes::Bytes;
use hexpop_edge_config::{NodeId, RaftId};
use openraft::{
    AsyncRuntime, EntryPayload, OptionalSend, RaftTypeConfig,
    impls::{BoxedErrorSource, InlineBatch, OneshotResponder, leader_id_std},
    vote::RaftLeaderId,
};
use serde::{Deserialize, Serialize};

/// openraft's type configuration over the runtime `R`.
pub struct TypeConfig<R>(PhantomData<fn() -> R>);

impl<R: AsyncRuntime> RaftTypeConfig for TypeConfig<R> {
    type D = Proposal;
    type R = ReplyBytes;
    type NodeId = u64;
    type Node = ReplicaNode;
    type Term = u64;
    type LeaderId = LeaderId;
    type Vote = Vote;
    type Payload = Payload;
    type Entry = Entry;
    type AsyncRuntime = R;
    type Responder<T>
        = OneshotResponder<Self, T>
    where
        T: OptionalSend + 'static;
    type Batch<T>
        = InlineBatch<T>
    where
        T: OptionalSend + 'static;
    type ErrorSource = BoxedErrorSource;
}

/// Textbook Raft: at most one leader per term.
pub type LeaderId = leader_id_std::LeaderId<u64, u64>;
/// What a log id keeps of the leader: the term.
pub type CommittedLeaderId = <LeaderId as RaftLeaderId>::Committed;
/// Term and index of an entry.
pub type LogId = openraft::LogId<CommittedLeaderId>;
/// A vote: term, whom for, and whether a quorum granted it.
pub type Vote = openraft::Vote<LeaderId>;
/// The voters and learners of a group.
pub type Membership = openraft::Membership<u64, ReplicaNode>;
/// A membership and the log id it was proposed at.
pub type StoredMembership = openraft::StoredMembership<CommittedLeaderId, u64, ReplicaNode>;
/// What an entry carries.
pub type Payload = EntryPayload<Proposal, u64, ReplicaNode>;
/// A log entry.
pub type Entry = openraft::Entry<CommittedLeaderId, Payload>;

/// The log id of `term` and `index`.
#[must_use]
pub fn log_id(term: u64, index: u64) -> LogId {
    LogId { leader_id: CommittedLeaderId::new(term), index }
}

/// The number openraft knows a data directory by.
#[must_use]
pub const fn raft_node_id(id: RaftId) -> u64 {
    id.0
}

/// A command, already encoded.
#[derive(Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Proposal(pub Bytes);

impl fmt::Display for Proposal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} bytes", self.0.len())
    }
}

impl fmt::Debug for Proposal {
    /// Bounded: openraft logs entries with it, and sessions must not reach a log line.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Proposal({} bytes)", self.0.len())
    }
}

impl From<Vec<u8>> for Proposal {
    fn from(bytes: Vec<u8>) -> Self {
        Self(bytes.into())
    }
}

/// What applying a command answered, already encoded.
#[derive(Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(transparent)]
pub struct ReplyBytes(pub Bytes);

impl fmt::Display for ReplyBytes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} bytes", self.0.len())
    }
}

impl fmt::Debug for ReplyBytes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "ReplyBytes({} bytes)", self.0.len())
    }
}

impl From<Vec<u8>> for ReplyBytes {
    fn from(bytes: Vec<u8>) -> Self {
        Self(bytes.into())
    }
}

/// What a membership says about a replica besides its Raft id: the node that holds it, as a plain
/// number (a [`NodeId`]). Addresses come from gossip.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Serialize, Deserialize,
)]
pub struct ReplicaNode {
    /// The node's number.
    pub node: u32,
}

impl ReplicaNode {
    /// The node that holds the replica.
    #[must_use]
    pub const fn id(self) -> NodeId {
        NodeId(self.node)
    }
}

impl From<NodeId> for ReplicaNode {
    fn from(id: NodeId) -> Self {
        Self { node: id.0 }
    }
}

impl fmt::Display for ReplicaNode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "node {}", self.node)
    }
}

// By hand, since the derives would ask the same of `R`, and no runtime has these.

impl<R> fmt::Debug for TypeConfig<R> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("TypeConfig")
    }
}

impl<R> Clone for TypeConfig<R> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<R> Copy for TypeConfig<R> {}

impl<R> Default for TypeConfig<R> {
    fn default() -> Self {
        Self(PhantomData)
    }
}

impl<R> PartialEq for TypeConfig<R> {
    fn eq(&self, _other: &Self) -> bool {
        true
    }
}

impl<R> Eq for TypeConfig<R> {}

impl<R> PartialOrd for TypeConfig<R> {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl<R> Ord for TypeConfig<R> {
    fn cmp(&self, _other: &Self) -> Ordering {
        Ordering::Equal
    }
}
