use std::collections::BTreeMap;

use hexpop_edge_config::{NodeId, RaftId, ShardId};
use proptest::prelude::*;

use super::*;
use crate::{
    Condition, ERASURE_RETENTION_MS, ErasureId, ErasureNote, IdempotencyKey, LogPosition,
    OriginAnswer, Reply, Sealed, SessionLimits,
};

const HOUR: u64 = 3_600_000;

fn id(token: &str) -> SessionId {
    format!("it-lombardia.{token}").parse().unwrap()
}

fn version(index: u64) -> RecordVersion {
    RecordVersion::at(ShardId(17), LogPosition { term: 3, index })
}

/// The one key of a user.
fn key_of(user: &str) -> WrappedKey {
    let id = user.bytes().fold(0, |id, byte| id * 256 + u64::from(byte));
    WrappedKey { id, by: "k".into(), bytes: format!("wrapped for {user}").into_bytes() }
}

fn sealed(user: &str) -> Sealed {
    Sealed { key_id: key_of(user).id, bytes: b"v".to_vec() }
}

fn erase(user: &str, number: u8) -> SessionOp {
    SessionOp::EraseUser { user: user.into(), erasure: ErasureId([number; 16]), begun_ms: 0 }
}

fn erase_begun_at(begun_ms: u64, user: &str, number: u8) -> SessionOp {
    SessionOp::EraseUser { user: user.into(), erasure: ErasureId([number; 16]), begun_ms }
}

fn put(token: &str, ttl_ms: u64, condition: Option<Condition>) -> SessionOp {
    SessionOp::Put(PutSession {
        id: id(token),
        user: "u1".into(),
        ttl_ms,
        sliding: true,
        sealed: sealed("u1"),
        key: Some(key_of("u1")),
        condition,
        limits: SessionLimits::default(),
    })
}

fn create(token: &str, user: &str, key: Option<(u8, u8)>) -> SessionOp {
    SessionOp::Create(CreateSession {
        id: id(token),
        user: user.into(),
        ttl_ms: HOUR,
        sliding: false,
        sealed: sealed(user),
        key: Some(key_of(user)),
        idempotency: key.map(|(key, body)| IdempotencyKey { key: [key; 32], body: [body; 32] }),
        limits: SessionLimits { per_user: 3, ..SessionLimits::default() },
    })
}

#[test]
fn compare_and_set_takes_only_the_current_version() {
    let mut state = SessionState::default();
    let absent = state.apply(&put("a", HOUR, Some(Condition::IfMatch(version(1)))), version(2), 0);
    assert_eq!(absent, Ok(SessionOutcome::PreconditionFailed { current: None }));
    let made = state.apply(&put("a", HOUR, Some(Condition::IfAbsent)), version(3), 0).unwrap();
    assert!(matches!(made, SessionOutcome::Created(head) if head.version == version(3)));
    let again = state.apply(&put("a", HOUR, Some(Condition::IfAbsent)), version(4), 0);
    assert_eq!(again, Ok(SessionOutcome::PreconditionFailed { current: Some(version(3)) }));
    let old = state.apply(&put("a", HOUR, Some(Condition::IfMatch(version(2)))), version(5), 0);
    assert_eq!(old, Ok(SessionOutcome::PreconditionFailed { current: Some(version(3)) }));
    let set =
        state.apply(&put("a", HOUR, Some(Condition::IfMatch(version(3)))), version(6), 9).unwrap();
    assert!(matches!(set, SessionOutcome::Replaced(head)
        if head.version == version(6) && head.created_ms == 0 && head.expires_ms == HOUR + 9));
}

#[test]
fn a_session_ends_at_its_time_and_a_touch_moves_that_on() {
    let mut state = SessionState::default();
    state.apply(&put("a", 100, None), version(1), 1_000).unwrap();
    assert_eq!(state.next_due_ms(), Some(1_100));
    let touch = |at_ms| SessionOp::Touch { touches: vec![SessionTouch { id: id("a"), at_ms }] };
    // Logged late, but it happened in time.
    let found = state.apply(&touch(1_099), version(2), 1_150);
    assert_eq!(found, Ok(SessionOutcome::Touched { found: 1 }));
    assert_eq!(state.get(&id("a")).unwrap().head.expires_ms, 1_199);
    assert_eq!(state.get(&id("a")).unwrap().head.version, version(1));
    // An older touch does not take time away.
    state.apply(&touch(1_050), version(3), 1_151).unwrap();
    assert_eq!(state.next_due_ms(), Some(1_199));
    assert_eq!(state.expire_due(1_198), 0);
    // A touch cannot lie in the future of its own entry, nor wake what has ended.
    state.apply(&touch(9_999), version(4), 1_199).unwrap();
    assert!(state.get(&id("a")).is_none());
    assert_eq!(state.bytes(), 0);
}

