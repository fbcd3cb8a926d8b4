//! The version of one record: where in which log it was written.

use std::{fmt, str::FromStr};

use hexpop_edge_config::{ParseIdError, ShardId};
use serde::{Deserialize, Serialize};

use crate::LogPosition;

/// The version of a session or of a directory entry: the shard, term and index of the log entry
/// that wrote it.
///
/// It changes with every write and never comes back, neither after a delete or an expiry (an index
/// is used once) nor after a split or a merge (the shard is part of it). In text `17-3-9120`. It is
/// only ever compared for equality: versions of two shards have no order.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct RecordVersion {
    /// The shard whose log holds the entry.
    pub shard: ShardId,
    /// The term of the entry.
    pub term: u64,
    /// Its index.
    pub index: u64,
}

impl RecordVersion {
    /// The version of what the entry at `position` of `shard`'s log writes.
    #[must_use]
    pub const fn at(shard: ShardId, position: LogPosition) -> Self {
        Self { shard, term: position.term, index: position.index }
    }
}

impl fmt::Display for RecordVersion {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}-{}-{}", self.shard, self.term, self.index)
    }
}

impl FromStr for RecordVersion {
    type Err = ParseIdError;

    /// Takes exactly what [`Display`](fmt::Display) writes: `017-3-1` and `+17-3-1` are no versions,
    /// so that equal versions have equal texts.
    fn from_str(text: &str) -> Result<Self, ParseIdError> {
        let wrong = || ParseIdError {
            found: text.chars().take(80).collect(),
            expected: "a version such as 17-3-9120",
        };
        let mut parts = text.split('-').map(canonical_number);
        let (Some(Some(shard)), Some(Some(term)), Some(Some(index)), None) =
            (parts.next(), parts.next(), parts.next(), parts.next())
        else {
            return Err(wrong());
        };
        Ok(Self { shard: ShardId(shard), term, index })
    }
}

fn canonical_number(text: &str) -> Option<u64> {
    let leading_zero = text.len() > 1 && text.starts_with('0');
    let digits = text.bytes().all(|byte| byte.is_ascii_digit());
    if leading_zero || !digits { None } else { text.parse().ok() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_version_has_one_text() {
        let version = RecordVersion { shard: ShardId(17), term: 3, index: 9120 };
        assert_eq!(version.to_string(), "17-3-9120");
        assert_eq!("17-3-9120".parse(), Ok(version));
        for wrong in ["", "17-3", "17-3-9120-1", "017-3-1", "+17-3-1", "17--1", "17-3-", "a-b-c"] {
            assert!(wrong.parse::<RecordVersion>().is_err(), "{wrong}");
        }
        assert!("1-2-18446744073709551616".parse::<RecordVersion>().is_err());
    }
}
