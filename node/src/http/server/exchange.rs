//! One request and its answer: what holds for every protocol before and after the handler.

use std::sync::{
    Arc,
    atomic::{AtomicU64, Ordering::Relaxed},
};

use hexpop_router::Problem as ProblemType;
use http::{HeaderMap, HeaderName, HeaderValue, Method, Request, Response, Version, header};
use hyper::body::Incoming;
use tokio::sync::Semaphore;

use super::{
    Handler, Peer, Protocol, RequestBody, ServerLimits, activity::Activity, answer::Answer,
    framing::Refusal, guarded::Verdict, interim::Heads, metrics::ConnectionMetrics,
};
use crate::http::{body::Body, problem::Problem, trace::RequestIds};

/// Fields that are about a connection, which HTTP/2 and HTTP/3 have none of (RFC 9114 §4.2).
const CONNECTION_FIELDS: [HeaderName; 5] = [
    header::CONNECTION,
    header::TRANSFER_ENCODING,
    header::UPGRADE,
    HeaderName::from_static("keep-alive"),
    HeaderName::from_static("proxy-connection"),
];

/// A port: a handler, and what its clients are allowed. Several listeners may share it.
#[derive(Debug)]
pub struct Port<H> {
    pub(super) handler: Arc<H>,
    pub(super) limits: ServerLimits,
    pub(super) metrics: ConnectionMetrics,
    /// Places for connections.
    pub(super) slots: Arc<Semaphore>,
    /// Places for handshakes over TCP.
    pub(super) handshakes: Semaphore,
    /// Places for handshakes over QUIC.
    pub(super) quic_handshakes: Arc<Semaphore>,
    ids: RequestIds,
    alt_svc: Option<HeaderValue>,
    http1_interims: bool,
}

impl<H: Handler> Port<H> {
    /// A port; `process` is random.
    #[must_use]
    pub fn new(
        handler: Arc<H>,
        limits: ServerLimits,
        metrics: ConnectionMetrics,
        process: u64,
    ) -> Self {
        Self {
            handler,
            limits,
            metrics,
            slots: Arc::new(Semaphore::new(limits.connections)),
            handshakes: Semaphore::new(limits.handshakes),
            quic_handshakes: Arc::new(Semaphore::new(limits.handshakes)),
            ids: RequestIds::new(process),
            alt_svc: None,
            http1_interims: true,
        }
    }

    /// Whether clients of HTTP/1.1 get interim responses; there are some that take the first for the answer
    /// (RFC 8297 §3).
    #[must_use]
    pub const fn with_http1_interims(mut self, are_sent: bool) -> Self {
        self.http1_interims = are_sent;
        self
    }

    /// Offers HTTP/3 on this UDP port in answers over TLS (RFC 7838, RFC 9114 §3.1.1).
    #[must_use]
    pub fn offer_http3(mut self, port: u16) -> Self {
        self.alt_svc = HeaderValue::from_str(&format!("h3=\":{port}\"; ma=86400")).ok();
        self
    }

    /// What clients are allowed.
    #[must_use]
    pub const fn limits(&self) -> ServerLimits {
        self.limits
    }

    /// The answer to one request.
    pub(super) async fn answer(
        &self,
        peer: Peer,
        activity: &Arc<Activity>,
        request: Request<RequestBody>,
        verdict: impl Fn() -> Option<Refusal>,
    ) -> Response<Answer> {
        let underway = activity.begin();
        let judged = verdict().map_or_else(|| self.check(peer, &request), Err);
        let mut response = match judged {
            Err(refusal) => self.refuse(peer, refusal),
            Ok(()) => {
                let response = Arc::clone(&self.handler).handle(peer, request).await;
                // What the handler makes of a body that was refused may look like our own fault.
                match verdict() {
                    Some(refusal) => self.refuse(peer, refusal),
                    None => response,
                }
            }
        };
        if let (true, Some(alt_svc)) = (peer.is_secure, &self.alt_svc) {
            response.headers_mut().insert(header::ALT_SVC, alt_svc.clone());
        }
        let in_pieces = peer.protocol != Protocol::Http1;
        response.map(|body| Answer::new(body, in_pieces, underway))
    }

    /// What every request must be, after the guard or the library of its protocol has let it pass.
    fn check(&self, peer: Peer, request: &Request<RequestBody>) -> Result<(), Refusal> {
        if request.method() == Method::CONNECT {
            return Err(Refusal::Connect);
        }
        if request.headers().len() > self.limits.header_fields {
            return Err(Refusal::TooManyFields);
        }
        if peer.protocol == Protocol::Http1 {
            return Ok(());
        }
        check_fields(request.headers())?;
        if request.uri().path().is_empty() && request.method() != Method::OPTIONS {
            return Err(Refusal::Target);
        }
        check_authority(request)
    }

