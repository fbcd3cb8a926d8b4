//! HTTP/3: QUIC connections, their requests, and their end.
//!
//! The library for it (`h3`) is young, and leaves limits to whoever uses it: frames are bounded in
//! [`frames`], the length of bodies is checked here, and so are deadlines.

mod body;
mod frames;

use std::{io, net::UdpSocket, pin::pin, sync::Arc, time::Duration};

use bytes::Bytes;
use h3::{
    error::{Code, StreamError},
    server::{RequestResolver, RequestStream},
};
use hexpop_router::{Interim, InterimSink};
use http::{Method, Request, Response, header};
use http_body::Body as _;
use http_body_util::BodyExt as _;
use quinn::{Endpoint, EndpointConfig, IdleTimeout, Incoming, TransportConfig, VarInt};
use tokio::{
    task::JoinSet,
    time::{Instant, MissedTickBehavior, timeout},
};
use tokio_util::{sync::CancellationToken, task::TaskTracker};

use self::frames::BoundedConnection;
use super::{
    Handler, Peer, Port, Protocol, RequestBody, Secure, ServerLimits,
    activity::Activity,
    answer::Answer,
    connection::Ending,
    framing::{HeadLimits, Refusal},
    metrics::HandshakeFailure,
};

pub(super) use body::Http3Body;

/// How long after [`ServerLimits::client_idle`] a client counts as gone that sends nothing at all.
const GONE_AFTER: Duration = Duration::from_secs(5);

/// What one stream may send before it is read.
const STREAM_WINDOW: u32 = 256 << 10;
/// What all of them may send.
const CONNECTION_WINDOW: u32 = 1 << 20;
/// What is held of answers until the client has it.
const SEND_WINDOW: u64 = 1 << 20;
/// Unidirectional streams of a client: control, two of QPACK, and some that are there to be ignored.
const UNIDIRECTIONAL_MAX: u32 = 8;
/// Connections that wait for us to look at them.
const INCOMING_MAX: usize = 1 << 10;
/// How long the last answers may take to arrive before the connection is closed over them.
const FAREWELL: Duration = Duration::from_secs(1);

type Quic = BoundedConnection<h3_quinn::Connection>;
type Sender = RequestStream<h3_quinn::SendStream<Bytes>, Bytes>;

/// A UDP socket that HTTP/3 is spoken on.
#[derive(Debug)]
pub struct Http3Listener(Endpoint);

impl Http3Listener {
    /// Speaks HTTP/3 on `socket`, with the certificates of `secure`.
    ///
    /// # Errors
    /// When the socket cannot be used, or TLS cannot be spoken over QUIC.
    ///
    /// # Panics
    /// When called outside of a Tokio runtime.
    pub fn new(socket: UdpSocket, secure: &Secure, limits: &ServerLimits) -> io::Result<Self> {
        let crypto = secure.quic().map_err(io::Error::other)?;
        let mut config = quinn::ServerConfig::with_crypto(Arc::new(crypto));
        config.transport_config(Arc::new(transport(limits))).max_incoming(INCOMING_MAX);
        socket.set_nonblocking(true)?;
        let runtime = Arc::new(quinn::TokioRuntime);
        Endpoint::new(EndpointConfig::default(), Some(config), socket, runtime).map(Self)
    }
}

fn transport(limits: &ServerLimits) -> TransportConfig {
    let mut transport = TransportConfig::default();
    // An answer that is not read is given up before, and the connection goes on.
    let idle = limits.client_idle.saturating_add(GONE_AFTER);
    let idle = u64::try_from(idle.as_millis()).unwrap_or(u64::MAX);
    let idle = VarInt::from_u64(idle).unwrap_or(VarInt::MAX);
    transport
        .max_concurrent_bidi_streams(limits.streams.into())
        .max_concurrent_uni_streams(UNIDIRECTIONAL_MAX.into())
        .stream_receive_window(STREAM_WINDOW.into())
        .receive_window(CONNECTION_WINDOW.into())
        .send_window(SEND_WINDOW)
        .datagram_receive_buffer_size(None)
        .max_idle_timeout(Some(IdleTimeout::from(idle)));
    transport
}

