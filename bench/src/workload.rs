//! What is asked: mixes of requests over the listings that the mesh holds.

use serde::Serialize;

use crate::dataset::{Rng, listing_id};

/// A class of requests, reported apart.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Class {
    /// A listing by id.
    Listing,
    /// A search around a place, with facets.
    Search,
    /// A session read.
    SessionRead,
    /// A session created or replaced.
    SessionWrite,
    /// A session replaced if it is as last seen, or created if none was seen.
    SessionSwap,
    /// A session deleted.
    SessionDelete,
}

impl Class {
    /// All classes, in the order of reports.
    pub const ALL: [Self; 6] = [
        Self::Listing,
        Self::Search,
        Self::SessionRead,
        Self::SessionWrite,
        Self::SessionSwap,
        Self::SessionDelete,
    ];

    /// The name in reports.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Listing => "listing",
            Self::Search => "search",
            Self::SessionRead => "session-read",
            Self::SessionWrite => "session-write",
            Self::SessionSwap => "session-swap",
            Self::SessionDelete => "session-delete",
        }
    }
}

/// One request.
#[derive(Debug, Clone, PartialEq)]
pub enum Request {
    /// `GET /api/v1/listings/{id}`.
    Listing {
        /// The listing.
        id: String,
    },
    /// `POST /api/v1/search` around a place.
    Search {
        /// `sale` or `rent`.
        listing_type: String,
        /// The centre.
        lat: f64,
        /// The centre.
        lng: f64,
        /// The radius.
        radius_km: f64,
    },
    /// `GET /api/v1/sessions/{id}`.
    SessionRead {
        /// The session.
        id: String,
    },
    /// `PUT /api/v1/sessions/{id}`.
    SessionWrite {
        /// The session.
        id: String,
        /// What to store: a number that no other write of this run has.
        value: u64,
    },
    /// `PUT /api/v1/sessions/{id}` on a condition.
    SessionSwap {
        /// The session.
        id: String,
        /// What to store: a number that no other write of this run has.
        value: u64,
        /// The version to replace (`If-Match`); without one, the session is to be absent
        /// (`If-None-Match: *`).
        expected: Option<String>,
    },
    /// `DELETE /api/v1/sessions/{id}`.
    SessionDelete {
        /// The session.
        id: String,
    },
}

impl Request {
    /// Its class.
    #[must_use]
    pub const fn class(&self) -> Class {
        match self {
            Self::Listing { .. } => Class::Listing,
            Self::Search { .. } => Class::Search,
            Self::SessionRead { .. } => Class::SessionRead,
            Self::SessionWrite { .. } => Class::SessionWrite,
            Self::SessionSwap { .. } => Class::SessionSwap,
            Self::SessionDelete { .. } => Class::SessionDelete,
        }
    }

    /// The session that it is about.
    #[must_use]
    pub fn session(&self) -> Option<&str> {
        match self {
            Self::Listing { .. } | Self::Search { .. } => None,
            Self::SessionRead { id }
            | Self::SessionWrite { id, .. }
            | Self::SessionSwap { id, .. }
            | Self::SessionDelete { id } => Some(id),
        }
    }
}

/// How often each class comes, as weights.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Workload {
    /// Its name.
    pub name: &'static str,
    /// What it stands for.
    pub about: &'static str,
    weights: &'static [(Class, u32)],
}

impl Workload {
    /// The workloads there are.
    pub const ALL: [Self; 5] = [
        Self {
            name: "browse",
            about: "visitors look at listings and search; 100 reads for each write",
            weights: &[
                (Class::Listing, 760),
                (Class::Search, 200),
                (Class::SessionRead, 30),
                (Class::SessionWrite, 10),
            ],
        },
        Self {
            name: "mixed",
            about: "listings, searches and sessions in equal parts",
            weights: &[
                (Class::Listing, 250),
                (Class::Search, 250),
                (Class::SessionRead, 250),
                (Class::SessionWrite, 250),
            ],
        },
        Self { name: "listings", about: "listings by id only", weights: &[(Class::Listing, 1)] },
        Self {
            name: "sessions",
            about: "session reads and writes only",
            weights: &[(Class::SessionRead, 500), (Class::SessionWrite, 500)],
        },
        Self {
            name: "contention",
            about: "sessions created, replaced, compared and swapped, deleted and read, all at once",
            weights: &[
                (Class::SessionRead, 400),
                (Class::SessionWrite, 200),
                (Class::SessionSwap, 300),
                (Class::SessionDelete, 100),
            ],
        },
    ];

