//! Header fields that belong to one connection, those by which proxies speak of themselves
//! (RFC 9110 §7.6, RFC 7239, RFC 8586), and those that no client may send to the origin. Pure.

use std::{fmt::Write as _, net::IpAddr};

use http::{HeaderMap, HeaderName, HeaderValue, Method, Version, header};

use super::{
    key::names,
    policy::text::{all_members, members},
};
use crate::port::Client;

const FORWARDED: HeaderName = HeaderName::from_static("forwarded");
const CDN_LOOP: HeaderName = HeaderName::from_static("cdn-loop");

/// Nodes of any mesh that a request may have passed; more is a loop that no single node sees.
const PASSED_MAX: usize = 16;

/// Fields of one connection, besides those that `Connection` names, and those that RFC 9111 §3.1
/// excepts from storing.
const OF_CONNECTION: [HeaderName; 10] = [
    header::CONNECTION,
    HeaderName::from_static("keep-alive"),
    HeaderName::from_static("proxy-connection"),
    header::PROXY_AUTHENTICATE,
    HeaderName::from_static("proxy-authentication-info"),
    header::PROXY_AUTHORIZATION,
    header::TE,
    header::TRAILER,
    header::TRANSFER_ENCODING,
    header::UPGRADE,
];

/// Fields by which some origins let a client choose another target or another client than the request
/// has. The cache key knows nothing of them, so that an answer to one would be stored for all.
const MISLEADING: [&str; 14] = [
    "x-original-url",
    "x-original-uri",
    "x-original-host",
    "x-rewrite-url",
    "x-override-url",
    "x-http-host-override",
    "x-host",
    "x-real-ip",
    "x-client-ip",
    "x-cluster-client-ip",
    "true-client-ip",
    "cf-connecting-ip",
    "surrogate-capability",
    "hexpop-debug",
];

/// The same for the method; requests that are not answered from the cache may have them.
const METHOD_OVERRIDES: [&str; 3] =
    ["x-http-method", "x-http-method-override", "x-method-override"];

/// Whether a field is meant for the next hop only.
pub(crate) fn is_of_connection(name: &HeaderName) -> bool {
    OF_CONNECTION.contains(name)
}

/// Whether the origin gets another field of this name than the client sent, or none.
pub(crate) fn is_rewritten(name: &HeaderName) -> bool {
    is_of_connection(name)
        || is_claim(name)
        || MISLEADING.contains(&name.as_str())
        || METHOD_OVERRIDES.contains(&name.as_str())
}

/// Whether a field speaks of earlier hops.
fn is_claim(name: &HeaderName) -> bool {
    name.as_str().starts_with("x-forwarded-") || *name == FORWARDED
}

/// Whether the `Connection` of a message makes this field one for the next hop only.
pub(crate) fn is_named_by_connection(headers: &HeaderMap, name: &HeaderName) -> bool {
    // A client may not make a proxy drop what routing or caching depends on.
    *name != header::HOST
        && *name != header::CACHE_CONTROL
        && all_members(headers, &header::CONNECTION)
            .any(|member| member.eq_ignore_ascii_case(name.as_str().as_bytes()))
}

/// Removes what is meant for the next hop only.
pub(crate) fn strip_hop_by_hop(headers: &mut HeaderMap) {
    let named: Vec<HeaderName> = all_members(headers, &header::CONNECTION)
        .filter_map(|name| HeaderName::from_bytes(name).ok())
        .filter(|name| is_named_by_connection(headers, name))
        .collect();
    for name in named.iter().chain(&OF_CONNECTION) {
        headers.remove(name);
    }
}

/// Removes what would make the origin answer for something else than the cache stores.
pub(crate) fn strip_misleading(headers: &mut HeaderMap, method: &Method) {
    for name in MISLEADING {
        headers.remove(name);
    }
    if method.is_safe() {
        for name in METHOD_OVERRIDES {
            headers.remove(name);
        }
    }
}

