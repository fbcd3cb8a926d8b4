//! Runs simulated worlds: `sim FIRST [LAST] [BUG] [trace]`, for campaigns without the whole binary. With
//! a bug it stops at the first seed that finds it.

#![expect(clippy::print_stdout, reason = "a command of developers")]

use hexpop_chaos::sim::{Bug, Settings, run};

fn main() {
    let mut seeds = Vec::new();
    let mut settings = Settings::new(0);
    for argument in std::env::args().skip(1) {
        match (argument.parse::<u64>(), Bug::from_name(&argument)) {
            (Ok(seed), _) => seeds.push(seed),
            (Err(_), Some(bug)) => settings.bug = Some(bug),
            (Err(_), None) => settings.is_traced = true,
        }
    }
    let first = seeds.first().copied().unwrap_or(1);
    let last = seeds.get(1).copied().unwrap_or(first);
    let mut coverage = std::collections::BTreeMap::<&str, u64>::new();
    for seed in first..=last {
        settings.seed = seed;
        let outcome = run(&settings);
        outcome.lines.iter().for_each(|line| println!("{line}"));
        outcome
            .coverage
            .iter()
            .for_each(|(name, count)| *coverage.entry(name).or_default() += count);
        if settings.bug.is_none() || !outcome.violations.is_empty() {
            println!(
                "seed {seed}: {:016x}, {:?} simulated, {} polls, {} violations",
                outcome.trace_hash,
                outcome.simulated,
                outcome.polls,
                outcome.violations.len()
            );
        }
        outcome.violations.iter().take(2).for_each(|violation| println!("{violation}"));
        if settings.bug.is_some() && !outcome.violations.is_empty() {
            return;
        }
    }
    coverage.iter().for_each(|(name, count)| println!("coverage {name} {count}"));
}
