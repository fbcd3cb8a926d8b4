//! Interim responses (RFC 9110 §15.2) on HTTP/1.1 connections: hyper has no way to send them.
//!
//! ```text
//! handler ── InterimSink ──> Heads ──> Guarded, when hyper flushes ──> client
//!    │                         │
//!    └─ response ── waits until they are taken ──> hyper ─────────────^
//! ```
//!
//! hyper flushes what is under it when nothing is left in its own buffer: all of the answer before is
//! written then. The answer itself is handed to hyper once no head is left here, so that nothing is ever
//! written into the middle of one.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering::SeqCst},
    },
    task::{Context, Poll},
};

use bytes::{BufMut as _, BytesMut};
use futures::task::AtomicWaker;
use hexpop_router::{INTERIM_BYTES_MAX, Interim, InterimSink};
use parking_lot::Mutex;

/// Bytes of heads that wait for one client; more are dropped.
const WAITING_MAX: usize = 2 * INTERIM_BYTES_MAX;

/// Heads of interim responses that are to be written to a connection.
#[derive(Debug, Default)]
pub(super) struct Heads {
    waiting: Mutex<Waiting>,
    /// Whether some are there: looked at with every flush.
    some: AtomicBool,
    /// Who flushes the connection.
    connection: AtomicWaker,
    /// Who waits until they are taken.
    taken: AtomicWaker,
}

#[derive(Debug, Default)]
struct Waiting {
    /// The request whose answer has not begun; 0 = none.
    request: u64,
    bytes: BytesMut,
}

impl Heads {
    /// Where the interim responses to a request go, until its answer is there; numbers count from 1.
    pub(super) fn open(self: &Arc<Self>, request: u64) -> InterimSink {
        self.waiting.lock().request = request;
        let heads = Arc::clone(self);
        InterimSink::new(move |interim| heads.push(request, &interim))
    }

    fn push(&self, request: u64, interim: &Interim) {
        let mut waiting = self.waiting.lock();
        if waiting.request != request || waiting.bytes.len() > WAITING_MAX {
            return;
        }
        write_head(&mut waiting.bytes, interim);
        self.some.store(true, SeqCst);
        drop(waiting);
        self.connection.wake();
    }

    /// The answer to the request under way is there: waits until all that came before it is on its way.
    ///
    /// # Cancel safety
    /// Nothing is lost.
    pub(super) async fn close(&self) {
        self.waiting.lock().request = 0;
        std::future::poll_fn(|cx| {
            self.taken.register(cx.waker());
            if self.some.load(SeqCst) { Poll::Pending } else { Poll::Ready(()) }
        })
        .await;
    }

    /// Moves what is there behind `out`; wakes `cx` when more comes.
    pub(super) fn take(&self, cx: &Context<'_>, out: &mut BytesMut) {
        self.connection.register(cx.waker());
        if self.some.load(SeqCst) {
            let mut waiting = self.waiting.lock();
            out.unsplit(waiting.bytes.split());
            self.some.store(false, SeqCst);
            drop(waiting);
            self.taken.wake();
        }
    }
}

/// RFC 9112 §4, §5: a status line and fields. Names and values are valid by their types.
fn write_head(out: &mut BytesMut, interim: &Interim) {
    out.put_slice(b"HTTP/1.1 ");
    out.put_slice(interim.status.as_str().as_bytes());
    out.put_u8(b' ');
    out.put_slice(interim.status.canonical_reason().unwrap_or_default().as_bytes());
    out.put_slice(b"\r\n");
    for (name, value) in &interim.headers {
        out.put_slice(name.as_str().as_bytes());
        out.put_slice(b": ");
        out.put_slice(value.as_bytes());
        out.put_slice(b"\r\n");
    }
    out.put_slice(b"\r\n");
}

#[cfg(test)]
mod tests {
    use futures::{FutureExt as _, task::noop_waker_ref};
    use http::{HeaderMap, HeaderValue, StatusCode};

    use super::*;

    fn hint(link: &'static str) -> Interim {
        let mut headers = HeaderMap::new();
        headers.insert("link", HeaderValue::from_static(link));
        Interim { status: StatusCode::EARLY_HINTS, headers }
    }

    fn taken(heads: &Heads) -> String {
        let mut out = BytesMut::new();
        heads.take(&Context::from_waker(noop_waker_ref()), &mut out);
        String::from_utf8(out.to_vec()).unwrap()
    }

    #[test]
    fn heads_are_written_before_the_answer_and_never_behind_it() {
        let heads = Arc::new(Heads::default());
        let first = heads.open(1);
        first.send(hint("<a>"));
        let unknown = StatusCode::from_u16(199).unwrap();
        first.send(Interim { status: unknown, headers: HeaderMap::new() });
        assert!(heads.close().now_or_never().is_none(), "they are not written yet");
        let expected = "HTTP/1.1 103 Early Hints\r\nlink: <a>\r\n\r\nHTTP/1.1 199 \r\n\r\n";
        assert_eq!(taken(&heads), expected);
        assert!(heads.close().now_or_never().is_some());
        first.send(hint("<late>"));
        let second = heads.open(2);
        first.send(hint("<of the answer before>"));
        assert_eq!(taken(&heads), "");
        second.send(hint("<b>"));
        assert!(taken(&heads).contains("<b>"));
    }

    #[test]
    fn a_client_that_takes_none_holds_no_more_than_a_little() {
        let heads = Arc::new(Heads::default());
        let sink = heads.open(1);
        for _ in 0..100 * WAITING_MAX / 30 {
            sink.send(hint("<a>"));
        }
        assert!(taken(&heads).len() < WAITING_MAX + 100);
    }
}