/// Leaves of the cookies those that a rule names; `None` leaves all.
pub(crate) fn keep_cookies(headers: &mut HeaderMap, keep: Option<&[String]>) {
    let Some(keep) = keep else { return };
    let lines = headers.get_all(header::COOKIE).iter().filter_map(|line| line.to_str().ok());
    let kept: Vec<&str> = lines
        .flat_map(|line| line.split(';'))
        .map(str::trim)
        .filter(|cookie| names(keep, cookie.split('=').next().unwrap_or_default().trim()))
        .collect();
    match HeaderValue::from_str(&kept.join("; ")) {
        Ok(value) if !kept.is_empty() => drop(headers.insert(header::COOKIE, value)),
        _ => drop(headers.remove(header::COOKIE)),
    }
}

/// Replaces whatever the client claims about earlier hops by what its connection says. `authority` is
/// the one that the cache key has.
pub(crate) fn set_forwarded(headers: &mut HeaderMap, client: &Client, authority: &str) {
    let claimed: Vec<HeaderName> = headers.keys().filter(|name| is_claim(name)).cloned().collect();
    for name in &claimed {
        headers.remove(name);
    }
    let address = client.address.to_canonical();
    let node = match address {
        IpAddr::V4(v4) => v4.to_string(),
        IpAddr::V6(v6) => format!("\"[{v6}]\""),
    };
    let mut forwarded = format!("for={node};proto={}", client.scheme);
    if !authority.contains(['"', '\\']) {
        // Writing into a string cannot fail.
        let _infallible = write!(forwarded, ";host=\"{authority}\"");
    }
    for (name, value) in [
        ("x-forwarded-for", address.to_string()),
        ("x-forwarded-proto", client.scheme.to_owned()),
        ("x-forwarded-host", authority.to_owned()),
        ("forwarded", forwarded),
    ] {
        if let Ok(value) = HeaderValue::from_str(&value) {
            headers.insert(HeaderName::from_static(name), value);
        }
    }
}

/// Adds ourselves to `Via`.
pub(crate) fn add_via(headers: &mut HeaderMap, version: Version, name: &str) {
    let protocol = match version {
        Version::HTTP_10 => "1.0",
        Version::HTTP_2 => "2",
        Version::HTTP_3 => "3",
        _ => "1.1",
    };
    if let Ok(value) = HeaderValue::from_str(&format!("{protocol} {name}")) {
        headers.append(header::VIA, value);
    }
}

/// Adds ourselves to `CDN-Loop` (RFC 8586).
pub(crate) fn add_cdn_loop(headers: &mut HeaderMap, name: &str) {
    if let Ok(value) = HeaderValue::from_str(name) {
        headers.append(CDN_LOOP, value);
    }
}

/// Whether a message came through this node before, or through more nodes than any way has:
/// forwarding it would make a loop.
pub(crate) fn is_loop(headers: &HeaderMap, name: &str) -> bool {
    let through = all_members(headers, &header::VIA)
        .any(|member| member.split(u8::is_ascii_whitespace).nth(1) == Some(name.as_bytes()));
    let mut passed = 0;
    for line in headers.get_all(CDN_LOOP) {
        for member in members(line.as_bytes()) {
            // Parameters may follow the name.
            let id = member.split(|byte| *byte == b';').next().unwrap_or(member).trim_ascii();
            if id == name.as_bytes() {
                return true;
            }
            passed += 1;
        }
    }
    through || passed > PASSED_MAX
}

#[cfg(test)]
mod tests {
    use super::*;

    fn client(address: &str) -> Client {
        Client {
            address: address.parse().unwrap(),
            scheme: "https",
            authority: "www.example.com".to_owned(),
        }
    }

