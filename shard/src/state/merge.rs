//! The state of a shard that is taken into its neighbour, and of one that takes it in; see
//! [`crate::merge`].

#[cfg(test)]
mod tests;

use hexpop_edge_config::{
    Epoch,
    planted::{self, Bug},
};

use super::{Body, ShardState};
use crate::{
    Command, LogPosition, Op, OperationId, Reply,
    listings::DocumentStore,
    merge::{
        AbsorbError, Absorbed, Merge, MergeOp, MergeOutcome, MergeState, OpenMerge, RightSight,
        SealMark, SealedFor,
    },
    refusal::Refusal,
    requests::RequestMemory,
};

impl ShardState {
    /// What the shard is to absorb.
    #[must_use]
    pub const fn open_merge(&self) -> Option<&OpenMerge> {
        self.merge.open.as_ref()
    }

    /// No operation up to this one absorbs anything here any more.
    #[must_use]
    pub const fn merges_closed(&self) -> OperationId {
        self.merge.closed
    }

    /// What the shard absorbed last.
    #[must_use]
    pub const fn absorbed(&self) -> Option<&Absorbed> {
        self.merge.absorbed.as_ref()
    }

    /// Why the shard takes no writes, if that is so. It answers no strong reads either then: the
    /// neighbour may take writes for its keys already.
    #[must_use]
    pub const fn sealed_for(&self) -> Option<&SealedFor> {
        self.merge.sealed.as_ref()
    }

    /// Whether a merge is under way here, at whichever end: then neither divides, nor changes its replicas.
    #[must_use]
    pub const fn is_merging(&self) -> bool {
        self.merge.open.is_some() || self.merge.sealed.is_some()
    }

    /// What whoever drives a merge sees of the shard as the right one.
    #[must_use]
    pub const fn as_right(&self) -> RightSight {
        let (sealed, unsealed) = (self.merge.sealed, self.merge.unsealed);
        RightSight { version: self.epoch.version, sealed, unsealed }
    }

    /// No operation up to this one seals the shard any more.
    #[must_use]
    pub const fn merges_unsealed(&self) -> OperationId {
        self.merge.unsealed
    }

    /// What has to be at hand before the command of `position` is applied: the state of the neighbour
    /// behind its seal. It goes to [`apply_absorbing`](Self::apply_absorbing) then; `None` =
    /// [`apply_among`](Self::apply_among) applies the entry.
    #[must_use]
    pub fn absorbs(
        &self,
        position: LogPosition,
        command: &Command,
    ) -> Option<(&OpenMerge, SealMark)> {
        let Op::Merge(MergeOp::Absorb { operation, seal }) = &command.op else { return None };
        let is_new = position.index > self.applied.index;
        let fits = command.epoch.version == self.epoch.version;
        let open = self.merge.open.as_ref().filter(|open| open.operation == *operation)?;
        (is_new && fits).then_some((open, *seal))
    }

    /// Applies the entry at `position`, which absorbs `right`, whose documents are in `from`.
    ///
    /// It may be refused, alike by every replica: then neither state has changed for it.
    ///
    /// # Errors
    /// [`AbsorbError`]: the state that was brought is not the one. The entry is not applied.
    pub fn apply_absorbing(
        &mut self,
        position: LogPosition,
        command: &Command,
        right: Self,
        from: &dyn DocumentStore,
        documents: &mut dyn DocumentStore,
    ) -> Result<Reply, AbsorbError> {
        let Some((open, seal)) = self.absorbs(position, command) else {
            return Err(AbsorbError::NotDue(position));
        };
        let open = open.clone();
        let is_it = right.shard == open.merge.right
            && right.applied == seal.at
            && right.merge.sealed.is_some_and(|sealed| {
                let meant = (sealed.operation, sealed.left, sealed.seal);
                meant == (open.operation, self.shard, seal)
            })
            && right.seal_hash() == seal.hash;
        if !is_it {
            let (shard, at) = (right.shard, right.applied);
            return Err(AbsorbError::AnotherState { operation: open.operation, shard, at });
        }
        self.applied = position;
        self.group_time_ms = self.group_time_ms.max(command.at_ms);
        let reply = match self.obstacle(&open.merge, &right) {
            Some(why) => Reply::Refused(Refusal::Unfit(why)),
            None => self.absorb(position, &open, right, from, documents),
        };
        self.requests.forget_due(self.group_time_ms);
        self.expire_due();
        Ok(reply)
    }

