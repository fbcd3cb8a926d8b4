//! What the meta group holds.

#[cfg(test)]
mod tests;

use std::collections::BTreeMap;

use hexpop_edge_config::ShardId;
use serde::{Deserialize, Serialize};

use super::{
    ClusterSecret, MetaOp, MetaOutcome, Operation, OperationId, OperationKind, OperationState,
    OperationStep, OperationUpdate,
};
use crate::{
    MapError, Merge, PlacementPolicy, Replica, ShardDescriptor, ShardMap, refusal::Refusal,
};

/// How many operations are remembered, running ones included.
pub const OPERATIONS_MAX: usize = 256;

/// The most shard ids that one command takes.
const ALLOCATE_MAX: u32 = 1024;

/// The most descriptors in one command.
const DESCRIPTORS_MAX: usize = 100_000;

/// The most bytes of a text in an operation; longer ones are cut.
const TEXT_MAX: usize = 512;

/// The most territories with a policy of their own.
const TERRITORIES_MAX: usize = 10_000;

/// The state of the meta group. `Default` is that before the bootstrap.
#[derive(Debug, Clone, Default)]
pub struct MetaState {
    map: ShardMap,
    next_shard: u64,
    secret: Option<ClusterSecret>,
    policy: Option<PlacementPolicy>,
    operations: BTreeMap<OperationId, Operation>,
    last_operation: OperationId,
    purge_voters: Vec<Replica>,
}

/// One unit of a snapshot.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) enum MetaItem {
    /// Everything but the operations.
    Base {
        map: ShardMap,
        next_shard: u64,
        secret: Option<ClusterSecret>,
        policy: Option<PlacementPolicy>,
        last_operation: OperationId,
    },
    /// An operation.
    Operation(Operation),
    /// The first voters of the purge group.
    PurgeVoters(Vec<Replica>),
}

impl MetaOp {
    /// Checks what does not depend on the state; see [`SessionOp::check`](crate::SessionOp::check).
    ///
    /// # Errors
    /// The [`Refusal`] that applying it would answer.
    pub fn check(&self) -> Result<(), Refusal> {
        let (descriptors, policy) = match self {
            Self::Bootstrap { descriptors, policy, .. } => (descriptors.len(), Some(policy)),
            Self::Report { descriptors } => (descriptors.len(), None),
            Self::SetPolicy(policy) => (0, Some(policy)),
            Self::AllocateIds { count } if !(1..=ALLOCATE_MAX).contains(count) => {
                return Err(Refusal::Invalid(format!(
                    "a command takes 1 to {ALLOCATE_MAX} shard ids, not {count}"
                )));
            }
            Self::AllocateIds { .. }
            | Self::BeginOperation { .. }
            | Self::UpdateOperation { .. } => (0, None),
            Self::FoundPurges { voters } => (voters.len(), None),
            Self::ReportMerged { .. } => (1, None),
        };
        if descriptors > DESCRIPTORS_MAX {
            return Err(Refusal::Invalid(format!(
                "a command takes at most {DESCRIPTORS_MAX} descriptors, not {descriptors}"
            )));
        }
        match policy.map(|policy| policy.territories.len()) {
            Some(count) if count > TERRITORIES_MAX => Err(Refusal::Invalid(format!(
                "a policy names at most {TERRITORIES_MAX} territories, not {count}"
            ))),
            _ => Ok(()),
        }
    }
}

impl MetaState {
    /// Applies `op` when the group's time is `now_ms`.
    ///
    /// # Errors
    /// [`Refusal`] when a limit would be exceeded; nothing changed then.
    pub fn apply(&mut self, op: &MetaOp, now_ms: u64) -> Result<MetaOutcome, Refusal> {
        op.check()?;
        Ok(match op {
            MetaOp::Bootstrap { descriptors, secret, policy } => {
                self.bootstrap(descriptors, *secret, policy)
            }
            _ if self.map.is_empty() => MetaOutcome::NotBootstrapped,
            MetaOp::Report { descriptors } => self.report(descriptors),
            MetaOp::AllocateIds { count } => {
                let first = self.next_shard;
                self.next_shard = first
                    .checked_add(u64::from(*count))
                    .ok_or_else(|| Refusal::Limit("all shard ids are used".into()))?;
                MetaOutcome::Allocated { first: ShardId(first), count: *count }
            }
            MetaOp::SetPolicy(policy) => {
                self.policy = Some(policy.clone());
                MetaOutcome::PolicySet
            }
            MetaOp::BeginOperation { kind, shard, reason } => {
                self.begin_operation(kind, *shard, reason, now_ms)?
            }
            MetaOp::UpdateOperation { id, update } => self.update_operation(*id, update, now_ms),
            MetaOp::ReportMerged { shard, absorbed } => {
                let told = self.map.report_merged(shard.clone(), *absorbed);
                let refused = told.as_ref().err().map(|error| (shard.id, error.clone()));
                MetaOutcome::Reported {
                    newer: u32::from(told.unwrap_or_default()),
                    map_version: self.map.version(),
                    refused: refused.into_iter().collect(),
                }
            }
            MetaOp::FoundPurges { voters } => {
                if self.purge_voters.is_empty() {
                    self.purge_voters.clone_from(voters);
                }
                MetaOutcome::PurgesFounded
            }
        })
    }

