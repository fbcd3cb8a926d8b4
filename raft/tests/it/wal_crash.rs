//! Random work, a crash at any moment, and what is there afterwards.

use std::sync::{
    Arc,
    atomic::{AtomicU64, Ordering},
};

use bytes::Bytes;
use hexpop_edge_config::GroupId;
use hexpop_raft::{
    MemDisk, Split,
    wal::{Completion, LogPosition, LogVote, NewGroup, Wal, Work},
};
use proptest::prelude::*;

use crate::wal_model::{GroupModel, Model, entry, id, ignore, observe, open, submit};

const GROUPS: u64 = 4;

/// A log under test beside its model.
struct Run {
    disk: Arc<MemDisk>,
    wal: Wal,
    /// What the log may be found as after a crash: the last acknowledged state, and every state since.
    states: Vec<Model>,
    term: u64,
}

impl Run {
    fn now(&mut self) -> &mut Model {
        let last = self.states.last().unwrap().clone();
        self.states.push(last);
        self.states.last_mut().unwrap()
    }

    fn peek(&self, id: GroupId) -> GroupModel {
        self.states.last().unwrap().get(&id).cloned().unwrap_or_default()
    }

    fn append(&mut self, id: GroupId, rng: &mut Split) {
        let log = self.wal.handle().group(id).unwrap();
        let group = self.peek(id);
        self.term += rng.below(4) / 3;
        let empty_start = group.entries.is_empty() && group.purged.is_none();
        let first = if empty_start { rng.below(3) } else { group.next() };
        let entries: Vec<_> = (first..first + 1 + rng.below(4))
            .map(|index| entry(index, self.term, rng.below(300) as usize))
            .collect();
        log.try_append(entries.clone(), ignore()).unwrap();
        for entry in entries {
            let group = self.now().get_mut(&id).unwrap();
            if group.entries.is_empty() {
                group.first = entry.index;
            }
            group.entries.push(entry);
        }
    }

    fn truncate(&mut self, id: GroupId, rng: &mut Split) {
        let group = self.peek(id);
        let from = group.first + rng.below(group.entries.len() as u64 + 2);
        submit(self.wal.handle().group(id).unwrap().truncate(from));
        let keep = (from - group.first) as usize;
        let group = self.now().get_mut(&id).unwrap();
        group.entries.truncate(keep);
        if group.entries.is_empty() {
            group.first = group.purged.map_or(0, |purged| purged.index + 1);
        }
    }

    fn purge(&mut self, id: GroupId, rng: &mut Split) {
        let group = self.peek(id);
        let beyond = u64::from(rng.below(8) == 0) * 5;
        let upto = LogPosition {
            term: self.term,
            index: group.first + rng.below(group.entries.len() as u64 + 1) + beyond,
        };
        submit(self.wal.handle().group(id).unwrap().purge(upto));
        if group.purged.is_some_and(|purged| purged.index >= upto.index) {
            return;
        }
        let group = self.now().get_mut(&id).unwrap();
        group.entries.retain(|entry| entry.index > upto.index);
        group.first = group.first.max(upto.index + 1);
        group.purged = Some(upto);
    }

    fn create(&mut self, id: GroupId, rng: &mut Split) {
        let purged =
            (rng.below(2) == 0).then(|| LogPosition { term: self.term, index: rng.below(50) });
        let vote = (rng.below(2) == 0).then_some(LogVote { term: 1, node: 1, committed: true });
        let about = Bytes::from(vec![7; rng.below(40) as usize]);
        let new = NewGroup { about: about.clone(), vote, purged };
        submit(self.wal.handle().create(id, new));
        let remembered = self.peek(id).vote;
        let vote = [remembered, vote].into_iter().flatten().max_by_key(|v| (v.term, v.committed));
        let first = purged.map_or(0, |purged| purged.index + 1);
        let group = GroupModel { alive: true, about, vote, purged, first, entries: Vec::new() };
        self.now().insert(id, group);
    }