#[test]
fn a_repeated_create_gets_its_first_answer_and_never_a_second_session() {
    let mut state = SessionState::default();
    let first = state.apply(&create("a", "u1", Some((1, 1))), version(1), 0).unwrap();
    let SessionOutcome::Created(head) = first else { panic!("{first:?}") };
    let repeat = |state: &mut SessionState, index, now| {
        state.apply(&create("b", "u1", Some((1, 1))), version(index), now).unwrap()
    };
    assert_eq!(repeat(&mut state, 2, 5), SessionOutcome::Repeated(head.clone()));
    let other = state.apply(&create("a", "u1", Some((1, 2))), version(3), 5);
    assert_eq!(other, Ok(SessionOutcome::IdempotencyMismatch));
    // Also behind the end of the session, for a day.
    assert_eq!(repeat(&mut state, 4, HOUR), SessionOutcome::Repeated(head.clone()));
    assert!(state.is_empty());
    let last = HOUR + IDEMPOTENCY_RETENTION_MS - 1;
    assert_eq!(repeat(&mut state, 5, last), SessionOutcome::Repeated(head));
    assert!(matches!(repeat(&mut state, 6, last + 1), SessionOutcome::Created(_)));
}

#[test]
fn erasing_a_user_leaves_nothing_of_the_user_and_still_no_second_session() {
    let mut state = SessionState::default();
    state.apply(&create("a", "u1", Some((1, 1))), version(1), 0).unwrap();
    state.apply(&create("b", "u1", None), version(2), 0).unwrap();
    state.apply(&create("c", "u2", None), version(3), 0).unwrap();
    let erased = state.apply(&erase("u1", 1), version(4), 7);
    assert_eq!(erased, Ok(SessionOutcome::Erased { sessions: 2, index: 4 }));
    let text = format!("{state:?}");
    assert!(!text.contains("u1") && text.contains("u2"), "{text}");
    let repeat = state.apply(&create("a", "u1", Some((1, 1))), version(5), 8);
    assert_eq!(repeat, Ok(SessionOutcome::IdempotencyErased));
    state.apply(&erase("u2", 2), version(6), 9).unwrap();
    state.expire_due(10 + ERASURE_RETENTION_MS);
    assert_eq!((state.bytes(), state.items().count(), state.users.len()), (0, 0, 0));
    assert_eq!(state.keys().count(), 0);
}

#[test]
fn a_repeat_of_a_create_whose_user_was_erased_leaves_the_disks_however_late() {
    let (mut state, raft) = (SessionState::default(), RaftId(7));
    state.members_are(1, &[(raft, NodeId(1))].into());
    state.apply(&create("a", "u1", Some((1, 1))), version(1), 0).unwrap();
    state.apply(&erase("u1", 1), version(2), 0).unwrap();
    let repeat = create("a", "u1", Some((1, 1)));
    let erased = Reply::Session(state.apply(&repeat, version(3), HOUR).unwrap());
    assert_eq!(erased, Reply::Session(SessionOutcome::IdempotencyErased));
    state.note_idle_entry(3, &repeat, &erased, false);
    assert_eq!(state.erasure_due_at(raft), Some(3));
}

#[test]
fn a_repeated_erasure_takes_nothing_that_came_after_the_first() {
    let mut state = SessionState::default();
    state.apply(&create("a", "u1", None), version(1), 0).unwrap();
    state.apply(&erase("u1", 1), version(2), 0).unwrap();
    state.apply(&create("b", "u1", None), version(3), 0).unwrap();
    let repeat = state.apply(&erase("u1", 1), version(4), 0);
    // The repeat names the user too.
    assert_eq!(repeat, Ok(SessionOutcome::Erased { sessions: 1, index: 4 }));
    assert!(state.get(&id("b")).is_some());
    let second = state.apply(&erase("u1", 2), version(5), 0);
    assert_eq!(second, Ok(SessionOutcome::Erased { sessions: 1, index: 5 }));
    assert!(state.is_empty());
}

