//! All breakers of a node: one per target and class of traffic.

use std::{collections::BTreeMap, fmt, sync::Arc, time::Duration};

use hexpop_edge_config::NodeId;
use parking_lot::Mutex;
use serde::Serialize;

use crate::{
    breaker::{Breaker, BreakerOptions, BreakerState, Pass},
    metrics::Metrics,
};

/// What requests go to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Target {
    /// The platform behind the mesh.
    Origin,
    /// Another node.
    Node(NodeId),
}

impl fmt::Display for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Origin => f.write_str("origin"),
            Self::Node(node) => write!(f, "node-{node}"),
        }
    }
}

/// Kinds of traffic that fail apart from each other. Feed and export calls have no breaker: they
/// back off on their own, and must not shut clients out.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Class {
    /// Reads of shards at other nodes that any replica may answer.
    Read,
    /// Reads that only the leader can answer.
    StrongRead,
    /// Writes to shards at other nodes.
    Write,
    /// Proxied requests.
    Proxy,
    /// Proxied requests to the node that keeps what they ask for.
    Tier,
    /// Listings and searches that the mesh cannot answer.
    Fallback,
}

impl Class {
    /// The word in JSON and metrics.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Read => "read",
            Self::StrongRead => "strong-read",
            Self::Write => "write",
            Self::Proxy => "proxy",
            Self::Tier => "tier",
            Self::Fallback => "fallback",
        }
    }
}

/// One breaker, as `GET /admin/v1/breakers` lists it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct BreakerStatus {
    /// `origin` or `node-3`.
    pub target: String,
    /// The class of traffic.
    pub class: &'static str,
    /// `closed`, `half-open` or `open`.
    pub state: &'static str,
    /// Since when, in milliseconds since the Unix epoch.
    pub since_ms: u64,
    /// How often it has opened.
    pub opened: u64,
    /// Failures in a row.
    pub failures: u32,
}

/// The breakers of a node. One comes into being with the first request to its target.
#[derive(Debug)]
pub(crate) struct Breakers {
    peer: BreakerOptions,
    /// Of [`Class::Tier`].
    tier: BreakerOptions,
    origin: BreakerOptions,
    breakers: Mutex<BTreeMap<(Target, Class), Breaker>>,
    metrics: Metrics,
}

impl Breakers {
    /// `tier_within`: how long a node that is asked for an object may take for its answer.
    pub(crate) fn new(
        peer: BreakerOptions,
        tier_within: Duration,
        origin: BreakerOptions,
        metrics: Metrics,
    ) -> Self {
        // A probe that works on its answer is not lost.
        let probe_timeout = peer.probe_timeout.max(tier_within);
        let tier = BreakerOptions { probe_timeout, ..peer };
        Self { peer, tier, origin, breakers: Mutex::default(), metrics }
    }

    /// Asks for the right to send one request.
    pub(crate) fn admit(
        self: &Arc<Self>,
        target: Target,
        class: Class,
        now: Duration,
    ) -> Option<Admitted> {
        let pass = self.update(target, class, now, |breaker| breaker.admit(now))?;
        Some(Admitted { breakers: Arc::clone(self), target, class, pass: Some(pass) })
    }

    /// Whether a request would be let through.
    pub(crate) fn would_admit(&self, target: Target, class: Class, now: Duration) -> bool {
        self.breakers.lock().get(&(target, class)).is_none_or(|breaker| breaker.would_admit(now))
    }

    /// A request that was let through is given up: others answered before.
    pub(crate) fn outrun(&self, target: Target, class: Class, now: Duration) {
        self.update(target, class, now, |breaker| breaker.outrun(now));
    }

    /// All breakers; `wall_ms` is the wall clock at `now`.
    pub(crate) fn list(&self, now: Duration, wall_ms: u64) -> Vec<BreakerStatus> {
        let breakers = self.breakers.lock();
        breakers
            .iter()
            .map(|((target, class), breaker)| {
                let ago = now.saturating_sub(breaker.since()).as_millis();
                BreakerStatus {
                    target: target.to_string(),
                    class: class.as_str(),
                    state: breaker.state().as_str(),
                    since_ms: wall_ms.saturating_sub(u64::try_from(ago).unwrap_or(u64::MAX)),
                    opened: breaker.opened(),
                    failures: breaker.failures(),
                }
            })
            .collect()
    }

    /// Forgets the breakers of nodes that are no longer known.
    pub(crate) fn retain(&self, known: impl Fn(NodeId) -> bool) {
        self.breakers.lock().retain(|(target, class), _breaker| {
            let keep = match target {
                Target::Origin => true,
                Target::Node(node) => known(*node),
            };
            if !keep {
                self.metrics.forget_breaker(*target, *class);
            }
            keep
        });
    }

