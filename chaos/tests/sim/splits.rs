//! A bug planted in how shards divide that no seed's own faults have found: requests are hardly ever repeated behind
//! a division there. Here links lose answers while sessions divide again and again.

use hexpop_chaos::sim::{Bug, Fault, FaultKind, Outcome, Settings, run_with};
use hexpop_shard::Space;

/// A seed whose world finds it.
const SEED: u64 = 3;

/// Links lose one message in ten, and the largest shard of sessions divides every second or so.
fn divisions_on_bad_links() -> Vec<Fault> {
    let bad_links = Fault { at_ms: 1_000, for_ms: 20_000, kind: FaultKind::BadLinks(100) };
    let divisions = (0..14).map(|nth| Fault {
        at_ms: 2_000 + nth * 1_300,
        for_ms: 0,
        kind: FaultKind::Divide(Space::Sessions),
    });
    [bad_links].into_iter().chain(divisions).collect()
}

fn world(bug: Option<Bug>) -> Outcome {
    let outcome = run_with(&Settings { bug, ..Settings::new(SEED) }, &divisions_on_bad_links());
    for violation in &outcome.violations {
        eprintln!("{bug:?}: {violation}");
    }
    outcome
}

#[test]
fn a_shard_that_split_off_and_forgot_what_was_carried_out_is_found() {
    let sound = world(None);
    assert!(sound.violations.is_empty());
    assert!(sound.coverage.get("splits-applied").is_some_and(|count| *count > 0));
    let forgetful = world(Some(Bug::SplitForgetsReplies));
    let first = forgetful.violations.first().map(|first| first.invariant);
    assert_eq!(first, Some("the history of clients"));
}
