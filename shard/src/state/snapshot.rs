//! A group's state as a sequence of records, and back.

use std::fmt;

use hexpop_edge_config::{
    Epoch, ShardId, codec,
    planted::{self, Bug},
};
use serde::{Deserialize, Serialize};

use super::{Body, ShardState};
use crate::{
    LogPosition,
    directory::DirectoryItem,
    key::KeyRange,
    listings::{DocumentStore, ListingsState, RestoreError, SnapshotError},
    merge::MergeState,
    meta::MetaItem,
    purge::PurgeItem,
    requests::Remembered,
    session::{ErasureItem, SessionItem, UserKey},
    split::Child,
    stable_hash::StableHash,
};

/// Items per record at most.
const ITEMS_MAX: usize = 64;

/// One record. Final on disk: the enum only grows at its end.
#[derive(Debug, Serialize, Deserialize)]
enum Record {
    Header(Header),
    Requests(Vec<Remembered>),
    Meta(Vec<MetaItem>),
    Directory(Vec<DirectoryItem>),
    Sessions(Vec<SessionItem>),
    /// A record of [`ListingsState::snapshot_chunks`].
    Listings(#[serde(with = "serde_bytes")] Vec<u8>),
    /// How many records came before, and the hash of the state.
    End {
        records: u64,
        hash: u64,
    },
    /// The wrapped keys of session values, apart from the values.
    SessionKeys(Vec<UserKey>),
    Erasures(Vec<ErasureItem>),
    /// The shards that split off this one; none = left out.
    Children(Vec<Child>),
    Purges(Vec<PurgeItem>),
    /// What is known of merges; nothing = left out.
    Merge(MergeState),
}

#[derive(Debug, Clone, Serialize, Deserialize)]
struct Header {
    shard: ShardId,
    range: Option<KeyRange>,
    epoch: Epoch,
    applied: LogPosition,
    group_time_ms: u64,
}

/// Why records are no snapshot of a group.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum StateRestoreError {
    /// A record does not decode.
    #[error("record {record} does not decode: {detail}")]
    Decode {
        /// Its number, from 0.
        record: u64,
        /// What the codec says.
        detail: String,
    },
    /// The records of the listings are no snapshot of listings.
    #[error(transparent)]
    Listings(#[from] RestoreError),
    /// The records are incomplete, out of order, or not those that were written.
    #[error("the snapshot is incomplete or damaged at record {record}")]
    Damaged {
        /// The number of the first record that does not fit, from 0.
        record: u64,
    },
}

/// The records of a snapshot, made one after the other; equal states give equal records.
pub struct Snapshot<'a> {
    records: Box<dyn Iterator<Item = Result<Record, SnapshotError>> + 'a>,
    count: u64,
    end: Option<u64>,
}

impl fmt::Debug for Snapshot<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Snapshot").field("records", &self.count).finish_non_exhaustive()
    }
}

impl Iterator for Snapshot<'_> {
    type Item = Result<Vec<u8>, SnapshotError>;

    fn next(&mut self) -> Option<Self::Item> {
        let record = match self.records.next() {
            Some(record) => record,
            None => Ok(Record::End { records: self.count, hash: self.end.take()? }),
        };
        self.count = self.count.saturating_add(1);
        let bytes = record.and_then(|record| {
            codec::encode(&record).map_err(|error| SnapshotError::Encode(error.to_string()))
        });
        if bytes.is_err() {
            // What came so far is no snapshot, so that nothing may follow either.
            self.records = Box::new(std::iter::empty());
            self.end = None;
        }
        Some(bytes)
    }
}

