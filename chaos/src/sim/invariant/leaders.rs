//! At most one replica leads a group in a term.

use std::collections::BTreeMap;

use hexpop_edge_config::{GroupId, RaftId};

/// Who led.
#[derive(Debug, Default)]
pub(in crate::sim) struct Leaders {
    led: BTreeMap<(GroupId, u64), RaftId>,
}

impl Leaders {
    /// A replica says that it leads; answers whether that is news.
    pub(in crate::sim) fn leads(
        &mut self,
        raft: RaftId,
        group: GroupId,
        term: u64,
    ) -> Result<bool, String> {
        match self.led.insert((group, term), raft) {
            None => Ok(true),
            Some(first) if first == raft => Ok(false),
            Some(first) => Err(format!("group {group} term {term}: both {first} and {raft} lead")),
        }
    }
}