    fn refuse(&self, peer: Peer, refusal: Refusal) -> Response<Body> {
        self.metrics.refused(refusal);
        let status = refusal.status();
        let kind = match status.as_u16() {
            413 | 414 | 431 => ProblemType::TooLarge,
            _ => ProblemType::MalformedRequest,
        };
        let id = self.ids.begin(None).request_id();
        let problem = Problem::new(kind, refusal.detail()).status(status);
        let mut response = problem.into_response(&id);
        let headers = response.headers_mut();
        if let Ok(id) = HeaderValue::from_str(&id) {
            headers.insert("hexpop-request-id", id);
        }
        if peer.protocol == Protocol::Http1 {
            headers.insert(header::CONNECTION, HeaderValue::from_static("close"));
        }
        response
    }
}

/// RFC 9113 §8.2.2, RFC 9114 §4.2: fields that are about a connection make a request malformed.
fn check_fields(headers: &HeaderMap) -> Result<(), Refusal> {
    let wrong_te = headers.get_all(header::TE).iter().any(|te| te != "trailers");
    if wrong_te || CONNECTION_FIELDS.iter().any(|name| headers.contains_key(name)) {
        return Err(Refusal::ConnectionField);
    }
    let mut lengths = headers.get_all(header::CONTENT_LENGTH).iter();
    let is_number = |length: &HeaderValue| {
        !length.is_empty() && length.as_bytes().iter().all(u8::is_ascii_digit)
    };
    match (lengths.next(), lengths.next()) {
        (None, _) => Ok(()),
        (Some(one), None) if is_number(one) => Ok(()),
        _ => Err(Refusal::ContentLength),
    }
}

/// RFC 9113 §8.3.1, RFC 9114 §4.3.1: one authority, in the pseudo-header, in `Host`, or the same in both.
fn check_authority(request: &Request<RequestBody>) -> Result<(), Refusal> {
    let mut hosts = request.headers().get_all(header::HOST).iter();
    let (host, second) = (hosts.next(), hosts.next());
    let authority = request.uri().authority().map(http::uri::Authority::as_str);
    let one = match (authority, host, second) {
        (_, _, Some(_)) | (None, None, _) => return Err(Refusal::Host),
        (Some(authority), None, _) => authority.as_bytes(),
        (None, Some(host), _) => host.as_bytes(),
        (Some(authority), Some(host), _)
            if authority.as_bytes().eq_ignore_ascii_case(host.as_bytes()) =>
        {
            authority.as_bytes()
        }
        (Some(_), Some(_), _) => return Err(Refusal::Host),
    };
    if super::framing::is_authority(one) { Ok(()) } else { Err(Refusal::Host) }
}

/// The requests of one HTTP/1.1 or HTTP/2 connection, as hyper hands them over.
#[derive(Debug)]
pub(super) struct Requests<H> {
    pub(super) port: Arc<Port<H>>,
    pub(super) peer: Peer,
    pub(super) activity: Arc<Activity>,
    /// Of HTTP/1.1: what the guard refuses, and what is written before an answer.
    pub(super) guarded: Option<(Arc<Verdict>, Arc<Heads>)>,
    pub(super) count: AtomicU64,
}

impl<H: Handler> Requests<H> {
    /// The answer to the next request.
    pub(super) fn next(
        &self,
        request: Request<Incoming>,
    ) -> impl Future<Output = Result<Response<Answer>, std::convert::Infallible>> + Send + use<H>
    {
        let (port, activity) = (Arc::clone(&self.port), Arc::clone(&self.activity));
        let (peer, guarded) = (self.peer, self.guarded.clone());
        // In the order of the connection, in which the guard counts too.
        let number = self.count.fetch_add(1, Relaxed) + 1;
        async move {
            let mut request = request.map(RequestBody::from);
            let Some((verdict, heads)) = guarded else {
                return Ok(port.answer(peer, &activity, request, || None).await);
            };
            // RFC 9110 §15.2: not to a client of HTTP/1.0.
            if port.http1_interims && request.version() == Version::HTTP_11 {
                request.extensions_mut().insert(heads.open(number));
            }
            let response = port.answer(peer, &activity, request, || verdict.of(number)).await;
            heads.close().await;
            Ok(response)
        }
    }
}
