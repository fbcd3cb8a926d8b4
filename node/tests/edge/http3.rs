//! HTTP/3, by a client of our own over the same libraries; others are asked by hand.

use std::{future::poll_fn, sync::Arc, sync::atomic::Ordering::SeqCst, time::Duration};

use bytes::{Buf as _, Bytes};
use h3::client::SendRequest;
use hexpop_node::http::server::ServerLimits;
use http::{HeaderMap, Request};
use quinn::{Endpoint, crypto::rustls::QuicClientConfig};
use rustls::version::TLS13;
use tokio_util::sync::CancellationToken;

use crate::{
    client::tls,
    edge::{Edge, Start, limits, until, within},
};

struct Client {
    endpoint: Endpoint,
    connection: quinn::Connection,
    sender: SendRequest<h3_quinn::OpenStreams, Bytes>,
    /// Cancelled when the connection has ended.
    closed: CancellationToken,
}

/// An answer, read whole.
struct Answer {
    status: u16,
    headers: HeaderMap,
    body: Vec<u8>,
}

impl Client {
    async fn new(edge: &Edge) -> Self {
        Self::with_fields(edge, 64 << 10).await
    }

    /// One that takes heads of so many bytes at most.
    async fn with_fields(edge: &Edge, bytes_max: u64) -> Self {
        let config = tls(edge, &["h3"], &[&TLS13]);
        let config = QuicClientConfig::try_from(config).unwrap();
        let mut transport = quinn::TransportConfig::default();
        // A client that holds little.
        transport.stream_receive_window(quinn::VarInt::from_u32(64 << 10));
        let mut config = quinn::ClientConfig::new(Arc::new(config));
        config.transport_config(Arc::new(transport));
        let mut endpoint = Endpoint::client("127.0.0.1:0".parse().unwrap()).unwrap();
        endpoint.set_default_client_config(config);
        let connecting = endpoint.connect(edge.http3, "localhost").unwrap();
        let connection = within("a handshake", connecting).await.unwrap();
        let quic = h3_quinn::Connection::new(connection.clone());
        let mut builder = h3::client::builder();
        let (mut driver, sender) =
            builder.max_field_section_size(bytes_max).build(quic).await.unwrap();
        let closed = CancellationToken::new();
        let ended = closed.clone().drop_guard();
        tokio::spawn(async move {
            let _how = poll_fn(|cx| driver.poll_close(cx)).await;
            drop(ended);
        });
        Self { endpoint, connection, sender, closed }
    }

    fn request(path: &str) -> http::request::Builder {
        Request::builder().uri(format!("https://localhost{path}"))
    }

    async fn send(&mut self, request: Request<()>, body: &[u8]) -> Result<Answer, String> {
        let text = |error: h3::error::StreamError| error.to_string();
        let exchange = async {
            let mut stream = self.sender.send_request(request).await.map_err(text)?;
            // The server may have seen enough.
            for piece in body.chunks(50_000) {
                let _enough = stream.send_data(Bytes::copy_from_slice(piece)).await;
            }
            let _enough = stream.finish().await;
            let head = stream.recv_response().await.map_err(text)?;
            let mut body = Vec::new();
            while let Some(mut data) = stream.recv_data().await.map_err(text)? {
                body.extend_from_slice(&data.copy_to_bytes(data.remaining()));
            }
            Ok(Answer { status: head.status().as_u16(), headers: head.headers().clone(), body })
        };
        within("an answer", exchange).await
    }

    async fn get(&mut self, path: &str) -> Answer {
        self.send(Self::request(path).body(()).unwrap(), &[]).await.unwrap()
    }
}

#[tokio::test]
async fn the_same_handler_answers() {
    let edge = Edge::start().await;
    let mut client = Client::new(&edge).await;
    let answer = client.get("/x").await;
    assert_eq!(answer.status, 200);
    let text = String::from_utf8(answer.body).unwrap();
    assert!(text.starts_with("GET /x h3 https 127.0.0.1:"), "{text}");
    assert!(answer.headers.contains_key("date"));
    let sent = vec![b'a'; 1_000_001];
    let request = Client::request("/echo").method("POST").body(()).unwrap();
    assert_eq!(client.send(request, &sent).await.unwrap().body, sent);
    let answer = client.get("/zeros?3000001").await;
    assert_eq!(answer.body.len(), 3_000_001);
    assert_eq!(answer.headers["content-length"], "3000001");
    assert_eq!(edge.metric("hexpop_http_connections_total", Some("h3")), 1);
    edge.end().await;
}

#[tokio::test]
async fn heads_are_bounded_and_about_no_connection() {
    let edge = Edge::start().await;
    let mut client = Client::new(&edge).await;
    let mut status = async |change: &dyn Fn(http::request::Builder) -> http::request::Builder| {
        let request = change(Client::request("/x")).body(()).unwrap();
        client.send(request, &[]).await.map(|answer| answer.status)
    };
    let many = (0..40).map(|number| format!("x-{number}")).collect::<Vec<_>>();
    assert_eq!(
        status(&|request| many.iter().fold(request, |request, name| request.header(name, "a")))
            .await,
        Ok(431)
    );
    assert_eq!(status(&|request| request.header("connection", "close")).await, Ok(400));
    assert_eq!(status(&|request| request.header("te", "gzip")).await, Ok(400));
    assert_eq!(status(&|request| request.header("te", "trailers")).await, Ok(200));
    assert_eq!(status(&|request| request.header("content-length", "x")).await, Ok(400));
    assert_eq!(status(&|request| request).await, Ok(200), "the connection goes on");
    edge.end().await;
}

