//! The listings of a shard that is taken in.

use std::sync::Arc;

use super::{
    DocRef, DocumentStore, ListingsState,
    state::Stored,
    tombstones::{Tombstone, Tombstones},
};
use crate::{LogPosition, index::Row, listing::Precedence};

/// How many documents are fetched at once.
const BATCH: usize = 256;

impl ListingsState {
    /// Why the listings of another shard cannot be taken in now, in words.
    pub(crate) fn obstacle(&self, other: &Self) -> Option<String> {
        if self.complete != other.complete {
            return Some("one of the shards is complete and the other is not".to_owned());
        }
        for (id, row) in other.index().rows_after(None) {
            if self.index().row(&id).is_some() {
                return Some(format!("the listing {id} is on its way from one shard to the other"));
            }
            let stored = other.stored_row(row);
            if stored.is_some_and(|stored| is_behind(stored, self.tombstones.get(&id))) {
                return Some(unsettled(&id));
            }
        }
        // A copy is behind what took it away elsewhere until that reaches it too.
        let behind = other.tombstones.iter().find(|(id, tombstone)| {
            let stored = self.index().row(id).and_then(|row| self.stored_row(row));
            stored.is_some_and(|stored| is_behind(stored, Some(tombstone)))
        });
        behind.map(|(id, _)| unsettled(id))
    }

    /// For a merge by the entry at `at`: takes in the listings and tombstones of the range behind this one,
    /// as if that entry had written them, with their documents.
    ///
    /// Costs one insertion a listing, and two looks at its document.
    pub(crate) fn absorb(
        &mut self,
        at: LogPosition,
        other: Self,
        from: &dyn DocumentStore,
        to: &mut dyn DocumentStore,
    ) {
        self.range.end.clone_from(&other.range.end);
        self.group_time_ms = self.group_time_ms.max(other.group_time_ms);
        let rows: Vec<(String, Row)> = other.index().rows_after(None).collect();
        for batch in rows.chunks(BATCH) {
            self.absorb_batch(at, &other, batch, from, to);
        }
        for (id, tombstone) in other.tombstones.into_items() {
            if self.index().row(&id).is_none() {
                bury(&mut self.tombstones, &id, Tombstone { position: at, ..tombstone });
            }
        }
        let feeds = Arc::make_mut(&mut self.feeds);
        for (territory, cursor) in other.feeds.iter() {
            feeds.entry(territory.clone()).or_insert_with(|| cursor.clone());
        }
        self.changes.note_all(at);
    }

    fn absorb_batch(
        &mut self,
        at: LogPosition,
        other: &Self,
        batch: &[(String, Row)],
        from: &dyn DocumentStore,
        to: &mut dyn DocumentStore,
    ) {
        let stored = |row: &Row| other.stored_row(*row).cloned();
        let batch: Vec<(&String, Row, Stored)> =
            batch.iter().filter_map(|(id, row)| Some((id, *row, stored(row)?))).collect();
        let wanted: Vec<DocRef> = batch
            .iter()
            .map(|(id, _, stored)| DocRef { id: (*id).clone(), position: stored.position })
            .collect();
        // One that is missing is fetched later, as ever.
        let documents = from.get_many(&wanted).into_iter().chain(std::iter::repeat(None));
        for ((id, row, stored), document) in batch.into_iter().zip(documents) {
            let Some(number) = self.index.copy_row(other.index(), row) else { continue };
            if let Some(document) = document {
                to.put(&DocRef { id: id.clone(), position: at }, &document);
            }
            self.tombstones.remove(id);
            self.store(number, Stored { position: at, ..stored });
        }
    }
}

/// Whether a copy is older than a deletion.
fn is_behind(stored: &Stored, tombstone: Option<&Tombstone>) -> bool {
    tombstone.is_some_and(|it| it.version.against(&stored.version) == Precedence::Newer)
}

fn unsettled(id: &str) -> String {
    format!("a copy of the listing {id} is still to be taken away")
}

/// Keeps the newer of two tombstones, and the longer of two of one version.
fn bury(tombstones: &mut Tombstones, id: &str, tombstone: Tombstone) {
    let stays =
        tombstones.get(id).is_some_and(|known| match known.version.against(&tombstone.version) {
            Precedence::Newer => true,
            Precedence::Older => false,
            Precedence::Same | Precedence::LogOrder => known.at_ms >= tombstone.at_ms,
        });
    if !stays {
        tombstones.insert(id, tombstone);
    }
}
