//! Histories of which everybody can see whether they are right.

use super::*;

fn kind(operations: Vec<Operation>) -> ViolationKind {
    violation(&history(operations)).kind
}

#[test]
fn nothing_is_right() {
    holds(&history(Vec::new()));
    holds(&history(vec![put(0, 1, "1"), read(2, 3, Some("1")), delete(4, 5), read(6, 7, None)]));
}

#[test]
fn concurrent_operations_take_any_order() {
    holds(&history(vec![put(0, 10, "1"), put(0, 10, "2"), read(11, 12, Some("1"))]));
    holds(&history(vec![put(0, 10, "1"), put(0, 10, "2"), read(11, 12, Some("2"))]));
    holds(&history(vec![put(0, 10, "1"), read(1, 2, None), read(3, 4, Some("1"))]));
    let wrong = vec![put(0, 10, "1"), read(1, 2, Some("1")), read(3, 4, None)];
    assert_eq!(kind(wrong), ViolationKind::LostWrite);
}

#[test]
fn ends_and_begins_at_one_moment_are_concurrent() {
    holds(&history(vec![put(0, 5, "1"), read(5, 6, None)]));
}

#[test]
fn a_lost_write_is_found() {
    let found = violation(&history(vec![
        put(0, 1, "1"),
        read(2, 3, Some("1")),
        put(4, 5, "2"),
        read(6, 7, Some("1")),
        read(8, 9, Some("1")),
    ]));
    assert_eq!(found.kind, ViolationKind::LostWrite);
    let shown: Vec<(usize, Role)> = found.witness.iter().map(|one| (one.index, one.role)).collect();
    assert_eq!(shown, [(0, Role::Origin), (2, Role::Contradicts), (3, Role::Contradicts)]);
    assert_eq!(kind(vec![put(0, 1, "1"), read(2, 3, None)]), ViolationKind::LostWrite);
}

#[test]
fn a_resurrected_write_is_found() {
    let wrong = vec![put(0, 1, "1"), delete(2, 3), read(4, 5, Some("1"))];
    assert_eq!(kind(wrong), ViolationKind::Resurrected);
    let seen_gone =
        vec![put(0, 1, "1"), lost(delete(2, 2)), read(3, 4, None), read(5, 6, Some("1"))];
    assert_eq!(kind(seen_gone), ViolationKind::Resurrected);
    let erase = op(2, 3, Action::EraseUser { user: "u".into() });
    let owned = Action::Put {
        key: key(),
        write: Write { user: Some("u".into()), ..write("1") },
        condition: None,
    };
    let erased = vec![op(0, 1, owned.clone()), erase.clone(), read(4, 5, Some("1"))];
    assert_eq!(kind(erased), ViolationKind::Resurrected);
    holds(&history(vec![op(0, 1, owned), erase.clone(), read(4, 5, None)]));
    // Another user's session stays.
    assert_eq!(kind(vec![put(0, 1, "1"), erase, read(4, 5, None)]), ViolationKind::LostWrite);
}

#[test]
fn a_stale_strong_read_is_found() {
    let wrong = vec![put(0, 1, "1"), put(2, 3, "2"), read(4, 5, Some("2")), read(6, 7, Some("1"))];
    assert_eq!(kind(wrong), ViolationKind::StaleRead);
    let between =
        vec![put(0, 1, "1"), put(2, 3, "2"), read(4, 5, Some("1")), read(6, 7, Some("2"))];
    assert_eq!(kind(between), ViolationKind::StaleRead);
    let absent = vec![put(0, 1, "1"), read(2, 3, None), read(4, 5, Some("1"))];
    assert_eq!(kind(absent), ViolationKind::StaleRead);
}

#[test]
fn one_compare_and_set_wins() {
    let begin = version(put(0, 1, "1"), "a");
    let won = version(cas(2, 9, "2", "a"), "b");
    let both = vec![begin.clone(), won.clone(), version(cas(2, 9, "3", "a"), "c")];
    let found = violation(&history(both));
    assert_eq!(found.kind, ViolationKind::TwoWinners);
    assert_eq!(found.witness.len(), 3);
    let one = with(cas(2, 9, "3", "a"), Outcome::Conflict);
    holds(&history(vec![begin.clone(), won, one.clone(), read(10, 11, Some("2"))]));
    // Nobody else wrote: then it had the version.
    assert_eq!(kind(vec![begin, one]), ViolationKind::NotLinearizable);
    let created = vec![create(0, 5, "1"), create(0, 5, "2")];
    assert_eq!(kind(created), ViolationKind::TwoWinners);
    holds(&history(vec![create(0, 5, "1"), with(create(0, 5, "2"), Outcome::Conflict)]));
}

