//! Which node failed to take a replica of which shard lately: it is not asked again at once, and less and
//! less often the more often it failed.
//!
//! What is remembered comes from the operations that the meta group remembers, and outlives them for a
//! while; whoever leads the group next begins with those.

use std::collections::{BTreeMap, BTreeSet};

use hexpop_edge_config::{NodeId, ShardId};

use super::{Operation, OperationId, OperationKind, OperationState};

/// How long a node is left alone after it failed once, in milliseconds.
const PAUSE_MS: u64 = 60_000;

/// The most of that, however often it failed.
const PAUSE_MAX_MS: u64 = 60 * 60_000;

/// After so long without another failure it is forgotten.
const FORGET_MS: u64 = 2 * PAUSE_MAX_MS;

/// How many are remembered.
const SETBACKS_MAX: usize = 4_096;

/// Relocations that failed lately, by shard and by the node that was to take the replica.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Setbacks {
    known: BTreeMap<(ShardId, NodeId), Setback>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Setback {
    /// The last operation that counted.
    operation: OperationId,
    /// How many failed in a row.
    failures: u32,
    at_ms: u64,
}

impl Setback {
    const fn pause_ms(&self) -> u64 {
        let Some(doublings) = self.failures.checked_sub(1) else { return 0 };
        let times = match 1_u64.checked_shl(doublings) {
            Some(times) if times < PAUSE_MAX_MS / PAUSE_MS => times,
            _ => PAUSE_MAX_MS / PAUSE_MS,
        };
        PAUSE_MS * times
    }
}

impl Setbacks {
    /// Takes account of the operations that are remembered at `now_ms`, in the order of their numbers. Those
    /// that were taken account of before change nothing.
    pub fn note<'o>(&mut self, operations: impl IntoIterator<Item = &'o Operation>, now_ms: u64) {
        for operation in operations {
            let (OperationKind::Relocate(relocation), Some(at_ms)) =
                (&operation.kind, operation.finished_ms)
            else {
                continue;
            };
            let (id, place) = (operation.id, (operation.shard, relocation.to));
            let known = self.known.get(&place).copied();
            if known.is_some_and(|known| known.operation >= id) {
                continue;
            }
            let failures = match &operation.state {
                OperationState::Failed { .. } => {
                    known.map_or(0, |known| known.failures).saturating_add(1)
                }
                OperationState::Done if known.is_some() => 0,
                _ => continue,
            };
            self.known.insert(place, Setback { operation: id, failures, at_ms });
        }
        self.known.retain(|_, known| known.at_ms.abs_diff(now_ms) < FORGET_MS);
        while self.known.len() > SETBACKS_MAX {
            let oldest = self.known.iter().min_by_key(|(_, known)| known.at_ms);
            let Some(place) = oldest.map(|(place, _)| *place) else { return };
            self.known.remove(&place);
        }
    }

    /// The shards, and the nodes that are not to be asked to take a replica of them yet.
    #[must_use]
    pub fn avoided(&self, now_ms: u64) -> BTreeSet<(ShardId, NodeId)> {
        let rests = |known: &Setback| known.at_ms.abs_diff(now_ms) < known.pause_ms();
        self.known.iter().filter(|(_, known)| rests(known)).map(|(place, _)| *place).collect()
    }
}

#[cfg(test)]
mod tests {
    use hexpop_edge_config::RaftId;

    use super::*;
    use crate::{Cause, Relocation};

    fn ended(id: u64, to: u32, state: OperationState, at_ms: u64) -> Operation {
        let (from, old, to) = (NodeId(1), RaftId(1), NodeId(to));
        Operation {
            id: OperationId(id),
            kind: OperationKind::Relocate(Relocation { from, old, to, cause: Cause::Repair }),
            shard: ShardId(7),
            reason: String::new(),
            state,
            steps: Vec::new(),
            started_ms: 0,
            finished_ms: Some(at_ms),
        }
    }

    fn failed(id: u64, to: u32, at_ms: u64) -> Operation {
        ended(id, to, OperationState::Failed { error: String::new() }, at_ms)
    }

    const PLACE: (ShardId, NodeId) = (ShardId(7), NodeId(4));

    fn avoids(setbacks: &Setbacks, now_ms: u64) -> bool {
        setbacks.avoided(now_ms).contains(&PLACE)
    }

    #[test]
    fn a_node_that_failed_rests_longer_each_time_and_a_repeated_look_counts_once() {
        let mut setbacks = Setbacks::default();
        let first = [failed(1, 4, 1_000)];
        for now in [1_000, 2_000, 3_000] {
            setbacks.note(&first, now);
        }
        assert!(avoids(&setbacks, 60_999) && !avoids(&setbacks, 61_000));
        setbacks.note(&[first[0].clone(), failed(2, 4, 70_000)], 70_000);
        assert!(avoids(&setbacks, 189_999) && !avoids(&setbacks, 190_000));
        for id in 3..80 {
            setbacks.note(&[failed(id, 4, 200_000)], 200_000);
        }
        assert!(avoids(&setbacks, 200_000 + PAUSE_MAX_MS - 1));
        assert!(!avoids(&setbacks, 200_000 + PAUSE_MAX_MS));
    }

    #[test]
    fn success_and_time_make_up_for_it_and_other_ends_are_nobodys_fault() {
        let mut setbacks = Setbacks::default();
        let story = [failed(1, 4, 1_000), ended(2, 4, OperationState::Done, 2_000)];
        setbacks.note(&story, 2_000);
        assert!(!avoids(&setbacks, 2_000));
        // Also when it is looked at again.
        setbacks.note(&story, 2_500);
        assert!(!avoids(&setbacks, 2_500));
        setbacks.note(&[ended(3, 4, OperationState::Cancelled, 3_000)], 3_000);
        assert!(!avoids(&setbacks, 3_000));
        setbacks.note(&[failed(4, 4, 4_000)], 4_000);
        assert!(avoids(&setbacks, 4_000));
        setbacks.note(&[], 4_000 + FORGET_MS);
        assert_eq!(setbacks, Setbacks::default());
    }

    #[test]
    fn only_so_many_are_remembered_the_newest() {
        let mut setbacks = Setbacks::default();
        let many: Vec<Operation> =
            (1..=5_000_u32).map(|node| failed(u64::from(node), node, u64::from(node))).collect();
        setbacks.note(&many, 5_000);
        assert_eq!(setbacks.known.len(), SETBACKS_MAX);
        assert!(setbacks.avoided(5_000).contains(&(ShardId(7), NodeId(5_000))));
        assert!(!setbacks.avoided(5_000).contains(&(ShardId(7), NodeId(1))));
    }
}
