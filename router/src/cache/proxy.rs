//! The way of a proxied request through the cache.

use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use hexpop_edge_config::NodeId;
use http::{Method, Request, Response};
use moka::sync::Cache;
use openraft_rt::AsyncRuntime;
use serde::Serialize;
use tokio::sync::oneshot;

use super::{
    body::empty,
    disk::{Around, DiskStats, DiskTier, Now},
    exchange::Exchange,
    fetch::{Fetched, Task, gone},
    fill::InFlight,
    flight::{FlightLimits, Flights, Joined, Landing, Waiter},
    follow::Followed,
    headers::is_loop,
    interim::Interims,
    key::CacheKey,
    options::CacheOptions,
    policy::reuse::{Asked, Decision, Use, Why, decide, usable_if_error},
    purge::Moment,
    respond,
    store::{Store, Variants},
    stored::Stored,
    tier::{Declined, Tier, declined},
};
use crate::{
    coding::Coder,
    deadline::Deadline,
    error::{Problem, RouteError},
    metrics::Metrics,
    origin::{OriginClient, Uptime},
    port::{Body, Client, Clock},
    status::{Bypass, Source},
};

/// URIs that are remembered as uncacheable; beyond these some are forgotten, which costs waiting.
const REMEMBERED_MAX: u64 = 10_000;

fn in_millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

/// How full the HTTP cache is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct CacheStats {
    /// URIs with stored responses.
    pub entries: u64,
    /// Bytes they take.
    pub bytes: u64,
    /// Bytes they may take.
    #[serde(rename = "bytesMax")]
    pub bytes_max: u64,
    /// Of the disk; `None` = none is used for it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub disk: Option<DiskStats>,
}

/// The cache and what it fetches with.
pub(crate) struct HttpCache<R: AsyncRuntime> {
    pub(super) options: CacheOptions,
    /// `stale_max` in milliseconds: an operator may change it at any time.
    stale_max_ms: AtomicU64,
    pub(super) name: String,
    pub(super) store: Store,
    pub(super) origin: OriginClient<R>,
    pub(super) coder: Coder,
    pub(super) clock: Arc<dyn Clock>,
    pub(super) uptime: Uptime<R>,
    pub(super) arriving: InFlight,
    pub(super) flights: Flights,
    uncacheable: Cache<CacheKey, Duration>,
    pub(super) followed: Followed,
    pub(super) tier: Tier,
    pub(super) metrics: Metrics,
}

/// A request on its way through the cache.
pub(super) struct Passage<R: AsyncRuntime> {
    pub(super) exchange: Arc<Exchange>,
    pub(super) asked: Asked,
    pub(super) why: Why,
    /// The response that is stored for it.
    pub(super) before: Option<Arc<Stored>>,
    /// Whether the client's ranges go to the origin.
    pub(super) ranged: bool,
    /// The purges that `before` outlived.
    pub(super) began: Moment,
    /// The node that is asked before the origin.
    pub(super) owner: Option<NodeId>,
    pub(super) deadline: Deadline<R>,
}

impl Why {
    pub(super) const fn source(self, status: u16, stored: bool) -> Source {
        match self {
            Self::Stale => Source::Updated { status, stored },
            Self::UriMiss => Source::Miss { status, stored },
            Self::VaryMiss => Source::VaryMiss { status, stored },
            Self::Request | Self::Condition => Source::Request { status, stored },
            Self::Partial => Source::Partial { status, stored },
        }
    }
}

