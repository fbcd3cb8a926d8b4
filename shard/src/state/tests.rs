use hexpop_edge_config::{RaftId, RequestId, codec};
use proptest::prelude::*;

use super::*;
use crate::{
    ClusterSecret, Condition, DeleteItem, DirectoryChange, DirectoryOp, DirectoryOutcome,
    DirectoryTarget, ErasureId, Listing, ListingVersion, ListingsOp, MemoryDocuments, MetaOp,
    PlacementPolicy, Policy, PutSession, ReadAnswer, ReadOp, Sealed, SessionId, SessionLimits,
    SessionOp, SessionOutcome, ShardMap, UpsertItem, WrappedKey, plan_first_map,
};

fn shard(id: u64, space: Space) -> ShardState {
    ShardState::new(&ShardDescriptor {
        id: ShardId(id),
        range: KeyRange::space(space),
        epoch: Epoch::FIRST,
        replicas: Vec::new(),
    })
}

const fn at(index: u64) -> LogPosition {
    LogPosition { term: 2, index }
}

fn command(sequence: Option<u64>, at_ms: u64, op: Op) -> Command {
    let request = sequence.map(|sequence| RequestId { origin: RaftId(1), start: 1, sequence });
    Command { request, epoch: Epoch::FIRST, at_ms, op }
}

fn session_id(token: u8) -> SessionId {
    format!("it-lombardia.{token}").parse().unwrap()
}

fn put(token: u8, value: &[u8], condition: Option<Condition>) -> Op {
    Op::Session(SessionOp::Put(PutSession {
        id: session_id(token),
        user: "u1".into(),
        ttl_ms: 500,
        sliding: true,
        sealed: Sealed { key_id: 1, bytes: value.to_vec() },
        key: Some(WrappedKey { id: 1, by: "k".into(), bytes: vec![5] }),
        condition,
        limits: SessionLimits::default(),
    }))
}

fn erase(number: u8) -> Op {
    let erasure = ErasureId([number; 16]);
    Op::Session(SessionOp::EraseUser { user: "u1".into(), erasure, begun_ms: 10 })
}

#[test]
fn an_erasure_leaves_nothing_in_the_memory_of_requests_and_a_repeat_brings_nothing_back() {
    let (mut state, mut documents) = (shard(3, Space::Sessions), MemoryDocuments::default());
    state.founded(at(1), &[(RaftId(1), NodeId(1))].into());
    let mut apply = |state: &mut ShardState, index, request, op| {
        state.apply(at(index), &command(Some(request), 10, op), &mut documents)
    };
    apply(&mut state, 5, 1, put(1, b"v", None));
    apply(&mut state, 6, 2, erase(1));
    let due = |state: &ShardState| state.as_sessions().unwrap().erasure_due_at(RaftId(1));
    assert_eq!(due(&state), Some(6));
    assert!(!format!("{state:?}").contains("u1"), "{state:?}");
    // The entry of the repeat carries the value and its key once more.
    let repeat = apply(&mut state, 7, 1, put(1, b"v", None));
    assert_eq!(repeat, Reply::Session(SessionOutcome::UserErased));
    assert_eq!((state.stats().keys, due(&state)), (0, Some(7)));
    // So does that of the erasure, which names the user.
    apply(&mut state, 8, 2, erase(1));
    assert_eq!(due(&state), Some(8));
}

/// A write whose key was unknown is sealed anew and proposed under another id. Its first proposal, late, is
/// answered as it was then.
#[test]
fn a_late_repeat_of_what_was_not_stored_leaves_the_disks_after_an_erasure() {
    let (mut state, mut documents) = (shard(3, Space::Sessions), MemoryDocuments::default());
    state.founded(at(1), &[(RaftId(1), NodeId(1))].into());
    let mut apply = |state: &mut ShardState, index, version, request, op| {
        let command =
            Command { epoch: Epoch { version, ..Epoch::FIRST }, ..command(Some(request), 10, op) };
        state.apply(at(index), &command, &mut documents)
    };
    let without_key = || {
        let Op::Session(SessionOp::Put(mut put)) = put(1, b"v", None) else { unreachable!() };
        put.key = None;
        Op::Session(SessionOp::Put(put))
    };
    let due = |state: &ShardState| state.as_sessions().unwrap().erasure_due_at(RaftId(1));
    let unknown = Reply::Session(SessionOutcome::KeyUnknown);
    assert_eq!(apply(&mut state, 5, 1, 1, without_key()), unknown);
    assert_eq!(apply(&mut state, 6, 1, 1, without_key()), unknown);
    assert_eq!(due(&state), None, "nobody was erased");
    apply(&mut state, 7, 1, 2, put(1, b"v", None));
    apply(&mut state, 8, 1, 3, erase(1));
    assert_eq!(due(&state), Some(8));
    assert_eq!(apply(&mut state, 9, 1, 1, without_key()), unknown);
    assert_eq!(due(&state), Some(9));
    // For an epoch that is over, it was never decided.
    let refused = apply(&mut state, 10, 7, 4, put(1, b"v", None));
    assert!(matches!(refused, Reply::Refused(_)), "{refused:?}");
    assert_eq!(due(&state), Some(10));
    // What is asked for the first time was not erased.
    assert_eq!(apply(&mut state, 11, 1, 5, without_key()), unknown);
    assert_eq!(due(&state), Some(10));
}

