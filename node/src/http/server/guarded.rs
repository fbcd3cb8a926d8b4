//! An HTTP/1.1 connection that passes only what the guard lets through, and writes interim responses
//! between the answers.

use std::{
    io,
    pin::Pin,
    sync::{Arc, OnceLock},
    task::{Context, Poll, ready},
    time::Duration,
};

use bytes::{Buf as _, BytesMut};
use tokio::{
    io::{AsyncRead, AsyncReadExt as _, AsyncWrite, ReadBuf},
    time::{Instant, Sleep},
};
use tokio_util::io::poll_read_buf;

use super::{
    activity::Activity,
    framing::{Advance, Guard, HeadLimits, Place, Refusal},
    interim::Heads,
};

/// What stands for a head that is refused: hyper passes it on when all requests before it are answered,
/// and so the refusal is answered in its turn.
const STAND_IN: &[u8] = b"GET / HTTP/1.1\r\nhost: refused.invalid\r\nconnection: close\r\n\r\n";
/// Bytes that are read at once.
const READ_BYTES: usize = 4 << 10;
/// What is still read of a client that was refused, so that closing does not cut off the answer.
const LINGER_BYTES: usize = 256 << 10;
/// For how long.
const LINGER: Duration = Duration::from_secs(1);

/// Which request of a connection was refused, and why; set once.
#[derive(Debug, Default)]
pub(super) struct Verdict(OnceLock<(u64, Refusal)>);

impl Verdict {
    fn refuse(&self, request: u64, refusal: Refusal) {
        // The first one ends the connection.
        let _ended = self.0.set((request, refusal));
    }

    /// Why the request with this number, from 1, is refused.
    pub(super) fn of(&self, request: u64) -> Option<Refusal> {
        self.0.get().filter(|(number, _refusal)| *number == request).map(|(_number, why)| *why)
    }
}

/// How long a client may take.
#[derive(Debug, Clone, Copy)]
pub(super) struct ReadTimes {
    /// For a head, from its first byte (or from the beginning of the connection).
    pub(super) head: Duration,
    /// Between requests.
    pub(super) idle: Duration,
}

/// A connection whose reads pass through a [`Guard`].
#[derive(Debug)]
pub(super) struct Guarded<S> {
    inner: S,
    guard: Guard,
    verdict: Arc<Verdict>,
    activity: Arc<Activity>,
    times: ReadTimes,
    /// What was read: first what may pass, then what was not looked at yet.
    buffer: BytesMut,
    passing: usize,
    /// Whether nothing more is read.
    is_over: bool,
    /// Why the body breaks off, once all before it has passed.
    broken: Option<Refusal>,
    lingered: usize,
    /// When the client must have sent its head, or begun it.
    deadline: Option<(Place, Instant)>,
    timer: Option<Pin<Box<Sleep>>>,
    /// Interim responses that are to be written.
    heads: Arc<Heads>,
    /// What is not written yet of those that were begun.
    begun: BytesMut,
}

impl<S: AsyncRead + Unpin> Guarded<S> {
    pub(super) fn new(
        inner: S,
        limits: HeadLimits,
        times: ReadTimes,
        activity: Arc<Activity>,
    ) -> (Self, Arc<Verdict>, Arc<Heads>) {
        let verdict = Arc::new(Verdict::default());
        let heads = Arc::new(Heads::default());
        let guarded = Self {
            inner,
            guard: Guard::new(limits),
            verdict: Arc::clone(&verdict),
            activity,
            times,
            buffer: BytesMut::new(),
            passing: 0,
            is_over: false,
            broken: None,
            lingered: 0,
            // The first head is awaited from the beginning on.
            deadline: Some((Place::Between, Instant::now() + times.head)),
            timer: None,
            heads: Arc::clone(&heads),
            begun: BytesMut::new(),
        };
        (guarded, verdict, heads)
    }

    /// Lets the guard look at what it has not seen.
    fn look(&mut self) {
        let heads = self.guard.heads();
        while self.passing < self.buffer.len() {
            let unpassed = self.buffer.get(self.passing..).unwrap_or_default();
            let was_in_body = self.guard.place(unpassed.len()) == Place::Body;
            match self.guard.advance(unpassed) {
                Ok(advance) if advance == Advance::default() => break,
                Ok(Advance { skip, pass }) => {
                    if skip > 0 {
                        // An empty line before a head: as rare as it is short.
                        let rest = self.buffer.split_off(self.passing);
                        self.buffer.extend_from_slice(rest.get(skip..).unwrap_or_default());
                    }
                    self.passing += pass;
                }
                Err(refusal) => {
                    if was_in_body {
                        self.refuse_body(refusal);
                    } else {
                        self.refuse_head(refusal);
                    }
                    break;
                }
            }
        }
        if self.guard.heads() > heads {
            self.deadline = None;
        }
    }

    /// The request is known to nobody yet: something stands in for it, whose answer is the refusal.
    fn refuse_head(&mut self, refusal: Refusal) {
        self.verdict.refuse(self.guard.heads() + 1, refusal);
        self.buffer.truncate(self.passing);
        self.buffer.extend_from_slice(STAND_IN);
        self.passing = self.buffer.len();
        self.is_over = true;
    }

    /// The request is on its way: its body breaks off behind what has passed.
    fn refuse_body(&mut self, refusal: Refusal) {
        self.verdict.refuse(self.guard.heads(), refusal);
        self.buffer.truncate(self.passing);
        self.broken = Some(refusal);
        self.is_over = true;
    }

