//! The certificates of a cluster: its authority, and one identity per node.
//!
//! A cluster is a trust domain. Its authority (`ca.pem`, `ca.key`) signs one certificate per node,
//! whose identity is the URI SAN `spiffe://<cluster>/node/<id>` (SPIFFE-ID, as X.509-SVID carries
//! it). The mesh talks to nobody without one, and takes a node for no other than its certificate
//! says. `hexpop certs init | issue | server | show` are these functions; a server's certificate is what
//! the data port shows to clients, and of no node. The keys that session
//! values are encrypted under are made here too (`hexpop certs session-keys`), but belong to no node.

mod error;
mod files;
mod identity;
mod issue;
mod session_keys;
mod show;

pub use error::CertError;
pub use identity::{NodeIdentity, NotANode};
pub use issue::{Authority, Issued, Served, init, issue, issue_server};
pub use session_keys::{NewKey, add_session_key};
pub use show::{CertificateInfo, show};

pub(crate) use files::{read_certificates, read_key};
