//! Random histories of merges among splits, moves, erasures and crashes, with messages that are lost,
//! repeated and reordered, against what a single map of keys to values would say.
//!
//! Consensus is taken for granted, as in the model of splits: a group's log is the same for all its
//! replicas, and what is appended is committed. Replicas apply it each in their own time, crash back to
//! their last snapshot, and stage on the disks of their nodes what they were behind a seal. Whoever drives
//! a merge remembers nothing but the operation, so that it dies at every step; what it proposes comes late,
//! again, or never, also when the operation is long over. After every step:
//!
//! - the map of the meta group tiles the keyspace, and so do the ranges that the logs give the shards, but
//!   for one that is absorbed;
//! - no key has two shards that take writes for it;
//! - every key has the value that was stored last, in the one shard that holds it;
//! - a request that was carried out is not carried out again, nor a create, wherever its repeat goes;
//! - replicas of a group that have applied the same entries have the same state.
//!
//! Once an erasure has been confirmed by all shards there are, nothing of the user is left that was there
//! before it. At the end every operation is over, and every key takes writes.
//!
//! `HEXPOP_MERGE_SEED=N` runs one history again. The bugs that are planted below are found each by one of
//! these.

mod check;
mod clients;
mod driver;
mod replicas;
mod world;

use std::panic::{AssertUnwindSafe, catch_unwind};

use hexpop_edge_config::planted::{self, Bug};

use self::world::{Slip, Tally, World};

const HISTORIES: u64 = 10_000;
const STEPS: usize = 120;

/// How many histories a planted bug may stay hidden in.
const FOUND_WITHIN: u64 = 2_000;

fn run(seed: u64, slip: Slip) -> Tally {
    let mut world = World::new(seed, slip);
    world.divide_at_first();
    for _ in 0..STEPS {
        world.step();
        world.check();
    }
    world.heal();
    world.check();
    world.tally
}

#[test]
fn random_histories_with_merges_keep_every_invariant() {
    if let Some(seed) = std::env::var("HEXPOP_MERGE_SEED").ok().and_then(|seed| seed.parse().ok()) {
        println!("{:?}", run(seed, Slip::None));
        return;
    }
    let mut tally = Tally::default();
    for seed in 0..HISTORIES {
        tally.add(&run(seed, Slip::None));
    }
    println!("{HISTORIES} histories, seeds 0 to {}: {tally:?}", HISTORIES - 1);
    let Tally { splits, moves, erasures, sealed, .. } = tally;
    for often in [tally.merges, splits, moves, erasures, sealed] {
        assert!(often > HISTORIES / 4, "{tally:?}");
    }
    for seldom in [tally.merges_amid, tally.cancelled, tally.unfit, tally.blocked] {
        assert!(seldom > HISTORIES / 100, "{tally:?}");
    }
}

/// Runs histories until one breaks that invariant; some break another one first.
fn assert_found(bug: Option<Bug>, slip: Slip, invariant: &str) {
    for seed in 0..FOUND_WITHIN {
        planted::plant(bug);
        let found = catch_unwind(AssertUnwindSafe(|| run(seed, slip)));
        planted::plant(None);
        let text = found.err().and_then(|panic| panic.downcast_ref::<String>().cloned());
        if text.is_some_and(|text| text.contains(invariant)) {
            return;
        }
    }
    panic!("{bug:?} {slip:?} is not found in {FOUND_WITHIN} histories");
}

#[test]
fn a_sealed_shard_that_takes_writes_is_found() {
    assert_found(Some(Bug::SealedTakesWrites), Slip::None, "was stored last");
}

#[test]
fn an_absorption_after_the_cancel_is_found() {
    assert_found(Some(Bug::AbsorbAfterCancel), Slip::None, "two shards take writes");
}

#[test]
fn replies_that_a_merge_forgets_are_found() {
    assert_found(Some(Bug::MergeForgetsReplies), Slip::None, "was stored twice");
}

#[test]
fn an_erasure_that_one_of_the_shards_missed_is_found() {
    assert_found(Some(Bug::MergeIgnoresErasures), Slip::None, "is erased and still there");
}

#[test]
fn a_driver_that_unseals_before_it_cancels_is_found() {
    assert_found(None, Slip::UnsealFirst, "two shards take writes");
}

#[test]
fn a_shard_that_is_retired_before_it_is_absorbed_is_found() {
    assert_found(None, Slip::RetireEarly, "nobody holds");
}

#[test]
fn a_replica_that_goes_on_without_what_it_absorbs_is_found() {
    assert_found(None, Slip::SkipUnstaged, "replicas differ");
}
