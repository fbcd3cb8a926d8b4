//! `Cache-Status` (RFC 9211): every way an answer can have come about, by name. Pure.

use std::fmt;

use hexpop_edge_config::{NodeId, PopId};

/// The header field.
pub const CACHE_STATUS_HEADER: &str = "cache-status";

/// The name by which a node stands in `Cache-Status` and `Via`: a token of RFC 9110.
#[must_use]
pub fn cache_name(pop: &PopId, node: NodeId) -> String {
    format!("hexpop-{pop}-{node}")
}

/// Why a response was not taken from the cache and not put into it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) enum Bypass {
    /// The response sets a cookie.
    SetCookie,
    /// The request carries credentials, and the response does not allow a shared cache to keep it.
    Authorization,
    /// `Cache-Control: no-store` in the request or the response.
    NoStore,
    /// `Cache-Control: private` in the response.
    Private,
    /// A rule of this node; the name is a token.
    Rule(&'static str),
}

impl fmt::Display for Bypass {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::SetCookie => f.write_str("set-cookie"),
            Self::Authorization => f.write_str("authorization"),
            Self::NoStore => f.write_str("no-store"),
            Self::Private => f.write_str("private"),
            Self::Rule(name) => write!(f, "rule:{name}"),
        }
    }
}

/// Where an answer came from. `Display` gives the parameters behind the cache's name.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) enum Source {
    /// A fresh stored response.
    Hit {
        /// Seconds it stays fresh.
        ttl: i64,
    },
    /// A stale stored response, refreshed in the background (RFC 5861).
    StaleWhileRevalidate {
        /// Seconds of freshness left: negative.
        ttl: i64,
    },
    /// A stale stored response because the origin failed (RFC 5861).
    StaleIfError {
        /// What the origin answered; `None` if nothing came.
        status: Option<u16>,
    },
    /// A stored response that the origin confirmed.
    Revalidated,
    /// A stored response was stale, and the origin gave another one.
    Updated {
        /// Its status.
        status: u16,
        /// Whether it was stored in turn.
        stored: bool,
    },
    /// Nothing was stored under the URI.
    Miss {
        /// The status of the origin's answer.
        status: u16,
        /// Whether it was stored.
        stored: bool,
    },
    /// The URI has stored responses, but for other values of the headers that it varies by.
    VaryMiss {
        /// The status of the origin's answer.
        status: u16,
        /// Whether it was stored.
        stored: bool,
    },
    /// What is stored is only a part of what is asked for.
    Partial {
        /// The status of the origin's answer.
        status: u16,
        /// Whether it was stored.
        stored: bool,
    },
    /// Another request was already fetching it.
    Collapsed {
        /// Whether a stale response was stored.
        stale: bool,
    },
    /// A replica on this node.
    Replica,
    /// A replica on another node.
    Peer,
    /// What was kept of an answer, which the replica on this node confirmed.
    Kept,
    /// What was kept of an answer, which replicas on other nodes confirmed.
    KeptByPeer,
    /// Not held, or not servable, by the mesh: the origin answered instead.
    OriginFallback {
        /// Its status.
        status: u16,
    },
    /// Not cacheable.
    Bypass(Bypass),
    /// The client asked to go past the cache (`Cache-Control: no-cache`).
    Request {
        /// The status of the origin's answer.
        status: u16,
        /// Whether it was stored.
        stored: bool,
    },
    /// The method is not one that caches answer.
    Method,
    /// It went to the origin and failed there, so that this node made the answer.
    Failed,
}

impl Source {
    /// The value of the label `result` of `hexpop_cache_lookups_total`.
    pub(crate) const fn label(self) -> &'static str {
        match self {
            Self::Hit { .. } => "hit",
            Self::StaleWhileRevalidate { .. } | Self::StaleIfError { .. } => "stale",
            Self::Revalidated => "revalidated",
            Self::Updated { .. } => "expired",
            Self::Miss { .. } | Self::VaryMiss { .. } | Self::Partial { .. } => "miss",
            Self::Collapsed { .. } => "coalesced",
            Self::Replica | Self::Kept => "replica",
            Self::Peer | Self::KeptByPeer => "peer",
            Self::OriginFallback { .. } => "origin",
            Self::Bypass(_) | Self::Method | Self::Request { .. } => "bypass",
            Self::Failed => "error",
        }
    }

    /// Whether a stored response was used without asking the origin about it.
    pub(crate) const fn is_reuse(self) -> bool {
        matches!(
            self,
            Self::Hit { .. } | Self::StaleWhileRevalidate { .. } | Self::StaleIfError { .. }
        )
    }

    /// The member of the field: `name; parameters`.
    pub(crate) fn member(self, name: &str) -> String {
        format!("{name}; {self}")
    }
}

