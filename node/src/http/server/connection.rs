//! One connection over TCP, from the first byte to the last.

use std::{
    net::SocketAddr,
    pin::{Pin, pin},
    sync::{Arc, atomic::AtomicU64},
    time::Duration,
};

use bytes::{Bytes, BytesMut};
use hyper::{
    server::conn::{http1, http2},
    service::service_fn,
};
use hyper_util::{
    rt::{TokioIo, TokioTimer},
    server::graceful::GracefulConnection,
};
use tokio::{
    io::{AsyncRead, AsyncReadExt as _, AsyncWrite},
    net::TcpStream,
    time::{Instant, MissedTickBehavior, timeout},
};
use tokio_rustls::server::TlsStream;
use tokio_util::sync::CancellationToken;

use super::{
    Handler, Peer, Port, Protocol,
    activity::Activity,
    answer::StreamExecutor,
    exchange::Requests,
    framing::HeadLimits,
    guarded::{Guarded, ReadTimes},
    metrics::HandshakeFailure,
    proxy_header,
    stream::ClientStream,
    tls::Secure,
};

/// What a client of HTTP/2 begins with (RFC 9113 §3.4).
const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
/// What one stream of HTTP/2 may send before it is read. A body is read as it comes.
const STREAM_WINDOW: u32 = 256 << 10;
/// What all of them may send.
const CONNECTION_WINDOW: u32 = 1 << 20;
/// What is held of an answer of HTTP/2 besides the piece that waits.
const SEND_BUFFER: usize = 64 << 10;
/// How often a quiet client is asked whether it is still there, and how long it may take.
const PING_EVERY: Duration = Duration::from_secs(20);
/// Streams that the client reset and nobody has looked at; more end the connection (CVE-2023-44487).
const RESETS_PENDING_MAX: usize = 20;
/// Streams that we reset for errors of the client; more end the connection (CVE-2025-8671).
const RESETS_OURS_MAX: usize = 64;
/// How long a connection that was told to end may take for it.
const FAREWELL: Duration = Duration::from_secs(5);

/// When connections end.
#[derive(Debug, Clone)]
pub(super) struct Ending {
    /// No new requests; those under way go on.
    pub(super) graceful: CancellationToken,
    /// At once.
    pub(super) now: CancellationToken,
}

/// Serves one connection until it ends. Who has not asked anything when the port closes is told nothing.
pub(super) async fn run<H: Handler>(
    port: &Arc<Port<H>>,
    mut tcp: TcpStream,
    remote: SocketAddr,
    secure: Option<&Secure>,
    is_behind_proxy: bool,
    ending: &Ending,
) {
    if let Err(error) = tcp.set_nodelay(true) {
        tracing::debug!(%error, %remote, "TCP_NODELAY could not be set");
    }
    let introduce = async {
        let remote =
            if is_behind_proxy { true_remote(port, &mut tcp, remote).await? } else { remote };
        Ok((tcp, remote))
    };
    match secure {
        None => {
            let clear = async {
                let (tcp, remote) = introduce.await?;
                sniff(port, tcp, remote).await
            };
            if let Some(client) = until_closing(port, ending, clear).await {
                client.serve(port, ending).await;
            }
        }
        Some(secure) => {
            let shaken = async {
                let (tcp, remote) = introduce.await?;
                handshake(port, secure, tcp, remote).await
            };
            if let Some(client) = until_closing(port, ending, shaken).await {
                client.serve(port, ending).await;
            }
        }
    }
}

/// What a client is before it asks something, if it gets there.
async fn until_closing<H, T>(
    port: &Port<H>,
    ending: &Ending,
    introduction: impl Future<Output = Result<T, HandshakeFailure>>,
) -> Option<T> {
    tokio::select! {
        introduced = introduction => introduced
            .map_err(|failure| port.metrics.handshake_failed(failure))
            .ok(),
        () = ending.graceful.cancelled() => None,
    }
}

