//! A look over the shoulder of replicas: for the simulator, which checks what no single node can see.

use std::{fmt, sync::Arc};

use hexpop_edge_config::{GroupId, RaftId};
use hexpop_shard::{LogPosition, ShardState};

/// Is told what replicas do, at the moment at which they do it.
pub trait Observer: fmt::Debug + Send + Sync + 'static {
    /// A replica has applied the entry at `position`, whose content is `entry` (empty for entries
    /// without a command).
    fn applied(
        &self,
        raft: RaftId,
        group: GroupId,
        position: LogPosition,
        entry: &[u8],
        state: &ShardState,
    );

    /// A replica has taken over a snapshot.
    fn installed(&self, raft: RaftId, group: GroupId, state: &ShardState);

    /// A replica is about to tell a leader that it has the log up to `position`, durably.
    fn acknowledged(&self, raft: RaftId, group: GroupId, position: LogPosition);

    /// A replica is about to answer whether it grants its vote of `term` to `candidate`.
    fn voted(&self, raft: RaftId, group: GroupId, term: u64, candidate: RaftId, granted: bool);

    /// A replica's group was parked; it leads the group, or promised its leader to vote for nobody.
    fn slept(&self, raft: RaftId, group: GroupId, leads: bool);

    /// A leader read without asking its voters.
    fn read_by_lease(&self);

    /// A data directory is about to destroy what it has of a group, of which it is no replica any more.
    fn left(&self, raft: RaftId, group: GroupId);
}

/// Who looks at one replica, if anybody does.
#[derive(Debug, Clone, Default)]
pub(crate) struct Observed(pub(crate) Option<(Arc<dyn Observer>, RaftId)>);
