//! What this crate needs from outside: a way to other nodes, who is a member, and what time it is.

use std::{fmt, sync::Arc, time::Duration};

use bytes::Bytes;
use futures::future::BoxFuture;
use hexpop_edge_config::NodeId;
use hexpop_shard::Member;

/// Which of a pair's connections a frame takes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Lane {
    /// Votes, appends and read indexes: small, and in order.
    Raft,
    /// Snapshots and maps: whatever may take long, so that no heartbeat waits behind it.
    Bulk,
}

/// Why a call to another node had no answer. Whether the frame arrived is unknown in every case.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum TransportError {
    /// There is no connection, or it broke.
    #[error("unreachable: {0}")]
    Unreachable(String),
    /// The deadline passed.
    #[error("no answer in time")]
    Timeout,
    /// The queue to that node is full.
    #[error("too many calls are under way")]
    Overloaded,
    /// The other side refused to handle the frame.
    #[error("refused: {0}")]
    Refused(String),
}

/// Carries frames to other nodes and brings back their answers.
///
/// Frames to one node on [`Lane::Raft`] are queued before [`call`](Self::call) returns, and reach
/// the other side's [`Host::handle`](crate::Host::handle) in the order of the calls, or not at all.
/// Answers may come in any order.
pub trait PeerTransport: fmt::Debug + Send + Sync + 'static {
    /// Sends `frame` to `to` and resolves with the answer, at the latest after `deadline`.
    fn call(
        &self,
        to: NodeId,
        lane: Lane,
        frame: Bytes,
        deadline: Duration,
    ) -> BoxFuture<'static, Result<Bytes, TransportError>>;
}

/// Who is in the mesh, as gossip has it.
pub trait Membership: fmt::Debug + Send + Sync + 'static {
    /// All known members, the own node among them, in the order of their node ids.
    fn members(&self) -> Arc<[Member]>;
}

/// The wall clock, which stamps commands; timers use the runtime's own clock.
pub trait WallClock: fmt::Debug + Send + Sync + 'static {
    /// Milliseconds since the Unix epoch.
    fn wall_ms(&self) -> u64;
}
