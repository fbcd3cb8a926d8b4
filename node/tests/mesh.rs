//! Real endpoints on 127.0.0.1: who may speak, what arrives, in which order, and what happens when
//! a peer goes.

#![expect(clippy::unwrap_used, reason = "helpers of tests fail as tests do")]

use std::{
    collections::BTreeSet,
    io,
    net::SocketAddr,
    path::Path,
    sync::{
        Arc, Mutex,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, Instant, SystemTime, UNIX_EPOCH},
};

use bytes::Bytes;
use futures::{
    FutureExt, StreamExt,
    future::BoxFuture,
    stream::{BoxStream, FuturesUnordered},
};
use hexpop_edge_config::{ClusterId, ClusterName, NodeId, RaftId};
use hexpop_gossip::{Gossip, Identity, Liveness, NodeInfo, NodeState, Options};
use hexpop_node::{
    certs,
    mesh::{
        BindError, Class, HookSlot, LinkAction, LinkHook, Mesh, MeshError, MeshHandler,
        MeshOptions, Refused, RefusedCode, Traffic,
        frame::{Hello, LinkKind, PROTOCOL, encode_greeting},
        gossip_loop::{GossipHandle, GossipLoop},
    },
};
use tempfile::TempDir;
use tokio::{runtime::Runtime, sync::Notify};

const A: NodeId = NodeId(1);
const B: NodeId = NodeId(2);
const C: NodeId = NodeId(3);
const LONG: Duration = Duration::from_secs(20);

fn cluster() -> ClusterName {
    "demo".parse().unwrap()
}

/// A directory with an authority and certificates for nodes 1 to 3.
fn certificates() -> TempDir {
    let dir = tempfile::tempdir().unwrap();
    certs::init(dir.path(), &cluster(), false).unwrap();
    for node in [A, B, C] {
        certs::issue(dir.path(), dir.path(), node, &[], 7, false).unwrap();
    }
    dir
}

/// Answers with what it got, and remembers it.
#[derive(Default)]
struct Echo {
    raft: Mutex<Vec<(NodeId, Bytes)>>,
    gossip: Mutex<Option<GossipHandle>>,
    release: Notify,
    /// Frames of answers that stream, made so far.
    made: Arc<AtomicU64>,
    /// Answers that stream and are not over.
    streaming: Arc<AtomicU64>,
}

/// Counts an answer while it streams.
struct Streaming(Arc<AtomicU64>);

impl Drop for Streaming {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

const FRAME: usize = 64 << 10;

impl MeshHandler for Echo {
    fn request(
        &self,
        from: NodeId,
        class: Class,
        payload: Bytes,
    ) -> BoxFuture<'static, Result<Bytes, Refused>> {
        if class == Class::Raft {
            self.raft.lock().unwrap().push((from, payload.clone()));
        }
        async move {
            if *payload == *b"never" {
                return std::future::pending().await;
            }
            if *payload == *b"no" {
                return Err(Refused::new("because"));
            }
            if *payload == *b"long" {
                return Ok(Bytes::from(vec![0; 9 << 20]));
            }
            Ok(payload)
        }
        .boxed()
    }

    /// As many frames as the payload says.
    fn stream(&self, _from: NodeId, payload: Bytes) -> BoxStream<'static, Result<Bytes, Refused>> {
        let count = std::str::from_utf8(&payload).unwrap().parse().unwrap();
        self.streaming.fetch_add(1, Ordering::Relaxed);
        let (made, streaming) = (Arc::clone(&self.made), Streaming(Arc::clone(&self.streaming)));
        let frame = move |_nth: u64| {
            let _counted = &streaming;
            made.fetch_add(1, Ordering::Relaxed);
            Ok(Bytes::from(vec![7; FRAME]))
        };
        futures::stream::iter(0..count).map(frame).boxed()
    }

    fn datagram(&self, from: NodeId, payload: Bytes) {
        if let Some(gossip) = &*self.gossip.lock().unwrap() {
            gossip.datagram(from, payload);
        } else {
            self.release.notify_one();
        }
    }
}

