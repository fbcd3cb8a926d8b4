//! Listings by number: any of them at once, or all in order.

use serde_json::Value;

use super::{listing, rng::Rng};

/// The seed that the demo and the stand-in origin use when none is given.
pub const DEFAULT_SEED: u64 = 42;

/// The most listings a generator makes: ids keep six digits.
pub const LISTINGS_MAX: u64 = 1_000_000;

/// The id of listing `index`, such as `lst_000042`.
#[must_use]
pub fn listing_id(index: u64) -> String {
    format!("lst_{index:06}")
}

/// Makes the listings of a synthetic market, in order of their ids.
///
/// A listing depends on the seed and its own number only: a larger market begins with the smaller
/// one, and [`listing`](Self::listing) makes any of them without the others.
#[derive(Debug, Clone)]
pub struct Generator {
    seed: u64,
    next: u64,
    end: u64,
}

impl Generator {
    /// A market of `count` listings, at most [`LISTINGS_MAX`].
    #[must_use]
    pub const fn new(seed: u64, count: u64) -> Self {
        let end = if count < LISTINGS_MAX { count } else { LISTINGS_MAX };
        Self { seed, next: 0, end }
    }

    /// Listing `index` as a JSON object, whether or not the iteration is already past it.
    #[must_use]
    pub fn listing(&self, index: u64) -> Value {
        listing::make(index, &mut Rng::for_element(self.seed, index))
    }

    /// The same listings as JSON texts without line ends.
    pub fn json(self) -> impl ExactSizeIterator<Item = Vec<u8>> {
        self.map(|listing| listing.to_string().into_bytes())
    }
}

impl Iterator for Generator {
    type Item = Value;

    fn next(&mut self) -> Option<Value> {
        (self.next < self.end).then(|| {
            let index = self.next;
            self.next += 1;
            self.listing(index)
        })
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        let left = usize::try_from(self.end - self.next).unwrap_or(usize::MAX);
        (left, Some(left))
    }
}

impl ExactSizeIterator for Generator {}

#[cfg(test)]
mod tests {
    use std::collections::{BTreeMap, BTreeSet};

    use super::*;
    use crate::dataset::{CITIES, city_by_name, territories};

    /// FNV-1a over every byte, line ends included.
    fn fingerprint(generator: Generator) -> u64 {
        generator.json().fold(0xcbf2_9ce4_8422_2325_u64, |hash, mut line| {
            line.push(b'\n');
            line.iter().fold(hash, |hash, byte| {
                (hash ^ u64::from(*byte)).wrapping_mul(0x0000_0100_0000_01b3)
            })
        })
    }

    fn number(listing: &Value, pointer: &str) -> f64 {
        listing.pointer(pointer).and_then(Value::as_f64).unwrap()
    }

    #[test]
    fn the_same_seed_gives_the_same_bytes_for_ever() {
        assert_eq!(fingerprint(Generator::new(42, 2_000)), 15_568_965_375_893_771_310);
        assert_ne!(fingerprint(Generator::new(1, 50)), fingerprint(Generator::new(2, 50)));
    }

    #[test]
    fn a_listing_does_not_depend_on_the_others() {
        let generator = Generator::new(5, 100);
        let all: Vec<Value> = generator.clone().collect();
        assert_eq!(all.len(), 100);
        assert_eq!(generator.listing(42), all[42]);
        assert_eq!(Generator::new(5, 43).last().unwrap(), all[42]);
        assert_eq!(Generator::new(5, u64::MAX).len() as u64, LISTINGS_MAX);
    }

    #[test]
    fn the_listing_of_the_examples_is_on_the_market() {
        let listing = Generator::new(DEFAULT_SEED, 20_000).listing(42);
        assert_eq!(listing["id"], "lst_000042");
        assert_eq!(listing["status"], "active");
    }

    #[test]
    fn required_fields_are_there_and_values_make_sense() {
        let known: BTreeSet<String> = territories().into_iter().collect();
        for listing in Generator::new(9, 3_000) {
            let text = |name: &str| listing[name].as_str().unwrap().to_owned();
            assert!(known.contains(&format!("{}:{}", text("country"), text("region"))));
            let city = city_by_name(&text("city")).unwrap();
            assert!(number(&listing, "/price/amount") > 0.0, "{listing}");
            assert_eq!(listing["price"]["currency"], city.currency);
            let rent = text("listingType") == "rent";
            assert_eq!(listing["price"].get("period").is_some(), rent, "{listing}");
            if listing.get("location").is_some() {
                assert!((number(&listing, "/location/lat") - city.lat).abs() < 0.2);
                assert!((number(&listing, "/location/lng") - city.lng).abs() < 0.3);
            }
            assert!(listing["version"].as_u64().unwrap() >= 1);
            assert!(text("updatedAt") >= text("publishedAt"));
            assert!(listing["title"][city.language].as_str().unwrap().len() > 5);
        }
    }

    #[test]
    fn every_word_occurs_and_every_optional_field_is_missing_somewhere() {
        let mut words: BTreeMap<&str, BTreeSet<String>> = BTreeMap::new();
        let mut present: BTreeMap<String, usize> = BTreeMap::new();
        for listing in Generator::new(11, 20_000) {
            for name in ["listingType", "propertyType", "status", "energyRating", "city", "source"]
            {
                if let Some(word) = listing[name].as_str() {
                    words.entry(name).or_default().insert(word.to_owned());
                }
            }
            if let Some(period) = listing["price"]["period"].as_str() {
                words.entry("period").or_default().insert(period.to_owned());
            }
            for name in listing.as_object().unwrap().keys() {
                *present.entry(name.clone()).or_default() += 1;
            }
        }
        let count = |name: &str| words[name].len();
        assert_eq!(count("listingType"), 3);
        assert_eq!(count("propertyType"), 11);
        assert_eq!(count("status"), 8);
        assert_eq!(count("energyRating"), 7);
        assert_eq!(count("period"), 4);
        assert_eq!(count("city"), CITIES.len());
        for name in
            ["location", "sqMeters", "rooms", "floor", "yearBuilt", "neighborhood", "agentId"]
        {
            assert!((1_000..20_000).contains(&present[name]), "{name} {}", present[name]);
        }
    }

    #[test]
    fn prices_are_skewed_and_follow_the_city() {
        let flats = |name: &str| {
            let mut prices: Vec<f64> = Generator::new(13, 30_000)
                .filter(|listing| {
                    listing["city"] == name
                        && listing["listingType"] == "sale"
                        && listing["propertyType"] == "apartment"
                })
                .map(|listing| number(&listing, "/price/amount"))
                .collect();
            prices.sort_by(f64::total_cmp);
            prices
        };
        let milan = flats("Milano");
        let median = milan[milan.len() / 2];
        let mean = milan.iter().sum::<f64>() / milan.len() as f64;
        assert!((250_000.0..700_000.0).contains(&median), "{median}");
        assert!(mean > 1.05 * median, "{mean} {median}");
        let turin = flats("Torino");
        assert!(turin[turin.len() / 2] < median);
    }
}
