use std::collections::BTreeMap;

use hexpop_edge_config::{Epoch, NodeId, RaftId, RequestId, ShardId};
use proptest::prelude::*;

use super::*;
use crate::{
    Command, CreateSession, DeleteItem, DirectoryChange, DirectoryOp, DirectoryTarget, ErasureId,
    IdempotencyKey, KeyRange, Listing, ListingsOp, MemoryDocuments, Op, PutSession, ReadAnswer,
    ReadOp, ReplicaRole, Sealed, SessionId, SessionLimits, SessionOp, SessionOutcome, ShardKey,
    Space, UpsertItem, WrappedKey,
};

pub(in crate::state) const fn at(index: u64) -> LogPosition {
    LogPosition { term: 2, index }
}

pub(in crate::state) fn replicas() -> Vec<Replica> {
    let replica = |number: u32| Replica {
        raft: RaftId(u64::from(number)),
        node: NodeId(number),
        role: ReplicaRole::Voter,
    };
    (1..=3).map(replica).collect()
}

fn whole(space: Space) -> ShardState {
    let mut state = ShardState::new(&ShardDescriptor {
        id: ShardId(3),
        range: KeyRange::space(space),
        epoch: Epoch::FIRST,
        replicas: replicas(),
    });
    let members = replicas().into_iter().map(|replica| (replica.raft, replica.node));
    state.founded(at(0), &members.collect::<BTreeMap<_, _>>());
    state
}

/// A state with its log and documents.
pub(in crate::state) struct Half {
    pub(in crate::state) state: ShardState,
    pub(in crate::state) documents: MemoryDocuments,
    pub(in crate::state) next: u64,
}

impl Half {
    pub(in crate::state) fn new(space: Space) -> Self {
        Self { state: whole(space), documents: MemoryDocuments::default(), next: 1 }
    }

    pub(in crate::state) fn apply(&mut self, request: Option<u64>, op: Op) -> Reply {
        let epoch = self.state.epoch();
        self.apply_with(epoch, request, op)
    }

    pub(in crate::state) fn apply_with(
        &mut self,
        epoch: Epoch,
        request: Option<u64>,
        op: Op,
    ) -> Reply {
        let request = request.map(|sequence| RequestId { origin: RaftId(1), start: 1, sequence });
        let command = Command { request, epoch, at_ms: 10, op };
        let position = at(self.next);
        self.next += 1;
        self.state.apply_among(position, &command, Some(&replicas()), &mut self.documents)
    }

    pub(in crate::state) fn split(&mut self, at: ShardKey) -> Self {
        let split = Split { at, child: ShardId(9) };
        let reply = self.apply(None, Op::Split(split));
        assert!(matches!(reply, Reply::Split(_)), "{reply:?}");
        let state = self.state.take_fork().unwrap();
        // As a replica gets it: through its snapshot.
        let records: Vec<_> =
            state.snapshot(&self.documents).map(|record| record.unwrap()).collect();
        let mut documents = MemoryDocuments::default();
        let restored = ShardState::restore(records, &mut documents).unwrap();
        assert_eq!(restored.hash(), state.hash());
        Self { state: restored, documents, next: self.next }
    }

    /// This one again, from its snapshot.
    pub(in crate::state) fn reloaded(&self) -> u64 {
        let records: Vec<_> =
            self.state.snapshot(&self.documents).map(|record| record.unwrap()).collect();
        let mut documents = MemoryDocuments::default();
        let restored = ShardState::restore(records, &mut documents).unwrap();
        assert_eq!(restored.children(), self.state.children());
        restored.hash()
    }

    pub(in crate::state) fn holds(&self, key: &ShardKey) -> bool {
        self.state.range().unwrap().contains(key)
    }
}

pub(in crate::state) fn session(number: u8) -> SessionId {
    format!("it-lombardia.s{number}").parse().unwrap()
}

pub(in crate::state) fn key(user: u8, node: u8) -> WrappedKey {
    WrappedKey { id: u64::from(user) * 10 + u64::from(node), by: "k".into(), bytes: vec![user] }
}

pub(in crate::state) fn put(number: u8, user: u8) -> Op {
    let wrapped = key(user, number % 2);
    Op::Session(SessionOp::Put(PutSession {
        id: session(number),
        user: format!("u{user}"),
        ttl_ms: 500,
        sliding: true,
        sealed: Sealed { key_id: wrapped.id, bytes: vec![number, user] },
        key: Some(wrapped),
        condition: None,
        limits: SessionLimits::default(),
    }))
}

pub(in crate::state) fn create(number: u8, user: u8) -> Op {
    let wrapped = key(user, number % 2);
    Op::Session(SessionOp::Create(CreateSession {
        id: session(number),
        user: format!("u{user}"),
        ttl_ms: 500,
        sliding: true,
        sealed: Sealed { key_id: wrapped.id, bytes: vec![number, user] },
        key: Some(wrapped),
        idempotency: Some(IdempotencyKey { key: [number; 32], body: [user; 32] }),
        limits: SessionLimits::default(),
    }))
}

