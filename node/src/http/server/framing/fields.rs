//! Field lines and the authority of a request.

use super::Refusal;

/// Whether a byte may be part of a token (RFC 9110 §5.6.2).
pub(super) const fn is_token_byte(byte: u8) -> bool {
    byte.is_ascii_alphanumeric()
        || matches!(
            byte,
            b'!' | b'#'
                | b'$'
                | b'%'
                | b'&'
                | b'\''
                | b'*'
                | b'+'
                | b'-'
                | b'.'
                | b'^'
                | b'_'
                | b'`'
                | b'|'
                | b'~'
        )
}

/// Whether this is a token.
pub(super) fn is_token(bytes: &[u8]) -> bool {
    !bytes.is_empty() && bytes.iter().all(|byte| is_token_byte(*byte))
}

/// Whether a byte may be part of a value: visible, a space, a tab, or beyond ASCII (RFC 9110 §5.5).
pub(super) const fn is_value_byte(byte: u8) -> bool {
    (byte >= b' ' && byte != 0x7f) || byte == b'\t'
}

/// Splits a field line, without its CRLF, into its name and its trimmed value.
///
/// # Errors
/// When it is folded, has no valid name, or control characters in its value.
pub(super) fn split(line: &[u8]) -> Result<(&[u8], &[u8]), Refusal> {
    if matches!(line.first(), Some(b' ' | b'\t')) {
        return Err(Refusal::Folding);
    }
    let colon = memchr::memchr(b':', line).ok_or(Refusal::FieldName)?;
    let (name, rest) = line.split_at(colon);
    if !is_token(name) {
        return Err(Refusal::FieldName);
    }
    let value = rest.get(1..).unwrap_or_default();
    // Without a branch per byte, so that it is done many bytes at a time.
    if value.iter().fold(false, |wrong, byte| wrong | !is_value_byte(*byte)) {
        return Err(Refusal::FieldValue);
    }
    Ok((name, trim(value)))
}

/// Without spaces and tabs at both ends.
pub(super) fn trim(mut bytes: &[u8]) -> &[u8] {
    while let [b' ' | b'\t', rest @ ..] | [rest @ .., b' ' | b'\t'] = bytes {
        bytes = rest;
    }
    bytes
}

/// Whether this is `uri-host [":" port]` (RFC 9110 §7.2), and not empty, as the host of an `http` URI
/// must not be (RFC 9110 §4.2.1).
pub(in crate::http::server) fn is_authority(bytes: &[u8]) -> bool {
    let (host, port) = match bytes {
        [b'[', ..] => {
            let Some(end) = bytes.iter().position(|byte| *byte == b']') else { return false };
            let (literal, rest) = bytes.split_at(end + 1);
            let inside = literal.get(1..end).unwrap_or_default();
            let is_address = std::str::from_utf8(inside)
                .is_ok_and(|text| text.parse::<std::net::Ipv6Addr>().is_ok());
            if !is_address {
                return false;
            }
            match rest {
                [] => return true,
                [b':', port @ ..] => return is_port(port),
                _ => return false,
            }
        }
        _ => match bytes.iter().position(|byte| *byte == b':') {
            Some(colon) => (bytes.get(..colon), bytes.get(colon + 1..)),
            None => (Some(bytes), None),
        },
    };
    host.is_some_and(is_registered_name) && port.is_none_or(is_port)
}

fn is_port(bytes: &[u8]) -> bool {
    bytes.len() <= 5
        && bytes.iter().all(u8::is_ascii_digit)
        && bytes.iter().fold(0_u32, |port, digit| port * 10 + u32::from(digit - b'0')) <= 65_535
}

/// RFC 3986 §3.2.2.
fn is_registered_name(bytes: &[u8]) -> bool {
    let mut rest = bytes;
    while let [byte, more @ ..] = rest {
        rest = match (byte, more) {
            (b'%', [high, low, more @ ..])
                if high.is_ascii_hexdigit() && low.is_ascii_hexdigit() =>
            {
                more
            }
            (b'-' | b'.' | b'_' | b'~' | b'!' | b'$' | b'&' | b'\'' | b'(' | b')' | b'*', _)
            | (b'+' | b',' | b';' | b'=', _) => more,
            (byte, more) if byte.is_ascii_alphanumeric() => more,
            _ => return false,
        };
    }
    !bytes.is_empty()
}
