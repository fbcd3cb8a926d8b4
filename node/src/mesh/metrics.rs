//! What the mesh counts.

use std::{
    collections::BTreeMap,
    sync::atomic::{AtomicU64, Ordering::Relaxed},
};

use prometheus::{GaugeVec, IntCounterVec, IntGauge, Opts, Registry};

use super::{Class, PeerStatus};

/// Counters of the mesh of this node since it was opened.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct MeshCounters {
    /// Requests sent, by [`Class::ALL`].
    pub requests_sent: [u64; 5],
    /// Requests received, by [`Class::ALL`].
    pub requests_received: [u64; 5],
    /// Requests sent that got no answer, by [`Class::ALL`].
    pub requests_failed: [u64; 5],
    /// Datagrams sent.
    pub datagrams_sent: u64,
    /// Datagrams received.
    pub datagrams_received: u64,
    /// Datagrams that found no connection, or a full queue.
    pub datagrams_dropped: u64,
    /// Connections made to peers.
    pub connects: u64,
    /// Attempts to connect that failed.
    pub connect_failures: u64,
    /// Connections that were refused here.
    pub refused: u64,
}

/// The metrics of the mesh, for a registry.
#[derive(Debug, Clone)]
pub struct MeshMetrics {
    rtt: GaugeVec,
    peers: IntGauge,
    requests: IntCounterVec,
    datagrams: IntCounterVec,
    connections: IntCounterVec,
}

impl MeshMetrics {
    /// Makes the metrics and registers them.
    ///
    /// # Errors
    /// What the registry says, such as that one of the names is taken.
    pub fn register(registry: &Registry) -> Result<Self, prometheus::Error> {
        let counters = |name: &str, help: &str, labels: &[&str]| {
            let metric = IntCounterVec::new(Opts::new(name, help), labels)?;
            registry.register(Box::new(metric.clone()))?;
            Ok::<_, prometheus::Error>(metric)
        };
        let rtt = GaugeVec::new(
            Opts::new("hexpop_mesh_rtt_seconds", "Smallest round-trip time to a PoP's nodes."),
            &["pop"],
        )?;
        registry.register(Box::new(rtt.clone()))?;
        let peers =
            IntGauge::new("hexpop_mesh_peers_connected", "Peers with a control connection.")?;
        registry.register(Box::new(peers.clone()))?;
        Ok(Self {
            rtt,
            peers,
            requests: counters(
                "hexpop_mesh_requests_total",
                "Requests over the mesh, by class and what became of them.",
                &["class", "outcome"],
            )?,
            datagrams: counters(
                "hexpop_mesh_datagrams_total",
                "Datagrams over the mesh, by what became of them.",
                &["outcome"],
            )?,
            connections: counters(
                "hexpop_mesh_connections_total",
                "Attempts to connect, by what became of them.",
                &["outcome"],
            )?,
        })
    }

    /// Shows what was counted, and the peers; `pop_of` says where a peer stands.
    pub fn show(
        &self,
        counters: &MeshCounters,
        peers: &[PeerStatus],
        pop_of: impl Fn(&PeerStatus) -> Option<String>,
    ) {
        let advance = |metric: &IntCounterVec, labels: &[&str], to: u64| {
            let metric = metric.with_label_values(labels);
            metric.inc_by(to.saturating_sub(metric.get()));
        };
        for (outcome, counts) in [
            ("sent", &counters.requests_sent),
            ("received", &counters.requests_received),
            ("failed", &counters.requests_failed),
        ] {
            for (class, count) in Class::ALL.iter().zip(counts) {
                advance(&self.requests, &[class.as_str(), outcome], *count);
            }
        }
        advance(&self.datagrams, &["sent"], counters.datagrams_sent);
        advance(&self.datagrams, &["received"], counters.datagrams_received);
        advance(&self.datagrams, &["dropped"], counters.datagrams_dropped);
        advance(&self.connections, &["made"], counters.connects);
        advance(&self.connections, &["failed"], counters.connect_failures);
        advance(&self.connections, &["refused"], counters.refused);
        let connected = peers.iter().filter(|peer| peer.control_connected).count();
        self.peers.set(i64::try_from(connected).unwrap_or(i64::MAX));
        let mut nearest: BTreeMap<String, f64> = BTreeMap::new();
        for peer in peers {
            if let (Some(pop), Some(rtt)) = (pop_of(peer), peer.rtt) {
                let rtt = rtt.as_secs_f64();
                nearest.entry(pop).and_modify(|known| *known = known.min(rtt)).or_insert(rtt);
            }
        }
        // A PoP that cannot be reached has no round-trip time, not its last one.
        self.rtt.reset();
        for (pop, rtt) in nearest {
            self.rtt.with_label_values(&[pop.as_str()]).set(rtt);
        }
    }
}

/// The counters as they run.
#[derive(Debug, Default)]
pub(super) struct Counters {
    pub(super) requests_sent: [AtomicU64; 5],
    pub(super) requests_received: [AtomicU64; 5],
    pub(super) requests_failed: [AtomicU64; 5],
    pub(super) datagrams_sent: AtomicU64,
    pub(super) datagrams_received: AtomicU64,
    pub(super) datagrams_dropped: AtomicU64,
    pub(super) connects: AtomicU64,
    pub(super) connect_failures: AtomicU64,
    pub(super) refused: AtomicU64,
}

impl Counters {
    /// Counts one of `class`.
    pub(super) fn count(counters: &[AtomicU64; 5], class: Class) {
        if let Some(counter) = counters.get(class.index()) {
            counter.fetch_add(1, Relaxed);
        }
    }

    /// Counts one.
    pub(super) fn add(counter: &AtomicU64) {
        counter.fetch_add(1, Relaxed);
    }

    pub(super) fn read(&self) -> MeshCounters {
        let all = |counters: &[AtomicU64; 5]| counters.each_ref().map(|c| c.load(Relaxed));
        MeshCounters {
            requests_sent: all(&self.requests_sent),
            requests_received: all(&self.requests_received),
            requests_failed: all(&self.requests_failed),
            datagrams_sent: self.datagrams_sent.load(Relaxed),
            datagrams_received: self.datagrams_received.load(Relaxed),
            datagrams_dropped: self.datagrams_dropped.load(Relaxed),
            connects: self.connects.load(Relaxed),
            connect_failures: self.connect_failures.load(Relaxed),
            refused: self.refused.load(Relaxed),
        }
    }
}
