//! The frames on the streams of the mesh: a pure codec, no sockets.
//!
//! ```text
//! greeting, first on every connection      u16 length │ codec record of Hello or Welcome
//! frame on the control stream              u32 length │ u8 kind │ u64 id │ u32 aux │ payload
//! request on a bulk stream                 u32 length │ u8 class │ u32 deadline_ms │ payload
//! answer on a bulk stream                  u32 length │ u8 kind │ payload
//! request on a cache stream                as on a bulk stream
//! answer on a cache stream                 as on a bulk stream, any number of them, then the end
//! ```
//!
//! Numbers are big endian; a length counts what follows the length field. `aux` is the deadline in
//! milliseconds for a request and the code for a refusal.

use bytes::{Buf, BufMut, Bytes, BytesMut};
use hexpop_edge_config::{ClusterId, NodeId, RaftId, codec};
use serde::{Deserialize, Serialize};

use super::{Class, Refused, RefusedCode};

/// The version of the protocol that this build speaks.
pub const PROTOCOL: u16 = 2;

/// The longest greeting in bytes.
pub const HELLO_BYTES_MAX: usize = 1024;

/// Bytes of a control frame before its payload, without the length field.
const CONTROL_HEAD: usize = 1 + 8 + 4;
/// Bytes of a bulk request before its payload, without the length field.
const REQUEST_HEAD: usize = 1 + 4;
/// Bytes of a length field.
const LENGTH: usize = 4;
/// Payloads up to this many bytes are copied behind their header; larger ones are handed on as
/// they are. A copy of this size costs less than one more chunk in the stream's send buffer.
const COPY_MAX: usize = 4096;

const KIND_REQUEST: u8 = 1;
const KIND_ANSWER: u8 = 2;
const KIND_REFUSED: u8 = 3;

/// Why bytes are no frame.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum FrameError {
    /// The frame is longer than allowed here.
    #[error("a frame of {bytes} bytes is over the limit of {bytes_max}")]
    TooLong {
        /// Its length.
        bytes: usize,
        /// The limit.
        bytes_max: usize,
    },
    /// The frame is too short to be one.
    #[error("a frame of {0} bytes is too short")]
    TooShort(usize),
    /// There is no such kind of frame.
    #[error("unknown kind of frame {0}")]
    Kind(u8),
    /// There is no such class.
    #[error("unknown class {0}")]
    Class(u8),
    /// The greeting does not decode.
    #[error("the greeting does not decode: {0}")]
    Hello(String),
}

/// What a connection is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub enum LinkKind {
    /// Raft and gossip.
    Control,
    /// Everything else that is a request and an answer.
    Bulk,
    /// Answers that stream: objects of the HTTP cache.
    Cache,
}

/// How the side that connects introduces itself.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Hello {
    /// The version of the protocol that it speaks.
    pub protocol: u16,
    /// Its cluster.
    pub cluster: ClusterId,
    /// Who it claims to be; its certificate must say the same.
    pub node: NodeId,
    /// Its data directory.
    pub raft: RaftId,
    /// What the connection is for.
    pub link: LinkKind,
}

/// How the other side answers. Whoever is not welcome finds the connection closed, with the reason.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Welcome {
    /// Who answers; its certificate says the same.
    pub node: NodeId,
    /// Its data directory.
    pub raft: RaftId,
}

/// Encodes a greeting with its length field.
///
/// # Errors
/// [`FrameError::TooLong`] when it is over [`HELLO_BYTES_MAX`].
pub fn encode_greeting<T: Serialize>(greeting: &T) -> Result<Bytes, FrameError> {
    let record = codec::encode(greeting).map_err(|error| FrameError::Hello(error.to_string()))?;
    let too_long = FrameError::TooLong { bytes: record.len(), bytes_max: HELLO_BYTES_MAX };
    let length = u16::try_from(record.len()).map_err(|_source| too_long.clone())?;
    if record.len() > HELLO_BYTES_MAX {
        return Err(too_long);
    }
    let mut out = BytesMut::with_capacity(2 + record.len());
    out.put_u16(length);
    out.put_slice(&record);
    Ok(out.freeze())
}

/// Decodes the record of a greeting, without its length field.
///
/// # Errors
/// [`FrameError::Hello`].
pub fn decode_greeting<T: serde::de::DeserializeOwned>(record: &[u8]) -> Result<T, FrameError> {
    codec::decode(record).map_err(|error| FrameError::Hello(error.to_string()))
}

