//! The log on a real file system that is full: a small tmpfs, mounted where nobody else sees it.
//!
//! Mounting takes a user and a mount namespace of its own; where the machine does not permit that,
//! the test says so and ends.

use std::{
    env, fs,
    io::ErrorKind,
    path::{Path, PathBuf},
    process::Command,
    sync::Arc,
    time::Duration,
};

use hexpop_raft::{
    FsDisk,
    wal::{
        Completion, GroupLog, Health, LogPosition, LogVote, NewGroup, Options, Wal, WalError,
        WriterThread,
    },
};
use tokio::sync::oneshot;

use crate::wal_model::{LOG, entry, id};

/// The test that runs in the namespace; by itself it does nothing.
const INSIDE: &str = "wal_tmpfs::a_log_on_a_full_tmpfs";
const DIR: &str = "HEXPOP_TEST_TMPFS_DIR";
const DISK_BYTES: u64 = 1 << 20;
const SEGMENT_BYTES: u32 = 128 << 10;
const ENTRY_BYTES: usize = 1000;
/// For everything that is waited for.
const PATIENCE: Duration = Duration::from_secs(60);

fn unshare() -> Command {
    let mut command = Command::new("unshare");
    command.args(["--user", "--map-root-user", "--mount"]);
    command
}

fn mount(command: &mut Command, dir: &Path) -> bool {
    let size = format!("size={DISK_BYTES}");
    let output = command.args(["mount", "-t", "tmpfs", "-o", &size, "tmpfs"]).arg(dir).output();
    output.is_ok_and(|output| output.status.success())
}

#[test]
fn a_full_disk_ends_acknowledgements_and_space_brings_them_back() {
    let dir = tempfile::tempdir().unwrap();
    if !mount(&mut unshare(), dir.path()) {
        println!(
            "skipped: this machine does not let a user mount a tmpfs (unshare --user --mount)"
        );
        return;
    }
    let output = unshare()
        .arg(env::current_exe().unwrap())
        .args(["--exact", INSIDE, "--ignored", "--nocapture", "--test-threads", "1"])
        .env(DIR, dir.path())
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&output.stdout);
    let complained = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{said}\n{complained}");
    assert!(said.contains("1 passed") && said.contains("filled and emptied"), "{said}");
}

/// A log with its thread, and what it said was durable.
struct Run {
    writer: WriterThread,
    log: GroupLog,
    acknowledged: u64,
}

impl Run {
    async fn open(dir: &Path) -> Self {
        let options =
            Options { segment_bytes: SEGMENT_BYTES, cache_bytes_max: 0, ..Options::default() };
        let disk = Arc::new(FsDisk::open(dir).unwrap());
        let writer = WriterThread::spawn(Wal::open(disk, LOG, options).unwrap().0).unwrap();
        let handle = writer.handle();
        let log = match handle.group(id(1)) {
            Some(log) => log,
            None => in_time(handle.create(id(1), NewGroup::default())).await.unwrap(),
        };
        let acknowledged = log.view().unwrap().indexes.1;
        Self { writer, log, acknowledged }
    }

    async fn append(&mut self) -> Result<(), WalError> {
        let (sender, durable) = oneshot::channel();
        let done = Completion::new(move |result| drop(sender.send(result)));
        in_time(self.log.append(vec![entry(self.acknowledged, 1, ENTRY_BYTES)], done)).await?;
        in_time(durable).await.unwrap()?;
        self.acknowledged += 1;
        Ok(())
    }

    /// Appends until the log does not take it any more; it must not, before all of the disk has been
    /// written twice.
    async fn append_until_it_fails(&mut self) -> WalError {
        for _ in 0..2 * DISK_BYTES / ENTRY_BYTES as u64 {
            if let Err(error) = self.append().await {
                return error;
            }
        }
        panic!("the disk takes more than it has");
    }

    /// Takes nothing any more, and says why.
    async fn is_over(&self) {
        let reason = in_time(self.writer.handle().failed()).await;
        for error in [reason, self.log.save_vote(vote(99)).await.unwrap_err()] {
            let WalError::Failed { source, .. } = &error else { panic!("{error}") };
            assert_eq!(source.kind(), ErrorKind::StorageFull, "{error}");
        }
        assert!(matches!(self.writer.handle().health(), Health::Failed(_)));
    }

