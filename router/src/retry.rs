//! How often and how soon a part of a request is tried again. Pure.

use std::time::Duration;

/// Bounds on repeats within one request. Every repeat also has to fit the request's deadline.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RetryPolicy {
    /// Attempts in all, the first included; at least 1. Default 64: during an election,
    /// which takes a few hundred milliseconds, a write asks every voter again and again.
    pub attempts_max: u32,
    /// The pause before the second attempt at the same place; doubles from there. Default 10 ms.
    pub backoff_first: Duration,
    /// The longest pause. Default 250 ms.
    pub backoff_max: Duration,
}

impl Default for RetryPolicy {
    fn default() -> Self {
        Self {
            attempts_max: 64,
            backoff_first: Duration::from_millis(10),
            backoff_max: Duration::from_millis(250),
        }
    }
}

/// The repeats of one request.
#[derive(Debug, Clone)]
pub(crate) struct Retry {
    policy: RetryPolicy,
    made: u32,
    pauses: u32,
}

impl Retry {
    /// Before the first attempt.
    pub(crate) const fn new(policy: RetryPolicy) -> Self {
        Self { policy, made: 0, pauses: 0 }
    }

    /// Counts an attempt; `false` when the bound is reached and none may be made.
    pub(crate) const fn attempt(&mut self) -> bool {
        if self.made >= self.policy.attempts_max {
            return false;
        }
        self.made += 1;
        true
    }

    /// The next pause: exponential, with the upper half random so that those who failed together
    /// do not return together. `random` is uniform over all of `u32`.
    pub(crate) fn pause(&mut self, random: u32) -> Duration {
        let doubled = self.policy.backoff_first.saturating_mul(1 << self.pauses.min(16));
        self.pauses = self.pauses.saturating_add(1);
        let full = doubled.min(self.policy.backoff_max);
        let half = full / 2;
        half + half.mul_f64(f64::from(random) / f64::from(u32::MAX))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn attempts_are_bounded() {
        let mut retry = Retry::new(RetryPolicy { attempts_max: 3, ..RetryPolicy::default() });
        assert_eq!((0..9).filter(|_| retry.attempt()).count(), 3);
    }

    #[test]
    fn pauses_double_to_their_bound_and_keep_their_lower_half() {
        let mut retry = Retry::new(RetryPolicy::default());
        let longest: Vec<_> = (0..8).map(|_| retry.pause(u32::MAX).as_millis()).collect();
        assert_eq!(longest, [10, 20, 40, 80, 160, 250, 250, 250]);
        let mut retry = Retry::new(RetryPolicy::default());
        assert_eq!(retry.pause(0), Duration::from_millis(5));
        (0..200).for_each(|_| assert!(retry.pause(7) <= Duration::from_millis(250)));
    }
}
