//! Request targets: percent-decoding (RFC 3986 §2.1).

/// Decodes `%XX` and, as query strings of forms have it, `+` as a space. What is no escape stays as it is; bytes that are no UTF-8
/// become U+FFFD.
#[must_use]
pub fn decode(text: &str) -> String {
    decode_bytes(text, true)
}

/// Decodes a segment of a path, where `+` is a plus.
#[must_use]
pub fn decode_segment(text: &str) -> String {
    decode_bytes(text, false)
}

fn decode_bytes(text: &str, plus_is_space: bool) -> String {
    let bytes = text.as_bytes();
    let mut decoded = Vec::with_capacity(bytes.len());
    let mut rest = bytes;
    while let Some((&first, tail)) = rest.split_first() {
        rest = tail;
        match (first, tail) {
            (b'%', [high, low, after @ ..]) => match (hex(*high), hex(*low)) {
                (Some(high), Some(low)) => {
                    decoded.push(high << 4 | low);
                    rest = after;
                }
                _ => decoded.push(b'%'),
            },
            (b'+', _) if plus_is_space => decoded.push(b' '),
            (other, _) => decoded.push(other),
        }
    }
    String::from_utf8_lossy(&decoded).into_owned()
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
}
