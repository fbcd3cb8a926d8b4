//! Coalescing: one fetch per key, however many wait for it.

use std::{collections::BTreeMap, sync::Arc};

use parking_lot::Mutex;
use tokio::sync::watch;

use super::{key::CacheKey, store::Stored};
use crate::error::RouteError;

/// What a flight is for: a URI, and the values of the headers that it is known to vary by.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct FlightKey {
    pub(crate) uri: CacheKey,
    pub(crate) selected_by: Vec<Option<Vec<u8>>>,
}

/// How a flight ended.
#[derive(Debug, Clone)]
pub(crate) enum Landing {
    /// With a response that those who waited may use, if it is their variant.
    Stored {
        /// The response, new or confirmed.
        stored: Arc<Stored>,
        /// Whether it may be used by those that did not cause the fetch.
        shareable: bool,
    },
    /// With a response for the one who asked only.
    Uncacheable,
    /// Without a response.
    Failed(Box<RouteError>),
}

/// What one who asks for a key becomes.
#[derive(Debug)]
pub(crate) enum Joined {
    /// The one who fetches.
    Leader(Ticket),
    /// One who waits for it.
    Waiter(Waiter),
    /// There are as many flights as may be; fetch alone.
    Full,
    /// As many wait for it as may.
    Crowded,
}

/// Bounds on flights.
#[derive(Debug, Clone, Copy)]
pub(crate) struct FlightLimits {
    /// Flights at a time.
    pub(crate) flights_max: usize,
    /// Who may wait for one of them.
    pub(crate) waiters_max: usize,
}

/// All fetches under way.
#[derive(Debug)]
pub(crate) struct Flights {
    limits: FlightLimits,
    flying: Arc<Mutex<BTreeMap<FlightKey, Flight>>>,
}

#[derive(Debug)]
struct Flight {
    landing: watch::Receiver<Option<Landing>>,
    /// Counts those who wait: each holds a clone.
    waiting: Arc<()>,
}

impl Flights {
    /// None under way.
    pub(crate) fn new(limits: FlightLimits) -> Self {
        Self { limits, flying: Arc::default() }
    }

    /// Begins a fetch for a key or joins the one that is under way.
    pub(crate) fn join(&self, key: FlightKey) -> Joined {
        let mut flying = self.flying.lock();
        if let Some(flight) = flying.get(&key) {
            // The flight itself holds one of the counted.
            if Arc::strong_count(&flight.waiting) > self.limits.waiters_max {
                return Joined::Crowded;
            }
            let (landing, counted) = (flight.landing.clone(), Arc::clone(&flight.waiting));
            return Joined::Waiter(Waiter { landing, _counted: counted });
        }
        if flying.len() >= self.limits.flights_max {
            return Joined::Full;
        }
        let (sender, landing) = watch::channel(None);
        flying.insert(key.clone(), Flight { landing, waiting: Arc::default() });
        Joined::Leader(Ticket { key, sender, flying: Arc::clone(&self.flying) })
    }
}

/// The duty to land a flight. Dropped without it, those who wait learn that it failed.
#[derive(Debug)]
pub(crate) struct Ticket {
    key: FlightKey,
    sender: watch::Sender<Option<Landing>>,
    flying: Arc<Mutex<BTreeMap<FlightKey, Flight>>>,
}

impl Ticket {
    /// Ends the flight. Whatever was fetched must be in the store already, so that who comes after
    /// this finds it there.
    pub(crate) fn land(self, landing: Landing) {
        self.flying.lock().remove(&self.key);
        self.sender.send_replace(Some(landing));
    }
}

impl Drop for Ticket {
    fn drop(&mut self) {
        if self.sender.borrow().is_none() {
            self.flying.lock().remove(&self.key);
        }
    }
}

/// One who waits.
#[derive(Debug)]
pub(crate) struct Waiter {
    landing: watch::Receiver<Option<Landing>>,
    _counted: Arc<()>,
}

impl Waiter {
    /// How the flight ended; `None` when whoever fetched went away without a word.
    ///
    /// # Cancel safety
    /// Nothing is lost: who stops waiting just does not learn it.
    pub(crate) async fn landed(mut self) -> Option<Landing> {
        let landing = self.landing.wait_for(Option::is_some).await.ok()?;
        landing.clone()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(path: &str) -> FlightKey {
        FlightKey { uri: CacheKey::new("http", "a", path), selected_by: Vec::new() }
    }

    fn flights(waiters_max: usize) -> Flights {
        Flights::new(FlightLimits { flights_max: 2, waiters_max })
    }

    #[tokio::test]
    async fn all_who_wait_learn_how_it_landed() {
        let flights = flights(1000);
        let Joined::Leader(ticket) = flights.join(key("/")) else { panic!("not the leader") };
        let waiters: Vec<_> = (0..1000)
            .map(|_| match flights.join(key("/")) {
                Joined::Waiter(waiter) => waiter.landed(),
                other => panic!("{other:?}"),
            })
            .collect();
        ticket.land(Landing::Uncacheable);
        for landed in futures::future::join_all(waiters).await {
            assert!(matches!(landed, Some(Landing::Uncacheable)));
        }
        assert!(matches!(flights.join(key("/")), Joined::Leader(_)));
    }

    #[tokio::test]
    async fn a_leader_that_goes_away_leaves_nobody_waiting() {
        let flights = flights(10);
        let Joined::Leader(ticket) = flights.join(key("/")) else { panic!("not the leader") };
        let Joined::Waiter(waiter) = flights.join(key("/")) else { panic!("not a waiter") };
        drop(ticket);
        assert!(waiter.landed().await.is_none());
        assert!(matches!(flights.join(key("/")), Joined::Leader(_)));
    }

    #[test]
    fn flights_and_waiters_are_bounded() {
        let flights = flights(1);
        let Joined::Leader(_a) = flights.join(key("/a")) else { panic!("not the leader") };
        let Joined::Waiter(waiter) = flights.join(key("/a")) else { panic!("not a waiter") };
        assert!(matches!(flights.join(key("/a")), Joined::Crowded));
        drop(waiter);
        assert!(matches!(flights.join(key("/a")), Joined::Waiter(_)));
        let Joined::Leader(_b) = flights.join(key("/b")) else { panic!("not the leader") };
        assert!(matches!(flights.join(key("/c")), Joined::Full));
    }
}
