//! The PROXY protocol, version 2: who the client is, as a load balancer in front of us says.
//!
//! <https://www.haproxy.org/download/3.0/doc/proxy-protocol.txt>, section 2.2. Strict: what is not
//! exactly such a header ends the connection, since the sender is one that must send one. Version 1, a
//! line of text, is not taken. The checksum is verified, and what is read is bounded.

use std::{
    io,
    net::{Ipv4Addr, Ipv6Addr, SocketAddr},
};

use tokio::io::{AsyncRead, AsyncReadExt as _};

const SIGNATURE: [u8; 12] = *b"\r\n\r\n\0\r\nQUIT\n";
/// Signature, version and command, family, length.
const HEAD_BYTES: usize = 16;
/// Of addresses and what comes with them: far more than any load balancer sends.
const REST_BYTES_MAX: usize = 2 << 10;
/// A checksum of the whole header (type 0x03).
const TYPE_CRC32C: u8 = 0x03;

/// Why there is no header.
#[derive(Debug, thiserror::Error)]
pub(super) enum ProxyError {
    /// The connection broke off.
    #[error("the connection broke off: {0}")]
    Io(#[from] io::Error),
    /// The connection begins with something else.
    #[error("there is no signature of version 2")]
    Signature,
    /// Another version or command.
    #[error("version and command 0x{0:02x} are not known")]
    Command(u8),
    /// Another family than TCP over IPv4 or IPv6.
    #[error("family and transport 0x{0:02x} are not taken")]
    Family(u8),
    /// It is longer than can be taken, or shorter than its addresses are.
    #[error("a length of {0} bytes is wrong")]
    Length(usize),
    /// What comes with the addresses ends in the middle.
    #[error("what follows the addresses is malformed")]
    Extra,
    /// The checksum is of another header.
    #[error("the checksum is wrong")]
    Checksum,
}

/// Reads a header, and not one byte more; the client's address, or none when the load balancer speaks for
/// itself (health checks).
pub(super) async fn read(
    stream: &mut (impl AsyncRead + Unpin),
) -> Result<Option<SocketAddr>, ProxyError> {
    let mut head = [0; HEAD_BYTES];
    stream.read_exact(&mut head).await?;
    let rest_bytes = rest_length(&head)?;
    let mut rest = vec![0; rest_bytes];
    stream.read_exact(&mut rest).await?;
    parse(&head, &rest)
}

/// How long what follows the first 16 bytes is.
fn rest_length(head: &[u8; HEAD_BYTES]) -> Result<usize, ProxyError> {
    let [signature @ .., _command, _family, high, low] = head;
    if *signature != SIGNATURE {
        return Err(ProxyError::Signature);
    }
    match usize::from(u16::from_be_bytes([*high, *low])) {
        length if length > REST_BYTES_MAX => Err(ProxyError::Length(length)),
        length => Ok(length),
    }
}

/// Reads a whole header, of which `rest` follows the first 16 bytes.
fn parse(head: &[u8; HEAD_BYTES], rest: &[u8]) -> Result<Option<SocketAddr>, ProxyError> {
    if rest_length(head)? != rest.len() {
        return Err(ProxyError::Length(rest.len()));
    }
    let [.., command, family, _high, _low] = *head;
    let is_local = match command {
        0x20 => true,
        0x21 => false,
        other => return Err(ProxyError::Command(other)),
    };
    let short = || ProxyError::Length(rest.len());
    let (source, extra) = match family {
        0x11 => {
            let (addresses, extra) = rest.split_first_chunk::<12>().ok_or_else(short)?;
            let [a, b, c, d, _, _, _, _, high, low, _, _] = *addresses;
            let port = u16::from_be_bytes([high, low]);
            (Some(SocketAddr::from((Ipv4Addr::new(a, b, c, d), port))), extra)
        }
        0x21 => {
            let (addresses, extra) = rest.split_first_chunk::<36>().ok_or_else(short)?;
            let (source, others) = addresses.split_first_chunk::<16>().ok_or_else(short)?;
            let (_destination, ports) = others.split_first_chunk::<16>().ok_or_else(short)?;
            let port = ports.first_chunk().map(|port| u16::from_be_bytes(*port));
            let port = port.ok_or_else(short)?;
            (Some(SocketAddr::from((Ipv6Addr::from(*source), port))), extra)
        }
        // Of a load balancer that speaks for itself everything after the head is skipped.
        0x00 if is_local => return Ok(None),
        other if !is_local => return Err(ProxyError::Family(other)),
        _ => return Ok(None),
    };
    check_extra(head, rest, extra)?;
    Ok(source.filter(|_source| !is_local))
}

/// Type-length-value fields to the end of the header.
fn check_extra(head: &[u8], rest: &[u8], extra: &[u8]) -> Result<(), ProxyError> {
    let mut left = extra;
    while let [kind, high, low, more @ ..] = left {
        let length = usize::from(u16::from_be_bytes([*high, *low]));
        let (value, after) = more.split_at_checked(length).ok_or(ProxyError::Extra)?;
        if *kind == TYPE_CRC32C {
            let expected: [u8; 4] = value.try_into().map_err(|_length| ProxyError::Extra)?;
            let at = rest.len() - after.len() - 4;
            // It is computed with zeros in its own place.
            let before = rest.get(..at).unwrap_or_default();
            let found = crc32c([head, before, &[0; 4], after].into_iter().flatten().copied());
            if found != u32::from_be_bytes(expected) {
                return Err(ProxyError::Checksum);
            }
        }
        left = after;
    }
    if left.is_empty() { Ok(()) } else { Err(ProxyError::Extra) }
}

/// CRC-32C (RFC 9260 appendix B), bit by bit: it is for some hundred bytes a connection.
fn crc32c(bytes: impl Iterator<Item = u8>) -> u32 {
    !bytes.fold(u32::MAX, |crc, byte| {
        (0..8).fold(crc ^ u32::from(byte), |crc, _bit| {
            (crc >> 1) ^ (0x82f6_3b78 & (crc & 1).wrapping_neg())
        })
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn header(command: u8, family: u8, rest: &[u8]) -> Vec<u8> {
        let mut bytes = SIGNATURE.to_vec();
        bytes.extend([command, family]);
        bytes.extend(u16::try_from(rest.len()).unwrap().to_be_bytes());
        bytes.extend(rest);
        bytes
    }

    const V4: [u8; 12] = [192, 0, 2, 7, 10, 0, 0, 1, 0x30, 0x39, 0x01, 0xbb];

    async fn read_all(bytes: &[u8]) -> (Result<Option<SocketAddr>, ProxyError>, usize) {
        let mut left = bytes;
        let found = read(&mut left).await;
        (found, left.len())
    }

    #[tokio::test]
    async fn the_source_is_the_client() {
        let mut bytes = header(0x21, 0x11, &V4);
        bytes.extend(b"GET /");
        let (found, left) = read_all(&bytes).await;
        assert_eq!(found.unwrap(), Some("192.0.2.7:12345".parse().unwrap()));
        assert_eq!(left, 5, "nothing beyond the header is read");

        let mut v6 = "2001:db8::7".parse::<Ipv6Addr>().unwrap().octets().to_vec();
        v6.extend([0; 16]);
        v6.extend([0x30, 0x39, 0, 80]);
        let (found, _left) = read_all(&header(0x21, 0x21, &v6)).await;
        assert_eq!(found.unwrap(), Some("[2001:db8::7]:12345".parse().unwrap()));
    }

    #[tokio::test]
    async fn a_load_balancer_may_speak_for_itself() {
        for bytes in [header(0x20, 0, &[]), header(0x20, 0x11, &V4), header(0x20, 0x31, &[0; 216])]
        {
            assert_eq!(read_all(&bytes).await.0.unwrap(), None);
        }
    }

    #[tokio::test]
    async fn what_is_no_header_is_refused() {
        let with = |extra: &[u8]| header(0x21, 0x11, &[&V4, extra].concat());
        let text = b"PROXY TCP4 192.0.2.7 10.0.0.1 12345 443\r\n".to_vec();
        for (name, bytes, expected) in [
            ("version 1", text, "no signature"),
            ("a request", b"GET / HTTP/1.1\r\nHost: a\r\n\r\n".to_vec(), "no signature"),
            ("another version", header(0x31, 0x11, &V4), "0x31"),
            ("another command", header(0x22, 0x11, &V4), "0x22"),
            ("UDP", header(0x21, 0x12, &V4), "0x12"),
            ("unspecified", header(0x21, 0x00, &[]), "0x00"),
            ("unix", header(0x21, 0x31, &[0; 216]), "0x31"),
            ("short addresses", header(0x21, 0x11, &V4[..11]), "11 bytes"),
            ("IPv4 as IPv6", header(0x21, 0x21, &V4), "12 bytes"),
            ("too long", header(0x21, 0x11, &[0; 3_000]), "3000 bytes"),
            ("a field without length", with(&[4, 0]), "malformed"),
            ("a field beyond the end", with(&[4, 0, 9, 1]), "malformed"),
            ("a short checksum", with(&[3, 0, 2, 1, 1]), "malformed"),
            ("a wrong checksum", with(&[3, 0, 4, 1, 2, 3, 4]), "checksum"),
            ("broken off", header(0x21, 0x11, &V4)[..20].to_vec(), "broke off"),
        ] {
            let error = read_all(&bytes).await.0.unwrap_err().to_string();
            assert!(error.contains(expected), "{name}: {error}");
        }
        assert!(
            read_all(&with(&[4, 0, 2, 1, 1, 5, 0, 0])).await.0.is_ok(),
            "unknown fields are skipped"
        );
    }

    #[tokio::test]
    async fn a_right_checksum_is_taken() {
        // The check value of CRC-32C.
        assert_eq!(crc32c(b"123456789".iter().copied()), 0xe306_9283);
        let mut bytes =
            header(0x21, 0x11, &[&V4[..], &[3, 0, 4, 0, 0, 0, 0], &[4, 0, 1, 9]].concat());
        let sum = crc32c(bytes.iter().copied()).to_be_bytes();
        let at = HEAD_BYTES + V4.len() + 3;
        bytes[at..at + 4].copy_from_slice(&sum);
        assert!(read_all(&bytes).await.0.unwrap().is_some());
        bytes[HEAD_BYTES] ^= 1;
        assert!(matches!(read_all(&bytes).await.0, Err(ProxyError::Checksum)));
    }
}
