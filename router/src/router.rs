//! The router: what the HTTP servers call.

use std::{
    fmt,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use bytes::Bytes;
use futures::stream::BoxStream;
use hexpop_edge_config::{NodeId, RequestId, ShardId};
use hexpop_shard::{PurgeEntry, PurgeId, PurgeTail, PurgeTarget};
use http::{HeaderMap, Method, Request, Response};
use openraft_rt::AsyncRuntime;

use crate::{
    ask::{Answered, Asker, Call},
    breakers::{BreakerStatus, Breakers, Class},
    cache::{CacheStats, HttpCache, NotAUrl, PurgeProgress, StoredView, Tier, answer_within},
    coding::Coder,
    consistency::{Given, Level},
    deadline::Deadline,
    error::RouteError,
    id_cache::IdCache,
    metrics::Metrics,
    options::RouterOptions,
    origin::{OriginClient, Uptime},
    port::{Body, Client, Ports},
    results::Results,
    session::Touches,
    status::{cache_name, of_own, of_replicas},
    token::Token,
};

/// How a request is to be answered.
#[derive(Debug, Clone, Default)]
pub struct Context {
    /// The read level asked for; `None` = the default of what is asked.
    pub level: Option<Level>,
    /// A state that a read must include.
    pub token: Option<Token>,
    /// How long the client waits; `None` = the default of what is asked.
    pub timeout: Option<Duration>,
    /// The W3C trace context, passed on to other nodes.
    pub traceparent: Option<Arc<str>>,
    /// The client's own request, for the origin to answer if the mesh cannot; `None` = it is not
    /// to be asked.
    pub fallback: Option<Fallback>,
}

/// A client's request, as the origin gets it.
#[derive(Debug, Clone)]
pub struct Fallback {
    /// Its method.
    pub method: Method,
    /// Path and query.
    pub target: String,
    /// Its header fields.
    pub headers: HeaderMap,
    /// Its body.
    pub body: Bytes,
    /// Who sent it.
    pub client: Client,
}

/// Something that the mesh answered, with what is said about it in header fields.
#[derive(Debug, Clone, PartialEq)]
pub struct Answer<T> {
    /// The answer.
    pub value: T,
    /// `Hexpop-Consistency`, and the token of a read from one shard.
    pub given: Given,
    /// `Cache-Status`.
    pub cache_status: String,
    /// A number that answers with the same content have, whichever node made them and from whichever
    /// replicas; `None` = it is not certain that another node would answer this.
    pub validator: Option<u64>,
    /// How long the shards took.
    pub times: Vec<ShardTime>,
}

/// How long one shard took to answer, the way to it included.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ShardTime {
    /// The shard.
    pub shard: ShardId,
    /// Who answered for it.
    pub node: NodeId,
    /// The time.
    pub took: Duration,
}

/// An answer of the mesh, or the origin's response in its place.
#[derive(Debug)]
pub enum Routed<T> {
    /// The mesh answered.
    Mesh(Answer<T>),
    /// The origin answered, `Cache-Status` and `Via` included.
    Origin(Response<Body>),
}

/// Routes requests to replicas, peers, the HTTP cache and the origin.
pub struct Router<R: AsyncRuntime> {
    pub(crate) options: RouterOptions,
    pub(crate) ports: Ports,
    pub(crate) asker: Asker<R>,
    pub(crate) cache: Arc<HttpCache<R>>,
    coder: Coder,
    pub(crate) origin: OriginClient<R>,
    pub(crate) uptime: Uptime<R>,
    pub(crate) ids: IdCache,
    pub(crate) results: Results,
    pub(crate) touches: Touches,
    pub(crate) metrics: Metrics,
    pub(crate) name: String,
    breakers: Arc<Breakers>,
    sequence: AtomicU64,
}

impl<R: AsyncRuntime> Router<R> {
    /// A router with an empty cache and closed breakers. It has no tasks of its own besides those
    /// of requests under way, until [`follow_feeds`](Self::follow_feeds) is called.
    #[must_use]
    pub fn new(options: RouterOptions, ports: Ports, metrics: Metrics) -> Arc<Self> {
        let uptime = Uptime::start();
        let name = cache_name(&options.pop, options.node);
        let (peer_options, origin_options) = (options.peer_breaker, options.origin_breaker);
        let tier_within = answer_within(&options.cache);
        let breakers =
            Arc::new(Breakers::new(peer_options, tier_within, origin_options, metrics.clone()));
        let origin = OriginClient::new(
            Arc::clone(&ports.origin),
            Arc::clone(&breakers),
            metrics.clone(),
            uptime,
        );
        let coder =
            Coder::new(options.coding.clone(), Arc::clone(&ports.compress), metrics.clone());
        let tier = Tier::new(
            options.cache.tier,
            options.node,
            options.pop.clone(),
            &ports,
            Arc::clone(&breakers),
            metrics.clone(),
        );
        let cache = Arc::new(HttpCache::new(
            options.cache.clone(),
            name.clone(),
            origin.clone(),
            coder.clone(),
            Arc::clone(&ports.clock),
            tier,
            metrics.clone(),
        ));
        let asker = Asker::new(
            options.clone(),
            Arc::clone(&ports.local),
            Arc::clone(&ports.peer),
            Arc::clone(&ports.peers),
            Arc::clone(&breakers),
            uptime,
            metrics.clone(),
        );
        Arc::new(Self {
            ids: IdCache::new(options.id_cache_max),
            results: Results::new(options.results_bytes_max, metrics.clone()),
            touches: Touches::default(),
            sequence: AtomicU64::new(0),
            options,
            ports,
            asker,
            cache,
            coder,
            origin,
            uptime,
            metrics,
            name,
            breakers,
        })
    }

