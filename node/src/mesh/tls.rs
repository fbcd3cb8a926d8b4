//! TLS of the mesh: version 1.3 only, certificates on both sides, one cipher provider (ring).
//!
//! A peer's certificate must chain to the cluster's authority and state a node of this cluster.
//! Whoever connects to node N accepts only a certificate of node N. There is no 0-RTT and no
//! resumption: a replayed first flight could repeat a request, and links live for days.

use std::{path::Path, sync::Arc, time::SystemTime};

use hexpop_edge_config::{ClusterName, NodeId};
use quinn::crypto::rustls::{QuicClientConfig, QuicServerConfig};
use ring::{digest, hmac};
use rustls::{
    DigitallySignedStruct, DistinguishedName, RootCertStore, SignatureScheme,
    client::{
        Resumption,
        danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier},
        verify_server_cert_signed_by_trust_anchor,
    },
    crypto::{CryptoProvider, WebPkiSupportedAlgorithms, verify_tls13_signature},
    server::{
        NoServerSessionStorage, ParsedCertificate, WebPkiClientVerifier,
        danger::{ClientCertVerified, ClientCertVerifier},
    },
    version::TLS13,
};
use rustls_pki_types::{CertificateDer, PrivateKeyDer, ServerName, UnixTime};

use crate::certs::{CertError, CertificateInfo, NodeIdentity, read_certificates, read_key};

/// The application protocol of the mesh in the TLS handshake.
const ALPN: &[u8] = b"hexpop/1";

/// Why a peer's certificate does not do, beyond what the chain says.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
enum WrongPeer {
    /// It is no node's.
    #[error(transparent)]
    NotANode(#[from] crate::certs::NotANode),
    /// It is another cluster's.
    #[error("the certificate is of cluster {found}, this is {expected}")]
    Cluster { found: ClusterName, expected: ClusterName },
    /// It is another node's.
    #[error("the certificate is of node {found}, and node {expected} was expected here")]
    Node { found: NodeId, expected: NodeId },
}

impl WrongPeer {
    /// A general error, because the text of it reaches the log; that of `CertificateError::Other`
    /// would be wrapped up in debug output.
    fn into_tls(self) -> rustls::Error {
        rustls::Error::General(self.to_string())
    }
}

/// Certificate, key and trust of this node, checked.
pub(super) struct Credentials {
    cluster: ClusterName,
    chain: Vec<CertificateDer<'static>>,
    key: PrivateKeyDer<'static>,
    roots: Arc<RootCertStore>,
    provider: Arc<CryptoProvider>,
}

impl std::fmt::Debug for Credentials {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Credentials").field("cluster", &self.cluster).finish_non_exhaustive()
    }
}

impl Credentials {
    /// Reads the files and checks that they do for `node` of `cluster` today.
    pub(super) fn load(
        ca: &Path,
        cert: &Path,
        key: &Path,
        cluster: &ClusterName,
        node: NodeId,
    ) -> Result<Self, CertError> {
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let mut roots = RootCertStore::empty();
        for authority in read_certificates(ca)? {
            roots.add(authority).map_err(|error| CertError::Unreadable {
                path: ca.to_owned(),
                expected: "certificate authority",
                problem: error.to_string(),
            })?;
        }
        let credentials = Self {
            cluster: cluster.clone(),
            chain: read_certificates(cert)?,
            key: read_key(key)?,
            roots: Arc::new(roots),
            provider,
        };
        credentials.check_identity(cert, node)?;
        credentials.check_chain(ca, cert)?;
        // The configuration for peers finds out whether key and certificate are a pair.
        credentials.client_tls(None).map_err(|error| CertError::KeyMismatch {
            key: key.to_owned(),
            cert: cert.to_owned(),
            problem: error.to_string(),
        })?;
        Ok(credentials)
    }

    fn end_entity(&self) -> &[u8] {
        self.chain.first().map_or(&[], |certificate| certificate.as_ref())
    }

    fn check_identity(&self, path: &Path, node: NodeId) -> Result<(), CertError> {
        let path = path.to_owned();
        let identity = match NodeIdentity::of_certificate(self.end_entity()) {
            Ok(identity) => identity,
            Err(source) => return Err(CertError::NotANode { path, source }),
        };
        let expected = self.cluster.clone();
        if identity.cluster != expected {
            return Err(CertError::OtherCluster { path, found: identity.cluster, expected });
        }
        if identity.node != node {
            return Err(CertError::OtherNode { path, found: identity.node, expected: node });
        }
        Ok(())
    }

    fn check_chain(&self, ca: &Path, cert: &Path) -> Result<(), CertError> {
        let (own, intermediates) = self.chain.split_first().unzip();
        let own = own.cloned().unwrap_or_else(|| CertificateDer::from_slice(&[]));
        if let Ok(info) = CertificateInfo::of(&own)
            && !info.is_valid_now
        {
            let (from, until) = (info.valid_from, info.valid_until);
            return Err(CertError::NotValidNow { path: cert.to_owned(), from, until });
        }
        let now = UnixTime::since_unix_epoch(
            SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default(),
        );
        self.check_signed(&own, intermediates.unwrap_or_default(), now).map_err(|error| {
            CertError::OtherAuthority {
                cert: cert.to_owned(),
                ca: ca.to_owned(),
                problem: error.to_string(),
            }
        })
    }

    fn check_signed(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        now: UnixTime,
    ) -> Result<(), rustls::Error> {
        verify_server_cert_signed_by_trust_anchor(
            &ParsedCertificate::try_from(end_entity)?,
            &self.roots,
            intermediates,
            now,
            self.provider.signature_verification_algorithms.all,
        )
    }

