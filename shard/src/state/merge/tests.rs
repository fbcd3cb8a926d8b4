use hexpop_edge_config::{RaftId, ShardId};
use proptest::prelude::*;

use super::*;
use crate::{
    Command, DeleteItem, DirectoryChange, DirectoryOp, DirectoryTarget, ErasureId, KeyRange,
    Listing, ListingsOp, MemoryDocuments, ReadAnswer, ReadOp, Replica, SessionId, SessionOp,
    ShardDescriptor, ShardKey, Space, Split, UpsertItem,
    state::split::tests::{
        Do, Half, at, create, delete, doings, erase, essence, key, listing, put, replicas, seen,
        session,
    },
};

fn descriptor(half: &Half) -> ShardDescriptor {
    let (id, range) = (half.state.shard(), half.state.range().unwrap().clone());
    ShardDescriptor { id, range, epoch: half.state.epoch(), replicas: Vec::new() }
}

fn merge_of(right: &Half) -> Merge {
    Merge::of(&descriptor(right))
}

fn prepare(left: &mut Half, right: &Half, number: u64) -> Reply {
    let operation = OperationId(number);
    left.apply(None, Op::Merge(MergeOp::Prepare { operation, merge: merge_of(right) }))
}

fn seal(left: &Half, right: &mut Half, number: u64) -> Reply {
    let (operation, left) = (OperationId(number), left.state.shard());
    right.apply(None, Op::Merge(MergeOp::Seal { operation, left }))
}

fn sealed(left: &Half, right: &mut Half, number: u64) -> SealMark {
    match seal(left, right, number) {
        Reply::Merge(MergeOutcome::Sealed(seal)) => seal,
        other => panic!("{other:?}"),
    }
}

fn cancel(left: &mut Half, number: u64) -> Reply {
    left.apply(None, Op::Merge(MergeOp::Cancel { operation: OperationId(number) }))
}

fn unseal(right: &mut Half, number: u64) -> Reply {
    right.apply(None, Op::Merge(MergeOp::Unseal { operation: OperationId(number) }))
}

/// What a replica has of a shard once it is written and read again.
fn staged(half: &Half) -> (ShardState, MemoryDocuments) {
    let records: Vec<_> =
        half.state.snapshot(&half.documents).map(|record| record.unwrap()).collect();
    let mut documents = MemoryDocuments::default();
    (ShardState::restore(records, &mut documents).unwrap(), documents)
}

fn absorb(
    left: &mut Half,
    (state, documents): (ShardState, MemoryDocuments),
    number: u64,
    seal: SealMark,
) -> Result<Reply, AbsorbError> {
    let op = Op::Merge(MergeOp::Absorb { operation: OperationId(number), seal });
    let command = Command { request: None, epoch: left.state.epoch(), at_ms: 10, op };
    let position = at(left.next);
    left.next += 1;
    left.state.apply_absorbing(position, &command, state, &documents, &mut left.documents)
}

fn merge(left: &mut Half, right: &mut Half, number: u64) -> Reply {
    assert_eq!(prepare(left, right, number), Reply::Merge(MergeOutcome::Prepared));
    let seal = sealed(left, right, number);
    absorb(left, staged(right), number, seal).unwrap()
}

fn is_absorbed(reply: &Reply) -> bool {
    matches!(reply, Reply::Merge(MergeOutcome::Absorbed { .. }))
}

/// Two halves of sessions with something in each.
fn halves() -> (Half, Half) {
    let mut left = Half::new(Space::Sessions);
    for number in 0..24 {
        left.apply(Some(u64::from(number)), create(number, number % 3));
    }
    let mut keys: Vec<ShardKey> = (0..24).map(|number| session(number).key()).collect();
    keys.sort();
    let right = left.split(keys[12].clone());
    assert!(left.state.stats().keys > 3 && right.state.stats().keys > 3);
    (left, right)
}

