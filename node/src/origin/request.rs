//! Reading requests: decoded path, query parameters, JSON bodies, conditions.

use std::{str::FromStr, time::Duration};

use bytes::Bytes;
use hexpop_router::{FieldPlace as Place, Problem as ProblemType};
use http::{HeaderMap, HeaderValue, Method, Uri, header, request::Parts};
use hyper::body::Incoming;
use serde_json::{Map, Value};

use crate::http::{body::read_bounded, problem::Problem, target::decode_strictly};

/// The largest request body, in bytes.
const BODY_BYTES_MAX: usize = 1 << 20;
/// How long a client may pause while it sends a body.
const BODY_IDLE: Duration = Duration::from_secs(30);

/// One request.
#[derive(Debug)]
pub(super) struct Request {
    parts: Parts,
    segments: Vec<String>,
    query: Vec<(String, String)>,
    body: Incoming,
}

impl Request {
    /// Takes a request apart.
    ///
    /// # Errors
    /// 400 when the target is not percent-encoded UTF-8.
    pub(super) fn new(request: http::Request<Incoming>) -> Result<Self, Problem> {
        let (parts, body) = request.into_parts();
        let malformed = || {
            Problem::new(ProblemType::MalformedRequest, "the target is not percent-encoded UTF-8")
        };
        let segments = path_segments(&parts.uri).ok_or_else(malformed)?;
        let query = query_pairs(&parts.uri).ok_or_else(malformed)?;
        Ok(Self { parts, segments, query, body })
    }

    pub(super) const fn method(&self) -> &Method {
        &self.parts.method
    }

    pub(super) const fn uri(&self) -> &Uri {
        &self.parts.uri
    }

    pub(super) const fn headers(&self) -> &HeaderMap {
        &self.parts.headers
    }

    /// The decoded parts of the path between its slashes.
    pub(super) fn segments(&self) -> Vec<&str> {
        self.segments.iter().map(String::as_str).collect()
    }

    /// The first query parameter of that name.
    pub(super) fn parameter(&self, name: &str) -> Option<&str> {
        self.query.iter().find(|(known, _value)| known == name).map(|(_name, value)| value.as_str())
    }

    /// A query parameter as a value of type `T`.
    ///
    /// # Errors
    /// 422 when it is there but is no `T`; `expected` says what it should be.
    pub(super) fn parsed<T: FromStr>(
        &self,
        name: &str,
        expected: &str,
    ) -> Result<Option<T>, Problem> {
        self.parameter(name)
            .map(|text| text.parse().map_err(|_invalid| wrong_parameter(name, expected)))
            .transpose()
    }

    /// A whole number within bounds as a query parameter.
    ///
    /// # Errors
    /// 422 when it is no number or out of its bounds.
    pub(super) fn number(
        &self,
        name: &str,
        default: u64,
        (low, high): (u64, u64),
    ) -> Result<u64, Problem> {
        let expected = format!("must be a whole number from {low} to {high}");
        let number = self.parsed(name, &expected)?.unwrap_or(default);
        if (low..=high).contains(&number) {
            Ok(number)
        } else {
            Err(wrong_parameter(name, &expected))
        }
    }

    /// Whether `If-Match` allows a write to what has this entity tag (RFC 9110 §13.1.1).
    pub(super) fn if_match(&self) -> impl Fn(&HeaderValue) -> bool + use<> {
        let conditions: Vec<HeaderValue> =
            self.parts.headers.get_all(header::IF_MATCH).iter().cloned().collect();
        move |etag| {
            conditions.is_empty()
                || conditions.iter().any(|condition| names(condition, etag, Comparison::Strong))
        }
    }

    /// The whole body.
    ///
    /// # Errors
    /// 413 when it is too large, 408 when the client stalls.
    pub(super) async fn into_body(self) -> Result<Bytes, Problem> {
        read_bounded(self.body, BODY_BYTES_MAX, BODY_IDLE).await
    }

