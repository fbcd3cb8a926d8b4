//! Accepting connections over TCP, and ending them when the port closes.

use std::{net::SocketAddr, sync::Arc, time::Duration};

use hexpop_edge_config::Network;
use tokio::net::{TcpListener, TcpStream};
use tokio_util::{sync::CancellationToken, task::TaskTracker};

use super::{Handler, Port, connection, connection::Ending, tls::Secure};

/// The pause after an error of accepting: out of file descriptors, as a rule, so that connections may end
/// before the next try.
const PAUSE: Duration = Duration::from_millis(50);

/// A TCP socket that a port listens on.
#[derive(Debug)]
pub struct Listener {
    /// The socket.
    pub tcp: TcpListener,
    /// How TLS is spoken on it; none = in clear.
    pub secure: Option<Secure>,
    /// Whose connections begin with a PROXY protocol header.
    pub proxies: Vec<Network>,
}

impl Listener {
    /// A socket in clear, with no load balancer in front of it.
    #[must_use]
    pub const fn clear(tcp: TcpListener) -> Self {
        Self { tcp, secure: None, proxies: Vec::new() }
    }
}

/// Serves `listener` until `shutdown`, then lets requests under way finish within the drain time.
pub async fn serve<H: Handler>(
    listener: Listener,
    port: Arc<Port<H>>,
    shutdown: CancellationToken,
) {
    let Listener { tcp, secure, proxies } = listener;
    let secure = secure.map(Arc::new);
    let tracker = TaskTracker::new();
    let now = CancellationToken::new();
    let ending = Ending { graceful: shutdown.clone(), now: now.clone() };
    loop {
        let slot = tokio::select! {
            () = shutdown.cancelled() => break,
            slot = Arc::clone(&port.slots).acquire_owned() => match slot {
                Ok(slot) => slot,
                Err(_closed) => break,
            },
        };
        let accepted = tokio::select! {
            () = shutdown.cancelled() => break,
            accepted = accept(&tcp) => accepted,
        };
        let Some((stream, remote)) = accepted else { continue };
        let (port, secure, ending) = (Arc::clone(&port), secure.clone(), ending.clone());
        let is_behind_proxy = proxies.iter().any(|network| network.contains(remote.ip()));
        tracker.spawn(async move {
            let secure = secure.as_deref();
            connection::run(&port, stream, remote, secure, is_behind_proxy, &ending).await;
            drop(slot);
        });
    }
    drop(tcp);
    tracker.close();
    let drain = port.limits.drain;
    if tokio::time::timeout(drain, tracker.wait()).await.is_err() {
        tracing::warn!(?drain, "requests were still under way when the drain time ended");
        now.cancel();
        tracker.wait().await;
    }
}

async fn accept(tcp: &TcpListener) -> Option<(TcpStream, SocketAddr)> {
    match tcp.accept().await {
        Ok(accepted) => Some(accepted),
        Err(error) => {
            tracing::warn!(%error, "a connection could not be accepted");
            tokio::time::sleep(PAUSE).await;
            None
        }
    }
}
