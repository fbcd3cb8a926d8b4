//! What the router needs from the outside, as traits: implemented over consensus, QUIC and HTTP by
//! the node, wrapped with faults by chaos, faked in tests.

use std::{fmt, net::IpAddr, sync::Arc, time::Duration};

use bytes::Bytes;
use futures::future::BoxFuture;
use hexpop_edge_config::{Epoch, NodeId, PopId, ShardId};
use hexpop_shard::{Sealed, ShardMap};
use http_body_util::combinators::UnsyncBoxBody;

use crate::wire::{ShardAnswer, ShardError, ShardRequest};

/// Why a body broke off.
pub type BodyError = Box<dyn std::error::Error + Send + Sync>;

/// A body of a request or response, possibly still arriving.
pub type Body = UnsyncBoxBody<Bytes, BodyError>;

/// What this node's replica of a shard is right now.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LocalReplica {
    /// Its epoch, by its own log.
    pub epoch: Epoch,
    /// Whom it believes to lead.
    pub leader: Option<NodeId>,
    /// Whether that is itself.
    pub is_leader: bool,
    /// Whether it has a state to answer from (false while it still waits for its first snapshot).
    pub ready: bool,
}

/// The replicas on this node.
pub trait LocalShard: Send + Sync + 'static {
    /// Executes a request on the local replica; also what the node does with one that came over
    /// the mesh.
    fn execute(&self, request: ShardRequest)
    -> BoxFuture<'static, Result<ShardAnswer, ShardError>>;

    /// The local replica of a shard, if there is one.
    fn replica(&self, shard: ShardId) -> Option<LocalReplica>;

    /// The newest shard map that this node knows.
    fn map(&self) -> Arc<ShardMap>;
}

/// Why a request to another node has no answer.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum PeerError {
    /// It certainly did not get there: no connection, refused before it was read, or too large.
    #[error("node {node} was not reached: {detail}")]
    NotSent {
        /// The node.
        node: NodeId,
        /// Why.
        detail: String,
    },
    /// It may have been executed.
    #[error("the connection to node {node} broke before it answered: {detail}")]
    Broken {
        /// The node.
        node: NodeId,
        /// Why.
        detail: String,
    },
    /// No answer within the deadline; it may have been executed.
    #[error("node {node} did not answer in time")]
    TimedOut {
        /// The node.
        node: NodeId,
    },
}

impl PeerError {
    /// Whether it is certain that the other node did not execute the request.
    #[must_use]
    pub const fn is_not_executed(&self) -> bool {
        matches!(self, Self::NotSent { .. })
    }
}

/// Other nodes of the mesh.
pub trait PeerClient: Send + Sync + 'static {
    /// Sends a request, which arrives once at most: a refusal is all that comes of it then. Ends within
    /// the request's deadline (plus a moment).
    fn call(
        &self,
        to: NodeId,
        request: ShardRequest,
    ) -> BoxFuture<'static, Result<Result<ShardAnswer, ShardError>, PeerError>>;

    /// The smoothed round-trip time, if the two have talked.
    fn rtt(&self, node: NodeId) -> Option<Duration>;
}

/// A node, as membership sees it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Peer {
    /// The node.
    pub node: NodeId,
    /// Its PoP.
    pub pop: PopId,
    /// Whether membership believes it to be up. A hint: suspicion takes seconds.
    pub alive: bool,
}

/// The members of the mesh.
pub trait Peers: Send + Sync + 'static {
    /// All known members, this node included.
    fn members(&self) -> Arc<[Peer]>;
}

/// Why the origin has not answered.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum OriginError {
    /// The request certainly was not sent.
    #[error("the origin was not reached: {0}")]
    NotSent(String),
    /// The connection broke after the request, or a part of it, was sent.
    #[error("the connection to the origin broke: {0}")]
    Broken(String),
    /// No response head within the deadline.
    #[error("the origin did not answer in time")]
    TimedOut,
}

/// The platform behind the mesh.
pub trait Origin: Send + Sync + 'static {
    /// Sends a request whose URI is a path with query; the deadline is for the head of the
    /// response. Redirects are answers, not followed. `Host` is set where a client's request is
    /// passed on, and to be filled in with the origin's own authority where it is not.
    fn fetch(
        &self,
        request: http::Request<Body>,
        deadline: Duration,
    ) -> BoxFuture<'static, Result<http::Response<Body>, OriginError>>;
}

/// The wall clock: for what clients and logs see, never for waiting.
pub trait Clock: Send + Sync + 'static {
    /// Milliseconds since the Unix epoch.
    fn wall_ms(&self) -> u64;
}

/// A session value could not be sealed or opened.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("a session value could not be {action}: {detail}")]
pub struct SealError {
    /// `sealed` or `opened`.
    pub action: &'static str,
    /// Why.
    pub detail: String,
}

/// Makes session values opaque before they enter a log, and readable again.
pub trait Sealer: Send + Sync + 'static {
    /// Seals a value for storage under a session's id.
    ///
    /// # Errors
    /// [`SealError`]; nothing may be stored then.
    fn seal(&self, session: &str, clear: &[u8]) -> Result<Sealed, SealError>;

    /// Opens what [`seal`](Self::seal) made.
    ///
    /// # Errors
    /// [`SealError`] when the key is unknown or the value was altered.
    fn open(&self, session: &str, sealed: &Sealed) -> Result<Vec<u8>, SealError>;
}

/// Key id 0: the value as it is.
#[derive(Debug, Clone, Copy, Default)]
pub struct Clear;

impl Sealer for Clear {
    fn seal(&self, _session: &str, clear: &[u8]) -> Result<Sealed, SealError> {
        Ok(Sealed { key_id: 0, bytes: clear.to_vec() })
    }

    fn open(&self, _session: &str, sealed: &Sealed) -> Result<Vec<u8>, SealError> {
        match sealed.key_id {
            0 => Ok(sealed.bytes.clone()),
            other => Err(SealError { action: "opened", detail: format!("key {other} is unknown") }),
        }
    }
}

/// HMAC-SHA-256 under the cluster's secret: `None` until the node has learned the secret.
pub type Mac = Arc<dyn Fn(&[u8]) -> Option<[u8; 32]> + Send + Sync>;

/// All ports.
#[derive(Clone)]
pub struct Ports {
    /// This node's replicas.
    pub local: Arc<dyn LocalShard>,
    /// Other nodes.
    pub peer: Arc<dyn PeerClient>,
    /// The members of the mesh.
    pub peers: Arc<dyn Peers>,
    /// The platform behind.
    pub origin: Arc<dyn Origin>,
    /// The wall clock.
    pub clock: Arc<dyn Clock>,
    /// Seals session values.
    pub sealer: Arc<dyn Sealer>,
    /// Derives session ids of idempotency keys.
    pub mac: Mac,
}

impl fmt::Debug for Ports {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Ports").finish_non_exhaustive()
    }
}

/// Who sent a request, as the connection says (and no header).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Client {
    /// The address of the other end.
    pub address: IpAddr,
    /// `http` or `https`.
    pub scheme: &'static str,
    /// The authority that the request was for, in lower case.
    pub authority: String,
}
