//! What goes wrong with certificates, and what to do about it.

use std::{io, path::PathBuf};

use hexpop_edge_config::{ClusterName, NodeId};

use super::NotANode;

/// Why certificates cannot be made, read or used. Each text ends in what helps.
#[derive(Debug, thiserror::Error)]
pub enum CertError {
    /// The file is there already and nobody said that it may go.
    #[error("{path} exists already; remove it, choose another directory, or give --force")]
    Exists {
        /// The file.
        path: PathBuf,
    },
    /// The file system says no.
    #[error("cannot {action} {path}: {source}")]
    Io {
        /// What was tried, as a verb.
        action: &'static str,
        /// On what.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// There is no authority in this directory.
    #[error("no certificate authority in {dir}; make one with `hexpop certs init`")]
    NoAuthority {
        /// Where it should be.
        dir: PathBuf,
    },
    /// The file does not hold what it should.
    #[error("{path} holds no {expected}: {problem}")]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// What it should hold.
        expected: &'static str,
        /// What is wrong.
        problem: String,
    },
    /// The certificate is none of a node.
    #[error("{path}: {source}; issue one with `hexpop certs issue`")]
    NotANode {
        /// The file.
        path: PathBuf,
        /// What it is instead.
        source: NotANode,
    },
    /// The certificate is another node's.
    #[error(
        "{path} is the certificate of node {found}, this is node {expected}; set mesh.cert to this \
         node's certificate, or issue one with `hexpop certs issue {expected}`"
    )]
    OtherNode {
        /// The file.
        path: PathBuf,
        /// The node in the certificate.
        found: NodeId,
        /// This node.
        expected: NodeId,
    },
    /// The certificate is another cluster's.
    #[error(
        "{path} is a certificate of cluster {found}, this node belongs to {expected}; set \
         mesh.cluster, or issue one with the authority of {expected}"
    )]
    OtherCluster {
        /// The file.
        path: PathBuf,
        /// The cluster in the certificate.
        found: ClusterName,
        /// This cluster.
        expected: ClusterName,
    },
    /// The certificate's time is over, or has not come.
    #[error(
        "{path} is not valid now ({from} to {until}); issue another with `hexpop certs issue`, and \
         check the clock of this machine"
    )]
    NotValidNow {
        /// The file.
        path: PathBuf,
        /// From when it is valid.
        from: String,
        /// Until when it is valid.
        until: String,
    },
    /// The certificate is not signed by this authority.
    #[error(
        "{cert} is not signed by the authority in {ca}: {problem}; all nodes of a cluster need \
         certificates of one authority"
    )]
    OtherAuthority {
        /// The certificate.
        cert: PathBuf,
        /// The authority.
        ca: PathBuf,
        /// What the check says.
        problem: String,
    },
    /// Key and certificate are not of one pair.
    #[error("{key} is not the private key of {cert}: {problem}")]
    KeyMismatch {
        /// The key.
        key: PathBuf,
        /// The certificate.
        cert: PathBuf,
        /// What the check says.
        problem: String,
    },
    /// Something that was asked for cannot be put into a certificate.
    #[error("{what}: {problem}")]
    Invalid {
        /// What was asked for.
        what: String,
        /// What is wrong with it.
        problem: String,
    },
    /// The certificate cannot be made.
    #[error("cannot make the certificate: {0}")]
    Make(#[from] rcgen::Error),
}
