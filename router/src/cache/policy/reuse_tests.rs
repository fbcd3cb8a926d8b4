use bytes::Bytes;
use http::{HeaderName, HeaderValue, StatusCode};

use super::*;
use crate::cache::policy::{
    freshness::{FetchTimes, Guesses},
    partial::Pieces,
    storing::may_store,
};

type Fields<'a> = &'a [(&'static str, &'a str)];

const CC: &str = "cache-control";
const NOW_MS: i64 = 784_111_777_000;

fn headers(fields: Fields<'_>) -> HeaderMap {
    let mut headers = HeaderMap::new();
    for (name, value) in fields {
        headers.append(HeaderName::from_static(name), HeaderValue::from_str(value).unwrap());
    }
    headers
}

/// A response that arrived at 0.
fn stored(request: Fields<'_>, response: Fields<'_>) -> Arc<Stored> {
    let times = FetchTimes { received_ms: 784_111_777_000, delay: Duration::ZERO };
    let guesses = Guesses { heuristic_max: Duration::ZERO, negative: Duration::ZERO };
    let response = headers(response);
    let how = may_store(&headers(request), StatusCode::OK, &response, times, guesses).unwrap();
    Arc::new(Stored {
        status: StatusCode::OK,
        payload: Payload::Whole(Bytes::from_static(b"0123456789")),
        freshness: how.freshness,
        arrived: Duration::ZERO,
        number: 0,
        date_ms: crate::cache::policy::date::valid(&response, &header::DATE, NOW_MS).unwrap_or(0),
        headers: response,
        vary: how.vary,
        selected_by: how.selected_by,
        tags: Arc::from([]),
    })
}

/// The decision after so many seconds, in short.
fn after(secs: u64, request: Fields<'_>, variants: &[Arc<Stored>]) -> String {
    let request = headers(request);
    let asked = Asked::of(&Method::GET, &request).unwrap();
    let now = Duration::from_secs(secs);
    match decide(&Method::GET, &request, &asked, variants, now, NOW_MS) {
        Decision::Answer(_, Use::Hit(ttl)) => format!("hit {ttl}"),
        Decision::Answer(_, Use::WhileRevalidate(ttl)) => format!("swr {ttl}"),
        Decision::Forward(why, stored) => {
            format!("{why:?}{}", if stored.is_some() { " stored" } else { "" })
        }
        Decision::Nothing => "504".to_owned(),
    }
}

#[test]
fn rfc9111_4_when_a_stored_response_is_used() {
    for (response, secs, request, expected) in [
        ("max-age=60", 0, "", "hit 60"),
        ("max-age=60", 59, "", "hit 1"),
        ("max-age=60", 60, "", "Stale stored"),
        ("max-age=60, no-cache", 0, "", "Stale stored"),
        ("max-age=60, no-cache=\"x\"", 0, "", "hit 60"),
        ("s-maxage=10, max-age=60", 10, "", "Stale stored"),
        // §5.2.1.1 max-age
        ("max-age=60", 5, "max-age=5", "hit 55"),
        ("max-age=60", 6, "max-age=5", "Request stored"),
        ("max-age=60", 0, "max-age=0", "hit 60"),
        ("max-age=60", 1, "max-age=x", "Request stored"),
        // §5.2.1.2 max-stale
        ("max-age=60", 70, "max-stale", "hit -10"),
        ("max-age=60", 70, "max-stale=10", "hit -10"),
        ("max-age=60", 71, "max-stale=10", "Stale stored"),
        ("max-age=60", 70, "max-stale=10, max-age=50", "Stale stored"),
        ("max-age=60, must-revalidate", 61, "max-stale", "Stale stored"),
        ("max-age=60, proxy-revalidate", 61, "max-stale", "Stale stored"),
        ("s-maxage=60", 61, "max-stale", "Stale stored"),
        // §5.2.1.3 min-fresh
        ("max-age=60", 50, "min-fresh=10", "hit 10"),
        ("max-age=60", 51, "min-fresh=10", "Request stored"),
        // §5.2.1.4 no-cache
        ("max-age=60", 0, "no-cache", "Request stored"),
        // §5.2.1.7 only-if-cached
        ("max-age=60", 0, "only-if-cached", "hit 60"),
        ("max-age=60", 61, "only-if-cached", "504"),
        ("max-age=60", 61, "only-if-cached, max-stale", "hit -1"),
        // RFC 5861 §3
        ("max-age=60, stale-while-revalidate=10", 69, "", "swr -9"),
        ("max-age=60, stale-while-revalidate=10", 70, "", "Stale stored"),
        ("max-age=60, stale-while-revalidate=10", 69, "max-age=100", "Stale stored"),
        ("max-age=60, stale-while-revalidate=10", 69, "max-stale=5", "Stale stored"),
        ("max-age=60, stale-while-revalidate=10, must-revalidate", 61, "", "Stale stored"),
        // RFC 8246 §2
        ("max-age=60, immutable", 10, "max-age=0", "hit 50"),
        ("max-age=60, immutable", 10, "no-cache", "Request stored"),
        ("max-age=60, immutable", 60, "max-age=0", "Stale stored"),
    ] {
        let variants = [stored(&[], &[(CC, response), ("etag", "\"1\"")])];
        let outcome = after(secs, &[(CC, request)], &variants);
        assert_eq!(outcome, expected, "{response} {secs} {request}");
    }
    assert_eq!(after(0, &[], &[]), "UriMiss");
    assert_eq!(
        after(0, &[("pragma", "no-cache")], &[stored(&[], &[(CC, "max-age=9")])]),
        "Request stored"
    );
}

