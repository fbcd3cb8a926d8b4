//! What the router needs from the outside, as traits: implemented over consensus, QUIC and HTTP by
//! the node, wrapped with faults by chaos, faked in tests.

use std::{fmt, net::IpAddr, sync::Arc, time::Duration};

use bytes::Bytes;
use futures::{future::BoxFuture, stream::BoxStream};
use hexpop_edge_config::{NodeId, PopId, ShardId, Territory};
use hexpop_shard::{Sealed, ShardMap, WrappedKey, hash_point};
use http_body_util::combinators::UnsyncBoxBody;

use crate::{
    coding::Coding,
    wire::{ShardAnswer, ShardError, ShardRequest},
};

/// Why a body broke off.
pub type BodyError = Box<dyn std::error::Error + Send + Sync>;

/// A body of a request or response, possibly still arriving.
pub type Body = UnsyncBoxBody<Bytes, BodyError>;

/// What this node's replica of a shard is right now.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LocalReplica {
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

    /// A read of a shard came in at this node that any replica may answer. Called for each: it is to be cheap.
    fn note_read(&self, shard: ShardId);

    /// Whether a node that shares a group with this one, or was asked lately, is still heard; true of any
    /// other. It tells of a dead node within a few heartbeats, long before membership suspects it.
    fn hears(&self, node: NodeId) -> bool;

    /// For each request to a node: resolves once it is heard no more, if it is heard now. Whoever waits
    /// for its answer need not wait any longer. Never for one that is not heard to begin with.
    fn lost(&self, node: NodeId) -> BoxFuture<'static, ()>;
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
    /// It did not get there: as much is under way as may be, here or there. Nothing is wrong with the node.
    #[error("as many requests are under way to node {node} as may be")]
    Full {
        /// The node.
        node: NodeId,
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
        matches!(self, Self::NotSent { .. } | Self::Full { .. })
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

/// The frames of another node's answer, as they arrive. One that is not read makes its sender wait, and
/// one that is dropped ends the exchange. Ends with the answer, or after an error.
pub type PeerFrames = BoxStream<'static, Result<Bytes, PeerError>>;

/// Other nodes, as keepers of objects of the HTTP cache.
pub trait CachePeers: Send + Sync + 'static {
    /// Sends one frame, for [`Router::serve_cache`](crate::Router::serve_cache) over there. The first frame
    /// of the answer, or an error, comes within `within` (plus a moment).
    fn ask(&self, to: NodeId, frame: Bytes, within: Duration) -> PeerFrames;

    /// As [`ask`](Self::ask), for a frame that is answered with one frame at once. Answers that take long, in
    /// whatever number, are not in its way.
    fn tell(&self, to: NodeId, frame: Bytes, within: Duration) -> PeerFrames;
}

/// Nobody keeps anything for this node.
#[derive(Debug, Clone, Copy, Default)]
pub struct NoCachePeers;

impl CachePeers for NoCachePeers {
    fn ask(&self, to: NodeId, _frame: Bytes, _within: Duration) -> PeerFrames {
        let detail = "it keeps nothing for other nodes".to_owned();
        let error = PeerError::NotSent { node: to, detail };
        Box::pin(futures::stream::once(std::future::ready(Err(error))))
    }

    fn tell(&self, to: NodeId, frame: Bytes, within: Duration) -> PeerFrames {
        self.ask(to, frame, within)
    }
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
    /// Whether it says that it serves: it neither starts nor leaves.
    pub serves: bool,
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
    /// passed on, and to be filled in with the origin's own authority where it is not. Interim responses go
    /// to the [`InterimSink`](crate::InterimSink) among its extensions, before the head is answered.
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

/// Why a value could not be sealed or opened. The sentences are for clients.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SealError {
    /// This node does not hold the key that is needed; another node may.
    #[error("{0}")]
    NoKey(String),
    /// The value or its key is not what was stored for this session, user and shard.
    #[error("the stored value was altered, or is another session's")]
    Altered,
}

