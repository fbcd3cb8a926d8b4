//! Bounds: the queue, the size of a record, the disk.

use std::time::Duration;

use futures::FutureExt;
use hexpop_raft::{
    MemDisk,
    wal::{Completion, Health, LogPosition, NewGroup, Options, Wal, WalError, Work},
};

use crate::wal_model::{LOG, create, entry, id, ignore, open, small_options, submit};

#[test]
fn a_full_queue_refuses_or_makes_wait_until_the_next_flush() {
    let disk = MemDisk::new();
    let options = Options { queue_ops_max: 3, ..small_options() };
    let mut wal = Wal::open(disk, LOG, options).unwrap().0;
    let log = create(&mut wal, 1);
    for n in 0..3 {
        log.try_append(vec![entry(n, 1, 1)], ignore()).unwrap();
    }
    assert!(matches!(log.try_append(vec![entry(3, 1, 1)], ignore()), Err(WalError::Full)));
    let mut waiting = Box::pin(log.append(vec![entry(3, 1, 1)], ignore()));
    assert!((&mut waiting).now_or_never().is_none());
    assert_eq!(log.view().unwrap().indexes.1, 3);
    wal.step().unwrap();
    (&mut waiting).now_or_never().unwrap().unwrap();
    assert_eq!(log.view().unwrap().indexes.1, 4);
    wal.step().unwrap();
    assert_eq!((wal.handle().stats().queue_ops, wal.work()), (0, Work::Idle));
}

#[test]
fn an_entry_that_fits_no_segment_is_refused_alone() {
    let disk = MemDisk::new();
    let mut wal = open(&disk).unwrap().0;
    let log = create(&mut wal, 1);
    let error = log.try_append(vec![entry(0, 1, 5000)], ignore()).unwrap_err();
    assert!(matches!(error, WalError::TooLarge { .. }) && !error.is_fatal());
    let largest = 4096 - 64 - 24 - 24 - 17;
    log.try_append(vec![entry(0, 1, largest - largest % 8)], ignore()).unwrap();
    wal.step().unwrap();
    assert_eq!(log.read(0..9, usize::MAX).unwrap(), [entry(0, 1, largest - largest % 8)]);
}

#[test]
fn a_gap_is_refused() {
    let disk = MemDisk::new();
    let mut wal = open(&disk).unwrap().0;
    let log = create(&mut wal, 1);
    submit(log.purge(LogPosition { term: 1, index: 4 }));
    for wrong in [0, 4, 6] {
        let error = log.try_append(vec![entry(wrong, 1, 1)], ignore()).unwrap_err();
        assert!(matches!(error, WalError::Gap { expected: 5, .. }), "{error}");
    }
    log.try_append(vec![entry(5, 1, 1)], ignore()).unwrap();
    wal.step().unwrap();
}

#[test]
fn a_full_disk_is_announced_then_fails_the_log_and_reopening_goes_on_once_there_is_space() {
    let disk = MemDisk::new();
    disk.set_capacity(3 * 4096);
    let mut wal = open(&disk).unwrap().0;
    let handle = wal.handle();
    let log = create(&mut wal, 1);
    let mut announced = false;
    let mut acknowledged = 0;
    let failure = loop {
        let next = log.view().unwrap().indexes.1;
        log.try_append(vec![entry(next, 1, 100)], ignore()).unwrap();
        match wal.step() {
            Ok(()) => acknowledged = next + 1,
            Err(error) => break error,
        }
        announced |= matches!(handle.health(), Health::LowSpace);
        assert!(acknowledged < 1000, "it must end");
    };
    assert!(announced && failure.is_fatal());
    assert!(matches!(handle.failed().now_or_never(), Some(WalError::Failed { .. })));
    drop(wal);

    // There is room for the few bytes of a purge, and then for the next segments.
    disk.set_capacity(0);
    let mut wal = open(&disk).unwrap().0;
    let log = wal.handle().group(id(1)).unwrap();
    assert!(log.view().unwrap().indexes.1 >= acknowledged);
    submit(log.purge(LogPosition { term: 1, index: acknowledged - 1 }));
    while wal.work() == Work::Now {
        wal.step().unwrap();
    }
    assert!(disk.contents().len() <= 3);
    assert!(matches!(wal.handle().health(), Health::Working));
}

#[test]
fn a_log_that_is_dropped_tells_whoever_waits() {
    let disk = MemDisk::new();
    let mut wal = open(&disk).unwrap().0;
    let log = create(&mut wal, 1);
    let (sender, receiver) = std::sync::mpsc::channel();
    let done = Completion::new(move |result| sender.send(result).unwrap());
    log.try_append(vec![entry(0, 1, 1)], done).unwrap();
    let mut vote = Box::pin(log.destroy());
    assert!((&mut vote).now_or_never().is_none());
    drop(wal);
    assert!(matches!(receiver.try_recv().unwrap(), Err(WalError::Closed)));
    assert!(matches!((&mut vote).now_or_never(), Some(Err(WalError::Closed))));
}

#[tokio::test]
async fn the_writers_thread_flushes_what_is_queued_before_it_ends() {
    let disk = MemDisk::new();
    let wal = open(&disk).unwrap().0;
    let thread = hexpop_raft::wal::WriterThread::spawn(wal).unwrap();
    let log = thread.handle().create(id(1), NewGroup::default()).await.unwrap();
    for n in 0..50 {
        log.append(vec![entry(n, 1, 20)], ignore()).await.unwrap();
    }
    log.save_committed(Some(LogPosition { term: 1, index: 40 })).unwrap();
    drop(thread);
    assert!(matches!(log.append(vec![entry(50, 1, 1)], ignore()).await, Err(WalError::Closed)));
    let wal = open(&disk).unwrap().0;
    let view = wal.handle().group(id(1)).unwrap().view().unwrap();
    assert_eq!(view.indexes, (0, 50));
    assert_eq!(view.committed, Some(LogPosition { term: 1, index: 40 }));
}

#[tokio::test(start_paused = true)]
async fn a_committed_position_is_written_after_a_while_without_a_flush() {
    let disk = MemDisk::new();
    let mut wal = open(&disk).unwrap().0;
    let log = create(&mut wal, 1);
    log.try_append(vec![entry(0, 1, 1)], ignore()).unwrap();
    wal.step().unwrap();
    let handle = wal.handle();
    let writer = tokio::spawn(hexpop_raft::wal::drive::<openraft_rt_tokio::TokioRuntime>(wal));
    let (syncs, written) = (disk.syncs(), handle.stats().bytes_written);
    log.save_committed(Some(LogPosition { term: 1, index: 0 })).unwrap();
    tokio::time::sleep(Duration::from_millis(150)).await;
    assert_eq!(handle.stats().bytes_written, written);
    tokio::time::sleep(Duration::from_millis(100)).await;
    assert!(handle.stats().bytes_written > written);
    assert_eq!(disk.syncs(), syncs);
    handle.close();
    writer.await.unwrap().unwrap();
}
