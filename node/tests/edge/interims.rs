//! Interim responses over HTTP/1.1, byte by byte, and where there are none.

use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
};

use crate::{
    client::{raw, read_to_end, read_until, statuses},
    edge::{Edge, Start},
};

fn get(target: &str) -> String {
    format!("GET {target} HTTP/1.1\r\nHost: a\r\n\r\n")
}

#[tokio::test]
async fn they_come_while_the_answer_is_waited_for() {
    let edge = Edge::start().await;
    let mut tcp = TcpStream::connect(edge.clear).await.unwrap();
    tcp.write_all(get("/hints-and-hang?2").as_bytes()).await.unwrap();
    for link in ["</1>", "</2>"] {
        let expected = format!("HTTP/1.1 103 Early Hints\r\nlink: {link}\r\n\r\n");
        assert_eq!(read_until(&mut tcp, "\r\n\r\n").await, expected);
    }
    edge.answers.go_on.notify_one();
    let answer = read_until(&mut tcp, "after hints").await;
    assert_eq!(statuses(&answer), [200]);
    edge.end().await;
}

#[tokio::test]
async fn each_goes_before_its_own_answer_however_requests_follow_each_other() {
    const LARGE: usize = 3_000_000;
    let edge = Edge::start().await;
    let large = get(&format!("/zeros?{LARGE}"));
    let last = "GET /hints?3 HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n";
    let all = [&get("/hints?1"), &large, &get("/hints?2"), &get("/x"), &large, last].concat();
    let mut tcp = TcpStream::connect(edge.clear).await.unwrap();
    tcp.write_all(all.as_bytes()).await.unwrap();
    // Answers are held up in the middle of a body, where nothing may be written between.
    let mut some = vec![0; 1_000];
    tcp.read_exact(&mut some).await.unwrap();
    let text = String::from_utf8(some).unwrap() + &read_to_end(&mut tcp).await;
    let expected = [103, 200, 200, 103, 103, 200, 200, 200, 103, 103, 103, 200];
    assert_eq!(statuses(&text), expected);
    assert_eq!(text.matches('\0').count(), 2 * LARGE);
    for body in text.split("HTTP/1.1 ").filter(|answer| answer.contains('\0')) {
        let (_head, body) = body.split_once("\r\n\r\n").unwrap();
        assert!(body.len() == LARGE && body.bytes().all(|byte| byte == 0));
    }
    edge.end().await;
}

#[tokio::test]
async fn rfc9110_15_2_a_client_of_http_1_0_gets_none() {
    let edge = Edge::start().await;
    let answer = raw(edge.clear, b"GET /hints?2 HTTP/1.0\r\nHost: a\r\n\r\n").await;
    assert!(answer.starts_with("HTTP/1.0 200") && !answer.contains("103"), "{answer}");
    edge.end().await;
}

#[tokio::test]
async fn rfc8297_3_a_port_for_old_clients_sends_none_over_http_1_1() {
    let edge = Edge::with(Start { http1_interims: false, ..Start::default() }).await;
    let asked = b"GET /hints?2 HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n";
    let answer = raw(edge.clear, asked).await;
    assert_eq!(statuses(&answer), [200], "{answer}");
    edge.end().await;
}
