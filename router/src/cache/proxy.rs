//! The way of a proxied request through the cache.

use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use http::{HeaderName, Method, Request, Response, header};
use moka::sync::Cache;
use openraft_rt::AsyncRuntime;
use serde::Serialize;
use tokio::sync::oneshot;

use super::{
    body::{empty, full},
    control::CacheControl,
    fetch::{Exchange, Fetched, bad_target},
    flight::{FlightKey, FlightLimits, Flights, Joined, Landing, Waiter},
    headers::came_through,
    key::CacheKey,
    options::CacheOptions,
    policy::{Use, is_origin_error, request_may_use_cache, selecting},
    respond,
    store::{Found, Store, Stored},
};
use crate::{
    breakers::Class,
    deadline::Deadline,
    error::{Problem, RouteError},
    metrics::Metrics,
    origin::{OriginClient, Uptime},
    port::{Body, Client, Clock},
    router::Fallback,
    status::{Bypass, Source},
};

/// URIs that are remembered as uncacheable or as invalidated; beyond these the oldest are
/// forgotten, which costs waiting or, at worst, one stale entry until it expires.
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
    pub(super) clock: Arc<dyn Clock>,
    pub(super) uptime: Uptime<R>,
    flights: Flights,
    uncacheable: Cache<CacheKey, Duration>,
    invalidated: Cache<CacheKey, Duration>,
    metrics: Metrics,
}

/// Why a request goes to the origin.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Why {
    UriMiss,
    VaryMiss,
    Stale,
    Request,
}

impl Why {
    const fn source(self, status: u16, stored: bool, confirmed: bool) -> Source {
        match self {
            Self::Stale | Self::Request if confirmed => Source::Revalidated,
            Self::Stale => Source::Updated { status, stored },
            Self::UriMiss => Source::Miss { status, stored },
            Self::VaryMiss => Source::VaryMiss { status, stored },
            Self::Request => Source::Request { status, stored },
        }
    }
}

impl<R: AsyncRuntime> HttpCache<R> {
    pub(crate) fn new(
        options: CacheOptions,
        name: String,
        origin: OriginClient<R>,
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
            flights: Flights::new(limits),
            uncacheable: Cache::new(REMEMBERED_MAX),
            invalidated: Cache::new(REMEMBERED_MAX),
            options,
            name,
            origin,
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
        CacheStats { entries, bytes, bytes_max: self.options.bytes_max }
    }

    /// Answers a proxied request.
    pub(crate) async fn handle(
        self: &Arc<Self>,
        request: Request<Body>,
        client: Client,
        deadline: Deadline<R>,
    ) -> Result<Response<Body>, RouteError> {
        let (parts, body) = request.into_parts();
        let exchange = Exchange::new(parts, client, &self.options.host);
        self.route(exchange, body, deadline).await.map_err(|error| self.with_status(error))
    }

    async fn route(
        self: &Arc<Self>,
        exchange: Exchange,
        body: Body,
        deadline: Deadline<R>,
    ) -> Result<Response<Body>, RouteError> {
        if came_through(&exchange.headers, &self.name) {
            let detail = "the request came through this node before: the origin points back here";
            return Err(RouteError::new(Problem::OriginUnavailable, detail).with_status(508));
        }
        if exchange.method == Method::CONNECT {
            return Err(RouteError::new(Problem::MethodNotAllowed, "tunnels are not offered"));
        }
        match request_may_use_cache(&exchange.method, &exchange.headers) {
            Ok(()) => self.cached(exchange, deadline).await,
            Err(Bypass::Rule("method")) => self.pass(&exchange, body, None, deadline).await,
            Err(bypass) => self.pass(&exchange, body, Some(bypass), deadline).await,
        }
    }

