//! HTTP/1.1 byte by byte: what is refused, in its turn, and what is not.

use tokio::{io::AsyncWriteExt as _, net::TcpStream};

use crate::{
    client::{raw, read_to_end, read_until, statuses},
    edge::Edge,
};

const GOOD: &str = "GET /good HTTP/1.1\r\nHost: a\r\n\r\n";

#[tokio::test]
async fn what_is_refused_is_answered_and_ends_the_connection() {
    let edge = Edge::start().await;
    for (reason, status, request) in [
        ("line-end", 400, "GET / HTTP/1.1\nHost: a\n\n".to_owned()),
        ("request-line", 400, "nonsense\r\n\r\n".to_owned()),
        ("request-line", 400, "\u{16}\u{3}\u{1}\r\n\r\n".to_owned()),
        ("version", 505, "GET / HTTP/9.9\r\nHost: a\r\n\r\n".to_owned()),
        ("host", 400, "GET / HTTP/1.1\r\n\r\n".to_owned()),
        ("host", 400, "GET / HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n".to_owned()),
        ("host", 400, "GET http://b/ HTTP/1.1\r\nHost: a\r\n\r\n".to_owned()),
        ("both-lengths", 400, "POST /echo HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n".to_owned()),
        ("content-length", 400, "POST /echo HTTP/1.1\r\nHost: a\r\nContent-Length: 1, 1\r\n\r\nx".to_owned()),
        ("transfer-encoding", 400, "POST /echo HTTP/1.0\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n".to_owned()),
        ("transfer-coding", 501, "POST /echo HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n".to_owned()),
        ("folding", 400, "GET / HTTP/1.1\r\nHost: a\r\nX: a\r\n b\r\n\r\n".to_owned()),
        ("field-name", 400, "GET / HTTP/1.1\r\nHost: a\r\nX : a\r\n\r\n".to_owned()),
        ("connect", 501, "CONNECT a:443 HTTP/1.1\r\nHost: a:443\r\n\r\n".to_owned()),
        ("too-many-fields", 431, format!("GET / HTTP/1.1\r\nHost: a\r\n{}\r\n", "X: a\r\n".repeat(40))),
        ("header-too-large", 431, format!("GET / HTTP/1.1\r\nHost: a\r\nX: {}\r\n\r\n", "a".repeat(9_000))),
        ("header-too-large", 431, format!("GET / HTTP/1.1\r\nHost: a\r\nX: {}", "a".repeat(500_000))),
        ("target-too-long", 414, format!("GET /{} HTTP/1.1\r\nHost: a\r\n\r\n", "a".repeat(70_000))),
        ("chunk", 400, "POST /echo HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\nxyz\r\n\r\n".to_owned()),
        ("chunk", 400, "POST /echo HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n1\na\r\n0\r\n\r\n".to_owned()),
    ] {
        let before = edge.metric("hexpop_http_requests_refused_total", Some(reason));
        let answer = raw(edge.clear, format!("{request}{GOOD}").as_bytes()).await;
        assert_eq!(statuses(&answer), [status], "{reason}: {request:.60}: {answer}");
        assert!(answer.contains("connection: close"), "{answer}");
        assert!(answer.contains("application/problem+json"), "{answer}");
        let after = edge.metric("hexpop_http_requests_refused_total", Some(reason));
        assert_eq!(after, before + 1, "{reason}: {request:.60}");
    }
    edge.end().await;
}

#[tokio::test]
async fn requests_before_a_refused_one_are_answered_first() {
    let edge = Edge::start().await;
    let echo = "POST /echo HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n\r\nhello";
    let bad = "GET / HTTP/1.1\r\nHost : a\r\n\r\n";
    let answer = raw(edge.clear, format!("{GOOD}{echo}{bad}{GOOD}").as_bytes()).await;
    assert_eq!(statuses(&answer), [200, 200, 400], "{answer}");
    assert!(answer.find("GET /good").unwrap() < answer.find("hello").unwrap(), "{answer}");
    edge.end().await;
}

#[tokio::test]
async fn a_connection_goes_on_over_bodies_of_all_kinds_however_they_are_split() {
    let edge = Edge::start().await;
    let requests = [
        GOOD.to_owned(),
        "\r\nPOST /echo HTTP/1.1\r\nHost: a\r\nContent-Length: 11\r\n\r\nlength-body".to_owned(),
        "POST /echo HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n7;x=\"y\"\r\nchunked\r\n5\r\n-body\r\n0\r\nX-Sum: 1\r\n\r\n".to_owned(),
        format!("POST /echo HTTP/1.1\r\nHost: a\r\nContent-Length: 100000\r\n\r\n{}", "z".repeat(100_000)),
        "GET /last HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n".to_owned(),
    ];
    let all = requests.concat();
    for piece_bytes in [1, 7, 1_000, all.len()] {
        let mut tcp = TcpStream::connect(edge.clear).await.unwrap();
        tcp.set_nodelay(true).unwrap();
        let (mut read, mut write) = tcp.split();
        let sending = async {
            // Split where it matters: the first requests.
            let (fine, rest) = all.split_at(all.len().min(600));
            for piece in fine.as_bytes().chunks(piece_bytes) {
                write.write_all(piece).await.unwrap();
            }
            write.write_all(rest.as_bytes()).await.unwrap();
        };
        let ((), answer) = tokio::join!(sending, read_to_end(&mut read));
        assert_eq!(statuses(&answer), [200; 5], "{piece_bytes}: {answer:.500}");
        for part in ["/good", "length-body", "chunked-body", "x-sum: 1", "/last"] {
            assert!(answer.contains(part), "{piece_bytes}: {part}");
        }
        assert_eq!(answer.matches('z').count(), 100_000, "{piece_bytes}");
    }
    assert_eq!(edge.metric("hexpop_http_requests_refused_total", None), 0);
    edge.end().await;
}

#[tokio::test]
async fn a_client_that_expects_is_told_to_go_on() {
    let edge = Edge::start().await;
    let mut tcp = TcpStream::connect(edge.clear).await.unwrap();
    let head = "POST /echo HTTP/1.1\r\nHost: a\r\nContent-Length: 4\r\nExpect: 100-continue\r\nConnection: close\r\n\r\n";
    tcp.write_all(head.as_bytes()).await.unwrap();
    read_until(&mut tcp, "HTTP/1.1 100 Continue\r\n\r\n").await;
    tcp.write_all(b"body").await.unwrap();
    let answer = read_to_end(&mut tcp).await;
    assert!(answer.starts_with("HTTP/1.1 200") && answer.ends_with("body"), "{answer}");
    edge.end().await;
}

#[tokio::test]
async fn a_large_body_that_nobody_wants_does_not_hide_the_refusal() {
    let edge = Edge::start().await;
    // More than all buffers on the way hold: the answer is only read when everything was sent.
    let head = "POST /echo HTTP/1.1\r\nHost: a\r\nContent-Length: x\r\n\r\n";
    let answer = raw(edge.clear, format!("{head}{}", "x".repeat(200_000)).as_bytes()).await;
    assert_eq!(statuses(&answer), [400], "{answer}");
    edge.end().await;
}
