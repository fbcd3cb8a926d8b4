//! Who the replicas of the meta group are, and of that of purges. No map says so: each replica has it in its
//! own log, and everybody else is told, together with the entry that it is as of. What is newer counts, so
//! that it does not matter whom one asks, or in which order the answers come.

use std::collections::BTreeMap;

use hexpop_edge_config::{Epoch, GroupId, NodeId, RaftId};
use hexpop_shard::{KeyRange, LogPosition, Replica, ReplicaRole, ShardDescriptor, Space};
use openraft::AsyncRuntime;
use serde::{Deserialize, Serialize};

use super::{Inner, replicas_of};
use crate::group::Group;

/// More replicas than such a group ever has: what says so is not taken over.
const REPLICAS_MAX: usize = 64;

/// The groups that are in no map.
pub(crate) const SYSTEM_GROUPS: [GroupId; 2] = [GroupId::META, GroupId::PURGES];

/// The replicas of a group that is in no map, as of an entry of its log.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Seats {
    /// The group.
    pub(crate) group: GroupId,
    /// The entry that made them its members.
    pub(crate) position: LogPosition,
    /// Its replicas.
    pub(crate) replicas: Vec<Replica>,
}

impl Seats {
    /// As the replica that is here has them; `None` when it has no committed member yet.
    fn of<R: AsyncRuntime>(group: &Group<R>) -> Option<Self> {
        group.with_metrics(|metrics| {
            let committed = metrics.committed_membership_config.as_ref();
            let position = (*committed.log_id())?;
            let replicas = replicas_of(committed.membership(), &[]);
            let position = LogPosition { term: position.leader_id.term, index: position.index };
            (!replicas.is_empty()).then_some(Self { group: group.id, position, replicas })
        })
    }

    /// The nodes whose replicas vote.
    pub(crate) fn voters(&self) -> Vec<NodeId> {
        let voters = self.replicas.iter().filter(|replica| replica.role == ReplicaRole::Voter);
        voters.map(|replica| replica.node).collect()
    }

    /// Whether a data directory is one of the replicas.
    pub(crate) fn lists(&self, raft: RaftId) -> bool {
        self.replicas.iter().any(|replica| replica.raft == raft)
    }

    /// In the form that maps have of shards, with a range that means nothing.
    pub(crate) fn descriptor(self) -> ShardDescriptor {
        let range = KeyRange::space(Space::Listings);
        ShardDescriptor { id: self.group, range, epoch: Epoch::FIRST, replicas: self.replicas }
    }

    fn is_sound(&self) -> bool {
        SYSTEM_GROUPS.contains(&self.group)
            && self.replicas.len() <= REPLICAS_MAX
            && !self.voters().is_empty()
    }
}

/// What others told last of each group.
#[derive(Debug, Clone, Default)]
pub(crate) struct KnownSeats(BTreeMap<GroupId, Seats>);

impl KnownSeats {
    /// Takes over what is newer than what was known.
    pub(crate) fn learn(&mut self, told: Vec<Seats>) {
        for seats in told.into_iter().filter(Seats::is_sound) {
            let known = self.0.get(&seats.group);
            if known.is_none_or(|known| known.position < seats.position) {
                self.0.insert(seats.group, seats);
            }
        }
    }
}

impl<R: AsyncRuntime> Inner<R> {
    /// The replicas of the meta group or of that of purges, as of the newest entry that is known here.
    pub(crate) fn seats(&self, group: GroupId) -> Option<Seats> {
        let own = self.group(group).and_then(|group| Seats::of(&group));
        let told = self.known.read().seats.0.get(&group).cloned();
        own.into_iter().chain(told).max_by_key(|seats| seats.position)
    }

    /// What is known of both groups.
    pub(crate) fn all_seats(&self) -> Vec<Seats> {
        SYSTEM_GROUPS.into_iter().filter_map(|group| self.seats(group)).collect()
    }

    /// The nodes that vote in the meta group or in that of purges, as far as known: at first those that
    /// found the cluster.
    pub(crate) fn voters_without_range(&self, group: GroupId) -> Vec<NodeId> {
        let known = self.seats(group).or_else(|| self.seats(GroupId::META));
        known.map_or_else(|| self.options.bootstrap.clone(), |seats| seats.voters())
    }
}

#[cfg(test)]
mod tests {
    use hexpop_edge_config::ShardId;

    use super::*;

    fn seats(group: GroupId, index: u64, nodes: &[u32]) -> Seats {
        let replica = |node: &u32| Replica {
            raft: RaftId(u64::from(*node) * 10),
            node: NodeId(*node),
            role: ReplicaRole::Voter,
        };
        let replicas = nodes.iter().map(replica).collect();
        Seats { group, position: LogPosition { term: 1, index }, replicas }
    }

    #[test]
    fn what_is_newer_counts_whoever_tells_it_last() {
        let mut known = KnownSeats::default();
        known.learn(vec![seats(GroupId::META, 5, &[1, 2, 3])]);
        known.learn(vec![seats(GroupId::META, 9, &[2, 3, 4]), seats(GroupId::PURGES, 1, &[1])]);
        known.learn(vec![seats(GroupId::META, 7, &[1, 2, 4])]);
        assert_eq!(known.0[&GroupId::META].voters(), [2, 3, 4].map(NodeId));
        assert_eq!(known.0[&GroupId::PURGES].voters(), [NodeId(1)]);
        assert!(!known.0[&GroupId::META].lists(RaftId(10)));
    }

    #[test]
    fn what_cannot_be_so_is_not_taken_over() {
        let mut known = KnownSeats::default();
        let crowd: Vec<u32> = (0..100).collect();
        known.learn(vec![
            seats(ShardId(17), 5, &[1]),
            seats(GroupId::META, 5, &[]),
            seats(GroupId::PURGES, 5, &crowd),
        ]);
        assert!(known.0.is_empty());
    }
}