    /// Lets the origin answer in the mesh's place; the response is not stored.
    pub(crate) async fn fetch_fallback(
        &self,
        fallback: Fallback,
        class: Class,
        deadline: Deadline<R>,
    ) -> Result<Response<Body>, RouteError> {
        let Fallback { method, target, headers, body, client } = fallback;
        let mut request = Request::new(());
        *request.method_mut() = method;
        *request.uri_mut() = target.parse().map_err(|_invalid| bad_target())?;
        *request.headers_mut() = headers;
        let exchange = Exchange::new(request.into_parts().0, client, &self.options.host);
        let request = exchange.upstream(full(body), &self.name).ok_or_else(bad_target)?;
        let response = self
            .origin
            .fetch(class, request, deadline)
            .await
            .map_err(|failure| self.with_status(failure.to_error(false)))?;
        let source = Source::OriginFallback { status: response.status().as_u16() };
        Ok(self.passed(response, source))
    }

    /// Forgets what is stored under a path of an authority.
    pub(crate) fn invalidate(&self, scheme: &str, authority: &str, target: &str) {
        self.invalidate_key(CacheKey::new(scheme, authority, target));
    }

    async fn cached(
        self: &Arc<Self>,
        exchange: Exchange,
        deadline: Deadline<R>,
    ) -> Result<Response<Body>, RouteError> {
        let now = self.uptime.now();
        let (why, stale, vary) = match self.store.find(&exchange.key, &exchange.headers) {
            Found::Nothing => (Why::UriMiss, None, Vec::new()),
            Found::OtherVariant(vary) => (Why::VaryMiss, None, vary),
            Found::Response(stored) => {
                let vary = stored.vary.clone();
                match stored.freshness.usable(&exchange.headers, stored.resident(now)) {
                    Use::Fresh(ttl) => {
                        return Ok(self.answer(&exchange, &stored, Source::Hit { ttl }));
                    }
                    Use::WhileRevalidate(ttl) => {
                        let source = Source::StaleWhileRevalidate { ttl };
                        let response = self.answer(&exchange, &stored, source);
                        self.refresh(exchange, stored, vary);
                        return Ok(response);
                    }
                    Use::Revalidate => (Why::Stale, Some(stored), vary),
                    Use::RequestForbids => (Why::Request, Some(stored), vary),
                }
            }
        };
        if CacheControl::of(&exchange.headers).only_if_cached {
            let detail = "nothing that may be used is stored, and the request asks for no more";
            return Err(RouteError::new(Problem::OriginTimeout, detail));
        }
        if exchange.method == Method::HEAD {
            return self.head(&exchange, why, deadline).await;
        }
        let exchange = Arc::new(exchange);
        let alone = why == Why::Request || self.is_uncacheable(&exchange.key);
        if alone {
            return self.alone(&exchange, stale, why, deadline).await;
        }
        let selected_by = selecting(&vary, &exchange.headers);
        let key = FlightKey { uri: exchange.key.clone(), selected_by };
        match self.flights.join(key) {
            Joined::Leader(ticket) => {
                // The fetch goes on when its client goes away: others wait for it.
                let (sender, fetched) = oneshot::channel();
                let (this, shared) = (Arc::clone(self), Arc::clone(&exchange));
                let before = stale.clone();
                drop(R::spawn(async move {
                    let fetched = this.fetch(&shared, before.as_ref(), Some(ticket)).await;
                    // The client may have gone.
                    sender.send(fetched).ok();
                }));
                let fetched = match deadline.bound(fetched).await {
                    Ok(Ok(fetched)) => fetched,
                    Ok(Err(_closed)) => Fetched::Failed(gone()),
                    Err(_elapsed) => Fetched::Failed(too_late()),
                };
                self.conclude(&exchange, fetched, stale.as_ref(), why)
            }
            Joined::Waiter(waiter) => self.wait(exchange, waiter, stale, why, deadline).await,
            Joined::Full => self.alone(&exchange, stale, why, deadline).await,
            Joined::Crowded => {
                let detail = "too many requests wait for the same response of the origin";
                let error = RouteError::new(Problem::Overloaded, detail);
                self.conclude(&exchange, Fetched::Failed(error), stale.as_ref(), why)
            }
        }
    }

