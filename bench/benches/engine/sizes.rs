//! Cost against size: every size in a process of its own, so that memory is that size's alone.

use std::process::{Command, Stdio};

use crate::{
    market::Market,
    options::Options,
    report::MarketReport,
    run::{Built, Wanted},
};

/// Different areas per kind of query.
const AREAS: usize = 100;

/// Measures all sizes, each in a child of this very program.
///
/// # Errors
/// When a child cannot be started, fails, or answers something else.
pub(crate) fn run(options: &Options) -> Result<Vec<MarketReport>, String> {
    let smallest = options.sizes.iter().copied().min().unwrap_or(0);
    options.sizes.iter().map(|size| child(options, *size, smallest)).collect()
}

fn child(options: &Options, size: usize, smallest: usize) -> Result<MarketReport, String> {
    let program = std::env::current_exe().map_err(|error| error.to_string())?;
    let density = if options.constant_density { "constant" } else { "growing" };
    let mut command = Command::new(program);
    command.args(["--bench", "--density", density]);
    let areas = options.areas.unwrap_or(AREAS);
    let numbers = [
        ("--listings", size as u64),
        ("--one-of-sizes", smallest as u64),
        ("--base", options.base as u64),
        ("--areas", areas as u64),
        ("--seed", options.seed),
    ];
    for (name, number) in numbers {
        command.arg(name).arg(number.to_string());
    }
    if !options.only.is_empty() {
        command.arg("--only").arg(options.only.join(","));
    }
    let output = command.stderr(Stdio::inherit()).output().map_err(|error| error.to_string())?;
    if !output.status.success() {
        return Err(format!("the run with {size} listings failed: {}", output.status));
    }
    serde_json::from_slice(&output.stdout).map_err(|error| error.to_string())
}

/// Measures one size and prints it for the parent.
pub(crate) fn run_child(options: &Options, smallest: usize) -> String {
    let market = if options.constant_density {
        Market::constant_density(options.seed, options.listings, options.base, smallest)
    } else {
        Market::plain(options.seed, options.listings)
    };
    let wanted =
        Wanted { areas: options.areas.unwrap_or(AREAS), only: &options.only, seed: options.seed };
    let built = Built::new(market);
    let mut report = built.report(built.lines(&wanted));
    report.cut_us = built.cut();
    serde_json::to_string(&report).expect("a report is JSON")
}
