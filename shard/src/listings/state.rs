//! The state machine of a listings shard: a deterministic function of its log.

use std::{collections::BTreeMap, sync::Arc};

use hexpop_edge_config::Territory;

use super::{
    DeleteItem, DocRef, DocumentStore, FeedCursor, ItemOutcome, ListingRef, ListingsOp,
    ListingsOutcome, ListingsView, RowView, StoredVersion, UpsertItem,
    tombstones::{Tombstone, Tombstones},
};
use crate::{
    LogPosition,
    index::{Changes, IndexView, Row, ShardIndex, SharedVec},
    key::{KeyRange, ShardKey, Space, hash_point},
    listing::{Listing, ListingVersion, Precedence, Status},
};

/// What a replica of a listings shard holds in memory.
#[derive(Debug)]
pub struct ListingsState {
    pub(super) range: KeyRange,
    pub(super) index: ShardIndex,
    /// By row number.
    stored: SharedVec<Option<Arc<Stored>>>,
    pub(super) changes: Changes,
    pub(super) tombstones: Tombstones,
    pub(super) feeds: Arc<BTreeMap<Territory, String>>,
    pub(super) complete: bool,
    pub(super) group_time_ms: u64,
    document_bytes: u64,
}

/// What is kept of a listing besides its columns.
#[derive(Debug, Clone)]
pub(super) struct Stored {
    pub(super) version: ListingVersion,
    pub(super) position: LogPosition,
    pub(super) status: Status,
    pub(super) hidden: bool,
    /// Of the document, by which equal content is known without it.
    pub(super) digest: Digest,
    pub(super) document_bytes: u64,
}

impl Stored {
    pub(super) fn new(
        version: ListingVersion,
        position: LogPosition,
        (status, hidden): (Status, bool),
        document: &str,
    ) -> Self {
        Self {
            version,
            position,
            status,
            hidden,
            digest: digest(document),
            document_bytes: document.len() as u64,
        }
    }
}

/// Two independent 63-bit hashes of a document.
pub(super) type Digest = (u64, u64);

fn digest(document: &str) -> Digest {
    let reversed: Vec<u8> = document.bytes().rev().collect();
    (hash_point(document.as_bytes()), hash_point(&reversed))
}

/// How much a shard holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct ListingsCounts {
    /// All listings.
    pub total: u64,
    /// Those that searches find.
    pub active: u64,
    /// Tombstones.
    pub tombstones: u64,
    /// Bytes of all documents.
    pub document_bytes: u64,
}

impl ListingsState {
    /// An empty shard of `range`; it is not complete.
    #[must_use]
    pub fn new(range: KeyRange) -> Self {
        Self {
            range,
            index: ShardIndex::default(),
            stored: SharedVec::default(),
            changes: Changes::default(),
            tombstones: Tombstones::default(),
            feeds: Arc::default(),
            complete: false,
            group_time_ms: 0,
            document_bytes: 0,
        }
    }

    /// Applies one change that was committed at `position`, proposed at `at_ms` (milliseconds since
    /// the Unix epoch on the leader's clock). Applying it again changes nothing.
    pub fn apply(
        &mut self,
        position: LogPosition,
        at_ms: u64,
        op: &ListingsOp,
        documents: &mut dyn DocumentStore,
    ) -> ListingsOutcome {
        self.tick(at_ms);
        let items = match op {
            ListingsOp::Upsert { items } => {
                items.iter().map(|item| self.upsert(position, item, documents)).collect()
            }
            ListingsOp::Delete { items } => {
                items.iter().map(|item| self.delete(position, item, documents)).collect()
            }
            ListingsOp::Reveal { items } => {
                items.iter().map(|item| self.reveal(position, item)).collect()
            }
            ListingsOp::Retire { items } => {
                items.iter().map(|item| self.retire(position, item, documents)).collect()
            }
            ListingsOp::MarkComplete { complete, feeds } => {
                self.complete = *complete;
                self.changes.note_all(position);
                self.advance(feeds);
                return ListingsOutcome::Marked;
            }
            ListingsOp::AdvanceFeeds { feeds } => {
                self.advance(feeds);
                return ListingsOutcome::Marked;
            }
        };
        ListingsOutcome::Items(items)
    }

    /// Moves group time on, and forgets tombstones that are due.
    pub fn tick(&mut self, at_ms: u64) {
        self.group_time_ms = self.group_time_ms.max(at_ms);
        self.tombstones.prune(self.group_time_ms);
    }

