//! A port with a handler of its own, and where it listens.

use std::{
    net::SocketAddr,
    path::PathBuf,
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering::SeqCst},
    },
    task::{Context, Poll},
    time::Duration,
};

use arc_swap::ArcSwapOption;
use bytes::Bytes;
use hexpop_edge_config::{
    Network,
    config::{Tls, TlsCertificate, TlsVersion},
};
use hexpop_node::{
    certs,
    http::{
        body::{Body, BodyError, full},
        server::{
            self, Certificates, ConnectionMetrics, Handler, Http3Listener, Listener, Peer, Port,
            RequestBody, Secure, ServerLimits,
        },
    },
};
use hexpop_router::{Interim, InterimSink};
use http::{HeaderMap, Request, Response, StatusCode};
use http_body::{Body as HttpBody, Frame};
use http_body_util::BodyExt as _;
use prometheus::Registry;
use tokio::{net::TcpListener, sync::Notify, task::JoinSet};
use tokio_util::sync::CancellationToken;

/// How long anything may take that happens by itself, on a loaded machine.
pub(crate) const PATIENCE: Duration = Duration::from_secs(30);

/// Waits, but not for ever.
pub(crate) async fn within<T>(what: &str, future: impl Future<Output = T>) -> T {
    match tokio::time::timeout(PATIENCE, future).await {
        Ok(done) => done,
        Err(_elapsed) => panic!("{what} did not happen within {PATIENCE:?}"),
    }
}

/// Waits until something holds.
pub(crate) async fn until(what: &str, mut holds: impl FnMut() -> bool) {
    within(what, async {
        while !holds() {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    })
    .await;
}

pub(crate) fn limits() -> ServerLimits {
    ServerLimits {
        header_timeout: PATIENCE,
        client_idle: PATIENCE,
        header_bytes: 8 << 10,
        header_fields: 32,
        connections: 64,
        streams: 16,
        handshake_timeout: PATIENCE,
        handshakes: 8,
        drain: PATIENCE,
    }
}

/// What a test may ask for, and what it sees of it.
#[derive(Debug, Default)]
pub(crate) struct Answers {
    /// Bodies of `/endless` that were begun.
    pub(crate) begun: AtomicU64,
    /// Those of them that were dropped.
    pub(crate) dropped: AtomicU64,
    /// Requests to `/hang` that were begun.
    pub(crate) hanging: AtomicU64,
    /// Lets all of them go on.
    pub(crate) go_on: Notify,
    /// How long the body of a request may pause.
    pub(crate) body_idle: Option<Duration>,
}

struct Endless(Arc<Answers>);

impl HttpBody for Endless {
    type Data = Bytes;
    type Error = BodyError;

    fn poll_frame(
        self: Pin<&mut Self>,
        _cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        Poll::Ready(Some(Ok(Frame::data(Bytes::from_static(&[b'x'; 8 << 10])))))
    }
}

impl Drop for Endless {
    fn drop(&mut self) {
        self.0.dropped.fetch_add(1, SeqCst);
    }
}

impl Handler for Answers {
    async fn handle(self: Arc<Self>, peer: Peer, request: Request<RequestBody>) -> Response<Body> {
        let query = request.uri().query().unwrap_or_default().to_owned();
        match request.uri().path() {
            "/echo" => {
                let idle = self.body_idle.unwrap_or(PATIENCE);
                match request.into_body().idle_after(idle).collect().await {
                    Ok(body) => {
                        let trailers = body.trailers().cloned();
                        let mut response = Response::new(full(body.to_bytes()));
                        if let Some(sum) = trailers.and_then(|all| all.get("x-sum").cloned()) {
                            response.headers_mut().insert("x-sum", sum);
                        }
                        response
                    }
                    Err(error) => {
                        let mut response = Response::new(full(error.to_string()));
                        *response.status_mut() = StatusCode::BAD_GATEWAY;
                        response
                    }
                }
            }
            "/zeros" => Response::new(full(vec![0; query.parse().unwrap()])),
            "/endless" => {
                self.begun.fetch_add(1, SeqCst);
                Response::new(Endless(self).boxed_unsync())
            }
            "/long-hint" => {
                let sink = request.extensions().get::<InterimSink>();
                for link in ["</1>".to_owned(), format!("</{}>", "x".repeat(2_000))] {
                    let mut headers = HeaderMap::new();
                    headers.insert("link", link.parse().unwrap());
                    let status = StatusCode::EARLY_HINTS;
                    sink.iter().for_each(|sink| {
                        sink.send(Interim { status, headers: headers.clone() });
                    });
                }
                Response::new(full("after hints"))
            }
            path @ ("/hints" | "/hints-and-hang") => {
                let sink = request.extensions().get::<InterimSink>();
                for number in 1..=query.parse().unwrap() {
                    let (mut headers, status) = (HeaderMap::new(), StatusCode::EARLY_HINTS);
                    headers.insert("link", format!("</{number}>").parse().unwrap());
                    sink.iter()
                        .for_each(|sink| sink.send(Interim { status, headers: headers.clone() }));
                }
                if path == "/hints-and-hang" {
                    self.go_on.notified().await;
                }
                Response::new(full("after hints"))
            }
            "/hang" => {
                self.hanging.fetch_add(1, SeqCst);
                self.go_on.notified().await;
                Response::new(full("went on"))
            }
            path => {
                let method = request.method();
                let (protocol, scheme) = (peer.protocol.label(), peer.scheme());
                let from = peer.remote;
                Response::new(full(format!("{method} {path} {protocol} {scheme} {from}")))
            }
        }
    }
}

/// Files of a certificate.
#[derive(Debug, Clone)]
pub(crate) struct Files {
    pub(crate) dir: Arc<tempfile::TempDir>,
}

impl Files {
    pub(crate) fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        certs::init(dir.path(), &"test".parse().unwrap(), false).unwrap();
        Self { dir: Arc::new(dir) }
    }

    pub(crate) fn ca(&self) -> PathBuf {
        self.dir.path().join("ca.pem")
    }

    /// Makes a certificate, anew if there is one.
    pub(crate) fn issue(&self, file: &str, names: &[&str]) -> TlsCertificate {
        let names: Vec<String> = names.iter().map(ToString::to_string).collect();
        let dir = self.dir.path();
        let served = certs::issue_server(dir, dir, file, &names, 1, true).unwrap();
        TlsCertificate { cert: served.certificate, key: served.key }
    }
}