impl fmt::Display for Source {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let forwarded = |f: &mut fmt::Formatter<'_>, why: &str, status: u16, stored: bool| {
            write!(f, "fwd={why}; fwd-status={status}{}", if stored { "; stored" } else { "" })
        };
        match *self {
            Self::Hit { ttl } => write!(f, "hit; ttl={ttl}"),
            Self::StaleWhileRevalidate { ttl } => write!(f, "hit; ttl={ttl}; detail=swr"),
            Self::StaleIfError { status: Some(status) } => {
                write!(f, "fwd=stale; fwd-status={status}; detail=stale-if-error")
            }
            Self::StaleIfError { status: None } => f.write_str("fwd=stale; detail=stale-if-error"),
            Self::Revalidated => forwarded(f, "stale", 304, true),
            Self::Updated { status, stored } => forwarded(f, "stale", status, stored),
            Self::Miss { status, stored } => forwarded(f, "uri-miss", status, stored),
            Self::VaryMiss { status, stored } => forwarded(f, "vary-miss", status, stored),
            Self::Partial { status, stored } => forwarded(f, "partial", status, stored),
            Self::Collapsed { stale: false } => f.write_str("fwd=uri-miss; collapsed"),
            Self::Collapsed { stale: true } => f.write_str("fwd=stale; collapsed"),
            Self::Replica => f.write_str("hit; detail=replica"),
            Self::Peer => f.write_str("fwd=uri-miss; detail=peer; fwd-status=200"),
            Self::Kept => f.write_str("hit; detail=result"),
            Self::KeptByPeer => f.write_str("fwd=stale; detail=peer; fwd-status=304"),
            Self::OriginFallback { status } => {
                write!(f, "fwd=uri-miss; fwd-status={status}; detail=origin")
            }
            Self::Bypass(reason) => write!(f, "fwd=bypass; detail={reason}"),
            Self::Request { status: _, stored: false } => f.write_str("fwd=request"),
            Self::Request { status, stored } => forwarded(f, "request", status, stored),
            Self::Method => f.write_str("fwd=method"),
            Self::Failed => f.write_str("fwd=uri-miss; detail=origin-failed"),
        }
    }
}

/// A text as a string of a structured field (RFC 9651 §3.3.3): what it cannot have is left out.
#[must_use]
pub fn quoted(text: &str) -> String {
    let mut quoted = String::from("\"");
    for letter in text.chars().filter(|letter| matches!(letter, ' '..='~')) {
        if matches!(letter, '"' | '\\') {
            quoted.push('\\');
        }
        quoted.push(letter);
    }
    quoted.push('"');
    quoted
}

/// Puts our member behind those of the caches nearer to the origin.
pub(crate) fn append(upstream: Option<&str>, own: &str) -> String {
    match upstream.map(str::trim).filter(|text| !text.is_empty()) {
        Some(upstream) => format!("{upstream}, {own}"),
        None => own.to_owned(),
    }
}

/// The field of an answer that replicas gave: a member for each node that was asked over the mesh,
/// then ours.
pub(crate) fn of_replicas<'a>(
    own_name: &str,
    peers: impl IntoIterator<Item = &'a str>,
    kept: bool,
) -> String {
    let mut members: Vec<String> =
        peers.into_iter().map(|peer| Source::Replica.member(peer)).collect();
    members.push(of_own(!members.is_empty(), kept).member(own_name));
    members.join(", ")
}

/// Where an answer of replicas comes from: of some on other nodes, or of one here only. `kept`: all that
/// they said is that what was kept holds.
pub(crate) const fn of_own(has_peers: bool, kept: bool) -> Source {
    match (has_peers, kept) {
        (false, false) => Source::Replica,
        (true, false) => Source::Peer,
        (false, true) => Source::Kept,
        (true, true) => Source::KeptByPeer,
    }
}

#[cfg(test)]
mod tests {
    use sfv::{List, Parser};

    use super::*;

    const NAME: &str = "hexpop-mil-1";

