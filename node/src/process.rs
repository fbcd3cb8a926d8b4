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

use hexpop_edge_config::{Config, config::Loaded};
use hexpop_gossip::NodeState;
use tokio::{
    runtime::{Builder, Runtime},
    task::JoinSet,
};
use tokio_util::sync::CancellationToken;

use self::{open::Node, reload::Reloader, signals::Signals};
use crate::{
    context::Context,
    http::server::{
        self, ConnectionMetrics, Handler, Http3Listener, Listener, Port, Secure, ServerLimits,
    },
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
/// touch takes, and clears, all of it. Measured with 203 groups, where the allocator switched them off the
/// same way: 118 MiB for 490.
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
    let metrics = ConnectionMetrics::register(&node.context.registry)
        .map_err(|error| NodeError::open("metrics of connections")(&error))?;
    let limits = server_limits(config);
    let stop = CancellationToken::new();
    let reloader = Reloader::new(Arc::clone(&node.context), log, loaded.clone())?;
    if let Some(hangup) = signals.take_hangup() {
        data.spawn(reloader.run(hangup, stop.clone()));
    }
    let mut data_port = Port::new(node.data_port(), limits, metrics.clone(), rand::random())
        .with_http1_interims(config.listen.http1_interim);
    if let Some(address) = config.listen.http3_address() {
        data_port = data_port.offer_http3(address.port());
    }
    let admin_port = Port::new(node.admin_port(), limits, metrics, rand::random());
    let mut servers = JoinSet::new();
    serve_data(config, &node.context, data_port, &stop, data, &mut servers)?;
    let admin = Listener::clear(listen(config.listen.admin, data)?);
    servers.spawn_on(server::serve(admin, Arc::new(admin_port), stop.clone()), data.handle());
    if !node.context.draining.load(Ordering::Relaxed) {
        node.set_state(NodeState::Up).await;
    }
    tracing::info!(
        node = %config.node.id,
        pop = %config.node.pop,
        raft_id = %node.context.host.raft_id(),
        http = %config.listen.http,
        https = config.listen.https.map(tracing::field::display),
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
    servers.join_all().await;
    node.close().await;
    tracing::info!("stopped");
    Ok(())
}

fn server_limits(config: &Config) -> ServerLimits {
    let limits = &config.limits;
    let count = |number: u32| usize::try_from(number).unwrap_or(usize::MAX);
    ServerLimits {
        header_timeout: limits.header_timeout,
        client_idle: limits.client_idle_timeout,
        header_bytes: limits.header_bytes.as_usize(),
        header_fields: count(limits.header_fields),
        connections: count(limits.connections),
        streams: limits.streams,
        handshake_timeout: config.tls.handshake_timeout,
        handshakes: count(config.tls.handshakes),
        drain: DRAIN,
    }
}

/// Opens the data port, in clear and over TLS.
fn serve_data<H: Handler>(
    config: &Config,
    context: &Arc<Context>,
    port: Port<H>,
    stop: &CancellationToken,
    data: &Runtime,
    servers: &mut JoinSet<()>,
) -> Result<(), NodeError> {
    let listens = &config.listen;
    let port = Arc::new(port);
    let proxies = listens.http_proxies.clone();
    let clear = Listener { tcp: listen(listens.http, data)?, secure: None, proxies };
    servers.spawn_on(server::serve(clear, Arc::clone(&port), stop.clone()), data.handle());
    let Some(address) = listens.https else { return Ok(()) };
    let source = Arc::clone(context);
    let secure = Secure::new(config.tls.min_version, move || source.live().certificates.clone())
        .map_err(|error| NodeError::open("TLS of the data port")(&error))?;
    if let Some(address) = listens.http3_address() {
        let listener = listen_http3(address, &secure, &port.limits(), data)?;
        let serving = server::serve_http3(listener, Arc::clone(&port), stop.clone());
        servers.spawn_on(serving, data.handle());
    }
    let listener = Listener {
        tcp: listen(address, data)?,
        secure: Some(secure),
        proxies: listens.https_proxies.clone(),
    };
    servers.spawn_on(server::serve(listener, port, stop.clone()), data.handle());
    Ok(())
}

fn listen_http3(
    address: SocketAddr,
    secure: &Secure,
    limits: &ServerLimits,
    data: &Runtime,
) -> Result<Http3Listener, NodeError> {
    let what = format!("listening on {address} (UDP)");
    let bound = std::net::UdpSocket::bind(address).and_then(|socket| {
        let _entered = data.enter();
        Http3Listener::new(socket, secure, limits)
    });
    bound.map_err(|error| NodeError::open(what)(&error))
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