fn in_half(half: &Half) -> u8 {
    (0..24).find(|number| half.holds(&session(*number).key())).unwrap()
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 200, ..ProptestConfig::default() })]

    /// A shard that was divided and became one again is to its clients what the whole would be.
    #[test]
    fn sessions_that_were_apart_for_a_while_are_what_the_whole_would_be(
        doings in doings(),
        cut_after in 0..40_usize,
        apart_for in 0..30_usize,
        at_session in 0..24_u8,
    ) {
        let mut oracle = Half::new(Space::Sessions);
        let mut left = Half::new(Space::Sessions);
        let mut right: Option<Half> = None;
        let mut done: Vec<(u64, Op)> = Vec::new();
        for (number, doing) in doings.into_iter().enumerate() {
            if number == cut_after {
                right = Some(left.split(session(at_session).key()));
            }
            if number == cut_after + apart_for && let Some(mut right) = right.take() {
                let version = left.state.epoch().version;
                let reply = merge(&mut left, &mut right, 1);
                prop_assert!(is_absorbed(&reply), "{:?}", reply);
                prop_assert!(left.state.epoch().version > version);
                prop_assert_eq!(left.state.range(), oracle.state.range());
                prop_assert_eq!(left.state.stats().keys, oracle.state.stats().keys);
                prop_assert_eq!(left.state.stats().bytes, oracle.state.stats().bytes);
                prop_assert_eq!(left.state.stats().requests, oracle.state.stats().requests);
                prop_assert!(left.state.children().is_empty());
            }
            let (request, op) = match doing {
                Do::Put(session, user) => (number as u64, put(session, user)),
                Do::Create(session, user) => (number as u64, create(session, user)),
                Do::Delete(session) => (number as u64, delete(session)),
                Do::Repeat(_) if done.is_empty() => continue,
                Do::Repeat(index) => index.get(&done).clone(),
                Do::Erase(user, erasure) => (number as u64, erase(user, erasure)),
            };
            done.push((request, op.clone()));
            let expected = oracle.apply(Some(request), op.clone());
            let Op::Session(named) = &op else { continue };
            let key = named.ids().next().map(SessionId::key);
            match key {
                Some(key) => {
                    let half = right.as_mut().filter(|right| right.holds(&key));
                    let reply = half.unwrap_or(&mut left).apply(Some(request), op);
                    prop_assert_eq!(essence(&reply), essence(&expected));
                }
                None => {
                    left.apply(Some(request), op.clone());
                    right.iter_mut().for_each(|right| drop(right.apply(Some(request), op.clone())));
                }
            }
            for number in 0..24 {
                let key = session(number).key();
                let half = right.as_ref().filter(|right| right.holds(&key)).unwrap_or(&left);
                prop_assert_eq!(seen(half, number), seen(&oracle, number), "session {}", number);
            }
        }
        prop_assert_eq!(left.reloaded(), left.state.hash());
    }

    /// Listings are found as one shard would find them, older writes stay out, and no document is missing.
    #[test]
    fn listings_that_were_apart_are_found_as_in_one_shard(
        stored in prop::collection::vec((0..40_u8, any::<bool>(), 1..4_u64), 1..60),
        late in prop::collection::vec((0..40_u8, any::<bool>(), 1..4_u64), 0..20),
    ) {
        let mut oracle = Half::new(Space::Listings);
        let mut left = Half::new(Space::Listings);
        let bound = KeyRange::territory(Space::Listings, &"IT:lombardia".parse().unwrap());
        let mut right = left.split(bound.start);
        for (number, is_deleted, version) in &stored {
            let op = change(*number, *is_deleted, *version);
            oracle.apply(None, op.clone());
            let half = if right.holds(&listing(*number).key) { &mut right } else { &mut left };
            half.apply(None, op);
        }
        let reply = merge(&mut left, &mut right, 1);
        prop_assert!(is_absorbed(&reply), "{:?}", reply);
        for (number, is_deleted, version) in &late {
            let op = change(*number, *is_deleted, *version);
            let (expected, found) = (oracle.apply(None, op.clone()), left.apply(None, op));
            prop_assert_eq!(taken(&found), taken(&expected));
        }
        let (there, here) = (oracle.state.stats(), left.state.stats());
        prop_assert_eq!((there.keys, there.bytes), (here.keys, here.bytes));
        prop_assert_eq!(there.listings_active, here.listings_active);
        for number in 0..40 {
            prop_assert_eq!(shown(&left, number), shown(&oracle, number));
        }
        let (here, there) = (left.state.as_listings().unwrap(), oracle.state.as_listings().unwrap());
        prop_assert_eq!(here.counts().tombstones, there.counts().tombstones);
        prop_assert_eq!(left.reloaded(), left.state.hash());
    }
}

