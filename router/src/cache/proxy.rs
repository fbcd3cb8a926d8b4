//! The way of a proxied request through the cache.

use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use http::{Method, Request, Response};
use moka::sync::Cache;
use openraft_rt::AsyncRuntime;
use serde::Serialize;
use tokio::sync::oneshot;

use super::{
    body::empty,
    exchange::Exchange,
    fetch::{Fetched, Task, gone},
    fill::InFlight,
    flight::{FlightLimits, Flights, Joined, Landing, Waiter},
    follow::Followed,
    headers::is_loop,
    key::CacheKey,
    options::CacheOptions,
    policy::{
        reuse::{Asked, Decision, Use, Why, decide, usable_if_error},
        storing::is_origin_error,
    },
    purge::Moment,
    respond::{self, Respondent},
    store::{Store, Variants},
    stored::Stored,
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
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct CacheStats {
    /// URIs with stored responses.
    pub entries: u64,
    /// Bytes they take.
    pub bytes: u64,
    /// Bytes they may take.
    #[serde(rename = "bytesMax")]
    pub bytes_max: u64,
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
    pub(super) metrics: Metrics,
}

/// A request on its way through the cache.
struct Passage<R: AsyncRuntime> {
    exchange: Arc<Exchange>,
    asked: Asked,
    why: Why,
    /// The response that is stored for it.
    before: Option<Arc<Stored>>,
    /// Whether the client's ranges go to the origin.
    ranged: bool,
    /// The purges that `before` outlived.
    began: Moment,
    deadline: Deadline<R>,
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
        uptime: Uptime<R>,
        metrics: Metrics,
    ) -> Self {
        let limits =
            FlightLimits { flights_max: options.flights_max, waiters_max: options.waiters_max };
        let stale_max_ms = AtomicU64::new(in_millis(options.stale_max));
        Self {
            stale_max_ms,
            store: Store::new(options.bytes_max),
            arriving: InFlight::default(),
            flights: Flights::new(limits),
            uncacheable: Cache::new(REMEMBERED_MAX),
            followed: Followed::new(options.purge_max_silence),
            options,
            name,
            origin,
            coder,
            clock,
            uptime,
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
        CacheStats { entries, bytes, bytes_max: self.options.bytes_max }
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

    async fn cached(
        self: &Arc<Self>,
        exchange: Exchange,
        mut asked: Asked,
        deadline: Deadline<R>,
    ) -> Result<Response<Body>, RouteError> {
        let (now, now_ms) = (self.uptime.now(), self.now_ms());
        // Before the store is looked into; see there.
        asked.trusts_store = self.followed.trusts_store(now);
        let began = self.store.moment();
        let variants = self.store.get(&exchange.key);
        let (method, headers) = (&exchange.method, &exchange.headers);
        let (why, before) = match decide(method, headers, &asked, &variants, now, now_ms) {
            Decision::Answer(stored, Use::Hit(ttl)) => {
                return Ok(self.answer(&exchange, &asked, &stored, Source::Hit { ttl }));
            }
            Decision::Answer(stored, Use::WhileRevalidate(ttl)) => {
                let source = Source::StaleWhileRevalidate { ttl };
                let response = self.answer(&exchange, &asked, &stored, source);
                self.refresh(exchange, stored, &variants);
                return Ok(response);
            }
            Decision::Forward(why, before) => (why, before),
            Decision::Nothing => {
                let detail = "nothing that may be used is stored, and the request asks for no more";
                return Err(RouteError::new(Problem::OriginTimeout, detail));
            }
        };
        if exchange.method == Method::HEAD {
            return self.head(&exchange, &variants, why, deadline).await;
        }
        if why == Why::Condition {
            let source = Source::Request { status: 0, stored: false };
            return self.pass(&exchange, empty(), source, deadline).await;
        }
        let ranged = Exchange::forwards_ranges(asked.ranges.as_deref(), before.as_deref());
        let exchange = Arc::new(exchange);
        let passage = Passage { exchange, asked, why, before, ranged, began, deadline };
        if why == Why::Request || self.is_uncacheable(&passage.exchange.key) {
            return self.alone(&passage).await;
        }
        self.together(passage, &variants).await
    }

    /// Fetches for all who ask for the same, or waits for who does.
    async fn together(
        self: &Arc<Self>,
        passage: Passage<R>,
        variants: &Variants,
    ) -> Result<Response<Body>, RouteError> {
        let task = self.task(&passage);
        let window = self.followed.window(self.uptime.now());
        let key = passage.exchange.flight_key(variants, passage.ranged, window);
        match self.flights.join(key) {
            Joined::Leader(ticket) => {
                // Another flight may have landed between the look into the store and this one.
                if let Some((stored, source)) = self.stored_meanwhile(&passage) {
                    let response = self.answer(&passage.exchange, &passage.asked, &stored, source);
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

    fn task(&self, passage: &Passage<R>) -> Task {
        Task {
            exchange: Arc::clone(&passage.exchange),
            before: passage.before.clone(),
            ranged: passage.ranged,
            began: self.store.moment(),
        }
    }

    /// Waits for the fetch of another.
    async fn wait(
        self: &Arc<Self>,
        passage: &Passage<R>,
        waiter: Waiter,
    ) -> Result<Response<Body>, RouteError> {
        self.metrics.coalesced();
        let landed = passage.deadline.bound(waiter.landed()).await;
        let source = Source::Collapsed { stale: passage.why == Why::Stale };
        match landed {
            Ok(Some(Landing::Arriving(arriving))) => {
                let reader = arriving.transfer.reader(arriving.length);
                match reader.filter(|_| self.is_for(passage, &arriving.stored)) {
                    Some(body) => {
                        let respondent = self.respondent(&passage.exchange, &passage.asked, source);
                        self.metrics.answered_from(source);
                        Ok(respond::of_arriving(&respondent, &arriving, None, body))
                    }
                    None => self.alone(passage).await,
                }
            }
            Ok(Some(Landing::Confirmed(stored))) if self.is_for(passage, &stored) => {
                Ok(self.answer(&passage.exchange, &passage.asked, &stored, source))
            }
            Ok(Some(Landing::Confirmed(_) | Landing::Uncacheable)) => self.alone(passage).await,
            Ok(Some(Landing::Failed(error))) => self.conclude(passage, Fetched::Failed(*error)),
            Ok(None) => self.conclude(passage, Fetched::Failed(gone())),
            Err(_elapsed) => self.conclude(passage, Fetched::Failed(too_late())),
        }
    }

    /// Whether a response that another fetched may answer a request.
    fn is_for(&self, passage: &Passage<R>, stored: &Arc<Stored>) -> bool {
        let (method, headers) = (&passage.exchange.method, &passage.exchange.headers);
        // Whoever waits asked for the same ranges, so that a part is what it wants. The origin was asked.
        let asked = Asked { ranges: None, trusts_store: true, ..passage.asked.clone() };
        let variants = [Arc::clone(stored)];
        let decision = decide(method, headers, &asked, &variants, self.uptime.now(), self.now_ms());
        matches!(decision, Decision::Answer(_, Use::Hit(_)))
    }

    /// Fetches without letting others wait for it.
    async fn alone(self: &Arc<Self>, passage: &Passage<R>) -> Result<Response<Body>, RouteError> {
        let fetched = passage
            .deadline
            .bound(self.fetch(self.task(passage), None))
            .await
            .unwrap_or_else(|_elapsed| Fetched::Failed(too_late()));
        self.conclude(passage, fetched)
    }

    /// Refreshes what was just used, behind the answer.
    fn refresh(self: &Arc<Self>, exchange: Exchange, before: Arc<Stored>, variants: &Variants) {
        if let Joined::Leader(ticket) =
            self.flights.join(exchange.flight_key(variants, false, None))
        {
            let this = Arc::clone(self);
            let began = self.store.moment();
            let (exchange, before) = (Arc::new(exchange), Some(before));
            let task = Task { exchange, before, ranged: false, began };
            drop(R::spawn(async move {
                drop(this.fetch(task, Some(ticket)).await);
            }));
        }
    }

    /// The answer out of what a fetch brought, or out of a stale response if that may stand in.
    fn conclude(
        &self,
        passage: &Passage<R>,
        fetched: Fetched,
    ) -> Result<Response<Body>, RouteError> {
        let Passage { exchange, asked, why, before, .. } = passage;
        let stand_in = |status: Option<u16>| {
            let stale = before.as_ref().filter(|stale| {
                let resident = stale.resident(self.uptime.now());
                let stale_max = Duration::from_millis(self.stale_max_ms.load(Ordering::Relaxed));
                *why != Why::Partial
                    && self.may_stand_in(passage, stale)
                    && usable_if_error(&stale.freshness, &asked.control, resident, stale_max)
            })?;
            Some(self.answer(exchange, asked, stale, Source::StaleIfError { status }))
        };
        match fetched {
            Fetched::Arriving { arriving, own, body } => {
                let status =
                    if arriving.part.is_some() { 206 } else { arriving.stored.status.as_u16() };
                let source = why.source(status, true);
                self.metrics.answered_from(source);
                let respondent = self.respondent(exchange, asked, source);
                Ok(respond::of_arriving(&respondent, &arriving, Some(own), body))
            }
            Fetched::Confirmed { stored, own } => {
                let own = Stored { headers: own, ..Stored::clone(&stored) };
                Ok(self.answer(exchange, asked, &own, Source::Revalidated))
            }
            Fetched::Passed(response, bypass) => {
                let status = response.status();
                let stale = is_origin_error(status).then(|| stand_in(Some(status.as_u16())));
                Ok(stale.flatten().unwrap_or_else(|| {
                    let source = match why {
                        Why::Request => Source::Request { status: status.as_u16(), stored: false },
                        _ => Source::Bypass(bypass),
                    };
                    self.passed(exchange, response, source)
                }))
            }
            Fetched::Failed(error) => stand_in(None).ok_or(error),
        }
    }

    /// Whether no purge since a request came, known or not, may be about what was stored for it then.
    fn may_stand_in(&self, passage: &Passage<R>, stored: &Stored) -> bool {
        self.followed.trusts_store(self.uptime.now())
            && !self.store.is_purged(passage.began, &passage.exchange.key, &stored.tags)
    }

    pub(super) fn remember_uncacheable(&self, key: &CacheKey) {
        let until = self.uptime.now().saturating_add(self.options.uncacheable_memory);
        self.uncacheable.insert(key.clone(), until);
    }

    fn is_uncacheable(&self, key: &CacheKey) -> bool {
        self.uncacheable.get(key).is_some_and(|until| self.uptime.now() < until)
    }

    fn respondent<'a>(
        &'a self,
        exchange: &'a Exchange,
        asked: &'a Asked,
        source: Source,
    ) -> Respondent<'a> {
        Respondent {
            method: &exchange.method,
            request: &exchange.headers,
            ranges: asked.ranges.as_deref(),
            now: self.uptime.now(),
            now_ms: self.now_ms(),
            source,
            name: &self.name,
            coder: &self.coder,
            debugged: exchange.debugged.then_some(&exchange.key),
        }
    }

    fn answer(
        &self,
        exchange: &Exchange,
        asked: &Asked,
        stored: &Stored,
        source: Source,
    ) -> Response<Body> {
        self.metrics.answered_from(source);
        respond::of_stored(&self.respondent(exchange, asked, source), stored)
    }

    pub(super) fn passed(
        &self,
        exchange: &Exchange,
        response: Response<Body>,
        source: Source,
    ) -> Response<Body> {
        self.metrics.answered_from(source);
        let source = match source {
            Source::Request { stored, .. } => {
                Source::Request { status: response.status().as_u16(), stored }
            }
            source => source,
        };
        let debugged = exchange.debugged.then_some(&exchange.key);
        respond::of_passed(response, source, &self.name, debugged)
    }

    pub(super) fn with_status(&self, error: RouteError) -> RouteError {
        self.metrics.answered_from(Source::Failed);
        if error.cache_status.is_some() {
            return error;
        }
        error.with_cache_status(Source::Failed.member(&self.name))
    }
}

fn too_late() -> RouteError {
    RouteError::new(Problem::OriginTimeout, "the origin did not answer in time")
}
