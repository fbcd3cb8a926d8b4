//! Answers made of stored and of passed-on responses.

use std::time::Duration;

use http::{HeaderMap, HeaderName, HeaderValue, Method, Response, StatusCode, Version, header};

use super::{
    body::{empty, full},
    headers::{add_via, strip_hop_by_hop},
    policy::client_has,
    store::Stored,
};
use crate::{
    port::Body,
    status::{CACHE_STATUS_HEADER, Source, append},
};

const CACHE_STATUS: HeaderName = HeaderName::from_static(CACHE_STATUS_HEADER);

/// What of a stored response goes into a 304 (RFC 9110 §15.4.5), besides what names the cache.
const IN_NOT_MODIFIED: [HeaderName; 7] = [
    header::CACHE_CONTROL,
    header::CONTENT_LOCATION,
    header::DATE,
    header::ETAG,
    header::EXPIRES,
    header::LAST_MODIFIED,
    header::VARY,
];

/// The answer to a GET or HEAD out of a stored response.
pub(super) fn of_stored(
    stored: &Stored,
    method: &Method,
    request: &HeaderMap,
    now: Duration,
    source: Source,
    name: &str,
) -> Response<Body> {
    let not_modified = stored.status == StatusCode::OK && client_has(request, &stored.headers);
    let mut response = if not_modified {
        let mut response = Response::new(empty());
        *response.status_mut() = StatusCode::NOT_MODIFIED;
        for name in &IN_NOT_MODIFIED {
            for value in stored.headers.get_all(name) {
                response.headers_mut().append(name, value.clone());
            }
        }
        if let Some(upstream) = stored.headers.get(&CACHE_STATUS) {
            response.headers_mut().insert(CACHE_STATUS, upstream.clone());
        }
        response
    } else {
        let body = if *method == Method::HEAD { empty() } else { full(stored.body.clone()) };
        let mut response = Response::new(body);
        *response.status_mut() = stored.status;
        response.headers_mut().clone_from(&stored.headers);
        if stored.status != StatusCode::NO_CONTENT {
            response.headers_mut().insert(header::CONTENT_LENGTH, stored.body.len().into());
        }
        response
    };
    let age = stored.freshness.age(stored.resident(now)).as_secs();
    response.headers_mut().insert(header::AGE, age.into());
    sign(response.headers_mut(), Version::HTTP_11, source, name);
    response
}

/// A response of the origin on its way through.
pub(super) fn of_passed(response: Response<Body>, source: Source, name: &str) -> Response<Body> {
    let (mut parts, body) = response.into_parts();
    strip_hop_by_hop(&mut parts.headers);
    sign(&mut parts.headers, parts.version, source, name);
    // The version is that of the origin's connection.
    let mut response = Response::new(body);
    *response.status_mut() = parts.status;
    *response.headers_mut() = parts.headers;
    response
}

/// Adds what says that this node was on the way.
fn sign(headers: &mut HeaderMap, version: Version, source: Source, name: &str) {
    let upstream: Vec<&str> =
        headers.get_all(&CACHE_STATUS).iter().filter_map(|line| line.to_str().ok()).collect();
    let value = append(Some(&upstream.join(", ")), &source.member(name));
    if let Ok(value) = HeaderValue::from_str(&value) {
        headers.insert(CACHE_STATUS, value);
    }
    add_via(headers, version, name);
}