/// Which value is sealed: all of it is bound to the value but the shard and the territory.
#[derive(Debug, Clone, Copy)]
pub struct SealAt<'a> {
    /// The shard that keeps it, as far as known: keys are a shard's.
    pub shard: ShardId,
    /// Its territory, which says whose key wraps; `None` = none in particular.
    pub territory: Option<&'a Territory>,
    /// The session's id.
    pub name: &'a str,
    /// The user; empty for what is no user's, whose key is used once.
    pub user: &'a str,
}

/// A sealed value.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SealedValue {
    /// The value.
    pub sealed: Sealed,
    /// Its key, unless the shard is believed to have it.
    pub key: Option<WrappedKey>,
}

/// Makes session values opaque before they enter a log, and readable again.
pub trait Sealer: Send + Sync + 'static {
    /// Seals a value for storage: under a key that the shard is known to have for the user, else
    /// under a new one.
    ///
    /// # Errors
    /// [`SealError::NoKey`]; nothing may be stored then.
    fn seal(&self, at: &SealAt<'_>, clear: &[u8]) -> Result<SealedValue, SealError>;

    /// Opens what [`seal`](Self::seal) made.
    ///
    /// # Errors
    /// [`SealError`].
    fn open(
        &self,
        at: &SealAt<'_>,
        sealed: &Sealed,
        key: &WrappedKey,
    ) -> Result<Vec<u8>, SealError>;

    /// The shard has taken a key of the user: it need not come along again.
    fn taken(&self, at: &SealAt<'_>, key: &WrappedKey);

    /// The shard does not have a key that it was believed to have.
    fn forget(&self, at: &SealAt<'_>, key_id: u64);
}

/// The value as it is, with a key that locks nothing: for tests and simulations, which look at what
/// is stored. No node uses it.
#[derive(Debug, Clone, Copy, Default)]
pub struct Clear;

impl Sealer for Clear {
    fn seal(&self, at: &SealAt<'_>, clear: &[u8]) -> Result<SealedValue, SealError> {
        let id = hash_point(format!("{} {}", at.name, at.user).as_bytes());
        let key = WrappedKey { id, by: "clear".to_owned(), bytes: Vec::new() };
        Ok(SealedValue { sealed: Sealed { key_id: id, bytes: clear.to_vec() }, key: Some(key) })
    }

    fn open(
        &self,
        _at: &SealAt<'_>,
        sealed: &Sealed,
        key: &WrappedKey,
    ) -> Result<Vec<u8>, SealError> {
        if key.id == sealed.key_id { Ok(sealed.bytes.clone()) } else { Err(SealError::Altered) }
    }

    fn taken(&self, _at: &SealAt<'_>, _key: &WrappedKey) {}

    fn forget(&self, _at: &SealAt<'_>, _key_id: u64) {}
}

/// Compresses bodies, away from the threads that answer requests.
pub trait Compress: Send + Sync + 'static {
    /// A body in a coding; `None` when there is too much to do, or it failed: the body goes as it is then.
    fn compress(&self, coding: Coding, body: Bytes) -> BoxFuture<'static, Option<Bytes>>;
}

/// Compresses nothing.
#[derive(Debug, Clone, Copy, Default)]
pub struct NoCompression;

impl Compress for NoCompression {
    fn compress(&self, _coding: Coding, _body: Bytes) -> BoxFuture<'static, Option<Bytes>> {
        Box::pin(std::future::ready(None))
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
    /// Other nodes, as keepers of objects of the HTTP cache.
    pub cache_peers: Arc<dyn CachePeers>,
    /// The members of the mesh.
    pub peers: Arc<dyn Peers>,
    /// The platform behind.
    pub origin: Arc<dyn Origin>,
    /// The wall clock.
    pub clock: Arc<dyn Clock>,
    /// Seals session values.
    pub sealer: Arc<dyn Sealer>,
    /// Compresses bodies.
    pub compress: Arc<dyn Compress>,
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