    /// The body as a JSON object.
    ///
    /// # Errors
    /// 415 for another media type, 400 for malformed JSON, 422 for anything but an object; and as
    /// [`into_body`](Self::into_body).
    pub(super) async fn into_object(self) -> Result<Map<String, Value>, Problem> {
        self.check_json()?;
        let body = self.into_body().await?;
        match serde_json::from_slice(&body) {
            Ok(Value::Object(object)) => Ok(object),
            Ok(_other) => {
                let detail = "the body must be a JSON object";
                Err(Problem::new(ProblemType::InvalidRequest, detail))
            }
            Err(error) => Err(Problem::new(ProblemType::MalformedJson, error.to_string())),
        }
    }

    /// # Errors
    /// 415 unless the body is declared as JSON.
    pub(super) fn check_json(&self) -> Result<(), Problem> {
        let declared = self.parts.headers.get(header::CONTENT_TYPE);
        let essence = declared
            .and_then(|value| value.to_str().ok())
            .and_then(|value| value.split(';').next())
            .map(str::trim)
            .unwrap_or_default();
        let json = essence.eq_ignore_ascii_case("application/json")
            || essence.eq_ignore_ascii_case("application/merge-patch+json");
        if json {
            Ok(())
        } else {
            let detail = "send Content-Type: application/json";
            Err(Problem::new(ProblemType::UnsupportedMediaType, detail))
        }
    }
}

/// 422 for a query parameter.
pub(super) fn wrong_parameter(name: &str, expected: &str) -> Problem {
    Problem::new(ProblemType::InvalidRequest, format!("`{name}` {expected}"))
        .at(Place::Parameter(name.to_owned()), expected)
}

/// How entity tags are compared (RFC 9110 §8.8.3.2).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Comparison {
    /// Weak tags equal nothing: for writes and ranges.
    Strong,
    /// `W/` makes no difference: for reads.
    Weak,
}

/// Whether a list of entity tags, or `*`, names `etag`. Tags of this origin have no comma in them,
/// so that splitting at commas loses none of them.
pub(super) fn names(condition: &HeaderValue, etag: &HeaderValue, comparison: Comparison) -> bool {
    let (Ok(condition), Ok(etag)) = (condition.to_str(), etag.to_str()) else { return false };
    condition.split(',').map(str::trim).any(|tag| {
        tag == "*"
            || tag == etag
            || (comparison == Comparison::Weak && tag.strip_prefix("W/") == Some(etag))
    })
}

fn path_segments(uri: &Uri) -> Option<Vec<String>> {
    let path = uri.path();
    let path = path.strip_prefix('/').unwrap_or(path);
    path.split('/').map(|segment| decode_strictly(segment, false)).collect()
}

fn query_pairs(uri: &Uri) -> Option<Vec<(String, String)>> {
    uri.query()
        .unwrap_or_default()
        .split('&')
        .filter(|pair| !pair.is_empty())
        .map(|pair| {
            let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
            Some((decode_strictly(name, true)?, decode_strictly(value, true)?))
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn targets_are_decoded() {
        let uri: Uri = "/it/a%2Fb/caf%C3%A9?city=San+Siro&x=%26&flag".parse().unwrap();
        assert_eq!(path_segments(&uri).unwrap(), ["it", "a/b", "café"]);
        let pairs = query_pairs(&uri).unwrap();
        let expected = [("city", "San Siro"), ("x", "&"), ("flag", "")];
        assert!(pairs.iter().map(|(n, v)| (n.as_str(), v.as_str())).eq(expected));
        for wrong in ["/%", "/%4", "/%zz", "/%ff"] {
            assert!(path_segments(&wrong.parse().unwrap()).is_none(), "{wrong}");
        }
    }

    #[test]
    fn entity_tags_are_compared_as_the_standard_says() {
        let etag = HeaderValue::from_static("\"a\"");
        let named = |condition: &'static str, comparison| {
            names(&HeaderValue::from_static(condition), &etag, comparison)
        };
        assert!(named("\"b\", \"a\"", Comparison::Strong));
        assert!(named("*", Comparison::Strong));
        assert!(named("W/\"a\"", Comparison::Weak));
        assert!(!named("W/\"a\"", Comparison::Strong));
        assert!(!named("a", Comparison::Weak));
    }
}
