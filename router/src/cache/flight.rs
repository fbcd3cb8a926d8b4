//! Coalescing: one fetch per key, however many wait for it.

use std::{collections::BTreeMap, sync::Arc};

use http::HeaderValue;
use parking_lot::Mutex;
use tokio::sync::watch;

use super::{
    interim::Interims, key::CacheKey, purge::Purge, stored::Stored, tier::Hop, transfer::Transfer,
};
use crate::error::RouteError;

/// What a flight is for: a URI, the values of the headers that it is known to vary by, and the ranges
/// asked for.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct FlightKey {
    pub(crate) uri: CacheKey,
    pub(crate) selected_by: Vec<Option<Vec<u8>>>,
    /// `Range` and `If-Range`, where they go to the origin.
    pub(crate) range: Vec<Vec<u8>>,
    /// While this node may have missed a purge: when the fetch begins, about.
    pub(crate) window: Option<u64>,
    /// Whether another node is asked before the origin. Nobody there waits for such a fetch, or two nodes
    /// could wait for each other.
    pub(crate) by_owner: bool,
}

/// A response that is arriving: its head is there, its body comes.
#[derive(Debug, Clone)]
pub(crate) struct Arriving {
    /// The response as it will be stored, without a body yet.
    pub(crate) stored: Arc<Stored>,
    /// `Content-Range`, if it is a part.
    pub(crate) part: Option<HeaderValue>,
    /// How long the body is, where that is known.
    pub(crate) length: Option<u64>,
    /// What the node says that it came through, if it did.
    pub(crate) hop: Option<Hop>,
    pub(crate) transfer: Transfer,
}

/// What those who wait learn.
#[derive(Debug, Clone)]
pub(crate) enum Landing {
    /// A response begins to arrive, which they may use if it is theirs.
    Arriving(Arc<Arriving>),
    /// What was stored holds.
    Confirmed(Arc<Stored>),
    /// There is a response for the one who asked only.
    Uncacheable,
    /// There is none.
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

type Flying = Arc<Mutex<BTreeMap<FlightKey, Flight>>>;

/// All fetches under way.
#[derive(Debug)]
pub(crate) struct Flights {
    limits: FlightLimits,
    flying: Flying,
}

#[derive(Debug)]
struct Flight {
    landing: watch::Receiver<Option<Landing>>,
    interims: Interims,
    /// Counts those who wait: each holds a clone. Also tells this flight from later ones of its key.
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
            // The flight and its ticket hold one of the counted each.
            if Arc::strong_count(&flight.waiting) > self.limits.waiters_max + 1 {
                return Joined::Crowded;
            }
            let (landing, counted) = (flight.landing.clone(), Arc::clone(&flight.waiting));
            let interims = flight.interims.clone();
            return Joined::Waiter(Waiter { landing, interims, _counted: counted });
        }
        if flying.len() >= self.limits.flights_max {
            return Joined::Full;
        }
        let (sender, landing) = watch::channel(None);
        let waiting = Arc::new(());
        let interims = Interims::default();
        let flight = Flight { landing, interims: interims.clone(), waiting: Arc::clone(&waiting) };
        flying.insert(key.clone(), flight);
        let flying = Arc::clone(&self.flying);
        Joined::Leader(Ticket { key, sender, interims, waiting, flying })
    }

    /// Lets nobody else join the flights that a purge is about, or may be about: what they bring is
    /// out of date for who comes after it.
    pub(crate) fn close_hit_by(&self, purge: &Purge) {
        self.flying.lock().retain(|key, flight| {
            let landing = flight.landing.borrow();
            let hit = match &*landing {
                Some(Landing::Arriving(arriving)) => purge.hits(&key.uri, &arriving.stored.tags),
                _ => purge.is_by_tag() || purge.hits(&key.uri, &[]),
            };
            !hit
        });
    }
}

/// The duty to land a flight. Dropped without it, those who wait learn that it failed.
#[derive(Debug)]
pub(crate) struct Ticket {
    key: FlightKey,
    sender: watch::Sender<Option<Landing>>,
    /// What comes before the landing.
    pub(crate) interims: Interims,
    waiting: Arc<()>,
    flying: Flying,
}

