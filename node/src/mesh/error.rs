//! Why a message did not get through.

use std::{fmt, net::SocketAddr, time::Duration};

use hexpop_edge_config::NodeId;

use super::Class;

/// Why a request to a peer has no answer.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum MeshError {
    /// Nothing was sent: there is no connection, and none can be had right now.
    #[error("node {to} is unreachable: {reason}")]
    Unreachable {
        /// The peer.
        to: NodeId,
        /// What stands in the way, as the last attempt to connect found it.
        reason: String,
    },
    /// The connection broke while the request was under way: the peer may have carried it out.
    #[error("the connection to node {to} broke while a request was under way: {reason}")]
    Interrupted {
        /// The peer.
        to: NodeId,
        /// What broke it.
        reason: String,
    },
    /// No answer came within the deadline: the peer may have carried the request out.
    #[error("node {to} did not answer within {after:?}")]
    TimedOut {
        /// The peer.
        to: NodeId,
        /// The deadline that was given.
        after: Duration,
    },
    /// The peer answered that it does not take the request.
    #[error("node {to} refused: {refused}")]
    Refused {
        /// The peer.
        to: NodeId,
        /// Its reason.
        refused: Refused,
    },
    /// Too many requests of this class are under way or waiting for this peer; nothing was sent.
    #[error("too many {class} requests are under way to node {to}")]
    Overloaded {
        /// The peer.
        to: NodeId,
        /// The class whose bound is reached.
        class: Class,
    },
    /// The payload is longer than its class allows; nothing was sent.
    #[error("a {class} message of {bytes} bytes is over the limit of {bytes_max}")]
    TooLarge {
        /// The class.
        class: Class,
        /// Its length in bytes.
        bytes: usize,
        /// The limit in bytes.
        bytes_max: usize,
    },
    /// The peer does not speak as it should.
    #[error("node {to} broke the protocol: {what}")]
    Protocol {
        /// The peer.
        to: NodeId,
        /// What it did.
        what: String,
    },
    /// The mesh of this node is closed.
    #[error("the mesh of this node is closed")]
    Closed,
}

impl MeshError {
    /// Whether the peer can have carried the request out all the same. A write is repeated after
    /// such an error only if the state machine knows its request id.
    #[must_use]
    pub fn outcome_unknown(&self) -> bool {
        match self {
            Self::Interrupted { .. } | Self::TimedOut { .. } | Self::Protocol { .. } => true,
            Self::Refused { refused, .. } => refused.code == RefusedCode::Deadline,
            Self::Unreachable { .. }
            | Self::Overloaded { .. }
            | Self::TooLarge { .. }
            | Self::Closed => false,
        }
    }

    /// Whether the same request may succeed at another time or with another peer.
    #[must_use]
    pub fn is_retryable(&self) -> bool {
        !matches!(self, Self::TooLarge { .. } | Self::Closed)
    }
}

/// Why a peer does not take a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RefusedCode {
    /// The handler says no; the text says why.
    Handler,
    /// Too many requests are under way there.
    Busy,
    /// The request or its answer is longer than its class allows.
    TooLarge,
    /// The handler did not finish within the deadline that came with the request.
    Deadline,
    /// The node is closing.
    Closing,
}

impl RefusedCode {
    pub(super) const fn to_wire(self) -> u8 {
        match self {
            Self::Handler => 1,
            Self::Busy => 2,
            Self::TooLarge => 3,
            Self::Deadline => 4,
            Self::Closing => 5,
        }
    }

    /// A code of a newer build reads as [`Handler`](Self::Handler): its text still says why.
    pub(super) const fn from_wire(code: u8) -> Self {
        match code {
            2 => Self::Busy,
            3 => Self::TooLarge,
            4 => Self::Deadline,
            5 => Self::Closing,
            _ => Self::Handler,
        }
    }
}

impl fmt::Display for RefusedCode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Handler => "not accepted",
            Self::Busy => "busy",
            Self::TooLarge => "too large",
            Self::Deadline => "deadline passed",
            Self::Closing => "closing",
        })
    }
}

/// A request that is not answered, and why. What a [`MeshHandler`](super::MeshHandler) returns
/// crosses the mesh as it is; the text is cut after [`Refused::TEXT_BYTES_MAX`] bytes.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{code}: {text}")]
pub struct Refused {
    /// What kind of refusal it is.
    pub code: RefusedCode,
    /// The reason in words.
    pub text: String,
}

impl Refused {
    /// How many bytes of the text cross the mesh.
    pub const TEXT_BYTES_MAX: usize = 512;

    /// A refusal by the handler.
    #[must_use]
    pub fn new(text: impl Into<String>) -> Self {
        Self { code: RefusedCode::Handler, text: text.into() }
    }

    pub(super) fn with(code: RefusedCode, text: impl Into<String>) -> Self {
        Self { code, text: text.into() }
    }
}

/// Why the mesh of this node cannot be opened.
#[derive(Debug, thiserror::Error)]
pub enum BindError {
    /// The UDP socket cannot be opened.
    #[error("cannot listen on udp {addr}: {source}")]
    Socket {
        /// The address asked for.
        addr: SocketAddr,
        /// What the system said.
        source: std::io::Error,
    },
    /// The certificates do not do.
    #[error(transparent)]
    Certificates(#[from] crate::certs::CertError),
    /// An option is outside of its range.
    #[error("mesh option {name}: {problem}")]
    Option {
        /// Which one.
        name: &'static str,
        /// What is wrong with it.
        problem: String,
    },
}
