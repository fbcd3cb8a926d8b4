//! The rules of HTTP caching as a table: what a client asks, what the origin answers, and what must
//! come out. Each case is named after the section it is about.

/// One request of a client, and what must come of it.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Step {
    pub(crate) method: &'static str,
    pub(crate) headers: Fields,
    /// What the origin answers; `None` = it must not be asked.
    pub(crate) origin: Option<(u16, Fields, &'static str)>,
    /// What the client must get.
    pub(crate) status: u16,
    pub(crate) body: Option<&'static str>,
    /// Fields that the client must get; an empty value = must not get.
    pub(crate) gets: Fields,
    /// Fields that the origin must have got; an empty value = must not have got.
    pub(crate) sees: Fields,
}

pub(crate) type Fields = &'static [(&'static str, &'static str)];
pub(crate) type Case = (&'static str, &'static [Step]);

const fn get(headers: Fields) -> Step {
    Step { method: "GET", headers, origin: None, status: 200, body: None, gets: &[], sees: &[] }
}

impl Step {
    const fn to(self, method: &'static str) -> Self {
        Self { method, ..self }
    }

    const fn origin(self, status: u16, headers: Fields, body: &'static str) -> Self {
        Self { origin: Some((status, headers, body)), status, body: Some(body), ..self }
    }

    const fn is(self, status: u16, body: &'static str) -> Self {
        Self { status, body: Some(body), ..self }
    }

    const fn gets(self, gets: Fields) -> Self {
        Self { gets, ..self }
    }

    const fn sees(self, sees: Fields) -> Self {
        Self { sees, ..self }
    }
}

const CC: &str = "cache-control";
const NONE: Fields = &[];
/// Fresh.
const FRESH: Fields = &[(CC, "max-age=60"), ("etag", "\"1\"")];
/// Stored, and stale from the first moment.
const STALE: Fields = &[(CC, "max-age=60"), ("age", "100"), ("etag", "\"1\"")];
/// Another answer, not stored.
const NO_STORE: Fields = &[(CC, "no-store")];
/// A request that the origin answers in any case, without a trace in the cache.
const PAST: Fields = &[(CC, "no-store")];

/// The second request is answered from what the first one stored.
macro_rules! reused {
    ($name:literal, $first:expr, $headers:expr, $second:expr) => {
        ($name, &[get($first).origin(200, $headers, "one"), get($second).is(200, "one")])
    };
}

/// The second request goes to the origin.
macro_rules! not_reused {
    ($name:literal, $first:expr, $headers:expr, $second:expr) => {
        (
            $name,
            &[get($first).origin(200, $headers, "one"), get($second).origin(200, NO_STORE, "two")],
        )
    };
}

