//! Items gathered into commands: per shard, up to a number and a size.

use std::collections::BTreeMap;

use futures::{FutureExt, StreamExt, future::BoxFuture, stream};
use hexpop_edge_config::ShardId;
use hexpop_shard::{
    DeleteItem, DirectoryChange, DirectoryChangeOutcome, DirectoryEntry, DirectoryOp,
    DirectoryOutcome, ItemOutcome, ListingRef, ListingsOp, ListingsOutcome, LogPosition, Op,
    ReadAnswer, ReadOp, Reply, ShardDescriptor, ShardKey, UpsertItem,
};
use openraft_rt::AsyncRuntime;

use crate::{
    ask::{Call, Place, ReadTerms},
    error::{Problem, RouteError},
    router::Router,
};

/// A change of a listings shard.
#[derive(Debug)]
pub(super) enum ListingWrite {
    Upsert(UpsertItem),
    Delete(DeleteItem),
    Reveal(ListingRef),
    Retire(ListingRef),
}

impl ListingWrite {
    const fn key(&self) -> &ShardKey {
        match self {
            Self::Upsert(item) => &item.key,
            Self::Delete(item) => &item.key,
            Self::Reveal(item) | Self::Retire(item) => &item.key,
        }
    }

    const fn bytes(&self) -> usize {
        match self {
            Self::Upsert(item) => item.document.len() + 128,
            Self::Delete(_) | Self::Reveal(_) | Self::Retire(_) => 128,
        }
    }

    const fn kind(&self) -> u8 {
        match self {
            Self::Upsert(_) => 0,
            Self::Delete(_) => 1,
            Self::Reveal(_) => 2,
            Self::Retire(_) => 3,
        }
    }
}

/// One command of writes of one kind.
fn command(writes: Vec<ListingWrite>) -> ListingsOp {
    let (mut upserts, mut deletes, mut refs, mut retires) =
        (Vec::new(), Vec::new(), Vec::new(), false);
    for write in writes {
        match write {
            ListingWrite::Upsert(item) => upserts.push(item),
            ListingWrite::Delete(item) => deletes.push(item),
            ListingWrite::Reveal(item) => refs.push(item),
            ListingWrite::Retire(item) => {
                retires = true;
                refs.push(item);
            }
        }
    }
    if !upserts.is_empty() {
        ListingsOp::Upsert { items: upserts }
    } else if !deletes.is_empty() {
        ListingsOp::Delete { items: deletes }
    } else if retires {
        ListingsOp::Retire { items: refs }
    } else {
        ListingsOp::Reveal { items: refs }
    }
}

/// What became of one write: the state machine's word, and where its command is in the log.
pub(super) type Written = Result<(ItemOutcome, LogPosition), RouteError>;

/// Items of one command, with the numbers that their caller knows them by.
struct Batch<T> {
    shard: ShardDescriptor,
    tags: Vec<usize>,
    items: Vec<T>,
}

/// What became of each item, by its caller's number.
type Results<T> = Vec<(usize, Result<T, RouteError>)>;

impl<R: AsyncRuntime> Router<R> {
    /// Writes to listings shards. `T` tells the caller which item an outcome belongs to.
    pub(super) async fn write_listings(
        &self,
        writes: Vec<(usize, ListingWrite)>,
        call: &Call<R>,
    ) -> Vec<(usize, Written)> {
        let (batches, mut results) =
            self.batches(writes, |write| (write.key().clone(), write.kind(), write.bytes()));
        let asked = batches.into_iter().map(|batch| self.write_batch(batch, call).boxed());
        results.extend(self.together(asked.collect()).await);
        results
    }

    /// Compares and sets entries of the directory.
    pub(super) async fn write_directory(
        &self,
        changes: Vec<(usize, DirectoryChange)>,
        call: &Call<R>,
    ) -> Results<DirectoryChangeOutcome> {
        let (batches, mut results) = self
            .batches(changes, |change| (ShardKey::directory(&change.id), 0, change.id.len() + 128));
        let asked = batches.into_iter().map(|batch| self.compare_batch(batch, call).boxed());
        results.extend(self.together(asked.collect()).await);
        results
    }

    /// Reads entries of the directory.
    pub(super) async fn read_directory(
        &self,
        ids: Vec<(usize, String)>,
        terms: ReadTerms,
        call: &Call<R>,
    ) -> Results<Option<DirectoryEntry>> {
        let (batches, mut results) = self.batches(ids, |id| (ShardKey::directory(id), 0, id.len()));
        let asked = batches.into_iter().map(|batch| self.read_batch(batch, terms, call).boxed());
        results.extend(self.together(asked.collect()).await);
        results
    }