pub(in crate::state) fn delete(number: u8) -> Op {
    Op::Session(SessionOp::Delete { id: session(number), condition: None })
}

pub(in crate::state) fn erase(user: u8, number: u8) -> Op {
    let erasure = ErasureId([number; 16]);
    Op::Session(SessionOp::EraseUser { user: format!("u{user}"), erasure, begun_ms: 10 })
}

/// What a client sees of a session.
pub(in crate::state) fn seen(half: &Half, number: u8) -> Option<(Vec<u8>, bool)> {
    let op = ReadOp::Session { id: session(number) };
    match half.state.read(&op, &half.documents) {
        ReadAnswer::Session(stored) => {
            stored.map(|stored| (stored.record.sealed.bytes, stored.key.is_some()))
        }
        other => panic!("{other:?}"),
    }
}

/// A reply without what differs between two logs.
pub(in crate::state) fn essence(reply: &Reply) -> String {
    match reply {
        Reply::Session(SessionOutcome::Created(head)) => format!("created {}", head.id),
        Reply::Session(SessionOutcome::Replaced(head)) => format!("replaced {}", head.id),
        Reply::Session(SessionOutcome::Repeated(head)) => format!("repeated {}", head.id),
        Reply::Session(SessionOutcome::PreconditionFailed { current }) => {
            format!("failed {}", current.is_some())
        }
        other => format!("{other:?}"),
    }
}

#[derive(Debug, Clone)]
pub(in crate::state) enum Do {
    Put(u8, u8),
    Create(u8, u8),
    Delete(u8),
    /// Repeats an earlier one under its request id.
    Repeat(prop::sample::Index),
    Erase(u8, u8),
}

