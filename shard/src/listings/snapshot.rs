//! A shard's state as a sequence of records, and back.

use std::sync::Arc;

use hexpop_edge_config::{
    Territory, codec,
    planted::{self, Bug},
};
use serde::{Deserialize, Serialize};

use super::{DocRef, DocumentStore, ListingsState, state::Stored, tombstones::Tombstone};
use crate::{
    LogPosition,
    index::ChangedCell,
    key::{KeyRange, hash_point},
    listing::{Listing, ListingVersion},
};

/// Listings per record at most.
const RECORD_LISTINGS_MAX: usize = 256;
/// Tombstones per record.
const RECORD_TOMBSTONES_MAX: usize = 1024;
/// Changed cells per record.
const RECORD_CELLS_MAX: usize = 1024;

/// One record. Final on disk: the enum only grows at its end.
#[derive(Debug, Serialize, Deserialize)]
enum Record {
    Head {
        complete: bool,
        feeds: Vec<(Territory, String)>,
        group_time_ms: u64,
    },
    Listings(Vec<ListingRecord>),
    Tombstones(Vec<(String, Tombstone)>),
    End {
        listings: u64,
        tombstones: u64,
        hash: u64,
    },
    /// When cells changed last. Not part of the hash of the state: snapshots made before there was this
    /// lack it. Its own says that it is what was written.
    Changes {
        floor: LogPosition,
        cells: Vec<ChangedCell>,
        hash: u64,
    },
}

#[derive(Debug, Serialize, Deserialize)]
struct ListingRecord {
    version: ListingVersion,
    position: LogPosition,
    hidden: bool,
    document: String,
}

/// Why a snapshot cannot be made now. It can be when the documents have been fetched again.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SnapshotError {
    /// Documents are not in the store.
    #[error("{} documents are missing", .0.len())]
    MissingDocuments(Vec<DocRef>),
    /// A record cannot be encoded.
    #[error("a record cannot be encoded: {0}")]
    Encode(String),
}

/// Why records are no snapshot of a listings shard.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum RestoreError {
    /// A record does not decode.
    #[error("record {record} does not decode: {detail}")]
    Decode {
        /// Its number, from 0.
        record: usize,
        /// What the codec says.
        detail: String,
    },
    /// A listing in it is none, or lies outside the range.
    #[error("a listing is not valid: {0}")]
    Listing(String),
    /// The records are incomplete, out of order, or not those that were written.
    #[error("the snapshot is incomplete or damaged")]
    Incomplete,
}

