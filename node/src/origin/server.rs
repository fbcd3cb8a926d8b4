//! Accepting connections. Unlike a node's ports, an origin that is "down" must close a connection
//! without an answer, and connections must end by a certain age whatever their clients do.

use std::{future::Future, net::SocketAddr, sync::Arc, time::Duration};

use http::{Request, Response};
use hyper::{body::Incoming, server::conn::http1, service::service_fn};
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::{
    net::{TcpListener, TcpStream},
    sync::{OwnedSemaphorePermit, Semaphore},
};
use tokio_util::task::TaskTracker;

use super::{platform::Platform, routes};
use crate::http::body::Body;

/// How long to wait after a failed accept: as a rule there are no file descriptors left.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);
/// How long a connection past its age may take to finish its request.
const LAST_REQUEST: Duration = Duration::from_secs(330);
/// The most header fields of a request.
const HEADER_FIELDS_MAX: usize = 256;
/// The largest head of a request, in bytes.
const HEADER_BYTES_MAX: usize = 64 << 10;

/// The request was dropped on purpose, and its connection with it.
#[derive(Debug, thiserror::Error)]
#[error("dropped by a fault")]
struct Dropped;

/// Answers requests on `listener` until `shutdown` is ready, then lets those under way finish for a
/// while. Returns when every connection is closed.
pub async fn serve(
    listener: TcpListener,
    platform: Arc<Platform>,
    shutdown: impl Future<Output = ()> + Send,
) {
    let connections = TaskTracker::new();
    let slots = Arc::new(Semaphore::new(platform.limits.connections));
    tokio::select! {
        () = shutdown => {}
        () = accept(&listener, &platform, &slots, &connections) => {}
    }
    drop(listener);
    platform.stopping.cancel();
    connections.close();
    connections.wait().await;
}

async fn accept(
    listener: &TcpListener,
    platform: &Arc<Platform>,
    slots: &Arc<Semaphore>,
    connections: &TaskTracker,
) {
    while let Ok(slot) = Arc::clone(slots).acquire_owned().await {
        match listener.accept().await {
            Ok((stream, remote)) => {
                connections.spawn(converse(Arc::clone(platform), stream, remote, slot));
            }
            Err(error) => {
                tracing::warn!(%error, "a connection could not be accepted");
                tokio::time::sleep(ACCEPT_PAUSE).await;
            }
        }
    }
}

/// One connection, to its end.
async fn converse(
    platform: Arc<Platform>,
    stream: TcpStream,
    remote: SocketAddr,
    _slot: OwnedSemaphorePermit,
) {
    if let Err(error) = stream.set_nodelay(true) {
        tracing::debug!(%error, %remote, "TCP_NODELAY could not be set");
    }
    let service = service_fn(|request: Request<Incoming>| {
        let platform = Arc::clone(&platform);
        async move {
            let answer: Option<Response<Body>> = routes::answer(&platform, remote, request).await;
            answer.ok_or(Dropped)
        }
    });
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(platform.limits.header_timeout)
        .max_headers(HEADER_FIELDS_MAX)
        .max_buf_size(HEADER_BYTES_MAX)
        .serve_connection(TokioIo::new(stream), service);
    let mut connection = std::pin::pin!(connection);
    let ended = tokio::select! {
        ended = connection.as_mut() => Some(ended),
        () = platform.stopping.cancelled() => None,
        () = tokio::time::sleep(platform.limits.connection_age) => None,
    };
    let ended = match ended {
        Some(ended) => ended,
        None => {
            connection.as_mut().graceful_shutdown();
            tokio::select! {
                ended = connection => ended,
                () = last_call(&platform) => return,
            }
        }
    };
    if let Err(error) = ended {
        tracing::debug!(%error, %remote, "the connection ended with an error");
    }
}

/// Ready when a connection that was asked to end has had its time.
async fn last_call(platform: &Platform) {
    tokio::select! {
        () = tokio::time::sleep(LAST_REQUEST) => {}
        () = async {
            platform.stopping.cancelled().await;
            tokio::time::sleep(platform.limits.drain).await;
        } => {}
    }
}
