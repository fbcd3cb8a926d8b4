//! Making an authority, and certificates of nodes.

use std::{
    path::{Path, PathBuf},
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use hexpop_edge_config::{ClusterName, NodeId};
use rcgen::{
    BasicConstraints, CertificateParams, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair,
    KeyUsagePurpose, SanType, date_time_ymd,
};
use rustls_pki_types::CertificateDer;
use x509_parser::prelude::{FromDer, X509Certificate};

use super::{
    CertError, NodeIdentity,
    files::{Readable, io_error, read_certificates, refuse_existing, write},
    identity::uris,
};

const DAY: Duration = Duration::from_secs(24 * 60 * 60);
/// An authority outlives everything it signs; it is replaced by hand.
const AUTHORITY_DAYS: u32 = 3650;
/// Longest life of a node's certificate.
const NODE_DAYS_MAX: u32 = 825;
/// Certificates are valid from a little before they are made: clocks of nodes differ.
const CLOCK_SKEW: Duration = Duration::from_secs(60 * 60);

/// The files of an authority.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Authority {
    /// Its certificate, which every node needs.
    pub certificate: PathBuf,
    /// Its private key, which no node needs.
    pub key: PathBuf,
}

impl Authority {
    /// Where the authority of the directory `dir` is.
    #[must_use]
    pub fn in_dir(dir: &Path) -> Self {
        Self { certificate: dir.join("ca.pem"), key: dir.join("ca.key") }
    }
}

/// The files of a certificate for clients.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Served {
    /// The certificate.
    pub certificate: PathBuf,
    /// Its private key.
    pub key: PathBuf,
}

/// The files of a node's certificate.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Issued {
    /// Whose it is.
    pub identity: NodeIdentity,
    /// The certificate.
    pub certificate: PathBuf,
    /// Its private key.
    pub key: PathBuf,
}

/// Makes the authority of `cluster` in `dir`: `ca.pem`, and `ca.key` for the owner only.
///
/// # Errors
/// [`CertError::Exists`] when there is one and `force` is not set; nothing is written then.
pub fn init(dir: &Path, cluster: &ClusterName, force: bool) -> Result<Authority, CertError> {
    let authority = Authority::in_dir(dir);
    refuse_existing(&authority.certificate, force)?;
    refuse_existing(&authority.key, force)?;
    std::fs::create_dir_all(dir).map_err(io_error("make the directory", dir))?;

    let mut params = CertificateParams::default();
    params.distinguished_name.push(DnType::OrganizationName, "hexpop");
    params.distinguished_name.push(DnType::CommonName, format!("hexpop cluster {cluster}"));
    params.subject_alt_names = vec![uri(&format!("spiffe://{cluster}"))?];
    params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    set_validity(&mut params, AUTHORITY_DAYS);
    let key = KeyPair::generate()?;
    let certificate = params.self_signed(&key)?;
    // The key first: a certificate without its key is of no use, and looks complete.
    write(&authority.key, &key.serialize_pem(), Readable::ByOwner)?;
    write(&authority.certificate, &certificate.pem(), Readable::ByAll)?;
    Ok(authority)
}

/// Issues a certificate for `node`, signed by the authority in `ca_dir`: `node-N.pem` and
/// `node-N.key` (for the owner only) in `out_dir`, valid for `days`.
///
/// `names` are additional DNS names and IP addresses, for use outside of the mesh.
///
/// # Errors
/// [`CertError::NoAuthority`] when there is none in `ca_dir`; [`CertError::Exists`] when the node
/// has a certificate there and `force` is not set; nothing is written then.
pub fn issue(
    ca_dir: &Path,
    out_dir: &Path,
    node: NodeId,
    names: &[String],
    days: u32,
    force: bool,
) -> Result<Issued, CertError> {
    check_days(days)?;
    let (cluster, issuer) = load_authority(ca_dir)?;
    let issued = Issued {
        identity: NodeIdentity { cluster, node },
        certificate: out_dir.join(format!("node-{node}.pem")),
        key: out_dir.join(format!("node-{node}.key")),
    };
    refuse_existing(&issued.certificate, force)?;
    refuse_existing(&issued.key, force)?;
    std::fs::create_dir_all(out_dir).map_err(io_error("make the directory", out_dir))?;

    let mut params = CertificateParams::default();
    params.distinguished_name.push(DnType::OrganizationName, "hexpop");
    params.distinguished_name.push(DnType::CommonName, format!("node-{node}"));
    params.subject_alt_names = vec![uri(&issued.identity.to_string())?];
    for name in names {
        params.subject_alt_names.push(subject_name(name)?);
    }
    params.extended_key_usages =
        vec![ExtendedKeyUsagePurpose::ServerAuth, ExtendedKeyUsagePurpose::ClientAuth];
    sign(params, days, &issuer, &issued.certificate, &issued.key)?;
    Ok(issued)
}