    fn upsert(
        &mut self,
        position: LogPosition,
        item: &UpsertItem,
        documents: &mut dyn DocumentStore,
    ) -> ItemOutcome {
        let listing = match Listing::parse(item.document.as_bytes()) {
            Ok(listing) => listing,
            Err(errors) => {
                let reasons: Vec<_> = errors.iter().map(ToString::to_string).collect();
                return ItemOutcome::Rejected { reason: reasons.join("; ") };
            }
        };
        if listing.key != item.key || !self.range.contains(&item.key) {
            let reason = format!("{} is not a place of this listing in this shard", item.key);
            return ItemOutcome::Rejected { reason };
        }
        let id = listing.columns.id.as_str();
        if !self.is_newer(id, item) {
            return ItemOutcome::Ignored { stored: self.stored_version(id) };
        }
        let is_found = self.copy(id).is_some_and(|(key, old)| !old.hidden && key == item.key);
        let hidden = item.hidden && !is_found;
        self.forget(position, id, documents);
        self.tombstones.remove(id);
        self.changes.note(&item.key, listing.columns.location, position);
        let row = self.index.insert(&listing.columns, hidden);
        documents.put(&DocRef { id: id.to_owned(), position }, item.document.as_bytes());
        let marks = (listing.columns.status, hidden);
        self.store(row, Stored::new(item.version, position, marks, &item.document));
        if hidden { ItemOutcome::AppliedHidden } else { ItemOutcome::Applied }
    }

    /// Whether a write is newer than what there is of its id.
    fn is_newer(&self, id: &str, item: &UpsertItem) -> bool {
        if let Some(stored) = self.by_id(id) {
            return match item.version.against(&stored.version) {
                Precedence::Newer => true,
                Precedence::Same | Precedence::Older => false,
                Precedence::LogOrder => digest(&item.document) != stored.digest,
            };
        }
        self.tombstones.get(id).is_none_or(|tombstone| {
            match item.version.against(&tombstone.version) {
                Precedence::Newer | Precedence::LogOrder => true,
                Precedence::Same | Precedence::Older => false,
            }
        })
    }

    fn delete(
        &mut self,
        position: LogPosition,
        item: &DeleteItem,
        documents: &mut dyn DocumentStore,
    ) -> ItemOutcome {
        let known = match (self.by_id(&item.id), self.tombstones.get(&item.id)) {
            (Some(stored), _) => item.version.against(&stored.version) == Precedence::Older,
            (None, Some(tombstone)) => {
                item.version.against(&tombstone.version) != Precedence::Newer
            }
            (None, None) => false,
        };
        if known {
            return ItemOutcome::Ignored { stored: self.stored_version(&item.id) };
        }
        self.bury(position, &item.key, &item.id, item.version, documents);
        ItemOutcome::Applied
    }

    fn reveal(&mut self, position: LogPosition, item: &ListingRef) -> ItemOutcome {
        let hidden = self.copy(&item.id).is_some_and(|(key, stored)| {
            stored.hidden
                && key == item.key
                && stored.version == item.version
                && item.position.is_none_or(|position| position == stored.position)
        });
        let Some(row) = self.index.view().row(&item.id).filter(|_| hidden) else {
            return ItemOutcome::Ignored { stored: self.stored_version(&item.id) };
        };
        self.stored.change(row, |stored| {
            if let Some(stored) = stored {
                Arc::make_mut(stored).hidden = false;
            }
        });
        self.index.set_hidden(row, false);
        self.note_change(row, position);
        ItemOutcome::Applied
    }

    fn retire(
        &mut self,
        position: LogPosition,
        item: &ListingRef,
        documents: &mut dyn DocumentStore,
    ) -> ItemOutcome {
        let obsolete = self.copy(&item.id).is_some_and(|(key, stored)| {
            key == item.key
                && item.position.is_none_or(|position| position == stored.position)
                && stored.version.against(&item.version) != Precedence::Newer
        });
        if !obsolete {
            return ItemOutcome::Ignored { stored: self.stored_version(&item.id) };
        }
        self.bury(position, &item.key, &item.id, item.version, documents);
        ItemOutcome::Applied
    }

    /// Takes a copy away, if there is one, and leaves a tombstone.
    fn bury(
        &mut self,
        position: LogPosition,
        key: &ShardKey,
        id: &str,
        version: ListingVersion,
        documents: &mut dyn DocumentStore,
    ) {
        self.forget(position, id, documents);
        let at_ms = self.group_time_ms;
        self.tombstones.insert(id, Tombstone { key: key.clone(), version, position, at_ms });
    }

    /// Takes a copy and its document away.
    fn forget(&mut self, at: LogPosition, id: &str, documents: &mut dyn DocumentStore) {
        let Some(row) = self.index.view().row(id) else {
            return;
        };
        self.note_change(row, at);
        if let Some(stored) = self.stored.change(row, Option::take).flatten() {
            self.document_bytes = self.document_bytes.saturating_sub(stored.document_bytes);
            documents.remove(&DocRef { id: id.to_owned(), position: stored.position });
        }
        self.index.remove(id);
    }

    /// Takes note that an entry changes what is seen where a row is.
    fn note_change(&mut self, row: Row, position: LogPosition) {
        let view = self.index.view();
        if let Some(key) = view.shard_key(row) {
            self.changes.note(&key, view.place(row), position);
        }
    }

    /// Makes up for a snapshot of before it said when cells changed last: the entries up to its position
    /// may have changed anything.
    pub(crate) fn know_changes(&mut self, applied: LogPosition) {
        // Whatever is there was changed once.
        if self.changes.is_empty() && !self.index().is_empty() {
            self.changes.note_all(applied);
        }
    }

