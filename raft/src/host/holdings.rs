//! What is on this node of which groups: not what the map says, but what is there.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use hexpop_edge_config::{GroupId, codec};
use hexpop_shard::KeyRange;
use openraft::AsyncRuntime;

use super::{Birth, Inner, inner::Slot};
use crate::{api::Holding, error::ControlError, staging::is_staged, supervisor::unrid_groups};

impl<R: AsyncRuntime> Inner<R> {
    /// What is here of which shards. Of a shard that nothing tells the range of, the map's is taken.
    ///
    /// # Errors
    /// When not all of it can be looked at.
    pub(crate) fn holdings(&self) -> Result<Vec<Holding>, ControlError> {
        let mut found: BTreeMap<GroupId, BTreeSet<&'static str>> = BTreeMap::new();
        let mut ranges: BTreeMap<GroupId, KeyRange> = BTreeMap::new();
        let mut note = |group: GroupId, what| {
            if group.is_of_shard() {
                found.entry(group).or_default().insert(what);
            }
        };
        for (group, about) in self.wal.groups() {
            note(group, "log");
            if let Ok(Birth { shard: Some(shard), .. }) = codec::decode::<Birth>(&about) {
                ranges.insert(group, shard.range);
            }
        }
        for group in self.snapshots.groups().into_iter().filter(|group| !is_staged(*group)) {
            note(group, "snapshot");
        }
        for staged in self.staging.all() {
            note(staged.right, "staged");
        }
        let documents = self.documents.groups();
        let unread = |error| ControlError::Unavailable(format!("the document store: {error}"));
        for group in documents.map_err(unread)? {
            note(group, "documents");
        }
        for group in unrid_groups(self) {
            note(group, "log-files");
        }
        for (group, slot) in self.groups.read().iter() {
            note(*group, "memory");
            if let Slot::Running(group) = slot
                && let Some(range) = Arc::clone(group).replica.state().range().cloned()
            {
                ranges.insert(group.id, range);
            }
        }
        for (shard, range) in self.retired.lock().iter() {
            ranges.entry(*shard).or_insert_with(|| range.clone());
        }
        for staged in self.staging.all() {
            // Both are of one territory.
            if let Some(range) = ranges.get(&staged.left).cloned() {
                ranges.entry(staged.right).or_insert(range);
            }
        }
        let map = self.map();
        let holding = |(shard, places): (GroupId, BTreeSet<&'static str>)| Holding {
            shard,
            range: ranges
                .remove(&shard)
                .or_else(|| map.get(shard).map(|known| known.range.clone())),
            places: places.into_iter().map(str::to_owned).collect(),
        };
        Ok(found.into_iter().map(holding).collect())
    }
}
