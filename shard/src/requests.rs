//! The memory of requests: by which a repeat of a proposal gets the answer of the first.

use std::collections::{BTreeMap, VecDeque, btree_map::Entry};

use hexpop_edge_config::RequestId;
use serde::{Deserialize, Serialize};

use crate::{
    command::Reply, directory::DirectoryOutcome, key::ShardKey, listings::ListingsOutcome,
    meta::MetaOutcome, session::SessionOutcome,
};

/// How long a reply is kept, in milliseconds of group time: 10 min, longer than any retry lives.
const RETENTION_MS: u64 = 10 * 60 * 1000;

/// The most replies that are kept; beyond it the oldest go early.
const REPLIES_MAX: usize = 100_000;

/// The most bytes that they may weigh together; beyond it the oldest go early.
const BYTES_MAX: u64 = 64 << 20;

/// One reply.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct Remembered {
    /// The request.
    pub(crate) id: RequestId,
    /// When it was applied, in group time.
    pub(crate) at_ms: u64,
    /// What it answered.
    pub(crate) reply: Reply,
}

/// The replies to the latest requests.
#[derive(Debug, Default)]
pub(crate) struct RequestMemory {
    replies: BTreeMap<RequestId, Reply>,
    /// Oldest first; group time never goes back.
    order: VecDeque<(u64, RequestId)>,
    bytes: u64,
}

impl RequestMemory {
    /// How many replies are kept.
    pub(crate) fn len(&self) -> usize {
        self.replies.len()
    }

    /// The reply that a request got.
    pub(crate) fn get(&self, id: &RequestId) -> Option<&Reply> {
        self.replies.get(id)
    }

    /// Keeps the reply of a request that has none yet.
    pub(crate) fn remember(&mut self, remembered: Remembered) {
        let Remembered { id, at_ms, reply } = remembered;
        self.bytes = self.bytes.saturating_add(weight(&reply));
        self.order.push_back((at_ms, id));
        self.replies.insert(id, reply);
        while self.replies.len() > REPLIES_MAX || self.bytes > BYTES_MAX {
            self.forget_oldest();
        }
    }

    /// For a split: replies about a record whose key `moves` go into a memory of their own, and those that
    /// do not say which record they are about are in both, in the order they have here.
    pub(crate) fn divide(&mut self, moves: impl Fn(&ShardKey) -> bool) -> Self {
        let (mut stays, mut goes) = (Self::default(), Self::default());
        for remembered in self.items() {
            match key_of(&remembered.reply).map(|key| moves(&key)) {
                Some(true) => goes.remember(remembered),
                Some(false) => stays.remember(remembered),
                None => {
                    goes.remember(remembered.clone());
                    stays.remember(remembered);
                }
            }
        }
        *self = stays;
        goes
    }

    /// For a merge: takes the replies of another memory in among these, by their times.
    ///
    /// Who is in both was carried out before the two were divided, and is told the same in both; or it
    /// was refused in one of them, where it did not belong.
    pub(crate) fn absorb(&mut self, other: Self) {
        let is_refused = |reply: &Reply| matches!(reply, Reply::Refused(_));
        let mut chosen: BTreeMap<RequestId, Remembered> = BTreeMap::new();
        for remembered in self.items().chain(other.items()) {
            match chosen.entry(remembered.id) {
                Entry::Vacant(free) => {
                    free.insert(remembered);
                }
                Entry::Occupied(mut known) => {
                    if is_refused(&known.get().reply) && !is_refused(&remembered.reply) {
                        known.insert(remembered);
                    }
                }
            }
        }
        let mut chosen: Vec<Remembered> = chosen.into_values().collect();
        chosen.sort_by_key(|remembered| (remembered.at_ms, remembered.id));
        *self = Self::default();
        chosen.into_iter().for_each(|remembered| self.remember(remembered));
    }

    /// Forgets replies whose time is over.
    pub(crate) fn forget_due(&mut self, now_ms: u64) {
        while self.order.front().is_some_and(|(at, _)| at.saturating_add(RETENTION_MS) <= now_ms) {
            self.forget_oldest();
        }
    }

    /// Takes a user who was erased out of the replies. A repeat is still recognised, and does nothing.
    pub(crate) fn blank(&mut self, user: &str) {
        for reply in self.replies.values_mut() {
            if let Reply::Session(
                SessionOutcome::Created(head)
                | SessionOutcome::Replaced(head)
                | SessionOutcome::Repeated(head),
            ) = reply
                && head.user == user
            {
                *reply = Reply::Session(SessionOutcome::UserErased);
            }
        }
    }

