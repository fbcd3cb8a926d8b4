//! A circuit breaker as a value: no clock, no lock. `now` is the time since any fixed instant.
//!
//! ```text
//!            failures_max in a row
//!   closed ───────────────────────────> open
//!     ^                                  │ open_for passed: one caller may probe
//!     │ success                          v
//!     └───────────────────────────── half-open
//!                                        │ failure, or the probe never reported
//!                                        └────────────> open
//! ```

use std::time::Duration;

/// When a breaker opens and how soon it probes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct BreakerOptions {
    /// Failures in a row that open it; at least 1.
    ///
    /// Too low: a single lost connection cuts a healthy target off. Too high: many requests wait
    /// for a dead one. Default 5.
    pub failures_max: u32,
    /// How long it stays open before the first probe. Default 1 s.
    pub open_first: Duration,
    /// The longest it stays open between probes, which doubles with each one that fails. At most
    /// 2 s for the origin. Default 2 s.
    pub open_max: Duration,
    /// After this a probe that did not report counts as failed. Default 5 s.
    pub probe_timeout: Duration,
}

impl Default for BreakerOptions {
    fn default() -> Self {
        Self {
            failures_max: 5,
            open_first: Duration::from_secs(1),
            open_max: Duration::from_secs(2),
            probe_timeout: Duration::from_secs(5),
        }
    }
}

/// What a breaker does with requests.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum BreakerState {
    /// Traffic flows.
    Closed,
    /// One probe is on its way; the rest is refused.
    HalfOpen,
    /// Everything is refused.
    Open,
}

impl BreakerState {
    /// The word in JSON and tables.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Closed => "closed",
            Self::HalfOpen => "half-open",
            Self::Open => "open",
        }
    }

    /// The value of `hexpop_breaker_state`.
    #[must_use]
    pub const fn as_gauge(self) -> i64 {
        match self {
            Self::Closed => 0,
            Self::HalfOpen => 1,
            Self::Open => 2,
        }
    }
}

/// The right to make one request; give it back with the outcome.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Pass {
    /// The value of [`Breaker::changes`] when it was given, so that what was begun before the
    /// breaker opened cannot close it.
    changes: u64,
}

/// One breaker.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Breaker {
    options: BreakerOptions,
    state: BreakerState,
    since: Duration,
    until: Duration,
    failures: u32,
    reopened: u32,
    opened: u64,
    changes: u64,
}

impl Breaker {
    /// A closed one.
    #[must_use]
    pub const fn new(options: BreakerOptions, now: Duration) -> Self {
        Self {
            options,
            state: BreakerState::Closed,
            since: now,
            until: now,
            failures: 0,
            reopened: 0,
            opened: 0,
            changes: 0,
        }
    }

    /// Asks for the right to make one request. In the half-open state at most one is out.
    pub fn admit(&mut self, now: Duration) -> Option<Pass> {
        match self.state {
            BreakerState::Closed => {}
            BreakerState::Open | BreakerState::HalfOpen if now < self.until => return None,
            BreakerState::Open | BreakerState::HalfOpen => {
                self.enter(BreakerState::HalfOpen, now, self.options.probe_timeout);
            }
        }
        Some(Pass { changes: self.changes })
    }

    /// Whether [`admit`](Self::admit) would say yes.
    #[must_use]
    pub fn would_admit(&self, now: Duration) -> bool {
        self.state == BreakerState::Closed || now >= self.until
    }

    /// The request succeeded.
    pub const fn succeeded(&mut self, pass: Pass, now: Duration) {
        match self.state {
            BreakerState::Closed => self.failures = 0,
            BreakerState::HalfOpen | BreakerState::Open => {
                if pass.changes == self.changes {
                    self.failures = 0;
                    self.reopened = 0;
                    self.enter(BreakerState::Closed, now, Duration::ZERO);
                }
            }
        }
    }

    /// The request failed in a way that says something about the target.
    pub fn failed(&mut self, pass: Pass, now: Duration) {
        match self.state {
            BreakerState::Closed => {
                self.failures = self.failures.saturating_add(1);
                if self.failures >= self.options.failures_max {
                    self.open(now);
                }
            }
            BreakerState::HalfOpen if pass.changes == self.changes => {
                self.failures = self.failures.saturating_add(1);
                self.reopened = self.reopened.saturating_add(1);
                self.open(now);
            }
            BreakerState::HalfOpen | BreakerState::Open => {}
        }
    }

    /// A request was given up because the target took so long that others answered.
    pub fn outrun(&mut self, now: Duration) {
        self.failed(Pass { changes: self.changes }, now);
    }

    /// The request was given up before it could tell: a probe's turn goes to the next caller.
    pub const fn abandoned(&mut self, pass: Pass, now: Duration) {
        if matches!(self.state, BreakerState::HalfOpen) && pass.changes == self.changes {
            self.enter(BreakerState::Open, now, Duration::ZERO);
        }
    }