/// Listing `number` at a version, or its deletion.
fn change(number: u8, is_deleted: bool, version: u64) -> Op {
    let Listing { key, document, .. } = listing(number);
    let document = document.replacen("\"version\":1", &format!("\"version\":{version}"), 1);
    let parsed = Listing::parse(document.as_bytes()).unwrap();
    assert_eq!(parsed.version.version, Some(version));
    let version = parsed.version;
    Op::Listings(if is_deleted {
        let item = DeleteItem { key, id: format!("l{number}"), version };
        ListingsOp::Delete { items: vec![item] }
    } else {
        ListingsOp::Upsert { items: vec![UpsertItem { key, version, document, hidden: false }] }
    })
}

/// Whether a change was taken.
fn taken(reply: &Reply) -> bool {
    use crate::{ItemOutcome, ListingsOutcome};
    matches!(reply, Reply::Listings(ListingsOutcome::Items(items))
        if items.iter().all(|item| *item == ItemOutcome::Applied))
}

/// What a client sees of a listing.
fn shown(half: &Half, number: u8) -> Option<(String, bool)> {
    let op = ReadOp::Listing { id: format!("l{number}") };
    match half.state.read(&op, &half.documents) {
        ReadAnswer::Listing(found) => found.map(|found| (found.document.unwrap(), found.hidden)),
        other => panic!("{other:?}"),
    }
}

#[test]
fn versions_of_listings_are_those_of_the_log_that_they_are_in() {
    let mut left = Half::new(Space::Listings);
    let bound = KeyRange::territory(Space::Listings, &"IT:lombardia".parse().unwrap());
    let mut right = left.split(bound.start);
    // The log of the right half is far ahead.
    right.next += 100;
    for number in 0..10 {
        let half = if right.holds(&listing(number).key) { &mut right } else { &mut left };
        half.apply(None, change(number, false, 1));
    }
    assert!(is_absorbed(&merge(&mut left, &mut right, 1)));
    let absorbed = left.state.absorbed().unwrap().position;
    let listings = left.state.as_listings().unwrap();
    for number in 0..10 {
        let found = listings.get(&format!("l{number}")).unwrap();
        let is_of_right = right.holds(&found.key);
        assert_eq!(found.document.position == absorbed, is_of_right, "l{number}");
        assert!(found.document.position <= absorbed);
    }
    // No answer from before is taken for a fresh one.
    let question = crate::Question::Suggest(crate::SuggestQuery { prefix: "t".into(), limit: 5 });
    assert_eq!(listings.view().last_change(&question), absorbed);
}

#[test]
fn the_directory_has_all_entries_and_their_versions() {
    let mut left = Half::new(Space::Directory);
    let change = |number: u8| DirectoryChange {
        id: format!("l{number}"),
        expected: None,
        target: if number.is_multiple_of(3) {
            DirectoryTarget::Deleted
        } else {
            DirectoryTarget::At(listing(number).key)
        },
        listing_version: listing(number).version,
    };
    let changes = (0..40).map(change).collect();
    left.apply(None, Op::Directory(DirectoryOp::CompareAndSet(changes)));
    let entry = |half: &Half, number: u8| {
        let op = ReadOp::Directory { ids: vec![format!("l{number}")] };
        half.state.read(&op, &half.documents)
    };
    let entries: Vec<ReadAnswer> = (0..40).map(|number| entry(&left, number)).collect();
    let before = left.state.stats();
    let mut right = left.split(ShardKey::directory("l11"));
    assert!(is_absorbed(&merge(&mut left, &mut right, 1)));
    assert_eq!(left.state.stats(), before);
    for number in 0..40 {
        assert_eq!(entry(&left, number), entries[usize::from(number)]);
    }
}

