//! Telling the other nodes of the PoP what a write has changed.

use std::{collections::BTreeSet, sync::Arc};

use futures::future::join_all;
use hexpop_edge_config::NodeId;
use openraft_rt::AsyncRuntime;
use tokio::sync::oneshot;

use super::{FORGET_WITHIN, TELL_AGAIN_FIRST, TELL_AGAIN_MAX, wire::Forgotten};
use crate::{
    cache::{key::CacheKey, proxy::HttpCache, purge::Purge},
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

    /// Tells these nodes, and waits for them, but not for long. Those that cannot be told are told later.
    ///
    /// # Cancel safety
    /// They are told all the same.
    pub(in crate::cache) async fn tell(
        self: &Arc<Self>,
        nodes: Vec<NodeId>,
        changed: Vec<Forgotten>,
    ) {
        // A client that goes away must not take from the others what they are to hear.
        let (sender, told) = oneshot::channel();
        let this = Arc::clone(self);
        drop(R::spawn(async move {
            this.tell_in_turn(nodes, &changed).await;
            // The client may have gone.
            sender.send(()).ok();
        }));
        // It ends without a word only with the process.
        told.await.ok();
    }

    /// Those that the others would fetch it from are told first, or one that has forgotten it already could
    /// get it back.
    async fn tell_in_turn(self: &Arc<Self>, nodes: Vec<NodeId>, changed: &[Forgotten]) {
        let unconfirmed = &self.tier.unconfirmed;
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
        let is_first = |node: &NodeId| of_all || owners.contains(node);
        let (first, then): (Vec<NodeId>, Vec<NodeId>) = nodes.into_iter().partition(is_first);
        let mut heard = self.have_all_forgotten(first, Some(&[])).await;
        if of_all {
            // Again: what they got from one that had not heard yet.
            unconfirmed.add(&heard, changed);
            heard = self.have_all_forgotten(heard, Some(&[])).await;
        } else {
            heard.extend(self.have_all_forgotten(then, Some(&[])).await);
        }
        let others = self.tier.others().into_iter().map(|(node, _reachable)| node);
        let missed: Vec<NodeId> = others.filter(|node| !heard.contains(node)).collect();
        if missed.is_empty() {
            return;
        }
        unconfirmed.note_missed(&missed, changed);
        // Once more: what they got from one of these. From now on they tell it before they ask it.
        unconfirmed.add(&heard, changed);
        self.have_all_forgotten(heard, Some(&missed)).await;
        self.tell_again();
    }

    /// Has the node that keeps a URI for the PoP forget it, no later than when it is asked for it next.
    pub(in crate::cache) fn have_owner_forget(&self, key: &CacheKey) {
        if let Some(owner) = self.tier.owner(key, self.uptime.now()) {
            self.tier.unconfirmed.add(&[owner], &[Forgotten::uri(key)]);
        }
    }

    /// Has nodes forget all that they are to forget. Answers those that did.
    async fn have_all_forgotten(
        &self,
        nodes: Vec<NodeId>,
        missed: Option<&[NodeId]>,
    ) -> Vec<NodeId> {
        let deadline = Deadline::<R>::after(FORGET_WITHIN);
        let asked = nodes.iter().map(|node| self.have_forgotten(*node, missed, deadline));
        let did = join_all(asked).await;
        nodes.iter().zip(did).filter_map(|(node, did)| did.then_some(*node)).collect()
    }

    /// Sees to it that the nodes hear of what they missed, whether they are asked for anything or not: behind
    /// this, until all have heard of everything or have left the PoP.
    pub(super) fn tell_again(self: &Arc<Self>) {
        if !self.tier.unconfirmed.begin() {
            return;
        }
        let this = Arc::downgrade(self);
        drop(R::spawn(async move {
            let mut pause = TELL_AGAIN_FIRST;
            loop {
                R::sleep(pause).await;
                pause = pause.saturating_mul(2).min(TELL_AGAIN_MAX);
                // Without a cache there is nothing to be told for.
                let Some(this) = this.upgrade() else { return };
                if this.tell_all_again().await {
                    return;
                }
            }
        }));
    }

    /// One round of that. Answers whether it was the last.
    async fn tell_all_again(&self) -> bool {
        let unconfirmed = &self.tier.unconfirmed;
        let others = self.tier.others();
        let all: Vec<NodeId> = others.iter().map(|(node, _reachable)| *node).collect();
        unconfirmed.retain(&all);
        let mut left = unconfirmed.nodes();
        left.retain(|node| others.contains(&(*node, true)));
        self.have_all_forgotten(left, None).await;
        unconfirmed.end()
    }
}