impl<R: AsyncRuntime> HttpCache<R> {
    pub(crate) fn new(
        options: CacheOptions,
        name: String,
        origin: OriginClient<R>,
        coder: Coder,
        clock: Arc<dyn Clock>,
        tier: Tier,
        metrics: Metrics,
    ) -> Self {
        let limits =
            FlightLimits { flights_max: options.flights_max, waiters_max: options.waiters_max };
        let stale_max_ms = AtomicU64::new(in_millis(options.stale_max));
        let uptime = origin.uptime();
        let purged = Arc::default();
        let around = Around {
            now: {
                let clock = Arc::clone(&clock);
                Arc::new(move || Now { uptime: uptime.now(), wall_ms: clock.wall_ms() })
            },
            sleep: Arc::new(|time| Box::pin(R::sleep(time))),
            number: {
                let coder = coder.clone();
                Arc::new(move || coder.number())
            },
            purged: Arc::clone(&purged),
            metrics: metrics.disk(),
        };
        let disk = options.disk.as_ref();
        let disk = disk.map(|disk| Arc::new(DiskTier::open(disk, &options, around)));
        let left_at = disk.as_ref().and_then(|disk| disk.left_at());
        Self {
            stale_max_ms,
            store: Store::new(options.bytes_max, purged, disk),
            arriving: InFlight::default(),
            flights: Flights::new(limits),
            uncacheable: Cache::new(REMEMBERED_MAX),
            followed: Followed::new(options.purge_max_silence, left_at),
            options,
            name,
            uptime,
            origin,
            coder,
            clock,
            tier,
            metrics,
        }
    }

    /// Changes how long stale responses may be used when the origin fails.
    pub(crate) fn set_stale_max(&self, stale_max: Duration) {
        self.stale_max_ms.store(in_millis(stale_max), Ordering::Relaxed);
    }

    /// How full it is; also brings the gauges up to date.
    pub(crate) fn stats(&self) -> CacheStats {
        let (entries, bytes) = self.store.size();
        self.metrics.cache_size(entries, bytes);
        self.metrics.purge_silence(self.followed.silence(self.uptime.now()));
        let disk = self.store.disk().map(|disk| disk.stats());
        CacheStats { entries, bytes, bytes_max: self.options.bytes_max, disk }
    }

    /// Has what is on disk remember how far it is, behind all that is to be written.
    pub(crate) async fn flush(&self) {
        if let Some(disk) = self.store.disk() {
            disk.flush().await;
        }
    }

    /// How long stale responses may be used when the origin fails.
    pub(super) fn stale_max(&self) -> Duration {
        Duration::from_millis(self.stale_max_ms.load(Ordering::Relaxed))
    }

    pub(super) fn now_ms(&self) -> i64 {
        i64::try_from(self.clock.wall_ms()).unwrap_or(i64::MAX)
    }

    /// Answers a proxied request.
    pub(crate) async fn handle(
        self: &Arc<Self>,
        request: Request<Body>,
        client: Client,
        deadline: Deadline<R>,
    ) -> Result<Response<Body>, RouteError> {
        let (parts, body) = request.into_parts();
        let exchange = Exchange::new(parts, client, &self.options);
        let response = self.route(exchange, body, deadline).await;
        let response = response.map_err(|error| self.with_status(error))?;
        Ok(respond::coded(response, &self.coder).await)
    }

    async fn route(
        self: &Arc<Self>,
        exchange: Exchange,
        body: Body,
        deadline: Deadline<R>,
    ) -> Result<Response<Body>, RouteError> {
        if is_loop(&exchange.headers, &self.name) {
            let detail = "the request came through this node before: the origin points back here";
            return Err(RouteError::new(Problem::OriginUnavailable, detail).with_status(508));
        }
        if exchange.method == Method::CONNECT {
            return Err(RouteError::new(Problem::MethodNotAllowed, "tunnels are not offered"));
        }
        match Asked::of(&exchange.method, &exchange.headers) {
            Ok(asked) => self.cached(exchange, asked, deadline).await,
            Err(Bypass::Rule("method")) => {
                self.pass(&exchange, body, Source::Method, deadline).await
            }
            Err(bypass) => self.pass(&exchange, body, Source::Bypass(bypass), deadline).await,
        }
    }

