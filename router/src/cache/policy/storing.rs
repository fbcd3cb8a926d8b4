//! Whether a response may be stored (RFC 9111 §3). Pure.

use std::time::Duration;

use http::{HeaderMap, HeaderName, StatusCode, header};

use super::{
    control::{RequestControl, ResponseControl, Scope},
    freshness::{FetchTimes, Freshness, Guesses, explicit_lifetime, is_heuristic},
    vary::{selecting, vary_names},
};
use crate::status::Bypass;

/// How a response is stored.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Storable {
    pub(crate) freshness: Freshness,
    /// The request headers by which it was chosen, and the values they had.
    pub(crate) vary: Vec<HeaderName>,
    pub(crate) selected_by: Vec<Option<Vec<u8>>>,
    /// Fields that are for who asked only.
    pub(crate) withheld: Vec<HeaderName>,
}

impl Storable {
    /// The same, fresh for so long at most since it was made: a cache on the way knows that it is stale, which
    /// the fields do not say.
    pub(crate) fn no_longer_than(mut self, lifetime: Option<Duration>) -> Self {
        if let Some(lifetime) = lifetime {
            self.freshness.lifetime = self.freshness.lifetime.min(lifetime);
        }
        self
    }
}

/// Whether a response to a GET may be stored, and how it may be used then.
///
/// # Errors
/// The reason why not.
pub(crate) fn may_store(
    request: &HeaderMap,
    status: StatusCode,
    response: &HeaderMap,
    times: FetchTimes,
    guesses: Guesses,
) -> Result<Storable, Bypass> {
    let control = ResponseControl::of(response);
    let no_store = if control.must_understand {
        // RFC 9111 §5.2.2.3: who understands the status ignores the no-store beside it.
        !is_understood(status)
    } else {
        control.no_store
    };
    if no_store || RequestControl::of(request).no_store {
        return Err(Bypass::NoStore);
    }
    if control.private == Scope::Everything {
        return Err(Bypass::Private);
    }
    let withheld: Vec<HeaderName> = control.withheld().cloned().collect();
    if response.contains_key(header::SET_COOKIE) && !withheld.contains(&header::SET_COOKIE) {
        return Err(Bypass::SetCookie);
    }
    if request.contains_key(header::AUTHORIZATION) && !control.allows_authorized() {
        return Err(Bypass::Authorization);
    }
    if status.is_informational() || status == StatusCode::NOT_MODIFIED {
        return Err(Bypass::Rule("status"));
    }
    let vary = vary_names(response).ok_or(Bypass::Rule("vary"))?;
    let explicit = explicit_lifetime(&control, response, times).is_some();
    if !explicit && !control.public && !is_heuristic(status) {
        return Err(Bypass::Rule("status"));
    }
    // Who brings cookies may get a page of their own: no time is made up for it.
    let guesses = (!request.contains_key(header::COOKIE)).then_some(guesses);
    let freshness = Freshness::of(&control, status, response, times, guesses);
    let has_validator =
        response.contains_key(header::ETAG) || response.contains_key(header::LAST_MODIFIED);
    let worth = !freshness.lifetime.is_zero() || (has_validator && status == StatusCode::OK);
    if !worth {
        return Err(Bypass::Rule("no-freshness"));
    }
    let selected_by = selecting(&vary, request);
    Ok(Storable { freshness, vary, selected_by, withheld })
}

/// Statuses of RFC 9110 §15 that a cache can store: what they ask of caches is done here.
const fn is_understood(status: StatusCode) -> bool {
    matches!(
        status.as_u16(),
        200..=206 | 300..=303 | 305 | 307 | 308 | 400..=417 | 421 | 422 | 426 | 500..=505
    )
}