    fn client_tls(&self, expected: Option<NodeId>) -> Result<rustls::ClientConfig, rustls::Error> {
        let verifier = NodeVerifier {
            cluster: self.cluster.clone(),
            expected,
            roots: Arc::clone(&self.roots),
            algorithms: self.provider.signature_verification_algorithms,
        };
        let mut tls = rustls::ClientConfig::builder_with_provider(Arc::clone(&self.provider))
            .with_protocol_versions(&[&TLS13])?
            .dangerous()
            .with_custom_certificate_verifier(Arc::new(verifier))
            .with_client_auth_cert(self.chain.clone(), self.key.clone_key())?;
        tls.alpn_protocols = vec![ALPN.to_vec()];
        tls.resumption = Resumption::disabled();
        tls.enable_early_data = false;
        tls.enable_sni = false;
        Ok(tls)
    }

    /// How this node connects: to `expected`, or to whoever of the cluster is there.
    pub(super) fn quic_client(
        &self,
        expected: Option<NodeId>,
    ) -> Result<QuicClientConfig, rustls::Error> {
        let tls = self.client_tls(expected)?;
        QuicClientConfig::try_from(tls).map_err(|error| rustls::Error::General(error.to_string()))
    }

    /// How this node accepts.
    pub(super) fn quic_server(&self) -> Result<QuicServerConfig, rustls::Error> {
        let chain = WebPkiClientVerifier::builder_with_provider(
            Arc::clone(&self.roots),
            Arc::clone(&self.provider),
        )
        .build()
        .map_err(|error| rustls::Error::General(error.to_string()))?;
        let verifier = ClientVerifier { chain, cluster: self.cluster.clone() };
        let mut tls = rustls::ServerConfig::builder_with_provider(Arc::clone(&self.provider))
            .with_protocol_versions(&[&TLS13])?
            .with_client_cert_verifier(Arc::new(verifier))
            .with_single_cert(self.chain.clone(), self.key.clone_key())?;
        tls.alpn_protocols = vec![ALPN.to_vec()];
        tls.max_early_data_size = 0;
        tls.send_tls13_tickets = 0;
        tls.session_storage = Arc::new(NoServerSessionStorage {});
        QuicServerConfig::try_from(tls).map_err(|error| rustls::Error::General(error.to_string()))
    }

    /// The key of stateless resets (RFC 9000 §10.3). It follows from the private key, so that a
    /// process that was killed and started again can end the connections of its predecessor at
    /// once; otherwise peers would wait for their idle time-out.
    pub(super) fn reset_key(&self) -> hmac::Key {
        let mut context = digest::Context::new(&digest::SHA256);
        context.update(b"hexpop mesh stateless reset");
        context.update(self.key.secret_der());
        hmac::Key::new(hmac::HMAC_SHA256, context.finish().as_ref())
    }
}

/// Which node of `cluster` a verified certificate is of.
fn node_of(certificate: &[u8], cluster: &ClusterName) -> Result<NodeId, WrongPeer> {
    let identity = NodeIdentity::of_certificate(certificate)?;
    if identity.cluster == *cluster {
        Ok(identity.node)
    } else {
        Err(WrongPeer::Cluster { found: identity.cluster, expected: cluster.clone() })
    }
}

/// The node at the other end of an established connection, as its certificate says.
pub(super) fn peer_node(connection: &quinn::Connection, cluster: &ClusterName) -> Option<NodeId> {
    let chain = connection.peer_identity()?.downcast::<Vec<CertificateDer<'static>>>().ok()?;
    node_of(chain.first()?, cluster).ok()
}

/// Checks the certificate of the side that was connected to.
#[derive(Debug)]
struct NodeVerifier {
    cluster: ClusterName,
    expected: Option<NodeId>,
    roots: Arc<RootCertStore>,
    algorithms: WebPkiSupportedAlgorithms,
}

impl ServerCertVerifier for NodeVerifier {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        _server_name: &ServerName<'_>,
        _ocsp_response: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        let parsed = ParsedCertificate::try_from(end_entity)?;
        verify_server_cert_signed_by_trust_anchor(
            &parsed,
            &self.roots,
            intermediates,
            now,
            self.algorithms.all,
        )?;
        let found = node_of(end_entity, &self.cluster).map_err(WrongPeer::into_tls)?;
        match self.expected {
            Some(expected) if expected != found => {
                Err(WrongPeer::Node { found, expected }.into_tls())
            }
            Some(_) | None => Ok(ServerCertVerified::assertion()),
        }
    }

    fn verify_tls12_signature(
        &self,
        _message: &[u8],
        _cert: &CertificateDer<'_>,
        _signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        Err(rustls::PeerIncompatible::Tls12NotOffered.into())
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls13_signature(message, cert, signature, &self.algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.algorithms.supported_schemes()
    }
}

/// Checks the certificate of the side that connects.
#[derive(Debug)]
struct ClientVerifier {
    chain: Arc<dyn ClientCertVerifier>,
    cluster: ClusterName,
}

impl ClientCertVerifier for ClientVerifier {
    fn root_hint_subjects(&self) -> &[DistinguishedName] {
        self.chain.root_hint_subjects()
    }

    fn verify_client_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        now: UnixTime,
    ) -> Result<ClientCertVerified, rustls::Error> {
        let verified = self.chain.verify_client_cert(end_entity, intermediates, now)?;
        node_of(end_entity, &self.cluster).map_err(WrongPeer::into_tls)?;
        Ok(verified)
    }

    fn verify_tls12_signature(
        &self,
        _message: &[u8],
        _cert: &CertificateDer<'_>,
        _signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        Err(rustls::PeerIncompatible::Tls12NotOffered.into())
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        self.chain.verify_tls13_signature(message, cert, signature)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.chain.supported_verify_schemes()
    }
}
