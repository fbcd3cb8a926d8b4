//! Section `cache.compression`: content codings that a node makes itself.

use super::{
    checks::{Fault, check_each},
    section::Section,
};
use crate::ByteSize;

/// Content codings that a node makes itself, of its own answers and of stored ones of compressible types
/// that came without any.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CacheCompression {
    /// `br`, `zstd`, `gzip`: those that are made, the one before that is taken where a client likes several
    /// alike.
    ///
    /// Empty: none, for a proxy in front that does it. Default all three. Since 0.1.
    pub codings: Vec<String>,
    /// A shorter body is sent as it is.
    ///
    /// Too low: the coding costs more than it saves. Default 1 KiB, 128 bytes to 1 MiB. Since 0.1.
    pub min: ByteSize,
    /// A longer body is sent as it is.
    ///
    /// Too high: one body holds a thread for so long. At most `cache.object_max` is of use. Default 4 MiB,
    /// from 1 KiB. Since 0.1.
    pub max: ByteSize,
    /// Memory for coded bodies, each kept as long as it is asked for.
    ///
    /// Too low: the same page is compressed again and again. Default 64 MiB, from 1 MiB. Since 0.1. Watch
    /// `hexpop_compressions_total`.
    pub bytes: ByteSize,
    /// How hard brotli tries: 4 is fast, 9 is for bodies that are asked for often. Default 5, 0 to 11.
    pub br_level: u32,
    /// The same of zstd. Default 6, 1 to 19.
    pub zstd_level: u32,
    /// The same of gzip. Default 6, 1 to 9.
    pub gzip_level: u32,
}

impl Default for CacheCompression {
    fn default() -> Self {
        Self {
            codings: ["br", "zstd", "gzip"].map(str::to_owned).to_vec(),
            min: ByteSize::kib(1),
            max: ByteSize::mib(4),
            bytes: ByteSize::mib(64),
            br_level: 5,
            zstd_level: 6,
            gzip_level: 6,
        }
    }
}

fn check_codings(codings: &Vec<String>) -> Vec<Fault> {
    check_each(codings, 3, |coding| match coding {
        "br" | "zstd" | "gzip" => Ok(()),
        other => Err(format!("`{other}` is not `br`, `zstd` or `gzip`")),
    })
}

impl CacheCompression {
    pub(super) fn read(section: &mut Section<'_>) -> Self {
        let default = Self::default();
        let (kib, mib) = (ByteSize::kib, ByteSize::mib);
        Self {
            codings: section
                .key("codings", "The content codings that are made, the preferred first.")
                .check(check_codings)
                .or(default.codings),
            min: section
                .key("min", "A shorter body is sent as it is.")
                .between(ByteSize::new(128), mib(1))
                .or(default.min),
            max: section
                .key("max", "A longer body is sent as it is.")
                .between(kib(1), mib(64))
                .or(default.max),
            bytes: section
                .key("bytes", "Memory for coded bodies.")
                .between(mib(1), ByteSize::gib(1024))
                .or(default.bytes),
            br_level: section
                .key("br_level", "How hard brotli tries.")
                .between(0, 11)
                .or(default.br_level),
            zstd_level: section
                .key("zstd_level", "How hard zstd tries.")
                .between(1, 19)
                .or(default.zstd_level),
            gzip_level: section
                .key("gzip_level", "How hard gzip tries.")
                .between(1, 9)
                .or(default.gzip_level),
        }
    }
}