/// Serves HTTP/3 until `shutdown`, then lets requests under way finish within the drain time.
pub async fn serve_http3<H: Handler>(
    listener: Http3Listener,
    port: Arc<Port<H>>,
    shutdown: CancellationToken,
) {
    let endpoint = listener.0;
    let tracker = TaskTracker::new();
    let now = CancellationToken::new();
    let ending = Ending { graceful: shutdown.clone(), now: now.clone() };
    loop {
        let incoming = tokio::select! {
            () = shutdown.cancelled() => break,
            incoming = endpoint.accept() => incoming,
        };
        let Some(incoming) = incoming else { break };
        admit(incoming, &port, &ending, &tracker);
    }
    // What comes from now on is refused, and what is under way goes on.
    endpoint.set_server_config(None);
    tracker.close();
    if timeout(port.limits.drain, tracker.wait()).await.is_err() {
        tracing::warn!("HTTP/3 requests were still under way when the drain time ended");
        now.cancel();
        tracker.wait().await;
    }
    endpoint.close(VarInt::from_u32(0x100), b"");
    // The last packets; a client that is gone is not waited for.
    let _sent = timeout(FAREWELL, endpoint.wait_idle()).await;
}

/// Begins the handshake, if there is a place for it.
fn admit<H: Handler>(
    incoming: Incoming,
    port: &Arc<Port<H>>,
    ending: &Ending,
    tracker: &TaskTracker,
) {
    let Ok(slot) = Arc::clone(&port.slots).try_acquire_owned() else {
        incoming.refuse();
        return;
    };
    let Ok(place) = Arc::clone(&port.quic_handshakes).try_acquire_owned() else {
        // Whoever forges addresses does not get our answer, and so no further (RFC 9000 §8.1.2).
        if let Err(error) = incoming.retry() {
            error.into_incoming().refuse();
        }
        return;
    };
    let (port, ending) = (Arc::clone(port), ending.clone());
    tracker.spawn(async move {
        let remote = incoming.remote_address();
        let shaken = match incoming.accept() {
            Ok(connecting) => timeout(port.limits.handshake_timeout, connecting).await,
            Err(error) => Ok(Err(error)),
        };
        drop(place);
        match shaken {
            Ok(Ok(connection)) => {
                let peer = Peer { remote, protocol: Protocol::Http3, is_secure: true };
                let connected =
                    Connected { port: &port, connection, peer, activity: Arc::default() };
                connected.run(&ending).await;
            }
            Ok(Err(error)) => {
                tracing::debug!(%error, %remote, "no QUIC handshake");
                port.metrics.handshake_failed(HandshakeFailure::Tls);
            }
            Err(_elapsed) => port.metrics.handshake_failed(HandshakeFailure::Timeout),
        }
        drop(slot);
    });
}

/// An HTTP/3 connection.
struct Connected<'c, H> {
    port: &'c Arc<Port<H>>,
    connection: quinn::Connection,
    peer: Peer,
    activity: Arc<Activity>,
}

