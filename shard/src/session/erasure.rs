//! What a shard keeps of erasures: which were carried out and where in the log, which replicas have
//! rid their disks of what was erased, which have left and may hold it still, and what is to be done
//! elsewhere.

mod retired;

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt,
    ops::Bound,
    str::FromStr,
};

use hexpop_edge_config::{
    NodeId, RaftId, ShardId,
    planted::{self, Bug},
};
use serde::{Deserialize, Serialize};

pub use self::retired::RetiredReplica;
use super::{Sealed, WrappedKey, named::Named};
use crate::refusal::Refusal;

/// How long a shard can tell of an erasure: 30 days. One that was begun longer ago is not carried out
/// any more, since the shard can no longer know that it has not been.
pub const ERASURE_RETENTION_MS: u64 = 30 * 24 * 60 * 60 * 1000;

/// The most erasures a shard tells of; beyond it the oldest go early.
const ERASURES_MAX: usize = 100_000;

/// The most erasures that are still to be done elsewhere.
const OPEN_MAX: usize = 10_000;

/// The most replicas that left and did not say that their disks hold nothing; beyond it those that left
/// first are not told of any more.
const LEFT_MAX: usize = 256;

/// The most shards that a note names.
const NOTE_SHARDS_MAX: usize = 10_000;

/// The most bytes of a note's sealed text.
const NOTE_BYTES_MAX: usize = 16 << 10;

/// Names one erasure of one user: random, so that a repeat is told from a second erasure, and that
/// nobody learns the user from it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct ErasureId(pub [u8; 16]);

impl fmt::Display for ErasureId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl FromStr for ErasureId {
    type Err = ParseErasureIdError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let is_hex = text.len() == 32
            && text.bytes().all(|b| b.is_ascii_digit() || (b'a'..=b'f').contains(&b));
        let number = u128::from_str_radix(text, 16).ok().filter(|_number| is_hex);
        number.map(|number| Self(number.to_be_bytes())).ok_or(ParseErasureIdError)
    }
}

/// A text is no [`ErasureId`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("an erasure's id is 32 hexadecimal digits in lower case")]
pub struct ParseErasureIdError;

/// What the origin said of an erasure. Later ones in this order replace earlier ones.
#[derive(
    Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize,
)]
pub enum OriginAnswer {
    /// Nothing yet that could be relied on.
    #[default]
    Pending,
    /// It does not take this erasure, and would not if it were told again.
    Refused,
    /// It knows.
    Told,
}

/// What goes on elsewhere: whoever leads the shard that holds the note carries it out.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ErasureNote {
    /// The user's id, sealed as a session value of the id `erasure.<id>` and of no user.
    pub sealed: Sealed,
    /// Its key.
    pub key: WrappedKey,
    /// When the erasure was begun, as in [`SessionOp::EraseUser`](super::SessionOp::EraseUser).
    pub begun_ms: u64,
    /// The shards that have confirmed: they are not asked again, for what the user has there now was
    /// made later.
    pub erased: BTreeSet<ShardId>,
    /// What the origin said.
    pub origin: OriginAnswer,
}

impl ErasureNote {
    pub(super) fn check(&self) -> Result<(), Refusal> {
        let (found, max) = (self.sealed.bytes.len(), NOTE_BYTES_MAX);
        if found > max {
            let what = "the note of an erasure".into();
            return Err(Refusal::TooLarge { what, found: found as u64, max: max as u64 });
        }
        if self.erased.len() > NOTE_SHARDS_MAX {
            return Err(Refusal::Invalid(format!(
                "the note of an erasure names at most {NOTE_SHARDS_MAX} shards, not {}",
                self.erased.len()
            )));
        }
        self.key.check()
    }
}

/// An erasure that a shard carried out.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct ErasedHere {
    /// The index of the log entry that did it; 0 = nothing of the user was here, nor may any disk hold
    /// something.
    pub index: u64,
    /// How many sessions it removed.
    pub sessions: u32,
    /// When, in group time; not before the time at which it was begun.
    pub at_ms: u64,
}

