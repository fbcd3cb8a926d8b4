//! A stream of single-row updates: prices, states, moves, listings that go and come back.

use hexpop_bench::dataset::{Generator, Rng};
use hexpop_shard::{Listing, ListingColumns, ShardIndex, Status};

use crate::engine;

/// Different listings that are updated.
const POOL: usize = 20_000;
/// How far a moved listing goes, in degrees.
const MOVE_DEGREES: f64 = 0.002;

/// Changes listings of a plain market.
pub(crate) struct Changes {
    rng: Rng,
    pool: Vec<(ListingColumns, bool)>,
}

/// One update.
pub(crate) enum Change {
    /// Store the listing, in place of the one with its id if there is one.
    Insert(Box<ListingColumns>),
    /// Take it away.
    Remove(String),
}

impl Change {
    /// Applies it.
    pub(crate) fn apply(&self, index: &mut ShardIndex) {
        match self {
            Self::Insert(listing) => engine::insert(index, listing),
            Self::Remove(id) => engine::remove(index, id),
        }
    }
}

impl Changes {
    /// Of the market of that seed and size.
    pub(crate) fn new(seed: u64, listings: usize) -> Self {
        let generator = Generator::new(seed, 0);
        let step = (listings / POOL).max(1);
        let pool = (0..listings).step_by(step).map(|number| {
            let text = generator.listing(number as u64).to_string();
            let mut columns = Listing::parse(text.as_bytes()).expect("a valid listing").columns;
            columns.titles.clear();
            columns.descriptions.clear();
            (columns, true)
        });
        Self { rng: Rng::new(seed), pool: pool.collect() }
    }

    /// The next update.
    pub(crate) fn next(&mut self) -> Change {
        let at = usize::try_from(self.rng.below(self.pool.len() as u64)).unwrap();
        let (listing, stored) = &mut self.pool[at];
        let kind = self.rng.below(10);
        if !*stored {
            // It comes back as it was.
            *stored = true;
        } else if kind < 2 {
            *stored = false;
            return Change::Remove(listing.id.clone());
        } else if kind < 5 {
            listing.status = match listing.status {
                Status::Active => Status::UnderOffer,
                _ => Status::Active,
            };
        } else if kind < 6 {
            if let Some(place) = &mut listing.location {
                place.lat += (self.rng.unit() - 0.5) * MOVE_DEGREES;
                place.lng += (self.rng.unit() - 0.5) * MOVE_DEGREES;
            }
        } else if let Some(price) = &mut listing.price {
            price.amount = (price.amount * (0.9 + 0.2 * self.rng.unit())).round();
        }
        Change::Insert(Box::new(listing.clone()))
    }
}
