//! The one codec for everything that crosses the mesh or goes to disk.
//!
//! A record is one version byte followed by the bincode encoding of a serde type (variable-length
//! integers, little endian). bincode has no schema evolution, so the version byte selects the type
//! to decode into: a change of any encoded type is a new version, and the old one stays readable.
//!
//! Decoding is bounded: what a record may allocate is limited in proportion to its length, so that
//! damaged or hostile bytes end in [`CodecError`] and not in an abort of the process.

use serde::{Serialize, de::DeserializeOwned};

/// Version byte of the current format.
///
/// Version 1 was never released: it had session values without their keys, and is refused by its
/// number.
pub const V2: u8 = 2;

/// What a record of `n` bytes may claim while it is decoded, as a multiple of `n`.
///
/// The claim counts the in-memory size of the elements, which for small varint-encoded structs is
/// many times their encoded size.
const CLAIM_FACTOR: usize = 64;

/// Why bytes were not understood, or a value could not be encoded.
#[derive(Debug, thiserror::Error)]
pub enum CodecError {
    /// The record is empty: not even the version byte is there.
    #[error("the record is empty")]
    Empty,
    /// The version byte is none that this build reads.
    #[error("format version {found} is not understood here (this build reads up to {newest})")]
    Version {
        /// The version byte found.
        found: u8,
        /// The newest version this build reads.
        newest: u8,
    },
    /// The bytes do not decode into the expected type.
    #[error("the record does not decode: {0}")]
    Decode(#[from] bincode::error::DecodeError),
    /// Bytes are left over behind the value.
    #[error("{0} bytes are left over behind the record")]
    Trailing(usize),
    /// The value cannot be encoded.
    #[error("the value cannot be encoded: {0}")]
    Encode(#[from] bincode::error::EncodeError),
}

/// Encodes `value` as a record of the current version.
///
/// # Errors
/// [`CodecError::Encode`] when a type does something bincode cannot represent (a sequence of
/// unknown length, say).
pub fn encode<T: Serialize + ?Sized>(value: &T) -> Result<Vec<u8>, CodecError> {
    let mut out = Vec::with_capacity(64);
    encode_into(value, &mut out)?;
    Ok(out)
}

/// Appends the record of `value` to `out`; on an error `out` keeps what it had.
///
/// # Errors
/// As [`encode`].
pub fn encode_into<T: Serialize + ?Sized>(value: &T, out: &mut Vec<u8>) -> Result<(), CodecError> {
    let start = out.len();
    out.push(V2);
    match bincode::serde::encode_into_std_write(value, out, bincode::config::standard()) {
        Ok(_) => Ok(()),
        Err(error) => {
            out.truncate(start);
            Err(error.into())
        }
    }
}

/// Decodes a record that fills `bytes` exactly.
///
/// # Errors
/// Any [`CodecError`] but `Encode`; never panics and never allocates more than a fixed multiple of
/// the input.
pub fn decode<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, CodecError> {
    let (&version, body) = bytes.split_first().ok_or(CodecError::Empty)?;
    if version != V2 {
        return Err(CodecError::Version { found: version, newest: V2 });
    }
    let (value, used) = decode_bounded(body)?;
    match body.len() - used {
        0 => Ok(value),
        rest => Err(CodecError::Trailing(rest)),
    }
}

/// bincode's limit is a constant of the type, so the bound is picked from a ladder.
fn decode_bounded<T: DeserializeOwned>(body: &[u8]) -> Result<(T, usize), CodecError> {
    use bincode::{config::standard, serde::decode_from_slice};
    const KIB64: usize = 64 << 10;
    const MIB1: usize = 1 << 20;
    const MIB16: usize = 16 << 20;
    const MIB256: usize = 256 << 20;
    const GIB4: usize = 4 << 30;
    let claim = body.len().saturating_mul(CLAIM_FACTOR);
    let decoded = if claim <= KIB64 {
        decode_from_slice(body, standard().with_limit::<KIB64>())
    } else if claim <= MIB1 {
        decode_from_slice(body, standard().with_limit::<MIB1>())
    } else if claim <= MIB16 {
        decode_from_slice(body, standard().with_limit::<MIB16>())
    } else if claim <= MIB256 {
        decode_from_slice(body, standard().with_limit::<MIB256>())
    } else {
        decode_from_slice(body, standard().with_limit::<GIB4>())
    };
    Ok(decoded?)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde::Deserialize;

    #[derive(Debug, PartialEq, Serialize, Deserialize)]
    struct Sample {
        id: u64,
        name: String,
        items: Vec<Option<u32>>,
    }

    fn sample() -> Sample {
        Sample { id: 7, name: "Città".into(), items: vec![Some(1), None, Some(70_000)] }
    }

    #[test]
    fn round_trip_keeps_the_value() {
        let bytes = encode(&sample()).unwrap();
        assert_eq!(bytes[0], V2);
        assert_eq!(decode::<Sample>(&bytes).unwrap(), sample());
    }

    #[test]
    fn another_version_is_refused_by_name() {
        let mut bytes = encode(&sample()).unwrap();
        bytes[0] = 9;
        assert!(matches!(
            decode::<Sample>(&bytes),
            Err(CodecError::Version { found: 9, newest: V2 })
        ));
        assert!(matches!(decode::<Sample>(&[]), Err(CodecError::Empty)));
    }

    #[test]
    fn bytes_left_over_are_an_error() {
        let mut bytes = encode(&sample()).unwrap();
        bytes.push(0);
        assert!(matches!(decode::<Sample>(&bytes), Err(CodecError::Trailing(1))));
    }

    #[test]
    fn a_lying_length_ends_in_an_error_and_not_in_an_abort() {
        // A string that claims 2^63 bytes.
        let bytes = [V2, 7, 253, 0, 0, 0, 0, 0, 0, 0, 128];
        assert!(matches!(decode::<Sample>(&bytes), Err(CodecError::Decode(_))));
    }
}
