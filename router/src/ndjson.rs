//! Lines out of a body that is still arriving, within bounds.

use std::collections::VecDeque;

use bytes::{Buf, Bytes, BytesMut};
use http_body_util::BodyExt;

use crate::port::{Body, BodyError};

/// One line, without its end.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Line {
    /// Its bytes.
    Whole(Bytes),
    /// It was longer than the bound, and was skipped.
    TooLong {
        /// The bound.
        bytes_max: usize,
    },
}

/// Reads lines. Blank lines are counted but not given.
pub(crate) struct LineReader {
    body: Body,
    line_bytes_max: usize,
    buffer: BytesMut,
    ready: VecDeque<(u64, Line)>,
    /// How much of the buffer is known to have no line end.
    searched: usize,
    /// In a line that is too long.
    skipping: bool,
    number: u64,
    ended: bool,
}

impl LineReader {
    pub(crate) fn new(body: Body, line_bytes_max: usize) -> Self {
        Self {
            body,
            line_bytes_max,
            buffer: BytesMut::new(),
            ready: VecDeque::new(),
            searched: 0,
            skipping: false,
            number: 0,
            ended: false,
        }
    }

    /// The next line with its number, from 1; `None` at the end.
    ///
    /// # Cancel safety
    /// Nothing is lost: what has arrived stays for the next call.
    pub(crate) async fn next(&mut self) -> Result<Option<(u64, Line)>, BodyError> {
        loop {
            if let Some(line) = self.ready.pop_front() {
                return Ok(Some(line));
            }
            if self.ended {
                return Ok(None);
            }
            match self.body.frame().await {
                Some(frame) => {
                    if let Ok(chunk) = frame?.into_data() {
                        self.take_in(&chunk);
                    }
                }
                None => self.end(),
            }
        }
    }

    /// Whether the next line is here already.
    pub(crate) fn has_line(&self) -> bool {
        !self.ready.is_empty()
    }

    fn take_in(&mut self, mut chunk: &[u8]) {
        while !chunk.is_empty() {
            // No more than one line beyond the bound is ever buffered.
            let room = (self.line_bytes_max + 2).saturating_sub(self.buffer.len()).max(1);
            let (part, rest) = chunk.split_at(room.min(chunk.len()));
            self.buffer.extend_from_slice(part);
            chunk = rest;
            self.split();
        }
    }

    /// Moves whole lines out of the buffer.
    fn split(&mut self) {
        while let Some(at) = self
            .buffer
            .get(self.searched..)
            .and_then(|fresh| fresh.iter().position(|byte| *byte == b'\n'))
        {
            let line = self.buffer.split_to(self.searched + at).freeze();
            self.buffer.advance(1);
            self.searched = 0;
            self.give(line);
        }
        self.searched = self.buffer.len();
        if self.buffer.len() > self.line_bytes_max + 1 {
            self.skipping = true;
        }
        if self.skipping {
            self.buffer.clear();
            self.searched = 0;
        }
    }

    fn end(&mut self) {
        self.ended = true;
        if self.skipping || !self.buffer.is_empty() {
            let line = self.buffer.split().freeze();
            self.give(line);
        }
    }

    fn give(&mut self, mut line: Bytes) {
        self.number += 1;
        let too_long = std::mem::take(&mut self.skipping);
        if line.last() == Some(&b'\r') {
            line.truncate(line.len() - 1);
        }
        if too_long || line.len() > self.line_bytes_max {
            let bytes_max = self.line_bytes_max;
            self.ready.push_back((self.number, Line::TooLong { bytes_max }));
        } else if !line.trim_ascii().is_empty() {
            self.ready.push_back((self.number, Line::Whole(line)));
        }
    }
}

#[cfg(test)]
mod tests {
    use futures::stream;
    use http_body::Frame;
    use http_body_util::StreamBody;

    use super::*;

    async fn lines(chunks: &[&str], max: usize) -> Vec<(u64, String)> {
        let frames: Vec<Result<_, BodyError>> = chunks
            .iter()
            .map(|chunk| Ok(Frame::data(Bytes::copy_from_slice(chunk.as_bytes()))))
            .collect();
        let mut reader = LineReader::new(StreamBody::new(stream::iter(frames)).boxed_unsync(), max);
        let mut found = Vec::new();
        while let Some((number, line)) = reader.next().await.unwrap() {
            let text = match line {
                Line::Whole(bytes) => String::from_utf8(bytes.to_vec()).unwrap(),
                Line::TooLong { .. } => "too long".to_owned(),
            };
            found.push((number, text));
        }
        found
    }

    #[tokio::test]
    async fn lines_come_out_however_the_body_is_cut() {
        let expected = [(1, "ab"), (3, "c"), (4, "def")].map(|(n, text)| (n, text.to_owned()));
        assert_eq!(lines(&["ab\n\nc\r\ndef"], 9).await, expected);
        assert_eq!(lines(&["a", "b\n", "\nc\r", "\nd", "ef\n"], 9).await, expected);
        let bytes: Vec<String> = "ab\n\nc\r\ndef".chars().map(String::from).collect();
        let bytes: Vec<&str> = bytes.iter().map(String::as_str).collect();
        assert_eq!(lines(&bytes, 9).await, expected);
        assert_eq!(lines(&[], 9).await, []);
    }

    #[tokio::test]
    async fn a_line_that_is_too_long_is_skipped_and_the_rest_is_read() {
        for chunks in [
            &["12345678901234567890\nok\n1234567890123"][..],
            &["1234567890", "1234567890\no", "k\n123456", "7890123"],
        ] {
            let expected =
                [(1, "too long"), (2, "ok"), (3, "too long")].map(|(n, text)| (n, text.to_owned()));
            assert_eq!(lines(chunks, 9).await, expected);
        }
        assert_eq!(lines(&["123456789\r\n123456789"], 9).await.len(), 2);
        assert_eq!(lines(&["123456789\n"], 9).await, [(1, "123456789".to_owned())]);
    }
}
