//! A bound on what is held of frames that are not complete yet.
//!
//! The HTTP/3 library reads a frame whole before it looks at it, however long the client says that it is,
//! on request streams and on the control stream alike. So each stream is followed here, frame by frame
//! (RFC 9114 §7.1), and one that announces a frame beyond all measure ends there. Only `DATA` may have any
//! length: it is passed on as it comes.

use std::{
    io,
    task::{Context, Poll, ready},
};

use bytes::Bytes;
use h3::quic::{
    BidiStream, Connection, ConnectionErrorIncoming, OpenStreams, RecvStream, SendStream,
    StreamErrorIncoming, StreamId, WriteBuf,
};

/// `DATA` (RFC 9114 §7.2.1).
const DATA: u64 = 0x00;
/// The stream type of the control stream (RFC 9114 §6.2.1).
const CONTROL: u64 = 0x00;

/// Follows the frames of one stream. Pure.
#[derive(Debug)]
pub(super) struct Frames {
    state: State,
    bytes_max: u64,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    /// The type of a unidirectional stream.
    StreamType(Number),
    Type(Number),
    Length {
        kind: u64,
        number: Number,
    },
    Payload {
        left: u64,
    },
    /// A stream of another type, which has no frames.
    Other,
}

/// A frame is longer than is held.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("a frame of type 0x{kind:x} and {bytes} bytes is longer than is held")]
pub(super) struct TooLong {
    kind: u64,
    bytes: u64,
}

/// A variable-length integer (RFC 9000 §16) while it arrives.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
struct Number {
    value: u64,
    /// Bytes that are to come; none before the first.
    left: Option<u8>,
}

impl Number {
    /// Takes a byte; the number when that was its last.
    fn push(&mut self, byte: u8) -> Option<u64> {
        match self.left {
            None => {
                self.value = u64::from(byte & 0x3f);
                self.left = Some((1 << (byte >> 6)) - 1);
            }
            Some(left) => {
                self.value = self.value << 8 | u64::from(byte);
                self.left = Some(left.saturating_sub(1));
            }
        }
        (self.left == Some(0)).then_some(self.value)
    }
}

impl Frames {
    /// Of a request stream.
    pub(super) fn of_request(bytes_max: u64) -> Self {
        Self { state: State::Type(Number::default()), bytes_max }
    }

    /// Of a unidirectional stream.
    pub(super) fn of_unidirectional(bytes_max: u64) -> Self {
        Self { state: State::StreamType(Number::default()), bytes_max }
    }

    /// Looks at the next bytes of the stream.
    pub(super) fn advance(&mut self, mut bytes: &[u8]) -> Result<(), TooLong> {
        while let [byte, rest @ ..] = bytes {
            match &mut self.state {
                State::Other => return Ok(()),
                State::Payload { left } => {
                    let here = usize::try_from(*left).unwrap_or(usize::MAX).min(bytes.len());
                    *left -= here as u64;
                    if *left == 0 {
                        self.state = State::Type(Number::default());
                    }
                    bytes = bytes.get(here..).unwrap_or_default();
                    continue;
                }
                State::StreamType(number) => {
                    if let Some(kind) = number.push(*byte) {
                        self.state = match kind {
                            CONTROL => State::Type(Number::default()),
                            _ => State::Other,
                        };
                    }
                }
                State::Type(number) => {
                    if let Some(kind) = number.push(*byte) {
                        self.state = State::Length { kind, number: Number::default() };
                    }
                }
                State::Length { kind, number } => {
                    let kind = *kind;
                    if let Some(length) = number.push(*byte) {
                        if kind != DATA && length > self.bytes_max {
                            return Err(TooLong { kind, bytes: length });
                        }
                        self.state = match length {
                            0 => State::Type(Number::default()),
                            left => State::Payload { left },
                        };
                    }
                }
            }
            bytes = rest;
        }
        Ok(())
    }
}

/// The receiving half of a stream whose frames are bounded.
pub(super) struct Bounded {
    inner: h3_quinn::RecvStream,
    frames: Frames,
}

impl RecvStream for Bounded {
    type Buf = Bytes;

    fn poll_data(
        &mut self,
        cx: &mut Context<'_>,
    ) -> Poll<Result<Option<Bytes>, StreamErrorIncoming>> {
        let data = ready!(self.inner.poll_data(cx))?;
        let judged = data.as_ref().map_or(Ok(()), |bytes| self.frames.advance(bytes));
        Poll::Ready(match judged {
            Ok(()) => Ok(data),
            Err(too_long) => {
                let error = io::Error::new(io::ErrorKind::InvalidData, too_long);
                Err(StreamErrorIncoming::Unknown(Box::new(error)))
            }
        })
    }

    fn stop_sending(&mut self, error_code: u64) {
        self.inner.stop_sending(error_code);
    }

    fn recv_id(&self) -> StreamId {
        self.inner.recv_id()
    }
}

type Sender = h3_quinn::SendStream<Bytes>;

/// A request stream whose frames are bounded.
pub(super) struct BoundedBidi {
    send: Sender,
    recv: Bounded,
}

impl BoundedBidi {
    fn new(stream: h3_quinn::BidiStream<Bytes>, bytes_max: u64) -> Self {
        let (send, inner) = stream.split();
        Self { send, recv: Bounded { inner, frames: Frames::of_request(bytes_max) } }
    }
}

impl RecvStream for BoundedBidi {
    type Buf = Bytes;

    fn poll_data(
        &mut self,
        cx: &mut Context<'_>,
    ) -> Poll<Result<Option<Bytes>, StreamErrorIncoming>> {
        self.recv.poll_data(cx)
    }

