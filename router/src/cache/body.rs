//! Bodies: taken in up to a bound, or passed on.

use std::{
    collections::VecDeque,
    pin::Pin,
    task::{Context, Poll},
};

use bytes::{Bytes, BytesMut};
use http_body::{Body as HttpBody, Frame, SizeHint};
use http_body_util::{BodyExt, Empty, Full};

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

/// A body that was read up to a bound.
pub(crate) enum Collected {
    /// All of it.
    Whole(Bytes),
    /// It is longer, or has trailers: what was read, then the rest.
    Longer(Body),
}

/// Reads at most `bytes_max` bytes.
pub(crate) async fn collect(mut body: Body, bytes_max: usize) -> Result<Collected, BodyError> {
    let mut chunks = VecDeque::new();
    let mut length = 0_usize;
    while let Some(frame) = body.frame().await {
        match frame?.into_data() {
            Ok(chunk) => {
                length = length.saturating_add(chunk.len());
                chunks.push_back(Frame::data(chunk));
            }
            // Trailers are not stored, so a response that has any is passed on.
            Err(trailers) => {
                chunks.push_back(trailers);
                length = usize::MAX;
            }
        }
        if length > bytes_max {
            return Ok(Collected::Longer(Prefixed { chunks, rest: body }.boxed_unsync()));
        }
    }
    let mut chunks = chunks.into_iter().filter_map(|frame| frame.into_data().ok());
    let Some(first) = chunks.next() else { return Ok(Collected::Whole(Bytes::new())) };
    if first.len() == length {
        return Ok(Collected::Whole(first));
    }
    let mut whole = BytesMut::with_capacity(length);
    whole.extend_from_slice(&first);
    chunks.for_each(|chunk| whole.extend_from_slice(&chunk));
    Ok(Collected::Whole(whole.freeze()))
}

/// What was read already, then the rest.
struct Prefixed {
    chunks: VecDeque<Frame<Bytes>>,
    rest: Body,
}

impl HttpBody for Prefixed {
    type Data = Bytes;
    type Error = BodyError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        match self.chunks.pop_front() {
            Some(frame) => Poll::Ready(Some(Ok(frame))),
            None => Pin::new(&mut self.rest).poll_frame(context),
        }
    }

    fn is_end_stream(&self) -> bool {
        self.chunks.is_empty() && self.rest.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        let read: usize = self.chunks.iter().filter_map(Frame::data_ref).map(Bytes::len).sum();
        let read = read as u64;
        let rest = self.rest.size_hint();
        let mut hint = SizeHint::new();
        if let Some(upper) = rest.upper() {
            hint.set_upper(upper.saturating_add(read));
        }
        hint.set_lower(rest.lower().saturating_add(read));
        hint
    }
}

#[cfg(test)]
mod tests {
    use futures::stream;
    use http_body_util::StreamBody;

    use super::*;

    fn chunked(chunks: &[&'static str]) -> Body {
        let frames: Vec<Result<_, BodyError>> = chunks
            .iter()
            .map(|chunk| Ok(Frame::data(Bytes::from_static(chunk.as_bytes()))))
            .collect();
        StreamBody::new(stream::iter(frames)).boxed_unsync()
    }

    #[tokio::test]
    async fn a_body_up_to_the_bound_is_whole_and_a_longer_one_loses_nothing() {
        for chunks in [&["abc"][..], &["a", "b", "c"], &["", "abc"], &["ab", "", "c"]] {
            match collect(chunked(chunks), 3).await.unwrap() {
                Collected::Whole(bytes) => assert_eq!(bytes, "abc"),
                Collected::Longer(_) => panic!("{chunks:?}"),
            }
            match collect(chunked(chunks), 2).await.unwrap() {
                Collected::Longer(body) => {
                    assert_eq!(body.collect().await.unwrap().to_bytes(), "abc");
                }
                Collected::Whole(_) => panic!("{chunks:?}"),
            }
        }
        assert!(matches!(collect(empty(), 0).await.unwrap(), Collected::Whole(b) if b.is_empty()));
    }

    #[tokio::test]
    async fn a_body_that_breaks_off_is_an_error() {
        let frames: [Result<_, BodyError>; 2] =
            [Ok(Frame::data(Bytes::from_static(b"a"))), Err("reset".into())];
        assert!(collect(StreamBody::new(stream::iter(frames)).boxed_unsync(), 9).await.is_err());
    }
}
