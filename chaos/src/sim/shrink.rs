//! Makes the schedule of a failure smaller: faults that it does not need go.

use super::{Fault, Settings, run_with};

/// The smallest part of `faults` that was found to still violate `invariant` within `runs_max` runs of
/// the world: halves go first, then one fault at a time (delta debugging, Zeller 1999).
#[must_use]
pub fn shrink(settings: &Settings, faults: &[Fault], invariant: &str, runs_max: u32) -> Vec<Fault> {
    let mut kept = faults.to_vec();
    let mut piece = kept.len().div_ceil(2);
    let mut runs = 0;
    while piece > 0 && runs < runs_max {
        let mut start = 0;
        while start < kept.len() && runs < runs_max {
            let rest: Vec<Fault> = kept
                .iter()
                .enumerate()
                .filter(|(at, _)| !(start..start + piece).contains(at))
                .map(|(_, fault)| fault.clone())
                .collect();
            runs += 1;
            let outcome = run_with(settings, &rest);
            if outcome.violations.first().is_some_and(|first| first.invariant == invariant) {
                kept = rest;
            } else {
                start += piece;
            }
        }
        piece /= 2;
    }
    kept
}
