//! Merges that nobody carries on: the two shards undo them by themselves.
//!
//! A merge is driven by the leader of the meta group. While that has no quorum nobody does, and the right shard,
//! sealed, would take no writes for as long; but no request waits for the meta group. So the leader of the left
//! shard cancels, and that of the right one, whose node has a replica of the left one, takes the seal off once
//! that replica has applied the end of the operation. What is asked of them later finds it over, and the
//! operation is undone as any other.

use std::sync::Arc;

use hexpop_shard::{MERGE_OPEN_MAX_MS, MergeOp, Op};
use openraft::AsyncRuntime;

use super::merge::COMMIT;
use crate::{group::Group, host::Inner};

/// How long a merge may be open before it counts as carried on by nobody, in milliseconds of group time. Whoever
/// carries it on gives it up sooner, unless it is about to be absorbed.
const ABANDONED_MS: u64 = 3 * MERGE_OPEN_MAX_MS;

/// As the leader of a shard that is being merged, at whichever end.
pub(super) async fn undo<R: AsyncRuntime>(inner: &Arc<Inner<R>>, group: &Arc<Group<R>>) {
    let now_ms = inner.clock.wall_ms();
    let (open, sealed, epoch) = {
        let state = group.replica.state();
        let open = state.open_merge().map(|open| (open.operation, open.at_ms));
        (open, state.sealed_for().copied(), state.epoch())
    };
    let op = match (open, sealed) {
        (Some((operation, at_ms)), _) if now_ms > at_ms.saturating_add(ABANDONED_MS) => {
            MergeOp::Cancel { operation }
        }
        // What the left shard closed last and did not absorb, it never will. Of what it closed before that, only the
        // leader of the meta group knows how it ended.
        (_, Some(sealed)) => {
            let Some(left) = inner.group(sealed.left) else { return };
            let operation = sealed.operation;
            let is_cancelled = {
                let state = left.replica.state();
                let is_absorbed = state.absorbed().is_some_and(|it| it.operation == operation);
                state.merges_closed() == operation && !is_absorbed
            };
            if !is_cancelled {
                return;
            }
            MergeOp::Unseal { operation }
        }
        _ => return,
    };
    match inner.propose(group.id, epoch, None, Op::Merge(op.clone()), COMMIT).await {
        Ok(_) => tracing::info!(group = %group.id, ?op, "a merge that nobody carries on is undone"),
        Err(error) => tracing::debug!(group = %group.id, ?op, %error, "a merge is not undone yet"),
    }
}