#[test]
fn a_sealed_shard_takes_no_write_and_remembers_no_refusal() {
    let (mut left, mut right) = halves();
    let number = in_half(&right);
    prepare(&mut left, &right, 1);
    let mark = sealed(&left, &mut right, 1);
    assert_eq!(mark.at, right.state.applied());
    let before = right.state.stats();
    for op in [put(number, 1), delete(number), erase(1, 9)] {
        let reply = right.apply(Some(900), op);
        assert_eq!(reply, Reply::Refused(Refusal::Sealed { shard: ShardId(9) }));
    }
    assert_eq!(right.state.stats(), before);
    assert_eq!(sealed(&left, &mut right, 1), mark, "again");
    assert_eq!(right.reloaded(), right.state.hash());
    cancel(&mut left, 1);
    unseal(&mut right, 1);
    assert!(matches!(right.apply(Some(900), put(number, 1)), Reply::Session(_)));
}

#[test]
fn while_a_merge_is_open_the_left_shard_takes_writes_and_does_not_divide() {
    let (mut left, right) = halves();
    prepare(&mut left, &right, 1);
    let number = in_half(&left);
    assert!(matches!(left.apply(None, put(number, 1)), Reply::Session(_)));
    let split = Split { at: session(number).key(), child: ShardId(12) };
    let reply = left.apply(None, Op::Split(split));
    assert_eq!(reply, Reply::Refused(Refusal::Merging { shard: ShardId(3) }));
    let other = prepare(&mut left, &right, 2);
    assert_eq!(other, Reply::Refused(Refusal::Merging { shard: ShardId(3) }));
}

#[test]
fn what_comes_behind_the_end_of_an_operation_is_refused() {
    let over = |number| Reply::Refused(Refusal::MergeOver { operation: OperationId(number) });
    let (mut left, mut right) = halves();
    prepare(&mut left, &right, 5);
    let mark = sealed(&left, &mut right, 5);
    let old = staged(&right);
    assert_eq!(cancel(&mut left, 5), Reply::Merge(MergeOutcome::Cancelled));
    assert_eq!(unseal(&mut right, 5), Reply::Merge(MergeOutcome::Unsealed));
    // Late, repeated, in another order; of earlier operations too.
    for number in [4, 5] {
        assert_eq!(prepare(&mut left, &right, number), over(number));
        assert_eq!(seal(&left, &mut right, number), over(number));
    }
    let late = absorb(&mut left, old, 5, mark);
    assert!(matches!(late, Err(AbsorbError::NotDue(_))), "{late:?}");
    let op = Op::Merge(MergeOp::Absorb { operation: OperationId(5), seal: mark });
    assert_eq!(left.apply(None, op), over(5));
    // The next one goes through, and what ends it comes too late.
    assert!(is_absorbed(&merge(&mut left, &mut right, 6)));
    assert_eq!(cancel(&mut left, 6), over(6));
    let op = Op::Merge(MergeOp::Absorb { operation: OperationId(6), seal: mark });
    assert!(is_absorbed(&left.apply(None, op)), "again");
    assert_eq!(left.reloaded(), left.state.hash());
}

#[test]
fn only_the_state_behind_that_seal_is_absorbed() {
    let (mut left, mut right) = halves();
    prepare(&mut left, &right, 1);
    let unsealed = staged(&right);
    let mark = sealed(&left, &mut right, 1);
    let before = left.state.hash();
    let is_other =
        |found: Result<Reply, AbsorbError>| matches!(found, Err(AbsorbError::AnotherState { .. }));
    assert!(is_other(absorb(&mut left, unsealed, 1, mark)));
    let wrong = SealMark { hash: mark.hash ^ 1, ..mark };
    assert!(is_other(absorb(&mut left, staged(&right), 1, wrong)));
    let good = staged(&right);
    right.apply(None, Op::Tick);
    assert!(is_other(absorb(&mut left, staged(&right), 1, mark)));
    // Nor is the entry applied by who has nothing staged.
    let op = Op::Merge(MergeOp::Absorb { operation: OperationId(1), seal: mark });
    let reply = left.apply(None, op);
    assert_eq!(reply, Reply::Refused(Refusal::NotStaged { shard: ShardId(3) }));
    assert_eq!(left.state.hash(), before);
    assert!(is_absorbed(&absorb(&mut left, good, 1, mark).unwrap()));
}

