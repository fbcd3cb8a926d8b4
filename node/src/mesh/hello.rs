//! How a connection begins: handshake, then both sides say who they are.

use std::{net::SocketAddr, sync::Arc};

use hexpop_edge_config::NodeId;
use quinn::{Connection, ConnectionError, Incoming, RecvStream, SendStream, VarInt};
use serde::de::DeserializeOwned;

use super::{
    LinkAction, Traffic,
    endpoint::Core,
    frame::{
        HELLO_BYTES_MAX, Hello, LinkKind, PROTOCOL, Welcome, decode_greeting, encode_greeting,
    },
    tls::peer_node,
};

/// Application error codes of closed connections.
pub(super) mod close {
    use quinn::VarInt;

    /// The node closes its mesh.
    pub(in crate::mesh) const CLOSING: VarInt = VarInt::from_u32(0);
    /// The peer is not welcome; the reason says why.
    pub(in crate::mesh) const REFUSED: VarInt = VarInt::from_u32(1);
    /// The peer broke the protocol; the reason says how.
    pub(in crate::mesh) const PROTOCOL: VarInt = VarInt::from_u32(2);
    /// A newer connection takes this one's place.
    pub(in crate::mesh) const REPLACED: VarInt = VarInt::from_u32(3);
    /// The connection has done what it was made for.
    pub(in crate::mesh) const DONE: VarInt = VarInt::from_u32(4);
}

/// An established connection, both sides known, and the stream of the greeting.
pub(super) struct Established {
    pub(super) connection: Connection,
    pub(super) node: NodeId,
    pub(super) link: LinkKind,
    pub(super) send: SendStream,
    pub(super) recv: RecvStream,
}

/// Why a connection is not established, in words for the log of this side.
pub(super) type Problem = String;

/// Connects to `address`, and accepts only `expected` there if that is given.
///
/// The caller bounds the time.
pub(super) async fn connect(
    core: &Arc<Core>,
    address: SocketAddr,
    expected: Option<NodeId>,
    link: LinkKind,
) -> Result<Established, Problem> {
    if let Some(node) = expected {
        match core.hooks.on_send(node, Traffic::Connect) {
            LinkAction::Pass => {}
            LinkAction::Delay(delay) => tokio::time::sleep(delay).await,
            LinkAction::Drop | LinkAction::Cut => return Err("the link is cut".to_owned()),
        }
    }
    let config = core.client_config(expected, link).map_err(|error| error.to_string())?;
    let connection = core
        .endpoint
        .connect_with(config, address, "hexpop")
        .map_err(|error| error.to_string())?
        .await
        .map_err(|error| connection_problem(&error))?;
    greet(core, connection, expected, link).await
}

async fn greet(
    core: &Arc<Core>,
    connection: Connection,
    expected: Option<NodeId>,
    link: LinkKind,
) -> Result<Established, Problem> {
    let node = peer_node(&connection, &core.options.cluster)
        .ok_or_else(|| "the peer's certificate is of no node".to_owned())?;
    if node == core.options.node && expected.is_none() {
        // A seed list may contain this node itself.
        let (send, recv) =
            connection.open_bi().await.map_err(|error| connection_problem(&error))?;
        return Ok(Established { connection, node, link, send, recv });
    }
    let (mut send, mut recv) =
        connection.open_bi().await.map_err(|error| connection_problem(&error))?;
    let hello = Hello {
        protocol: PROTOCOL,
        cluster: core.cluster,
        node: core.options.node,
        raft: core.options.raft,
        link,
    };
    let greeting = encode_greeting(&hello).map_err(|error| error.to_string())?;
    // When the peer closes the connection its reason says more than the failed write or read.
    let explain = |error: Problem| {
        connection.close_reason().map_or(error, |reason| connection_problem(&reason))
    };
    send.write_chunk(greeting).await.map_err(|error| explain(error.to_string()))?;
    let welcome: Welcome = read_greeting(&mut recv).await.map_err(explain)?;
    if welcome.node != node {
        return Err(format!(
            "the peer says that it is node {}, and its certificate is of node {node}",
            welcome.node
        ));
    }
    Ok(Established { connection, node, link, send, recv })
}

/// Why a peer is not let in.
#[derive(Debug)]
pub(super) enum Unwelcome {
    /// It left of its own accord, as one does that only asked who is here.
    Gone,
    /// It must not come in.
    Because(Problem),
}

