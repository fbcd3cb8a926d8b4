//! What the disk holds while entries come and go, and as much is needed at any time.

use std::{path::Path, sync::Arc, time::Duration};

use tokio::task::JoinSet;

use crate::{
    clock,
    rates::payload,
    store::{Change, Store, disk_bytes},
};

const GROUPS: u64 = 64;
const ENTRY_BYTES: usize = 4096;
/// Entries of one append.
const BATCH: u64 = 4;
/// Entries that a group keeps when it purges, and how many come before it does again.
const KEPT: u64 = 64;
/// How often the disk is looked at.
const SAMPLE: Duration = Duration::from_millis(100);

/// What the disk held, in bytes.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Churn {
    /// What had to be kept: between one and two times what a group keeps, on average.
    pub(crate) live: u64,
    /// What was appended altogether.
    pub(crate) appended: u64,
    /// The median of the second half of the run.
    pub(crate) middle: u64,
    /// The most at any time.
    pub(crate) most: u64,
    /// At the end, when the store had been given a moment.
    pub(crate) end: u64,
}

/// Has every group append and purge until `bytes` have been appended.
pub(crate) fn run<S: Store>(dir: &Path, bytes: u64) -> Churn {
    let folder = tempfile::tempdir_in(dir).unwrap();
    let store = Arc::new(S::open(folder.path(), GROUPS));
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_time().build().unwrap();
    let entries = vec![payload(ENTRY_BYTES); BATCH as usize];
    let rounds = bytes / ENTRY_BYTES as u64 / GROUPS / BATCH;
    let samples = runtime.block_on(async {
        let mut running = JoinSet::new();
        for group in 0..GROUPS {
            let (store, entries) = (store.clone(), entries.clone());
            running.spawn(async move {
                for round in 0..rounds {
                    let first = round * BATCH;
                    let append = Change::Append { first, entries: entries.clone() };
                    store.change(group, append).await;
                    let next = first + BATCH;
                    if next.is_multiple_of(KEPT) && next > KEPT {
                        store.change(group, Change::Purge(next - KEPT - 1)).await;
                    }
                }
            });
        }
        let mut samples = Vec::new();
        while !running.is_empty() {
            samples.push(disk_bytes(folder.path()));
            let until = tokio::time::Instant::from_std(clock::now() + SAMPLE);
            while let Ok(Some(ended)) = tokio::time::timeout_at(until, running.join_next()).await {
                ended.unwrap();
            }
        }
        tokio::time::sleep(10 * SAMPLE).await;
        samples
    });
    let end = disk_bytes(folder.path());
    let mut later = samples[samples.len() / 2..].to_vec();
    later.sort_unstable();
    Churn {
        live: GROUPS * (KEPT + KEPT / 2) * ENTRY_BYTES as u64,
        appended: rounds * GROUPS * BATCH * ENTRY_BYTES as u64,
        middle: later[later.len() / 2],
        most: samples.iter().copied().max().unwrap_or(0).max(end),
        end,
    }
}
