//! What is counted of clients' connections.

use prometheus::{IntCounter, IntCounterVec, IntGauge, IntGaugeVec, Opts, Registry};

use super::{Protocol, framing::Refusal};

/// What is counted of clients' connections, of all ports.
#[derive(Debug, Clone)]
pub struct ConnectionMetrics {
    open: IntGaugeVec,
    accepted: IntCounterVec,
    handshakes_failed: IntCounterVec,
    refused: IntCounterVec,
    stalled: IntCounter,
    abused: IntCounter,
}

/// Why there is no connection with a client.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum HandshakeFailure {
    /// It took too long.
    Timeout,
    /// The client went away.
    Gone,
    /// TLS found no agreement, or the client speaks something else.
    Tls,
    /// The PROXY protocol header is malformed or missing.
    ProxyHeader,
}

impl HandshakeFailure {
    const fn label(self) -> &'static str {
        match self {
            Self::Timeout => "timeout",
            Self::Gone => "gone",
            Self::Tls => "tls",
            Self::ProxyHeader => "proxy-header",
        }
    }
}

/// Counts a connection as open until it is dropped.
#[derive(Debug)]
pub(super) struct Open(IntGauge);

impl Drop for Open {
    fn drop(&mut self) {
        self.0.dec();
    }
}

impl ConnectionMetrics {
    /// Registers the metrics.
    ///
    /// # Errors
    /// When one of these names is taken.
    pub fn register(registry: &Registry) -> Result<Self, prometheus::Error> {
        let counters = |name: &str, help: &str, label: &str| {
            let counters = IntCounterVec::new(Opts::new(name, help), &[label])?;
            registry.register(Box::new(counters.clone()))?;
            Ok::<_, prometheus::Error>(counters)
        };
        let counter = |name: &str, help: &str| {
            let counter = IntCounter::new(name, help)?;
            registry.register(Box::new(counter.clone()))?;
            Ok::<_, prometheus::Error>(counter)
        };
        let opts = Opts::new("hexpop_http_connections", "Connections of clients that are open.");
        let open = IntGaugeVec::new(opts, &["protocol"])?;
        registry.register(Box::new(open.clone()))?;
        Ok(Self {
            open,
            accepted: counters(
                "hexpop_http_connections_total",
                "Connections of clients, by what they speak.",
                "protocol",
            )?,
            handshakes_failed: counters(
                "hexpop_tls_handshakes_failed_total",
                "Connections that ended before the client could ask something.",
                "reason",
            )?,
            refused: counters(
                "hexpop_http_requests_refused_total",
                "Requests that were refused before any handler saw them.",
                "reason",
            )?,
            stalled: counter(
                "hexpop_http_answers_stalled_total",
                "Answers that were given up since the client took nothing of them.",
            )?,
            abused: counter(
                "hexpop_http_connections_abused_total",
                "Connections that were closed since the client gave up most of its requests.",
            )?,
        })
    }

    pub(super) fn open(&self, protocol: Protocol) -> Open {
        let label = [protocol.label()];
        self.accepted.with_label_values(&label).inc();
        let open = self.open.with_label_values(&label);
        open.inc();
        Open(open)
    }

    pub(super) fn handshake_failed(&self, why: HandshakeFailure) {
        self.handshakes_failed.with_label_values(&[why.label()]).inc();
    }

    pub(super) fn refused(&self, why: Refusal) {
        self.refused.with_label_values(&[why.label()]).inc();
    }

    pub(super) fn stalled(&self) {
        self.stalled.inc();
    }

    pub(super) fn abused(&self) {
        self.abused.inc();
    }
}
