use hexpop_edge_config::ShardId;

use super::*;
use crate::{LogPosition, ShardKey, listing::ListingVersion};

fn version(index: u64) -> RecordVersion {
    RecordVersion::at(ShardId(2), LogPosition { term: 1, index })
}

fn at(point: u64) -> DirectoryTarget {
    let territory = "IT:lombardia".parse().unwrap();
    DirectoryTarget::At(ShardKey::new(Space::Listings, &territory, point))
}

fn numbered(version: u64) -> ListingVersion {
    ListingVersion { version: Some(version), updated_at_us: None }
}

fn set(
    state: &mut DirectoryState,
    index: u64,
    now_ms: u64,
    expected: Option<u64>,
    target: DirectoryTarget,
    listing_version: ListingVersion,
) -> DirectoryChangeOutcome {
    let expected = expected.map(version);
    let change = DirectoryChange { id: "lst_1".into(), expected, target, listing_version };
    let op = DirectoryOp::CompareAndSet(vec![change]);
    let DirectoryOutcome::Compared(mut outcomes) =
        state.apply(&op, version(index), now_ms).unwrap();
    outcomes.remove(0)
}

#[test]
fn the_loser_of_a_race_learns_what_there_is() {
    let mut state = DirectoryState::default();
    let first = set(&mut state, 1, 0, None, at(5), numbered(7));
    assert_eq!(first, DirectoryChangeOutcome::Applied { version: version(1) });
    let second = set(&mut state, 2, 0, None, at(6), numbered(8));
    let current = state.get("lst_1").cloned();
    assert_eq!(second, DirectoryChangeOutcome::Conflict { current: current.clone() });
    assert_eq!(current.unwrap().target, at(5));
    let retried = set(&mut state, 3, 0, Some(1), at(6), numbered(8));
    assert_eq!(retried, DirectoryChangeOutcome::Applied { version: version(3) });
}

#[test]
fn older_versions_and_repeats_are_ignored() {
    let mut state = DirectoryState::default();
    set(&mut state, 1, 0, None, at(5), numbered(7));
    for (listing_version, target) in [(6, at(9)), (6, DirectoryTarget::Deleted), (7, at(5))] {
        let outcome = set(&mut state, 2, 0, Some(1), target, numbered(listing_version));
        assert!(matches!(outcome, DirectoryChangeOutcome::Ignored { .. }), "{outcome:?}");
    }
    // The same version elsewhere corrects a wrong entry, if the writer has seen that entry.
    let outcome = set(&mut state, 3, 0, Some(1), at(6), numbered(7));
    assert!(matches!(outcome, DirectoryChangeOutcome::Applied { .. }));
}

#[test]
fn a_tombstone_outlives_late_writes_and_then_goes() {
    let mut state = DirectoryState::default();
    set(&mut state, 1, 0, None, at(5), numbered(7));
    set(&mut state, 2, 50, Some(1), DirectoryTarget::Deleted, numbered(8));
    let late = set(&mut state, 3, 60, Some(2), at(5), numbered(7));
    assert!(matches!(late, DirectoryChangeOutcome::Ignored { .. }));
    assert_eq!(state.next_due_ms(), Some(50 + TOMBSTONE_RETENTION_MS));
    assert_eq!(state.expire_due(49 + TOMBSTONE_RETENTION_MS), 0);
    assert_eq!(state.expire_due(50 + TOMBSTONE_RETENTION_MS), 1);
    assert_eq!((state.len(), state.bytes(), state.next_due_ms()), (0, 0, None));
}

#[test]
fn an_id_that_comes_back_is_no_tombstone_any_more() {
    let mut state = DirectoryState::default();
    set(&mut state, 1, 0, None, DirectoryTarget::Deleted, numbered(8));
    set(&mut state, 2, 0, Some(1), at(5), numbered(9));
    assert_eq!(state.expire_due(u64::MAX), 0);
    assert_eq!(state.get("lst_1").unwrap().target, at(5));
}

#[test]
fn what_is_no_place_of_a_listing_is_refused() {
    let mut state = DirectoryState::default();
    let target = DirectoryTarget::At(ShardKey::directory("lst_1"));
    let change = DirectoryChange {
        id: "lst_1".into(),
        expected: None,
        target,
        listing_version: numbered(1),
    };
    let refused = state.apply(&DirectoryOp::CompareAndSet(vec![change]), version(1), 0);
    assert!(matches!(refused, Err(Refusal::Invalid(_))));
    assert!(state.is_empty());
}
