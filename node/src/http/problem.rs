//! Errors as clients see them: `application/problem+json` (RFC 9457).
//!
//! The list of types is closed and the router's; [`explanation`] is the long text of each.

use bytes::Bytes;
use hexpop_router::{FieldError, FieldPlace as Place, Problem as ProblemType, RouteError};
use http::{HeaderValue, Response, StatusCode, header};

use super::body::{Body, full};

/// What a problem type means and what to do about it, for `hexpop explain`.
#[must_use]
#[expect(clippy::too_many_lines, reason = "one text for each type of problem")]
pub const fn explanation(kind: ProblemType) -> &'static str {
    match kind {
        ProblemType::MalformedJson => {
            "The body could not be parsed as JSON. `detail` names the line and column where \
                 the parser stopped. Nothing was applied."
        }
        ProblemType::MalformedRequest => {
            "A header or the request target does not follow its grammar. `errors` names the \
                 field. Nothing was applied."
        }
        ProblemType::InvalidSearch => {
            "The JSON is well-formed, but fields are missing, of the wrong type, out of range \
                 or contradict each other. Every wrong field is listed in `errors`."
        }
        ProblemType::InvalidRequest => {
            "The request's fields are wrong or missing; `errors` lists them all. Nothing was \
                 applied."
        }
        ProblemType::UnknownFilter => {
            "The search has a field that hexpop does not know. It is an error because ignoring \
                 a filter would silently widen the result. `errors` suggests the nearest name."
        }
        ProblemType::FilterForbidden => {
            "The operator of this deployment excluded this filter (`data.forbidden_filters`)."
        }
        ProblemType::InvalidCursor => {
            "The cursor is damaged, or belongs to a search with other filters or another order. \
                 Start again without a cursor."
        }
        ProblemType::CursorExpired => {
            "The shards behind the cursor were split, merged or moved so that the next page \
                 cannot be exact. Start again without a cursor."
        }
        ProblemType::InvalidGeometry => {
            "A radius must be positive, a bounding box must have its top above its bottom, and \
                 a polygon needs at least three distinct points and edges that do not cross."
        }
        ProblemType::NotFound => {
            "Nothing is stored under this name, and the origin does not know it."
        }
        ProblemType::SessionExpired => "The session was there and its time is over.",
        ProblemType::PreconditionFailed => {
            "`If-Match` or `If-None-Match` does not hold for the current version, which the \
                 ETag of this answer names. Read again and retry. Nothing was applied."
        }
        ProblemType::IdempotencyConflict => {
            "The first request with this Idempotency-Key has not finished. Retry after the \
                 time in Retry-After."
        }
        ProblemType::IdempotencyMismatch => {
            "This Idempotency-Key was used before with another body. Use a new key."
        }
        ProblemType::TooLarge => {
            "The body, a header or a field exceeds its limit (section `limits` of the \
                 configuration). Nothing was applied."
        }
        ProblemType::UnsupportedMediaType => {
            "JSON bodies need `Content-Type: application/json`; ingest takes \
                 `application/x-ndjson`."
        }
        ProblemType::TooManyRequests => "Slow down; Retry-After says for how long.",
        ProblemType::Overloaded => {
            "The node refuses early what it could not finish in time. Retry after the time in \
                 Retry-After, or ask another node."
        }
        ProblemType::ShardUnavailable => {
            "No replica of a shard that the request needs can answer within its deadline, for \
                 instance while a leader is being elected. `applied: false` in the answer says \
                 that a write was certainly not applied; `outcome: unknown` that it may have been."
        }
        ProblemType::StalenessUnmet => {
            "No replica can prove the freshness that the request asked for. Ask for more \
                 staleness, or with `strong`."
        }
        ProblemType::OriginUnavailable => {
            "The mesh does not hold what was asked for and the origin cannot be reached, or its \
                 circuit breaker is open."
        }
        ProblemType::OriginTimeout => "The origin did not answer within `origin.timeout`.",
        ProblemType::Draining => "The node is being taken out. Ask another one.",
        ProblemType::Forbidden => {
            "The caller's role does not allow this, or the request came from where it may not."
        }
        ProblemType::Unauthorized => "Send a bearer token that the node knows.",
        ProblemType::MethodNotAllowed => "`Allow` lists the methods this resource has.",
        ProblemType::Internal => {
            "A defect of hexpop; the node's log has the details under the request id."
        }
    }
}

/// A problem on its way to the client: what the router says, and headers that go with it.
#[derive(Debug, Clone)]
pub struct Problem {
    /// What went wrong.
    pub error: Box<RouteError>,
    /// Further headers, such as `Allow`.
    pub headers: Vec<(header::HeaderName, HeaderValue)>,
}

impl From<RouteError> for Problem {
    fn from(error: RouteError) -> Self {
        Self { error: Box::new(error), headers: Vec::new() }
    }
}

impl Problem {
    /// A problem of the type's own status.
    #[must_use]
    pub fn new(kind: ProblemType, detail: impl Into<String>) -> Self {
        RouteError::new(kind, detail).into()
    }

    /// Adds a place in the request.
    #[must_use]
    pub fn at(mut self, place: Place, detail: impl Into<String>) -> Self {
        self.error.errors.push(FieldError { place, detail: detail.into() });
        self
    }

    /// Answers with another status.
    #[must_use]
    pub fn status(mut self, status: StatusCode) -> Self {
        self.error.status = status.as_u16();
        self
    }

    /// Adds a header.
    #[must_use]
    pub fn header(mut self, name: header::HeaderName, value: &str) -> Self {
        if let Ok(value) = HeaderValue::from_str(value) {
            self.headers.push((name, value));
        }
        self
    }

    /// 405 with `Allow`.
    #[must_use]
    pub fn method_not_allowed(allow: &str) -> Self {
        Self::new(ProblemType::MethodNotAllowed, format!("this resource has {allow}"))
            .header(header::ALLOW, allow)
    }

    /// The response. Problems are never stored.
    #[must_use]
    pub fn into_response(self, request_id: &str) -> Response<Body> {
        let instance = format!("urn:hexpop:request:{request_id}");
        let body = self.error.to_json(Some(&instance)).to_string();
        let mut response = Response::new(full(Bytes::from(body)));
        *response.status_mut() =
            StatusCode::from_u16(self.error.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
        let headers = response.headers_mut();
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/problem+json"));
        headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
        if let Some(after) = self.error.retry_after {
            headers.insert(header::RETRY_AFTER, HeaderValue::from(after.as_secs().max(1)));
        }
        if let Some(version) = &self.error.current_version
            && let Ok(etag) = HeaderValue::from_str(&format!("\"{version}\""))
        {
            headers.insert(header::ETAG, etag);
        }
        for (name, value) in self.headers {
            headers.append(name, value);
        }
        response
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_type_has_a_long_text() {
        for kind in ProblemType::ALL {
            assert!(explanation(kind).ends_with('.'), "{}", kind.slug());
        }
    }

    #[test]
    fn unavailable_always_says_when_to_come_back() {
        let response = Problem::new(ProblemType::Overloaded, "busy").into_response("1");
        assert_eq!(response.headers()[header::RETRY_AFTER], "1");
        assert_eq!(response.status(), 503);
    }
}
