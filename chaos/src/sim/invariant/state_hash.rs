//! Replicas that have applied the same index have the same state.

use std::collections::BTreeMap;

use hexpop_edge_config::{GroupId, RaftId};
use hexpop_shard::{LogPosition, ShardState};

/// Every so many entries the whole state is hashed.
const EVERY: u64 = 4;

/// The hash of each state that was looked at.
#[derive(Debug, Default)]
pub(in crate::sim) struct StateHashes {
    hashes: BTreeMap<(GroupId, u64), u64>,
}

impl StateHashes {
    pub(super) fn applied(
        &mut self,
        raft: RaftId,
        group: GroupId,
        position: LogPosition,
        state: &ShardState,
    ) -> Result<(), String> {
        if state.applied() != position {
            return Err(format!(
                "group {group}: replica {raft} applied {position:?}, and its state says {:?}",
                state.applied()
            ));
        }
        if !position.index.is_multiple_of(EVERY) {
            return Ok(());
        }
        self.compare(raft, group, state)
    }

    pub(super) fn installed(
        &mut self,
        raft: RaftId,
        group: GroupId,
        state: &ShardState,
    ) -> Result<(), String> {
        self.compare(raft, group, state)
    }

    /// Compares a state with what others had at its position.
    pub(in crate::sim) fn compare(
        &mut self,
        raft: RaftId,
        group: GroupId,
        state: &ShardState,
    ) -> Result<(), String> {
        let index = state.applied().index;
        let hash = state.hash();
        let first = *self.hashes.entry((group, index)).or_insert(hash);
        if first == hash {
            return Ok(());
        }
        Err(format!(
            "group {group} index {index}: replica {raft} has {hash:016x}, another one had {first:016x}"
        ))
    }
}
