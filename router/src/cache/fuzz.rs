//! What the fuzz targets call: the parsers and the policy, fed with any bytes. They panic where the
//! outcome breaks a rule that holds for every input.

use std::{sync::Arc, time::Duration};

use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode, header};

use super::{
    headers::{is_loop, keep_cookies, strip_hop_by_hop},
    key::{QueryRules, same_origin_target},
    policy::{
        control::{CDN_CACHE_CONTROL, RequestControl, ResponseControl},
        date,
        freshness::{FetchTimes, Guesses},
        precondition::{evaluate, range_applies},
        range::{Ranges, asked, parse_content_range, resolve},
        reuse::{Asked, Decision, Use, decide, usable_if_error},
        storing::may_store,
        tags,
        validation::{confirms, freshen},
        vary::{selecting, vary_names},
    },
    stored::{Payload, Stored},
    tier::wire::{self, Frame, Question},
};
use crate::coding::{Coding, acceptable, untag, with_coding};

/// Sat, 21 Nov 2026 00:00:00 GMT
const NOW_MS: u64 = 1_795_219_200_000;

/// The fields that the policy looks at.
static FIELDS: [HeaderName; 26] = [
    header::CACHE_CONTROL,
    CDN_CACHE_CONTROL,
    header::PRAGMA,
    header::AGE,
    header::DATE,
    header::EXPIRES,
    header::LAST_MODIFIED,
    header::ETAG,
    header::VARY,
    header::AUTHORIZATION,
    header::COOKIE,
    header::ACCEPT_ENCODING,
    header::CONTENT_TYPE,
    header::SET_COOKIE,
    header::IF_MATCH,
    header::IF_NONE_MATCH,
    header::IF_MODIFIED_SINCE,
    header::IF_UNMODIFIED_SINCE,
    header::IF_RANGE,
    header::RANGE,
    header::CONTENT_RANGE,
    header::CONNECTION,
    header::VIA,
    HeaderName::from_static("cdn-loop"),
    HeaderName::from_static("cache-groups"),
    HeaderName::from_static("surrogate-key"),
];

/// Fields out of bytes: a line each, whose first byte chooses the name.
fn fields(bytes: &[u8]) -> HeaderMap {
    let mut headers = HeaderMap::new();
    for line in bytes.split(|byte| *byte == b'\n').take(32) {
        let Some((name, value)) = line.split_first() else { continue };
        let name = FIELDS.get(usize::from(*name) % FIELDS.len());
        if let (Some(name), Ok(value)) = (name, HeaderValue::from_bytes(value)) {
            headers.append(name, value);
        }
    }
    headers
}

/// Reads the bytes as every field.
///
/// # Panics
/// When a rule does not hold.
pub fn parse(bytes: &[u8]) {
    let mut headers = HeaderMap::new();
    if let Ok(value) = HeaderValue::from_bytes(bytes) {
        for name in &FIELDS {
            headers.append(name, value.clone());
        }
    }
    let response = ResponseControl::of(&headers);
    let request = RequestControl::of(&headers);
    assert!(response.max_age.is_none_or(|time| time.as_secs() <= 1 << 31));
    assert!(request.max_stale.is_none_or(|time| time.as_secs() <= 1 << 31));
    if let Some(names) = vary_names(&headers) {
        assert_eq!(selecting(&names, &headers).len(), names.len());
    }
    say(bytes);
    // Who refuses a coding, or prefers none, gets none.
    let taken = acceptable(&headers, &Coding::ALL);
    assert_eq!(acceptable(&headers, &[]).coding, None);
    if let Some(coding) = taken.coding {
        assert_eq!(acceptable(&headers, &[coding]), taken);
        with_coding(&mut headers.clone(), coding);
    }
    let mut untagged = headers.clone();
    untag(&mut untagged);
    assert_eq!(untagged.len(), headers.len());
    let now = i64::try_from(NOW_MS).unwrap_or(i64::MAX);
    if let Some(at) = date::parse(bytes, now)
        && let Some(text) = date::format(at)
    {
        assert_eq!(date::parse(text.as_bytes(), now), Some(at));
    }
    if let Some(specs) = asked(&Method::GET, &headers) {
        for length in [0, 1, 10, u64::MAX] {
            if let Ranges::Parts(parts) = resolve(&specs, length) {
                let within =
                    |part: &std::ops::Range<u64>| part.start < part.end && part.end <= length;
                assert!(parts.iter().all(within), "{parts:?}");
                let mut sorted = parts.clone();
                sorted.sort_by_key(|part| part.start);
                let apart = sorted.windows(2).all(|pair| match pair {
                    [one, two] => one.end < two.start,
                    _ => true,
                });
                assert!(apart, "{parts:?}");
            }
        }
    }
    if let Some((range, length)) = parse_content_range(&headers) {
        assert!(range.start < range.end && range.end <= length);
    }
    drop(tags::of_response("http://a.test", &headers));
    drop(tags::invalidated_by("http://a.test", &headers));
    is_loop(&headers, "hexpop-mil-1");
    keep_cookies(&mut headers, Some(&["a*".to_owned()]));
    strip_hop_by_hop(&mut headers);
    let text = String::from_utf8_lossy(bytes);
    if let Some(target) = same_origin_target("http", "a.test", "/x/y?z", &text) {
        assert!(target.starts_with('/'), "{target}");
    }
    let rules = QueryRules { drop: vec!["a*".to_owned()], keep: Vec::new(), sort: true };
    let once = rules.apply(&text);
    assert_eq!(rules.apply(&once), once);
}

