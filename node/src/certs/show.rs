//! What a certificate file says.

use std::{fmt, path::Path};

use rustls_pki_types::CertificateDer;
use x509_parser::prelude::{FromDer, GeneralName, X509Certificate};

use super::{CertError, NodeIdentity, files::read_certificates};

/// What a certificate says, in words.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CertificateInfo {
    /// The node it is of, if it is of one.
    pub identity: Option<NodeIdentity>,
    /// Whether it is an authority.
    pub is_authority: bool,
    /// Its subject.
    pub subject: String,
    /// Who signed it.
    pub issuer: String,
    /// Its serial number in hexadecimal.
    pub serial: String,
    /// All names it is for: URIs, DNS names, IP addresses.
    pub names: Vec<String>,
    /// From when it is valid (UTC).
    pub valid_from: String,
    /// Until when it is valid (UTC).
    pub valid_until: String,
    /// Until when it is valid, in seconds since 1970.
    pub valid_until_unix_s: i64,
    /// Whether it is valid now.
    pub is_valid_now: bool,
}

/// Reads the certificates of a PEM file.
///
/// # Errors
/// [`CertError`] when the file cannot be read or holds no certificate.
pub fn show(path: &Path) -> Result<Vec<CertificateInfo>, CertError> {
    read_certificates(path)?
        .iter()
        .map(|der| {
            CertificateInfo::of(der).map_err(|problem| CertError::Unreadable {
                path: path.to_owned(),
                expected: "X.509 certificate",
                problem,
            })
        })
        .collect()
}

impl CertificateInfo {
    pub(crate) fn of(der: &CertificateDer<'_>) -> Result<Self, String> {
        let (_, certificate) = X509Certificate::from_der(der).map_err(|error| error.to_string())?;
        let names = certificate.subject_alternative_name().map_err(|error| error.to_string())?;
        let validity = certificate.validity();
        Ok(Self {
            identity: NodeIdentity::of_certificate(der).ok(),
            is_authority: certificate.is_ca(),
            subject: certificate.subject().to_string(),
            issuer: certificate.issuer().to_string(),
            serial: certificate.raw_serial_as_string(),
            names: names
                .iter()
                .flat_map(|names| &names.value.general_names)
                .map(name_text)
                .collect(),
            valid_from: validity.not_before.to_string(),
            valid_until: validity.not_after.to_string(),
            valid_until_unix_s: validity.not_after.timestamp(),
            is_valid_now: validity.is_valid(),
        })
    }
}

fn name_text(name: &GeneralName<'_>) -> String {
    match name {
        GeneralName::DNSName(text) | GeneralName::URI(text) | GeneralName::RFC822Name(text) => {
            (*text).to_owned()
        }
        GeneralName::IPAddress(bytes) => match **bytes {
            [a, b, c, d] => std::net::Ipv4Addr::new(a, b, c, d).to_string(),
            _ => <[u8; 16]>::try_from(*bytes)
                .map_or_else(|_| name.to_string(), |v6| std::net::Ipv6Addr::from(v6).to_string()),
        },
        other => other.to_string(),
    }
}

impl fmt::Display for CertificateInfo {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let kind = match (self.is_authority, &self.identity) {
            (true, _) => "authority",
            (false, Some(_)) => "node",
            (false, None) => "server",
        };
        let now = if self.is_valid_now { "valid now" } else { "NOT VALID NOW" };
        writeln!(f, "kind      {kind}")?;
        if let Some(identity) = &self.identity {
            writeln!(f, "node      {}", identity.node)?;
            writeln!(f, "cluster   {}", identity.cluster)?;
        }
        writeln!(f, "subject   {}", self.subject)?;
        writeln!(f, "issuer    {}", self.issuer)?;
        writeln!(f, "serial    {}", self.serial)?;
        writeln!(f, "names     {}", self.names.join(", "))?;
        write!(f, "validity  {} to {} ({now})", self.valid_from, self.valid_until)
    }
}

#[cfg(test)]
mod tests {
    use hexpop_edge_config::NodeId;

    use super::*;
    use crate::certs::{init, issue};

    #[test]
    fn it_says_who_and_until_when() {
        let dir = tempfile::tempdir().unwrap();
        let authority = init(dir.path(), &"demo".parse().unwrap(), false).unwrap();
        let names = ["node3.example".to_owned(), "10.0.0.3".to_owned(), "::1".to_owned()];
        let issued = issue(dir.path(), dir.path(), NodeId(3), &names, 90, false).unwrap();
        let ca = show(&authority.certificate).unwrap();
        assert!(ca[0].is_authority && ca[0].is_valid_now);
        assert_eq!(ca[0].names, ["spiffe://demo"]);
        let node = show(&issued.certificate).unwrap();
        assert_eq!(node[0].identity.as_ref().unwrap().node, NodeId(3));
        assert_eq!(node[0].names, ["spiffe://demo/node/3", "node3.example", "10.0.0.3", "::1"]);
        assert_eq!(node[0].issuer, ca[0].subject);
        assert!(node[0].to_string().contains("node      3\ncluster   demo"));
        assert!(show(&issued.key).is_err());
    }
}
