//! What a shared cache may store, for how long, and when it may use what it stored (RFC 9111,
//! RFC 5861). Pure: times come in as arguments.

use std::time::Duration;

use http::{HeaderMap, HeaderName, Method, StatusCode, header};

use super::control::{CacheControl, http_date_ms, split_outside_quotes};
use crate::status::Bypass;

/// Statuses whose responses are stored: those that RFC 9110 §15.1 calls heuristically cacheable
/// (except 206, since ranges are not assembled), and temporary redirects with explicit freshness.
const STORABLE: [u16; 14] = [200, 203, 204, 300, 301, 302, 307, 308, 404, 405, 410, 414, 451, 501];

/// How a stored response may be used.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Freshness {
    /// How long it is fresh, from when it was made.
    pub(crate) lifetime: Duration,
    /// How old it was when it arrived.
    pub(crate) initial_age: Duration,
    /// For how long after that it may be used while it is refreshed.
    pub(crate) stale_while_revalidate: Duration,
    /// For how long after that it may be used when the origin fails.
    pub(crate) stale_if_error: Duration,
    /// It may never be used stale.
    pub(crate) must_revalidate: bool,
    /// It may never be used without asking the origin.
    pub(crate) no_cache: bool,
    /// It was declared fit for requests with credentials (RFC 9111 §3.5).
    pub(crate) for_authorized: bool,
}

/// What a request with a stored response leads to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Use {
    /// Answer with it; seconds of freshness left.
    Fresh(i64),
    /// Answer with it and refresh it in the background; seconds of freshness left, negative.
    WhileRevalidate(i64),
    /// Ask the origin first.
    Revalidate,
    /// It is fresh, but not by what the client asks for.
    RequestForbids,
}

/// Times at which a response was fetched.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct FetchTimes {
    /// The wall clock when it arrived, in milliseconds since the Unix epoch.
    pub(crate) received_ms: u64,
    /// Between sending the request and receiving the head of the response.
    pub(crate) delay: Duration,
}

/// Whether a request may be answered from the cache at all.
///
/// # Errors
/// The reason why it goes past it.
pub(crate) fn request_may_use_cache(method: &Method, headers: &HeaderMap) -> Result<(), Bypass> {
    let control = CacheControl::of(headers);
    if *method != Method::GET && *method != Method::HEAD {
        Err(Bypass::Rule("method"))
    } else if control.no_store {
        Err(Bypass::NoStore)
    } else if headers.contains_key(header::RANGE) {
        Err(Bypass::Rule("range"))
    } else {
        Ok(())
    }
}

/// Whether a response to a GET may be stored, and how it may be used then.
///
/// # Errors
/// The reason why not.
pub(crate) fn may_store(
    request: &HeaderMap,
    status: StatusCode,
    response: &HeaderMap,
    times: FetchTimes,
) -> Result<Freshness, Bypass> {
    let control = CacheControl::of(response);
    if control.no_store {
        return Err(Bypass::NoStore);
    }
    if control.private {
        return Err(Bypass::Private);
    }
    if response.contains_key(header::SET_COOKIE) {
        return Err(Bypass::SetCookie);
    }
    let for_authorized = control.public || control.s_maxage.is_some() || control.must_revalidate;
    if request.contains_key(header::AUTHORIZATION) && !for_authorized {
        return Err(Bypass::Authorization);
    }
    if !STORABLE.contains(&status.as_u16()) {
        return Err(Bypass::Rule("status"));
    }
    if vary_names(response).is_none() {
        return Err(Bypass::Rule("vary"));
    }
    let lifetime = lifetime(&control, response, times);
    let has_validator =
        response.contains_key(header::ETAG) || response.contains_key(header::LAST_MODIFIED);
    if lifetime.is_zero() && !(has_validator && status == StatusCode::OK) {
        return Err(Bypass::Rule("no-freshness"));
    }
    Ok(Freshness {
        lifetime,
        initial_age: initial_age(response, times),
        stale_while_revalidate: control.stale_while_revalidate.unwrap_or_default(),
        stale_if_error: control.stale_if_error.unwrap_or_default(),
        // RFC 9111 §5.2.2.10: s-maxage implies proxy-revalidate.
        must_revalidate: control.must_revalidate || control.s_maxage.is_some(),
        no_cache: control.no_cache,
        for_authorized,
    })
}

/// RFC 9111 §4.2.1, for a shared cache. No heuristic: what does not say is checked each time.
fn lifetime(control: &CacheControl, response: &HeaderMap, times: FetchTimes) -> Duration {
    if let Some(explicit) = control.s_maxage.or(control.max_age) {
        return explicit;
    }
    if !response.contains_key(header::EXPIRES) {
        return Duration::ZERO;
    }
    let received = i64::try_from(times.received_ms).unwrap_or(i64::MAX);
    let date = http_date_ms(response, &header::DATE).unwrap_or(received);
    // An invalid date counts as the past (RFC 9111 §5.3).
    let expires = http_date_ms(response, &header::EXPIRES).unwrap_or(i64::MIN);
    Duration::from_millis(u64::try_from(expires.saturating_sub(date)).unwrap_or(0))
}