#[test]
fn the_future_the_unwritten_and_the_refused_are_not_seen() {
    assert_eq!(kind(vec![read(0, 1, Some("1")), put(2, 3, "1")]), ViolationKind::FromTheFuture);
    let eventual = read_at(0, 1, Level::Eventual, Some("1"));
    assert_eq!(kind(vec![eventual, put(2, 3, "1")]), ViolationKind::FromTheFuture);
    assert_eq!(kind(vec![put(0, 1, "1"), read(2, 3, Some("x"))]), ViolationKind::NeverWritten);
    let refused = with(put(0, 1, "1"), Outcome::Refused);
    assert_eq!(kind(vec![refused.clone(), read(2, 3, Some("1"))]), ViolationKind::RefusedSeen);
    holds(&history(vec![refused, read(2, 3, None)]));
}

#[test]
fn unknown_writes_may_come_late_once_or_never() {
    let late = lost(put(0, 0, "1"));
    holds(&history(vec![late.clone(), read(5, 6, None), read(7, 8, Some("1"))]));
    holds(&history(vec![late.clone(), put(5, 6, "2"), read(7, 8, Some("2"))]));
    holds(&history(vec![late.clone(), put(5, 6, "2"), read(7, 8, Some("1"))]));
    let undone = vec![late.clone(), put(5, 6, "2"), read(7, 8, Some("1")), read(9, 10, Some("2"))];
    assert_eq!(kind(undone), ViolationKind::StaleRead);
    let twice = vec![
        late,
        read(1, 2, Some("1")),
        put(3, 4, "2"),
        read(5, 6, Some("2")),
        read(7, 8, Some("1")),
    ];
    assert_eq!(kind(twice), ViolationKind::StaleRead);
    // It had an answer, but a useless one: its end says nothing.
    let unknown = with(put(0, 1, "1"), Outcome::Unknown);
    holds(&history(vec![unknown, read(5, 6, None), read(7, 8, Some("1"))]));
}

#[test]
fn one_write_has_one_version() {
    let wrong = vec![
        lost(put(0, 0, "1")),
        version(read(1, 2, Some("1")), "a"),
        version(read(3, 4, Some("1")), "b"),
    ];
    assert_eq!(violation(&history(wrong)).witness.len(), 3, "applied twice");
    let right =
        vec![lost(put(0, 0, "1")), version(read(1, 2, Some("1")), "a"), cas(3, 4, "2", "a")];
    holds(&history(right));
    let other = vec![version(put(0, 1, "1"), "a"), version(read(1, 2, Some("1")), "b")];
    assert_eq!(violation(&history(other)).witness.len(), 2);
}

#[test]
fn sessions_do_not_end_before_their_time() {
    let life = |found| vec![put_living(10, 12, "1", 100), found];
    holds(&history(life(read(109, 110, None))));
    holds(&history(life(read(109, 110, Some("1")))));
    assert_eq!(kind(life(read(107, 109, None))), ViolationKind::EarlyExpiry);
    assert_eq!(kind(life(read(13, 14, None))), ViolationKind::LostWrite, "not half its life");
    let mut bounded = history(life(read(107, 109, None)));
    bounded.head.clock_bound_ms = 1;
    holds(&bounded);
    // Once seen gone it stays so.
    let back = vec![put_living(0, 1, "1", 100), read(99, 120, None), read(121, 122, Some("1"))];
    assert_eq!(kind(back), ViolationKind::Resurrected);
    // A read that ends before the session can must find it, also one that began earlier.
    let before = vec![put_living(0, 1, "1", 100), read(90, 130, None), read(95, 99, Some("1"))];
    holds(&history(before));
    let after = vec![put_living(0, 1, "1", 100), read(90, 95, None), read(96, 130, Some("1"))];
    assert_eq!(kind(after), ViolationKind::EarlyExpiry);
}

#[test]
fn the_default_life_is_that_of_the_head() {
    let mut short = history(vec![put(0, 1, "1"), read(60, 61, None)]);
    short.head.ttl_ms = Some(50);
    holds(&short);
    short.head.ttl_ms = Some(100);
    assert_eq!(violation(&short).kind, ViolationKind::EarlyExpiry);
}

