//! The steps of a window.

use futures::future::BoxFuture;
use hexpop_shard::{
    DeleteItem, DirectoryChange, DirectoryChangeOutcome, ItemOutcome, Precedence, ShardKey,
    StoredVersion, UpsertItem,
};
use openraft_rt::AsyncRuntime;

use super::{
    batch::ListingWrite,
    item::{Item, LineOutcome, Stage, Want},
};
use crate::{
    ask::{Call, ReadTerms},
    consistency::Level,
    router::Router,
};

impl<R: AsyncRuntime> Router<R> {
    /// Brings every item of a window to its end.
    pub(super) fn settle<'a>(
        &'a self,
        mut items: Vec<Item>,
        call: &'a Call<R>,
    ) -> BoxFuture<'a, Vec<(u64, LineOutcome)>> {
        Box::pin(async move {
            // What this replica of the directory has is a guess, and comparing and setting checks
            // it.
            let all: Vec<usize> = (0..items.len()).collect();
            self.read_entries(&mut items, &all, Level::Eventual, call).await;
            for _race in 0..=self.options.ingest.races_max {
                if items.iter().all(|item| !item.is_open()) {
                    break;
                }
                self.place(&mut items, call).await;
                self.clear(&mut items, call).await;
                self.commit(&mut items, call).await;
                self.reveal(&mut items, call).await;
            }
            self.withdraw_losers(&items, call).await;
            items.into_iter().map(|item| self.conclude_line(item)).collect()
        })
    }

    fn conclude_line(&self, mut item: Item) -> (u64, LineOutcome) {
        item.retry_later("other writers kept changing this listing".to_owned());
        let line = item.line;
        match (item.outcome, item.want) {
            (Some(outcome @ (LineOutcome::Accepted | LineOutcome::Ignored)), Want::Delete) => {
                self.ids.forget(&item.id);
                (line, outcome)
            }
            (Some(LineOutcome::Accepted), Want::Put { key, .. }) => {
                self.ids.put(&item.id, key);
                (line, LineOutcome::Accepted)
            }
            (outcome, Want::Put { .. } | Want::Delete) => {
                (line, outcome.unwrap_or(LineOutcome::Ignored))
            }
        }
    }

    /// Reads what the directory has of some items.
    async fn read_entries(
        &self,
        items: &mut [Item],
        which: &[usize],
        level: Level,
        call: &Call<R>,
    ) {
        let ids = which.iter().filter_map(|at| Some((*at, items.get(*at)?.id.clone()))).collect();
        for (at, read) in self.read_directory(ids, ReadTerms::at(level), call).await {
            let Some(item) = items.get_mut(at) else { continue };
            match read {
                Ok(entry) => item.learn(entry),
                Err(error) => item.retry_later(error.detail),
            }
        }
    }

    /// Puts copies to their places, hidden, and takes deleted ones away.
    async fn place(&self, items: &mut [Item], call: &Call<R>) {
        let mut writes = Vec::new();
        for (at, item) in items.iter_mut().enumerate().filter(|(_, item)| item.is_at(Stage::Read)) {
            match &item.want {
                Want::Put { key, document } => {
                    let (key, document) = (key.clone(), document.clone());
                    let upsert = UpsertItem { key, version: item.version, document, hidden: true };
                    writes.push((at, ListingWrite::Upsert(upsert)));
                }
                Want::Delete => match item.entry.as_ref().and_then(|entry| entry.key()) {
                    Some(key) => {
                        let (key, id, version) = (key.clone(), item.id.clone(), item.version);
                        writes.push((at, ListingWrite::Delete(DeleteItem { key, id, version })));
                    }
                    None => item.stage = Stage::Placed,
                },
            }
        }
        for (at, written) in self.write_listings(writes, call).await {
            let Some(item) = items.get_mut(at) else { continue };
            match written {
                Ok((outcome @ (ItemOutcome::Applied | ItemOutcome::AppliedHidden), position)) => {
                    item.changed = true;
                    item.position = Some(position);
                    item.is_found = outcome == ItemOutcome::Applied;
                    item.stage = Stage::Placed;
                }
                Ok((ItemOutcome::Ignored { stored }, _)) => placed_before(item, stored.as_ref()),
                Ok((ItemOutcome::Rejected { reason }, _)) => {
                    item.end(LineOutcome::Rejected { error: reason, retryable: false });
                }
                Err(error) => item.retry_later(error.detail),
            }
        }
    }

    /// Retires copies at earlier places.
    async fn clear(&self, items: &mut [Item], call: &Call<R>) {
        let map = self.asker.map();
        let shard_of = |key: &ShardKey| map.locate(key).map(|shard| shard.id);
        let mut retires = Vec::new();
        for (at, item) in items.iter().enumerate().filter(|(_, item)| item.is_at(Stage::Placed)) {
            // A shard holds one copy of an id: ours replaced the one at the earlier place.
            let own = item.key().and_then(shard_of);
            for key in item.earlier.iter().filter(|key| shard_of(key) != own) {
                retires.push((at, ListingWrite::Retire(item.reference(key.clone(), None))));
            }
        }
        for (at, retired) in self.write_listings(retires, call).await {
            let Some(item) = items.get_mut(at) else { continue };
            match retired {
                Ok((ItemOutcome::Applied | ItemOutcome::AppliedHidden, _)) => item.changed = true,
                Ok((ItemOutcome::Ignored { stored: Some(stored) }, _)) if !stored.deleted => {
                    if stored.version.against(&item.version) == Precedence::Newer {
                        item.end(LineOutcome::Ignored);
                    } else {
                        item.retry_later("a copy elsewhere is still being moved".to_owned());
                    }
                }
                Ok((ItemOutcome::Ignored { .. }, _)) => {}
                Ok((ItemOutcome::Rejected { reason }, _)) => item.retry_later(reason),
                Err(error) => item.retry_later(error.detail),
            }
        }
    }

    /// Has the directory say what the lines want.
    async fn commit(&self, items: &mut [Item], call: &Call<R>) {
        let mut changes = Vec::new();
        for (at, item) in items.iter_mut().enumerate() {
            if !item.is_at(Stage::Placed) {
                continue;
            }
            if item.is_found && item.is_in_directory() {
                item.done();
                continue;
            }
            let change = DirectoryChange {
                id: item.id.clone(),
                expected: item.entry.as_ref().map(|entry| entry.version),
                target: item.target(),
                listing_version: item.version,
            };
            changes.push((at, change));
        }
        for (at, compared) in self.write_directory(changes, call).await {
            let Some(item) = items.get_mut(at) else { continue };
            match compared {
                Ok(DirectoryChangeOutcome::Applied { .. }) => {
                    item.changed = true;
                    item.stage = Stage::Committed;
                }
                Ok(DirectoryChangeOutcome::Ignored { current }) => {
                    if current.target == item.target() {
                        item.stage = Stage::Committed;
                    } else {
                        item.end(LineOutcome::Ignored);
                    }
                }
                Ok(DirectoryChangeOutcome::Conflict { current }) => item.learn(current),
                Err(error) => item.retry_later(error.detail),
            }
            if item.is_at(Stage::Committed) && matches!(item.want, Want::Delete) {
                item.done();
            }
        }
    }

    /// Lets searches find what the directory points to.
    async fn reveal(&self, items: &mut [Item], call: &Call<R>) {
        let mut reveals = Vec::new();
        for (at, item) in items.iter_mut().enumerate() {
            if !item.is_at(Stage::Committed) {
                continue;
            }
            match item.key() {
                Some(key) if !item.is_found => {
                    let reference = item.reference(key.clone(), item.position);
                    reveals.push((at, ListingWrite::Reveal(reference)));
                }
                Some(_) | None => item.done(),
            }
        }
        for (at, revealed) in self.write_listings(reveals, call).await {
            let Some(item) = items.get_mut(at) else { continue };
            match revealed {
                Ok((ItemOutcome::Applied | ItemOutcome::AppliedHidden, _)) => {
                    item.changed = true;
                    item.done();
                }
                // It is found already, or a newer one has taken its place.
                Ok((ItemOutcome::Ignored { .. }, _)) => item.done(),
                Ok((ItemOutcome::Rejected { reason }, _)) => item.retry_later(reason),
                Err(error) => item.retry_later(error.detail),
            }
        }
    }

    /// Takes away the copies of lines that were overtaken. Should this fail, they stay hidden.
    async fn withdraw_losers(&self, items: &[Item], call: &Call<R>) {
        let losers = items
            .iter()
            .enumerate()
            .filter(|(_, item)| {
                item.outcome == Some(LineOutcome::Ignored) && item.changed && !item.is_found
            })
            .filter_map(|(at, item)| Some((at, ListingWrite::Retire(item.own_copy()?))))
            .collect();
        for (_, withdrawn) in self.write_listings(losers, call).await {
            if let Err(error) = withdrawn {
                tracing::warn!(%error, "a hidden copy of a listing was left behind");
            }
        }
    }
}

/// Takes note of a shard's word that it has this or something newer already.
fn placed_before(item: &mut Item, stored: Option<&StoredVersion>) {
    let Some(stored) = stored else {
        item.retry_later("the shard ignored the listing without having it".to_owned());
        return;
    };
    match &item.want {
        Want::Delete if stored.deleted => item.stage = Stage::Placed,
        Want::Delete => item.end(LineOutcome::Ignored),
        Want::Put { .. } => {
            let same = matches!(
                item.version.against(&stored.version),
                Precedence::Same | Precedence::LogOrder
            );
            if stored.deleted || !same {
                item.end(LineOutcome::Ignored);
                return;
            }
            item.position = Some(stored.position);
            item.is_found = !stored.hidden;
            item.stage = Stage::Placed;
        }
    }
}
