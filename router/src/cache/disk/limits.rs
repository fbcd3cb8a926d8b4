//! How much room there is on disk and in memory, and how the files share it. Pure.

use crate::cache::options::{CacheOptions, DiskOptions};

/// Segments that the budget is divided into at least, and bytes of one: more than the last only where the budget
/// would be too many of them.
const SEGMENTS_MIN: u64 = 16;
const SEGMENTS_FULL: u64 = 256;
const SEGMENT_BYTES_MIN: u64 = 64 << 10;
const SEGMENT_BYTES_MAX: u64 = 64 << 20;

/// Segments at most: each is an open file, and a large body has one of its own.
pub(super) const SEGMENTS_MAX: usize = DiskOptions::OPEN_FILES_MAX;

/// The share of the memory tier that the catalogue may take besides, as a divisor.
const CATALOG_DIVISOR: u64 = 4;

/// What the tier may take.
#[derive(Debug, Clone, Copy)]
pub(super) struct Limits {
    /// Bytes of all files.
    pub(super) bytes_max: u64,
    /// Bytes of a body.
    pub(super) object_bytes_max: u64,
    /// Bytes of a body that is taken into memory as a whole; longer ones stream.
    pub(super) whole_bytes_max: u64,
    /// Bytes of a segment that several records share.
    pub(super) segment_bytes: u64,
    /// Bytes of memory for names and what decides about a response.
    pub(super) catalog_bytes_max: u64,
}

impl Limits {
    /// By the configuration.
    pub(super) fn of(disk: &DiskOptions, cache: &CacheOptions) -> Self {
        let segment = disk.bytes_max / SEGMENTS_MIN;
        let segment_bytes_max = SEGMENT_BYTES_MAX.max(disk.bytes_max / SEGMENTS_FULL);
        Self {
            bytes_max: disk.bytes_max,
            // One alone does not push out all the others.
            object_bytes_max: disk.object_bytes_max.min(disk.bytes_max / 2),
            whole_bytes_max: cache.object_bytes_max as u64,
            segment_bytes: segment.clamp(SEGMENT_BYTES_MIN, segment_bytes_max),
            catalog_bytes_max: cache.bytes_max / CATALOG_DIVISOR,
        }
    }
}