    fn update<T>(
        &self,
        target: Target,
        class: Class,
        now: Duration,
        change: impl FnOnce(&mut Breaker) -> T,
    ) -> T {
        let options = match (target, class) {
            (Target::Origin, _) => self.origin,
            (Target::Node(_), Class::Tier) => self.tier,
            (Target::Node(_), _) => self.peer,
        };
        let mut breakers = self.breakers.lock();
        let breaker = breakers.entry((target, class)).or_insert_with(|| Breaker::new(options, now));
        let (state, opened) = (breaker.state(), breaker.opened());
        let result = change(breaker);
        if breaker.state() != state {
            self.metrics.breaker(target, class, breaker.state(), breaker.opened() - opened);
            if breaker.state() == BreakerState::Open && state == BreakerState::Closed {
                tracing::warn!(%target, class = class.as_str(), "breaker opened");
            } else if breaker.state() == BreakerState::Closed {
                tracing::info!(%target, class = class.as_str(), "breaker closed");
            }
        }
        result
    }
}

/// The right to send one request; dropped without an outcome it counts as given up.
#[derive(Debug)]
pub(crate) struct Admitted {
    breakers: Arc<Breakers>,
    target: Target,
    class: Class,
    pass: Option<Pass>,
}

impl Admitted {
    /// Reports the outcome: whether the target did its part.
    pub(crate) fn report(mut self, healthy: bool, now: Duration) {
        if let Some(pass) = self.pass.take() {
            self.breakers.update(self.target, self.class, now, |breaker| {
                if healthy { breaker.succeeded(pass, now) } else { breaker.failed(pass, now) }
            });
        }
    }
}

impl Drop for Admitted {
    fn drop(&mut self) {
        if let Some(pass) = self.pass.take() {
            // A probe that was dropped leaves its turn to the next caller at once, which needs no
            // clock: the state keeps the time at which it came to be.
            let mut breakers = self.breakers.breakers.lock();
            if let Some(breaker) = breakers.get_mut(&(self.target, self.class)) {
                breaker.abandoned(pass, breaker.since());
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn breakers() -> Arc<Breakers> {
        let options = BreakerOptions::default();
        Arc::new(Breakers::new(options, TIER_WITHIN, options, Metrics::unregistered()))
    }

    const NODE: Target = Target::Node(NodeId(3));
    const TIER_WITHIN: Duration = Duration::from_secs(13);

    #[test]
    fn classes_and_targets_fail_apart() {
        let breakers = breakers();
        for _ in 0..5 {
            let admitted = breakers.admit(NODE, Class::Read, Duration::ZERO).unwrap();
            admitted.report(false, Duration::ZERO);
        }
        assert!(breakers.admit(NODE, Class::Read, Duration::ZERO).is_none());
        assert!(breakers.admit(NODE, Class::Write, Duration::ZERO).is_some());
        assert!(breakers.admit(Target::Node(NodeId(4)), Class::Read, Duration::ZERO).is_some());
        let list = breakers.list(Duration::from_secs(2), 10_000);
        assert_eq!(
            (list[0].target.as_str(), list[0].class, list[0].state),
            ("node-3", "read", "open")
        );
        assert_eq!((list[0].since_ms, list[0].opened, list[0].failures), (8000, 1, 5));
        breakers.retain(|node| node != NodeId(3));
        assert_eq!(breakers.list(Duration::ZERO, 0).len(), 1);
    }

    #[test]
    fn a_probe_of_an_owner_lives_as_long_as_its_answer_may_take() {
        let breakers = breakers();
        for class in [Class::Tier, Class::Read] {
            for _ in 0..5 {
                let admitted = breakers.admit(NODE, class, Duration::ZERO).unwrap();
                admitted.report(false, Duration::ZERO);
            }
        }
        let later = Duration::from_secs(3);
        let probes = [Class::Tier, Class::Read].map(|class| breakers.admit(NODE, class, later));
        assert!(probes.iter().all(Option::is_some));
        let within = later + Duration::from_secs(12);
        assert!(!breakers.would_admit(NODE, Class::Tier, within));
        assert!(breakers.would_admit(NODE, Class::Read, within));
        assert!(breakers.would_admit(NODE, Class::Tier, later + TIER_WITHIN));
    }

    #[test]
    fn a_probe_that_is_dropped_leaves_its_turn_to_the_next() {
        let breakers = breakers();
        for _ in 0..5 {
            breakers
                .admit(NODE, Class::Read, Duration::ZERO)
                .unwrap()
                .report(false, Duration::ZERO);
        }
        let later = Duration::from_secs(3);
        let probe = breakers.admit(NODE, Class::Read, later).unwrap();
        assert!(!breakers.would_admit(NODE, Class::Read, later));
        drop(probe);
        assert!(breakers.would_admit(NODE, Class::Read, later));
    }
}
