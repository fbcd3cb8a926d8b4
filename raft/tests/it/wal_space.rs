//! Space is given back, also when a quiet group holds on to old segments.

use std::sync::Arc;

use futures::FutureExt;
use hexpop_raft::{
    MemDisk,
    wal::{
        GroupLog, Health, LogEntry, LogPosition, LogVote, NewGroup, Wal, WalError, WalHandle, Work,
    },
};

use crate::wal_model::{create, entry, id, ignore, observe, open, submit};

fn settle(wal: &mut Wal) {
    for _ in 0..10_000 {
        if wal.work() != Work::Now {
            return;
        }
        wal.step().unwrap();
    }
    panic!("the log does not come to rest");
}

#[test]
fn purged_segments_are_deleted() {
    let disk = MemDisk::new();
    let mut wal = open(&disk).unwrap().0;
    let log = create(&mut wal, 1);
    for n in 0..200 {
        log.try_append(vec![entry(n, 1, 200)], ignore()).unwrap();
        wal.step().unwrap();
    }
    assert!(disk.contents().len() > 8);
    submit(log.purge(LogPosition { term: 1, index: 198 }));
    settle(&mut wal);
    assert!(disk.contents().len() <= 4, "{}", disk.contents().len());
    assert_eq!(log.read(0..1000, usize::MAX).unwrap(), [entry(199, 1, 200)]);
}

#[test]
fn a_quiet_group_is_copied_on_and_does_not_hold_segments() {
    let disk = MemDisk::new();
    let mut wal = open(&disk).unwrap().0;
    let quiet = create(&mut wal, 1);
    submit(quiet.save_vote(LogVote { term: 3, node: 2, committed: true }));
    quiet.try_append((5..9).map(|n| entry(n, 1, 50)).collect(), ignore()).unwrap();
    quiet.save_committed(Some(LogPosition { term: 1, index: 7 })).unwrap();
    let gone = create(&mut wal, 7);
    submit(gone.save_vote(LogVote { term: 8, node: 2, committed: false }));
    submit(gone.destroy());
    let busy = create(&mut wal, 2);
    let mut most = 0;
    for n in 0..2000 {
        busy.try_append(vec![entry(n, 1, 200)], ignore()).unwrap();
        if n % 4 == 3 {
            submit(busy.purge(LogPosition { term: 1, index: n - 2 }));
        }
        wal.step().unwrap();
        most = most.max(disk.contents().len());
    }
    settle(&mut wal);
    assert!(most <= 10, "{most} segments");
    let stats = wal.handle().stats();
    assert!(stats.records_moved >= 4 && stats.segments_deleted > 50, "{stats:?}");
    assert_eq!(
        quiet.read(0..100, usize::MAX).unwrap(),
        (5..9).map(|n| entry(n, 1, 50)).collect::<Vec<_>>()
    );
    let model = [(id(1), Default::default()), (id(2), Default::default())].into();
    let before = observe(&wal.handle(), &model);
    drop(wal);

    let mut wal = open(&disk).unwrap().0;
    assert_eq!(observe(&wal.handle(), &model), before);
    let quiet = wal.handle().group(id(1)).unwrap().view().unwrap();
    assert_eq!(quiet.committed, Some(LogPosition { term: 1, index: 7 }));
    // The vote of the group that is gone has come along too.
    submit(wal.handle().create(id(7), NewGroup::default()));
    wal.step().unwrap();
    let vote = wal.handle().group(id(7)).unwrap().view().unwrap().vote;
    assert_eq!(vote, Some(LogVote { term: 8, node: 2, committed: false }));
}

#[test]
fn one_life_of_a_group_does_not_see_the_next() {
    let disk = MemDisk::new();
    let mut wal = open(&disk).unwrap().0;
    let first = create(&mut wal, 1);
    first.try_append(vec![entry(0, 1, 5)], ignore()).unwrap();
    submit(first.destroy());
    let second = create(&mut wal, 1);
    assert!(first.view().is_err());
    assert!(first.try_append(vec![entry(0, 1, 5)], ignore()).is_err());
    assert_eq!(second.view().unwrap().last, None);
    assert_eq!(open(&disk.after_kill()).unwrap().0.handle().groups().len(), 1);
}

#[test]
fn what_is_read_during_deletion_stays_readable() {
    let disk = MemDisk::new();
    let mut wal = open(&disk).unwrap().0;
    let log = create(&mut wal, 1);
    for n in 0..100 {
        log.try_append(vec![entry(n, 1, 200)], ignore()).unwrap();
    }
    settle(&mut wal);
    // Past the cache: from the files.
    let read = log.read(0..50, 2000).unwrap();
    assert!(read.len() >= 8 && read.len() <= 10, "{}", read.len());
    assert_eq!(read[0], entry(0, 1, 200));
    assert_eq!(log.read(99..200, 1).unwrap(), [entry(99, 1, 200)]);
    assert!(log.read(100..200, 1).unwrap().is_empty());
}