    /// Waits for the fetch of another.
    async fn wait(
        self: &Arc<Self>,
        exchange: Arc<Exchange>,
        waiter: Waiter,
        stale: Option<Arc<Stored>>,
        why: Why,
        deadline: Deadline<R>,
    ) -> Result<Response<Body>, RouteError> {
        self.metrics.coalesced();
        let landed = deadline.bound(waiter.landed()).await;
        let failed = |error| self.conclude(&exchange, Fetched::Failed(error), stale.as_ref(), why);
        match landed {
            Ok(Some(Landing::Stored { stored, shareable: true })) => {
                let credentials = exchange.headers.contains_key(header::AUTHORIZATION);
                let mine = stored.matches(&exchange.headers)
                    && (!credentials || stored.freshness.for_authorized);
                if mine {
                    let source = Source::Collapsed { stale: why == Why::Stale };
                    return Ok(self.answer(&exchange, &stored, source));
                }
                self.alone(&exchange, stale, why, deadline).await
            }
            Ok(Some(Landing::Stored { shareable: false, .. } | Landing::Uncacheable)) => {
                self.alone(&exchange, stale, why, deadline).await
            }
            Ok(Some(Landing::Failed(error))) => failed(*error),
            Ok(None) => failed(gone()),
            Err(_elapsed) => failed(too_late()),
        }
    }

    /// Fetches without letting others wait for it.
    async fn alone(
        &self,
        exchange: &Exchange,
        stale: Option<Arc<Stored>>,
        why: Why,
        deadline: Deadline<R>,
    ) -> Result<Response<Body>, RouteError> {
        let fetched = deadline
            .bound(self.fetch(exchange, stale.as_ref(), None))
            .await
            .unwrap_or_else(|_elapsed| Fetched::Failed(too_late()));
        self.conclude(exchange, fetched, stale.as_ref(), why)
    }

    /// Refreshes what was just used, behind the answer.
    fn refresh(self: &Arc<Self>, exchange: Exchange, stale: Arc<Stored>, vary: Vec<HeaderName>) {
        let selected_by = selecting(&vary, &exchange.headers);
        let key = FlightKey { uri: exchange.key.clone(), selected_by };
        if let Joined::Leader(ticket) = self.flights.join(key) {
            let this = Arc::clone(self);
            drop(R::spawn(async move {
                drop(this.fetch(&exchange, Some(&stale), Some(ticket)).await);
            }));
        }
    }

    /// The answer out of what a fetch brought, or out of a stale response if that may stand in.
    fn conclude(
        &self,
        exchange: &Exchange,
        fetched: Fetched,
        stale: Option<&Arc<Stored>>,
        why: Why,
    ) -> Result<Response<Body>, RouteError> {
        let stand_in = |status: Option<u16>| {
            let stale = stale.filter(|stale| {
                let resident = stale.resident(self.uptime.now());
                let stale_max = Duration::from_millis(self.stale_max_ms.load(Ordering::Relaxed));
                stale.freshness.usable_if_error(&exchange.headers, resident, stale_max)
            })?;
            Some(self.answer(exchange, stale, Source::StaleIfError { status }))
        };
        match fetched {
            Fetched::Stored { stored, confirmed } => {
                let source = why.source(stored.status.as_u16(), true, confirmed);
                Ok(self.answer(exchange, &stored, source))
            }
            Fetched::Passed(response, bypass) => {
                let status = response.status();
                let stale = is_origin_error(status).then(|| stand_in(Some(status.as_u16())));
                Ok(stale.flatten().unwrap_or_else(|| {
                    let source = match why {
                        Why::Request => Source::Request { status: status.as_u16(), stored: false },
                        Why::UriMiss | Why::VaryMiss | Why::Stale => Source::Bypass(bypass),
                    };
                    self.passed(response, source)
                }))
            }
            Fetched::Failed(error) => stand_in(None).ok_or(error),
        }
    }

