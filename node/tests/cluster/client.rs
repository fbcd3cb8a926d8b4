//! A blocking HTTP client.

use std::{
    io::{Read as _, Write as _},
    net::TcpStream,
    path::Path,
    sync::{Arc, LazyLock},
    time::Duration,
};

use bytes::Bytes;
use http::{HeaderMap, Method, Request};
use http_body_util::{BodyExt as _, Full};
use hyper_util::{
    client::legacy::{Client, connect::HttpConnector},
    rt::TokioExecutor,
};
use rustls::{ClientConfig, RootCertStore};
use rustls_pki_types::{CertificateDer, ServerName, pem::PemObject as _};
use serde_json::Value;
use tokio::runtime::Runtime;
use tokio_rustls::TlsConnector;

/// How long an answer may take: above every deadline inside the mesh.
const DEADLINE: Duration = Duration::from_secs(30);

/// One worker that lives as long as this process: children are started on it, since a child that
/// dies with its parent dies with the thread that started it.
pub(crate) static RUNTIME: LazyLock<Runtime> = LazyLock::new(|| {
    tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap()
});

static CLIENT: LazyLock<Client<HttpConnector, Full<Bytes>>> =
    LazyLock::new(|| Client::builder(TokioExecutor::new()).build_http());

/// An answer, read whole.
#[derive(Debug, Clone)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) headers: HeaderMap,
    pub(crate) body: Bytes,
}

impl Answer {
    pub(crate) fn header(&self, name: &str) -> &str {
        self.headers.get(name).map_or("", |value| value.to_str().unwrap())
    }

    /// The body as JSON.
    #[track_caller]
    pub(crate) fn json(&self) -> Value {
        serde_json::from_slice(&self.body)
            .unwrap_or_else(|error| panic!("{error}: {} {}", self.status, self.text()))
    }

    pub(crate) fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }

    /// The answer itself if it has this status.
    #[track_caller]
    pub(crate) fn expect(self, status: u16) -> Self {
        assert_eq!(self.status, status, "{}", self.text());
        self
    }

    /// Checks that this is a problem of RFC 9457 with this status; gives its body.
    #[track_caller]
    pub(crate) fn problem(&self, status: u16) -> Value {
        assert_eq!(self.status, status, "{}", self.text());
        assert_eq!(self.header("content-type"), "application/problem+json", "{}", self.text());
        let problem = self.json();
        assert_eq!(problem["status"], status, "{problem}");
        let kind = problem["type"].as_str().unwrap();
        assert!(kind.starts_with("urn:hexpop:problem:"), "{problem}");
        assert!(problem["title"].is_string(), "{problem}");
        problem
    }
}

/// Sends one request; an error when no whole answer came.
pub(crate) fn send(
    method: &str,
    url: &str,
    headers: &[(&str, &str)],
    body: impl Into<Bytes>,
) -> Result<Answer, String> {
    let mut request =
        Request::builder().method(method.parse::<Method>().unwrap()).uri(url.to_owned());
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    let request = request.body(Full::new(body.into())).unwrap();
    RUNTIME.block_on(async {
        let exchange = async {
            let response = CLIENT.request(request).await.map_err(|error| format!("{error:?}"))?;
            let (head, body) = response.into_parts();
            let body = body.collect().await.map_err(|error| format!("{error:?}"))?.to_bytes();
            Ok(Answer { status: head.status.as_u16(), headers: head.headers, body })
        };
        tokio::time::timeout(DEADLINE, exchange)
            .await
            .unwrap_or_else(|_elapsed| Err(format!("no answer within {DEADLINE:?}")))
    })
}

/// `GET` over TLS, HTTP/1.1, on a connection of its own; the answer and the server's certificate.
pub(crate) fn secure_get(
    base: &str,
    ca: &Path,
    path: &str,
) -> Result<(Answer, CertificateDer<'static>), String> {
    let mut roots = RootCertStore::empty();
    roots.add(CertificateDer::from_pem_file(ca).unwrap()).unwrap();
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_root_certificates(roots)
        .with_no_client_auth();
    let authority = base.trim_start_matches("https://").to_owned();
    let request = Request::get(path).header("host", &authority).body(Full::<Bytes>::default());
    let exchange = async {
        let tcp = tokio::net::TcpStream::connect(&authority).await.map_err(|e| e.to_string())?;
        let name = ServerName::try_from("localhost").unwrap();
        let connector = TlsConnector::from(Arc::new(config));
        let stream = connector.connect(name, tcp).await.map_err(|error| error.to_string())?;
        let certificate = stream.get_ref().1.peer_certificates().unwrap()[0].clone();
        let io = hyper_util::rt::TokioIo::new(stream);
        let (mut sender, connection) =
            hyper::client::conn::http1::handshake(io).await.map_err(|error| error.to_string())?;
        tokio::spawn(connection);
        let response =
            sender.send_request(request.unwrap()).await.map_err(|error| error.to_string())?;
        let (head, body) = response.into_parts();
        let body = body.collect().await.map_err(|error| error.to_string())?.to_bytes();
        let answer = Answer { status: head.status.as_u16(), headers: head.headers, body };
        Ok((answer, certificate))
    };
    RUNTIME
        .block_on(async { tokio::time::timeout(DEADLINE, exchange).await })
        .unwrap_or_else(|_elapsed| Err(format!("no answer within {DEADLINE:?}")))
}

/// `GET`.
pub(crate) fn get(url: &str) -> Result<Answer, String> {
    send("GET", url, &[], Bytes::new())
}

/// An unsafe request with a JSON body.
pub(crate) fn send_json(method: &str, url: &str, body: &Value) -> Result<Answer, String> {
    send(method, url, &[("content-type", "application/json")], body.to_string())
}

/// Sends these very bytes on a connection of their own; the status of what comes back.
pub(crate) fn raw(base: &str, bytes: &str) -> u16 {
    let mut connection = TcpStream::connect(base.trim_start_matches("http://")).unwrap();
    connection.set_read_timeout(Some(DEADLINE)).unwrap();
    // The other side may have seen enough, and closed, before it has read everything.
    let _enough = connection.write_all(bytes.as_bytes());
    let mut answer = Vec::new();
    let mut piece = [0; 4_096];
    while let Ok(count @ 1..) = connection.read(&mut piece) {
        answer.extend_from_slice(&piece[..count]);
    }
    let answer = String::from_utf8_lossy(&answer);
    let status = answer.split(' ').nth(1).and_then(|status| status.parse().ok());
    status.unwrap_or_else(|| panic!("no status: {answer:?}"))
}
