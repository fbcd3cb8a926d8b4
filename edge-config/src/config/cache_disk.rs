//! Section `cache.disk`: room on disk for cached answers.

use super::{ProblemKind, checks::Fault, section::Section};
use crate::ByteSize;

/// Room on disk for answers of the origin that have none in memory: those that memory lets go of, and those that
/// are larger than `cache.object_max`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct CacheDisk {
    /// Bytes of files in `cache` below `node.data_dir`. The names of what is there take memory besides, at most a
    /// quarter of `cache.bytes`, and so does what is on its way there and back, some 100 MiB at most.
    ///
    /// Zero: none, and what an earlier start left is removed. Too high: the log and the documents, which are on
    /// the same disk, have no room left; an error of the disk turns this off until the next start. Of an earlier
    /// start everything is confirmed by the origin before it is used. Default 0, else from 16 MiB. Since 0.1.
    /// Watch `hexpop_cache_disk_up`, `hexpop_cache_disk_bytes`, `hexpop_cache_disk_total`.
    pub bytes: ByteSize,
    /// The largest answer that is stored on disk.
    ///
    /// Too high: one object pushes out many. At most half of [`bytes`](Self::bytes) is of use. Default 256 MiB, from
    /// 1 KiB. Since 0.1.
    pub object_max: ByteSize,
}

/// Less is of no use: it is divided into files.
const BYTES_MIN: ByteSize = ByteSize::mib(16);

impl Default for CacheDisk {
    fn default() -> Self {
        Self { bytes: ByteSize::new(0), object_max: ByteSize::mib(256) }
    }
}

fn check_bytes(bytes: &ByteSize) -> Vec<Fault> {
    let is_none_or_enough = bytes.bytes() == 0 || *bytes >= BYTES_MIN;
    let message = || format!("{bytes} is too little: 0 for none, or at least {BYTES_MIN}");
    let fault = (!is_none_or_enough).then(|| Fault::whole(ProblemKind::Range, message()));
    fault.into_iter().collect()
}

impl CacheDisk {
    pub(super) fn read(section: &mut Section<'_>) -> Self {
        let default = Self::default();
        let most = ByteSize::gib(64 * 1024);
        Self {
            bytes: section
                .key("bytes", "Bytes of files for cached answers; 0 = none.")
                .between(ByteSize::new(0), most)
                .check(check_bytes)
                .or(default.bytes),
            object_max: section
                .key("object_max", "The largest answer that is stored on disk.")
                .between(ByteSize::kib(1), most)
                .or(default.object_max),
        }
    }
}