    /// Answers a GET or HEAD; of another node's too, where the answer may be that there is none for it.
    pub(super) async fn cached(
        self: &Arc<Self>,
        mut exchange: Exchange,
        mut asked: Asked,
        deadline: Deadline<R>,
    ) -> Result<Response<Body>, RouteError> {
        let (now, now_ms) = (self.uptime.now(), self.now_ms());
        // Before the store is looked into; see there.
        asked.trusts_store = self.followed.trusts_store(now);
        let began = self.store.moment();
        let mut variants = self.store.get(&exchange.key);
        exchange.rewrite_for(&variants);
        let (method, headers) = (&exchange.method, &exchange.headers);
        let mut decision = decide(method, headers, &asked, &variants, now, now_ms);
        if let Some(disk) = self.store.disk().filter(|_| is_none_of_them(&decision))
            && disk.has(&exchange.key)
            // Boxed: hits in memory are not to be made larger by this.
            && let Some(found) = Box::pin(self.recall(disk, &mut exchange, &variants, began)).await
        {
            variants = found;
            let (method, headers) = (&exchange.method, &exchange.headers);
            let (now, now_ms) = (self.uptime.now(), self.now_ms());
            decision = decide(method, headers, &asked, &variants, now, now_ms);
        }
        let (why, before) = match decision {
            Decision::Answer(stored, Use::Hit(ttl)) => {
                return Ok(self.answer(&exchange, &asked, &stored, Source::Hit { ttl }, None));
            }
            Decision::Answer(stored, Use::WhileRevalidate(ttl)) => {
                let source = Source::StaleWhileRevalidate { ttl };
                let response = self.answer(&exchange, &asked, &stored, source, None);
                self.refresh(exchange, stored, &variants);
                return Ok(response);
            }
            Decision::Forward(why, before) => (why, before),
            Decision::Nothing => {
                let detail = "nothing that may be used is stored, and the request asks for no more";
                return Err(RouteError::new(Problem::OriginTimeout, detail));
            }
        };
        exchange.rewrite();
        let is_uncacheable = self.is_uncacheable(&exchange.key);
        if exchange.for_peer && (is_uncacheable || why == Why::Condition) {
            return Ok(declined(Declined::Uncacheable));
        }
        if exchange.method == Method::HEAD {
            return self.head(&exchange, &variants, why, deadline).await;
        }
        if why == Why::Condition {
            let source = Source::Request { status: 0, stored: false };
            return self.pass(&exchange, empty(), source, deadline).await;
        }
        let ranged = Exchange::forwards_ranges(asked.ranges.as_deref(), before.as_deref());
        // What is for one client only gains nothing by a detour.
        let owner = if is_uncacheable { None } else { self.owner(&exchange, now) };
        let exchange = Arc::new(exchange);
        let passage = Passage { exchange, asked, why, before, ranged, began, owner, deadline };
        if why == Why::Request || is_uncacheable {
            return self.alone(&passage).await;
        }
        self.together(passage, &variants).await
    }

    /// The node that is to be asked before the origin. Nobody on behalf of another node.
    fn owner(&self, exchange: &Exchange, now: Duration) -> Option<NodeId> {
        if exchange.for_peer { None } else { self.tier.owner(&exchange.key, now) }
    }