impl Ticket {
    /// Tells those who wait; others may still join.
    pub(crate) fn announce(&self, landing: Landing) {
        self.interims.end();
        self.sender.send_replace(Some(landing));
    }

    /// Ends the flight. Whatever is to be stored must be in the store already, so that who comes
    /// after this finds it there.
    pub(crate) fn land(self, landing: Landing) {
        self.close();
        self.announce(landing);
    }

    /// Lets nobody else join.
    pub(crate) fn close(&self) {
        let mut flying = self.flying.lock();
        let mine = |flight: &Flight| Arc::ptr_eq(&flight.waiting, &self.waiting);
        if flying.get(&self.key).is_some_and(mine) {
            flying.remove(&self.key);
        }
    }
}

impl Drop for Ticket {
    fn drop(&mut self) {
        self.close();
    }
}

/// One who waits.
#[derive(Debug)]
pub(crate) struct Waiter {
    landing: watch::Receiver<Option<Landing>>,
    /// What comes before the landing.
    pub(crate) interims: Interims,
    _counted: Arc<()>,
}

impl Waiter {
    /// What the flight brings; `None` when whoever fetched went away without a word.
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
        let uri = CacheKey::new("http", "a", path);
        FlightKey { uri, selected_by: Vec::new(), range: Vec::new(), window: None, by_owner: false }
    }

    fn flights(waiters_max: usize) -> Flights {
        Flights::new(FlightLimits { flights_max: 2, waiters_max })
    }

    fn leader(flights: &Flights, path: &str) -> Ticket {
        match flights.join(key(path)) {
            Joined::Leader(ticket) => ticket,
            other => panic!("{other:?}"),
        }
    }

    #[tokio::test]
    async fn all_who_wait_learn_how_it_landed() {
        let flights = flights(1000);
        let ticket = leader(&flights, "/");
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
        leader(&flights, "/");
    }

    #[tokio::test]
    async fn who_comes_after_the_announcement_learns_it_too() {
        let flights = flights(10);
        let ticket = leader(&flights, "/");
        ticket.announce(Landing::Uncacheable);
        let Joined::Waiter(waiter) = flights.join(key("/")) else { panic!("not a waiter") };
        assert!(matches!(waiter.landed().await, Some(Landing::Uncacheable)));
        drop(ticket);
        leader(&flights, "/");
    }

    #[tokio::test]
    async fn a_leader_that_goes_away_leaves_nobody_waiting() {
        let flights = flights(10);
        let ticket = leader(&flights, "/");
        let Joined::Waiter(waiter) = flights.join(key("/")) else { panic!("not a waiter") };
        drop(ticket);
        assert!(waiter.landed().await.is_none());
        leader(&flights, "/");
    }

    #[test]
    fn flights_and_waiters_are_bounded() {
        let flights = flights(1);
        let _a = leader(&flights, "/a");
        let Joined::Waiter(waiter) = flights.join(key("/a")) else { panic!("not a waiter") };
        assert!(matches!(flights.join(key("/a")), Joined::Crowded));
        drop(waiter);
        assert!(matches!(flights.join(key("/a")), Joined::Waiter(_)));
        let _b = leader(&flights, "/b");
        assert!(matches!(flights.join(key("/c")), Joined::Full));
    }

    #[test]
    fn nobody_joins_a_flight_after_a_purge_and_the_later_flight_keeps_its_place() {
        let flights = flights(10);
        let (a, b) = (leader(&flights, "/a"), leader(&flights, "/b"));
        flights.close_hit_by(&Purge::Uri(key("/a").uri));
        assert!(matches!(flights.join(key("/b")), Joined::Waiter(_)));
        let later = leader(&flights, "/a");
        drop(a);
        assert!(matches!(flights.join(key("/a")), Joined::Waiter(_)));
        drop((b, later));
        let _a = leader(&flights, "/a");
        flights.close_hit_by(&Purge::Tag("unknown".into()));
        leader(&flights, "/a");
    }
}