pub(crate) const CASES: &[Case] = &[
    // RFC 9111 §3
    reused!("rfc9111_3_fresh", NONE, FRESH, NONE),
    not_reused!("rfc9111_3_no_store", NONE, &[(CC, "max-age=60, no-store")], NONE),
    not_reused!("rfc9111_3_private", NONE, &[(CC, "max-age=60, private")], NONE),
    not_reused!("rfc9111_3_nothing_said", NONE, &[], NONE),
    not_reused!("rfc9111_3_set_cookie", NONE, &[(CC, "max-age=60"), ("set-cookie", "a=b")], NONE),
    (
        "rfc9111_3_any_final_status",
        &[get(NONE).origin(503, &[(CC, "max-age=60")], "down"), get(NONE).is(503, "down")],
    ),
    (
        "rfc9111_3_1_fields_of_the_connection",
        &[
            get(NONE)
                .origin(
                    200,
                    &[(CC, "max-age=60"), ("connection", "x-a"), ("x-a", "1"), ("x-b", "2")],
                    "",
                )
                .gets(&[("x-a", ""), ("x-b", "2")]),
            get(NONE).gets(&[("x-a", ""), ("x-b", "2")]),
        ],
    ),
    (
        "rfc9111_3_3_and_3_4_parts",
        &[
            get(&[("range", "bytes=0-4")])
                .origin(
                    206,
                    &[(CC, "max-age=60"), ("etag", "\"1\""), ("content-range", "bytes 0-4/10")],
                    "01234",
                )
                .sees(&[("range", "bytes=0-4")]),
            get(&[("range", "bytes=1-2")]).is(206, "12").gets(&[("content-range", "bytes 1-2/10")]),
            get(&[("range", "bytes=4-9")]).origin(
                206,
                &[(CC, "max-age=60"), ("etag", "\"1\""), ("content-range", "bytes 4-9/10")],
                "456789",
            ),
            get(NONE).is(200, "0123456789"),
        ],
    ),
    not_reused!(
        "rfc9111_3_5_credentials",
        &[("authorization", "Basic x")],
        FRESH,
        &[("authorization", "Basic x")]
    ),
    reused!(
        "rfc9111_3_5_credentials_and_public",
        &[("authorization", "Basic x")],
        &[(CC, "max-age=60, public")],
        &[("authorization", "Basic y")]
    ),
    // RFC 9111 §4.1
    reused!(
        "rfc9111_4_1_vary_same",
        &[("foo", "1, 2")],
        &[(CC, "max-age=60"), ("vary", "Foo")],
        &[("foo", "1,2")]
    ),
    not_reused!(
        "rfc9111_4_1_vary_other",
        &[("foo", "1")],
        &[(CC, "max-age=60"), ("vary", "Foo")],
        &[("foo", "2")]
    ),
    not_reused!(
        "rfc9111_4_1_vary_absent",
        &[("foo", "1")],
        &[(CC, "max-age=60"), ("vary", "Foo")],
        NONE
    ),
    not_reused!("rfc9111_4_1_vary_star", NONE, &[(CC, "max-age=60"), ("vary", "foo, *")], NONE),
    // RFC 9111 §4.2
    not_reused!(
        "rfc9111_4_2_1_s_maxage",
        NONE,
        &[(CC, "s-maxage=0, max-age=60"), ("etag", "\"1\"")],
        NONE
    ),
    reused!("rfc9111_4_2_1_expires", NONE, &[("expires", "date:60"), ("date", "date:0")], NONE),
    not_reused!("rfc9111_4_2_1_expires_0", NONE, &[("expires", "0"), ("etag", "\"1\"")], NONE),
    not_reused!(
        "rfc9111_4_2_1_not_a_number",
        NONE,
        &[(CC, "max-age=x"), ("expires", "date:60"), ("etag", "\"1\"")],
        NONE
    ),
    reused!("rfc9111_4_2_1_first_of_two", NONE, &[(CC, "max-age=60"), (CC, "max-age=0")], NONE),
    reused!(
        "rfc9111_4_2_2_heuristic",
        NONE,
        &[("last-modified", "date:-86400"), ("date", "date:0")],
        NONE
    ),
    not_reused!("rfc9111_4_2_3_age", NONE, STALE, NONE),
    not_reused!(
        "rfc9111_4_2_3_date",
        NONE,
        &[(CC, "max-age=60"), ("date", "date:-100"), ("etag", "\"1\"")],
        NONE
    ),
    reused!("rfc9111_5_1_first_age_counts", NONE, &[(CC, "max-age=60"), ("age", "0, 100")], NONE),
    // RFC 9111 §4.3
    (
        "rfc9111_4_3_validation",
        &[
            get(NONE).origin(200, STALE, "one").gets(&[("age", "100")]),
            get(NONE)
                .origin(304, &[(CC, "max-age=60"), ("etag", "\"1\""), ("x-new", "1")], "")
                .is(200, "one")
                .sees(&[("if-none-match", "\"1\"")])
                .gets(&[("x-new", "1")]),
            get(NONE).is(200, "one").gets(&[("x-new", "1"), ("content-length", "3")]),
        ],
    ),
    (
        "rfc9111_4_3_a_newer_one_replaces",
        &[
            get(NONE).origin(200, STALE, "one"),
            get(NONE).origin(200, FRESH, "two"),
            get(NONE).is(200, "two"),
        ],
    ),
    (
        "rfc9111_4_3_2_the_clients_own_condition",
        &[
            get(&[("if-none-match", "\"1\"")]).origin(200, FRESH, "one").is(304, ""),
            get(&[("if-none-match", "\"0\", W/\"1\"")]).is(304, "").gets(&[("etag", "\"1\"")]),
            get(&[("if-none-match", "\"2\"")]).is(200, "one"),
        ],
    ),
    (
        "rfc9111_4_3_5_head",
        &[
            get(NONE).origin(200, STALE, "one"),
            get(NONE)
                .to("HEAD")
                .origin(
                    200,
                    &[
                        (CC, "max-age=60"),
                        ("etag", "\"1\""),
                        ("x-new", "1"),
                        ("content-length", "3"),
                    ],
                    "",
                )
                .is(200, ""),
            get(NONE).is(200, "one").gets(&[("x-new", "1")]),
        ],
    ),
    // RFC 9111 §4.4
    (
        "rfc9111_4_4_a_write_invalidates",
        &[
            get(NONE).origin(200, FRESH, "one"),
            get(NONE).to("POST").origin(200, NONE, "done"),
            get(NONE).origin(200, FRESH, "two"),
        ],
    ),
    (
        "rfc9111_4_4_a_write_that_fails_does_not",
        &[
            get(NONE).origin(200, FRESH, "one"),
            get(NONE).to("DELETE").origin(500, NONE, "no"),
            get(NONE).is(200, "one"),
        ],
    ),
    // RFC 9111 §5.2.1
    not_reused!(
        "rfc9111_5_2_1_1_max_age",
        NONE,
        &[(CC, "max-age=600"), ("age", "100")],
        &[(CC, "max-age=50")]
    ),
    reused!("rfc9111_5_2_1_2_max_stale", NONE, STALE, &[(CC, "max-stale=100")]),
    not_reused!("rfc9111_5_2_1_3_min_fresh", NONE, FRESH, &[(CC, "min-fresh=100")]),
    not_reused!("rfc9111_5_2_1_4_no_cache", NONE, FRESH, &[(CC, "no-cache")]),
    not_reused!("rfc9111_5_2_1_5_no_store", NONE, FRESH, PAST),
    ("rfc9111_5_2_1_7_only_if_cached", &[Step { status: 504, ..get(&[(CC, "only-if-cached")]) }]),
    not_reused!("rfc9111_5_4_pragma", NONE, FRESH, &[("pragma", "no-cache")]),
    // RFC 9111 §5.2.2
    not_reused!(
        "rfc9111_5_2_2_2_must_revalidate",
        NONE,
        &[(CC, "max-age=60, must-revalidate"), ("age", "100")],
        &[(CC, "max-stale")]
    ),
    reused!(
        "rfc9111_5_2_2_3_must_understand",
        NONE,
        &[(CC, "max-age=60, no-store, must-understand")],
        NONE
    ),
    (
        "rfc9111_5_2_2_4_no_cache_with_fields",
        &[
            get(NONE)
                .origin(200, &[(CC, "max-age=60, no-cache=\"x-a\""), ("x-a", "1")], "one")
                .gets(&[("x-a", "1")]),
            get(NONE).is(200, "one").gets(&[("x-a", "")]),
        ],
    ),
    not_reused!("rfc9111_5_2_2_4_no_cache", NONE, &[(CC, "max-age=60, no-cache")], NONE),
    (
        "rfc9111_5_2_2_7_private_with_fields",
        &[
            get(NONE)
                .origin(
                    200,
                    &[(CC, "max-age=60, private=\"set-cookie\""), ("set-cookie", "a=b")],
                    "one",
                )
                .gets(&[("set-cookie", "a=b")]),
            get(NONE).is(200, "one").gets(&[("set-cookie", "")]),
        ],
    ),
    // RFC 8246
    reused!(
        "rfc8246_2_immutable",
        NONE,
        &[(CC, "max-age=600, immutable"), ("age", "100")],
        &[(CC, "max-age=0")]
    ),
    // RFC 5861
    (
        "rfc5861_4_stale_if_error",
        &[
            get(NONE).origin(200, &[(CC, "max-age=60, stale-if-error=600"), ("age", "100")], "one"),
            get(NONE).origin(503, NONE, "down").is(200, "one"),
        ],
    ),
    (
        "rfc5861_4_not_beyond",
        &[
            get(NONE).origin(200, &[(CC, "max-age=60, stale-if-error=10"), ("age", "100")], "one"),
            get(NONE).origin(503, NONE, "down"),
        ],
    ),
    // RFC 9213
    reused!(
        "rfc9213_2_2_cdn_cache_control",
        NONE,
        &[("cdn-cache-control", "max-age=60"), (CC, "no-store")],
        NONE
    ),
    not_reused!(
        "rfc9213_2_2_cdn_no_store",
        NONE,
        &[("cdn-cache-control", "no-store"), (CC, "max-age=60")],
        NONE
    ),
    not_reused!(
        "rfc9213_2_1_cannot_be_read",
        NONE,
        &[("cdn-cache-control", "max-age=60, &"), (CC, "no-store")],
        NONE
    ),
    (
        "rfc9213_is_not_for_clients",
        &[get(NONE)
            .origin(
                200,
                &[("cdn-cache-control", "max-age=60"), ("surrogate-key", "a"), ("cache-tag", "b")],
                "one",
            )
            .gets(&[("cdn-cache-control", ""), ("surrogate-key", ""), ("cache-tag", "")])],
    ),
    // RFC 9110 §13, §14
    (
        "rfc9110_13_1_3_if_modified_since",
        &[
            get(NONE).origin(
                200,
                &[(CC, "max-age=60"), ("last-modified", "Sun, 06 Nov 1994 08:49:37 GMT")],
                "one",
            ),
            get(&[("if-modified-since", "Sunday, 06-Nov-94 08:49:37 GMT")]).is(304, ""),
            get(&[("if-modified-since", "Sun, 06 Nov 1994 08:49:36 GMT")]).is(200, "one"),
            get(&[
                ("if-modified-since", "Sun, 06 Nov 1994 08:49:38 GMT"),
                ("if-none-match", "\"x\""),
            ])
            .is(200, "one"),
        ],
    ),
    (
        "rfc9110_13_1_1_if_match",
        &[
            get(NONE).origin(200, FRESH, "one"),
            get(&[("if-match", "\"1\"")]).is(200, "one"),
            get(&[("if-match", "\"2\"")]).origin(412, NONE, "other").sees(&[("if-match", "\"2\"")]),
        ],
    ),
    (
        "rfc9110_14_ranges",
        &[
            get(NONE).origin(200, FRESH, "0123456789"),
            get(&[("range", "bytes=2-4")])
                .is(206, "234")
                .gets(&[("content-range", "bytes 2-4/10")]),
            get(&[("range", "bytes=-3")]).is(206, "789"),
            get(&[("range", "bytes=8-99")]).is(206, "89"),
            get(&[("range", "bytes=0-4, 3-6")]).is(206, "0123456"),
            get(&[("range", "bytes=4-2")]).is(200, "0123456789"),
            get(&[("range", "lines=0-1")]).is(200, "0123456789"),
            get(&[("range", "bytes=10-")]).is(416, "").gets(&[("content-range", "bytes */10")]),
            get(&[("range", "bytes=0-1"), ("if-range", "\"1\"")]).is(206, "01"),
            get(&[("range", "bytes=0-1"), ("if-range", "\"2\"")]).is(200, "0123456789"),
            get(&[("range", "bytes=0-1"), ("if-none-match", "\"1\"")]).is(304, ""),
        ],
    ),
    // RFC 9110 §7.6, RFC 8586, RFC 7239
    (
        "rfc9110_7_6_what_the_origin_hears",
        &[get(&[
            ("x-forwarded-for", "6.6.6.6"),
            ("forwarded", "for=6.6.6.6"),
            ("x-original-url", "/a"),
            ("te", "gzip"),
        ])
        .origin(200, NONE, "one")
        .sees(&[
            ("x-forwarded-for", "127.0.0.1"),
            ("x-original-url", ""),
            ("te", ""),
            ("via", "1.1 hexpop-mil-1"),
            ("cdn-loop", "hexpop-mil-1"),
        ])],
    ),
    ("rfc8586_2_loops", &[Step { status: 508, ..get(&[("cdn-loop", "a, hexpop-mil-1")]) }]),
];
