//! Bugs planted on purpose: one recorded seed each, and the invariant that finds it.

use hexpop_chaos::sim::{Bug, Settings, run};

const RECOVERY: &str = "a node starts again from its disk";
const STATES: &str = "equal positions mean equal states";
const REMEMBERED: &str = "votes are remembered over restarts";
const GRACE: &str = "votes are given once, and not right after a start";
const HISTORY: &str = "the history of clients";

/// Replays the seed that found a bug first.
fn assert_found(bug: Bug, seed: u64, invariant: &str) {
    let outcome = run(&Settings { bug: Some(bug), ..Settings::new(seed) });
    for violation in &outcome.violations {
        eprintln!("{}: {violation}", bug.name());
    }
    assert_eq!(outcome.violations.first().map(|first| first.invariant), Some(invariant));
}

#[test]
fn a_forgotten_vote_is_found() {
    assert_found(Bug::ForgetVote, 1, REMEMBERED);
}

#[test]
fn a_vote_right_after_a_restart_is_found() {
    assert_found(Bug::VoteAfterRestart, 1, GRACE);
}

#[test]
fn entries_applied_twice_are_found() {
    assert_found(Bug::ApplyTwice, 3, STATES);
}

#[test]
fn a_tombstone_that_a_snapshot_dropped_is_found() {
    assert_found(Bug::DropTombstone, 3, STATES);
}

#[test]
fn expiry_by_the_local_clock_is_found() {
    assert_found(Bug::LocalExpiry, 1, STATES);
}

#[test]
fn a_torn_tail_that_is_accepted_is_found() {
    assert_found(Bug::AcceptTornTail, 1, RECOVERY);
}

#[test]
fn reordered_writes_of_a_log_are_found() {
    assert_found(Bug::ReorderWrites, 1, RECOVERY);
}

#[test]
fn a_duplicate_proposal_is_found() {
    assert_found(Bug::DuplicateProposal, 3, HISTORY);
}
