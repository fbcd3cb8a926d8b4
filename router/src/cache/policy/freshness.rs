//! How long a response is fresh and how old it is (RFC 9111 §4.2). Pure.

use std::time::Duration;

use http::{HeaderMap, StatusCode, header};

use super::{
    control::ResponseControl,
    date,
    text::{delta_seconds, members},
};

/// Statuses that may be stored without explicit freshness (RFC 9110 §15.1).
const HEURISTIC: [u16; 12] = [200, 203, 204, 206, 300, 301, 308, 404, 405, 410, 414, 501];

/// The share of the time since `Last-Modified` for which a response counts as fresh, as a divisor:
/// 10 % (RFC 9111 §4.2.2).
const HEURISTIC_DIVISOR: u32 = 10;

/// Times at which a response was fetched.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct FetchTimes {
    /// The wall clock when it arrived, in milliseconds since the Unix epoch.
    pub(crate) received_ms: u64,
    /// Between sending the request and receiving the head of the response.
    pub(crate) delay: Duration,
}

impl FetchTimes {
    pub(crate) fn received(&self) -> i64 {
        i64::try_from(self.received_ms).unwrap_or(i64::MAX)
    }
}

/// What the operator says about responses that say nothing themselves.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Guesses {
    /// The longest time for which `Last-Modified` makes a response fresh; zero = it does not.
    pub(crate) heuristic_max: Duration,
    /// How long an error that is about the resource is fresh (negative caching).
    pub(crate) negative: Duration,
}

/// How a stored response may be used.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Freshness {
    /// How long it is fresh, from when it was made.
    pub(crate) lifetime: Duration,
    /// How old it was when it arrived.
    pub(crate) initial_age: Duration,
    /// For how long after that it may be used while it is refreshed.
    pub(crate) stale_while_revalidate: Duration,
    /// For how long after that it may be used when the origin fails.
    pub(crate) stale_if_error: Duration,
    /// It may never be used stale.
    pub(crate) never_stale: bool,
    /// It may never be used without asking the origin.
    pub(crate) no_cache: bool,
    /// While it is fresh it does not change (RFC 8246).
    pub(crate) immutable: bool,
    /// It was declared fit for requests with credentials (RFC 9111 §3.5).
    pub(crate) for_authorized: bool,
}

impl Freshness {
    /// What a response says about itself.
    pub(crate) fn of(
        control: &ResponseControl,
        status: StatusCode,
        response: &HeaderMap,
        times: FetchTimes,
        guesses: Option<Guesses>,
    ) -> Self {
        let explicit = explicit_lifetime(control, response, times);
        let guess = || guesses.map(|guesses| guess(control, status, response, times, guesses));
        Self {
            lifetime: explicit.or_else(guess).unwrap_or_default(),
            initial_age: initial_age(response, times),
            stale_while_revalidate: control.stale_while_revalidate.unwrap_or_default(),
            stale_if_error: control.stale_if_error.unwrap_or_default(),
            never_stale: control.forbids_stale(),
            no_cache: control.no_cache == super::control::Scope::Everything,
            immutable: control.immutable,
            for_authorized: control.allows_authorized(),
        }
    }

    /// The age of a response stored `resident` ago (RFC 9111 §4.2.3).
    pub(crate) const fn age(&self, resident: Duration) -> Duration {
        self.initial_age.saturating_add(resident)
    }

    pub(crate) fn is_fresh(&self, resident: Duration) -> bool {
        self.age(resident) < self.lifetime
    }

    /// How long it has been stale; zero while it is fresh.
    pub(crate) const fn staleness(&self, resident: Duration) -> Duration {
        self.age(resident).saturating_sub(self.lifetime)
    }

    /// Seconds of freshness left, negative when stale.
    pub(crate) fn ttl(&self, resident: Duration) -> i64 {
        let secs = |time: Duration| i64::try_from(time.as_secs()).unwrap_or(i64::MAX);
        let age = self.age(resident);
        if age < self.lifetime { secs(self.lifetime - age) } else { -secs(age - self.lifetime) }
    }

    /// The same response, stale from now on.
    pub(crate) fn expired(&self, resident: Duration) -> Self {
        Self { lifetime: self.lifetime.min(self.age(resident)), ..self.clone() }
    }
}