/// Issues a certificate that the data port shows to clients (`tls.certificates`), signed by the authority
/// in `ca_dir`: `NAME.pem` and `NAME.key` (for the owner only) in `out_dir`, valid for `days`. Clients have
/// to be told to trust this authority; it is for tests, demos and private networks.
///
/// `names` are its DNS names and IP addresses. It is none of a node: the mesh does not let it in.
///
/// # Errors
/// As [`issue`], and [`CertError::Invalid`] without a name.
pub fn issue_server(
    ca_dir: &Path,
    out_dir: &Path,
    name: &str,
    names: &[String],
    days: u32,
    force: bool,
) -> Result<Served, CertError> {
    check_days(days)?;
    if names.is_empty() {
        return Err(CertError::Invalid {
            what: "the names".to_owned(),
            problem: "a server's certificate is for one name at least".to_owned(),
        });
    }
    let (_cluster, issuer) = load_authority(ca_dir)?;
    let served = Served {
        certificate: out_dir.join(format!("{name}.pem")),
        key: out_dir.join(format!("{name}.key")),
    };
    refuse_existing(&served.certificate, force)?;
    refuse_existing(&served.key, force)?;
    std::fs::create_dir_all(out_dir).map_err(io_error("make the directory", out_dir))?;
    let mut params = CertificateParams::default();
    params.distinguished_name.push(DnType::OrganizationName, "hexpop");
    params.distinguished_name.push(DnType::CommonName, name);
    params.subject_alt_names =
        names.iter().map(|name| subject_name(name)).collect::<Result<_, _>>()?;
    params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
    sign(params, days, &issuer, &served.certificate, &served.key)?;
    Ok(served)
}

fn check_days(days: u32) -> Result<(), CertError> {
    if days == 0 || days > NODE_DAYS_MAX {
        return Err(CertError::Invalid {
            what: format!("--days {days}"),
            problem: format!("a certificate is valid for 1 to {NODE_DAYS_MAX} days"),
        });
    }
    Ok(())
}

/// Makes a key and its certificate, and writes both.
fn sign(
    mut params: CertificateParams,
    days: u32,
    issuer: &Issuer<'_, KeyPair>,
    certificate_file: &Path,
    key_file: &Path,
) -> Result<(), CertError> {
    params.is_ca = IsCa::ExplicitNoCa;
    params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
    params.use_authority_key_identifier_extension = true;
    set_validity(&mut params, days);
    let key = KeyPair::generate()?;
    let certificate = params.signed_by(&key, issuer)?;
    write(key_file, &key.serialize_pem(), Readable::ByOwner)?;
    write(certificate_file, &certificate.pem(), Readable::ByAll)
}

/// The cluster and the signing half of the authority in `dir`.
fn load_authority(dir: &Path) -> Result<(ClusterName, Issuer<'static, KeyPair>), CertError> {
    let authority = Authority::in_dir(dir);
    if !authority.certificate.exists() || !authority.key.exists() {
        return Err(CertError::NoAuthority { dir: dir.to_owned() });
    }
    let unreadable = |expected, problem| CertError::Unreadable {
        path: authority.certificate.clone(),
        expected,
        problem,
    };
    let mut certificates = read_certificates(&authority.certificate)?;
    let der = certificates.swap_remove(0);
    let cluster =
        cluster_of(&der).map_err(|problem| unreadable("authority of a hexpop cluster", problem))?;
    let text = std::fs::read_to_string(&authority.key).map_err(io_error("read", &authority.key))?;
    let key = KeyPair::from_pem(&text).map_err(|error| CertError::Unreadable {
        path: authority.key.clone(),
        expected: "private key in PEM",
        problem: error.to_string(),
    })?;
    check_pair(&der, &key).map_err(|problem| CertError::KeyMismatch {
        key: authority.key.clone(),
        cert: authority.certificate.clone(),
        problem,
    })?;
    Ok((cluster, Issuer::from_ca_cert_der(&der, key)?))
}

fn cluster_of(der: &CertificateDer<'_>) -> Result<ClusterName, String> {
    let (_, certificate) = X509Certificate::from_der(der).map_err(|error| error.to_string())?;
    if !certificate.is_ca() {
        return Err("it is no certificate authority".to_owned());
    }
    uris(&certificate)?
        .into_iter()
        .find_map(|uri| uri.strip_prefix("spiffe://")?.parse().ok())
        .ok_or_else(|| "it has no URI SAN of the form spiffe://<cluster>".to_owned())
}

/// A certificate signed with another key would be refused only when a node first uses it.
fn check_pair(der: &CertificateDer<'_>, key: &KeyPair) -> Result<(), String> {
    let (_, certificate) = X509Certificate::from_der(der).map_err(|error| error.to_string())?;
    if certificate.public_key().subject_public_key.data.as_ref() == key.public_key_raw() {
        Ok(())
    } else {
        Err("their public keys differ".to_owned())
    }
}

