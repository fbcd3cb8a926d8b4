//! A client's request, and what of it the origin gets.

use std::sync::Arc;

use http::{HeaderMap, HeaderName, Method, Request, Version, header};

use super::{
    flight::FlightKey,
    headers::{
        add_cdn_loop, add_via, is_named_by_connection, is_rewritten, keep_cookies, set_forwarded,
        strip_hop_by_hop, strip_misleading,
    },
    interim::InterimSink,
    key::CacheKey,
    options::{CacheOptions, OriginHost},
    policy::{range::RangeSpec, reuse::varies_by, validation::conditions, vary::selecting},
    stored::Stored,
};
use crate::{
    cache::body::empty,
    coding::untag,
    port::{Body, Client},
};

/// What a client's own conditions are named; a fetch for the cache has none of them.
const CONDITIONS: [HeaderName; 5] = [
    header::IF_NONE_MATCH,
    header::IF_MODIFIED_SINCE,
    header::IF_MATCH,
    header::IF_UNMODIFIED_SINCE,
    header::CONTENT_LENGTH,
];

/// Marks a request whose sender is shown what else stays between caches: the key of the answer and its
/// tags.
#[derive(Debug, Clone, Copy, Default)]
pub struct Debugged;

/// A client's request without its body.
#[derive(Debug)]
pub(super) struct Exchange {
    pub(super) method: Method,
    /// Path and query; of a request that the cache may answer, as the rules leave them.
    pub(super) target: String,
    pub(super) version: Version,
    pub(super) headers: HeaderMap,
    pub(super) client: Client,
    /// The authority that the origin sees.
    pub(super) authority: String,
    pub(super) key: CacheKey,
    /// Whether its sender is shown what else stays between caches.
    pub(super) debugged: bool,
    /// Whether another node of the PoP asks, which stores what it gets as this one does.
    pub(super) for_peer: bool,
    /// Who takes interim responses.
    pub(super) interims: Option<InterimSink>,
}

impl Exchange {
    pub(super) fn new(parts: http::request::Parts, client: Client, options: &CacheOptions) -> Self {
        let authority = match &options.host {
            OriginHost::Pass => client.authority.clone(),
            OriginHost::Fixed(authority) => authority.clone(),
        };
        let given = parts.uri.path_and_query().map_or("/", |target| target.as_str());
        let counts = options.query.apply(given);
        let key = CacheKey::new(client.scheme, &authority, &counts);
        let debugged = parts.extensions.get::<Debugged>().is_some();
        let interims = parts.extensions.get::<InterimSink>().cloned();
        let (method, version, mut headers) = (parts.method, parts.version, parts.headers);
        let target = if matches!(method, Method::GET | Method::HEAD) {
            keep_cookies(&mut headers, options.cookies.as_deref());
            counts
        } else {
            given.to_owned()
        };
        let for_peer = false;
        Self {
            method,
            target,
            version,
            headers,
            client,
            authority,
            key,
            debugged,
            for_peer,
            interims,
        }
    }

    /// Gives the fields that the origin does not get as the client sent them the values that it gets: a
    /// response that varies by one of them was chosen by those (RFC 9111 §4.1), whatever clients claim.
    pub(super) fn rewrite(&mut self) {
        strip_hop_by_hop(&mut self.headers);
        strip_misleading(&mut self.headers, &self.method);
        set_forwarded(&mut self.headers, &self.client, &self.authority);
    }

    /// The same where one of these responses varies by such a field. Few do, and hits are to be quick.
    ///
    /// So the one that is selected stays selected after [`rewrite`](Self::rewrite): the origin, asked about another,
    /// would confirm a representation that it never meant.
    pub(super) fn rewrite_for(&mut self, variants: &[Arc<Stored>]) {
        let gets_another = |name| is_rewritten(name) || is_named_by_connection(&self.headers, name);
        if variants.iter().any(|stored| stored.vary.iter().any(gets_another)) {
            self.rewrite();
        }
    }

    /// The request that the origin gets.
    pub(super) fn upstream(&self, body: Body, name: &str) -> Option<Request<Body>> {
        let mut headers = self.headers.clone();
        strip_hop_by_hop(&mut headers);
        strip_misleading(&mut headers, &self.method);
        untag(&mut headers);
        set_forwarded(&mut headers, &self.client, &self.authority);
        add_via(&mut headers, self.version, name);
        add_cdn_loop(&mut headers, name);
        headers.insert(header::HOST, self.authority.parse().ok()?);
        let mut request = Request::new(body);
        *request.method_mut() = self.method.clone();
        *request.uri_mut() = self.target.parse().ok()?;
        *request.headers_mut() = headers;
        Some(request)
    }

    /// The same for a response that is to be stored: a GET, also where a HEAD found it stale, without the
    /// client's own conditions, and with those that confirm `validated`. `ranged`: the origin is asked for the client's ranges.
    pub(super) fn upstream_for_store(
        &self,
        validated: Option<&Stored>,
        ranged: bool,
        name: &str,
    ) -> Option<Request<Body>> {
        let mut request = self.upstream(empty(), name)?;
        *request.method_mut() = Method::GET;
        let headers = request.headers_mut();
        for condition in CONDITIONS {
            headers.remove(condition);
        }
        if !ranged {
            headers.remove(header::RANGE);
            headers.remove(header::IF_RANGE);
        }
        for (name, value) in validated.into_iter().flat_map(|stored| conditions(&stored.headers)) {
            headers.insert(name, value);
        }
        Some(request)
    }

    /// Whether the origin is asked for the client's ranges: only when no whole body is stored that
    /// they could be cut from.
    pub(super) fn forwards_ranges(asked: Option<&[RangeSpec]>, stored: Option<&Stored>) -> bool {
        asked.is_some() && !stored.is_some_and(|stored| stored.payload.is_whole())
    }

    /// What a fetch for this request is shared by.
    pub(super) fn flight_key(
        &self,
        variants: &[Arc<Stored>],
        ranged: bool,
        window: Option<u64>,
        by_owner: bool,
    ) -> FlightKey {
        let selected_by = selecting(&varies_by(variants), &self.headers);
        let range = if ranged {
            [header::RANGE, header::IF_RANGE]
                .iter()
                .map(|name| self.headers.get(name).map_or(Vec::new(), |v| v.as_bytes().to_vec()))
                .collect()
        } else {
            Vec::new()
        };
        FlightKey { uri: self.key.clone(), selected_by, range, window, by_owner }
    }
}
