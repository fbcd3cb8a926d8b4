//! A log store over fjall: a log-structured merge tree with a journal.

use std::{ops::Range, path::Path};

use fjall::{Database, Keyspace, KeyspaceCreateOptions, PersistMode};

use crate::{
    committer::{Backend, Committer},
    store::{Change, Store},
};

/// The least that fjall allows for its journals; the default is half a gigabyte, which would make
/// its disk use look worse than it has to be.
const JOURNAL_BYTES: u64 = 64 << 20;

pub(crate) struct InFjall {
    entries: Keyspace,
    votes: Keyspace,
    committer: Committer,
}

struct Writer {
    database: Database,
    entries: Keyspace,
    votes: Keyspace,
    /// The first index of every group, so that a purge need not look for it.
    first: Vec<u64>,
}

impl Backend for Writer {
    fn commit(&mut self, batch: &[(u64, Change)]) {
        let mut write = self.database.batch().durability(Some(PersistMode::SyncAll));
        for (group, change) in batch {
            match change {
                Change::Append { first, entries } => {
                    for (index, payload) in (*first..).zip(entries) {
                        write.insert(&self.entries, key(*group, index), payload.as_ref());
                    }
                }
                Change::Vote(term) => {
                    write.insert(&self.votes, group.to_be_bytes(), term.to_be_bytes());
                }
                Change::Purge(upto) => {
                    let first = &mut self.first[*group as usize];
                    for index in *first..=*upto {
                        write.remove(&self.entries, key(*group, index));
                    }
                    *first = upto + 1;
                }
            }
        }
        write.commit().unwrap();
    }
}

fn key(group: u64, index: u64) -> [u8; 16] {
    ((u128::from(group) << 64) | u128::from(index)).to_be_bytes()
}

fn index_of(key: &[u8]) -> u64 {
    u64::from_be_bytes(key[8..].try_into().unwrap())
}

fn indexes(entries: &Keyspace, group: u64) -> Range<u64> {
    let mut range = entries.range(key(group, 0)..=key(group, u64::MAX));
    let first = range.next().map(|entry| index_of(&entry.key().unwrap()));
    let last = range.next_back().map(|entry| index_of(&entry.key().unwrap()));
    match (first, last) {
        (Some(first), last) => first..last.unwrap_or(first) + 1,
        (None, _) => 0..0,
    }
}

impl Store for InFjall {
    const NAME: &'static str = "fjall";

    fn open(dir: &Path, groups: u64) -> Self {
        let database = Database::builder(dir).max_journaling_size(JOURNAL_BYTES).open().unwrap();
        let entries = database.keyspace("entries", KeyspaceCreateOptions::default).unwrap();
        let votes = database.keyspace("votes", KeyspaceCreateOptions::default).unwrap();
        let first = (0..groups).map(|group| indexes(&entries, group).start).collect();
        let writer = Writer { database, entries: entries.clone(), votes: votes.clone(), first };
        Self { entries, votes, committer: Committer::new(writer) }
    }

    async fn change(&self, group: u64, change: Change) {
        self.committer.change(group, change).await;
    }

    fn indexes(&self, group: u64) -> Range<u64> {
        indexes(&self.entries, group)
    }

    fn vote(&self, group: u64) -> u64 {
        let vote = self.votes.get(group.to_be_bytes()).unwrap();
        vote.map_or(0, |term| u64::from_be_bytes(term.as_ref().try_into().unwrap()))
    }

    fn read(&self, group: u64, mut each: impl FnMut(u64, &[u8])) {
        for entry in self.entries.range(key(group, 0)..=key(group, u64::MAX)) {
            let (key, value) = entry.into_inner().unwrap();
            each(index_of(&key), &value);
        }
    }
}
