//! One node as a process: opens what it needs in order, serves until it is told to stop, and closes
//! in the opposite order.
//!
//! ```text
//! data directory ─ log ─ identity ─┐
//! certificates ── mesh ── gossip ──┼── consensus ── router ── data port, admin port
//!                                  │
//! control runtime: mesh control, gossip, consensus      data runtime: HTTP, bulk mesh, router
//! ```
//!
//! The control plane has its own runtime, so that a flood of client requests cannot delay a heartbeat.

mod open;
mod parts;
mod reload;
mod signals;

use std::{
    net::SocketAddr,
    sync::{Arc, atomic::Ordering},
    time::Duration,
};

use hexpop_edge_config::config::Loaded;
use hexpop_gossip::NodeState;
use tokio::runtime::{Builder, Runtime};
use tokio_util::sync::CancellationToken;

use self::{open::Node, reload::Reloader, signals::Signals};
use crate::{
    http::server::{self, ServerLimits},
    telemetry::LogFilter,
};

/// How long requests under way may take to finish after the stop began.
const DRAIN: Duration = Duration::from_secs(5);
/// How long leaders may take to be handed over.
const HAND_OVER: Duration = Duration::from_secs(3);
/// How often the control plane shows that it moves.
const HEARTBEAT: Duration = Duration::from_secs(1);

/// Why a node did not start, or stopped.
#[derive(Debug, thiserror::Error)]
pub enum NodeError {
    /// A part of it could not be opened.
    #[error("{what}: {cause}")]
    Open {
        /// The part.
        what: String,
        /// Why.
        cause: String,
    },
}

impl NodeError {
    pub(crate) fn open(what: impl Into<String>) -> impl FnOnce(&dyn std::error::Error) -> Self {
        let what = what.into();
        move |error| {
            let mut cause = error.to_string();
            let mut source = error.source();
            while let Some(inner) = source {
                let text = inner.to_string();
                if !cause.contains(&text) {
                    cause = format!("{cause}: {text}");
                }
                source = inner.source();
            }
            Self::Open { what, cause }
        }
    }
}

/// Runs a node until it is told to stop; `log` follows the configuration when it is read again.
///
/// # Errors
/// [`NodeError`] when a part of it cannot be opened.
pub fn run(loaded: &Loaded, log: LogFilter) -> Result<(), NodeError> {
    small_pages();
    let cores = std::thread::available_parallelism().map_or(2, std::num::NonZero::get);
    let control = runtime("control", cores.min(2))?;
    let data = runtime("data", cores)?;
    let outcome = control.block_on(serve(loaded, log, &data));
    data.shutdown_timeout(Duration::from_secs(1));
    control.shutdown_timeout(Duration::from_secs(1));
    outcome
}

/// Switches huge pages off, for the whole process.
///
/// openraft sets 1.5 MB aside per group, of which a group touches little; with huge pages the first
/// touch takes, and clears, all of it. Measured with 203 groups: 118 MiB for 490.
fn small_pages() {
    #[cfg(target_os = "linux")]
    if let Err(error) = rustix::thread::disable_transparent_huge_pages(true) {
        tracing::warn!(%error, "huge pages stay on: shards take up to 2 MiB more each");
    }
}

fn runtime(name: &str, threads: usize) -> Result<Runtime, NodeError> {
    Builder::new_multi_thread()
        .worker_threads(threads)
        .thread_name(name)
        .enable_all()
        .build()
        .map_err(|error| NodeError::open(format!("the {name} runtime"))(&error))
}

async fn serve(loaded: &Loaded, log: LogFilter, data: &Runtime) -> Result<(), NodeError> {
    let mut signals = Signals::install().map_err(|error| NodeError::open("signals")(&error))?;
    let config = &loaded.config;
    let node = Node::open(loaded, data).await?;
    let limits = ServerLimits {
        header_timeout: config.limits.header_timeout,
        header_bytes: config.limits.header_bytes.as_usize(),
        header_fields: usize::try_from(config.limits.header_fields).unwrap_or(usize::MAX),
        connections: usize::try_from(config.limits.connections).unwrap_or(usize::MAX),
        drain: DRAIN,
    };
    let stop = CancellationToken::new();
    let reloader = Reloader::new(Arc::clone(&node.context), log, loaded.clone())?;
    if let Some(hangup) = signals.take_hangup() {
        data.spawn(reloader.run(hangup, stop.clone()));
    }
    let http = listen(config.listen.http, data)?;
    let admin = listen(config.listen.admin, data)?;
    let data_port = data.spawn(server::serve(http, limits, node.data_port(), stop.clone()));
    let admin_port = data.spawn(server::serve(admin, limits, node.admin_port(), stop.clone()));
    node.set_state(NodeState::Up).await;
    tracing::info!(
        node = %config.node.id,
        pop = %config.node.pop,
        raft_id = %node.context.host.raft_id(),
        http = %config.listen.http,
        admin = %config.listen.admin,
        mesh = %config.mesh.listen,
        "node started"
    );
    let mut beat = tokio::time::interval(HEARTBEAT);
    loop {
        tokio::select! {
            name = signals.stop() => {
                tracing::info!(signal = name, "stopping");
                break;
            }
            _ = beat.tick() => node.context.beat(),
        }
    }
    // Not ready first, so that nobody new comes; leaders away; then finish what runs.
    node.context.draining.store(true, Ordering::Relaxed);
    node.set_state(NodeState::Leaving).await;
    let left = node.context.host.hand_over_leaders(HAND_OVER).await;
    if left > 0 {
        tracing::warn!(groups = left, "some groups could not be handed over");
    }
    stop.cancel();
    let _ended = tokio::join!(data_port, admin_port);
    node.close().await;
    tracing::info!("stopped");
    Ok(())
}

fn listen(address: SocketAddr, data: &Runtime) -> Result<tokio::net::TcpListener, NodeError> {
    let what = format!("listening on {address}");
    let bound = std::net::TcpListener::bind(address).and_then(|listener| {
        listener.set_nonblocking(true)?;
        let _entered = data.enter();
        tokio::net::TcpListener::from_std(listener)
    });
    bound.map_err(|error| NodeError::open(what)(&error))
}
