//! `hexpop node`: one node from its file; and what every long-running command shares.

use std::{future::Future, path::PathBuf};

use clap::Args;
use hexpop_edge_config::config::LogFormat;
use rustix::process::{Pid, Signal as OsSignal, getppid, set_parent_process_death_signal};
use tokio::signal::unix::{SignalKind, signal};

use super::error::{CliError, CliResult};
use crate::telemetry::LogFilter;

#[derive(Debug, Args)]
#[command(
    after_help = "Examples:\n  hexpop node --config node.toml\n  HEXPOP__LISTEN__HTTP=0.0.0.0:8080 hexpop node --config node.toml"
)]
pub(super) struct NodeArgs {
    /// The configuration file.
    #[arg(long, value_name = "FILE")]
    config: PathBuf,
    /// Check the configuration and stop.
    #[arg(long)]
    check: bool,
    #[command(flatten)]
    child: ChildArgs,
}

/// Of processes that a demo starts.
#[derive(Debug, Args)]
pub(super) struct ChildArgs {
    /// End when this process, which must be the parent, ends.
    #[arg(long, hide = true, value_name = "PID")]
    die_with_parent: Option<i32>,
}

impl ChildArgs {
    /// Ties this process's life to its parent's.
    pub(super) fn bind(&self) -> CliResult {
        let Some(parent) = self.die_with_parent else { return Ok(()) };
        set_parent_process_death_signal(Some(OsSignal::KILL)).map_err(|error| {
            CliError::failed("cannot tie this process to its parent").caused_by(&error)
        })?;
        // The parent may have ended before the call above.
        if getppid().map(Pid::as_raw_nonzero).map(std::num::NonZero::get) == Some(parent) {
            Ok(())
        } else {
            Err(CliError::failed("the parent process has ended"))
        }
    }
}

pub(super) fn run(args: &NodeArgs) -> CliResult {
    args.child.bind()?;
    let loaded = super::config::load(&args.config)?;
    if args.check {
        return super::output::println(&format!("{} is valid", args.config.display()));
    }
    let telemetry = &loaded.config.telemetry;
    let log = LogFilter::install(&telemetry.log, telemetry.format == LogFormat::Json);
    crate::process::run(&loaded, log)
        .map_err(|error| CliError::failed("the node stopped").caused_by(&error))
}

/// Logs of a command without a configuration.
pub(super) fn log_to_stderr() {
    let _never_changed = LogFilter::install("info", false);
}

/// Ready when this process is asked to end (SIGINT, SIGTERM).
pub(super) fn terminated() -> impl Future<Output = ()> + Send + 'static {
    let interrupt = signal(SignalKind::interrupt());
    let terminate = signal(SignalKind::terminate());
    async move {
        match (interrupt, terminate) {
            (Ok(mut interrupt), Ok(mut terminate)) => {
                tokio::select! {
                    _ = interrupt.recv() => {}
                    _ = terminate.recv() => {}
                }
            }
            // Without handlers the signals end the process by themselves.
            _ => std::future::pending().await,
        }
    }
}
