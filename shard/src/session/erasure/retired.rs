//! What a shard keeps of the erasures of another one that it takes in, and of the disks of that one's
//! replicas.

use hexpop_edge_config::{
    NodeId, RaftId, ShardId,
    planted::{self, Bug},
};
use serde::{Deserialize, Serialize};

use super::{ErasedHere, ErasureId, ErasureNote, Erasures, LEFT_MAX};

/// A replica of a shard that was taken in by this one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct RetiredReplica {
    /// The shard that is no more.
    pub shard: ShardId,
    /// The replica's data directory.
    pub raft: RaftId,
    /// The node which that directory belonged to.
    pub node: NodeId,
}

impl Erasures {
    /// Whether another shard has carried out the same erasures, as far as either can tell.
    pub(in crate::session) fn agrees(&self, other: &Self) -> bool {
        self.done.keys().eq(other.done.keys()) || planted::has(Bug::MergeIgnoresErasures)
    }

    /// Takes in what another shard, which [`agrees`](Self::agrees), knew, by the entry of `index`. Where its
    /// replicas had something erased the disks are named; those of this shard had nothing of it.
    pub(in crate::session) fn absorb(&mut self, other: Self, shard: ShardId, index: u64) {
        for (id, there) in other.done {
            let Some(here) = self.done.get(&id).copied() else { continue };
            self.by_time.remove(&(here.at_ms, id));
            let sessions = here.sessions.saturating_add(there.sessions);
            let at_ms = here.at_ms.max(there.at_ms);
            self.record(id, ErasedHere { sessions, at_ms, ..here });
        }
        for (id, note) in other.open {
            let note = self.joined(id, note);
            self.open.insert(id, note);
        }
        let members = other.members.into_iter();
        let left = other.left.into_iter().map(|left| (left.raft, left.node));
        let replicas = members.chain(left);
        let new = replicas.map(|(raft, node)| RetiredReplica { shard, raft, node });
        for retired in other.retired.into_iter().chain(new) {
            let is_known =
                |known: &RetiredReplica| (known.shard, known.raft) == (retired.shard, retired.raft);
            if !self.retired.iter().any(is_known) {
                self.retired.push(retired);
            }
        }
        let too_many = self.retired.len().saturating_sub(LEFT_MAX);
        self.retired.drain(..too_many);
        self.forgotten_ms = self.forgotten_ms.max(other.forgotten_ms);
        // That something was erased outlasts what is told of it: what comes late may be from before.
        if self.last == 0 && other.last > 0 {
            self.note(index);
        }
    }

    /// A note with what an earlier one of the same erasure knew.
    pub(super) fn joined(&self, id: ErasureId, mut note: ErasureNote) -> ErasureNote {
        if let Some(known) = self.open.get(&id) {
            note.begun_ms = note.begun_ms.min(known.begun_ms);
            note.erased.extend(&known.erased);
            note.origin = note.origin.max(known.origin);
        }
        note
    }

    /// The replicas of shards that were taken in which may hold something of them still.
    pub(in crate::session) fn retired(&self) -> impl Iterator<Item = RetiredReplica> {
        self.retired.iter().copied()
    }

    /// That replica of a shard which was taken in has nothing of it any more.
    pub(in crate::session) fn withdrawn(&mut self, shard: ShardId, raft: RaftId) {
        self.retired.retain(|retired| (retired.shard, retired.raft) != (shard, raft));
    }

    /// Whose disks may hold something although they are no replicas, or not for that.
    pub(in crate::session) fn gone(&self) -> impl Iterator<Item = (RaftId, NodeId)> {
        let left = self.left.iter().map(|left| (left.raft, left.node));
        left.chain(self.retired.iter().map(|retired| (retired.raft, retired.node)))
    }
}
