//! What may be on disk. Pure.

use std::time::Duration;

use http::{HeaderName, header};

use crate::cache::{
    key::CacheKey,
    stored::{Payload, Stored},
};

/// What of the API is about persons.
const PERSONAL: [&str; 2] = ["/api/v1/sessions", "/api/v1/users"];

/// Whether a response may be on disk, and is of use there.
pub(crate) fn is_fit(key: &CacheKey, stored: &Stored, now: Duration) -> bool {
    is_of_use(stored, now) && !names_somebody(key, &stored.vary)
}

/// Whether it may answer something still, or be confirmed.
fn is_of_use(stored: &Stored, now: Duration) -> bool {
    let is_whole = !matches!(stored.payload, Payload::Pieces(_));
    let freshness = &stored.freshness;
    let is_usable = freshness.is_fresh(stored.resident(now)) && !freshness.no_cache;
    is_whole && (is_usable || has_validator(stored))
}

/// Whether the origin can confirm it.
pub(crate) fn has_validator(stored: &Stored) -> bool {
    [header::ETAG, header::LAST_MODIFIED].iter().any(|name| stored.headers.contains_key(name))
}

/// Sessions and users stay within their territory, and in memory: whatever is theirs, or was chosen by what says
/// who somebody is, does not get to a disk.
pub(crate) fn names_somebody(key: &CacheKey, vary: &[HeaderName]) -> bool {
    let chosen = vary.iter().any(|name| *name == header::COOKIE || *name == header::AUTHORIZATION);
    chosen || is_personal(key.target())
}

fn is_personal(target: &str) -> bool {
    let path = target.split(['?', '#']).next().unwrap_or(target);
    let path = decoded(path).to_ascii_lowercase();
    // As an origin may read it.
    let segments: Vec<&str> = path.split('/').filter(|segment| !segment.is_empty()).collect();
    let path = format!("/{}/", segments.join("/"));
    PERSONAL.iter().any(|personal| path.contains(&format!("{personal}/")))
}

/// With what is encoded by percent signs (RFC 3986 §2.1) as it is.
fn decoded(path: &str) -> String {
    let mut bytes = Vec::with_capacity(path.len());
    let mut rest = path.as_bytes();
    while let Some((first, behind)) = rest.split_first() {
        let code = behind.get(..2).filter(|_| *first == b'%');
        let code = code.and_then(|code| u8::from_str_radix(str::from_utf8(code).ok()?, 16).ok());
        bytes.push(code.unwrap_or(*first));
        rest = if code.is_some() { behind.get(2..).unwrap_or_default() } else { behind };
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_of_sessions_and_users_is_told_by_its_path() {
        for target in [
            "/api/v1/sessions",
            "/api/v1/sessions/it-lombardia.x?y",
            "/api/v1//users/u1/export",
            "/api/v1/%73essions/a",
            "/API/v1/Users/u1",
            "/x/api/v1/users/u1",
        ] {
            assert!(is_personal(target), "{target}");
        }
        for target in ["/", "/api/v1/listings/1", "/api/v1/sessionsx", "/help/users", "/%7", "/%zz"]
        {
            assert!(!is_personal(target), "{target}");
        }
    }
}