/// RFC 9111 §4.2.1, for a shared cache.
pub(crate) fn explicit_lifetime(
    control: &ResponseControl,
    response: &HeaderMap,
    times: FetchTimes,
) -> Option<Duration> {
    let said = control.s_maxage.or(control.max_age);
    if said.is_some() || control.targeted {
        return said;
    }
    let received = times.received();
    // A date that is none counts as the past (RFC 9111 §5.3).
    let expires = date::of_field(response, &header::EXPIRES, received)?.unwrap_or(i64::MIN);
    let made = date::valid(response, &header::DATE, received).unwrap_or(received);
    Some(Duration::from_millis(u64::try_from(expires.saturating_sub(made)).unwrap_or(0)))
}

/// RFC 9111 §4.2.2, and negative caching.
fn guess(
    control: &ResponseControl,
    status: StatusCode,
    response: &HeaderMap,
    times: FetchTimes,
    guesses: Guesses,
) -> Duration {
    if !is_heuristic(status) && !control.public {
        return Duration::ZERO;
    }
    let received = times.received();
    let made = date::valid(response, &header::DATE, received).unwrap_or(received);
    let unchanged = date::valid(response, &header::LAST_MODIFIED, received)
        .and_then(|modified| u64::try_from(made.saturating_sub(modified)).ok())
        .map_or(Duration::ZERO, Duration::from_millis);
    let by_change = (unchanged / HEURISTIC_DIVISOR).min(guesses.heuristic_max);
    if status.is_client_error() || status.is_server_error() {
        by_change.max(guesses.negative)
    } else {
        by_change
    }
}

/// Whether a status may be stored without explicit freshness.
pub(crate) fn is_heuristic(status: StatusCode) -> bool {
    HEURISTIC.contains(&status.as_u16())
}

/// RFC 9111 §4.2.3. Clock times count in whole seconds, as in `Date`.
fn initial_age(response: &HeaderMap, times: FetchTimes) -> Duration {
    let received = times.received() / 1000 * 1000;
    let apparent = date::valid(response, &header::DATE, received)
        .and_then(|date| u64::try_from(received.saturating_sub(date)).ok())
        .map_or(Duration::ZERO, Duration::from_millis);
    apparent.max(said_age(response).saturating_add(times.delay))
}