fn uri(text: &str) -> Result<SanType, CertError> {
    Ok(SanType::URI(text.try_into()?))
}

fn subject_name(name: &str) -> Result<SanType, CertError> {
    if let Ok(address) = name.parse() {
        return Ok(SanType::IpAddress(address));
    }
    // One label of anything, and what it stands below (RFC 9525 §6.3).
    let below = name.strip_prefix("*.").filter(|below| below.contains('.')).unwrap_or(name);
    let is_dns_name = !name.is_empty()
        && name.len() <= 253
        && below.split('.').all(|label| {
            !label.is_empty()
                && label.len() <= 63
                && label.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-')
        });
    if !is_dns_name {
        return Err(CertError::Invalid {
            what: format!("--san {name}"),
            problem: "neither an IP address nor a DNS name".to_owned(),
        });
    }
    Ok(SanType::DnsName(name.try_into()?))
}

fn set_validity(params: &mut CertificateParams, days: u32) {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    // Whole seconds, as X.509 has them.
    let now = date_time_ymd(1970, 1, 1) + Duration::from_secs(now.as_secs());
    params.not_before = now - CLOCK_SKEW;
    params.not_after = now + DAY * days;
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    fn demo() -> ClusterName {
        "demo".parse().unwrap()
    }

    #[test]
    fn an_issued_certificate_names_its_node_and_keys_are_private() {
        let dir = tempfile::tempdir().unwrap();
        let authority = init(dir.path(), &demo(), false).unwrap();
        let names = ["localhost".to_owned(), "127.0.0.1".to_owned()];
        let issued = issue(dir.path(), dir.path(), NodeId(3), &names, 90, false).unwrap();
        let der = read_certificates(&issued.certificate).unwrap();
        let identity = NodeIdentity::of_certificate(&der[0]).unwrap();
        assert_eq!(identity.to_string(), "spiffe://demo/node/3");
        for key in [authority.key, issued.key] {
            let mode = std::fs::metadata(&key).unwrap().permissions().mode();
            assert_eq!(mode & 0o777, 0o600, "{}", key.display());
        }
    }

    #[test]
    fn nothing_is_overwritten_unless_forced() {
        let dir = tempfile::tempdir().unwrap();
        init(dir.path(), &demo(), false).unwrap();
        assert!(matches!(init(dir.path(), &demo(), false), Err(CertError::Exists { .. })));
        let out = dir.path().join("nodes");
        issue(dir.path(), &out, NodeId(1), &[], 90, false).unwrap();
        let first = std::fs::read(out.join("node-1.pem")).unwrap();
        let again = issue(dir.path(), &out, NodeId(1), &[], 90, false);
        assert!(matches!(again, Err(CertError::Exists { .. })));
        assert_eq!(std::fs::read(out.join("node-1.pem")).unwrap(), first);
        issue(dir.path(), &out, NodeId(1), &[], 90, true).unwrap();
        assert_ne!(std::fs::read(out.join("node-1.pem")).unwrap(), first);
    }

    #[test]
    fn what_cannot_be_issued_says_what_helps() {
        let dir = tempfile::tempdir().unwrap();
        let none = issue(dir.path(), dir.path(), NodeId(1), &[], 90, false).unwrap_err();
        assert!(none.to_string().contains("hexpop certs init"), "{none}");
        init(dir.path(), &demo(), false).unwrap();
        let wrong = issue(dir.path(), dir.path(), NodeId(1), &["a b".to_owned()], 90, false);
        assert!(wrong.unwrap_err().to_string().contains("--san a b"));
        assert!(issue(dir.path(), dir.path(), NodeId(1), &[], 0, false).is_err());
        assert!(issue_server(dir.path(), dir.path(), "server", &[], 90, false).is_err());
    }

    #[test]
    fn a_server_certificate_has_its_names_and_is_no_nodes() {
        let dir = tempfile::tempdir().unwrap();
        init(dir.path(), &demo(), false).unwrap();
        let names = ["edge.example", "*.edge.example", "127.0.0.1"].map(str::to_owned);
        let served = issue_server(dir.path(), dir.path(), "server", &names, 90, false).unwrap();
        let der = read_certificates(&served.certificate).unwrap();
        assert!(NodeIdentity::of_certificate(&der[0]).is_err());
        let info = crate::certs::show(&served.certificate).unwrap();
        assert_eq!(info[0].names, names);
        let anything = ["*.example".to_owned()];
        assert!(issue_server(dir.path(), dir.path(), "all", &anything, 90, false).is_err());
        let again = issue_server(dir.path(), dir.path(), "server", &names, 90, false);
        assert!(matches!(again, Err(CertError::Exists { .. })));
    }
}