/// Reads the bytes as what another node says, with and without the version that it says it in.
fn say(bytes: &[u8]) {
    let versioned = [&[hexpop_edge_config::codec::V2], bytes].concat();
    for bytes in [bytes, &versioned] {
        if let Some(question) = wire::decode::<Question>(bytes) {
            let said = wire::encode(&question);
            assert!(said.is_none_or(|said| wire::decode(&said) == Some(question)));
        }
        let Some(frame) = wire::decode::<Frame>(bytes) else { continue };
        let said = wire::encode(&frame);
        assert!(said.is_none_or(|said| wire::decode(&said).as_ref() == Some(&frame)));
        let fields = match frame {
            Frame::Head(head) => head.fields,
            Frame::Trailers(fields) | Frame::Interim(_, fields) => fields,
            _ => continue,
        };
        let count = fields.len();
        assert!(wire::headers_of(fields).is_none_or(|headers| headers.len() == count));
    }
}

/// Stores a response if the policy lets it, and asks for it at several times.
///
/// # Panics
/// When a rule does not hold.
pub fn policy(bytes: &[u8]) {
    let mut parts = bytes.splitn(4, |byte| *byte == 0).map(fields);
    let mut next = || parts.next().unwrap_or_default();
    let (first, response, newer, second) = (next(), next(), next(), next());
    let times = FetchTimes { received_ms: NOW_MS, delay: Duration::from_millis(10) };
    let guesses =
        Guesses { heuristic_max: Duration::from_secs(60), negative: Duration::from_secs(1) };
    let Ok(how) = may_store(&first, StatusCode::OK, &response, times, guesses) else { return };
    let stored = Arc::new(Stored {
        status: StatusCode::OK,
        payload: Payload::Whole(Bytes::from_static(b"0123456789")),
        freshness: how.freshness,
        arrived: Duration::ZERO,
        number: 0,
        date_ms: 0,
        vary: how.vary,
        selected_by: how.selected_by,
        tags: Arc::from([]),
        headers: response,
    });
    assert!(stored.matches(&first), "it is the variant of its own request");
    let control = RequestControl::of(&second);
    let now_ms = i64::try_from(NOW_MS).unwrap_or(i64::MAX);
    let variants = [Arc::clone(&stored)];
    for resident in [0, 1, 59, 60, 3600, u64::from(u32::MAX)].map(Duration::from_secs) {
        let fresh = stored.freshness.is_fresh(resident);
        let Ok(request) = Asked::of(&Method::GET, &second) else { return };
        match decide(&Method::GET, &second, &request, &variants, resident, now_ms) {
            Decision::Answer(_, how) => {
                assert!(!stored.freshness.no_cache && !control.no_cache);
                assert!(fresh || !stored.freshness.never_stale, "stale where it never may be");
                let allowed = fresh || control.max_stale.is_some();
                assert!(matches!(how, Use::WhileRevalidate(_)) || allowed);
                assert!(!request.authorized || stored.freshness.for_authorized);
            }
            Decision::Nothing => assert!(control.only_if_cached),
            Decision::Forward(..) => assert!(!control.only_if_cached),
        }
        let stands_in = usable_if_error(&stored.freshness, &control, resident, Duration::MAX);
        assert!(!stands_in || fresh || !stored.freshness.never_stale);
        assert!(!stored.freshness.expired(resident).is_fresh(resident));
    }
    let _outcome = evaluate(&Method::GET, &second, &stored.headers, now_ms);
    let _applies = range_applies(&second, &stored.headers, now_ms);
    let mut merged = stored.headers.clone();
    if confirms(&stored.headers, &newer) {
        freshen(&mut merged, &newer);
        assert_eq!(merged.get(header::CONTENT_RANGE), stored.headers.get(header::CONTENT_RANGE));
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn any_bytes(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
            parse(&bytes);
            policy(&bytes);
        }

        #[test]
        fn bytes_that_look_like_fields(
            words in proptest::collection::vec("[\u{0}\n\u{0}-\u{17}](max-age=9|no-cache|\"1\"|W/\"1\"|, ?|bytes=0-4|-|public|=\"a, b\"|must-revalidate|max-stale)*", 1..12),
        ) {
            let text = words.concat();
            parse(text.as_bytes());
            policy(text.as_bytes());
        }
    }
}
