//! Reads of a group's state.

use super::{Body, ShardState};
use crate::{
    key::ShardKey,
    listings::{DocumentStore, ListingsView, RowView},
    placement::{Places, split_point},
    read::{ListingPage, ReadAnswer, ReadOp, StoredListing},
    refusal::Refusal,
};

/// How many documents are fetched at once for an export.
const EXPORT_BATCH: usize = 64;

/// The most open erasures in one answer.
const OPEN_ERASURES_MAX: usize = 100;

/// The most ids in one question to the directory.
const DIRECTORY_IDS_MAX: usize = 10_000;

impl ShardState {
    /// Answers a question from the state as it is now.
    #[must_use]
    pub fn read(&self, op: &ReadOp, documents: &dyn DocumentStore) -> ReadAnswer {
        self.answer(op, documents).unwrap_or_else(ReadAnswer::Refused)
    }

    fn answer(&self, op: &ReadOp, documents: &dyn DocumentStore) -> Result<ReadAnswer, Refusal> {
        match (op, &self.body) {
            (ReadOp::Counts, _) => Ok(ReadAnswer::Counts(self.stats())),
            (ReadOp::SplitPoint, body) => {
                let range = self.range.as_ref().ok_or(Refusal::WrongKind)?;
                Ok(ReadAnswer::SplitPoint(split_point(range, places(body))))
            }
            (ReadOp::Operations, Body::Meta(meta)) => {
                Ok(ReadAnswer::Operations(meta.operations().cloned().collect()))
            }
            (ReadOp::PurgesAfter { position, max_bytes }, Body::Purges(purges)) => {
                let max_bytes = usize::try_from(*max_bytes).unwrap_or(usize::MAX);
                Ok(ReadAnswer::Purges(purges.after(*position, max_bytes)))
            }
            (op, Body::Listings(listings)) => {
                answer_listings(&listings.view(), op, documents).ok_or(Refusal::WrongKind)
            }
            (ReadOp::Directory { ids }, Body::Directory(directory)) => {
                if ids.len() > DIRECTORY_IDS_MAX {
                    return Err(Refusal::Invalid(format!(
                        "at most {DIRECTORY_IDS_MAX} ids are looked up at once, not {}",
                        ids.len()
                    )));
                }
                if !ids.iter().all(|id| self.holds(&ShardKey::directory(id))) {
                    return Err(Refusal::WrongKey { shard: self.shard });
                }
                let entries = ids.iter().map(|id| directory.get(id).cloned()).collect();
                Ok(ReadAnswer::Directory(entries))
            }
            (ReadOp::Session { id }, Body::Sessions(sessions)) => {
                if !self.holds(&id.key()) {
                    return Err(Refusal::WrongKey { shard: self.shard });
                }
                Ok(ReadAnswer::Session(sessions.stored(id).map(Box::new)))
            }
            (ReadOp::SessionsOf { user, after, max_bytes }, Body::Sessions(sessions)) => {
                Ok(ReadAnswer::Sessions(sessions.of_user(user, after.as_ref(), *max_bytes)))
            }
            (ReadOp::Erasure { id }, Body::Sessions(sessions)) => {
                Ok(ReadAnswer::Erasure(sessions.erasure(*id)))
            }
            (ReadOp::OpenErasures { after }, Body::Sessions(sessions)) => {
                let open = sessions.open_erasures(*after).take(OPEN_ERASURES_MAX);
                Ok(ReadAnswer::OpenErasures(open.map(|(id, note)| (id, note.clone())).collect()))
            }
            (ReadOp::MayHoldUser { user }, Body::Sessions(sessions)) => {
                let left = sessions.gone_replicas().collect();
                Ok(ReadAnswer::MayHoldUser { may_hold: sessions.may_hold(user), left })
            }
            (
                ReadOp::Listing { .. }
                | ReadOp::Search(_)
                | ReadOp::MapClusters(_)
                | ReadOp::Suggest(_)
                | ReadOp::Ask { .. }
                | ReadOp::ExportListings { .. }
                | ReadOp::Directory { .. }
                | ReadOp::Session { .. }
                | ReadOp::SessionsOf { .. }
                | ReadOp::Operations
                | ReadOp::Feeds
                | ReadOp::Erasure { .. }
                | ReadOp::OpenErasures { .. }
                | ReadOp::MayHoldUser { .. }
                | ReadOp::PurgesAfter { .. },
                _,
            ) => Err(Refusal::WrongKind),
        }
    }
}