#[test]
fn shards_that_are_no_neighbours_are_refused() {
    let (mut left, right) = halves();
    let mut refused = |merge: Merge| {
        let op = Op::Merge(MergeOp::Prepare { operation: OperationId(1), merge });
        matches!(left.apply(None, op), Reply::Refused(Refusal::Invalid(_)))
    };
    let merge = merge_of(&right);
    assert!(refused(Merge { right: ShardId(3), ..merge.clone() }), "itself");
    assert!(refused(Merge { right: ShardId::META, ..merge.clone() }));
    assert!(refused(Merge { range: KeyRange::space(Space::Sessions), ..merge }));
    assert!(refused(Merge { range: KeyRange::space(Space::Listings), ..merge }));
    let lazio = KeyRange::territory(Space::Sessions, &"IT:lazio".parse().unwrap());
    let next = KeyRange { start: lazio.end.clone().unwrap(), end: None };
    let other = Merge { right: ShardId(9), range: next, version: 1 };
    assert!(other.check(ShardId(3), &lazio).is_err(), "of another territory");
}

#[test]
fn an_erasure_that_only_one_of_them_carried_out_is_in_the_way() {
    let (mut left, mut right) = halves();
    left.apply(None, erase(1, 5));
    let refused = merge(&mut left, &mut right, 1);
    assert!(matches!(refused, Reply::Refused(Refusal::Unfit(_))), "{refused:?}");
    cancel(&mut left, 1);
    unseal(&mut right, 1);
    right.apply(None, erase(1, 5));
    assert!(is_absorbed(&merge(&mut left, &mut right, 2)));
    assert!((0..24).filter(|number| number % 3 == 1).all(|number| seen(&left, number).is_none()));
    // Made after the erasure: its repeat takes nothing of it.
    let number = in_half(&right);
    left.apply(None, put(number, 1));
    left.apply(None, erase(1, 5));
    assert!(seen(&left, number).is_some());
}

#[test]
fn disks_of_the_shard_that_went_are_named_until_they_are_clean() {
    let (mut left, mut right) = halves();
    for half in [&mut left, &mut right] {
        half.apply(None, erase(1, 5));
    }
    let all = replicas();
    assert!(is_absorbed(&merge(&mut left, &mut right, 1)));
    let view = |left: &Half| left.state.as_sessions().unwrap().erasure(ErasureId([5; 16]));
    let sum = (0..24).filter(|number| number % 3 == 1).count();
    assert_eq!(view(&left).erased.unwrap().sessions as usize, sum);
    let named = |left: &Half| view(left).left.into_iter().map(|(raft, _)| raft).collect::<Vec<_>>();
    assert_eq!(named(&left), all.iter().map(|replica| replica.raft).collect::<Vec<_>>());
    assert_eq!(left.reloaded(), left.state.hash());
    for Replica { raft, .. } in all {
        assert!(left.state.as_sessions().unwrap().has_retired(ShardId(9), raft));
        // Of another shard: it says nothing of this one.
        for shard in [ShardId(8), ShardId(9)] {
            left.apply(None, Op::Session(SessionOp::Withdrawn { shard, raft }));
        }
    }
    assert_eq!(named(&left), Vec::<RaftId>::new());
}

