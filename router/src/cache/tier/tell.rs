//! Telling the other nodes of the PoP what a write has changed.

use std::collections::BTreeSet;

use futures::future::join_all;
use hexpop_edge_config::NodeId;
use openraft_rt::AsyncRuntime;

use super::{FORGET_WITHIN, wire::Forgotten};
use crate::{
    cache::{proxy::HttpCache, purge::Purge},
    deadline::Deadline,
};

impl<R: AsyncRuntime> HttpCache<R> {
    /// Notes that the other nodes of the PoP are to forget this; from now on nobody of them is asked for
    /// anything without being told. Answers those that can be told now.
    pub(in crate::cache) fn to_be_told(&self, changed: &[Forgotten]) -> Vec<NodeId> {
        let others = self.tier.others();
        let all: Vec<NodeId> = others.iter().map(|(node, _reachable)| *node).collect();
        self.tier.unconfirmed.retain(&all);
        self.tier.unconfirmed.add(&all, changed);
        others.into_iter().filter_map(|(node, reachable)| reachable.then_some(node)).collect()
    }

    /// Tells these nodes, and waits for them, but not for long. Those that the others would fetch it from
    /// are told first, or one that has forgotten it already could get it back.
    pub(in crate::cache) async fn tell(&self, nodes: Vec<NodeId>, changed: &[Forgotten]) {
        if nodes.is_empty() {
            return;
        }
        let deadline = Deadline::<R>::after(FORGET_WITHIN);
        let now = self.uptime.now();
        let mut owners = BTreeSet::new();
        let mut of_all = false;
        for one in changed {
            match one.purge() {
                Purge::Uri(key) => owners.extend(self.tier.owner(&key, now)),
                // What has a tag may be anywhere.
                _ => of_all = true,
            }
        }
        let is_first = |node: &&NodeId| of_all || owners.contains(node);
        let first = nodes.iter().filter(is_first);
        join_all(first.map(|node| self.have_forgotten(*node, deadline))).await;
        if of_all {
            // Again: what they got from one that had not heard yet.
            self.tier.unconfirmed.add(&nodes, changed);
        }
        let then = nodes.iter().filter(|node| of_all || !owners.contains(node));
        join_all(then.map(|node| self.have_forgotten(*node, deadline))).await;
    }
}
