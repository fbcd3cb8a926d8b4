//! The benchmark set of the listings engine: every kind of query, memory, cost against size, and
//! readers under updates, with a plain columnar scan as the yardstick in the same run.
//!
//! `cargo bench -p hexpop-bench --bench engine` measures a million synthetic listings, and the real
//! ones of `HEXPOP_TEST_DATA`; `-- --help` lists what else there is. Engine and scan must give the
//! same answer to every query before it is timed. Under `cargo test` that is all that is done, on a
//! small market.
//!
//! ```text
//! market ─> listings ─┬─> ShardIndex ─┬─> check (same answers) ─> measure ─> report ─> table, JSON
//!                     └─> scan ───────┘
//! ```

#![expect(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    reason = "a benchmark fails by panicking"
)]
#![expect(clippy::cast_possible_truncation, reason = "rows fit 32 bits, and amounts are checked")]
#![expect(clippy::print_stdout, clippy::print_stderr, reason = "data and progress")]

mod areas;
mod changes;
mod check;
mod clock;
mod copies;
mod engine;
mod market;
mod measure;
#[path = "../shared/clock.rs"]
mod now;
mod options;
mod publish;
mod queries;
mod report;
mod run;
mod scan;
mod sizes;
#[path = "../shared/spread.rs"]
mod spread;
mod table;
#[path = "../shared/text.rs"]
mod text;
mod updates;

use std::process::ExitCode;

use self::{
    changes::Changes,
    market::Market,
    options::{Options, USAGE},
    report::{Report, SCHEMA},
    run::{Built, Wanted},
    updates::Pace,
};

/// As in the server.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// Different areas per kind of query.
const AREAS: usize = 200;
/// Listings of the market with texts, at most.
const TEXT_LISTINGS: usize = 100_000;
/// Listings that answers are compared on under `cargo test`.
const CHECKED_LISTINGS: usize = 4_000;
/// Areas likewise.
const CHECKED_AREAS: usize = 20;

fn main() -> ExitCode {
    let options = match Options::parse(std::env::args().skip(1)) {
        Ok(options) => options,
        Err(error) => {
            eprintln!("{error}\n{USAGE}");
            return ExitCode::from(2);
        }
    };
    if options.check_only {
        check_answers(&options);
        return ExitCode::SUCCESS;
    }
    if let Some(smallest) = options.one_of_sizes {
        println!("{}", sizes::run_child(&options, smallest));
        return ExitCode::SUCCESS;
    }
    match measure_all(&options) {
        Ok(report) if report.updates.iter().any(|line| line.torn > 0) => {
            eprintln!("there were torn answers");
            ExitCode::FAILURE
        }
        Ok(_) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("{error}");
            ExitCode::FAILURE
        }
    }
}

fn measure_all(options: &Options) -> Result<Report, String> {
    let mut report =
        Report { schema: SCHEMA, markets: Vec::new(), updates: Vec::new(), sizes: Vec::new() };
    if options.queries || options.memory || options.updates {
        measure_synthetic(options, &mut report);
    }
    if let (Some(folder), true) = (&options.data, options.queries || options.memory) {
        let built = Built::new(Market::files(folder)?);
        measure_market(options, &built, &mut report);
    }
    if !options.sizes.is_empty() {
        report.sizes = sizes::run(options)?;
        print!("{}", table::sizes(&report.sizes));
    }
    if let Some(path) = &options.json {
        let text = serde_json::to_string_pretty(&report).map_err(|error| error.to_string())?;
        let say = |error| format!("{}: {error}", path.display());
        std::fs::write(path, text + "\n").map_err(say)?;
    }
    Ok(report)
}

fn wanted(options: &Options) -> Wanted<'_> {
    Wanted { areas: options.areas.unwrap_or(AREAS), only: &options.only, seed: options.seed }
}

fn measure_synthetic(options: &Options, report: &mut Report) {
    let built = Built::new(Market::plain(options.seed, options.listings));
    measure_market(options, &built, report);
    if options.queries || options.memory {
        let listings = options.listings.min(TEXT_LISTINGS);
        let texts = Built::new(Market::plain(options.seed, listings).with_texts());
        measure_market(options, &texts, report);
    }
    if options.updates {
        let mut maker = built.maker(&wanted(options));
        let kinds =
            [("Q4 facets", maker.facets_nearby()), ("Q1 by distance", maker.near_and_priced())];
        let mut changes = Changes::new(options.seed, options.listings);
        let pace = Pace {
            publish: options.publish.as_deref(),
            seconds: options.seconds,
            updates_per_second: options.updates_per_second,
        };
        report.updates = updates::run(built.index, &kinds, &mut changes, pace);
        print!("{}", table::updates(&report.updates));
    }
}

fn measure_market(options: &Options, built: &Built, report: &mut Report) {
    let lines = if options.queries { built.lines(&wanted(options)) } else { Vec::new() };
    let market = built.report(lines);
    if options.queries && !market.lines.is_empty() {
        print!("{}", table::queries(&market));
    }
    if options.memory {
        let columns = report.markets.first().map(|it| it.per_listing(it.index_bytes()));
        print!("{}", table::memory(&market, columns));
    }
    report.markets.push(market);
}

fn check_answers(options: &Options) {
    let seed = options.seed;
    let wanted = Wanted { areas: CHECKED_AREAS, ..wanted(options) };
    let markets = [
        Market::plain(seed, CHECKED_LISTINGS),
        Market::plain(seed, CHECKED_LISTINGS).with_texts(),
        Market::constant_density(seed, 3 * CHECKED_LISTINGS, CHECKED_LISTINGS, CHECKED_LISTINGS),
    ];
    for market in markets {
        println!("{} queries answered alike", Built::new(market).check(&wanted));
    }
}
