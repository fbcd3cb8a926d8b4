//! TLS: protocols, names, versions, certificates that change, deadlines.

use std::time::Duration;

use hexpop_edge_config::config::TlsVersion;
use rustls::version::{TLS12, TLS13};
use tokio::net::TcpStream;

use crate::{
    client::{connect, http1, http2, read_to_end, tls},
    edge::{Edge, Start, limits, until},
};

#[tokio::test]
async fn client_and_server_agree_on_the_protocol() {
    let edge = Edge::start().await;
    let (status, headers, body) = http2(&edge).await.get("/x").await;
    assert_eq!(status, 200);
    assert!(body.starts_with("GET /x h2 https 127.0.0.1:"), "{body}");
    let offered = format!("h3=\":{}\"; ma=86400", edge.secure.port());
    assert_eq!(headers["alt-svc"], offered);
    for alpn in [&["http/1.1"][..], &[]] {
        let stream = connect(&edge, "localhost", tls(&edge, alpn, &[&TLS13])).await.unwrap();
        let (status, headers, body) = http1(stream, "/x").await;
        assert_eq!(status, 200);
        assert!(body.starts_with("GET /x http/1.1 https 127.0.0.1:"), "{body}");
        assert_eq!(headers["alt-svc"], offered);
    }
    let (_status, headers, body) = http1(TcpStream::connect(edge.clear).await.unwrap(), "/").await;
    assert!(body.starts_with("GET / http/1.1 http "), "{body}");
    assert!(!headers.contains_key("alt-svc"));
    let other = connect(&edge, "localhost", tls(&edge, &["spdy"], &[&TLS13])).await;
    assert!(other.is_err(), "no protocol in common");
    assert_eq!(edge.metric("hexpop_http_connections_total", Some("h2")), 1);
    assert_eq!(edge.metric("hexpop_http_connections_total", Some("http/1.1")), 3);
    until("the failure is counted", || {
        edge.metric("hexpop_tls_handshakes_failed_total", Some("tls")) == 1
    })
    .await;
    edge.end().await;
}

#[tokio::test]
async fn the_name_chooses_the_certificate_and_the_first_is_for_all_others() {
    let edge = Edge::start().await;
    let config = tls(&edge, &[], &[&TLS13]);
    // The client checks that the certificate is for the name it asked for.
    for known in ["a.example", "A.Example", "b.example", "x.b.example"] {
        assert!(connect(&edge, known, config.clone()).await.is_ok(), "{known}");
    }
    // An address is not sent as a name (RFC 6066 §3): the first certificate has it.
    assert!(connect(&edge, "127.0.0.1", config.clone()).await.is_ok());
    for unknown in ["c.example", "x.y.b.example", "x.a.example"] {
        let error = connect(&edge, unknown, config.clone()).await.unwrap_err().to_string();
        assert!(error.contains("a.example"), "{unknown} gets the first: {error}");
    }
    edge.end().await;
}

#[tokio::test]
async fn the_older_version_is_spoken_when_it_is_configured() {
    for (oldest, is_spoken) in [(TlsVersion::V13, false), (TlsVersion::V12, true)] {
        let edge = Edge::with(Start { oldest, ..Start::default() }).await;
        let stream = connect(&edge, "localhost", tls(&edge, &["http/1.1"], &[&TLS12])).await;
        assert_eq!(stream.is_ok(), is_spoken, "{oldest:?}");
        if let Ok(stream) = stream {
            assert_eq!(http1(stream, "/").await.0, 200);
        }
        edge.end().await;
    }
}

#[tokio::test]
async fn certificates_change_under_running_connections() {
    let edge = Edge::start().await;
    let mut before = http2(&edge).await;
    assert_eq!(before.get("/").await.0, 200);
    edge.show(&[edge.files.issue("c", &["c.example"])]);
    let config = tls(&edge, &[], &[&TLS13]);
    assert!(connect(&edge, "c.example", config.clone()).await.is_ok());
    assert!(connect(&edge, "a.example", config).await.is_err());
    assert_eq!(before.get("/").await.0, 200, "who is connected stays so");
    edge.end().await;
}

#[tokio::test]
async fn who_does_not_shake_hands_is_let_go() {
    let handshake_timeout = Duration::from_secs(1);
    let limits =
        hexpop_node::http::server::ServerLimits { handshake_timeout, handshakes: 1, ..limits() };
    let edge = Edge::with(Start { limits, ..Start::default() }).await;
    // One that takes the only place, and one that waits for it.
    let mut silent = TcpStream::connect(edge.secure).await.unwrap();
    let mut second = TcpStream::connect(edge.secure).await.unwrap();
    assert_eq!(read_to_end(&mut silent).await, "");
    assert_eq!(read_to_end(&mut second).await, "");
    until("both are counted", || {
        edge.metric("hexpop_tls_handshakes_failed_total", Some("timeout")) == 2
    })
    .await;
    assert_eq!(http2(&edge).await.get("/").await.0, 200);
    edge.end().await;
}