    #[test]
    fn fields_of_the_connection_go_no_further() {
        let mut headers = HeaderMap::new();
        for (name, value) in [
            ("connection", "close, X-Private, host"),
            ("x-private", "1"),
            ("keep-alive", "5"),
            ("te", "trailers"),
            ("transfer-encoding", "chunked"),
            ("upgrade", "websocket"),
            ("host", "a"),
            ("accept", "*/*"),
        ] {
            headers.insert(HeaderName::from_static(name), HeaderValue::from_static(value));
        }
        let named = |name| is_named_by_connection(&headers, &name);
        let private = HeaderName::from_static("x-private");
        assert_eq!(
            [named(private), named(header::HOST), named(header::ACCEPT)],
            [true, false, false]
        );
        strip_hop_by_hop(&mut headers);
        let mut left: Vec<_> = headers.keys().map(HeaderName::as_str).collect();
        left.sort_unstable();
        assert_eq!(left, ["accept", "host"]);
    }

    #[test]
    fn what_a_client_claims_about_earlier_hops_is_replaced() {
        let mut headers = HeaderMap::new();
        for name in
            ["x-forwarded-for", "x-forwarded-port", "forwarded", "x-real-ip", "x-original-url"]
        {
            headers.append(HeaderName::from_static(name), HeaderValue::from_static("6.6.6.6"));
        }
        set_forwarded(&mut headers, &client("::ffff:10.0.0.1"), "www.example.com");
        strip_misleading(&mut headers, &Method::GET);
        assert!(headers.values().all(|value| value != "6.6.6.6"));
        assert_eq!(headers["x-forwarded-for"], "10.0.0.1");
        assert_eq!(headers["forwarded"], "for=10.0.0.1;proto=https;host=\"www.example.com\"");
        set_forwarded(&mut headers, &client("2001:db8::1"), "www.example.com");
        assert_eq!(
            headers["forwarded"],
            "for=\"[2001:db8::1]\";proto=https;host=\"www.example.com\""
        );
    }

    #[test]
    fn via_names_us_and_shows_loops() {
        let mut headers = HeaderMap::new();
        headers.append(header::VIA, HeaderValue::from_static("1.0 fred, 1.1 p.example.net"));
        assert!(!is_loop(&headers, "hexpop-mil-1"));
        add_via(&mut headers, Version::HTTP_2, "hexpop-mil-1");
        assert!(is_loop(&headers, "hexpop-mil-1"));
        assert!(!is_loop(&headers, "hexpop-mil"));
    }

    #[test]
    fn rfc8586_2_a_request_that_came_through_here_is_a_loop() {
        let mut headers = HeaderMap::new();
        headers.append(CDN_LOOP, HeaderValue::from_static("foo, hexpop-mil-2; a=b"));
        assert!(!is_loop(&headers, "hexpop-mil-1"));
        assert!(is_loop(&headers, "hexpop-mil-2"));
        add_cdn_loop(&mut headers, "hexpop-mil-1");
        assert!(is_loop(&headers, "hexpop-mil-1"));
        let mut long = HeaderMap::new();
        for _ in 0..=PASSED_MAX {
            add_cdn_loop(&mut long, "other");
        }
        assert!(is_loop(&long, "hexpop-mil-1"));
    }

    #[test]
    fn only_cookies_that_count_go_further() {
        let kept = |keep: Option<&[&str]>| {
            let mut headers = HeaderMap::new();
            headers.append(header::COOKIE, HeaderValue::from_static("a=1; b=2;c"));
            headers.append(header::COOKIE, HeaderValue::from_static("ab=3"));
            let keep: Option<Vec<String>> =
                keep.map(|keep| keep.iter().map(|name| (*name).to_owned()).collect());
            keep_cookies(&mut headers, keep.as_deref());
            let lines = headers.get_all(header::COOKIE).iter();
            lines.map(|line| line.to_str().unwrap().to_owned()).collect::<Vec<_>>()
        };
        assert_eq!(kept(None), ["a=1; b=2;c", "ab=3"]);
        assert_eq!(kept(Some(&["a*", "c"])), ["a=1; c; ab=3"]);
        assert!(kept(Some(&[])).is_empty());
    }
}
