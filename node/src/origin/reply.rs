//! Building answers: validators, conditions, ranges.

use bytes::Bytes;
use hexpop_router::Problem as ProblemType;
use http::{
    HeaderMap, HeaderName, HeaderValue, Response, StatusCode,
    header::{self, IntoHeaderName},
};
use jiff::fmt::rfc2822;
use serde_json::Value;

use super::request::{Comparison, names};
use crate::http::{
    body::{Body, empty, full},
    problem::Problem,
};

/// Tags for purging, in the form that most caches understand.
pub(super) const SURROGATE_KEY: HeaderName = HeaderName::from_static("surrogate-key");

/// An answer with a body in memory.
pub(super) fn reply(content_type: &'static str, body: impl Into<Bytes>) -> Response<Body> {
    streamed(content_type, full(body))
}

/// An answer whose body comes as it goes.
pub(super) fn streamed(content_type: &'static str, body: Body) -> Response<Body> {
    let mut response = Response::new(body);
    set(&mut response, header::CONTENT_TYPE, HeaderValue::from_static(content_type));
    response
}

/// A JSON answer that is not to be stored.
pub(super) fn json(value: &Value) -> Response<Body> {
    let mut response = reply("application/json", value.to_string());
    set(&mut response, header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    response
}

/// An answer of a type of ours, which is not to be stored.
///
/// # Errors
/// 500 when it has no JSON form.
pub(super) fn serialized(value: &impl serde::Serialize) -> Result<Response<Body>, Problem> {
    let text = serde_json::to_vec(value)
        .map_err(|error| Problem::new(ProblemType::Internal, error.to_string()))?;
    let mut response = reply("application/json", text);
    set(&mut response, header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    Ok(response)
}

/// An answer without a body.
pub(super) fn bare(status: StatusCode) -> Response<Body> {
    let mut response = Response::new(empty());
    *response.status_mut() = status;
    response
}

/// Sets a header field.
pub(super) fn set(response: &mut Response<Body>, name: impl IntoHeaderName, value: HeaderValue) {
    response.headers_mut().insert(name, value);
}

/// Sets a header field from text; what cannot be a field value is left out.
pub(super) fn set_text(response: &mut Response<Body>, name: HeaderName, value: &str) {
    if let Ok(value) = HeaderValue::from_str(value) {
        set(response, name, value);
    }
}

/// Sets `Last-Modified`.
pub(super) fn set_modified(response: &mut Response<Body>, time: jiff::Timestamp) {
    if let Ok(text) = rfc2822::DateTimePrinter::new().timestamp_to_rfc9110_string(&time) {
        set_text(response, header::LAST_MODIFIED, &text);
    }
}

/// 304 in place of an answer that the client has already (RFC 9110 §13.2.2).
pub(super) fn conditional(request: &HeaderMap, response: Response<Body>) -> Response<Body> {
    if response.status() != StatusCode::OK || !is_unchanged(request, response.headers()) {
        return response;
    }
    let (mut parts, _body) = response.into_parts();
    parts.status = StatusCode::NOT_MODIFIED;
    parts.headers.remove(header::CONTENT_TYPE);
    Response::from_parts(parts, empty())
}

fn is_unchanged(request: &HeaderMap, answer: &HeaderMap) -> bool {
    if request.contains_key(header::IF_NONE_MATCH) {
        return answer.get(header::ETAG).is_some_and(|etag| {
            let mut conditions = request.get_all(header::IF_NONE_MATCH).iter();
            conditions.any(|condition| names(condition, etag, Comparison::Weak))
        });
    }
    let time = |headers: &HeaderMap, name| http_date(headers.get(name)?);
    match (time(request, header::IF_MODIFIED_SINCE), time(answer, header::LAST_MODIFIED)) {
        (Some(since), Some(modified)) => modified <= since,
        _ => false,
    }
}

fn http_date(value: &HeaderValue) -> Option<jiff::Timestamp> {
    rfc2822::DateTimeParser::new().parse_timestamp(value.to_str().ok()?).ok()
}

/// The part that `Range` asks for (RFC 9110 §14.2): one range of bytes; several, or another unit,
/// get all of it, as the standard allows.
pub(super) fn ranged(
    request: &HeaderMap,
    mut response: Response<Body>,
    all: Bytes,
) -> Response<Body> {
    set(&mut response, header::ACCEPT_RANGES, HeaderValue::from_static("bytes"));
    let unchanged = request.get(header::IF_RANGE).is_none_or(|condition| {
        let etag = response.headers().get(header::ETAG);
        etag.is_some_and(|etag| names(condition, etag, Comparison::Strong))
    });
    let asked = request.get(header::RANGE).and_then(|range| range.to_str().ok()).and_then(spec);
    let (true, Some((first, last))) = (unchanged, asked) else {
        *response.body_mut() = full(all);
        return response;
    };
    let total = all.len();
    let (start, end) = match (first, last) {
        (Some(first), last) => {
            (first, last.map_or(total, |last| last.saturating_add(1).min(total)))
        }
        (None, suffix) => (total.saturating_sub(suffix.unwrap_or(0)), total),
    };
    if start >= end {
        let mut refused = bare(StatusCode::RANGE_NOT_SATISFIABLE);
        set_text(&mut refused, header::CONTENT_RANGE, &format!("bytes */{total}"));
        return refused;
    }
    *response.status_mut() = StatusCode::PARTIAL_CONTENT;
    set_text(&mut response, header::CONTENT_RANGE, &format!("bytes {start}-{}/{total}", end - 1));
    *response.body_mut() = full(all.slice(start..end));
    response
}

/// First and last position; no first one = the length of a suffix. `None` = ignore the field.
fn spec(range: &str) -> Option<(Option<usize>, Option<usize>)> {
    let (first, last) = range.strip_prefix("bytes=")?.split_once('-')?;
    let position = |text: &str| match text.trim() {
        "" => Some(None),
        digits => digits.parse().ok().map(Some),
    };
    match (position(first)?, position(last)?) {
        (None, None) => None,
        (Some(first), Some(last)) if last < first => None,
        range => Some(range),
    }
}

/// 404.
pub(super) fn not_found(what: &str) -> Problem {
    Problem::new(ProblemType::NotFound, format!("there is no {what}"))
}

#[cfg(test)]
mod tests {
    use http_body_util::BodyExt as _;

    use super::*;

    fn page() -> Response<Body> {
        let mut response = reply("text/plain", "0123456789");
        set(&mut response, header::ETAG, HeaderValue::from_static("\"x\""));
        set_modified(&mut response, "2026-03-08T10:30:00.9Z".parse().unwrap());
        response
    }

    fn headers(fields: &[(HeaderName, &'static str)]) -> HeaderMap {
        fields.iter().map(|(name, value)| (name.clone(), HeaderValue::from_static(value))).collect()
    }

    #[test]
    fn what_the_client_has_is_not_sent_again() {
        let status = |fields: &[(HeaderName, &'static str)]| {
            conditional(&headers(fields), page()).status().as_u16()
        };
        let modified = page().headers()[header::LAST_MODIFIED].clone();
        assert_eq!(modified, "Sun, 08 Mar 2026 10:30:00 GMT");
        assert_eq!(status(&[]), 200);
        assert_eq!(status(&[(header::IF_NONE_MATCH, "\"y\", W/\"x\"")]), 304);
        assert_eq!(status(&[(header::IF_NONE_MATCH, "\"y\"")]), 200);
        let since = header::IF_MODIFIED_SINCE;
        assert_eq!(status(&[(since.clone(), "Sun, 08 Mar 2026 10:30:00 GMT")]), 304);
        assert_eq!(status(&[(since.clone(), "Sun, 08 Mar 2026 10:29:59 GMT")]), 200);
        assert_eq!(status(&[(since.clone(), "yesterday")]), 200);
        let both = [(since, "Sun, 08 Mar 2026 10:30:00 GMT"), (header::IF_NONE_MATCH, "\"y\"")];
        assert_eq!(status(&both), 200);
    }

    #[tokio::test]
    async fn one_range_of_bytes_is_cut_out() {
        let all = Bytes::from_static(b"0123456789");
        for (range, status, body) in [
            ("bytes=2-4", 206, "234"),
            ("bytes=7-", 206, "789"),
            ("bytes=-3", 206, "789"),
            ("bytes=5-99", 206, "56789"),
            ("bytes=10-", 416, ""),
            ("bytes=-0", 416, ""),
            ("bytes=4-2", 200, "0123456789"),
            ("bytes=0-1,3-4", 200, "0123456789"),
            ("lines=1-2", 200, "0123456789"),
        ] {
            let response = ranged(&headers(&[(header::RANGE, range)]), page(), all.clone());
            assert_eq!(response.status().as_u16(), status, "{range}");
            let read = response.into_body().collect().await.unwrap().to_bytes();
            assert_eq!(read, body, "{range}");
        }
        let stale = headers(&[(header::RANGE, "bytes=0-1"), (header::IF_RANGE, "\"old\"")]);
        assert_eq!(ranged(&stale, page(), all).status(), StatusCode::OK);
    }
}