    async fn write_batch(
        &self,
        batch: Batch<ListingWrite>,
        call: &Call<R>,
    ) -> Results<(ItemOutcome, LogPosition)> {
        let Batch { shard, tags, items } = batch;
        let (place, op) = (Place::Shard(shard), Op::Listings(command(items)));
        let written = self.asker.write(&place, None, op, call).await;
        let written = written.and_then(|answered| match answered.body {
            Reply::Listings(ListingsOutcome::Items(outcomes)) if outcomes.len() == tags.len() => {
                let position = answered.point.position;
                Ok(outcomes.into_iter().map(|outcome| (outcome, position)).collect())
            }
            _ => Err(out_of_place()),
        });
        spread(tags, written)
    }

    async fn compare_batch(
        &self,
        batch: Batch<DirectoryChange>,
        call: &Call<R>,
    ) -> Results<DirectoryChangeOutcome> {
        let Batch { shard, tags, items } = batch;
        let place = Place::Shard(shard);
        let op = Op::Directory(DirectoryOp::CompareAndSet(items));
        let written = self.asker.write(&place, None, op, call).await;
        let written = written.and_then(|answered| match answered.body {
            Reply::Directory(DirectoryOutcome::Compared(outcomes))
                if outcomes.len() == tags.len() =>
            {
                Ok(outcomes)
            }
            _ => Err(out_of_place()),
        });
        spread(tags, written)
    }

    async fn read_batch(
        &self,
        batch: Batch<String>,
        terms: ReadTerms,
        call: &Call<R>,
    ) -> Results<Option<DirectoryEntry>> {
        let Batch { shard, tags, items } = batch;
        let (place, op) = (Place::Shard(shard), ReadOp::Directory { ids: items });
        let read = self.asker.read(&place, terms, op, call).await;
        let read = read.and_then(|answered| match answered.body {
            ReadAnswer::Directory(entries) if entries.len() == tags.len() => Ok(entries),
            _ => Err(out_of_place()),
        });
        spread(tags, read)
    }

    /// Several commands at a time, up to the bound on concurrency.
    pub(super) async fn together<T: Send>(&self, asked: Vec<BoxFuture<'_, Vec<T>>>) -> Vec<T> {
        let answers: Vec<Vec<T>> =
            stream::iter(asked).buffer_unordered(self.options.ingest.concurrency).collect().await;
        answers.into_iter().flatten().collect()
    }

    /// Gathers items by shard and kind, and cuts them to commands. Items without a shard have
    /// their result at once.
    fn batches<T, U>(
        &self,
        items: Vec<(usize, T)>,
        facts: impl Fn(&T) -> (ShardKey, u8, usize),
    ) -> (Vec<Batch<T>>, Results<U>) {
        let map = self.asker.map();
        let options = &self.options.ingest;
        let mut results = Vec::new();
        let mut full: Vec<Batch<T>> = Vec::new();
        let mut filling: BTreeMap<(ShardId, u8), (Batch<T>, usize)> = BTreeMap::new();
        let mut last: Option<ShardDescriptor> = None;
        for (tag, item) in items {
            let (key, kind, bytes) = facts(&item);
            // Neighbours in a feed are mostly neighbours in the keyspace.
            let shard = last
                .take_if(|shard| shard.range.contains(&key))
                .or_else(|| map.locate(&key).cloned());
            let Some(shard) = shard else {
                results.push((tag, Err(RouteError::no_shard(&map))));
                continue;
            };
            let slot = filling.entry((shard.id, kind)).or_insert_with(|| {
                (Batch { shard: shard.clone(), tags: Vec::new(), items: Vec::new() }, 0)
            });
            last = Some(shard);
            let (batch, size) = slot;
            let too_many = batch.items.len() >= options.batch_items_max;
            let too_large = !batch.items.is_empty() && *size + bytes > options.batch_bytes_max;
            if too_many || too_large {
                *size = 0;
                full.push(Batch {
                    shard: batch.shard.clone(),
                    tags: std::mem::take(&mut batch.tags),
                    items: std::mem::take(&mut batch.items),
                });
            }
            batch.tags.push(tag);
            batch.items.push(item);
            *size += bytes;
        }
        full.extend(filling.into_values().map(|(batch, _size)| batch));
        (full, results)
    }
}

/// The results of a command, each to its item.
fn spread<T>(tags: Vec<usize>, results: Result<Vec<T>, RouteError>) -> Results<T> {
    match results {
        Ok(results) => tags.into_iter().zip(results.into_iter().map(Ok)).collect(),
        Err(error) => tags.into_iter().map(|tag| (tag, Err(error.clone()))).collect(),
    }
}

fn out_of_place() -> RouteError {
    RouteError::new(Problem::ShardUnavailable, "a shard gave an answer out of place")
}
