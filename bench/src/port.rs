//! What the harness needs from outside: something that answers requests.

use std::{fmt, future::Future, time::Duration};

use serde::{Serialize, Serializer};

use crate::workload::Request;

/// A mesh, or anything else with the same API.
pub trait Target: Send + Sync + 'static {
    /// Sends one request and waits for the whole answer, no longer than `deadline`.
    fn send(&self, request: &Request, deadline: Duration) -> impl Future<Output = Outcome> + Send;
}

/// What one request came to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Outcome {
    /// An answer, whatever its status.
    Answered(Answer),
    /// No connection could be made: nothing was sent.
    NotConnected,
    /// The connection failed after the request may have been sent.
    Broken,
    /// No answer within the deadline.
    TimedOut,
}

/// An answer, as far as the harness looks at it.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Answer {
    /// Its status.
    pub status: u16,
    /// Where it came from.
    pub source: Option<Source>,
    /// The version that a session has now.
    pub version: Option<String>,
    /// The value that a session holds.
    pub value: Option<u64>,
    /// Of a refusal: whether the problem says that the write was (not) applied.
    pub applied: Option<bool>,
}

/// Where an answer came from, as its `Cache-Status` (RFC 9211) says.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Source {
    /// The asked node: its cache or its replica.
    Hit,
    /// Another node's replica.
    Peer,
    /// The origin.
    Origin,
}

/// Why a request did not succeed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum ErrorKind {
    /// An answer that is no success.
    Status(u16),
    /// No answer within the deadline.
    Timeout,
    /// No connection could be made.
    NotConnected,
    /// The connection failed before the whole answer was there.
    Broken,
    /// Never sent: too many others were waiting.
    NotStarted,
}

impl fmt::Display for ErrorKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Status(status) => write!(f, "status-{status}"),
            Self::Timeout => f.write_str("timeout"),
            Self::NotConnected => f.write_str("not-connected"),
            Self::Broken => f.write_str("broken"),
            Self::NotStarted => f.write_str("not-started"),
        }
    }
}

impl Serialize for ErrorKind {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl Outcome {
    /// Why this is no success; `None` for one.
    #[must_use]
    pub const fn error(&self) -> Option<ErrorKind> {
        match self {
            Self::Answered(Answer { status: 200..=299, .. }) => None,
            Self::Answered(answer) => Some(ErrorKind::Status(answer.status)),
            Self::NotConnected => Some(ErrorKind::NotConnected),
            Self::Broken => Some(ErrorKind::Broken),
            Self::TimedOut => Some(ErrorKind::Timeout),
        }
    }
}
