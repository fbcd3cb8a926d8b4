//! What a request ends with when it does not succeed: a problem of RFC 9457, with what the client
//! needs to know before it tries again.

use std::time::Duration;

use hexpop_shard::ShardMap;
use serde_json::{Map, Value, json};

/// The closed list of problem types; `urn:hexpop:problem:` plus [`Problem::slug`] is their URI.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Problem {
    /// The body is no JSON.
    MalformedJson,
    /// The request is not HTTP as it should be.
    MalformedRequest,
    /// A header, parameter or field outside searches has a wrong value.
    InvalidRequest,
    /// A search has fields of a wrong type or value.
    InvalidSearch,
    /// A search has a field that does not exist.
    UnknownFilter,
    /// The configuration forbids this filter.
    FilterForbidden,
    /// The cursor is none that this mesh issued.
    InvalidCursor,
    /// The cursor is older than what can be continued exactly.
    CursorExpired,
    /// The geometry is not one.
    InvalidGeometry,
    /// There is no such thing.
    NotFound,
    /// The session existed and expired.
    SessionExpired,
    /// `If-Match` or `If-None-Match` does not hold.
    PreconditionFailed,
    /// The first request with this idempotency key still runs.
    IdempotencyConflict,
    /// The idempotency key was used with another body.
    IdempotencyMismatch,
    /// The request exceeds a size limit.
    TooLarge,
    /// The resource takes another media type.
    UnsupportedMediaType,
    /// The client exceeds its rate.
    TooManyRequests,
    /// This node refuses work to protect itself.
    Overloaded,
    /// No replica of a shard answered in time.
    ShardUnavailable,
    /// No replica could prove the asked bound on staleness.
    StalenessUnmet,
    /// The origin cannot be reached, or its breaker is open.
    OriginUnavailable,
    /// The origin did not answer in time.
    OriginTimeout,
    /// The node is leaving.
    Draining,
    /// The client may not do this.
    Forbidden,
    /// The client did not say who it is.
    Unauthorized,
    /// The resource has no such method.
    MethodNotAllowed,
    /// A defect of hexpop.
    Internal,
}

impl Problem {
    /// All of them.
    pub const ALL: [Self; 27] = [
        Self::MalformedJson,
        Self::MalformedRequest,
        Self::InvalidRequest,
        Self::InvalidSearch,
        Self::UnknownFilter,
        Self::FilterForbidden,
        Self::InvalidCursor,
        Self::CursorExpired,
        Self::InvalidGeometry,
        Self::NotFound,
        Self::SessionExpired,
        Self::PreconditionFailed,
        Self::IdempotencyConflict,
        Self::IdempotencyMismatch,
        Self::TooLarge,
        Self::UnsupportedMediaType,
        Self::TooManyRequests,
        Self::Overloaded,
        Self::ShardUnavailable,
        Self::StalenessUnmet,
        Self::OriginUnavailable,
        Self::OriginTimeout,
        Self::Draining,
        Self::Forbidden,
        Self::Unauthorized,
        Self::MethodNotAllowed,
        Self::Internal,
    ];

