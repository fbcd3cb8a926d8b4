//! How long it takes to open what a killed process left, and to read all of it once.

use std::path::Path;

use crate::{
    clock,
    rates::payload,
    store::{Change, Store, copy},
};

const ENTRY_BYTES: usize = 1024;
/// Entries of one append.
const BATCH: u64 = 64;
const GROUPS: u64 = 64;

/// What it took, in seconds.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Recovery {
    /// Until it is known where every log begins and ends.
    pub(crate) open: f64,
    /// Until every entry was read, opening included.
    pub(crate) replay: f64,
}

/// Writes `bytes` of entries, takes a copy of the files while the store is open, and opens that.
pub(crate) fn run<S: Store>(dir: &Path, bytes: u64) -> Recovery {
    let folder = tempfile::tempdir_in(dir).unwrap();
    let (live, left) = (folder.path().join("live"), folder.path().join("left"));
    let entries = bytes / ENTRY_BYTES as u64 / GROUPS / BATCH * BATCH;
    let store = S::open(&live, GROUPS);
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    let batch = vec![payload(ENTRY_BYTES); BATCH as usize];
    runtime.block_on(async {
        for first in (0..entries).step_by(BATCH as usize) {
            let append =
                |group| store.change(group, Change::Append { first, entries: batch.clone() });
            futures::future::join_all((0..GROUPS).map(append)).await;
        }
    });
    copy(&live, &left);
    drop(store);

    let started = clock::now();
    let store = S::open(&left, GROUPS);
    for group in 0..GROUPS {
        assert_eq!(store.indexes(group), 0..entries, "{}", S::NAME);
    }
    let open = started.elapsed().as_secs_f64();
    for group in 0..GROUPS {
        let mut next = 0;
        store.read(group, |index, payload| {
            assert_eq!((index, payload.len()), (next, ENTRY_BYTES), "{}", S::NAME);
            next += 1;
        });
        assert_eq!(next, entries, "{}", S::NAME);
    }
    Recovery { open, replay: started.elapsed().as_secs_f64() }
}
