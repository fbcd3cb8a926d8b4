//! The data of a demo: files, or a synthetic market.

use std::{collections::BTreeMap, path::PathBuf, sync::Arc};

use hexpop_bench::dataset::{DEFAULT_SEED, Generator};
use hexpop_edge_config::Territory;
use hexpop_shard::ListingFormat;
use serde::Deserialize;

use super::super::{
    client::Client,
    error::{CliError, CliResult},
    import::{self, ImportOptions, Line, Source},
};

/// Territories that get shards of their own, at most; the largest first.
const TERRITORIES_MAX: usize = 32;

/// Where the listings come from, and what was seen in them.
#[derive(Debug)]
pub(super) struct Data {
    files: Vec<PathBuf>,
    synthetic: u64,
    counts: BTreeMap<Territory, u64>,
    example: Option<Example>,
    total: u64,
}

/// A listing for the commands to try.
#[derive(Debug, Clone)]
pub(super) struct Example {
    /// Its id.
    pub(super) id: String,
    /// `sale` or `rent`.
    pub(super) listing_type: String,
    /// Where it is.
    pub(super) location: (f64, f64),
}

/// What the demo itself reads of a listing.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Glimpse {
    id: String,
    listing_type: String,
    country: String,
    region: String,
    location: Option<Point>,
}

#[derive(Debug, Deserialize)]
struct Point {
    lat: f64,
    lng: f64,
}

impl Data {
    /// Reads through the data once: counts it by territory.
    pub(super) fn look(files: &[PathBuf], synthetic: u64) -> CliResult<Self> {
        if files.iter().any(|file| file.as_os_str() == "-") {
            return Err(CliError::usage("a demo reads its data twice, so not from standard input"));
        }
        let synthetic = if files.is_empty() { synthetic } else { 0 };
        let mut data = Self {
            files: files.to_vec(),
            synthetic,
            counts: BTreeMap::new(),
            example: None,
            total: 0,
        };
        let mut counts = BTreeMap::new();
        let mut example = None;
        let mut total = 0;
        for line in data.source() {
            let Ok(line) = line? else { continue };
            total += 1;
            // What is no listing is reported with its line when it is brought in.
            let Ok(glimpse) = serde_json::from_slice::<Glimpse>(&line.text) else { continue };
            if let Ok(territory) = format!("{}:{}", glimpse.country, glimpse.region).parse() {
                *counts.entry(territory).or_insert(0) += 1;
            }
            if example.is_none()
                && let Some(point) = glimpse.location
            {
                example = Some(Example {
                    id: glimpse.id,
                    listing_type: glimpse.listing_type,
                    location: (point.lat, point.lng),
                });
            }
        }
        data.counts = counts;
        data.example = example;
        data.total = total;
        Ok(data)
    }

    fn source(&self) -> Source<'_> {
        if !self.files.is_empty() {
            return import::lines_of(&self.files, ListingFormat::Native);
        }
        let file: Arc<str> = "synthetic".into();
        let lines = Generator::new(DEFAULT_SEED, self.synthetic).json().zip(1..);
        Box::new(lines.map(move |(text, number)| {
            Ok(Ok(Line { file: Arc::clone(&file), number, text: text.into() }))
        }))
    }

    /// The territories with most listings, in key order.
    pub(super) fn territories(&self) -> Vec<Territory> {
        let mut by_size: Vec<(&Territory, &u64)> = self.counts.iter().collect();
        by_size.sort_by(|a, b| b.1.cmp(a.1).then(a.0.cmp(b.0)));
        by_size.truncate(TERRITORIES_MAX);
        let mut largest: Vec<Territory> =
            by_size.into_iter().map(|(territory, _count)| territory.clone()).collect();
        largest.sort();
        largest
    }

    /// A listing for the commands to try.
    pub(super) fn example(&self) -> Option<Example> {
        self.example.clone()
    }

    /// Sends all of it to the nodes; answers how many listings the mesh took.
    pub(super) async fn bring_in(&self, clients: &[Client]) -> CliResult<u64> {
        let bar = import::progress_bar(Some(self.total));
        let options = ImportOptions { complete: true, ..ImportOptions::default() };
        let outcome = import::run(self.source(), clients, &options, &bar).await;
        bar.finish_and_clear();
        let report = outcome?;
        for line in report.rejected.iter().take(10) {
            super::note(&format!("{}:{}: {}", line.file, line.line, line.error));
        }
        if report.rejected_total > 0 {
            super::note(&format!("{} lines were rejected", report.rejected_total));
        }
        Ok(report.accepted + report.ignored)
    }
}