    /// The last part of the type URI.
    #[must_use]
    pub const fn slug(self) -> &'static str {
        self.facts().0
    }

    /// The HTTP status it is sent with, unless the error says otherwise.
    #[must_use]
    pub const fn status(self) -> u16 {
        self.facts().1
    }

    /// The problem with this slug.
    #[must_use]
    pub fn from_slug(slug: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|problem| problem.slug() == slug)
    }

    /// One sentence that is the same for every occurrence.
    #[must_use]
    pub const fn title(self) -> &'static str {
        self.facts().2
    }

    const fn facts(self) -> (&'static str, u16, &'static str) {
        match self {
            Self::MalformedJson => ("malformed-json", 400, "The body is not valid JSON"),
            Self::MalformedRequest => {
                ("malformed-request", 400, "The request cannot be understood")
            }
            Self::InvalidRequest => ("invalid-request", 422, "The request is not valid"),
            Self::InvalidSearch => ("invalid-search", 422, "The search is not valid"),
            Self::UnknownFilter => ("unknown-filter", 422, "The search has an unknown field"),
            Self::FilterForbidden => ("filter-forbidden", 422, "This filter is not allowed here"),
            Self::InvalidCursor => ("invalid-cursor", 422, "The cursor is not valid"),
            Self::CursorExpired => ("cursor-expired", 410, "The cursor can no longer be continued"),
            Self::InvalidGeometry => ("invalid-geometry", 422, "The geometry is not valid"),
            Self::NotFound => ("not-found", 404, "There is no such resource"),
            Self::SessionExpired => ("session-expired", 404, "The session has expired"),
            Self::PreconditionFailed => {
                ("precondition-failed", 412, "The resource has another version")
            }
            Self::IdempotencyConflict => {
                ("idempotency-conflict", 409, "The first request with this key is still running")
            }
            Self::IdempotencyMismatch => {
                ("idempotency-mismatch", 422, "The key was used with another request")
            }
            Self::TooLarge => ("too-large", 413, "The request is too large"),
            Self::UnsupportedMediaType => {
                ("unsupported-media-type", 415, "The media type is not supported")
            }
            Self::TooManyRequests => ("too-many-requests", 429, "Too many requests"),
            Self::Overloaded => ("overloaded", 503, "The node is overloaded"),
            Self::ShardUnavailable => ("shard-unavailable", 503, "A shard cannot answer right now"),
            Self::StalenessUnmet => {
                ("staleness-unmet", 503, "No replica is as fresh as the request asks")
            }
            Self::OriginUnavailable => ("origin-unavailable", 503, "The origin cannot be reached"),
            Self::OriginTimeout => ("origin-timeout", 504, "The origin did not answer in time"),
            Self::Draining => ("draining", 503, "The node is leaving the mesh"),
            Self::Forbidden => ("forbidden", 403, "This is not allowed"),
            Self::Unauthorized => ("unauthorized", 401, "Authentication is needed"),
            Self::MethodNotAllowed => ("method-not-allowed", 405, "The method is not allowed here"),
            Self::Internal => ("internal", 500, "Internal error"),
        }
    }
}

/// One wrong field of a request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FieldError {
    /// Where it is.
    pub place: FieldPlace,
    /// What is wrong with it, for people.
    pub detail: String,
}

/// Where a wrong field is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum FieldPlace {
    /// In the JSON body: a JSON pointer as URI fragment, such as `#/priceMin`.
    Pointer(String),
    /// In the query string.
    Parameter(String),
    /// In a header field.
    Header(String),
}

/// Whether a write that ended in an error may have taken effect.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum WriteOutcome {
    /// Certain: nothing was applied, and nothing of it will be.
    NotApplied,
    /// It may have been applied, or may be yet.
    Unknown,
}

/// Why a request did not succeed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{}: {detail}", problem.slug())]
pub struct RouteError {
    /// The problem type.
    pub problem: Problem,
    /// The HTTP status; [`Problem::status`] unless a case asks for another.
    pub status: u16,
    /// What happened this time, for people.
    pub detail: String,
    /// When a repeat may succeed; always there for 429 and 503.
    pub retry_after: Option<Duration>,
    /// For writes that ended in 503 or 504: whether they may have been applied. A 4xx means that
    /// nothing was.
    pub outcome: Option<WriteOutcome>,
    /// The wrong fields, if fields are what is wrong.
    pub errors: Vec<FieldError>,
    /// With 412: the version that the resource has, if it exists.
    pub current_version: Option<String>,
    /// The value of `Cache-Status`, where the request was one that caches answer.
    pub cache_status: Option<String>,
    /// Whether the origin certainly did not get the request, so that another node may try.
    pub(crate) origin_missed: bool,
}

impl RouteError {
    /// A problem with its usual status.
    #[must_use]
    pub fn new(problem: Problem, detail: impl Into<String>) -> Self {
        let status = problem.status();
        let retry_after = matches!(status, 409 | 429 | 503).then_some(Duration::from_secs(1));
        Self {
            problem,
            status,
            detail: detail.into(),
            retry_after,
            outcome: None,
            errors: Vec::new(),
            current_version: None,
            cache_status: None,
            origin_missed: false,
        }
    }

    /// The same with another status.
    #[must_use]
    pub const fn with_status(mut self, status: u16) -> Self {
        self.status = status;
        self
    }

    /// The same with one more wrong field.
    #[must_use]
    pub fn with_field(mut self, place: FieldPlace, detail: impl Into<String>) -> Self {
        self.errors.push(FieldError { place, detail: detail.into() });
        self
    }

    /// The same with another time to wait.
    #[must_use]
    pub const fn with_retry_after(mut self, after: Duration) -> Self {
        self.retry_after = Some(after);
        self
    }

