use http::HeaderValue;

use super::*;

fn headers(lines: &[(&str, &str)]) -> HeaderMap {
    let mut map = HeaderMap::new();
    for (name, value) in lines {
        map.append(
            HeaderName::from_bytes(name.as_bytes()).unwrap(),
            HeaderValue::from_str(value).unwrap(),
        );
    }
    map
}

const NOW: FetchTimes = FetchTimes { received_ms: 784_111_777_000, delay: Duration::ZERO };
const DATE: (&str, &str) = ("date", "Sun, 06 Nov 1994 08:49:37 GMT");

const fn secs(secs: u64) -> Duration {
    Duration::from_secs(secs)
}

fn stored(request: &[(&str, &str)], response: &[(&str, &str)]) -> Result<Freshness, Bypass> {
    may_store(&headers(request), StatusCode::OK, &headers(response), NOW)
}

#[test]
fn what_may_be_stored() {
    let ok = |response: &[(&str, &str)], lifetime| {
        assert_eq!(stored(&[], response).map(|f| f.lifetime), Ok(secs(lifetime)), "{response:?}");
    };
    ok(&[("cache-control", "max-age=60")], 60);
    ok(&[("cache-control", "max-age=60, s-maxage=10")], 10);
    ok(&[("cache-control", "max-age=60"), ("expires", "Sun, 06 Nov 1994 09:49:37 GMT")], 60);
    ok(&[DATE, ("expires", "Sun, 06 Nov 1994 09:49:37 GMT")], 3600);
    ok(&[("expires", "Sun, 06 Nov 1994 08:49:47 GMT")], 10);
    ok(&[("etag", "\"1\"")], 0);
    ok(&[("cache-control", "no-cache"), ("etag", "\"1\"")], 0);
    ok(&[("expires", "0"), ("last-modified", "Sun, 06 Nov 1994 08:49:37 GMT")], 0);
    ok(&[("cache-control", "max-age=9"), ("vary", "accept-language, Accept")], 9);
}

#[test]
fn what_may_not_be_stored_and_why() {
    let no = |request: &[(&str, &str)], response: &[(&str, &str)], why| {
        assert_eq!(stored(request, response).unwrap_err(), why, "{response:?}");
    };
    let fresh = ("cache-control", "max-age=60");
    let auth = [("authorization", "Bearer x")];
    no(&[], &[("cache-control", "max-age=60, no-store")], Bypass::NoStore);
    no(&[], &[("cache-control", "private, max-age=60")], Bypass::Private);
    no(&[], &[("cache-control", "private=\"x\", max-age=60")], Bypass::Private);
    no(&[], &[fresh, ("set-cookie", "a=b")], Bypass::SetCookie);
    no(&auth, &[fresh], Bypass::Authorization);
    no(&[], &[fresh, ("vary", "*")], Bypass::Rule("vary"));
    no(&[], &[fresh, ("vary", "accept, *")], Bypass::Rule("vary"));
    no(&[], &[], Bypass::Rule("no-freshness"));
    no(&[], &[("expires", "0")], Bypass::Rule("no-freshness"));
    for allowed in ["public, max-age=60", "s-maxage=60", "must-revalidate, max-age=60"] {
        assert!(stored(&auth, &[("cache-control", allowed)]).unwrap().for_authorized);
    }
    let partial = StatusCode::PARTIAL_CONTENT;
    let lines = headers(&[fresh]);
    assert_eq!(may_store(&headers(&[]), partial, &lines, NOW), Err(Bypass::Rule("status")));
    let unavailable = StatusCode::SERVICE_UNAVAILABLE;
    assert_eq!(may_store(&headers(&[]), unavailable, &lines, NOW), Err(Bypass::Rule("status")));
}

#[test]
fn the_age_at_arrival_counts() {
    let aged = stored(&[], &[("cache-control", "max-age=60"), ("age", "50")]).unwrap();
    assert_eq!(aged.ttl(secs(0)), 10);
    assert_eq!(aged.ttl(secs(30)), -20);
    let old_date = [("cache-control", "max-age=60"), ("date", "Sun, 06 Nov 1994 08:49:06 GMT")];
    assert_eq!(stored(&[], &old_date).unwrap().initial_age, secs(30));
    let slow = FetchTimes { delay: secs(7), ..NOW };
    let lines = headers(&[("cache-control", "max-age=60"), ("age", "1")]);
    let late = may_store(&headers(&[]), StatusCode::OK, &lines, slow).unwrap();
    assert_eq!(late.initial_age, secs(8));
}

