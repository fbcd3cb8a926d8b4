//! Bodies of HTTP/3 requests.

use std::{
    future::poll_fn,
    task::{Context, Poll, ready},
};

use bytes::{Buf as _, Bytes};
use h3::{error::StreamError, server::RequestStream};
use http_body::{Frame, SizeHint};

use super::frames::Bounded;

/// The body of an HTTP/3 request.
pub(in crate::http::server) struct Http3Body {
    stream: RequestStream<Bounded, Bytes>,
    /// What came while it was found out whether there is a body.
    first: Option<Bytes>,
    /// What is to come, if the client said how much.
    left: Option<u64>,
    state: State,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    Data,
    Trailers,
    Ended,
}

/// Why a body of HTTP/3 breaks off.
#[derive(Debug, thiserror::Error)]
pub(in crate::http::server) enum Http3BodyError {
    /// The stream or its connection ended.
    #[error(transparent)]
    Stream(#[from] StreamError),
    /// RFC 9114 §4.1.2: it is longer or shorter than its `Content-Length`.
    #[error("its length is not its Content-Length")]
    Length,
}

impl Http3Body {
    pub(super) fn new(stream: RequestStream<Bounded, Bytes>, length: Option<u64>) -> Self {
        Self { stream, first: None, left: length, state: State::Data }
    }

    /// Whether the client sends no body: waits for its first bytes or its end.
    pub(super) async fn is_empty(&mut self) -> Result<bool, StreamError> {
        let first = poll_fn(|cx| self.poll_data(cx)).await?;
        let is_empty = first.is_none();
        if is_empty {
            self.state = State::Trailers;
        }
        self.first = first;
        Ok(is_empty)
    }

    fn poll_data(&mut self, cx: &mut Context<'_>) -> Poll<Result<Option<Bytes>, StreamError>> {
        let data = ready!(self.stream.poll_recv_data(cx))?;
        // No copy: it is a part of the packet that it came in.
        Poll::Ready(Ok(data.map(|mut data| data.copy_to_bytes(data.remaining()))))
    }

    pub(in crate::http::server) fn poll_frame(
        &mut self,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Http3BodyError>>> {
        if self.state == State::Data {
            let data = match self.first.take() {
                Some(first) => Some(first),
                None => match ready!(self.poll_data(cx)) {
                    Ok(data) => data,
                    Err(error) => return self.break_off(error.into()),
                },
            };
            match (data, &mut self.left) {
                (Some(data), left) => {
                    if let Some(left) = left {
                        match left.checked_sub(data.len() as u64) {
                            Some(rest) => *left = rest,
                            None => return self.break_off(Http3BodyError::Length),
                        }
                    }
                    return Poll::Ready(Some(Ok(Frame::data(data))));
                }
                (None, Some(1..)) => return self.break_off(Http3BodyError::Length),
                (None, Some(0) | None) => self.state = State::Trailers,
            }
        }
        if self.state == State::Trailers {
            let trailers = ready!(self.stream.poll_recv_trailers(cx));
            self.state = State::Ended;
            return Poll::Ready(match trailers {
                Ok(trailers) => trailers.map(|trailers| Ok(Frame::trailers(trailers))),
                Err(error) => Some(Err(error.into())),
            });
        }
        Poll::Ready(None)
    }

    fn break_off(
        &mut self,
        error: Http3BodyError,
    ) -> Poll<Option<Result<Frame<Bytes>, Http3BodyError>>> {
        self.state = State::Ended;
        Poll::Ready(Some(Err(error)))
    }

    pub(in crate::http::server) fn is_end_stream(&self) -> bool {
        self.state == State::Ended
    }

    pub(in crate::http::server) fn size_hint(&self) -> SizeHint {
        self.left.map_or_else(SizeHint::default, SizeHint::with_exact)
    }
}
