//! Answers on their way to the client: in pieces, and watched.

use std::{
    cell::Cell,
    fmt,
    pin::Pin,
    task::{Context, Poll, ready},
    time::Duration,
};

use bytes::Bytes;
use http_body::{Body as HttpBody, Frame, SizeHint};
use tokio::time::{Instant, Sleep};

use super::{activity::Underway, metrics::ConnectionMetrics};
use crate::http::body::{Body, BodyError};

/// Bytes of one piece of an answer. What a client does not take is held in pieces of this size.
const PIECE_BYTES: usize = 32 << 10;

/// The body of an answer: as the handler made it, in pieces where many share a connection.
pub(super) struct Answer {
    inner: Body,
    /// What is left of a frame that is larger than a piece.
    rest: Bytes,
    in_pieces: bool,
    underway: Underway,
}

impl fmt::Debug for Answer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Answer").finish_non_exhaustive()
    }
}

impl Answer {
    /// `in_pieces`: for HTTP/2 and HTTP/3, where what was handed over is held until the client takes it,
    /// without anybody waiting.
    pub(super) fn new(inner: Body, in_pieces: bool, mut underway: Underway) -> Self {
        if inner.is_end_stream() {
            underway.answered();
        }
        Self { inner, rest: Bytes::new(), in_pieces, underway }
    }

    /// The next piece of the rest.
    fn piece(&mut self) -> Bytes {
        if self.rest.len() > PIECE_BYTES {
            return self.rest.split_to(PIECE_BYTES);
        }
        // The last piece is copied: a client that does not take it would hold all of the frame, which
        // may be a large object that the cache threw out long ago.
        let last = Bytes::copy_from_slice(&self.rest);
        self.rest = Bytes::new();
        last
    }
}

impl HttpBody for Answer {
    type Data = Bytes;
    type Error = BodyError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        let this = &mut *self;
        STEP.set(Some(Step::Waits));
        let frame = if this.rest.is_empty() {
            match ready!(Pin::new(&mut this.inner).poll_frame(cx)) {
                Some(Ok(frame)) => frame,
                other => {
                    if other.is_none() {
                        this.underway.answered();
                    }
                    return Poll::Ready(other);
                }
            }
        } else {
            Frame::data(this.piece())
        };
        STEP.set(Some(Step::Gave));
        let frame = match frame.into_data() {
            Ok(data) if this.in_pieces && data.len() > PIECE_BYTES => {
                this.rest = data;
                Frame::data(this.piece())
            }
            Ok(data) => Frame::data(data),
            Err(trailers) => trailers,
        };
        if this.is_end_stream() {
            this.underway.answered();
        }
        Poll::Ready(Some(Ok(frame)))
    }

    fn is_end_stream(&self) -> bool {
        self.rest.is_empty() && self.inner.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        let inner = self.inner.size_hint();
        let rest = self.rest.len() as u64;
        let mut hint = SizeHint::new();
        hint.set_lower(inner.lower() + rest);
        if let Some(upper) = inner.upper() {
            hint.set_upper(upper + rest);
        }
        hint
    }
}

/// What an answer did when it was polled last.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Step {
    /// It gave something, which is the client's to take.
    Gave,
    /// It has nothing to give yet.
    Waits,
}

thread_local! {
    /// What the answer of the stream that is being polled on this thread did. Set and read within one
    /// poll of the stream, which the answer is polled by.
    static STEP: Cell<Option<Step>> = const { Cell::new(None) };
}

/// Runs the streams of an HTTP/2 connection, and resets those whose client takes nothing.
#[derive(Debug, Clone)]
pub(super) struct StreamExecutor {
    pub(super) timeout: Duration,
    pub(super) metrics: ConnectionMetrics,
}

impl<F> hyper::rt::Executor<F> for StreamExecutor
where
    F: Future<Output = ()> + Send + 'static,
{
    fn execute(&self, future: F) {
        let Self { timeout, metrics } = self.clone();
        let stream = Stream { inner: Box::pin(future), timeout, blocked: None, metrics };
        // It ends with its connection: every wait in it is for the connection, or has a deadline.
        tokio::spawn(stream);
    }
}

/// One stream of an HTTP/2 connection.
struct Stream<F> {
    inner: Pin<Box<F>>,
    timeout: Duration,
    /// Armed while the client has something to take.
    blocked: Option<Pin<Box<Sleep>>>,
    metrics: ConnectionMetrics,
}

impl<F: Future<Output = ()>> Future for Stream<F> {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        let this = &mut *self;
        STEP.set(None);
        if this.inner.as_mut().poll(cx).is_ready() {
            return Poll::Ready(());
        }
        match STEP.take() {
            Some(Step::Gave) => {
                let deadline = Instant::now() + this.timeout;
                match &mut this.blocked {
                    Some(timer) => timer.as_mut().reset(deadline),
                    None => this.blocked = Some(Box::pin(tokio::time::sleep_until(deadline))),
                }
            }
            Some(Step::Waits) => this.blocked = None,
            // It was not asked: whatever was the case still is.
            None => {}
        }
        let Some(timer) = &mut this.blocked else { return Poll::Pending };
        ready!(timer.as_mut().poll(cx));
        this.metrics.stalled();
        // Dropping the stream resets it.
        Poll::Ready(())
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use http_body_util::BodyExt as _;

    use super::*;
    use crate::http::{body::full, server::activity::Activity};

    #[tokio::test]
    async fn a_large_frame_comes_in_pieces_of_which_the_last_is_a_copy() {
        let activity = Arc::new(Activity::default());
        let all = Bytes::from(vec![7; 2 * PIECE_BYTES + 5]);
        let mut answer = Answer::new(full(all.clone()), true, activity.begin());
        assert_eq!(answer.size_hint().exact(), Some(all.len() as u64));
        let mut sizes = Vec::new();
        let mut last = Bytes::new();
        while let Some(frame) = answer.frame().await {
            last = frame.unwrap().into_data().unwrap();
            sizes.push(last.len());
        }
        assert_eq!(sizes, [PIECE_BYTES, PIECE_BYTES, 5]);
        assert!(!all.as_ptr_range().contains(&last.as_ptr()));
        drop(answer);
        assert!(activity.is_idle());

        let whole = Answer::new(full(all.clone()), false, activity.begin());
        assert_eq!(whole.collect().await.unwrap().to_bytes().as_ptr(), all.as_ptr());
    }
}
