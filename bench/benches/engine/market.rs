//! Where the listings come from.

use std::path::{Path, PathBuf};

use hexpop_bench::dataset::{CITIES, City, Generator, files};
use hexpop_shard::{LatLng, Listing, ListingColumns};
use serde_json::Value;

use crate::copies::{self, Copy};

/// Listings that can be gone through more than once, always the same.
pub(crate) struct Market {
    source: Source,
    listings: usize,
    texts: bool,
}

enum Source {
    /// The generator's market: the more listings, the denser.
    Plain { seed: u64 },
    /// Copies of a market of `base` listings, or the cities of one that make fewer.
    Copies { seed: u64, base: usize, cities: Vec<&'static City>, asked: Vec<&'static City> },
    /// Files of newline-delimited JSON.
    Files(Vec<PathBuf>),
}

/// A place that people search around, and how often.
pub(crate) type Anchor = (LatLng, u64);

impl Market {
    /// The generator's market of that size.
    pub(crate) fn plain(seed: u64, listings: usize) -> Self {
        Self { source: Source::Plain { seed }, listings, texts: false }
    }

    /// A market of that size as dense as one of `base` listings. Searches are around the cities
    /// that a market of `smallest` listings has too.
    pub(crate) fn constant_density(
        seed: u64,
        listings: usize,
        base: usize,
        smallest: usize,
    ) -> Self {
        let share = |size: usize| copies::cities((size as f64 / base as f64).min(1.0));
        let source = Source::Copies { seed, base, cities: share(listings), asked: share(smallest) };
        Self { source, listings, texts: false }
    }

    /// All `*.ndjson.gz` of a folder or of `listings/` in it.
    ///
    /// # Errors
    /// When the folder cannot be read or has none.
    pub(crate) fn files(folder: &Path) -> Result<Self, String> {
        let inner = folder.join("listings");
        let folder = if inner.is_dir() { inner } else { folder.to_owned() };
        let say = |error: std::io::Error| format!("{}: {error}", folder.display());
        let mut paths = Vec::new();
        for entry in std::fs::read_dir(&folder).map_err(say)? {
            let path = entry.map_err(say)?.path();
            if path.to_string_lossy().ends_with(".ndjson.gz") {
                paths.push(path);
            }
        }
        paths.sort();
        if paths.is_empty() {
            return Err(format!("{}: no *.ndjson.gz", folder.display()));
        }
        let lines = paths.iter().map(|path| files::open_lines(path).map_or(0, Iterator::count));
        Ok(Self { listings: lines.sum(), source: Source::Files(paths), texts: false })
    }

    /// The same market with titles and descriptions.
    pub(crate) fn with_texts(mut self) -> Self {
        self.texts = true;
        self
    }

    /// Whether listings keep titles and descriptions.
    pub(crate) const fn has_texts(&self) -> bool {
        self.texts
    }

    /// How many listings there are.
    pub(crate) const fn len(&self) -> usize {
        self.listings
    }

    /// Whether it is the market that the goals are about.
    pub(crate) const fn is_plain(&self) -> bool {
        matches!(self.source, Source::Plain { .. })
    }

    /// Whether as many listings lie around a place however many there are.
    pub(crate) const fn has_constant_density(&self) -> bool {
        matches!(self.source, Source::Copies { .. })
    }

    /// What it is, for people.
    pub(crate) fn describe(&self) -> String {
        let what = match &self.source {
            Source::Plain { .. } => "synthetic, density grows with size".to_owned(),
            Source::Copies { base, .. } => {
                format!("synthetic, constant density (that of {base} in 28 cities)")
            }
            Source::Files(paths) => format!("real, {} files", paths.len()),
        };
        let texts = if self.texts { "with texts" } else { "titles and descriptions left out" };
        format!("{what}; {texts}")
    }

    /// Places to search around; none when only the listings can tell.
    pub(crate) fn anchors(&self) -> Vec<Anchor> {
        let center = |city: &City| LatLng { lat: city.lat, lng: city.lng };
        match &self.source {
            Source::Plain { .. } => CITIES.iter().map(|city| (center(city), city.weight)).collect(),
            Source::Copies { base, asked, .. } => {
                // The last copy may be cut short.
                let whole = (self.listings / base).max(1);
                let places = (0..whole).map(Copy::new).flat_map(|copy| {
                    asked.iter().map(move |city| (copy.place(city, center(city)), city.weight))
                });
                places.collect()
            }
            Source::Files(_) => Vec::new(),
        }
    }

    /// Goes through all listings.
    pub(crate) fn for_each(&self, mut take: impl FnMut(&ListingColumns)) {
        match &self.source {
            Source::Plain { seed } => {
                let generator = Generator::new(*seed, 0);
                for index in 0..self.listings as u64 {
                    take(&self.parse_value(generator.listing(index)));
                }
            }
            Source::Copies { seed, base, cities, .. } => self.copies(*seed, *base, cities, take),
            Source::Files(paths) => {
                for line in paths.iter().flat_map(|path| files::open_lines(path).unwrap()) {
                    let (_, line) = line.unwrap_or_else(|error| panic!("{error}"));
                    take(&self.parse(&line));
                }
            }
        }
    }

    fn copies(
        &self,
        seed: u64,
        base: usize,
        cities: &[&City],
        mut take: impl FnMut(&ListingColumns),
    ) {
        let generator = Generator::new(seed, 0);
        let of_market = |listing: &Value| cities.iter().any(|city| listing["city"] == city.name);
        for (number, first) in (0..self.listings).step_by(base).enumerate() {
            let copy = Copy::new(number);
            let listings = (0..).map(|index| generator.listing(index)).filter(of_market);
            for listing in listings.take(base.min(self.listings - first)) {
                let mut listing = self.parse_value(listing);
                copy.transform(&mut listing);
                take(&listing);
            }
        }
    }

    fn parse_value(&self, mut listing: Value) -> ListingColumns {
        if let (false, Some(fields)) = (self.texts, listing.as_object_mut()) {
            for unused in ["title", "description", "media"] {
                fields.remove(unused);
            }
        }
        self.parse(listing.to_string().as_bytes())
    }

    fn parse(&self, json: &[u8]) -> ListingColumns {
        let listing = Listing::parse(json);
        let mut columns = listing
            .unwrap_or_else(|errors| panic!("{}: {errors:?}", String::from_utf8_lossy(json)))
            .columns;
        if !self.texts {
            columns.titles.clear();
            columns.descriptions.clear();
        }
        columns
    }
}