/// Lets a peer in, or says why not.
///
/// The caller bounds the time.
pub(super) async fn accept(core: &Arc<Core>, incoming: Incoming) -> Result<Established, Unwelcome> {
    let connection =
        incoming.await.map_err(|error| Unwelcome::Because(connection_problem(&error)))?;
    let problem = match welcome(core, &connection).await {
        Ok(established) => return Ok(established),
        Err(problem) => problem,
    };
    if let Some(ConnectionError::ApplicationClosed(closed)) = connection.close_reason()
        && [close::DONE, close::CLOSING].contains(&closed.error_code)
    {
        return Err(Unwelcome::Gone);
    }
    let reason = problem.get(..problem.floor_char_boundary(200)).unwrap_or_default();
    connection.close(close::REFUSED, reason.as_bytes());
    Err(Unwelcome::Because(problem))
}

async fn welcome(core: &Arc<Core>, connection: &Connection) -> Result<Established, Problem> {
    let node = peer_node(connection, &core.options.cluster)
        .ok_or_else(|| "its certificate is of no node".to_owned())?;
    let (mut send, mut recv) =
        connection.accept_bi().await.map_err(|error| connection_problem(&error))?;
    let hello: Hello = read_greeting(&mut recv).await?;
    check(core, node, &hello)?;
    match core.hooks.on_receive(node, Traffic::Connect) {
        LinkAction::Pass => {}
        LinkAction::Delay(delay) => tokio::time::sleep(delay).await,
        LinkAction::Drop | LinkAction::Cut => return Err("the link is cut".to_owned()),
    }
    let answer = Welcome { node: core.options.node, raft: core.options.raft };
    let answer = encode_greeting(&answer).map_err(|error| error.to_string())?;
    send.write_chunk(answer).await.map_err(|error| error.to_string())?;
    Ok(Established { connection: connection.clone(), node, link: hello.link, send, recv })
}

fn check(core: &Core, node: NodeId, hello: &Hello) -> Result<(), Problem> {
    if hello.protocol != PROTOCOL {
        return Err(format!(
            "it speaks protocol version {}, this node speaks {PROTOCOL}",
            hello.protocol
        ));
    }
    if hello.cluster != core.cluster {
        return Err(format!("it belongs to cluster {}, this is {}", hello.cluster, core.cluster));
    }
    if hello.node != node {
        return Err(format!(
            "it claims to be node {}, and its certificate is of node {node}",
            hello.node
        ));
    }
    if node == core.options.node {
        return Err(format!(
            "it claims to be node {node}, which is this node: is another process running with \
             this node's certificate?"
        ));
    }
    Ok(())
}

async fn read_greeting<T: DeserializeOwned>(recv: &mut RecvStream) -> Result<T, Problem> {
    let unread = |error: quinn::ReadExactError| format!("no greeting: {error}");
    let mut length = [0; 2];
    recv.read_exact(&mut length).await.map_err(unread)?;
    let length = usize::from(u16::from_be_bytes(length));
    if length > HELLO_BYTES_MAX {
        return Err(format!("a greeting of {length} bytes is over the limit of {HELLO_BYTES_MAX}"));
    }
    let mut record = vec![0; length];
    recv.read_exact(&mut record).await.map_err(unread)?;
    decode_greeting(&record).map_err(|error| error.to_string())
}

/// What to say about a connection that ended.
pub(super) fn connection_problem(error: &ConnectionError) -> Problem {
    match error {
        ConnectionError::ApplicationClosed(close) => {
            let reason = String::from_utf8_lossy(&close.reason);
            let reason: String = reason.chars().take(300).collect();
            if close.error_code == close::REFUSED {
                format!("the peer refused: {reason}")
            } else if close.error_code == VarInt::from_u32(0) {
                "the peer closed the connection".to_owned()
            } else {
                format!("the peer closed the connection: {reason}")
            }
        }
        ConnectionError::ConnectionClosed(close) => {
            let reason: String = String::from_utf8_lossy(&close.reason).chars().take(300).collect();
            format!(
                "the peer broke the handshake off: {} ({})",
                in_words(&reason),
                close.error_code
            )
        }
        ConnectionError::TransportError(error) if !error.reason.is_empty() => {
            in_words(&error.reason)
        }
        ConnectionError::TimedOut => "nothing heard in time".to_owned(),
        ConnectionError::Reset => "the peer was started anew".to_owned(),
        ConnectionError::VersionMismatch
        | ConnectionError::TransportError(_)
        | ConnectionError::LocallyClosed
        | ConnectionError::CidsExhausted => error.to_string(),
    }
}

/// What the TLS library says, with what it means here.
fn in_words(reason: &str) -> String {
    let reason = reason.strip_prefix("unexpected error: ").unwrap_or(reason);
    // Authorities of one cluster name are told apart only by their keys: then the signature is bad.
    if reason.contains("UnknownIssuer") || reason.contains("BadSignature") {
        format!("{reason}: it is not signed by this cluster's authority")
    } else if reason.contains("no certificates") {
        format!("{reason}: it has no certificate of this cluster")
    } else {
        reason.to_owned()
    }
}