    /// Fetches for all who ask for the same, or waits for who does.
    async fn together(
        self: &Arc<Self>,
        passage: Passage<R>,
        variants: &Variants,
    ) -> Result<Response<Body>, RouteError> {
        let window = self.followed.window(self.uptime.now());
        let by_owner = passage.owner.is_some();
        let key = passage.exchange.flight_key(variants, passage.ranged, window, by_owner);
        match self.flights.join(key) {
            Joined::Leader(ticket) => {
                ticket.interims.lead(&passage.exchange, !variants.is_empty());
                let task = self.task(&passage, ticket.interims.clone());
                // Another flight may have landed between the look into the store and this one.
                if let Some((stored, source)) = self.stored_meanwhile(&passage) {
                    let Passage { exchange, asked, .. } = &passage;
                    let response = self.answer(exchange, asked, &stored, source, None);
                    ticket.land(Landing::Confirmed(stored));
                    return Ok(response);
                }
                // The fetch goes on when its client goes away: others wait for it.
                let (sender, fetched) = oneshot::channel();
                let this = Arc::clone(self);
                drop(R::spawn(async move {
                    // The client may have gone.
                    sender.send(this.fetch(task, Some(ticket)).await).ok();
                }));
                let fetched = match passage.deadline.bound(fetched).await {
                    Ok(Ok(fetched)) => fetched,
                    Ok(Err(_closed)) => Fetched::Failed(gone()),
                    Err(_elapsed) => Fetched::Failed(too_late()),
                };
                self.conclude(&passage, fetched)
            }
            Joined::Waiter(waiter) => self.wait(&passage, waiter).await,
            Joined::Full => self.alone(&passage).await,
            Joined::Crowded => {
                let detail = "too many requests wait for the same response of the origin";
                let error = RouteError::new(Problem::Overloaded, detail);
                self.conclude(&passage, Fetched::Failed(error))
            }
        }
    }

    /// The response that was stored since a request was decided about, if it is one for it.
    fn stored_meanwhile(&self, passage: &Passage<R>) -> Option<(Arc<Stored>, Source)> {
        let Passage { exchange, asked, .. } = passage;
        let variants = self.store.get(&exchange.key);
        let (now, now_ms) = (self.uptime.now(), self.now_ms());
        match decide(&exchange.method, &exchange.headers, asked, &variants, now, now_ms) {
            Decision::Answer(stored, Use::Hit(ttl)) => Some((stored, Source::Hit { ttl })),
            _ => None,
        }
    }

    fn task(&self, passage: &Passage<R>, interims: Interims) -> Task {
        Task {
            exchange: Arc::clone(&passage.exchange),
            before: passage.before.clone(),
            ranged: passage.ranged,
            began: self.store.moment(),
            owner: passage.owner,
            refreshes: false,
            interims,
        }
    }

    /// Waits for the fetch of another.
    async fn wait(
        self: &Arc<Self>,
        passage: &Passage<R>,
        waiter: Waiter,
    ) -> Result<Response<Body>, RouteError> {
        self.metrics.coalesced();
        if let Some(sink) = &passage.exchange.interims {
            waiter.interims.join(sink);
        }
        let landed = passage.deadline.bound(waiter.landed()).await;
        let source = Source::Collapsed { stale: passage.why == Why::Stale };
        match landed {
            Ok(Some(Landing::Arriving(arriving))) => {
                let reader = arriving.transfer.reader(arriving.length);
                let stands_in = arriving.hop.as_ref().is_some_and(|hop| hop.stands_in);
                match reader.filter(|_| self.is_for(passage, &arriving.stored, stands_in)) {
                    Some(body) => {
                        let Passage { exchange, asked, .. } = passage;
                        Ok(self.arriving(exchange, asked, &arriving, source, None, body))
                    }
                    None => self.alone(passage).await,
                }
            }
            Ok(Some(Landing::Confirmed(stored))) if self.is_for(passage, &stored, false) => {
                Ok(self.answer(&passage.exchange, &passage.asked, &stored, source, None))
            }
            Ok(Some(Landing::Uncacheable)) if passage.exchange.for_peer => {
                Ok(declined(Declined::Uncacheable))
            }
            Ok(Some(Landing::Uncacheable)) => self.past_owner(passage).await,
            Ok(Some(Landing::Confirmed(_))) => self.alone(passage).await,
            Ok(Some(Landing::Failed(error))) => self.conclude(passage, Fetched::Failed(*error)),
            Ok(None) => self.conclude(passage, Fetched::Failed(gone())),
            Err(_elapsed) => self.conclude(passage, Fetched::Failed(too_late())),
        }
    }

