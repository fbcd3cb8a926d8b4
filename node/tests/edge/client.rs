//! Clients: raw bytes, HTTP/1.1 and HTTP/2, in clear and over TLS.

use std::{net::SocketAddr, sync::Arc};

use bytes::Bytes;
use http::{HeaderMap, Request, Response};
use http_body_util::{BodyExt as _, Full};
use hyper::client::conn::{http1, http2};
use hyper_util::rt::{TokioExecutor, TokioIo};
use rustls::{ClientConfig, RootCertStore};
use rustls_pki_types::{CertificateDer, ServerName, pem::PemObject as _};
use tokio::{
    io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _},
    net::TcpStream,
};
use tokio_rustls::{TlsConnector, client::TlsStream};

use crate::edge::{Edge, within};

/// Sends these bytes and reads to the end of the connection.
pub(crate) async fn raw(address: SocketAddr, bytes: &[u8]) -> String {
    let mut tcp = TcpStream::connect(address).await.unwrap();
    // The other side may have seen enough before it has read everything.
    let _enough = tcp.write_all(bytes).await;
    read_to_end(&mut tcp).await
}

pub(crate) async fn read_to_end(stream: &mut (impl AsyncRead + Unpin)) -> String {
    let mut all = Vec::new();
    // Who was refused in the middle of what it sent may be reset after the answer.
    let _reset = within("the end of the connection", stream.read_to_end(&mut all)).await;
    String::from_utf8(all).unwrap()
}

/// Reads until the text ends in this.
pub(crate) async fn read_until(stream: &mut (impl AsyncRead + Unpin), end: &str) -> String {
    let mut all = Vec::new();
    within(end, async {
        while !all.ends_with(end.as_bytes()) {
            all.push(stream.read_u8().await.unwrap());
        }
    })
    .await;
    String::from_utf8(all).unwrap()
}

/// The statuses of the answers in a text, in their order.
pub(crate) fn statuses(text: &str) -> Vec<u16> {
    let after = text.split("HTTP/1.1 ").skip(1);
    after.map(|answer| answer.get(..3).unwrap().parse().unwrap()).collect()
}

/// A client's TLS that trusts the edge's authority.
pub(crate) fn tls(
    edge: &Edge,
    alpn: &[&str],
    versions: &[&'static rustls::SupportedProtocolVersion],
) -> Arc<ClientConfig> {
    let mut roots = RootCertStore::empty();
    roots.add(CertificateDer::from_pem_file(edge.files.ca()).unwrap()).unwrap();
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let mut config = ClientConfig::builder_with_provider(provider)
        .with_protocol_versions(versions)
        .unwrap()
        .with_root_certificates(roots)
        .with_no_client_auth();
    config.alpn_protocols = alpn.iter().map(|name| name.as_bytes().to_vec()).collect();
    Arc::new(config)
}

/// A TLS connection.
pub(crate) async fn connect(
    edge: &Edge,
    name: &str,
    config: Arc<ClientConfig>,
) -> std::io::Result<TlsStream<TcpStream>> {
    let tcp = TcpStream::connect(edge.secure).await.unwrap();
    let name = ServerName::try_from(name.to_owned()).unwrap();
    within("a handshake", TlsConnector::from(config).connect(name, tcp)).await
}

/// An HTTP/2 client of the edge over TLS.
pub(crate) async fn http2(edge: &Edge) -> Http2 {
    let config = tls(edge, &["h2"], rustls::ALL_VERSIONS);
    Http2::over(connect(edge, "localhost", config).await.unwrap()).await
}

/// An HTTP/2 connection.
#[derive(Clone)]
pub(crate) struct Http2 {
    pub(crate) sender: http2::SendRequest<Full<Bytes>>,
    pub(crate) closed: tokio_util::sync::CancellationToken,
}

impl Http2 {
    pub(crate) async fn over(stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static) -> Self {
        let mut builder = http2::Builder::new(TokioExecutor::new());
        // A client that holds little.
        builder.initial_stream_window_size(64 << 10).initial_connection_window_size(1 << 20);
        let (sender, connection) = builder.handshake(TokioIo::new(stream)).await.unwrap();
        let closed = tokio_util::sync::CancellationToken::new();
        let ended = closed.clone().drop_guard();
        tokio::spawn(async move {
            let _how = connection.await;
            drop(ended);
        });
        Self { sender, closed }
    }

    pub(crate) fn request(path: &str) -> http::request::Builder {
        Request::builder().uri(format!("https://localhost{path}"))
    }

    pub(crate) async fn send(
        &mut self,
        request: Request<Full<Bytes>>,
    ) -> hyper::Result<Response<hyper::body::Incoming>> {
        within("an answer", self.sender.send_request(request)).await
    }

    pub(crate) async fn get(&mut self, path: &str) -> (u16, HeaderMap, String) {
        let request = Self::request(path).body(Full::default()).unwrap();
        whole(self.send(request).await.unwrap()).await
    }
}

/// One request over HTTP/1.1.
pub(crate) async fn http1(
    stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static,
    path: &str,
) -> (u16, HeaderMap, String) {
    let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await.unwrap();
    tokio::spawn(connection);
    let request = Request::builder().uri(path).header("host", "localhost");
    let request = request.body(Full::<Bytes>::default()).unwrap();
    whole(within("an answer", sender.send_request(request)).await.unwrap()).await
}

async fn whole(response: Response<hyper::body::Incoming>) -> (u16, HeaderMap, String) {
    let (head, body) = response.into_parts();
    let body = within("a body", body.collect()).await.unwrap().to_bytes();
    (head.status.as_u16(), head.headers, String::from_utf8_lossy(&body).into_owned())
}