/// Waits on a thread of its own.
fn block_on<F: Future>(future: F) -> F::Output {
    tokio::runtime::Builder::new_current_thread().build().unwrap().block_on(future)
}

/// Has a demand to rid the disk met, stepping the writer meanwhile.
fn scrub(wal: &mut Wal) {
    let handle = wal.handle();
    let waiting = std::thread::spawn(move || block_on(handle.scrub()));
    while !waiting.is_finished() {
        wal.step().unwrap();
        std::thread::yield_now();
    }
    waiting.join().unwrap().unwrap();
}

fn files_with(disk: &MemDisk, marker: &[u8]) -> Vec<String> {
    let contents = disk.contents().into_iter();
    contents
        .filter(|(_, bytes)| bytes.windows(marker.len()).any(|window| window == marker))
        .map(|(name, _)| name)
        .collect()
}

#[test]
fn what_is_left_of_destroyed_groups_is_known_after_a_restart_until_it_is_scrubbed() {
    let disk = MemDisk::new();
    let mut wal = open(&disk).unwrap().0;
    let (gone, back) = (create(&mut wal, 1), create(&mut wal, 2));
    for log in [&gone, &back] {
        submit(log.save_vote(LogVote { term: 3, node: 2, committed: true }));
        log.try_append(vec![entry(0, 3, 50)], ignore()).unwrap();
        submit(log.destroy());
    }
    let _again = create(&mut wal, 2);
    settle(&mut wal);
    assert_eq!(wal.handle().remains(), [], "whoever destroys it knows");
    drop(wal);
    let mut wal = open(&disk).unwrap().0;
    assert_eq!(wal.handle().remains(), [id(1)]);
    assert_eq!(wal.handle().remembered(), [id(1), id(2)]);
    scrub(&mut wal);
    drop(wal);
    let wal = open(&disk).unwrap().0;
    assert_eq!(wal.handle().remains(), []);
    assert_eq!(wal.handle().remembered(), [id(1), id(2)], "for the vote's sake");
}

#[test]
fn what_was_purged_leaves_the_disk_on_demand_and_nothing_else_does() {
    const MARKER: &[u8] = b"erase this";
    let disk = MemDisk::new();
    let mut wal = open(&disk).unwrap().0;
    let (erased, kept) = (create(&mut wal, 1), create(&mut wal, 2));
    submit(kept.save_vote(LogVote { term: 3, node: 2, committed: true }));
    for n in 0..10 {
        let marked = LogEntry { index: n, term: 1, tag: 1, payload: MARKER.into() };
        erased.try_append(vec![marked], ignore()).unwrap();
        kept.try_append(vec![entry(n, 1, 50)], ignore()).unwrap();
        wal.step().unwrap();
    }
    // Too little for the log to care about by itself.
    submit(erased.purge(LogPosition { term: 1, index: 9 }));
    settle(&mut wal);
    assert_eq!(files_with(&disk, MARKER).len(), 1);
    scrub(&mut wal);
    assert_eq!(files_with(&disk, MARKER), Vec::<String>::new());
    // With nothing new it is met at once, and again after more.
    scrub(&mut wal);
    let again = LogEntry { index: 10, term: 1, tag: 1, payload: MARKER.into() };
    erased.try_append(vec![again], ignore()).unwrap();
    wal.step().unwrap();
    scrub(&mut wal);
    assert_eq!(files_with(&disk, MARKER).len(), 1, "what is needed stays");
    submit(erased.purge(LogPosition { term: 1, index: 10 }));
    scrub(&mut wal);
    assert_eq!(files_with(&disk, MARKER), Vec::<String>::new());
    let model = [(id(1), Default::default()), (id(2), Default::default())].into();
    let before = observe(&wal.handle(), &model);
    let ten: Vec<_> = (0..10).map(|n| entry(n, 1, 50)).collect();
    assert_eq!(kept.read(0..100, usize::MAX).unwrap(), ten);
    drop(wal);
    let wal = open(&disk).unwrap().0;
    assert_eq!(observe(&wal.handle(), &model), before);
}

#[test]
fn a_demand_ends_with_the_log() {
    let disk = MemDisk::new();
    let wal = open(&disk).unwrap().0;
    let handle = wal.handle();
    let waiting = std::thread::spawn({
        let handle = handle.clone();
        move || block_on(handle.scrub())
    });
    drop(wal);
    assert!(waiting.join().unwrap().is_err());
    assert!(block_on(WalHandle::scrub(&handle)).is_err());
}

/// A demand that is waited for on a thread, so that the writer can be stepped meanwhile.
fn demand(wal: &Wal) -> std::thread::JoinHandle<Result<(), WalError>> {
    let handle = wal.handle();
    let number = handle.demand_scrub().unwrap();
    std::thread::spawn(move || block_on(handle.scrubbed(number)))
}

