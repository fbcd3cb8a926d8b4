//! Section `admin`: who may use the admin port.

use std::path::PathBuf;

use super::{checks::check_each, section::Section, text::check_host, value::Choice};

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

impl Choice for Role {
    const CHOICES: &'static [(&'static str, Self)] =
        &[("viewer", Self::Viewer), ("operator", Self::Operator), ("chaos", Self::Chaos)];
}

impl Admin {
    pub(super) fn read(section: &mut Section<'_>) -> Self {
        let default = Self::default();
        let about = "Bearer tokens, each in a file, and the role that each gives.";
        Self {
            tokens: section.tables("tokens", about, 64, true, AdminToken::read),
            allowed_hosts: section
                .key("allowed_hosts", "Names that requests may have in Host, besides loopback.")
                .check(|hosts: &Vec<String>| check_each(hosts, 64, check_host))
                .reloads()
                .or(default.allowed_hosts),
            loopback_role: section
                .key("loopback_role", "The role of whoever comes from loopback without a token.")
                .reloads()
                .or(default.loopback_role),
        }
    }
}

impl AdminToken {
    fn read(section: &mut Section<'_>) -> Option<Self> {
        let role = section.key("role", "What the token allows.").required();
        let file = section.key("file", "The file that holds the token.").required();
        Some(Self { role: role?, file: file? })
    }
}
