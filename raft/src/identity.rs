//! The Raft id of a data directory: random, written and synced before anything else.
//!
//! A directory that was wiped gets another id, and with it is another replica: it can never vote a
//! second time under the old one.

use std::{fmt, io};

use hexpop_edge_config::RaftId;

use crate::disk::Disk;

/// The file that holds it.
const FILE: &str = "identity";
const UNFINISHED: &str = "identity.tmp";
const MAGIC: [u8; 8] = *b"hexpopID";
const VERSION: u8 = 1;
const BYTES: usize = 28;

/// Why a directory has no identity to run with.
#[derive(Debug, thiserror::Error)]
pub enum IdentityError {
    /// The disk refused.
    #[error("the identity of the data directory: {0}")]
    Io(#[from] io::Error),
    /// The file is there but not sound. It is not replaced: whoever wiped it must wipe the directory.
    #[error("the identity file is {0}; restore it, or wipe the whole data directory")]
    Damaged(Damage),
    /// The file is gone, but other files of the directory are not.
    #[error(
        "the identity file is missing, but {0} is there; restore it, or wipe the whole data directory"
    )]
    Missing(String),
}

/// What is wrong with an identity file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Damage {
    /// It is none, or its checksum does not hold.
    Unsound,
    /// It is of a format version that this build does not read.
    Version(u8),
}

impl fmt::Display for Damage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unsound => f.write_str("damaged"),
            Self::Version(version) => write!(f, "of format version {version}, which is too new"),
        }
    }
}

/// Reads the id of the directory; one that holds no file at all gets the id `random`, durably.
///
/// # Errors
/// See [`IdentityError`]. An error while the file is written leaves the directory without one.
pub fn load_or_create(disk: &dyn Disk, random: u64) -> Result<RaftId, IdentityError> {
    let names = disk.list()?;
    if names.iter().any(|name| name == FILE) {
        return load(disk);
    }
    if let Some(other) = names.into_iter().find(|name| name != UNFINISHED) {
        return Err(IdentityError::Missing(other));
    }
    match disk.remove(UNFINISHED) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error.into()),
        Ok(()) | Err(_) => {}
    }
    let file = disk.open(UNFINISHED, true)?;
    file.write_at(0, &encode(RaftId(random)))?;
    file.sync_data()?;
    disk.rename(UNFINISHED, FILE)?;
    disk.sync_dir()?;
    Ok(RaftId(random))
}

fn load(disk: &dyn Disk) -> Result<RaftId, IdentityError> {
    // A process that died may have seen the name and not synced it.
    disk.sync_dir()?;
    let file = disk.open(FILE, false)?;
    if file.size()? != BYTES as u64 {
        return Err(IdentityError::Damaged(Damage::Unsound));
    }
    let mut bytes = [0; BYTES];
    file.read_at(0, &mut bytes)?;
    decode(&bytes).map_err(IdentityError::Damaged)
}

/// ```text
/// 0  magic, 8 bytes    8  u64 version, 1    16  u64 Raft id    24  u32 CRC-32 of what is before it
/// ```
fn encode(id: RaftId) -> Vec<u8> {
    let mut out = Vec::with_capacity(BYTES);
    out.extend_from_slice(&MAGIC);
    out.extend_from_slice(&u64::from(VERSION).to_le_bytes());
    out.extend_from_slice(&id.0.to_le_bytes());
    let crc = crc32fast::hash(&out);
    out.extend_from_slice(&crc.to_le_bytes());
    out
}

fn decode(bytes: &[u8; BYTES]) -> Result<RaftId, Damage> {
    let (body, crc) = bytes.split_last_chunk::<4>().ok_or(Damage::Unsound)?;
    let (magic, rest) = body.split_first_chunk::<8>().ok_or(Damage::Unsound)?;
    let (version, rest) = rest.split_first_chunk::<8>().ok_or(Damage::Unsound)?;
    let id = rest.first_chunk::<8>().ok_or(Damage::Unsound)?;
    if *magic != MAGIC || crc32fast::hash(body) != u32::from_le_bytes(*crc) {
        return Err(Damage::Unsound);
    }
    match version {
        [VERSION, 0, ..] => Ok(RaftId(u64::from_le_bytes(*id))),
        [version, ..] => Err(Damage::Version(*version)),
    }
}