    fn act(&mut self, rng: &mut Split) {
        let id = id(rng.below(GROUPS));
        if !self.peek(id).alive {
            return self.create(id, rng);
        }
        let log = self.wal.handle().group(id).unwrap();
        match rng.below(24) {
            0..=10 => self.append(id, rng),
            11..=13 => {
                self.term += rng.below(2);
                let vote =
                    LogVote { term: self.term, node: rng.below(3), committed: rng.below(2) == 0 };
                submit(log.save_vote(vote));
                self.now().get_mut(&id).unwrap().vote = Some(vote);
            }
            14..=15 => self.truncate(id, rng),
            16..=19 => self.purge(id, rng),
            20..=22 => {
                log.save_committed(log.view().unwrap().last).unwrap();
            }
            _ => {
                submit(log.destroy());
                let vote = self.peek(id).vote;
                self.now().insert(id, GroupModel { vote, ..GroupModel::default() });
            }
        }
    }

    /// One round of the writer, in which more may be submitted; true if it went well.
    fn step(&mut self, rng: &mut Split) -> bool {
        let taken = self.states.len() - 1;
        let well = match self.wal.begin() {
            Some(batch) => {
                for _ in 0..rng.below(4) * rng.below(4) {
                    self.act(rng);
                }
                self.wal.commit(batch).is_ok()
            }
            None => self.wal.step().is_ok(),
        };
        if well {
            self.states.drain(..taken);
        }
        well
    }

    /// Opens what the crash left, and finds which of the states it is.
    fn reopen(&mut self, disk: Arc<MemDisk>) {
        let wal = open(&disk).unwrap_or_else(|error| panic!("{error}")).0;
        let found = self.states.iter().rposition(|state| observe(&wal.handle(), state) == *state);
        let found = found.unwrap_or_else(|| {
            let seen = observe(&wal.handle(), self.states.last().unwrap());
            panic!("found {}\nacknowledged {}", brief(&seen), brief(&self.states[0]))
        });
        self.states = vec![self.states[found].clone()];
        self.disk = disk;
        self.wal = wal;
        self.check_committed();
    }

    /// Never behind what was purged and flushed with it, never past the end.
    fn check_committed(&self) {
        for id in self.states[0].iter().filter(|(_, group)| group.alive).map(|(id, _)| *id) {
            let view = self.wal.handle().group(id).unwrap().view().unwrap();
            assert!(view.committed.is_none_or(|committed| committed.index < 10_000));
        }
    }
}

fn brief(model: &Model) -> String {
    let lines = model.iter().map(|(id, group)| {
        let entries: Vec<_> =
            group.entries.iter().map(|e| (e.index, e.term, e.payload.len())).collect();
        let GroupModel { alive, vote, purged, first, .. } = group;
        format!("\n  {id}: {alive} vote {vote:?} purged {purged:?} first {first} {entries:?}")
    });
    lines.collect()
}

fn run(seed: u64, rounds: u64) {
    let mut rng = Split::new(seed);
    let disk = MemDisk::new();
    let wal = open(&disk).unwrap().0;
    let mut run = Run { disk, wal, states: vec![Model::new()], term: 1 };
    for _ in 0..rounds {
        let mut working = true;
        if rng.below(3) == 0 {
            run.disk.fail_in(1 + rng.below(120));
        }
        for _ in 0..rng.below(160) {
            run.act(&mut rng);
            if rng.below(4) == 0 && !run.step(&mut rng) {
                working = false;
                break;
            }
            if rng.below(8) == 0 {
                let model = run.states.last().unwrap().clone();
                let seen = observe(&run.wal.handle(), &model);
                assert!(seen == model, "seed {seed}: {}\nbut {}", brief(&seen), brief(&model));
            }
        }
        if working && rng.below(2) == 0 {
            // A crash in the middle of a round.
            run.disk.fail_in(1 + rng.below(6));
            run.step(&mut rng);
        }
        run.disk.fail_in(0);
        let after = match rng.below(4) {
            0 => run.disk.after_kill(),
            1 => run.disk.clone(),
            _ => run.disk.after_power_cut(&mut rng),
        };
        run.reopen(after);
    }
}

