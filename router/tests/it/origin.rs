//! Origins for tests.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::Duration,
};

use bytes::Bytes;
use futures::future::BoxFuture;
use hexpop_router::{Body, Client, Interim, InterimSink, Origin, OriginError, full};
use http::{HeaderMap, Method, Request, Response, StatusCode};
use http_body_util::BodyExt;
use parking_lot::Mutex;
use tokio::sync::Semaphore;

/// A request that an origin got.
#[derive(Debug, Clone)]
pub(crate) struct Got {
    pub(crate) method: Method,
    pub(crate) target: String,
    pub(crate) headers: HeaderMap,
    pub(crate) body: Bytes,
}

type Answer = Box<dyn Fn(&Got) -> Response<Body> + Send + Sync>;

/// An origin that answers as a function says, holds answers back while its gate is shut, and can
/// be down.
pub(crate) struct TestOrigin {
    answer: Mutex<Arc<Answer>>,
    pub(crate) got: Mutex<Vec<Got>>,
    pub(crate) count: AtomicU64,
    pub(crate) down: AtomicBool,
    gate: Semaphore,
    /// What it says before each answer.
    pub(crate) hints: Mutex<Vec<Interim>>,
}

impl TestOrigin {
    pub(crate) fn new(
        answer: impl Fn(&Got) -> Response<Body> + Send + Sync + 'static,
    ) -> Arc<Self> {
        let origin = Self::shut(answer);
        origin.open();
        origin
    }

    /// One whose answers wait until it is opened.
    pub(crate) fn shut(
        answer: impl Fn(&Got) -> Response<Body> + Send + Sync + 'static,
    ) -> Arc<Self> {
        Arc::new(Self {
            answer: Mutex::new(Arc::new(Box::new(answer))),
            got: Mutex::default(),
            count: AtomicU64::new(0),
            down: AtomicBool::new(false),
            gate: Semaphore::new(0),
            hints: Mutex::default(),
        })
    }

    /// One that has nothing.
    pub(crate) fn none() -> Arc<Self> {
        Self::new(|_| respond(404, &[], "no"))
    }

    /// One that cannot be reached.
    pub(crate) fn unreachable() -> Arc<Self> {
        let origin = Self::none();
        origin.down.store(true, Ordering::Relaxed);
        origin
    }

    pub(crate) fn open(&self) {
        self.gate.add_permits(1_000_000);
    }

    /// Lets answers wait again.
    pub(crate) fn shut_again(&self) {
        self.gate.forget_permits(self.gate.available_permits());
    }

    pub(crate) fn set(&self, answer: impl Fn(&Got) -> Response<Body> + Send + Sync + 'static) {
        *self.answer.lock() = Arc::new(Box::new(answer));
    }

    pub(crate) fn count(&self) -> u64 {
        self.count.load(Ordering::Relaxed)
    }

    pub(crate) fn last(&self) -> Got {
        self.got.lock().last().unwrap().clone()
    }
}

/// The port, which has to be owned by an `Arc` of its own.
pub(crate) struct Port(pub(crate) Arc<TestOrigin>);

impl Origin for Port {
    fn fetch(
        &self,
        request: Request<Body>,
        _deadline: Duration,
    ) -> BoxFuture<'static, Result<Response<Body>, OriginError>> {
        let origin = Arc::clone(&self.0);
        Box::pin(async move {
            if origin.down.load(Ordering::Relaxed) {
                return Err(OriginError::NotSent("connection refused".to_owned()));
            }
            let (parts, body) = request.into_parts();
            let body = body
                .collect()
                .await
                .map_err(|error| OriginError::Broken(error.to_string()))?
                .to_bytes();
            let (method, headers) = (parts.method, parts.headers);
            let got = Got { method, target: parts.uri.to_string(), headers, body };
            origin.count.fetch_add(1, Ordering::Relaxed);
            origin.got.lock().push(got.clone());
            if let Some(sink) = parts.extensions.get::<InterimSink>() {
                origin.hints.lock().iter().cloned().for_each(|hint| sink.send(hint));
            }
            let permit = origin.gate.acquire().await;
            drop(permit);
            let answer = Arc::clone(&origin.answer.lock());
            Ok(answer(&got))
        })
    }
}

pub(crate) fn port(origin: &Arc<TestOrigin>) -> Arc<dyn Origin> {
    Arc::new(Port(Arc::clone(origin)))
}

pub(crate) fn respond(status: u16, headers: &[(&str, &str)], body: &str) -> Response<Body> {
    let mut response = Response::new(full(Bytes::copy_from_slice(body.as_bytes())));
    *response.status_mut() = StatusCode::from_u16(status).unwrap();
    for (name, value) in headers {
        let name = http::HeaderName::from_bytes(name.as_bytes()).unwrap();
        response.headers_mut().append(name, value.parse().unwrap());
    }
    response
}

pub(crate) fn client() -> Client {
    Client {
        address: "10.1.2.3".parse().unwrap(),
        scheme: "http",
        authority: "www.example.com".to_owned(),
    }
}

pub(crate) fn request(method: &str, target: &str, headers: &[(&str, &str)]) -> Request<Body> {
    let mut request = Request::new(hexpop_router::empty());
    *request.method_mut() = method.parse().unwrap();
    *request.uri_mut() = target.parse().unwrap();
    for (name, value) in headers {
        let name = http::HeaderName::from_bytes(name.as_bytes()).unwrap();
        request.headers_mut().append(name, value.parse().unwrap());
    }
    request
}

/// Status, `Cache-Status` and body of a response.
pub(crate) async fn seen(response: Response<Body>) -> (u16, String, String) {
    let status = response.status().as_u16();
    let header = response.headers().get("cache-status");
    let cache_status = header.map(|value| value.to_str().unwrap().to_owned()).unwrap_or_default();
    let body = response.into_body().collect().await.unwrap().to_bytes();
    (status, cache_status, String::from_utf8(body.to_vec()).unwrap())
}
