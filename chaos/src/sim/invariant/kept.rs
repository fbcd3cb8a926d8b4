//! A committed entry that a replica told its leader to have is in its log after every restart.

use std::collections::{BTreeMap, VecDeque};

use hexpop_edge_config::{GroupId, RaftId, ShardId};
use hexpop_shard::LogPosition;

use super::Committed;

/// Positions that are remembered of a replica; what it acknowledged before is covered by later ones.
const POSITIONS_MAX: usize = 64;

/// Up to where replicas said to have their logs.
#[derive(Debug, Default)]
pub(in crate::sim) struct Kept {
    acknowledged: BTreeMap<(RaftId, GroupId), VecDeque<LogPosition>>,
}

impl Kept {
    /// A replica says that it has the log up to here.
    pub(super) fn acknowledged(&mut self, raft: RaftId, group: GroupId, position: LogPosition) {
        let known = self.acknowledged.entry((raft, group)).or_default();
        if known.back() == Some(&position) {
            return;
        }
        if known.len() >= POSITIONS_MAX {
            known.pop_front();
        }
        known.push_back(position);
    }

    /// A data directory destroys a log: it is no replica of the group any more, and nobody counts on what
    /// it said. That what is committed stays elsewhere is for the other invariants.
    pub(super) fn left(&mut self, raft: RaftId, group: GroupId) {
        self.acknowledged.remove(&(raft, group));
    }

    /// A process begins with the logs that end where `last` says, or are not there.
    ///
    /// What was acknowledged and not committed may have been cut off by a later leader. An entry of
    /// the same term and index as a committed one is that entry: it stays.
    pub(super) fn reopened(
        &self,
        raft: RaftId,
        committed: &Committed,
        last: impl Fn(GroupId) -> Option<u64>,
    ) -> Result<(), String> {
        let own = self.acknowledged.range((raft, GroupId::META)..=(raft, ShardId(u64::MAX)));
        for ((_, group), positions) in own {
            let kept = positions.iter().filter(|position| committed.holds(*group, **position));
            let Some(highest) = kept.max_by_key(|position| position.index) else { continue };
            let last = last(*group);
            if last.is_none_or(|last| last < highest.index) {
                return Err(format!(
                    "group {group}: replica {raft} acknowledged entry {} of term {}, which is committed; \
                     after a restart its log ends at {last:?}",
                    highest.index, highest.term
                ));
            }
        }
        Ok(())
    }
}