impl ShardState {
    /// The state as records. An error ends it: the records so far are no snapshot then.
    #[must_use]
    pub fn snapshot<'a>(&'a self, documents: &'a dyn DocumentStore) -> Snapshot<'a> {
        let head = std::iter::once(Record::Header(self.header()));
        let requests = batches(self.requests.items()).map(Record::Requests);
        let body: Box<dyn Iterator<Item = Result<Record, SnapshotError>> + 'a> = match &self.body {
            Body::Meta(state) => Box::new(batches(state.items()).map(|it| Ok(Record::Meta(it)))),
            Body::Purges(state) => {
                Box::new(batches(state.items()).map(|it| Ok(Record::Purges(it))))
            }
            Body::Directory(state) => {
                Box::new(batches(state.items()).map(|it| Ok(Record::Directory(it))))
            }
            Body::Sessions(state) => {
                let keys = batches(state.keys()).map(Record::SessionKeys);
                let items = state.erasure_items().filter(|item| {
                    !(planted::has(Bug::ForgetErasure) && matches!(item, ErasureItem::Done(..)))
                });
                let erasures = batches(items).map(Record::Erasures);
                let sessions = batches(state.items()).map(Record::Sessions);
                Box::new(keys.chain(erasures).chain(sessions).map(Ok))
            }
            Body::Listings(state) => {
                Box::new(state.snapshot_chunks(documents).map(|it| it.map(Record::Listings)))
            }
        };
        let children = (!self.children.is_empty()).then(|| Record::Children(self.children.clone()));
        let known = self.merge != MergeState::default();
        let merge = known.then(|| Record::Merge(self.merge.clone()));
        let head = head.chain(children).chain(merge).chain(requests);
        let records = Box::new(head.map(Ok).chain(body));
        Snapshot { records, count: 0, end: Some(self.hash()) }
    }

    /// The state of the records that [`snapshot`](Self::snapshot) gave; documents go to the store.
    ///
    /// # Errors
    /// [`StateRestoreError`]; the store may then have documents that nobody names.
    pub fn restore<R: AsRef<[u8]>>(
        records: impl IntoIterator<Item = R>,
        documents: &mut dyn DocumentStore,
    ) -> Result<Self, StateRestoreError> {
        let mut records =
            Records { records: records.into_iter(), number: 0, held: None, error: None };
        let Some(Record::Header(header)) = records.next() else { return Err(records.damaged()) };
        let mut state = Self::empty(header.shard, header.range.clone(), header.epoch);
        state.applied = header.applied;
        state.group_time_ms = header.group_time_ms;
        if let (Body::Listings(listings), Some(range)) = (&mut state.body, header.range) {
            while let Some(record) = records.next() {
                match record {
                    Record::Requests(items) => {
                        items.into_iter().for_each(|item| state.requests.remember(item));
                    }
                    Record::Children(children) => state.children = children,
                    Record::Merge(merge) => state.merge = merge,
                    other => {
                        records.held = Some(other);
                        break;
                    }
                }
            }
            let restored = ListingsState::restore(range, records.listings(), documents);
            // An undecodable record ends the listings too, and says more.
            if let Some(error) = records.error.take() {
                return Err(error);
            }
            **listings = restored?;
            listings.know_changes(header.applied);
        }
        loop {
            let Some(record) = records.next() else { return Err(records.damaged()) };
            match (record, &mut state.body) {
                (Record::Requests(items), _) => {
                    items.into_iter().for_each(|item| state.requests.remember(item));
                }
                (Record::Children(children), _) => state.children = children,
                (Record::Merge(merge), _) => state.merge = merge,
                (Record::Meta(items), Body::Meta(body)) => {
                    items.into_iter().for_each(|item| body.restore(item));
                }
                (Record::Purges(items), Body::Purges(body)) => {
                    items.into_iter().for_each(|item| body.restore(item));
                }
                (Record::Directory(items), Body::Directory(body)) => {
                    items.into_iter().for_each(|item| body.restore(item));
                }
                (Record::Sessions(items), Body::Sessions(body)) => {
                    items.into_iter().for_each(|item| body.restore(item));
                }
                (Record::SessionKeys(keys), Body::Sessions(body)) => {
                    keys.into_iter().for_each(|key| body.restore_key(key));
                }
                (Record::Erasures(items), Body::Sessions(body)) => {
                    items.into_iter().for_each(|item| body.restore_erasure(item));
                }
                (Record::End { records: count, hash }, _) => {
                    let whole = count.saturating_add(1) == records.number
                        && (hash == state.hash()
                            || planted::has(Bug::DropTombstone)
                            || planted::has(Bug::ForgetErasure));
                    return if whole && records.next().is_none() && records.error.is_none() {
                        Ok(state)
                    } else {
                        Err(records.damaged())
                    };
                }
                _ => return Err(records.damaged()),
            }
        }
    }

    /// A number that replicas with equal states agree on, whatever their platform and history: two
    /// replicas that have applied the same entries have the same.
    #[must_use]
    pub fn hash(&self) -> u64 {
        self.hash_knowing(&self.merge)
    }

    /// The hash if this were what is known of merges.
    pub(super) fn hash_knowing(&self, merge: &MergeState) -> u64 {
        let mut hash = StableHash::new();
        note(&mut hash, &self.header());
        self.children.iter().for_each(|child| note(&mut hash, child));
        if *merge != MergeState::default() {
            note(&mut hash, merge);
        }
        self.requests.items().for_each(|item| note(&mut hash, &item));
        match &self.body {
            Body::Meta(state) => state.items().for_each(|item| note(&mut hash, &item)),
            Body::Purges(state) => state.items().for_each(|item| note(&mut hash, &item)),
            Body::Listings(state) => note(&mut hash, &state.hash()),
            Body::Directory(state) => state.items().for_each(|item| note(&mut hash, &item)),
            Body::Sessions(state) => {
                state.keys().for_each(|key| note(&mut hash, &key));
                state.erasure_items().for_each(|item| note(&mut hash, &item));
                state.items().for_each(|item| note(&mut hash, &item));
            }
        }
        hash.finish()
    }

    fn header(&self) -> Header {
        Header {
            shard: self.shard,
            range: self.range.clone(),
            epoch: self.epoch,
            applied: self.applied,
            group_time_ms: self.group_time_ms,
        }
    }
}

