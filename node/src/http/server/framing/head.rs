//! The head of a request: its line, its fields, and what they say about the body.

use super::{
    BodyFraming, Refusal,
    fields::{is_authority, is_token, split},
};

/// Bytes of a request line beyond which it is refused, whatever the configuration takes: more than the
/// longest target that can be configured, with its method and version.
const LINE_BYTES_MAX: usize = (64 << 10) + 256;

/// How large a head may be.
#[derive(Debug, Clone, Copy)]
pub struct HeadLimits {
    /// Bytes of all field lines.
    pub header_bytes: usize,
    /// Field lines.
    pub header_fields: usize,
}

impl HeadLimits {
    /// Bytes of the largest head.
    #[must_use]
    pub const fn bytes_max(&self) -> usize {
        LINE_BYTES_MAX + self.header_bytes + 4
    }
}

/// A head while it arrives. It is looked at line by line, each line once.
#[derive(Debug, Default)]
pub(super) struct Head {
    /// Bytes of an empty line before it.
    skip: usize,
    /// Where the line that is not complete yet begins.
    line: usize,
    /// Up to where no end of a line was found.
    searched: usize,
    /// Where the first field line begins; none before the request line is complete.
    fields_begin: Option<usize>,
    fields: usize,
    summary: Summary,
}

/// A complete head.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Complete {
    pub(super) skip: usize,
    pub(super) bytes: usize,
    pub(super) body: BodyFraming,
}

/// What decides about the framing.
#[derive(Debug, Default)]
struct Summary {
    is_http10: bool,
    /// Where the authority of the target is, if it has one.
    authority: Option<(usize, usize)>,
    host: Option<(usize, usize)>,
    length: Option<u64>,
    codings: Codings,
}

/// What `Transfer-Encoding` says.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
enum Codings {
    #[default]
    None,
    Chunked,
    /// Another one before `chunked`, which is the last.
    OtherThenChunked,
    /// The last one is not `chunked`; more may follow.
    Other,
}

impl Head {
    /// Looks at the lines that are complete by now; `bytes` are all since the head began.
    pub(super) fn advance(
        &mut self,
        bytes: &[u8],
        limits: &HeadLimits,
    ) -> Result<Option<Complete>, Refusal> {
        loop {
            let unsearched = bytes.get(self.searched..).unwrap_or_default();
            let Some(found) = memchr::memchr(b'\n', unsearched) else {
                self.searched = bytes.len();
                self.check_size(bytes.len(), limits)?;
                return Ok(None);
            };
            let end = self.searched + found;
            let line = bytes.get(self.line..end).unwrap_or_default();
            let Some((b'\r', line)) = line.split_last() else { return Err(Refusal::LineEnd) };
            let begin = self.line;
            self.line = end + 1;
            self.searched = end + 1;
            self.check_size(end + 1, limits)?;
            match (self.fields_begin, line.is_empty()) {
                // RFC 9112 §2.2: one empty line may stand before a request.
                (None, true) if self.skip == 0 => self.skip = self.line,
                (None, _) => {
                    self.request_line(line, begin)?;
                    self.fields_begin = Some(self.line);
                }
                (Some(_), true) => {
                    let body = self.summary.decide(bytes)?;
                    return Ok(Some(Complete {
                        skip: self.skip,
                        bytes: self.line - self.skip,
                        body,
                    }));
                }
                (Some(_), false) => {
                    self.fields += 1;
                    if self.fields > limits.header_fields {
                        return Err(Refusal::TooManyFields);
                    }
                    self.summary.field(line, begin)?;
                }
            }
        }
    }

    /// Refuses what cannot be taken before it is complete.
    fn check_size(&self, bytes: usize, limits: &HeadLimits) -> Result<(), Refusal> {
        match self.fields_begin {
            None if bytes - self.skip > LINE_BYTES_MAX => Err(Refusal::TargetTooLong),
            Some(begin) if bytes - begin > limits.header_bytes + 2 => Err(Refusal::HeaderTooLarge),
            None | Some(_) => Ok(()),
        }
    }

