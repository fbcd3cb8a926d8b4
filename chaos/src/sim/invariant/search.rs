//! What searches answer is what the documents at the position that they name say.

use std::collections::BTreeMap;

use hexpop_edge_config::GroupId;
use hexpop_shard::{LogPosition, SearchAnswer, ShardState, Status};

/// How many listings each shard's searches must find at each position, counted one by one.
#[derive(Debug, Default)]
pub(in crate::sim) struct Searches {
    counts: BTreeMap<(GroupId, u64), u64>,
}

impl Searches {
    /// Counts the listings of a state, row by row, and compares with its own counts.
    pub(super) fn applied(
        &mut self,
        group: GroupId,
        position: LogPosition,
        state: &ShardState,
    ) -> Result<(), String> {
        let Some(listings) = state.as_listings() else { return Ok(()) };
        let view = listings.view();
        let rows = view.documents_after(None);
        let found = rows.filter(|row| !row.hidden && row.status == Status::Active).count() as u64;
        self.counts.insert((group, position.index), found);
        let active = state.stats().listings_active;
        if active == found {
            return Ok(());
        }
        Err(format!(
            "group {group} {position:?}: {found} listings are to be found, it counts {active}"
        ))
    }

    /// Checks the answer to a search for everything.
    pub(in crate::sim) fn answered(&self, answer: &SearchAnswer) -> Result<(), String> {
        // Two copies of a listing that moves differ; the same one twice is of two shards that both count it.
        let mut seen = std::collections::BTreeSet::new();
        if let Some(hit) = answer.data.iter().find(|hit| !seen.insert(hit.get())) {
            return Err(format!("{} is found twice by {:?}", hit.get(), answer.shards));
        }
        let mut expected = 0;
        for stamp in &answer.shards {
            match self.counts.get(&(stamp.id, stamp.as_of.index)) {
                Some(count) => expected += count,
                // A state that came as a snapshot, of which no entry was seen being applied.
                None => return Ok(()),
            }
        }
        let total = answer.pagination.total;
        if total != expected {
            return Err(format!("{total} found, {expected} are there at {:?}", answer.shards));
        }
        let buckets = answer.facets.property_types.as_deref().unwrap_or_default();
        let counted: u64 = buckets.iter().map(|bucket| bucket.count).sum();
        let missing = answer.facets.missing.0.get("propertyTypes").copied().unwrap_or_default();
        if counted + missing != total {
            return Err(format!("{total} found, the facet counts {counted} and {missing} without"));
        }
        if (answer.data.len() as u64) > total {
            return Err(format!("{total} found, {} shown", answer.data.len()));
        }
        Ok(())
    }
}