    /// What a merge that is under way keeps from being done.
    pub(super) fn check_merging(&self, op: &Op) -> Result<(), Refusal> {
        let passes = matches!(op, Op::Tick | Op::Merge(_));
        if self.merge.sealed.is_some() && !passes && !planted::has(Bug::SealedTakesWrites) {
            return Err(Refusal::Sealed { shard: self.shard });
        }
        if self.merge.open.is_some() && matches!(op, Op::Split(_)) {
            return Err(Refusal::Merging { shard: self.shard });
        }
        Ok(())
    }

    /// Checks a step of a merge as applying it will.
    pub(super) fn check_merge(&self, op: &MergeOp) -> Result<(), Refusal> {
        let over = |operation: &OperationId| Err(Refusal::MergeOver { operation: *operation });
        let known = &self.merge;
        match op {
            MergeOp::Prepare { operation, merge } => {
                match &known.open {
                    Some(open) if open.operation == *operation => return Ok(()),
                    Some(_) => return Err(Refusal::Merging { shard: self.shard }),
                    None if *operation <= known.closed => return over(operation),
                    None => {}
                }
                // It is the right one of another merge.
                if known.sealed.is_some() {
                    return Err(Refusal::Sealed { shard: self.shard });
                }
                let range = self.range.as_ref().ok_or(Refusal::WrongKind)?;
                merge.check(self.shard, range)
            }
            MergeOp::Seal { operation, .. } => match &known.sealed {
                Some(sealed) if sealed.operation == *operation => Ok(()),
                Some(_) => Err(Refusal::Sealed { shard: self.shard }),
                None if *operation <= known.unsealed => over(operation),
                // It is the left one of another merge.
                None if known.open.is_some() => Err(Refusal::Merging { shard: self.shard }),
                None => Ok(()),
            },
            MergeOp::Absorb { operation, .. } => {
                let is_open = known.open.as_ref().is_some_and(|it| it.operation == *operation);
                let is_done = known.absorbed.is_some_and(|it| it.operation == *operation);
                if is_open || is_done { Ok(()) } else { over(operation) }
            }
            MergeOp::Cancel { .. } | MergeOp::Unseal { .. } => Ok(()),
        }
    }

    /// Applies a step of a merge that is checked, but for what absorbs.
    ///
    /// # Errors
    /// A [`Refusal`]; nothing changed then.
    pub(super) fn merge(&mut self, op: &MergeOp) -> Result<MergeOutcome, Refusal> {
        match op {
            MergeOp::Prepare { operation, merge } => {
                let (operation, merge) = (*operation, merge.clone());
                self.merge.open = Some(OpenMerge { operation, merge, at_ms: self.group_time_ms });
                Ok(MergeOutcome::Prepared)
            }
            MergeOp::Seal { operation, left } => {
                // The hash is that of the state behind the entry, which what is due is gone from.
                let seal = SealMark { at: self.applied, hash: 0 };
                let new = SealedFor { operation: *operation, left: *left, seal };
                let seal = self.merge.sealed.get_or_insert(new).seal;
                Ok(MergeOutcome::Sealed(seal))
            }
            // What is open goes to `apply_absorbing`.
            MergeOp::Absorb { operation, .. } => match &self.range {
                Some(range) if self.merge.open.is_none() => {
                    Ok(MergeOutcome::Absorbed { range: range.clone(), epoch: self.epoch })
                }
                Some(_) | None => Err(Refusal::MergeOver { operation: *operation }),
            },
            MergeOp::Cancel { operation } => {
                let known = &mut self.merge;
                if known.absorbed.is_some_and(|absorbed| absorbed.operation == *operation) {
                    return Err(Refusal::MergeOver { operation: *operation });
                }
                if !planted::has(Bug::AbsorbAfterCancel) {
                    known.open.take_if(|open| open.operation <= *operation);
                }
                known.closed = known.closed.max(*operation);
                Ok(MergeOutcome::Cancelled)
            }
            MergeOp::Unseal { operation } => {
                let known = &mut self.merge;
                known.sealed.take_if(|sealed| sealed.operation <= *operation);
                known.unsealed = known.unsealed.max(*operation);
                Ok(MergeOutcome::Unsealed)
            }
        }
    }

