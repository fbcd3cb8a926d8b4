//! Says in the log who was refused and why, without letting strangers fill it.

use std::{
    fmt,
    net::SocketAddr,
    time::{Duration, Instant},
};

use parking_lot::Mutex;

/// At most one line in this time; the next one says how many were left out.
const PERIOD: Duration = Duration::from_secs(1);

/// The rate-limited log of refusals.
#[derive(Debug, Default)]
pub(super) struct RefusalLog {
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    last: Option<Instant>,
    left_out: u64,
}

impl RefusalLog {
    /// Notes that the peer at `remote` was refused.
    pub(super) fn note(&self, remote: SocketAddr, cause: &dyn fmt::Display) {
        let Some(left_out) = self.admit(Instant::now()) else {
            return;
        };
        tracing::warn!(%remote, %cause, left_out, "refused a connection to the mesh");
    }

    /// `None`: say nothing now. Otherwise how many were left out since the last line.
    fn admit(&self, now: Instant) -> Option<u64> {
        let mut state = self.state.lock();
        if state.last.is_some_and(|last| now.duration_since(last) < PERIOD) {
            state.left_out = state.left_out.saturating_add(1);
            return None;
        }
        state.last = Some(now);
        Some(std::mem::take(&mut state.left_out))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_line_a_second_and_the_rest_is_counted() {
        let log = RefusalLog::default();
        let start = Instant::now();
        assert_eq!(log.admit(start), Some(0));
        for _ in 0..5 {
            assert_eq!(log.admit(start + PERIOD / 2), None);
        }
        assert_eq!(log.admit(start + PERIOD), Some(5));
        assert_eq!(log.admit(start + PERIOD * 2), Some(0));
    }
}
