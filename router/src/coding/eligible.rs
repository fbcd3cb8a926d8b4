//! Which bodies are worth coding, and which must not be. Pure.

use http::{HeaderMap, HeaderName, StatusCode, header};

use crate::cache::has_token;

/// Types that get smaller, besides all of `text/`, `+json`, `+xml` and `+text`.
const TYPES: [&str; 19] = [
    "application/geo+json-seq",
    "application/graphql",
    "application/javascript",
    "application/json",
    "application/json-seq",
    "application/ld+json",
    "application/manifest+json",
    "application/rtf",
    "application/vnd.ms-fontobject",
    "application/wasm",
    "application/x-javascript",
    "application/x-ndjson",
    "application/xml",
    "application/yaml",
    "font/otf",
    "font/ttf",
    "image/bmp",
    "image/svg+xml",
    "image/x-icon",
];

/// Fields that speak of the bytes as they came (RFC 9530, RFC 3230, RFC 1864).
const OF_CONTENT: [HeaderName; 4] = [
    HeaderName::from_static("content-digest"),
    HeaderName::from_static("repr-digest"),
    HeaderName::from_static("digest"),
    HeaderName::from_static("content-md5"),
];

/// Whether a type gets smaller; parameters do not matter.
#[must_use]
pub fn is_compressible(content_type: &str) -> bool {
    let essence = content_type.split(';').next().unwrap_or_default().trim().to_ascii_lowercase();
    // Each event has to arrive when it happens.
    if essence == "text/event-stream" {
        return false;
    }
    essence.starts_with("text/")
        || ["+json", "+xml", "+text"].iter().any(|suffix| essence.ends_with(suffix))
        || TYPES.contains(&essence.as_str())
}

/// Whether a response may be coded, as far as its head says: its type gets smaller, it has no coding yet,
/// and nobody forbids to change it (RFC 9111 §5.2.2.6) or vouches for its bytes.
#[must_use]
pub fn is_transformable(status: StatusCode, headers: &HeaderMap) -> bool {
    let has_body = !matches!(
        status,
        StatusCode::NO_CONTENT
            | StatusCode::RESET_CONTENT
            | StatusCode::PARTIAL_CONTENT
            | StatusCode::NOT_MODIFIED
            | StatusCode::RANGE_NOT_SATISFIABLE
    ) && !status.is_informational();
    let kind = headers.get(header::CONTENT_TYPE).and_then(|kind| kind.to_str().ok());
    has_body
        && kind.is_some_and(is_compressible)
        && !headers.contains_key(header::CONTENT_ENCODING)
        && !OF_CONTENT.iter().any(|name| headers.contains_key(name))
        && !has_token(headers, &header::CACHE_CONTROL, "no-transform")
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;

    use super::*;

    #[test]
    fn texts_get_smaller_and_pictures_do_not() {
        for (kind, expected) in [
            ("text/html; charset=utf-8", true),
            ("TEXT/CSS", true),
            ("application/json", true),
            ("application/problem+json", true),
            ("image/svg+xml", true),
            ("application/wasm", true),
            ("image/jpeg", false),
            ("font/woff2", false),
            ("application/octet-stream", false),
            ("text/event-stream", false),
            ("application/gzip", false),
            ("", false),
        ] {
            assert_eq!(is_compressible(kind), expected, "{kind}");
        }
    }

    #[test]
    fn what_must_not_be_changed_is_not() {
        let of = |status: u16, fields: &[(&'static str, &str)]| {
            let mut headers = HeaderMap::new();
            headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("text/html"));
            for (name, value) in fields {
                headers
                    .append(HeaderName::from_static(name), HeaderValue::from_str(value).unwrap());
            }
            is_transformable(StatusCode::from_u16(status).unwrap(), &headers)
        };
        assert!(of(200, &[]) && of(404, &[]));
        assert!(of(200, &[("cache-control", "max-age=60, x=\"no-transform\"")]));
        for status in [204, 206, 304, 416] {
            assert!(!of(status, &[]), "{status}");
        }
        for field in [
            ("content-encoding", "gzip"),
            ("cache-control", "max-age=60, No-Transform"),
            ("repr-digest", "sha-256=:AA==:"),
            ("content-md5", "x"),
        ] {
            assert!(!of(200, &[field]), "{field:?}");
        }
    }
}
