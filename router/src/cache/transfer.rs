//! A body on its way from the origin to whoever reads it: one writer, any number of readers, each at
//! its own pace.
//!
//! As long as the body may be stored, all of it is kept, and a reader may begin at any time. Once it
//! proves too large, only the latest part is kept: the writer then waits for the fastest reader, and a
//! reader that falls behind by more than is kept breaks off.

use std::{
    collections::{BTreeMap, VecDeque},
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, Waker},
};

use bytes::{Bytes, BytesMut};
use http::HeaderMap;
use http_body::{Body as HttpBody, Frame, SizeHint};
use http_body_util::BodyExt as _;
use parking_lot::Mutex;

use crate::port::{Body, BodyError};

/// Bytes that the writer may be ahead of the fastest reader of a body that is not kept.
const AHEAD_MAX: u64 = 256 << 10;

/// Why a reader does not get to the end.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Broken {
    /// The writer did not get there either.
    #[error("the origin's response broke off: {0}")]
    Origin(Arc<str>),
    /// It read too slowly.
    #[error("the response is read too slowly to be shared")]
    TooSlow,
}

#[derive(Debug, Default)]
struct State {
    /// What is kept, in order, each with where it begins.
    chunks: VecDeque<(u64, Bytes)>,
    /// Bytes written in all.
    written: u64,
    /// Bytes kept at most; `None` = all.
    keep: Option<u64>,
    trailers: Option<HeaderMap>,
    end: Option<Result<(), Broken>>,
    /// Bytes that the fastest reader has taken.
    taken: u64,
    readers: usize,
    next_reader: u64,
    waiting: BTreeMap<u64, Waker>,
    writer: Option<Waker>,
}

impl State {
    fn trim(&mut self) {
        let Some(keep) = self.keep else { return };
        while let Some((start, first)) = self.chunks.front()
            && self.written - start - first.len() as u64 >= keep
        {
            self.chunks.pop_front();
        }
    }

    /// What is kept from a place on: some of it.
    fn from(&self, at: u64) -> Result<Option<Bytes>, Broken> {
        if at == self.written {
            return Ok(None);
        }
        // The last chunk that begins at or before the place.
        let behind = self.chunks.partition_point(|(start, _chunk)| *start <= at);
        let found = behind.checked_sub(1).and_then(|place| self.chunks.get(place));
        let (start, chunk) = found.ok_or(Broken::TooSlow)?;
        let skipped = usize::try_from(at - start).map_err(|_too_far| Broken::TooSlow)?;
        Ok(Some(chunk.slice(skipped.min(chunk.len())..)))
    }

    fn wake_readers(&mut self) {
        std::mem::take(&mut self.waiting).into_values().for_each(Waker::wake);
    }

    fn wake_writer(&mut self) {
        if let Some(writer) = self.writer.take() {
            writer.wake();
        }
    }
}

/// A body on its way. Clones are the same one.
#[derive(Debug, Clone, Default)]
pub(crate) struct Transfer(Arc<Mutex<State>>);

impl Transfer {
    /// Adds to the body.
    pub(crate) fn append(&self, chunk: Bytes) {
        if chunk.is_empty() {
            return;
        }
        let mut state = self.0.lock();
        let start = state.written;
        state.written += chunk.len() as u64;
        state.chunks.push_back((start, chunk));
        state.trim();
        state.wake_readers();
    }

    /// Ends the body with all of it in one piece, which those who still read share with the store.
    pub(crate) fn end_whole(&self, whole: Bytes) {
        let mut state = self.0.lock();
        state.written = whole.len() as u64;
        state.chunks.clear();
        if !whole.is_empty() {
            state.chunks.push_back((0, whole));
        }
        state.end.get_or_insert(Ok(()));
        state.wake_readers();
    }

    /// Keeps only so many bytes from here on.
    pub(crate) fn keep_only(&self, bytes: u64) {
        let mut state = self.0.lock();
        state.keep = Some(bytes);
        state.trim();
    }

    /// What follows the body.
    pub(crate) fn trailers(&self, trailers: HeaderMap) {
        self.0.lock().trailers = Some(trailers);
    }

