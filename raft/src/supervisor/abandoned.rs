//! Merges that nobody carries on: the two shards undo them by themselves.
//!
//! A merge is driven by the leader of the meta group. While that has no quorum nobody does, and the right shard,
//! sealed, would take no writes for as long; but no request waits for the meta group. So the leader of the left
//! shard cancels, and that of the right one, whose node has a replica of the left one, takes the seal off once
//! that replica has applied the end of the operation. What is asked of them later finds it over, and the
//! operation is undone as any other.

use std::sync::Arc;

use hexpop_shard::{MERGE_OPEN_MAX_MS, MergeOp, Op, OperationId};
use openraft::AsyncRuntime;

use super::merge::COMMIT;
use crate::{group::Group, host::Inner};

/// How long a merge may be open before it counts as carried on by nobody, in milliseconds of group time. Whoever
/// carries it on gives it up sooner, unless it is about to be absorbed.
const ABANDONED_MS: u64 = 3 * MERGE_OPEN_MAX_MS;

/// What a replica of the left shard knows of merges that are over.
#[derive(Debug, Clone, Copy)]
struct Over {
    /// The last one that it closed.
    closed: OperationId,
    /// The last one that it absorbed a shard in.
    absorbed: Option<OperationId>,
}

/// What a leader undoes at `now_ms`: with its own merge open since a time, or sealed for one, of which `over` is
/// what the left shard's replica here knows, if there is one.
fn due(
    open: Option<(OperationId, u64)>,
    sealed: Option<(OperationId, Option<Over>)>,
    now_ms: u64,
) -> Option<MergeOp> {
    match (open, sealed) {
        (Some((operation, at_ms)), _) if now_ms > at_ms.saturating_add(ABANDONED_MS) => {
            Some(MergeOp::Cancel { operation })
        }
        // What the left shard closed last and did not absorb, it never will. Of what it closed before that, only the
        // leader of the meta group knows how it ended.
        (_, Some((operation, Some(over))))
            if over.closed == operation && over.absorbed != Some(operation) =>
        {
            Some(MergeOp::Unseal { operation })
        }
        _ => None,
    }
}

/// As the leader of a shard that is being merged, at whichever end.
pub(super) async fn undo<R: AsyncRuntime>(inner: &Arc<Inner<R>>, group: &Arc<Group<R>>) {
    let (open, sealed, epoch) = {
        let state = group.replica.state();
        let open = state.open_merge().map(|open| (open.operation, open.at_ms));
        (open, state.sealed_for().copied(), state.epoch())
    };
    let sealed = sealed.map(|sealed| {
        let over = inner.group(sealed.left).map(|left| {
            let state = left.replica.state();
            let absorbed = state.absorbed().map(|it| it.operation);
            Over { closed: state.merges_closed(), absorbed }
        });
        (sealed.operation, over)
    });
    let Some(op) = due(open, sealed, inner.clock.wall_ms()) else { return };
    match inner.propose(group.id, epoch, None, Op::Merge(op.clone()), COMMIT).await {
        Ok(_) => tracing::info!(group = %group.id, ?op, "a merge that nobody carries on is undone"),
        Err(error) => tracing::debug!(group = %group.id, ?op, %error, "a merge is not undone yet"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const IT: OperationId = OperationId(7);

    #[test]
    fn a_merge_is_cancelled_once_it_is_open_for_too_long() {
        let open = Some((IT, 1_000));
        assert_eq!(due(open, None, 1_000 + ABANDONED_MS), None);
        assert_eq!(due(open, None, 1_001 + ABANDONED_MS), Some(MergeOp::Cancel { operation: IT }));
        // A clock that was set back, and a time at the end of all times.
        assert_eq!(due(open, None, 0), None);
        assert_eq!(due(Some((IT, u64::MAX)), None, u64::MAX), None);
        assert_eq!(due(None, None, u64::MAX), None);
    }

    #[test]
    fn a_seal_comes_off_only_where_the_left_shard_has_given_up_the_same_merge_last() {
        let over = |closed, absorbed: Option<u64>| {
            let over = Over { closed: OperationId(closed), absorbed: absorbed.map(OperationId) };
            due(None, Some((IT, Some(over))), 0)
        };
        let unseal = Some(MergeOp::Unseal { operation: IT });
        assert_eq!(over(7, None), unseal);
        assert_eq!(over(7, Some(6)), unseal, "another one was absorbed before");
        assert_eq!(over(7, Some(7)), None, "it was absorbed");
        assert_eq!(over(6, None), None, "it goes on, for all that is known here");
        assert_eq!(over(8, Some(8)), None, "how it ended is not known here any more");
        assert_eq!(due(None, Some((IT, None)), 0), None, "nothing is known here");
        // Its own merge that is not open for long keeps no seal on.
        let over = Over { closed: IT, absorbed: None };
        assert_eq!(due(Some((OperationId(9), 0)), Some((IT, Some(over))), 0), unseal);
    }
}
