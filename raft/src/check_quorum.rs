//! When a leader that no quorum answers falls silent.
//!
//! A leader that still reaches some voters renews their leases with everything it sends; were it to go
//! on for ever, they would vote for nobody else, and a connected majority could elect no one. So it is
//! silent in phases, each long enough for an election: raft's check-quorum (Ongaro's dissertation,
//! section 6.2), for a leader that cannot step down.
//!
//! A quorum whose nodes are heard is there all the same: most often a disk takes long to flush what it is to
//! answer for, and a leader that fell silent for that would turn a stall of a moment into an election. It
//! goes on for longer then; not for ever, since what keeps the answers away may be on the way between the
//! two alone.
//!
//! openraft has the same for heartbeats (`quorum_loss_probe_interval`), but would take the time for
//! which a group was parked for the absence of a quorum.

use std::time::Duration;

/// How many leases a leader waits for the answer of a quorum whose nodes it hears.
const PATIENCE: u32 = 10;

/// No longer than that, unless a single lease is.
const PATIENCE_MAX: Duration = Duration::from_secs(3);

/// Whether a leader may send appends, `age` after a quorum last answered it (or it began to ask).
/// `lease` is that of the voters; `is_heard`: whether beats of a quorum's nodes come in.
pub(crate) fn may_speak(age: Duration, lease: Duration, is_heard: bool) -> bool {
    let longer = lease.saturating_mul(PATIENCE).min(PATIENCE_MAX).max(lease);
    let patience = if is_heard { longer } else { lease };
    let Some(over) = age.checked_sub(patience) else { return true };
    let phase = lease.saturating_mul(2).as_nanos().max(1);
    // First silent, then asking again.
    (over.as_nanos() / phase) % 2 == 1
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn silence_is_long_enough_for_a_lease_and_an_election_and_ends() {
        let lease = Duration::from_millis(1000);
        let at = |ms| may_speak(Duration::from_millis(ms), lease, false);
        assert!(at(0) && at(999));
        assert!(!at(1000) && !at(2999));
        assert!(at(3000) && at(4999) && !at(5000));
    }

    #[test]
    fn a_quorum_that_is_heard_is_waited_for_and_not_for_ever() {
        let at =
            |ms, lease| may_speak(Duration::from_millis(ms), Duration::from_millis(lease), true);
        assert!(at(0, 200) && at(200, 200) && at(1999, 200));
        assert!(!at(2000, 200) && !at(2399, 200) && at(2400, 200));
        assert!(at(2999, 1000) && !at(3000, 1000));
        assert!(at(3999, 4000) && !at(4000, 4000));
    }
}