    /// Ends the body.
    pub(crate) fn end(&self, end: Result<(), Broken>) {
        let mut state = self.0.lock();
        if state.end.is_none() {
            state.end = Some(end);
        }
        state.wake_readers();
    }

    /// Waits until a reader wants more of a body that is not kept; `false` when nobody reads.
    ///
    /// # Cancel safety
    /// Nothing is lost.
    pub(crate) async fn wanted(&self) -> bool {
        std::future::poll_fn(|context| {
            let mut state = self.0.lock();
            if state.readers == 0 {
                return Poll::Ready(false);
            }
            if state.written.saturating_sub(state.taken) < AHEAD_MAX {
                return Poll::Ready(true);
            }
            state.writer = Some(context.waker().clone());
            Poll::Pending
        })
        .await
    }

    /// All that was written and what comes last, as one piece of memory of its own: chunks may be small
    /// parts of large buffers. `None` if it was not all kept.
    pub(crate) fn whole_with(&self, last: &[u8]) -> Option<Bytes> {
        let state = self.0.lock();
        if state.keep.is_some() {
            return None;
        }
        let written = usize::try_from(state.written).ok()?;
        let mut whole = BytesMut::with_capacity(written.checked_add(last.len())?);
        state.chunks.iter().for_each(|(_start, chunk)| whole.extend_from_slice(chunk));
        whole.extend_from_slice(last);
        Some(whole.freeze())
    }

    /// All that was written, as it came; nothing if it was not all kept.
    pub(crate) fn written(&self) -> Vec<Bytes> {
        let state = self.0.lock();
        let chunks = state.chunks.iter().filter(|_| state.keep.is_none());
        chunks.map(|(_start, chunk)| chunk.clone()).collect()
    }

    /// A reader that begins at the beginning; `length` is what the body is known to have. `None` if
    /// the beginning is gone.
    pub(crate) fn reader(&self, length: Option<u64>) -> Option<Body> {
        let mut state = self.0.lock();
        if state.keep.is_some() {
            return None;
        }
        state.readers += 1;
        state.next_reader += 1;
        let id = state.next_reader;
        drop(state);
        let transfer = self.clone();
        Some(Reader { transfer, id, taken: 0, length, done: false }.boxed_unsync())
    }
}

/// One that reads a body.
#[derive(Debug)]
struct Reader {
    transfer: Transfer,
    id: u64,
    taken: u64,
    length: Option<u64>,
    done: bool,
}

impl HttpBody for Reader {
    type Data = Bytes;
    type Error = BodyError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        let transfer = self.transfer.clone();
        let mut state = transfer.0.lock();
        if self.done {
            return Poll::Ready(None);
        }
        match state.from(self.taken) {
            Err(broken) => {
                self.done = true;
                return Poll::Ready(Some(Err(broken.into())));
            }
            Ok(Some(chunk)) => {
                self.taken += chunk.len() as u64;
                if self.taken > state.taken {
                    state.taken = self.taken;
                    state.wake_writer();
                }
                return Poll::Ready(Some(Ok(Frame::data(chunk))));
            }
            Ok(None) => {}
        }
        match state.end.clone() {
            None => {
                state.waiting.insert(self.id, context.waker().clone());
                Poll::Pending
            }
            Some(end) => {
                self.done = true;
                let trailers =
                    || state.trailers.clone().map(|trailers| Ok(Frame::trailers(trailers)));
                Poll::Ready(match end {
                    Ok(()) => trailers(),
                    Err(broken) => Some(Err(broken.into())),
                })
            }
        }
    }

    fn is_end_stream(&self) -> bool {
        let state = self.transfer.0.lock();
        let all_taken = self.taken == state.written;
        self.done || (all_taken && state.trailers.is_none() && state.end == Some(Ok(())))
    }

    fn size_hint(&self) -> SizeHint {
        match self.length {
            Some(length) => SizeHint::with_exact(length.saturating_sub(self.taken)),
            None => SizeHint::default(),
        }
    }
}

impl Drop for Reader {
    fn drop(&mut self) {
        let mut state = self.transfer.0.lock();
        state.readers -= 1;
        state.waiting.remove(&self.id);
        state.wake_writer();
    }
}

