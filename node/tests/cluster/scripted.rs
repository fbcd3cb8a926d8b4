//! An origin that answers as a test says, and remembers what it was asked.

use std::{
    collections::BTreeMap,
    convert::Infallible,
    net::SocketAddr,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::{SystemTime, UNIX_EPOCH},
};

use bytes::Bytes;
use futures::{StreamExt as _, future, stream};
use http::{HeaderMap, Method, Request, Response, StatusCode};
use http_body::Frame;
use http_body_util::{BodyExt as _, Full, StreamBody, combinators::UnsyncBoxBody};
use hyper::{body::Incoming, service::service_fn};
use hyper_util::rt::TokioIo;
use jiff::{Timestamp, fmt::rfc2822::DateTimePrinter};
use tokio::{net::TcpListener, sync::watch};

use crate::client::RUNTIME;

/// What the origin answers under one path.
#[derive(Debug, Clone, Default)]
pub(crate) struct Reply {
    pub(crate) status: u16,
    pub(crate) headers: Vec<(String, String)>,
    pub(crate) body: String,
    /// The answer waits until the gate is opened.
    pub(crate) gated: bool,
    /// The body stops after what it has, and never ends.
    pub(crate) stalls: bool,
    /// So many zeros follow the body.
    pub(crate) zeros: u64,
    /// The length is not told.
    pub(crate) chunked: bool,
}

impl Reply {
    /// An answer. `date:SECONDS` as a value is the date so many seconds from now.
    pub(crate) fn new(status: u16, headers: &[(&str, &str)], body: &str) -> Self {
        let value = |value: &str| match value.strip_prefix("date:") {
            Some(offset) => http_date(offset.parse().unwrap()),
            None => value.to_owned(),
        };
        let headers =
            headers.iter().map(|(name, text)| ((*name).to_owned(), value(text))).collect();
        Self { status, headers, body: body.to_owned(), ..Self::default() }
    }
}

/// The date so many seconds from now.
pub(crate) fn http_date(offset: i64) -> String {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs();
    let at = Timestamp::from_second(i64::try_from(now).unwrap() + offset).unwrap();
    DateTimePrinter::new().timestamp_to_rfc9110_string(&at).unwrap()
}

/// A request as the origin got it.
#[derive(Debug, Clone)]
pub(crate) struct Seen {
    pub(crate) method: Method,
    pub(crate) headers: HeaderMap,
}

#[derive(Debug, Default)]
struct Script {
    replies: BTreeMap<String, Reply>,
    seen: BTreeMap<String, Vec<Seen>>,
}

/// The origin. It lives as long as this process.
#[derive(Debug)]
pub(crate) struct Scripted {
    address: SocketAddr,
    script: Arc<Mutex<Script>>,
    gate: watch::Sender<bool>,
}

impl Scripted {
    pub(crate) fn start() -> Self {
        let listener = RUNTIME.block_on(TcpListener::bind("127.0.0.1:0")).unwrap();
        let address = listener.local_addr().unwrap();
        let script: Arc<Mutex<Script>> = Arc::default();
        let gate = watch::Sender::new(false);
        let (shared, opened) = (Arc::clone(&script), gate.subscribe());
        RUNTIME.spawn(async move {
            while let Ok((stream, _peer)) = listener.accept().await {
                let (script, gate) = (Arc::clone(&shared), opened.clone());
                let service =
                    service_fn(move |request| answer(script.clone(), gate.clone(), request));
                let connection = hyper::server::conn::http1::Builder::new()
                    .serve_connection(TokioIo::new(stream), service);
                tokio::spawn(async move {
                    // A connection that breaks is the node's business.
                    connection.await.ok();
                });
            }
        });
        Self { address, script, gate }
    }

    pub(crate) fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    fn script(&self) -> MutexGuard<'_, Script> {
        self.script.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// From now on this is answered under a path.
    pub(crate) fn answers(&self, path: &str, reply: Reply) {
        self.script().replies.insert(path.to_owned(), reply);
    }

    /// What was asked under a path.
    pub(crate) fn seen(&self, path: &str) -> Vec<Seen> {
        self.script().seen.get(path).cloned().unwrap_or_default()
    }

    /// Lets gated answers go, or holds them.
    pub(crate) fn open(&self, open: bool) {
        self.gate.send_replace(open);
    }
}

type Body = UnsyncBoxBody<Bytes, Infallible>;

static ZEROS: [u8; 64 << 10] = [0; 64 << 10];

async fn answer(
    script: Arc<Mutex<Script>>,
    mut gate: watch::Receiver<bool>,
    request: Request<Incoming>,
) -> Result<Response<Body>, Infallible> {
    let (parts, body) = request.into_parts();
    body.collect().await.ok();
    let path = parts.uri.path().to_owned();
    let reply = {
        let mut script = script.lock().unwrap_or_else(PoisonError::into_inner);
        let seen = Seen { method: parts.method, headers: parts.headers };
        script.seen.entry(path.clone()).or_default().push(seen);
        script.replies.get(&path).cloned().unwrap_or_else(|| Reply::new(404, &[], "no such path"))
    };
    if reply.gated {
        gate.wait_for(|open| *open).await.ok();
    }
    let text = Bytes::from(reply.body);
    let length = text.len();
    let body = if reply.stalls {
        let first = stream::once(future::ready(Ok(Frame::data(text))));
        StreamBody::new(first.chain(stream::pending())).boxed_unsync()
    } else if reply.zeros > 0 {
        let mut left = reply.zeros;
        let zeros = std::iter::from_fn(move || {
            let bytes = left.min(ZEROS.len() as u64);
            left -= bytes;
            let piece = ZEROS.get(..usize::try_from(bytes).unwrap()).filter(|p| !p.is_empty())?;
            Some(Ok(Frame::data(Bytes::from_static(piece))))
        });
        StreamBody::new(stream::iter(zeros)).boxed_unsync()
    } else {
        Full::new(text).boxed_unsync()
    };
    let mut response = Response::new(body);
    *response.status_mut() = StatusCode::from_u16(reply.status).unwrap();
    let stated = reply.headers.iter().any(|(name, _value)| name == "content-length");
    if reply.stalls && !stated {
        response.headers_mut().insert("content-length", (length + 10).into());
    }
    if reply.zeros > 0 && !reply.chunked {
        response.headers_mut().insert("content-length", reply.zeros.into());
    }
    for (name, value) in reply.headers {
        let name: http::HeaderName = name.parse().unwrap();
        response.headers_mut().append(name, value.parse().unwrap());
    }
    Ok(response)
}