/// Whether a status of the origin counts as an error that a stale response may stand in for
/// (RFC 5861 §4).
pub(crate) const fn is_origin_error(status: StatusCode) -> bool {
    matches!(status.as_u16(), 500 | 502 | 503 | 504)
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;

    use super::*;

    type Fields<'a> = &'a [(&'static str, &'a str)];

    fn headers(fields: Fields<'_>) -> HeaderMap {
        let mut headers = HeaderMap::new();
        for (name, value) in fields {
            headers.append(HeaderName::from_static(name), HeaderValue::from_str(value).unwrap());
        }
        headers
    }

    fn stored(request: Fields<'_>, status: u16, response: Fields<'_>) -> Result<Storable, Bypass> {
        let times = FetchTimes { received_ms: 784_111_777_000, delay: Duration::ZERO };
        let guesses = Guesses { heuristic_max: Duration::from_secs(60), negative: Duration::ZERO };
        let status = StatusCode::from_u16(status).unwrap();
        may_store(&headers(request), status, &headers(response), times, guesses)
    }

    const CC: &str = "cache-control";
    const MODIFIED: (&str, &str) = ("last-modified", "Sun, 06 Nov 1994 07:49:37 GMT");

    #[test]
    fn rfc9111_3_each_condition() {
        let fresh = (CC, "max-age=60");
        for (request, status, response, expected) in [
            (&[][..], 200, &[fresh][..], None),
            (&[(CC, "no-store")], 200, &[fresh], Some(Bypass::NoStore)),
            (&[], 200, &[(CC, "max-age=60, No-Store")], Some(Bypass::NoStore)),
            (&[], 200, &[(CC, "max-age=60, private")], Some(Bypass::Private)),
            (&[], 200, &[fresh, ("set-cookie", "a=b")], Some(Bypass::SetCookie)),
            (&[], 200, &[fresh, ("vary", "*")], Some(Bypass::Rule("vary"))),
            (&[], 200, &[], Some(Bypass::Rule("no-freshness"))),
            (&[], 200, &[(CC, "max-age=0")], Some(Bypass::Rule("no-freshness"))),
            (&[], 200, &[(CC, "max-age=0"), ("etag", "\"1\"")], None),
            (&[], 200, &[MODIFIED], None),
            (&[("cookie", "a=b")], 200, &[fresh], None),
            (&[], 304, &[fresh], Some(Bypass::Rule("status"))),
            // Any final status with explicit freshness.
            (&[], 299, &[fresh], None),
            (&[], 302, &[fresh], None),
            (&[], 503, &[fresh], None),
            (&[], 599, &[fresh], None),
            (&[], 302, &[MODIFIED], Some(Bypass::Rule("status"))),
            (&[], 302, &[MODIFIED, (CC, "public")], None),
            (&[], 404, &[MODIFIED], None),
        ] {
            let outcome = stored(request, status, response).err();
            assert_eq!(outcome, expected, "{request:?} {status} {response:?}");
        }
    }

    #[test]
    fn rfc9111_3_5_credentials() {
        let request = &[("authorization", "Basic x")];
        for (control, expected) in [
            ("max-age=60", Some(Bypass::Authorization)),
            ("max-age=60, public", None),
            ("max-age=60, must-revalidate", None),
            ("s-maxage=60", None),
            ("max-age=60, proxy-revalidate", Some(Bypass::Authorization)),
        ] {
            assert_eq!(stored(request, 200, &[(CC, control)]).err(), expected, "{control}");
        }
    }

    #[test]
    fn rfc9111_5_2_2_3_must_understand() {
        let control = [(CC, "max-age=60, no-store, must-understand")];
        assert_eq!(stored(&[], 200, &control).err(), None);
        assert_eq!(stored(&[], 599, &control).err(), Some(Bypass::NoStore));
        let control = [(CC, "max-age=60, must-understand")];
        assert_eq!(stored(&[], 599, &control).err(), Some(Bypass::NoStore));
    }

    #[test]
    fn rfc9111_5_2_2_4_and_7_named_fields_are_withheld() {
        let response = [
            (CC, "max-age=60, no-cache=\"x-a\", private=\"set-cookie\""),
            ("set-cookie", "a=b"),
            ("x-a", "1"),
        ];
        let stored = stored(&[], 200, &response).unwrap();
        assert_eq!(stored.withheld, ["set-cookie", "x-a"]);
        assert!(!stored.freshness.no_cache);
    }

    #[test]
    fn rfc9111_4_2_2_no_time_is_made_up_for_who_brings_cookies() {
        let cookie = &[("cookie", "a=b")];
        assert_eq!(stored(cookie, 200, &[MODIFIED]).unwrap().freshness.lifetime, Duration::ZERO);
        assert_eq!(stored(cookie, 404, &[MODIFIED]).err(), Some(Bypass::Rule("no-freshness")));
    }

    #[test]
    fn rfc9213_2_2_the_targeted_field_decides() {
        let response = [("cdn-cache-control", "max-age=60"), (CC, "no-store, private")];
        assert_eq!(stored(&[], 200, &response).unwrap().freshness.lifetime.as_secs(), 60);
        let response = [("cdn-cache-control", "no-store"), (CC, "max-age=60")];
        assert_eq!(stored(&[], 200, &response).err(), Some(Bypass::NoStore));
    }
}