#[test]
fn rfc9111_4_1_the_most_recent_of_those_selected() {
    let page = |language: &'static str, date: &str, vary: &str| {
        let fields = [(CC, "max-age=60"), ("vary", vary), ("date", date)];
        stored(&[("accept-language", language)], &fields)
    };
    let (old, new) = ("Sun, 06 Nov 1994 08:49:27 GMT", "Sun, 06 Nov 1994 08:49:37 GMT");
    let variants = [
        page("it", new, "accept-language"),
        page("it", old, "accept-language, x-a"),
        page("de", new, "accept-language"),
    ];
    let chosen = |language: &'static str| {
        let request = headers(&[("accept-language", language)]);
        let asked = Asked::of(&Method::GET, &request).unwrap();
        let found = most_recent(&request, &asked, &variants).map(Arc::as_ptr);
        variants.iter().position(|variant| Some(Arc::as_ptr(variant)) == found)
    };
    assert_eq!((chosen("it"), chosen("de"), chosen("fr")), (Some(0), Some(2), None));
    assert_eq!(after(0, &[("accept-language", "fr")], &variants), "VaryMiss");
    assert_eq!(varies_by(&variants), ["accept-language", "x-a"]);
}

#[test]
fn rfc9111_3_5_credentials_get_what_is_declared_fit() {
    let basic = &[("authorization", "Basic x")];
    assert_eq!(after(0, basic, &[stored(&[], &[(CC, "max-age=60")])]), "VaryMiss");
    assert_eq!(after(0, basic, &[stored(&[], &[(CC, "max-age=60, public")])]), "hit 60");
}

#[test]
fn rfc9111_3_3_parts_answer_for_ranges_within_them() {
    let whole = stored(&[], &[(CC, "max-age=60"), ("etag", "\"1\"")]);
    let pieces = Pieces::new(10, 4, Bytes::from_static(b"45678")).unwrap();
    let part = Stored { payload: Payload::Pieces(pieces), ..Stored::clone(&whole) };
    let part = [Arc::new(part)];
    for (request, expected) in [
        (&[("range", "bytes=4-8")][..], "hit 60"),
        (&[("range", "bytes=5-6,8-8")], "hit 60"),
        (&[("range", "bytes=99-")], "hit 60"),
        (&[("range", "bytes=4-9")], "Partial stored"),
        (&[("range", "bytes=5-6,9-9")], "Partial stored"),
        (&[("range", "lines=5-6")], "Partial stored"),
        (&[("range", "bytes=4-8"), ("if-range", "\"1\"")], "hit 60"),
        (&[("range", "bytes=4-8"), ("if-range", "\"2\"")], "Partial stored"),
        (&[], "Partial stored"),
    ] {
        assert_eq!(after(0, request, &part), expected, "{request:?}");
    }
    assert_eq!(after(0, &[("range", "bytes=4-9")], &[whole]), "hit 60");
}

#[test]
fn rfc9111_4_3_2_conditions_that_fail_here_are_for_the_origin() {
    let variants = [stored(&[], &[(CC, "max-age=60"), ("etag", "\"1\"")])];
    assert_eq!(after(0, &[("if-match", "\"1\"")], &variants), "hit 60");
    assert_eq!(after(0, &[("if-match", "\"2\"")], &variants), "Condition");
    assert_eq!(after(60, &[("if-match", "\"1\"")], &variants), "Condition");
    assert_eq!(after(0, &[("if-unmodified-since", "x")], &[]), "Condition");
}

#[test]
fn rfc9111_5_2_1_5_no_store_and_methods_go_past() {
    let of = |method, fields| Asked::of(&method, &headers(fields)).err();
    assert_eq!(of(Method::GET, &[]), None);
    assert_eq!(of(Method::HEAD, &[("range", "bytes=0-1")]), None);
    assert_eq!(of(Method::POST, &[]), Some(Bypass::Rule("method")));
    assert_eq!(of(Method::GET, &[(CC, "no-store")]), Some(Bypass::NoStore));
}

#[test]
fn rfc5861_4_what_may_stand_in_for_an_origin_that_fails() {
    for (response, secs, request, stale_max, expected) in [
        ("max-age=60, stale-if-error=30", 89, "", 0, true),
        ("max-age=60, stale-if-error=30", 90, "", 0, false),
        ("max-age=60", 60, "", 0, false),
        ("max-age=60", 60, "", 10, true),
        ("max-age=60", 60, "stale-if-error=10", 5, true),
        ("max-age=60", 66, "stale-if-error=10", 5, false),
        ("max-age=60, stale-if-error=30", 10, "no-cache", 0, false),
        ("max-age=60, stale-if-error=30", 10, "max-age=1", 0, true),
        ("max-age=60, stale-if-error=30", 70, "max-age=1", 0, false),
        ("max-age=60, stale-if-error=30", 70, "max-age=1, max-stale", 0, true),
        ("max-age=60, stale-if-error=30, must-revalidate", 70, "", 0, false),
        ("max-age=60, stale-if-error=30, no-cache", 10, "", 0, false),
        ("s-maxage=60, stale-if-error=30", 70, "", 99, false),
    ] {
        let variant = stored(&[], &[(CC, response)]);
        let control = RequestControl::of(&headers(&[(CC, request)]));
        let (resident, stale_max) = (Duration::from_secs(secs), Duration::from_secs(stale_max));
        let outcome = usable_if_error(&variant.freshness, &control, resident, stale_max);
        assert_eq!(outcome, expected, "{response} {secs} {request}");
    }
}