fn listing(id: u8, region: &str, version: u64, title: &str) -> Listing {
    let json = format!(
        r#"{{"id":"lst_{id}","listingType":"sale","status":"active","country":"IT","region":"{region}","version":{version},"title":"{title}","location":{{"lat":45.46,"lng":9.19}}}}"#
    );
    Listing::parse(json.as_bytes()).unwrap()
}

fn upsert(id: u8, version: u64) -> Op {
    let item = UpsertItem::new(listing(id, "lombardia", version, "Casa"), false);
    Op::Listings(ListingsOp::Upsert { items: vec![item] })
}

fn restored(state: &ShardState, documents: &MemoryDocuments) -> (ShardState, MemoryDocuments) {
    let records: Vec<Vec<u8>> = state.snapshot(documents).map(Result::unwrap).collect();
    let mut copy = MemoryDocuments::default();
    (ShardState::restore(&records, &mut copy).unwrap(), copy)
}

#[test]
fn an_entry_applied_again_changes_nothing() {
    let (mut state, mut documents) = (shard(3, Space::Sessions), MemoryDocuments::default());
    let first = state.apply(at(1), &command(Some(1), 10, put(1, b"a", None)), &mut documents);
    assert!(matches!(&first, Reply::Session(SessionOutcome::Created(_))));
    let hash = state.hash();
    assert_eq!(
        state.apply(at(1), &command(Some(1), 10, put(1, b"a", None)), &mut documents),
        first
    );
    assert_eq!(state.apply(at(1), &command(None, 99, Op::Tick), &mut documents), Reply::Done);
    assert_eq!(state.hash(), hash);
}

#[test]
fn a_repeated_request_gets_its_first_reply() {
    let (mut state, mut documents) = (shard(3, Space::Sessions), MemoryDocuments::default());
    let absent = || put(1, b"a", Some(Condition::IfAbsent));
    let first = state.apply(at(1), &command(Some(1), 10, absent()), &mut documents);
    // Not 412 to its own first attempt.
    assert_eq!(state.apply(at(2), &command(Some(1), 11, absent()), &mut documents), first);
    let (mut copy, _) = restored(&state, &documents);
    assert_eq!(copy.apply(at(3), &command(Some(1), 12, absent()), &mut documents), first);
    let later = command(Some(1), 10 + 10 * 60 * 1000, absent());
    assert!(matches!(
        copy.apply(at(4), &later, &mut documents),
        Reply::Session(SessionOutcome::Created(head)) if head.version.index == 4
    ));
}

#[test]
fn a_stale_proposal_is_refused_and_may_come_again_with_the_right_epoch() {
    let (mut state, mut documents) = (shard(3, Space::Sessions), MemoryDocuments::default());
    let mut stale = command(Some(1), 10, put(1, b"a", None));
    stale.epoch.version = 7;
    let refused = Refusal::StaleEpoch { shard: ShardId(3), current: Epoch::FIRST };
    assert_eq!(state.apply(at(1), &stale, &mut documents), Reply::Refused(refused));
    stale.epoch = Epoch { version: 1, conf: 99 };
    assert!(matches!(state.apply(at(2), &stale, &mut documents), Reply::Session(_)));
}

