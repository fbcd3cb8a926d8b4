//! Who a certificate is of.

use std::{fmt, str::FromStr};

use hexpop_edge_config::{ClusterName, NodeId};
use x509_parser::prelude::{FromDer, GeneralName, X509Certificate};

/// The identity of a node as its certificate states it: `spiffe://<cluster>/node/<id>`.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct NodeIdentity {
    /// The cluster, which is the trust domain.
    pub cluster: ClusterName,
    /// The node.
    pub node: NodeId,
}

/// Why a certificate, or a URI, is not of a node.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum NotANode {
    /// It is no X.509 certificate.
    #[error("it is no X.509 certificate: {0}")]
    Certificate(String),
    /// It names nobody.
    #[error("the certificate has no URI SAN of the form spiffe://<cluster>/node/<id>")]
    NoIdentity,
    /// It names several, and a node is one.
    #[error("the certificate has {0} URI SANs, and may have one")]
    SeveralIdentities(usize),
    /// It names something else.
    #[error("`{0}` is not of the form spiffe://<cluster>/node/<id>")]
    Uri(String),
}

impl fmt::Display for NodeIdentity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "spiffe://{}/node/{}", self.cluster, self.node)
    }
}

impl FromStr for NodeIdentity {
    type Err = NotANode;

    fn from_str(text: &str) -> Result<Self, NotANode> {
        let wrong = || NotANode::Uri(text.chars().take(120).collect());
        let rest = text.strip_prefix("spiffe://").ok_or_else(wrong)?;
        let (cluster, node) = rest.split_once("/node/").ok_or_else(wrong)?;
        let id = Self {
            cluster: cluster.parse().map_err(|_source| wrong())?,
            node: node.parse().map_err(|_source| wrong())?,
        };
        // One node has one spelling: `/node/07` or `/node/+7` are not it.
        if id.to_string() == text { Ok(id) } else { Err(wrong()) }
    }
}

impl NodeIdentity {
    /// The identity in a certificate. Whether the certificate can be trusted is another question.
    ///
    /// # Errors
    /// [`NotANode`] when it has none, or more than one.
    pub fn of_certificate(der: &[u8]) -> Result<Self, NotANode> {
        let (_, certificate) = X509Certificate::from_der(der)
            .map_err(|error| NotANode::Certificate(error.to_string()))?;
        let uris = uris(&certificate).map_err(NotANode::Certificate)?;
        match uris.as_slice() {
            [] => Err(NotANode::NoIdentity),
            [one] => one.parse(),
            several => Err(NotANode::SeveralIdentities(several.len())),
        }
    }
}

/// The URIs among the subject's alternative names.
pub(super) fn uris<'a>(certificate: &X509Certificate<'a>) -> Result<Vec<&'a str>, String> {
    let names = certificate.subject_alternative_name().map_err(|error| error.to_string())?;
    Ok(names
        .iter()
        .flat_map(|names| &names.value.general_names)
        .filter_map(|name| if let GeneralName::URI(uri) = name { Some(*uri) } else { None })
        .collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_identity_has_one_spelling() {
        let id: NodeIdentity = "spiffe://demo/node/7".parse().unwrap();
        assert_eq!((id.cluster.as_str(), id.node), ("demo", NodeId(7)));
        assert_eq!(id.to_string(), "spiffe://demo/node/7");
        for wrong in [
            "spiffe://demo/node/07",
            "spiffe://demo/node/+7",
            "spiffe://demo/node/7/",
            "spiffe://demo/node/",
            "spiffe:///node/7",
            "spiffe://Demo/node/7",
            "spiffe://demo/nodes/7",
            "https://demo/node/7",
            "spiffe://demo/node/4294967296",
        ] {
            assert!(wrong.parse::<NodeIdentity>().is_err(), "{wrong}");
        }
    }

    #[test]
    fn bytes_that_are_no_certificate_are_no_identity() {
        assert!(matches!(NodeIdentity::of_certificate(b"junk"), Err(NotANode::Certificate(_))));
        assert!(matches!(NodeIdentity::of_certificate(&[]), Err(NotANode::Certificate(_))));
    }
}