/// The address that a load balancer tells.
async fn true_remote<H>(
    port: &Port<H>,
    tcp: &mut TcpStream,
    remote: SocketAddr,
) -> Result<SocketAddr, HandshakeFailure> {
    match timeout(port.limits.header_timeout, proxy_header::read(tcp)).await {
        Ok(Ok(source)) => Ok(source.unwrap_or(remote)),
        Ok(Err(error)) => {
            tracing::debug!(%error, %remote, "no PROXY protocol header");
            Err(HandshakeFailure::ProxyHeader)
        }
        Err(_elapsed) => Err(HandshakeFailure::Timeout),
    }
}

/// A client, when it is known what it speaks.
struct Client<S> {
    stream: S,
    ahead: Bytes,
    peer: Peer,
}

/// In clear, a client says with its first bytes whether it speaks HTTP/2 (prior knowledge, RFC 9113
/// §3.3).
async fn sniff<H>(
    port: &Port<H>,
    mut tcp: TcpStream,
    remote: SocketAddr,
) -> Result<Client<TcpStream>, HandshakeFailure> {
    let mut ahead = BytesMut::with_capacity(1 << 10);
    let read = async {
        loop {
            let is_preface = ahead.len() >= PREFACE.len() && ahead.starts_with(PREFACE);
            if is_preface || !PREFACE.starts_with(&ahead) {
                return Ok(is_preface);
            }
            if tcp.read_buf(&mut ahead).await? == 0 {
                return Err(std::io::ErrorKind::UnexpectedEof.into());
            }
        }
    };
    let is_http2: std::io::Result<bool> =
        timeout(port.limits.header_timeout, read).await.map_err(|_e| HandshakeFailure::Timeout)?;
    let protocol = match is_http2 {
        Ok(true) => Protocol::Http2,
        Ok(false) => Protocol::Http1,
        Err(_gone) => return Err(HandshakeFailure::Gone),
    };
    let peer = Peer { remote, protocol, is_secure: false };
    Ok(Client { stream: tcp, ahead: ahead.freeze(), peer })
}

/// Over TLS, client and server agree on it in the handshake (ALPN, RFC 7301).
async fn handshake<H>(
    port: &Port<H>,
    secure: &Secure,
    tcp: TcpStream,
    remote: SocketAddr,
) -> Result<Client<TlsStream<TcpStream>>, HandshakeFailure> {
    let shake = async {
        // Never closed.
        let _place = port.handshakes.acquire().await;
        secure.accept(tcp).await
    };
    let shaken = timeout(port.limits.handshake_timeout, shake).await;
    let stream = match shaken {
        Ok(Ok(stream)) => stream,
        Ok(Err(error)) => {
            tracing::debug!(%error, %remote, "no TLS handshake");
            return Err(match error.kind() {
                std::io::ErrorKind::InvalidData => HandshakeFailure::Tls,
                _ => HandshakeFailure::Gone,
            });
        }
        Err(_elapsed) => return Err(HandshakeFailure::Timeout),
    };
    let is_http2 = stream.get_ref().1.alpn_protocol() == Some(b"h2");
    let protocol = if is_http2 { Protocol::Http2 } else { Protocol::Http1 };
    let peer = Peer { remote, protocol, is_secure: true };
    Ok(Client { stream, ahead: Bytes::new(), peer })
}

impl<S: AsyncRead + AsyncWrite + Unpin + Send + 'static> Client<S> {
    async fn serve<H: Handler>(self, port: &Arc<Port<H>>, ending: &Ending) {
        let Self { stream, ahead, peer } = self;
        let limits = port.limits;
        let _open = port.metrics.open(peer.protocol);
        let activity = Arc::new(Activity::default());
        let stream = ClientStream::new(stream, ahead, limits.client_idle);
        let head =
            HeadLimits { header_bytes: limits.header_bytes, header_fields: limits.header_fields };
        let mut requests = Requests {
            port: Arc::clone(port),
            peer,
            activity: Arc::clone(&activity),
            guarded: None,
            count: AtomicU64::new(0),
        };
        let drive = Drive { port, peer, activity: &activity, ending };
        if peer.protocol == Protocol::Http2 {
            let service = service_fn(move |request| requests.next(request));
            let builder = http2(port, head);
            drive.until_end(builder.serve_connection(TokioIo::new(stream), service)).await;
        } else {
            let times = ReadTimes { head: limits.header_timeout, idle: limits.client_idle };
            let (stream, verdict, heads) = Guarded::new(stream, head, times, Arc::clone(&activity));
            requests.guarded = Some((verdict, heads));
            let service = service_fn(move |request| requests.next(request));
            let connection = http1(head).serve_connection(TokioIo::new(stream), service);
            drive.until_end(connection).await;
        }
    }
}

