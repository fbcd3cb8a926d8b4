//! Every store must give back what it said was durable before any is timed.

use std::path::Path;

use crate::{
    rates::payload,
    store::{Change, Store, copy},
};

const GROUPS: u64 = 3;

/// Appends, votes and purges, takes the files while the store is open, and panics when what opens
/// from them is something else.
pub(crate) fn gives_back<S: Store>(dir: &Path) {
    let folder = tempfile::tempdir_in(dir).unwrap();
    let (live, left) = (folder.path().join("live"), folder.path().join("left"));
    let store = S::open(&live, GROUPS);
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    let entries = |group: u64| (0..10).map(move |n| payload((100 * group + n) as usize)).collect();
    runtime.block_on(async {
        for group in 0..GROUPS {
            store.change(group, Change::Append { first: 0, entries: entries(group) }).await;
            store.change(group, Change::Purge(group)).await;
            // Behind the purge, so that it is durable too.
            store.change(group, Change::Vote(group + 5)).await;
        }
    });
    copy(&live, &left);
    drop(store);
    for dir in [left, live] {
        let store = S::open(&dir, GROUPS);
        for group in 0..GROUPS {
            assert_eq!(store.indexes(group), group + 1..10, "{}", S::NAME);
            assert_eq!(store.vote(group), group + 5, "{}", S::NAME);
            let expected: Vec<bytes::Bytes> = entries(group);
            let mut next = group + 1;
            store.read(group, |index, payload| {
                assert_eq!(index, next, "{}", S::NAME);
                assert_eq!(payload, expected[index as usize], "{}", S::NAME);
                next += 1;
            });
            assert_eq!(next, 10, "{}", S::NAME);
        }
    }
    println!("{} gives back what was durable", S::NAME);
}
