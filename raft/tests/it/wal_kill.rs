//! A process that writes a log on a real disk is killed at random moments, again and again: what it
//! said was durable is there, and nothing that it did not write.
//!
//! The process is this test binary once more. It prints a line for every acknowledgement; whatever
//! its groups do follows from a seed, so that the parent can tell what may be there. 20 rounds, or
//! `HEXPOP_CRASH_ROUNDS`; `HEXPOP_CRASH_SEED` for other ones.

use std::{
    collections::BTreeMap,
    env,
    io::{BufRead, BufReader, Write},
    path::{Path, PathBuf},
    process::{Child, ChildStdout, Command, Stdio},
    sync::{Arc, mpsc},
    thread,
    time::Duration,
};

use hexpop_edge_config::planted::{self, Bug};
use hexpop_raft::{
    FsDisk, Split,
    wal::{Completion, Options, Wal, WalHandle, WriterThread},
};
use tokio::sync::Semaphore;

use crate::{
    wal_kill_ops::{Op, Ops},
    wal_model::{GroupModel, LOG, Model, id, observe},
};

const GROUPS: u64 = 12;
/// Appends of one group that are on their way at a time.
const WINDOW: usize = 4;
/// Operations of a group after which a process that nobody kills ends.
const OPS_MAX: u64 = 100_000;
/// How long the process may be silent.
const SILENCE_MAX: Duration = Duration::from_secs(60);
/// The test that is the process; run by itself it does nothing.
const PROCESS: &str = "wal_kill::the_process_that_is_killed";
const DIR: &str = "HEXPOP_TEST_WAL_DIR";
const SEED: &str = "HEXPOP_TEST_WAL_SEED";
const BUG: &str = "HEXPOP_TEST_WAL_BUG";

/// Small segments, so that many are begun, emptied and deleted.
fn options() -> Options {
    Options {
        segment_bytes: 64 << 10,
        cache_bytes_max: 16 << 10,
        relocate_bytes_max: 8 << 10,
        ..Options::default()
    }
}

fn open(dir: &Path) -> Result<Wal, String> {
    let disk = FsDisk::open(dir).map_err(|error| error.to_string())?;
    Ok(Wal::open(Arc::new(disk), LOG, options()).map_err(|error| error.to_string())?.0)
}

/// What is there of every group.
fn all(handle: &WalHandle) -> Model {
    observe(handle, &(0..GROUPS).map(|n| (id(n), GroupModel::default())).collect())
}

#[test]
#[ignore = "started and killed by another test"]
fn the_process_that_is_killed() {
    let Some(dir) = env::var_os(DIR) else { return };
    let seed = env::var(SEED).unwrap().parse().unwrap();
    let writer = WriterThread::spawn(open(&PathBuf::from(dir)).unwrap()).unwrap();
    let handle = writer.handle();
    thread::scope(|scope| {
        for (group, state) in (0..).zip(all(&handle).into_values()) {
            let handle = &handle;
            let ops = Ops::new(seed, group, state);
            scope.spawn(move || {
                planted::plant(env::var(BUG).ok().as_deref().and_then(Bug::from_name));
                let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
                runtime.block_on(work(handle, group, ops));
            });
        }
    });
}

/// Does what a group does, and says which of it is durable.
async fn work(handle: &WalHandle, group: u64, mut ops: Ops) {
    let window = Arc::new(Semaphore::new(WINDOW));
    let mut log = handle.group(id(group));
    for n in 0..OPS_MAX {
        match (ops.next().0, &log) {
            (Op::Create(new), _) => {
                log = Some(handle.create(id(group), new).await.unwrap());
                acknowledge(group, n);
            }
            (Op::Append(entries), Some(log)) => {
                let permit = window.clone().acquire_owned().await.unwrap();
                let done = Completion::new(move |result| {
                    result.unwrap();
                    acknowledge(group, n);
                    drop(permit);
                });
                log.append(entries, done).await.unwrap();
            }
            (Op::Vote(vote), Some(log)) => {
                log.save_vote(vote).await.unwrap();
                acknowledge(group, n);
            }
            (Op::Destroy, Some(log)) => {
                log.destroy().await.unwrap();
                acknowledge(group, n);
            }
            // Both are known to be durable when something after them is.
            (Op::Truncate(from), Some(log)) => log.truncate(from).await.unwrap(),
            (Op::Purge(upto), Some(log)) => log.purge(upto).await.unwrap(),
            (op, None) => panic!("{op:?} without a group"),
        }
        if let Some(log) = handle.group(id(group)) {
            log.save_committed(log.view().unwrap().last).unwrap();
        }
    }
}

/// One write, so that a line is whole or not there.
fn acknowledge(group: u64, n: u64) {
    let mut out = std::io::stdout().lock();
    if out.write_all(format!("@ {group} {n}\n").as_bytes()).and_then(|()| out.flush()).is_err() {
        // Nobody listens any more.
        std::process::exit(1);
    }
}

/// The process, killed at the latest when this is dropped.
struct Process(Child);

impl Process {
    fn start(dir: &Path, seed: u64, bug: Option<Bug>) -> (Self, ChildStdout) {
        let mut command = Command::new(env::current_exe().unwrap());
        command
            .args(["--exact", PROCESS, "--ignored", "--nocapture", "--test-threads", "1"])
            .env(DIR, dir)
            .env(SEED, seed.to_string())
            .stdin(Stdio::null())
            .stdout(Stdio::piped());
        if let Some(bug) = bug {
            command.env(BUG, bug.name());
        }
        let mut child = command.spawn().unwrap();
        let out = child.stdout.take().unwrap();
        (Self(child), out)
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        // It may have ended by itself.
        drop(self.0.kill());
        drop(self.0.wait());
    }
}