    fn stop_sending(&mut self, error_code: u64) {
        self.recv.stop_sending(error_code);
    }

    fn recv_id(&self) -> StreamId {
        self.recv.recv_id()
    }
}

impl SendStream<Bytes> for BoundedBidi {
    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), StreamErrorIncoming>> {
        self.send.poll_ready(cx)
    }

    fn send_data<T: Into<WriteBuf<Bytes>>>(&mut self, data: T) -> Result<(), StreamErrorIncoming> {
        self.send.send_data(data)
    }

    fn poll_finish(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), StreamErrorIncoming>> {
        self.send.poll_finish(cx)
    }

    fn reset(&mut self, reset_code: u64) {
        self.send.reset(reset_code);
    }

    fn send_id(&self) -> StreamId {
        self.send.send_id()
    }
}

impl BidiStream<Bytes> for BoundedBidi {
    type SendStream = Sender;
    type RecvStream = Bounded;

    fn split(self) -> (Sender, Bounded) {
        (self.send, self.recv)
    }
}

/// A QUIC connection whose streams are bounded; the other half opens streams on it.
pub(super) struct BoundedConnection<C> {
    inner: C,
    bytes_max: u64,
}

impl BoundedConnection<h3_quinn::Connection> {
    pub(super) fn new(connection: quinn::Connection, bytes_max: usize) -> Self {
        Self { inner: h3_quinn::Connection::new(connection), bytes_max: bytes_max as u64 }
    }
}

impl<C> OpenStreams<Bytes> for BoundedConnection<C>
where
    C: OpenStreams<Bytes, SendStream = Sender, BidiStream = h3_quinn::BidiStream<Bytes>>,
{
    type BidiStream = BoundedBidi;
    type SendStream = Sender;

    fn poll_open_bidi(
        &mut self,
        cx: &mut Context<'_>,
    ) -> Poll<Result<BoundedBidi, StreamErrorIncoming>> {
        let stream = ready!(self.inner.poll_open_bidi(cx))?;
        Poll::Ready(Ok(BoundedBidi::new(stream, self.bytes_max)))
    }

    fn poll_open_send(
        &mut self,
        cx: &mut Context<'_>,
    ) -> Poll<Result<Sender, StreamErrorIncoming>> {
        self.inner.poll_open_send(cx)
    }

    fn close(&mut self, code: h3::error::Code, reason: &[u8]) {
        self.inner.close(code, reason);
    }
}

impl Connection<Bytes> for BoundedConnection<h3_quinn::Connection> {
    type RecvStream = Bounded;
    type OpenStreams = BoundedConnection<h3_quinn::OpenStreams>;

    fn poll_accept_recv(
        &mut self,
        cx: &mut Context<'_>,
    ) -> Poll<Result<Bounded, ConnectionErrorIncoming>> {
        let inner = ready!(Connection::<Bytes>::poll_accept_recv(&mut self.inner, cx))?;
        Poll::Ready(Ok(Bounded { inner, frames: Frames::of_unidirectional(self.bytes_max) }))
    }

    fn poll_accept_bidi(
        &mut self,
        cx: &mut Context<'_>,
    ) -> Poll<Result<BoundedBidi, ConnectionErrorIncoming>> {
        let stream = ready!(Connection::<Bytes>::poll_accept_bidi(&mut self.inner, cx))?;
        Poll::Ready(Ok(BoundedBidi::new(stream, self.bytes_max)))
    }

    fn opener(&self) -> Self::OpenStreams {
        BoundedConnection {
            inner: Connection::<Bytes>::opener(&self.inner),
            bytes_max: self.bytes_max,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A frame of fewer than 16,384 bytes.
    fn frame(kind: u8, length: u16) -> Vec<u8> {
        let [high, low] = length.to_be_bytes();
        let mut bytes = vec![kind, 0x40 | high, low];
        bytes.resize(bytes.len() + usize::from(length), 1);
        bytes
    }

    /// A frame that says that it has a gibibyte.
    fn endless(kind: u8) -> Vec<u8> {
        vec![kind, 0xc0, 0, 0, 0, 0x40, 0, 0, 0]
    }

    #[test]
    fn data_has_any_length_and_other_frames_a_bound() {
        let judge = |mut frames: Frames, bytes: &[u8], piece: usize| {
            bytes.chunks(piece).try_for_each(|piece| frames.advance(piece))
        };
        for piece in [1, 5, 10_000] {
            let of_request = || Frames::of_request(1_000);
            let fine = [frame(1, 1_000), frame(0, 16_000), frame(0x21, 7), endless(0)].concat();
            assert_eq!(judge(of_request(), &fine, piece), Ok(()));
            let long = [frame(1, 9), frame(0, 0), frame(1, 1_001)].concat();
            assert_eq!(judge(of_request(), &long, piece), Err(TooLong { kind: 1, bytes: 1_001 }));
            let unknown = [frame(1, 9), endless(0x21)].concat();
            assert_eq!(
                judge(of_request(), &unknown, piece),
                Err(TooLong { kind: 0x21, bytes: 1 << 30 })
            );
            let of_stream = || Frames::of_unidirectional(1_000);
            let settings = [vec![0], frame(4, 8), endless(4)].concat();
            assert!(judge(of_stream(), &settings, piece).is_err());
            let encoder = [vec![2], endless(4)].concat();
            assert_eq!(judge(of_stream(), &encoder, piece), Ok(()), "no frames on this one");
        }
    }
}
