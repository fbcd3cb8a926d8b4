//! No invariant: which rare paths were taken, as seen in what is applied.

use std::collections::{BTreeMap, BTreeSet};

use hexpop_edge_config::{Epoch, GroupId, RaftId, RequestId, codec};
use hexpop_shard::{Command, MetaOp, Op, OperationState, OperationUpdate, ShardState};

use crate::sim::trace::Trace;

/// What was seen so far.
#[derive(Debug, Default)]
pub(in crate::sim) struct Paths {
    /// Processes that others reach.
    pub(super) serves: BTreeSet<RaftId>,
    requests: BTreeSet<(GroupId, RequestId)>,
    epochs: BTreeMap<GroupId, Epoch>,
}

impl Paths {
    /// An entry was applied for the first time.
    pub(super) fn applied(
        &mut self,
        trace: &Trace,
        group: GroupId,
        entry: &[u8],
        state: &ShardState,
    ) {
        let before = self.epochs.insert(group, state.epoch());
        if before.is_some_and(|before| before != state.epoch()) {
            trace.count("membership-changes", 1);
        }
        // Entries without a command are empty.
        let Ok(command) = codec::decode::<Command>(entry) else { return };
        if let Some(request) = command.request
            && !self.requests.insert((group, request))
        {
            trace.count("requests-proposed-again", 1);
        }
        if let (Op::Meta(MetaOp::Report { descriptors }), Some(meta)) =
            (&command.op, state.as_meta())
        {
            let is_old = |shard: &hexpop_shard::ShardDescriptor| {
                meta.map().get(shard.id).is_some_and(|known| shard.epoch < known.epoch)
            };
            let old = descriptors.iter().filter(|shard| is_old(shard)).count();
            trace.count("reports-of-old-epochs", old as u64);
        }
        if let Op::Meta(MetaOp::UpdateOperation { update, .. }) = &command.op
            && let OperationUpdate::Finished(OperationState::Failed { error }) = update
            && error.contains("residency forbids it")
        {
            trace.count("moves-abroad-refused", 1);
        }
    }
}