    /// Whether a response that another fetched may answer a request. `stands_in`: it is a stale one, since the
    /// origin failed.
    fn is_for(&self, passage: &Passage<R>, stored: &Arc<Stored>, stands_in: bool) -> bool {
        let (method, headers) = (&passage.exchange.method, &passage.exchange.headers);
        // Whoever waits asked for the same ranges, so that a part is what it wants. The origin was asked.
        let asked = Asked { ranges: None, trusts_store: true, ..passage.asked.clone() };
        let variants = [Arc::clone(stored)];
        let now = self.uptime.now();
        match decide(method, headers, &asked, &variants, now, self.now_ms()) {
            Decision::Answer(_, Use::Hit(_)) => true,
            // The owner refreshes it.
            Decision::Answer(_, Use::WhileRevalidate(_)) => passage.owner.is_some(),
            Decision::Forward(Why::Stale, Some(_its)) if stands_in => {
                let resident = stored.resident(now);
                usable_if_error(&stored.freshness, &asked.control, resident, self.stale_max())
            }
            Decision::Forward(..) | Decision::Nothing => false,
        }
    }

    /// Fetches without letting others wait for it.
    async fn alone(self: &Arc<Self>, passage: &Passage<R>) -> Result<Response<Body>, RouteError> {
        let interims = Interims::of(&passage.exchange);
        self.fetch_alone(passage, self.task(passage, interims)).await
    }

    /// As [`alone`](Self::alone), from the origin itself: whatever comes is for this client only.
    async fn past_owner(
        self: &Arc<Self>,
        passage: &Passage<R>,
    ) -> Result<Response<Body>, RouteError> {
        let interims = Interims::of(&passage.exchange);
        let task = Task { owner: None, ..self.task(passage, interims) };
        self.fetch_alone(passage, task).await
    }

    async fn fetch_alone(
        self: &Arc<Self>,
        passage: &Passage<R>,
        task: Task,
    ) -> Result<Response<Body>, RouteError> {
        let fetched = passage
            .deadline
            .bound(self.fetch(task, None))
            .await
            .unwrap_or_else(|_elapsed| Fetched::Failed(too_late()));
        self.conclude(passage, fetched)
    }

    /// Refreshes what was just used, behind the answer.
    fn refresh(self: &Arc<Self>, mut exchange: Exchange, before: Arc<Stored>, variants: &Variants) {
        exchange.rewrite();
        let owner = self.owner(&exchange, self.uptime.now());
        let key = exchange.flight_key(variants, false, None, owner.is_some());
        if let Joined::Leader(ticket) = self.flights.join(key) {
            let this = Arc::clone(self);
            let began = self.store.moment();
            let (exchange, before) = (Arc::new(exchange), Some(before));
            // Its client has its answer; others may join.
            let interims = ticket.interims.clone();
            interims.lead(&exchange, !variants.is_empty());
            let ranged = false;
            let refreshes = true;
            let task = Task { exchange, before, ranged, began, owner, refreshes, interims };
            drop(R::spawn(async move {
                drop(this.fetch(task, Some(ticket)).await);
            }));
        }
    }

    pub(super) fn remember_uncacheable(&self, key: &CacheKey) {
        let until = self.uptime.now().saturating_add(self.options.uncacheable_memory);
        self.uncacheable.insert(key.clone(), until);
    }

    fn is_uncacheable(&self, key: &CacheKey) -> bool {
        self.uncacheable.get(key).is_some_and(|until| self.uptime.now() < until)
    }
}

/// Whether no response that was looked at is one for the request.
const fn is_none_of_them(decision: &Decision) -> bool {
    matches!(
        decision,
        Decision::Forward(Why::UriMiss | Why::VaryMiss | Why::Condition, None) | Decision::Nothing
    )
}

fn too_late() -> RouteError {
    RouteError::new(Problem::OriginTimeout, "the origin did not answer in time")
}