#[test]
fn other_kinds_and_other_keys_are_refused() {
    let territory = "IT:lazio".parse().unwrap();
    let mut state = ShardState::new(&ShardDescriptor {
        id: ShardId(4),
        range: KeyRange::territory(Space::Sessions, &territory),
        epoch: Epoch::FIRST,
        replicas: Vec::new(),
    });
    let mut documents = MemoryDocuments::default();
    let wrong_kind = state.apply(at(1), &command(None, 1, upsert(1, 1)), &mut documents);
    assert_eq!(wrong_kind, Reply::Refused(Refusal::WrongKind));
    let wrong_key = state.apply(at(2), &command(None, 1, put(1, b"a", None)), &mut documents);
    assert_eq!(wrong_key, Reply::Refused(Refusal::WrongKey { shard: ShardId(4) }));
    let read = state.read(&ReadOp::Session { id: session_id(1) }, &documents);
    assert_eq!(read, ReadAnswer::Refused(Refusal::WrongKey { shard: ShardId(4) }));
    let read = state.read(&ReadOp::Operations, &documents);
    assert_eq!(read, ReadAnswer::Refused(Refusal::WrongKind));
}

#[test]
fn time_moves_with_any_command_and_never_back() {
    let (mut state, mut documents) = (shard(3, Space::Sessions), MemoryDocuments::default());
    state.apply(at(1), &command(None, 1_000, put(1, b"a", None)), &mut documents);
    state.apply(at(2), &command(None, 5, Op::Tick), &mut documents);
    assert_eq!((state.group_time_ms(), state.next_due_ms()), (1_000, Some(1_500)));
    let read = ReadOp::Session { id: session_id(1) };
    assert!(matches!(state.read(&read, &documents), ReadAnswer::Session(Some(_))));
    state.apply(at(3), &command(None, 1_500, Op::Tick), &mut documents);
    assert_eq!(state.read(&read, &documents), ReadAnswer::Session(None));
}

#[test]
fn membership_entries_raise_the_configuration_once() {
    let mut state = shard(3, Space::Sessions);
    state.membership_changed(at(1), &BTreeMap::new());
    state.membership_changed(at(1), &BTreeMap::new());
    state.skip(at(2));
    assert_eq!((state.epoch(), state.applied()), (Epoch { version: 1, conf: 2 }, at(2)));
}

#[test]
fn whoever_the_log_named_may_be_on_disks_until_these_are_rid_of_it() {
    let (mut state, mut documents) = (shard(3, Space::Sessions), MemoryDocuments::default());
    let raft = RaftId(5);
    state.founded(at(1), &[(raft, NodeId(1))].into());
    let may_hold = |state: &ShardState, user: &str| {
        let read = ReadOp::MayHoldUser { user: user.into() };
        let answer = state.read(&read, &MemoryDocuments::default());
        matches!(answer, ReadAnswer::MayHoldUser { may_hold: true, .. })
    };
    let mut index = 1;
    let mut apply = |state: &mut ShardState, op| {
        index += 1;
        state.apply(at(index), &command(Some(index), 0, op), &mut documents);
        index
    };
    let compacted = |upto| Op::Session(SessionOp::Compacted { raft, upto });
    assert!(!may_hold(&state, "u1"));
    // One is refused, but its entry is in the log.
    let mut refused = put(2, b"b", Some(Condition::IfExists));
    if let Op::Session(SessionOp::Put(put)) = &mut refused {
        put.user = "u2".into();
    }
    apply(&mut state, refused);
    apply(&mut state, put(1, b"a", None));
    assert!(may_hold(&state, "u1") && may_hold(&state, "u2") && !may_hold(&state, "u3"));
    let erase = |user: &str, number| {
        let erasure = ErasureId([number; 16]);
        Op::Session(SessionOp::EraseUser { user: user.into(), erasure, begun_ms: 0 })
    };
    let demand = apply(&mut state, erase("u2", 1));
    assert!(may_hold(&state, "u2"), "until the disks are rid of it");
    apply(&mut state, compacted(demand));
    assert!(!may_hold(&state, "u2"));
    // A living session, and the reply to its write, are in the snapshots that the disks have now.
    assert!(may_hold(&state, "u1"));
    apply(&mut state, Op::Session(SessionOp::Delete { id: session_id(1), condition: None }));
    assert!(may_hold(&state, "u1"));
    let demand = apply(&mut state, erase("u1", 2));
    apply(&mut state, compacted(demand));
    assert!(!may_hold(&state, "u1"));
    assert_eq!(restored(&state, &documents).0.hash(), state.hash());
}

