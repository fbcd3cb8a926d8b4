//! Asking the origin whether a stored response still holds, and what its answer changes
//! (RFC 9111 §3.2, §4.3). Pure.

use http::{HeaderMap, HeaderName, HeaderValue, StatusCode, header};

use super::text::EntityTag;
use crate::cache::headers::is_of_connection;

/// The conditions that confirm a stored response (RFC 9111 §4.3.1).
pub(crate) fn conditions(stored: &HeaderMap) -> Vec<(HeaderName, HeaderValue)> {
    let pairs =
        [(header::ETAG, header::IF_NONE_MATCH), (header::LAST_MODIFIED, header::IF_MODIFIED_SINCE)];
    let value = |(validator, condition)| Some((condition, stored.get(validator)?.clone()));
    pairs.into_iter().filter_map(value).collect()
}

/// Whether a 304 to a request with those conditions is about the stored response (RFC 9111 §4.3.4):
/// its strong validator is the same; or, if it has weak ones only, they are like it; or it has none,
/// in which case it can only mean what was asked about.
pub(crate) fn confirms(stored: &HeaderMap, confirmed: &HeaderMap) -> bool {
    match (EntityTag::of_response(confirmed), EntityTag::of_response(stored)) {
        (Some(new), Some(old)) if !new.weak => new.is_same(&old),
        (Some(new), Some(old)) => new.is_like(&old),
        (Some(_), None) => false,
        (None, _) => match confirmed.get(header::LAST_MODIFIED) {
            Some(new) => stored.get(header::LAST_MODIFIED).is_none_or(|old| old == new),
            None => true,
        },
    }
}

/// Takes over the fields of a newer response into a stored one (RFC 9111 §3.2): all but those of the
/// connection and those that the stored body depends on.
pub(crate) fn freshen(stored: &mut HeaderMap, newer: &HeaderMap) {
    for name in newer.keys() {
        let of_the_body = matches!(*name, header::CONTENT_LENGTH | header::CONTENT_RANGE);
        if of_the_body || is_of_connection(name) {
            continue;
        }
        stored.remove(name);
        for value in newer.get_all(name) {
            stored.append(name, value.clone());
        }
    }
    // The age of the older one says nothing about the newer.
    if !newer.contains_key(header::AGE) {
        stored.remove(header::AGE);
    }
}

/// What a response to HEAD means for what a GET stored (RFC 9111 §4.3.5).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum HeadSays {
    /// Nothing.
    Nothing,
    /// It is the same, with newer fields.
    Same,
    /// It is another one by now.
    Changed,
}

/// Compares a response to HEAD with a stored response whose body has `length` bytes.
pub(crate) fn compare_head(
    stored: &HeaderMap,
    length: u64,
    status: StatusCode,
    head: &HeaderMap,
) -> HeadSays {
    if status != StatusCode::OK {
        return HeadSays::Nothing;
    }
    let same = |name: &HeaderName| head.get(name).is_none_or(|new| stored.get(name) == Some(new));
    let said = head.get(header::CONTENT_LENGTH);
    let same_length = said.is_none_or(|said| *said == HeaderValue::from(length));
    if same(&header::ETAG) && same(&header::LAST_MODIFIED) && same_length {
        HeadSays::Same
    } else {
        HeadSays::Changed
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn headers(fields: &[(&'static str, &'static str)]) -> HeaderMap {
        fields
            .iter()
            .map(|(name, value)| (HeaderName::from_static(name), HeaderValue::from_static(value)))
            .collect()
    }

    #[test]
    fn rfc9111_4_3_1_both_validators_are_sent() {
        let stored = headers(&[("etag", "W/\"1\""), ("last-modified", "x")]);
        let sent = conditions(&stored);
        assert_eq!(sent[0], (header::IF_NONE_MATCH, HeaderValue::from_static("W/\"1\"")));
        assert_eq!(sent[1], (header::IF_MODIFIED_SINCE, HeaderValue::from_static("x")));
        assert!(conditions(&headers(&[("date", "x")])).is_empty());
    }

    #[test]
    fn rfc9111_4_3_4_which_response_a_304_is_about() {
        for (stored, confirmed, expected) in [
            (&[("etag", "\"1\"")][..], &[("etag", "\"1\"")][..], true),
            (&[("etag", "\"1\"")], &[("etag", "\"2\"")], false),
            (&[("etag", "W/\"1\"")], &[("etag", "\"1\"")], false),
            (&[("etag", "W/\"1\"")], &[("etag", "W/\"1\"")], true),
            (&[("etag", "\"1\"")], &[("etag", "W/\"1\"")], true),
            (&[("last-modified", "x")], &[("etag", "\"1\"")], false),
            (&[("last-modified", "x")], &[("last-modified", "x")], true),
            (&[("last-modified", "x")], &[("last-modified", "y")], false),
            (&[("etag", "\"1\"")], &[], true),
            (&[], &[], true),
        ] {
            let outcome = confirms(&headers(stored), &headers(confirmed));
            assert_eq!(outcome, expected, "{stored:?} {confirmed:?}");
        }
    }

    #[test]
    fn rfc9111_3_2_updating_fields() {
        let mut stored = headers(&[
            ("age", "50"),
            ("content-length", "5"),
            ("cache-control", "max-age=1"),
            ("content-type", "a/b"),
            ("x-kept", "1"),
        ]);
        let newer = headers(&[
            ("content-length", "0"),
            ("content-range", "bytes 0-0/1"),
            ("cache-control", "max-age=60"),
            ("content-type", "a/c"),
            ("connection", "close"),
            ("keep-alive", "1"),
        ]);
        freshen(&mut stored, &newer);
        let expected = headers(&[
            ("content-length", "5"),
            ("cache-control", "max-age=60"),
            ("content-type", "a/c"),
            ("x-kept", "1"),
        ]);
        assert_eq!(stored, expected);
    }

    #[test]
    fn rfc9111_4_3_5_head() {
        let stored = headers(&[("etag", "\"1\""), ("last-modified", "x")]);
        for (status, head, expected) in [
            (200, &[("etag", "\"1\"")][..], HeadSays::Same),
            (200, &[], HeadSays::Same),
            (200, &[("content-length", "5")], HeadSays::Same),
            (200, &[("content-length", "6")], HeadSays::Changed),
            (200, &[("etag", "\"2\"")], HeadSays::Changed),
            (200, &[("last-modified", "y")], HeadSays::Changed),
            (410, &[("etag", "\"2\"")], HeadSays::Nothing),
        ] {
            let status = StatusCode::from_u16(status).unwrap();
            assert_eq!(compare_head(&stored, 5, status, &headers(head)), expected, "{head:?}");
        }
    }
}
