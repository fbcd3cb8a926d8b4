//! The state of a shard divided in two; see [`crate::split`].

#[cfg(test)]
pub(super) mod tests;

use hexpop_edge_config::{
    Epoch,
    planted::{self, Bug},
};

use super::{Body, ShardState};
use crate::{
    LogPosition, Reply,
    map::{Replica, ShardDescriptor},
    merge::MergeState,
    refusal::Refusal,
    requests::RequestMemory,
    split::{CHILDREN_MAX, Child, Split, halves},
};

impl ShardState {
    /// Divides the shard by the entry at `position`. `replicas`: who its members are there, `None` while
    /// they change from some to others. The child is handed out by [`take_fork`](Self::take_fork).
    ///
    /// # Errors
    /// A [`Refusal`]; nothing changed then.
    pub(super) fn split(
        &mut self,
        position: LogPosition,
        split: &Split,
        replicas: Option<&[Replica]>,
    ) -> Result<Reply, Refusal> {
        let range = self.range.clone().ok_or(Refusal::WrongKind)?;
        split.check(self.shard, &range)?;
        let replicas = replicas.ok_or(Refusal::MembersChange { shard: self.shard })?;
        let (left, right) = halves(&range, &split.at);
        let epoch = Epoch { version: self.epoch.version.saturating_add(1), ..self.epoch };
        let moves = |key: &crate::ShardKey| right.contains(key);
        let body = match &mut self.body {
            Body::Meta(_) | Body::Purges(_) => return Err(Refusal::WrongKind),
            Body::Listings(state) => {
                // The checks above are those of the cut.
                let part = state.cut(&split.at).ok_or(Refusal::WrongKey { shard: self.shard })?;
                Body::Listings(Box::new(part))
            }
            Body::Directory(state) => Body::Directory(Box::new(state.cut(split.at.point))),
            Body::Sessions(state) => Body::Sessions(Box::new(state.cut(&right, position.index))),
        };
        let requests = self.requests.divide(moves);
        let mut child = Self {
            shard: split.child,
            range: Some(right.clone()),
            epoch,
            applied: position,
            group_time_ms: self.group_time_ms,
            requests,
            body,
            children: Vec::new(),
            fork: None,
            merge: MergeState::default(),
        };
        if planted::has(Bug::SplitForgetsReplies) {
            child.requests = RequestMemory::default();
        }
        // What the replies name is in the child's first snapshot, and in the log that stays here.
        if let (Body::Sessions(here), Body::Sessions(there)) = (&mut self.body, &mut child.body) {
            for user in child.requests.users() {
                here.name(user);
                there.name(user);
            }
        }
        let descriptor =
            ShardDescriptor { id: split.child, range: right, epoch, replicas: replicas.to_vec() };
        self.range = Some(left);
        self.epoch = epoch;
        if self.children.len() >= CHILDREN_MAX {
            self.children.remove(0);
        }
        self.children.push(Child { descriptor: descriptor.clone(), position });
        self.fork = Some(Box::new(child));
        Ok(Reply::Split(Box::new(descriptor)))
    }

    /// The state of the child that the last entry made, once.
    ///
    /// Whoever applies entries has to take it before the next one, and make it durable before it says
    /// that the entry is applied.
    #[must_use = "the records are nowhere else"]
    pub fn take_fork(&mut self) -> Option<Self> {
        self.fork.take().map(|child| *child)
    }

    /// The shards that split off this one, oldest first; at most the latest 64.
    #[must_use]
    pub fn children(&self) -> &[Child] {
        &self.children
    }
}