impl<H: Handler> Connected<'_, H> {
    async fn run(self, ending: &Ending) {
        let _open = self.port.metrics.open(Protocol::Http3);
        let limits = self.port.limits;
        let bytes_max =
            HeadLimits { header_bytes: limits.header_bytes, header_fields: limits.header_fields }
                .bytes_max();
        let quic = BoundedConnection::new(self.connection.clone(), bytes_max);
        // As HTTP/2 does, HTTP/3 counts 32 bytes more a field (RFC 9114 §4.2.2).
        let section = bytes_max.saturating_add(limits.header_fields.saturating_mul(32));
        let built = h3::server::builder().max_field_section_size(section as u64).build(quic).await;
        match built {
            Ok(http3) => self.until_end(http3, ending).await,
            Err(error) => tracing::debug!(%error, "HTTP/3 did not begin"),
        }
    }

    async fn until_end(self, mut http3: h3::server::Connection<Quic, Bytes>, ending: &Ending) {
        // Requests end with their connection: this aborts them when it is dropped.
        let mut requests: JoinSet<()> = JoinSet::new();
        let idle = self.port.limits.client_idle;
        let mut look = tokio::time::interval_at(Instant::now() + idle, idle);
        look.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut begun = None;
        let mut is_ending = false;
        loop {
            tokio::select! {
                accepted = http3.accept() => match accepted {
                    Ok(Some(resolver)) => self.begin(resolver, &mut requests),
                    Ok(None) => break,
                    Err(error) => {
                        tracing::debug!(%error, remote = %self.peer.remote, "the connection ended");
                        return;
                    }
                },
                Some(_ended) = requests.join_next() => {}
                () = ending.graceful.cancelled(), if !is_ending => {
                    is_ending = true;
                    // GOAWAY: what was begun is finished, and nothing more is taken.
                    if http3.shutdown(0).await.is_err() {
                        return;
                    }
                }
                () = ending.now.cancelled() => return,
                () = self.activity.abused() => {
                    self.port.metrics.abused();
                    let code = u32::try_from(Code::H3_EXCESSIVE_LOAD.value()).unwrap_or_default();
                    self.connection.close(code.into(), b"most requests were given up");
                    return;
                }
                _ = look.tick() => {
                    let now_begun = self.activity.begun();
                    if self.activity.is_idle() && begun == Some(now_begun) {
                        // Whether it takes GOAWAY or not: it has been idle for a whole period.
                        let _told = http3.shutdown(0).await;
                        break;
                    }
                    begun = Some(now_begun);
                }
            }
            if is_ending && requests.is_empty() {
                break;
            }
        }
        while requests.join_next().await.is_some() {}
        // Closing drops what has not arrived yet: the client goes first, if it wants to.
        let _gone = timeout(FAREWELL, self.connection.closed()).await;
    }

    fn begin(&self, resolver: RequestResolver<Quic, Bytes>, requests: &mut JoinSet<()>) {
        let (port, peer) = (Arc::clone(self.port), self.peer);
        let activity = Arc::clone(&self.activity);
        requests.spawn(async move {
            let limits = port.limits;
            let resolved = timeout(limits.header_timeout, resolve(resolver)).await;
            let (request, sender) = match resolved {
                Ok(Ok(resolved)) => resolved,
                Ok(Err(StreamError::HeaderTooBig { .. })) => {
                    port.metrics.refused(Refusal::HeaderTooLarge);
                    return;
                }
                Ok(Err(error)) => {
                    tracing::debug!(%error, remote = %peer.remote, "no request");
                    return;
                }
                Err(_elapsed) => {
                    port.metrics.refused(Refusal::HeaderTimeout);
                    return;
                }
            };
            let answer = |request| port.answer(peer, &activity, request, || None);
            let sent = send(sender, request, answer, limits.client_idle).await;
            if matches!(sent, Err(NotSent::Stalled)) {
                port.metrics.stalled();
            }
        });
    }
}

/// Reads the head of a request, and of one that has no body by its method that it has none.
async fn resolve(
    resolver: RequestResolver<Quic, Bytes>,
) -> Result<(Request<RequestBody>, Sender), StreamError> {
    let (request, stream) = resolver.resolve_request().await?;
    let (sender, receiver) = stream.split();
    let length = request.headers().get(header::CONTENT_LENGTH);
    // What is no number is refused before the body is looked at.
    let length = length.and_then(|length| length.to_str().ok()?.parse().ok());
    let mut body = Http3Body::new(receiver, length);
    let has_none = matches!(*request.method(), Method::GET | Method::HEAD) && length.is_none();
    let body = if has_none && body.is_empty().await? {
        RequestBody::empty()
    } else {
        RequestBody::http3(body)
    };
    Ok((request.map(|()| body), sender))
}

/// Why an answer did not get to its client.
enum NotSent {
    /// The client took nothing.
    Stalled,
    /// The client, or the handler's body, broke off.
    Broken,
}