/// That outlasts what is told of the erasure: what comes late, with a value of before, is known for that.
#[test]
fn something_was_erased_where_something_was_erased_in_either() {
    for (is_left, is_right) in [(false, false), (false, true), (true, false)] {
        let (mut left, mut right) = halves();
        for (half, has_user) in [(&mut left, is_left), (&mut right, is_right)] {
            let (erasure, begun_ms) = (ErasureId([5; 16]), 10);
            half.apply(
                None,
                match has_user {
                    true => erase(1, 5),
                    false => Op::Session(SessionOp::EraseNothing { erasure, begun_ms }),
                },
            );
        }
        let before = left.state.as_sessions().unwrap().last_demand();
        assert_eq!(before > 0, is_left);
        assert!(is_absorbed(&merge(&mut left, &mut right, 1)));
        let demand = left.state.as_sessions().unwrap().last_demand();
        let at = left.state.absorbed().unwrap().position.index;
        assert_eq!(demand, if is_right { at } else { before });
        assert_eq!(left.reloaded(), left.state.hash());
    }
}

#[test]
fn users_of_replies_and_of_sessions_that_came_are_known_to_be_here() {
    let (mut left, mut right) = halves();
    assert!(is_absorbed(&merge(&mut left, &mut right, 1)));
    let sessions = left.state.as_sessions().unwrap();
    assert!((0..3).all(|user| sessions.may_hold(&format!("u{user}"))));
}

#[test]
fn two_keys_of_one_number_are_in_the_way() {
    let (mut left, mut right) = halves();
    let (here, there) = (in_half(&left), in_half(&right));
    for (half, number, byte) in [(&mut left, here, 1), (&mut right, there, 2)] {
        let mut op = put(number, 8);
        if let Op::Session(SessionOp::Put(put)) = &mut op {
            let wrapped = crate::WrappedKey { id: 777, bytes: vec![byte], ..key(8, 0) };
            put.sealed.key_id = 777;
            put.key = Some(wrapped);
        }
        assert!(matches!(half.apply(None, op), Reply::Session(_)));
    }
    let refused = merge(&mut left, &mut right, 1);
    assert!(matches!(refused, Reply::Refused(Refusal::Unfit(_))), "{refused:?}");
}

#[test]
fn a_listing_that_is_on_its_way_between_the_two_is_in_the_way() {
    let bound = KeyRange::territory(Space::Listings, &"IT:lombardia".parse().unwrap());
    let mut left = Half::new(Space::Listings);
    let mut right = left.split(bound.start);
    // It moves from one region to the other.
    let (from, to) = (listing(2), listing(3));
    let document = to.document.replace("\"l3\"", "\"l2\"");
    let moved = Listing::parse(document.as_bytes()).unwrap();
    let upsert = |listing: Listing, hidden| {
        let items = vec![UpsertItem::new(listing, hidden)];
        Op::Listings(ListingsOp::Upsert { items })
    };
    left.apply(None, upsert(from.clone(), false));
    right.apply(None, upsert(moved, true));
    let refused = merge(&mut left, &mut right, 1);
    assert!(matches!(&refused, Reply::Refused(Refusal::Unfit(why)) if why.contains("l2")));
    assert!(left.state.open_merge().is_some(), "the operation is to be cancelled");
    cancel(&mut left, 1);
    unseal(&mut right, 1);
    let item = DeleteItem { key: from.key, id: "l2".into(), version: from.version };
    left.apply(None, Op::Listings(ListingsOp::Delete { items: vec![item] }));
    assert!(is_absorbed(&merge(&mut left, &mut right, 2)));
    assert!(shown(&left, 2).unwrap().1, "still hidden");
}

#[test]
fn shards_of_which_one_is_complete_are_not_one() {
    let bound = KeyRange::territory(Space::Listings, &"IT:lombardia".parse().unwrap());
    let mut left = Half::new(Space::Listings);
    let mut right = left.split(bound.start);
    let complete = || {
        let op = ListingsOp::MarkComplete { complete: true, feeds: Vec::new() };
        Op::Listings(op)
    };
    left.apply(None, complete());
    assert!(matches!(merge(&mut left, &mut right, 1), Reply::Refused(Refusal::Unfit(_))));
    cancel(&mut left, 1);
    unseal(&mut right, 1);
    right.apply(None, complete());
    assert!(is_absorbed(&merge(&mut left, &mut right, 2)));
    assert!(left.state.stats().complete);
}
