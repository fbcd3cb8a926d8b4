//! Bodies of requests, whatever the protocol.

use std::{
    error::Error,
    fmt,
    pin::Pin,
    task::{Context, Poll, ready},
    time::Duration,
};

use bytes::Bytes;
use http_body::{Body as HttpBody, Frame, SizeHint};
use hyper::body::Incoming;
use tokio::time::{Instant, Sleep};

use super::http3::Http3Body;

/// The body of a request.
pub struct RequestBody {
    source: Source,
    idle: Option<Duration>,
    /// Armed while the client is waited for.
    waiting: Option<Pin<Box<Sleep>>>,
}

enum Source {
    /// Of HTTP/1.1 and HTTP/2.
    Http(Incoming),
    Http3(Box<Http3Body>),
    Empty,
}

/// Why the rest of a body does not come.
#[derive(Debug, thiserror::Error)]
pub enum RequestBodyError {
    /// The connection, or the body in it, broke off.
    #[error("{}", chain(.0.as_ref()))]
    Broken(Box<dyn Error + Send + Sync>),
    /// The client sent nothing for this long.
    #[error("no part of it arrived for {} s", .0.as_secs_f64())]
    Idle(Duration),
}

/// An error with its causes.
fn chain(error: &dyn Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(inner) = source {
        text = format!("{text}: {inner}");
        source = inner.source();
    }
    text
}

impl RequestBody {
    /// No body.
    #[must_use]
    pub const fn empty() -> Self {
        Self { source: Source::Empty, idle: None, waiting: None }
    }

    pub(super) fn http3(body: Http3Body) -> Self {
        Self { source: Source::Http3(Box::new(body)), idle: None, waiting: None }
    }

    /// It breaks off when no part of it arrives for this long.
    #[must_use]
    pub fn idle_after(mut self, idle: Duration) -> Self {
        self.idle = Some(idle);
        self
    }
}

impl From<Incoming> for RequestBody {
    fn from(body: Incoming) -> Self {
        let source = if body.is_end_stream() { Source::Empty } else { Source::Http(body) };
        Self { source, idle: None, waiting: None }
    }
}

impl fmt::Debug for RequestBody {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RequestBody").finish_non_exhaustive()
    }
}

impl Source {
    fn poll_frame(
        &mut self,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, RequestBodyError>>> {
        match self {
            Self::Empty => Poll::Ready(None),
            Self::Http(body) => Pin::new(body)
                .poll_frame(cx)
                .map_err(|error| RequestBodyError::Broken(error.into())),
            Self::Http3(body) => {
                body.poll_frame(cx).map_err(|error| RequestBodyError::Broken(error.into()))
            }
        }
    }
}

impl HttpBody for RequestBody {
    type Data = Bytes;
    type Error = RequestBodyError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, RequestBodyError>>> {
        let this = &mut *self;
        if let Poll::Ready(frame) = this.source.poll_frame(cx) {
            this.waiting = None;
            return Poll::Ready(frame);
        }
        let Some(idle) = this.idle else { return Poll::Pending };
        let deadline = Instant::now() + idle;
        let waiting =
            this.waiting.get_or_insert_with(|| Box::pin(tokio::time::sleep_until(deadline)));
        ready!(waiting.as_mut().poll(cx));
        this.source = Source::Empty;
        Poll::Ready(Some(Err(RequestBodyError::Idle(idle))))
    }

    fn is_end_stream(&self) -> bool {
        match &self.source {
            Source::Empty => true,
            Source::Http(body) => body.is_end_stream(),
            Source::Http3(body) => body.is_end_stream(),
        }
    }

    fn size_hint(&self) -> SizeHint {
        match &self.source {
            Source::Empty => SizeHint::with_exact(0),
            Source::Http(body) => body.size_hint(),
            Source::Http3(body) => body.size_hint(),
        }
    }
}