fn note<T: Serialize>(hash: &mut StableHash, item: &T) {
    // None of these types can fail to encode; an empty record would still be the same everywhere.
    hash.record(&codec::encode(item).unwrap_or_default());
}

fn batches<T>(items: impl Iterator<Item = T>) -> impl Iterator<Item = Vec<T>> {
    let mut items = items.peekable();
    std::iter::from_fn(move || {
        items.peek()?;
        Some(items.by_ref().take(ITEMS_MAX).collect())
    })
}

/// Records as they are read. It ends at the first that does not decode, and keeps why.
struct Records<I> {
    records: I,
    number: u64,
    /// A record that was read too early.
    held: Option<Record>,
    error: Option<StateRestoreError>,
}

impl<I: Iterator<Item: AsRef<[u8]>>> Records<I> {
    fn next(&mut self) -> Option<Record> {
        if let Some(record) = self.held.take() {
            return Some(record);
        }
        if self.error.is_some() {
            return None;
        }
        let bytes = self.records.next()?;
        match codec::decode(bytes.as_ref()) {
            Ok(record) => {
                self.number = self.number.saturating_add(1);
                Some(record)
            }
            Err(error) => {
                let detail = error.to_string();
                self.error = Some(StateRestoreError::Decode { record: self.number, detail });
                None
            }
        }
    }

    /// The records of the listings that come next; what follows them is held back.
    fn listings(&mut self) -> impl Iterator<Item = Vec<u8>> {
        std::iter::from_fn(|| match self.next()? {
            Record::Listings(bytes) => Some(bytes),
            other => {
                self.held = Some(other);
                None
            }
        })
    }

    fn damaged(&mut self) -> StateRestoreError {
        let record = self.number.saturating_sub(1);
        self.error.take().unwrap_or(StateRestoreError::Damaged { record })
    }
}
