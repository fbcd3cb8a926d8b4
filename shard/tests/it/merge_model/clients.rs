//! What clients do: writes of sessions, and erasures of users.

use std::collections::BTreeSet;

use hexpop_edge_config::{Epoch, RaftId, RequestId, ShardId};
use hexpop_shard::{
    Command, CreateSession, ErasureId, IdempotencyKey, MemoryDocuments, Op, PutSession, ReadAnswer,
    ReadOp, RecordVersion, Refusal, Reply, Sealed, SessionLimits, SessionOp, SessionOutcome,
    ShardKey, ShardState, WrappedKey,
};

use super::{
    replicas::Entry,
    world::{Erasure, PUTS, SESSIONS, USERS, World, Write, session},
};

const fn user(session: usize) -> usize {
    session % USERS
}

fn name(user: usize) -> String {
    format!("u{user}")
}

/// A value and its version, as a shard has it.
pub(super) fn stored(state: &ShardState, number: usize) -> Option<(u64, RecordVersion)> {
    let op = ReadOp::Session { id: session(number) };
    match state.read(&op, &MemoryDocuments::default()) {
        ReadAnswer::Session(found) => found.map(|found| {
            // Without its key a value is noise.
            assert!(found.key.is_some());
            let value = found.record.sealed.bytes.try_into().unwrap();
            (u64::from_be_bytes(value), found.record.head.version)
        }),
        ReadAnswer::Refused(_) => None,
        other => panic!("{other:?}"),
    }
}

fn operation(write: &Write) -> SessionOp {
    let number = write.session;
    let (id, user) = (session(number), name(user(number)));
    // Two nodes each bring a key of their own.
    let key_id = 10 + 2 * (number % USERS) as u64 + write.value % 2;
    let sealed = Sealed { key_id, bytes: write.value.to_be_bytes().to_vec() };
    let key = Some(WrappedKey { id: key_id, by: "k".into(), bytes: vec![1] });
    let limits = SessionLimits { per_user: 1_000, ..SessionLimits::default() };
    let (ttl_ms, sliding) = (1_000_000, false);
    if number < PUTS {
        let condition = None;
        return SessionOp::Put(PutSession {
            id,
            user,
            ttl_ms,
            sliding,
            sealed,
            key,
            condition,
            limits,
        });
    }
    let idempotency = Some(IdempotencyKey { key: [number as u8; 32], body: [0; 32] });
    SessionOp::Create(CreateSession { id, user, ttl_ms, sliding, sealed, key, idempotency, limits })
}

impl World {
    /// Where a client goes for a key: by its map, then wherever it is told.
    fn route(&self, client: usize, key: &ShardKey) -> (ShardId, Epoch) {
        let mut believed = self.maps[client].locate(key).unwrap().clone();
        for _hop in 0..8 {
            let Some(group) = self.groups.get(&believed.id) else {
                // Whoever is asked has nothing of it, and the newest map.
                let known = self.meta.map().locate(key).unwrap();
                if known.id == believed.id {
                    self.violated(&format!("nobody holds {key}"));
                }
                believed = known.clone();
                continue;
            };
            let current = group.truth.epoch();
            if believed.epoch.version == current.version {
                return (believed.id, believed.epoch);
            }
            let children = group.truth.children().iter().map(|child| child.descriptor.clone());
            let holders = children.chain([group.descriptor()]);
            let holder = holders
                .filter(|holder| holder.range.contains(key))
                .max_by_key(|holder| holder.epoch);
            let newest = || self.meta.map().locate(key).unwrap().clone();
            believed = holder.unwrap_or_else(newest);
        }
        self.violated(&format!("{key} is not found from map {}", self.maps[client].version()))
    }

    pub(super) fn write(&mut self, client: usize, write: Write) {
        let key = session(write.session).key();
        // Some go by an old map to a leader that has not applied the change yet.
        let is_blind = self.rng.chance(20);
        let (shard, epoch) = if is_blind {
            let believed = self.maps[client].locate(&key).unwrap();
            (believed.id, believed.epoch)
        } else {
            self.route(client, &key)
        };
        if !self.groups.contains_key(&shard) {
            self.unheard.push(write);
            return;
        }
        let before = stored(&self.groups[&shard].truth, write.session);
        let request = Some(RequestId { origin: RaftId(9), start: 1, sequence: write.request });
        let op = Op::Session(operation(&write));
        let command = Command { request, epoch, at_ms: self.now, op };
        let reply = self.commit(shard, Entry::Command(Box::new(command)));
        match reply.unwrap() {
            Reply::Session(
                SessionOutcome::Created(_)
                | SessionOutcome::Replaced(_)
                | SessionOutcome::Repeated(_)
                | SessionOutcome::UserErased
                | SessionOutcome::IdempotencyErased,
            ) => {
                let after = stored(&self.groups[&shard].truth, write.session);
                if after != before {
                    self.note_stored(&write);
                }
                if self.rng.chance(25) {
                    self.unheard.push(write);
                } else if write.session >= PUTS && self.rng.chance(30) {
                    // The client lost its answer, and asks anew for the same.
                    let request = write.request + 1_000_000;
                    self.unheard.push(Write { request, ..write });
                }
            }
            Reply::Refused(Refusal::StaleEpoch { .. }) => {
                if !is_blind {
                    self.violated("the right epoch is refused");
                }
                self.unheard.push(write);
            }
            Reply::Refused(Refusal::Sealed { .. }) => {
                self.tally.sealed += 1;
                self.unheard.push(write);
            }
            other => self.violated(&format!("{other:?}")),
        }
    }

