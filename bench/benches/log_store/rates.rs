//! How many appends a second become durable, and how long each takes, with writers that wait for one
//! append before the next, each on a group of its own.

use std::{path::Path, sync::Arc, time::Duration};

use bytes::Bytes;
use tokio::task::JoinSet;

use crate::{
    clock,
    spread::Spread,
    store::{Change, Store},
};

/// Every so many appends a writer purges all but the last of them.
const PURGE_EVERY: u64 = 256;
/// Every so many appends a writer votes.
const VOTE_EVERY: u64 = 4096;

/// What one store reached.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Rate {
    pub(crate) per_second: f64,
    pub(crate) spread: Spread,
}

/// Has `writers` append for `duration`.
pub(crate) fn run<S: Store>(
    dir: &Path,
    groups: u64,
    writers: u64,
    entry_bytes: usize,
    duration: Duration,
) -> Rate {
    let folder = tempfile::tempdir_in(dir).unwrap();
    let store = Arc::new(S::open(folder.path(), groups.max(writers)));
    let runtime = tokio::runtime::Builder::new_multi_thread().build().unwrap();
    let payload = payload(entry_bytes);
    let until = clock::now() + duration;
    let seconds = runtime.block_on(async {
        let mut running = JoinSet::new();
        for group in 0..writers {
            let (store, payload) = (store.clone(), payload.clone());
            running.spawn(async move {
                let mut seconds = Vec::new();
                for index in 0.. {
                    let before = clock::now();
                    if before >= until {
                        break;
                    }
                    let entries = vec![payload.clone()];
                    store.change(group, Change::Append { first: index, entries }).await;
                    seconds.push(before.elapsed().as_secs_f64());
                    upkeep(&*store, group, index).await;
                }
                seconds
            });
        }
        running.join_all().await.concat()
    });
    Rate { per_second: seconds.len() as f64 / duration.as_secs_f64(), spread: Spread::of(seconds) }
}

async fn upkeep<S: Store>(store: &S, group: u64, index: u64) {
    if index % PURGE_EVERY == PURGE_EVERY - 1 {
        store.change(group, Change::Purge(index - 1)).await;
    }
    if index % VOTE_EVERY == VOTE_EVERY - 1 {
        store.change(group, Change::Vote(index)).await;
    }
}

/// Bytes that compress badly.
pub(crate) fn payload(bytes: usize) -> Bytes {
    let mut split = hexpop_raft::Split::new(bytes as u64);
    (0..bytes).map(|_| split.next_u64() as u8).collect()
}
