//! Request targets: percent-decoding (RFC 3986 §2.1).

/// Decodes `%XX` and, as query strings of forms have it, `+` as a space. What is no escape stays as it
/// is; bytes that are no UTF-8 become U+FFFD.
#[must_use]
pub fn decode(text: &str) -> String {
    lenient(text, true)
}

/// Decodes a segment of a path, where `+` is a plus.
#[must_use]
pub fn decode_segment(text: &str) -> String {
    lenient(text, false)
}

/// As [`decode`] with `plus_is_space`, else as [`decode_segment`]; `None` for what is not well-formed,
/// or not UTF-8.
#[must_use]
pub fn decode_strictly(text: &str, plus_is_space: bool) -> Option<String> {
    let decoded = decode_bytes(text, plus_is_space);
    if decoded.is_well_formed { String::from_utf8(decoded.bytes).ok() } else { None }
}

fn lenient(text: &str, plus_is_space: bool) -> String {
    String::from_utf8_lossy(&decode_bytes(text, plus_is_space).bytes).into_owned()
}

struct Decoded {
    bytes: Vec<u8>,
    /// Whether every `%` began an escape.
    is_well_formed: bool,
}

fn decode_bytes(text: &str, plus_is_space: bool) -> Decoded {
    let mut bytes = Vec::with_capacity(text.len());
    let mut is_well_formed = true;
    let mut rest = text.as_bytes();
    while let Some((&first, tail)) = rest.split_first() {
        rest = tail;
        match first {
            b'%' => match escape(tail) {
                Some((byte, after)) => {
                    bytes.push(byte);
                    rest = after;
                }
                None => {
                    is_well_formed = false;
                    bytes.push(b'%');
                }
            },
            b'+' if plus_is_space => bytes.push(b' '),
            other => bytes.push(other),
        }
    }
    Decoded { bytes, is_well_formed }
}

/// The byte that two digits stand for, and what follows them.
fn escape(tail: &[u8]) -> Option<(u8, &[u8])> {
    match tail {
        [high, low, after @ ..] => Some((hex(*high)? << 4 | hex(*low)?, after)),
        _ => None,
    }
}

const fn hex(digit: u8) -> Option<u8> {
    match digit {
        b'0'..=b'9' => Some(digit - b'0'),
        b'a'..=b'f' => Some(digit - b'a' + 10),
        b'A'..=b'F' => Some(digit - b'A' + 10),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn escapes_are_decoded_and_the_rest_is_kept() {
        assert_eq!(decode("a%20b+c"), "a b c");
        assert_eq!(decode_segment("a+b%2Fc"), "a+b/c");
        assert_eq!(decode("100%"), "100%");
        assert_eq!(decode("%zz%C3%A7"), "%zzç");
    }

    #[test]
    fn strictly_there_is_no_escape_that_is_none() {
        assert_eq!(decode_strictly("a%20b+c", true).as_deref(), Some("a b c"));
        assert_eq!(decode_strictly("a+b%2Fc", false).as_deref(), Some("a+b/c"));
        for wrong in ["100%", "%4", "%zz", "%ff"] {
            assert_eq!(decode_strictly(wrong, true), None, "{wrong}");
        }
    }
}
