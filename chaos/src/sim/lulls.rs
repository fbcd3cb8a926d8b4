//! Worlds with lulls, for what is parked.
//!
//! ```text
//!   busy        silent                         whispers
//!   ├───────────┼──────────────────────────────┼───────────────────┤ and again
//!               groups are parked ▲ a link is cut, a node stands still, ...
//! ```
//!
//! While all clients ask, no group is parked for long, and whoever asks strongly wakes one: a leader that another
//! one has replaced finds out as soon as it tries to do anything. What it says *asleep* is seen by bounded reads
//! alone. So after the silence a few clients write, where the leader does not notice, and a few read with a bound.

use std::time::Duration;

use hexpop_edge_config::NodeId;

use super::{
    plan::{Cut, Fault, FaultKind, Led},
    random::Random,
};

/// How long everybody asks.
const BUSY_MS: u64 = 3_000;
/// How long nobody does: groups are parked within the first second, and the end of a pair has to be noticed.
const SILENT_MS: u64 = 3_000;
/// How long a few do.
const WHISPERS_MS: u64 = 3_000;
/// From one lull to the next.
const EVERY_MS: u64 = BUSY_MS + SILENT_MS + WHISPERS_MS;

/// What time it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Phase {
    /// All clients ask.
    Busy,
    /// None asks, for so many microseconds yet.
    Silent { left_us: u64 },
    /// Some ask a little, for so many microseconds yet.
    Whisper { left_us: u64 },
}

/// What a client asks for in a lull.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Whisper {
    Write,
    Read,
}

/// What time it is, microseconds after clients began.
pub(super) const fn phase(into_us: u64) -> Phase {
    let into = into_us % (EVERY_MS * 1_000);
    let (busy, silent) = (BUSY_MS * 1_000, (BUSY_MS + SILENT_MS) * 1_000);
    if into < busy {
        Phase::Busy
    } else if into < silent {
        Phase::Silent { left_us: silent - into }
    } else {
        Phase::Whisper { left_us: EVERY_MS * 1_000 - into }
    }
}

/// What a client does in a lull: half of them nothing.
pub(super) const fn whisper(client: u64) -> Option<Whisper> {
    match client % 4 {
        0 => Some(Whisper::Write),
        3 => Some(Whisper::Read),
        _ => None,
    }
}

/// Draws what goes wrong in the lulls of a seed: in each a leader is cut off from one of its voters, or from all, or
/// something else happens that ends a pair of nodes, and often a second thing.
#[must_use]
pub fn draw_lulls(seed: u64, nodes: u32, over: Duration) -> Vec<Fault> {
    let mut random = Random::fork(seed, 8);
    let over_ms = u64::try_from(over.as_millis()).unwrap_or(u64::MAX);
    let lulls = over_ms.div_ceil(EVERY_MS);
    let mut faults = Vec::new();
    for lull in 0..lulls {
        let begin = lull.saturating_mul(EVERY_MS).saturating_add(BUSY_MS);
        let kind = cut_of_leader(&mut random);
        // Before anything is parked now and then.
        let at_ms = begin + random.between(0, 1_500);
        let until = begin + SILENT_MS + random.between(WHISPERS_MS / 2, WHISPERS_MS);
        faults.push(Fault { at_ms, for_ms: until - at_ms, kind });
        if random.chance(400) {
            let kind = other(nodes, &mut random);
            let at_ms = begin + random.below(SILENT_MS + WHISPERS_MS / 2);
            faults.push(Fault { at_ms, for_ms: random.between(300, 3_000), kind });
        }
    }
    faults.sort_by_key(|fault| fault.at_ms);
    faults
}

fn cut_of_leader(random: &mut Random) -> FaultKind {
    let led = if random.chance(900) { Led::Sessions } else { Led::Meta };
    let cut = match random.below(10) {
        0 => Cut::FromMost,
        1..=3 => Cut::FromReplicas,
        _ => Cut::FromOne,
    };
    FaultKind::CutLeader(led, cut)
}

/// What ends pairs of nodes besides.
fn other(nodes: u32, random: &mut Random) -> FaultKind {
    let of_all = u64::from(nodes.max(2));
    let one = random.below(of_all);
    let another = (one + random.between(1, of_all - 1)) % of_all;
    let node = |place: u64| NodeId(u32::try_from(place).unwrap_or(0) + 1);
    match random.below(4) {
        0 => FaultKind::Pause(node(one)),
        1 => FaultKind::Kill(node(one)),
        _ => FaultKind::OneWay(node(one), node(another)),
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn lulls_come_again_and_again() {
        assert_eq!(phase(0), Phase::Busy);
        assert_eq!(phase(2_999_999), Phase::Busy);
        assert_eq!(phase(3_000_000), Phase::Silent { left_us: 3_000_000 });
        assert_eq!(phase(5_999_999), Phase::Silent { left_us: 1 });
        assert_eq!(phase(6_000_000), Phase::Whisper { left_us: 3_000_000 });
        assert_eq!(phase(8_999_999), Phase::Whisper { left_us: 1 });
        assert_eq!(phase(9_000_000), Phase::Busy);
        assert_eq!(phase(900_000 * 9_000_000 + 3_000_001), Phase::Silent { left_us: 2_999_999 });
    }

    #[test]
    fn every_lull_has_a_cut_that_lasts_into_its_whispers_and_no_longer_than_it() {
        let mut kinds = BTreeSet::new();
        for seed in 0..100 {
            let faults = draw_lulls(seed, 5, Duration::from_secs(30));
            assert_eq!(faults, draw_lulls(seed, 5, Duration::from_secs(30)));
            let is_cut = |fault: &&Fault| matches!(fault.kind, FaultKind::CutLeader(..));
            let cuts: Vec<&Fault> = faults.iter().filter(is_cut).collect();
            assert_eq!(cuts.len(), 4);
            for (lull, cut) in (0..).zip(cuts) {
                let begin = lull * EVERY_MS + BUSY_MS;
                assert!((begin..begin + SILENT_MS).contains(&cut.at_ms), "seed {seed}: {cut}");
                let end = cut.at_ms + cut.for_ms;
                let whispers = begin + SILENT_MS..=begin + SILENT_MS + WHISPERS_MS;
                assert!(whispers.contains(&end), "seed {seed}: {cut}");
            }
            for fault in &faults {
                if let FaultKind::OneWay(from, to) = &fault.kind {
                    assert!(from != to && (1..=5).contains(&from.0) && (1..=5).contains(&to.0));
                }
                kinds.insert(match &fault.kind {
                    FaultKind::CutLeader(_, Cut::FromOne) => "from one",
                    FaultKind::CutLeader(_, Cut::FromMost) => "from most",
                    other => other.name(),
                });
            }
        }
        let all = ["from one", "from most", "fault-cut-leader", "fault-pause", "fault-kill"];
        assert_eq!(kinds, all.into_iter().chain(["fault-one-way-cut"]).collect());
    }
}
