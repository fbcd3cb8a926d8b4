//! Bodies: those that are there already, parts of such, and those that must not stall.

use std::{
    pin::Pin,
    task::{Context, Poll},
    time::Duration,
};

use bytes::Bytes;
use http_body::{Body as HttpBody, Frame, SizeHint};
use http_body_util::{BodyExt, Empty, Full, StreamBody};
use openraft_rt::AsyncRuntime;

use crate::port::{Body, BodyError};

/// A body that is there already.
#[must_use]
pub fn full(bytes: Bytes) -> Body {
    Full::new(bytes).map_err(|never| match never {}).boxed_unsync()
}

/// No body.
#[must_use]
pub fn empty() -> Body {
    Empty::new().map_err(|never| match never {}).boxed_unsync()
}

/// A body of several parts that are there already.
pub(crate) fn chunks(chunks: Vec<Bytes>) -> Body {
    let frames = chunks.into_iter().map(|chunk| Ok::<_, BodyError>(Frame::data(chunk)));
    StreamBody::new(futures::stream::iter(frames)).boxed_unsync()
}

/// Whoever writes a body is silent for too long.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("nothing more came within {0:?}")]
pub(crate) struct Stalled(Duration);

/// A body of which the next part must come within a time. Time in which nobody asks for more does not
/// count.
pub(crate) fn not_stalling<R: AsyncRuntime>(inner: Body, patience: Duration) -> Body {
    NotStalling::<R> { inner, patience, alarm: None }.boxed_unsync()
}

struct NotStalling<R: AsyncRuntime> {
    inner: Body,
    patience: Duration,
    alarm: Option<Pin<Box<R::Sleep>>>,
}

impl<R: AsyncRuntime> HttpBody for NotStalling<R> {
    type Data = Bytes;
    type Error = BodyError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        if let Poll::Ready(frame) = Pin::new(&mut self.inner).poll_frame(context) {
            self.alarm = None;
            return Poll::Ready(frame);
        }
        let patience = self.patience;
        let alarm = self.alarm.get_or_insert_with(|| Box::pin(R::sleep(patience)));
        alarm.as_mut().poll(context).map(|()| Some(Err(Stalled(patience).into())))
    }

    fn is_end_stream(&self) -> bool {
        self.inner.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.inner.size_hint()
    }
}

#[cfg(test)]
mod tests {
    use futures::stream;
    use openraft_rt_tokio::TokioRuntime;

    use super::*;
    use crate::deadline::Deadline;

    #[tokio::test]
    async fn parts_are_one_body() {
        let body = chunks(vec![Bytes::from_static(b"ab"), Bytes::from_static(b"c")]);
        assert_eq!(body.collect().await.unwrap().to_bytes(), "abc");
    }

    #[tokio::test(start_paused = true)]
    async fn a_writer_that_falls_silent_is_given_up() {
        let frames = stream::iter([Ok::<_, BodyError>(Frame::data(Bytes::from_static(b"a")))]);
        let frames = futures::StreamExt::chain(frames, stream::pending());
        let body = StreamBody::new(frames).boxed_unsync();
        let mut body = not_stalling::<TokioRuntime>(body, Duration::from_secs(5));
        assert!(body.frame().await.unwrap().is_ok());
        // Nobody asks meanwhile.
        TokioRuntime::sleep(Duration::from_secs(60)).await;
        let begin = Deadline::<TokioRuntime>::after(Duration::from_secs(5));
        assert!(body.frame().await.unwrap().unwrap_err().to_string().contains("5s"));
        assert!(begin.has_passed());
    }
}
