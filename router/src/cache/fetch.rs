//! One fetch from the origin on behalf of the cache.

use std::sync::Arc;

use bytes::Bytes;
use http::{HeaderMap, Method, Request, Response, StatusCode, Version, header};
use openraft_rt::AsyncRuntime;

use super::{
    body::{Collected, collect, empty, full},
    flight::{Landing, Ticket},
    headers::{add_via, freshen, set_forwarded, strip_hop_by_hop},
    key::CacheKey,
    options::OriginHost,
    policy::{FetchTimes, Freshness, is_origin_error, may_store, selecting, vary_names},
    proxy::HttpCache,
    store::Stored,
};
use crate::{
    breakers::Class,
    deadline::Deadline,
    error::{Problem, RouteError},
    port::{Body, BodyError, Client},
    status::Bypass,
};

/// A client's request without its body.
#[derive(Debug)]
pub(super) struct Exchange {
    pub(super) method: Method,
    /// Path and query.
    pub(super) target: String,
    pub(super) version: Version,
    pub(super) headers: HeaderMap,
    pub(super) client: Client,
    /// The authority that the origin sees.
    pub(super) authority: String,
    pub(super) key: CacheKey,
}

impl Exchange {
    pub(super) fn new(parts: http::request::Parts, client: Client, host: &OriginHost) -> Self {
        let authority = match host {
            OriginHost::Pass => client.authority.clone(),
            OriginHost::Fixed(authority) => authority.clone(),
        };
        let target = parts.uri.path_and_query().map_or_else(|| "/".to_owned(), ToString::to_string);
        let key = CacheKey::new(client.scheme, &authority, &target);
        let (method, version, headers) = (parts.method, parts.version, parts.headers);
        Self { method, target, version, headers, client, authority, key }
    }

    /// The request that the origin gets.
    pub(super) fn upstream(&self, body: Body, name: &str) -> Option<Request<Body>> {
        let mut headers = self.headers.clone();
        strip_hop_by_hop(&mut headers);
        set_forwarded(&mut headers, &self.client);
        add_via(&mut headers, self.version, name);
        headers.insert(header::HOST, self.authority.parse().ok()?);
        let mut request = Request::new(body);
        *request.method_mut() = self.method.clone();
        *request.uri_mut() = self.target.parse().ok()?;
        *request.headers_mut() = headers;
        Some(request)
    }

    /// The same for a response that is to be stored: without the client's own conditions, and with
    /// those that confirm what is stored already.
    fn upstream_for_store(&self, stale: Option<&Stored>, name: &str) -> Option<Request<Body>> {
        let mut request = self.upstream(empty(), name)?;
        let headers = request.headers_mut();
        for condition in [
            header::IF_NONE_MATCH,
            header::IF_MODIFIED_SINCE,
            header::IF_MATCH,
            header::IF_UNMODIFIED_SINCE,
            header::IF_RANGE,
            header::CONTENT_LENGTH,
        ] {
            headers.remove(condition);
        }
        let validators = [
            (header::ETAG, header::IF_NONE_MATCH),
            (header::LAST_MODIFIED, header::IF_MODIFIED_SINCE),
        ];
        for (validator, condition) in validators {
            if let Some(value) = stale.and_then(|stale| stale.headers.get(validator)) {
                headers.insert(condition, value.clone());
            }
        }
        Some(request)
    }
}

/// What a fetch brought.
pub(super) enum Fetched {
    /// A response that is stored now.
    Stored {
        stored: Arc<Stored>,
        /// Whether the origin confirmed what was stored before.
        confirmed: bool,
    },
    /// A response that is not stored.
    Passed(Response<Body>, Bypass),
    /// Nothing.
    Failed(RouteError),
}

impl<R: AsyncRuntime> HttpCache<R> {
    /// Fetches, stores what may be stored, and lands the flight if there is one.
    pub(super) async fn fetch(
        &self,
        exchange: &Exchange,
        stale: Option<&Arc<Stored>>,
        ticket: Option<Ticket>,
    ) -> Fetched {
        let fetched = self.fetch_and_store(exchange, stale).await;
        let landing = match &fetched {
            Fetched::Stored { stored, .. } => {
                let shareable = !stored.freshness.no_cache
                    && stored.freshness.ttl(stored.resident(self.uptime.now())) > 0;
                if !shareable {
                    self.remember_uncacheable(&exchange.key);
                }
                Landing::Stored { stored: Arc::clone(stored), shareable }
            }
            Fetched::Passed(response, _) if is_origin_error(response.status()) => {
                let detail = format!("the origin answered {}", response.status().as_u16());
                let error = RouteError::new(Problem::OriginUnavailable, detail);
                Landing::Failed(Box::new(error))
            }
            Fetched::Passed(..) => {
                self.remember_uncacheable(&exchange.key);
                Landing::Uncacheable
            }
            Fetched::Failed(error) => Landing::Failed(Box::new(error.clone())),
        };
        if let Some(ticket) = ticket {
            ticket.land(landing);
        }
        fetched
    }

