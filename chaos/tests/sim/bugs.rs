//! Bugs planted on purpose: a recorded seed of each that was found, and the invariant that finds it.
//!
//! A change of behaviour makes other stories of all seeds. Which ones find the bugs then is what
//! `hexpop chaos sim --bugs --seeds 1..500` prints.

use hexpop_chaos::sim::{Bug, Settings, run};

const RECOVERY: &str = "a node starts again from its disk";
const STATES: &str = "equal positions mean equal states";
const REMEMBERED: &str = "votes are remembered over restarts";
const GRACE: &str = "votes are given once, and not right after a start";
const HISTORY: &str = "the history of clients";
const KEPT: &str = "what was acknowledged is kept over restarts";
const MAP: &str = "shard map";
const PLACES: &str = "where a listing is found, the directory points";
const ERASED: &str = "what was erased leaves the disks";
const RENEWED: &str = "no touch renews what is over";
const OVER: &str = "every erasure is over in time after the last fault";
const RECOVERED: &str = "the mesh recovers in time after the last fault";
const STAYS: &str = "what has to stay on some nodes is on no other";
const ONCE: &str = "one key makes one session";

/// Replays the seed that found a bug first.
fn assert_found(bug: Bug, seed: u64, invariant: &str) {
    assert_found_in(Settings::new(seed), bug, invariant);
}

/// As [`assert_found`], in a world of a special kind.
fn assert_found_in(world: Settings, bug: Bug, invariant: &str) {
    let outcome = run(&Settings { bug: Some(bug), ..world });
    for violation in &outcome.violations {
        eprintln!("{}: {violation}", bug.name());
    }
    assert_eq!(outcome.violations.first().map(|first| first.invariant), Some(invariant));
}

#[test]
fn an_acknowledgement_before_the_flush_is_found() {
    assert_found(Bug::AckBeforeFlush, 1, KEPT);
}

#[test]
fn a_forgotten_vote_is_found() {
    assert_found(Bug::ForgetVote, 1, REMEMBERED);
}

#[test]
fn entries_applied_twice_are_found() {
    assert_found(Bug::ApplyTwice, 1, STATES);
}

#[test]
fn a_strong_read_without_a_quorum_is_found() {
    assert_found(Bug::StrongWithoutQuorum, 3, HISTORY);
}

#[test]
fn an_old_epoch_that_is_accepted_is_found() {
    assert_found(Bug::AcceptOldEpoch, 2, MAP);
}

#[test]
fn a_tombstone_that_a_snapshot_dropped_is_found() {
    assert_found(Bug::DropTombstone, 1, STATES);
}

#[test]
fn a_torn_tail_that_is_accepted_is_found() {
    assert_found(Bug::AcceptTornTail, 7, RECOVERY);
}

#[test]
fn writes_of_a_log_in_another_order_are_found() {
    assert_found(Bug::ReorderWrites, 1, RECOVERY);
}

#[test]
fn a_race_in_the_directory_is_found() {
    assert_found(Bug::DirectoryRace, 2, PLACES);
}

#[test]
fn a_duplicate_proposal_is_found() {
    assert_found(Bug::DuplicateProposal, 2, HISTORY);
}

#[test]
fn a_vote_right_after_a_restart_is_found() {
    assert_found(Bug::VoteAfterRestart, 1, GRACE);
}

#[test]
fn a_wiped_node_that_keeps_its_id_is_found() {
    assert_found(Bug::WipedKeepsId, 1, KEPT);
}

#[test]
fn expiry_by_the_local_clock_is_found() {
    assert_found(Bug::LocalExpiry, 1, STATES);
}

#[test]
fn a_disk_that_is_confirmed_before_its_log_is_scrubbed_is_found() {
    assert_found(Bug::ConfirmBeforeScrub, 1, ERASED);
}

#[test]
fn an_erasure_that_snapshots_forget_is_found() {
    assert_found(Bug::ForgetErasure, 1, STATES);
}

#[test]
fn a_second_session_of_one_key_is_found() {
    assert_found(Bug::SecondSession, 5, ONCE);
}

#[test]
fn what_was_closed_with_now_for_its_time_is_found() {
    assert_found(Bug::ClosedIsNow, 12, HISTORY);
}

#[test]
fn a_lease_that_outlasts_the_voters_patience_is_found() {
    assert_found(Bug::LeaseTooLong, 4, HISTORY);
}

#[test]
fn a_touch_of_what_is_over_is_found() {
    assert_found(Bug::TouchRevives, 7, RENEWED);
}

#[test]
fn erasures_that_a_shard_that_split_off_forgets_are_found() {
    assert_found(Bug::SplitForgetsErasures, 2, OVER);
}

#[test]
fn a_sealed_shard_that_takes_writes_is_found() {
    let merging = Settings { merges: true, ..Settings::new(11) };
    assert_found_in(merging, Bug::SealedTakesWrites, HISTORY);
}

#[test]
fn a_shard_that_is_absorbed_for_a_merge_that_was_cancelled_is_found() {
    let merging = Settings { merges: true, ..Settings::new(11) };
    assert_found_in(merging, Bug::AbsorbAfterCancel, RECOVERED);
}

#[test]
fn a_move_to_where_the_territory_must_not_be_is_found() {
    let restricted = Settings { residency: true, ..Settings::new(1) };
    assert_found_in(restricted, Bug::MoveAnywhere, STAYS);
}

#[test]
fn a_vote_against_the_promise_to_the_leader_of_a_parked_group_is_found() {
    let lulls = Settings { lulls: true, ..Settings::new(2) };
    assert_found_in(lulls, Bug::VoteWhileParked, HISTORY);
}

#[test]
fn a_group_that_stays_parked_without_the_promises_of_a_quorum_is_found() {
    let lulls = Settings { lulls: true, ..Settings::new(7) };
    assert_found_in(lulls, Bug::ParkedWithoutQuorum, HISTORY);
}
