//! A replica votes once in a term, remembers it over restarts, and gives no vote within an election
//! timeout of a start, unless it never promised anything.

use std::collections::BTreeMap;

use hexpop_edge_config::{GroupId, RaftId};

/// The votes that were given.
#[derive(Debug, Default)]
pub(in crate::sim) struct Votes {
    given: BTreeMap<(RaftId, GroupId, u64), RaftId>,
    highest: BTreeMap<(RaftId, GroupId), u64>,
    /// Replicas that must not vote before a time, in milliseconds.
    grace: BTreeMap<(RaftId, GroupId), u64>,
}

impl Votes {
    pub(super) fn granted(
        &mut self,
        raft: RaftId,
        group: GroupId,
        term: u64,
        candidate: RaftId,
        now_ms: u64,
    ) -> Result<(), String> {
        let highest = self.highest.entry((raft, group)).or_default();
        *highest = (*highest).max(term);
        let first = *self.given.entry((raft, group, term)).or_insert(candidate);
        if first != candidate {
            return Err(format!(
                "group {group} term {term}: replica {raft} voted for {first}, then for {candidate}"
            ));
        }
        match self.grace.get(&(raft, group)) {
            Some(until) if now_ms < *until => Err(format!(
                "group {group} term {term}: replica {raft} votes {} ms before its grace ends",
                until - now_ms
            )),
            Some(_) | None => Ok(()),
        }
    }

    /// A data directory destroys a log, and the terms with it: it is no replica of the group any more. What
    /// it voted for stays known: should it be one again, it votes for nobody else in those terms.
    pub(super) fn left(&mut self, raft: RaftId, group: GroupId) {
        self.highest.remove(&(raft, group));
        self.grace.remove(&(raft, group));
    }

    /// A replica runs again, and its log says that it is in `term`.
    pub(in crate::sim) fn restarted(
        &mut self,
        raft: RaftId,
        group: GroupId,
        term: u64,
        grace_until_ms: u64,
    ) -> Result<(), String> {
        let Some(highest) = self.highest.get(&(raft, group)).copied() else { return Ok(()) };
        self.grace.insert((raft, group), grace_until_ms);
        if term >= highest {
            return Ok(());
        }
        Err(format!(
            "group {group}: replica {raft} voted in term {highest}, and after a restart is in {term}"
        ))
    }
}