    /// Passes a HEAD on that nothing stored answers.
    async fn head(
        &self,
        exchange: &Exchange,
        why: Why,
        deadline: Deadline<R>,
    ) -> Result<Response<Body>, RouteError> {
        let response = self.send(exchange, empty(), deadline).await?;
        let source = why.source(response.status().as_u16(), false, false);
        Ok(self.passed(response, source))
    }

    /// Passes a request on as it is. `bypass` is `None` when its method is what keeps it from the
    /// cache.
    async fn pass(
        &self,
        exchange: &Exchange,
        body: Body,
        bypass: Option<Bypass>,
        deadline: Deadline<R>,
    ) -> Result<Response<Body>, RouteError> {
        let response = self.send(exchange, body, deadline).await?;
        let is_error = response.status().is_client_error() || response.status().is_server_error();
        if !exchange.method.is_safe() && !is_error {
            self.invalidate_after_write(exchange, &response);
        }
        Ok(self.passed(response, bypass.map_or(Source::Method, Source::Bypass)))
    }

    async fn send(
        &self,
        exchange: &Exchange,
        body: Body,
        deadline: Deadline<R>,
    ) -> Result<Response<Body>, RouteError> {
        let request = exchange.upstream(body, &self.name).ok_or_else(bad_target)?;
        let deadline = deadline.at_most(self.options.origin_timeout);
        let is_write = !exchange.method.is_safe();
        self.origin
            .fetch(Class::Proxy, request, deadline)
            .await
            .map_err(|failure| failure.to_error(is_write))
    }

    /// RFC 9111 §4.4.
    fn invalidate_after_write(&self, exchange: &Exchange, response: &Response<Body>) {
        self.invalidate_key(exchange.key.clone());
        for field in [header::LOCATION, header::CONTENT_LOCATION] {
            let reference = response.headers().get(field).and_then(|value| value.to_str().ok());
            let key = reference.and_then(|reference| {
                let (scheme, authority) = (exchange.client.scheme, &exchange.authority);
                CacheKey::of_reference(scheme, authority, &exchange.target, reference)
            });
            if let Some(key) = key {
                self.invalidate_key(key);
            }
        }
    }

    fn invalidate_key(&self, key: CacheKey) {
        // First the mark, so that a fetch that began before cannot store behind the removal.
        self.invalidated.insert(key.clone(), self.uptime.now());
        self.store.invalidate(key);
    }

    /// Whether a write went through after `began`.
    pub(super) fn invalidated_since(&self, key: &CacheKey, began: Duration) -> bool {
        self.invalidated.get(key).is_some_and(|at| at >= began)
    }

    pub(super) fn remember_uncacheable(&self, key: &CacheKey) {
        let until = self.uptime.now().saturating_add(self.options.uncacheable_memory);
        self.uncacheable.insert(key.clone(), until);
    }

    fn is_uncacheable(&self, key: &CacheKey) -> bool {
        self.uncacheable.get(key).is_some_and(|until| self.uptime.now() < until)
    }

    fn answer(&self, exchange: &Exchange, stored: &Stored, source: Source) -> Response<Body> {
        self.metrics.answered_from(source);
        let now = self.uptime.now();
        respond::of_stored(stored, &exchange.method, &exchange.headers, now, source, &self.name)
    }

    fn passed(&self, response: Response<Body>, source: Source) -> Response<Body> {
        self.metrics.answered_from(source);
        respond::of_passed(response, source, &self.name)
    }

    fn with_status(&self, error: RouteError) -> RouteError {
        self.metrics.answered_from(Source::Failed);
        if error.cache_status.is_some() {
            return error;
        }
        error.with_cache_status(Source::Failed.member(&self.name))
    }
}

fn gone() -> RouteError {
    RouteError::new(Problem::OriginUnavailable, "the request to the origin was given up")
}

fn too_late() -> RouteError {
    RouteError::new(Problem::OriginTimeout, "the origin did not answer in time")
}