    /// The shard map; empty before the bootstrap.
    #[must_use]
    pub const fn map(&self) -> &ShardMap {
        &self.map
    }

    /// The cluster's secret; `None` before the bootstrap.
    #[must_use]
    pub const fn secret(&self) -> Option<&ClusterSecret> {
        self.secret.as_ref()
    }

    /// The placement policy; `None` before the bootstrap.
    #[must_use]
    pub const fn policy(&self) -> Option<&PlacementPolicy> {
        self.policy.as_ref()
    }

    /// The first voters of the purge group; none before it is founded. Who votes in it now is in its own
    /// log.
    #[must_use]
    pub fn purge_voters(&self) -> &[Replica] {
        &self.purge_voters
    }

    /// The operations that are remembered, oldest first.
    pub fn operations(&self) -> impl Iterator<Item = &Operation> {
        self.operations.values()
    }

    /// An operation by its number.
    #[must_use]
    pub fn operation(&self, id: OperationId) -> Option<&Operation> {
        self.operations.get(&id)
    }

    /// Everything, in an order that depends on the content alone.
    pub(crate) fn items(&self) -> impl Iterator<Item = MetaItem> {
        let base = MetaItem::Base {
            map: self.map.clone(),
            next_shard: self.next_shard,
            secret: self.secret,
            policy: self.policy.clone(),
            last_operation: self.last_operation,
        };
        let founded = !self.purge_voters.is_empty();
        let voters = founded.then(|| MetaItem::PurgeVoters(self.purge_voters.clone()));
        let operations = self.operations.values().cloned().map(MetaItem::Operation);
        std::iter::once(base).chain(operations).chain(voters)
    }

    /// Takes one item of a snapshot.
    pub(crate) fn restore(&mut self, item: MetaItem) {
        match item {
            MetaItem::Base { map, next_shard, secret, policy, last_operation } => {
                self.map = map;
                self.next_shard = next_shard;
                self.secret = secret;
                self.policy = policy;
                self.last_operation = last_operation;
            }
            MetaItem::Operation(operation) => {
                self.operations.insert(operation.id, operation);
            }
            MetaItem::PurgeVoters(voters) => self.purge_voters = voters,
        }
    }

    fn bootstrap(
        &mut self,
        descriptors: &[ShardDescriptor],
        secret: ClusterSecret,
        policy: &PlacementPolicy,
    ) -> MetaOutcome {
        if !self.map.is_empty() {
            return MetaOutcome::AlreadyBootstrapped { map_version: self.map.version() };
        }
        // The numbers of the other groups are no shard's.
        if let Some(odd) = descriptors.iter().find(|descriptor| !descriptor.id.is_of_shard()) {
            return MetaOutcome::InvalidMap(MapError::ReusedId(odd.id));
        }
        let highest = descriptors.iter().map(|descriptor| descriptor.id.0).max();
        match ShardMap::create(descriptors.to_vec()) {
            Err(error) => MetaOutcome::InvalidMap(error),
            Ok(map) => {
                self.next_shard = highest.map_or(1, |id| id.saturating_add(1));
                self.map = map;
                self.secret = Some(secret);
                self.policy = Some(policy.clone());
                MetaOutcome::Bootstrapped { map_version: self.map.version() }
            }
        }
    }

    fn report(&mut self, descriptors: &[ShardDescriptor]) -> MetaOutcome {
        // Together, since a changed range comes with what split off; else each for itself.
        let (newer, refused) = match self.map.report(descriptors.to_vec()) {
            Ok(newer) => (newer, Vec::new()),
            Err(_) => {
                let (mut newer, mut refused) = (0_u32, Vec::new());
                for descriptor in descriptors {
                    match self.map.report(vec![descriptor.clone()]) {
                        Ok(more) => newer = newer.saturating_add(more),
                        Err(error) => refused.push((descriptor.id, error)),
                    }
                }
                (newer, refused)
            }
        };
        MetaOutcome::Reported { newer, map_version: self.map.version(), refused }
    }

