//! The timings and bounds of the gossip.

use std::{
    num::{NonZeroU8, NonZeroUsize},
    time::Duration,
};

use hexpop_edge_config::config;

use crate::{Error, packet::PREFIX_BYTES};

/// Timings and bounds. All members of a cluster should have the same.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Options {
    /// How often one other member is probed. Default 1 s.
    pub probe_period: Duration,
    /// How long a direct probe waits before others are asked to probe; less than half of
    /// [`probe_period`](Self::probe_period). Default 400 ms.
    pub probe_rtt: Duration,
    /// How long a suspected member may object before it is declared down. Default 4 s.
    pub suspicion: Duration,
    /// How many members are asked to probe for one that got no answer. Default 3.
    pub indirect_probes: usize,
    /// The largest datagram in bytes, 512 to 1400. Default 1178.
    pub packet_bytes_max: usize,
    /// How often a member is asked for all that it knows, and the seeds for whoever is there.
    /// Default 30 s.
    pub announce_period: Duration,
    /// How often members that are down are tried, which heals partitions. Default 5 s.
    pub announce_down_period: Duration,
    /// How often news travels on its own, besides with the probes. Default 200 ms.
    pub gossip_period: Duration,
    /// How often one member's facts are compared with ours. Default 5 s.
    pub sync_period: Duration,
    /// How often a fact that is known to be missing is asked for. Default 500 ms.
    pub pull_period: Duration,
    /// How long a member that went down is remembered. Default 1 d.
    pub forget_after: Duration,
    /// The first pause between two attempts to find anybody while alone, and before returning for
    /// the second time after having been declared down; it doubles up to
    /// [`retry_max`](Self::retry_max). Default 500 ms.
    pub retry_min: Duration,
    /// The longest such pause. Default 10 s.
    pub retry_max: Duration,
    /// How many members are kept, with those that are down. Default 1024.
    pub members_max: usize,
    /// How often one piece of news is passed on. Default 10, enough for a few hundred members.
    pub transmissions: u8,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            probe_period: Duration::from_secs(1),
            probe_rtt: Duration::from_millis(400),
            suspicion: Duration::from_secs(4),
            indirect_probes: 3,
            packet_bytes_max: 1178,
            announce_period: Duration::from_secs(30),
            announce_down_period: Duration::from_secs(5),
            gossip_period: Duration::from_millis(200),
            sync_period: Duration::from_secs(5),
            pull_period: Duration::from_millis(500),
            forget_after: Duration::from_secs(24 * 60 * 60),
            retry_min: Duration::from_millis(500),
            retry_max: Duration::from_secs(10),
            members_max: 1024,
            transmissions: 10,
        }
    }
}

impl From<&config::Gossip> for Options {
    fn from(gossip: &config::Gossip) -> Self {
        let packet_bytes = gossip.max_packet.bytes();
        Self {
            probe_period: gossip.probe_period,
            probe_rtt: gossip.probe_rtt,
            suspicion: gossip.suspicion,
            indirect_probes: usize::try_from(gossip.indirect_probes).unwrap_or(usize::MAX),
            packet_bytes_max: usize::try_from(packet_bytes).unwrap_or(usize::MAX),
            announce_period: gossip.announce_period,
            gossip_period: gossip.gossip_period,
            forget_after: gossip.forget_after,
            ..Self::default()
        }
    }
}

impl Options {
    /// Checks the options and puts them into the terms of the protocol.
    pub(crate) fn to_foca(&self) -> Result<foca::Config, Error> {
        let wrong = |name, problem: &str| Error::Option { name, problem: problem.to_owned() };
        let not_zero = |name, time: Duration| {
            if time.is_zero() { Err(wrong(name, "must not be zero")) } else { Ok(time) }
        };
        if !(512..=1400).contains(&self.packet_bytes_max) {
            return Err(wrong("packet_bytes_max", "must be between 512 and 1400 bytes"));
        }
        if self.probe_rtt * 2 >= self.probe_period {
            return Err(wrong("probe_rtt", "must be less than half of probe_period"));
        }
        if self.members_max == 0 {
            return Err(wrong("members_max", "must be at least 1"));
        }
        if self.retry_min > self.retry_max {
            return Err(wrong("retry_min", "must not be above retry_max"));
        }
        for (name, time) in [
            ("sync_period", self.sync_period),
            ("pull_period", self.pull_period),
            ("retry_min", self.retry_min),
        ] {
            not_zero(name, time)?;
        }
        let periodic = |name, frequency, members| {
            let num_members =
                NonZeroUsize::new(members).ok_or_else(|| wrong(name, "must be at least 1"))?;
            let frequency = not_zero(name, frequency)?;
            Ok::<_, Error>(Some(foca::PeriodicParams { frequency, num_members }))
        };
        Ok(foca::Config {
            probe_period: not_zero("probe_period", self.probe_period)?,
            probe_rtt: not_zero("probe_rtt", self.probe_rtt)?,
            num_indirect_probes: NonZeroUsize::new(self.indirect_probes)
                .ok_or_else(|| wrong("indirect_probes", "must be at least 1"))?,
            max_transmissions: NonZeroU8::new(self.transmissions)
                .ok_or_else(|| wrong("transmissions", "must be at least 1"))?,
            suspect_to_down_after: not_zero("suspicion", self.suspicion)?,
            remove_down_after: Some(not_zero("forget_after", self.forget_after)?),
            max_packet_size: NonZeroUsize::new(self.packet_bytes_max - PREFIX_BYTES)
                .ok_or_else(|| wrong("packet_bytes_max", "must be above the prefix"))?,
            notify_down_members: true,
            periodic_announce: periodic("announce_period", self.announce_period, 1)?,
            periodic_announce_to_down_members: periodic(
                "announce_down_period",
                self.announce_down_period,
                2,
            )?,
            periodic_gossip: periodic("gossip_period", self.gossip_period, 3)?,
        })
    }
}
