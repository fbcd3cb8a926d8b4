//! Groups that come into being here because another one divides.
//!
//! A replica that applies a split writes the child's snapshot and then adds the child to the write-ahead
//! log, with a vote of the split's term and its log beginning behind the split: with that record the child
//! exists, before it nothing does ([`fork`](crate::machine)). Here it is started, without the silence that
//! a replica keeps after other starts: nobody here ever promised anything in it. Where the shard that
//! divided is led, the child's replica stands for election at once, and again until somebody leads, since
//! the others can only vote once they have applied the split too.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use hexpop_edge_config::{
    GroupId, RaftId, codec,
    planted::{self, Bug},
};
use hexpop_shard::{ShardDescriptor, ShardMap};
use openraft::{AsyncRuntime, Instant as _};
use parking_lot::Mutex;
use tokio::sync::Notify;

use super::{
    Birth,
    inner::{Inner, Slot},
};
use crate::{group::Group, supervisor::fetch_wanted};

/// How long before those who are born are looked for without being told of.
const PAUSE: Duration = Duration::from_secs(5);

/// How long a child is stood for, in election timeouts.
const ELECTIONS: u32 = 20;

/// Children that are durable here and do not run yet, with the group that divided.
#[derive(Debug, Default)]
pub(crate) struct Births {
    waiting: Mutex<BTreeMap<GroupId, GroupId>>,
    wake: Notify,
    /// The newest map known.
    map: Mutex<Arc<ShardMap>>,
}

impl Births {
    /// A child of `parent` is durable.
    pub(crate) fn add(&self, child: GroupId, parent: GroupId) {
        self.waiting.lock().insert(child, parent);
        self.wake.notify_one();
    }

    pub(crate) const fn wake(&self) -> &Notify {
        &self.wake
    }

    /// There is a newer map.
    pub(crate) fn learn(&self, map: Arc<ShardMap>) {
        *self.map.lock() = map;
    }

    /// Whether a shard is known to have moved on to other data directories than this one: who comes to
    /// the split late has no part in it any more, nor in what may have been erased from it since. So with
    /// one that was absorbed since.
    pub(crate) fn is_elsewhere(&self, child: GroupId, own: RaftId) -> bool {
        let map = self.map.lock();
        if map.get(child).is_none() && map.was_used(child) {
            return true;
        }
        map.get(child).is_some_and(|shard| shard.replicas.iter().all(|known| known.raft != own))
    }
}

impl<R: AsyncRuntime> Inner<R> {
    /// Starts the children that wait, and has fetched what shards here are to absorb.
    pub(crate) async fn start_births(self: Arc<Self>) -> Duration {
        fetch_wanted(&self);
        let born = std::mem::take(&mut *self.births.waiting.lock());
        for (child, parent) in born {
            let about = self.wal.groups().into_iter().find(|(id, _about)| *id == child);
            match about.map(|(_id, about)| codec::decode::<Birth>(&about)) {
                Some(Ok(birth)) => {
                    tracing::info!(%parent, %child, "a shard has divided");
                    self.metrics.splits.inc();
                    self.start_newborn(child, birth).await;
                    self.stand_for(child, parent);
                }
                Some(Err(error)) => self.fail(child, format!("its birth record: {error}")),
                // It was left again before it was started.
                None => {}
            }
        }
        PAUSE
    }

    /// Has the child elected whose parent is led here.
    fn stand_for(self: &Arc<Self>, child: GroupId, parent: GroupId) {
        let leads = |id| self.group(id).is_some_and(|group| group.leads());
        let Some(group) = self.group(child).filter(|_child| leads(parent)) else { return };
        let inner = Arc::clone(self);
        drop(R::spawn(async move {
            // The others apply the split when they hear that it is committed.
            if let Some(parent) = inner.group(parent) {
                parent.raft.trigger().heartbeat().await.ok();
            }
            let until = R::Instant::now() + inner.options.election_max * ELECTIONS;
            while group.leader().is_none()
                && group.fault().is_none()
                && !inner.is_closing()
                && R::Instant::now() < until
            {
                if group.raft.trigger().elect(true).await.is_err() {
                    return;
                }
                let round = R::Instant::now() + inner.options.heartbeat;
                group.until(round, || group.leader().is_some()).await;
            }
        }));
    }

    /// The shards that split off those here and that the map does not have yet, for want of a quorum of
    /// their replicas.
    ///
    /// Who got its state in a snapshot never applies the split, so that no child is born of it here: it
    /// creates the child empty, and its leader sends the rest. Without that, a child with one replica that
    /// applied the split, one that did not and one whose disk was lost after it had would never have a
    /// leader, and what was acknowledged would be out of reach.
    pub(crate) fn unreported_children(&self) -> Vec<ShardDescriptor> {
        if planted::has(Bug::ChildByMapOnly) {
            return Vec::new();
        }
        let map = self.map();
        let of = |group: &Arc<Group<R>>| -> Vec<ShardDescriptor> {
            let known = map.get(group.id).map_or(0, |shard| shard.epoch.version);
            let children: Vec<ShardDescriptor> = {
                let state = group.replica.state();
                let children = state.children().iter().map(|child| &child.descriptor);
                children.filter(|child| child.epoch.version > known).cloned().collect()
            };
            // The state is divided a moment before the child is durable; looked at in that order.
            if group.replica.is_forking() { Vec::new() } else { children }
        };
        let mut children: Vec<ShardDescriptor> = self.running().iter().flat_map(of).collect();
        children.retain(|child| !map.was_used(child.id) && self.wal.group(child.id).is_none());
        children
    }

    /// Whether a group that has a place here may still divide so that this shard comes into being here, as
    /// far as its own log tells: then the shard is not created empty, which nobody could fill if that
    /// group's other replicas were gone.
    pub(crate) fn may_be_born(&self, shard: &ShardDescriptor) -> bool {
        let groups = self.groups.read();
        let unknown: Vec<GroupId> = groups
            .iter()
            .filter(|(id, _slot)| **id != shard.id && id.is_of_shard())
            .filter_map(|(id, slot)| match slot {
                Slot::Running(group) => {
                    let state = group.replica.state();
                    let covers = state.range().is_some_and(|range| range.overlaps(&shard.range));
                    covers.then_some(*id)
                }
                Slot::Starting | Slot::Failed(_) | Slot::Leaving => Some(*id),
            })
            .collect();
        let running = |id: &GroupId| matches!(groups.get(id), Some(Slot::Running(_)));
        if unknown.iter().any(running) {
            return true;
        }
        // What is not running is asked for the range that it began with.
        let abouts = self.wal.groups().into_iter().filter(|(id, _about)| unknown.contains(id));
        abouts
            .filter_map(|(_id, about)| codec::decode::<Birth>(&about).ok()?.shard)
            .any(|birth| birth.range.overlaps(&shard.range))
    }

    /// The last entry that the log of a group may be purged up to, if there is a bound: from a split on it
    /// stays until the map has both halves, which it has once a quorum of the child's replicas has the
    /// child. Until then a replica that has not applied the split must get it from a log.
    pub(crate) fn purge_limit(&self, group: &Group<R>) -> Option<u64> {
        let state = group.replica.state();
        let children = state.children();
        if children.is_empty() {
            return None;
        }
        let known = self.map().get(group.id).map_or(0, |shard| shard.epoch.version);
        let unknown = children.iter().filter(|child| child.descriptor.epoch.version > known);
        unknown.map(|child| child.position.index.saturating_sub(1)).min()
    }
}