#[test]
fn an_erasure_that_may_have_been_forgotten_is_not_carried_out_again() {
    let mut state = SessionState::default();
    // Begun on a clock that is ahead of the group's.
    let (begun, first) = (1_000, erase_begun_at(1_000, "u1", 1));
    state.apply(&first, version(1), 900).unwrap();
    state.apply(&put("a", 60 * 24 * HOUR / 2, None), version(2), 1_000).unwrap();
    let over = begun + ERASURE_RETENTION_MS;
    let repeat = state.apply(&first, version(3), over - 1);
    assert_eq!(repeat, Ok(SessionOutcome::Erased { sessions: 0, index: 3 }));
    state.apply(&put("a", HOUR, None), version(4), over - 1).unwrap();
    assert!(matches!(state.apply(&first, version(5), over), Err(Refusal::Invalid(_))));
    assert!(state.get(&id("a")).is_some());
    // Another one is.
    let second = state.apply(&erase_begun_at(over, "u1", 2), version(6), over);
    assert_eq!(second, Ok(SessionOutcome::Erased { sessions: 1, index: 6 }));
}

#[test]
fn disks_are_due_until_they_say_they_are_past_the_erasure() {
    let (mut state, raft) = (SessionState::default(), RaftId(7));
    state.members_are(1, &[(raft, NodeId(1))].into());
    let compacted = |upto| SessionOp::Compacted { raft, upto };
    // Of a user with nothing here too: what ended before may still be on the disks.
    state.apply(&erase("u1", 1), version(5), 0).unwrap();
    assert_eq!(state.erasure_due_at(raft), Some(5));
    state.apply(&compacted(4), version(6), 0).unwrap();
    assert_eq!(state.erasure_due_at(raft), Some(5));
    state.apply(&compacted(5), version(7), 0).unwrap();
    assert_eq!(state.erasure_due_at(raft), None);
    let view = state.erasure(ErasureId([1; 16]));
    assert_eq!(view.erased.map(|erased| (erased.index, erased.sessions)), Some((5, 0)));
    assert_eq!((view.compacted, view.open), (vec![(raft, 5)], None));
    // A note of what is open elsewhere is itself rid of when it is closed.
    let note = ErasureNote {
        sealed: sealed(""),
        key: key_of(""),
        begun_ms: 0,
        erased: [ShardId(17)].into(),
        origin: OriginAnswer::Told,
    };
    let (erasure, missing) = (ErasureId([1; 16]), ErasureId([9; 16]));
    state.apply(&SessionOp::KeepErasure { erasure, note }, version(8), 0).unwrap();
    assert_eq!(state.erasure(erasure).open, Some(OriginAnswer::Told));
    assert_eq!(state.erasure_due_at(raft), None);
    state.apply(&SessionOp::CloseErasure { erasure: missing }, version(9), 0).unwrap();
    assert_eq!(state.erasure_due_at(raft), None);
    state.apply(&SessionOp::CloseErasure { erasure }, version(10), 0).unwrap();
    assert_eq!((state.erasure(erasure).open, state.erasure_due_at(raft)), (None, Some(10)));
}

#[test]
fn an_erasure_without_anything_to_erase_demands_nothing_of_disks() {
    let (mut state, raft) = (SessionState::default(), RaftId(7));
    state.members_are(1, &[(raft, NodeId(1))].into());
    let nothing =
        |number| SessionOp::EraseNothing { erasure: ErasureId([number; 16]), begun_ms: 0 };
    let outcome = Ok(SessionOutcome::Erased { sessions: 0, index: 0 });
    assert_eq!(state.apply(&nothing(1), version(2), 0), outcome);
    assert_eq!(state.apply(&nothing(1), version(3), 0), outcome);
    assert_eq!((state.erasure_due_at(raft), nothing(1).user()), (None, None));
    assert_eq!(state.erasure(ErasureId([1; 16])).erased.map(|erased| erased.index), Some(0));
    // One that was carried out stays what it was.
    state.apply(&erase("u1", 2), version(4), 0).unwrap();
    let first = Ok(SessionOutcome::Erased { sessions: 0, index: 4 });
    assert_eq!(state.apply(&nothing(2), version(5), 0), first);
    assert!(state.apply(&nothing(3), version(6), ERASURE_RETENTION_MS).is_err());
}