    /// The workload with this name.
    #[must_use]
    pub fn named(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|workload| workload.name == name)
    }

    /// The classes that it asks, in the order of reports.
    pub fn classes(&self) -> impl Iterator<Item = Class> {
        self.weights.iter().map(|(class, _weight)| *class)
    }

    /// Those classes with their share of the requests, in percent.
    pub fn shares(&self) -> impl Iterator<Item = (Class, f64)> {
        let total: u32 = self.weights.iter().map(|(_class, weight)| weight).sum();
        let percent = move |weight: u32| f64::from(weight) * 100.0 / f64::from(total);
        self.weights.iter().map(move |(class, weight)| (*class, percent(*weight)))
    }

    fn pick(&self, rng: &mut Rng) -> Class {
        let total: u64 = self.weights.iter().map(|(_class, weight)| u64::from(*weight)).sum();
        let mut left = rng.below(total.max(1));
        for (class, weight) in self.weights {
            let weight = u64::from(*weight);
            if left < weight {
                return *class;
            }
            left -= weight;
        }
        Class::Listing
    }
}

/// A listing that the mesh holds, seen before the load begins.
#[derive(Debug, Clone, PartialEq)]
pub struct Seen {
    /// Its id.
    pub id: String,
    /// `sale` or `rent`.
    pub listing_type: String,
    /// Its country and region, as in `IT:lombardia`.
    pub territory: String,
    /// Where it is.
    pub location: Option<(f64, f64)>,
}

/// Makes requests of a workload: listings by popularity (Zipf), places where listings are.
#[derive(Debug)]
pub struct Requests {
    workload: Workload,
    seen: Vec<Seen>,
    zipf: Zipf,
    territories: Vec<String>,
    sessions: u64,
    prefix: String,
    rng: Rng,
    writes: u64,
}

impl Requests {
    /// `seen` are the listings to ask for, in any order: which are popular depends on the seed.
    /// `sessions` is how many different sessions are used, spread over the territories of `seen`;
    /// `prefix` makes their ids differ from those of other runs.
    #[must_use]
    pub fn new(
        workload: Workload,
        mut seen: Vec<Seen>,
        sessions: u64,
        prefix: String,
        seed: u64,
    ) -> Self {
        let mut territories: Vec<String> = seen.iter().map(|one| one.territory.clone()).collect();
        territories.sort();
        territories.dedup();
        if territories.is_empty() {
            territories.push("IT:lombardia".to_owned());
        }
        let mut rng = Rng::for_element(seed, 0);
        shuffle(&mut seen, &mut rng);
        let zipf = Zipf::new(seen.len().max(1), 0.99);
        Self {
            workload,
            seen,
            zipf,
            territories,
            sessions: sessions.max(1),
            prefix,
            rng,
            writes: 0,
        }
    }

    /// What is asked.
    #[must_use]
    pub const fn workload(&self) -> &Workload {
        &self.workload
    }

    /// One write to each session, so that reads find all of them; none if the workload has no
    /// sessions.
    pub fn fill(&mut self) -> Vec<Request> {
        if self.workload.classes().all(|class| matches!(class, Class::Listing | Class::Search)) {
            return Vec::new();
        }
        (0..self.sessions).map(|number| self.write(number)).collect()
    }

    /// The next request.
    pub fn next_request(&mut self) -> Request {
        let class = self.workload.pick(&mut self.rng);
        match class {
            Class::SessionRead => {
                let number = self.rng.below(self.sessions);
                Request::SessionRead { id: self.session(number) }
            }
            Class::SessionWrite => {
                let number = self.rng.below(self.sessions);
                self.write(number)
            }
            Class::SessionSwap => {
                let number = self.rng.below(self.sessions);
                self.writes += 1;
                let id = self.session(number);
                Request::SessionSwap { id, value: self.writes, expected: None }
            }
            Class::SessionDelete => {
                let number = self.rng.below(self.sessions);
                Request::SessionDelete { id: self.session(number) }
            }
            Class::Listing | Class::Search => self.about_listing(class),
        }
    }

    fn write(&mut self, number: u64) -> Request {
        self.writes += 1;
        Request::SessionWrite { id: self.session(number), value: self.writes }
    }