    /// Segments are deleted since it was opened.
    async fn gives_space_back(&self) {
        while self.writer.handle().stats().segments_deleted == 0 {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    }

    /// Everything that was acknowledged is there, from `first` on.
    fn holds(&self, first: u64, acknowledged: u64) {
        let view = self.log.view().unwrap();
        assert_eq!((view.vote, view.indexes.0), (Some(vote(7)), first));
        assert!(view.indexes.1 >= acknowledged, "{view:?} but {acknowledged} was acknowledged");
        let entries = self.log.read(first..view.indexes.1, usize::MAX).unwrap();
        assert_eq!(entries.len() as u64, view.indexes.1 - first);
        for (index, found) in (first..).zip(entries) {
            assert_eq!(found, entry(index, 1, ENTRY_BYTES));
        }
    }
}

const fn vote(term: u64) -> LogVote {
    LogVote { term, node: 2, committed: true }
}

async fn in_time<F: Future>(future: F) -> F::Output {
    tokio::time::timeout(PATIENCE, future).await.unwrap()
}

#[tokio::test]
#[ignore = "runs in a namespace that another test makes"]
async fn a_log_on_a_full_tmpfs() {
    let Some(dir) = env::var_os(DIR).map(PathBuf::from) else { return };
    assert!(mount(&mut Command::new("env"), &dir));
    let data = dir.join("data");
    let mut run = Run::open(&data).await;
    in_time(run.log.save_vote(vote(7))).await.unwrap();

    // Space that is given back is used again: ten times what the disk holds goes through.
    for _ in 0..10 * DISK_BYTES / ENTRY_BYTES as u64 {
        run.append().await.unwrap();
        let kept = run.acknowledged.saturating_sub(100);
        run.log.purge(LogPosition { term: 1, index: kept }).await.unwrap();
    }
    let first = run.acknowledged - 100 + 1;

    // Nothing is given back any more.
    let error = run.append_until_it_fails().await;
    assert!(error.is_fatal(), "{error}");
    run.is_over().await;
    let acknowledged = run.acknowledged;
    assert!(acknowledged > first + 2 * u64::from(SEGMENT_BYTES) / ENTRY_BYTES as u64);

    // Reopened on a disk that is as full as before, it has all, and fails again.
    drop(run);
    let mut run = Run::open(&data).await;
    run.holds(first, acknowledged);
    run.append_until_it_fails().await;
    run.is_over().await;
    let acknowledged = run.acknowledged;

    // Reopened, it lives on what a purge gives back.
    drop(run);
    let mut run = Run::open(&data).await;
    run.holds(first, acknowledged);
    run.log.purge(LogPosition { term: 1, index: acknowledged - 11 }).await.unwrap();
    let first = acknowledged - 10;
    // What is written in one batch with the purge would ask for space that the purge has yet to give.
    in_time(run.gives_space_back()).await;
    in_time(run.log.save_vote(vote(7))).await.unwrap();
    for _ in 0..50 {
        run.append().await.unwrap();
    }
    run.holds(first, acknowledged + 50);

    // Somebody else fills the disk. The log goes on as far as it has prepared, then fails; when the
    // other is gone, so is the reason.
    let other = dir.join("other");
    fill(&other);
    let error = run.append_until_it_fails().await;
    assert!(error.is_fatal(), "{error}");
    run.is_over().await;
    let acknowledged = run.acknowledged;
    drop(run);
    fs::remove_file(&other).unwrap();
    let mut run = Run::open(&data).await;
    run.holds(first, acknowledged);
    for _ in 0..50 {
        run.append().await.unwrap();
    }
    run.holds(first, acknowledged + 50);
    assert!(matches!(run.writer.handle().health(), Health::Working));
    println!("filled and emptied: {} entries acknowledged", run.acknowledged);
}

/// Takes all the space that there is.
fn fill(path: &Path) {
    use std::io::Write;
    let mut file = fs::File::create(path).unwrap();
    let piece = [7; 4096];
    let full = loop {
        if let Err(error) = file.write_all(&piece) {
            break error;
        }
    };
    assert_eq!(full.kind(), ErrorKind::StorageFull);
}
