//! Snapshots: a manifest and immutable, checksummed chunk files.
//!
//! ```text
//!  g17-t3-i9120-n2.00000  g17-t3-i9120-n2.00001 …   chunks: records, each behind its length
//!  g17.manifest                                     which chunks, of which log id and membership
//! ```
//!
//! Chunks are written and flushed first, then the manifest is written aside, flushed, renamed over
//! the old one, and the directory flushed: at any moment a group has one whole snapshot or none.
//! Chunk files that no manifest names are remains of a crash and are removed at the start.
//!
//! **It is not** incremental: every snapshot writes all of its state.

mod receive;
mod store;

use std::{fmt, io, sync::Arc};

use hexpop_edge_config::GroupId;
use serde::{Deserialize, Serialize};

use crate::{
    disk::DiskFile,
    types::{CommittedLeaderId, LogId, ReplicaNode, StoredMembership},
};

pub(crate) use receive::{Begun, Incoming, Receiving, Taken};
pub(crate) use store::SnapshotStore;

/// What openraft knows about a snapshot.
pub(crate) type SnapshotMeta = openraft::SnapshotMeta<CommittedLeaderId, u64, ReplicaNode>;
/// A snapshot as openraft hands it around.
pub(crate) type Snapshot = openraft::Snapshot<CommittedLeaderId, u64, ReplicaNode, SnapshotFiles>;

/// The largest chunk that is accepted from disk or from a peer, in bytes.
pub(crate) const CHUNK_BYTES_MAX: usize = 64 << 20;

/// The most chunks of one snapshot.
pub(crate) const CHUNKS_MAX: usize = 1 << 20;

/// Which snapshot of a group, among all that any replica ever wrote.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub(crate) struct SnapshotId {
    /// Term of the last entry in it.
    pub(crate) term: u64,
    /// Index of the last entry in it.
    pub(crate) index: u64,
    /// The data directory that wrote it.
    pub(crate) writer: u64,
    /// Told apart by this when one directory writes several at one position.
    pub(crate) nonce: u64,
}

impl fmt::Display for SnapshotId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { term, index, writer, nonce } = self;
        write!(f, "t{term}-i{index}-w{writer:016x}-n{nonce}")
    }
}

/// One chunk file.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct ChunkMeta {
    /// Its length in bytes.
    pub(crate) len: u32,
    /// CRC-32 (IEEE) of its bytes.
    pub(crate) crc: u32,
}

/// What a snapshot is made of.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Manifest {
    /// The group.
    pub(crate) group: GroupId,
    /// Which snapshot.
    pub(crate) id: SnapshotId,
    /// The last entry in it.
    pub(crate) last: Option<LogId>,
    /// The last membership in it.
    pub(crate) membership: StoredMembership,
    /// Its chunks, in order.
    pub(crate) chunks: Vec<ChunkMeta>,
}

impl Manifest {
    /// What openraft knows about it.
    pub(crate) fn meta(&self) -> SnapshotMeta {
        SnapshotMeta { last_log_id: self.last, last_membership: self.membership.clone() }
    }

    /// The name of a chunk's file.
    pub(crate) fn chunk_name(&self, number: u32) -> String {
        format!("g{}-{}.{number:05}", self.group, self.id)
    }

    /// Whether its numbers are within bounds; a manifest may come from a peer.
    pub(crate) fn is_sane(&self) -> bool {
        self.chunks.len() <= CHUNKS_MAX
            && self.chunks.iter().all(|chunk| (chunk.len as usize) <= CHUNK_BYTES_MAX)
            && self.last.map_or((0, 0), |last| (last.leader_id.term, last.index))
                == (self.id.term, self.id.index)
    }
}

/// An open snapshot: its files stay readable while a newer one replaces it.
#[derive(Debug, Clone)]
pub(crate) struct SnapshotFiles {
    manifest: Arc<Manifest>,
    chunks: Arc<[Arc<dyn DiskFile>]>,
    /// In which of the group's lives here it was begun.
    life: u64,
}

impl SnapshotFiles {
    /// A snapshot of nothing.
    pub(crate) fn empty(group: GroupId) -> Self {
        let manifest = Manifest {
            group,
            id: SnapshotId { term: 0, index: 0, writer: 0, nonce: 0 },
            last: None,
            membership: StoredMembership::default(),
            chunks: Vec::new(),
        };
        Self { manifest: Arc::new(manifest), chunks: Arc::new([]), life: 0 }
    }

    /// What it is made of.
    pub(crate) fn manifest(&self) -> &Manifest {
        &self.manifest
    }

    /// One chunk, verified.
    pub(crate) fn read_chunk(&self, number: u32) -> io::Result<Vec<u8>> {
        let index = number as usize;
        let (Some(meta), Some(file)) = (self.manifest.chunks.get(index), self.chunks.get(index))
        else {
            return Err(io::Error::new(io::ErrorKind::InvalidInput, "no such chunk"));
        };
        let mut bytes = vec![0; meta.len as usize];
        file.read_at(0, &mut bytes)?;
        if crc32fast::hash(&bytes) != meta.crc {
            let name = self.manifest.chunk_name(number);
            return Err(io::Error::new(
                io::ErrorKind::InvalidData,
                format!("chunk {name} of a snapshot is damaged"),
            ));
        }
        Ok(bytes)
    }

    /// All records in order, one chunk in memory at a time.
    pub(crate) fn records(&self) -> Records<'_> {
        Records { files: self, next_chunk: 0, chunk: Vec::new(), at: 0, failed: false }
    }
}

/// Iterator over the records of a snapshot.
#[derive(Debug)]
pub(crate) struct Records<'a> {
    files: &'a SnapshotFiles,
    next_chunk: u32,
    chunk: Vec<u8>,
    at: usize,
    failed: bool,
}

impl Iterator for Records<'_> {
    type Item = io::Result<Vec<u8>>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.failed {
            return None;
        }
        while self.at >= self.chunk.len() {
            if self.next_chunk as usize >= self.files.manifest.chunks.len() {
                return None;
            }
            match self.files.read_chunk(self.next_chunk) {
                Ok(chunk) => {
                    self.chunk = chunk;
                    self.at = 0;
                    self.next_chunk += 1;
                }
                Err(error) => {
                    self.failed = true;
                    return Some(Err(error));
                }
            }
        }
        let record = self.chunk.get(self.at..).and_then(split_record);
        let Some(record) = record else {
            self.failed = true;
            return Some(Err(io::Error::new(
                io::ErrorKind::InvalidData,
                "a record of a snapshot runs over its chunk",
            )));
        };
        self.at += 4 + record.len();
        Some(Ok(record.to_vec()))
    }
}

/// The record at the start of `bytes`, without its length.
fn split_record(bytes: &[u8]) -> Option<&[u8]> {
    let (length, rest) = bytes.split_first_chunk::<4>()?;
    rest.get(..u32::from_le_bytes(*length) as usize)
}