/// What a shard says of one erasure.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct ErasureView {
    /// What it did; `None` = nothing (yet), or longer ago than [`ERASURE_RETENTION_MS`].
    pub erased: Option<ErasedHere>,
    /// Up to which index of the log each replica has rid its disk of what was erased.
    pub compacted: Vec<(RaftId, u64)>,
    /// Replicas that left the group, and those of shards that it has taken in, which have not said that
    /// nothing of it is on their disks.
    pub left: Vec<(RaftId, NodeId)>,
    /// What the origin said, if this shard holds the note of what is still to be done.
    pub open: Option<OriginAnswer>,
}

/// A replica that left its group.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct LeftReplica {
    /// Its data directory.
    pub raft: RaftId,
    /// The node which that directory belonged to.
    pub node: NodeId,
    /// The index of the entry that removed it.
    pub left_at: u64,
}

/// One unit of a snapshot. Final on disk: the enum only grows at its end.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum ErasureItem {
    /// The newest entry that destroyed something, how far each replica's disk is rid of it, and up to
    /// when erasures were forgotten before their time.
    Base { last: u64, compacted: Vec<(RaftId, u64)>, forgotten_ms: Option<u64> },
    /// An erasure.
    Done(ErasureId, ErasedHere),
    /// A note.
    Open(ErasureId, ErasureNote),
    /// The replicas of the group, and those that have left it.
    Replicas { members: Vec<(RaftId, NodeId)>, left: Vec<LeftReplica> },
    /// Users of whom disks may hold something.
    Named(Named),
    /// Replicas of shards that were taken in; none = left out.
    Retired(Vec<RetiredReplica>),
}

/// The erasures of a shard.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Erasures {
    done: BTreeMap<ErasureId, ErasedHere>,
    by_time: BTreeSet<(u64, ErasureId)>,
    open: BTreeMap<ErasureId, ErasureNote>,
    /// The newest entry behind which nothing of what was erased may stay on a disk; 0 = none.
    last: u64,
    /// How far the disks of `members` are.
    compacted: BTreeMap<RaftId, u64>,
    /// The replicas of the group.
    members: BTreeMap<RaftId, NodeId>,
    /// Those that were, in the order in which they left.
    left: Vec<LeftReplica>,
    /// Those of shards that were taken in, oldest first.
    retired: Vec<RetiredReplica>,
    named: Named,
    /// The latest time of an erasure that had to make room for newer ones.
    forgotten_ms: Option<u64>,
}

impl Erasures {
    pub(super) fn get(&self, id: ErasureId) -> Option<ErasedHere> {
        self.done.get(&id).copied()
    }

    /// Whether an erasure begun at `begun_ms` that is not among those done may be carried out: not if
    /// it may have been and was forgotten since, because it would take what was made after it.
    ///
    /// # Errors
    /// When nobody can tell any more.
    pub(super) fn may_begin(&self, begun_ms: u64, now_ms: u64) -> Result<(), Refusal> {
        let is_over = begun_ms.saturating_add(ERASURE_RETENTION_MS) <= now_ms;
        if is_over || self.forgotten_ms.is_some_and(|forgotten| begun_ms <= forgotten) {
            let text = "the erasure was begun so long ago that it may have been carried out and \
                        forgotten; ask for a new one";
            return Err(Refusal::Invalid(text.into()));
        }
        Ok(())
    }

    /// What a part begins with that the entry of `index` splits off: what was carried out is, there too, and
    /// the disks of its replicas, which are those of the shard, begin behind it. What is to be done elsewhere
    /// stays with the shard, and so do replicas that left it.
    pub(super) fn inherited(&self, index: u64) -> Self {
        if planted::has(Bug::SplitForgetsErasures) {
            return Self { members: self.members.clone(), ..Self::default() };
        }
        Self {
            done: self.done.clone(),
            by_time: self.by_time.clone(),
            open: BTreeMap::new(),
            last: self.last,
            compacted: self.members.keys().map(|raft| (*raft, index)).collect(),
            members: self.members.clone(),
            left: Vec::new(),
            retired: Vec::new(),
            named: Named::default(),
            forgotten_ms: self.forgotten_ms,
        }
    }

    /// Notes an erasure as done, `erased.at_ms` not before it was begun.
    pub(super) fn record(&mut self, id: ErasureId, erased: ErasedHere) {
        self.done.insert(id, erased);
        self.by_time.insert((erased.at_ms, id));
        while self.done.len() > ERASURES_MAX {
            self.forgotten_ms = self.forgotten_ms.max(self.forget_oldest());
        }
    }