/// What a test found out beside that all was well.
#[derive(Debug, Default)]
struct Seen {
    acknowledged: u64,
    /// Rounds killed before anything was acknowledged: while the log was being opened.
    early: u64,
    /// States found that were newer than the last acknowledgement.
    newer: u64,
    entries: usize,
}

/// The last operation of every group that the process said was durable, until it was killed: after
/// `lines` acknowledgements and `delay`.
fn acknowledged_until_killed(
    process: Process,
    out: ChildStdout,
    lines: u64,
    delay: Duration,
) -> Result<BTreeMap<u64, u64>, String> {
    let (sender, receiver) = mpsc::sync_channel(1 << 10);
    let reader = thread::spawn(move || {
        let mut out = BufReader::new(out);
        let mut line = String::new();
        while out.read_line(&mut line).is_ok_and(|bytes| bytes > 0) {
            if line.starts_with('@') && line.ends_with('\n') && sender.send(line.clone()).is_err() {
                break;
            }
            line.clear();
        }
    });
    let mut acknowledged = BTreeMap::new();
    let mut note = |line: &str| {
        let mut words = line.split_whitespace().skip(1).map(|word| word.parse().unwrap());
        let (group, op): (u64, u64) = (words.next().unwrap(), words.next().unwrap());
        let last = acknowledged.entry(group).or_insert(op);
        *last = op.max(*last);
    };
    for _ in 0..lines {
        let line = receiver.recv_timeout(SILENCE_MAX);
        note(&line.map_err(|error| format!("the process says nothing: {error}"))?);
    }
    // No condition is waited for: this is to end it at any moment, not only right after it spoke.
    thread::sleep(delay);
    drop(process);
    receiver.iter().for_each(|line| note(&line));
    reader.join().map_err(|_panic| "reading failed".to_owned())?;
    Ok(acknowledged)
}

/// Whether `found` is what the log may be: as it was at a moment not before the acknowledgement of
/// operation `acknowledged`, and no later than anything could have been begun. Gives how many
/// operations later.
fn moment(mut ops: Ops, acknowledged: Option<u64>, found: &GroupModel) -> Option<u64> {
    let begun = acknowledged.map_or(0, |n| n + 1);
    for _ in 0..begun {
        ops.next();
    }
    if ops.state == *found {
        return Some(0);
    }
    // Appends of a window, what needs no acknowledgement between them, and one more.
    let later_max = 64;
    (1..=later_max).find(|_| ops.next().1.contains(found))
}

fn run(seed: u64, rounds: u64, bug: Option<Bug>) -> Result<Seen, String> {
    let dir = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).unwrap();
    let mut rng = Split::new(seed);
    let mut seen = Seen::default();
    let mut before = all(&open(dir.path())?.handle());
    for round in 0..rounds {
        let ops_seed = rng.next_u64();
        let lines = if rng.below(8) == 0 { 0 } else { 1 + rng.below(400) };
        let delay = Duration::from_micros(rng.below(if lines == 0 { 30_000 } else { 6_000 }));
        let (process, out) = Process::start(dir.path(), ops_seed, bug);
        let acknowledged = acknowledged_until_killed(process, out, lines, delay)
            .map_err(|error| format!("seed {seed}, round {round}: {error}"))?;
        let after = all(&open(dir.path())
            .map_err(|e| format!("seed {seed}, round {round}: {e}"))?
            .handle());
        for (group, (state, found)) in (0..).zip(before.values().zip(after.values())) {
            let last = acknowledged.get(&group).copied();
            let ops = Ops::new(ops_seed, group, state.clone());
            let Some(later) = moment(ops, last, found) else {
                return Err(format!(
                    "seed {seed}, round {round}, group {group}: what is there is not what was \
                     written up to operation {last:?}, nor later: vote {:?}, purged {:?}, {}..{}",
                    found.vote,
                    found.purged,
                    found.first,
                    found.next(),
                ));
            };
            seen.acknowledged += last.map_or(0, |n| n + 1);
            seen.newer += u64::from(later > 0);
            seen.entries += found.entries.len();
        }
        seen.early += u64::from(acknowledged.is_empty());
        before = after;
    }
    Ok(seen)
}

fn number(name: &str, default: u64) -> u64 {
    env::var(name).ok().map_or(default, |text| text.parse().unwrap())
}

#[test]
fn a_killed_process_loses_nothing_that_it_said_was_durable() {
    let rounds = number("HEXPOP_CRASH_ROUNDS", 20);
    let seen = run(number("HEXPOP_CRASH_SEED", 1), rounds, None).unwrap_or_else(|e| panic!("{e}"));
    println!("{rounds} rounds: {seen:?}");
    // It was under load, or this shows nothing.
    assert!(seen.acknowledged > 10 * rounds && seen.entries as u64 > rounds, "{seen:?}");
}

#[test]
fn a_vote_that_was_not_written_down_is_missed() {
    let lost = run(1, 20, Some(Bug::ForgetVote)).unwrap_err();
    assert!(lost.contains("what is there is not what was written"), "{lost}");
}
