use proptest::prelude::*;

use super::*;

fn append(text: &str) -> PurgeOp {
    PurgeOp::Append { targets: vec![PurgeTarget::Tag(text.to_owned())], soft: false }
}

fn ids(tail: &PurgeTail) -> Option<Vec<u64>> {
    match tail {
        PurgeTail::Next { entries, .. } => Some(entries.iter().map(|entry| entry.id.0).collect()),
        PurgeTail::Lost { .. } => None,
    }
}

/// A follower that does as the tails say.
#[derive(Default)]
struct Follower {
    position: Option<PurgeId>,
    /// The tags it was told to forget, and how often it had to forget everything.
    forgot: Vec<String>,
    lost: usize,
}

impl Follower {
    fn pull(&mut self, state: &PurgeState, bytes_max: usize) {
        loop {
            match state.after(self.position, bytes_max) {
                PurgeTail::Lost { head } => {
                    self.lost += 1;
                    self.forgot.clear();
                    self.position = Some(head);
                }
                PurgeTail::Next { entries, head } => {
                    for entry in entries {
                        assert_eq!(self.position.map(PurgeId::next), Some(entry.id), "a gap");
                        self.position = Some(entry.id);
                        if let [PurgeTarget::Tag(tag)] = &*entry.targets {
                            self.forgot.push(tag.clone());
                        }
                    }
                    if self.position == Some(head) {
                        return;
                    }
                }
            }
        }
    }
}

#[test]
fn numbers_follow_one_another_and_a_tail_begins_behind_the_position() {
    let mut state = PurgeState::default();
    assert_eq!(ids(&state.after(Some(PurgeId(0)), 1)), Some(vec![]));
    for (n, tag) in (1..).zip(["a", "b", "c"]) {
        let PurgeOutcome::Appended(entry) = state.apply(&append(tag), n * 10).unwrap();
        assert_eq!((entry.id, entry.at_ms), (PurgeId(n), n * 10));
    }
    assert_eq!(ids(&state.after(Some(PurgeId(1)), usize::MAX)), Some(vec![2, 3]));
    assert_eq!(ids(&state.after(Some(PurgeId(1)), 1)), Some(vec![2]), "one at least");
    assert_eq!(state.after(None, 1), PurgeTail::Lost { head: PurgeId(3) });
    assert_eq!(state.after(Some(PurgeId(4)), 1), PurgeTail::Lost { head: PurgeId(3) });
}

#[test]
fn what_is_too_large_is_refused_and_changes_nothing() {
    let mut state = PurgeState::default();
    let all = |count| PurgeOp::Append { targets: vec![PurgeTarget::All; count], soft: true };
    for op in [all(0), all(PURGE_TARGETS_MAX + 1), append(&"x".repeat(PURGE_BYTES_MAX))] {
        assert!(matches!(state.apply(&op, 1), Err(Refusal::Invalid(_))));
    }
    assert_eq!(state, PurgeState::default());
    assert!(state.apply(&all(PURGE_TARGETS_MAX), 1).is_ok());
}

#[test]
fn the_oldest_go_by_number_and_by_bytes() {
    let mut state = PurgeState::default();
    for _ in 0..PURGES_MAX + 3 {
        state.apply(&append("t"), 1).unwrap();
    }
    assert_eq!((state.len(), state.floor()), (PURGES_MAX, PurgeId(3)));
    assert_eq!(ids(&state.after(Some(PurgeId(2)), usize::MAX)), None);
    assert_eq!(ids(&state.after(Some(PurgeId(3)), 1)), Some(vec![4]));
    let large = append(&"x".repeat(PURGE_BYTES_MAX / 2));
    for _ in 0..100 {
        state.apply(&large, 1).unwrap();
        assert!(state.bytes() <= KEPT_BYTES_MAX, "{}", state.bytes());
    }
    assert!(state.len() < 100);
}

proptest! {
    /// Whoever pulls now and then, and lost nothing, was told exactly what was purged since, in order;
    /// whoever lost something was told so. Also with a state that went through a snapshot.
    #[test]
    fn a_follower_hears_of_everything_or_that_it_did_not(
        steps in proptest::collection::vec((0..3_u8, 0..40_000_usize), 1..60),
        bytes_max in 1..2_000_usize,
    ) {
        let mut state = PurgeState::default();
        let mut all: Vec<String> = Vec::new();
        let mut follower = Follower::default();
        follower.pull(&state, bytes_max);
        prop_assert_eq!(follower.lost, 1, "its first position is not known");
        let (mut since, mut before) = (0, 1);
        for (n, (step, bytes)) in steps.into_iter().enumerate() {
            match step {
                0 => {
                    follower.pull(&state, bytes_max);
                    if follower.lost > before {
                        (since, before) = (all.len(), follower.lost);
                    }
                    prop_assert_eq!(&follower.forgot, &all[since..]);
                    prop_assert_eq!(follower.position, Some(state.head()));
                }
                1 => {
                    // Many at once, so that some are lost.
                    for more in 0..bytes / 200 {
                        let tag = format!("{n}-{more}-{}", "x".repeat(bytes));
                        state.apply(&append(&tag), 1).unwrap();
                        all.push(tag);
                    }
                }
                _ => {
                    let mut restored = PurgeState::default();
                    state.items().for_each(|item| restored.restore(item));
                    prop_assert_eq!(&restored, &state);
                    state = restored;
                }
            }
            prop_assert_eq!(state.head(), PurgeId(all.len() as u64));
        }
    }
}