    #[test]
    fn every_case_has_its_value() {
        let table = [
            (Source::Hit { ttl: 30 }, "hexpop-mil-1; hit; ttl=30"),
            (Source::StaleWhileRevalidate { ttl: -12 }, "hexpop-mil-1; hit; ttl=-12; detail=swr"),
            (
                Source::StaleIfError { status: Some(503) },
                "hexpop-mil-1; fwd=stale; fwd-status=503; detail=stale-if-error",
            ),
            (
                Source::StaleIfError { status: None },
                "hexpop-mil-1; fwd=stale; detail=stale-if-error",
            ),
            (Source::Revalidated, "hexpop-mil-1; fwd=stale; fwd-status=304; stored"),
            (
                Source::Updated { status: 200, stored: true },
                "hexpop-mil-1; fwd=stale; fwd-status=200; stored",
            ),
            (
                Source::Miss { status: 200, stored: true },
                "hexpop-mil-1; fwd=uri-miss; fwd-status=200; stored",
            ),
            (
                Source::VaryMiss { status: 404, stored: false },
                "hexpop-mil-1; fwd=vary-miss; fwd-status=404",
            ),
            (
                Source::Partial { status: 206, stored: true },
                "hexpop-mil-1; fwd=partial; fwd-status=206; stored",
            ),
            (Source::Collapsed { stale: false }, "hexpop-mil-1; fwd=uri-miss; collapsed"),
            (Source::Collapsed { stale: true }, "hexpop-mil-1; fwd=stale; collapsed"),
            (Source::Replica, "hexpop-mil-1; hit; detail=replica"),
            (Source::Kept, "hexpop-mil-1; hit; detail=result"),
            (Source::KeptByPeer, "hexpop-mil-1; fwd=stale; detail=peer; fwd-status=304"),
            (Source::Peer, "hexpop-mil-1; fwd=uri-miss; detail=peer; fwd-status=200"),
            (
                Source::OriginFallback { status: 200 },
                "hexpop-mil-1; fwd=uri-miss; fwd-status=200; detail=origin",
            ),
            (Source::Bypass(Bypass::SetCookie), "hexpop-mil-1; fwd=bypass; detail=set-cookie"),
            (
                Source::Bypass(Bypass::Authorization),
                "hexpop-mil-1; fwd=bypass; detail=authorization",
            ),
            (Source::Bypass(Bypass::NoStore), "hexpop-mil-1; fwd=bypass; detail=no-store"),
            (Source::Bypass(Bypass::Rule("size")), "hexpop-mil-1; fwd=bypass; detail=rule:size"),
            (Source::Request { status: 200, stored: false }, "hexpop-mil-1; fwd=request"),
            (
                Source::Request { status: 200, stored: true },
                "hexpop-mil-1; fwd=request; fwd-status=200; stored",
            ),
            (Source::Method, "hexpop-mil-1; fwd=method"),
        ];
        for (source, text) in table {
            assert_eq!(source.member(NAME), text);
            let list: List = Parser::new(text).parse().unwrap();
            assert_eq!(list.len(), 1, "{text}");
            assert!(!(text.contains("hit") && text.contains("fwd=")), "{text}");
        }
    }

    #[test]
    fn a_key_is_a_string_whatever_is_in_it() {
        let text = format!("x; key={}", quoted("http://a/\"b\\c\u{e9}\n"));
        assert_eq!(text, r#"x; key="http://a/\"b\\c""#);
        let list: Result<List, _> = Parser::new(&text).parse();
        assert!(list.is_ok());
    }

    #[test]
    fn what_upstream_said_stays_in_front() {
        let own = Source::Hit { ttl: 1 }.member(NAME);
        assert_eq!(append(Some("origin; hit"), &own), "origin; hit, hexpop-mil-1; hit; ttl=1");
        assert_eq!(append(Some("  "), &own), own);
        assert_eq!(append(None, &own), own);
    }

    #[test]
    fn a_peers_member_precedes_ours() {
        assert_eq!(of_replicas(NAME, [], false), "hexpop-mil-1; hit; detail=replica");
        assert_eq!(of_replicas(NAME, [], true), "hexpop-mil-1; hit; detail=result");
        assert_eq!(
            of_replicas(NAME, ["hexpop-mad-2"], false),
            "hexpop-mad-2; hit; detail=replica, hexpop-mil-1; fwd=uri-miss; detail=peer; fwd-status=200"
        );
    }

    #[test]
    fn the_name_is_a_token() {
        assert_eq!(cache_name(&"mil".parse().unwrap(), NodeId(1)), NAME);
    }
}