    /// This node's name in `Cache-Status` and `Via`.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// What codes bodies for clients.
    #[must_use]
    pub const fn coder(&self) -> &Coder {
        &self.coder
    }

    /// Answers whatever the mesh does not, through the HTTP cache. A request with
    /// [`Debugged`](crate::Debugged) among its extensions is told more.
    ///
    /// # Errors
    /// [`RouteError`] with its `cache_status` set.
    pub async fn proxy(
        &self,
        request: Request<Body>,
        client: Client,
        timeout: Option<Duration>,
    ) -> Result<Response<Body>, RouteError> {
        let longest = self.options.cache.origin_timeout + self.options.cache.body_timeout;
        let deadline = Deadline::after(timeout.unwrap_or(longest));
        self.cache.handle(request, client, deadline).await
    }

    /// The frames of the answer to what another node of this PoP [asks](crate::CachePeers::ask) for from
    /// this one's HTTP cache. Nothing is done for an answer that is not read, and no more than that for
    /// one that is dropped.
    pub fn serve_cache(&self, question: &[u8]) -> BoxStream<'static, Bytes> {
        self.cache.serve(question)
    }

    /// Forgets what the HTTP cache holds of a target.
    pub fn invalidate(&self, scheme: &str, authority: &str, target: &str) {
        self.cache.invalidate(scheme, authority, target);
    }

    /// Whether these targets are fit to be purged.
    ///
    /// # Errors
    /// [`NotAUrl`]: the first that is not.
    pub fn check_purge(&self, targets: &[PurgeTarget]) -> Result<(), NotAUrl> {
        targets.iter().try_for_each(|target| self.cache.purges_of(target).map(drop))
    }

    /// The last purge that is applied to this node's HTTP cache; `None` = none yet, so that it does not know
    /// where it is.
    #[must_use]
    pub fn purge_position(&self) -> Option<PurgeId> {
        self.cache.purge_position()
    }

    /// Applies a purge if it is the next one. Answers whether it is applied now.
    pub fn push_purge(&self, entry: &PurgeEntry) -> bool {
        self.cache.push_purge(entry)
    }

    /// Applies what was behind the [position](Self::purge_position) as of a time after `asked`, by
    /// [`uptime`](Self::uptime). Answers whether that was all; else there is more to be asked for.
    pub fn follow_purges(&self, tail: &PurgeTail, asked: Duration) -> bool {
        self.cache.follow_purges(tail, asked)
    }

    /// How far this node is with a purge.
    #[must_use]
    pub fn purge_progress(&self, id: PurgeId) -> PurgeProgress {
        self.cache.purge_progress(id)
    }

    /// Time since the start, on the clock that purges are followed by.
    #[must_use]
    pub fn uptime(&self) -> Duration {
        self.uptime.now()
    }

    /// What this node's HTTP cache holds of an absolute URL.
    ///
    /// # Errors
    /// [`NotAUrl`].
    pub fn inspect(&self, url: &str) -> Result<Vec<StoredView>, NotAUrl> {
        self.cache.inspect(url)
    }

    /// All breakers.
    #[must_use]
    pub fn breakers(&self) -> Vec<BreakerStatus> {
        self.breakers.list(self.uptime.now(), self.ports.clock.wall_ms())
    }

    /// Changes [`CacheOptions::stale_max`](crate::CacheOptions::stale_max) from now on.
    pub fn set_stale_max(&self, stale_max: Duration) {
        self.cache.set_stale_max(stale_max);
    }

    /// How full the HTTP cache is. Brings its gauges up to date: call it before metrics are read.
    #[must_use]
    pub fn cache_stats(&self) -> CacheStats {
        self.asker.prune();
        self.metrics.kept_sizes(self.results.bytes(), self.coder.kept_bytes());
        self.cache.stats()
    }

    /// Has what of the HTTP cache is on disk remember how far it is, so that the next process need not catch up with
    /// that. Resolves once all that was to be written until now is; at once without a disk. For the end of the
    /// process; what is not remembered costs no more than that.
    pub async fn flush_cache(&self) {
        self.cache.flush().await;
    }

    /// A request id that no other request has.
    pub(crate) fn request_id(&self) -> RequestId {
        let sequence = self.sequence.fetch_add(1, Ordering::Relaxed);
        RequestId { origin: self.options.raft, start: self.options.start, sequence }
    }

    pub(crate) fn call(&self, context: &Context, default: Duration) -> Call<R> {
        let deadline = Deadline::after(context.timeout.unwrap_or(default));
        Call::new(deadline, context.traceparent.clone())
    }

    /// The name of another node in `Cache-Status`.
    fn name_of(&self, node: NodeId) -> String {
        let members = self.ports.peers.members();
        let member = members.iter().find(|member| member.node == node);
        member.map_or_else(|| format!("hexpop-{node}"), |member| cache_name(&member.pop, node))
    }

    /// `Cache-Status` of what these nodes answered, if only that what was kept holds.
    pub(crate) fn status_of(&self, nodes: impl IntoIterator<Item = NodeId>, kept: bool) -> String {
        let mut others: Vec<NodeId> =
            nodes.into_iter().filter(|node| *node != self.options.node).collect();
        others.sort_unstable();
        others.dedup();
        self.metrics.answered_from(of_own(!others.is_empty(), kept));
        let names: Vec<String> = others.into_iter().map(|node| self.name_of(node)).collect();
        of_replicas(&self.name, names.iter().map(String::as_str), kept)
    }

    /// An answer of one shard.
    pub(crate) fn answer_of<T, U>(&self, answered: &Answered<U>, value: T) -> Answer<T> {
        Answer {
            value,
            given: Given { level: answered.level, vector: vec![answered.point] },
            cache_status: self.status_of([answered.by], false),
            validator: None,
            times: Vec::new(),
        }
    }

    /// Lets the origin answer what the mesh cannot. `mesh` is why it cannot, and is what the client
    /// hears when the origin cannot be asked either.
    pub(crate) async fn ask_origin(
        &self,
        fallback: Option<&Fallback>,
        mesh: RouteError,
        call: &Call<R>,
    ) -> Result<Response<Body>, RouteError> {
        let Some(fallback) = fallback else { return Err(mesh) };
        // The mesh may have used the client's time up; the origin gets a little nevertheless.
        let at_least = Deadline::after(FALLBACK_MIN);
        let deadline = if call.deadline.left() < FALLBACK_MIN { at_least } else { call.deadline };
        match self.cache.fetch_fallback(fallback.clone(), Class::Fallback, deadline).await {
            Ok(response) => Ok(response),
            Err(origin) if mesh.status >= 500 => {
                let detail = format!("{}; and {}", mesh.detail, origin.detail);
                Err(RouteError { detail, ..mesh })
            }
            Err(origin) => Err(origin),
        }
    }
}

