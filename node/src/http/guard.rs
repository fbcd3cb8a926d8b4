//! Who may use the admin port, and the sessions API.
//!
//! The admin port changes the mesh, so it is guarded against more than strangers: against web pages
//! that an operator has open (cross-site requests, DNS rebinding). GET and HEAD change nothing.

use std::{collections::BTreeSet, net::IpAddr};

use http::{HeaderMap, Method, Uri, header};

use hexpop_edge_config::config::Role;

use super::problem::Problem;
use hexpop_router::{FieldPlace as Place, Problem as ProblemType};

/// The rules of one admin port.
#[derive(Debug, Clone, Default)]
pub struct Guard {
    /// Bearer tokens and their roles.
    pub tokens: Vec<(String, Role)>,
    /// What a caller from loopback may do without a token; `None` = nothing.
    pub loopback: Option<Role>,
    /// Host names, besides loopback ones, that requests may be addressed to.
    pub hosts: BTreeSet<String>,
}

impl Guard {
    /// The role of whoever sent this request.
    ///
    /// # Errors
    /// 403 for an authority that is not ours (DNS rebinding) or a cross-site unsafe request, 401
    /// without a known token, 415 for an unsafe request whose body is not declared as JSON.
    pub fn admit(
        &self,
        remote: IpAddr,
        method: &Method,
        uri: &Uri,
        headers: &HeaderMap,
    ) -> Result<Role, Problem> {
        self.check_host(uri, headers)?;
        if !method.is_safe() {
            self.check_same_site(headers)?;
            check_media_type(uri, headers)?;
        }
        match bearer(headers) {
            Some(token) => self
                .tokens
                .iter()
                .find(|(known, _role)| constant_time_eq(known.as_bytes(), token.as_bytes()))
                .map(|(_known, role)| *role)
                .ok_or_else(|| unauthorized("the bearer token is not known here")),
            None if remote.to_canonical().is_loopback() => {
                self.loopback.ok_or_else(|| unauthorized("this port needs a bearer token"))
            }
            None => Err(unauthorized("this port needs a bearer token from other hosts")),
        }
    }

    /// Whether a request carries one of the tokens.
    #[must_use]
    pub fn knows(&self, headers: &HeaderMap) -> bool {
        bearer(headers).is_some_and(|token| {
            let is = |known: &str| constant_time_eq(known.as_bytes(), token.as_bytes());
            self.tokens.iter().any(|(known, _role)| is(known))
        })
    }

    fn check_host(&self, uri: &Uri, headers: &HeaderMap) -> Result<(), Problem> {
        let authority = uri
            .authority()
            .map(|authority| authority.as_str().to_owned())
            .or_else(|| headers.get(header::HOST)?.to_str().ok().map(str::to_owned))
            .unwrap_or_default();
        if self.is_ours(host_of(&authority)) {
            return Ok(());
        }
        Err(Problem::new(
            ProblemType::Forbidden,
            format!("`{authority}` is no name of this admin port; list it in admin.allowed_hosts"),
        ))
    }

    fn is_ours(&self, host: &str) -> bool {
        host.eq_ignore_ascii_case("localhost")
            || host.parse::<IpAddr>().is_ok_and(|ip| ip.to_canonical().is_loopback())
            || self.hosts.contains(&host.to_ascii_lowercase())
    }

    fn check_same_site(&self, headers: &HeaderMap) -> Result<(), Problem> {
        let text = |name: &str| headers.get(name).and_then(|value| value.to_str().ok());
        let cross_site = matches!(text("sec-fetch-site"), Some("cross-site" | "same-site"));
        let foreign_origin = text("origin").is_some_and(|origin| {
            let host = origin.split_once("://").map_or(origin, |(_scheme, rest)| rest);
            !self.is_ours(host_of(host))
        });
        if cross_site || foreign_origin {
            return Err(Problem::new(
                ProblemType::Forbidden,
                "requests from other sites' pages are refused",
            ));
        }
        Ok(())
    }
}

/// The host of `host[:port]`, without the brackets of an IPv6 address.
fn host_of(authority: &str) -> &str {
    if let Some(rest) = authority.strip_prefix('[') {
        return rest.split_once(']').map_or(rest, |(host, _port)| host);
    }
    match authority.rsplit_once(':') {
        Some((host, port)) if !host.contains(':') && port.bytes().all(|b| b.is_ascii_digit()) => {
            host
        }
        _ => authority,
    }
}

/// A page can send a form without asking first, but not this media type.
fn check_media_type(uri: &Uri, headers: &HeaderMap) -> Result<(), Problem> {
    let expected =
        if uri.path() == "/admin/v1/ingest" { "application/x-ndjson" } else { "application/json" };
    expect_media_type(headers, expected)
}

