//! The opaque token by which a client reads its own writes: the place in a shard's log that its
//! write took. Pure.

use hexpop_edge_config::{Epoch, ShardId, codec};
use hexpop_shard::LogPosition;
use serde::{Deserialize, Serialize};

/// Text longer than this is no token; ours are below 60 bytes.
const TEXT_BYTES_MAX: usize = 128;

/// A state that a later read must include.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Token {
    /// The shard written to.
    pub shard: ShardId,
    /// Its epoch at the write. A read under another `version` cannot compare positions and has to
    /// be strong instead.
    pub epoch: Epoch,
    /// The position of the write in the shard's log.
    pub position: LogPosition,
}

/// Text that is not a token of this mesh.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("not a token that this mesh issued")]
pub struct NotAToken;

impl Token {
    /// The value of the header field `Hexpop-Token`.
    #[must_use]
    pub fn encode(&self) -> String {
        // Encoding numbers into memory cannot fail; an empty token would be refused by `parse`.
        codec::encode(self).map(|bytes| base64url(&bytes)).unwrap_or_default()
    }

    /// Reads the value of the header field.
    ///
    /// # Errors
    /// [`NotAToken`].
    pub fn parse(text: &str) -> Result<Self, NotAToken> {
        let text = text.trim();
        if text.len() > TEXT_BYTES_MAX {
            return Err(NotAToken);
        }
        let bytes = from_base64url(text).ok_or(NotAToken)?;
        codec::decode(&bytes).map_err(|_undecodable| NotAToken)
    }
}

const ALPHABET: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";

/// Base64url without padding (RFC 4648 §5).
pub(crate) fn base64url(bytes: &[u8]) -> String {
    let mut text = String::with_capacity(bytes.len().div_ceil(3) * 4);
    for chunk in bytes.chunks(3) {
        let group = chunk
            .iter()
            .zip([16, 8, 0])
            .fold(0_u32, |group, (byte, shift)| group | u32::from(*byte) << shift);
        for shift in [18, 12, 6, 0].into_iter().take(chunk.len() + 1) {
            let digit = (group >> shift & 63) as usize;
            text.push(char::from(ALPHABET.get(digit).copied().unwrap_or(b'A')));
        }
    }
    text
}

/// The reverse; `None` for other text, also where unused bits are set (so that a token has one
/// text form only).
pub(crate) fn from_base64url(text: &str) -> Option<Vec<u8>> {
    let mut bytes = Vec::with_capacity(text.len() / 4 * 3 + 2);
    let (mut group, mut bits) = (0_u32, 0_u32);
    for byte in text.bytes() {
        let digit = match byte {
            b'A'..=b'Z' => byte - b'A',
            b'a'..=b'z' => byte - b'a' + 26,
            b'0'..=b'9' => byte - b'0' + 52,
            b'-' => 62,
            b'_' => 63,
            _ => return None,
        };
        group = group << 6 | u32::from(digit);
        bits += 6;
        if bits >= 8 {
            bits -= 8;
            bytes.push(u8::try_from(group >> bits & 0xff).ok()?);
            group &= (1 << bits) - 1;
        }
    }
    (bits < 6 && group == 0).then_some(bytes)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_token_comes_back_as_it_was() {
        let token = Token {
            shard: ShardId(17),
            epoch: Epoch { version: 4, conf: 10 },
            position: LogPosition { term: 3, index: u64::MAX },
        };
        assert_eq!(Token::parse(&token.encode()), Ok(token));
        assert!(
            token.encode().bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-' || b == b'_')
        );
    }

    #[test]
    fn other_text_is_refused() {
        for text in ["", "x", "AAAA", "****", "AQID BA", &"A".repeat(200)] {
            assert_eq!(Token::parse(text), Err(NotAToken), "{text}");
        }
    }

    #[test]
    fn base64url_is_that_of_the_rfc() {
        for (bytes, text) in [
            ("", ""),
            ("f", "Zg"),
            ("fo", "Zm8"),
            ("foo", "Zm9v"),
            ("foob", "Zm9vYg"),
            ("fooba", "Zm9vYmE"),
        ] {
            assert_eq!(base64url(bytes.as_bytes()), text);
            assert_eq!(from_base64url(text).as_deref(), Some(bytes.as_bytes()));
        }
        assert_eq!(base64url(&[0xff, 0xef]), "_-8");
        assert_eq!(from_base64url("Zh"), None);
    }

    proptest! {
        #[test]
        fn base64url_round_trips(bytes in proptest::collection::vec(any::<u8>(), 0..80)) {
            prop_assert_eq!(from_base64url(&base64url(&bytes)), Some(bytes));
        }

        #[test]
        fn any_text_is_read_or_refused(text in ".{0,140}") {
            prop_assert!(Token::parse(&text).is_ok_and(|token| token.encode() == text.trim()) || Token::parse(&text).is_err());
        }
    }
}