#[test]
fn sliding_sessions_are_renewed() {
    let sliding = |ttl_ms| {
        let write = Write { ttl_ms: Some(ttl_ms), sliding: true, ..write("1") };
        op(0, 1, Action::Put { key: key(), write, condition: None })
    };
    let touch = op(50, 51, Action::Touch { key: key() });
    let renewed = vec![sliding(100), touch.clone(), read(140, 149, None)];
    assert_eq!(kind(renewed), ViolationKind::EarlyExpiry);
    holds(&history(vec![sliding(100), touch.clone(), read(140, 151, None)]));
    holds(&history(vec![sliding(100), lost(touch.clone()), read(140, 149, None)]));
    let not_sliding = vec![put_living(0, 1, "1", 100), touch.clone(), read(140, 149, None)];
    holds(&history(not_sliding));
    assert_eq!(kind(vec![touch]), ViolationKind::NotLinearizable, "nothing was there");
}

#[test]
fn sessions_do_not_outlive_their_time_where_that_is_promised() {
    let mut late = history(vec![put_living(0, 10, "1", 100), read(130, 140, Some("1"))]);
    holds(&late);
    late.head.expiry_slack_ms = Some(20);
    holds(&late);
    late.head.expiry_slack_ms = Some(19);
    assert_eq!(violation(&late).kind, ViolationKind::LateExpiry);
}

#[test]
fn bounded_reads_are_no_older_than_asked() {
    let level = Level::Bounded { max_staleness_ms: 10 };
    let stale =
        |start, end| vec![put(0, 1, "1"), put(2, 20, "2"), read_at(start, end, level, Some("1"))];
    holds(&history(stale(30, 31)));
    assert_eq!(kind(stale(31, 32)), ViolationKind::StalenessBound);
    let claim = |ms| {
        let mut read = read_at(22, 23, level, Some("1"));
        read.answer.staleness_ms = Some(ms);
        vec![put(0, 1, "1"), put(2, 20, "2"), read]
    };
    holds(&history(claim(2)));
    assert_eq!(kind(claim(1)), ViolationKind::StalenessBound, "by its own account");
    assert_eq!(kind(claim(11)), ViolationKind::StalenessClaim);
    // A bounded read may see what an unknown write left, but then it is there.
    let unknown = vec![lost(put(0, 0, "1")), read_at(5, 6, level, Some("1")), read(7, 8, None)];
    assert_eq!(kind(unknown), ViolationKind::LostWrite);
}

#[test]
fn eventual_reads_may_be_old_but_not_out_of_order_with_their_tokens() {
    let writes = || vec![token(put(0, 1, "1"), "t1"), token(put(2, 3, "2"), "t2")];
    let then = |read: Operation| writes().into_iter().chain([read]).collect::<Vec<_>>();
    let eventual = |found| read_at(9, 10, Level::Eventual, found);
    for found in [None, Some("1"), Some("2")] {
        holds(&history(then(eventual(found))));
    }
    holds(&history(then(sent(eventual(Some("1")), "t1"))));
    holds(&history(then(sent(eventual(Some("1")), "unheard of"))));
    let own = then(sent(eventual(Some("1")), "t2"));
    assert_eq!(kind(own), ViolationKind::SessionGuarantee, "read your writes");
    let first = token(read_at(4, 5, Level::Eventual, Some("2")), "t2'");
    let mut backwards = then(first);
    backwards.push(sent(read_at(6, 7, Level::Eventual, Some("1")), "t2'"));
    assert_eq!(kind(backwards), ViolationKind::SessionGuarantee, "monotonic reads");
}

#[test]
fn positions_carry_tokens_across_keys() {
    let at = |operation: Operation, index| {
        let answer = Answer { position: Some(Position { shard: 7, index }), ..operation.answer };
        Operation { answer, ..operation }
    };
    let mut other = token(at(put(2, 3, "9"), 12), "t");
    other.action = Action::Put { key: "it-lazio.other".into(), write: write("9"), condition: None };
    let read = |found| sent(read_at(9, 10, Level::Eventual, found), "t");
    let writes = |index| vec![at(put(0, 1, "1"), index), other.clone()];
    let then = |index, found| writes(index).into_iter().chain([read(found)]).collect::<Vec<_>>();
    assert_eq!(kind(then(11, None)), ViolationKind::SessionGuarantee);
    holds(&history(then(11, Some("1"))));
    holds(&history(then(13, None)));
    // The log's order is the order of effects.
    let contradicts = vec![at(put(0, 1, "1"), 5), at(put(2, 3, "2"), 4)];
    assert_eq!(kind(contradicts), ViolationKind::SessionGuarantee);
}