    pub(super) fn store(&mut self, row: Row, stored: Stored) {
        self.document_bytes += stored.document_bytes;
        self.stored.change(row, |slot| *slot = Some(Arc::new(stored)));
    }

    /// Divides the shard in two at a key: what lies at it and behind moves into a state of its own, which
    /// is answered: listings, tombstones, and how far the feeds of its territories have been followed.
    /// Documents stay where they are; both parts are as complete as the whole was. `None`, and nothing
    /// is moved, if the key divides nothing: it lies outside the range or at its start.
    ///
    /// Costs what is moved, and a look at every tombstone.
    #[must_use = "what is moved is nowhere else"]
    pub fn cut(&mut self, at: &ShardKey) -> Option<Self> {
        if !self.range.contains(at) || *at == self.range.start {
            return None;
        }
        let range = KeyRange { start: at.clone(), end: self.range.end.replace(at.clone()) };
        let (index, moved) = self.index.cut(&range);
        let mut part = Self {
            index,
            // The child's log goes on from the split, so that positions mean the same in it.
            changes: self.changes.clone(),
            tombstones: self.tombstones.cut(&range),
            feeds: Arc::clone(&self.feeds),
            complete: self.complete,
            group_time_ms: self.group_time_ms,
            ..Self::new(range)
        };
        for state in [&mut *self, &mut part] {
            let Self { feeds, range, .. } = state;
            Arc::make_mut(feeds).retain(|territory, _| {
                KeyRange::territory(Space::Listings, territory).overlaps(range)
            });
        }
        for (before, after) in moved {
            if let Some(stored) = self.stored.change(before, Option::take).flatten() {
                self.document_bytes = self.document_bytes.saturating_sub(stored.document_bytes);
                part.document_bytes += stored.document_bytes;
                part.stored.change(after, |slot| *slot = Some(stored));
            }
        }
        Some(part)
    }

    fn advance(&mut self, feeds: &[FeedCursor]) {
        for feed in feeds {
            let feeds = Arc::make_mut(&mut self.feeds);
            feeds.insert(feed.territory.clone(), feed.cursor.clone());
        }
    }

    pub(super) fn stored_row(&self, row: Row) -> Option<&Stored> {
        self.stored.get(row)?.as_deref()
    }

    fn by_id(&self, id: &str) -> Option<&Stored> {
        self.stored_row(self.index.view().row(id)?)
    }

    /// The copy of a listing that is here, and its place.
    fn copy(&self, id: &str) -> Option<(ShardKey, &Stored)> {
        let row = self.index.view().row(id)?;
        Some((self.index.view().shard_key(row)?, self.stored_row(row)?))
    }

    /// The state as readers see it, as it is now: a handful of counts to copy, however large it is.
    #[must_use]
    pub fn view(&self) -> ListingsView {
        ListingsView {
            index: self.index.view().clone(),
            stored: self.stored.clone(),
            changes: self.changes.clone(),
            feeds: Arc::clone(&self.feeds),
            complete: self.complete,
        }
    }

    fn stored_version(&self, id: &str) -> Option<StoredVersion> {
        let of_row = self.by_id(id).map(|stored| StoredVersion {
            version: stored.version,
            position: stored.position,
            hidden: stored.hidden,
            deleted: false,
        });
        of_row.or_else(|| {
            self.tombstones.get(id).map(|tombstone| StoredVersion {
                version: tombstone.version,
                position: tombstone.position,
                hidden: false,
                deleted: true,
            })
        })
    }

    /// A listing by id, whatever its status; the document is behind the port.
    #[must_use]
    pub fn get(&self, id: &str) -> Option<RowView> {
        self.view().get(id)
    }

    /// The index, for searches.
    #[must_use]
    pub const fn index(&self) -> &IndexView {
        self.index.view()
    }

    /// The keys that may be here.
    #[must_use]
    pub const fn range(&self) -> &KeyRange {
        &self.range
    }

    /// Whether everything that the platform has of the range is here.
    #[must_use]
    pub const fn is_complete(&self) -> bool {
        self.complete
    }

    /// How far each territory's feed has been followed.
    #[must_use]
    pub fn feeds(&self) -> &BTreeMap<Territory, String> {
        &self.feeds
    }

    /// The latest time that any applied command carried, in milliseconds since the Unix epoch.
    #[must_use]
    pub const fn group_time_ms(&self) -> u64 {
        self.group_time_ms
    }

    /// Group time at which [`ListingsState::tick`] has something to do.
    #[must_use]
    pub fn next_due_ms(&self) -> Option<u64> {
        self.tombstones.next_due_ms()
    }

    /// How much is here.
    #[must_use]
    pub fn counts(&self) -> ListingsCounts {
        ListingsCounts {
            total: self.index().len() as u64,
            active: self.index().searchable(),
            tombstones: self.tombstones.len() as u64,
            document_bytes: self.document_bytes,
        }
    }
}