#[tokio::test]
async fn a_body_that_is_not_as_long_as_it_says_is_refused() {
    let edge = Edge::start().await;
    let mut client = Client::new(&edge).await;
    for (length, expected) in [("4", 200), ("3", 502), ("5", 502)] {
        let request = Client::request("/echo").method("POST").header("content-length", length);
        let answer = client.send(request.body(()).unwrap(), b"1234").await.unwrap();
        assert_eq!(answer.status, expected, "{length}");
    }
    edge.end().await;
}

#[tokio::test]
async fn a_frame_beyond_all_measure_ends_its_stream() {
    let edge = Edge::start().await;
    let mut client = Client::new(&edge).await;
    assert_eq!(client.get("/").await.status, 200);
    // HEADERS of a gibibyte, which the client begins to send.
    let (mut send, mut receive) = client.connection.open_bi().await.unwrap();
    send.write_all(&[1, 0xc0, 0, 0, 0, 0x40, 0, 0, 0]).await.unwrap();
    let piece = vec![0; 64 << 10];
    let mut sent = 0_usize;
    within("the end of the stream", async {
        while sent < 64 << 20 && send.write_all(&piece).await.is_ok() {
            sent += piece.len();
        }
    })
    .await;
    assert!(sent < 4 << 20, "{sent} bytes were taken");
    let _nothing = within("the end of the answer", receive.read_to_end(1_000)).await;
    edge.end().await;
}

#[tokio::test]
async fn an_answer_that_is_not_read_is_given_up_and_the_connection_goes_on() {
    let client_idle = Duration::from_secs(3);
    let limits = ServerLimits { client_idle, ..limits() };
    let edge = Edge::with(Start { limits, ..Start::default() }).await;
    let mut client = Client::new(&edge).await;
    let request = Client::request("/endless").body(()).unwrap();
    let mut unread = client.sender.send_request(request).await.unwrap();
    unread.finish().await.unwrap();
    until("the answer is given up", || edge.answers.dropped.load(SeqCst) == 1).await;
    assert_eq!(edge.metric("hexpop_http_answers_stalled_total", None), 1);
    assert_eq!(client.get("/").await.status, 200);
    within("the connection ends when nothing is asked", client.closed.cancelled()).await;
    edge.end().await;
}

#[tokio::test]
async fn what_is_under_way_when_the_port_closes_is_finished() {
    let edge = Edge::start().await;
    let mut client = Client::new(&edge).await;
    let answers = Arc::clone(&edge.answers);
    let mut other = client.sender.clone();
    let waiting = tokio::spawn(async move {
        let answer = client.get("/hang").await;
        (client, answer)
    });
    until("the request is under way", || answers.hanging.load(SeqCst) == 1).await;
    edge.stop.cancel();
    // GOAWAY: the client's library begins nothing more.
    within("no new requests", async {
        let request = || Client::request("/").body(()).unwrap();
        while let Ok(mut stream) = other.send_request(request()).await {
            if stream.finish().await.is_err() || stream.recv_response().await.is_err() {
                break;
            }
        }
    })
    .await;
    answers.go_on.notify_waiters();
    let (client, answer) = within("the answer", waiting).await.unwrap();
    assert_eq!((answer.status, answer.body.as_slice()), (200, &b"went on"[..]));
    drop(client.endpoint);
    edge.end().await;
}

#[tokio::test]
async fn interim_responses_come_before_the_answer() {
    let edge = Edge::start().await;
    let mut client = Client::new(&edge).await;
    let request = Client::request("/hints-and-hang?2").body(()).unwrap();
    let mut stream = within("a stream", client.sender.send_request(request)).await.unwrap();
    stream.finish().await.unwrap();
    for link in ["</1>", "</2>"] {
        let head = within("a hint", stream.recv_response()).await.unwrap();
        assert_eq!(
            (head.status().as_u16(), head.headers()["link"].as_bytes()),
            (103, link.as_bytes())
        );
    }
    edge.answers.go_on.notify_one();
    let head = within("the answer", stream.recv_response()).await.unwrap();
    assert_eq!(head.status(), 200);
    assert!(!head.headers().contains_key("link"));
    let mut body = stream.recv_data().await.unwrap().unwrap();
    assert_eq!(body.copy_to_bytes(body.remaining()), "after hints");
    edge.end().await;
}

#[tokio::test]
async fn an_interim_response_that_is_too_large_for_the_client_is_left_out() {
    let edge = Edge::start().await;
    let mut client = Client::with_fields(&edge, 1_000).await;
    // The server has the client's settings by then.
    assert_eq!(client.get("/x").await.status, 200);
    let request = Client::request("/long-hint").body(()).unwrap();
    let mut stream = within("a stream", client.sender.send_request(request)).await.unwrap();
    stream.finish().await.unwrap();
    let hint = within("a hint", stream.recv_response()).await.unwrap();
    assert_eq!((hint.status().as_u16(), hint.headers()["link"].as_bytes()), (103, &b"</1>"[..]));
    let head = within("the answer", stream.recv_response()).await.unwrap();
    assert_eq!(head.status(), 200);
    let mut body = stream.recv_data().await.unwrap().unwrap();
    assert_eq!(body.copy_to_bytes(body.remaining()), "after hints");
    edge.end().await;
}