/// A frame on the control stream.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ControlFrame {
    /// A request, from the side that opened the stream.
    Request {
        /// Chosen by the sender; the answer bears it.
        id: u64,
        /// How long the sender waits, in milliseconds.
        deadline_ms: u32,
        /// The message.
        payload: Bytes,
    },
    /// An answer.
    Answer {
        /// The request's.
        id: u64,
        /// The message.
        payload: Bytes,
    },
    /// A refusal.
    Refused {
        /// The request's.
        id: u64,
        /// Why.
        refused: Refused,
    },
}

/// Frames gathered for one write: small ones in one buffer, large payloads as they are.
#[derive(Debug, Default)]
pub struct WriteBatch {
    chunks: Vec<Bytes>,
    tail: BytesMut,
    bytes: usize,
}

impl WriteBatch {
    /// Adds a control frame. The caller has checked the length of its payload.
    pub fn push(&mut self, frame: ControlFrame) {
        match frame {
            ControlFrame::Request { id, deadline_ms, payload } => {
                self.push_parts(KIND_REQUEST, id, deadline_ms, payload);
            }
            ControlFrame::Answer { id, payload } => self.push_parts(KIND_ANSWER, id, 0, payload),
            ControlFrame::Refused { id, refused } => {
                let code = u32::from(refused.code.to_wire());
                self.push_parts(KIND_REFUSED, id, code, refused_text(refused));
            }
        }
    }

    fn push_parts(&mut self, kind: u8, id: u64, aux: u32, payload: Bytes) {
        self.bytes += LENGTH + CONTROL_HEAD + payload.len();
        self.tail.put_u32(length_field(CONTROL_HEAD + payload.len()));
        self.tail.put_u8(kind);
        self.tail.put_u64(id);
        self.tail.put_u32(aux);
        if payload.len() <= COPY_MAX {
            self.tail.put_slice(&payload);
        } else {
            self.chunks.push(self.tail.split().freeze());
            self.chunks.push(payload);
        }
    }

    /// How many bytes are gathered.
    #[must_use]
    pub fn bytes(&self) -> usize {
        self.bytes
    }

    /// What to write, and begins anew.
    pub fn take(&mut self) -> Vec<Bytes> {
        if !self.tail.is_empty() {
            self.chunks.push(self.tail.split().freeze());
        }
        self.bytes = 0;
        std::mem::take(&mut self.chunks)
    }
}

/// Lengths are checked against limits far below 4 GiB before anything is encoded.
fn length_field(bytes: usize) -> u32 {
    u32::try_from(bytes).unwrap_or(u32::MAX)
}

fn refused_text(refused: Refused) -> Bytes {
    let mut text = refused.text;
    let cut = text.floor_char_boundary(Refused::TEXT_BYTES_MAX);
    text.truncate(cut);
    Bytes::from(text)
}

/// Cuts the bytes of a control stream into frames, without copying payloads.
#[derive(Debug)]
pub struct ControlDecoder {
    buffer: BytesMut,
    payload_bytes_max: usize,
}

impl ControlDecoder {
    /// Payloads longer than `payload_bytes_max` are refused before they are gathered.
    #[must_use]
    pub fn new(payload_bytes_max: usize) -> Self {
        Self { buffer: BytesMut::new(), payload_bytes_max }
    }

    /// Adds what was read.
    pub fn extend(&mut self, chunk: &[u8]) {
        self.buffer.extend_from_slice(chunk);
    }

    /// The next complete frame; `None` when more must be read.
    ///
    /// # Errors
    /// [`FrameError`]: the stream is of no use any more.
    pub fn next_frame(&mut self) -> Result<Option<ControlFrame>, FrameError> {
        let Some(length) = self.buffer.first_chunk::<LENGTH>() else {
            return Ok(None);
        };
        let length = u32::from_be_bytes(*length) as usize;
        if length < CONTROL_HEAD {
            return Err(FrameError::TooShort(length));
        }
        if length - CONTROL_HEAD > self.payload_bytes_max {
            let bytes_max = self.payload_bytes_max;
            return Err(FrameError::TooLong { bytes: length - CONTROL_HEAD, bytes_max });
        }
        if self.buffer.len() < LENGTH + length {
            self.buffer.reserve(LENGTH + length - self.buffer.len());
            return Ok(None);
        }
        self.buffer.advance(LENGTH);
        let mut frame = self.buffer.split_to(length).freeze();
        let kind = frame.get_u8();
        let id = frame.get_u64();
        let aux = frame.get_u32();
        match kind {
            KIND_REQUEST => {
                Ok(Some(ControlFrame::Request { id, deadline_ms: aux, payload: frame }))
            }
            KIND_ANSWER => Ok(Some(ControlFrame::Answer { id, payload: frame })),
            KIND_REFUSED => {
                let code = u8::try_from(aux).unwrap_or_default();
                Ok(Some(ControlFrame::Refused { id, refused: decode_refused(code, &frame) }))
            }
            other => Err(FrameError::Kind(other)),
        }
    }
}