/// A port that listens.
pub(crate) struct Edge {
    pub(crate) clear: SocketAddr,
    pub(crate) secure: SocketAddr,
    pub(crate) http3: SocketAddr,
    pub(crate) answers: Arc<Answers>,
    pub(crate) files: Files,
    pub(crate) certificates: Arc<ArcSwapOption<Certificates>>,
    registry: Registry,
    pub(crate) stop: CancellationToken,
    servers: JoinSet<()>,
}

/// How to start one.
pub(crate) struct Start {
    pub(crate) limits: ServerLimits,
    pub(crate) oldest: TlsVersion,
    pub(crate) proxies: Vec<Network>,
    pub(crate) body_idle: Option<Duration>,
    pub(crate) http1_interims: bool,
}

impl Default for Start {
    fn default() -> Self {
        Self {
            limits: limits(),
            oldest: TlsVersion::V13,
            proxies: Vec::new(),
            body_idle: None,
            http1_interims: true,
        }
    }
}

impl Edge {
    pub(crate) async fn start() -> Self {
        Self::with(Start::default()).await
    }

    pub(crate) async fn with(start: Start) -> Self {
        let files = Files::new();
        let certificates = Arc::new(ArcSwapOption::empty());
        let tls = [
            files.issue("a", &["a.example", "localhost", "127.0.0.1"]),
            files.issue("b", &["b.example", "*.b.example"]),
        ];
        let registry = Registry::new();
        let answers = Arc::new(Answers { body_idle: start.body_idle, ..Answers::default() });
        let metrics = ConnectionMetrics::register(&registry).unwrap();
        let source = Arc::clone(&certificates);
        let secure = Secure::new(start.oldest, move || source.load_full()).unwrap();
        let (clear_tcp, secure_tcp) = (
            TcpListener::bind("127.0.0.1:0").await.unwrap(),
            TcpListener::bind("127.0.0.1:0").await.unwrap(),
        );
        let (clear, secure_address) =
            (clear_tcp.local_addr().unwrap(), secure_tcp.local_addr().unwrap());
        let port = Port::new(Arc::clone(&answers), start.limits, metrics, 7)
            .with_http1_interims(start.http1_interims)
            .offer_http3(secure_address.port());
        let port = Arc::new(port);
        let stop = CancellationToken::new();
        let mut servers = JoinSet::new();
        let proxies = start.proxies;
        let listener = Listener { tcp: clear_tcp, secure: None, proxies: proxies.clone() };
        servers.spawn(server::serve(listener, Arc::clone(&port), stop.clone()));
        // The port of the same number may be taken for UDP: clients of these tests are told where it is.
        let socket = std::net::UdpSocket::bind("127.0.0.1:0").unwrap();
        let http3 = socket.local_addr().unwrap();
        let listener = Http3Listener::new(socket, &secure, &start.limits).unwrap();
        servers.spawn(server::serve_http3(listener, Arc::clone(&port), stop.clone()));
        let listener = Listener { tcp: secure_tcp, secure: Some(secure), proxies };
        servers.spawn(server::serve(listener, port, stop.clone()));
        let edge = Self {
            clear,
            secure: secure_address,
            http3,
            answers,
            files,
            certificates,
            registry,
            stop,
            servers,
        };
        edge.show(&tls);
        edge
    }

    /// Shows these certificates from now on.
    pub(crate) fn show(&self, certificates: &[TlsCertificate]) {
        let tls = Tls { certificates: certificates.to_vec(), ..Tls::default() };
        self.certificates.store(Certificates::read(&tls).unwrap().map(Arc::new));
    }

    /// The value of a metric, of all labels if none is named.
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "counts of a test are small and not negative"
    )]
    pub(crate) fn metric(&self, name: &str, label: Option<&str>) -> u64 {
        let families = self.registry.gather();
        let family = families.iter().find(|family| family.name() == name);
        let metrics = family.into_iter().flat_map(|family| family.get_metric());
        metrics
            .filter(|metric| {
                label.is_none_or(|label| metric.get_label().iter().any(|one| one.value() == label))
            })
            .map(|metric| {
                (metric.get_counter().get_value() + metric.get_gauge().get_value()) as u64
            })
            .sum()
    }

    /// Ends it gracefully.
    pub(crate) async fn end(mut self) {
        self.stop.cancel();
        within("the port closes", async { while self.servers.join_next().await.is_some() {} })
            .await;
    }
}