#[test]
fn listings_go_forward() {
    let strong = Level::Strong;
    holds(&history(vec![
        upsert(0, 1, 5),
        with(upsert(2, 3, 4), Outcome::Conflict),
        look(4, 5, strong, Some(5)),
        bury(6, 7, 5),
        with(upsert(8, 9, 5), Outcome::Conflict),
        look(10, 11, strong, None),
        upsert(12, 13, 6),
        look(14, 15, strong, Some(6)),
    ]));
    let back = vec![
        upsert(0, 1, 5),
        upsert(2, 3, 6),
        look(4, 5, strong, Some(6)),
        look(6, 7, strong, Some(5)),
    ];
    assert_eq!(kind(back), ViolationKind::VersionWentBack);
    let undone = vec![upsert(0, 1, 6), upsert(2, 3, 5), look(4, 5, strong, Some(5))];
    assert_eq!(kind(undone), ViolationKind::LostWrite, "an older write is ignored");
    let buried = vec![upsert(0, 1, 6), bury(2, 3, 7), look(4, 5, strong, Some(6))];
    assert_eq!(kind(buried), ViolationKind::Resurrected);
    holds(&history(vec![upsert(0, 1, 6), bury(2, 3, 7), look(4, 5, Level::Eventual, Some(6))]));
}

#[test]
fn what_was_there_before_may_be_unknown() {
    let mut found = history(vec![read(0, 1, Some("old")), put(2, 3, "1"), read(4, 5, Some("1"))]);
    assert_eq!(violation(&found).kind, ViolationKind::NeverWritten);
    found.head.initial = Initial::Unknown;
    holds(&found);
    found.operations.push(read(6, 7, Some("old")));
    assert_eq!(violation(&found).kind, ViolationKind::StaleRead);
    let mut listing = history(vec![
        look(0, 1, Level::Strong, Some(3)),
        with(upsert(2, 3, 2), Outcome::Conflict),
        look(4, 5, Level::Strong, Some(3)),
    ]);
    listing.head.initial = Initial::Unknown;
    holds(&listing);
}

#[test]
fn sessions_and_listings_of_one_name_are_different() {
    let mut named = put(0, 1, "1");
    named.action = Action::Put { key: "l".into(), write: write("1"), condition: None };
    holds(&history(vec![named, look(2, 3, Level::Strong, None)]));
}

#[test]
fn a_limit_leaves_it_undecided() {
    // 12 concurrent writes, and two reads that cannot both be true.
    let mut operations: Vec<Operation> =
        (0..12).map(|value| put(0, 100, &value.to_string())).collect();
    for found in ["1", "2", "1"] {
        operations.push(read(200, 200, Some(found)));
        operations.iter_mut().last().unwrap().start_us = 200_000;
    }
    let mut at = 200_000;
    for read in operations.iter_mut().skip(12) {
        at += 2_000;
        (read.start_us, read.end_us) = (at, Some(at + 1_000));
    }
    let history = history(operations);
    let few = Options { states_max: 5, ..Options::default() };
    let report = check(&history, &few, &AtomicBool::new(false));
    assert_eq!(report.verdict(), Verdict::Undecided);
    assert_eq!(report.undecided, [(Space::Session, key())]);
    let stopped = check(&history, &Options::default(), &AtomicBool::new(true));
    assert_eq!(stopped.verdict(), Verdict::Undecided);
    assert_eq!(violation(&history).kind, ViolationKind::StaleRead);
}

#[test]
fn the_witness_is_short_however_long_the_history() {
    let mut operations = Vec::new();
    for turn in 0..200 {
        let (at, value) = (turn * 10, turn.to_string());
        operations.push(by("w", put(at, at + 3, &value)));
        operations.push(by("r", read(at + 4, at + 5, Some(&value))));
        operations.push(by("e", read_at(at + 2, at + 8, Level::Eventual, Some(&value))));
        if turn % 10 == 0 {
            operations.push(lost(put(at, at, &format!("lost {turn}"))));
        }
    }
    holds(&history(operations.clone()));
    operations.push(by("r", read(1_204, 1_206, Some("100"))));
    let found = violation(&history(operations));
    assert_eq!(found.kind, ViolationKind::StaleRead, "{found}");
    assert!(found.witness.len() <= 4, "{found}");
}

#[test]
fn a_violation_reads_as_a_timeline() {
    let found = violation(&history(vec![
        by("ann", version(put(0, 2, "1"), "17-3-1")),
        by("bob", lost(put(1, 1, "2"))),
        by("ann", read(3, 4, Some("2"))),
        by("bob", read(5, 6, Some("1"))),
    ]));
    let text = found.to_string();
    let expected =
        "session it-lazio.s: stale-read: a read found a value that was no longer current\n";
    assert!(text.starts_with(expected), "{text}");
    for part in ["line 4", "line 5", "bob", "read strong -> ok \"1\"", "0.003000s"] {
        assert!(text.contains(part), "{part}: {text}");
    }
}
