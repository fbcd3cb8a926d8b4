//! A log store over redb: a copy-on-write B-tree in one file.

use std::{ops::Range, path::Path, sync::Arc};

use redb::{Database, Durability, ReadableDatabase, TableDefinition, TableError, WriteTransaction};

use crate::{
    committer::{Backend, Committer},
    store::{Change, Store},
};

const ENTRIES: TableDefinition<'_, (u64, u64), &[u8]> = TableDefinition::new("entries");
const VOTES: TableDefinition<'_, u64, u64> = TableDefinition::new("votes");

pub(crate) struct InRedb {
    database: Arc<Database>,
    committer: Committer,
}

struct Writer(Arc<Database>);

impl Backend for Writer {
    fn commit(&mut self, batch: &[(u64, Change)]) {
        let transaction = begin(&self.0);
        {
            let mut entries = transaction.open_table(ENTRIES).unwrap();
            let mut votes = transaction.open_table(VOTES).unwrap();
            for (group, change) in batch {
                match change {
                    Change::Append { first, entries: appended } => {
                        for (index, payload) in (*first..).zip(appended) {
                            entries.insert((*group, index), payload.as_ref()).unwrap();
                        }
                    }
                    Change::Vote(term) => drop(votes.insert(group, term).unwrap()),
                    Change::Purge(upto) => {
                        let range = (*group, 0)..=(*group, *upto);
                        entries.retain_in(range, |_key, _value| false).unwrap();
                    }
                }
            }
        }
        transaction.commit().unwrap();
    }
}

fn begin(database: &Database) -> WriteTransaction {
    let mut transaction = database.begin_write().unwrap();
    transaction.set_durability(Durability::Immediate).unwrap();
    transaction
}

impl Store for InRedb {
    const NAME: &'static str = "redb";

    fn open(dir: &Path, _groups: u64) -> Self {
        std::fs::create_dir_all(dir).unwrap();
        let database = Arc::new(Database::create(dir.join("log.redb")).unwrap());
        let committer = Committer::new(Writer(database.clone()));
        Self { database, committer }
    }

    async fn change(&self, group: u64, change: Change) {
        self.committer.change(group, change).await;
    }

    fn indexes(&self, group: u64) -> Range<u64> {
        let read = self.database.begin_read().unwrap();
        let entries = match read.open_table(ENTRIES) {
            Err(TableError::TableDoesNotExist(_)) => return 0..0,
            table => table.unwrap(),
        };
        let mut range = entries.range((group, 0)..=(group, u64::MAX)).unwrap();
        let first = range.next().map(|entry| entry.unwrap().0.value().1);
        let last = range.next_back().map(|entry| entry.unwrap().0.value().1);
        match (first, last) {
            (Some(first), last) => first..last.unwrap_or(first) + 1,
            (None, _) => 0..0,
        }
    }

    fn vote(&self, group: u64) -> u64 {
        let read = self.database.begin_read().unwrap();
        match read.open_table(VOTES) {
            Err(TableError::TableDoesNotExist(_)) => 0,
            table => table.unwrap().get(group).unwrap().map_or(0, |term| term.value()),
        }
    }

    fn read(&self, group: u64, mut each: impl FnMut(u64, &[u8])) {
        let read = self.database.begin_read().unwrap();
        let entries = match read.open_table(ENTRIES) {
            Err(TableError::TableDoesNotExist(_)) => return,
            table => table.unwrap(),
        };
        for entry in entries.range((group, 0)..=(group, u64::MAX)).unwrap() {
            let (key, value) = entry.unwrap();
            each(key.value().1, value.value());
        }
    }
}
