//! Many groups share one flush.

use std::sync::Arc;

use hexpop_raft::{
    MemDisk,
    wal::{LogVote, NewGroup, Options, Wal, WriterThread},
};
use tokio::sync::oneshot;

use crate::wal_model::{LOG, create, entry, id, ignore, open, small_options, submit};

#[test]
fn what_a_hundred_groups_submit_takes_one_write_and_one_flush() {
    let disk = MemDisk::new();
    let options = Options { segment_bytes: 1 << 16, ..small_options() };
    let mut wal = Wal::open(disk.clone(), LOG, options).unwrap().0;
    let logs: Vec<_> = (0..100).map(|n| create(&mut wal, n)).collect();
    let before = disk.syncs();
    for log in &logs {
        submit(log.save_vote(LogVote { term: 1, node: 1, committed: false }));
        log.try_append(vec![entry(0, 1, 8)], ignore()).unwrap();
    }
    wal.step().unwrap();
    assert_eq!(disk.syncs() - before, 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn appends_that_come_during_a_flush_share_the_next() {
    const GROUPS: u64 = 64;
    let disk = MemDisk::new();
    let thread = Arc::new(WriterThread::spawn(open(&disk).unwrap().0).unwrap());
    let mut logs = Vec::new();
    for n in 0..GROUPS {
        logs.push(thread.handle().create(id(n), NewGroup::default()).await.unwrap());
    }
    let before = thread.handle().stats().flushes;
    let held = disk.hold_flushes();
    let mut done = Vec::new();
    for log in &logs {
        let (sender, receiver) = oneshot::channel();
        let told = hexpop_raft::wal::Completion::new(move |result| sender.send(result).unwrap());
        log.try_append(vec![entry(0, 1, 8)], told).unwrap();
        done.push(receiver);
    }
    drop(held);
    for receiver in done {
        receiver.await.unwrap().unwrap();
    }
    let flushes = thread.handle().stats().flushes - before;
    // The first takes what was there when it began, the second the rest, and a border between two
    // segments may cost one more each.
    assert!(flushes <= 4, "{flushes} flushes for {GROUPS} groups");
}
