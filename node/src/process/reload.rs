//! Reading the configuration again while the node runs: on SIGHUP, and when the file has changed, or one
//! of the certificates that it names for clients.
//!
//! The files are looked at every few seconds by their content. A watch on them would miss what matters: a
//! mounted configuration is replaced by turning a symbolic link, which changes no file.

use std::{
    fs::File,
    io::{self, Read as _},
    path::PathBuf,
    sync::Arc,
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use hexpop_edge_config::{Config, config::Loaded};
use prometheus::{IntGauge, Registry};
use ring::digest;
use tokio::{signal::unix::Signal, time::MissedTickBehavior};
use tokio_util::sync::CancellationToken;

use super::NodeError;
use crate::{adapters::faults::LinkFaults, context::Context, live::Live, telemetry::LogFilter};

/// How often the file is looked at.
const LOOK_EVERY: Duration = Duration::from_secs(5);
/// A file that changes within this time is still being written.
const SETTLE: Duration = Duration::from_millis(250);
/// What is read of a file to see whether it has changed; a longer one is refused when it is read.
const LOOK_BYTES_MAX: u64 = 2 << 20;

/// The content of some files, in short.
type Fingerprint = [u8; 32];

/// Reads the configuration again while the node runs.
pub(super) struct Reloader {
    context: Arc<Context>,
    log: LogFilter,
    metrics: ReloadMetrics,
    /// The configuration in force.
    running: Loaded,
    /// The files as they were read last.
    seen: Option<Fingerprint>,
}

impl Reloader {
    /// A reloader of a node that was opened with `running`.
    pub(super) fn new(
        context: Arc<Context>,
        log: LogFilter,
        running: Loaded,
    ) -> Result<Self, NodeError> {
        let metrics = ReloadMetrics::register(&context.registry)
            .map_err(|error| NodeError::open("metrics of the configuration")(&error))?;
        metrics.succeeded(0);
        let seen = fingerprint(&files(&running)).ok();
        Ok(Self { context, log, metrics, running, seen })
    }

    /// Runs until `stop`.
    pub(super) async fn run(mut self, mut hangup: Signal, stop: CancellationToken) {
        let mut look = tokio::time::interval(LOOK_EVERY);
        look.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                () = stop.cancelled() => return,
                Some(()) = hangup.recv() => self.reload("SIGHUP").await,
                _ = look.tick() => {
                    if self.has_changed().await {
                        self.reload("a file has changed").await;
                    }
                }
            }
        }
    }

    /// Whether a file has another content than when it was read last, and has it for a moment. One that
    /// cannot be read is being replaced, as a rule.
    async fn has_changed(&self) -> bool {
        let Some(now) = self.look().await.filter(|now| Some(*now) != self.seen) else {
            return false;
        };
        tokio::time::sleep(SETTLE).await;
        self.look().await == Some(now)
    }

    async fn look(&self) -> Option<Fingerprint> {
        let files = files(&self.running);
        tokio::task::spawn_blocking(move || fingerprint(&files).ok()).await.ok().flatten()
    }

    /// Takes over what can be, and says what came of it. On an error everything stays as it was.
    async fn reload(&mut self, why: &str) {
        self.seen = self.look().await.or(self.seen);
        let running = self.running.clone();
        let read = tokio::task::spawn_blocking(move || read(running)).await;
        let read = read.unwrap_or_else(|error| Err(error.to_string()));
        self.context.note_reload(read.is_ok());
        match read {
            Ok(Read { running, live, changed }) => {
                let waiting = live.restart_pending.clone();
                self.apply(running, live);
                // Other certificates may be named now, which have been read.
                self.seen = self.look().await.or(self.seen);
                self.metrics.succeeded(waiting.len());
                tracing::info!(why, taken = changed.join(" "), "the configuration was read again");
                if !waiting.is_empty() {
                    tracing::warn!(
                        keys = waiting.join(" "),
                        "these keys differ in the file and need a restart of the node"
                    );
                }
            }
            Err(errors) => {
                self.metrics.failed();
                tracing::error!(
                    why,
                    "the configuration was not taken, and the one before stays in force:\n{errors}"
                );
            }
        }
    }

    fn apply(&mut self, running: Loaded, live: Live) {
        let (context, config) = (&self.context, &running.config);
        context.router.set_stale_max(config.cache.stale_max);
        context.faults.set_ttl_max(config.chaos.max_ttl);
        if config.telemetry.log != self.running.config.telemetry.log
            && let Err(error) = self.log.set(&config.telemetry.log)
        {
            tracing::warn!(%error, "telemetry.log has no effect");
        }
        let hooks = context.mesh.hooks();
        match (context.live().chaos_enabled, live.chaos_enabled) {
            (false, true) => hooks.arm(Arc::new(LinkFaults(Arc::clone(&context.faults)))),
            (true, false) => {
                // Whoever switches faults off wants none of them to last.
                hooks.disarm();
                context.faults.clear();
            }
            (false, false) | (true, true) => {}
        }
        context.set_live(live);
        self.running = running;
    }
}