/// Checks `Content-Type`, whose parameters are ignored.
///
/// # Errors
/// A 415 problem for another or no media type.
pub fn expect_media_type(headers: &HeaderMap, expected: &str) -> Result<(), Problem> {
    let given = headers.get(header::CONTENT_TYPE).and_then(|value| value.to_str().ok());
    let essence = given.and_then(|value| value.split(';').next()).map(str::trim);
    if essence.is_some_and(|essence| essence.eq_ignore_ascii_case(expected)) {
        return Ok(());
    }
    Err(Problem::new(
        ProblemType::UnsupportedMediaType,
        match given {
            Some(given) => format!("`{given}` is not taken here; send {expected}"),
            None => format!("the request has no Content-Type; send {expected}"),
        },
    )
    .at(Place::Header("Content-Type".into()), format!("must be {expected}")))
}

/// The token of `Authorization: Bearer …`.
#[must_use]
pub fn bearer(headers: &HeaderMap) -> Option<&str> {
    let value = headers.get(header::AUTHORIZATION)?.to_str().ok()?;
    let (scheme, token) = value.split_once(' ')?;
    scheme.eq_ignore_ascii_case("bearer").then(|| token.trim())
}

fn unauthorized(detail: &str) -> Problem {
    Problem::new(ProblemType::Unauthorized, detail)
        .header(header::WWW_AUTHENTICATE, "Bearer realm=\"hexpop\"")
}

/// Compares without telling by its time where the difference is.
#[must_use]
pub fn constant_time_eq(a: &[u8], b: &[u8]) -> bool {
    a.len() == b.len() && a.iter().zip(b).fold(0, |diff, (a, b)| diff | (a ^ b)) == 0
}

#[cfg(test)]
mod tests {
    use super::*;

    fn headers(pairs: &[(&'static str, &str)]) -> HeaderMap {
        pairs
            .iter()
            .map(|(name, value)| (header::HeaderName::from_static(name), value.parse().unwrap()))
            .collect()
    }

    fn guard() -> Guard {
        Guard {
            tokens: vec![("secret".into(), Role::Operator)],
            loopback: Some(Role::Viewer),
            hosts: BTreeSet::from(["edge-1.example".to_owned()]),
        }
    }

    const LOOPBACK: &str = "127.0.0.1";
    const ELSEWHERE: &str = "10.0.0.9";

    fn admit(from: &str, method: Method, pairs: &[(&'static str, &str)]) -> Result<Role, u16> {
        guard()
            .admit(
                from.parse().unwrap(),
                &method,
                &Uri::from_static("/admin/v1/purge"),
                &headers(pairs),
            )
            .map_err(|problem| problem.error.status)
    }

    #[test]
    fn loopback_has_its_role_and_others_need_a_token() {
        let host = ("host", "127.0.0.1:9080");
        assert_eq!(admit(LOOPBACK, Method::GET, &[host]), Ok(Role::Viewer));
        assert_eq!(admit(ELSEWHERE, Method::GET, &[host]), Err(401));
        let token = ("authorization", "Bearer secret");
        assert_eq!(admit(ELSEWHERE, Method::GET, &[host, token]), Ok(Role::Operator));
        let wrong = ("authorization", "Bearer secret2");
        assert_eq!(admit(LOOPBACK, Method::GET, &[host, wrong]), Err(401));
    }

    #[test]
    fn a_name_that_is_not_ours_is_refused_even_on_loopback() {
        assert_eq!(admit(LOOPBACK, Method::GET, &[("host", "evil.example")]), Err(403));
        assert_eq!(admit(LOOPBACK, Method::GET, &[]), Err(403));
        for host in ["localhost", "[::1]:9080", "edge-1.example:9080", "EDGE-1.example"] {
            assert_eq!(admit(LOOPBACK, Method::GET, &[("host", host)]), Ok(Role::Viewer), "{host}");
        }
    }

    #[test]
    fn pages_of_other_sites_cannot_change_anything() {
        let host = ("host", "localhost:9080");
        let json = ("content-type", "application/json; charset=utf-8");
        assert_eq!(admit(LOOPBACK, Method::POST, &[host, json]), Ok(Role::Viewer));
        assert_eq!(admit(LOOPBACK, Method::POST, &[host]), Err(415));
        let foreign = ("origin", "https://evil.example");
        assert_eq!(admit(LOOPBACK, Method::POST, &[host, json, foreign]), Err(403));
        let ours = ("origin", "http://localhost:9080");
        assert_eq!(admit(LOOPBACK, Method::POST, &[host, json, ours]), Ok(Role::Viewer));
        let fetch = ("sec-fetch-site", "cross-site");
        assert_eq!(admit(LOOPBACK, Method::POST, &[host, json, fetch]), Err(403));
    }
}