#[cfg(test)]
mod tests {
    use futures::FutureExt as _;
    use http_body_util::BodyExt as _;

    use super::*;

    async fn read(body: Body) -> Result<Bytes, String> {
        body.collect().await.map(|all| all.to_bytes()).map_err(|error| error.to_string())
    }

    #[tokio::test]
    async fn who_comes_late_gets_all_of_it() {
        let transfer = Transfer::default();
        let mut early = transfer.reader(Some(4)).unwrap();
        assert!(early.frame().now_or_never().is_none(), "nothing is there yet");
        transfer.append(Bytes::from_static(b"ab"));
        let late = transfer.reader(None).unwrap();
        assert_eq!(early.frame().await.unwrap().unwrap().into_data().unwrap(), "ab");
        transfer.append(Bytes::new());
        let ((), rest, all) = futures::join!(
            async {
                transfer.append(Bytes::from_static(b"cd"));
                transfer.end(Ok(()));
            },
            read(early),
            read(late),
        );
        assert_eq!((rest.unwrap(), all.unwrap()), (Bytes::from("cd"), Bytes::from("abcd")));
        assert_eq!(transfer.whole_with(b"e").unwrap(), "abcde");
        assert_eq!(read(transfer.reader(None).unwrap()).await.unwrap(), "abcd");
    }

    #[tokio::test]
    async fn who_still_reads_when_it_is_whole_misses_nothing() {
        let transfer = Transfer::default();
        let mut slow = transfer.reader(None).unwrap();
        transfer.append(Bytes::from_static(b"ab"));
        transfer.append(Bytes::from_static(b"cd"));
        assert_eq!(slow.frame().await.unwrap().unwrap().into_data().unwrap(), "ab");
        let whole = transfer.whole_with(b"ef").unwrap();
        transfer.end_whole(whole);
        assert_eq!(read(slow).await.unwrap(), "cdef");
    }

    #[tokio::test]
    async fn a_body_that_breaks_off_does_so_for_all() {
        let transfer = Transfer::default();
        let mut reader = transfer.reader(None).unwrap();
        transfer.append(Bytes::from_static(b"ab"));
        transfer.end(Err(Broken::Origin("reset".into())));
        transfer.end(Ok(()));
        assert_eq!(reader.frame().await.unwrap().unwrap().into_data().unwrap(), "ab");
        assert!(reader.frame().await.unwrap().unwrap_err().to_string().contains("reset"));
        assert!(reader.frame().await.is_none());
    }

    #[tokio::test]
    async fn a_body_that_is_not_kept_waits_for_the_fastest_and_leaves_the_slow() {
        let transfer = Transfer::default();
        let mut fast = transfer.reader(None).unwrap();
        let mut slow = transfer.reader(None).unwrap();
        let chunk = Bytes::from(vec![0; 128 << 10]);
        transfer.keep_only(256 << 10);
        assert!(transfer.reader(None).is_none(), "the beginning may be gone");
        assert!(transfer.whole_with(b"").is_none());
        transfer.append(chunk.clone());
        assert!(transfer.wanted().await);
        transfer.append(chunk.clone());
        assert!(transfer.wanted().now_or_never().is_none());
        assert!(fast.frame().await.unwrap().is_ok());
        assert!(transfer.wanted().await);
        transfer.append(chunk.clone());
        transfer.append(chunk.clone());
        assert!(fast.frame().await.unwrap().unwrap_err().to_string().contains("too slowly"));
        assert!(slow.frame().await.unwrap().is_err());
        drop((fast, slow));
        assert!(!transfer.wanted().await);
    }

    #[tokio::test]
    async fn trailers_follow_and_the_length_is_told() {
        let transfer = Transfer::default();
        let reader = transfer.reader(Some(2)).unwrap();
        assert_eq!(reader.size_hint().exact(), Some(2));
        transfer.append(Bytes::from_static(b"ab"));
        let mut trailers = HeaderMap::new();
        trailers.insert("x-sum", http::HeaderValue::from_static("1"));
        transfer.trailers(trailers);
        transfer.end(Ok(()));
        let all = reader.collect().await.unwrap();
        assert_eq!(all.trailers().unwrap()["x-sum"], "1");
    }
}
