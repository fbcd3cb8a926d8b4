//! An entry that some replica applied is the entry of that index for ever.

use std::collections::BTreeMap;

use hexpop_edge_config::{GroupId, RaftId};
use hexpop_shard::LogPosition;

/// What was applied where first.
#[derive(Debug, Default)]
pub(in crate::sim) struct Committed {
    entries: BTreeMap<(GroupId, u64), (u64, u64)>,
}

impl Committed {
    /// A replica applied the entry with this hash.
    pub(super) fn applied(
        &mut self,
        raft: RaftId,
        group: GroupId,
        position: LogPosition,
        hash: u64,
    ) -> Result<(), String> {
        let entry = (position.term, hash);
        let first = *self.entries.entry((group, position.index)).or_insert(entry);
        if first == entry {
            return Ok(());
        }
        Err(format!(
            "group {group} index {}: replica {raft} applied {entry:?}, another one {first:?} before \
             (term and hash of the entry)",
            position.index
        ))
    }
}