    /// RFC 9112 §3: `method SP request-target SP HTTP-version`.
    fn request_line(&mut self, line: &[u8], begin: usize) -> Result<(), Refusal> {
        let mut parts = line.split(|byte| *byte == b' ');
        let (method, target, version) = match (parts.next(), parts.next(), parts.next()) {
            (Some(method), Some(target), Some(version)) if parts.next().is_none() => {
                (method, target, version)
            }
            _ => return Err(Refusal::RequestLine),
        };
        if !is_token(method) {
            return Err(Refusal::RequestLine);
        }
        match version {
            b"HTTP/1.1" => {}
            b"HTTP/1.0" => self.summary.is_http10 = true,
            [b'H', b'T', b'T', b'P', b'/', major, b'.', minor]
                if major.is_ascii_digit() && minor.is_ascii_digit() =>
            {
                return Err(Refusal::Version);
            }
            _ => return Err(Refusal::RequestLine),
        }
        // A fragment is no part of a target, and is cut off by some and not by others.
        if target.iter().any(|byte| !byte.is_ascii_graphic() || *byte == b'#') {
            return Err(Refusal::Target);
        }
        let offset = begin + method.len() + 1;
        match (method, target) {
            (b"CONNECT", _) => Err(Refusal::Connect),
            (_, [b'/', ..]) | (b"OPTIONS", b"*") => Ok(()),
            (_, absolute) => {
                let (scheme, rest) = split_scheme(absolute).ok_or(Refusal::Target)?;
                let end = rest.iter().position(|byte| matches!(byte, b'/' | b'?'));
                let authority = rest.get(..end.unwrap_or(rest.len())).unwrap_or_default();
                if !is_authority(authority) {
                    return Err(Refusal::Target);
                }
                let start = offset + scheme;
                self.summary.authority = Some((start, start + authority.len()));
                Ok(())
            }
        }
    }
}

/// The length of `http://` or `https://`, and what follows.
fn split_scheme(target: &[u8]) -> Option<(usize, &[u8])> {
    ["http://", "https://"].into_iter().find_map(|scheme| {
        let (head, rest) = target.split_at_checked(scheme.len())?;
        head.eq_ignore_ascii_case(scheme.as_bytes()).then_some((scheme.len(), rest))
    })
}

impl Summary {
    fn field(&mut self, line: &[u8], begin: usize) -> Result<(), Refusal> {
        let (name, value) = split(line)?;
        match name.len() {
            4 if name.eq_ignore_ascii_case(b"host") => {
                if self.host.is_some() || !is_authority(value) {
                    return Err(Refusal::Host);
                }
                let start = begin + (value.as_ptr() as usize - line.as_ptr() as usize);
                self.host = Some((start, start + value.len()));
            }
            14 if name.eq_ignore_ascii_case(b"content-length") => {
                // Also the same number twice: whoever sends it was made to.
                if self.length.is_some() {
                    return Err(Refusal::ContentLength);
                }
                self.length = Some(number(value).ok_or(Refusal::ContentLength)?);
            }
            17 if name.eq_ignore_ascii_case(b"transfer-encoding") => self.codings(value)?,
            _ => {}
        }
        Ok(())
    }

    fn codings(&mut self, value: &[u8]) -> Result<(), Refusal> {
        for coding in value.split(|byte| *byte == b',').map(super::fields::trim) {
            let is_chunked = coding.eq_ignore_ascii_case(b"chunked");
            self.codings = match (self.codings, is_chunked) {
                // RFC 9112 §6.1: chunked is the last one, and applied once.
                (Codings::Chunked | Codings::OtherThenChunked, _) => {
                    return Err(Refusal::TransferEncoding);
                }
                _ if !is_coding(coding) => return Err(Refusal::TransferEncoding),
                (Codings::None, true) => Codings::Chunked,
                (Codings::Other, true) => Codings::OtherThenChunked,
                (Codings::None | Codings::Other, false) => Codings::Other,
            };
        }
        Ok(())
    }

    /// RFC 9112 §3.2 and §6.
    fn decide(&self, bytes: &[u8]) -> Result<BodyFraming, Refusal> {
        let text = |range: Option<(usize, usize)>| range.and_then(|(a, b)| bytes.get(a..b));
        match (text(self.host), text(self.authority)) {
            (None, _) if !self.is_http10 => return Err(Refusal::Host),
            (Some(host), Some(authority)) if !host.eq_ignore_ascii_case(authority) => {
                return Err(Refusal::Host);
            }
            _ => {}
        }
        match (self.codings, self.length) {
            (Codings::None, None) => Ok(BodyFraming::None),
            (Codings::None, Some(length)) => Ok(BodyFraming::Length(length)),
            (_, _) if self.is_http10 => Err(Refusal::TransferEncoding),
            (_, Some(_)) => Err(Refusal::BothLengths),
            (Codings::Chunked, None) => Ok(BodyFraming::Chunked),
            (Codings::OtherThenChunked, None) => Err(Refusal::TransferCoding),
            (Codings::Other, None) => Err(Refusal::TransferEncoding),
        }
    }
}

/// A transfer coding: a token, with parameters that nobody here knows.
fn is_coding(coding: &[u8]) -> bool {
    let name = coding.split(|byte| *byte == b';').next().unwrap_or_default();
    let name = super::fields::trim(name);
    is_token(name) && (name.len() == coding.len() || !name.eq_ignore_ascii_case(b"chunked"))
}

/// Digits only, and no more than a length can be.
fn number(digits: &[u8]) -> Option<u64> {
    if digits.is_empty() || !digits.iter().all(u8::is_ascii_digit) {
        return None;
    }
    let number = digits.iter().try_fold(0_u64, |number, digit| {
        number.checked_mul(10)?.checked_add(u64::from(digit - b'0'))
    })?;
    // What hyper cannot count either.
    (number <= u64::MAX - 2).then_some(number)
}