/// What the origin gets at least when it has to answer in the mesh's place.
const FALLBACK_MIN: Duration = Duration::from_millis(500);

impl<R: AsyncRuntime> fmt::Debug for Router<R> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Router").field("name", &self.name).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use hexpop_shard::{MapRequest, SearchRequest};
    use openraft_rt_tokio::TokioRuntime;

    use super::*;

    #[test]
    fn what_servers_spawn_may_move_between_threads() {
        const fn is_send<T: Send>(_future: Option<&T>) {}
        fn check(router: &Arc<Router<TokioRuntime>>, context: &Context) {
            let listing = router.get_listing("x", context);
            is_send(Some(&listing));
            let get = router.session_get("x", context);
            is_send(Some(&get));
            let put = router.session_delete("x", None, context);
            is_send(Some(&put));
            let erase = router.erase_user("x", context);
            is_send(Some(&erase));
            let export = router.export_user("x", context);
            is_send(Some(&export));
            let ingest = router.ingest(crate::cache::empty(), 1 << 10, context);
            is_send(Some(&ingest));
            let complete = router.mark_complete(context);
            is_send(Some(&complete));
        }
        fn check_searches(
            router: &Router<TokioRuntime>,
            search: &SearchRequest,
            map: &MapRequest,
            context: &Context,
        ) {
            let search = router.search(search, context);
            is_send(Some(&search));
            let map = router.map_clusters(map, context);
            is_send(Some(&map));
        }
        fn check_proxy(router: &Router<TokioRuntime>, request: Request<Body>, client: Client) {
            let proxied = router.proxy(request, client, None);
            is_send(Some(&proxied));
        }
        let _compiles = (check as fn(_, _), check_searches as fn(_, _, _, _));
        let _compiles = check_proxy as fn(_, _, _);
    }
}