#[test]
fn listings_are_read_with_their_documents_and_in_pages() {
    let (mut state, mut documents) = (shard(1, Space::Listings), MemoryDocuments::default());
    for id in 1..=5 {
        let reply =
            state.apply(at(u64::from(id)), &command(None, 9, upsert(id, 1)), &mut documents);
        assert!(matches!(reply, Reply::Listings(_)));
    }
    let read = state.read(&ReadOp::Listing { id: "lst_3".into() }, &documents);
    let ReadAnswer::Listing(Some(found)) = read else { panic!("{read:?}") };
    assert_eq!(found.at.position, at(3));
    assert!(found.document.unwrap().contains("\"h3Index\""));
    let lost = state.read(&ReadOp::Listing { id: "lst_3".into() }, &MemoryDocuments::default());
    assert!(matches!(lost, ReadAnswer::Listing(Some(found)) if found.document.is_none()));

    let (mut seen, mut after) = (Vec::new(), None);
    loop {
        let op = ReadOp::ExportListings { after, max_bytes: 300 };
        let ReadAnswer::Listings(page) = state.read(&op, &documents) else { panic!() };
        assert!(!page.listings.is_empty());
        seen.extend(page.listings.into_iter().map(|listing| listing.at.id));
        after = page.next;
        if after.is_none() {
            break;
        }
    }
    assert_eq!(seen, ["lst_1", "lst_2", "lst_3", "lst_4", "lst_5"]);
    let ReadAnswer::Counts(stats) = state.read(&ReadOp::Counts, &documents) else { panic!() };
    assert_eq!((stats.keys, stats.listings_active, stats.complete), (5, 5, false));
}

#[test]
fn the_meta_group_keeps_the_map_through_a_snapshot() {
    let policy = PlacementPolicy {
        default: Policy { labels: Default::default(), replicas: 3 },
        territories: [(
            "IT:lazio".parse().unwrap(),
            Policy { labels: Default::default(), replicas: 3 },
        )]
        .into(),
    };
    let member = crate::Member {
        node: NodeId(1),
        raft: RaftId(1),
        pop: "mil".parse().unwrap(),
        labels: Default::default(),
        alive: true,
        draining: false,
    };
    let descriptors = plan_first_map(&policy, &[member]).unwrap();
    let (mut state, mut documents) = (ShardState::meta_group(), MemoryDocuments::default());
    let op = MetaOp::Bootstrap { descriptors, secret: ClusterSecret([7; 32]), policy };
    state.apply(at(1), &command(Some(1), 10, Op::Meta(op)), &mut documents);
    let (copy, _) = restored(&state, &documents);
    assert_eq!(copy.hash(), state.hash());
    assert_eq!(copy.as_meta().unwrap().map(), state.as_meta().unwrap().map());
    assert_eq!(copy.as_meta().unwrap().secret(), Some(&ClusterSecret([7; 32])));
    let bytes = codec::encode(state.as_meta().unwrap().map()).unwrap();
    assert_eq!(&codec::decode::<ShardMap>(&bytes).unwrap(), copy.as_meta().unwrap().map());
}

#[test]
fn a_damaged_snapshot_is_refused() {
    let (mut state, mut documents) = (shard(1, Space::Listings), MemoryDocuments::default());
    for id in 1..=3 {
        state.apply(at(u64::from(id)), &command(Some(1), 9, upsert(id, 1)), &mut documents);
    }
    let mut sessions = shard(3, Space::Sessions);
    for token in 0..200 {
        let op = put(token, b"value", None);
        sessions.apply(at(u64::from(token) + 1), &command(None, 9, op), &mut documents);
    }
    for state in [&state, &sessions] {
        let records: Vec<Vec<u8>> = state.snapshot(&documents).map(Result::unwrap).collect();
        let restore = |records: &[Vec<u8>]| {
            ShardState::restore(records, &mut MemoryDocuments::default()).map(|state| state.hash())
        };
        assert_eq!(restore(&records), Ok(state.hash()));
        for missing in 0..records.len() {
            let mut fewer = records.clone();
            fewer.remove(missing);
            assert!(restore(&fewer).is_err(), "without record {missing}");
        }
        let mut more = records.clone();
        more.push(records[1].clone());
        assert!(restore(&more).is_err());
        for at in 0..records.len() {
            for byte in 0..records[at].len() {
                let mut damaged = records.clone();
                damaged[at][byte] ^= 0x10;
                assert!(restore(&damaged).is_err(), "record {at}, byte {byte}");
            }
        }
    }
}