#[test]
fn when_a_stored_response_may_be_used() {
    let control =
        |response: &str| stored(&[], &[("cache-control", response), ("etag", "\"1\"")]).unwrap();
    type Case = (&'static str, &'static [(&'static str, &'static str)], u64, Use);
    let table: &[Case] = &[
        ("max-age=60", &[], 10, Use::Fresh(50)),
        ("max-age=60", &[], 60, Use::Revalidate),
        ("max-age=60", &[("cache-control", "no-cache")], 10, Use::RequestForbids),
        ("max-age=60", &[("pragma", "no-cache")], 10, Use::RequestForbids),
        ("max-age=60", &[("cache-control", "max-age=0")], 10, Use::RequestForbids),
        ("max-age=60", &[("cache-control", "max-age=10")], 10, Use::Fresh(50)),
        ("max-age=60", &[("cache-control", "min-fresh=50")], 10, Use::RequestForbids),
        ("max-age=60", &[("cache-control", "max-stale")], 70, Use::Revalidate),
        ("max-age=60, no-cache", &[], 1, Use::Revalidate),
        ("max-age=60, stale-while-revalidate=30", &[], 72, Use::WhileRevalidate(-12)),
        ("max-age=60, stale-while-revalidate=30", &[], 90, Use::Revalidate),
        ("s-maxage=60, stale-while-revalidate=30", &[], 72, Use::Revalidate),
        ("max-age=60, must-revalidate, stale-while-revalidate=30", &[], 72, Use::Revalidate),
        ("max-age=60", &[("authorization", "x")], 1, Use::Revalidate),
        ("max-age=60, public", &[("authorization", "x")], 1, Use::Fresh(59)),
    ];
    for (response, request, resident, expected) in table {
        let found = control(response).usable(&headers(request), secs(*resident));
        assert_eq!(found, *expected, "{response} {request:?} {resident}");
    }
}

#[test]
fn stale_if_error_only_as_the_response_or_the_operator_allows() {
    let allows = |response: &str, request: &[(&str, &str)], resident, stale_max| {
        stored(&[], &[("cache-control", response), ("etag", "\"1\"")]).unwrap().usable_if_error(
            &headers(request),
            secs(resident),
            secs(stale_max),
        )
    };
    assert!(!allows("max-age=60", &[], 61, 0));
    assert!(allows("max-age=60, stale-if-error=30", &[], 89, 0));
    assert!(!allows("max-age=60, stale-if-error=30", &[], 90, 0));
    assert!(allows("max-age=60", &[], 69, 10));
    assert!(!allows("max-age=60, must-revalidate, stale-if-error=30", &[], 61, 100));
    assert!(!allows("s-maxage=60, stale-if-error=30", &[], 61, 100));
    assert!(!allows("max-age=60", &[("cache-control", "stale-if-error=100")], 61, 0));
    assert!(!allows("max-age=60, stale-if-error=30", &[("cache-control", "no-cache")], 61, 0));
}

#[test]
fn requests_that_go_past_the_cache() {
    let check = |method, lines: &[(&str, &str)]| request_may_use_cache(&method, &headers(lines));
    assert_eq!(check(Method::GET, &[]), Ok(()));
    assert_eq!(check(Method::HEAD, &[]), Ok(()));
    assert_eq!(check(Method::POST, &[]), Err(Bypass::Rule("method")));
    assert_eq!(check(Method::GET, &[("cache-control", "no-store")]), Err(Bypass::NoStore));
    assert_eq!(check(Method::GET, &[("range", "bytes=0-1")]), Err(Bypass::Rule("range")));
}

#[test]
fn variants_are_told_apart_by_the_named_headers_only() {
    let names = vary_names(&headers(&[("vary", "Accept-Language"), ("vary", "accept")])).unwrap();
    assert_eq!(names.len(), 2);
    let italian = headers(&[("accept-language", "it, en"), ("user-agent", "a")]);
    let same =
        headers(&[("accept-language", "it"), ("accept-language", " en"), ("user-agent", "b")]);
    let german = headers(&[("accept-language", "de")]);
    assert_eq!(selecting(&names, &italian), selecting(&names, &same));
    assert_ne!(selecting(&names, &italian), selecting(&names, &german));
    assert_ne!(selecting(&names, &headers(&[("accept", "")])), selecting(&names, &headers(&[])));
}

#[test]
fn a_client_that_has_the_response_is_told_so() {
    let modified = ("last-modified", "Sun, 06 Nov 1994 08:49:37 GMT");
    let stored = headers(&[("etag", "W/\"a,1\""), modified]);
    for (line, has) in [
        (("if-none-match", "\"a,1\""), true),
        (("if-none-match", "\"x\", W/\"a,1\""), true),
        (("if-none-match", "*"), true),
        (("if-none-match", "\"x\""), false),
        (("if-modified-since", "Sun, 06 Nov 1994 08:49:37 GMT"), true),
        (("if-modified-since", "Sun, 06 Nov 1994 08:49:36 GMT"), false),
        (("if-modified-since", "yesterday"), false),
        (("accept", "*/*"), false),
    ] {
        assert_eq!(client_has(&headers(&[line]), &stored), has, "{line:?}");
    }
    // If-None-Match takes precedence.
    let both = headers(&[("if-none-match", "\"x\""), ("if-modified-since", modified.1)]);
    assert!(!client_has(&both, &stored));
}
