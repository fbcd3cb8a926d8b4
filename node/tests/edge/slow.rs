//! Clients that are slow, silent, or do not read: none holds anything for long, or harms another.

use std::{sync::atomic::Ordering::SeqCst, time::Duration};

use bytes::Bytes;
use hexpop_node::http::server::ServerLimits;
use http_body_util::{BodyExt as _, Full};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
};

use crate::{
    client::{Http2, http2, read_to_end, read_until, statuses},
    edge::{Edge, Start, limits, until, within},
};

/// Short enough to be waited for.
const SHORT: Duration = Duration::from_millis(500);

async fn with(limits: ServerLimits) -> Edge {
    Edge::with(Start { limits, ..Start::default() }).await
}

#[tokio::test]
async fn a_head_that_does_not_end_is_answered_and_closed() {
    let edge = with(ServerLimits { header_timeout: SHORT, ..limits() }).await;
    let mut tcp = TcpStream::connect(edge.clear).await.unwrap();
    tcp.write_all(b"GET / HTTP/1.1\r\nHost: a\r\n").await.unwrap();
    // A byte now and then changes nothing.
    let (mut read, mut write) = tcp.split();
    let dripping = async {
        while write.write_all(b"x").await.is_ok() {
            tokio::time::sleep(SHORT / 10).await;
        }
    };
    let answer = read_until(&mut read, "\r\n\r\n");
    tokio::select! {
        answer = answer => assert_eq!(statuses(&answer), [408], "{answer}"),
        () = dripping => panic!("closed without an answer"),
    }
    assert_eq!(edge.metric("hexpop_http_requests_refused_total", Some("header-timeout")), 1);
    edge.end().await;
}

#[tokio::test]
async fn who_asks_nothing_is_let_go_in_every_protocol() {
    let edge = with(ServerLimits { header_timeout: SHORT, client_idle: SHORT, ..limits() }).await;
    let mut silent = TcpStream::connect(edge.clear).await.unwrap();
    assert_eq!(read_to_end(&mut silent).await, "");
    let mut kept = TcpStream::connect(edge.clear).await.unwrap();
    kept.write_all(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n").await.unwrap();
    assert_eq!(statuses(&read_to_end(&mut kept).await), [200]);
    let mut client = http2(&edge).await;
    assert_eq!(client.get("/").await.0, 200);
    within("the end of the connection", client.closed.cancelled()).await;
    edge.end().await;
}

#[tokio::test]
async fn a_slow_handler_is_no_silent_client() {
    let edge = with(ServerLimits { client_idle: SHORT, ..limits() }).await;
    let mut tcp = TcpStream::connect(edge.clear).await.unwrap();
    tcp.write_all(b"GET /hang HTTP/1.1\r\nHost: a\r\n\r\n").await.unwrap();
    let mut client = http2(&edge).await;
    let other = tokio::spawn(async move { client.get("/hang").await.0 });
    until("both are under way", || edge.answers.hanging.load(SeqCst) == 2).await;
    tokio::time::sleep(SHORT * 4).await;
    edge.answers.go_on.notify_waiters();
    assert_eq!(statuses(&read_to_end(&mut tcp).await), [200]);
    assert_eq!(within("the answer", other).await.unwrap(), 200);
    edge.end().await;
}

#[tokio::test]
async fn a_body_that_pauses_breaks_off() {
    let edge = Edge::with(Start { body_idle: Some(SHORT), ..Start::default() }).await;
    let mut tcp = TcpStream::connect(edge.clear).await.unwrap();
    let head = "POST /echo HTTP/1.1\r\nHost: a\r\nContent-Length: 9\r\n\r\n1234";
    tcp.write_all(head.as_bytes()).await.unwrap();
    let answer = read_to_end(&mut tcp).await;
    assert_eq!(statuses(&answer), [502], "the test's handler says so: {answer}");
    assert!(answer.contains("no part of it arrived"), "{answer}");
    edge.end().await;
}

#[tokio::test]
async fn who_does_not_read_is_cut_off() {
    let edge = with(ServerLimits { client_idle: SHORT, ..limits() }).await;
    let mut tcp = TcpStream::connect(edge.clear).await.unwrap();
    tcp.write_all(b"GET /endless HTTP/1.1\r\nHost: a\r\n\r\n").await.unwrap();
    until("the answer begins", || edge.answers.begun.load(SeqCst) == 1).await;
    until("the answer is given up", || edge.answers.dropped.load(SeqCst) == 1).await;
    edge.end().await;
}

#[tokio::test]
async fn a_stream_that_is_not_read_is_reset_and_its_connection_goes_on() {
    let edge = with(ServerLimits { client_idle: SHORT, ..limits() }).await;
    let mut client = http2(&edge).await;
    let request = Http2::request("/endless").body(Full::<Bytes>::default()).unwrap();
    let unread = client.send(request).await.unwrap();
    until("the answer is given up", || edge.answers.dropped.load(SeqCst) == 1).await;
    assert_eq!(edge.metric("hexpop_http_answers_stalled_total", None), 1);
    assert_eq!(client.get("/").await.0, 200);
    let error = within("the reset", unread.into_body().collect()).await.unwrap_err();
    assert!(format!("{error:?}").contains("CANCEL"), "{error:?}");
    edge.end().await;
}

#[tokio::test]
async fn one_byte_at_a_time_harms_nobody() {
    let edge = with(ServerLimits { client_idle: SHORT, ..limits() }).await;
    let mut slow = TcpStream::connect(edge.clear).await.unwrap();
    slow.write_all(b"GET /endless HTTP/1.1\r\nHost: a\r\n\r\n").await.unwrap();
    let reader = tokio::spawn(async move {
        while slow.read_u8().await.is_ok() {
            tokio::time::sleep(SHORT / 10).await;
        }
    });
    until("the answer begins", || edge.answers.begun.load(SeqCst) == 1).await;
    let mut client = http2(&edge).await;
    until("the slow one is given up", || edge.answers.dropped.load(SeqCst) == 1).await;
    assert_eq!(client.get("/zeros?100000").await.2.len(), 100_000);
    reader.abort();
    edge.end().await;
}