    /// Notes that disks have to be rid of everything before the entry of `index`.
    pub(super) fn note(&mut self, index: u64) {
        if index > self.last {
            self.last = index;
            self.named.begin_anew();
        }
    }

    /// The newest entry behind which nothing of what was erased may stay on a disk; 0 = none.
    pub(super) const fn last(&self) -> u64 {
        self.last
    }

    /// Whether an erasure was ever carried out here, be it of a user with nothing in the shard.
    pub(super) fn are_any(&self) -> bool {
        self.last > 0 || !self.done.is_empty()
    }

    /// Notes that logs may name users of whom nothing was ever applied.
    pub(super) fn name_any(&mut self) {
        self.named.name_any();
    }

    /// Notes that log or snapshots from here on hold something of a user.
    pub(super) fn name(&mut self, user: &str) {
        self.named.name(user);
    }

    /// Whether log or snapshots may hold something of a user.
    pub(super) fn may_name(&self, user: &str) -> bool {
        self.named.may_hold(user)
    }

    /// Takes over who the replicas are since the entry of `index`. What a replica said of its disk goes
    /// when it leaves: should it come back, its disk is whatever became of it.
    pub(super) fn members_are(&mut self, index: u64, members: &BTreeMap<RaftId, NodeId>) {
        let gone = self.members.iter().filter(|(raft, _)| !members.contains_key(raft));
        let gone =
            gone.map(|(raft, node)| LeftReplica { raft: *raft, node: *node, left_at: index });
        self.left.extend(gone);
        self.left.retain(|left| !members.contains_key(&left.raft));
        let too_many = self.left.len().saturating_sub(LEFT_MAX);
        self.left.drain(..too_many);
        self.compacted.retain(|raft, _| members.contains_key(raft));
        self.members.clone_from(members);
        self.forget_named();
    }

    /// The replicas that left and may hold something still.
    pub(super) fn left(&self) -> impl Iterator<Item = LeftReplica> {
        self.left.iter().copied()
    }

    /// A replica that left at that entry has nothing of the group any more.
    pub(super) fn destroyed(&mut self, raft: RaftId, left_at: u64) {
        self.left.retain(|left| (left.raft, left.left_at) != (raft, left_at));
    }

    /// Keeps a note; what an earlier one of the same erasure knew stays known.
    ///
    /// # Errors
    /// When too much is open.
    pub(super) fn keep(&mut self, id: ErasureId, note: &ErasureNote) -> Result<(), Refusal> {
        if self.open.len() >= OPEN_MAX && !self.open.contains_key(&id) {
            return Err(Refusal::Limit(format!("{OPEN_MAX} erasures are open")));
        }
        let note = self.joined(id, note.clone());
        note.check()?;
        self.open.insert(id, note);
        Ok(())
    }

    /// Answers whether there was a note.
    pub(super) fn close(&mut self, id: ErasureId) -> bool {
        self.open.remove(&id).is_some()
    }

    /// Notes how far a replica's disk is; late news of one that has left says nothing.
    pub(super) fn compacted(&mut self, raft: RaftId, upto: u64) {
        if self.members.contains_key(&raft) {
            let known = self.compacted.entry(raft).or_default();
            *known = (*known).max(upto);
            self.forget_named();
        }
    }

    /// Once all disks are past the last demand, nothing from before it is on any of them.
    fn forget_named(&mut self) {
        let is_past = |raft| self.compacted.get(raft).is_some_and(|upto| *upto >= self.last);
        if !self.members.is_empty() && self.members.keys().all(is_past) {
            self.named.forget_earlier();
        }
    }

    /// The index that the disk of `raft` has still to be rid of, if it is a replica.
    pub(super) fn due_at(&self, raft: RaftId) -> Option<u64> {
        if !self.members.contains_key(&raft) {
            return None;
        }
        let done = self.compacted.get(&raft).copied().unwrap_or(0);
        (self.last > done).then_some(self.last)
    }

    pub(super) fn view(&self, id: ErasureId) -> ErasureView {
        ErasureView {
            erased: self.get(id),
            compacted: self.compacted.iter().map(|(raft, upto)| (*raft, *upto)).collect(),
            left: self.gone().collect(),
            open: self.open.get(&id).map(|note| note.origin),
        }
    }

