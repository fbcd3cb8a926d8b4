//! PROXY protocol: who the client is, as a load balancer says.

use tokio::{io::AsyncWriteExt as _, net::TcpStream};

use crate::{
    client::{http1, raw, read_to_end, tls},
    edge::{Edge, Start, until},
};

/// A header that says that the client is 192.0.2.7, port 12345.
fn header() -> Vec<u8> {
    let mut bytes = b"\r\n\r\n\0\r\nQUIT\n\x21\x11\0\x0c".to_vec();
    bytes.extend([192, 0, 2, 7, 127, 0, 0, 1, 0x30, 0x39, 0x01, 0xbb]);
    bytes
}

#[tokio::test]
async fn a_trusted_load_balancer_says_who_the_client_is() {
    let proxies = vec!["127.0.0.0/8".parse().unwrap()];
    let edge = Edge::with(Start { proxies, ..Start::default() }).await;
    let mut tcp = TcpStream::connect(edge.clear).await.unwrap();
    tcp.write_all(&header()).await.unwrap();
    assert!(http1(tcp, "/").await.2.ends_with("http 192.0.2.7:12345"));
    let mut tcp = TcpStream::connect(edge.secure).await.unwrap();
    tcp.write_all(&header()).await.unwrap();
    let config = tls(&edge, &["http/1.1"], rustls::ALL_VERSIONS);
    let name = "localhost".try_into().unwrap();
    let stream = tokio_rustls::TlsConnector::from(config).connect(name, tcp).await.unwrap();
    assert!(http1(stream, "/").await.2.ends_with("https 192.0.2.7:12345"));
    // It must say so.
    let mut without = TcpStream::connect(edge.clear).await.unwrap();
    without.write_all(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n").await.unwrap();
    assert_eq!(read_to_end(&mut without).await, "");
    until("it is counted", || {
        edge.metric("hexpop_tls_handshakes_failed_total", Some("proxy-header")) == 1
    })
    .await;
    edge.end().await;
}

#[tokio::test]
async fn from_anybody_else_it_is_no_request() {
    let proxies = vec!["10.0.0.0/8".parse().unwrap()];
    let edge = Edge::with(Start { proxies, ..Start::default() }).await;
    let answer =
        raw(edge.clear, &[header(), b"GET / HTTP/1.1\r\nHost: a\r\n\r\n".to_vec()].concat()).await;
    assert!(answer.starts_with("HTTP/1.1 400 "), "{answer}");
    let tcp = TcpStream::connect(edge.clear).await.unwrap();
    assert!(http1(tcp, "/").await.2.contains("http 127.0.0.1:"));
    edge.end().await;
}