fn http1(head: HeadLimits) -> http1::Builder {
    let mut builder = http1::Builder::new();
    builder
        .timer(TokioTimer::new())
        // The guard in front of it sees when a head begins, and when one is overdue.
        .header_read_timeout(None)
        .max_headers(head.header_fields)
        .max_buf_size(head.bytes_max());
    builder
}

fn http2<H>(port: &Port<H>, head: HeadLimits) -> http2::Builder<StreamExecutor> {
    let limits = port.limits;
    let executor = StreamExecutor { timeout: limits.client_idle, metrics: port.metrics.clone() };
    // 32 bytes a field, by which HTTP/2 counts them as larger (RFC 9113 §6.5.2), and the target.
    let list_bytes = head.bytes_max().saturating_add(head.header_fields.saturating_mul(32));
    let mut builder = http2::Builder::new(executor);
    builder
        .timer(TokioTimer::new())
        .max_concurrent_streams(limits.streams)
        .max_header_list_size(u32::try_from(list_bytes).unwrap_or(u32::MAX))
        .max_pending_accept_reset_streams(RESETS_PENDING_MAX)
        .max_local_error_reset_streams(RESETS_OURS_MAX)
        .max_send_buf_size(SEND_BUFFER)
        .initial_stream_window_size(STREAM_WINDOW)
        .initial_connection_window_size(CONNECTION_WINDOW)
        .keep_alive_interval(PING_EVERY)
        .keep_alive_timeout(PING_EVERY);
    builder
}

/// What a connection is watched by.
struct Drive<'d, H> {
    port: &'d Port<H>,
    peer: Peer,
    activity: &'d Activity,
    ending: &'d Ending,
}

impl<H> Drive<'_, H> {
    async fn until_end<C>(&self, connection: C)
    where
        C: GracefulConnection,
        C::Error: std::fmt::Display,
    {
        let mut connection: Pin<&mut C> = pin!(connection);
        let mut graceful = pin!(self.ending.graceful.cancelled());
        let mut now = pin!(self.ending.now.cancelled());
        let mut abused = pin!(self.activity.abused());
        // hyper has no idle timeout for HTTP/2; that of HTTP/1.1 is the guard's.
        let is_watched = self.peer.protocol == Protocol::Http2;
        let idle = self.port.limits.client_idle;
        let mut look = tokio::time::interval_at(Instant::now() + idle, idle);
        look.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut begun = None;
        let mut is_ending = false;
        let remote = self.peer.remote;
        loop {
            tokio::select! {
                ended = connection.as_mut() => {
                    if let Err(error) = ended {
                        tracing::debug!(%error, %remote, "the connection ended with an error");
                    }
                    return;
                }
                () = &mut graceful, if !is_ending => {
                    is_ending = true;
                    connection.as_mut().graceful_shutdown();
                }
                () = &mut now => return,
                () = &mut abused => {
                    self.port.metrics.abused();
                    tracing::debug!(%remote, "a client that gives up most of its requests was cut off");
                    return;
                }
                _ = look.tick(), if is_watched => {
                    let now_begun = self.activity.begun();
                    if self.activity.is_idle() && begun == Some(now_begun) {
                        connection.as_mut().graceful_shutdown();
                        // What is not taken by then has not been taken for a whole period.
                        let _ended = timeout(FAREWELL, connection.as_mut()).await;
                        return;
                    }
                    begun = Some(now_begun);
                }
            }
        }
    }
}
