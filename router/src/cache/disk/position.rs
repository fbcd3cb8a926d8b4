//! Up to which purge all that is on disk has followed, as a file says.

use std::io;

use hexpop_edge_config::codec;
use hexpop_shard::PurgeId;

use super::files::Files;

/// Its name.
pub(crate) const NAME: &str = "position";

/// Bytes of it at most.
const BYTES_MAX: u64 = 64;

/// Writes it. What is on disk must not say by then that something lives which a purge up to there is about.
///
/// # Errors
/// Of the file system.
pub(crate) fn write(files: &dyn Files, position: PurgeId) -> io::Result<()> {
    let mut bytes = codec::encode(&position).map_err(io::Error::other)?;
    bytes.extend_from_slice(&crc32fast::hash(&bytes).to_le_bytes());
    files.replace(NAME, &bytes)
}

/// Reads it; `None` if it says nothing, or nothing that was written.
///
/// # Errors
/// Of the file system.
pub(crate) fn read(files: &dyn Files, bytes: u64) -> io::Result<Option<PurgeId>> {
    if bytes > BYTES_MAX {
        return Ok(None);
    }
    let mut buffer = vec![0; usize::try_from(bytes).unwrap_or_default()];
    files.open(NAME)?.read_at(&mut buffer, 0)?;
    Ok(decode(&buffer))
}

fn decode(bytes: &[u8]) -> Option<PurgeId> {
    let (bytes, said) = bytes.split_last_chunk::<4>()?;
    (*said == crc32fast::hash(bytes).to_le_bytes()).then(|| codec::decode(bytes).ok())?
}