#[test]
fn a_value_comes_only_with_its_key() {
    let mut state = SessionState::default();
    let with = |token, user: &str, key_id, key: Option<WrappedKey>| {
        SessionOp::Put(PutSession {
            id: id(token),
            user: user.into(),
            ttl_ms: HOUR,
            sliding: false,
            sealed: Sealed { key_id, bytes: Vec::new() },
            key,
            condition: None,
            limits: SessionLimits::default(),
        })
    };
    let key = key_of("u1");
    let other = WrappedKey { bytes: vec![9], ..key.clone() };
    let unknown = Ok(SessionOutcome::KeyUnknown);
    assert_eq!(state.apply(&with("a", "u1", key.id, None), version(1), 0), unknown);
    assert_eq!(state.apply(&with("a", "u1", 5, Some(key.clone())), version(2), 0), unknown);
    assert!(state.is_empty() && state.keys().count() == 0 && state.bytes() == 0);
    state.apply(&with("a", "u1", key.id, Some(key.clone())), version(3), 0).unwrap();
    // Known by now, so that it need not come along; nobody else's, and not to be replaced.
    state.apply(&with("b", "u1", key.id, None), version(4), 0).unwrap();
    assert_eq!(state.len(), 2);
    assert_eq!(state.apply(&with("c", "u2", key.id, None), version(5), 0), unknown);
    assert_eq!(state.apply(&with("c", "u1", key.id, Some(other)), version(6), 0), unknown);
    assert_eq!(state.stored(&id("b")).unwrap().key, Some(key.clone()));
    // It stays when a value replaces another under it, and goes with the last.
    state.apply(&with("a", "u1", key.id, None), version(7), 0).unwrap();
    for (token, index, left) in [("a", 8, 1), ("b", 9, 0)] {
        state
            .apply(&SessionOp::Delete { id: id(token), condition: None }, version(index), 0)
            .unwrap();
        assert_eq!(state.keys().count(), left);
    }
    assert_eq!(state.apply(&with("a", "u1", key.id, None), version(10), 0), unknown);
    let long = WrappedKey { bytes: vec![0; 257], ..key };
    let refused = state.apply(&with("a", "u1", long.id, Some(long)), version(11), 0);
    assert!(matches!(refused, Err(Refusal::TooLarge { .. })));
}

#[test]
fn limits_refuse_and_change_nothing() {
    let mut state = SessionState::default();
    state.apply(&create("a", "u1", Some((1, 1))), version(1), 0).unwrap();
    state.apply(&create("b", "u1", None), version(2), 0).unwrap();
    let delete = SessionOp::Delete { id: id("a"), condition: None };
    assert_eq!(state.apply(&delete, version(3), 0), Ok(SessionOutcome::Deleted));
    assert_eq!(state.apply(&delete, version(4), 0), Ok(SessionOutcome::NotFound));
    state.apply(&create("c", "u1", None), version(5), 0).unwrap();
    // The ended session that a key names counts.
    let full = state.apply(&create("d", "u1", None), version(6), 0);
    assert_eq!(full, Err(Refusal::UserQuota { max: 3 }));
    assert_eq!(state.len(), 2);
    let mut big = put("a", HOUR, None);
    if let SessionOp::Put(put) = &mut big {
        put.sealed.bytes = vec![0; 2 << 20];
    }
    assert!(matches!(state.apply(&big, version(7), 0), Err(Refusal::TooLarge { .. })));
    assert!(matches!(put("a", 0, None).check(), Err(Refusal::Invalid(_))));
}

