//! Why there is a guard in front of hyper: what hyper alone takes, and the guard does not.

use std::convert::Infallible;

use bytes::Bytes;
use http_body_util::Full;
use hyper::{server::conn::http1, service::service_fn};
use hyper_util::rt::TokioIo;
use tokio::net::TcpListener;

use crate::{
    client::{raw, statuses},
    edge::Edge,
};

#[tokio::test]
async fn hyper_alone_is_more_lenient_than_the_guard() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let bare = listener.local_addr().unwrap();
    let serving = tokio::spawn(async move {
        while let Ok((tcp, _remote)) = listener.accept().await {
            let service = service_fn(|_request: http::Request<hyper::body::Incoming>| async {
                Ok::<_, Infallible>(http::Response::new(Full::new(Bytes::from_static(b"taken"))))
            });
            tokio::spawn(http1::Builder::new().serve_connection(TokioIo::new(tcp), service));
        }
    });
    let edge = Edge::start().await;
    let end = "Connection: close\r\n\r\n";
    let mut taken = Vec::new();
    for (name, request) in [
        ("bare LF", format!("GET / HTTP/1.1\nHost: a\n{}", end.replace('\r', ""))),
        ("no Host", format!("GET / HTTP/1.1\r\n{end}")),
        ("two Hosts", format!("GET / HTTP/1.1\r\nHost: a\r\nHost: b\r\n{end}")),
        ("a Host that is none", format!("GET / HTTP/1.1\r\nHost: a/b@c\r\n{end}")),
        ("another Host than in the target", format!("GET http://b/ HTTP/1.1\r\nHost: a\r\n{end}")),
        (
            "both lengths",
            format!(
                "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\nTransfer-Encoding: chunked\r\n{end}0\r\n\r\n"
            ),
        ),
        (
            "a length twice",
            format!(
                "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\nContent-Length: 1\r\n{end}x"
            ),
        ),
        (
            "another coding",
            format!(
                "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: gzip, chunked\r\n{end}0\r\n\r\n"
            ),
        ),
        (
            "chunked twice",
            format!(
                "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked, chunked\r\n{end}0\r\n\r\n"
            ),
        ),
    ] {
        if statuses(&raw(bare, request.as_bytes()).await) == [200] {
            taken.push(name);
        }
        let status = statuses(&raw(edge.clear, request.as_bytes()).await);
        assert!(matches!(status[..], [400 | 501]), "{name}: {status:?}");
    }
    assert_eq!(
        taken,
        [
            "bare LF",
            "no Host",
            "two Hosts",
            "a Host that is none",
            "another Host than in the target",
            "both lengths",
            "a length twice",
            "another coding",
            "chunked twice",
        ],
        "if hyper refuses it by now, the guard need not"
    );
    serving.abort();
    edge.end().await;
}
