//! What a replica tells about itself.

use hexpop_edge_config::{Epoch, GroupId, RaftId};
use hexpop_shard::{LogPosition, Replica, ReplicaRole, ShardDescriptor};
use openraft::{AsyncRuntime, ServerState};

use super::{Inner, inner::Slot};
use crate::{
    api::{ReplicaState, ReplicaStatus, Standing},
    group::{Group, MetricsOf},
    read::epoch_matches,
    rpc::millis_up,
    types::{LogId, Membership},
};

impl ReplicaStatus {
    pub(super) fn empty(shard: GroupId, state: ReplicaState, fault: Option<String>) -> Self {
        Self {
            shard,
            epoch: Epoch::FIRST,
            state,
            fault,
            leader: None,
            leader_raft: None,
            term: 0,
            last_index: 0,
            commit_index: 0,
            applied: LogPosition::default(),
            staleness_ms: None,
            replicas: Vec::new(),
            lag: Vec::new(),
            keys: 0,
            bytes: 0,
            listings_total: 0,
            listings_active: 0,
            complete: false,
            purged_index: 0,
            snapshot: None,
            parked: false,
        }
    }
}

/// The replicas of a membership. Those that `known` has come first and in its order, so that the one
/// that should lead stays in front.
pub(crate) fn replicas_of(membership: &Membership, known: &[Replica]) -> Vec<Replica> {
    let voters: std::collections::BTreeSet<u64> = membership.voter_ids().collect();
    let mut replicas: Vec<Replica> = membership
        .nodes()
        .map(|(raft, node)| Replica {
            raft: RaftId(*raft),
            node: node.id(),
            role: if voters.contains(raft) { ReplicaRole::Voter } else { ReplicaRole::Learner },
        })
        .collect();
    // One that took a node's place takes its rank as well.
    replicas.sort_by_key(|replica| {
        let rank = known.iter().position(|known| known.node == replica.node);
        (rank.unwrap_or(usize::MAX), replica.node, replica.raft)
    });
    replicas
}

fn position(id: Option<LogId>) -> Option<LogPosition> {
    id.map(|id| LogPosition { term: id.leader_id.term, index: id.index })
}

/// How many entries each other replica lacks, at the leader.
fn lag<R: AsyncRuntime>(metrics: &MetricsOf<R>) -> Vec<(hexpop_edge_config::NodeId, u64)> {
    let last = metrics.last_log_index.unwrap_or(0);
    let membership = metrics.membership_config.membership();
    let followers = metrics.replication.iter().flatten();
    followers
        .filter(|(raft, _)| **raft != metrics.id)
        .filter_map(|(raft, matching)| {
            let node = membership.get_node(raft)?.id();
            let has = matching.map_or(0, |matching| matching.index);
            Some((node, last.saturating_sub(has)))
        })
        .collect()
}

impl<R: AsyncRuntime> Slot<R> {
    pub(super) fn standing(&self) -> Standing {
        let without = |state| Standing { state, leader: None, has_state: false };
        match self {
            Self::Running(group) => group.standing(),
            Self::Starting | Self::Leaving => without(ReplicaState::Starting),
            Self::Failed(_why) => without(ReplicaState::Halted),
        }
    }
}

impl<R: AsyncRuntime> Group<R> {
    /// What the replica is now.
    pub(crate) fn state(&self) -> ReplicaState {
        if self.fault().is_some() {
            return ReplicaState::Halted;
        }
        match self.with_metrics(|metrics| metrics.state) {
            ServerState::Leader => ReplicaState::Leader,
            ServerState::Candidate => ReplicaState::Candidate,
            ServerState::Follower => ReplicaState::Follower,
            ServerState::Learner => ReplicaState::Learner,
            ServerState::Shutdown => ReplicaState::Halted,
        }
    }

    /// [`status`](Self::status) without what is costly.
    pub(super) fn standing(&self) -> Standing {
        Standing {
            state: self.state(),
            leader: self.leader_node(),
            has_state: self.replica.applied().index > 0 && !self.is_filling(),
        }
    }

    pub(super) fn status(&self, inner: &Inner<R>) -> ReplicaStatus {
        let metrics = self.raft_metrics();
        let fault = self.fault();
        let descriptor: ShardDescriptor = inner.descriptor(self);
        let state = self.replica.state();
        let stats = state.stats();
        let epoch = state.epoch();
        let leader = self.leader();
        ReplicaStatus {
            shard: self.id,
            epoch: if epoch_matches(self.id, descriptor.epoch, epoch) {
                descriptor.epoch
            } else {
                epoch
            },
            state: self.state(),
            fault,
            leader: leader.map(|(_, node)| node),
            leader_raft: leader.map(|(raft, _)| raft),
            term: metrics.current_term,
            last_index: metrics.last_log_index.unwrap_or(0),
            commit_index: metrics.local_committed.map_or(0, |committed| committed.index),
            applied: state.applied(),
            staleness_ms: self.staleness(state.applied().index).map(millis_up),
            replicas: replicas_of(metrics.membership_config.membership(), &descriptor.replicas),
            lag: lag::<R>(&metrics),
            keys: stats.keys,
            bytes: stats.bytes,
            listings_total: stats.listings_total,
            listings_active: stats.listings_active,
            complete: stats.complete,
            purged_index: metrics.purged.map_or(0, |purged| purged.index),
            snapshot: position(metrics.snapshot),
            parked: self.sleeps(),
        }
    }
}