#[test]
fn the_sessions_of_a_user_come_in_pages() {
    let mut state = SessionState::default();
    for token in ["c", "a", "b"] {
        state.apply(&put(token, HOUR, None), version(1), 0).unwrap();
    }
    let mut seen = Vec::new();
    let mut after = None;
    loop {
        let page = state.of_user("u1", after.as_ref(), 1);
        seen.extend(page.sessions.into_iter().map(|stored| stored.record.head.id));
        after = page.next;
        if after.is_none() {
            break;
        }
    }
    assert_eq!(seen, [id("a"), id("b"), id("c")]);
    assert_eq!(state.of_user("nobody", None, 1).sessions.len(), 0);
}

/// What a session store does, said as simply as possible.
#[derive(Default)]
struct Oracle(BTreeMap<SessionId, (RecordVersion, u64, u64, bool, String)>);

impl Oracle {
    fn version(&self, id: &SessionId) -> Option<RecordVersion> {
        self.0.get(id).map(|entry| entry.0)
    }

    fn apply(&mut self, op: &SessionOp, version: RecordVersion, now: u64) {
        if let SessionOp::Touch { touches } = op {
            for touch in touches {
                let at = touch.at_ms.min(now);
                if let Some((_, expires, ttl, true, _)) = self.0.get_mut(&touch.id)
                    && at < *expires
                {
                    *expires = (*expires).max(at + *ttl);
                }
            }
        }
        self.0.retain(|_, entry| entry.1 > now);
        match op {
            SessionOp::Put(put) => {
                let current = self.version(&put.id);
                if put.condition.is_none_or(|condition| condition.holds(current)) {
                    let entry =
                        (version, now + put.ttl_ms, put.ttl_ms, put.sliding, put.user.clone());
                    self.0.insert(put.id.clone(), entry);
                }
            }
            SessionOp::Delete { id, condition } => {
                let current = self.version(id);
                if condition.is_none_or(|condition| condition.holds(current)) {
                    self.0.remove(id);
                }
            }
            SessionOp::EraseUser { user, .. } => self.0.retain(|_, entry| entry.4 != *user),
            _ => {}
        }
    }
}

fn any_op() -> impl Strategy<Value = SessionOp> {
    let any_id = || (0_u8..4).prop_map(|n| id(&n.to_string()));
    let any_condition = || {
        prop_oneof![
            Just(None),
            Just(Some(Condition::IfAbsent)),
            Just(Some(Condition::IfExists)),
            (0_u64..60).prop_map(|index| Some(Condition::IfMatch(version(index)))),
        ]
    };
    let user = (0_u8..2).prop_map(|n| format!("u{n}"));
    prop_oneof![
        4 => (any_id(), user.clone(), 1_u64..200, any::<bool>(), any_condition()).prop_map(
            |(id, user, ttl_ms, sliding, condition)| SessionOp::Put(PutSession {
                id, ttl_ms, sliding, condition,
                sealed: sealed(&user),
                key: Some(key_of(&user)),
                user,
                limits: SessionLimits::default(),
            })
        ),
        2 => (any_id(), any_condition()).prop_map(|(id, condition)| SessionOp::Delete { id, condition }),
        2 => prop::collection::vec((any_id(), 0_u64..3_000), 0..3).prop_map(|touches| {
            let touches = touches.into_iter().map(|(id, at_ms)| SessionTouch { id, at_ms });
            SessionOp::Touch { touches: touches.collect() }
        }),
        1 => user.prop_map(|user| erase(&user, 0)),
    ]
}