/// A configuration that can be put in force.
struct Read {
    running: Loaded,
    live: Live,
    changed: Vec<String>,
}

/// Reads the file of `running` again, with the environment of this process over it; the error is for
/// the log.
fn read(mut running: Loaded) -> Result<Read, String> {
    let env = std::env::vars_os()
        .filter_map(|(name, value)| Some((name.into_string().ok()?, value.into_string().ok()?)));
    let new = Config::load(&running.file, env).map_err(|errors| errors.to_string())?;
    let changes = running.changes_to(&new);
    running.take_live(&new);
    // The tokens are read anew also when no key has changed: their files may have.
    let live = Live::read(&running, changes.restart).map_err(|error| error.to_string())?;
    Ok(Read { running, live, changed: changes.live })
}

/// The files that are read: the configuration, and the certificates that it names for clients.
fn files(running: &Loaded) -> Vec<PathBuf> {
    let certificates = running.config.tls.certificates.iter();
    let certificates = certificates.flat_map(|pair| [pair.cert.clone(), pair.key.clone()]);
    std::iter::once(running.file.clone()).chain(certificates).collect()
}

fn fingerprint(files: &[PathBuf]) -> io::Result<Fingerprint> {
    let mut all = digest::Context::new(&digest::SHA256);
    for file in files {
        let mut content = Vec::new();
        File::open(file)?.take(LOOK_BYTES_MAX).read_to_end(&mut content)?;
        all.update(digest::digest(&digest::SHA256, &content).as_ref());
    }
    all.finish().as_ref().try_into().map_err(io::Error::other)
}

/// What is told of readings.
struct ReloadMetrics {
    successful: IntGauge,
    success_timestamp: IntGauge,
    restart_pending: IntGauge,
}

impl ReloadMetrics {
    fn register(registry: &Registry) -> Result<Self, prometheus::Error> {
        let gauge = |name: &str, help: &str| {
            let gauge = IntGauge::new(name, help)?;
            registry.register(Box::new(gauge.clone()))?;
            Ok::<_, prometheus::Error>(gauge)
        };
        Ok(Self {
            successful: gauge(
                "hexpop_config_last_reload_successful",
                "Whether the last reading of the configuration was taken.",
            )?,
            success_timestamp: gauge(
                "hexpop_config_last_reload_success_timestamp_seconds",
                "When a reading of the configuration was taken last.",
            )?,
            restart_pending: gauge(
                "hexpop_config_restart_pending_keys",
                "Keys that differ in the file and need a restart.",
            )?,
        })
    }

    fn succeeded(&self, restart_pending: usize) {
        let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        self.successful.set(1);
        self.success_timestamp.set(i64::try_from(since.as_secs()).unwrap_or(i64::MAX));
        self.restart_pending.set(i64::try_from(restart_pending).unwrap_or(i64::MAX));
    }

    fn failed(&self) {
        self.successful.set(0);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_turned_link_is_another_content() {
        let dir = tempfile::tempdir().unwrap();
        let at = |name: &str| dir.path().join(name);
        for (version, text) in [("1", "a"), ("2", "b")] {
            std::fs::create_dir(at(version)).unwrap();
            std::fs::write(at(version).join("node.toml"), text).unwrap();
        }
        let turn = |to: &str| {
            let _none = std::fs::remove_file(at("new"));
            std::os::unix::fs::symlink(at(to), at("new")).unwrap();
            std::fs::rename(at("new"), at("current")).unwrap();
            fingerprint(&[at("current/node.toml")]).unwrap()
        };
        let first = turn("1");
        assert_ne!(turn("2"), first);
        assert_eq!(turn("1"), first);
        assert!(fingerprint(&[at("current/node.toml"), at("none")]).is_err());
        let both = [at("1/node.toml"), at("2/node.toml")];
        assert_ne!(fingerprint(&both).unwrap(), first);
    }
}
