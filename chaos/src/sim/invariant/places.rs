//! Where a listing is found, the directory points: so nothing is ever found twice.

use std::collections::BTreeMap;

use hexpop_edge_config::GroupId;
use hexpop_shard::{
    DirectoryEntry, LogPosition, MemoryDocuments, ReadAnswer, ReadOp, ShardKey, ShardState, Space,
};

/// What the newest state of each group says that was seen.
#[derive(Debug, Default)]
pub(in crate::sim) struct Places {
    found: BTreeMap<GroupId, (u64, BTreeMap<String, ShardKey>)>,
    directory: BTreeMap<GroupId, (u64, BTreeMap<String, DirectoryEntry>)>,
}

impl Places {
    pub(super) fn applied(
        &mut self,
        group: GroupId,
        position: LogPosition,
        (state, is_absorbed): (&ShardState, bool),
        ids: &[String],
    ) {
        if let Some(absorbed) = state.absorbed() {
            self.found.remove(&absorbed.right);
            self.directory.remove(&absorbed.right);
        }
        // A replica of it may apply what is in its log still.
        if is_absorbed {
            return;
        }
        if let Some(listings) = state.as_listings() {
            let seen = self.found.entry(group).or_default();
            if position.index > seen.0 {
                let view = listings.view();
                let rows = view.documents_after(None).filter(|row| !row.hidden);
                *seen = (position.index, rows.map(|row| (row.document.id, row.key)).collect());
            }
            return;
        }
        let Some(range) = state.range().filter(|range| range.space_of() == Space::Directory) else {
            return;
        };
        let held = ids.iter().filter(|id| range.contains(&ShardKey::directory(id)));
        let ids: Vec<String> = held.cloned().collect();
        let seen = self.directory.entry(group).or_default();
        let op = ReadOp::Directory { ids: ids.clone() };
        if position.index > seen.0
            && let ReadAnswer::Directory(entries) = state.read(&op, &MemoryDocuments::default())
        {
            let known = ids.iter().cloned().zip(entries);
            *seen = (position.index, known.filter_map(|(id, entry)| Some((id, entry?))).collect());
        }
    }

    /// Checks the newest states against each other, when nothing is under way any more.
    pub(in crate::sim) fn agree(&self) -> Result<(), String> {
        let entries: BTreeMap<&String, &DirectoryEntry> =
            self.directory.values().flat_map(|(_, entries)| entries).collect();
        for (group, (_, found)) in &self.found {
            for (id, key) in found {
                let entry = entries.get(id);
                if entry.and_then(|entry| entry.key()) != Some(key) {
                    return Err(format!(
                        "listing {id} is found at {key} in group {group}, and the directory says {entry:?}"
                    ));
                }
            }
        }
        Ok(())
    }
}