    /// The notes of the erasures behind `after`, in the order of their ids.
    pub(super) fn open(
        &self,
        after: Option<ErasureId>,
    ) -> impl Iterator<Item = (ErasureId, &ErasureNote)> {
        let from = after.map_or(Bound::Unbounded, Bound::Excluded);
        self.open.range((from, Bound::Unbounded)).map(|(id, note)| (*id, note))
    }

    pub(super) fn expire_due(&mut self, now_ms: u64) {
        while self.next_due_ms().is_some_and(|due| due <= now_ms) {
            self.forget_oldest();
        }
    }

    pub(super) fn next_due_ms(&self) -> Option<u64> {
        self.by_time.first().map(|(at, _)| at.saturating_add(ERASURE_RETENTION_MS))
    }

    pub(super) fn items(&self) -> impl Iterator<Item = ErasureItem> + '_ {
        let compacted = self.compacted.iter().map(|(raft, upto)| (*raft, *upto)).collect();
        let forgotten_ms = self.forgotten_ms;
        let base = ErasureItem::Base { last: self.last, compacted, forgotten_ms };
        let is_empty = *self == Self::default();
        let done = self.done.iter().map(|(id, erased)| ErasureItem::Done(*id, *erased));
        let open = self.open.iter().map(|(id, note)| ErasureItem::Open(*id, note.clone()));
        let members = self.members.iter().map(|(raft, node)| (*raft, *node)).collect();
        let replicas = ErasureItem::Replicas { members, left: self.left.clone() };
        let named = self.named.parts().map(ErasureItem::Named);
        let fixed = [base, replicas].into_iter().filter(move |_item| !is_empty);
        let retired = !self.retired.is_empty();
        let retired = retired.then(|| ErasureItem::Retired(self.retired.clone()));
        fixed.chain(named).chain(retired).chain(done).chain(open)
    }

    pub(super) fn restore(&mut self, item: ErasureItem) {
        match item {
            ErasureItem::Base { last, compacted, forgotten_ms } => {
                self.forgotten_ms = forgotten_ms;
                self.last = last;
                self.compacted = compacted.into_iter().collect();
            }
            ErasureItem::Done(id, erased) => self.record(id, erased),
            ErasureItem::Open(id, note) => {
                self.open.insert(id, note);
            }
            ErasureItem::Replicas { members, left } => {
                self.members = members.into_iter().collect();
                self.left = left;
            }
            ErasureItem::Named(part) => self.named.add(part),
            ErasureItem::Retired(retired) => self.retired = retired,
        }
    }

    /// Answers when it was carried out.
    fn forget_oldest(&mut self) -> Option<u64> {
        let (at_ms, id) = self.by_time.pop_first()?;
        self.done.remove(&id);
        Some(at_ms)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_id_is_read_as_it_is_shown() {
        let id = ErasureId([0x0a, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 0xff]);
        assert_eq!(id.to_string(), "0a0102030405060708090a0b0c0d0eff");
        assert_eq!(id.to_string().parse(), Ok(id));
        for wrong in ["", "0A0102030405060708090a0b0c0d0eff", "+a0102030405060708090a0b0c0d0eff"] {
            assert_eq!(wrong.parse::<ErasureId>(), Err(ParseErasureIdError), "{wrong}");
        }
    }

    #[test]
    fn a_disk_is_due_until_it_is_past_the_last_erasure() {
        let mut erasures = Erasures::default();
        erasures.members_are(1, &members(&[1, 2]));
        assert_eq!(erasures.due_at(RaftId(1)), None);
        erasures.note(7);
        erasures.compacted(RaftId(1), 6);
        assert_eq!(erasures.due_at(RaftId(1)), Some(7));
        erasures.compacted(RaftId(1), 7);
        // Late news of the past takes nothing back.
        erasures.compacted(RaftId(1), 3);
        assert_eq!(erasures.due_at(RaftId(1)), None);
        assert_eq!(erasures.due_at(RaftId(2)), Some(7));
    }

    fn members(rafts: &[u64]) -> BTreeMap<RaftId, NodeId> {
        rafts.iter().map(|raft| (RaftId(*raft), NodeId(9))).collect()
    }

    #[test]
    fn a_replica_that_left_is_told_of_until_it_holds_nothing_and_its_word_does_not_outlast_it() {
        let mut erasures = Erasures::default();
        erasures.members_are(1, &members(&[1, 2]));
        erasures.note(7);
        erasures.compacted(RaftId(1), 7);
        erasures.members_are(8, &members(&[2]));
        // Late news, of before it left.
        erasures.compacted(RaftId(1), 7);
        let left = vec![LeftReplica { raft: RaftId(1), node: NodeId(9), left_at: 8 }];
        assert_eq!(erasures.left().collect::<Vec<_>>(), left);
        assert_eq!(erasures.due_at(RaftId(1)), None);
        // Back under its id: its disk is as unknown as any.
        erasures.members_are(9, &members(&[1, 2]));
        assert_eq!((erasures.left().count(), erasures.due_at(RaftId(1))), (0, Some(7)));
        erasures.members_are(10, &members(&[2]));
        erasures.destroyed(RaftId(1), 8);
        assert_eq!(erasures.left().count(), 1, "that was said of its first leave");
        let mut again = Erasures::default();
        erasures.items().for_each(|item| again.restore(item));
        assert_eq!(again, erasures);
        erasures.destroyed(RaftId(1), 10);
        assert_eq!(erasures.view(ErasureId([1; 16])).left, []);
    }

    #[test]
    fn open_erasures_are_told_of_from_any_one_on() {
        let mut erasures = Erasures::default();
        for number in 1..=3 {
            erasures.keep(ErasureId([number; 16]), &note_of(1, 1, OriginAnswer::Told)).unwrap();
        }
        let after = |after: Option<u8>| -> Vec<u8> {
            let after = after.map(|number| ErasureId([number; 16]));
            erasures.open(after).map(|(id, _)| id.0[0]).collect()
        };
        assert_eq!(
            (after(None), after(Some(1)), after(Some(3))),
            (vec![1, 2, 3], vec![2, 3], vec![])
        );
    }

    #[test]
    fn an_erasure_is_forgotten_in_time() {
        let mut erasures = Erasures::default();
        let erased = ErasedHere { index: 5, sessions: 2, at_ms: 1_000 };
        erasures.record(ErasureId([1; 16]), erased);
        erasures.expire_due(1_000 + ERASURE_RETENTION_MS - 1);
        assert_eq!(erasures.get(ErasureId([1; 16])), Some(erased));
        erasures.expire_due(1_000 + ERASURE_RETENTION_MS);
        assert_eq!(erasures, Erasures::default());
    }

    #[test]
    fn what_was_forgotten_early_is_not_begun_again() {
        let mut erasures = Erasures::default();
        for number in 0..=ERASURES_MAX as u64 {
            let id = ErasureId(u128::from(number).to_be_bytes());
            assert_eq!(erasures.may_begin(number, number), Ok(()));
            erasures.record(id, ErasedHere { index: number, sessions: 0, at_ms: number });
        }
        assert_eq!(erasures.get(ErasureId([0; 16])), None);
        assert!(erasures.may_begin(0, ERASURES_MAX as u64).is_err());
        assert_eq!(erasures.may_begin(1, ERASURES_MAX as u64), Ok(()));
        let mut again = Erasures::default();
        erasures.items().for_each(|item| again.restore(item));
        assert_eq!(again, erasures);
    }

    #[test]
    fn a_later_note_takes_nothing_back() {
        let (mut erasures, id) = (Erasures::default(), ErasureId([1; 16]));
        erasures.keep(id, &note_of(5, 1, OriginAnswer::Told)).unwrap();
        erasures.keep(id, &note_of(9, 2, OriginAnswer::Pending)).unwrap();
        let (_, kept) = erasures.open(None).next().unwrap();
        assert_eq!(kept.erased, [ShardId(1), ShardId(2)].into());
        assert_eq!((kept.begun_ms, kept.origin), (5, OriginAnswer::Told));
    }

    fn note_of(begun_ms: u64, shard: u64, origin: OriginAnswer) -> ErasureNote {
        ErasureNote {
            sealed: Sealed { key_id: 1, bytes: Vec::new() },
            key: WrappedKey { id: 1, by: "k".into(), bytes: vec![1] },
            begun_ms,
            erased: [ShardId(shard)].into(),
            origin,
        }
    }
}