    /// The same with a `Cache-Status`.
    #[must_use]
    pub fn with_cache_status(mut self, value: String) -> Self {
        self.cache_status = Some(value);
        self
    }

    /// The same, saying what became of the write.
    #[must_use]
    pub const fn with_outcome(mut self, outcome: WriteOutcome) -> Self {
        self.outcome = Some(outcome);
        self
    }

    /// 404 for anything.
    #[must_use]
    pub fn not_found(what: &str) -> Self {
        Self::new(Problem::NotFound, format!("there is no {what}"))
    }

    /// 422 for one field of a body.
    #[must_use]
    pub fn field(pointer: &str, detail: impl Into<String>) -> Self {
        let detail = detail.into();
        Self::new(Problem::InvalidRequest, detail.clone())
            .with_field(FieldPlace::Pointer(pointer.to_owned()), detail)
    }

    /// 503 because the node has no shard map yet, or the map has no shard for a key.
    #[must_use]
    pub fn no_shard(map: &ShardMap) -> Self {
        let detail = if map.is_empty() {
            "this node has not learned the shard map yet"
        } else {
            "the shard map names no shard for this key"
        };
        Self::new(Problem::ShardUnavailable, detail)
    }

    /// `Some(false)` when it is certain that nothing was applied; `None` when that is not known or
    /// the request was no write.
    #[must_use]
    pub const fn applied(&self) -> Option<bool> {
        match self.outcome {
            Some(WriteOutcome::NotApplied) => Some(false),
            Some(WriteOutcome::Unknown) | None => None,
        }
    }

    /// Whether the same request may succeed without change.
    #[must_use]
    pub const fn is_retryable(&self) -> bool {
        matches!(self.status, 409 | 429 | 500..)
    }

    /// The body of `application/problem+json`; `instance` is a URI for this occurrence.
    #[must_use]
    pub fn to_json(&self, instance: Option<&str>) -> Value {
        let mut body = Map::new();
        body.insert("type".into(), format!("urn:hexpop:problem:{}", self.problem.slug()).into());
        body.insert("title".into(), self.problem.title().into());
        body.insert("status".into(), self.status.into());
        body.insert("detail".into(), self.detail.clone().into());
        if let Some(instance) = instance {
            body.insert("instance".into(), instance.into());
        }
        match self.outcome {
            Some(WriteOutcome::NotApplied) => {
                body.insert("applied".into(), false.into());
            }
            Some(WriteOutcome::Unknown) if self.status >= 500 => {
                body.insert("outcome".into(), "unknown".into());
            }
            Some(WriteOutcome::Unknown) | None => {}
        }
        if !self.errors.is_empty() {
            let errors = self.errors.iter().map(|error| match &error.place {
                FieldPlace::Pointer(at) => json!({"pointer": at, "detail": error.detail}),
                FieldPlace::Parameter(at) => json!({"parameter": at, "detail": error.detail}),
                FieldPlace::Header(at) => json!({"header": at, "detail": error.detail}),
            });
            body.insert("errors".into(), errors.collect());
        }
        Value::Object(body)
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn slugs_are_distinct_and_statuses_are_errors() {
        let slugs: BTreeSet<_> = Problem::ALL.iter().map(|problem| problem.slug()).collect();
        assert_eq!(slugs.len(), Problem::ALL.len());
        assert!(Problem::ALL.iter().all(|problem| (400..600).contains(&problem.status())));
    }

    #[test]
    fn a_503_says_when_to_come_back_and_what_became_of_the_write() {
        let error = RouteError::new(Problem::ShardUnavailable, "x");
        assert!(error.retry_after.is_some());
        let unknown = error.clone().with_outcome(WriteOutcome::Unknown).to_json(None);
        assert_eq!(unknown["outcome"], "unknown");
        let certain = error.with_outcome(WriteOutcome::NotApplied).to_json(Some("urn:x"));
        assert_eq!(certain["applied"], false);
        assert_eq!(certain["instance"], "urn:x");
    }

    #[test]
    fn fields_are_named_as_the_rfc_has_it() {
        let body = RouteError::field("#/ttlSeconds", "must be at most 2592000").to_json(None);
        assert_eq!(body["status"], 422);
        assert_eq!(body["errors"][0]["pointer"], "#/ttlSeconds");
    }
}
