//! Section `admin`: who may use the admin port.

use std::path::PathBuf;

/// What someone may do on the admin port; each role includes the ones before it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Role {
    /// Read everything.
    Viewer,
    /// Also move, split and drain, purge, ingest.
    Operator,
    /// Also inject faults.
    Chaos,
}

/// Who may use the admin port.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Admin {
    /// Bearer tokens and the role that each gives.
    ///
    /// None: only loopback may do anything. At most 64. Default none. Since 0.1.
    pub tokens: Vec<AdminToken>,
    /// Host names, besides those of loopback, that requests may name in `Host`. Anything else is refused,
    /// so that a web page which rebinds its name to this address (DNS rebinding) reaches nothing.
    ///
    /// Default none; at most 64. Since 0.1.
    pub allowed_hosts: Vec<String>,
    /// The role of whoever comes from loopback without a token.
    ///
    /// `chaos` needs `chaos.enabled`. Default `operator`. Since 0.1.
    pub loopback_role: Role,
}

impl Default for Admin {
    fn default() -> Self {
        Self { tokens: Vec::new(), allowed_hosts: Vec::new(), loopback_role: Role::Operator }
    }
}

/// A bearer token of the admin port.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AdminToken {
    /// What it allows.
    pub role: Role,
    /// The file that holds the token: one line, of which surrounding white space is no part.
    pub file: PathBuf,
}