fn decode_refused(code: u8, text: &[u8]) -> Refused {
    let text = text.get(..Refused::TEXT_BYTES_MAX).unwrap_or(text);
    Refused::with(RefusedCode::from_wire(code), String::from_utf8_lossy(text))
}

/// Encodes a request for a bulk stream: header, then the payload as it is.
#[must_use]
pub fn encode_bulk_request(class: Class, deadline_ms: u32, payload: Bytes) -> [Bytes; 2] {
    let mut head = BytesMut::with_capacity(LENGTH + REQUEST_HEAD);
    head.put_u32(length_field(REQUEST_HEAD + payload.len()));
    head.put_u8(class.to_wire());
    head.put_u32(deadline_ms);
    [head.freeze(), payload]
}

/// The length of what [`decode_bulk_request_head`] reads.
pub const BULK_REQUEST_HEAD: usize = LENGTH + REQUEST_HEAD;

/// Decodes the header of a request on a bulk stream: class, deadline in milliseconds, and how many
/// bytes of payload follow. The caller checks that number against the limit of the class.
///
/// # Errors
/// [`FrameError`].
pub fn decode_bulk_request_head(
    head: &[u8; BULK_REQUEST_HEAD],
) -> Result<(Class, u32, usize), FrameError> {
    let mut head = head.as_slice();
    let length = head.get_u32() as usize;
    let class = head.get_u8();
    let class = Class::from_wire(class).ok_or(FrameError::Class(class))?;
    let deadline_ms = head.get_u32();
    let payload = length.checked_sub(REQUEST_HEAD).ok_or(FrameError::TooShort(length))?;
    Ok((class, deadline_ms, payload))
}

/// Encodes an answer for a bulk stream.
#[must_use]
pub fn encode_bulk_answer(answer: Result<Bytes, Refused>) -> [Bytes; 2] {
    let (kind, payload) = match answer {
        Ok(payload) => (KIND_ANSWER, payload),
        Err(refused) => {
            let code = refused.code.to_wire();
            let mut body = BytesMut::with_capacity(1 + refused.text.len());
            body.put_u8(code);
            body.put_slice(&refused_text(refused));
            (KIND_REFUSED, body.freeze())
        }
    };
    let mut head = BytesMut::with_capacity(BULK_ANSWER_HEAD);
    head.put_u32(length_field(1 + payload.len()));
    head.put_u8(kind);
    [head.freeze(), payload]
}

/// The length of what [`decode_bulk_answer_head`] reads.
pub const BULK_ANSWER_HEAD: usize = LENGTH + 1;

/// Decodes the header of an answer on a bulk stream: how many bytes of payload follow, at most
/// `payload_bytes_max`, and what they are.
///
/// # Errors
/// [`FrameError`].
pub fn decode_bulk_answer_head(
    head: &[u8; BULK_ANSWER_HEAD],
    payload_bytes_max: usize,
) -> Result<(BulkAnswer, usize), FrameError> {
    let mut head = head.as_slice();
    let length = head.get_u32() as usize;
    let payload = length.checked_sub(1).ok_or(FrameError::TooShort(length))?;
    let (kind, bytes_max) = match head.get_u8() {
        KIND_ANSWER => (BulkAnswer::Answer, payload_bytes_max),
        KIND_REFUSED => (BulkAnswer::Refused, 1 + Refused::TEXT_BYTES_MAX),
        other => return Err(FrameError::Kind(other)),
    };
    if payload > bytes_max {
        return Err(FrameError::TooLong { bytes: payload, bytes_max });
    }
    Ok((kind, payload))
}

/// What the payload of a bulk answer is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum BulkAnswer {
    /// The answer.
    Answer,
    /// A refusal, for [`decode_bulk_refused`].
    Refused,
}