proptest! {
    #[test]
    fn any_history_ends_as_the_oracle_says(
        history in prop::collection::vec((any_op(), 0_u64..80), 1..60)
    ) {
        let (mut state, mut oracle) = (SessionState::default(), Oracle::default());
        let mut now = 0;
        for (index, (mut op, passed)) in (0_u8..).zip(history) {
            now += passed;
            if let SessionOp::EraseUser { erasure, .. } = &mut op {
                *erasure = ErasureId([index; 16]);
            }
            state.apply(&op, version(index.into()), now).unwrap();
            oracle.apply(&op, version(index.into()), now);
            let left: Vec<_> = state.sessions.values()
                .map(|r| (r.head.id.clone(), r.head.version, r.head.expires_ms)).collect();
            let right: Vec<_> = oracle.0.iter().map(|(id, e)| (id.clone(), e.0, e.1)).collect();
            prop_assert_eq!(left, right);
        }
        // The indexes hold what the sessions say, neither more nor less.
        let mut again = SessionState::default();
        restore(&state, &mut again);
        prop_assert_eq!(format!("{state:?}"), format!("{again:?}"));
    }

    #[test]
    fn a_restored_state_with_idempotency_is_the_same(
        history in prop::collection::vec((0_u8..4, 0_u8..3, 0_u8..2, 0_u64..HOUR * 20, 0_u8..4), 1..60)
    ) {
        let mut state = SessionState::default();
        let mut now = 0;
        for (index, (token, key, user, passed, what)) in (0..).zip(history) {
            now += passed;
            let (token, user) = (token.to_string(), format!("u{user}"));
            let op = match what {
                0 | 1 => create(&token, &user, Some((key, 1))),
                2 => SessionOp::Delete { id: id(&token), condition: None },
                _ => erase_begun_at(now, &user, u8::try_from(index).unwrap()),
            };
            let applied = state.apply(&op, version(index), now);
            let fits = matches!(applied, Ok(_) | Err(Refusal::UserQuota { .. }));
            prop_assert!(fits, "{:?}", applied);
        }
        let mut again = SessionState::default();
        restore(&state, &mut again);
        prop_assert_eq!(format!("{state:?}"), format!("{again:?}"));
        state.expire_due(u64::MAX);
        state.expire_due(u64::MAX);
        prop_assert_eq!((state.bytes(), state.users.len(), state.key_of.len()), (0, 0, 0));
    }

    #[test]
    fn a_key_is_there_exactly_as_long_as_a_value_is_under_it(
        history in prop::collection::vec((0_u8..4, 0_u8..2, 0_u8..3, any::<bool>(), 0_u8..8, 0_u64..40), 1..80)
    ) {
        let mut state = SessionState::default();
        // Session -> (user, key, end), said as simply as possible.
        let mut oracle: BTreeMap<SessionId, (String, u64, u64)> = BTreeMap::new();
        let mut now = 0;
        for (index, (token, user, number, along, what, passed)) in (1..).zip(history) {
            now += passed;
            oracle.retain(|_, entry| entry.2 > now);
            let (id, user) = (id(&token.to_string()), format!("u{user}"));
            let op = match what {
                0 => SessionOp::Delete { id: id.clone(), condition: None },
                1 => erase(&user, index),
                _ => {
                    let key = WrappedKey { id: u64::from(number), ..key_of("k") };
                    SessionOp::Put(PutSession {
                        id: id.clone(), user: user.clone(), ttl_ms: 100, sliding: false,
                        sealed: Sealed { key_id: key.id, bytes: Vec::new() },
                        key: along.then_some(key), condition: None,
                        limits: SessionLimits::default(),
                    })
                }
            };
            let outcome = state.apply(&op, version(u64::from(index)), now).unwrap();
            match what {
                0 => drop(oracle.remove(&id)),
                1 => oracle.retain(|_, entry| entry.0 != user),
                _ => {
                    let number = u64::from(number);
                    let owner = oracle.values().find(|entry| entry.1 == number).map(|entry| entry.0.clone());
                    let takes = owner.as_ref().map_or(along, |owner| *owner == user);
                    prop_assert_eq!(outcome != SessionOutcome::KeyUnknown, takes);
                    if takes {
                        oracle.insert(id, (user.clone(), number, now + 100));
                    }
                }
            }
            let mut wanted: Vec<_> = oracle.values().map(|entry| (entry.1, entry.0.clone())).collect();
            wanted.sort();
            wanted.dedup();
            let found: Vec<_> = state.keys().map(|row| (row.key.id, row.user)).collect();
            prop_assert_eq!(found, wanted);
            if what == 1 {
                let text = format!("{state:?}");
                prop_assert!(!text.contains(&user), "{}", text);
            }
        }
        let mut again = SessionState::default();
        restore(&state, &mut again);
        prop_assert_eq!(format!("{state:?}"), format!("{again:?}"));
    }
}

/// As a snapshot does it.
fn restore(state: &SessionState, again: &mut SessionState) {
    state.keys().for_each(|key| again.restore_key(key));
    state.erasure_items().for_each(|item| again.restore_erasure(item));
    state.items().for_each(|item| again.restore(item));
}
