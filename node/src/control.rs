//! What a node answers to its peers: consensus, shard requests, objects of the HTTP cache, and operators'
//! calls passed on.

use std::{
    fmt,
    sync::{Arc, OnceLock},
};

use bytes::Bytes;
use futures::{FutureExt as _, StreamExt as _, future::BoxFuture, stream::BoxStream};
use hexpop_edge_config::{NodeId, ShardId, codec};
use hexpop_raft::{Holding, ReplicaStatus};
use hexpop_router::ShardRequest;
use hexpop_shard::{Explanation, Operation, PurgeEntry, PurgeId, ShardKey};
use serde::{Deserialize, Serialize};

use crate::{
    adapters::local::{HostShards, NodeHost},
    context::NodeRouter,
    mesh::{Class, MeshHandler, Refused, gossip_loop::GossipHandle},
    purges::PurgeReport,
};

/// An operator's call that one node passes on to another. Final: the enums only grow at their ends.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub enum AdminRequest {
    /// What the node knows of itself.
    Report,
    /// Hand the leadership of a shard, which the node must have, to another node.
    TransferLeader {
        /// The shard.
        shard: ShardId,
        /// Who shall lead.
        to: NodeId,
    },
    /// Replace, add or clear fault rules: a method and a JSON body as on the admin port.
    Faults {
        /// `POST`, `PUT` or `DELETE`.
        method: String,
        /// The body.
        body: String,
    },
    /// What time it is there.
    Clock,
    /// Apply a purge that is recorded.
    Purge(PurgeEntry),
    /// What the HTTP cache holds of a URL.
    Inspect {
        /// The URL.
        url: String,
    },
    /// The operations that are remembered: of whoever leads the meta group.
    Operations,
    /// The key that divides a shard best: of whoever leads it.
    SplitPoint {
        /// The shard.
        shard: ShardId,
    },
    /// Have the node emptied, or let it have replicas again.
    Drain {
        /// Whether it is to be emptied.
        on: bool,
    },
    /// How far the node is with a purge.
    PurgeReport(PurgeId),
    /// Why a shard is where it is.
    Why {
        /// The shard.
        shard: ShardId,
    },
    /// What is there of which shards, in memory and on disk.
    Holdings,
}

/// The answer to an [`AdminRequest`].
#[derive(Debug, Clone, Serialize, Deserialize)]
pub enum AdminAnswer {
    /// What the node knows of itself.
    Report(NodeReport),
    /// Done.
    Done,
    /// Not done, and why.
    Failed(String),
    /// What time it is there, in milliseconds since 1970.
    Clock(u64),
    /// How far the node is with a purge.
    Purge(PurgeReport),
    /// What the HTTP cache holds, as JSON.
    Inspected(String),
    /// The operations, oldest first.
    Operations(Vec<Operation>),
    /// The key; `None` = all records are at one place.
    SplitPoint(Option<ShardKey>),
    /// Why; `None` = the node knows no such shard.
    Why(Option<Explanation>),
    /// What is there.
    Holdings(Vec<Holding>),
}

/// What a node knows of itself.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct NodeReport {
    /// The node.
    pub node: NodeId,
    /// Seconds since its start.
    pub uptime_s: u64,
    /// The version of its shard map.
    pub map_version: u64,
    /// Its replicas.
    pub replicas: Vec<ReplicaStatus>,
}

/// Answers operators' calls; what the node itself knows comes from its wiring.
pub trait AdminCalls: Send + Sync + 'static {
    /// Answers a call of a peer or of this node's own admin port.
    fn answer(&self, request: AdminRequest) -> BoxFuture<'static, AdminAnswer>;
}

/// Hands what peers send to whoever answers it. The mesh is open before those exist; until then
/// peers are told to come back.
#[derive(Default)]
pub struct Dispatch {
    host: OnceLock<NodeHost>,
    admin: OnceLock<Arc<dyn AdminCalls>>,
    gossip: OnceLock<GossipHandle>,
    router: OnceLock<Arc<NodeRouter>>,
}

impl fmt::Debug for Dispatch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Dispatch").finish_non_exhaustive()
    }
}

impl Dispatch {
    /// Begins to answer consensus messages and shard requests.
    pub fn serve_host(&self, host: NodeHost) {
        let _first = self.host.set(host);
    }

    /// Begins to answer operators' calls.
    pub fn serve_admin(&self, admin: Arc<dyn AdminCalls>) {
        let _first = self.admin.set(admin);
    }

    /// Begins to answer for objects of the HTTP cache.
    pub fn serve_cache(&self, router: Arc<NodeRouter>) {
        let _first = self.router.set(router);
    }

    /// Begins to take gossip.
    pub fn serve_gossip(&self, gossip: GossipHandle) {
        let _first = self.gossip.set(gossip);
    }
}

fn starting() -> BoxFuture<'static, Result<Bytes, Refused>> {
    futures::future::ready(Err(Refused::new("the node is still starting"))).boxed()
}

fn encoded<T: Serialize>(answer: &T) -> Result<Bytes, Refused> {
    codec::encode(answer).map(Bytes::from).map_err(|error| Refused::new(error.to_string()))
}

impl MeshHandler for Dispatch {
    fn request(
        &self,
        from: NodeId,
        class: Class,
        payload: Bytes,
    ) -> BoxFuture<'static, Result<Bytes, Refused>> {
        match class {
            Class::Raft | Class::Snapshot => match self.host.get() {
                Some(host) => host.handle(from, payload).map(Ok).boxed(),
                None => starting(),
            },
            Class::Query => match self.host.get() {
                Some(host) => query(hexpop_chaos::HostShards(host.clone()), from, payload),
                None => starting(),
            },
            Class::Admin => match self.admin.get() {
                Some(admin) => match codec::decode::<AdminRequest>(&payload) {
                    Ok(request) => {
                        let answer = admin.answer(request);
                        async move { encoded(&answer.await) }.boxed()
                    }
                    Err(error) => {
                        futures::future::ready(Err(Refused::new(error.to_string()))).boxed()
                    }
                },
                None => starting(),
            },
            Class::Cache => {
                let error = Refused::new("objects of the HTTP cache are streamed");
                futures::future::ready(Err(error)).boxed()
            }
        }
    }

    fn stream(&self, _from: NodeId, payload: Bytes) -> BoxStream<'static, Result<Bytes, Refused>> {
        match self.router.get() {
            Some(router) => router.serve_cache(&payload).map(Ok).boxed(),
            None => {
                let starting = Refused::new("the node is still starting");
                futures::stream::once(futures::future::ready(Err(starting))).boxed()
            }
        }
    }

    fn datagram(&self, from: NodeId, payload: Bytes) {
        if let Some(gossip) = self.gossip.get() {
            gossip.datagram(from, payload);
        }
    }
}

fn query(
    shards: HostShards,
    from: NodeId,
    payload: Bytes,
) -> BoxFuture<'static, Result<Bytes, Refused>> {
    match codec::decode::<ShardRequest>(&payload) {
        Ok(request) => async move {
            let span = tracing::debug_span!(
                "shard_request",
                shard = %request.shard,
                traceparent = request.traceparent.as_deref().unwrap_or_default(),
            );
            let answer =
                tracing::Instrument::instrument(shards.execute_for(from, request), span).await;
            encoded(&answer)
        }
        .boxed(),
        Err(error) => futures::future::ready(Err(Refused::new(error.to_string()))).boxed(),
    }
}
