//! What the mesh of a node is opened with.

use std::{net::SocketAddr, path::PathBuf, time::Duration};

use hexpop_edge_config::{ClusterName, NodeId, RaftId, config};
use tokio::runtime::Handle;

use super::Class;

/// What the mesh of a node is opened with.
#[derive(Debug, Clone)]
pub struct MeshOptions {
    /// The UDP address to listen on; port 0 lets the system choose.
    pub listen: SocketAddr,
    /// This node; its certificate must be of it.
    pub node: NodeId,
    /// The data directory of this node, told to peers when a connection begins.
    pub raft: RaftId,
    /// The cluster: the trust domain of its certificates.
    pub cluster: ClusterName,
    /// The certificate of the cluster's authority (PEM).
    pub ca: PathBuf,
    /// The certificate of this node (PEM).
    pub cert: PathBuf,
    /// The private key of this node (PEM).
    pub key: PathBuf,
    /// How long an attempt to connect may take, handshake and greeting together. Default 3 s.
    pub connect_timeout: Duration,
    /// How long a request may take at most, whatever its caller asks for; Raft messages and snapshots
    /// have times of their own. Default 5 s.
    pub request_timeout: Duration,
    /// How often a quiet connection sends something. Default 2 s.
    pub keep_alive: Duration,
    /// How long a connection lives without hearing from the peer. Default 6 s.
    pub idle_timeout: Duration,
    /// The pause after the first failed attempt to connect; it doubles, with jitter, up to
    /// [`backoff_max`](Self::backoff_max). Default 50 ms.
    pub backoff_min: Duration,
    /// The longest pause between attempts to connect. Default 2 s.
    pub backoff_max: Duration,
    /// How many requests may be under way at once with one peer, by class.
    pub in_flight_max: config::MaxInflight,
    /// The longest message by class, in bytes.
    pub bytes_max: BytesMax,
    /// How many connections may be in their handshake at once; what comes beyond is ignored.
    /// Default 256.
    pub incoming_max: usize,
    /// Whether the kernel may be given many packets at once to send. Default true.
    pub gso: bool,
    /// Where handlers of all classes but Raft run; `None`: where the mesh runs. The mesh itself
    /// belongs to the control plane, which a flood of queries must not delay.
    pub bulk_runtime: Option<Handle>,
}

/// The longest message by class, in bytes. What is longer is refused before it is sent or read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct BytesMax {
    /// Raft messages. Default 8 MiB.
    pub raft: usize,
    /// Queries, forwarded writes and their answers. Default 16 MiB.
    pub query: usize,
    /// Frames of objects of the HTTP cache. Default 2 MiB.
    pub cache: usize,
    /// Operators' calls. Default 4 MiB.
    pub admin: usize,
    /// Pieces of snapshots. Default 8 MiB.
    pub snapshot: usize,
}

impl Default for BytesMax {
    fn default() -> Self {
        const MIB: usize = 1 << 20;
        Self { raft: 8 * MIB, query: 16 * MIB, cache: 2 * MIB, admin: 4 * MIB, snapshot: 8 * MIB }
    }
}

impl BytesMax {
    /// The limit of `class`.
    #[must_use]
    pub fn of(&self, class: Class) -> usize {
        match class {
            Class::Raft => self.raft,
            Class::Query => self.query,
            Class::Cache => self.cache,
            Class::Admin => self.admin,
            Class::Snapshot => self.snapshot,
        }
    }
}

impl MeshOptions {
    /// Options with the defaults, for `node` of `cluster` listening on `listen`, with the
    /// certificate files `ca.pem`, `node-N.pem` and `node-N.key` of `certs` (as `hexpop certs`
    /// names them).
    #[must_use]
    pub fn new(
        listen: SocketAddr,
        node: NodeId,
        raft: RaftId,
        cluster: ClusterName,
        certs: &std::path::Path,
    ) -> Self {
        Self {
            listen,
            node,
            raft,
            cluster,
            ca: certs.join("ca.pem"),
            cert: certs.join(format!("node-{node}.pem")),
            key: certs.join(format!("node-{node}.key")),
            connect_timeout: Duration::from_secs(3),
            request_timeout: Duration::from_secs(5),
            keep_alive: Duration::from_secs(2),
            idle_timeout: Duration::from_secs(6),
            backoff_min: Duration::from_millis(50),
            backoff_max: Duration::from_secs(2),
            in_flight_max: config::MaxInflight::default(),
            bytes_max: BytesMax::default(),
            incoming_max: 256,
            gso: true,
            bulk_runtime: None,
        }
    }

    /// Options as section `mesh` of the configuration says, for this node and data directory.
    #[must_use]
    pub fn from_config(mesh: &config::Mesh, node: NodeId, raft: RaftId) -> Self {
        Self {
            ca: mesh.ca.clone(),
            cert: mesh.cert.clone(),
            key: mesh.key.clone(),
            request_timeout: mesh.request_timeout,
            keep_alive: mesh.keep_alive,
            idle_timeout: mesh.idle_timeout,
            in_flight_max: mesh.max_inflight.clone(),
            gso: mesh.gso,
            ..Self::new(mesh.listen, node, raft, mesh.cluster.clone(), std::path::Path::new(""))
        }
    }

    /// How long a request of `class` may take whose caller waits for `asked`.
    #[must_use]
    pub fn deadline_of(&self, class: Class, asked: Duration) -> Duration {
        match class {
            Class::Query | Class::Cache | Class::Admin => asked.min(self.request_timeout),
            // Loading a large state takes minutes, and elections know their own times.
            Class::Raft | Class::Snapshot => asked,
        }
    }

    /// How many requests of `class` may be under way at once with one peer.
    #[must_use]
    pub fn in_flight_max(&self, class: Class) -> usize {
        let most = match class {
            Class::Raft => self.in_flight_max.raft,
            Class::Query => self.in_flight_max.query,
            Class::Cache => self.in_flight_max.cache,
            Class::Admin => self.in_flight_max.admin,
            Class::Snapshot => self.in_flight_max.snapshot,
        };
        usize::try_from(most).unwrap_or(usize::MAX)
    }
}
