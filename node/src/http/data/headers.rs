//! Header fields of requests to the mesh and of its answers.

use std::sync::Arc;

use hexpop_router::{
    CACHE_STATUS_HEADER, CONSISTENCY_HEADER, Context as Ask, FieldPlace as Place, Given, Level,
    Problem as ProblemType, TOKEN_HEADER, Token,
};
use http::{HeaderMap, HeaderName, HeaderValue, Response, StatusCode, header};
use serde::Serialize;

use super::{Answer, Exchange};
use crate::http::{
    body::{Body, full},
    problem::Problem,
};

/// What the router is told besides the question itself: level, token, trace.
pub(super) fn ask(exchange: &Exchange) -> Result<Ask, Problem> {
    Ok(Ask {
        level: level(&exchange.headers)?,
        token: token(&exchange.headers)?,
        traceparent: Some(Arc::from(exchange.trace.to_string())),
        ..Ask::default()
    })
}

/// What the router is told of a write: `Hexpop-Consistency` on it is ignored.
pub(super) fn ask_write(exchange: &Exchange) -> Ask {
    Ask { traceparent: Some(Arc::from(exchange.trace.to_string())), ..Ask::default() }
}

fn level(headers: &HeaderMap) -> Result<Option<Level>, Problem> {
    match headers.get(CONSISTENCY_HEADER) {
        None => Ok(None),
        Some(value) => Ok(Some(Level::parse(value.as_bytes())?)),
    }
}

fn token(headers: &HeaderMap) -> Result<Option<Token>, Problem> {
    let Some(value) = headers.get(TOKEN_HEADER) else { return Ok(None) };
    let parsed = value.to_str().ok().and_then(|text| Token::parse(text.trim()).ok());
    parsed.map(Some).ok_or_else(|| {
        Problem::new(ProblemType::MalformedRequest, "Hexpop-Token was not made by this mesh")
            .at(Place::Header("Hexpop-Token".into()), "send it as it was received, or not at all")
    })
}

/// Says where an answer comes from and how fresh it is.
pub(super) fn describe(headers: &mut HeaderMap, given: Option<&Given>, cache_status: Option<&str>) {
    if let Some(given) = given {
        set(headers, CONSISTENCY_HEADER, &given.to_string());
        if let Some(token) = given.token() {
            set(headers, TOKEN_HEADER, &token.encode());
        }
    }
    if let Some(status) = cache_status {
        set(headers, CACHE_STATUS_HEADER, status);
    }
}

/// Sets a field whose value this node made.
pub(super) fn set(headers: &mut HeaderMap, name: &'static str, value: &str) {
    if let Ok(value) = HeaderValue::from_str(value) {
        headers.insert(HeaderName::from_static(name), value);
    }
}

/// A JSON answer.
pub(super) fn json<T: Serialize>(status: StatusCode, value: &T) -> Answer {
    let body = serde_json::to_vec(value)
        .map_err(|error| Problem::new(ProblemType::Internal, error.to_string()))?;
    Ok(json_bytes(status, body))
}

/// A JSON answer that is text already.
pub(super) fn json_bytes(status: StatusCode, body: impl Into<bytes::Bytes>) -> Response<Body> {
    let mut response = Response::new(full(body));
    *response.status_mut() = status;
    let json = HeaderValue::from_static("application/json");
    response.headers_mut().insert(header::CONTENT_TYPE, json);
    response
}

/// Whether `If-None-Match` names this entity tag (weak comparison, RFC 9110 §13.1.2).
pub(super) fn none_match_hits(headers: &HeaderMap, etag: &str) -> bool {
    let bare = |tag: &str| tag.trim().trim_start_matches("W/").to_owned();
    headers
        .get_all(header::IF_NONE_MATCH)
        .iter()
        .filter_map(|value| value.to_str().ok())
        .flat_map(|line| line.split(','))
        .any(|tag| tag.trim() == "*" || bare(tag) == bare(etag))
}

/// The source of an answer as a label: a closed set.
pub(super) fn source(headers: &HeaderMap) -> &'static str {
    let Some(status) = headers.get(CACHE_STATUS_HEADER).and_then(|value| value.to_str().ok())
    else {
        return "none";
    };
    // The last member is this node's own.
    let own = status.rsplit(',').next().unwrap_or(status);
    let has = |word: &str| own.split(';').any(|part| part.trim() == word);
    // This node made the answer, and asked nobody.
    if !has("hit") && !own.contains("fwd=") {
        "none"
    } else if has("detail=replica") || has("detail=result") {
        "replica"
    } else if has("detail=peer") {
        "peer"
    } else if has("hit") {
        "cache"
    } else {
        "origin"
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn with(name: &'static str, value: &str) -> HeaderMap {
        let mut headers = HeaderMap::new();
        set(&mut headers, name, value);
        headers
    }

    #[test]
    fn entity_tags_are_compared_weakly() {
        assert!(none_match_hits(&with("if-none-match", "\"a\", W/\"b\""), "\"b\""));
        assert!(none_match_hits(&with("if-none-match", "*"), "\"b\""));
        assert!(!none_match_hits(&with("if-none-match", "\"ab\""), "\"b\""));
        assert!(!none_match_hits(&HeaderMap::new(), "\"b\""));
    }

    #[test]
    fn sources_are_read_from_the_last_member() {
        let of = |value: &str| source(&with("cache-status", value));
        assert_eq!(of("hexpop-mil-1; hit; detail=replica"), "replica");
        assert_eq!(
            of(
                "hexpop-mad-2; hit; detail=replica, hexpop-mil-1; fwd=uri-miss; detail=peer; fwd-status=200"
            ),
            "peer"
        );
        assert_eq!(of("hexpop-mil-1; hit; ttl=30"), "cache");
        assert_eq!(of("hexpop-mil-1; fwd=uri-miss; stored"), "origin");
        assert_eq!(of("hexpop-mil-1; hit; detail=result"), "replica");
        assert_eq!(of("hexpop-mil-1; detail=not-found"), "none");
        assert_eq!(source(&HeaderMap::new()), "none");
    }
}
