//! A believable market of listings, made from a seed; and the reading of listings from files.
//!
//! [`Generator`] gives the same bytes for the same seed on every machine and in every release, so
//! that a demo, a test and two benchmark runs talk about the same listings. [`CITIES`] is also what
//! a workload takes its geography from. [`files`] reads newline-delimited JSON, plain or gzipped.
//!
//! Everything but [`files`] is pure: no clock, no file, no randomness but the seed's.
//!
//! ```
//! use hexpop_bench::dataset::Generator;
//!
//! let mut listings = Generator::new(7, 100);
//! assert_eq!(listings.len(), 100);
//! let first = listings.next().unwrap();
//! assert_eq!(first["id"], "lst_000000");
//! assert_eq!(Generator::new(7, 100).next().unwrap(), first);
//! ```

mod city;
pub mod files;
mod generator;
mod listing;
mod property;
mod rng;
mod words;

pub use city::{CITIES, City, Neighborhood, city_by_name, sample_city, territories};
pub use generator::{DEFAULT_SEED, Generator, LISTINGS_MAX, listing_id};
pub use rng::Rng;