/// Steps until a demand that is waited for is met.
fn meet(wal: &mut Wal, waiting: std::thread::JoinHandle<Result<(), WalError>>) {
    while !waiting.is_finished() {
        wal.step().unwrap();
        std::thread::yield_now();
    }
    waiting.join().unwrap().unwrap();
}

#[test]
fn a_demand_that_is_made_again_before_it_is_met_is_met_all_the_same() {
    let disk = MemDisk::new();
    let mut wal = open(&disk).unwrap().0;
    let log = create(&mut wal, 1);
    for n in 0..100 {
        log.try_append(vec![entry(n, 1, 200)], ignore()).unwrap();
    }
    settle(&mut wal);
    let handle = wal.handle();
    let first = handle.demand_scrub().unwrap();
    let asked = handle.clone();
    let mut met = Box::pin(asked.scrubbed(first));
    let mut again = Vec::new();
    // A round moves two or three entries: four hundred are enough for all of them several times.
    let rounds = (0..400).find(|_| {
        again.push(handle.demand_scrub().unwrap());
        wal.step().unwrap();
        (&mut met).now_or_never().is_some_and(|met| met.is_ok())
    });
    assert!(rounds.is_some(), "the first demand is never met");
    let last = again.pop().unwrap();
    meet(&mut wal, std::thread::spawn(move || block_on(handle.scrubbed(last))));
    assert_eq!(log.read(0..1000, usize::MAX).unwrap().len(), 100);
}

/// A log on a disk that has no byte to spare, and a demand to rid it that waits.
struct Full {
    disk: Arc<MemDisk>,
    wal: Wal,
    log: GroupLog,
    waiting: std::thread::JoinHandle<Result<(), WalError>>,
}

impl Full {
    /// The disk is full of what `fill` writes, whose last submission may still be on its way.
    fn of(fill: impl FnOnce(&mut Wal, &GroupLog)) -> Self {
        let disk = MemDisk::new();
        let mut wal = open(&disk).unwrap().0;
        let log = create(&mut wal, 1);
        fill(&mut wal, &log);
        disk.set_capacity(disk.used());
        settle(&mut wal);
        let waiting = demand(&wal);
        Self { disk, wal, log, waiting }
    }

    /// The writer does what it can, and does not end over it.
    fn goes_on(&mut self) {
        settle(&mut self.wal);
        assert!(!matches!(self.wal.handle().health(), Health::Failed(_)));
        assert_eq!(self.wal.handle().stats().queue_ops, 0);
    }

    /// There is room again, and whoever goes on waiting for the demand has it tried again.
    fn end_with_room(mut self) -> GroupLog {
        self.disk.set_capacity(0);
        if !self.waiting.is_finished() {
            let handle = self.wal.handle();
            meet(&mut self.wal, std::thread::spawn(move || block_on(handle.scrubbed(1))));
        }
        meet(&mut self.wal, self.waiting);
        self.log
    }
}

#[test]
fn an_erasure_on_a_full_disk_waits_for_space_and_does_not_end_the_log() {
    const MARKER: &[u8] = b"erase this";
    // As many entries as there are, so that the disk is full at any point of a segment.
    for entries in 1..60 {
        let mut full = Full::of(|wal, log| {
            let marked = LogEntry { index: 0, term: 1, tag: 1, payload: MARKER.into() };
            log.try_append(vec![marked], ignore()).unwrap();
            for n in 1..entries {
                log.try_append(vec![entry(n, 1, 200)], ignore()).unwrap();
                wal.step().unwrap();
            }
            settle(wal);
            submit(log.purge(LogPosition { term: 1, index: 0 }));
        });
        full.goes_on();
        let disk = full.disk.clone();
        let log = full.end_with_room();
        assert_eq!(files_with(&disk, MARKER), Vec::<String>::new(), "{entries}");
        assert_eq!(log.read(0..1000, usize::MAX).unwrap().len() as u64, entries - 1);
    }
}

#[test]
fn a_batch_that_takes_the_prepared_segment_leaves_the_demand_open() {
    let mut next = 0;
    // Past the middle of the first segment, the next one is prepared.
    let mut full = Full::of(|wal, log| {
        while wal.handle().stats().used_bytes < 2500 {
            log.try_append(vec![entry(next, 1, 200)], ignore()).unwrap();
            next += 1;
            settle(wal);
        }
    });
    // More than what is left of the active segment, less than that and the prepared one.
    let batch = (next..next + 15).map(|n| entry(n, 1, 200)).collect();
    full.log.try_append(batch, ignore()).unwrap();
    full.goes_on();
    assert!(!full.waiting.is_finished(), "it cannot have been met");
    let log = full.end_with_room();
    assert_eq!(log.read(0..1000, usize::MAX).unwrap().len() as u64, next + 15);
}