    fn begin_operation(
        &mut self,
        kind: &OperationKind,
        shard: ShardId,
        reason: &str,
        now_ms: u64,
    ) -> Result<MetaOutcome, Refusal> {
        if let Err(why) = self.check_operation(kind, shard) {
            return Ok(MetaOutcome::OperationInvalid(why));
        }
        let running = |operation: &&Operation| operation.state.is_running();
        let right = match kind {
            OperationKind::Merge(merge) => merge.right,
            _ => shard,
        };
        let is_meant =
            |operation: &&Operation| operation.concerns(shard) || operation.concerns(right);
        if let Some(busy) = self.operations.values().filter(is_meant).find(running) {
            return Ok(MetaOutcome::OperationBusy(busy.id));
        }
        if self.operations.len() >= OPERATIONS_MAX {
            let oldest_ended = self.operations.values().find(|operation| !running(operation));
            let Some(id) = oldest_ended.map(|operation| operation.id) else {
                return Err(Refusal::Limit(format!("{OPERATIONS_MAX} operations are running")));
            };
            self.operations.remove(&id);
        }
        let id = OperationId(self.last_operation.0.saturating_add(1));
        self.last_operation = id;
        let operation = Operation {
            id,
            kind: kind.clone(),
            shard,
            reason: cut(reason),
            state: OperationState::Running,
            steps: vec![OperationStep { name: "recorded".into(), at_ms: now_ms }],
            started_ms: now_ms,
            finished_ms: None,
        };
        self.operations.insert(id, operation);
        Ok(MetaOutcome::OperationBegun(id))
    }

    /// Whether an operation can be begun at all. The id of a child is one that was allocated, and that no
    /// shard and no other operation has.
    fn check_operation(&self, kind: &OperationKind, shard: ShardId) -> Result<(), String> {
        let no_shard = || format!("there is no shard {shard}");
        let split = match kind {
            OperationKind::Split(split) => split,
            OperationKind::Merge(merge) => {
                let known = self.map.get(shard).ok_or_else(no_shard)?;
                return self.check_merge(merge, known);
            }
            _ => return Ok(()),
        };
        let child = split.child;
        let known = self.map.get(shard).ok_or_else(no_shard)?;
        let named = self.operations.values().any(|operation| {
            matches!(&operation.kind, OperationKind::Split(other) if other.child == child)
        });
        if child.0 >= self.next_shard || self.map.was_used(child) || named {
            return Err(format!("{child} was not allocated for a new shard"));
        }
        split.check(shard, &known.range).map_err(|refusal| refusal.to_string())
    }

    /// Whether the two are neighbours that may be one, as the operation has them.
    fn check_merge(&self, merge: &Merge, left: &ShardDescriptor) -> Result<(), String> {
        let Some(right) = self.map.get(merge.right) else {
            return Err(format!("there is no shard {}", merge.right));
        };
        if Merge::of(right) != *merge {
            return Err(format!("shard {} has changed its range meanwhile", merge.right));
        }
        merge.check(left.id, &left.range).map_err(|refusal| refusal.to_string())
    }

    fn update_operation(
        &mut self,
        id: OperationId,
        update: &OperationUpdate,
        now_ms: u64,
    ) -> MetaOutcome {
        let Some(operation) = self.operations.get_mut(&id) else {
            return MetaOutcome::OperationUnknown;
        };
        if !operation.state.is_running() {
            return MetaOutcome::OperationEnded;
        }
        match update {
            OperationUpdate::Step { name } => {
                if operation.steps.len() >= Operation::STEPS_MAX {
                    operation.steps.remove(0);
                }
                operation.steps.push(OperationStep { name: cut(name), at_ms: now_ms });
            }
            OperationUpdate::Commit => match operation.state {
                OperationState::Reverting { .. } => return MetaOutcome::OperationReverting,
                _ => operation.state = OperationState::Committing,
            },
            OperationUpdate::Finished(state) if state.is_running() => {}
            OperationUpdate::Reverted => {
                operation.state = match &operation.state {
                    OperationState::Reverting { error: Some(error) } => {
                        OperationState::Failed { error: error.clone() }
                    }
                    _ => OperationState::Cancelled,
                };
                operation.finished_ms = Some(now_ms);
            }
            OperationUpdate::Finished(OperationState::Cancelled)
                if operation.state == OperationState::Committing =>
            {
                return MetaOutcome::OperationCommitted;
            }
            // What it began in the shards is undone first.
            OperationUpdate::Finished(
                ended @ (OperationState::Cancelled | OperationState::Failed { .. }),
            ) if matches!(operation.kind, OperationKind::Merge(_)) => {
                if !matches!(operation.state, OperationState::Reverting { .. }) {
                    let error = match ended {
                        OperationState::Failed { error } => Some(cut(error)),
                        _ => None,
                    };
                    operation.state = OperationState::Reverting { error };
                }
            }
            OperationUpdate::Finished(state) => {
                operation.state = match state {
                    OperationState::Failed { error } => {
                        OperationState::Failed { error: cut(error) }
                    }
                    other => other.clone(),
                };
                operation.finished_ms = Some(now_ms);
            }
        }
        MetaOutcome::OperationUpdated
    }
}

fn cut(text: &str) -> String {
    let mut end = text.len().min(TEXT_MAX);
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    text.get(..end).unwrap_or_default().to_owned()
}