/// RFC 9111 §4.2.3.
fn initial_age(response: &HeaderMap, times: FetchTimes) -> Duration {
    let received = i64::try_from(times.received_ms).unwrap_or(i64::MAX);
    let apparent = http_date_ms(response, &header::DATE)
        .and_then(|date| u64::try_from(received.saturating_sub(date)).ok())
        .map_or(Duration::ZERO, Duration::from_millis);
    let age = response
        .get(header::AGE)
        .and_then(|age| age.to_str().ok()?.trim().parse().ok())
        .map_or(Duration::ZERO, |secs: u32| Duration::from_secs(u64::from(secs)));
    // A Date has whole seconds; that a response seems up to one second old says nothing.
    let apparent = apparent.saturating_sub(Duration::from_secs(1));
    apparent.max(age.saturating_add(times.delay))
}

/// The names of the request headers by which a response was chosen, in lower case, sorted;
/// `None` for `Vary: *` or one that cannot be read.
pub(crate) fn vary_names(response: &HeaderMap) -> Option<Vec<HeaderName>> {
    let mut names = Vec::new();
    for line in response.get_all(header::VARY) {
        for member in split_outside_quotes(line.as_bytes()) {
            if member == b"*" {
                return None;
            }
            names.push(HeaderName::from_bytes(member).ok()?);
        }
    }
    names.sort_by(|a, b| a.as_str().cmp(b.as_str()));
    names.dedup();
    Some(names)
}

/// The values of those headers in a request, each name's lines joined and trimmed.
pub(crate) fn selecting(names: &[HeaderName], request: &HeaderMap) -> Vec<Option<Vec<u8>>> {
    names
        .iter()
        .map(|name| {
            let mut lines = request.get_all(name).iter().peekable();
            lines.peek()?;
            let members: Vec<&[u8]> = lines
                .flat_map(|line| line.as_bytes().split(|byte| *byte == b','))
                .map(<[u8]>::trim_ascii)
                .collect();
            Some(members.join(&b","[..]))
        })
        .collect()
}

impl Freshness {
    /// The age of a response stored `resident` ago.
    pub(crate) const fn age(&self, resident: Duration) -> Duration {
        self.initial_age.saturating_add(resident)
    }

    /// How long it has been stale; zero while it is fresh.
    const fn staleness(&self, resident: Duration) -> Duration {
        self.age(resident).saturating_sub(self.lifetime)
    }

    /// Seconds of freshness left, negative when stale.
    pub(crate) fn ttl(&self, resident: Duration) -> i64 {
        let secs = |time: Duration| i64::try_from(time.as_secs()).unwrap_or(i64::MAX);
        let age = self.age(resident);
        if age < self.lifetime { secs(self.lifetime - age) } else { -secs(age - self.lifetime) }
    }

    /// Whether it may answer a request now.
    pub(crate) fn usable(&self, request: &HeaderMap, resident: Duration) -> Use {
        let control = CacheControl::of(request);
        let ttl = self.ttl(resident);
        if self.no_cache || (request.contains_key(header::AUTHORIZATION) && !self.for_authorized) {
            return Use::Revalidate;
        }
        let age = self.age(resident);
        let fresh = age < self.lifetime;
        let client_allows = !control.no_cache
            && control.max_age.is_none_or(|max| age <= max)
            && control.min_fresh.is_none_or(|min| age.saturating_add(min) < self.lifetime);
        if fresh {
            return if client_allows { Use::Fresh(ttl) } else { Use::RequestForbids };
        }
        let within = self.staleness(resident) < self.stale_while_revalidate;
        if within && !self.must_revalidate && client_allows {
            return Use::WhileRevalidate(ttl);
        }
        if control.no_cache { Use::RequestForbids } else { Use::Revalidate }
    }

    /// Whether it may stand in for an origin that failed. `stale_max` is what the operator allows
    /// beyond what the response does.
    pub(crate) fn usable_if_error(
        &self,
        request: &HeaderMap,
        resident: Duration,
        stale_max: Duration,
    ) -> bool {
        let control = CacheControl::of(request);
        if self.must_revalidate
            || self.no_cache
            || control.no_cache
            || (request.contains_key(header::AUTHORIZATION) && !self.for_authorized)
        {
            return false;
        }
        let allowed = self.stale_if_error.max(stale_max);
        let allowed = allowed.max(control.stale_if_error.unwrap_or_default().min(stale_max));
        let staleness = self.staleness(resident);
        staleness.is_zero() || staleness < allowed
    }
}

/// Whether a status of the origin counts as an error that a stale response may stand in for
/// (RFC 5861 §4).
pub(crate) const fn is_origin_error(status: StatusCode) -> bool {
    matches!(status.as_u16(), 500 | 502 | 503 | 504)
}

/// Whether a client's validators say that it already has this response (RFC 9110 §13.2.2, for GET
/// and HEAD): `If-None-Match` by weak comparison, else `If-Modified-Since`.
pub(crate) fn client_has(request: &HeaderMap, stored: &HeaderMap) -> bool {
    if request.contains_key(header::IF_NONE_MATCH) {
        let Some(etag) = stored.get(header::ETAG) else { return false };
        let etag = strip_weak(etag.as_bytes());
        return request.get_all(header::IF_NONE_MATCH).iter().any(|line| {
            split_outside_quotes(line.as_bytes())
                .any(|member| member == b"*" || strip_weak(member) == etag)
        });
    }
    match (
        http_date_ms(request, &header::IF_MODIFIED_SINCE),
        http_date_ms(stored, &header::LAST_MODIFIED),
    ) {
        (Some(since), Some(modified)) => modified <= since,
        _ => false,
    }
}

fn strip_weak(etag: &[u8]) -> &[u8] {
    etag.strip_prefix(b"W/").unwrap_or(etag)
}

#[cfg(test)]
#[path = "policy_tests.rs"]
mod tests;
