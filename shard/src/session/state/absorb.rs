//! The sessions of a shard that is taken in.

use hexpop_edge_config::{RaftId, ShardId};

use super::SessionState;
use crate::session::RetiredReplica;

impl SessionState {
    /// Why the sessions of another shard cannot be taken in now, in words.
    pub(crate) fn obstacle(&self, other: &Self) -> Option<String> {
        if !self.erasures.agrees(&other.erasures) {
            let text = "an erasure was carried out in one of the shards and not in the other";
            return Some(text.to_owned());
        }
        let differs = |key: &crate::session::UserKey| {
            self.data_keys.entry(key.key.id).is_some_and(|known| known != key)
        };
        // Their numbers are random; two keys of one number would make values of one of them noise.
        other.data_keys.rows().any(differs).then(|| "two keys have one number".to_owned())
    }

    /// For a merge by the entry of `index`: takes in what was of `shard`. A data key that both have is one
    /// again.
    pub(crate) fn absorb(&mut self, other: Self, shard: ShardId, index: u64) {
        let Self { sessions, memory, data_keys, erasures, .. } = other;
        for key in data_keys.rows() {
            if !self.data_keys.has(key.key.id) {
                self.data_keys.add(key.clone());
            }
        }
        sessions.into_values().for_each(|record| self.insert(record));
        for (key, record) in memory {
            // A session's id follows from the key of its create, so that no other shard has the key.
            if !self.memory.contains_key(&key) {
                self.remember(key, record);
            }
        }
        self.erasures.absorb(erasures, shard, index);
    }

    /// The replicas of shards that were taken in which have not said that nothing of them is on their
    /// disks.
    pub fn retired_replicas(&self) -> impl Iterator<Item = RetiredReplica> {
        self.erasures.retired()
    }

    /// Whether the disk of a replica may hold something of a shard that was taken in.
    #[must_use]
    pub fn has_retired(&self, shard: ShardId, raft: RaftId) -> bool {
        self.retired_replicas().any(|retired| (retired.shard, retired.raft) == (shard, raft))
    }
}