pub(in crate::state) fn doings() -> impl Strategy<Value = Vec<Do>> {
    let one = prop_oneof![
        4 => (0..24_u8, 0..4_u8).prop_map(|(session, user)| Do::Put(session, user)),
        3 => (0..24_u8, 0..4_u8).prop_map(|(session, user)| Do::Create(session, user)),
        2 => (0..24_u8).prop_map(Do::Delete),
        3 => any::<prop::sample::Index>().prop_map(Do::Repeat),
        1 => (0..4_u8, 0..3_u8).prop_map(|(user, erasure)| Do::Erase(user, erasure)),
    ];
    prop::collection::vec(one, 1..60)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 200, ..ProptestConfig::default() })]

    /// Two halves are to their clients what the whole would be: what is stored, what repeats get, who is
    /// erased, and once.
    #[test]
    fn the_halves_of_sessions_are_what_the_whole_would_be(
        doings in doings(),
        cut_after in 0..60_usize,
        at_session in 0..24_u8,
    ) {
        let mut oracle = Half::new(Space::Sessions);
        let mut left = Half::new(Space::Sessions);
        let mut right: Option<Half> = None;
        let mut done: Vec<(u64, Op)> = Vec::new();
        let had = |half: &Half, user: u8| {
            half.state.as_sessions().unwrap().may_hold(&format!("u{user}"))
        };
        let mut had_before: Vec<u8> = Vec::new();
        for (number, doing) in doings.into_iter().enumerate() {
            if number == cut_after {
                had_before = (0..4).filter(|user| had(&left, *user)).collect();
                let made = left.split(session(at_session).key());
                right = Some(made);
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
        let Some(right) = right else { return Ok(()) };
        prop_assert_eq!(
            left.state.stats().keys + right.state.stats().keys,
            oracle.state.stats().keys
        );
        // Whoever had something in the whole may be on the disks of the half that stays.
        prop_assert!(had_before.into_iter().all(|user| had(&left, user)));
    }
}

#[test]
fn both_halves_know_the_erasures_before_and_the_disks_of_the_child_are_behind_them() {
    let mut left = Half::new(Space::Sessions);
    for number in 0..24 {
        left.apply(None, put(number, number % 3));
    }
    let erased = left.apply(None, erase(1, 5));
    let Reply::Session(SessionOutcome::Erased { index, .. }) = erased else { panic!("{erased:?}") };
    let mut right = left.split(session(7).key());
    let sessions = |half: &Half| half.state.as_sessions().unwrap().erasure(ErasureId([5; 16]));
    assert_eq!(sessions(&right).erased, sessions(&left).erased);
    assert!(sessions(&left).compacted.iter().all(|(_, upto)| *upto < index));
    assert_eq!(sessions(&right).compacted.len(), 3);
    assert!(sessions(&right).compacted.iter().all(|(_, upto)| *upto >= index));
    assert_eq!(right.state.as_sessions().unwrap().erasure_due_at(RaftId(1)), None);
    // Made after the erasure: its repeat takes nothing of it.
    let number = (0..24).find(|number| right.holds(&session(*number).key())).unwrap();
    right.apply(None, put(number, 1));
    right.apply(None, erase(1, 5));
    assert!(seen(&right, number).is_some());
}

#[test]
fn what_was_proposed_for_the_whole_is_refused_in_both_halves() {
    let mut left = Half::new(Space::Sessions);
    let at_key = session(7).key();
    let mut right = left.split(at_key);
    assert_eq!(right.state.applied(), left.state.children()[0].position);
    for number in 0..24 {
        for half in [&mut left, &mut right] {
            let reply = half.apply_with(Epoch::FIRST, Some(9), put(number, 1));
            assert!(matches!(reply, Reply::Refused(Refusal::StaleEpoch { .. })), "{reply:?}");
            let fits = half.holds(&session(number).key());
            let reply = half.apply(None, put(number, 1));
            assert_eq!(matches!(reply, Reply::Refused(Refusal::WrongKey { .. })), !fits);
        }
    }
    assert_eq!(left.state.epoch(), Epoch { version: 2, ..Epoch::FIRST });
    assert_eq!(right.state.epoch(), left.state.epoch());
}

#[test]
fn a_split_that_divides_nothing_or_meets_changing_members_is_refused() {
    let mut half = Half::new(Space::Listings);
    let territory = "IT:lazio".parse().unwrap();
    let before = half.state.hash();
    let mut refused = |at: ShardKey, child: u64, replicas: Option<&[Replica]>| {
        let op = Op::Split(Split { at, child: ShardId(child) });
        let command = Command { request: None, epoch: Epoch::FIRST, at_ms: 0, op };
        let mut state = whole(Space::Listings);
        let reply = state.apply_among(at_index(), &command, replicas, &mut half.documents);
        assert!(state.take_fork().is_none());
        match reply {
            Reply::Refused(refusal) => Some(refusal),
            _ => None,
        }
    };
    let all = replicas();
    let start = ShardKey::new(Space::Listings, &territory, 0);
    assert!(refused(start.clone(), 3, Some(&all)).is_some(), "its own id");
    assert!(refused(ShardKey::directory("x"), 9, Some(&all)).is_some());
    assert!(refused(ShardKey::space_start(Space::Listings), 9, Some(&all)).is_some());
    assert!(refused(ShardKey::new(Space::Listings, &territory, 77), 9, Some(&all)).is_some());
    assert!(matches!(refused(start, 9, None), Some(Refusal::MembersChange { .. })));
    assert_eq!(half.state.hash(), before);
}

const fn at_index() -> LogPosition {
    at(1)
}

pub(in crate::state) fn listing(number: u8) -> Listing {
    let region = ["lazio", "lombardia"][usize::from(number % 2)];
    let lat = 41.0 + f64::from(number) * 0.02;
    let json = format!(
        r#"{{"id":"l{number}","listingType":"sale","status":"active","country":"IT","region":"{region}","version":1,"title":"t{number}","location":{{"lat":{lat},"lng":12.5}}}}"#
    );
    Listing::parse(json.as_bytes()).unwrap()
}

#[test]
fn listings_go_with_their_keys_and_their_documents_are_in_the_child_s_snapshot() {
    let mut left = Half::new(Space::Listings);
    for number in 0..20 {
        let listing = listing(number);
        let item = UpsertItem {
            key: listing.key.clone(),
            version: listing.version,
            document: listing.document.clone(),
            hidden: false,
        };
        left.apply(None, Op::Listings(ListingsOp::Upsert { items: vec![item] }));
    }
    let gone = listing(7);
    let item = DeleteItem { key: gone.key.clone(), id: "l7".into(), version: gone.version };
    left.apply(None, Op::Listings(ListingsOp::Delete { items: vec![item] }));
    let before = left.state.stats();
    let bound = KeyRange::territory(Space::Listings, &"IT:lombardia".parse().unwrap());
    let right = left.split(bound.start);
    let (there, here) = (right.state.stats(), left.state.stats());
    assert_eq!(there.keys + here.keys, before.keys);
    assert_eq!(there.bytes + here.bytes, before.bytes);
    for number in 0..20 {
        let key = listing(number).key;
        for half in [&left, &right] {
            let op = ReadOp::Listing { id: format!("l{number}") };
            let ReadAnswer::Listing(found) = half.state.read(&op, &half.documents) else {
                panic!("no listing");
            };
            let expected = half.holds(&key) && number != 7;
            assert_eq!(found.is_some_and(|found| found.document.is_some()), expected, "l{number}");
        }
    }
}

#[test]
fn the_directory_divides_by_its_hashes() {
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
    let before = left.state.stats();
    let right = left.split(ShardKey::directory("l11"));
    let (there, here) = (right.state.stats(), left.state.stats());
    assert!(there.keys > 0 && here.keys > 0);
    assert_eq!((there.keys + here.keys, there.bytes + here.bytes), (before.keys, before.bytes));
    assert_eq!(there.next_due_ms.min(here.next_due_ms), before.next_due_ms);
    for number in 0..40 {
        let id = format!("l{number}");
        let half = if right.holds(&ShardKey::directory(&id)) { &right } else { &left };
        let read = half.state.read(&ReadOp::Directory { ids: vec![id] }, &half.documents);
        assert!(matches!(read, ReadAnswer::Directory(found) if found[0].is_some()), "l{number}");
    }
}