/// Sends an answer and what comes before it, and never waits longer than `patience` for the client to take a piece of it.
async fn send<A>(
    mut sender: Sender,
    request: Request<RequestBody>,
    answer: impl FnOnce(Request<RequestBody>) -> A,
    patience: Duration,
) -> Result<(), NotSent>
where
    A: Future<Output = Response<Answer>>,
{
    let outcome = match send_interims(&mut sender, request, answer, patience).await {
        Ok(response) => send_parts(&mut sender, response, patience).await,
        Err(not_sent) => Err(not_sent),
    };
    match outcome {
        Ok(()) => {}
        Err(NotSent::Stalled) => sender.stop_stream(Code::H3_REQUEST_CANCELLED),
        Err(NotSent::Broken) => sender.stop_stream(Code::H3_INTERNAL_ERROR),
    }
    outcome
}

/// Sends what comes before the answer as it comes, until the answer is there. A client that takes none of it has
/// `patience` for all of it together.
async fn send_interims<A>(
    sender: &mut Sender,
    mut request: Request<RequestBody>,
    answer: impl FnOnce(Request<RequestBody>) -> A,
    patience: Duration,
) -> Result<Response<Answer>, NotSent>
where
    A: Future<Output = Response<Answer>>,
{
    let (sink, mut interims) = InterimSink::channel();
    request.extensions_mut().insert(sink);
    let mut answer = pin!(answer(request));
    let mut patience = patience;
    loop {
        let (interim, response) = tokio::select! {
            biased;
            Some(interim) = interims.recv() => (Some(interim), None),
            response = &mut answer => (None, Some(response)),
        };
        // Those that came with the answer go before it.
        let mut next = interim.or_else(|| interims.try_recv().ok());
        while let Some(Interim { status, headers }) = next {
            let mut head = Response::new(());
            *head.status_mut() = status;
            *head.headers_mut() = headers;
            let begun = Instant::now();
            // One with more fields than the client takes is no loss (RFC 9114 §4.2.2).
            let sending = async {
                match sender.send_response(head).await {
                    Err(StreamError::HeaderTooBig { .. }) => Ok(()),
                    sent => sent,
                }
            };
            taken(sending, patience).await?;
            patience = patience.saturating_sub(begun.elapsed());
            next = interims.try_recv().ok();
        }
        if let Some(response) = response {
            return Ok(response);
        }
    }
}

async fn send_parts(
    sender: &mut Sender,
    response: Response<Answer>,
    patience: Duration,
) -> Result<(), NotSent> {
    let (mut head, mut body) = response.into_parts();
    // Of a connection that is not there (RFC 9114 §4.2).
    head.headers.remove(header::CONNECTION);
    head.headers.remove(header::TRANSFER_ENCODING);
    // Of no bytes nothing is said: they may stand for the body of an answer to HEAD.
    if let Some(length @ 1..) = body.size_hint().exact() {
        head.headers.entry(header::CONTENT_LENGTH).or_insert_with(|| length.into());
    }
    if !head.headers.contains_key(header::DATE) {
        let now = httpdate::HttpDate::from(std::time::SystemTime::now()).to_string();
        if let Ok(now) = now.parse() {
            head.headers.insert(header::DATE, now);
        }
    }
    taken(sender.send_response(Response::from_parts(head, ())), patience).await?;
    while let Some(frame) = body.frame().await {
        let Ok(frame) = frame else { return Err(NotSent::Broken) };
        match frame.into_data() {
            Ok(data) if data.is_empty() => {}
            Ok(data) => taken(sender.send_data(data), patience).await?,
            Err(other) => {
                if let Ok(trailers) = other.into_trailers() {
                    taken(sender.send_trailers(trailers), patience).await?;
                }
            }
        }
    }
    taken(sender.finish(), patience).await
}

async fn taken(
    sending: impl Future<Output = Result<(), StreamError>>,
    patience: Duration,
) -> Result<(), NotSent> {
    match timeout(patience, sending).await {
        Ok(Ok(())) => Ok(()),
        Ok(Err(_broken)) => Err(NotSent::Broken),
        Err(_elapsed) => Err(NotSent::Stalled),
    }
}
