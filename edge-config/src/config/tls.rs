//! Section `tls`: what the data port shows and asks over TLS.

use std::{path::PathBuf, time::Duration};

use super::{section::Section, value::Choice};

/// Versions of TLS.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum TlsVersion {
    /// TLS 1.2 (RFC 5246), of which only suites with forward secrecy and AEAD are spoken.
    V12,
    /// TLS 1.3 (RFC 8446).
    V13,
}

/// What the data port shows and asks over TLS (`listen.https`).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Tls {
    /// Certificates with their keys. A client gets the one whose names include the name that it asks for
    /// (SNI); who asks for another name, or for none, gets the first.
    ///
    /// The files are looked at every few seconds, and taken anew when they have changed. At most 64.
    /// Default none. Since 0.1.
    pub certificates: Vec<TlsCertificate>,
    /// The oldest version that is spoken. HTTP/3 always speaks 1.3.
    ///
    /// `1.2`: for clients of before 2019; what they cannot do is not worth much secrecy. Default `1.3`.
    /// Since 0.1.
    pub min_version: TlsVersion,
    /// How long a handshake may take.
    ///
    /// Too low: phones on bad links do not get through. Too high: connections that say nothing hold
    /// places. Default 10 s, 100 ms to 60 s. Since 0.1. Watch `hexpop_tls_handshakes_failed_total`.
    pub handshake_timeout: Duration,
    /// The most handshakes at once, over TCP and over QUIC each; more wait to be accepted, or have to prove
    /// their address first (QUIC).
    ///
    /// Too low: clients wait although the node is idle. Too high: a flood of handshakes, each some
    /// hundred microseconds of CPU, delays everybody. Default 256, 1 to 65,536. Since 0.1.
    pub handshakes: u32,
}

/// A certificate and its key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TlsCertificate {
    /// The certificate and those between it and the authority (PEM).
    pub cert: PathBuf,
    /// Its private key (PEM).
    pub key: PathBuf,
}

impl Default for Tls {
    fn default() -> Self {
        Self {
            certificates: Vec::new(),
            min_version: TlsVersion::V13,
            handshake_timeout: Duration::from_secs(10),
            handshakes: 256,
        }
    }
}

impl Choice for TlsVersion {
    const CHOICES: &'static [(&'static str, Self)] = &[("1.2", Self::V12), ("1.3", Self::V13)];
}

impl Tls {
    pub(super) fn read(section: &mut Section<'_>) -> Self {
        let default = Self::default();
        let about =
            "Certificates with their keys, each for the names in it; the first for all others.";
        Self {
            certificates: section.tables("certificates", about, 64, true, TlsCertificate::read),
            min_version: section
                .key("min_version", "The oldest version of TLS that is spoken.")
                .or(default.min_version),
            handshake_timeout: section
                .key("handshake_timeout", "How long a handshake may take.")
                .between(Duration::from_millis(100), Duration::from_secs(60))
                .or(default.handshake_timeout),
            handshakes: section
                .key("handshakes", "The most handshakes at once.")
                .between(1, 65_536)
                .or(default.handshakes),
        }
    }
}

impl TlsCertificate {
    fn read(section: &mut Section<'_>) -> Option<Self> {
        let cert = section.key("cert", "The certificate with its chain (PEM).").required();
        let key = section.key("key", "Its private key (PEM).").required();
        Some(Self { cert: cert?, key: key? })
    }
}