/// Decodes the payload of a refusal on a bulk stream.
///
/// # Errors
/// [`FrameError::TooShort`] when it is empty.
pub fn decode_bulk_refused(payload: &[u8]) -> Result<Refused, FrameError> {
    let (&code, text) = payload.split_first().ok_or(FrameError::TooShort(0))?;
    Ok(decode_refused(code, text))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn request(id: u64, payload: &[u8]) -> ControlFrame {
        ControlFrame::Request { id, deadline_ms: 250, payload: Bytes::copy_from_slice(payload) }
    }

    fn decode_all(chunks: &[Bytes], step: usize) -> Vec<ControlFrame> {
        let joined = chunks.concat();
        let mut decoder = ControlDecoder::new(1 << 20);
        let mut frames = Vec::new();
        for piece in joined.chunks(step) {
            decoder.extend(piece);
            while let Some(frame) = decoder.next_frame().unwrap() {
                frames.push(frame);
            }
        }
        frames
    }

    #[test]
    fn frames_survive_any_cut_of_the_stream() {
        let refused = Refused::with(RefusedCode::Busy, "too much to do");
        let frames = vec![
            request(1, b"vote"),
            request(2, &[7; 10_000]),
            ControlFrame::Answer { id: 1, payload: Bytes::from_static(b"granted") },
            ControlFrame::Refused { id: 2, refused },
            request(3, b""),
        ];
        let mut batch = WriteBatch::default();
        for frame in &frames {
            batch.push(frame.clone());
        }
        let bytes = batch.bytes();
        let chunks = batch.take();
        assert_eq!(chunks.iter().map(Bytes::len).sum::<usize>(), bytes);
        for step in [1, 3, 17, 4096, 100_000] {
            assert_eq!(decode_all(&chunks, step), frames, "step {step}");
        }
        assert!(batch.take().is_empty());
    }

    #[test]
    fn small_frames_share_one_chunk_and_large_payloads_are_not_copied() {
        let large = Bytes::from(vec![1; COPY_MAX + 1]);
        let mut batch = WriteBatch::default();
        batch.push(request(1, b"a"));
        batch.push(request(2, b"b"));
        batch.push(ControlFrame::Answer { id: 3, payload: large.clone() });
        let chunks = batch.take();
        assert_eq!(chunks.len(), 2);
        assert_eq!(chunks[1].as_ptr(), large.as_ptr());
    }

    #[test]
    fn a_long_frame_is_refused_by_its_header() {
        let mut decoder = ControlDecoder::new(100);
        let mut batch = WriteBatch::default();
        batch.push(request(1, &[0; 101]));
        decoder.extend(&batch.take().concat()[..LENGTH]);
        assert_eq!(decoder.next_frame(), Err(FrameError::TooLong { bytes: 101, bytes_max: 100 }));
    }

    #[test]
    fn bulk_frames_round_trip() {
        let [head, payload] = encode_bulk_request(Class::Query, 900, Bytes::from_static(b"q"));
        let head: &[u8; BULK_REQUEST_HEAD] = head.as_ref().try_into().unwrap();
        assert_eq!(decode_bulk_request_head(head), Ok((Class::Query, 900, payload.len())));

        let [head, payload] = encode_bulk_answer(Ok(Bytes::from_static(b"hit")));
        let head: &[u8; BULK_ANSWER_HEAD] = head.as_ref().try_into().unwrap();
        assert_eq!(decode_bulk_answer_head(head, 3), Ok((BulkAnswer::Answer, payload.len())));
        assert!(decode_bulk_answer_head(head, 2).is_err());

        let long = "è".repeat(Refused::TEXT_BYTES_MAX);
        let [head, payload] = encode_bulk_answer(Err(Refused::with(RefusedCode::Busy, long)));
        let head: &[u8; BULK_ANSWER_HEAD] = head.as_ref().try_into().unwrap();
        assert_eq!(decode_bulk_answer_head(head, 3), Ok((BulkAnswer::Refused, payload.len())));
        let refused = decode_bulk_refused(&payload).unwrap();
        assert_eq!(refused.code, RefusedCode::Busy);
        assert_eq!(refused.text.len(), Refused::TEXT_BYTES_MAX);
    }

    #[test]
    fn greetings_round_trip() {
        let hello = Hello {
            protocol: PROTOCOL,
            cluster: ClusterId(7),
            node: NodeId(3),
            raft: RaftId(u64::MAX),
            link: LinkKind::Bulk,
        };
        let encoded = encode_greeting(&hello).unwrap();
        assert_eq!(decode_greeting::<Hello>(&encoded[2..]), Ok(hello));
        let long = "x".repeat(HELLO_BYTES_MAX);
        assert!(matches!(encode_greeting(&long), Err(FrameError::TooLong { .. })));
    }

    proptest! {
        #[test]
        fn decoders_take_any_bytes(bytes in proptest::collection::vec(any::<u8>(), 0..400)) {
            let mut decoder = ControlDecoder::new(256);
            decoder.extend(&bytes);
            while let Ok(Some(_)) = decoder.next_frame() {}
            let _ignored = decode_greeting::<Hello>(&bytes);
            let _ignored = decode_greeting::<Welcome>(&bytes);
            let _ignored = decode_bulk_refused(&bytes);
            if let Some(head) = bytes.first_chunk() {
                let _ignored = decode_bulk_request_head(head);
            }
            if let Some(head) = bytes.first_chunk() {
                let _ignored = decode_bulk_answer_head(head, 100);
            }
        }
    }
}
