//! One market: built, compared, timed.

use std::time::Duration;

use hexpop_shard::{IndexView, ShardIndex};

use crate::{
    areas::Areas,
    check, clock, engine,
    market::Market,
    measure::{resident_bytes, spread},
    queries::{Ask, Kind, Maker},
    report::{MarketReport, Part, QueryLine},
    scan::{Builder, Scan},
    spread::Spread,
};

/// What one kind of query may take before its rounds end, for engine and scan each.
const BUDGET: Duration = Duration::from_secs(4);
/// Bytes of an id, generously.
const ID_BYTES: usize = 16;

/// Listings that are cut off, about.
const CUT_LISTINGS: usize = 2_000;

/// Listings stored before memory is looked at.
const WARM_UP_LISTINGS: usize = 2_000;

/// A market in memory.
pub(crate) struct Built {
    pub(crate) market: Market,
    pub(crate) index: ShardIndex,
    pub(crate) scan: Scan,
    insert: Duration,
    resident_bytes: usize,
}

/// Which queries, and how many.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Wanted<'a> {
    pub(crate) areas: usize,
    pub(crate) only: &'a [String],
    pub(crate) seed: u64,
}

impl Built {
    /// Stores all listings, in an index and in a scan.
    pub(crate) fn new(market: Market) -> Self {
        eprintln!("storing {} listings: {}", market.len(), market.describe());
        warm_up();
        let mut builder = Builder::with_capacity(market.len(), ID_BYTES, market.has_texts());
        let mut index = ShardIndex::default();
        let mut insert = Duration::ZERO;
        let before = resident_bytes();
        market.for_each(|listing| {
            builder.push(listing);
            insert += clock::timed(|| engine::insert(&mut index, listing)).1;
        });
        let grown = resident_bytes().saturating_sub(before);
        let resident_bytes = grown.saturating_sub(builder.heap_bytes());
        Self { market, index, scan: builder.finish(), insert, resident_bytes }
    }

    /// Cuts the last listings of the key range off; microseconds per listing.
    pub(crate) fn cut(mut self) -> Option<f64> {
        let range = engine::last_keys(self.index.view(), CUT_LISTINGS)?;
        let (moved, seconds) = clock::worked(|| engine::cut(&mut self.index, &range));
        Some(seconds * 1e6 / moved as f64)
    }

    /// What makes queries for this market.
    pub(crate) fn maker(&self, wanted: &Wanted<'_>) -> Maker<'_> {
        Maker {
            areas: Areas::new(wanted.seed, self.market.anchors(), &self.scan),
            index: self.index.view(),
            scan: &self.scan,
            count: wanted.areas,
        }
    }

    /// Compares and times every kind of query.
    pub(crate) fn lines(&self, wanted: &Wanted<'_>) -> Vec<QueryLine> {
        let kinds = self.maker(wanted).kinds(self.market.has_texts(), wanted.only);
        kinds.iter().filter_map(|kind| self.line(kind)).collect()
    }

    /// Compares the answers to every kind of query; gives how many there were.
    pub(crate) fn check(&self, wanted: &Wanted<'_>) -> usize {
        let kinds = self.maker(wanted).kinds(self.market.has_texts(), wanted.only);
        kinds
            .iter()
            .map(|kind| check::same_answers(kind, self.index.view(), &self.scan).len())
            .sum()
    }

    /// `None` when the market has nothing to ask for.
    fn line(&self, kind: &Kind) -> Option<QueryLine> {
        if kind.asks.is_empty() {
            return None;
        }
        eprintln!("  {} {}", kind.name, kind.what);
        // This is also the pass that warms up.
        let mut matches = check::same_answers(kind, self.index.view(), &self.scan);
        matches.sort_unstable();
        let engine = self.time(kind, |ask| run_engine(self.index.view(), ask));
        let scan = self.time(kind, |ask| run_scan(&self.scan, ask));
        Some(QueryLine {
            name: kind.name.to_owned(),
            what: kind.what.to_owned(),
            queries: kind.asks.len(),
            matches: matches[matches.len() / 2],
            engine_p50_ms: engine.p50 * 1e3,
            engine_p99_ms: engine.p99 * 1e3,
            scan_p50_ms: scan.p50 * 1e3,
            goal_ms: kind.goal_ms,
            constant: kind.constant && self.market.has_constant_density(),
        })
    }

    #[expect(clippy::unused_self, reason = "reads as what it is about")]
    fn time(&self, kind: &Kind, run: impl Fn(&Ask)) -> Spread {
        spread(kind.asks.len(), BUDGET, |query| run(&kind.asks[query]))
    }

    /// All that is known of it.
    pub(crate) fn report(&self, lines: Vec<QueryLine>) -> MarketReport {
        let parts = engine::memory(self.index.view());
        let named = parts.into_iter().map(|(name, bytes)| Part { name: name.to_owned(), bytes });
        let listings = self.market.len();
        MarketReport {
            market: self.market.describe(),
            listings,
            has_goals: self.market.is_plain() && listings >= 1_000_000,
            has_texts: self.market.has_texts(),
            insert_us: self.insert.as_secs_f64() * 1e6 / listings.max(1) as f64,
            cut_us: None,
            resident_bytes: self.resident_bytes,
            scan_bytes: self.scan.column_bytes(),
            parts: named.collect(),
            lines,
        }
    }
}

/// Stores a few listings for nothing: code and the allocator's first pages are then not taken for
/// memory of the index.
fn warm_up() {
    let mut index = ShardIndex::default();
    Market::plain(0, WARM_UP_LISTINGS).for_each(|listing| engine::insert(&mut index, listing));
}

fn run_engine(index: &IndexView, ask: &Ask) {
    match ask {
        Ask::Search(query, _) => {
            std::hint::black_box(engine::search(index, query));
        }
        Ask::Clusters(query) => {
            std::hint::black_box(engine::clusters(index, query));
        }
        Ask::Suggest(query) => {
            std::hint::black_box(engine::suggest(index, query));
        }
    }
}

fn run_scan(scan: &Scan, ask: &Ask) {
    match ask {
        Ask::Search(query, after) => {
            std::hint::black_box(scan.search(query, *after));
        }
        Ask::Clusters(query) => {
            std::hint::black_box(scan.clusters(query));
        }
        Ask::Suggest(query) => {
            std::hint::black_box(scan.suggest(query));
        }
    }
}
