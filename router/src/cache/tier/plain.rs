//! Nodes that do not know questions with interim responses: those of earlier builds, while a mesh is upgraded.

use std::{collections::BTreeMap, time::Duration};

use hexpop_edge_config::NodeId;
use parking_lot::Mutex;

/// For how long a node is asked without, before that is tried again. Too low: each miss costs one more question.
/// Too high: after its upgrade a node sends no interim responses for so long.
const PLAIN_FOR: Duration = Duration::from_secs(60);

/// Until when which nodes are asked without.
#[derive(Debug, Default)]
pub(super) struct Plain(Mutex<BTreeMap<NodeId, Duration>>);

impl Plain {
    /// Whether a node is asked without.
    pub(super) fn has(&self, node: NodeId, now: Duration) -> bool {
        self.0.lock().get(&node).is_some_and(|until| now < *until)
    }

    /// A node answered what was asked without, and not what was asked with.
    pub(super) fn note(&self, node: NodeId, now: Duration) {
        let mut until = self.0.lock();
        // Those that are tried again anyway, or have left, make room.
        until.retain(|_node, until| now < *until);
        until.entry(node).or_insert_with(|| now.saturating_add(PLAIN_FOR));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_node_is_asked_without_for_a_while() {
        let plain = Plain::default();
        let at = Duration::from_secs;
        assert!(!plain.has(NodeId(1), at(0)));
        plain.note(NodeId(1), at(1));
        // What is answered meanwhile does not make it longer: the upgrade is to be noticed.
        plain.note(NodeId(1), at(50));
        assert!(plain.has(NodeId(1), at(60)) && !plain.has(NodeId(2), at(60)));
        assert!(!plain.has(NodeId(1), at(61)));
        plain.note(NodeId(2), at(61));
        assert_eq!(plain.0.lock().len(), 1);
    }
}