    /// What it does now.
    #[must_use]
    pub const fn state(&self) -> BreakerState {
        self.state
    }

    /// When it came into this state.
    #[must_use]
    pub const fn since(&self) -> Duration {
        self.since
    }

    /// Failures in a row.
    #[must_use]
    pub const fn failures(&self) -> u32 {
        self.failures
    }

    /// How often it opened from closed.
    #[must_use]
    pub const fn opened(&self) -> u64 {
        self.opened
    }

    fn open(&mut self, now: Duration) {
        if self.state == BreakerState::Closed {
            self.opened += 1;
        }
        let open_for = self
            .options
            .open_first
            .saturating_mul(1 << self.reopened.min(16))
            .min(self.options.open_max);
        self.enter(BreakerState::Open, now, open_for);
    }

    const fn enter(&mut self, state: BreakerState, now: Duration, length: Duration) {
        self.state = state;
        self.since = now;
        self.until = now.saturating_add(length);
        self.changes += 1;
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const fn ms(ms: u64) -> Duration {
        Duration::from_millis(ms)
    }

    fn opened() -> Breaker {
        let mut breaker = Breaker::new(BreakerOptions::default(), ms(0));
        for _ in 0..5 {
            let pass = breaker.admit(ms(10)).unwrap();
            breaker.failed(pass, ms(10));
        }
        breaker
    }

    #[test]
    fn failures_in_a_row_open_it_and_a_success_between_does_not() {
        let mut breaker = Breaker::new(BreakerOptions::default(), ms(0));
        for at in 0..40 {
            let pass = breaker.admit(ms(at)).unwrap();
            if at % 5 == 4 { breaker.succeeded(pass, ms(at)) } else { breaker.failed(pass, ms(at)) }
        }
        assert_eq!(breaker.state(), BreakerState::Closed);
        assert_eq!(opened().state(), BreakerState::Open);
        assert_eq!(opened().opened(), 1);
        assert_eq!(opened().failures(), 5);
    }

    #[test]
    fn open_refuses_until_one_probe_may_go() {
        let mut breaker = opened();
        assert!(breaker.admit(ms(1009)).is_none());
        let probe = breaker.admit(ms(1010)).unwrap();
        assert_eq!(breaker.state(), BreakerState::HalfOpen);
        assert!(breaker.admit(ms(1011)).is_none());
        breaker.succeeded(probe, ms(1020));
        assert_eq!(breaker.state(), BreakerState::Closed);
        assert!(breaker.admit(ms(1020)).is_some());
    }

    #[test]
    fn a_probe_goes_at_least_every_two_seconds_however_often_it_fails() {
        let mut breaker = opened();
        let mut now = ms(10);
        for _ in 0..20 {
            let asked = now;
            let probe = loop {
                now += ms(50);
                if let Some(probe) = breaker.admit(now) {
                    break probe;
                }
            };
            assert!(now - asked <= ms(2050), "{:?}", now - asked);
            breaker.failed(probe, now);
        }
        assert_eq!(breaker.opened(), 1);
    }

    #[test]
    fn what_began_before_it_opened_does_not_close_it() {
        let mut breaker = Breaker::new(BreakerOptions::default(), ms(0));
        let early = breaker.admit(ms(0)).unwrap();
        for _ in 0..5 {
            let pass = breaker.admit(ms(1)).unwrap();
            breaker.failed(pass, ms(1));
        }
        breaker.succeeded(early, ms(2));
        assert_eq!(breaker.state(), BreakerState::Open);
    }

    #[test]
    fn a_probe_that_never_reports_is_replaced() {
        let mut breaker = opened();
        let lost = breaker.admit(ms(2000)).unwrap();
        assert!(breaker.admit(ms(6999)).is_none());
        let next = breaker.admit(ms(7000)).unwrap();
        breaker.failed(lost, ms(7001));
        assert_eq!(breaker.state(), BreakerState::HalfOpen);
        breaker.abandoned(next, ms(7002));
        assert!(breaker.admit(ms(7002)).is_some());
    }

    proptest! {
        #[test]
        fn half_open_never_has_two_probes_out(steps in proptest::collection::vec((0_u8..4, 0_u64..3000), 1..200)) {
            let mut breaker = Breaker::new(BreakerOptions::default(), ms(0));
            let (mut now, mut out) = (ms(0), Vec::new());
            for (step, wait) in steps {
                now += ms(wait);
                let before = breaker.state();
                match step {
                    0 | 1 => if let Some(pass) = breaker.admit(now) {
                        if before != BreakerState::Closed {
                            prop_assert_eq!(breaker.state(), BreakerState::HalfOpen);
                            prop_assert!(breaker.admit(now).is_none());
                        }
                        out.push(pass);
                    },
                    2 => if let Some(pass) = out.pop() { breaker.failed(pass, now) },
                    _ => if let Some(pass) = out.pop() { breaker.succeeded(pass, now) },
                }
            }
        }
    }
}
