//! The byte-level guard in front of hyper: which bytes of an HTTP/1.1 connection are a request as
//! RFC 9112 has it, and which are refused.
//!
//! hyper is lenient where the RFC allows it, and in some places where it does not: it takes bare LF as
//! an end of line, prefers one of two lengths, and lets repeated `Host` fields pass. Whoever is
//! behind us may read such a request in another way, which is what request smuggling lives from. So
//! nothing ambiguous gets through: the guard follows the framing of every message (head, body by
//! length, chunks) and refuses what has more than one reading.
//!
//! Pure: bytes in, how many of them may pass out. What passes is what came, byte for byte, however it
//! was split on the way.
//!
//! There are no upgrades and no tunnels here (no handler switches protocols), so that the framing goes
//! on until the connection ends.

mod chunked;
mod fields;
mod head;
mod refusal;

#[cfg(test)]
mod tests;

use self::{chunked::Chunked, head::Head};

pub(super) use fields::is_authority;
pub use head::HeadLimits;
pub use refusal::Refusal;

/// Follows the requests of one connection.
#[derive(Debug)]
pub struct Guard {
    limits: HeadLimits,
    state: State,
    heads: u64,
}

#[derive(Debug)]
enum State {
    /// Between requests, or within a head.
    Head(Head),
    /// This many bytes of a body are to come.
    Length(u64),
    Chunked(Chunked),
}

/// How a body is delimited (RFC 9112 §6).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum BodyFraming {
    None,
    Length(u64),
    Chunked,
}

/// What may happen with bytes that were not passed yet.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Advance {
    /// These are dropped: the empty line that RFC 9112 §2.2 allows before a request.
    pub skip: usize,
    /// The ones after them pass.
    pub pass: usize,
}

/// Where in a connection the guard is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Place {
    /// Before the first byte of a request.
    Between,
    /// Within a head.
    Head,
    /// Within a body.
    Body,
}

impl Guard {
    /// A guard of a new connection.
    #[must_use]
    pub fn new(limits: HeadLimits) -> Self {
        Self { limits, state: State::Head(Head::default()), heads: 0 }
    }

    /// How many heads have passed.
    #[must_use]
    pub const fn heads(&self) -> u64 {
        self.heads
    }

    /// How many bytes of a body certainly pass, without being looked at.
    #[must_use]
    pub const fn certain(&self) -> u64 {
        match &self.state {
            State::Length(left) => *left,
            State::Head(_) | State::Chunked(_) => 0,
        }
    }

    /// Where the connection is, when `unpassed` bytes are waiting.
    #[must_use]
    pub const fn place(&self, unpassed: usize) -> Place {
        match &self.state {
            State::Head(_) if unpassed == 0 => Place::Between,
            State::Head(_) => Place::Head,
            State::Length(_) | State::Chunked(_) => Place::Body,
        }
    }

    /// Bytes that went by without being looked at; at most [`certain`](Self::certain).
    pub fn passed(&mut self, bytes: u64) {
        if let State::Length(left) = &mut self.state {
            *left = left.saturating_sub(bytes);
            if *left == 0 {
                self.state = State::Head(Head::default());
            }
        }
    }

    /// Looks at all bytes that were not passed yet. Neither skipped nor passed: more are needed.
    ///
    /// # Errors
    /// [`Refusal`]: the connection must end. None of these bytes may pass.
    pub fn advance(&mut self, unpassed: &[u8]) -> Result<Advance, Refusal> {
        match &mut self.state {
            State::Head(head) => {
                let Some(complete) = head.advance(unpassed, &self.limits)? else {
                    return Ok(Advance::default());
                };
                self.heads += 1;
                self.state = match complete.body {
                    BodyFraming::None | BodyFraming::Length(0) => State::Head(Head::default()),
                    BodyFraming::Length(bytes) => State::Length(bytes),
                    BodyFraming::Chunked => State::Chunked(Chunked::default()),
                };
                Ok(Advance { skip: complete.skip, pass: complete.bytes })
            }
            State::Length(left) => {
                let pass = usize::try_from(*left).unwrap_or(usize::MAX).min(unpassed.len());
                self.passed(pass as u64);
                Ok(Advance { skip: 0, pass })
            }
            State::Chunked(chunked) => {
                let pass = chunked.advance(unpassed)?;
                if chunked.is_complete() {
                    self.state = State::Head(Head::default());
                }
                Ok(Advance { skip: 0, pass })
            }
        }
    }
}
