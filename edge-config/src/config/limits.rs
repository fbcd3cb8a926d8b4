//! Section `limits`: what one client, and all of them together, may cost.

use std::time::Duration;

use super::section::Section;
use crate::ByteSize;

/// What one client, and all of them together, may cost this node.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Limits {
    /// How long the headers of a request may take to be complete.
    ///
    /// Too low: phones on bad links are cut off. Too high: connections that send a byte a second hold
    /// places. Default 10 s, 100 ms to 10 min. Since 0.1.
    pub header_timeout: Duration,
    /// How long the body of a request may pause.
    ///
    /// Too low and too high as for [`header_timeout`](Self::header_timeout). Default 30 s, 100 ms to
    /// 10 min. Since 0.1.
    pub body_idle_timeout: Duration,
    /// How long a client may take nothing of an answer that waits for it, and how long a connection without
    /// a request may stay open.
    ///
    /// Too low: phones in a tunnel are cut off, and connections made anew. Too high: clients that do not
    /// read hold answers in memory. Default 30 s, 100 ms to 10 min. Since 0.1.
    pub client_idle_timeout: Duration,
    /// The most bytes of all header fields of a request; more is 431.
    ///
    /// Too low: cookies of the platform do not fit. Too high: memory per connection. Default 64 KiB, 8 KiB
    /// to 1 MiB. Since 0.1.
    pub header_bytes: ByteSize,
    /// The most header fields of a request; more is 431.
    ///
    /// Default 256, 16 to 4096. Since 0.1.
    pub header_fields: u32,
    /// The longest request target (path and query); more is 414.
    ///
    /// Default 16 KiB, 256 B to 64 KiB, at most [`header_bytes`](Self::header_bytes). Since 0.1.
    pub target_bytes: ByteSize,
    /// The largest body of a search or a session request; more is 413.
    ///
    /// At least [`session_bytes`](Self::session_bytes). Default 1 MiB, 1 KiB to 64 MiB. Since 0.1.
    pub body_bytes: ByteSize,
    /// The most bytes of one ingest request after unpacking; more is 413 (what was read by then stays).
    ///
    /// Too low: an import has to send many requests. Too high: one request occupies the node for minutes.
    /// Default 256 MiB, from 1 MiB. Since 0.1.
    pub ingest_bytes: ByteSize,
    /// The longest line of an ingest request; a longer one is rejected alone, and never held. A listing
    /// itself has at most 256 KiB, whatever stands here.
    ///
    /// Too low: listings with long texts are rejected. Too high: memory per ingest request.
    /// At most [`ingest_bytes`](Self::ingest_bytes). Default 1 MiB, 4 KiB to 16 MiB. Since 0.1.
    pub ingest_line_bytes: ByteSize,
    /// The most client connections at once; more wait to be accepted.
    ///
    /// Too low: clients wait although the node is idle. Too high: memory and file descriptors. Default
    /// 8192, 16 to 1,048,576. Since 0.1.
    pub connections: u32,
    /// The most requests of one connection at once, over HTTP/2 and HTTP/3.
    ///
    /// Too low: pages with many images load slower. Too high: one connection may hold this many answers.
    /// Default 128, 1 to 1024. Since 0.1.
    pub streams: u32,
    /// The most requests worked on at once; more are refused with 503.
    ///
    /// Too low: refusals although there is capacity. Too high: all requests become slow together. Default
    /// 1024, 1 to 65,536. Since 0.1. Watch `hexpop_http_requests_in_flight`.
    pub requests_in_flight: u32,
    /// The largest value of a session; more is 413.
    ///
    /// Every replica holds it in memory. Default 64 KiB, 1 KiB to 1 MiB. Since 0.1.
    pub session_bytes: ByteSize,
    /// The most sessions of one user in one territory; one more is 429.
    ///
    /// Default 1000, 1 to 1,000,000. Since 0.1.
    pub sessions_per_user: u32,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            header_timeout: Duration::from_secs(10),
            body_idle_timeout: Duration::from_secs(30),
            client_idle_timeout: Duration::from_secs(30),
            header_bytes: ByteSize::kib(64),
            header_fields: 256,
            target_bytes: ByteSize::kib(16),
            body_bytes: ByteSize::mib(1),
            ingest_bytes: ByteSize::mib(256),
            ingest_line_bytes: ByteSize::mib(1),
            connections: 8192,
            streams: 128,
            requests_in_flight: 1024,
            session_bytes: ByteSize::kib(64),
            sessions_per_user: 1000,
        }
    }
}

impl Limits {
    pub(super) fn read(section: &mut Section<'_>) -> Self {
        let default = Self::default();
        let (kib, mib) = (ByteSize::kib, ByteSize::mib);
        let (shortest, longest) = (Duration::from_millis(100), Duration::from_secs(600));
        Self {
            header_timeout: section
                .key("header_timeout", "How long the headers of a request may take.")
                .between(shortest, longest)
                .or(default.header_timeout),
            body_idle_timeout: section
                .key("body_idle_timeout", "How long the body of a request may pause.")
                .between(shortest, longest)
                .reloads()
                .or(default.body_idle_timeout),
            client_idle_timeout: section
                .key("client_idle_timeout", "How long a client may take nothing, or ask nothing.")
                .between(shortest, longest)
                .or(default.client_idle_timeout),
            header_bytes: section
                .key("header_bytes", "The most bytes of all header fields of a request.")
                .between(kib(8), mib(1))
                .or(default.header_bytes),
            header_fields: section
                .key("header_fields", "The most header fields of a request.")
                .between(16, 4096)
                .or(default.header_fields),
            target_bytes: section
                .key("target_bytes", "The longest request target (path and query).")
                .between(ByteSize::new(256), kib(64))
                .reloads()
                .or(default.target_bytes),
            body_bytes: section
                .key("body_bytes", "The largest body of a search or a session request.")
                .between(kib(1), mib(64))
                .reloads()
                .or(default.body_bytes),
            ingest_bytes: section
                .key("ingest_bytes", "The most bytes of one ingest request after unpacking.")
                .between(mib(1), ByteSize::gib(1024))
                .reloads()
                .or(default.ingest_bytes),
            ingest_line_bytes: section
                .key("ingest_line_bytes", "The longest line of an ingest request.")
                .between(kib(4), mib(16))
                .reloads()
                .or(default.ingest_line_bytes),
            connections: section
                .key("connections", "The most client connections at once.")
                .between(16, 1 << 20)
                .or(default.connections),
            streams: section
                .key("streams", "The most requests of one connection at once.")
                .between(1, 1024)
                .or(default.streams),
            requests_in_flight: section
                .key("requests_in_flight", "The most requests worked on at once.")
                .between(1, 65_536)
                .reloads()
                .or(default.requests_in_flight),
            session_bytes: section
                .key("session_bytes", "The largest value of a session.")
                .between(kib(1), mib(1))
                .reloads()
                .or(default.session_bytes),
            sessions_per_user: section
                .key("sessions_per_user", "The most sessions of one user in one territory.")
                .between(1, 1_000_000)
                .reloads()
                .or(default.sessions_per_user),
        }
    }
}