impl ListingsState {
    /// The state as records, made one after the other. Equal states give equal records.
    ///
    /// # Errors
    /// Per record, [`SnapshotError`]; the records so far are then no snapshot.
    pub fn snapshot_chunks<'a>(
        &'a self,
        documents: &'a dyn DocumentStore,
    ) -> impl Iterator<Item = Result<Vec<u8>, SnapshotError>> + 'a {
        let head = Record::Head {
            complete: self.complete,
            feeds: self.feeds.iter().map(|(at, cursor)| (at.clone(), cursor.clone())).collect(),
            group_time_ms: self.group_time_ms,
        };
        let end = Record::End {
            listings: self.index().len() as u64,
            tombstones: self.tombstones.len() as u64,
            hash: self.hash(),
        };
        let mut rows = self.index().rows_after(None).peekable();
        let listings = std::iter::from_fn(move || {
            rows.peek()?;
            let chunk = rows.by_ref().take(RECORD_LISTINGS_MAX);
            let chunk: Vec<_> =
                chunk.filter_map(|(id, row)| Some((id, self.stored_row(row)?))).collect();
            Some(listing_records(&chunk, documents))
        });
        let mut tombstones = self.tombstones.iter().peekable();
        let tombstones = std::iter::from_fn(move || {
            tombstones.peek()?;
            let chunk = tombstones.by_ref().take(RECORD_TOMBSTONES_MAX);
            Some(Ok(Record::Tombstones(chunk.map(|(id, it)| (id.clone(), it.clone())).collect())))
        });
        let (floor, cells) = self.changes.items();
        let mut cells = cells.peekable();
        let mut begun = false;
        let changes = std::iter::from_fn(move || {
            // One at least, which says that there are such records.
            if std::mem::replace(&mut begun, true) {
                cells.peek()?;
            }
            let cells: Vec<_> = cells.by_ref().take(RECORD_CELLS_MAX).collect();
            let hash = hash_of(floor, &cells);
            Some(Ok(Record::Changes { floor, cells, hash }))
        });
        std::iter::once(Ok(head))
            .chain(listings)
            .chain(tombstones)
            .chain(changes)
            .chain([Ok(end)])
            .map(|record| {
                codec::encode(&record?).map_err(|error| SnapshotError::Encode(error.to_string()))
            })
    }

    /// The state of the records that [`ListingsState::snapshot_chunks`] gave; documents go to the
    /// store.
    ///
    /// # Errors
    /// [`RestoreError`]; the store may then have documents that nobody names.
    pub fn restore<R: AsRef<[u8]>>(
        range: KeyRange,
        records: impl IntoIterator<Item = R>,
        documents: &mut dyn DocumentStore,
    ) -> Result<Self, RestoreError> {
        let mut state = Self::new(range);
        let (mut begun, mut ended) = (false, false);
        for (number, bytes) in records.into_iter().enumerate() {
            let record = codec::decode(bytes.as_ref()).map_err(|error| RestoreError::Decode {
                record: number,
                detail: error.to_string(),
            })?;
            if begun != (number > 0) || ended {
                return Err(RestoreError::Incomplete);
            }
            match record {
                Record::Head { complete, feeds, group_time_ms } => {
                    begun = number == 0;
                    state.complete = complete;
                    state.feeds = Arc::new(feeds.into_iter().collect());
                    state.group_time_ms = group_time_ms;
                }
                Record::Changes { floor, cells, hash } if hash == hash_of(floor, &cells) => {
                    state.changes.restore(floor, cells);
                }
                Record::Changes { .. } => return Err(RestoreError::Incomplete),
                Record::Listings(listings) => {
                    for listing in listings {
                        state.restore_listing(listing, documents)?;
                    }
                }
                Record::Tombstones(_) if planted::has(Bug::DropTombstone) => {}
                Record::Tombstones(tombstones) => {
                    for (id, tombstone) in tombstones {
                        state.tombstones.insert(&id, tombstone);
                    }
                }
                Record::End { listings, tombstones, hash } => {
                    ended = listings == state.index().len() as u64
                        && (tombstones == state.tombstones.len() as u64 && hash == state.hash()
                            || planted::has(Bug::DropTombstone));
                    if !ended {
                        return Err(RestoreError::Incomplete);
                    }
                }
            }
        }
        if ended { Ok(state) } else { Err(RestoreError::Incomplete) }
    }

    fn restore_listing(
        &mut self,
        record: ListingRecord,
        documents: &mut dyn DocumentStore,
    ) -> Result<(), RestoreError> {
        let listing = Listing::parse(record.document.as_bytes()).map_err(|errors| {
            let first = errors.first().map(ToString::to_string);
            RestoreError::Listing(first.unwrap_or_default())
        })?;
        if !self.range.contains(&listing.key) {
            return Err(RestoreError::Listing(format!("{} is outside the range", listing.key)));
        }
        let id = listing.columns.id.clone();
        documents.put(&DocRef { id, position: record.position }, record.document.as_bytes());
        let row = self.index.insert(&listing.columns, record.hidden);
        let status = listing.columns.status;
        let ListingRecord { version, position, hidden, document } = record;
        self.store(row, Stored::new(version, position, (status, hidden), &document));
        Ok(())
    }

    /// A number that replicas with equal states agree on.
    #[must_use]
    pub fn hash(&self) -> u64 {
        let mut hash = 0_u64;
        let mut note = |bytes: &[u8]| hash = hash_point(&[&hash.to_be_bytes(), bytes].concat());
        let head = (self.complete, self.group_time_ms, self.feeds.iter().collect::<Vec<_>>());
        note(&codec::encode(&head).unwrap_or_default());
        for (id, row) in self.index().rows_after(None) {
            if let (Some(it), Some(key)) = (self.stored_row(row), self.index().shard_key(row)) {
                let record = (id.as_str(), &key, it.version, it.position, it.hidden, it.digest);
                note(&codec::encode(&record).unwrap_or_default());
            }
        }
        for tombstone in self.tombstones.iter() {
            note(&codec::encode(&tombstone).unwrap_or_default());
        }
        hash
    }
}

/// Of when cells changed last.
fn hash_of(floor: LogPosition, cells: &[ChangedCell]) -> u64 {
    hash_point(&codec::encode(&(floor, cells)).unwrap_or_default())
}

fn listing_records(
    chunk: &[(String, &Stored)],
    documents: &dyn DocumentStore,
) -> Result<Record, SnapshotError> {
    let wanted: Vec<DocRef> = chunk
        .iter()
        .map(|(id, stored)| DocRef { id: id.clone(), position: stored.position })
        .collect();
    let found = documents.get_many(&wanted);
    let (mut records, mut missing) = (Vec::with_capacity(chunk.len()), Vec::new());
    let found = found.into_iter().chain(std::iter::repeat(None));
    for (((_, stored), at), bytes) in chunk.iter().zip(wanted).zip(found) {
        match bytes.and_then(|bytes| String::from_utf8(bytes.to_vec()).ok()) {
            Some(document) => records.push(ListingRecord {
                version: stored.version,
                position: stored.position,
                hidden: stored.hidden,
                document,
            }),
            None => missing.push(at),
        }
    }
    if missing.is_empty() {
        Ok(Record::Listings(records))
    } else {
        Err(SnapshotError::MissingDocuments(missing))
    }
}
