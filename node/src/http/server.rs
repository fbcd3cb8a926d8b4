//! What accepts clients: HTTP/1.1, HTTP/2 and HTTP/3, in clear and over TLS, within limits, and ended
//! gracefully. Every protocol ends in the same [`Handler`].
//!
//! ```text
//! TCP ── PROXY header? ─┬─ TLS: SNI, ALPN ─┬─ h2 ─────────────── hyper ─┐
//!                       └─ clear: preface ─┴─ http/1.1 ─ guard ─ hyper ─┼─ checks ── Handler
//! UDP ── QUIC: TLS 1.3 ──────────────────────────────────────────── h3 ─┘
//! ```
//!
//! | a client that | meets |
//! |---|---|
//! | sends its head slowly | `header_timeout`: 408, or the end of the connection |
//! | sends its body slowly | `body_idle_timeout`, where the body is read |
//! | does not read its answer | `client_idle_timeout`: the stream, or the connection, is reset |
//! | asks nothing | `client_idle_timeout`: GOAWAY, or the end of the connection |
//! | sends much | `header_bytes`, `header_fields`: 431; `target_bytes`: 414 |
//! | opens many streams | `streams`; who resets most of them is cut off |
//! | floods handshakes | `handshakes`; QUIC asks for a proof of the address first |
//! | sends what has two readings | [`framing`]: 400 |
//!
//! Handlers find an [`InterimSink`](hexpop_router::InterimSink) among the extensions of a request whose
//! client can be sent interim responses (RFC 9110 §15.2): over HTTP/1.1, unless the port is told not to, and HTTP/3.
//! HTTP/1.0 has none, and hyper offers no way to send them over HTTP/2.

mod activity;
mod answer;
mod connection;
mod exchange;
pub mod framing;
mod guarded;
mod http3;
mod interim;
mod listener;
mod metrics;
mod proxy_header;
mod request_body;
mod stream;
mod tls;

use std::{future::Future, net::SocketAddr, sync::Arc, time::Duration};

use http::{Request, Response};

use super::body::Body;

pub use exchange::Port;
pub use http3::{Http3Listener, serve_http3};
pub use listener::{Listener, serve};
pub use metrics::ConnectionMetrics;
pub use request_body::{RequestBody, RequestBodyError};
pub use tls::{Certificates, Secure};

/// What a port allows its clients.
#[derive(Debug, Clone, Copy)]
pub struct ServerLimits {
    /// How long a client may take for the head of a request.
    pub header_timeout: Duration,
    /// How long a client may take nothing of its answer, or a connection be without a request.
    pub client_idle: Duration,
    /// The size of a request's header fields, bytes.
    pub header_bytes: usize,
    /// The number of header fields.
    pub header_fields: usize,
    /// Open connections; more wait in the kernel's backlog.
    pub connections: usize,
    /// Requests of one connection at once, over HTTP/2 and HTTP/3.
    pub streams: u32,
    /// How long a TLS handshake may take.
    pub handshake_timeout: Duration,
    /// TLS handshakes at once.
    pub handshakes: usize,
    /// How long requests under way may go on after the shutdown began.
    pub drain: Duration,
}

/// What a client speaks.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Protocol {
    /// HTTP/1.1, and HTTP/1.0.
    Http1,
    /// HTTP/2.
    Http2,
    /// HTTP/3.
    Http3,
}

impl Protocol {
    /// The label in metrics.
    #[must_use]
    pub const fn label(self) -> &'static str {
        match self {
            Self::Http1 => "http/1.1",
            Self::Http2 => "h2",
            Self::Http3 => "h3",
        }
    }
}

/// What a handler knows of the connection.
#[derive(Debug, Clone, Copy)]
pub struct Peer {
    /// The client's address: the other end's, or what a trusted load balancer says.
    pub remote: SocketAddr,
    /// What it speaks.
    pub protocol: Protocol,
    /// Whether it came over TLS.
    pub is_secure: bool,
}

impl Peer {
    /// The scheme of what it asks for.
    #[must_use]
    pub const fn scheme(&self) -> &'static str {
        if self.is_secure { "https" } else { "http" }
    }
}

/// Answers requests; it never fails: errors are problems.
pub trait Handler: Send + Sync + 'static {
    /// The answer to one request.
    fn handle(
        self: Arc<Self>,
        peer: Peer,
        request: Request<RequestBody>,
    ) -> impl Future<Output = Response<Body>> + Send;
}