/// RFC 9111 §5.1: the first member counts, and one that is no number is ignored.
fn said_age(response: &HeaderMap) -> Duration {
    let first = response.get(header::AGE).and_then(|line| members(line.as_bytes()).next());
    let text = first.and_then(|member| str::from_utf8(member).ok());
    text.and_then(delta_seconds).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use http::{HeaderName, HeaderValue};

    use super::*;

    /// Sun, 06 Nov 1994 08:49:37.5 GMT
    const RECEIVED: u64 = 784_111_777_500;
    const GUESSES: Guesses =
        Guesses { heuristic_max: Duration::from_secs(3600), negative: Duration::from_secs(7) };

    fn freshness(status: u16, fields: &[(&'static str, &str)]) -> Freshness {
        let mut headers = HeaderMap::new();
        for (name, value) in fields {
            headers.append(HeaderName::from_static(name), HeaderValue::from_str(value).unwrap());
        }
        let times = FetchTimes { received_ms: RECEIVED, delay: Duration::from_millis(200) };
        let control = ResponseControl::of(&headers);
        let status = StatusCode::from_u16(status).unwrap();
        Freshness::of(&control, status, &headers, times, Some(GUESSES))
    }

    #[test]
    fn rfc9111_4_2_1_lifetime() {
        const DATE: (&str, &str) = ("date", "Sun, 06 Nov 1994 08:49:37 GMT");
        const LATER: (&str, &str) = ("expires", "Sun, 06 Nov 1994 08:50:37 GMT");
        const CC: &str = "cache-control";
        for (fields, secs) in [
            (&[(CC, "max-age=60, s-maxage=10"), LATER][..], 10),
            (&[(CC, "max-age=5"), LATER], 5),
            (&[(CC, "public"), DATE, LATER], 60),
            (&[DATE, LATER], 60),
            // The first of several lines.
            (&[DATE, LATER, ("expires", "0")], 60),
            (&[("date", "Sun, 06 Nov 1994 08:50:07 GMT"), LATER], 30),
            (&[("date", "then"), ("expires", "Sun, 06 Nov 1994 08:49:38 GMT")], 0),
            (&[DATE, ("expires", "0")], 0),
            (&[DATE, ("expires", "Sun, 06 Nov 1994 08:49:37 GMT")], 0),
            (&[DATE, ("expires", "Sun, 06 Nov 1994 07:49:37 GMT")], 0),
            (&[DATE, ("expires", "Sunday, 06-Nov-94 08:50:37 GMT")], 60),
            (&[DATE, ("expires", "Sun Nov  6 08:50:37 1994")], 60),
            (&[("cdn-cache-control", "max-age=9"), (CC, "max-age=5"), DATE, LATER], 9),
            (&[("cdn-cache-control", "public"), (CC, "max-age=5"), DATE, LATER], 0),
        ] {
            let lifetime = freshness(200, fields).lifetime;
            assert_eq!(lifetime.as_secs(), secs, "{fields:?}");
        }
    }

    #[test]
    fn rfc9111_4_2_2_heuristic_lifetime() {
        const DATE: (&str, &str) = ("date", "Sun, 06 Nov 1994 08:49:37 GMT");
        let lifetime = |status, modified: &str, control: &str| {
            let fields = [DATE, ("last-modified", modified), ("cache-control", control)];
            freshness(status, &fields).lifetime.as_secs()
        };
        let hour_ago = "Sun, 06 Nov 1994 07:49:37 GMT";
        assert_eq!(lifetime(200, hour_ago, ""), 360);
        assert_eq!(lifetime(200, "Mon, 06 Nov 1989 08:49:37 GMT", ""), 3600, "capped");
        assert_eq!(lifetime(200, "Mon, 07 Nov 1994 08:49:37 GMT", ""), 0, "not yet changed");
        assert_eq!(lifetime(200, "once", ""), 0);
        assert_eq!(lifetime(302, hour_ago, ""), 0);
        assert_eq!(lifetime(302, hour_ago, "public"), 360);
        assert_eq!(lifetime(200, hour_ago, "max-age=soon"), 0, "an explicit time that is none");
        assert_eq!(freshness(404, &[DATE]).lifetime.as_secs(), 7, "negative caching");
        assert_eq!(freshness(404, &[("cache-control", "max-age=0")]).lifetime.as_secs(), 0);
        assert_eq!(freshness(500, &[DATE]).lifetime.as_secs(), 0);
    }

    #[test]
    fn rfc9111_4_2_3_age() {
        for (fields, millis) in [
            (&[("age", "30")][..], 30_200),
            (&[("date", "Sun, 06 Nov 1994 08:49:37 GMT")], 200),
            (&[("date", "Sun, 06 Nov 1994 08:49:27 GMT")], 10_000),
            (&[("date", "Sun, 06 Nov 1994 08:49:27 GMT"), ("age", "8")], 10_000),
            (&[("date", "Sun, 06 Nov 1994 08:49:27 GMT"), ("age", "12")], 12_200),
            (&[("date", "Sun, 06 Nov 1994 09:49:27 GMT")], 200),
            (&[("date", "x")], 200),
        ] {
            let age = freshness(200, fields).age(Duration::ZERO);
            assert_eq!(age.as_millis(), millis, "{fields:?}");
        }
        assert_eq!(freshness(200, &[]).age(Duration::from_secs(5)).as_millis(), 5_200);
    }

    #[test]
    fn rfc9111_5_1_age_fields() {
        for (lines, secs) in [
            (&["abc"][..], 0),
            (&["-7200"], 0),
            (&["7200.0"], 0),
            (&["7200;a=b"], 0),
            (&["2147483649"], 1 << 31),
            (&["7200, 0"], 7200),
            (&["0, 7200"], 0),
            (&["0", "7200"], 0),
            (&["7200", "0"], 7200),
        ] {
            let fields: Vec<_> = lines.iter().map(|line| ("age", *line)).collect();
            assert_eq!(freshness(200, &fields).age(Duration::ZERO).as_secs(), secs, "{lines:?}");
        }
    }

    #[test]
    fn rfc9111_4_2_4_what_never_goes_stale_into_an_answer() {
        let never = |control| freshness(200, &[("cache-control", control)]).never_stale;
        assert!(never("must-revalidate"));
        assert!(never("proxy-revalidate"));
        assert!(never("s-maxage=1"));
        assert!(!never("max-age=1, stale-if-error=5"));
    }
}
