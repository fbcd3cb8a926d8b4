//! What the gossip counts.

use prometheus::{IntCounter, IntCounterVec, IntGaugeVec, Opts, Registry};

use crate::{Error, Liveness, PacketError, View};

/// Counters of a gossip since it was made.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Counters {
    /// Datagrams taken in.
    pub packets_received: u64,
    /// Datagrams given out.
    pub packets_sent: u64,
    /// Bytes of datagrams given out.
    pub bytes_sent: u64,
    /// Datagrams that were not taken.
    pub packets_refused: u64,
    /// Facts that were not taken.
    pub facts_refused: u64,
    /// Times that this node returned after having been declared down.
    pub returns: u64,
    /// Errors of the protocol that should not happen.
    pub protocol_errors: u64,
}

/// The metrics of the gossip, for a registry.
#[derive(Debug, Clone)]
pub struct Metrics {
    members: IntGaugeVec,
    refused: IntCounterVec,
    packets_received: IntCounter,
    packets_sent: IntCounter,
    bytes_sent: IntCounter,
    returns: IntCounter,
}

fn failed(error: prometheus::Error) -> Error {
    Error::Metrics(error.to_string())
}

impl Metrics {
    /// Makes the metrics and registers them.
    ///
    /// # Errors
    /// [`Error::Metrics`] when one of the names is registered already.
    pub fn register(registry: &Registry) -> Result<Self, Error> {
        let counter = |name: &str, help: &str| {
            let metric = IntCounter::new(name, help).map_err(failed)?;
            registry.register(Box::new(metric.clone())).map_err(failed)?;
            Ok::<_, Error>(metric)
        };
        let members = IntGaugeVec::new(
            Opts::new("hexpop_members", "Members as this node sees them, by state."),
            &["state"],
        )
        .map_err(failed)?;
        registry.register(Box::new(members.clone())).map_err(failed)?;
        let refused = IntCounterVec::new(
            Opts::new("hexpop_gossip_refused_total", "Gossip datagrams not taken, by reason."),
            &["reason"],
        )
        .map_err(failed)?;
        registry.register(Box::new(refused.clone())).map_err(failed)?;
        Ok(Self {
            members,
            refused,
            packets_received: counter(
                "hexpop_gossip_packets_received_total",
                "Gossip datagrams taken in.",
            )?,
            packets_sent: counter("hexpop_gossip_packets_sent_total", "Gossip datagrams sent.")?,
            bytes_sent: counter("hexpop_gossip_sent_bytes_total", "Bytes of gossip datagrams.")?,
            returns: counter(
                "hexpop_gossip_returns_total",
                "Times that this node was declared down in error and returned.",
            )?,
        })
    }

    /// Counts a datagram that was not taken.
    pub fn note_refused(&self, error: &PacketError) {
        self.refused.with_label_values(&[error.label()]).inc();
    }

    /// Shows what was counted and who is there.
    pub fn show(&self, counters: &Counters, view: &View) {
        let advance = |metric: &IntCounter, to: u64| metric.inc_by(to.saturating_sub(metric.get()));
        advance(&self.packets_received, counters.packets_received);
        advance(&self.packets_sent, counters.packets_sent);
        advance(&self.bytes_sent, counters.bytes_sent);
        advance(&self.returns, counters.returns);
        for liveness in Liveness::ALL {
            let count = view.members.values().filter(|member| member.liveness == liveness).count();
            let count = i64::try_from(count).unwrap_or(i64::MAX);
            self.members.with_label_values(&[liveness.as_str()]).set(count);
        }
    }
}