    async fn fetch_and_store(&self, exchange: &Exchange, stale: Option<&Arc<Stored>>) -> Fetched {
        let validator = stale.map(AsRef::as_ref);
        let Some(request) = exchange.upstream_for_store(validator, &self.name) else {
            return Fetched::Failed(bad_target());
        };
        let began = self.uptime.now();
        let deadline = Deadline::after(self.options.origin_timeout);
        let response = match self.origin.fetch(Class::Proxy, request, deadline).await {
            Ok(response) => response,
            Err(failure) => return Fetched::Failed(failure.to_error(false)),
        };
        let arrived = self.uptime.now();
        let times =
            FetchTimes { received_ms: self.clock.wall_ms(), delay: arrived.saturating_sub(began) };
        let (parts, body) = response.into_parts();
        let mut head = parts.headers;
        strip_hop_by_hop(&mut head);
        let (status, confirmed, body) = match stale {
            Some(stale) if parts.status == StatusCode::NOT_MODIFIED => {
                let mut merged = stale.headers.clone();
                freshen(&mut merged, &head);
                head = merged;
                (stale.status, true, full(stale.body.clone()))
            }
            _ => (parts.status, false, body),
        };
        let freshness = match may_store(&exchange.headers, status, &head, times) {
            Ok(freshness) => freshness,
            Err(bypass) => {
                // What was stored is no longer what the origin gives, unless it is just failing.
                if stale.is_some() && !is_origin_error(status) {
                    self.store.invalidate(exchange.key.clone());
                }
                return Fetched::Passed(rebuild(status, head, body), bypass);
            }
        };
        match self.take_in(&head, body).await {
            Ok(Collected::Whole(bytes)) => {
                let stored = stored(exchange, status, head, bytes, freshness, arrived);
                let stored = Arc::new(stored);
                if !self.invalidated_since(&exchange.key, began) {
                    self.store.put(exchange.key.clone(), Arc::clone(&stored));
                }
                Fetched::Stored { stored, confirmed }
            }
            Ok(Collected::Longer(body)) => {
                Fetched::Passed(rebuild(status, head, body), Bypass::Rule("size"))
            }
            Err(error) => {
                let detail = format!("the origin's response broke off: {error}");
                Fetched::Failed(RouteError::new(Problem::OriginUnavailable, detail))
            }
        }
    }

    /// Reads the body, unless its length says already that it is too long.
    async fn take_in(&self, head: &HeaderMap, body: Body) -> Result<Collected, BodyError> {
        let length: Option<u64> =
            head.get(header::CONTENT_LENGTH).and_then(|length| length.to_str().ok()?.parse().ok());
        let bytes_max = self.options.object_bytes_max;
        if length.is_some_and(|length| length > bytes_max as u64) {
            return Ok(Collected::Longer(body));
        }
        Deadline::<R>::after(self.options.body_timeout).bound(collect(body, bytes_max)).await?
    }
}

fn stored(
    exchange: &Exchange,
    status: StatusCode,
    mut headers: HeaderMap,
    body: Bytes,
    freshness: Freshness,
    arrived: std::time::Duration,
) -> Stored {
    // Its age is counted from here on.
    headers.remove(header::AGE);
    let vary = vary_names(&headers).unwrap_or_default();
    let selected_by = selecting(&vary, &exchange.headers);
    Stored { status, headers, body, freshness, arrived, vary, selected_by }
}

fn rebuild(status: StatusCode, headers: HeaderMap, body: Body) -> Response<Body> {
    let mut response = Response::new(body);
    *response.status_mut() = status;
    *response.headers_mut() = headers;
    response
}

pub(super) fn bad_target() -> RouteError {
    RouteError::new(Problem::InvalidRequest, "the target or the authority is not valid")
        .with_status(400)
}
