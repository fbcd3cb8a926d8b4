//! A touch renews no session that was over when it happened.

use std::collections::{BTreeMap, BTreeSet};

use hexpop_edge_config::{GroupId, codec};
use hexpop_shard::{Command, Op, SessionId, SessionOp, SessionState, ShardState};

/// When sessions end, by the newest state of each group that was seen.
#[derive(Debug, Default)]
pub(in crate::sim) struct Renewed {
    ends: BTreeMap<(GroupId, SessionId), u64>,
}

impl Renewed {
    /// Looks at the state of whoever applied an entry first.
    pub(super) fn applied(
        &mut self,
        group: GroupId,
        entry: &[u8],
        state: &ShardState,
    ) -> Result<(), String> {
        let Some(sessions) = state.as_sessions() else { return Ok(()) };
        let op = match codec::decode(entry) {
            Ok(Command { op: Op::Session(op), .. }) => op,
            // Sessions came, with the ends that they had elsewhere, or went.
            Ok(Command { op: Op::Split(_) | Op::Merge(_), .. }) => {
                self.reshaped(group, sessions);
                return Ok(());
            }
            _ => return Ok(()),
        };
        let mut checked = Ok(());
        if let SessionOp::Touch { touches } = &op {
            for touch in touches {
                let Some(end) = self.ends.get(&(group, touch.id.clone())) else { continue };
                let at_ms = touch.at_ms.min(state.group_time_ms());
                let now = sessions.get(&touch.id).map(|record| record.head.expires_ms);
                if at_ms >= *end && now.is_some_and(|now| now > *end) {
                    checked = Err(format!(
                        "group {group}: {} ended at {end}, was touched at {at_ms}, and lives to {now:?}",
                        touch.id
                    ));
                }
            }
        }
        for id in op.ids() {
            let place = (group, id.clone());
            match sessions.get(id) {
                Some(record) => drop(self.ends.insert(place, record.head.expires_ms)),
                None => drop(self.ends.remove(&place)),
            }
        }
        checked
    }

    /// Sets the ends of all sessions of a group anew that any group was seen with.
    fn reshaped(&mut self, group: GroupId, sessions: &SessionState) {
        let ids: BTreeSet<SessionId> = self.ends.keys().map(|(_, id)| id.clone()).collect();
        for id in ids {
            let place = (group, id);
            match sessions.get(&place.1) {
                Some(record) => drop(self.ends.insert(place, record.head.expires_ms)),
                None => drop(self.ends.remove(&place)),
            }
        }
    }
}
