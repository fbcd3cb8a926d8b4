//! Section `gossip`: membership.

use std::time::Duration;

use super::section::Section;
use crate::ByteSize;

/// Membership: how nodes find out who is up (SWIM).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Gossip {
    /// How often one other member is probed.
    ///
    /// Too low: traffic. Too high: a dead node is suspected late. More than twice
    /// [`probe_rtt`](Self::probe_rtt), so that an indirect probe fits. Default 1 s, 50 ms to 60 s. Since
    /// 0.1.
    pub probe_period: Duration,
    /// How long a direct probe waits for its answer before others are asked to probe.
    ///
    /// Too low: nodes far away need help each time. Too high: less time for the indirect probes. Above the
    /// longest round trip in the mesh. Default 400 ms, 10 ms to 10 s. Since 0.1. Watch
    /// `hexpop_mesh_rtt_seconds`.
    pub probe_rtt: Duration,
    /// How long a suspected member may object before it is declared down.
    ///
    /// Too low: a short pause makes a node leave and return. Too high: replicas are replaced late (failover
    /// does not wait for this). More than [`probe_period`](Self::probe_period). Default 4 s, 100 ms to
    /// 10 min. Since 0.1. Watch `hexpop_members`.
    pub suspicion: Duration,
    /// How many members are asked to probe on behalf of one that got no answer.
    ///
    /// Too low: one lossy link makes a node suspect. Too high: traffic in trouble. Default 3, 1 to 16.
    /// Since 0.1.
    pub indirect_probes: u32,
    /// The largest gossip message.
    ///
    /// Above what a datagram of the mesh carries it is lost: 1,200 bytes of the smallest path less the
    /// overhead of QUIC. Default 1178 B, 512 B to 1400 B. Since 0.1.
    pub max_packet: ByteSize,
    /// How often a member is asked for all the members it knows, which heals what single messages missed.
    ///
    /// Too low: traffic in proportion to the size of the cluster. Too high: a healed partition is noticed
    /// late. Default 30 s, 1 s to 1 h. Since 0.1.
    pub announce_period: Duration,
    /// How often news travels on its own, besides with the probes.
    ///
    /// Too low: traffic. Too high: news such as a newer shard map spreads slowly. Default 200 ms, 20 ms to
    /// 60 s. Since 0.1.
    pub gossip_period: Duration,
    /// How long a member that went down is remembered, so that late news about it does not revive it.
    ///
    /// Too low: it may come back as a ghost. Too high: memory for nodes long gone. More than
    /// [`suspicion`](Self::suspicion). Default 1 d, 1 min to 30 d. Since 0.1.
    pub forget_after: Duration,
}

impl Default for Gossip {
    fn default() -> Self {
        Self {
            probe_period: Duration::from_secs(1),
            probe_rtt: Duration::from_millis(400),
            suspicion: Duration::from_secs(4),
            indirect_probes: 3,
            max_packet: ByteSize::new(1178),
            announce_period: Duration::from_secs(30),
            gossip_period: Duration::from_millis(200),
            forget_after: Duration::from_secs(24 * 60 * 60),
        }
    }
}

impl Gossip {
    pub(super) fn read(section: &mut Section<'_>) -> Self {
        let millis = Duration::from_millis;
        let secs = Duration::from_secs;
        let default = Self::default();
        Self {
            probe_period: section
                .key("probe_period", "How often one other member is probed.")
                .between(millis(50), secs(60))
                .or(default.probe_period),
            probe_rtt: section
                .key("probe_rtt", "How long a direct probe waits for its answer.")
                .between(millis(10), secs(10))
                .or(default.probe_rtt),
            suspicion: section
                .key("suspicion", "How long a suspected member may object before it is down.")
                .between(millis(100), secs(600))
                .or(default.suspicion),
            indirect_probes: section
                .key("indirect_probes", "How many members probe on behalf of another.")
                .between(1, 16)
                .or(default.indirect_probes),
            max_packet: section
                .key("max_packet", "The largest gossip message.")
                .between(ByteSize::new(512), ByteSize::new(1400))
                .or(default.max_packet),
            announce_period: section
                .key("announce_period", "How often a member is asked for all members it knows.")
                .between(secs(1), secs(60 * 60))
                .or(default.announce_period),
            gossip_period: section
                .key("gossip_period", "How often news travels on its own.")
                .between(millis(20), secs(60))
                .or(default.gossip_period),
            forget_after: section
                .key("forget_after", "How long a member that went down is remembered.")
                .between(secs(60), secs(30 * 24 * 60 * 60))
                .or(default.forget_after),
        }
    }
}
