//! Header fields that belong to one connection, and those by which proxies speak of themselves
//! (RFC 9110 §7.6, RFC 7239). Pure.

use std::{fmt::Write as _, net::IpAddr};

use http::{HeaderMap, HeaderName, HeaderValue, Version, header};

use super::control::split_outside_quotes;
use crate::port::Client;

const FORWARDED: HeaderName = HeaderName::from_static("forwarded");

/// Fields of one connection, besides those that `Connection` names.
const HOP_BY_HOP: [HeaderName; 9] = [
    header::CONNECTION,
    HeaderName::from_static("keep-alive"),
    HeaderName::from_static("proxy-connection"),
    header::PROXY_AUTHENTICATE,
    header::PROXY_AUTHORIZATION,
    header::TE,
    header::TRAILER,
    header::TRANSFER_ENCODING,
    header::UPGRADE,
];

/// Removes what is meant for the next hop only.
pub(crate) fn strip_hop_by_hop(headers: &mut HeaderMap) {
    let named: Vec<HeaderName> = headers
        .get_all(header::CONNECTION)
        .iter()
        .flat_map(|line| split_outside_quotes(line.as_bytes()))
        .filter_map(|name| HeaderName::from_bytes(name).ok())
        // A client may not make a proxy drop what routing or caching depends on.
        .filter(|name| *name != header::HOST && *name != header::CACHE_CONTROL)
        .collect();
    for name in named.iter().chain(&HOP_BY_HOP) {
        headers.remove(name);
    }
}

/// Replaces whatever the client claims about earlier hops by what its connection says.
pub(crate) fn set_forwarded(headers: &mut HeaderMap, client: &Client) {
    let claimed: Vec<HeaderName> = headers
        .keys()
        .filter(|name| name.as_str().starts_with("x-forwarded-") || **name == FORWARDED)
        .cloned()
        .collect();
    for name in &claimed {
        headers.remove(name);
    }
    headers.remove("x-real-ip");
    let address = client.address.to_canonical();
    let node = match address {
        IpAddr::V4(v4) => v4.to_string(),
        IpAddr::V6(v6) => format!("\"[{v6}]\""),
    };
    let mut forwarded = format!("for={node};proto={}", client.scheme);
    if !client.authority.contains(['"', '\\']) {
        // Writing into a string cannot fail.
        let _infallible = write!(forwarded, ";host=\"{}\"", client.authority);
    }
    for (name, value) in [
        ("x-forwarded-for", address.to_string()),
        ("x-forwarded-proto", client.scheme.to_owned()),
        ("x-forwarded-host", client.authority.clone()),
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

/// Whether a message came through this node before: forwarding it again would make a loop.
pub(crate) fn came_through(headers: &HeaderMap, name: &str) -> bool {
    headers.get_all(header::VIA).iter().any(|line| {
        split_outside_quotes(line.as_bytes())
            .any(|member| member.split(u8::is_ascii_whitespace).nth(1) == Some(name.as_bytes()))
    })
}

/// Takes over the fields of a 304 into a stored response (RFC 9111 §3.2).
pub(crate) fn freshen(stored: &mut HeaderMap, confirmed: &HeaderMap) {
    for name in confirmed.keys() {
        let describes_the_body = matches!(
            *name,
            header::CONTENT_LENGTH
                | header::CONTENT_ENCODING
                | header::CONTENT_TYPE
                | header::CONTENT_RANGE
        );
        if describes_the_body {
            continue;
        }
        stored.remove(name);
        for value in confirmed.get_all(name) {
            stored.append(name, value.clone());
        }
    }
    if !confirmed.contains_key(header::AGE) {
        stored.remove(header::AGE);
    }
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
        strip_hop_by_hop(&mut headers);
        let mut left: Vec<_> = headers.keys().map(HeaderName::as_str).collect();
        left.sort_unstable();
        assert_eq!(left, ["accept", "host"]);
    }

    #[test]
    fn what_a_client_claims_about_earlier_hops_is_replaced() {
        let mut headers = HeaderMap::new();
        for name in ["x-forwarded-for", "x-forwarded-port", "forwarded", "x-real-ip"] {
            headers.append(HeaderName::from_static(name), HeaderValue::from_static("6.6.6.6"));
        }
        set_forwarded(&mut headers, &client("::ffff:10.0.0.1"));
        assert!(headers.values().all(|value| value != "6.6.6.6"));
        assert_eq!(headers["x-forwarded-for"], "10.0.0.1");
        assert_eq!(headers["forwarded"], "for=10.0.0.1;proto=https;host=\"www.example.com\"");
        set_forwarded(&mut headers, &client("2001:db8::1"));
        assert_eq!(
            headers["forwarded"],
            "for=\"[2001:db8::1]\";proto=https;host=\"www.example.com\""
        );
    }

    #[test]
    fn via_names_us_and_shows_loops() {
        let mut headers = HeaderMap::new();
        headers.append(header::VIA, HeaderValue::from_static("1.0 fred, 1.1 p.example.net"));
        assert!(!came_through(&headers, "hexpop-mil-1"));
        add_via(&mut headers, Version::HTTP_2, "hexpop-mil-1");
        assert!(came_through(&headers, "hexpop-mil-1"));
        assert!(!came_through(&headers, "hexpop-mil"));
    }

    #[test]
    fn a_304_renews_what_describes_the_response_and_not_its_body() {
        let mut stored = HeaderMap::new();
        stored.insert(header::AGE, HeaderValue::from_static("50"));
        stored.insert(header::CONTENT_LENGTH, HeaderValue::from_static("5"));
        stored.insert(header::CACHE_CONTROL, HeaderValue::from_static("max-age=1"));
        let mut confirmed = HeaderMap::new();
        confirmed.insert(header::CONTENT_LENGTH, HeaderValue::from_static("0"));
        confirmed.append(header::CACHE_CONTROL, HeaderValue::from_static("max-age=60"));
        freshen(&mut stored, &confirmed);
        assert_eq!(stored[header::CACHE_CONTROL], "max-age=60");
        assert_eq!(stored[header::CONTENT_LENGTH], "5");
        assert!(!stored.contains_key(header::AGE));
    }
}
