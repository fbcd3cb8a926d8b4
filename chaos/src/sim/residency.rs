//! Worlds with a territory that has to stay on some of the nodes: who they are, and that the others never hold
//! anything of it.
//!
//! Two looks, neither of which believes the map: what a node says that it holds, in memory and on disk, as
//! `hexpop shards residency` asks it, many times a second; and in the end the bytes of its disks, searched for
//! what clients wrote there.

use std::collections::BTreeSet;

use hexpop_edge_config::NodeId;
use hexpop_raft::Holding;
use hexpop_shard::PlacementPolicy;

use super::{node, world::World};
use crate::history::Action;

/// What must hold.
const STAYS: &str = "what has to stay on some nodes is on no other";

/// What the ids of sessions of the territory begin with.
const SESSIONS_THERE: &str = "it-lombardia.";

/// Whether a node may hold the territory that has to stay on some: two of three may.
pub(super) const fn may_hold(node: NodeId) -> bool {
    !node.0.is_multiple_of(3)
}

/// The labels of the nodes that may hold it, and those that it asks for; none where it may be anywhere.
pub(super) fn labels(has_any: bool) -> BTreeSet<String> {
    has_any.then(|| "eu".to_owned()).into_iter().collect()
}

/// Looks at what a node holds that carries no label.
fn check(node: NodeId, holdings: &[Holding], policy: &PlacementPolicy) -> Result<(), String> {
    let is_elsewheres =
        |held: &&Holding| held.range.as_ref().is_some_and(|it| !policy.of(it).labels.is_empty());
    match holdings.iter().find(is_elsewheres) {
        None => Ok(()),
        Some(Holding { shard, places, .. }) => {
            Err(format!("node {node} has something of shard {shard}: {}", places.join(", ")))
        }
    }
}

impl World {
    /// Looks at what the nodes hold that may hold nothing of the territory.
    pub(super) fn look_at_holdings(&self) {
        if !self.settings.residency {
            return;
        }
        let policy = node::policy(true);
        for (node, process) in self.processes().filter(|(node, _)| !may_hold(**node)) {
            match process.host.holdings() {
                Ok(holdings) => {
                    self.trace.count("holdings-looked-at", 1);
                    self.checks.take(STAYS, check(*node, &holdings, &policy));
                }
                Err(error) => self.checks.report(STAYS, format!("node {node}: {error}")),
            }
        }
    }

    /// Searches the disks of those nodes for what was written to sessions of the territory. That it is found on
    /// the disks of the others is counted: a search that finds nothing anywhere says nothing.
    pub(super) fn search_abroad(&self) {
        if !self.settings.residency {
            return;
        }
        let operations = self.clients.operations.lock();
        let written = operations.iter().filter_map(|operation| match &operation.action {
            Action::Create { key, write } | Action::Put { key, write, .. } => {
                key.starts_with(SESSIONS_THERE).then_some(write.value.as_str())
            }
            _ => None,
        });
        let sought = self.checks.state.lock().erased.gone(written);
        for (node, slot) in &self.slots {
            for (what, disk) in [("log", &slot.machine.log), ("snapshots", &slot.machine.snapshots)]
            {
                let found = sought.search(&format!("the disk of the {what} of node {node}"), disk);
                if may_hold(*node) {
                    self.trace.count("values-found-at-home", u64::from(found.is_err()));
                } else {
                    self.checks.take(STAYS, found);
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use hexpop_edge_config::{ShardId, Territory};
    use hexpop_shard::{KeyRange, Space};

    use super::*;

    #[test]
    fn what_a_node_holds_of_the_territory_is_told_from_all_else() {
        let policy = node::policy(true);
        let there: Territory = node::TERRITORIES[0].parse().unwrap();
        let held = |range| Holding {
            shard: ShardId(7),
            range,
            places: vec!["log".to_owned(), "snapshot".to_owned()],
        };
        let of_territory = KeyRange::territory(Space::Sessions, &there);
        let fine = [held(None), held(Some(KeyRange::space(Space::Directory)))];
        assert_eq!(check(NodeId(3), &fine, &policy), Ok(()));
        let wrong = check(NodeId(3), &[held(Some(of_territory))], &policy).unwrap_err();
        assert!(wrong.contains("node 3") && wrong.contains("log, snapshot"), "{wrong}");
        assert_eq!(node::policy(false).territories[&there].labels, labels(false));
    }
}
