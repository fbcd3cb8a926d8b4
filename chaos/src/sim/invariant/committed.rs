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
    /// Whether the entry of this term and index was applied somewhere.
    pub(super) fn holds(&self, group: GroupId, position: LogPosition) -> bool {
        let known = self.entries.get(&(group, position.index));
        known.is_some_and(|(term, _)| *term == position.term)
    }

    /// A replica applied the entry with this hash; answers whether it was the first one.
    pub(super) fn applied(
        &mut self,
        raft: RaftId,
        group: GroupId,
        position: LogPosition,
        hash: u64,
    ) -> Result<bool, String> {
        let entry = (position.term, hash);
        let known = self.entries.len();
        let first = *self.entries.entry((group, position.index)).or_insert(entry);
        if first == entry {
            return Ok(self.entries.len() > known);
        }
        Err(format!(
            "group {group} index {}: replica {raft} applied {entry:?}, another one {first:?} before \
             (term and hash of the entry)",
            position.index
        ))
    }
}