struct Node {
    mesh: Mesh,
    handler: Arc<Echo>,
    address: SocketAddr,
}

fn options(certs: &Path, node: NodeId) -> MeshOptions {
    let listen = SocketAddr::from(([127, 0, 0, 1], 0));
    let raft = RaftId(u64::from(node.0) * 10);
    let mut options = MeshOptions::new(listen, node, raft, cluster(), certs);
    options.backoff_max = Duration::from_millis(200);
    options
}

fn bind(options: MeshOptions) -> Result<Node, BindError> {
    let handler = Arc::new(Echo::default());
    let mesh =
        Mesh::bind(options, Arc::default(), Arc::<HookSlot>::default(), Arc::clone(&handler) as _)?;
    let address = mesh.local_addr().unwrap();
    Ok(Node { mesh, handler, address })
}

fn introduce(nodes: &[&Node]) {
    for node in nodes {
        for other in nodes {
            node.mesh.addresses().set(other.mesh.node(), other.address);
        }
    }
}

fn pair() -> (TempDir, Node, Node) {
    let certs = certificates();
    let a = bind(options(certs.path(), A)).unwrap();
    let b = bind(options(certs.path(), B)).unwrap();
    introduce(&[&a, &b]);
    (certs, a, b)
}

/// Polls until it holds: for states that have no event to wait for.
async fn eventually(what: &str, mut holds: impl FnMut() -> bool) {
    let begin = Instant::now();
    while !holds() {
        assert!(begin.elapsed() < LONG, "not within {LONG:?}: {what}");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

/// What the log says while a closure runs.
#[derive(Clone, Default)]
struct Log(Arc<Mutex<Vec<u8>>>);

impl io::Write for Log {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().unwrap().extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Log {
    /// Collects the log of this thread, on which a current-thread runtime runs everything.
    fn collect() -> (Self, tracing::subscriber::DefaultGuard) {
        let log = Self::default();
        let writer = log.clone();
        let subscriber = tracing_subscriber::fmt()
            .with_ansi(false)
            .with_max_level(tracing::Level::WARN)
            .with_writer(move || writer.clone())
            .finish();
        (log, tracing::subscriber::set_default(subscriber))
    }

    fn text(&self) -> String {
        String::from_utf8(self.0.lock().unwrap().clone()).unwrap()
    }
}

#[tokio::test]
async fn requests_of_every_class_are_answered_both_ways() {
    let (_certs, a, b) = pair();
    for class in Class::ALL {
        for (from, to) in [(&a, B), (&b, A), (&a, A)] {
            let payload = Bytes::from(format!("{class} to {to}"));
            let answer = from.mesh.call(to, class, payload.clone(), LONG).await;
            assert_eq!(answer, Ok(payload));
        }
    }
    let large = Bytes::from(vec![7; 3 << 20]);
    for class in [Class::Raft, Class::Query] {
        assert_eq!(a.mesh.call(B, class, large.clone(), LONG).await, Ok(large.clone()));
    }
    assert!(a.mesh.rtt(B).is_some());
    let peers = a.mesh.peers();
    assert!(peers[0].control_connected && peers[0].bulk_connected && peers[0].in_flight == 0);
    a.mesh.close(LONG).await;
    let closed = a.mesh.call(B, Class::Query, Bytes::new(), LONG).await;
    assert_eq!(closed, Err(MeshError::Closed));
}

#[tokio::test]
async fn an_answer_that_streams_waits_for_its_reader_and_is_in_nobodys_way() {
    let (_certs, a, b) = pair();
    let endless = || Bytes::from(u64::MAX.to_string());
    let most = usize::try_from(options(Path::new(""), A).in_flight_max.cache).unwrap();
    let mut unread = Vec::new();
    for _ in 0..most - 1 {
        let mut frames = a.mesh.ask(B, endless(), LONG).await.unwrap();
        assert_eq!(frames.next().await.unwrap().map(|frame| frame.len()), Some(FRAME));
        unread.push(frames);
    }
    // 256 KiB of each are here, one frame of it was read, one is being written.
    let held = |frames: u64| frames <= most as u64 * (4 + 1 + 1);
    assert!(held(b.handler.made.load(Ordering::Relaxed)));
    let mut frames = a.mesh.ask(B, Bytes::from_static(b"100"), LONG).await.unwrap();
    let refused = a.mesh.ask(B, endless(), LONG).await.unwrap_err();
    assert_eq!(refused, MeshError::Overloaded { to: B, class: Class::Cache });
    // What is answered at once has a place of its own, here and there.
    let mut brief = a.mesh.ask_briefly(B, Bytes::from_static(b"1"), LONG).await.unwrap();
    assert_eq!(brief.next().await.unwrap().map(|frame| frame.len()), Some(FRAME));
    drop(brief);
    let mut bytes = 0;
    while let Some(frame) = frames.next().await.unwrap() {
        bytes += frame.len();
    }
    assert_eq!(bytes, 100 * FRAME);
    drop(frames);
    let large = Bytes::from(vec![7; 3 << 20]);
    assert_eq!(a.mesh.call(B, Class::Query, large.clone(), LONG).await, Ok(large));
    assert!(held(b.handler.made.load(Ordering::Relaxed) - 100));
    // Whoever goes away leaves nobody writing.
    drop(unread);
    eventually("all of them are over", || b.handler.streaming.load(Ordering::Relaxed) == 0).await;
    let mut frames = a.mesh.ask(B, Bytes::from_static(b"0"), LONG).await.unwrap();
    assert_eq!(frames.next().await, Ok(None));
}

#[tokio::test]
async fn a_peer_that_hangs_costs_no_more_than_the_request_timeout() {
    let certs = certificates();
    let timeout = Duration::from_secs(1);
    let a = bind(MeshOptions { request_timeout: timeout, ..options(certs.path(), A) }).unwrap();
    let b = bind(options(certs.path(), B)).unwrap();
    introduce(&[&a, &b]);
    for (to, class) in [(B, Class::Query), (B, Class::Admin), (A, Class::Query)] {
        let begin = Instant::now();
        let answer = a.mesh.call(to, class, Bytes::from_static(b"never"), LONG).await;
        assert!(answer.is_err(), "{answer:?}");
        assert!(begin.elapsed() < LONG / 2, "{:?}", begin.elapsed());
    }
    assert_eq!(a.mesh.call(B, Class::Query, Bytes::new(), LONG).await, Ok(Bytes::new()));
    // Consensus has times of its own.
    let raft = a.mesh.call(B, Class::Raft, Bytes::from_static(b"never"), timeout * 2);
    assert!(tokio::time::timeout(timeout + timeout / 2, raft).await.is_err());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn raft_requests_arrive_in_the_order_of_the_calls() {
    let (_certs, a, b) = pair();
    // The futures are made in order and polled in none.
    let calls: FuturesUnordered<_> = (0..500_u32)
        .map(|n| a.mesh.call(B, Class::Raft, Bytes::copy_from_slice(&n.to_be_bytes()), LONG))
        .collect();
    let answers: Vec<_> = calls.collect().await;
    assert!(answers.iter().all(Result::is_ok));
    let seen = b.handler.raft.lock().unwrap();
    let expected: Vec<_> =
        (0..500_u32).map(|n| (A, Bytes::copy_from_slice(&n.to_be_bytes()))).collect();
    assert_eq!(*seen, expected);
}

#[tokio::test]
async fn a_deadline_ends_the_wait_and_a_refusal_says_why() {
    let (_certs, a, _b) = pair();
    let short = Duration::from_millis(100);
    for class in [Class::Raft, Class::Query] {
        a.mesh.call(B, class, Bytes::new(), LONG).await.unwrap();
        let begin = Instant::now();
        let late = a.mesh.call(B, class, Bytes::from_static(b"never"), short).await.unwrap_err();
        assert!(late.outcome_unknown(), "{late}");
        assert!(begin.elapsed() < Duration::from_secs(2));
        let refused = a.mesh.call(B, class, Bytes::from_static(b"no"), LONG).await;
        let expected = MeshError::Refused { to: B, refused: Refused::new("because") };
        assert_eq!(refused, Err(expected));
        eventually("nothing is under way", || a.mesh.peers()[0].in_flight == 0).await;
    }
}

#[tokio::test]
async fn what_is_too_long_is_refused_on_both_sides_and_harms_nothing() {
    let certs = certificates();
    let a = bind(options(certs.path(), A)).unwrap();
    let mut strict = options(certs.path(), B);
    strict.bytes_max.query = 1000;
    let b = bind(strict).unwrap();
    introduce(&[&a, &b]);
    let here = a.mesh.call(B, Class::Raft, Bytes::from(vec![0; (8 << 20) + 1]), LONG).await;
    assert!(matches!(here, Err(MeshError::TooLarge { class: Class::Raft, .. })), "{here:?}");
    let there = a.mesh.call(B, Class::Query, Bytes::from(vec![0; 100_000]), LONG).await;
    let Err(MeshError::Refused { refused, .. }) = there else { panic!("{there:?}") };
    assert_eq!(refused.code, RefusedCode::TooLarge);
    for class in [Class::Raft, Class::Snapshot] {
        let answer = a.mesh.call(B, class, Bytes::from_static(b"long"), LONG).await;
        let Err(MeshError::Refused { refused, .. }) = answer else { panic!("{answer:?}") };
        assert_eq!(refused.code, RefusedCode::TooLarge);
    }
    for class in [Class::Raft, Class::Query] {
        assert!(a.mesh.call(B, class, Bytes::from_static(b"fine"), LONG).await.is_ok());
    }
}

/// A node on a runtime of its own: dropping the runtime is as close to `kill -9` as one process
/// comes, because nothing is said to the peers.
fn on_own_runtime(options: MeshOptions) -> (Runtime, Node) {
    let runtime =
        tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
    let node = {
        let _entered = runtime.enter();
        bind(options).unwrap()
    };
    (runtime, node)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_killed_peer_is_unreachable_soon_and_found_again_when_it_returns() {
    let certs = certificates();
    let mut own = options(certs.path(), A);
    own.keep_alive = Duration::from_millis(100);
    own.idle_timeout = Duration::from_millis(500);
    own.connect_timeout = Duration::from_millis(500);
    let a = bind(own).unwrap();
    let (runtime, b) = on_own_runtime(options(certs.path(), B));
    introduce(&[&a, &b]);
    for class in [Class::Raft, Class::Query] {
        a.mesh.call(B, class, Bytes::new(), LONG).await.unwrap();
    }
    let address = b.address;
    let under_way = a.mesh.call(B, Class::Raft, Bytes::from_static(b"never"), LONG);
    drop(b);
    runtime.shutdown_background();
    let lost = under_way.await.unwrap_err();
    assert!(lost.outcome_unknown(), "{lost}");
    for class in [Class::Raft, Class::Query] {
        let mut answer = a.mesh.call(B, class, Bytes::new(), LONG).await;
        while !matches!(answer, Err(MeshError::Unreachable { .. })) {
            answer = a.mesh.call(B, class, Bytes::new(), Duration::from_secs(1)).await;
        }
        let begin = Instant::now();
        let again = a.mesh.call(B, class, Bytes::new(), LONG).await;
        assert!(matches!(again, Err(MeshError::Unreachable { .. })), "{again:?}");
        assert!(begin.elapsed() < Duration::from_millis(100), "{:?}", begin.elapsed());
    }
    let mut back = options(certs.path(), B);
    back.listen = address;
    let _back = bind(back).unwrap();
    let begin = Instant::now();
    for class in [Class::Raft, Class::Query] {
        while a.mesh.call(B, class, Bytes::new(), Duration::from_secs(1)).await.is_err() {
            assert!(begin.elapsed() < LONG, "not found again");
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_process_started_anew_ends_the_connections_of_its_predecessor() {
    let certs = certificates();
    let mut own = options(certs.path(), A);
    own.keep_alive = Duration::from_millis(100);
    own.idle_timeout = Duration::from_secs(60);
    let a = bind(own).unwrap();
    let (runtime, b) = on_own_runtime(options(certs.path(), B));
    introduce(&[&a, &b]);
    a.mesh.call(B, Class::Raft, Bytes::new(), LONG).await.unwrap();
    let address = b.address;
    drop(b);
    runtime.shutdown_background();
    let mut back = options(certs.path(), B);
    back.listen = address;
    let mut bound = bind(back.clone());
    let begin = Instant::now();
    while bound.is_err() {
        assert!(begin.elapsed() < LONG, "the port stays taken");
        tokio::time::sleep(Duration::from_millis(10)).await;
        bound = bind(back.clone());
    }
    // Long before the idle time-out of a minute.
    while a.mesh.call(B, Class::Raft, Bytes::new(), Duration::from_millis(500)).await.is_err() {
        assert!(begin.elapsed() < LONG, "the dead connection is still used");
    }
}

#[tokio::test]
async fn a_certificate_of_another_authority_is_refused_and_the_log_says_so() {
    let (log, _guard) = Log::collect();
    let (_certs, a, b) = pair();
    let foreign = certificates();
    let c = bind(options(foreign.path(), C)).unwrap();
    introduce(&[&a, &b, &c]);
    for (from, to) in [(&c, A), (&a, C)] {
        let error = from.mesh.call(to, Class::Query, Bytes::new(), LONG).await.unwrap_err();
        assert!(matches!(error, MeshError::Unreachable { .. }), "{error}");
    }
    assert!(a.handler.raft.lock().unwrap().is_empty());
    rogue(foreign.path(), Some(C), C, b.address).await;
    eventually("the refusal is counted", || b.mesh.counters().refused > 0).await;
    let text = log.text();
    assert!(text.contains("refused a connection to the mesh"), "{text}");
    assert!(text.contains("it is not signed by this cluster's authority"), "{text}");
    assert!(text.contains("remote=127.0.0.1:"), "{text}");
}

/// A client of its own making, with any certificate or none, that claims to be `claimed`.
async fn rogue(
    certs: &Path,
    identity: Option<NodeId>,
    claimed: NodeId,
    to: SocketAddr,
) -> quinn::ConnectionError {
    use rustls_pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject};
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let tls = rustls::ClientConfig::builder_with_provider(provider)
        .with_protocol_versions(&[&rustls::version::TLS13])
        .unwrap()
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(Gullible));
    let mut tls = match identity {
        None => tls.with_no_client_auth(),
        Some(node) => {
            let chain = CertificateDer::from_pem_file(certs.join(format!("node-{node}.pem")));
            let key = PrivateKeyDer::from_pem_file(certs.join(format!("node-{node}.key")));
            tls.with_client_auth_cert(vec![chain.unwrap()], key.unwrap()).unwrap()
        }
    };
    tls.alpn_protocols = vec![b"hexpop/1".to_vec()];
    let tls = quinn::crypto::rustls::QuicClientConfig::try_from(tls).unwrap();
    let endpoint = quinn::Endpoint::client(SocketAddr::from(([127, 0, 0, 1], 0))).unwrap();
    let config = quinn::ClientConfig::new(Arc::new(tls));
    let connection = match endpoint.connect_with(config, to, "hexpop").unwrap().await {
        Ok(connection) => connection,
        Err(error) => return error,
    };
    if let Ok((mut send, _recv)) = connection.open_bi().await {
        let hello = Hello {
            protocol: PROTOCOL,
            cluster: ClusterId::from(&cluster()),
            node: claimed,
            raft: RaftId(1),
            link: LinkKind::Control,
        };
        send.write_chunk(encode_greeting(&hello).unwrap()).await.ok();
        return connection.closed().await;
    }
    connection.closed().await
}

/// Takes any server for the one it wanted.
#[derive(Debug)]
struct Gullible;

impl rustls::client::danger::ServerCertVerifier for Gullible {
    fn verify_server_cert(
        &self,
        _end_entity: &rustls_pki_types::CertificateDer<'_>,
        _intermediates: &[rustls_pki_types::CertificateDer<'_>],
        _server_name: &rustls_pki_types::ServerName<'_>,
        _ocsp_response: &[u8],
        _now: rustls_pki_types::UnixTime,
    ) -> Result<rustls::client::danger::ServerCertVerified, rustls::Error> {
        Ok(rustls::client::danger::ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        _message: &[u8],
        _cert: &rustls_pki_types::CertificateDer<'_>,
        _signature: &rustls::DigitallySignedStruct,
    ) -> Result<rustls::client::danger::HandshakeSignatureValid, rustls::Error> {
        Ok(rustls::client::danger::HandshakeSignatureValid::assertion())
    }

    fn verify_tls13_signature(
        &self,
        _message: &[u8],
        _cert: &rustls_pki_types::CertificateDer<'_>,
        _signature: &rustls::DigitallySignedStruct,
    ) -> Result<rustls::client::danger::HandshakeSignatureValid, rustls::Error> {
        Ok(rustls::client::danger::HandshakeSignatureValid::assertion())
    }

    fn supported_verify_schemes(&self) -> Vec<rustls::SignatureScheme> {
        rustls::crypto::ring::default_provider()
            .signature_verification_algorithms
            .supported_schemes()
    }
}

#[tokio::test]
async fn whoever_claims_another_id_is_refused_and_the_log_says_so() {
    let (log, _guard) = Log::collect();
    let (certs, a, _b) = pair();
    let refused = rogue(certs.path(), Some(C), B, a.address).await;
    assert!(refused.to_string().contains("claims to be node 2"), "{refused}");
    let text = log.text();
    assert!(text.contains("it claims to be node 2, and its certificate is of node 3"), "{text}");
    assert!(text.contains("remote=127.0.0.1:"), "{text}");
}

#[tokio::test]
async fn whoever_has_no_certificate_is_refused_and_the_log_says_so() {
    let (log, _guard) = Log::collect();
    let (certs, a, _b) = pair();
    rogue(certs.path(), None, B, a.address).await;
    eventually("the refusal is logged", || log.text().contains("refused a connection")).await;
    let text = log.text();
    assert!(text.contains("peer sent no certificates"), "{text}");
}

#[tokio::test]
async fn a_second_process_with_this_nodes_certificate_is_refused() {
    let (certs, a, _b) = pair();
    let refused = rogue(certs.path(), Some(A), A, a.address).await;
    assert!(refused.to_string().contains("another process"), "{refused}");
}

#[tokio::test]
async fn an_address_that_belongs_to_another_node_is_not_taken_for_this_one() {
    let (_certs, a, b) = pair();
    a.mesh.addresses().set(C, b.address);
    let error = a.mesh.call(C, Class::Query, Bytes::new(), LONG).await.unwrap_err();
    let MeshError::Unreachable { reason, .. } = &error else { panic!("{error}") };
    assert!(reason.contains("node 2, and node 3 was expected"), "{reason}");
    assert!(b.handler.raft.lock().unwrap().is_empty());
}

#[tokio::test]
async fn a_node_does_not_start_with_certificates_that_are_not_its_own() {
    let certs = certificates();
    let mut wrong = options(certs.path(), A);
    wrong.cert = certs.path().join("node-2.pem");
    let error = bind(wrong).err().unwrap().to_string();
    assert!(error.contains("is the certificate of node 2, this is node 1"), "{error}");
    let mut wrong = options(certs.path(), A);
    wrong.key = certs.path().join("node-2.key");
    let error = bind(wrong).err().unwrap().to_string();
    assert!(error.contains("is not the private key of"), "{error}");
    let mut wrong = options(certs.path(), A);
    wrong.ca = certificates().path().join("ca.pem");
    let error = bind(wrong).err().unwrap().to_string();
    assert!(error.contains("cannot read"), "{error}");
    let foreign = certificates();
    let mut wrong = options(certs.path(), A);
    wrong.ca = foreign.path().join("ca.pem");
    let error = bind(wrong).err().unwrap().to_string();
    assert!(error.contains("is not signed by the authority"), "{error}");
    let mut wrong = options(certs.path(), A);
    wrong.cluster = "other".parse().unwrap();
    let error = bind(wrong).err().unwrap().to_string();
    assert!(error.contains("is a certificate of cluster demo"), "{error}");
}

/// Does the same to everything that is sent.
struct OnSend(LinkAction);

impl LinkHook for OnSend {
    fn on_send(&self, _peer: NodeId, traffic: Traffic) -> LinkAction {
        if traffic == Traffic::Connect { LinkAction::Pass } else { self.0 }
    }

    fn on_receive(&self, _peer: NodeId, _traffic: Traffic) -> LinkAction {
        LinkAction::Pass
    }
}

#[tokio::test]
async fn faults_act_on_the_link_and_end_when_they_are_disarmed() {
    let (_certs, a, b) = pair();
    let hooks = a.mesh.hooks();
    let ping = || Bytes::from_static(b"ping");
    for class in [Class::Raft, Class::Query] {
        a.mesh.call(B, class, ping(), LONG).await.unwrap();
        hooks.arm(Arc::new(OnSend(LinkAction::Cut)));
        let cut = a.mesh.call(B, class, ping(), LONG).await;
        assert!(matches!(cut, Err(MeshError::Unreachable { .. })), "{cut:?}");
        hooks.arm(Arc::new(OnSend(LinkAction::Drop)));
        let lost = a.mesh.call(B, class, ping(), Duration::from_millis(100)).await;
        assert!(matches!(lost, Err(MeshError::TimedOut { .. })), "{lost:?}");
        let delay = Duration::from_millis(150);
        hooks.arm(Arc::new(OnSend(LinkAction::Delay(delay))));
        let begin = Instant::now();
        let calls: FuturesUnordered<_> =
            (0..20).map(|_| a.mesh.call(B, class, ping(), LONG)).collect();
        assert!(calls.all(|answer| async move { answer.is_ok() }).await);
        // Delayed side by side, not one after the other.
        assert!(begin.elapsed() >= delay && begin.elapsed() < delay * 10);
        // The other direction: answers to what the peer asks are delayed as well.
        let begin = Instant::now();
        b.mesh.call(A, class, ping(), LONG).await.unwrap();
        assert!(begin.elapsed() >= delay);
        hooks.disarm();
        a.mesh.call(B, class, ping(), LONG).await.unwrap();
    }
}

#[tokio::test]
async fn too_many_requests_at_once_are_turned_away() {
    let certs = certificates();
    let mut few = options(certs.path(), A);
    few.in_flight_max.raft = 4;
    let a = bind(few).unwrap();
    let b = bind(options(certs.path(), B)).unwrap();
    introduce(&[&a, &b]);
    a.mesh.call(B, Class::Raft, Bytes::new(), LONG).await.unwrap();
    let waiting: Vec<_> =
        (0..4).map(|_| a.mesh.call(B, Class::Raft, Bytes::from_static(b"never"), LONG)).collect();
    let more = a.mesh.call(B, Class::Raft, Bytes::new(), LONG).await;
    assert_eq!(more, Err(MeshError::Overloaded { to: B, class: Class::Raft }));
    drop(waiting);
    a.mesh.call(B, Class::Raft, Bytes::new(), LONG).await.unwrap();
}

#[tokio::test]
async fn a_datagram_arrives_also_before_the_first_connection() {
    let (_certs, a, b) = pair();
    a.mesh.send_datagram(B, Bytes::from(vec![1; 1178])).unwrap();
    tokio::time::timeout(LONG, b.handler.release.notified()).await.unwrap();
    let unknown = a.mesh.send_datagram(C, Bytes::new());
    assert!(matches!(unknown, Err(MeshError::Unreachable { .. })));
}

fn start_gossip(node: &Node, seeds: Vec<SocketAddr>, raft: u64) -> GossipHandle {
    let started_at_ms =
        u64::try_from(SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_millis()).unwrap();
    let identity = Identity {
        node: node.mesh.node(),
        incarnation: started_at_ms,
        raft: RaftId(raft),
        address: node.address,
    };
    let info = NodeInfo {
        pop: "mil".parse().unwrap(),
        labels: BTreeSet::new(),
        http: node.address,
        admin: node.address,
        mesh: node.address,
        version: "0.1.0".to_owned(),
        state: NodeState::Joining,
        started_at_ms,
    };
    let cluster = ClusterId::from(&cluster());
    let gossip =
        Gossip::new(Instant::now(), cluster, identity, info, Options::default(), raft).unwrap();
    let (handle, gossip) = GossipLoop::new(gossip, seeds, None);
    *node.handler.gossip.lock().unwrap() = Some(handle.clone());
    tokio::spawn(gossip.run(node.mesh.clone()));
    handle
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn three_nodes_find_each_other_through_one_seed() {
    let certs = certificates();
    let nodes: Vec<_> =
        [A, B, C].into_iter().map(|node| bind(options(certs.path(), node)).unwrap()).collect();
    let seed = nodes[0].address;
    let handles: Vec<_> =
        nodes.iter().zip(1..).map(|(node, raft)| start_gossip(node, vec![seed], raft)).collect();
    let complete = |handle: &GossipHandle| {
        let view = handle.view();
        view.up().filter(|member| member.info.is_some()).count() == 3
    };
    let begin = Instant::now();
    eventually("three members everywhere", || handles.iter().all(complete)).await;
    println!("three nodes know each other after {:?}", begin.elapsed());

    handles[1].set_state(NodeState::Up).await;
    handles[2].set_shard_map_version(7).await;
    eventually("news reaches all", || {
        handles.iter().all(|handle| {
            let view = handle.view();
            view.members[&B].info.as_ref().is_some_and(|info| info.state == NodeState::Up)
                && view.shard_map == (7, C)
        })
    })
    .await;
    // Addresses came with the gossip: nodes that never met can talk.
    nodes[2].mesh.call(B, Class::Query, Bytes::new(), LONG).await.unwrap();

    handles[2].leave().await;
    nodes[2].mesh.close(LONG).await;
    eventually("the farewell is heard", || {
        handles[..2].iter().all(|handle| handle.view().members[&C].liveness == Liveness::Left)
    })
    .await;
}

/// Not a check but a number: round trips per second with 64 requests under way.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn round_trips() {
    let (_certs, a, _b) = pair();
    for class in [Class::Raft, Class::Query] {
        a.mesh.call(B, class, Bytes::new(), LONG).await.unwrap();
        let done = Arc::new(AtomicU64::new(0));
        let begin = Instant::now();
        let time = Duration::from_secs(1);
        let workers: Vec<_> = (0..64)
            .map(|_| {
                let (mesh, done) = (a.mesh.clone(), Arc::clone(&done));
                let payload = Bytes::from(vec![7; 128]);
                tokio::spawn(async move {
                    while begin.elapsed() < time {
                        mesh.call(B, class, payload.clone(), LONG).await.unwrap();
                        done.fetch_add(1, Ordering::Relaxed);
                    }
                })
            })
            .collect();
        for worker in workers {
            worker.await.unwrap();
        }
        let count = done.load(Ordering::Relaxed);
        println!("{class}: {count} round trips of 128 bytes in {:?}", begin.elapsed());
        assert!(count > 0);
    }
}