    /// Waits for the client, and not for longer than it may take. Ready: its time is over.
    fn poll_deadline(&mut self, cx: &mut Context<'_>) -> Poll<Place> {
        let place = self.guard.place(self.buffer.len() - self.passing);
        let allowed = match place {
            // Handlers watch over bodies: they know whether they wait.
            Place::Body => return Poll::Pending,
            // It is we who are busy; when the answer is gone this is polled again, by hyper only if it was
            // quick.
            Place::Between if !self.activity.poll_idle(cx) => {
                self.deadline = None;
                return Poll::Pending;
            }
            Place::Between => self.times.idle,
            Place::Head => self.times.head,
        };
        let deadline = match self.deadline {
            Some((known, deadline)) if known == place => deadline,
            // The first head is late from the beginning of the connection on.
            Some((Place::Between, deadline)) if self.guard.heads() == 0 => deadline,
            _ => Instant::now() + allowed,
        };
        self.deadline = Some((place, deadline));
        let timer = self.timer.get_or_insert_with(|| Box::pin(tokio::time::sleep_until(deadline)));
        // It is set anew only when it has rung too early, which is less often than there are requests.
        if timer.deadline() > deadline {
            timer.as_mut().reset(deadline);
        }
        loop {
            ready!(timer.as_mut().poll(cx));
            if timer.deadline() >= deadline {
                return Poll::Ready(place);
            }
            timer.as_mut().reset(deadline);
        }
    }

    /// Reads on for a moment after a refusal: a connection that is closed with bytes unread is reset, and
    /// the reset may overtake the answer.
    fn poll_linger(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        let timer = self
            .timer
            .get_or_insert_with(|| Box::pin(tokio::time::sleep_until(Instant::now() + LINGER)));
        if self.lingered == 0 {
            timer.as_mut().reset(Instant::now() + LINGER);
            self.lingered = 1;
        }
        let mut drain = [0; READ_BYTES];
        while self.lingered < LINGER_BYTES {
            if timer.as_mut().poll(cx).is_ready() {
                break;
            }
            let mut read = ReadBuf::new(&mut drain);
            match ready!(Pin::new(&mut self.inner).poll_read(cx, &mut read)) {
                Ok(()) if !read.filled().is_empty() => self.lingered += read.filled().len(),
                Ok(()) | Err(_) => break,
            }
        }
        Poll::Ready(())
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Guarded<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let this = &mut *self;
        loop {
            if this.passing > 0 {
                let count = this.passing.min(buf.remaining());
                buf.put_slice(this.buffer.get(..count).unwrap_or_default());
                this.buffer.advance(count);
                this.passing -= count;
                return Poll::Ready(Ok(()));
            }
            if let Some(refusal) = this.broken.take() {
                let error = io::Error::new(io::ErrorKind::InvalidData, refusal);
                return Poll::Ready(Err(error));
            }
            if this.is_over {
                // hyper answers what it has, and closes. Reading goes on when that is done.
                return Poll::Pending;
            }
            let certain = this.guard.certain();
            if this.buffer.is_empty() && certain > 0 {
                // The body of a known length: nothing to look at, and nothing to copy.
                let before = buf.filled().len();
                let mut part = (&mut this.inner).take(certain);
                ready!(Pin::new(&mut part).poll_read(cx, buf))?;
                this.guard.passed((buf.filled().len() - before) as u64);
                return Poll::Ready(Ok(()));
            }
            this.buffer.reserve(READ_BYTES);
            match poll_read_buf(Pin::new(&mut this.inner), cx, &mut this.buffer) {
                Poll::Ready(Ok(0)) => return Poll::Ready(Ok(())),
                Poll::Ready(Ok(_some)) => this.look(),
                Poll::Ready(Err(error)) => return Poll::Ready(Err(error)),
                Poll::Pending => match ready!(this.poll_deadline(cx)) {
                    // Nobody waits for an answer.
                    Place::Between => return Poll::Ready(Ok(())),
                    Place::Head | Place::Body => this.refuse_head(Refusal::HeaderTimeout),
                },
            }
        }
    }
}

impl<S: AsyncWrite + Unpin> Guarded<S> {
    /// Writes what was begun, before anything else is written.
    fn poll_begun(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        while !self.begun.is_empty() {
            let written = ready!(Pin::new(&mut self.inner).poll_write(cx, &self.begun))?;
            if written == 0 {
                return Poll::Ready(Err(io::ErrorKind::WriteZero.into()));
            }
            self.begun.advance(written);
        }
        Poll::Ready(Ok(()))
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> AsyncWrite for Guarded<S> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        ready!(self.poll_begun(cx))?;
        Pin::new(&mut self.inner).poll_write(cx, buf)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        ready!(self.poll_begun(cx))?;
        Pin::new(&mut self.inner).poll_write_vectored(cx, bufs)
    }

    fn is_write_vectored(&self) -> bool {
        self.inner.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        // Whoever writes has nothing left that goes before.
        let this = &mut *self;
        this.heads.take(cx, &mut this.begun);
        ready!(this.poll_begun(cx))?;
        Pin::new(&mut self.inner).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        ready!(Pin::new(&mut self.inner).poll_shutdown(cx))?;
        if self.is_over {
            ready!(self.poll_linger(cx));
        }
        Poll::Ready(Ok(()))
    }
}
