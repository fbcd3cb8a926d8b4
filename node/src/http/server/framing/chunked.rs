//! Bodies in chunks (RFC 9112 §7.1).

use super::{
    Refusal,
    fields::{is_token_byte, is_value_byte},
};

/// Bytes of all chunk extensions of a body. Nobody uses them but for attacks.
const EXTENSION_BYTES_MAX: usize = 4 << 10;
/// Bytes of a trailer section.
const TRAILER_BYTES_MAX: usize = 8 << 10;
/// Fields of a trailer section.
const TRAILERS_MAX: usize = 64;
/// Hexadecimal digits of a size: 15 cannot overflow, and are more than anybody sends.
const SIZE_DIGITS_MAX: u8 = 15;
/// Fields that frame or route a message, and so come too late in a trailer (RFC 9110 §6.5.1).
const NO_TRAILERS: [&[u8]; 6] =
    [b"transfer-encoding", b"content-length", b"host", b"trailer", b"te", b"connection"];
/// The longest of them.
const NAME_BYTES: usize = 17;

/// A body in chunks while it arrives.
#[derive(Debug)]
pub(super) struct Chunked {
    state: State,
    extension_bytes: usize,
    trailer_bytes: usize,
    trailers: usize,
    name: [u8; NAME_BYTES],
    name_bytes: usize,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    Size {
        digits: u8,
        size: u64,
    },
    /// White space between the size and a `;`.
    BeforeExtension {
        size: u64,
    },
    Extension {
        size: u64,
    },
    SizeLf {
        size: u64,
    },
    Data {
        left: u64,
    },
    DataCr,
    DataLf,
    TrailerLine,
    TrailerName,
    TrailerValue,
    TrailerLf,
    EndLf,
    Complete,
}

impl Default for Chunked {
    fn default() -> Self {
        Self {
            state: State::Size { digits: 0, size: 0 },
            extension_bytes: 0,
            trailer_bytes: 0,
            trailers: 0,
            name: [0; NAME_BYTES],
            name_bytes: 0,
        }
    }
}

impl Chunked {
    pub(super) fn is_complete(&self) -> bool {
        self.state == State::Complete
    }

    /// How many of `bytes` belong to the body: all of them, or those up to its end.
    pub(super) fn advance(&mut self, bytes: &[u8]) -> Result<usize, Refusal> {
        let mut at = 0;
        while let Some(byte) = bytes.get(at) {
            match self.state {
                State::Complete => break,
                State::Data { left } => {
                    let here = (bytes.len() - at) as u64;
                    let step = left.min(here);
                    at += usize::try_from(step).unwrap_or(usize::MAX);
                    self.state = match left - step {
                        0 => State::DataCr,
                        left => State::Data { left },
                    };
                }
                _ => {
                    self.state = self.step(*byte)?;
                    at += 1;
                }
            }
        }
        Ok(at)
    }

    fn step(&mut self, byte: u8) -> Result<State, Refusal> {
        match self.state {
            State::Size { digits, size } => self.size(byte, digits, size),
            State::BeforeExtension { size } => match byte {
                b' ' | b'\t' => self.extension(State::BeforeExtension { size }),
                b';' => self.extension(State::Extension { size }),
                _ => Err(Refusal::Chunk),
            },
            State::Extension { size } => match byte {
                b'\r' => Ok(State::SizeLf { size }),
                byte if is_value_byte(byte) => self.extension(State::Extension { size }),
                _ => Err(Refusal::ChunkExtension),
            },
            State::SizeLf { size } => match (byte, size) {
                (b'\n', 0) => Ok(State::TrailerLine),
                (b'\n', left) => Ok(State::Data { left }),
                _ => Err(Refusal::Chunk),
            },
            State::DataCr if byte == b'\r' => Ok(State::DataLf),
            State::DataLf if byte == b'\n' => Ok(State::Size { digits: 0, size: 0 }),
            State::DataCr | State::DataLf => Err(Refusal::Chunk),
            State::EndLf if byte == b'\n' => Ok(State::Complete),
            State::TrailerLf if byte == b'\n' => Ok(State::TrailerLine),
            State::EndLf | State::TrailerLf => Err(Refusal::Trailer),
            State::TrailerLine | State::TrailerName | State::TrailerValue => self.trailer(byte),
            // Data is passed over at once, and a complete body takes nothing.
            State::Data { .. } | State::Complete => Ok(self.state),
        }
    }

    fn size(&mut self, byte: u8, digits: u8, size: u64) -> Result<State, Refusal> {
        let digit = match byte {
            b'0'..=b'9' => byte - b'0',
            b'a'..=b'f' => byte - b'a' + 10,
            b'A'..=b'F' => byte - b'A' + 10,
            _ if digits == 0 => return Err(Refusal::Chunk),
            b'\r' => return Ok(State::SizeLf { size }),
            b';' => return self.extension(State::Extension { size }),
            b' ' | b'\t' => return self.extension(State::BeforeExtension { size }),
            _ => return Err(Refusal::Chunk),
        };
        if digits == SIZE_DIGITS_MAX {
            return Err(Refusal::Chunk);
        }
        Ok(State::Size { digits: digits + 1, size: size << 4 | u64::from(digit) })
    }

    fn extension(&mut self, next: State) -> Result<State, Refusal> {
        self.extension_bytes += 1;
        if self.extension_bytes > EXTENSION_BYTES_MAX {
            return Err(Refusal::ChunkExtension);
        }
        Ok(next)
    }

    fn trailer(&mut self, byte: u8) -> Result<State, Refusal> {
        self.trailer_bytes += 1;
        if self.trailer_bytes > TRAILER_BYTES_MAX {
            return Err(Refusal::Trailer);
        }
        match (self.state, byte) {
            (State::TrailerLine, b'\r') => Ok(State::EndLf),
            (State::TrailerLine, byte) if is_token_byte(byte) => {
                self.trailers += 1;
                if self.trailers > TRAILERS_MAX {
                    return Err(Refusal::Trailer);
                }
                self.name_bytes = 0;
                self.remember(byte);
                Ok(State::TrailerName)
            }
            (State::TrailerName, b':') if !self.is_forbidden() => Ok(State::TrailerValue),
            (State::TrailerName, byte) if is_token_byte(byte) => {
                self.remember(byte);
                Ok(State::TrailerName)
            }
            (State::TrailerValue, b'\r') => Ok(State::TrailerLf),
            (State::TrailerValue, byte) if is_value_byte(byte) => Ok(State::TrailerValue),
            _ => Err(Refusal::Trailer),
        }
    }

    /// Keeps the name of a trailer as far as it can be one that is forbidden.
    fn remember(&mut self, byte: u8) {
        if let Some(place) = self.name.get_mut(self.name_bytes) {
            *place = byte.to_ascii_lowercase();
        }
        self.name_bytes = self.name_bytes.saturating_add(1);
    }

    fn is_forbidden(&self) -> bool {
        self.name.get(..self.name_bytes).is_some_and(|name| NO_TRAILERS.contains(&name))
    }
}