/// 400 by default; `HEXPOP_CRASH_CASES` for a longer search.
fn cases() -> u32 {
    std::env::var("HEXPOP_CRASH_CASES").ok().and_then(|text| text.parse().ok()).unwrap_or(400)
}

proptest! {
    #![proptest_config(ProptestConfig {
        cases: cases(),
        failure_persistence: None,
        ..ProptestConfig::default()
    })]

    /// After any crash the log is what it was at one moment not before the last acknowledgement.
    #[test]
    fn a_crash_loses_nothing_acknowledged_and_brings_nothing_back(seed in any::<u64>()) {
        run(seed, 6);
    }
}

/// Fails the disk at every one of its calls in turn, lets the process die, goes on from what another
/// process sees, and cuts the power: what either of them acknowledged is there.
#[test]
fn what_follows_a_fault_at_any_call_is_as_durable_as_ever() {
    for call in 1..220 {
        let disk = MemDisk::new();
        let mut wal = open(&disk).unwrap().0;
        let log = crate::wal_model::create(&mut wal, 1);
        disk.fail_in(call);
        let mut acknowledged = 0;
        for n in 0..80 {
            log.try_append(vec![entry(n, 1, 100)], ignore()).unwrap();
            if n % 9 == 8 {
                submit(log.purge(LogPosition { term: 1, index: n - 8 }));
            }
            match wal.step() {
                Ok(()) => acknowledged = n + 1,
                Err(_) => break,
            }
        }
        drop(wal);
        disk.fail_in(0);
        let mut wal = open(&disk).unwrap().0;
        let log = wal.handle().group(id(1)).unwrap();
        let begun = log.view().unwrap().indexes.1;
        assert!(begun >= acknowledged, "call {call}");
        for n in begun..begun + 40 {
            log.try_append(vec![entry(n, 2, 100)], ignore()).unwrap();
            wal.step().unwrap();
        }
        for seed in 0..8 {
            let after = disk.after_power_cut(&mut Split::new(seed));
            let wal = open(&after).unwrap_or_else(|error| panic!("call {call}: {error}")).0;
            let log = wal.handle().group(id(1)).unwrap();
            assert_eq!(log.view().unwrap().indexes.1, begun + 40, "call {call}");
            assert_eq!(log.read(begun..u64::MAX, usize::MAX).unwrap().len(), 40);
        }
    }
}

#[test]
fn every_completion_is_told_once_and_a_failure_reaches_all() {
    let disk = MemDisk::new();
    let mut wal = open(&disk).unwrap().0;
    let log = crate::wal_model::create(&mut wal, 1);
    let told = Arc::new((AtomicU64::new(0), AtomicU64::new(0)));
    let count = || {
        let told = told.clone();
        Completion::new(move |result| {
            let counter = if result.is_ok() { &told.0 } else { &told.1 };
            counter.fetch_add(1, Ordering::SeqCst);
        })
    };
    log.try_append(vec![entry(0, 1, 10)], count()).unwrap();
    wal.step().unwrap();
    assert_eq!((told.0.load(Ordering::SeqCst), told.1.load(Ordering::SeqCst)), (1, 0));

    log.try_append(vec![entry(1, 1, 10)], count()).unwrap();
    let batch = wal.begin().unwrap();
    log.try_append(vec![entry(2, 1, 10)], count()).unwrap();
    disk.fail_in(2);
    let failure = wal.commit(batch).unwrap_err();
    assert!(failure.is_fatal(), "{failure}");
    assert_eq!((told.0.load(Ordering::SeqCst), told.1.load(Ordering::SeqCst)), (1, 2));

    // Not even a disk that works again makes it go on.
    assert_eq!(wal.work(), Work::Over);
    assert!(wal.step().unwrap_err().is_fatal());
    assert!(log.try_append(vec![entry(3, 1, 1)], count()).unwrap_err().is_fatal());
    assert!(matches!(wal.handle().health(), hexpop_raft::wal::Health::Failed(_)));
    let reopened = open(&disk).unwrap().0;
    let log = reopened.handle().group(id(1)).unwrap();
    assert!(log.view().unwrap().indexes.1 >= 1);
}