fn any_op(space: Space) -> BoxedStrategy<Op> {
    let condition = prop_oneof![Just(None), Just(Some(Condition::IfAbsent))];
    let key = || ShardKey::new(Space::Listings, &"IT:lombardia".parse().unwrap(), 5);
    let version = |version| ListingVersion { version: Some(version), updated_at_us: None };
    match space {
        Space::Sessions => prop_oneof![
            4 => (0_u8..6, any::<[u8; 3]>(), condition).prop_map(|(t, v, c)| put(t, &v, c)),
            1 => any::<u8>().prop_map(erase),
            1 => Just(Op::Tick),
        ]
        .boxed(),
        Space::Directory => (0_u8..6, 0_u64..5, any::<bool>())
            .prop_map(move |(id, number, delete)| {
                let target =
                    if delete { DirectoryTarget::Deleted } else { DirectoryTarget::At(key()) };
                Op::Directory(DirectoryOp::CompareAndSet(vec![DirectoryChange {
                    id: format!("lst_{id}"),
                    expected: None,
                    target,
                    listing_version: version(number),
                }]))
            })
            .boxed(),
        Space::Listings => prop_oneof![
            4 => (0_u8..6, 0_u64..9).prop_map(|(id, version)| upsert(id, version)),
            1 => (0_u8..6, 0_u64..9).prop_map(move |(id, number)| {
                let key = listing(id, "lombardia", 1, "x").key;
                let item = DeleteItem { key, id: format!("lst_{id}"), version: version(number) };
                Op::Listings(ListingsOp::Delete { items: vec![item] })
            }),
        ]
        .boxed(),
    }
}

fn any_history() -> impl Strategy<Value = (Space, Vec<(Op, u64, Option<u64>)>)> {
    prop_oneof![Just(Space::Sessions), Just(Space::Directory), Just(Space::Listings)].prop_flat_map(
        |space| {
            let entry = (any_op(space), 0_u64..400, prop::option::of(0_u64..10));
            (Just(space), prop::collection::vec(entry, 1..40))
        },
    )
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(128))]

    #[test]
    fn replicas_agree_whatever_they_went_through((space, history) in any_history(), cut in 0_usize..40) {
        let (mut left, mut left_documents) = (shard(9, space), MemoryDocuments::default());
        let (mut right, mut right_documents) = (shard(9, space), MemoryDocuments::default());
        let mut now = 0;
        for (number, (op, passed, request)) in history.into_iter().enumerate() {
            now += passed;
            let command = command(request, now, op);
            let position = at(number as u64 + 1);
            let reply = left.apply(position, &command, &mut left_documents);
            // The other replica restarts from a snapshot and sees the last entries twice.
            if number == cut {
                (right, right_documents) = restored(&right, &right_documents);
            }
            prop_assert_eq!(&right.apply(position, &command, &mut right_documents), &reply);
            let before = right.hash();
            right.apply(position, &command, &mut right_documents);
            prop_assert_eq!(right.hash(), before);
            prop_assert_eq!(left.hash(), before);
        }
        let (copy, _) = restored(&left, &left_documents);
        prop_assert_eq!(copy.hash(), left.hash());
        prop_assert_eq!(copy.stats(), left.stats());
        // Equal states give equal records.
        let records = |state: &ShardState, documents: &MemoryDocuments| {
            state.snapshot(documents).map(Result::unwrap).collect::<Vec<_>>()
        };
        prop_assert_eq!(records(&left, &left_documents), records(&right, &right_documents));
    }
}

#[test]
fn a_directory_is_read_by_ids() {
    let (mut state, mut documents) = (shard(2, Space::Directory), MemoryDocuments::default());
    let change = DirectoryChange {
        id: "lst_1".into(),
        expected: None,
        target: DirectoryTarget::Deleted,
        listing_version: ListingVersion::default(),
    };
    let op = Op::Directory(DirectoryOp::CompareAndSet(vec![change]));
    let reply = state.apply(at(5), &command(None, 77, op), &mut documents);
    assert!(matches!(reply, Reply::Directory(DirectoryOutcome::Compared(all)) if all.len() == 1));
    let ids = vec!["lst_2".to_owned(), "lst_1".to_owned()];
    let read = state.read(&ReadOp::Directory { ids }, &documents);
    let ReadAnswer::Directory(entries) = read else { panic!("{read:?}") };
    assert_eq!(entries[0], None);
    assert_eq!(entries[1].as_ref().unwrap().version.to_string(), "2-2-5");
    assert_eq!(entries[1].as_ref().unwrap().written_ms, 77);
}
