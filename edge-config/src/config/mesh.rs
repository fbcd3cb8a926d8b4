//! Section `mesh`: how this node talks to the others.

use std::{net::SocketAddr, path::PathBuf, time::Duration};

use super::{checks::at_most, section::Section};
use crate::{ClusterName, NodeId};

/// How this node talks to the others: mutually authenticated QUIC.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Mesh {
    /// The name of the cluster: the trust domain of its certificates. Messages of another one are refused.
    ///
    /// Required, the same on all nodes, fixed for ever. Since 0.1.
    pub cluster: ClusterName,
    /// The UDP address that the mesh listens on.
    ///
    /// Required. Since 0.1.
    pub listen: SocketAddr,
    /// The UDP address that other nodes reach this one at, when it is not [`listen`](Self::listen).
    ///
    /// Needed when `listen` is a wildcard such as `0.0.0.0:7080`, or behind an address translation.
    /// Default: `listen`. Since 0.1.
    pub advertise: Option<SocketAddr>,
    /// Mesh addresses of some nodes that a starting node asks to let it in. Its own may be among them.
    ///
    /// Too few: a node cannot join while all of them are down. Three in different PoPs are enough for a
    /// cluster of any size. Default none, which only suits the first node; at most 64. Since 0.1.
    pub seeds: Vec<SocketAddr>,
    /// The nodes that found the cluster: they alone initialise the meta group, on empty directories, and
    /// all with the same list. Everyone else joins.
    ///
    /// An odd number, 3 or 5 as a rule; a list that differs between nodes founds two clusters. Default
    /// none: this node only joins. Since 0.1.
    pub bootstrap: Vec<NodeId>,
    /// The certificate of the cluster's authority (PEM). Only peers with a certificate of it are talked to.
    ///
    /// Required. Since 0.1.
    pub ca: PathBuf,
    /// The certificate of this node (PEM), with its identity as URI SAN.
    ///
    /// Required. Since 0.1.
    pub cert: PathBuf,
    /// The private key of [`cert`](Self::cert) (PEM).
    ///
    /// Required. Since 0.1.
    pub key: PathBuf,
    /// How long a query, a forwarded write or an operator's call may take at a peer, if its caller would
    /// not give up earlier. Consensus has times of its own, see section `raft`.
    ///
    /// Too low: answers across the ocean are given up and asked again elsewhere. Too high: a request waits
    /// this long for a peer that hangs. Default 5 s, 100 ms to 60 s. Since 0.1.
    pub request_timeout: Duration,
    /// How many exchanges may be under way at once with one peer, by class of traffic.
    pub max_inflight: MaxInflight,
    /// How long a connection lives without hearing anything from the peer.
    ///
    /// Too low: connections are lost and made again during short losses of the network. Too high: a dead
    /// peer's connection is kept this long. More than twice [`keep_alive`](Self::keep_alive). Default
    /// 10 s, 1 s to 10 min. Since 0.1.
    pub idle_timeout: Duration,
    /// How often a quiet connection sends something, so that neither side nor a firewall gives it up.
    ///
    /// Too low: idle traffic with every peer. Too high: connections run into
    /// [`idle_timeout`](Self::idle_timeout). Default 2 s, 100 ms to 60 s. Since 0.1.
    pub keep_alive: Duration,
    /// Whether the kernel may be given many packets at once to send (generic segmentation offload).
    ///
    /// Off: more CPU per byte. On: some network drivers and virtual switches drop the bursts, seen as loss
    /// on a healthy link. Default true. Since 0.1.
    pub gso: bool,
}

impl Mesh {
    /// The address that other nodes reach this one at.
    #[must_use]
    pub fn advertised(&self) -> SocketAddr {
        self.advertise.unwrap_or(self.listen)
    }
}

/// How many exchanges may be under way at once with one peer, by class of traffic.
///
/// Too low: requests queue or are refused although the peer has room. Too high: one slow peer ties up
/// memory in proportion. Each 1 to 65,536. Since 0.1. Watch `hexpop_queue_depth`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MaxInflight {
    /// Raft messages of all groups that the two nodes share. Default 1024.
    pub raft: u32,
    /// Queries and forwarded writes. Default 512.
    pub query: u32,
    /// Objects of the HTTP cache; beyond that the origin is asked. Each may hold 256 KiB. Default 256.
    pub cache: u32,
    /// Operators' calls that are passed on. Default 16.
    pub admin: u32,
    /// Snapshots. Default 2: each occupies disk and link for long.
    pub snapshot: u32,
}

impl Default for MaxInflight {
    fn default() -> Self {
        Self { raft: 1024, query: 512, cache: 256, admin: 16, snapshot: 2 }
    }
}

impl Mesh {
    pub(super) fn read(section: &mut Section<'_>) -> Option<Self> {
        let millis = Duration::from_millis;
        let secs = Duration::from_secs;
        let cluster = section
            .key("cluster", "The name of the cluster: the trust domain of its certificates.")
            .required();
        let listen = section.key("listen", "The UDP address that the mesh listens on.").required();
        let advertise = section
            .key("advertise", "The UDP address that other nodes reach this one at, if another.")
            .optional();
        let seeds = section
            .key("seeds", "Mesh addresses of some nodes that a starting node asks to let it in.")
            .check(|seeds: &Vec<SocketAddr>| at_most(seeds.len(), 64).into_iter().collect())
            .or(Vec::new());
        let bootstrap = section
            .key("bootstrap", "The nodes that found the cluster; the same list on all of them.")
            .check(|nodes: &Vec<NodeId>| at_most(nodes.len(), 7).into_iter().collect())
            .or(Vec::new());
        let ca = section.key("ca", "The certificate of the cluster's authority (PEM).").required();
        let cert = section.key("cert", "The certificate of this node (PEM).").required();
        let key = section.key("key", "The private key of this node (PEM).").required();
        let request_timeout = section
            .key(
                "request_timeout",
                "How long a query, a forwarded write or an operator's call may take at a peer.",
            )
            .between(millis(100), secs(60))
            .or(secs(5));
        let max_inflight = section.section("max_inflight", MaxInflight::read);
        let idle_timeout = section
            .key("idle_timeout", "How long a connection lives without hearing from the peer.")
            .between(secs(1), secs(600))
            .or(secs(10));
        let keep_alive = section
            .key("keep_alive", "How often a quiet connection sends something.")
            .between(millis(100), secs(60))
            .or(secs(2));
        let gso = section
            .key("gso", "Whether the kernel may be given many packets at once to send.")
            .or(true);
        Some(Self {
            cluster: cluster?,
            listen: listen?,
            advertise,
            seeds,
            bootstrap,
            ca: ca?,
            cert: cert?,
            key: key?,
            request_timeout,
            max_inflight,
            idle_timeout,
            keep_alive,
            gso,
        })
    }
}

impl MaxInflight {
    fn read(section: &mut Section<'_>) -> Self {
        let default = Self::default();
        let mut class =
            |name, about, default| section.key::<u32>(name, about).between(1, 65_536).or(default);
        Self {
            raft: class("raft", "Raft messages under way with one peer.", default.raft),
            query: class("query", "Queries and writes under way with one peer.", default.query),
            cache: class("cache", "Cached objects under way with one peer.", default.cache),
            admin: class("admin", "Operators' calls under way with one peer.", default.admin),
            snapshot: class("snapshot", "Snapshots under way with one peer.", default.snapshot),
        }
    }
}
