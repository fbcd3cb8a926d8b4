//! Accepting HTTP/1.1 connections within limits, and ending them gracefully.

use std::{convert::Infallible, future::Future, net::SocketAddr, sync::Arc, time::Duration};

use http::{Request, Response};
use hyper::{body::Incoming, server::conn::http1, service::service_fn};
use hyper_util::{
    rt::{TokioIo, TokioTimer},
    server::graceful::GracefulShutdown,
};
use tokio::{net::TcpListener, sync::Semaphore};
use tokio_util::sync::CancellationToken;

use super::body::Body;

/// What one listener allows its clients.
#[derive(Debug, Clone, Copy)]
pub struct ServerLimits {
    /// How long a client may take for the head of a request.
    pub header_timeout: Duration,
    /// The size of a request's head, bytes.
    pub header_bytes: usize,
    /// The number of header fields.
    pub header_fields: usize,
    /// Open connections; more wait in the kernel's backlog.
    pub connections: usize,
    /// How long requests under way may go on after the shutdown began.
    pub drain: Duration,
}

/// What a handler knows of the connection.
#[derive(Debug, Clone, Copy)]
pub struct Peer {
    /// The client's address.
    pub remote: SocketAddr,
}

/// Answers requests; it never fails: errors are problems.
pub trait Handler: Send + Sync + 'static {
    /// The answer to one request.
    fn handle(
        self: Arc<Self>,
        peer: Peer,
        request: Request<Incoming>,
    ) -> impl Future<Output = Response<Body>> + Send;
}

/// Serves `listener` until `shutdown`, then lets requests under way finish within the drain time.
pub async fn serve<H: Handler>(
    listener: TcpListener,
    limits: ServerLimits,
    handler: Arc<H>,
    shutdown: CancellationToken,
) {
    let graceful = GracefulShutdown::new();
    let slots = Arc::new(Semaphore::new(limits.connections));
    let mut builder = http1::Builder::new();
    builder
        .timer(TokioTimer::new())
        .header_read_timeout(limits.header_timeout)
        .max_headers(limits.header_fields)
        // hyper needs at least 8 KiB for its buffer.
        .max_buf_size(limits.header_bytes.max(8 << 10));
    // No `pipeline_flush`: with it hyper 1.12 never sends its answer to a head that it cannot read,
    // since what it could not read stays in the buffer.
    loop {
        let slot = tokio::select! {
            () = shutdown.cancelled() => break,
            slot = Arc::clone(&slots).acquire_owned() => match slot {
                Ok(slot) => slot,
                Err(_closed) => break,
            },
        };
        let accepted = tokio::select! {
            () = shutdown.cancelled() => break,
            accepted = listener.accept() => accepted,
        };
        let (stream, remote) = match accepted {
            Ok(accepted) => accepted,
            Err(error) => {
                // Out of file descriptors, as a rule: let connections end before the next try.
                tracing::warn!(%error, "a connection could not be accepted");
                tokio::time::sleep(Duration::from_millis(50)).await;
                continue;
            }
        };
        if let Err(error) = stream.set_nodelay(true) {
            tracing::debug!(%error, %remote, "TCP_NODELAY could not be set");
        }
        let handler = Arc::clone(&handler);
        let service = service_fn(move |request: Request<Incoming>| {
            let handler = Arc::clone(&handler);
            async move { Ok::<_, Infallible>(handler.handle(Peer { remote }, request).await) }
        });
        let connection = builder.serve_connection(TokioIo::new(stream), service);
        let connection = graceful.watch(connection);
        tokio::spawn(async move {
            if let Err(error) = connection.await {
                tracing::debug!(%error, %remote, "the connection ended with an error");
            }
            drop(slot);
        });
    }
    drop(listener);
    if tokio::time::timeout(limits.drain, graceful.shutdown()).await.is_err() {
        tracing::warn!(drain = ?limits.drain, "requests were still under way when the drain time ended");
    }
}
