//! Shards that change, and what must be found in them.

use std::collections::{BTreeMap, BTreeSet};

use hexpop_shard::{
    DeleteItem, ItemOutcome, Listing, ListingRef, ListingsOp, ListingsOutcome, UpsertItem,
};
use serde_json::{Value, json};

use crate::{
    market::{self, Shard},
    oracle::Row,
    random,
    seeded::Seeded,
};

/// A listing as it should be stored.
#[derive(Debug, Clone)]
struct Copy {
    json: Value,
    shard: usize,
    version: u64,
    hidden: bool,
}

/// What was done, for whoever has to know what stayed as it was.
#[derive(Debug, Default)]
pub(crate) struct World {
    pub(crate) shards: Vec<Shard>,
    stored: BTreeMap<String, Copy>,
    /// Deleted ones, with the shard they were in and the version they were deleted with.
    buried: BTreeMap<String, (usize, u64)>,
    /// Listings that were written or deleted since [`World::forget_touched`].
    touched: BTreeSet<String>,
}

impl World {
    /// One to three shards with up to `listings` listings in them.
    pub(crate) fn new(seed: &mut Seeded, listings: usize) -> Self {
        let shards = (0..1 + seed.below(3)).map(|_| Shard::new()).collect();
        let mut world = Self { shards, ..Self::default() };
        for _ in 0..seed.below(listings) {
            world.insert(seed);
        }
        for _ in 0..seed.below(listings) {
            world.step(seed);
        }
        world
    }

    /// One shard of so many listings that its index has nodes above nodes, after `steps` changes.
    pub(crate) fn large(seed: &mut Seeded, listings: usize, steps: usize) -> Self {
        let mut world = Self { shards: vec![Shard::new()], ..Self::default() };
        for _ in 0..listings {
            world.insert(seed);
        }
        for _ in 0..steps {
            world.step(seed);
        }
        world
    }

    /// The listings that searches may find.
    pub(crate) fn rows(&self) -> Vec<Row> {
        let found = self.stored.values().filter(|copy| !copy.hidden);
        found.map(|copy| Row::new(random::without_nulls(copy.json.clone()))).collect()
    }

    /// The ids of listings that are stored, hidden or not.
    pub(crate) fn ids(&self) -> Vec<String> {
        self.stored.keys().cloned().collect()
    }

    pub(crate) fn forget_touched(&mut self) {
        self.touched.clear();
    }

    pub(crate) fn is_touched(&self, id: &str) -> bool {
        self.touched.contains(id)
    }

    /// One change of any kind.
    pub(crate) fn step(&mut self, seed: &mut Seeded) {
        match seed.below(10) {
            0..=2 => self.insert(seed),
            3..=5 => self.update(seed),
            6 | 7 => self.delete(seed),
            8 => self.reveal(seed),
            _ => self.come_back(seed),
        }
    }

    fn insert(&mut self, seed: &mut Seeded) {
        let id = format!("{}{}", seed.pick(&["l-", "L-", "é-", "l_"]), seed.below(10_000));
        if self.stored.contains_key(&id) || self.buried.contains_key(&id) {
            return;
        }
        let shard = seed.below(self.shards.len());
        self.write(seed, id, shard, 1);
    }

    fn any(&self, seed: &mut Seeded) -> Option<(String, Copy)> {
        let ids = self.ids();
        let id = (!ids.is_empty()).then(|| seed.pick(&ids).clone())?;
        self.stored.get(&id).map(|copy| (id.clone(), copy.clone()))
    }

    fn update(&mut self, seed: &mut Seeded) {
        let Some((id, old)) = self.any(seed) else { return };
        if seed.chance(25) {
            // Late news, which change nothing.
            let version = old.version - seed.below(2) as u64;
            let late = written(random::listing(seed, &id), version);
            let outcome = self.upsert(old.shard, market::parse(&late), seed.chance(20));
            assert!(matches!(outcome, ItemOutcome::Ignored { .. }), "{outcome:?}");
            return;
        }
        let version = old.version + 1 + seed.below(2) as u64;
        self.write(seed, id, old.shard, version);
    }

    fn delete(&mut self, seed: &mut Seeded) {
        let Some((id, old)) = self.any(seed) else { return };
        let listing = market::parse(&old.json);
        let item = DeleteItem { key: listing.key, id: id.clone(), version: listing.version };
        let items = vec![item];
        self.shards[old.shard].apply(2, &ListingsOp::Delete { items });
        self.touched.insert(id.clone());
        self.stored.remove(&id);
        self.buried.insert(id, (old.shard, old.version));
    }

    fn reveal(&mut self, seed: &mut Seeded) {
        let Some((id, old)) = self.any(seed) else { return };
        let listing = market::parse(&old.json);
        let item = ListingRef {
            key: listing.key,
            id: id.clone(),
            version: listing.version,
            position: None,
        };
        self.shards[old.shard].apply(2, &ListingsOp::Reveal { items: vec![item] });
        if old.hidden {
            self.touched.insert(id.clone());
        }
        if let Some(copy) = self.stored.get_mut(&id) {
            copy.hidden = false;
        }
    }

    fn come_back(&mut self, seed: &mut Seeded) {
        let ids: Vec<String> = self.buried.keys().cloned().collect();
        if ids.is_empty() {
            return;
        }
        let id = seed.pick(&ids).clone();
        let (shard, version) = self.buried[&id];
        if seed.chance(30) {
            let late = written(random::listing(seed, &id), version);
            let outcome = self.upsert(shard, market::parse(&late), false);
            assert!(matches!(outcome, ItemOutcome::Ignored { .. }), "{outcome:?}");
            return;
        }
        self.buried.remove(&id);
        self.write(seed, id, shard, version + 1);
    }

    /// Stores a new version of a listing, sometimes hidden.
    fn write(&mut self, seed: &mut Seeded, id: String, shard: usize, version: u64) {
        let mut json = random::listing(seed, &id);
        let old = self.stored.get(&id).cloned();
        if let Some(old) = old.as_ref().filter(|_| seed.chance(50)) {
            // At its old place.
            for name in ["location", "country", "region"] {
                json[name] = old.json.get(name).cloned().unwrap_or_default();
            }
        }
        let json = written(json, version);
        let listing = market::parse(&json);
        let stays =
            old.is_some_and(|old| !old.hidden && market::parse(&old.json).key == listing.key);
        let asked_hidden = seed.chance(15);
        let hidden = asked_hidden && !stays;
        let outcome = self.upsert(shard, listing, asked_hidden);
        let expected = if hidden { ItemOutcome::AppliedHidden } else { ItemOutcome::Applied };
        assert_eq!(outcome, expected);
        self.touched.insert(id.clone());
        self.stored.insert(id, Copy { json, shard, version, hidden });
    }

    fn upsert(&mut self, shard: usize, listing: Listing, hidden: bool) -> ItemOutcome {
        let items = vec![UpsertItem::new(listing, hidden)];
        match self.shards[shard].apply(1, &ListingsOp::Upsert { items }) {
            ListingsOutcome::Items(mut items) if items.len() == 1 => items.remove(0),
            other => panic!("{other:?}"),
        }
    }
}

fn written(mut json: Value, version: u64) -> Value {
    json["version"] = json!(version);
    json
}
