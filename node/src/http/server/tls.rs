//! TLS of the data port: certificates by name, ALPN, no early data.
//!
//! Sessions are resumed by tickets that only this process can read. 0-RTT is off: a replayed first
//! flight could repeat a request.

use std::{collections::BTreeMap, fmt, io, sync::Arc};

use hexpop_edge_config::config::{Tls, TlsVersion};
use quinn::crypto::rustls::QuicServerConfig;
use rustls::{
    ServerConfig,
    crypto::{CryptoProvider, ring},
    server::{ClientHello, ResolvesServerCert},
    sign::CertifiedKey,
    version::{TLS12, TLS13},
};
use tokio::net::TcpStream;
use tokio_rustls::{TlsAcceptor, server::TlsStream};

use crate::certs::{CertError, CertificateInfo, read_certificates, read_key};

/// Certificates with their keys, by the names in them.
#[derive(Debug, Clone)]
pub struct Certificates {
    default: Arc<CertifiedKey>,
    /// Lower-case names; those of one label of anything begin with `*.`.
    by_name: BTreeMap<String, Arc<CertifiedKey>>,
    /// When the first of them ends, in seconds since 1970.
    ends_unix_s: i64,
}

impl Certificates {
    /// Reads the certificates of section `tls`; none when it names none.
    ///
    /// # Errors
    /// [`CertError`] when a file cannot be read, or key and certificate are no pair.
    pub fn read(tls: &Tls) -> Result<Option<Self>, CertError> {
        let provider = ring::default_provider();
        let mut certificates: Option<Self> = None;
        for pair in &tls.certificates {
            let chain = read_certificates(&pair.cert)?;
            let info = chain.first().map(CertificateInfo::of).transpose().map_err(|problem| {
                CertError::Unreadable {
                    path: pair.cert.clone(),
                    expected: "X.509 certificate",
                    problem,
                }
            })?;
            let certified = CertifiedKey::from_der(chain, read_key(&pair.key)?, &provider)
                .map_err(|error| CertError::KeyMismatch {
                    key: pair.key.clone(),
                    cert: pair.cert.clone(),
                    problem: error.to_string(),
                })?;
            let certified = Arc::new(certified);
            let (names, ends) =
                info.map(|info| (info.names, info.valid_until_unix_s)).unwrap_or_default();
            let known = certificates.get_or_insert_with(|| Self {
                default: Arc::clone(&certified),
                by_name: BTreeMap::new(),
                ends_unix_s: ends,
            });
            known.ends_unix_s = known.ends_unix_s.min(ends);
            for name in names {
                // Of two certificates with one name the first is shown, as the first of all is.
                let name = name.to_ascii_lowercase();
                known.by_name.entry(name).or_insert_with(|| Arc::clone(&certified));
            }
        }
        Ok(certificates)
    }

    /// When the first of them ends, in seconds since 1970.
    #[must_use]
    pub const fn ends_unix_s(&self) -> i64 {
        self.ends_unix_s
    }

    /// The certificate of a name: the one that has it, or a wildcard in place of its first label
    /// (RFC 9525 §6.3), else the default.
    fn of(&self, name: Option<&str>) -> &Arc<CertifiedKey> {
        let found = name.and_then(|name| {
            let name = name.trim_end_matches('.').to_ascii_lowercase();
            self.by_name.get(&name).or_else(|| {
                let (_label, parent) = name.split_once('.')?;
                self.by_name.get(&format!("*.{parent}"))
            })
        });
        found.unwrap_or(&self.default)
    }
}

/// Where the certificates are that are shown now.
type Source = Arc<dyn Fn() -> Option<Arc<Certificates>> + Send + Sync>;

/// Shows the certificate of the name that a client asks for.
struct ByName(Source);

impl fmt::Debug for ByName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ByName").finish_non_exhaustive()
    }
}

impl ResolvesServerCert for ByName {
    fn resolve(&self, hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        Some(Arc::clone((self.0)()?.of(hello.server_name())))
    }
}

/// How TLS is spoken on a port.
#[derive(Clone)]
pub struct Secure {
    acceptor: TlsAcceptor,
    source: Source,
}

impl fmt::Debug for Secure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Secure").finish_non_exhaustive()
    }
}

impl Secure {
    /// TLS from `oldest` on; `source` is asked at each handshake for the certificates that are in force.
    ///
    /// # Errors
    /// When the cipher provider cannot do what is asked for.
    pub fn new(
        oldest: TlsVersion,
        source: impl Fn() -> Option<Arc<Certificates>> + Send + Sync + 'static,
    ) -> Result<Self, rustls::Error> {
        let source: Source = Arc::new(source);
        let versions: &[_] = match oldest {
            TlsVersion::V12 => &[&TLS13, &TLS12],
            TlsVersion::V13 => &[&TLS13],
        };
        let mut config = server_config(&source, versions)?;
        config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
        Ok(Self { acceptor: TlsAcceptor::from(Arc::new(config)), source })
    }

    /// The same over QUIC, which speaks TLS 1.3 only, with tickets of its own.
    pub(super) fn quic(&self) -> Result<QuicServerConfig, rustls::Error> {
        let mut config = server_config(&self.source, &[&TLS13])?;
        config.alpn_protocols = vec![b"h3".to_vec()];
        QuicServerConfig::try_from(config)
            .map_err(|error| rustls::Error::General(error.to_string()))
    }

    pub(super) async fn accept(&self, tcp: TcpStream) -> io::Result<TlsStream<TcpStream>> {
        self.acceptor.accept(tcp).await
    }
}

fn server_config(
    source: &Source,
    versions: &[&'static rustls::SupportedProtocolVersion],
) -> Result<ServerConfig, rustls::Error> {
    let provider: Arc<CryptoProvider> = Arc::new(ring::default_provider());
    let mut config = ServerConfig::builder_with_provider(provider)
        .with_protocol_versions(versions)?
        .with_no_client_auth()
        .with_cert_resolver(Arc::new(ByName(Arc::clone(source))));
    config.ticketer = ring::Ticketer::new()?;
    config.max_early_data_size = 0;
    Ok(config)
}
