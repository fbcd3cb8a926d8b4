//! Which merges run, and how those went that are over.

use std::collections::{BTreeMap, BTreeSet};

use hexpop_edge_config::{GroupId, codec};
use hexpop_shard::{Command, LogPosition, MergeOp, Op, OperationId, OperationKind, ShardState};

use crate::sim::trace::Trace;

/// What is known of merges.
#[derive(Debug, Default)]
pub(in crate::sim) struct Merges {
    /// The newest state of the meta group that was seen, and what runs by it.
    seen: u64,
    open: Vec<OperationId>,
    /// The shards that are no more, and the entry that absorbed each.
    absorbed: BTreeMap<GroupId, (GroupId, LogPosition)>,
    closed: BTreeSet<OperationId>,
}

impl Merges {
    /// An entry was applied for the first time. One shard absorbs another one once.
    pub(super) fn applied(
        &mut self,
        trace: &Trace,
        group: GroupId,
        position: LogPosition,
        entry: &[u8],
        state: &ShardState,
    ) -> Result<(), String> {
        if let Some(meta) = state.as_meta() {
            if position.index > self.seen {
                self.seen = position.index;
                let running = meta.operations().filter(|operation| {
                    operation.state.is_running()
                        && matches!(operation.kind, OperationKind::Merge(_))
                });
                self.open = running.map(|operation| operation.id).collect();
            }
            return Ok(());
        }
        let Ok(Command { op: Op::Merge(op), .. }) = codec::decode(entry) else { return Ok(()) };
        match op {
            MergeOp::Seal { operation, .. } => {
                let is_new = state.sealed_for().is_some_and(|sealed| {
                    sealed.operation == operation && sealed.seal.at == position
                });
                trace.count("merges-sealed", u64::from(is_new));
            }
            MergeOp::Absorb { .. } => match state.absorbed() {
                Some(absorbed) if absorbed.position == position => {
                    trace.count("merges-absorbed", 1);
                    let before = self.absorbed.insert(absorbed.right, (group, position));
                    if let Some((by, at)) = before {
                        let right = absorbed.right;
                        return Err(format!(
                            "group {group} absorbs {right} at {position:?}, which {by} did at {at:?}"
                        ));
                    }
                }
                _ if state.open_merge().is_some() => trace.count("merges-unfit", 1),
                _ => {}
            },
            MergeOp::Cancel { operation } => {
                let is_new = state.merges_closed() == operation && self.closed.insert(operation);
                trace.count("merges-cancelled", u64::from(is_new));
            }
            MergeOp::Unseal { .. } => trace.count("merges-unsealed", 1),
            MergeOp::Prepare { .. } => {}
        }
        Ok(())
    }

    /// Whether another shard has absorbed this one.
    pub(super) fn is_absorbed(&self, group: GroupId) -> bool {
        self.absorbed.contains_key(&group)
    }

    /// The merges that run.
    pub(in crate::sim) fn open(&self) -> Vec<OperationId> {
        self.open.clone()
    }
}