    fn note_stored(&mut self, write: &Write) {
        let times = self.stored.entry(write.value).or_default();
        *times += 1;
        if *times > 1 {
            self.violated(&format!("{} was stored twice", write.value));
        }
        if write.session >= PUTS && !self.created.insert(write.session) {
            self.violated(&format!("session {} was stored by two creates", write.session));
        }
        self.reference.insert(write.session, (write.value, self.now));
    }

    pub(super) fn begin_erasure(&mut self) {
        if self.erasures.len() >= 4 {
            return;
        }
        let id = ErasureId([self.erasures.len() as u8; 16]);
        let user = self.rng.below(USERS);
        self.erasures.push(Erasure {
            id,
            user,
            begun: self.now,
            confirmed: BTreeSet::new(),
            complete: None,
        });
        self.tally.erasures += 1;
    }

    /// Asks one shard, of those that the map has, for an erasure that it has not confirmed.
    pub(super) fn carry_on_erasing(&mut self) {
        if self.erasures.is_empty() {
            return;
        }
        let at = self.rng.below(self.erasures.len());
        let left = self.shards_left(at);
        if !left.is_empty() {
            let (shard, epoch) = *self.rng.pick(&left);
            self.erase_in(at, shard, epoch);
        }
        self.note_complete(at);
    }

    pub(super) fn erase_where_left(&mut self, at: usize) {
        for (shard, epoch) in self.shards_left(at) {
            self.erase_in(at, shard, epoch);
        }
        self.note_complete(at);
    }

    /// The shards that are looked at and have not confirmed.
    fn shards_left(&self, at: usize) -> Vec<(ShardId, Epoch)> {
        let map = self.meta.map();
        let shards = map.overlapping(&super::world::territory()).into_iter();
        shards
            .filter(|shard| !self.erasures[at].confirmed.contains(&shard.id))
            .map(|shard| (shard.id, shard.epoch))
            .collect()
    }

    fn erase_in(&mut self, at: usize, shard: ShardId, epoch: Epoch) {
        let Erasure { id: erasure, user, begun, complete, .. } = self.erasures[at];
        let Some(group) = self.groups.get(&shard) else { return };
        let known = group.truth.as_sessions().unwrap().erasure(erasure).erased;
        let range = group.truth.range().unwrap().clone();
        let op = SessionOp::EraseUser { user: name(user), erasure, begun_ms: begun };
        let command = Command { request: None, epoch, at_ms: self.now, op: Op::Session(op) };
        let reply = self.commit(shard, Entry::Command(Box::new(command)));
        if !matches!(reply, Some(Reply::Session(SessionOutcome::Erased { .. }))) {
            return;
        }
        if known.is_none() {
            for number in (0..SESSIONS).filter(|number| self::user(*number) == user) {
                if !range.contains(&session(number).key()) {
                    continue;
                }
                if let Some((value, at)) = self.reference.remove(&number)
                    && complete.is_some_and(|complete| complete < at)
                {
                    self.violated(&format!("{value} was made after the erasure that took it"));
                }
            }
        }
        // Whoever carries it out may not hear of it.
        if self.rng.chance(80) {
            self.erasures[at].confirmed.insert(shard);
        }
    }

    fn note_complete(&mut self, at: usize) {
        if self.erasures[at].complete.is_none() && self.shards_left(at).is_empty() {
            self.erasures[at].complete = Some(self.now);
            let Erasure { user, begun, .. } = self.erasures[at];
            let is_left = |(number, (_, at)): (&usize, &(u64, u64))| {
                self::user(*number) == user && *at < begun
            };
            if let Some((number, _)) = self.reference.iter().find(|it| is_left((it.0, it.1))) {
                self.violated(&format!("session {number} is erased and still there"));
            }
        }
    }
}
