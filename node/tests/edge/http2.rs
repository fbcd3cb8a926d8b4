//! HTTP/2: limits, rapid resets, a graceful end, and prior knowledge in clear.

use std::sync::atomic::Ordering::SeqCst;

use bytes::Bytes;
use http::HeaderValue;
use http_body_util::{BodyExt as _, Full};
use tokio::net::TcpStream;

use crate::{
    client::{Http2, http2},
    edge::{Edge, until, within},
};

#[tokio::test]
async fn it_is_spoken_in_clear_by_those_who_know() {
    let edge = Edge::start().await;
    let mut client = Http2::over(TcpStream::connect(edge.clear).await.unwrap()).await;
    let request = http::Request::builder().uri("http://a.example/x").body(Full::default()).unwrap();
    assert_eq!(client.send(request).await.unwrap().status(), 200);
    assert_eq!(edge.metric("hexpop_http_connections", Some("h2")), 1);
    edge.end().await;
}

#[tokio::test]
async fn heads_are_bounded_and_must_name_one_authority() {
    let edge = Edge::start().await;
    let mut client = http2(&edge).await;
    let mut status = async |change: &dyn Fn(http::request::Builder) -> http::request::Builder| {
        let request = change(Http2::request("/x")).body(Full::<Bytes>::default()).unwrap();
        client.send(request).await.unwrap().status().as_u16()
    };
    let many = (0..40).map(|number| format!("x-{number}")).collect::<Vec<_>>();
    assert_eq!(
        status(&|request| many.iter().fold(request, |request, name| request.header(name, "a")))
            .await,
        431
    );
    let large = "a".repeat(110_000);
    assert_eq!(status(&|request| request.header("x", large.as_str())).await, 431);
    assert_eq!(status(&|request| request.header("host", "localhost")).await, 200);
    assert_eq!(status(&|request| request.header("host", "other")).await, 400);
    assert_eq!(status(&|request| request.header("x", "fine")).await, 200, "the connection goes on");
    assert_eq!(edge.metric("hexpop_http_requests_refused_total", Some("host")), 1);
    edge.end().await;
}

#[tokio::test]
async fn large_bodies_pass_both_ways() {
    let edge = Edge::start().await;
    let mut client = http2(&edge).await;
    let (status, headers, body) = client.get("/zeros?3000001").await;
    assert_eq!((status, body.len()), (200, 3_000_001));
    assert_eq!(headers["content-length"], HeaderValue::from(3_000_001));
    let sent = Bytes::from(vec![b'a'; 2_000_000]);
    let request = Http2::request("/echo").method("POST").body(Full::new(sent)).unwrap();
    let response = client.send(request).await.unwrap();
    assert_eq!(response.headers()["content-length"], HeaderValue::from(2_000_000));
    let echoed = within("the body", response.into_body().collect()).await.unwrap().to_bytes();
    assert!(echoed.len() == 2_000_000 && echoed.iter().all(|byte| *byte == b'a'));
    edge.end().await;
}

#[tokio::test]
async fn who_resets_most_of_its_requests_is_cut_off() {
    let edge = Edge::start().await;
    let client = http2(&edge).await;
    let mut sent = 0_u64;
    within("the end of the connection", async {
        while !client.closed.is_cancelled() && sent < 5_000 {
            let mut sender = client.sender.clone();
            let request = Http2::request("/hang").body(Full::<Bytes>::default()).unwrap();
            let answer = tokio::spawn(async move { sender.send_request(request).await.map(drop) });
            sent += 1;
            // Begun, and given up: the stream is reset.
            while edge.answers.hanging.load(SeqCst) < sent && !client.closed.is_cancelled() {
                tokio::task::yield_now().await;
            }
            answer.abort();
        }
        client.closed.cancelled().await;
    })
    .await;
    assert!(sent < 5_000, "{sent} requests were begun");
    assert_eq!(edge.metric("hexpop_http_connections_abused_total", None), 1);
    // Others are served as before.
    assert_eq!(http2(&edge).await.get("/").await.0, 200);
    edge.end().await;
}

#[tokio::test]
async fn what_is_under_way_when_the_port_closes_is_finished() {
    let edge = Edge::start().await;
    let mut client = http2(&edge).await;
    let mut other = client.clone();
    let answers = std::sync::Arc::clone(&edge.answers);
    let waiting = tokio::spawn(async move { client.get("/hang").await });
    until("the request is under way", || answers.hanging.load(SeqCst) == 1).await;
    edge.stop.cancel();
    // GOAWAY: no new requests on this connection.
    within("no new requests", async {
        let request = || Http2::request("/").body(Full::<Bytes>::default()).unwrap();
        while other.sender.send_request(request()).await.is_ok() {
            tokio::task::yield_now().await;
        }
    })
    .await;
    answers.go_on.notify_waiters();
    let (status, _headers, body) = within("the answer", waiting).await.unwrap();
    assert_eq!((status, body.as_str()), (200, "went on"));
    edge.end().await;
}
