//! Section `listen`: where clients and operators reach this node.

use std::net::{Ipv4Addr, SocketAddr};

use super::section::Section;

/// Where clients and operators reach this node (TCP).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Listen {
    /// The address of the data port: HTTP for clients.
    ///
    /// Required. Port 0 lets the system choose. Since 0.1.
    pub http: SocketAddr,
    /// The address of the admin port: probes, metrics, operators.
    ///
    /// Whoever reaches it can read all metrics; changes need a role (section `admin`), which on loopback
    /// is given without a token. Default `127.0.0.1:9080`. Since 0.1.
    pub admin: SocketAddr,
}

impl Listen {
    /// The admin address of a node that names none: loopback only.
    pub const ADMIN: SocketAddr = SocketAddr::new(std::net::IpAddr::V4(Ipv4Addr::LOCALHOST), 9080);
}

impl Listen {
    pub(super) fn read(section: &mut Section<'_>) -> Option<Self> {
        let http =
            section.key("http", "The address of the data port: HTTP for clients.").required();
        let admin = section
            .key("admin", "The address of the admin port: probes, metrics, operators.")
            .or(Self::ADMIN);
        section.reserved("https");
        section.reserved("http3");
        Some(Self { http: http?, admin })
    }
}
