//! The demo's child processes: started, watched, stopped.

use std::{
    ffi::OsString,
    fs::File,
    io::{Read as _, Seek as _, SeekFrom},
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    time::{Duration, Instant},
};

use rustix::process::{Pid, Signal, kill_process};

use super::super::error::{CliError, CliResult};

/// How much of a log is shown when a process failed.
const TAIL_BYTES: u64 = 2_000;

/// The processes of one demo.
#[derive(Debug, Default)]
pub(super) struct Children {
    running: Vec<Running>,
}

#[derive(Debug)]
struct Running {
    name: String,
    child: Child,
    log: PathBuf,
    dead: bool,
}

impl Children {
    /// Starts this very program with other words. The child dies with this process, even if that is
    /// killed.
    pub(super) fn start(&mut self, name: &str, words: &[OsString], log: &Path) -> CliResult {
        let cannot = |error: std::io::Error| {
            CliError::failed(format!("cannot start {name}")).caused_by(&error)
        };
        let program = std::env::current_exe().map_err(cannot)?;
        let output = File::options().create(true).append(true).open(log).map_err(cannot)?;
        let child = Command::new(program)
            .args(words)
            .args(["--die-with-parent", &std::process::id().to_string()])
            .stdin(Stdio::null())
            .stdout(output.try_clone().map_err(cannot)?)
            .stderr(output)
            .spawn()
            .map_err(cannot)?;
        self.running.push(Running {
            name: name.to_owned(),
            child,
            log: log.to_owned(),
            dead: false,
        });
        Ok(())
    }

    /// The process id of a child that runs.
    pub(super) fn pid(&self, name: &str) -> Option<u32> {
        self.running.iter().find(|one| one.name == name).map(|one| one.child.id())
    }

    /// Children that ended since the last call, each as a sentence.
    pub(super) fn reap(&mut self) -> Vec<String> {
        let mut deaths = Vec::new();
        for one in self.running.iter_mut().filter(|one| !one.dead) {
            if let Ok(Some(status)) = one.child.try_wait() {
                one.dead = true;
                deaths.push(format!(
                    "{} (process {}) ended: {status}; its log is {}",
                    one.name,
                    one.child.id(),
                    one.log.display()
                ));
            }
        }
        deaths
    }

    /// # Errors
    /// When a child has ended: before the demo is ready none may.
    pub(super) fn check(&mut self) -> CliResult {
        match self.reap().into_iter().next() {
            None => Ok(()),
            Some(death) => Err(CliError::failed("the demo could not be started").cause(death)),
        }
    }

    /// The end of the log of each child that ended.
    pub(super) fn log_tails(&self) -> Vec<String> {
        self.running
            .iter()
            .filter(|one| one.dead)
            .filter_map(|one| Some(format!("{} said: {}", one.name, tail(&one.log)?)))
            .collect()
    }

    /// Asks all children to end, waits, and kills those that do not.
    pub(super) async fn stop(&mut self, patience: Duration) {
        self.reap();
        for one in self.running.iter().filter(|one| !one.dead) {
            let pid = i32::try_from(one.child.id()).ok().and_then(Pid::from_raw);
            // It may end by itself in this moment.
            let _sent = pid.map(|pid| kill_process(pid, Signal::TERM));
        }
        let deadline = Instant::now() + patience;
        while self.running.iter().any(|one| !one.dead) && Instant::now() < deadline {
            self.reap();
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        for one in self.running.iter_mut().filter(|one| !one.dead) {
            super::note(&format!("{} does not end; killing it", one.name));
            let _killed = one.child.kill();
            let _reaped = one.child.wait();
            one.dead = true;
        }
    }
}

fn tail(path: &Path) -> Option<String> {
    let mut file = File::open(path).ok()?;
    let length = file.metadata().ok()?.len();
    file.seek(SeekFrom::Start(length.saturating_sub(TAIL_BYTES))).ok()?;
    let mut text = Vec::new();
    file.read_to_end(&mut text).ok()?;
    Some(String::from_utf8_lossy(&text).into_owned())
}