    /// A reply at the end of an entry: what has been sealed is hashed now.
    pub(super) fn marked(&mut self, reply: Reply) -> Reply {
        let Reply::Merge(MergeOutcome::Sealed(seal)) = reply else { return reply };
        let is_new = seal.at == self.applied;
        let hash = if is_new { self.seal_hash() } else { seal.hash };
        let seal = SealMark { hash, ..seal };
        if let Some(sealed) = &mut self.merge.sealed {
            sealed.seal = seal;
        }
        Reply::Merge(MergeOutcome::Sealed(seal))
    }

    /// The hash of a sealed state, which its seal names, so that it is without it.
    fn seal_hash(&self) -> u64 {
        let mut merge = self.merge.clone();
        if let Some(sealed) = &mut merge.sealed {
            sealed.seal.hash = 0;
        }
        self.hash_knowing(&merge)
    }

    /// Why the two cannot be one now, in words.
    fn obstacle(&self, merge: &Merge, right: &Self) -> Option<String> {
        let is_as_begun = right.range.as_ref() == Some(&merge.range)
            && right.epoch.version == merge.version
            && self.range.as_ref().is_some_and(|range| merge.check(self.shard, range).is_ok());
        if !is_as_begun {
            return Some(format!(
                "shard {} is not what it was when the merge was begun",
                right.shard
            ));
        }
        match (&self.body, &right.body) {
            (Body::Listings(here), Body::Listings(there)) => here.obstacle(there),
            (Body::Sessions(here), Body::Sessions(there)) => here.obstacle(there),
            (Body::Directory(_), Body::Directory(_)) => None,
            (
                Body::Meta(_)
                | Body::Purges(_)
                | Body::Listings(_)
                | Body::Directory(_)
                | Body::Sessions(_),
                _,
            ) => Some(format!("shards {} and {} are of different kinds", self.shard, right.shard)),
        }
    }

    fn absorb(
        &mut self,
        position: LogPosition,
        open: &OpenMerge,
        right: Self,
        from: &dyn DocumentStore,
        documents: &mut dyn DocumentStore,
    ) -> Reply {
        let range = self
            .range
            .as_ref()
            .map_or_else(|| open.merge.range.clone(), |range| open.merge.union(range));
        let version = self.epoch.version.max(right.epoch.version).saturating_add(1);
        let epoch = Epoch { version, ..self.epoch };
        self.group_time_ms = self.group_time_ms.max(right.group_time_ms);
        let requests = match planted::has(Bug::MergeForgetsReplies) {
            true => RequestMemory::default(),
            false => right.requests,
        };
        self.requests.absorb(requests);
        match (&mut self.body, right.body) {
            (Body::Listings(here), Body::Listings(there)) => {
                here.absorb(position, *there, from, documents);
            }
            (Body::Directory(here), Body::Directory(there)) => here.absorb(*there),
            (Body::Sessions(here), Body::Sessions(there)) => {
                here.absorb(*there, right.shard, position.index);
                // What the replies name is in the snapshots of this shard from here on.
                self.requests.users().for_each(|user| here.name(user));
            }
            // Two kinds are an obstacle.
            (
                Body::Meta(_)
                | Body::Purges(_)
                | Body::Listings(_)
                | Body::Directory(_)
                | Body::Sessions(_),
                _,
            ) => {}
        }
        // Nothing is to be looked for in the other half of an earlier split any more.
        self.children.retain(|child| child.descriptor.id != right.shard);
        self.range = Some(range.clone());
        self.epoch = epoch;
        let operation = open.operation;
        self.merge = MergeState {
            open: None,
            closed: self.merge.closed.max(operation),
            absorbed: Some(Absorbed { operation, right: right.shard, position }),
            ..self.merge.clone()
        };
        Reply::Merge(MergeOutcome::Absorbed { range, epoch })
    }
}
