//! What accepts clients, over real sockets: protocols, TLS, limits, and what is refused.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

mod client;
mod edge;
mod http1;
mod http2;
mod http3;
mod interims;
mod lenient;
mod proxy;
mod slow;
mod tls;