    fn about_listing(&mut self, class: Class) -> Request {
        let rank = self.zipf.pick(self.rng.unit());
        match self.seen.get(rank) {
            Some(Seen { listing_type, location: Some((lat, lng)), .. })
                if class == Class::Search =>
            {
                Request::Search {
                    listing_type: listing_type.clone(),
                    lat: *lat,
                    lng: *lng,
                    radius_km: 1.0 + 4.0 * self.rng.unit(),
                }
            }
            Some(one) => Request::Listing { id: one.id.clone() },
            None => Request::Listing { id: listing_id(0) },
        }
    }

    fn session(&self, number: u64) -> String {
        let count = u64::try_from(self.territories.len()).unwrap_or(1).max(1);
        let territory = usize::try_from(number % count)
            .ok()
            .and_then(|index| self.territories.get(index))
            .map_or("IT:lombardia", String::as_str);
        let place = territory.to_ascii_lowercase().replacen(':', "-", 1);
        format!("{place}.{}-{number}", self.prefix)
    }
}

/// Fisher and Yates' shuffle.
fn shuffle<T>(items: &mut [T], rng: &mut Rng) {
    for end in (1..items.len()).rev() {
        let other = rng.below(u64::try_from(end + 1).unwrap_or(u64::MAX));
        items.swap(end, usize::try_from(other).unwrap_or(end));
    }
}

/// Zipf's law over ranks 0..n: rank k with probability proportional to 1/(k+1)^s, by a table of
/// cumulative weights.
#[derive(Debug)]
struct Zipf {
    cumulative: Vec<f64>,
}

impl Zipf {
    fn new(n: usize, s: f64) -> Self {
        let mut sum = 0.0;
        let mut rank = 0.0_f64;
        let cumulative = std::iter::repeat_with(|| {
            rank += 1.0;
            sum += rank.powf(-s);
            sum
        })
        .take(n)
        .collect();
        Self { cumulative }
    }

    fn pick(&self, unit: f64) -> usize {
        let total = self.cumulative.last().copied().unwrap_or_default();
        let wanted = unit * total;
        self.cumulative
            .partition_point(|sum| *sum <= wanted)
            .min(self.cumulative.len().saturating_sub(1))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn seen(count: usize) -> Vec<Seen> {
        (0..count)
            .map(|index| Seen {
                id: format!("l{index}"),
                listing_type: "sale".into(),
                territory: "IT:lazio".into(),
                location: Some((41.9, 12.5)),
            })
            .collect()
    }

    #[test]
    fn the_same_seed_asks_the_same() {
        let ask = |seed| {
            let workload = Workload::named("mixed").unwrap();
            let mut requests = Requests::new(workload, seen(50), 10, "p".into(), seed);
            (0..200).map(|_| requests.next_request()).collect::<Vec<_>>()
        };
        assert_eq!(ask(1), ask(1));
        assert_ne!(ask(1), ask(2));
        let mixed = Workload::named("mixed").unwrap();
        assert!(mixed.classes().all(|class| ask(1).iter().any(|one| one.class() == class)));
    }

    #[test]
    fn popularity_follows_zipf() {
        let zipf = Zipf::new(1_000, 0.99);
        let mut rng = Rng::for_element(7, 0);
        let first = (0..10_000).filter(|_| zipf.pick(rng.unit()) == 0).count();
        // 1 / H(1000, 0.99) = 0.129.
        assert!((1_100..1_500).contains(&first), "{first}");
        assert_eq!(zipf.pick(1.0), 999);
    }

    #[test]
    fn every_write_has_a_value_of_its_own() {
        let workload = Workload::named("contention").unwrap();
        let mut requests = Requests::new(workload, seen(1), 3, "p".into(), 1);
        let mut values: Vec<u64> = (0..100)
            .filter_map(|_| match requests.next_request() {
                Request::SessionWrite { value, .. } | Request::SessionSwap { value, .. } => {
                    Some(value)
                }
                _ => None,
            })
            .collect();
        let count = values.len();
        values.dedup();
        assert_eq!(values.len(), count);
    }

    #[test]
    fn every_session_is_written_before_it_is_read() {
        let ids = |requests: Vec<Request>| -> std::collections::BTreeSet<String> {
            requests.iter().filter_map(|one| one.session().map(str::to_owned)).collect()
        };
        let new = |name| Requests::new(Workload::named(name).unwrap(), seen(1), 7, "p".into(), 1);
        let mut requests = new("mixed");
        let filled = ids(requests.fill());
        assert_eq!(filled.len(), 7);
        assert!(filled.contains("it-lazio.p-0"));
        let asked = ids((0..500).map(|_| requests.next_request()).collect());
        assert!(asked.is_subset(&filled));
        assert_eq!(new("listings").fill(), []);
    }
}