/// Answers a question about listings; `None` for others.
pub(super) fn answer_listings(
    listings: &ListingsView,
    op: &ReadOp,
    documents: &dyn DocumentStore,
) -> Option<ReadAnswer> {
    let complete = listings.is_complete();
    Some(match op {
        ReadOp::Listing { id } => {
            let found = listings.get(id).and_then(|row| stored(vec![row], documents).pop());
            ReadAnswer::Listing(found.map(Box::new))
        }
        ReadOp::ExportListings { after, max_bytes } => {
            ReadAnswer::Listings(export(listings, after.as_deref(), *max_bytes, documents))
        }
        ReadOp::Search(_) | ReadOp::MapClusters(_) | ReadOp::Suggest(_) | ReadOp::Ask { .. }
            if !complete =>
        {
            ReadAnswer::Incomplete
        }
        ReadOp::Ask { question, unless } => {
            let changed = listings.last_change(question);
            let found = (*unless != Some(changed)).then(|| listings.answer(question, documents));
            ReadAnswer::Asked { changed, found }
        }
        ReadOp::Search(query) => ReadAnswer::Search(Box::new(listings.search(query, documents))),
        ReadOp::MapClusters(query) => ReadAnswer::MapClusters(listings.clusters(query)),
        ReadOp::Suggest(query) => ReadAnswer::Suggestions(listings.suggest(query)),
        ReadOp::Feeds => ReadAnswer::Feeds(listings.feeds()),
        ReadOp::Counts
        | ReadOp::Directory { .. }
        | ReadOp::Session { .. }
        | ReadOp::SessionsOf { .. }
        | ReadOp::Operations
        | ReadOp::Erasure { .. }
        | ReadOp::OpenErasures { .. }
        | ReadOp::MayHoldUser { .. }
        | ReadOp::PurgesAfter { .. }
        | ReadOp::SplitPoint => return None,
    })
}

/// Where the records of a shard are.
fn places(body: &Body) -> Places {
    match body {
        Body::Meta(_) | Body::Purges(_) => Places::new(),
        Body::Listings(state) => state.index().points(),
        Body::Directory(state) => Places::from([(None, state.points())]),
        Body::Sessions(state) => state.points(),
    }
}

fn export(
    listings: &ListingsView,
    after: Option<&str>,
    max_bytes: u64,
    documents: &dyn DocumentStore,
) -> ListingPage {
    let mut page = ListingPage { listings: Vec::new(), next: None };
    let mut rows = listings.documents_after(after).peekable();
    let mut bytes = 0_u64;
    while rows.peek().is_some() {
        let batch: Vec<RowView> = rows.by_ref().take(EXPORT_BATCH).collect();
        for listing in stored(batch, documents) {
            let size = listing.document.as_ref().map_or(0, String::len) as u64;
            bytes = bytes.saturating_add(size);
            if let Some(last) = page.listings.last().filter(|_| bytes > max_bytes) {
                page.next = Some(last.at.id.clone());
                return page;
            }
            page.listings.push(listing);
        }
    }
    page
}

/// The listings of `rows` with their documents, in their order.
fn stored(rows: Vec<RowView>, documents: &dyn DocumentStore) -> Vec<StoredListing> {
    let wanted: Vec<_> = rows.iter().map(|row| row.document.clone()).collect();
    let found = documents.get_many(&wanted).into_iter().chain(std::iter::repeat(None));
    rows.into_iter()
        .zip(found)
        .map(|(row, bytes)| {
            let RowView { document: at, key, version, status, hidden } = row;
            let document = bytes.and_then(|bytes| String::from_utf8(bytes.to_vec()).ok());
            StoredListing { at, key, version, status, hidden, document }
        })
        .collect()
}