    /// The users that replies name.
    pub(crate) fn users(&self) -> impl Iterator<Item = &str> {
        self.replies.values().filter_map(|reply| match reply {
            Reply::Session(
                SessionOutcome::Created(head)
                | SessionOutcome::Replaced(head)
                | SessionOutcome::Repeated(head),
            ) => Some(head.user.as_str()),
            _ => None,
        })
    }

    /// All replies, oldest first.
    pub(crate) fn items(&self) -> impl Iterator<Item = Remembered> {
        self.order.iter().filter_map(|(at_ms, id)| {
            Some(Remembered { id: *id, at_ms: *at_ms, reply: self.replies.get(id)?.clone() })
        })
    }

    fn forget_oldest(&mut self) {
        if let Some(reply) = self.order.pop_front().and_then(|(_, id)| self.replies.remove(&id)) {
            self.bytes = self.bytes.saturating_sub(weight(&reply));
        }
    }
}

/// The key of the record that a reply is about, if it says.
fn key_of(reply: &Reply) -> Option<ShardKey> {
    match reply {
        Reply::Session(
            SessionOutcome::Created(head)
            | SessionOutcome::Replaced(head)
            | SessionOutcome::Repeated(head),
        ) => Some(head.id.key()),
        _ => None,
    }
}

/// About how many bytes a reply takes in memory.
fn weight(reply: &Reply) -> u64 {
    const REPLY: usize = 640;
    const ITEM: usize = 256;
    let items = match reply {
        Reply::Listings(ListingsOutcome::Items(items)) => items.len(),
        Reply::Directory(DirectoryOutcome::Compared(changes)) => changes.len(),
        Reply::Meta(MetaOutcome::Reported { refused, .. }) => refused.len(),
        Reply::Done
        | Reply::Refused(_)
        | Reply::Meta(_)
        | Reply::Listings(ListingsOutcome::Marked)
        | Reply::Session(_)
        | Reply::Split(_)
        | Reply::Merge(_)
        | Reply::Purge(_) => 0,
    };
    (REPLY + ITEM * items) as u64
}

#[cfg(test)]
mod tests {
    use hexpop_edge_config::RaftId;

    use super::*;

    fn request(sequence: u64, at_ms: u64) -> Remembered {
        let id = RequestId { origin: RaftId(1), start: 1, sequence };
        Remembered { id, at_ms, reply: Reply::Done }
    }

    #[test]
    fn replies_are_kept_for_their_time_and_no_longer() {
        let mut memory = RequestMemory::default();
        memory.remember(request(1, 1_000));
        memory.remember(request(2, 2_000));
        memory.forget_due(1_000 + RETENTION_MS - 1);
        assert!(memory.get(&request(1, 0).id).is_some());
        memory.forget_due(1_000 + RETENTION_MS);
        assert!(memory.get(&request(1, 0).id).is_none());
        assert!(memory.get(&request(2, 0).id).is_some());
        memory.forget_due(u64::MAX);
        assert_eq!((memory.items().count(), memory.bytes), (0, 0));
    }

    #[test]
    fn two_memories_are_one_in_the_order_of_their_times() {
        let (mut here, mut there) = (RequestMemory::default(), RequestMemory::default());
        let refused = |sequence, at_ms| {
            let refusal = crate::Refusal::WrongKind;
            Remembered { reply: Reply::Refused(refusal), ..request(sequence, at_ms) }
        };
        for remembered in [request(1, 10), refused(2, 20), request(3, 30)] {
            here.remember(remembered);
        }
        // The first was there when they were one; the second belongs there, the third does not.
        for remembered in [request(1, 10), request(4, 15), request(2, 25), refused(3, 40)] {
            there.remember(remembered);
        }
        here.absorb(there);
        let all: Vec<Remembered> = here.items().collect();
        assert_eq!(all, [request(1, 10), request(4, 15), request(2, 25), request(3, 30)]);
        assert_eq!(here.bytes, 4 * weight(&Reply::Done));
        here.forget_due(15 + RETENTION_MS);
        assert_eq!(here.len(), 2);
    }

    #[test]
    fn the_memory_is_bounded() {
        let mut memory = RequestMemory::default();
        for sequence in 0..REPLIES_MAX as u64 + 10 {
            memory.remember(request(sequence, 0));
        }
        assert!(memory.items().count() <= REPLIES_MAX && memory.bytes <= BYTES_MAX);
        assert!(memory.get(&request(REPLIES_MAX as u64 + 9, 0).id).is_some());
        assert!(memory.get(&request(0, 0).id).is_none());
    }
}
