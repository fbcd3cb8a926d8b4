//! Section `listen`: where clients and operators reach this node.

use std::net::{Ipv4Addr, SocketAddr};

use super::{checks::at_most, section::Section};
use crate::Network;

/// Where clients and operators reach this node.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Listen {
    /// The address of the data port in clear (TCP): HTTP/1.1, and HTTP/2 of clients that know it.
    ///
    /// Required. Port 0 lets the system choose. Since 0.1.
    pub http: SocketAddr,
    /// The address of the data port over TLS: HTTP/2 and HTTP/1.1 (TCP), and HTTP/3 on the UDP port of the
    /// same number.
    ///
    /// Needs [`tls.certificates`](super::Tls::certificates). Default none: nothing over TLS. Since 0.1.
    /// Watch `hexpop_http_connections`, `hexpop_tls_handshakes_failed_total`.
    pub https: Option<SocketAddr>,
    /// Whether HTTP/3 is spoken on the UDP port of [`https`](Self::https), and offered to clients by
    /// `Alt-Svc` in every answer over TLS.
    ///
    /// Off: where UDP does not get through, so that clients need not find that out, or where the HTTP/3
    /// library, which is young, is not trusted yet. Default true; without `https` it has no effect.
    /// Since 0.1.
    pub http3: bool,
    /// Whether clients of HTTP/1.1 get the interim responses (1xx, such as 103 Early Hints) that the origin sends
    /// before its answer.
    ///
    /// Off: for old clients that take the first for the answer (RFC 8297 §3). Those of HTTP/1.0 never get any, those
    /// of HTTP/3 always do. Default true. Since 0.1.
    pub http1_interim: bool,
    /// The address of the admin port: probes, metrics, operators.
    ///
    /// Whoever reaches it can read all metrics; changes need a role (section `admin`), which on loopback
    /// is given without a token. Default `127.0.0.1:9080`. Since 0.1.
    pub admin: SocketAddr,
    /// The networks of load balancers in front of [`http`](Self::http) that say with a PROXY protocol
    /// header, version 2, who the client is. Connections from there must begin with one; from anywhere
    /// else none is taken.
    ///
    /// Too wide: whoever is in them can claim any address. Default none; at most 64. Since 0.1.
    pub http_proxies: Vec<Network>,
    /// As [`http_proxies`](Self::http_proxies), in front of the TCP port of [`https`](Self::https).
    ///
    /// Default none; at most 64. Since 0.1.
    pub https_proxies: Vec<Network>,
}

impl Listen {
    /// The admin address of a node that names none: loopback only.
    pub const ADMIN: SocketAddr = SocketAddr::new(std::net::IpAddr::V4(Ipv4Addr::LOCALHOST), 9080);
    /// Networks of a list at most.
    const PROXIES_MAX: usize = 64;

    pub(super) fn read(section: &mut Section<'_>) -> Option<Self> {
        let few = |networks: &Vec<Network>| {
            at_most(networks.len(), Self::PROXIES_MAX).into_iter().collect()
        };
        let http = section
            .key("http", "The address of the data port in clear: HTTP for clients.")
            .required();
        let https = section
            .key("https", "The address of the data port over TLS: HTTP/2, 1.1 and 3.")
            .optional();
        let http3 =
            section.key("http3", "Whether HTTP/3 is spoken on the UDP port of https.").or(true);
        let http1_interim = section
            .key("http1_interim", "Whether clients of HTTP/1.1 get interim responses (1xx).")
            .or(true);
        let admin = section
            .key("admin", "The address of the admin port: probes, metrics, operators.")
            .or(Self::ADMIN);
        let http_proxies = section
            .key("http_proxies", "Load balancers that send PROXY protocol headers to http.")
            .check(few)
            .or(Vec::new());
        let https_proxies = section
            .key("https_proxies", "Load balancers that send PROXY protocol headers to https.")
            .check(few)
            .or(Vec::new());
        let http = http?;
        Some(Self { http, https, http3, http1_interim, admin, http_proxies, https_proxies })
    }

    /// The UDP address of HTTP/3, if it is spoken.
    #[must_use]
    pub fn http3_address(&self) -> Option<SocketAddr> {
        self.https.filter(|_address| self.http3)
    }
}
